//! Keeps the house in order: arrows between crates, folders equal to tables, headers of files, sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::place;

mod options;

/// From left to right; a crate may use those before it.
const CRATES: &[&str] =
    &["base", "mail", "mailauth", "net", "spool", "lang", "brightmail", "deliver", "receive", "oxim"];
/// These stand side by side and do not know each other.
const SIBLINGS: &[&str] = &["mailauth", "net", "spool"];
/// The one file that calls C: in a program of its own.
const CALLS_C: &str = "crates/brightmail/src/client_library.rs";
/// Longest source file, in lines, without its tests.
const LINES_MAX: usize = 900;

/// Longest function, in lines, outside tests.
const FUNCTION_LINES_MAX: usize = 120;

/// Folders in which a file is a row of the table in `mod.rs`, and the files there that serve the rows. These lists may only shrink.
const TABLES: &[(&str, &[&str])] = &[
    ("lang/src/expand/operator", &[]),
    ("lang/src/expand/item", &[]),
    ("lang/src/expand/condition", &["radius"]),
    ("lang/src/expand/variable", &[]),
    ("lang/src/lookup", &["files"]),
    ("lang/src/config/rows", &[]),
    ("receive/src/acl/condition", &[]),
    ("receive/src/acl/modifier", &[]),
    ("receive/src/acl/control", &[]),
    ("deliver/src/authenticator", &[]),
    ("deliver/src/transport", &["compose", "filter", "error_code", "local"]),
    (
        "deliver/src/router",
        &[
            "affix",
            "dns_hosts",
            "host_item",
            "host_list",
            "matching",
            "precondition",
            "prepare",
            "require_files",
            "scope",
            "self_action",
            "trace",
            "user_files",
            "walk",
        ],
    ),
];

/// The names that `log_selector` takes, from the list in manual section 53.15. Each has its scenario in `log_selector/`.
const LOG_SELECTORS: &[&str] = &[
    "8bitmime",
    "acl_warn_skipped",
    "address_rewrite",
    "all_parents",
    "arguments",
    "connection_reject",
    "delay_delivery",
    "deliver_time",
    "delivery_size",
    "dkim",
    "dkim_verbose",
    "dnslist_defer",
    "dnssec",
    "etrn",
    "host_lookup_failed",
    "ident_timeout",
    "incoming_interface",
    "incoming_port",
    "lost_incoming_connection",
    "millisec",
    "msg_id",
    "msg_id_created",
    "outgoing_interface",
    "outgoing_port",
    "pid",
    "pipelining",
    "proxy",
    "queue_run",
    "queue_time",
    "queue_time_exclusive",
    "queue_time_overall",
    "receive_time",
    "received_recipients",
    "received_sender",
    "rejected_header",
    "retry_defer",
    "return_path_on_delivery",
    "sender_on_delivery",
    "sender_verify_fail",
    "size_reject",
    "skip_delivery",
    "smtp_confirmation",
    "smtp_connection",
    "smtp_incomplete_transaction",
    "smtp_mailauth",
    "smtp_no_mail",
    "smtp_protocol_error",
    "smtp_syntax_error",
    "subject",
    "tls_certificate_verified",
    "tls_cipher",
    "tls_peerdn",
    "tls_resumption",
    "tls_sni",
    "unknown_in_list",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("tidy::crate_arrows", crate_arrows),
        Trial::test("tidy::file_headers", file_headers),
        Trial::test("tidy::file_sizes", file_sizes),
        Trial::test("tidy::modules_have_files_and_files_have_modules", modules),
        Trial::test("tidy::forbidden_names", forbidden_names),
        Trial::test("tidy::folders_equal_tables", folders_equal_tables),
        Trial::test("tidy::function_sizes", function_sizes),
        Trial::test("tidy::no_unsafe", no_unsafe),
        Trial::test("tidy::forbidden_words", forbidden_words),
        Trial::test("tidy::dependencies_come_from_one_place", one_registry),
        Trial::test("tidy::feature_pages_are_linked", feature_pages),
        Trial::test("tidy::options_are_shown", options::are_shown),
        Trial::test("tidy::scenarios_read", scenarios_read),
        Trial::test("tidy::dialogues_cover_the_acls", dialogues),
        Trial::test("tidy::log_selectors_have_scenarios", log_selectors),
    ]
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for top in ["crates", "tests", "fuzz"] {
        collect(&place::source().join(top), "rs", &mut files);
    }
    files
}

/// The files below a directory whose names have this extension.
fn collect(directory: &Path, extension: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
            collect(&path, extension, files);
        } else if path.extension().is_some_and(|e| e == extension) {
            files.push(path);
        }
    }
}

fn all_good(faults: Vec<String>) -> Result<(), Failed> {
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

fn crate_arrows() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for (index, name) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(place::source().join(format!("crates/{name}/Cargo.toml")))?;
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines().filter_map(|l| l.strip_prefix("oxim-")) {
            let other = line.split(['.', ' ', '=']).next().unwrap_or("");
            let position = CRATES.iter().position(|c| *c == other);
            let is_sibling = SIBLINGS.contains(name) && SIBLINGS.contains(&other);
            if position.is_none_or(|p| p >= index) || is_sibling {
                faults.push(format!("oxim-{name} may not use oxim-{other}"));
            }
        }
    }
    all_good(faults)
}

fn file_headers() -> Result<(), Failed> {
    let without = |file: &PathBuf| {
        !fs::read_to_string(file)
            .is_ok_and(|t| t.lines().find(|l| !l.starts_with("#!")).is_some_and(|l| l.starts_with("//! ")))
    };
    all_good(
        sources().iter().filter(|f| without(f)).map(|f| format!("{}: no //! header", f.display())).collect(),
    )
}

fn file_sizes() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let lines = code.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.display()));
        }
    }
    all_good(faults)
}

/// Every file in a folder of drivers or rows is a module of that folder, so that none is left unseen by the compiler.
fn modules() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for file in sources().iter().filter(|f| f.starts_with(place::source().join("crates"))) {
        let folder = file.parent().unwrap();
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if matches!(stem.as_str(), "lib" | "main" | "mod")
            || folder.ends_with("tests")
            || folder.ends_with("bin")
            || folder.ends_with("examples")
            || folder.ends_with("benches")
        {
            continue;
        }
        let parents = [
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.with_extension("rs"),
        ];
        let declares = |text: &str| {
            text.lines().any(|l| {
                l.trim().trim_end_matches(';').ends_with(&format!("mod {stem}"))
                    || l.contains(&format!("\"{stem}.rs\""))
            })
        };
        let by_path = format!("#[path = \"{stem}.rs\"]");
        let is_named_beside = fs::read_dir(folder)?
            .flatten()
            .any(|e| fs::read_to_string(e.path()).is_ok_and(|t| t.contains(&by_path)));
        if !is_named_beside && !parents.iter().any(|p| fs::read_to_string(p).is_ok_and(|t| declares(&t))) {
            faults.push(format!("{}: no module declares it", file.display()));
        }
    }
    all_good(faults)
}

/// A file of a folder of rows is named by that folder's table, beyond its `mod` line.
fn folders_equal_tables() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for (folder, others) in TABLES {
        let folder = place::source().join("crates").join(folder);
        let table = fs::read_to_string(folder.join("mod.rs"))?;
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            let is_row = path.extension().is_some_and(|e| e == "rs") && stem != "mod" && stem != "tests";
            if is_row && !others.contains(&stem.as_str()) && !table.contains(&format!("{stem}::")) {
                faults.push(format!("{}: not in the table of mod.rs", path.display()));
            }
            found.insert(stem);
        }
        let gone = others.iter().filter(|o| !found.contains(**o));
        faults.extend(gone.map(|o| format!("{}: {o} is gone, strike it from TABLES", folder.display())));
    }
    all_good(faults)
}

/// Functions as rustfmt lays them out: from `fn` to the brace in the same column.
fn function_sizes() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file)?;
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or("");
        let mut begun: Option<(usize, String)> = None;
        for (number, line) in code.lines().enumerate() {
            let indent = &line[..line.len() - line.trim_start().len()];
            if let Some((first, end)) = &begun {
                let lines = number - first + 1;
                if line == end && lines > FUNCTION_LINES_MAX {
                    let place = format!("{}:{}", file.display(), first + 1);
                    faults
                        .push(format!("{place}: a function of {lines} lines, at most {FUNCTION_LINES_MAX}"));
                }
                if line == end {
                    begun = None;
                }
            } else if is_function(line.trim_start()) && !line.ends_with('}') && !line.ends_with(';') {
                begun = Some((number, format!("{indent}}}")));
            }
        }
    }
    all_good(faults)
}

fn is_function(line: &str) -> bool {
    let mut words = line.split(' ');
    words.find(|w| !w.starts_with("pub") && !["const", "async", "extern", "\"C\""].contains(w)) == Some("fn")
}

fn no_unsafe() -> Result<(), Failed> {
    let mut faults = Vec::new();
    for file in sources().into_iter().filter(|file| !file.ends_with(CALLS_C)) {
        let text = fs::read_to_string(&file)?;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if ["fn", "{", "impl", "extern", "trait"]
                .iter()
                .any(|w| code.contains(&format!("{} {w}", concat!("un", "safe"))))
            {
                faults.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    for name in CRATES {
        let manifest = place::source().join(format!("crates/{name}/Cargo.toml"));
        // Without the workspace's "forbid", no file could be allowed more than the others.
        let wanted = if CALLS_C.contains(&format!("/{name}/")) {
            "[lints.rust]\nunsafe_code = \"deny\""
        } else {
            "[lints]\nworkspace = true"
        };
        if !fs::read_to_string(&manifest)?.contains(wanted) {
            faults.push(format!("{}: does not take the workspace's lints", manifest.display()));
        }
    }
    all_good(faults)
}

/// What is not finished is refused with a message and stands in the documents, not in a note; and nothing names one machine.
fn forbidden_words() -> Result<(), Failed> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("/wo", "rk/"), concat!("/ro", "ot/.")];
    let mut files = sources();
    for top in ["scripts", "docs", "docs/features", "docs/decisions", ".ci", "."] {
        let entries = fs::read_dir(place::source().join(top)).into_iter().flatten().flatten();
        files.extend(entries.map(|e| e.path()).filter(|p| p.is_file() && !p.ends_with(".git")));
    }
    let mut faults = Vec::new();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        for (number, line) in text.lines().enumerate() {
            let found = words.iter().filter(|w| line.contains(**w));
            faults.extend(found.map(|w| format!("{}:{}: {w}", file.display(), number + 1)));
        }
    }
    all_good(faults)
}

/// Every dependency comes from crates.io by its public name.
fn one_registry() -> Result<(), Failed> {
    const ONLY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let mut faults = Vec::new();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = fs::read_to_string(place::source().join(lock))?;
        let others = text.lines().filter(|l| l.starts_with("source = ") && *l != ONLY);
        faults.extend(others.map(|l| format!("{lock}: {l}")));
    }
    all_good(faults)
}

/// The list of features names each page, and each page that it names is there.
fn feature_pages() -> Result<(), Failed> {
    let folder = place::source().join("docs/features");
    let list = fs::read_to_string(folder.join("README.md"))?;
    let mut faults = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "README.md" && !list.contains(&format!("]({name})")) {
            faults.push(format!("docs/features/{name} is not in docs/features/README.md"));
        }
    }
    let named = list.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let gone = named.filter(|page| !folder.join(page).exists());
    faults.extend(gone.map(|page| format!("docs/features/README.md: {page} is not there")));
    all_good(faults)
}

fn forbidden_names() -> Result<(), Failed> {
    let forbidden: BTreeSet<&str> = ["util", "utils", "helper", "helpers", "common", "misc"].into();
    let is_forbidden =
        |f: &&PathBuf| f.file_stem().is_some_and(|s| forbidden.contains(&*s.to_string_lossy()));
    all_good(
        sources().iter().filter(is_forbidden).map(|f| format!("{}: say what it is", f.display())).collect(),
    )
}

fn scenarios_read() -> Result<(), Failed> {
    let count = crate::scenario::trials().len();
    if count == 0 { Err("no scenarios".into()) } else { Ok(()) }
}

fn log_selectors() -> Result<(), Failed> {
    let folder = place::source().join("tests/scenarios/log_selector");
    let without = LOG_SELECTORS.iter().filter(|name| !folder.join(format!("{name}.txt")).exists());
    let mut faults: Vec<String> =
        without.map(|name| format!("log selector {name}: no scenario in {}", folder.display())).collect();
    for name in LOG_SELECTORS {
        let text = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap_or_default();
        let sets = [format!("+{name}"), format!("-{name}")].iter().any(|set| text.contains(set));
        if !text.is_empty() && !sets {
            faults.push(format!("log_selector/{name}.txt does not set the selector"));
        }
    }
    all_good(faults)
}

/// How many dialogues are held against exim4 at least. The number may only grow.
const DIALOGUES_MIN: usize = 340;

/// ACL conditions and controls without such a dialogue: exim4 4.96 of Debian does not have them.
const NO_DIALOGUE: &[&str] = &["atrn_domains", "bmi_run", "dcc", "dmarc_status", "wellknown"];

/// Whether a section is a client that speaks SMTP, over TCP or with `-bs`, `-bS`, `-bh`.
fn is_dialogue(heading: &str, body: &str) -> bool {
    let has_mode = |text: &str| text.split_whitespace().any(|w| matches!(w, "-bs" | "-bS" | "-bh" | "-bhc"));
    match heading.split_once(' ').unwrap_or((heading, "")) {
        ("client", _) => true,
        ("run" | "user-run", arguments) => has_mode(arguments),
        ("sh", _) => has_mode(body),
        _ => false,
    }
}

/// Scenarios with an SMTP dialogue that exim4 has to pass as well: enough of them, with each condition and control in one.
fn dialogues() -> Result<(), Failed> {
    let mut texts = Vec::new();
    for folder in fs::read_dir(place::source().join("tests/scenarios"))?.flatten() {
        for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let text = fs::read_to_string(file.path())?;
            let is_held = !text.contains("\n== no-oracle");
            let mut sections = text.split("\n== ").skip(1).map(|s| s.split_once('\n').unwrap_or((s, "")));
            if is_held && sections.any(|(heading, body)| is_dialogue(heading, body)) {
                texts.push(text);
            }
        }
    }
    let mut faults = Vec::new();
    if texts.len() < DIALOGUES_MIN {
        faults.push(format!("{} dialogues are held against exim4, not {DIALOGUES_MIN}", texts.len()));
    }
    for kind in ["condition", "control"] {
        let mut files = Vec::new();
        collect(&place::source().join("crates/receive/src/acl").join(kind), "rs", &mut files);
        for file in files {
            let source = fs::read_to_string(file)?;
            for part in source.split("name: \"").skip(1) {
                let name = part.split('"').next().unwrap_or_default();
                let written =
                    if kind == "control" { format!("control = {name}") } else { format!("{name} = ") };
                let has_one = texts.iter().any(|text| text.contains(&written));
                if has_one == NO_DIALOGUE.contains(&name) {
                    faults.push(format!("ACL {kind} {name}: dialogue {has_one}, listed {}", !has_one));
                }
            }
        }
    }
    all_good(faults)
}

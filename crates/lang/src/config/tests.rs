//! Tests of reading as a whole, and the catalogue that tests of this crate read configurations with.

use super::*;

static ACCEPT: DriverRow = DriverRow { name: "accept", options: rows::ROUTER_ACCEPT };
static DNSLOOKUP: DriverRow = DriverRow { name: "dnslookup", options: rows::ROUTER_DNSLOOKUP };
static IPLITERAL: DriverRow = DriverRow { name: "ipliteral", options: rows::ROUTER_IPLITERAL };
static MANUALROUTE: DriverRow = DriverRow { name: "manualroute", options: rows::ROUTER_MANUALROUTE };
static REDIRECT: DriverRow = DriverRow { name: "redirect", options: rows::ROUTER_REDIRECT };
static APPENDFILE: DriverRow = DriverRow { name: "appendfile", options: rows::TRANSPORT_APPENDFILE };
static AUTOREPLY: DriverRow = DriverRow { name: "autoreply", options: rows::TRANSPORT_AUTOREPLY };
static LMTP: DriverRow = DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP };
static PIPE: DriverRow = DriverRow { name: "pipe", options: rows::TRANSPORT_PIPE };
static SMTP: DriverRow = DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP };
static PLAINTEXT: DriverRow = DriverRow { name: "plaintext", options: rows::AUTH_PLAINTEXT };
static CRAM_MD5: DriverRow = DriverRow { name: "cram_md5", options: rows::AUTH_CRAM_MD5 };

/// The drivers of the first release.
pub(crate) fn catalogue() -> Catalogue {
    Catalogue {
        routers: Drivers {
            generic: rows::ROUTER_GENERIC,
            drivers: vec![&ACCEPT, &DNSLOOKUP, &IPLITERAL, &MANUALROUTE, &REDIRECT],
        },
        transports: Drivers {
            generic: rows::TRANSPORT_GENERIC,
            drivers: vec![&APPENDFILE, &AUTOREPLY, &LMTP, &PIPE, &SMTP],
        },
        authenticators: Drivers { generic: rows::AUTH_GENERIC, drivers: vec![&CRAM_MD5, &PLAINTEXT] },
        acl_conditions: vec!["condition", "hosts"],
        acl_modifiers: vec!["delay", "set"],
    }
}

fn read_text(text: &str) -> Result<Config, Vec<ConfigError>> {
    read_bytes("/c", text.as_bytes(), &[], &catalogue())
}

#[test]
fn a_small_file() {
    let config = read_text(
        "A = x.example\nqualify_domain = A\nno_message_logs\nauto_thaw = 90m\nhide pgsql_servers =\n\
         domainlist local = @ : \\\n  # comment\n  A\n\nbegin acl\nmain: accept hosts = :\n  deny\n\
         begin routers\nr:\n driver = redirect\n allow_fail\n data = \"a\\tb\"\n condition = 1\n condition = 2\n\
         begin transports\nt:\n driver = smtp\n user = root\nbegin retry\n* * F,2h,1m\n",
    )
    .unwrap();
    assert_eq!(config.main.qualify_domain, "x.example");
    assert_eq!(config.main.qualify_recipient, "x.example");
    assert!(!config.main.message_logs);
    assert_eq!(config.main.auto_thaw.as_secs(), 5400);
    assert_eq!(config.lists.get(ListKind::Domain, "local").unwrap().source, "@ : x.example");
    let acl = &config.acls[0];
    assert_eq!(
        (acl.name.as_str(), acl.lines.len(), acl.lines[0].text.as_str()),
        ("main", 2, "accept hosts = :")
    );
    let router = &config.routers[0];
    assert_eq!(router.options.string("data"), Some("a\tb"));
    assert!(router.options.bool("allow_fail") && !router.options.bool("allow_defer"));
    assert_eq!(router.options.string("condition"), Some("${if and{{bool_lax{1}}{bool_lax{2}}}}"));
    assert_eq!(config.transports[0].options.id("user"), Some(0));
    assert_eq!(config.retry[0].text, "* * F,2h,1m");
    assert_eq!(config.retry[0].location.line, 25);
}

/// The examples of docs/configuration-errors.md: configuration, place (`line N` or `no line`), message.
fn documented_errors() -> Vec<(String, String, String)> {
    let page = include_str!("../../../../docs/configuration-errors.md");
    let mut cases = Vec::new();
    for block in page.split("\n```exim\n").skip(1) {
        let (text, rest) = block.split_once("```\n").unwrap();
        let verdict = rest.trim_start().lines().next().unwrap();
        let (place, message) = verdict.strip_prefix('`').and_then(|rest| rest.split_once("`: ")).unwrap();
        cases.push((text.to_owned(), place.to_owned(), message.to_owned()));
    }
    cases
}

#[test]
fn documented_errors_are_reported() {
    let cases = documented_errors();
    assert!(cases.len() > 60, "{} cases", cases.len());
    for (text, place, message) in cases {
        let errors = read_text(&text).map(|_| ()).expect_err(&text);
        let first = &errors[0];
        assert_eq!(first.message, message, "{text}");
        let found =
            first.location.as_ref().map_or("no line".to_owned(), |place| format!("line {}", place.line));
        assert_eq!(found, place, "{text}");
        if let Some(excerpt) = &first.excerpt {
            assert!(excerpt.text.get(excerpt.span.clone()).is_some(), "span of {text}");
        }
        assert!(!report::render(first, false).is_empty());
    }
}

#[test]
fn spoilt_configurations_give_errors_and_no_panic() {
    let mut seed: u64 = 7;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    let cases = documented_errors();
    for (text, ..) in cases.iter().cycle().take(1500) {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let at = random(bytes.len());
            match random(4) {
                0 => drop(bytes.remove(at)),
                1 => bytes.insert(at, b"\\\"=:<.#\n \xc3A0$"[random(13)]),
                2 => bytes.extend(cases[random(cases.len())].0.bytes()),
                _ => bytes.truncate(at.max(1)),
            }
            if bytes.is_empty() {
                bytes.push(b'x');
            }
        }
        if let Err(errors) = read_bytes("/c", &bytes, &[], &catalogue()) {
            errors.iter().for_each(|error| drop(report::render(error, false)));
            assert!(!errors.is_empty());
        }
    }
}

#[test]
fn macros_that_double_end_in_an_error() {
    let mut text = format!("AA = {}\n", "x".repeat(1 << 16));
    for letter in b'A'..=b'D' {
        let (old, new) = (char::from(letter), char::from(letter + 1));
        text.push_str(&format!("{new}{new} = {}\n", format!("{old}{old} ").repeat(64)));
    }
    let errors = read_text(&text).unwrap_err();
    assert_eq!(errors[0].message, "the line is too long");
}

#[test]
fn all_errors_of_a_file() {
    let text = "qualify_domian = x\nqueue_only = maybe\nbegin routers\nr:\n driver = redirct\n data = x\ns:\n\
        driver = accept\n foo = 1\nbegin nonsense\nx\nbegin transports\nt:\n";
    let messages: Vec<String> = read_text(text).unwrap_err().into_iter().map(|error| error.message).collect();
    assert_eq!(
        messages,
        [
            "main option \"qualify_domian\" unknown",
            "\"maybe\" is not a valid value for the \"queue_only\" option",
            "router r: cannot find router driver \"redirct\"",
            "option \"foo\" unknown",
            "\"nonsense\" is not a known configuration section name",
            "no driver defined for transport \"t\"",
        ]
    );
    let help: Vec<Option<String>> =
        read_text(text).unwrap_err().into_iter().map(|error| error.help).collect();
    assert_eq!(help[0].as_deref(), Some("did you mean \"qualify_domain\"?"));
    assert_eq!(help[2].as_deref(), Some("did you mean \"redirect\"?"));
}

#[test]
fn physical_and_logical_lines() {
    let domain = |text: &str| {
        read_text(text).map(|config| config.main.qualify_domain).map_err(|errors| errors[0].exim_text())
    };
    for (text, expected) in [
        ("qualify_domain = a.\\\n# comment\n  b\n", "a.b"),
        ("qualify_domain = a.  \\   \n   # comment \\\n  b\n", "a.  b"),
        ("qualify_domain = a.\\\n  .ifdef XX\n  b\n  .else\n  c\n  .endif\n", "a.c"),
        ("qualify_domain = \"a\\\n   b\\tc\"\n", "ab\tc"),
        (
            ".ifdef _HAVE_TLS\nqualify_domain = t\n.elifdef A\nqualify_domain = A\n.else\nqualify_domain = n\n.endif\n",
            "t",
        ),
        (".ifdef XX\n.bogus\n.include /nonex\nfoo = bar\\\n.endif\nqualify_domain = q\n", "q"),
        (
            ".ifdef A\n.ifdef _HAVE_TLS\n.else\n.endif\nfoo\n.elifndef A\nqualify_domain = q\n.else\nfoo\n.endif x\n",
            "q",
        ),
        ("ABC =\nABC\nqualify_domain = z\n", "z"),
        ("ABC = #\nABC qualify_domain = y\nqualify_domain = z\n", "z"),
        ("A = 1\nqualify_domain = x\\\nA = y\n", "x1 = y"),
        ("  qualify_domain    =   sp aced   ", "sp aced"),
        ("qualify_domain = a\\\n", "a"),
        (".ifdefx\nqualify_domain = q\n", "q"),
    ] {
        assert_eq!(domain(text).as_deref(), Ok(expected), "{text}");
    }
    let error = domain("qualify_domain = a.\\\n\n  b\n").unwrap_err();
    assert_eq!(error, "Exim configuration error in line 3 of /c:\n  main option \"b\" unknown");
}

#[test]
fn inclusion_by_name_and_by_folder() {
    let folder = std::env::temp_dir().join(format!("oxim-include-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    std::fs::write(
        file("main"),
        ".include part\nqueue_only\n.include_if_exists /nonexistent\nN = part2\n.include N\n",
    )
    .unwrap();
    std::fs::write(file("part"), "qualify_domain = x.\\\n").unwrap();
    std::fs::write(file("part2"), "\nfoo\n").unwrap();
    let source = ConfigSource { path: file("main"), ..ConfigSource::default() };
    let errors = read(&source, &catalogue()).unwrap_err();
    std::fs::write(file("part2"), "prod_requires_admin\n").unwrap();
    let config = read(&source, &catalogue()).unwrap();
    std::fs::write(file("part2"), ".include part2\n").unwrap();
    let endless = read(&source, &catalogue()).unwrap_err();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(errors[0].location.as_ref().unwrap().file.as_ref(), file("part2"));
    assert_eq!(errors[0].location.as_ref().unwrap().line, 2);
    assert_eq!(config.main.qualify_domain, "x.queue_only");
    assert!(endless[0].message.starts_with("included configuration files nest too deeply"));
}

#[test]
fn repeated_and_derived_options() {
    let config = read_text(
        "begin routers\nr:\n driver = redirect\n data = x\n check_local_user\n modemask = 07\n headers_add = \"X: y\\n\"\n\
         headers_add = Z: w\n headers_add = <; V: 1 ; U: 2;;3\n headers_remove = <, a : b\n headers_remove = c\n set = a = b\n set = <, c = d , e = f\n verify = no\n\
         begin transports\nt:\n driver = appendfile\n directory = /x\nu:\n driver = smtp\n hosts_require_auth = *\n\
         begin authenticators\np:\n driver = plaintext\n",
    )
    .unwrap();
    let router = &config.routers[0].options;
    assert_eq!(router.string("headers_add"), Some("X: y\nZ: w\nV: 1\nU: 2;3"));
    assert_eq!(router.string("headers_remove"), Some("a :: b:c"));
    assert_eq!(router.string("set"), Some("a = b;c = d;e = f"));
    assert!(router.bool("check_owner") && router.bool("check_group") && router.bool("retry_use_local_part"));
    assert!(
        !router.bool("verify_sender") && !router.bool("verify_recipient") && !router.is_set("check_owner")
    );
    assert_eq!(config.transports[0].options.string("check_string"), Some(""));
    assert!(config.transports[0].options.bool("retry_use_local_part"));
    assert!(!config.transports[1].options.bool("retry_use_local_part"));
    assert_eq!(config.authenticators[0].options.string("public_name"), Some("p"));
}

#[test]
fn bytes_that_are_not_utf_8() {
    let config = read_bytes("/c", b"\nunknown_username = J\xfcrgen\n", &[], &catalogue()).unwrap();
    assert_eq!(config.main.unknown_username.as_deref(), Some("J\u{fc}rgen"));
    assert_eq!(config.warnings[0].location.as_ref().unwrap().line, 2);
}

/// Every table with the words that precede an option in docs/options.md.
fn tables() -> Vec<(&'static str, &'static [OptionRow])> {
    vec![
        ("Main section", main_options::MAIN),
        ("All routers", rows::ROUTER_GENERIC),
        ("Router accept", rows::ROUTER_ACCEPT),
        ("Router dnslookup", rows::ROUTER_DNSLOOKUP),
        ("Router iplookup", rows::ROUTER_IPLOOKUP),
        ("Router manualroute", rows::ROUTER_MANUALROUTE),
        ("Router queryprogram", rows::ROUTER_QUERYPROGRAM),
        ("Router redirect", rows::ROUTER_REDIRECT),
        ("All transports", rows::TRANSPORT_GENERIC),
        ("Transport appendfile", rows::TRANSPORT_APPENDFILE),
        ("Transport autoreply", rows::TRANSPORT_AUTOREPLY),
        ("Transport lmtp", rows::TRANSPORT_LMTP),
        ("Transport pipe", rows::TRANSPORT_PIPE),
        ("Transport queuefile", rows::TRANSPORT_QUEUEFILE),
        ("Transport smtp", rows::TRANSPORT_SMTP),
        ("All authenticators", rows::AUTH_GENERIC),
        ("Authenticator cram_md5", rows::AUTH_CRAM_MD5),
        ("Authenticator cyrus_sasl", rows::AUTH_CYRUS_SASL),
        ("Authenticator dovecot", rows::AUTH_DOVECOT),
        ("Authenticator external", rows::AUTH_EXTERNAL),
        ("Authenticator gsasl", rows::AUTH_GSASL),
        ("Authenticator heimdal_gssapi", rows::AUTH_HEIMDAL_GSSAPI),
        ("Authenticator plaintext", rows::AUTH_PLAINTEXT),
        ("Authenticator spa", rows::AUTH_SPA),
        ("Authenticator tls", rows::AUTH_TLS),
    ]
}

#[test]
fn tables_are_sorted_and_their_defaults_readable() {
    for (title, rows) in tables() {
        assert!(rows.is_sorted_by(|a, b| a.name < b.name), "{title}");
        for row in rows {
            let needs_none = matches!(row.kind, OptionKind::Alias(_) | OptionKind::Both(..));
            assert_eq!(
                options::default_value(row).is_none(),
                row.default.is_empty() || needs_none,
                "{}",
                row.name
            );
            assert!(!row.doc.is_empty() && !row.doc.ends_with('.'), "{}", row.name);
        }
    }
}

/// Options that are taken and ignored. Lower the number when one of them begins to work; never raise it.
const NO_EFFECT_MAX: usize = 14;

#[test]
fn options_without_effect_only_get_fewer() {
    let count = tables()
        .iter()
        .flat_map(|(_, rows)| rows.iter())
        .filter(|row| row.status == Status::NoEffectYet)
        .count();
    assert_eq!(count, NO_EFFECT_MAX);
}

/// Options that work although no code names them; the reason stands behind each. The list may only get shorter.
const NAMED_NOWHERE: &[&str] = &[
    // The spool is listed by age, so every queue run is in order.
    "queue_run_in_order",
];

/// The text of all sources but the tables, the lists of fields and tests.
fn sources() -> String {
    fn collect(directory: &std::path::Path, text: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            let name = path.to_string_lossy().into_owned();
            let is_table = ["/config/rows", "/main_options.rs", "/config/main.rs", "/tests.rs", "/tests"];
            if is_table.iter().any(|end| name.ends_with(end)) {
                continue;
            }
            if path.is_dir() {
                collect(&path, text);
            } else if name.ends_with(".rs") {
                let file = std::fs::read_to_string(&path).unwrap();
                text.push_str(file.split("#[cfg(test)]\nmod tests {").next().unwrap());
            }
        }
    }
    let mut text = String::new();
    for krate in ["lang", "deliver", "receive", "oxim"] {
        collect(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src"),
            &mut text,
        );
    }
    text
}

#[test]
fn every_option_that_works_is_read_somewhere() {
    let sources = sources();
    let is_named = |name: &str| {
        let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let field = format!(".{name}");
        sources.contains(&format!("\"{name}\""))
            || sources
                .match_indices(&field)
                .any(|(at, _)| sources.get(at + field.len()..).is_some_and(is_end))
    };
    let unread: Vec<&str> = tables()
        .iter()
        .flat_map(|(_, rows)| rows.iter())
        .filter(|row| row.status == Status::Works)
        .filter(|row| !matches!(row.kind, OptionKind::Alias(_) | OptionKind::Both(..)))
        .map(|row| row.name)
        .filter(|name| !is_named(name))
        .collect();
    assert_eq!(unread, NAMED_NOWHERE);
}

fn options_page() -> String {
    let mut page = String::from(
        "# Options\n\nEvery option the configuration may hold, generated from the option tables (`UPDATE=1 cargo test -p oxim-lang \
         options_page`).\nAn option that is *not yet* there is refused unless it is set to its default; one *without effect* is \
         accepted, and `oxim check`\nmentions it.\n",
    );
    for (title, rows) in tables() {
        page.push_str(&format!("\n## {title}\n\n| option | type | default | | |\n|---|---|---|---|---|\n"));
        for row in rows {
            let default = if row.default.is_empty() {
                String::new()
            } else {
                format!("`{}`", row.default.replace('|', "\\|"))
            };
            page.push_str(&format!(
                "| `{}` | {} | {default} | {} | {} |\n",
                row.name,
                kind_words(row.kind),
                match row.status {
                    Status::Works => "",
                    Status::NoEffectYet => "without effect",
                    Status::NotYet => "not yet",
                },
                row.doc
            ));
        }
    }
    page
}

fn kind_words(kind: OptionKind) -> String {
    match kind {
        OptionKind::Bool => "switch".into(),
        OptionKind::BoolOrExpanded => "switch, expanded".into(),
        OptionKind::Int => "integer".into(),
        OptionKind::Kint | OptionKind::KintWide => "size".into(),
        OptionKind::Octal => "octal".into(),
        OptionKind::Fixed => "fixed-point".into(),
        OptionKind::Time => "time".into(),
        OptionKind::TimeExpanded => "time, expanded".into(),
        OptionKind::TimeList => "times".into(),
        OptionKind::Str => "string".into(),
        OptionKind::DomainList => "domain list".into(),
        OptionKind::HostList => "host list".into(),
        OptionKind::AddressList => "address list".into(),
        OptionKind::LocalPartList => "local part list".into(),
        OptionKind::StringList => "list".into(),
        OptionKind::ListBy(separator) => format!("list by `{separator}`"),
        OptionKind::StrLines | OptionKind::StrConditions => "string, repeatable".into(),
        OptionKind::StrList => "list, repeatable".into(),
        OptionKind::StrSemicolons => "list by `;`, repeatable".into(),
        OptionKind::Uid | OptionKind::UidExpanded => "user".into(),
        OptionKind::Gid | OptionKind::GidExpanded => "group".into(),
        OptionKind::UidList => "users".into(),
        OptionKind::GidList => "groups".into(),
        OptionKind::Rewrite => "rewriting rules".into(),
        OptionKind::Alias(name) => format!("is `{name}`"),
        OptionKind::Both(first, second) => format!("sets `{first}` and `{second}`"),
    }
}

#[test]
fn options_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/options.md");
    let page = options_page();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == page, "run it again with UPDATE=1");
}

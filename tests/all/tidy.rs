//! Keeps the house in order: arrows between crates, folders equal to tables, headers of files, sizes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};

use crate::place;

/// From left to right; a crate may use those before it.
const CRATES: &[&str] = &["base", "mail", "mailauth", "net", "spool", "lang", "deliver", "receive", "oxim"];
/// These stand side by side and do not know each other.
const SIBLINGS: &[&str] = &["mailauth", "net", "spool"];
/// Longest source file, in lines, without its tests.
const LINES_MAX: usize = 900;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("tidy::crate_arrows", crate_arrows),
        Trial::test("tidy::file_headers", file_headers),
        Trial::test("tidy::file_sizes", file_sizes),
        Trial::test("tidy::modules_have_files_and_files_have_modules", modules),
        Trial::test("tidy::forbidden_names", forbidden_names),
        Trial::test("tidy::scenarios_read", scenarios_read),
    ]
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for top in ["crates", "tests", "fuzz"] {
        collect(&place::source().join(top), &mut files);
    }
    files
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|n| n != "target") {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
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
        if !parents.iter().any(|p| fs::read_to_string(p).is_ok_and(|t| declares(&t))) {
            faults.push(format!("{}: no module declares it", file.display()));
        }
    }
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

//! Every option that works is set in some scenario or trial.
//!
//! The options are those of `docs/options.md`, which is generated from the rows. A generic option of routers, transports or
//! authenticators counts with any driver, a private one only with its own. What is not shown yet stands in
//! `options_not_shown.txt`; that list may only shrink (`UPDATE=1` takes out what is shown by now).

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Failed;

use super::{all_good, collect};
use crate::place;

/// A section of `docs/options.md` and the name of an option in it.
type Place = (String, String);

pub(super) fn are_shown() -> Result<(), Failed> {
    let shown = shown()?;
    let missing: BTreeSet<String> = working()?
        .into_iter()
        .filter(|place| !shown.contains(place))
        .map(|(section, name)| format!("{section}: {name}"))
        .collect();
    let path = place::source().join("tests/all/tidy/options_not_shown.txt");
    let text = fs::read_to_string(&path)?;
    let known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    if std::env::var_os("UPDATE").is_some() {
        let left: Vec<&str> = known.intersection(&missing).map(String::as_str).collect();
        fs::write(path, left.join("\n") + "\n")?;
    }
    let new = missing.difference(&known);
    all_good(new.map(|place| format!("no scenario sets the option {place}")).collect())
}

/// The options that work.
fn working() -> Result<BTreeSet<Place>, Failed> {
    let page = fs::read_to_string(place::source().join("docs/options.md"))?;
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in page.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [name, kind, _, "", _] = cells.as_slice() else { continue };
        let name = name.trim_start_matches("| ").trim_matches('`');
        if !kind.starts_with("is ") {
            found.insert((section.to_owned(), name.to_owned()));
        }
    }
    Ok(found)
}

/// The options that something sets.
fn shown() -> Result<BTreeSet<Place>, Failed> {
    let tests = place::source().join("tests");
    let mut reader = Reader::default();
    let (mut scenarios, mut trials) = (Vec::new(), Vec::new());
    collect(&tests.join("scenarios"), "txt", &mut scenarios);
    collect(&tests.join("all"), "rs", &mut trials);
    for file in scenarios {
        reader.begin_main();
        for line in fs::read_to_string(file)?.lines() {
            reader.line(line);
        }
    }
    // Trials have their configurations in the source, where a line may end in `\n` or at a placeholder.
    for file in trials {
        reader.begin_main();
        let text = fs::read_to_string(file)?.replace("\\n", "\n");
        for line in text.split(['\n', '"', '}']) {
            reader.line(line);
        }
    }
    reader.begin_main();
    Ok(reader.found)
}

/// Takes configurations apart, well enough for those that tests hold.
#[derive(Default)]
struct Reader {
    found: BTreeSet<Place>,
    /// `routers`, `transports` or `authenticators`; empty in the main section.
    drivers: String,
    /// What the driver in hand has set so far, and its kind.
    names: Vec<String>,
    driver: String,
}

impl Reader {
    fn begin_main(&mut self) {
        self.end_driver();
        self.drivers.clear();
    }

    fn end_driver(&mut self) {
        let class = self.drivers.strip_suffix('s').unwrap_or_default();
        let mut chars = class.chars();
        let title: String = chars.next().iter().flat_map(|c| c.to_uppercase()).chain(chars).collect();
        for name in self.names.drain(..) {
            self.found.insert((format!("All {}", self.drivers), name.clone()));
            self.found.insert((format!("{title} {}", self.driver), name));
        }
        self.driver.clear();
    }

    fn line(&mut self, line: &str) {
        let line = line.trim();
        if line.starts_with("== ") {
            return self.begin_main();
        }
        if let Some(section) = line.strip_prefix("begin ") {
            self.end_driver();
            section.clone_into(&mut self.drivers);
            return;
        }
        let line = line.strip_prefix("hide ").unwrap_or(line);
        let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let rest = rest.trim_start();
        if !self.drivers.is_empty() && rest == ":" {
            return self.end_driver();
        }
        let Some(value) = rest.strip_prefix('=').or_else(|| rest.is_empty().then_some("")) else { return };
        if !self.drivers.is_empty() && name == "driver" {
            value.trim().clone_into(&mut self.driver);
        }
        for name in [Some(name), name.strip_prefix("no_"), name.strip_prefix("not_")].into_iter().flatten() {
            if self.drivers.is_empty() {
                self.found.insert(("Main section".to_owned(), name.to_owned()));
            } else {
                self.names.push(name.to_owned());
            }
        }
    }
}

//! The text form of a scenario (`tests/scenarios/README.md`).

use std::path::Path;

use super::pattern::{Bindings, Names};
use super::stage::Results;
use super::{Program, compare};

/// A scenario file, read.
pub(crate) struct Scenario {
    /// The sentence it proves.
    pub(crate) title: String,
    /// Whether exim4 is held against it too.
    pub(crate) has_oracle: bool,
    /// Its sections in order.
    pub(crate) sections: Vec<Section>,
}

/// A section: a heading line and what follows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    /// First word of the heading.
    pub(crate) kind: String,
    /// The rest of the heading.
    pub(crate) argument: String,
    /// The lines before the first part.
    pub(crate) body: String,
    /// Parts: a line `-- NAME` and what follows it.
    pub(crate) parts: Vec<(String, String)>,
    /// The line of the heading, from 1.
    pub(crate) line: usize,
}

impl Section {
    /// A part's text.
    pub(crate) fn part(&self, name: &str) -> Option<&str> {
        self.parts.iter().find(|(n, _)| n == name).map(|(_, text)| text.as_str())
    }
}

const KINDS: &[&str] = &[
    "no-oracle",
    "config",
    "dns",
    "file",
    "dir",
    "run",
    "user-run",
    "daemon",
    "stop",
    "client",
    "server",
    "mail-server",
    "ruled-server",
    "wait",
    "expect",
    "sh",
];

impl Scenario {
    /// Reads a file. The error names file and line.
    pub(crate) fn read(file: &Path) -> Result<Scenario, String> {
        let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut title = String::new();
        let mut sections: Vec<Section> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if let Some(heading) = line.strip_prefix("== ") {
                let (kind, argument) = heading.split_once(' ').unwrap_or((heading, ""));
                if !KINDS.contains(&kind) {
                    return Err(format!("{}:{}: unknown section \"{kind}\"", file.display(), number + 1));
                }
                sections.push(Section {
                    kind: kind.into(),
                    argument: argument.into(),
                    line: number + 1,
                    ..Section::default()
                });
                continue;
            }
            match sections.last_mut() {
                None => {
                    title.push_str(line);
                    title.push('\n');
                }
                Some(section) => {
                    if let Some(name) = line.strip_prefix("-- ") {
                        section.parts.push((name.to_owned(), String::new()));
                    } else {
                        let text = section.parts.last_mut().map_or(&mut section.body, |(_, text)| text);
                        text.push_str(line);
                        text.push('\n');
                    }
                }
            }
        }
        if title.trim().is_empty() {
            return Err(format!("{}: the first line must be the sentence that it proves", file.display()));
        }
        let has_oracle = !sections.iter().any(|s| s.kind == "no-oracle");
        Ok(Scenario { title, has_oracle, sections })
    }
}

/// The file's text with the expectations replaced by what happened; those that hold stay as they are.
pub(crate) fn with_results(scenario: &Scenario, results: &Results, program: Program) -> String {
    let mut names = Names::default();
    let mut bindings = Bindings::default();
    let mut renewed = |expected: &str, actual: &str| {
        let (mut one, mut rest) = (String::new(), String::new());
        compare::compare("", expected.trim_end(), actual.trim_end(), program, &mut bindings, &mut rest);
        names.learn(&bindings);
        one.push_str(if rest.is_empty() { expected } else { actual });
        if rest.is_empty() { one } else { names.generalise(&one) }
    };
    let mut out = scenario.title.clone();
    for (index, section) in scenario.sections.iter().enumerate() {
        let heading = format!("{} {}", section.kind, section.argument);
        out.push_str(&format!("== {}\n", heading.trim_end()));
        let actual = results.sections.get(&index);
        match (section.kind.as_str(), actual) {
            ("client" | "expect", Some(actual)) => {
                out.push_str(&renewed(&section.body, actual.get("body").map_or("", String::as_str)));
                if section.body.ends_with("\n\n") && !out.ends_with("\n\n") {
                    out.push('\n');
                }
            }
            ("run" | "user-run" | "sh", Some(actual)) => {
                out.push_str(&section.body);
                for (name, text) in section.parts.iter().filter(|(n, _)| !is_output(n)) {
                    out.push_str(&format!("-- {name}\n{text}"));
                }
                for name in ["output", "error", "exit"] {
                    let text = actual.get(name).map_or("", String::as_str);
                    if !text.is_empty() {
                        out.push_str(&format!(
                            "-- {name}\n{}",
                            renewed(section.part(name).unwrap_or(""), text)
                        ));
                        if !out.ends_with('\n') {
                            out.push('\n');
                        }
                    }
                }
            }
            _ => {
                out.push_str(&section.body);
                for (name, text) in &section.parts {
                    out.push_str(&format!("-- {name}\n{text}"));
                }
            }
        }
    }
    out
}

fn is_output(name: &str) -> bool {
    matches!(name, "output" | "error" | "exit")
}

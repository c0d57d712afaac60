//! Tests of the tables and of the engine as a whole.

use std::collections::HashSet;

use super::condition::CONDITIONS;
use super::item::ITEMS;
use super::operator::OPERATORS;
use super::variable::VARIABLES;
use super::*;

const TABLE: &str = include_str!("../../tests-data/expansions.txt");

fn context() -> Context {
    Context::default()
}

fn shown(source: &str) -> String {
    match Template::compile(source).expand(&mut context()) {
        Ok(text) => printable(text.as_bytes()),
        Err(error) => printable(format!("Failed: {error}").as_bytes()),
    }
}

/// A result as the table writes it.
fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\x{other:02x}")),
        }
    }
    out
}

fn table() -> Vec<(&'static str, &'static str)> {
    let mut lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let mut rows = Vec::new();
    while let (Some(source), Some(expected)) = (lines.next(), lines.next()) {
        rows.push((source.strip_prefix("> ").unwrap(), expected.strip_prefix("= ").unwrap()));
    }
    rows
}

#[test]
fn examples_of_all_rows_hold() {
    let items = ITEMS.iter().copied().flatten().flat_map(|row| row.examples);
    let operators = OPERATORS.iter().copied().flatten().flat_map(|row| row.examples);
    let conditions = CONDITIONS.iter().copied().flatten().flat_map(|row| row.examples);
    for (source, expected) in items.chain(operators).chain(conditions) {
        assert_eq!(shown(source), printable(expected.as_bytes()), "{source}");
    }
}

#[test]
fn names_are_unique() {
    let mut seen = HashSet::new();
    let operators = OPERATORS.iter().copied().flatten();
    for name in operators.flat_map(|row| std::iter::once(row.name).chain(row.alias)) {
        assert!(seen.insert(name), "operator {name}");
    }
    seen.clear();
    for name in ITEMS.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "item {name}");
    }
    seen.clear();
    for name in CONDITIONS.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "condition {name}");
    }
    seen.clear();
    for name in VARIABLES.iter().copied().flatten().map(|row| row.name) {
        assert!(seen.insert(name), "variable {name}");
    }
}

#[test]
fn results_are_those_of_exim() {
    let wrong: Vec<String> = table()
        .into_iter()
        .filter_map(|(source, expected)| {
            let found = shown(source);
            (found != expected).then(|| format!("{source}\n  exim {expected}\n  ours {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table().len(), wrong.join("\n"));
}

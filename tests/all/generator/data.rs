//! What data holds never runs: for every row of the language, at every place of an argument, in every kind of holder.
//!
//! The data is an expression that would leave a file behind and show the contents of another. There are two places where
//! expressions are meant to be expanded a second time (`EXPANDED_AGAIN`); one of them shows that the test can fail.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::Failed;
use oxim_lang::expand::{condition, item, operator};

use super::batch::{self, Answer};
use super::fixture::Fixture;
use super::grammar::{ALONE, CONDITIONS, ITEMS, OPERATORS};

const SECRET: &str = "contents-of-a-secret-file";

/// Where an expression of the configuration is expanded again, by row and holder: `${expand:` of what is not tainted, and
/// a replacement of `${sg` that stands in the configuration.
const EXPANDED_AGAIN: &[(&str, &[&str])] =
    &[("operator expand", &["file", "constant", "item", "value"]), ("item sg", &["constant"])];

/// A way to hand data to an expression: its name, what stands for the data, and what is around the expression.
struct Holder {
    name: &'static str,
    reference: String,
    around: String,
}

fn holders(payload: &str, folder: &str) -> Vec<Holder> {
    let holder = |name, reference: &str, around: &str| Holder {
        name,
        reference: reference.to_owned(),
        around: around.replace("FOLDER", folder),
    };
    let file = format!("${{readfile{{{folder}/data}}}}");
    vec![
        holder("header line", "$h_x-data:", "@"),
        holder("file", &file, "@"),
        holder("constant", &format!("\\N{payload}\\N"), "@"),
        holder("item", "$item", "${map{<,${readfile{FOLDER/data}}}{@}}"),
        holder("value", "$value", "${lookup{data}lsearch{FOLDER/datatable}{@}}"),
        holder("capture", "$1", "${if match{$h_x-data:}{^(.*)\\$}{@}}"),
    ]
}

/// What stands for a code where no data does.
fn harmless(code: char) -> &'static str {
    match code {
        'n' | 'p' => "2",
        's' => "1s",
        'k' => ":",
        'l' => "a:b",
        'j' => "[1]",
        'o' => "\\{\"a\":1\\}",
        'a' => "a@b.c",
        'd' => "b.c",
        'i' => "1.2.3.4",
        'm' => "1.2.3.4/24",
        'h' => "61",
        'b' => "YWJj",
        'z' => "a",
        'x' => "(a)",
        'e' => "1+1",
        'g' => "a=1",
        'c' => "eq{a}{a}",
        'y' => "{yes}{no}",
        'v' => "domain",
        'u' => "local",
        'A' | 'D' | 'I' | 'L' => "*",
        _ => "key",
    }
}

/// What stands for a code where data does; None if there is no place for any.
fn with_data(code: char, data: &str) -> Option<String> {
    match code {
        'c' => Some(format!("eq{{{data}}}{{{data}}}")),
        'y' => Some(format!("{{{data}}}{{{data}}}")),
        'l' | 'A' | 'D' | 'I' | 'L' => Some(format!("a:{data}")),
        'v' => None,
        _ => Some(data.to_owned()),
    }
}

/// The pattern once for each of its codes, with the data there.
fn filled(pattern: &str, data: &str) -> Vec<String> {
    let parts: Vec<&str> = pattern.split('@').collect();
    let code = |part: &str| part.chars().next().filter(char::is_ascii_alphabetic);
    let places = (1..parts.len()).filter(|place| code(parts[*place]).is_some());
    places
        .filter_map(|place| {
            let mut text = parts[0].to_owned();
            for (index, part) in parts.iter().enumerate().skip(1) {
                let Some(code) = code(part) else {
                    text.push('@');
                    text.push_str(part);
                    continue;
                };
                if index == place {
                    text.push_str(&with_data(code, data)?);
                } else {
                    text.push_str(harmless(code));
                }
                text.push_str(&part[1..]);
            }
            Some(text)
        })
        .collect()
}

/// All rows with their patterns, as whole expressions around `@`-codes.
fn rows() -> Result<Vec<(String, Vec<String>)>, Failed> {
    let all: BTreeMap<(&str, &str), &[&str]> =
        [("item", ITEMS), ("operator", OPERATORS), ("condition", CONDITIONS)]
            .iter()
            .flat_map(|(kind, table)| {
                table.iter().chain(ALONE).map(|(name, patterns)| ((*kind, *name), *patterns))
            })
            .collect();
    let items = item::ITEMS.iter().copied().flatten().map(|row| ("item", row.name));
    let operators = operator::OPERATORS.iter().copied().flatten().map(|row| ("operator", row.name));
    let conditions = condition::CONDITIONS.iter().copied().flatten().map(|row| ("condition", row.name));
    let mut rows = Vec::new();
    for (kind, name) in items.chain(operators).chain(conditions) {
        let patterns = all.get(&(kind, name)).ok_or_else(|| format!("{kind} {name} has no pattern"))?;
        let whole = |pattern: &&str| match kind {
            "item" => format!("${{{name}{pattern}}}"),
            "operator" => format!("${{{pattern}}}"),
            _ => format!("${{if {pattern}{{yes}}{{no}}}}"),
        };
        rows.push((format!("{kind} {name}"), patterns.iter().map(whole).collect()));
    }
    Ok(rows)
}

/// Prepares what the data would do, and the files and the header line that hold it.
fn prepare(fixture: &Fixture, mark: &Path) -> String {
    let folder = fixture.folder.to_string_lossy().into_owned();
    std::fs::write(fixture.folder.join("secret"), SECRET).unwrap();
    let payload = format!("${{run{{/usr/bin/touch {}}}}}${{readfile{{{folder}/secret}}}}", mark.display());
    std::fs::write(fixture.folder.join("data"), &payload).unwrap();
    std::fs::write(fixture.folder.join("datatable"), format!("data: {payload}\n")).unwrap();
    let message = fixture.folder.parent().unwrap().join("message");
    let text = std::fs::read_to_string(&message).unwrap();
    std::fs::write(&message, format!("X-Data: {payload}\n{text}")).unwrap();
    payload
}

/// The trial.
pub(super) fn data_never_runs() -> Result<(), Failed> {
    let fixture = Fixture::new();
    let folder = fixture.folder.to_string_lossy().into_owned();
    let mark = fixture.folder.parent().unwrap().join("spool/mark");
    let payload = prepare(&fixture, &mark);
    let rows = rows()?;
    let mut faults = Vec::new();
    let mut count = 0;
    for holder in holders(&payload, &folder) {
        let exempt = |row: &str| {
            EXPANDED_AGAIN.iter().any(|(name, holders)| *name == row && holders.contains(&holder.name))
        };
        let lines: Vec<String> = rows
            .iter()
            .filter(|(row, _)| !exempt(row))
            .flat_map(|(_, patterns)| patterns)
            // In a quoted word of a command `\\N` is an escaped N, and what follows is no constant.
            .filter(|pattern| holder.name != "constant" || !pattern.contains("\"@"))
            .flat_map(|pattern| filled(&pattern.replace("FOLDER", &folder), &holder.reference))
            .map(|expression| holder.around.replace('@', &expression))
            .collect();
        count += lines.len();
        let answers = batch::run(&fixture.oxim(), &lines, &[])?.answers;
        for (line, answer) in lines.iter().zip(answers) {
            match answer {
                Answer::Text(text) if !String::from_utf8_lossy(&text).contains(SECRET) => {}
                Answer::Text(_) => faults.push(format!("{}: {line}", holder.name)),
                Answer::Crash => faults.push(format!("the program ended: {line}")),
            }
        }
        if mark.exists() {
            faults.push(format!("{}: the command was run", holder.name));
            let _ = std::fs::remove_file(&mark);
        }
    }
    eprintln!("data: {count} lines");
    // The one place that is made for it shows that all of the above could have been seen.
    let control = vec![format!("${{expand:${{readfile{{{folder}/data}}}}}}")];
    let answers = batch::run(&fixture.oxim(), &control, &[])?.answers;
    if answers != [Answer::Text(SECRET.into())] || !mark.exists() {
        faults.push(format!("the data does nothing even where it should: {answers:?}"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

//! What data holds never runs: for every row of the language, at every place of an argument, in every kind of holder.
//!
//! The data is an expression that would leave a file behind and show the contents of another. There are two places where
//! expressions are meant to be expanded a second time (`EXPANDED_AGAIN`); one of them shows that the test can fail. So does
//! `OXIM_BINARY=/usr/sbin/exim4`: exim4 4.96 expands tainted data in `${expand:}` and in replacements of `${sg`.

use std::collections::BTreeMap;
use std::path::Path;

use libtest_mimic::Failed;
use oxim_lang::expand::{condition, item, operator};
use oxim_lang::lookup;

use super::batch::{self, Answer};
use super::fixture::Fixture;
use super::grammar::{ALONE, CONDITIONS, ITEMS, OPERATORS};

const SECRET: &str = "contents-of-a-secret-file";

/// Where an expression of the configuration is expanded again, by row and holder: `${expand:` of what is not tainted, and
/// a replacement of `${sg` that stands in the configuration.
const EXPANDED_AGAIN: &[(&str, &[&str])] = &[
    ("operator expand", &["file", "constant", "item", "value", "filter item", "forany item"]),
    ("item sg", &["constant"]),
];

/// Types of lookups that would wait for a network; what they are asked is expanded by the same code.
const SLOW_LOOKUPS: &[&str] = &["dnsdb", "spf"];

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
        holder("filter item", "$item", "${filter{<,${readfile{FOLDER/data}}}{eq{@}{}}}"),
        holder("forany item", "$item", "${if forany{<,${readfile{FOLDER/data}}}{eq{@}{}}}"),
        holder("reduce value", "$value", "${reduce{a}{$h_x-data:}{@}}"),
        holder("ACL variable", "$acl_c_data", "${acl{keep}{$h_x-data:}}@"),
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

/// Items of lists in which data may stand.
const ITEMS_WITH_DATA: &[&str] = &[
    "a:@",
    "^@",
    "!@",
    "+@",
    "/@",
    "*@",
    "lsearch;@",
    "partial-lsearch;@",
    "net-lsearch;@",
    "@@lsearch;@",
    "*@@",
    "<@",
];

/// What stands for a code where data does: nothing if there is no place for any.
fn with_data(code: char, data: &str) -> Vec<String> {
    match code {
        'c' => vec![format!("eq{{{data}}}{{{data}}}")],
        'y' => vec![format!("{{{data}}}{{{data}}}")],
        'l' | 'A' | 'D' | 'I' | 'L' => {
            // Only the last one is the place: the others belong to the item.
            let filled = |item: &&str| item.strip_suffix('@').map(|item| format!("{item}{data}"));
            ITEMS_WITH_DATA.iter().filter_map(filled).collect()
        }
        'v' => Vec::new(),
        _ => vec![data.to_owned()],
    }
}

/// The pattern for each place of an argument, with the data there.
fn filled(pattern: &str, data: &str) -> Vec<String> {
    let mut lines = in_place_of_codes(pattern, data);
    // The arguments that patterns have as they are: names of files, ACLs and algorithms.
    for (start, end) in arguments(pattern) {
        let (before, after) = (without_codes(&pattern[..start]), without_codes(&pattern[end..]));
        lines.push(format!("{before}{data}{after}"));
    }
    lines
}

/// The codes of a pattern: its parts, each but the first with the code that stands in front of it, if it is one.
fn parts(pattern: &str) -> (&str, Vec<(Option<char>, &str)>) {
    let mut parts = pattern.split('@');
    let first = parts.next().unwrap_or_default();
    let coded = parts.map(|part| match part.chars().next().filter(char::is_ascii_alphabetic) {
        Some(code) => (Some(code), &part[1..]),
        None => (None, part),
    });
    (first, coded.collect())
}

fn without_codes(pattern: &str) -> String {
    let (first, parts) = parts(pattern);
    let rest = parts.iter().map(|(code, rest)| format!("{}{rest}", code.map_or("@", harmless)));
    format!("{first}{}", rest.collect::<String>())
}

fn in_place_of_codes(pattern: &str, data: &str) -> Vec<String> {
    let (first, parts) = parts(pattern);
    let mut lines = Vec::new();
    for (place, (code, _)) in parts.iter().enumerate() {
        for held in code.map(|code| with_data(code, data)).unwrap_or_default() {
            let text = parts.iter().enumerate().map(|(index, (code, rest))| {
                let value = if index == place { held.as_str() } else { code.map_or("@", harmless) };
                format!("{value}{rest}")
            });
            lines.push(format!("{first}{}", text.collect::<String>()));
        }
    }
    lines
}

/// Where the arguments of a pattern stand: what is in braces, at any depth, and what follows the colon of an operator.
fn arguments(pattern: &str) -> Vec<(usize, usize)> {
    let mut open = Vec::new();
    let mut found = Vec::new();
    let is_escaped = |index: usize| index > 0 && pattern.as_bytes()[index - 1] == b'\\';
    for (index, byte) in pattern.bytes().enumerate().filter(|(index, _)| !is_escaped(*index)) {
        match byte {
            b'{' => open.push(index + 1),
            b'}' => found.extend(open.pop().map(|start| (start, index))),
            _ => {}
        }
    }
    if let Some(colon) = pattern.strip_suffix('}').and_then(|inside| inside.find(':'))
        && !pattern[..colon].contains(' ')
    {
        found.push((colon + 1, pattern.len() - 1));
    }
    found
}

/// Lookups of all types, with data as the key, the query and the name of the file.
fn lookups() -> Vec<String> {
    let keyed =
        ["{@}NAME{FOLDER/table}", "{@}partial-NAME{FOLDER/table}", "{@}NAME*@{FOLDER/table}", "{key}NAME{@}"];
    let queries = [" NAME{@}"];
    let types = lookup::LOOKUPS.iter().filter(|kind| !SLOW_LOOKUPS.contains(&kind.name));
    let forms = types.flat_map(|kind| {
        keyed
            .iter()
            .chain(&queries)
            .map(move |form| format!("${{lookup{}{{$value}}{{no}}}}", form.replace("NAME", kind.name)))
    });
    // The place of the data is any text.
    forms.map(|form| form.replace('@', "@t").replace("*@t{", "*@{")).collect()
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
    rows.push(("lookups".to_owned(), lookups()));
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

//! Random expressions through exim4 and Oxim: whatever either makes of a line, the other must make the same of it.
//!
//! Each row of the language gets its turns at the top of an expression, two and more levels deep; one line in nine is
//! spoilt on purpose. Lines go in batches through one `exim4 -bem` and one `oxim -bem`, with a message at hand, so that
//! header lines have contents. Differences that are meant stand in `differences.rs`, each with its reason.
//!
//! `cargo test` runs a sample; `OXIM_PROOF=full` runs all and checks that every row had its share and every listed
//! difference still occurs. `OXIM_SEED` chooses other lines; `OXIM_GENERATED` their number. What differs is written to
//! `generated-differences.txt` in the folder for temporary files, shortest first; what differs and is meant to, to
//! `generated-meant.txt`.

mod batch;
mod data;
mod delivery;
mod differences;
mod fixture;
mod grammar;
pub(crate) mod random;
mod sentence;

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::{Failed, Trial};
use oxim_lang::expand::{condition, item, operator, variable};

use crate::place;
use batch::Answer;
use fixture::Fixture;
use grammar::{CONDITIONS, ITEMS, LEFT_OUT, OPERATORS, VOLATILE};
use sentence::Writer;

/// Lines in a sample and in full.
const SAMPLE: usize = 6_000;
const FULL: usize = 100_000;
/// How often each row must be used in a full run, in lines that are two and more levels deep.
const USES_MIN: usize = 200;
/// How often each variable must be used.
const VARIABLE_USES_MIN: usize = 100;
/// Most kinds of differences that are meant.
const DIFFERENCES_MAX: usize = 50;
/// Lines that one process expands.
const BATCH: usize = 3_000;
/// Differences that are shown.
const SHOWN: usize = 80;

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("generated::every_row_has_a_pattern", every_row_has_a_pattern),
        Trial::test("generated::data_never_runs", data::data_never_runs),
        Trial::test("generated::examples_agree_with_exim4", examples_agree),
        Trial::test("generated::expressions_agree_with_exim4", expressions_agree_as_root),
    ];
    trials.extend(delivery::trials());
    trials
}

/// Who asks is seen in some variables, and what differs there is listed for root.
fn expressions_agree_as_root() -> Result<(), Failed> {
    if !std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        eprintln!("skipped: random expressions are compared as root");
        return Ok(());
    }
    expressions_agree()
}

fn is_full() -> bool {
    std::env::var_os("OXIM_PROOF").is_some_and(|v| v == "full")
}

fn number_from(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// A row that is added to the language is generated too, or says why not.
fn every_row_has_a_pattern() -> Result<(), Failed> {
    let mut faults = Vec::new();
    let mut check = |kind: &str, names: BTreeSet<&str>, table: &[(&str, &[&str])]| {
        for name in &names {
            let generated = table.iter().any(|(n, _)| n == name);
            let left_out = LEFT_OUT.iter().any(|(n, _)| n == name);
            if generated == left_out {
                faults.push(format!("{kind} {name}: neither or both generated and left out"));
            }
        }
        for (name, _) in table.iter().filter(|(n, _)| !names.contains(n)) {
            faults.push(format!("{kind} {name}: no such row"));
        }
    };
    check("item", item::ITEMS.iter().copied().flatten().map(|r| r.name).collect(), ITEMS);
    check("operator", operator::OPERATORS.iter().copied().flatten().map(|r| r.name).collect(), OPERATORS);
    check("condition", condition::CONDITIONS.iter().copied().flatten().map(|r| r.name).collect(), CONDITIONS);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

/// The examples of all rows in both programs, where exim4 knows the row.
fn examples_agree() -> Result<(), Failed> {
    if place::exim().is_none() {
        eprintln!("generated: exim4 is not installed, nothing to compare with");
        return Ok(());
    }
    let items = item::ITEMS.iter().copied().flatten().flat_map(|row| row.examples);
    let operators = operator::OPERATORS.iter().copied().flatten().flat_map(|row| row.examples);
    let conditions = condition::CONDITIONS.iter().copied().flatten().flat_map(|row| row.examples);
    let examples = items.chain(operators).chain(conditions);
    let lines: Vec<String> = examples.map(|(source, _)| (*source).to_owned()).collect();
    let fixture = Fixture::new();
    let theirs = batch::run(&fixture.exim(), &lines, &[])?;
    let ours = batch::run(&fixture.oxim(), &lines, &theirs.restarts)?;
    let mut faults = Vec::new();
    let mut unknown = 0;
    for ((line, exim), oxim) in lines.iter().zip(&theirs.answers).zip(&ours.answers) {
        let text = |answer: &Answer| match answer {
            Answer::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Answer::Crash => "(the program ended)".to_owned(),
        };
        let (exim, oxim) = (text(exim), text(oxim));
        let is_unknown = ["unknown expansion operator", "unknown condition", "is not a known operator"];
        if is_unknown.iter().any(|part| exim.contains(part)) {
            unknown += 1;
        } else if exim != oxim && differences::class(line, &exim, &oxim).is_none() {
            faults.push(format!("line {line}\nexim {exim:?}\noxim {oxim:?}"));
        }
    }
    eprintln!("generated: {} examples, {unknown} of rows that exim4 does not know", lines.len());
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n\n").into()) }
}

/// Variables with values that the programs can share, members of families among them.
fn variables() -> Vec<String> {
    let rows = variable::VARIABLES.iter().copied().flatten();
    let plain = rows.filter(|row| row.is_implemented() && !row.family).map(|row| row.name.to_owned());
    let members = ["acl_c0", "acl_m_x", "acl_arg1", "auth1", "n0", "sn9", "r_x", "regex1"];
    plain
        .chain(members.map(str::to_owned))
        .filter(|name| !VOLATILE.iter().any(|(prefix, _)| name.starts_with(prefix)))
        .collect()
}

/// Those that the oracle knows.
fn known_variables(fixture: &Fixture) -> Result<Vec<String>, Failed> {
    let names = variables();
    let lines: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
    let answers = batch::run(&fixture.exim(), &lines, &[])?.answers;
    let unknown =
        |answer: &Answer| matches!(answer, Answer::Text(t) if t.starts_with(b"Failed: unknown variable"));
    Ok(names.into_iter().zip(answers).filter(|(_, answer)| !unknown(answer)).map(|(name, _)| name).collect())
}

struct Case {
    line: String,
    exim: String,
    oxim: String,
    after: String,
}

fn expressions_agree() -> Result<(), Failed> {
    if place::exim().is_none() {
        eprintln!("generated: exim4 is not installed, nothing to compare with");
        return Ok(());
    }
    let fixture = Fixture::new();
    let variables = known_variables(&fixture)?;
    let seed = number_from("OXIM_SEED").unwrap_or(1);
    let count = number_from("OXIM_GENERATED").unwrap_or(if is_full() { FULL } else { SAMPLE });
    let folder = fixture.folder.to_string_lossy().into_owned();
    let mut writer = Writer::new(seed as u64, &variables, &folder);
    let mut unexplained = Vec::new();
    let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut meant = String::new();
    let mut previous = String::new();
    let (mut failing, mut crashes, mut turn) = (0, 0, 0);
    while turn < count {
        let lines: Vec<String> = (turn..count.min(turn + BATCH)).map(|turn| writer.line(turn)).collect();
        turn += lines.len();
        // After these exim4 may use a descriptor that belongs to something else: nothing must come after them.
        let (sockets, mut lines): (Vec<String>, Vec<String>) =
            lines.into_iter().partition(|line| line.contains("readsocket"));
        lines.extend(sockets);
        let theirs = batch::run(&fixture.exim(), &lines, &[])?;
        let ours = batch::run(&fixture.oxim(), &lines, &theirs.restarts)?;
        for ((line, exim), oxim) in lines.into_iter().zip(theirs.answers).zip(ours.answers) {
            let before = std::mem::replace(&mut previous, line.clone());
            failing += usize::from(matches!(&exim, Answer::Text(text) if text.starts_with(b"Failed:")));
            if exim == oxim {
                continue;
            }
            let Answer::Text(exim) = exim else {
                crashes += 1;
                if matches!(oxim, Answer::Text(_)) {
                    continue;
                }
                return Err(format!("both programs ended: {line}").into());
            };
            let exim = String::from_utf8_lossy(&exim).into_owned();
            let oxim = match oxim {
                Answer::Text(text) => String::from_utf8_lossy(&text).into_owned(),
                Answer::Crash => "(the program ended)".to_owned(),
            };
            // Bytes that are not UTF-8 are replaced in Oxim's error texts, which are text.
            if exim == oxim {
                continue;
            }
            match differences::class(&line, &exim, &oxim) {
                Some(name) => {
                    *classes.entry(name).or_default() += 1;
                    meant.push_str(&format!("{name}\nline {line}\nexim {exim:?}\noxim {oxim:?}\n\n"));
                }
                None => unexplained.push(Case { line, exim, oxim, after: before }),
            }
        }
    }
    eprintln!(
        "generated: {count} lines, {failing} fail, exim4 died of {crashes}, meant differences {classes:?}"
    );
    let _ = std::fs::write(std::env::temp_dir().join("generated-meant.txt"), meant);
    report(&mut unexplained, count)?;
    if is_full() { full_checks(&writer, &variables, &classes, failing, count) } else { Ok(()) }
}

fn report(unexplained: &mut [Case], count: usize) -> Result<(), Failed> {
    if unexplained.is_empty() {
        return Ok(());
    }
    unexplained.sort_by_key(|case| case.line.len());
    let shown: Vec<String> = unexplained
        .iter()
        .map(|case| {
            format!("line {}\nexim {:?}\noxim {:?}\nafter {}", case.line, case.exim, case.oxim, case.after)
        })
        .collect();
    let _ = std::fs::write(std::env::temp_dir().join("generated-differences.txt"), shown.join("\n\n"));
    let first = shown.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n\n");
    Err(format!("{} of {count} lines differ; the shortest:\n{first}", unexplained.len()).into())
}

fn full_checks(
    writer: &Writer<'_>,
    variables: &[String],
    classes: &BTreeMap<&str, usize>,
    failing: usize,
    count: usize,
) -> Result<(), Failed> {
    let mut faults = Vec::new();
    let rows = ITEMS.iter().map(|(n, _)| format!("item {n}"));
    let rows = rows.chain(OPERATORS.iter().map(|(n, _)| format!("operator {n}")));
    let rows = rows.chain(CONDITIONS.iter().map(|(n, _)| format!("condition {n}")));
    let rows = rows.map(|row| (row, USES_MIN));
    let variables = variables.iter().map(|n| (format!("variable {n}"), VARIABLE_USES_MIN));
    for (row, uses_min) in rows.chain(variables) {
        let uses = writer.uses.get(&row).copied().unwrap_or(0);
        if uses < uses_min {
            faults.push(format!("{row}: used {uses} times"));
        }
    }
    for name in differences::names().filter(|name| !classes.contains_key(name)) {
        faults.push(format!("the difference {name:?} does not occur any more: take it out"));
    }
    if differences::count() > DIFFERENCES_MAX {
        faults.push(format!("{} kinds of differences", differences::count()));
    }
    if failing * 5 < count {
        faults.push(format!("only {failing} of {count} lines fail"));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
}

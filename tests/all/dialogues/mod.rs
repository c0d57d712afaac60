//! Drawn configurations and dialogues through exim4 and Oxim: what is answered, what is logged and what lies in the spool must be
//! the same.
//!
//! A case is drawn from its number (`draw.rs`, from the tables in `configuration.rs` and `words.rs`): main options of reception, an ACL for each hook,
//! rewriting rules, authenticators, and what a client says: over `-bs`, `-bh` or to a daemon, or as input of `-bS`, `-bm` and
//! `-t`. Accepted messages stay in the spool, where header and data files are compared. Differences that are meant stand in
//! `differences.rs`, each with its reason.
//!
//! `cargo test` runs a sample; `OXIM_PROOF=full` runs all. `OXIM_SEED` chooses other cases, `OXIM_CASES` their number,
//! `OXIM_SHOWN` how many are shown, `OXIM_CASE` a single one, which is shown with all that came of it. A case that differs is made as small as it can be;
//! all of them are written to `dialogues-differences.txt` in the folder for temporary files.

mod case;
mod configuration;
mod differences;
mod draw;
mod shrink;
pub(crate) mod stage;
mod words;

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use crate::again;
use crate::oracle::line_differences;
use crate::place;
use crate::scenario::{Program, in_namespaces, is_root};
use case::Case;
use differences::Hunk;

/// Cases in a sample and in full.
const SAMPLE: usize = 60;
const FULL: usize = 1_000;
/// How many cases of a full run may still differ without a reason. The number only goes down.
const OPEN_MAX: usize = 32;
/// Cases that one pair of processes plays.
const BATCH: usize = 250;
/// Differing cases that are made small and shown.
const SHOWN: usize = 12;
/// Most kinds of differences that are meant.
const DIFFERENCES_MAX: usize = 40;

/// The trial.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("generated::dialogues_agree_with_exim4", dialogues_agree)]
}

fn number_from(name: &str) -> Option<usize> {
    std::env::var(name).ok()?.parse().ok()
}

/// What both programs made of a case.
struct Outcomes {
    exim: String,
    oxim: String,
}

/// Plays all cases to both programs, at the same time.
fn play(cases: &[Case]) -> Result<Vec<Outcomes>, Failed> {
    let theirs = cases.to_vec();
    let exim = std::thread::spawn(move || {
        play_to(&theirs, Program::Exim).map_err(|failed| failed.message().map(str::to_owned))
    });
    let oxim = play_to(cases, Program::Oxim)?;
    let exim = exim.join().unwrap().map_err(|text| Failed::from(text.unwrap_or_default()))?;
    Ok(exim.into_iter().zip(oxim).map(|(exim, oxim)| Outcomes { exim, oxim }).collect())
}

fn play_to(cases: &[Case], program: Program) -> Result<Vec<String>, Failed> {
    let work = tempfile::tempdir()?;
    let order = stage::Order { cases: cases.to_vec(), program, work: work.path().to_path_buf() };
    let order_file = work.path().join("order.json");
    std::fs::write(&order_file, serde_json::to_vec(&order)?)?;
    let output = in_namespaces("--dialogues", &order_file)?.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program:?}: the cases could not be played: {text}").into());
    }
    serde_json::from_slice(&std::fs::read(work.path().join("outcomes.json"))?).map_err(Failed::from)
}

/// What differs and is not meant to, as text, and the names of what is.
fn judge(case: &Case, outcomes: &Outcomes) -> (String, Vec<&'static str>) {
    if outcomes.exim.contains(" SIGSEGV ") {
        return (String::new(), vec!["exim4 dies"]);
    }
    let lines = line_differences(&outcomes.exim, &outcomes.oxim);
    let (mut text, mut meant, mut part, mut at) = (String::new(), Vec::new(), "", 0);
    while at < lines.len() {
        if lines[at].0 == ' ' {
            if lines[at].1.starts_with('[') && lines[at].1.ends_with(']') {
                part = lines[at].1;
            }
            at += 1;
            continue;
        }
        let end =
            lines[at..].iter().position(|(kind, _)| *kind == ' ').map_or(lines.len(), |length| at + length);
        let of = |wanted| {
            lines[at..end].iter().filter(|(kind, _)| *kind == wanted).map(|(_, line)| *line).collect()
        };
        let hunk = Hunk { part, exim: of('-'), oxim: of('+') };
        match differences::class(case, &hunk) {
            Some(name) => meant.push(name),
            None => {
                text.push_str(&format!("  {part}\n"));
                lines[at..end].iter().for_each(|(kind, line)| text.push_str(&format!("  {kind} {line}\n")));
            }
        }
        at = end;
    }
    (text, meant)
}

/// All cases that differ in every try.
fn differing(
    cases: Vec<Case>,
    meant: &mut BTreeMap<&'static str, usize>,
) -> Result<Vec<(Case, String)>, Failed> {
    let mut found = differing_once(cases, meant)?;
    for left in (1..again::tries()).rev() {
        if found.is_empty() {
            break;
        }
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.as_str()).collect();
        eprintln!("dialogues: {} cases differ, tries left: {left}\n{}", found.len(), texts.concat());
        found = differing_once(found.into_iter().map(|(case, _)| case).collect(), meant)?;
    }
    Ok(found)
}

fn differing_once(
    cases: Vec<Case>,
    meant: &mut BTreeMap<&'static str, usize>,
) -> Result<Vec<(Case, String)>, Failed> {
    let outcomes = play(&cases)?;
    let judged = cases.into_iter().zip(outcomes).map(|(case, outcomes)| {
        let (text, names) = judge(&case, &outcomes);
        names.into_iter().for_each(|name| *meant.entry(name).or_default() += 1);
        (case, text)
    });
    Ok(judged.filter(|(_, text)| !text.is_empty()).collect())
}

fn dialogues_agree() -> Result<(), Failed> {
    if place::exim().is_none() || !is_root() {
        eprintln!("dialogues: skipped, exim4 and root are wanted");
        return Ok(());
    }
    let is_full = std::env::var("OXIM_PROOF").is_ok_and(|word| word == "full");
    let seed = number_from("OXIM_SEED").unwrap_or(1) as u64;
    if let Some(number) = number_from("OXIM_CASE") {
        return show(draw::case(seed, number));
    }
    let count = number_from("OXIM_CASES").unwrap_or(if is_full { FULL } else { SAMPLE });
    let mut meant = BTreeMap::new();
    let mut found = Vec::new();
    for from in (0..count).step_by(BATCH) {
        let cases = (from..count.min(from + BATCH)).map(|number| draw::case(seed, number)).collect();
        found.extend(differing(cases, &mut meant)?);
    }
    eprintln!("dialogues: {count} cases, meant differences {meant:?}");
    if is_full && found.is_empty() {
        let names = differences::DIFFERENCES.iter().map(|row| row.name);
        let gone: Vec<&str> = names.filter(|name| !meant.contains_key(name)).collect();
        if !gone.is_empty() || differences::DIFFERENCES.len() > DIFFERENCES_MAX {
            return Err(
                format!("too many kinds of differences, or these do not occur any more: {gone:?}").into()
            );
        }
    }
    if is_full && found.len() <= OPEN_MAX {
        eprintln!("dialogues: {} cases differ and are not explained yet, {OPEN_MAX} may", found.len());
        return Ok(());
    }
    report(found, count)
}

/// Plays one case and shows what came of it.
fn show(case: Case) -> Result<(), Failed> {
    for outcomes in play(std::slice::from_ref(&case))? {
        eprintln!("{}\n--- exim4\n{}\n--- oxim\n{}", case.text(), outcomes.exim, outcomes.oxim);
    }
    Ok(())
}

fn report(mut found: Vec<(Case, String)>, count: usize) -> Result<(), Failed> {
    if found.is_empty() {
        return Ok(());
    }
    found.sort_by_key(|(case, _)| case.text().len());
    let all: Vec<String> = found.iter().map(|(case, text)| format!("{}{text}", case.text())).collect();
    let _ = std::fs::write(std::env::temp_dir().join("dialogues-differences.txt"), all.join("\n\n"));
    let number = found.len();
    let mut shown = Vec::new();
    for (case, text) in found.into_iter().take(number_from("OXIM_SHOWN").unwrap_or(SHOWN)) {
        let (case, text) = shrink::shrunk(case, text)?;
        shown.push(format!("{}(- exim4, + Oxim)\n{text}", case.text()));
    }
    Err(format!("{number} of {count} cases differ; some of them:\n{}", shown.join("\n\n")).into())
}

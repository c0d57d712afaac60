//! Oxim held against exim4 on whole configurations: both programs get the same files, command lines and messages, and
//! what they print, log and deliver is compared case by case.
//!
//! `oracle::addresses`: `-bt`, `-bv` and `-bvs`; `oracle::options`: `-bP`; `oracle::dialogue`: `-bh`;
//! `oracle::message`: a daemon and its mail; each on the
//! example configuration of Exim and on three that Debian generates. `oracle::mime`: what is delivered of messages that
//! others collected. A case that differs stands in `differences.rs` with its reason, or the test fails; one that stands
//! there and does not differ fails too. Without exim4 or without root the trials say so and pass.

mod addresses;
mod dialogue;
mod differences;
mod four;
pub(crate) mod ground;
mod message;
mod mime;
mod options;
mod sink;

use std::collections::{BTreeMap, BTreeSet};

use libtest_mimic::{Failed, Trial};

use crate::scenario::{Program, in_namespaces, is_root};
use crate::{again, place};
use differences::Difference;
use four::Four;
use ground::{Order, Task};

/// What one program did: the case, and the outcome as text. Bytes stand as characters of the same number.
pub(crate) type Record = BTreeMap<String, String>;

/// All comparisons.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for four in Four::ALL {
        for task in [Task::Addresses(four), Task::Options(four), Task::Dialogue(four), Task::Message(four)] {
            trials.push(trial(task));
        }
    }
    for part in mime::parts() {
        trials.push(trial(Task::Mime(part)));
    }
    trials
}

fn trial(task: Task) -> Trial {
    let name = format!("oracle::{}", task.name());
    again::trial(name.clone(), move || {
        if place::exim().is_none() || !is_root() {
            eprintln!("{name}: skipped, it wants exim4 and root");
            return Ok(());
        }
        if matches!(task, Task::Mime(_)) && mime::folder().is_none() {
            eprintln!("{name}: skipped, there is no folder of messages (OXIM_CONFORMANCE)");
            return Ok(());
        }
        let other = task.clone();
        let exim = std::thread::spawn(move || run_in_namespaces(other, Program::Exim));
        let oxim = run_in_namespaces(task.clone(), Program::Oxim)?;
        let exim = exim.join().unwrap()?;
        judge(&task.name(), &exim, &oxim)
    })
}

/// Compares every case; the table of known differences must hold exactly those that differ.
fn judge(test: &str, exim: &Record, oxim: &Record) -> Result<(), Failed> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (case, expected) in exim.iter().filter(|(case, _)| !case.starts_with("note ")) {
        let happened = oxim.get(case).map_or("<nothing>", String::as_str);
        if case.starts_with(options::TEXT) {
            found.extend(differing_lines(case, expected, happened));
        } else if happened != expected {
            found.insert(case.clone(), side_by_side(expected, happened));
        }
    }
    let known: Vec<&Difference> = differences::KNOWN.iter().filter(|d| d.concerns(test)).collect();
    let mut faults = String::new();
    let mut used = BTreeSet::new();
    for (case, text) in &found {
        let mut rows = known.iter().filter(|d| d.covers(case)).peekable();
        if rows.peek().is_none() {
            faults.push_str(&format!("{case}\n{text}"));
        }
        used.extend(rows.map(|d| d.case));
    }
    for row in known.iter().filter(|d| !used.contains(d.case)) {
        faults.push_str(&format!(
            "{}: no longer different: take it out of tests/all/oracle/differences.rs\n",
            row.case
        ));
    }
    if faults.is_empty() {
        return Ok(());
    }
    for note in oxim.iter().filter(|(case, _)| case.starts_with("note ")) {
        faults.push_str(&format!("[{}]\n{}\n", note.0, note.1));
    }
    Err(format!("{test} (- exim4, + Oxim)\n{faults}").into())
}

fn side_by_side(expected: &str, happened: &str) -> String {
    let mut out = String::new();
    for (kind, line) in line_differences(expected, happened) {
        out.push_str(&format!("  {kind} {}\n", line.escape_debug()));
    }
    out
}

/// A long text is compared line by line: each line that only one program has is a case of its own.
fn differing_lines(case: &str, expected: &str, happened: &str) -> Vec<(String, String)> {
    line_differences(expected, happened)
        .into_iter()
        .filter(|(kind, _)| *kind != ' ')
        .map(|(kind, line)| (format!("{case} {kind} {}", line.trim()), String::new()))
        .collect()
}

/// The lines of both texts: `-` only in the first, `+` only in the second. By longest common subsequence.
pub(crate) fn line_differences<'a>(first: &'a str, second: &'a str) -> Vec<(char, &'a str)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (first.split('\n').collect(), second.split('\n').collect());
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] =
                if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push((' ', a[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            out.push(('-', a[i]));
            i += 1;
        } else {
            out.push(('+', b[j]));
            j += 1;
        }
    }
    out
}

fn run_in_namespaces(task: Task, program: Program) -> Result<Record, Failed> {
    let work = tempfile::tempdir()?;
    let order = Order { task, program, work: work.path().to_path_buf() };
    let order_file = work.path().join("order.json");
    std::fs::write(&order_file, serde_json::to_vec(&order)?)?;
    let output = in_namespaces("--ground", &order_file)?.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program:?}: the ground failed: {text}").into());
    }
    serde_json::from_slice(&std::fs::read(work.path().join("record.json"))?).map_err(Failed::from)
}

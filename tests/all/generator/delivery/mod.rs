//! Random configurations with messages, delivered by exim4 and Oxim: routers, transports, retry and rewrite rules are drawn, and
//! addresses that go through them; filters of users and of the system; what servers answer, and what senders ask to be told. What `-bt`, `-bv` and `-bvs` say, what is delivered, logged, queued and remembered, and what
//! servers got must be the same.
//!
//! A case is a scenario; one that differs is shown with what it could be shrunk to, ready to be a file in `tests/scenarios`.
//! `cargo test` runs a few, `OXIM_PROOF=full` all; `OXIM_SEED` chooses others, `OXIM_GENERATED` their number, `OXIM_CASE` one of
//! them. All that differs goes to `generated-NAME.txt` in the folder for temporary files.

mod case;
mod differences;
mod draw;
mod filter;
mod options;
mod reports;
mod retries;
mod sieve;
mod system_filter;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use pcre2::bytes::Regex;

use super::random::Random;
use super::{is_full, number_from};
use crate::again;
use crate::place;
use crate::scenario::pattern::Names;
use crate::scenario::{self, Program};
use case::Case;

/// What is drawn for one trial.
struct Generator {
    name: &'static str,
    case: fn(&mut Random) -> Case,
    /// The seed of the sample. Others may still find differences.
    seed: usize,
    /// Cases in a sample and in full.
    sample: usize,
    full: usize,
    /// How many cases of a full run may still differ without a reason. The number only goes down.
    open_max: usize,
}

static GENERATORS: &[Generator] = &[
    Generator { name: "deliveries", case: draw::case, seed: 11, sample: 10, full: 100, open_max: 17 },
    Generator { name: "filters", case: filter::case, seed: 6, sample: 2, full: 100, open_max: 45 },
    Generator { name: "sieve_scripts", case: sieve::case, seed: 1, sample: 2, full: 100, open_max: 55 },
    Generator {
        name: "system_filters",
        case: system_filter::case,
        seed: 1,
        sample: 3,
        full: 100,
        open_max: 40,
    },
    Generator { name: "reports", case: reports::case, seed: 3, sample: 2, full: 100, open_max: 15 },
    Generator { name: "retries", case: retries::case, seed: 4, sample: 2, full: 100, open_max: 55 },
];

/// How long one case may be shrunk.
const SHRINKING: Duration = Duration::from_secs(120);

/// What a case says when it does not come to an end.
const UNSETTLED: &str = "UNSETTLED";

/// The trials.
pub(super) fn trials() -> impl Iterator<Item = Trial> {
    GENERATORS.iter().map(|generator| {
        Trial::test(format!("generated::{}_agree_with_exim4", generator.name), || generator.agree())
            .with_ignored_flag(!scenario::is_root())
    })
}

impl Generator {
    fn agree(&self) -> Result<(), Failed> {
        if place::exim().is_none() {
            eprintln!("generated: exim4 is not installed, nothing to compare with");
            return Ok(());
        }
        let Generator { name, open_max, .. } = self;
        let seed = number_from("OXIM_SEED").unwrap_or(self.seed) as u64;
        let count = number_from("OXIM_GENERATED").unwrap_or(if is_full() { self.full } else { self.sample });
        let cases = match number_from("OXIM_CASE") {
            Some(only) => only..only + 1,
            None => 0..count,
        };
        let report = std::env::temp_dir().join(format!("generated-{name}.txt"));
        let mut faults = String::new();
        let mut differing = 0;
        for number in cases {
            let case = (self.case)(&mut Random::of_case(seed, number));
            if std::env::var_os("OXIM_SHOW").is_some() {
                eprintln!("{}", case.scenario());
            }
            let mut found = differences_of(&case)?;
            for left in (1..again::tries()).rev() {
                if found.is_empty() {
                    break;
                }
                let differences = found.concat();
                eprintln!("generated: case {number} of {name} differs, tries left: {left}\n{differences}");
                found = differences_of(&case)?;
            }
            if found.is_empty() {
                continue;
            }
            eprintln!("generated: case {number} of {name} differs");
            differing += 1;
            let (case, found) = shrunk(case, found)?;
            faults.push_str(&format!("seed {seed} case {number}\n{}{}\n", case.scenario(), found.concat()));
            std::fs::write(&report, &faults)?;
        }
        if faults.is_empty() {
            return Ok(());
        }
        if is_full() && differing <= *open_max {
            eprintln!(
                "generated: {differing} cases of {name} differ and are not explained yet, {open_max} may: {}",
                report.display()
            );
            return Ok(());
        }
        Err(format!("{differing} of {count} cases differ (- exim4, + Oxim)\n{faults}").into())
    }
}

/// The lines that differ and are not meant to.
fn differences_of(case: &Case) -> Result<Vec<String>, Failed> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("case.txt");
    std::fs::write(&file, case.scenario())?;
    let (exim, oxim) = std::thread::scope(|scope| {
        let exim = scope.spawn(|| outcome(&file, Program::Exim));
        let oxim = outcome(&file, Program::Oxim);
        (exim.join().unwrap(), oxim)
    });
    let (exim, oxim) = (exim?, oxim?);
    // What is wrong with a configuration is for other trials; in an endless loop of messages there is nothing to compare.
    for end in ["configuration error", UNSETTLED] {
        if [&exim, &oxim].iter().all(|outcome| outcome.contains(end)) {
            return Ok(Vec::new());
        }
    }
    if std::env::var_os("OXIM_SHOW").is_some() {
        eprintln!("exim4:\n{exim}\n\nOxim:\n{oxim}");
    }
    Ok(differences::unmeant(&exim, &oxim))
}

/// All that a program made of a case, as text in which only what matters is left.
fn outcome(file: &std::path::Path, program: Program) -> Result<String, Failed> {
    let results = scenario::run_in_namespaces(file, program)?;
    let mut sections: Vec<usize> = results.sections.keys().copied().collect();
    sections.sort_unstable();
    let mut text = String::new();
    for section in sections {
        for (part, contents) in &results.sections[&section] {
            text.push_str(&format!("[[{part}]]\n{contents}\n"));
        }
    }
    Ok(what_matters(&Names::default().generalise(&text)))
}

/// Names and numbers that no two runs have in common, and what no mail depends on.
const VARIES: &[(&str, &str)] = &[
    (r"\d+\.[MH]\d+P\d+(?=\.host)", "<unique>"),
    (r"(?<=mail/store/<id\d>-)[0-9A-Za-z]{6}(?=\.(?:env|msg))", "<unique>"),
    (r"(?m)^-frozen \K\d+$", "<epoch>"),
    // Bounces have boundaries of different lengths, and texts of their own.
    (r"(?m)^\d{3}  (?=Content-Type: multipart)", "<size>"),
    (r"(?m)^-(?:body_linecount|max_received_linelength) .*\n", ""),
    (r"(?m)^ *\d+[mhd] +\K\S+ (?=<id\d+> <>)", "<size> "),
    (r"(?m)^> MAIL FROM:<> SIZE=\K\d+", "<size>"),
    // Lines that are kept in the spool and never sent; a mark of a version.
    (r"(?m)^\d{3}\* .*\n(?:[ \t].*\n)*", ""),
    // Who is done with: the listing of the queue tells. Exim notes what lies between recipients and deliveries too.
    (r"(?m)^(?:[YN][YN] \S.*|XX)\n", ""),
    (r"(?m)^-tls_resumption .*\n", ""),
    // What hints add to an error's number: bytes of the host list and the reply.
    (r"(?m)^  [RT]:\S+ -?\d+ \K\d+(?= )", "<more>"),
    // What docs/features/dsn.md and local-submission.md tell: Oxim says more.
    (r"(?m)^Status: \K.*", "<status>"),
    (r"(?m): error ignored\K: RFC 3461 DSN, failure notify not requested$", ""),
    (r"(?m)^Transaction started in line \K\d+$", "<number>"),
    (r"(?m)^-\K-(?=auth_sender )", ""),
    (r"(?m)^  (?:first failed|last tried|next try at): +\K\d.*", "<when>"),
    (r"hitching post \S+", "hitching post"),
    (r"near line \K\d+(?= of filter)", "<number>"),
    // Without an id, while a queue run selects.
    (r"(?m)^<time> Message is frozen\n", ""),
    // Hints files that are not there.
    (r"(?m)^ +No such file or directory .or Berkeley DB.*\n", ""),
    (r"(?m)^(?:\*\* Failed to open database lock file .*|Tidying complete)\n", ""),
];

fn what_matters(text: &str) -> String {
    let text = VARIES.iter().fold(text.to_owned(), |text, (pattern, name)| replaced(&text, pattern, name));
    let text = by_message(&text);
    // Neighbouring lines about a message's addresses may change places: exim4 routes and logs one after the other.
    let outcome = Regex::new(r"^<time> <id\d+> (?!<=|Completed|Frozen|Unfrozen)").unwrap();
    let is_outcome = |line: &&str| outcome.is_match(line.as_bytes()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    for group in lines.chunk_by_mut(|one, other| is_outcome(one) && is_outcome(other)) {
        group.sort_unstable_by_key(|line| line.replacen("->", "=>", 1));
    }
    lines.join("\n")
}

/// The log with the lines of each message together: what one submits is delivered while it goes on.
fn by_message(text: &str) -> String {
    fn message<'a>(line: &'a &str) -> Option<&'a str> {
        let (id, _) = line.strip_prefix("<time> ")?.split_once(' ')?;
        id.starts_with("<id").then_some(id)
    }
    let mut lines: Vec<&str> = text.lines().collect();
    for group in lines.chunk_by_mut(|one, other| message(one).is_some() && message(other).is_some()) {
        let before = group.to_vec();
        group.sort_by_key(|line| before.iter().position(|one| message(one) == message(line)));
    }
    lines.join("\n")
}

fn replaced(text: &str, pattern: &str, name: &str) -> String {
    let pattern = Regex::new(pattern).unwrap();
    let (mut out, mut last) = (String::new(), 0);
    for found in pattern.find_iter(text.as_bytes()) {
        let found = found.unwrap();
        out.push_str(&text[last..found.start()]);
        out.push_str(name);
        last = found.end();
    }
    out + &text[last..]
}

/// The smallest case found that still shows one of the differences.
fn shrunk(mut case: Case, mut found: Vec<String>) -> Result<(Case, Vec<String>), Failed> {
    let end = Instant::now() + SHRINKING;
    let wanted: BTreeSet<String> = found.iter().map(|line| kind(line)).collect();
    let mut from = 0;
    if std::env::var_os("OXIM_NO_SHRINK").is_some() {
        return Ok((case, found));
    }
    while let Some(smaller) = case.smaller().into_iter().nth(from) {
        if Instant::now() > end {
            break;
        }
        let differences = differences_of(&smaller)?;
        // Nothing else must come of it than what is looked at.
        if !differences.is_empty() && differences.iter().all(|line| wanted.contains(&kind(line))) {
            (case, found) = (smaller, differences);
        } else {
            from += 1;
        }
    }
    Ok((case, found))
}

/// A differing line without what is different in each case.
fn kind(line: &str) -> String {
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

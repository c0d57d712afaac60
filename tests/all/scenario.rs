//! Scenarios: one text file holds configuration, DNS, what is done, and what must come of it.
//!
//! The format is told in `tests/scenarios/README.md`. Each file is a test called `scenario::FOLDER::NAME`; where exim4
//! has the feature there is a second one, `oracle::FOLDER::NAME`, which holds the same expectations against exim4. A
//! scenario is therefore a comparison: both programs must do what the file says.

mod brightmail;
pub(crate) mod clients;
mod compare;
pub(crate) mod dns;
pub(crate) mod format;
mod mail_server;
pub(crate) mod pattern;
mod ruled_server;
pub(crate) mod stage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use crate::{again, place};
use format::Scenario;

/// Which program runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Program {
    Oxim,
    Exim,
}

/// Scenarios that Oxim does not pass yet, a name a line. A listed one that passes is a failure, so the list gets shorter.
/// With `RATCHET=show` the listed ones fail as the others do.
const RATCHET: &str = "tests/all/scenario_ratchet.txt";

fn ratchet() -> BTreeSet<String> {
    let text = std::fs::read_to_string(place::source().join(RATCHET)).unwrap_or_default();
    text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_owned).collect()
}

fn name_of(top: &Path, file: &Path) -> String {
    file.strip_prefix(top).unwrap().with_extension("").to_string_lossy().replace('/', "::")
}

/// All scenario tests.
pub(crate) fn trials() -> Vec<Trial> {
    let top = place::source().join("tests/scenarios");
    let mut files = Vec::new();
    collect(&top, &mut files);
    files.sort();
    let mut trials = Vec::new();
    let ratchet = ratchet();
    let shows_ratchet = std::env::var("RATCHET").is_ok_and(|r| r == "show");
    for name in &ratchet {
        if !files.iter().any(|f| name_of(&top, f) == *name) {
            let fault = format!("{RATCHET}: there is no scenario {name}");
            trials.push(Trial::test(format!("ratchet::{name}"), move || Err(fault.into())));
        }
    }
    for file in files {
        let name = name_of(&top, &file);
        let is_listed = ratchet.contains(&name);
        let (scenario, update) = (Scenario::read(&file), std::env::var_os("UPDATE").is_some());
        let has_oracle = scenario.as_ref().is_ok_and(|s| s.has_oracle);
        if has_oracle && place::exim().is_some() {
            let file = file.clone();
            trials.push(
                Trial::test(format!("oracle::{name}"), move || check(&file, Program::Exim, update))
                    .with_ignored_flag(!is_root()),
            );
        }
        let update = update && !has_oracle;
        let run = move || {
            scenario.as_ref().map_err(|fault| Failed::from(fault.clone()))?;
            let result = check(&file, Program::Oxim, update);
            match (is_listed && !shows_ratchet, result) {
                (true, Ok(())) => Err(format!("it passes: take it out of {RATCHET}").into()),
                (true, Err(_)) => Ok(()),
                (false, result) => result,
            }
        };
        trials.push(again::trial(format!("scenario::{name}"), run).with_ignored_flag(!is_root()));
    }
    if !is_root() {
        eprintln!(
            "skipped: scenarios need root, for users of their own and the default place of the configuration"
        );
    }
    trials
}

pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// The scenario files below a folder.
pub(crate) fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "txt") {
            files.push(path);
        }
    }
}

/// How often exim4 may show that it does what the file says. It is a group of processes that race for its log, its spool
/// and its children's pipes, and the machine may be busy; what is under test there is the file.
const EXIM_TRIES: usize = 3;

fn check(file: &Path, program: Program, update: bool) -> Result<(), Failed> {
    let tries = if program == Program::Exim && !update { EXIM_TRIES } else { 1 };
    let mut result = Ok(());
    for _ in 0..tries {
        result = check_once(file, program, update);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// One try of a file.
pub(crate) fn check_once(file: &Path, program: Program, update: bool) -> Result<(), Failed> {
    let scenario = Scenario::read(file)?;
    if brightmail::is_for(file) {
        brightmail::provide();
    }
    let results = run_in_namespaces(file, program)?;
    if update {
        std::fs::write(file, format::with_results(&scenario, &results, program))?;
        return Ok(());
    }
    let mut differences = compare::differences(&scenario, &results, program);
    if program == Program::Oxim && results.notes.contains("(os error ") {
        differences.push_str("a log has an error's number as Rust shows it: oxim_base::errno::error_text\n");
    }
    if differences.is_empty() {
        Ok(())
    } else {
        Err(format!("{program:?}, {}:\n{differences}", file.display()).into())
    }
}

/// This program, called with a flag and its order, in mount, network, host-name and process namespaces of its own: ports,
/// paths and process ids are always the same, no signal reaches another trial, and no process outlives it. A shell is the
/// first process there, as one must be that reaps orphans.
pub(crate) fn in_namespaces(flag: &str, order: &Path) -> std::io::Result<Command> {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--uts", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--", "sh", "-c", "\"$@\"; exit $?", "sh"]);
    command.arg(std::env::current_exe()?).arg(flag).arg(order);
    Ok(command)
}

/// What a program does of a scenario's file.
pub(crate) fn run_in_namespaces(file: &Path, program: Program) -> Result<stage::Results, Failed> {
    let work = tempfile::tempdir()?;
    let order = stage::Order { file: file.to_path_buf(), program, work: work.path().to_path_buf() };
    let order_file = work.path().join("order.json");
    std::fs::write(&order_file, serde_json::to_vec(&order)?)?;
    let output = in_namespaces("--stage", &order_file)?.output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{program:?}: the stage failed: {text}").into());
    }
    serde_json::from_slice(&std::fs::read(work.path().join("results.json"))?).map_err(Failed::from)
}

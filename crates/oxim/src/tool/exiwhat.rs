//! `exiwhat`: what the processes of this program are doing (manual section 54.1).
//!
//! Daemons are asked by SIGUSR1 and answer in the file of `process_log_path`. Other processes do not live long, and are not made for
//! signals: their command line tells. Needs the right to send signals, as a rule root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Call, configuration, say};
use crate::daemon::process_log;

/// How long daemons may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// SIGUSR1 in the masks of /proc.
const ASK_BIT: u64 = 1 << 9;

/// One process of ours.
struct Process {
    pid: i32,
    parent: i32,
    words: Vec<String>,
    /// It answers to SIGUSR1.
    answers: bool,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let file = match call.words.as_slice() {
        [] => None,
        [option, file] if option == b"-C" => Some(file.clone()),
        _ => {
            complain!("Usage: exiwhat [-C file]");
            return 1;
        }
    };
    let program = match configuration(file.as_deref()) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let path = process_log::path(&program.config, &program.services);
    let all = processes();
    // A worker is asked through its parent.
    let asked: Vec<&Process> =
        all.iter().filter(|p| p.answers && !all.iter().any(|q| q.answers && q.pid == p.parent)).collect();
    let _ = fs::remove_file(&path);
    let answers = asked.iter().filter(|p| kill(Pid::from_raw(p.pid), Signal::SIGUSR1).is_ok()).count();
    let text = answers_in(&path, answers);
    let mut lines: BTreeMap<i32, String> = BTreeMap::new();
    for process in all.iter().filter(|p| !p.answers && !is_part(p, &all)) {
        lines.insert(process.pid, format!("{:5} {}\n", process.pid, doing(&process.words)));
    }
    if text.is_empty() && lines.is_empty() {
        say!("No exim process data");
        return 0;
    }
    say(text);
    lines.values().for_each(say);
    0
}

/// Waits until the file has an answer of each, or for a second.
fn answers_in(path: &std::path::Path, count: usize) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let told = text.lines().filter(|line| line.contains(" daemon(")).count();
        if told >= count || Instant::now() > end {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An agent belongs to the process that started it.
fn is_part(process: &Process, all: &[Process]) -> bool {
    process.words.iter().any(|word| word.starts_with("--delivery-agent"))
        || all.iter().any(|other| other.answers && other.pid == process.parent)
}

/// All other processes that run the same file.
fn processes() -> Vec<Process> {
    let Ok(own) = fs::read_link("/proc/self/exe") else { return Vec::new() };
    let own_pid = i32::try_from(std::process::id()).unwrap_or(0);
    let mut all: Vec<Process> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::str::from_utf8(entry.file_name().as_bytes()).ok()?.parse().ok())
        .filter(|pid| *pid != own_pid)
        .filter_map(|pid| process(pid, &own))
        .collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn process(pid: i32, own: &std::path::Path) -> Option<Process> {
    let place = PathBuf::from(format!("/proc/{pid}"));
    // An upgrade leaves old processes with a file that is gone.
    let exe = fs::read_link(place.join("exe")).ok()?;
    let exe = exe.to_string_lossy();
    if exe.strip_suffix(" (deleted)").unwrap_or(&exe) != own.to_string_lossy() {
        return None;
    }
    let status = fs::read_to_string(place.join("status")).ok()?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let caught = u64::from_str_radix(field("SigCgt:")?, 16).ok()?;
    let words = fs::read(place.join("cmdline")).ok()?;
    Some(Process {
        pid,
        parent: field("PPid:")?.parse().ok()?,
        words: words
            .split(|b| *b == 0)
            .filter(|w| !w.is_empty())
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect(),
        answers: caught & ASK_BIT != 0,
    })
}

/// What a process does, by its command line.
fn doing(words: &[String]) -> String {
    let options = words.get(1..).unwrap_or_default();
    let has = |start: &str| options.iter().any(|word| word.starts_with(start));
    if has("-q") {
        "running queue".to_owned()
    } else if has("-M") {
        "delivering specified messages".to_owned()
    } else if has("-bs") || has("-bS") {
        "accepting a local SMTP message from a process".to_owned()
    } else if has("-b") && !has("-bm") {
        options.join(" ")
    } else {
        "accepting a local non-SMTP message".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_tell() {
        for (line, expected) in [
            ("exim -q", "running queue"),
            ("exim -Mc 1xUbRL-0004r9-33", "delivering specified messages"),
            ("sendmail -t", "accepting a local non-SMTP message"),
            ("exim -bs", "accepting a local SMTP message from a process"),
            ("exim -bp", "-bp"),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(doing(&words), expected);
        }
    }
}

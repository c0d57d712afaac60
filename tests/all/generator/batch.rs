//! Many lines through one process in its expansion test mode, and its answer to each.
//!
//! After each line comes one that stands for itself, by which answers of several lines are told apart. A process that
//! dies of a line is started again behind it.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

/// How long one process may take for its batch.
const BATCH_TIMEOUT: Duration = Duration::from_secs(120);

/// What a program makes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(Vec<u8>),
    /// The process ended.
    Crash,
}

/// A program with its arguments.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) words: Vec<OsString>,
    /// Where it runs: exim4 changes to its spool, so that relative file names would differ elsewhere.
    pub(crate) directory: PathBuf,
}

/// Lines that fail inside what sets `$value`, `$0` to `$3` and `$item`: exim4 leaves these as they are then, which is
/// empty. The check of a signed address forgets the last one, and sets `$0` to `$3` itself. Without them what one line leaves behind would show in the next ones.
const RESET: [&str; 8] = [
    "${prvscheck{prvs=078548828b=a@ex.org}{key}}",
    "${extract{1}{:}{}{${if bool{x}}}}",
    "${if match{}{(z?)(z?)(z?)}{${if bool{x}}}}",
    "${map{:}{${if bool{x}}}}",
    "${reduce{:}{}{${if bool{x}}}}",
    "${filter{:}{bool{x}}}",
    "${if forany{:}{bool{x}}}",
    "${sort{:a}{<}{}}",
];

/// Answers, and the places behind lines of which the process has died.
pub(crate) struct Run {
    pub(crate) answers: Vec<Answer>,
    pub(crate) restarts: Vec<usize>,
}

/// Expands all lines, in a new process at each of the places, and after each line of which one dies.
pub(crate) fn run(program: &Program, lines: &[String], restarts: &[usize]) -> Result<Run, Failed> {
    let mut run = Run { answers: Vec::new(), restarts: Vec::new() };
    while run.answers.len() < lines.len() {
        let from = run.answers.len();
        let to = restarts.iter().copied().find(|place| *place > from).unwrap_or(lines.len());
        let output = expand(program, &lines[from..to])?;
        let mut rest = output.as_slice();
        for index in 0..to - from {
            let marker = format!("> @@{index}@@\n");
            let Some(at) = find(rest, marker.as_bytes()) else { break };
            let text = rest[..at].strip_prefix(b"> ").unwrap_or(&rest[..at]);
            let mut text = text.to_vec();
            let resets = RESET.len() + usize::from(lines[from + index].contains("run"));
            for _ in 0..resets {
                text.truncate(text.windows(3).rposition(|w| w == b"\n> ").unwrap_or(text.len()));
            }
            run.answers.push(Answer::Text(text));
            rest = &rest[at + marker.len()..];
        }
        if run.answers.len() < to {
            run.answers.push(Answer::Crash);
            run.restarts.push(run.answers.len());
        }
    }
    Ok(run)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

fn expand(program: &Program, lines: &[String]) -> Result<Vec<u8>, Failed> {
    let mut input = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // What a command has written stays in $value.
        let reset = if line.contains("run") { "${run{/bin/true}}\n" } else { "" };
        input.extend_from_slice(format!("{line}\n{reset}{}\n@@{index}@@\n", RESET.join("\n")).as_bytes());
    }
    let mut child = Command::new(&program.words[0])
        .args(&program.words[1..])
        .env_clear()
        .env("HOME", "/home/of/tests")
        .env("PATH", "/usr/bin:/bin")
        .current_dir(&program.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // A process that dies leaves the rest unread.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let reader = std::thread::spawn(move || {
        let mut output = Vec::new();
        let _ = stdout.read_to_end(&mut output);
        output
    });
    wait(&mut child)?;
    let _ = writer.join();
    Ok(reader.join().unwrap())
}

fn wait(child: &mut Child) -> Result<(), Failed> {
    let deadline = Instant::now() + BATCH_TIMEOUT;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Err("a batch takes too long".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

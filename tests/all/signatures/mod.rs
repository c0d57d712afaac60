//! Signatures, chains and policies beside programs that others wrote: dkimpy and libopendkim verify what we sign and we what
//! they sign, dkimpy does the same for ARC, libopendmarc judges the same messages, authres reads our results.
//!
//! One Python process (`judge.py`) answers for all of them. `cargo test` makes a few dozen messages, `OXIM_PROOF=full` ten
//! thousand. What is not installed is said on standard error, and the trial passes; for root it is a failure.

mod dmarc;
mod history;
mod mail;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use libtest_mimic::{Failed, Trial};
use oxim_mailauth::dns::{Answer, Dns};
use serde_json::{Value, json};

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn(&mut Judge)| {
        Trial::test(format!("signatures::{name}"), move || {
            let Some(mut judge) = Judge::start()? else { return Ok(()) };
            run(&mut judge);
            Ok(())
        })
    };
    vec![
        trial("dkim_ours_by_dkimpy_and_opendkim", mail::ours_by_others),
        trial("dkim_of_dkimpy_and_opendkim_by_us", mail::theirs_by_us),
        trial("arc_both_ways_with_dkimpy", mail::chains),
        trial("dmarc_beside_opendmarc", dmarc::judged_alike),
        trial("authentication_results_by_authres", authentication_results),
        Trial::test("signatures::dmarc_history_in_mariadb", history::imported),
    ]
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

fn is_full() -> bool {
    std::env::var_os("OXIM_PROOF").is_some_and(|v| v == "full")
}

/// The process that asks the others.
struct Judge {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

const PYTHON: &str = "/usr/bin/python3";
const MODULES: &str =
    "import ctypes, dkim, nacl, authres; ctypes.CDLL('libopendkim.so.11'); ctypes.CDLL('libopendmarc.so.2')";

impl Judge {
    fn start() -> Result<Option<Judge>, Failed> {
        let probe = Command::new(PYTHON).args(["-c", MODULES]).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            let why = "dkimpy, authres, opendkim or opendmarc is not installed";
            if is_root() {
                return Err(format!("{why}: run scripts/test-packages").into());
            }
            eprintln!("skipped: {why}");
            return Ok(None);
        }
        let mut child = Command::new("timeout")
            .args([if is_full() { "3000" } else { "100" }, PYTHON, "-c", include_str!("judge.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Ok(Some(Judge { child, input, output }))
    }

    #[track_caller]
    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{question}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no answer to {question}"))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

/// A DNS that knows the keys of the trial.
struct Keys(Vec<(String, String)>);

impl Dns for Keys {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((_, value)) => Answer::Found(vec![value.clone().into_bytes()]),
            None => Answer::NotThere,
        }
    }
    fn addresses(&self, _: &str, _: bool) -> Answer<std::net::IpAddr> {
        Answer::NotThere
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::NotThere
    }
    fn names_of(&self, _: std::net::IpAddr) -> Answer<String> {
        Answer::NotThere
    }
}

/// Every `Authentication-Results:` line that a scenario shows is read by authres, and read as it was meant.
fn authentication_results(judge: &mut Judge) {
    let mut count = 0;
    let top = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    for folder in ["arc", "dkim", "dmarc", "expand", "spf"] {
        for entry in std::fs::read_dir(format!("{top}/{folder}")).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let shown =
                text.lines().filter(|line| line.starts_with("<time>")).flat_map(|line| line.split('|'));
            for line in
                shown.filter(|part| part.starts_with("Authentication-Results: ") && part.contains(';'))
            {
                // `skipped` is a word of Exim's, not of RFC 8601: the parser is to take it all the same.
                let answer = judge.ask(&json!({"op": "authres", "line": line}));
                let expected = line.split_once(": ").unwrap().1.split(';').next().unwrap().trim();
                assert_eq!(answer["name"], expected, "{line}");
                let without_comments = outside_comments(line);
                let methods = without_comments
                    .split(';')
                    .skip(1)
                    .map(|one| one.split_ascii_whitespace().next().unwrap_or_default().to_owned());
                let methods: Vec<String> = methods.collect();
                assert_eq!(answer["results"], json!(methods), "{line}");
                count += 1;
            }
        }
    }
    assert!(count > 50, "{count} lines");
}

fn outside_comments(text: &str) -> String {
    let mut depth = 0;
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

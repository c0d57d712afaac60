//! Lookups and scanners against real servers and files made by other programs' tools: what is found and what is not, quoting, wrong
//! passwords, servers that die or hang in the middle of a query, and recovery. Exim answers the same queries where it can.
//!
//! Each trial starts its own server on loopback, on a free port and in its own folder, as an unprivileged user, and ends it by
//! process id. What is not installed is said on standard error, and the trial passes.

mod files;
mod ldap;
mod mysql;
mod pgsql;
mod redis;
mod scanner_faults;
mod scanners;
mod verdicts;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use crate::{again, place};

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let trial = |name: &str, run: fn()| {
        again::trial(format!("servers::{name}"), move || {
            run();
            Ok(())
        })
    };
    vec![
        trial("files", files::made_by_their_own_tools),
        trial("damaged_files", files::damage_does_no_harm),
        trial("ldap", ldap::lookups),
        trial("mysql", mysql::lookups),
        trial("pgsql", pgsql::lookups),
        trial("pgsql_events", pgsql::events),
        trial("clamd", scanners::clamd),
        trial("redis", redis::lookups),
        trial("redis_refusals", redis::refusals),
        trial("redis_cluster", redis::cluster),
        trial("rspamd", scanners::rspamd),
        trial("rspamd_verdicts", verdicts::rspamd),
        trial("scanner_faults", scanner_faults::all),
        trial("spamd", scanners::spamd),
    ]
}

/// How long a server may take to begin; far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program by its name or path, if it is installed; else the trial is skipped.
fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin", ""];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// A folder that the unprivileged user may use.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("oxim-lookup").tempdir().unwrap();
    give_away(folder.path());
    folder
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// Lets the unprivileged user have a path.
fn give_away(path: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("-R").arg("nobody:nogroup").arg(path).status().unwrap();
        assert!(status.success());
    }
}

/// A command as the unprivileged user, in place of this process: its id is the server's.
fn unprivileged(program: &Path, folder: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(folder).env_clear().env("PATH", "/usr/bin:/usr/sbin:/bin:/sbin").env("HOME", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A loopback port that is free just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A running server. Dropped, it is killed.
struct Server {
    child: Child,
}

impl Server {
    /// Starts it, and waits until it takes connections.
    fn start(mut command: Command, port: u16) -> Server {
        let mut server = Server { child: command.spawn().unwrap() };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "no server on port {port}: {command:?}");
            assert_eq!(server.child.try_wait().unwrap(), None, "{command:?} has ended");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Stops it, and waits until all its threads stand still.
    fn pause(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let stands_still = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        let until = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&tasks).unwrap().flatten().all(stands_still) {
            assert!(Instant::now() < until, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it by a signal, and waits until it has gone.
    fn end(mut self, name: &str) {
        self.signal(name);
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// What a program makes of expressions, one process for all: one answer for each, up to the next prompt.
fn answers(program: &Path, config: &Path, expressions: &[&str]) -> Vec<String> {
    let mut child = Command::new(program)
        .arg("-C")
        .arg(config)
        .arg("-be")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A line for each answer shows where it ends.
    let mut input = child.stdin.take().unwrap();
    let lines: String = expressions.iter().map(|e| format!("{}\n@@@\n", e.replace('\n', "\\n"))).collect();
    let writer = std::thread::spawn(move || {
        let _gone = input.write_all(lines.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut out: Vec<String> = text.split("@@@\n").map(|part| part.replace("\n> ", "\n")).collect();
    out.pop();
    let bare = |part: &String| {
        part.trim_start_matches("> ").trim_end_matches("> ").trim_end_matches('\n').to_owned()
    };
    out.iter().map(bare).collect()
}

/// Checks expressions with what they must give, with Oxim and, where it gives the same, with Exim.
fn check(config: &Path, cases: &[(&str, &str)]) {
    let expressions: Vec<&str> = cases.iter().map(|(expression, _)| *expression).collect();
    let ours = answers(&place::oxim(), config, &expressions);
    assert_eq!(ours.len(), cases.len(), "{ours:#?}");
    for ((expression, expected), answer) in cases.iter().zip(&ours) {
        assert_eq!(answer, expected.trim_end_matches('\n'), "{expression}");
    }
}

/// As [`check`], and Exim must give the same.
fn check_both(config: &Path, cases: &[(&str, &str)]) {
    check(config, cases);
    let Some(exim) = place::exim().filter(|_| is_root()) else { return };
    let expressions: Vec<&str> = cases.iter().map(|(expression, _)| *expression).collect();
    for ((expression, expected), answer) in cases.iter().zip(answers(&exim, config, &expressions)) {
        assert_eq!(answer, expected.trim_end_matches('\n'), "exim4: {expression}");
    }
}

/// A configuration file in a folder.
fn config(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("exim.conf");
    std::fs::write(&path, text).unwrap();
    if is_root() {
        // Exim wants it to be root's.
        let status = Command::new("chown").arg("root:root").arg(&path).status().unwrap();
        assert!(status.success());
    }
    path
}

/// One Oxim that is asked one thing after the other, so that it keeps its connections.
struct Talk {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talk {
    fn begin(config: &Path) -> Talk {
        let mut child = Command::new(place::oxim())
            .arg("-C")
            .arg(config)
            .arg("-be")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Talk { child, input, output }
    }

    fn send(&mut self, expression: &str) {
        writeln!(self.input, "{expression}").unwrap();
        self.input.flush().unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_start_matches("> ").trim_end_matches('\n').to_owned()
    }

    fn ask(&mut self, expression: &str) -> String {
        self.send(expression);
        self.answer()
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

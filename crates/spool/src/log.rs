//! Main, reject and panic log, to files and to syslog (manual chapter 53).
//!
//! The caller gives the text after the time stamp; this adds the stamp and writes each entry with one append. A file
//! that was renamed away is noticed within a few milliseconds, by inode, and made anew. Files belong to `exim_user` even
//! if root writes. What cannot be logged is told in the panic log and on standard error; nothing here fails upward:
//! mail must go on while a log disk is full.

pub mod paths;
pub mod selectors;
mod stream;
mod syslog;

use std::path::PathBuf;

use oxim_base::clock::{Stamp, Zone};
use oxim_base::errno::error_text;
use oxim_base::text::shown;
use oxim_mail::message_id::MessageId;
use parking_lot::Mutex;

use crate::Owner;
pub use paths::{LogPaths, PathError};
pub use selectors::{LogSelectors, Selector};
use stream::Stream;
pub use syslog::SyslogConfig;
use syslog::{Priority, Syslog};

/// How logs are written. Values are expanded already.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// log_file_path, read by `LogPaths::parse`.
    pub paths: LogPaths,
    /// timezone: UTC or the machine's.
    pub zone: Zone,
    /// log_timezone.
    pub log_timezone: bool,
    /// write_rejectlog.
    pub write_rejectlog: bool,
    /// log_selector; `+millisec` and `+pid` change every line.
    pub selectors: LogSelectors,
    /// exim_user and exim_group.
    pub owner: Option<Owner>,
    /// syslog_*.
    pub syslog: SyslogConfig,
    /// Panic log entries also go to standard error, as in Exim's command-line modes.
    pub panic_to_stderr: bool,
    /// Every entry is also shown on standard error, in the form of `-v`.
    pub shows: bool,
    /// Entries go to standard error only, as under `-bv` and `-brw`.
    pub to_stderr: bool,
}

impl LogConfig {
    /// Exim's defaults, in `log/` below the spool directory.
    #[must_use]
    pub fn new(spool_directory: impl Into<PathBuf>) -> LogConfig {
        LogConfig {
            paths: LogPaths::standard(&spool_directory.into()),
            zone: Zone::Local,
            log_timezone: false,
            write_rejectlog: true,
            selectors: LogSelectors::default(),
            owner: None,
            syslog: SyslogConfig::default(),
            panic_to_stderr: false,
            shows: false,
            to_stderr: false,
        }
    }
}

/// Which log a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Main,
    Reject,
    Panic,
}

impl Kind {
    /// The word for `%s`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Main => "main",
            Kind::Reject => "reject",
            Kind::Panic => "panic",
        }
    }
}

/// The logs of this process.
pub struct Log {
    config: LogConfig,
    state: Mutex<State>,
    pid: u32,
}

struct State {
    main: Stream,
    reject: Stream,
    syslog: Option<Syslog>,
    clock: Clock,
    /// What is wrong with the paths, until it is told.
    paths_warning: Option<String>,
}

/// The stamp of the current second, made once.
#[derive(Default)]
struct Clock {
    seconds: i64,
    text: String,
    offset: String,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Log {
    /// Opens nothing yet: files are made when there is something to write.
    #[must_use]
    pub fn new(config: LogConfig) -> Log {
        let syslog = config.paths.syslog.then(|| Syslog::new(config.syslog.clone()));
        let stream = |kind| Stream::new(kind, config.paths.clone(), config.owner);
        let state = State {
            main: stream(Kind::Main),
            reject: stream(Kind::Reject),
            syslog,
            clock: Clock::default(),
            paths_warning: config.paths.warning.clone(),
        };
        Log { state: Mutex::new(state), pid: std::process::id(), config }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// What log_selector has chosen.
    #[must_use]
    pub fn selectors(&self) -> LogSelectors {
        self.config.selectors
    }

    /// The main log.
    pub fn main(&self, text: impl AsRef<[u8]>) {
        self.write(text.as_ref(), &[Kind::Main], None);
    }

    /// Several entries of the main log that follow each other, written with one append.
    pub fn main_all(&self, texts: &[String]) {
        let config = &self.config;
        if config.shows || config.to_stderr || config.paths.syslog {
            texts.iter().for_each(|text| self.main(text));
            return;
        }
        if !config.paths.files || texts.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let (stamp, date) = self.now(&mut state.clock);
        let entry = |text| Entry { stamp: &stamp, pid: self.shown_pid(), text, headers: None };
        let entries: Vec<Entry<'_>> = texts.iter().map(|text| entry(text.as_bytes())).collect();
        self.write_file(&mut state, Kind::Main, &date, &entries);
    }

    /// The reject log only. `headers` is whole lines that follow the entry.
    pub fn reject(&self, text: impl AsRef<[u8]>, headers: Option<&[u8]>) {
        self.write(text.as_ref(), &[Kind::Reject], headers);
    }

    /// Main and reject log, as for most refusals. `headers` goes to the reject log.
    pub fn main_and_reject(&self, text: impl AsRef<[u8]>, headers: Option<&[u8]>) {
        self.write(text.as_ref(), &[Kind::Main, Kind::Reject], headers);
    }

    /// The panic log only.
    pub fn panic(&self, text: impl AsRef<[u8]>) {
        self.write(text.as_ref(), &[Kind::Panic], None);
    }

    /// Main and panic log, as for most serious trouble.
    pub fn both(&self, text: impl AsRef<[u8]>) {
        self.write(text.as_ref(), &[Kind::Main, Kind::Panic], None);
    }

    /// The time stamp that a line begins with now, without a space after it: for message logs.
    #[must_use]
    pub fn stamp(&self) -> String {
        let mut state = self.state.lock();
        self.stamp_with(&mut state.clock, Stamp::now())
    }

    fn stamp_with(&self, clock: &mut Clock, now: Stamp) -> String {
        if clock.text.is_empty() || clock.seconds != now.seconds {
            clock.seconds = now.seconds;
            clock.text = now.log(self.config.zone);
            clock.offset =
                if self.config.log_timezone { now.zone_offset(self.config.zone) } else { String::new() };
        }
        let mut stamp = clock.text.clone();
        if self.config.selectors.has(Selector::Millisec) {
            stamp.push_str(&format!(".{:03}", now.micros / 1000));
        }
        if self.config.log_timezone {
            stamp.push(' ');
            stamp.push_str(&clock.offset);
        }
        stamp
    }

    /// The stamp and the day, `2026-11-21`, of an entry made now.
    fn now(&self, clock: &mut Clock) -> (String, String) {
        let stamp = self.stamp_with(clock, Stamp::now());
        let date = clock.text.get(..10).unwrap_or_default().to_owned();
        (stamp, date)
    }

    fn write(&self, text: &[u8], kinds: &[Kind], headers: Option<&[u8]>) {
        if self.config.shows {
            show(text, kinds);
        }
        let mut state = self.state.lock();
        let (stamp, date) = self.now(&mut state.clock);
        let entry = Entry { stamp: &stamp, pid: self.shown_pid(), text, headers };
        if self.config.to_stderr {
            if !self.config.shows {
                complain(&entry.line(true, None));
            }
            return;
        }
        if self.config.paths.files {
            for &kind in kinds {
                self.write_file(&mut state, kind, &date, std::slice::from_ref(&entry));
            }
        }
        if kinds.contains(&Kind::Panic) && self.config.panic_to_stderr {
            complain(&entry.line(true, None));
        }
        self.write_syslog(&mut state, kinds, &entry);
    }

    fn shown_pid(&self) -> Option<u32> {
        self.config.selectors.has(Selector::Pid).then_some(self.pid)
    }

    /// Entries of one moment, with one append.
    fn write_file(&self, state: &mut State, kind: Kind, date: &str, entries: &[Entry<'_>]) {
        if let Some(first) = entries.first()
            && let Some(warning) = state.paths_warning.take()
        {
            let entry = Entry { text: warning.as_bytes(), headers: None, ..*first };
            self.write_panic(&mut state.syslog, &entry);
        }
        let (stream, has_headers) = match kind {
            Kind::Main => (&mut state.main, false),
            Kind::Reject if !self.config.write_rejectlog => return,
            Kind::Reject => (&mut state.reject, true),
            Kind::Panic => {
                entries.iter().for_each(|entry| self.write_panic(&mut state.syslog, entry));
                return;
            }
        };
        let mut lines = Vec::new();
        for entry in entries {
            entry.append_to(&mut lines, true, entry.headers.filter(|_| has_headers));
        }
        if let Err(error) = stream.write(&lines, date) {
            let (file, error) = (stream.path(date), error_text(&error));
            let text = format!("Cannot open {} log file \"{}\": {error}", kind.word(), file.display());
            for (place, entry) in entries.iter().enumerate() {
                if place == 0 {
                    let trouble = Entry { text: text.as_bytes(), headers: None, ..*entry };
                    complain(&trouble.line(true, None));
                    self.write_panic(&mut state.syslog, &trouble);
                }
                // The entry itself must not be lost altogether.
                self.write_panic(&mut state.syslog, entry);
            }
        }
    }

    /// The panic log is opened for each entry: there are few. If that fails, syslog and standard error get it.
    fn write_panic(&self, syslog: &mut Option<Syslog>, entry: &Entry<'_>) {
        let mut stream = Stream::new(Kind::Panic, self.config.paths.clone(), self.config.owner);
        let line = entry.line(true, None);
        if let Err(error) = stream.write(&line, "") {
            complain(format!("could not open panic log: {}\n", error_text(&error)).as_bytes());
            if !self.config.panic_to_stderr {
                complain(&line);
            }
            let last_resort = syslog.get_or_insert_with(|| Syslog::new(self.config.syslog.clone()));
            last_resort.send(Priority::Critical, &entry.line(self.config.syslog.timestamp, None));
        }
    }

    fn write_syslog(&self, state: &mut State, kinds: &[Kind], entry: &Entry<'_>) {
        if !self.config.paths.syslog {
            return;
        }
        let Some(syslog) = &mut state.syslog else { return };
        let entry = Entry { pid: entry.pid.filter(|_| self.config.syslog.pid), ..*entry };
        // Of an entry for two logs the weightier copy is written alone.
        let chosen = match (self.config.syslog.duplication, kinds) {
            (false, [_, last, ..]) => std::slice::from_ref(last),
            (true, _) | (false, []) | (false, [_]) => kinds,
        };
        for kind in chosen {
            let (priority, headers) = match kind {
                Kind::Main => (Priority::Info, None),
                Kind::Reject if !self.config.write_rejectlog && kinds.len() > 1 => continue,
                Kind::Reject => (Priority::Notice, entry.headers),
                Kind::Panic => (Priority::Alert, None),
            };
            syslog.send(priority, &entry.line(self.config.syslog.timestamp, headers));
        }
    }
}

/// An entry as `-v` shows it, without the message id that it begins with.
fn show(text: &[u8], kinds: &[Kind]) {
    let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
    let (first, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    let text = if MessageId::parse(first).is_some() { rest.trim_ascii_start() } else { text };
    let mut out = "LOG:".to_owned();
    for kind in kinds {
        out.push(' ');
        out.push_str(&kind.word().to_ascii_uppercase());
    }
    out.push_str("\n  ");
    out.push_str(&shown(text));
    out.push('\n');
    complain(out.as_bytes());
}

/// The last place where something can be said.
fn complain(line: &[u8]) {
    use std::io::Write;
    // There is nobody left to tell.
    let _ = std::io::stderr().write_all(line);
}

#[derive(Clone, Copy)]
struct Entry<'a> {
    stamp: &'a str,
    pid: Option<u32>,
    text: &'a [u8],
    headers: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// The whole entry, with its line end.
    fn line(&self, with_stamp: bool, headers: Option<&[u8]>) -> Vec<u8> {
        let mut line = Vec::new();
        self.append_to(&mut line, with_stamp, headers);
        line
    }

    /// Adds the whole entry, with its line end. A line break in the text that does not continue the line, as white space
    /// after it would show, is written as `\n`: nobody can make it look like an entry of its own. It is UTF-8, whatever
    /// the text is.
    fn append_to(&self, line: &mut Vec<u8>, with_stamp: bool, headers: Option<&[u8]>) {
        line.reserve(self.text.len().saturating_add(64));
        if with_stamp {
            line.extend_from_slice(self.stamp.as_bytes());
            line.push(b' ');
        }
        if let Some(pid) = self.pid {
            line.extend_from_slice(format!("[{pid}] ").as_bytes());
        }
        let mut text: &[u8] = self.text;
        while let Some(rest) = text.strip_suffix(b"\n") {
            text = rest;
        }
        let mut rest = Some(text);
        while let Some(text) = rest {
            let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
            let (part, next) = text.split_at_checked(end).unwrap_or((text, b""));
            line.extend_from_slice(shown(part).as_bytes());
            rest = next.split_first().map(|(_, next)| next);
            if let Some(next) = rest {
                let continues = matches!(next.first(), Some(b' ' | b'\t'));
                line.extend_from_slice(if continues { b"\n" } else { b"\\n" });
            }
        }
        line.push(b'\n');
        if let Some(headers) = headers.filter(|h| !h.is_empty()) {
            line.extend_from_slice(shown(headers).as_bytes());
            if headers.last() != Some(&b'\n') {
                line.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(root: &Path) -> LogConfig {
        let mut config = LogConfig::new(root);
        config.zone = Zone::Utc;
        config
    }

    fn read(root: &Path, name: &str) -> String {
        std::fs::read_to_string(root.join("log").join(name)).unwrap_or_default()
    }

    #[test]
    fn entries_go_where_they_belong_and_look_like_exims() {
        let root = tempfile::tempdir().unwrap();
        let log = Log::new(config(root.path()));
        log.main("one");
        log.main_and_reject("two", Some(b"P Received: x\n"));
        log.both("three");
        let main = read(root.path(), "mainlog");
        let texts: Vec<&str> = main.lines().filter_map(|l| l.get(20..)).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        assert!(chrono::NaiveDateTime::parse_from_str(main.get(..19).unwrap(), "%Y-%m-%d %H:%M:%S").is_ok());
        assert!(read(root.path(), "rejectlog").ends_with(" two\nP Received: x\n"));
        assert!(read(root.path(), "paniclog").ends_with(" three\n"));
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(root.path().join("log/mainlog")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn more_than_one_path_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        let template = root.path().join("log/%slog").to_string_lossy().into_owned();
        config.paths = LogPaths::parse(&format!("{template} : /nowhere/%s"), root.path()).unwrap();
        let log = Log::new(config);
        log.main("one");
        log.main("two");
        assert_eq!(read(root.path(), "mainlog").lines().count(), 2);
        let panic = read(root.path(), "paniclog");
        assert!(panic.ends_with(&format!(" More than one path given in log_file_path: using {template}\n")));
        assert_eq!(panic.lines().count(), 1);
    }

    #[test]
    fn stamps_take_milliseconds_zone_and_pid_in_exims_order() {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        config.selectors = LogSelectors::parse("+millisec +pid").unwrap();
        config.log_timezone = true;
        Log::new(config).main("x");
        let main = read(root.path(), "mainlog");
        // 2026-11-21 03:13:32.211 +0000 [26012] x
        assert_eq!(main.get(19..20), Some("."));
        assert_eq!(main.get(23..).unwrap(), format!(" +0000 [{}] x\n", std::process::id()));
    }

    #[test]
    fn a_renamed_log_is_noticed_and_nothing_is_lost() {
        let root = tempfile::tempdir().unwrap();
        let log = Log::new(config(root.path()));
        log.main("before");
        std::fs::rename(root.path().join("log/mainlog"), root.path().join("log/mainlog.1")).unwrap();
        std::thread::sleep(stream::CHECK_INTERVAL * 2);
        log.main("after");
        assert!(read(root.path(), "mainlog.1").ends_with("before\n"));
        assert!(read(root.path(), "mainlog").ends_with("after\n"));
    }

    #[test]
    fn no_line_can_be_forged_but_continuations_stay() {
        let root = tempfile::tempdir().unwrap();
        let log = Log::new(config(root.path()));
        log.main("a\n2026-11-21 03:13:32 forged\n Suggested action: none\n");
        let main = read(root.path(), "mainlog");
        assert!(main.ends_with("a\\n2026-11-21 03:13:32 forged\n Suggested action: none\n"), "{main}");
    }

    #[test]
    fn without_write_rejectlog_there_is_none() {
        let root = tempfile::tempdir().unwrap();
        let mut config = config(root.path());
        config.write_rejectlog = false;
        Log::new(config).main_and_reject("x", None);
        assert!(!root.path().join("log/rejectlog").exists());
        assert!(read(root.path(), "mainlog").ends_with(" x\n"));
    }

    #[test]
    fn what_cannot_be_written_lands_in_the_panic_log() {
        let root = tempfile::tempdir().unwrap();
        let log = Log::new(config(root.path()));
        std::fs::create_dir_all(root.path().join("log/mainlog")).unwrap();
        log.main("entry");
        let panic = read(root.path(), "paniclog");
        assert!(panic.contains("Cannot open main log file"), "{panic}");
        assert!(panic.ends_with(" entry\n"), "{panic}");
    }
}

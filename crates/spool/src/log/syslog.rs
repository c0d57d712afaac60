//! Log entries to syslog, through the datagram socket /dev/log (manual section 53.4).
//!
//! Entries are cut at line breaks and after 870 characters, each part marked `[n/m]` or, cut at a line break, `[n\m]`.
//! A syslog that cannot be reached loses entries: there is nothing better to do, as with the C library.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use oxim_base::clock::{Stamp, Zone};

/// Longest part of an entry, in bytes.
const PART_BYTES_MAX: usize = 870;

/// The syslog options.
#[derive(Clone, Debug)]
pub struct SyslogConfig {
    /// syslog_facility: mail, user, news, uucp, daemon, local0 to local7. Others count as mail.
    pub facility: String,
    /// syslog_processname.
    pub process_name: String,
    /// syslog_timestamp: keep the stamp in the text.
    pub timestamp: bool,
    /// syslog_duplication: an entry for two logs is sent twice.
    pub duplication: bool,
    /// syslog_pid: keep the process id that `+pid` puts into the text.
    pub pid: bool,
    /// The socket.
    pub socket: PathBuf,
}

impl Default for SyslogConfig {
    fn default() -> SyslogConfig {
        SyslogConfig {
            facility: "mail".to_owned(),
            process_name: "exim".to_owned(),
            timestamp: true,
            duplication: true,
            pid: true,
            socket: PathBuf::from("/dev/log"),
        }
    }
}

impl SyslogConfig {
    /// The number of a facility; None if Exim knows no such name.
    #[must_use]
    pub fn facility_code(name: &str) -> Option<u8> {
        let table = [("user", 1), ("mail", 2), ("daemon", 3), ("news", 7), ("uucp", 8)];
        let named = table.iter().find(|(known, _)| *known == name).map(|(_, code)| *code);
        named.or_else(|| match name.strip_prefix("local").map(str::as_bytes) {
            Some([digit @ b'0'..=b'7']) => digit.checked_sub(b'0').map(|n| n.saturating_add(16)),
            Some(_) | None => None,
        })
    }
}

/// Severities in use.
#[derive(Clone, Copy, Debug)]
pub(super) enum Priority {
    Alert = 1,
    Critical = 2,
    Notice = 5,
    Info = 6,
}

pub(super) struct Syslog {
    config: SyslogConfig,
    facility: u8,
    socket: Option<UnixDatagram>,
}

impl Syslog {
    pub(super) fn new(config: SyslogConfig) -> Syslog {
        let facility = SyslogConfig::facility_code(&config.facility).unwrap_or(2);
        Syslog { config, facility, socket: None }
    }

    /// Sends an entry, in as many parts as it takes.
    pub(super) fn send(&mut self, priority: Priority, entry: &[u8]) {
        let code = self.facility.saturating_mul(8).saturating_add(priority as u8);
        let time = Stamp::now().strftime(Zone::Local, "%b %e %H:%M:%S");
        let start = format!("<{code}>{time} {}[{}]: ", self.config.process_name, std::process::id());
        for part in parts(entry) {
            let mut datagram = start.clone().into_bytes();
            datagram.extend_from_slice(&part);
            self.send_datagram(&datagram);
        }
    }

    /// The daemon may have been started again meanwhile: one more try on a new socket.
    fn send_datagram(&mut self, datagram: &[u8]) {
        for _ in 0..2 {
            if self.socket.is_none() {
                self.socket = self.connect();
            }
            match &self.socket {
                Some(socket) if socket.send(datagram).is_ok() => return,
                Some(_) | None => self.socket = None,
            }
        }
    }

    fn connect(&self) -> Option<UnixDatagram> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(&self.config.socket).ok()?;
        // A syslog that hangs must not stop the mail.
        socket.set_write_timeout(Some(std::time::Duration::from_secs(2))).ok()?;
        Some(socket)
    }
}

/// Cuts an entry, and marks the parts if there are several.
fn parts(entry: &[u8]) -> Vec<Vec<u8>> {
    let entry = entry.strip_suffix(b"\n").unwrap_or(entry);
    let mut cut: Vec<(&[u8], u8)> = Vec::new();
    let mut lines = entry.split(|b| *b == b'\n').peekable();
    while let Some(line) = lines.next() {
        let end = if lines.peek().is_some() { b'\\' } else { b'/' };
        let mut pieces = line.chunks(PART_BYTES_MAX).peekable();
        if pieces.peek().is_none() {
            cut.push((b"", end));
        }
        while let Some(piece) = pieces.next() {
            cut.push((piece, if pieces.peek().is_some() { b'/' } else { end }));
        }
    }
    let total = cut.len();
    let mark = |(n, (piece, end)): (usize, (&[u8], u8))| {
        let mut part = Vec::with_capacity(piece.len().saturating_add(16));
        if total > 1 {
            part.extend_from_slice(
                format!("[{}{}{total}] ", n.saturating_add(1), char::from(end)).as_bytes(),
            );
        }
        part.extend_from_slice(piece);
        part
    };
    cut.into_iter().enumerate().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Log, LogConfig, LogPaths, LogSelectors};
    use super::*;

    #[test]
    fn long_and_many_lined_entries_are_cut_and_marked() {
        let text = |entry: &[u8]| -> Vec<String> {
            parts(entry).into_iter().map(|p| String::from_utf8(p).unwrap()).collect()
        };
        assert_eq!(text(b"short\n"), ["short"]);
        assert_eq!(text(b"a\nb\nc\n"), ["[1\\3] a", "[2\\3] b", "[3/3] c"]);
        let long = text(&[vec![b'x'; 900], b"\ny\n".to_vec()].concat());
        assert_eq!((long.len(), long[0].len()), (3, 6 + 870));
        assert!(long[0].starts_with("[1/3] x") && long[1].starts_with("[2\\3] x") && long[2] == "[3/3] y");
    }

    #[test]
    fn facilities_are_those_of_the_manual() {
        assert_eq!(SyslogConfig::facility_code("mail"), Some(2));
        assert_eq!(SyslogConfig::facility_code("local7"), Some(23));
        assert_eq!(SyslogConfig::facility_code("local8"), None);
        assert_eq!(SyslogConfig::facility_code("kern"), None);
    }

    fn sent(change: impl FnOnce(&mut LogConfig)) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(root.path().join("log")).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        let mut config = LogConfig::new(root.path());
        config.paths = LogPaths::parse("syslog", root.path()).unwrap();
        config.syslog.socket = root.path().join("log");
        config.syslog.timestamp = false;
        change(&mut config);
        let log = Log::new(config);
        log.main_and_reject("refused", Some(b"P Received: x\n"));
        log.both("panic");
        let mut buffer = [0; 2000];
        let mut datagrams = Vec::new();
        while let Ok(count) = socket.recv(&mut buffer) {
            let text = String::from_utf8(buffer[..count].to_vec()).unwrap();
            let (priority, rest) = text.split_once('>').unwrap();
            datagrams.push(format!("{priority}> {}", rest.split_once(": ").unwrap().1));
        }
        assert!(!root.path().join("log/mainlog").exists());
        datagrams
    }

    #[test]
    fn priorities_and_duplication() {
        let all =
            ["<22> refused", "<21> [1\\2] refused", "<21> [2/2] P Received: x", "<22> panic", "<17> panic"];
        assert_eq!(sent(|_| ()), all);
        let single = ["<157> [1\\2] refused", "<157> [2/2] P Received: x", "<153> panic"];
        assert_eq!(
            sent(|c| {
                c.syslog.duplication = false;
                c.syslog.facility = "local3".to_owned();
            }),
            single
        );
        let pid = sent(|c| {
            c.selectors = LogSelectors::parse("+pid").unwrap();
            c.syslog.pid = false;
        });
        assert_eq!(pid, all);
    }
}

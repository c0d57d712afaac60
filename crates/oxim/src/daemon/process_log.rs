//! The file in which processes say what they do when they get SIGUSR1, for exiwhat (manual section 54.1).
//!
//! `process_log_path`, or `exim-process.info` in the spool directory. Lines are added; exiwhat empties the file before it asks.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_lang::config::Config;
use oxim_lang::context::{Context, Services};
use oxim_mail::message_id::MessageId;

/// Where Debian's Exim has it; with another spool directory it is there.
const USUAL: &str = "/var/spool/exim4/exim-process.info";

/// What a daemon is doing.
pub struct Doings {
    /// What the daemon is for.
    pub daemon: String,
    /// Hosts that are connected, and how often.
    pub hosts: Vec<(IpAddr, u32)>,
    /// Messages that are being delivered.
    pub deliveries: Vec<MessageId>,
    /// Queue runs.
    pub queue_runs: usize,
}

/// The file.
pub fn path(config: &Arc<Config>, services: &Arc<Services>) -> PathBuf {
    let mut context = Context::new(Arc::clone(config), Arc::clone(services));
    let text =
        config.main.process_log_path.expand(&mut context).map(|t| t.to_string_lossy()).unwrap_or_default();
    if text.is_empty() || text == USUAL {
        services.spool_directory.join("exim-process.info")
    } else {
        PathBuf::from(text)
    }
}

/// Adds the lines of one process.
pub fn append(config: &Arc<Config>, services: &Arc<Services>, pid: u32, doings: &Doings) -> io::Result<()> {
    let path = path(config, services);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| io::Error::other(format!("{}: {}", path.display(), error_text(&error))))?;
    file.write_all(lines(pid, doings).as_bytes())
}

fn lines(pid: u32, doings: &Doings) -> String {
    let mut all = vec![doings.daemon.clone()];
    all.extend((0..doings.queue_runs).map(|_| "running queue".to_owned()));
    all.extend(doings.deliveries.iter().map(|id| format!("delivering {id}")));
    for (host, count) in &doings.hosts {
        all.extend((0..*count).map(|_| format!("handling incoming connection from [{host}]")));
    }
    all.iter().map(|line| format!("{pid:5} {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_has_its_line() {
        let doings = Doings {
            daemon: "daemon(4.99): -q1h, not listening for SMTP".to_owned(),
            hosts: vec![("192.0.2.1".parse().unwrap(), 2)],
            deliveries: vec![MessageId::parse(b"1xUbRL-0004r9-33").unwrap()],
            queue_runs: 1,
        };
        assert_eq!(
            lines(7, &doings),
            "    7 daemon(4.99): -q1h, not listening for SMTP\n    7 running queue\n    7 delivering 1xUbRL-0004r9-33\n    7 handling incoming connection from [192.0.2.1]\n    7 handling incoming connection from [192.0.2.1]\n"
        );
    }
}

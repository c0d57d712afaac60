//! The control socket of a daemon, by which other processes reach it.
//!
//! A request is a line. `FLUSH` writes messages that live in the journal only as files, for admin users; the answer is a line
//! `OK` or `NO reason`; `FORGET` writes the hints in memory out and reads them anew, for the same users. `SUBMIT <bytes>` is for everybody, and is followed by a [`request::Submission`] and what was on the
//! caller's standard input (`server`, `client`). `OBEY <bytes>` is followed by the words of a command line ([`order`]); those who
//! may not give that order get `DENIED reason`. The daemon believes only the kernel about who is asking.
//!
//! The socket lies in the spool directory. Where ordinary users cannot reach that, or cannot read the configuration, they
//! find it in [`PUBLIC_FOLDER`]; a daemon that was started with `-C` or `-oX` is not that of the whole machine and
//! leaves that place alone.

pub(crate) mod client;
mod obey;
pub(crate) mod order;
pub(crate) mod request;
pub(crate) mod server;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::args::CommandLine;

/// The socket's name in the spool directory.
const NAME: &str = "oxim-control";
/// Where everybody finds the socket of the machine's own daemon.
pub(crate) const PUBLIC_FOLDER: &str = "/run/oxim";
/// How long either side waits for the other in short exchanges.
const PATIENCE: Duration = Duration::from_secs(30);

/// The socket of a daemon with this spool directory.
pub(crate) fn path(spool: &Path) -> PathBuf {
    spool.join(NAME)
}

/// The socket that everybody may find.
pub(crate) fn public_path() -> PathBuf {
    Path::new(PUBLIC_FOLDER).join("control")
}

/// Whether a daemon with this command line is the machine's own.
pub(crate) fn is_public(line: &CommandLine) -> bool {
    line.config_files.is_none() && line.listen.is_none()
}

/// Asks a running daemon to write its live messages as files. Without a daemon there is nothing to do.
pub(crate) fn flush(spool: &Path) {
    ask(spool, "FLUSH");
}

/// Asks a running daemon to write its hints out and to forget what it has of them in memory.
pub(crate) fn forget_hints(spool: &Path) {
    ask(spool, "FORGET");
}

fn ask(spool: &Path, request: &str) {
    let Ok(mut socket) = UnixStream::connect(path(spool)) else { return };
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let mut answer = String::new();
    if socket.write_all(format!("{request}\n").as_bytes()).is_ok() {
        let _ = BufReader::new(socket).read_line(&mut answer);
    }
    if !answer.starts_with("OK") {
        oxim_base::debug::line(oxim_base::debug::QUEUE_RUN, || {
            format!("the daemon did not do {request}: {answer}")
        });
    }
}

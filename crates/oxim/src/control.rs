//! The control socket in the spool directory, by which command-line modes reach a running daemon.
//!
//! One line of a request, one line of an answer. The daemon looks at who is asking (peer credentials) before it does
//! anything. Requests: `FLUSH` writes messages that live in the journal only as files.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oxim_spool::store::Store;

/// Its name in the spool directory.
const NAME: &str = "oxim-control";
/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(30);

fn path(spool: &Path) -> PathBuf {
    spool.join(NAME)
}

/// Asks a running daemon to write its live messages as files. Without a daemon there is nothing to do.
pub fn flush(spool: &Path) {
    let Ok(mut socket) = UnixStream::connect(path(spool)) else { return };
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let mut answer = String::new();
    if socket.write_all(b"FLUSH\n").is_ok() {
        let _ = BufReader::new(socket).read_line(&mut answer);
    }
    if !answer.starts_with("OK") {
        oxim_base::debug::line(oxim_base::debug::QUEUE_RUN, || {
            format!("the daemon did not write its messages out: {answer}")
        });
    }
}

/// Who may ask, and what is done for them.
pub struct Control {
    /// The messages.
    pub store: Arc<dyn Store>,
    /// Users that may ask, beside root.
    pub users: Vec<u32>,
}

/// Opens the socket and answers on a thread of its own until the process ends.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(spool: &Path, control: Control) -> io::Result<()> {
    let path = path(spool);
    // A socket that nobody answers is left over from a daemon that was killed.
    if UnixStream::connect(&path).is_err() {
        let _ = std::fs::remove_file(&path);
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for socket in listener.incoming().flatten() {
            answer(&control, socket);
        }
    })?;
    Ok(())
}

fn answer(control: &Control, socket: UnixStream) {
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let _ = socket.set_write_timeout(Some(PATIENCE));
    let asker = rustix::net::sockopt::socket_peercred(&socket).map(|c| c.uid.as_raw());
    let is_allowed = asker.is_ok_and(|uid| uid == 0 || control.users.contains(&uid));
    let mut line = String::new();
    let mut reader = BufReader::new(&socket);
    if io::Read::take(&mut reader, 4096).read_line(&mut line).is_err() {
        return;
    }
    let reply = match (is_allowed, line.trim_end()) {
        (false, _) => "NO not permitted\n".to_owned(),
        (true, "FLUSH") => control.store.flush().map_or_else(|e| format!("NO {e}\n"), |()| "OK\n".to_owned()),
        (true, _) => "NO unknown request\n".to_owned(),
    };
    let _ = (&socket).write_all(reply.as_bytes());
}

//! The daemon's side of the control socket.
//!
//! Each connection has a thread, of which there are few, and may last only so long. Errors end that connection alone.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};
use oxim_base::errno::error_text;
use oxim_receive::caller::Caller;
use oxim_receive::local::told::Told;
use oxim_receive::local::{self, batch, dialogue};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use super::PATIENCE;
use super::order::Order;
use super::request::{Chunks, Kind, REQUEST_BYTES_MAX, Submission};
use crate::args::CommandLine;
use crate::engine::Engine;
use crate::privilege;

/// Connections at the same time, in all and for one user.
const CONNECTIONS_MAX: usize = 200;
const CONNECTIONS_PER_USER_MAX: usize = 50;
/// Longest first line, in bytes.
const LINE_BYTES_MAX: u64 = 256;
/// How long a submission may take altogether, and how long its caller may be silent unless `receive_timeout` says otherwise.
const SUBMISSION_TIME_MAX: Duration = Duration::from_secs(3600);
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What answers need.
pub(crate) struct Control {
    /// The engine in use now: a reload brings another.
    pub engine: Box<dyn Fn() -> Arc<Engine> + Send + Sync>,
    /// The daemon's own command line.
    pub line: CommandLine,
    /// Runs SMTP dialogues.
    pub runtime: Handle,
    /// Connections by user.
    pub open: Mutex<HashMap<u32, usize>>,
}

/// Opens the socket at `path` and answers on threads of its own until the process ends.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve(path: &Path, control: Arc<Control>) -> io::Result<()> {
    // A socket that nobody answers is left over from a daemon that was killed.
    if UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
    let listener = UnixListener::bind(path)?;
    // Everybody may submit; for all else the kernel says who is asking.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        for socket in listener.incoming() {
            match socket {
                Ok(socket) => admit(&control, socket),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    })?;
    Ok(())
}

/// A place among those that may be open.
struct Place {
    control: Arc<Control>,
    uid: u32,
}

impl Place {
    fn take(control: &Arc<Control>, uid: u32) -> Option<Place> {
        let mut open = control.open.lock();
        let all: usize = open.values().sum();
        let own = open.entry(uid).or_default();
        if all >= CONNECTIONS_MAX || *own >= CONNECTIONS_PER_USER_MAX {
            return None;
        }
        *own = own.saturating_add(1);
        Some(Place { control: Arc::clone(control), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.control.open.lock();
        if let Some(own) = open.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

fn admit(control: &Arc<Control>, socket: UnixStream) {
    let _ = socket.set_read_timeout(Some(PATIENCE));
    let _ = socket.set_write_timeout(Some(PATIENCE));
    let Ok(peer) = rustix::net::sockopt::socket_peercred(&socket) else { return };
    let Some(place) = Place::take(control, peer.uid.as_raw()) else {
        let _ = (&socket).write_all(b"NO too many requests at the same time\n");
        return;
    };
    let thread = std::thread::Builder::new().name("request".to_owned());
    let _ = thread.spawn(move || {
        let _ = answer(&place, &socket, peer.gid.as_raw());
    });
}

fn answer(place: &Place, socket: &UnixStream, gid: u32) -> io::Result<()> {
    let mut reader = BufReader::new(socket);
    let mut line = String::new();
    (&mut reader).take(LINE_BYTES_MAX).read_line(&mut line)?;
    let engine = (place.control.engine)();
    let groups = groups_of(place.uid, gid);
    match line.trim_end().split_once(' ') {
        None if line.trim_end() == "FLUSH" => {
            let reply = if !may_command(&engine, place.uid, &groups) {
                "NO not permitted\n".to_owned()
            } else {
                engine.store.flush().map_or_else(|e| format!("NO {e}\n"), |()| "OK\n".to_owned())
            };
            (&*socket).write_all(reply.as_bytes())
        }
        None if line.trim_end() == "FORGET" => {
            let reply = match engine.services.hints.get() {
                _ if !may_command(&engine, place.uid, &groups) => "NO not permitted\n".to_owned(),
                Some(hints) => {
                    hints.forget_memory().map_or_else(|e| format!("NO {e}\n"), |()| "OK\n".to_owned())
                }
                None => "OK\n".to_owned(),
            };
            (&*socket).write_all(reply.as_bytes())
        }
        Some(("SUBMIT", length)) => {
            let submission: Submission = match read_request(&mut reader, length) {
                Ok(submission) => submission,
                Err(error) => return (&*socket).write_all(format!("NO {}\n", error_text(&error)).as_bytes()),
            };
            (&*socket).write_all(b"GO\n")?;
            let caller = caller(&engine, place.uid, gid, &groups, &submission);
            take(place, &engine, Arc::new(caller), submission, reader)
        }
        Some(("OBEY", length)) => {
            let words: Vec<Vec<u8>> = match read_request(&mut reader, length) {
                Ok(words) => words,
                Err(error) => return (&*socket).write_all(format!("NO {}\n", error_text(&error)).as_bytes()),
            };
            let Some(order) = Order::of(&words) else {
                return (&*socket).write_all(b"NO that is no order\n");
            };
            if let Some(text) = order.refusal(&engine.config, place.uid, &groups) {
                return (&*socket).write_all(format!("DENIED {text}\n").as_bytes());
            }
            (&*socket).write_all(b"GO\n")?;
            super::obey::carry_out(&engine, &place.control.line, place.uid, order.task, socket)
        }
        _ => (&*socket).write_all(b"NO unknown request\n"),
    }
}

fn may_command(engine: &Engine, uid: u32, groups: &[u32]) -> bool {
    uid == rustix::process::geteuid().as_raw() || privilege::is_admin_with(&engine.config, uid, groups)
}

fn read_request<T: DeserializeOwned>(reader: &mut impl Read, length: &str) -> io::Result<T> {
    let length: usize = length.parse().map_err(|_| io::Error::other("a length that is no number"))?;
    if length > REQUEST_BYTES_MAX {
        return Err(io::Error::other("the command line is too long"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes)
        .map_err(|_| io::Error::other("the request is of another version of the program; restart the daemon"))
}

/// The groups of a user by the group database; the kernel tells only the first.
fn groups_of(uid: u32, gid: u32) -> Vec<u32> {
    let named = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let listed = named
        .and_then(|user| CString::new(user.name).ok())
        .and_then(|name| nix::unistd::getgrouplist(&name, Gid::from_raw(gid)).ok());
    let mut groups: Vec<u32> = listed.unwrap_or_default().into_iter().map(Gid::as_raw).collect();
    groups.push(gid);
    groups
}

fn caller(engine: &Engine, uid: u32, gid: u32, groups: &[u32], submission: &Submission) -> Caller {
    let groups: Vec<Gid> = groups.iter().map(|g| Gid::from_raw(*g)).collect();
    Caller::of(
        &engine.config,
        Uid::from_raw(uid),
        Gid::from_raw(gid),
        &groups,
        submission.full_name.as_deref(),
    )
}

fn take(
    place: &Place,
    engine: &Arc<Engine>,
    caller: Arc<Caller>,
    submission: Submission,
    reader: BufReader<&UnixStream>,
) -> io::Result<()> {
    let reception = &engine.reception;
    let socket = *reader.get_ref();
    let kind = submission.kind;
    let request = submission.into_request();
    if kind == Kind::Dialogue {
        let wire = socket.try_clone()?;
        let _guard = place.control.runtime.enter();
        wire.set_nonblocking(true)?;
        let wire = Box::new(tokio::net::UnixStream::from_std(wire)?);
        let session =
            dialogue::local_over(Arc::clone(reception), caller, &request.given, request.no_qualify, wire);
        // Its client sees no more than the stream.
        let _was_cut_short = place.control.runtime.block_on(session);
        return Ok(());
    }
    let silence = Some(engine.config.main.receive_timeout).filter(|t| !t.is_zero()).unwrap_or(SILENCE_MAX);
    socket.set_read_timeout(Some(silence))?;
    let input = Chunks::new(Bounded { input: reader, until: Instant::now() + SUBMISSION_TIME_MAX });
    let told = Told::elsewhere();
    let status = if kind == Kind::Batch {
        batch::receive(reception, &caller, &request.given, request.no_qualify, input, &told)
    } else {
        local::receive_for(reception, caller, &request, input, &told)
    };
    let kept = told.into_kept();
    let head = format!("{} {} {}\n", status.0, kept.output.len(), kept.error.len());
    (&*socket).write_all(&[head.as_bytes(), kept.output.as_bytes(), kept.error.as_bytes()].concat())
}

/// A stream that may be read until then.
struct Bounded<R> {
    input: R,
    until: Instant,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() > self.until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.input.read(buffer)
    }
}

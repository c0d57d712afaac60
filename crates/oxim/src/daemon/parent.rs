//! The root parent of a daemon: opens ports, starts the worker as the Exim user, starts delivery agents, and nothing else.
//!
//! It talks to the worker over one socket: the worker sends an identity, the parent checks it and answers with one byte and,
//! if it is yes, the socket of a new agent. A worker that dies is started again with the same listening sockets.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxim_deliver::agent::Identity;
use oxim_deliver::agent::client::{Reexecute, Spawner};
use oxim_lang::config::Config;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use super::descriptors;
use super::pid_file::PidFile;
use crate::assemble::Program;

/// The word that makes this program a worker; the daemon's own words follow it.
pub const WORKER_ARGUMENT: &str = "--daemon-worker";
/// A worker that dies within this time is not started again at once.
const TOO_SOON: Duration = Duration::from_secs(5);

/// Asks the parent for agents.
pub struct AskParent(Arc<Mutex<UnixStream>>);

impl AskParent {
    /// Over the socket that the parent has given.
    #[must_use]
    pub fn new(socket: Arc<Mutex<UnixStream>>) -> AskParent {
        AskParent(socket)
    }
}

impl Spawner for AskParent {
    fn spawn(&self, identity: &Identity) -> io::Result<(UnixStream, Option<Child>)> {
        let request = postcard::to_stdvec(identity).map_err(io::Error::other)?;
        let socket = self.0.lock();
        descriptors::send(&*socket, &request, &[])?;
        let mut answer = [0; 256];
        let (count, mut sockets) = descriptors::receive(&*socket, &mut answer)?;
        match (answer.get(..count), sockets.pop()) {
            (Some([1]), Some(agent)) => Ok((UnixStream::from(agent), None)),
            (Some([]), _) => Err(io::ErrorKind::UnexpectedEof.into()),
            (text, _) => Err(io::Error::other(
                String::from_utf8_lossy(text.and_then(|t| t.get(1..)).unwrap_or_default()).into_owned(),
            )),
        }
    }
}

/// Runs the parent until SIGTERM. `words` is the daemon's own command line, for the worker.
pub fn run(
    program: &Program,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
    ready: impl FnOnce() + Send + 'static,
    pid_file: Option<PidFile>,
) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("exim: no runtime: {error}");
            return 1;
        }
    };
    let code = runtime.block_on(supervise(program, words, listeners, ready));
    drop(pid_file);
    runtime.shutdown_background();
    code
}

async fn supervise(
    program: &Program,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
    ready: impl FnOnce() + Send,
) -> u8 {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()))
    else {
        return 1;
    };
    let log = program.services.log();
    let mut ready = Some(ready);
    loop {
        let began = Instant::now();
        let mut worker = match start_worker(&program.config, words, listeners) {
            Ok(worker) => worker,
            Err(error) => {
                log.both(format!("the daemon's worker could not be started: {error}"));
                return 1;
            }
        };
        if let Some(ready) = ready.take() {
            ready();
        }
        let pid = worker.id();
        let forward = |signal: nix::sys::signal::Signal| {
            if let Some(pid) = pid.and_then(|p| i32::try_from(p).ok()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
            }
        };
        let is_ending = loop {
            tokio::select! {
                status = worker.wait() => {
                    log.both(format!("the daemon's worker ended unexpectedly ({}); it is started again", status.map_or_else(|e| e.to_string(), |s| s.to_string())));
                    break false;
                }
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break true,
                _ = hangup.recv() => forward(nix::sys::signal::Signal::SIGHUP),
            }
        };
        if is_ending {
            forward(nix::sys::signal::Signal::SIGTERM);
            let _ = worker.wait().await;
            return 0;
        }
        if began.elapsed() < TOO_SOON {
            tokio::time::sleep(TOO_SOON).await;
        }
    }
}

fn start_worker(
    config: &Arc<Config>,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
) -> io::Result<tokio::process::Child> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORKER_ARGUMENT).args(words).current_dir("/");
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = tokio::process::Command::from(command).spawn()?;
    let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    descriptors::send(&ours, b"listeners", &sockets)?;
    let never = config.main.never_users.clone();
    std::thread::Builder::new().name("agents".to_owned()).spawn(move || serve_agents(&ours, &never))?;
    Ok(child)
}

/// Answers requests for agents until the worker is gone.
fn serve_agents(socket: &UnixStream, never_users: &[u32]) {
    let mut children: Vec<Child> = Vec::new();
    let mut request = [0; 1024];
    loop {
        let count = match descriptors::receive(socket, &mut request) {
            Ok((count, _)) if count > 0 => count,
            _ => return,
        };
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        let identity: Result<Identity, _> = postcard::from_bytes(request.get(..count).unwrap_or_default());
        let answer = match identity {
            Ok(identity) if never_users.contains(&identity.uid) => {
                Err(format!("uid {} is in never_users", identity.uid))
            }
            Ok(identity) => Reexecute.spawn(&identity).map_err(|e| e.to_string()),
            Err(_) => Err("a request that makes no sense".to_owned()),
        };
        let sent = match answer {
            Ok((agent, child)) => {
                children.extend(child);
                descriptors::send(socket, &[1], &[agent.as_fd()])
            }
            Err(text) => descriptors::send(socket, &[&[0], text.as_bytes()].concat(), &[]),
        };
        if sent.is_err() {
            return;
        }
    }
}

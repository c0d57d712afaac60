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

use oxim_base::errno::error_text;
use oxim_deliver::agent::Identity;
use oxim_deliver::agent::client::{Reexecute, Spawner};
use oxim_lang::config::Config;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};

use super::descriptors;
use super::pid_file::PidFile;
use crate::assemble::Program;

/// The word that makes this program a worker; the daemon's own words follow it.
pub(crate) const WORKER_ARGUMENT: &str = "--daemon-worker";
/// What the worker's requests begin with: it is ready, or it wants an agent for the identity that follows.
const IS_READY: u8 = b'R';
const WANTS_AGENT: u8 = b'A';
/// A worker that dies within this time is one of a row, and the next one is waited with for longer.
const TOO_SOON: Duration = Duration::from_secs(5);
/// The first and the longest wait before a worker is started again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Asks the parent for agents.
pub(crate) struct AskParent(Arc<Mutex<UnixStream>>);

impl AskParent {
    /// Over the socket that the parent has given.
    #[must_use]
    pub(crate) fn new(socket: Arc<Mutex<UnixStream>>) -> AskParent {
        AskParent(socket)
    }
}

/// Tells the parent that the worker accepts connections.
pub(crate) fn tell_ready(socket: &Mutex<UnixStream>) {
    let _ = descriptors::send(&*socket.lock(), &[IS_READY], &[]);
}

impl Spawner for AskParent {
    fn spawn(&self, identity: &Identity) -> io::Result<(UnixStream, Option<Child>)> {
        let mut request = vec![WANTS_AGENT];
        request.extend(postcard::to_stdvec(identity).map_err(io::Error::other)?);
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
pub(crate) fn run(
    program: &Program,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
    ready: impl FnOnce() + Send + 'static,
    pid_file: Option<PidFile>,
) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain!("exim: no runtime: {}", error_text(&error));
            return 1;
        }
    };
    let code = runtime.block_on(supervise(program, words, listeners, ready));
    drop(pid_file);
    runtime.shutdown_background();
    code
}

/// Agents that have been started and not been waited for.
type Agents = Arc<Mutex<Vec<Child>>>;

async fn supervise(
    program: &Program,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
    ready: impl FnOnce() + Send,
) -> u8 {
    let (Ok(mut asked), Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut child)) = (
        signal(SignalKind::user_defined1()),
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
        signal(SignalKind::child()),
    ) else {
        return 1;
    };
    let log = program.services.log();
    let agents = Agents::default();
    let mut ready = Some(ready);
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        let mut started = match start_worker(&program.config, words, listeners, &agents) {
            Ok(started) => started,
            Err(error) => {
                log.both(format!("the daemon's worker could not be started: {}", error_text(&error)));
                return 1;
            }
        };
        let pid = started.worker.id();
        let forward = |signal: nix::sys::signal::Signal| {
            if let Some(pid) = pid.and_then(|p| i32::try_from(p).ok()) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
            }
        };
        let is_ending = loop {
            tokio::select! {
                status = started.worker.wait() => match status {
                    // A time limit of idleness is over.
                    Ok(status) if status.success() => return 0,
                    status => {
                        let text = status.map_or_else(|e| error_text(&e), |s| s.to_string());
                        if ready.is_some() {
                            log.both(format!("the daemon's worker could not start ({text}): daemon abandoned"));
                            return 1;
                        }
                        log.both(format!("the daemon's worker ended unexpectedly ({text}); it is started again"));
                        break false;
                    }
                },
                () = started.ready.notified() => if let Some(ready) = ready.take() { ready() },
                _ = child.recv() => reap(&agents),
                _ = terminate.recv() => break true,
                _ = interrupt.recv() => break true,
                _ = hangup.recv() => forward(nix::sys::signal::Signal::SIGHUP),
                // The worker knows what is going on, and tells it in our name.
                _ = asked.recv() => forward(nix::sys::signal::Signal::SIGUSR1),
            }
        };
        if is_ending {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
            forward(nix::sys::signal::Signal::SIGTERM);
            let _ = started.worker.wait().await;
            return 0;
        }
        pause = if began.elapsed() < TOO_SOON { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = terminate.recv() => return 0,
        }
    }
}

fn reap(agents: &Agents) {
    agents.lock().retain_mut(|agent| !matches!(agent.try_wait(), Ok(Some(_))));
}

/// A worker, and the news that it is ready.
struct Started {
    worker: tokio::process::Child,
    ready: Arc<tokio::sync::Notify>,
}

fn start_worker(
    config: &Arc<Config>,
    words: &[std::ffi::OsString],
    listeners: &[TcpListener],
    agents: &Agents,
) -> io::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(WORKER_ARGUMENT).args(words);
    // These are for the process that the service manager started.
    command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let worker = tokio::process::Command::from(command).spawn()?;
    let sockets: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    descriptors::send(&ours, b"listeners", &sockets)?;
    let ready = Arc::new(tokio::sync::Notify::new());
    let door = Door {
        socket: ours,
        never_users: config.main.never_users.clone(),
        agents: Arc::clone(agents),
        ready: Arc::clone(&ready),
    };
    std::thread::Builder::new().name("agents".to_owned()).spawn(move || door.answer_all())?;
    Ok(Started { worker, ready })
}

/// The parent's end of the socket to its worker.
struct Door {
    socket: UnixStream,
    never_users: Vec<u32>,
    agents: Agents,
    ready: Arc<tokio::sync::Notify>,
}

impl Door {
    /// Answers requests until the worker is gone.
    fn answer_all(&self) {
        let mut request = [0; 1024];
        loop {
            let count = match descriptors::receive(&self.socket, &mut request) {
                Ok((count, _)) if count > 0 => count,
                _ => return,
            };
            // The socket is a stream: the news of being ready and a request may arrive as one piece.
            let mut rest = request.get(..count).unwrap_or_default();
            while let Some((&kind, after)) = rest.split_first() {
                rest = match kind {
                    IS_READY => {
                        self.ready.notify_one();
                        after
                    }
                    WANTS_AGENT => match self.start_agent(after) {
                        Ok(left) => left,
                        Err(_) => return,
                    },
                    _ if self.refuse("a request that makes no sense").is_ok() => &[],
                    _ => return,
                };
            }
        }
    }

    fn refuse(&self, text: &str) -> io::Result<()> {
        descriptors::send(&self.socket, &[&[0], text.as_bytes()].concat(), &[])
    }

    /// Answers one request; what stands behind it.
    fn start_agent<'a>(&self, request: &'a [u8]) -> io::Result<&'a [u8]> {
        let Ok((identity, left)) = postcard::take_from_bytes::<Identity>(request) else {
            return self.refuse("a request that makes no sense").map(|()| [].as_slice());
        };
        self.answer(&identity).map(|()| left)
    }

    fn answer(&self, identity: &Identity) -> io::Result<()> {
        if self.never_users.contains(&identity.uid) {
            return self.refuse(&format!("uid {} is in never_users", identity.uid));
        }
        match Reexecute.spawn(identity) {
            Ok((agent, child)) => {
                self.agents.lock().extend(child);
                descriptors::send(&self.socket, &[1], &[agent.as_fd()])
            }
            Err(error) => self.refuse(&error.to_string()),
        }
    }
}

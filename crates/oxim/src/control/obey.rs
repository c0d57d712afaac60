//! The daemon carries out orders (`order`): attempts in this process, which has the agents; all else by a process of its own
//! user, which ends when the caller goes away.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::order::Task;
use crate::args::CommandLine;
use crate::daemon::descriptors;
use crate::engine::Engine;
use crate::environment::FOR_DAEMONS;
use crate::mode;
use crate::privilege;

/// How often a process is looked after, and its caller.
const LOOK: Duration = Duration::from_millis(20);

/// Does it and tells the caller the exit code. `line` is the daemon's own command line.
pub(super) fn carry_out(
    engine: &Arc<Engine>,
    line: &CommandLine,
    uid: u32,
    task: Task,
    socket: &UnixStream,
) -> io::Result<()> {
    let mut byte = [0];
    let (_, mut outputs) = descriptors::receive(socket, &mut byte)?;
    let (Some(error), Some(out), None) = (outputs.pop(), outputs.pop(), outputs.pop()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let code = match task {
        Task::Process(words) => wait(command(line, uid, words, out, error).spawn()?, socket)?,
        Task::Deliver(command) => mode::message::attempt(engine, &command, false, &privilege::login_of(uid)),
        Task::Run(wanted) => match mode::queue_run::options(&wanted, false) {
            Ok(options) => {
                mode::queue_run::run_over(engine, &options);
                0
            }
            Err(text) => {
                std::fs::File::from(error).write_all(format!("exim: {text}\n").as_bytes())?;
                1
            }
        },
    };
    (&*socket).write_all(format!("{code}\n").as_bytes())
}

/// This program under the caller's words and the daemon's configuration, in the caller's name.
fn command(line: &CommandLine, uid: u32, words: Vec<Vec<u8>>, out: OwnedFd, error: OwnedFd) -> Command {
    let this = std::env::current_exe().unwrap_or_else(|_| "/usr/sbin/exim".into());
    let mut words = words.into_iter().map(OsString::from_vec);
    let mut command = Command::new(this);
    command.arg0(words.next().unwrap_or_default()).args(privilege::on_behalf_words(uid, line)).args(words);
    for name in FOR_DAEMONS {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(out).stderr(error);
    command
}

/// Waits for a process; when its caller goes away it is ended.
fn wait(mut child: Child, mut socket: &UnixStream) -> io::Result<u8> {
    socket.set_read_timeout(Some(LOOK))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        match socket.read(&mut [0]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            _gone => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

//! The agent's side: become the user, then perform one job after the other until the other side closes.

use std::ffi::OsStr;
use std::io::{self, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::identity::Identity;
use super::job::{Job, JobResult, Messages, ProgramJob, Trouble, perform};
use super::wire;

/// Serves the socket that is this process's standard input. Returns when the other side has closed it.
///
/// # Errors
/// A broken connection, or a user that could not be assumed.
pub fn serve() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    detach_standard_input()?;
    serve_on(&socket)
}

/// Commands must not find the socket as their standard input, nor keep it open.
fn detach_standard_input() -> io::Result<()> {
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(())
}

/// How many messages follow a job.
pub(super) fn messages_of(job: &Job) -> usize {
    match job {
        Job::Mailbox(_) | Job::NewFile(_) | Job::Command(_) | Job::Filter(_) | Job::Lmtp(_) => 1,
        Job::NewFiles(jobs) => jobs.len(),
        Job::ReadFile(_) | Job::Exists(_) | Job::Room(_) | Job::Errand(_) | Job::Become(_) => 0,
    }
}

fn serve_on(socket: &UnixStream) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, socket);
    let mut output = socket;
    let identity: Identity = wire::receive(&mut input)?;
    match identity.assume() {
        Ok(()) => wire::send(&mut output, &JobResult::Exists(super::job::FileExists::Yes))?,
        Err(error) => {
            wire::send(&mut output, &JobResult::Deferred(Trouble::system(&error, "failed to change user")))?;
            return Err(error);
        }
    }
    loop {
        let job: Job = match wire::receive(&mut input) {
            Ok(job) => job,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Job::Become(program) = &job {
            wire::send(&mut output, &JobResult::Exists(super::job::FileExists::Yes))?;
            return Err(become_program(program, socket));
        }
        let mut messages = wire::MessageReader::new(&mut input, messages_of(&job));
        let result = perform(&job, &mut messages);
        messages.end()?;
        answer(&mut output, &job, result)?;
    }
}

/// Puts another program in the place of this process. The error is why that was not to be.
fn become_program(job: &ProgramJob, socket: &UnixStream) -> io::Error {
    let Some((program, arguments)) = job.argv.split_first() else { return io::ErrorKind::NotFound.into() };
    let ends = socket.try_clone().and_then(|input| Ok((input, socket.try_clone()?)));
    let (input, output) = match ends {
        Ok(ends) => ends,
        Err(error) => return error,
    };
    Command::new(OsStr::from_bytes(program))
        .args(arguments.iter().map(|a| OsStr::from_bytes(a)))
        .env_clear()
        .envs(job.environment.iter().map(|(n, v)| (OsStr::from_bytes(n), OsStr::from_bytes(v))))
        .stdin(Stdio::from(OwnedFd::from(input)))
        .stdout(Stdio::from(OwnedFd::from(output)))
        .exec()
}

/// What a filter printed may be longer than any answer: it goes behind it.
fn answer(output: &mut &UnixStream, job: &Job, result: JobResult) -> io::Result<()> {
    match (job, result) {
        (Job::Filter(_), JobResult::Exited { status, output: message, bytes, write_error }) => {
            wire::send(output, &JobResult::Exited { status, output: Vec::new(), bytes, write_error })?;
            wire::send_message(output, &mut message.as_slice())
        }
        (_, result) => wire::send(output, &result),
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::{FileExists, FileRead, ReadFileJob};
    use super::*;

    #[test]
    fn jobs_over_a_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let agent = std::thread::spawn(move || serve_on(&theirs));
        let mut wire_end = &ours;
        // Root would really change user; the current identity is kept only for others.
        if !rustix::process::geteuid().is_root() {
            wire::send(&mut wire_end, &Identity::current()).unwrap();
            assert_eq!(
                wire::receive::<JobResult>(&mut wire_end).unwrap(),
                JobResult::Exists(FileExists::Yes)
            );
            wire::send(
                &mut wire_end,
                &Job::ReadFile(ReadFileJob { path: b"/nonexistent".to_vec(), bytes_max: 1 }),
            )
            .unwrap();
            assert_eq!(
                wire::receive::<JobResult>(&mut wire_end).unwrap(),
                JobResult::File(FileRead::NotThere)
            );
        }
        drop(ours);
        let ended = agent.join().unwrap();
        assert!(ended.is_ok() || rustix::process::geteuid().is_root());
    }
}

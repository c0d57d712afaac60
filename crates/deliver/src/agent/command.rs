//! Runs a command with the message as its standard input (the pipe transport).
//!
//! The command gets a process group of its own, so that what it started can be ended with it. Its standard output and
//! error are one pipe, read up to a limit. A broken pipe is no error: the command's status decides.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oxim_base::errno::error_text;
use rustix::event::{PollFd, PollFlags, poll};

use super::job::{CommandJob, CommandStatus, JobResult, Trouble};
use super::mailbox_write;

/// What has become of the command: it runs, it has ended by itself, or why it was killed.
const RUNS: u8 = 0;
const ENDED: u8 = 1;
const TIMED_OUT: u8 = 2;
const TOO_MUCH: u8 = 3;

/// Runs the command. Changes the file creation mask of this process, so it must be a delivery agent.
///
/// What the command has left running may go on holding its output open: that is read until the time is over, and the command's
/// own end counts.
pub(super) fn run(job: &CommandJob, message: &mut dyn Read) -> JobResult {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(job.umask));
    limit_core_files(job.may_dump_core);
    let (stopped, stopper) = match io::pipe() {
        Ok(ends) => ends,
        Err(error) => return JobResult::Deferred(Trouble::system(&error, "failed to create a pipe")),
    };
    let (mut output, mut child) = match start(job) {
        Ok(started) => started,
        Err(error) => return not_started(job, &error),
    };
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    let state = AtomicU8::new(RUNS);
    let kill = |why: u8| {
        if state.compare_exchange(RUNS, why, Ordering::SeqCst, Ordering::SeqCst).is_ok() && group.as_raw() > 1
        {
            let _ = killpg(group, Signal::SIGKILL);
        }
    };
    let (finished, waits) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let kill = &kill;
        scope.spawn(move || {
            let limit =
                if job.timeout.is_zero() { Duration::from_secs(u64::from(u32::MAX)) } else { job.timeout };
            if matches!(waits.recv_timeout(limit), Err(mpsc::RecvTimeoutError::Timeout)) {
                kill(TIMED_OUT);
            }
            drop(stopper);
        });
        let reader =
            scope.spawn(move || read_output(&mut output, &stopped, job.output_bytes_max, || kill(TOO_MUCH)));
        let written = write_message(job, &mut child, message);
        let status = child.wait();
        let _ = state.compare_exchange(RUNS, ENDED, Ordering::SeqCst, Ordering::SeqCst);
        let text = reader.join().unwrap_or_default();
        drop(finished);
        conclude(status, state.load(Ordering::SeqCst), text, written)
    })
}

/// Core files of the command: none, or as large as this process may allow.
fn limit_core_files(may_dump_core: bool) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    let current = if may_dump_core { maximum } else { Some(0) };
    // A limit that cannot be set leaves a core file or none; mail is delivered all the same.
    let _ = setrlimit(Resource::Core, Rlimit { current, maximum });
}

fn start(job: &CommandJob) -> io::Result<(io::PipeReader, Child)> {
    let (program, arguments) =
        job.argv.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let (output, input) = io::pipe()?;
    let mut command = Command::new(OsStr::from_bytes(program));
    command.args(arguments.iter().map(|a| OsStr::from_bytes(a)));
    command
        .env_clear()
        .envs(job.environment.iter().map(|(n, v)| (OsStr::from_bytes(n), OsStr::from_bytes(v))));
    command.current_dir(OsStr::from_bytes(&job.directory)).process_group(0);
    command.stdin(Stdio::piped()).stdout(input.try_clone()?).stderr(input);
    let child = command.spawn()?;
    Ok((output, child))
}

fn not_started(job: &CommandJob, error: &io::Error) -> JobResult {
    let directory = OsStr::from_bytes(&job.directory);
    if let Err(place) = std::fs::metadata(directory) {
        return JobResult::Deferred(Trouble::system(
            &place,
            format!("failed to chdir to {}", directory.display()),
        ));
    }
    match error.raw_os_error() {
        Some(code @ (nix::libc::EAGAIN | nix::libc::ENOMEM | nix::libc::EMFILE | nix::libc::ENFILE)) => {
            JobResult::Deferred(Trouble::found(code, "failed to create a process for the command"))
        }
        code => JobResult::Exited {
            status: CommandStatus::NotStarted(code.unwrap_or(0)),
            output: Vec::new(),
            bytes: 0,
            write_error: None,
        },
    }
}

/// Reads until the end, or until the other pipe is closed.
fn read_output(
    output: &mut io::PipeReader,
    stopped: &io::PipeReader,
    limit: u64,
    over: impl FnOnce(),
) -> Vec<u8> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut text = Vec::new();
    let mut block = vec![0; 16 * 1024];
    while text.len() <= limit {
        let mut ends = [PollFd::new(&*output, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut ends, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return text,
            Ok(_) => {}
        }
        if ends.first().is_some_and(|end| end.revents().is_empty()) {
            return text;
        }
        match output.read(&mut block) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return text,
            Ok(count) => text.extend_from_slice(block.get(..count).unwrap_or_default()),
        }
    }
    text.truncate(limit);
    over();
    text
}

/// The bytes that were written, or why they could not be. A command that does not want them all is no error.
fn write_message(job: &CommandJob, child: &mut Child, message: &mut dyn Read) -> Result<u64, String> {
    let Some(mut stdin) = child.stdin.take() else { return Ok(0) };
    match mailbox_write::copy(message, &mut stdin, &job.framing) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(error_text(&error)),
    }
}

fn conclude(
    status: io::Result<ExitStatus>,
    state: u8,
    output: Vec<u8>,
    written: Result<u64, String>,
) -> JobResult {
    let status = match (state, status) {
        (TIMED_OUT, _) => CommandStatus::TimedOut,
        (TOO_MUCH, _) => CommandStatus::TooMuchOutput,
        (_, Ok(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => CommandStatus::Code(code),
            (None, signal) => CommandStatus::Signal(signal.unwrap_or(0)),
        },
        (_, Err(error)) => {
            return JobResult::Deferred(Trouble::system(&error, "wait for the command failed"));
        }
    };
    let (bytes, write_error) = match written {
        Ok(bytes) => (bytes, None),
        Err(error) => (0, Some(error)),
    };
    JobResult::Exited { status, output, bytes, write_error }
}

#[cfg(test)]
mod tests {
    use super::super::job::Framing;
    use super::*;

    fn job(script: &str) -> CommandJob {
        CommandJob {
            argv: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), script.as_bytes().to_vec()],
            environment: vec![(b"X".to_vec(), b"value".to_vec())],
            directory: b"/".to_vec(),
            umask: 0o022,
            may_dump_core: false,
            timeout: Duration::from_secs(20),
            output_bytes_max: 1000,
            framing: Framing::default(),
        }
    }

    fn exited(result: JobResult) -> (CommandStatus, String) {
        let JobResult::Exited { status, output, .. } = result else { panic!("{result:?}") };
        (status, String::from_utf8(output).unwrap())
    }

    #[test]
    fn output_status_and_environment() {
        let result = run(&job("cat; echo $X $HOME; pwd; echo err >&2; exit 3"), &mut &b"message\n"[..]);
        assert_eq!(exited(result), (CommandStatus::Code(3), "message\nvalue\n/\nerr\n".to_owned()));
    }

    #[test]
    fn a_command_that_reads_nothing_is_no_error() {
        let big = vec![b'x'; 1_000_000];
        assert_eq!(exited(run(&job("exit 0"), &mut &big[..])).0, CommandStatus::Code(0));
    }

    #[test]
    fn what_is_left_behind_with_the_output_is_not_waited_for_beyond_the_time() {
        let mut job = job("echo said; sleep 5 & exit 4");
        job.timeout = Duration::from_secs(1);
        assert_eq!(exited(run(&job, &mut &b""[..])), (CommandStatus::Code(4), "said\n".to_owned()));
    }

    #[test]
    fn limits() {
        let mut slow = job("sleep 60");
        slow.timeout = Duration::from_millis(200);
        assert_eq!(exited(run(&slow, &mut &b""[..])).0, CommandStatus::TimedOut);
        assert_eq!(exited(run(&job("yes"), &mut &b""[..])).0, CommandStatus::TooMuchOutput);
        assert_eq!(exited(run(&job("kill -9 $$"), &mut &b""[..])).0, CommandStatus::Signal(9));
        let mut absent = job("");
        absent.argv = vec![b"/nonexistent/program".to_vec()];
        assert_eq!(exited(run(&absent, &mut &b""[..])).0, CommandStatus::NotStarted(nix::libc::ENOENT));
        let mut nowhere = job("true");
        nowhere.directory = b"/nonexistent".to_vec();
        assert!(matches!(run(&nowhere, &mut &b""[..]), JobResult::Deferred(_)));
    }
}

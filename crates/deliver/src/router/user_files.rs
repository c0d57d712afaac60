//! Files that routers look at on behalf of a user: `.forward`, `:include:` lists, `require_files`.
//!
//! A process that is root never opens them itself: an agent that has become the user does. Manual section 22.2.

use std::io;
use std::os::unix::net::UnixStream;
use std::process::Child;

use oxim_base::errno::errno_text;
use oxim_lang::errand::{Brought, Errand};
use oxim_lang::expand::ExpandError;

use crate::agent::job::{CommandJob, FileExists, FileRead, MailboxJob, ProgramJob, ReadFileJob};
use crate::agent::{Agents, Identity, Job, JobResult};
use crate::transport::error_code;

/// Reads and asks for files, and runs commands, as a user.
pub trait UserFiles: Send + Sync {
    /// The contents of a file, as the user, or as this process if no user is given.
    fn read(&self, user: Option<&Identity>, path: &[u8], bytes_max: u64) -> FileRead;

    /// Whether a path exists.
    fn exists(&self, user: Option<&Identity>, path: &[u8]) -> FileExists;

    /// Adds a text to a file, which is made with this mode if it is not there.
    ///
    /// # Errors
    /// What the system says.
    fn append(&self, user: Option<&Identity>, path: &[u8], mode: u32, text: &[u8]) -> Result<(), String>;

    /// Runs a command that reads nothing.
    fn run(&self, user: &Identity, job: CommandJob) -> JobResult;

    /// Does what an expansion in a user's filter has come to.
    ///
    /// # Errors
    /// What the expansion says.
    fn act(&self, user: &Identity, errand: Errand) -> Result<Brought, ExpandError>;

    /// Starts a program that talks over a socket.
    ///
    /// # Errors
    /// It cannot be started.
    fn start(&self, user: &Identity, job: ProgramJob) -> io::Result<(UnixStream, Option<Child>)>;
}

impl UserFiles for Agents {
    fn read(&self, user: Option<&Identity>, path: &[u8], bytes_max: u64) -> FileRead {
        let job = Job::ReadFile(ReadFileJob { path: path.to_vec(), bytes_max });
        match self.ask(user, &job) {
            JobResult::File(read) => read,
            JobResult::Deferred(trouble) | JobResult::Failed(trouble) => {
                let code = if trouble.code == 0 { error_code::AGENT_LOST } else { trouble.code };
                FileRead::Error(code, trouble.text)
            }
            JobResult::Delivered { .. }
            | JobResult::OtherTransport(_)
            | JobResult::Exited { .. }
            | JobResult::Lmtp(_)
            | JobResult::Each(_)
            | JobResult::Exists(_)
            | JobResult::Brought(_) => {
                FileRead::Error(0, "unexpected answer from the delivery agent".to_owned())
            }
        }
    }

    fn exists(&self, user: Option<&Identity>, path: &[u8]) -> FileExists {
        match self.ask(user, &Job::Exists(path.to_vec())) {
            JobResult::Exists(answer) => answer,
            JobResult::Deferred(trouble) | JobResult::Failed(trouble) => FileExists::Error(trouble.code),
            JobResult::Delivered { .. }
            | JobResult::OtherTransport(_)
            | JobResult::Exited { .. }
            | JobResult::Lmtp(_)
            | JobResult::Each(_)
            | JobResult::Brought(_)
            | JobResult::File(_) => FileExists::Error(0),
        }
    }

    fn append(&self, user: Option<&Identity>, path: &[u8], mode: u32, text: &[u8]) -> Result<(), String> {
        let here = Identity::current();
        let job = Job::Mailbox(MailboxJob::plain(path, mode, text));
        let who = user.unwrap_or(&here);
        match self.perform(who, &job, &mut &*text) {
            JobResult::Deferred(trouble) | JobResult::Failed(trouble) if trouble.code > 0 => {
                let mut text = errno_text(trouble.code);
                if trouble.code == nix::libc::EACCES {
                    text.push_str(&format!(" (euid={} egid={})", who.uid, who.gid));
                }
                Err(text)
            }
            JobResult::Deferred(trouble) | JobResult::Failed(trouble) => Err(trouble.text),
            JobResult::Delivered { .. }
            | JobResult::OtherTransport(_)
            | JobResult::Exited { .. }
            | JobResult::Lmtp(_)
            | JobResult::Each(_)
            | JobResult::File(_)
            | JobResult::Exists(_)
            | JobResult::Brought(_) => Ok(()),
        }
    }

    fn run(&self, user: &Identity, job: CommandJob) -> JobResult {
        self.ask(Some(user), &Job::Command(job))
    }

    fn act(&self, user: &Identity, errand: Errand) -> Result<Brought, ExpandError> {
        match self.ask(Some(user), &Job::Errand(errand)) {
            JobResult::Brought(brought) => brought,
            JobResult::Deferred(trouble) | JobResult::Failed(trouble) => {
                Err(ExpandError::Defer(trouble.text))
            }
            JobResult::Delivered { .. }
            | JobResult::OtherTransport(_)
            | JobResult::Exited { .. }
            | JobResult::Lmtp(_)
            | JobResult::Each(_)
            | JobResult::File(_)
            | JobResult::Exists(_) => {
                Err(ExpandError::Defer("unexpected answer from the delivery agent".to_owned()))
            }
        }
    }

    fn start(&self, user: &Identity, job: ProgramJob) -> io::Result<(UnixStream, Option<Child>)> {
        self.start_program(user, job)
    }
}

impl Agents {
    fn ask(&self, user: Option<&Identity>, job: &Job) -> JobResult {
        let here = Identity::current();
        self.perform(user.unwrap_or(&here), job, &mut std::io::empty())
    }
}

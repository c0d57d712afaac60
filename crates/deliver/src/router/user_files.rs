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
        let answer = self.ask(user, &job);
        if let JobResult::File(read) = answer {
            return read;
        }
        let trouble = answer.trouble();
        let code = if trouble.code == 0 { error_code::AGENT_LOST } else { trouble.code };
        FileRead::Error(code, trouble.text)
    }

    fn exists(&self, user: Option<&Identity>, path: &[u8]) -> FileExists {
        let answer = self.ask(user, &Job::Exists(path.to_vec()));
        if let JobResult::Exists(exists) = answer {
            return exists;
        }
        FileExists::Error(answer.trouble().code)
    }

    fn append(&self, user: Option<&Identity>, path: &[u8], mode: u32, text: &[u8]) -> Result<(), String> {
        let here = Identity::current();
        let job = Job::Mailbox(MailboxJob::plain(path, mode, text));
        let who = user.unwrap_or(&here);
        let answer = self.perform(who, &job, &mut &*text);
        if matches!(answer, JobResult::Delivered { .. }) {
            return Ok(());
        }
        let trouble = answer.trouble();
        if trouble.code <= 0 {
            return Err(trouble.text);
        }
        let mut text = errno_text(trouble.code);
        if trouble.code == nix::libc::EACCES {
            text.push_str(&format!(" (euid={} egid={})", who.uid, who.gid));
        }
        Err(text)
    }

    fn run(&self, user: &Identity, job: CommandJob) -> JobResult {
        self.ask(Some(user), &Job::Command(job))
    }

    fn act(&self, user: &Identity, errand: Errand) -> Result<Brought, ExpandError> {
        let answer = self.ask(Some(user), &Job::Errand(errand));
        if let JobResult::Brought(brought) = answer {
            return brought;
        }
        Err(ExpandError::Defer(answer.trouble().text))
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

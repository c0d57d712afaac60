//! What an agent can be asked to do, with every value resolved, and what it answers.

use std::io::{self, Read};
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_lang::errand::{Brought, Errand};
use oxim_lang::expand::ExpandError;
use serde::{Deserialize, Serialize};

use super::{command, mailbox, new_file, user_file};
use crate::transport::error_code;

/// One request to an agent. The message, where one is needed, follows as a stream of bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Append to a single file (mbox or MBX).
    Mailbox(MailboxJob),
    /// Write a new file or set of files in a directory.
    NewFile(NewFileJob),
    /// Several of these, each with a message of its own that follows: what they write goes to the disk together.
    NewFiles(Vec<NewFileJob>),
    /// Run a command with the message as its standard input.
    Command(CommandJob),
    /// The same, but what the command prints is a message: it follows the answer as a stream.
    Filter(CommandJob),
    /// Read a file of the user's (`.forward`), after checks of owner and mode.
    ReadFile(ReadFileJob),
    /// Deliver over LMTP to a command or a socket.
    Lmtp(super::lmtp::LmtpJob),
    /// Ask whether paths exist and can be read (`require_files`).
    Exists(Vec<u8>),
    /// Ask whether a mailbox has room for a message (`verify = recipient/quota`).
    Room(RoomJob),
    /// Do what an expansion in the user's filter has come to.
    Errand(Errand),
    /// Become another program, which has the socket as its standard input and output. Nothing comes after this.
    Become(ProgramJob),
}

/// How a whole message is changed while it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Framing {
    /// Written before the message.
    pub prefix: Vec<u8>,
    /// Written after the message.
    pub suffix: Vec<u8>,
    /// A line that begins with this gets `escape_string` in its place.
    pub check_string: Vec<u8>,
    /// See `check_string`.
    pub escape_string: Vec<u8>,
    /// Lines end in CR LF.
    pub use_crlf: bool,
}

/// Which locks protect a single-file mailbox (manual section 26.3).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Locking {
    /// `mailbox.lock` beside the mailbox.
    pub lockfile: bool,
    /// fcntl() on the open file.
    pub fcntl: bool,
    /// flock() on the open file.
    pub flock: bool,
    /// The MBX rules: shared lock on the mailbox, exclusive lock on a file in /tmp.
    pub mbx: bool,
    /// Mode of lock files.
    pub lockfile_mode: u32,
    /// A lock file older than this is stale.
    pub lockfile_timeout: Duration,
    /// How often to try.
    pub retries: u32,
    /// Pause between tries.
    pub interval: Duration,
    /// Blocking fcntl() with this limit instead of polling, if not zero.
    pub fcntl_timeout: Duration,
    /// Blocking flock() with this limit instead of polling, if not zero.
    pub flock_timeout: Duration,
    /// Part of the hitching post's name.
    pub host_name: Vec<u8>,
}

/// A size limit of a mailbox.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quota {
    /// Bytes; 0 is no limit.
    pub bytes: u64,
    /// The limit is watched, not enforced (`/no_check`).
    pub bytes_no_check: bool,
    /// Files; 0 is no limit.
    pub files: u64,
    /// See `bytes_no_check`.
    pub files_no_check: bool,
    /// The message counts towards the limit (`quota_is_inclusive`).
    pub inclusive: bool,
    /// A warning is due when the size passes this many bytes; 0 is never.
    pub warn_bytes: u64,
    /// Finds a file's size in its name.
    pub size_regex: Option<String>,
    /// Where to count, if not in the delivery directory.
    pub directory: Option<Vec<u8>>,
    /// The size as an external source gives it.
    pub known_bytes: Option<u64>,
    /// The number of files as an external source gives it.
    pub known_files: Option<u64>,
}

impl Quota {
    /// Whether the mailbox has to be measured at all.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.bytes > 0 || self.files > 0 || self.warn_bytes > 0
    }
}

/// Where files may be created (`create_file`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreateWhere {
    /// Anywhere.
    Anywhere,
    /// In or below the home directory; names made of foreign data may be used there.
    BelowHome(Option<Vec<u8>>),
    /// In the home directory itself.
    InHome(Option<Vec<u8>>),
    /// Below a given path; names made of foreign data may be used there.
    Below(Vec<u8>),
}

/// Creation of directories.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directories {
    /// Missing directories are made.
    pub create: bool,
    /// Their mode.
    pub mode: u32,
    /// Where that is allowed.
    pub allowed: CreateWhere,
}

/// Append to a single file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailboxJob {
    /// Absolute path.
    pub path: Vec<u8>,
    /// How the message is written.
    pub framing: Framing,
    /// MBX instead of mbox.
    pub mbx_format: bool,
    /// Whose new mail the comsat service is told of (`notify_comsat`).
    pub comsat_user: Option<Vec<u8>>,
    /// Which locks to take.
    pub locking: Locking,
    /// Mode of the file.
    pub mode: u32,
    /// The mode comes from a filter's `save` and is forced.
    pub mode_forced: bool,
    /// A file with fewer permissions than `mode` is an error.
    pub mode_fail_narrower: bool,
    /// The owner must be the user delivered as.
    pub check_owner: bool,
    /// The group must be the group delivered as.
    pub check_group: bool,
    /// The file must be there already.
    pub must_exist: bool,
    /// A FIFO may be written to.
    pub allow_fifo: bool,
    /// A symbolic link may be followed.
    pub allow_symlink: bool,
    /// Missing directories.
    pub directories: Directories,
    /// Pairs of a string that the file may begin with and the transport for such files.
    pub formats: Vec<(Vec<u8>, String)>,
    /// The transport that made the job, for `formats`.
    pub transport: String,
    /// Size limit.
    pub quota: Quota,
    /// Size of the message as it was received, in bytes: what the quota is asked for.
    pub message_bytes: u64,
}

impl MailboxJob {
    /// Adds a text to a file as it is, under an fcntl() lock. The file is made with this mode if it is not there; its directory is not.
    #[must_use]
    pub fn plain(path: &[u8], mode: u32, text: &[u8]) -> MailboxJob {
        MailboxJob {
            path: path.to_vec(),
            framing: Framing::default(),
            mbx_format: false,
            comsat_user: None,
            locking: Locking {
                lockfile: false,
                fcntl: true,
                flock: false,
                mbx: false,
                lockfile_mode: 0o600,
                lockfile_timeout: Duration::ZERO,
                retries: 3,
                interval: Duration::from_millis(100),
                fcntl_timeout: Duration::ZERO,
                flock_timeout: Duration::ZERO,
                host_name: Vec::new(),
            },
            mode,
            mode_forced: false,
            mode_fail_narrower: false,
            check_owner: false,
            check_group: false,
            must_exist: false,
            allow_fifo: false,
            allow_symlink: true,
            directories: Directories { create: false, mode: 0o700, allowed: CreateWhere::Anywhere },
            formats: Vec::new(),
            transport: String::new(),
            quota: Quota::default(),
            message_bytes: u64::try_from(text.len()).unwrap_or(0),
        }
    }
}

/// The three ways of writing one file a message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NewFileForm {
    /// maildir.
    Maildir {
        /// Added to the name in `new`.
        tag: Vec<u8>,
        /// Tries for an unused name.
        retries: u32,
        /// A `maildirfolder` file is made in the directory.
        make_folder_file: bool,
        /// The maildirsize file is kept: the regular expression of directories that count.
        size_file: Option<String>,
    },
    /// mailstore: an envelope file and a message file.
    Mailstore {
        /// Base name of both files (`$mailstore_basename`), unique by message id, process and time.
        base: Vec<u8>,
        /// Contents of the .env file.
        envelope: Vec<u8>,
    },
    /// The two files of a message in a spool, `ID-D` with the message that follows and `ID-H`.
    Queue {
        /// The message id.
        id: String,
        /// The transport, for error texts.
        transport: String,
        /// Contents of `ID-H`.
        header: Vec<u8>,
    },
    /// One file with a name of the postmaster's; `\0` stands for the inode number.
    Plain {
        /// See above.
        name: Vec<u8>,
    },
}

/// Write a new file in a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewFileJob {
    /// Absolute path of the delivery directory.
    pub directory: Vec<u8>,
    /// Which form.
    pub form: NewFileForm,
    /// How the message is written.
    pub framing: Framing,
    /// Mode of the file.
    pub mode: u32,
    /// Missing directories.
    pub directories: Directories,
    /// Size limit.
    pub quota: Quota,
    /// Size of the message as it was received, in bytes: what the quota is asked for.
    pub message_bytes: u64,
    /// Part of the file's name.
    pub host_name: Vec<u8>,
}

/// Ask whether a mailbox has room for one more message; nothing is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RoomJob {
    /// A single file.
    File {
        /// Absolute path.
        path: Vec<u8>,
        /// Size limit.
        quota: Quota,
        /// Size of the message, in bytes.
        message_bytes: u64,
    },
    /// A directory, as it would be written to.
    Directory(Box<NewFileJob>),
}

/// Run a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommandJob {
    /// Absolute path of the program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where it runs.
    pub directory: Vec<u8>,
    /// File creation mask.
    pub umask: u32,
    /// The command may leave a core file (`permit_coredump`).
    pub may_dump_core: bool,
    /// The command is killed after this time; zero is never.
    pub timeout: Duration,
    /// The command is killed when it prints more than this many bytes.
    pub output_bytes_max: u64,
    /// How the message is written.
    pub framing: Framing,
}

/// A program that takes the agent's place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramJob {
    /// Absolute path of the program and its arguments.
    pub argv: Vec<Vec<u8>>,
    /// The whole environment.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Read a file of the user's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadFileJob {
    /// Absolute path.
    pub path: Vec<u8>,
    /// Largest size that is read, in bytes.
    pub bytes_max: u64,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobResult {
    /// The message is on disk.
    Delivered {
        /// Bytes written.
        bytes: u64,
        /// The quota warning threshold was passed by this message.
        quota_warning: bool,
    },
    /// The file belongs to another transport (`file_format`).
    OtherTransport(String),
    /// The command ended.
    Exited {
        /// Its status.
        status: CommandStatus,
        /// What it printed, cut at `output_bytes_max`.
        output: Vec<u8>,
        /// How much of the message was written to it, in bytes.
        bytes: u64,
        /// The message could not be written to it completely.
        write_error: Option<String>,
    },
    /// What came of each of several jobs.
    Each(Vec<JobResult>),
    /// What was said about each recipient.
    Lmtp(Vec<super::lmtp::LmtpAnswer>),
    /// A file's contents and facts.
    File(FileRead),
    /// Answer to [`Job::Exists`].
    Exists(FileExists),
    /// What came of an errand.
    Brought(Result<Brought, ExpandError>),
    /// Try again later.
    Deferred(Trouble),
    /// Never.
    Failed(Trouble),
}

impl JobResult {
    /// Why an answer is not the one that was waited for: what went wrong, or that it answers another question.
    #[must_use]
    pub fn trouble(self) -> Trouble {
        if let JobResult::Deferred(trouble) | JobResult::Failed(trouble) = self {
            return trouble;
        }
        Trouble::found(error_code::AGENT_LOST, "unexpected answer from the delivery agent")
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandStatus {
    /// Return code.
    Code(i32),
    /// Signal number.
    Signal(i32),
    /// It ran longer than allowed and was killed.
    TimedOut,
    /// It printed more than allowed and was killed.
    TooMuchOutput,
    /// It could not be started: the errno.
    NotStarted(i32),
}

/// What is known of a file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRead {
    /// It is not there (ENOENT).
    NotThere,
    /// It is there.
    Contents {
        /// Bytes.
        data: Vec<u8>,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    /// It cannot be had now: errno and text.
    Error(i32, String),
}

/// Three answers about a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileExists {
    /// There.
    Yes,
    /// Not there.
    No,
    /// Cannot tell: errno.
    Error(i32),
}

/// Why a job did not succeed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The system's errno, or one of the negative codes of [`crate::transport::error_code`].
    pub code: i32,
    /// Seconds since the mailbox was last read, for quota errors and their retry rules.
    pub quota_age: Option<u64>,
    /// The text for the log.
    pub text: String,
    /// Something is wrong enough that the message should be frozen.
    pub freeze: bool,
}

impl Trouble {
    /// A trouble that the system reported: its text is `what`; the number tells the rest.
    pub(crate) fn system(error: &std::io::Error, what: impl Into<String>) -> Trouble {
        match error.raw_os_error() {
            // Log lines and bounces put the system's words beside the number.
            Some(code) => Trouble { code, text: what.into(), ..Trouble::default() },
            None => Trouble { text: format!("{}: {}", what.into(), error_text(error)), ..Trouble::default() },
        }
    }

    /// A trouble that this program found.
    pub(crate) fn found(code: i32, text: impl Into<String>) -> Trouble {
        Trouble { code, text: text.into(), ..Trouble::default() }
    }
}

/// The messages that go with a job, one after the other: each whole, with LF line ends, header, blank line, body.
pub trait Messages {
    /// The next one; nothing when there are no more. It need not be read to its end.
    fn next(&mut self) -> &mut dyn Read;

    /// Passes over what has not been read.
    ///
    /// # Errors
    /// Not all that was to come has come, and who wanted the job done will not hear of it.
    fn end(&mut self) -> io::Result<()>;
}

/// Messages of this process.
pub(super) struct InTurn<'a, 'm> {
    rest: std::slice::IterMut<'a, &'m mut dyn Read>,
    none: io::Empty,
}

impl<'a, 'm> InTurn<'a, 'm> {
    pub(super) fn new(messages: &'a mut [&'m mut dyn Read]) -> Self {
        InTurn { rest: messages.iter_mut(), none: io::empty() }
    }
}

impl Messages for InTurn<'_, '_> {
    fn next(&mut self) -> &mut dyn Read {
        match self.rest.next() {
            Some(message) => &mut **message,
            None => &mut self.none,
        }
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Performs a job as the user that this process is.
pub fn perform(job: &Job, messages: &mut dyn Messages) -> JobResult {
    match job {
        Job::Mailbox(job) => mailbox::append(job, messages.next()),
        Job::NewFile(job) => new_file::write(job, messages.next()),
        Job::NewFiles(jobs) => JobResult::Each(new_file::write_together(jobs, messages)),
        Job::Command(job) | Job::Filter(job) => command::run(job, messages.next()),
        Job::Lmtp(job) => super::lmtp::deliver(job, messages.next()),
        Job::ReadFile(job) => JobResult::File(user_file::read(job)),
        Job::Exists(path) => JobResult::Exists(user_file::exists(path)),
        Job::Room(job) => super::room::check(job),
        Job::Errand(errand) => JobResult::Brought(errand.perform()),
        Job::Become(_) => JobResult::Failed(Trouble {
            text: "only an agent can become another program".to_owned(),
            ..Trouble::default()
        }),
    }
}

//! Why something could not be made to last, or was not there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxim_base::errno::error_text;
use rustix::io::Errno;

/// Why the spool could not do it. Clone, because one failed flush answers many waiting messages.
#[derive(Clone, Debug)]
pub enum SpoolError {
    /// No space, no inodes, over quota: the client should be told 452.
    Full {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Any other failure of the machine, out of descriptors among them: 451 or 421.
    Local {
        /// What was being touched.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The holder's lease was taken away meanwhile; what it wanted to write was not written.
    Stale,
    /// A value cannot be written to a spool file, such as an address with a line break.
    Unwritable(String),
    /// The spool is closing down.
    Closed,
}

impl SpoolError {
    /// Sorts a system error by what the client should be told.
    #[must_use]
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> SpoolError {
        let full = [Errno::NOSPC, Errno::DQUOT, Errno::FBIG]
            .iter()
            .any(|e| Some(e.raw_os_error()) == source.raw_os_error());
        let (path, source) = (path.as_ref().to_owned(), Arc::new(source));
        if full { SpoolError::Full { path, source } } else { SpoolError::Local { path, source } }
    }

    /// The system error, if there was one.
    #[must_use]
    pub fn source_io(&self) -> Option<&io::Error> {
        match self {
            SpoolError::Full { source, .. } | SpoolError::Local { source, .. } => Some(source),
            SpoolError::Stale | SpoolError::Unwritable(_) | SpoolError::Closed => None,
        }
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpoolError::Full { path, source } | SpoolError::Local { path, source } => {
                write!(f, "spool file {}: {}", path.display(), error_text(source))
            }
            SpoolError::Stale => f.write_str("the claim on the message was taken away"),
            SpoolError::Unwritable(what) => write!(f, "cannot be written to the spool: {what}"),
            SpoolError::Closed => f.write_str("the spool is closing down"),
        }
    }
}

impl std::error::Error for SpoolError {}

/// Why a message could not be claimed or read.
#[derive(Debug)]
pub enum ClaimError {
    /// Another delivery, here or in another process, has it.
    Busy,
    /// There is no such message (any more).
    Gone,
    /// It has a -D file that nobody holds, and no -H.
    NoHeader,
    /// Its -H file cannot be understood; it stays as it is.
    Corrupt(String),
    /// Its -D file does not begin with its own name, as each does; it stays as it is.
    CorruptData {
        /// How long the file is.
        size: u64,
    },
    /// The machine failed: ask again later.
    Local(io::Error),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Busy => f.write_str("spool file is locked"),
            ClaimError::Gone => f.write_str("no such message"),
            ClaimError::NoHeader => f.write_str("spool read error: No such file or directory"),
            ClaimError::Corrupt(what) => write!(f, "spool format error: {what}"),
            ClaimError::CorruptData { size } => write!(f, "spool format error: data file, size={size}"),
            ClaimError::Local(error) => write!(f, "spool read error: {}", error_text(error)),
        }
    }
}

impl std::error::Error for ClaimError {}

impl From<io::Error> for ClaimError {
    fn from(error: io::Error) -> ClaimError {
        if error.kind() == io::ErrorKind::NotFound { ClaimError::Gone } else { ClaimError::Local(error) }
    }
}

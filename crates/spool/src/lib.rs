//! What lasts on disk: messages, hints, logs. It knows nothing of the configuration language.
//!
//! A tour:
//! - `message`: what Exim's -H file holds (manual chapter 57), as data;
//! - `files`: Exim's -H, -D and -J files, opened so that symbolic links cannot lead astray;
//! - `journal`: the group commit in front of them, and its replay after a crash;
//! - `store`: the trait through which everything above sees messages, and the local store behind it;
//! - `durable`: where all of it is forced to the disk;
//! - `hints`: retry times, callout results and kin in one SQLite database;
//! - `log`: main, reject and panic log, syslog, the log selectors.
//!
//! `docs/spool-states.md` lists the legal states of a message on disk and the instant of acceptance.

pub mod durable;
pub mod error;
mod fault;
pub mod files;
pub mod hints;
mod journal;
pub mod log;
pub mod message;
pub mod store;

pub use error::SpoolError;

/// Whose the files are, when root writes them (`exim_user` and `exim_group`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Where serious trouble is told: the panic log, as the caller has it.
pub type Report = std::sync::Arc<dyn Fn(&str) + Send + Sync>;

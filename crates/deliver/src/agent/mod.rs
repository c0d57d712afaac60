//! The delivery agent: the only code that acts as the user that mail is delivered to.
//!
//! A delivering process that is root never touches a user's files itself. It starts this program again, under another
//! mode; that process gives up root for good (`identity`), then takes resolved jobs from its standard input, one at a
//! time: append this message to that file, run that command, read that `.forward`. Agents are kept and reused for the
//! next delivery to the same user. A process that is already the right user performs the same jobs in place.
//!
//! The agent never reads the configuration and expands nothing: every value in a [`job::Job`] is final.

pub mod client;
mod command;
mod comsat;
pub mod identity;
pub mod job;
pub mod lmtp;
mod lock;
mod mailbox;
mod mailbox_write;
mod maildirsize;
pub(crate) mod new_file;
mod path;
mod quota;
mod room;
pub mod server;
pub mod user_file;
mod wire;

pub use client::Agents;
pub use identity::Identity;
pub use job::{Job, JobResult};

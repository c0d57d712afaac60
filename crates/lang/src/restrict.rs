//! What expansions of a filter may do, and with whose rights.
//!
//! A filter belongs to a user. `Context::local.restrictions` holds what the postmaster forbids it (`forbid_filter_…`)
//! and, where the process is another user, who acts in the user's place: reads files, runs commands, looks up in files,
//! asks sockets. Checks of passwords need rights that no user has, and are refused. Manual chapter 22.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::Child;

use crate::context::Context;
use crate::errand::{Brought, Errand};
use crate::expand::{ExpandError, PerlSlot};

/// What the postmaster forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forbidden {
    /// The `exists` condition and the `stat` operator.
    pub existstest: bool,
    /// `${lookup`.
    pub lookup: bool,
    /// `${perl`.
    pub perl: bool,
    /// `${readfile`.
    pub readfile: bool,
    /// `${readsocket`.
    pub readsocket: bool,
    /// `${run`.
    pub run: bool,
}

/// Acts with a user's rights.
pub trait AsUser: Send + Sync + fmt::Debug {
    /// The contents of a file; the error is what the system says.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, String>;

    /// Whether the path exists and the user may know it.
    fn exists(&self, path: &[u8]) -> bool;

    /// Does what an expansion has come to.
    ///
    /// # Errors
    /// What the expansion says.
    fn act(&self, errand: Errand) -> Result<Brought, ExpandError>;

    /// Starts a program whose standard input and output are the socket that is given back; with the process, if it is
    /// ours to wait for.
    ///
    /// # Errors
    /// It cannot be started.
    fn start(&self, words: &[&str]) -> io::Result<(UnixStream, Option<Child>)>;
}

/// The restrictions of one filter.
#[derive(Debug, Default)]
pub struct Restrictions {
    /// What the postmaster forbids.
    pub forbidden: Forbidden,
    /// Who acts for the user; `None` if the process is that user.
    pub user: Option<std::sync::Arc<dyn AsUser>>,
    /// The user's Perl interpreter, from its first call to the end of the filter.
    pub perl: PerlSlot,
}

/// Refuses what is forbidden, with Exim's text.
///
/// # Errors
/// It is forbidden.
pub(crate) fn check(
    context: &Context,
    forbidden: impl Fn(&Forbidden) -> bool,
    text: &str,
) -> Result<(), ExpandError> {
    match &context.local.restrictions {
        Some(restrictions) if forbidden(&restrictions.forbidden) => Err(ExpandError::Failed(text.to_owned())),
        _ => Ok(()),
    }
}

/// Who acts for the user, if this process must not.
pub(crate) fn user(context: &Context) -> Option<&dyn AsUser> {
    context.local.restrictions.as_ref()?.user.as_deref()
}

/// Has an errand done by the filter's user, if this process must not do it.
pub(crate) fn by_user(
    context: &Context,
    errand: impl FnOnce() -> Errand,
) -> Option<Result<Brought, ExpandError>> {
    user(context).map(|user| user.act(errand()))
}

/// Refuses what can only be done with the rights of this process.
///
/// # Errors
/// The process is not the user.
pub(crate) fn need_own_rights(context: &Context, what: &str) -> Result<(), String> {
    match user(context) {
        Some(_) => Err(format!("{what} is not permitted in filters of users")),
        None => Ok(()),
    }
}

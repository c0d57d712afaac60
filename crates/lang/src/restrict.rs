//! What expansions of a filter may do, and with whose rights.
//!
//! A filter belongs to a user. `Context::local.restrictions` holds what the postmaster forbids it (`forbid_filter_…`)
//! and, where the process is another user, who reads files in the user's place. What cannot be done with the user's
//! rights is refused: running commands, lookups and lists in files, Unix-domain sockets. Manual chapter 22.

use std::fmt;

use crate::context::Context;
use crate::expand::ExpandError;

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

/// Reads files with a user's rights.
pub trait AsUser: Send + Sync + fmt::Debug {
    /// The contents of a file; the error is what the system says.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, String>;

    /// Whether the path exists and the user may know it.
    fn exists(&self, path: &[u8]) -> bool;
}

/// The restrictions of one filter.
#[derive(Debug, Default)]
pub struct Restrictions {
    /// What the postmaster forbids.
    pub forbidden: Forbidden,
    /// Who reads for the user; `None` if the process is that user.
    pub user: Option<std::sync::Arc<dyn AsUser>>,
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

/// Who reads for the user, if this process must not.
pub(crate) fn user(context: &Context) -> Option<&dyn AsUser> {
    context.local.restrictions.as_ref()?.user.as_deref()
}

/// Refuses what can only be done with the rights of this process.
///
/// # Errors
/// The process is not the user.
pub(crate) fn need_own_rights(context: &Context, what: &str) -> Result<(), String> {
    match user(context) {
        Some(_) => Err(format!("{what} is not implemented yet in filters of users")),
        None => Ok(()),
    }
}

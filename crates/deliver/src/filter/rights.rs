//! What string expansions in a filter may do: what the postmaster forbids, and the rights of the filter's user.
//!
//! Routing runs with the rights of the mail system. A user's filter must not do with them what its user may not: files are
//! read, commands run, files looked up in and sockets asked by an agent that has become the user. Manual chapter 22 (`forbid_filter_…`) and section 22.2.

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_lang::errand::{Brought, Errand};
use oxim_lang::expand::{ExpandError, own_environment};
use oxim_lang::restrict::{AsUser, Forbidden, Restrictions};

use super::Made;
use crate::agent::Identity;
use crate::agent::job::{FileExists, FileRead, ProgramJob};
use crate::router::user_files::UserFiles;

/// Largest file that `${readfile` takes in a user's filter, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A user, and who acts as he.
struct Account {
    files: Arc<dyn UserFiles>,
    identity: Identity,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({})", self.identity.uid)
    }
}

impl AsUser for Account {
    fn read(&self, path: &[u8]) -> Result<Vec<u8>, String> {
        match self.files.read(Some(&self.identity), path, FILE_BYTES_MAX) {
            FileRead::Contents { data, .. } => Ok(data),
            FileRead::NotThere => Err("No such file or directory".to_owned()),
            FileRead::Error(nix::libc::EACCES, text) => {
                Err(format!("{text} (euid={} egid={})", self.identity.uid, self.identity.gid))
            }
            FileRead::Error(_, text) => Err(text),
        }
    }

    fn exists(&self, path: &[u8]) -> bool {
        self.files.exists(Some(&self.identity), path) == FileExists::Yes
    }

    fn act(&self, errand: Errand) -> Result<Brought, ExpandError> {
        self.files.act(&self.identity, errand)
    }

    fn start(&self, words: &[&str]) -> io::Result<(UnixStream, Option<Child>)> {
        let argv = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        self.files.start(&self.identity, ProgramJob { argv, environment: own_environment() })
    }
}

/// The restrictions of a filter. A filter whose user this process is already needs no one to act for it.
#[must_use]
pub fn restrictions(
    forbidden: Forbidden,
    identity: Option<&Identity>,
    files: &Arc<dyn UserFiles>,
) -> Arc<Restrictions> {
    let here = Identity::current();
    let other = identity.filter(|who| who.uid != here.uid || who.gid != here.gid);
    let user = other.map(|identity| {
        Arc::new(Account { files: Arc::clone(files), identity: identity.clone() }) as Arc<dyn AsUser>
    });
    Arc::new(Restrictions { forbidden, user, ..Restrictions::default() })
}

/// Expands as a filter's user what the filter left for the delivery. The command of the postmaster's own filter is
/// expanded without restrictions.
pub fn with_rights_of<T>(
    made: &Made,
    context: &mut Context,
    identity: &Identity,
    files: &Arc<dyn UserFiles>,
    work: impl FnOnce(&mut Context) -> T,
) -> T {
    let rights = made.forbidden.map(|forbidden| restrictions(forbidden, Some(identity), files));
    let outer = std::mem::replace(&mut context.local.restrictions, rights);
    let result = work(context);
    context.local.restrictions = outer;
    result
}

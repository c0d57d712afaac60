//! Whom a delivery runs as, and the one-way step of becoming that user.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};

/// A user, a group, and where the further groups come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// The login name whose further groups are taken (`initgroups`); none: no further groups.
    pub groups_of: Option<String>,
}

impl Identity {
    /// What this process is.
    #[must_use]
    pub fn current() -> Identity {
        Identity {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups_of: None,
        }
    }

    /// Whether this process already acts as that user.
    #[must_use]
    pub fn is_current(&self) -> bool {
        let now = Identity::current();
        self.uid == now.uid && self.gid == now.gid
    }

    /// Becomes that user for good, and checks that there is no way back.
    ///
    /// # Errors
    /// The system's refusal, or that root could be had again. The process must end then.
    pub fn assume(&self) -> io::Result<()> {
        if self.is_current() && !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        match &self.groups_of {
            Some(login) => {
                let login = CString::new(login.as_bytes())
                    .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                nix::unistd::initgroups(&login, gid)?;
            }
            None => nix::unistd::setgroups(&[gid])?,
        }
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
        let users = nix::unistd::getresuid()?;
        let groups = nix::unistd::getresgid()?;
        let became = users.real == uid
            && users.effective == uid
            && users.saved == uid
            && groups.real == gid
            && groups.effective == gid
            && groups.saved == gid;
        if !became || (!uid.is_root() && nix::unistd::setuid(Uid::from_raw(0)).is_ok()) {
            return Err(io::Error::other("the change of user did not take"));
        }
        Ok(())
    }
}

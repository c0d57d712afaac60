//! Who may do what: admin and trusted users (manual section 5.2), and what is given up at the start.

use nix::unistd::{Gid, Uid, User, getgroups};
use oxim_lang::config::Config;

/// Whether the caller is an admin user: root, the Exim user, or in the Exim group or one of `admin_groups`.
#[must_use]
pub fn is_admin(config: &Config) -> bool {
    let uid = Uid::current().as_raw();
    let groups = caller_groups();
    uid == 0
        || uid == config.main.exim_user
        || groups.contains(&config.main.exim_group)
        || config.main.admin_groups.iter().any(|g| groups.contains(g))
}

fn caller_groups() -> Vec<u32> {
    let mut groups: Vec<u32> = getgroups().unwrap_or_default().into_iter().map(Gid::as_raw).collect();
    groups.push(Gid::current().as_raw());
    groups
}

/// The caller's login name, or its uid as text.
#[must_use]
pub fn caller_login() -> String {
    login_of(Uid::current().as_raw())
}

/// A user's login name, or the uid as text.
#[must_use]
pub fn login_of(uid: u32) -> String {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Gives up what a set-user-id start has lent, because the configuration is of the caller's choosing (`-C`, `-D`).
///
/// # Errors
/// The system's refusal: the process must end then.
pub fn give_up() -> nix::Result<()> {
    let (uid, gid) = (Uid::current(), Gid::current());
    if uid != Uid::effective() || gid != Gid::effective() {
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
    }
    Ok(())
}

//! Users and groups of the system, by name: `max_username_length` and `finduser_retries` (manual chapter 14).
//!
//! The rules are those of the process, set when its configuration is put to use.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nix::unistd::{Group, User};

/// How often a name that is not there is looked up again.
static RETRIES: AtomicI64 = AtomicI64::new(0);
/// Longer names are not looked up, in bytes; 0: any.
static LENGTH_MAX: AtomicI64 = AtomicI64::new(0);

/// Sets the rules.
pub fn set_rules(finduser_retries: i64, max_username_length: i64) {
    RETRIES.store(finduser_retries, Ordering::Relaxed);
    LENGTH_MAX.store(max_username_length, Ordering::Relaxed);
}

/// A user. May wait a second for each of `finduser_retries`.
///
/// # Errors
/// The user database cannot be asked now.
pub fn user(name: &str) -> nix::Result<Option<User>> {
    let max = LENGTH_MAX.load(Ordering::Relaxed);
    if max > 0 && i64::try_from(name.len()).map_or(true, |length| length > max) {
        return Ok(None);
    }
    again(|| User::from_name(name))
}

/// A group, likewise.
///
/// # Errors
/// The group database cannot be asked now.
pub fn group(name: &str) -> nix::Result<Option<Group>> {
    again(|| Group::from_name(name))
}

fn again<T>(find: impl Fn() -> nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    for _ in 0..RETRIES.load(Ordering::Relaxed) {
        if let Ok(Some(found)) = find() {
            return Ok(Some(found));
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    find()
}

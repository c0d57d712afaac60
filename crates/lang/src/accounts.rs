//! Users and groups of the system, by name: `max_username_length` and `finduser_retries` (manual chapter 14).
//!
//! The rules are those of the process, set when its configuration is put to use. Who was found is remembered for two seconds: a
//! message to many mailboxes, or many messages for one, ask for the same few. Who was not found is asked for anew each time.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::{Group, User};
use parking_lot::Mutex;

/// How long somebody is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(2);
/// How many are remembered.
const REMEMBERED_MAX: usize = 1_000;

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
    static RECENT: LazyLock<Recent<User>> = LazyLock::new(Mutex::default);
    remembered(&RECENT, name, || again(|| User::from_name(name)))
}

/// A group, likewise.
///
/// # Errors
/// The group database cannot be asked now.
pub fn group(name: &str) -> nix::Result<Option<Group>> {
    static RECENT: LazyLock<Recent<Group>> = LazyLock::new(Mutex::default);
    remembered(&RECENT, name, || again(|| Group::from_name(name)))
}

/// What was found a moment ago, by name.
type Recent<T> = Mutex<HashMap<String, (Instant, T)>>;

fn remembered<T: Clone>(
    recent: &Recent<T>,
    name: &str,
    find: impl FnOnce() -> nix::Result<Option<T>>,
) -> nix::Result<Option<T>> {
    let is_fresh = |since: &Instant| since.elapsed() < REMEMBERED_FOR;
    if let Some((_, found)) = recent.lock().get(name).filter(|(since, _)| is_fresh(since)) {
        return Ok(Some(found.clone()));
    }
    let found = find()?;
    if let Some(found) = &found {
        let mut recent = recent.lock();
        if recent.len() >= REMEMBERED_MAX {
            recent.retain(|_, (since, _)| is_fresh(since));
        }
        if recent.len() < REMEMBERED_MAX {
            recent.insert(name.to_owned(), (Instant::now(), found.clone()));
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_found_is_not_asked_for_again_and_who_was_not_is() {
        let recent: Recent<u32> = Mutex::default();
        let ask = |name, answer| remembered(&recent, name, || answer);
        assert_eq!(ask("bob", Ok(None)), Ok(None));
        assert_eq!(ask("bob", Err(nix::Error::EIO)), Err(nix::Error::EIO));
        assert_eq!(ask("bob", Ok(Some(7))), Ok(Some(7)));
        assert_eq!(ask("bob", Ok(None)), Ok(Some(7)));
        recent.lock().get_mut("bob").unwrap().0 -= REMEMBERED_FOR;
        assert_eq!(ask("bob", Ok(None)), Ok(None));
    }

    #[test]
    fn no_more_than_so_many_are_remembered() {
        let recent: Recent<usize> = Mutex::default();
        for number in 0..REMEMBERED_MAX + 5 {
            assert_eq!(remembered(&recent, &number.to_string(), || Ok(Some(number))), Ok(Some(number)));
        }
        assert_eq!(recent.lock().len(), REMEMBERED_MAX);
    }
}

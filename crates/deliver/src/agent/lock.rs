//! Locks on single-file mailboxes: lock files with a hitching post, fcntl(), flock(), and the MBX rules.
//!
//! Manual section 26.3. A lock that cannot be had is a deferral, never a failure.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use rustix::fs::FlockOperation;

use super::job::{Locking, Trouble};
use crate::transport::error_code;

/// A lock file that goes away with this value.
pub(super) struct LockFile(PathBuf);

impl Drop for LockFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: Vec<u8> = path.as_os_str().as_bytes().to_vec();
    name.extend_from_slice(suffix.as_bytes());
    PathBuf::from(OsString::from_vec(name))
}

/// Makes `mailbox.lock` by linking a file of a unique name to it, which is atomic over NFS too.
pub(super) fn take_lock_file(mailbox: &Path, how: &Locking) -> Result<LockFile, Trouble> {
    let name = with_suffix(mailbox, ".lock");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let post = with_suffix(
        &name,
        &format!(
            ".{}.{:08x}.{:08x}",
            String::from_utf8_lossy(&how.host_name),
            now.as_micros() & 0xffff_ffff,
            std::process::id()
        ),
    );
    for attempt in 0..how.retries.max(1) {
        if attempt > 0 {
            sleep(how.interval);
        }
        let made = OpenOptions::new().write(true).create_new(true).mode(how.lockfile_mode).open(&post);
        let made = made.map_err(|e| {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            let what = format!("creating lock file hitching post {} (euid={uid} egid={gid})", post.display());
            Trouble::system(&e, what)
        })?;
        drop(made);
        let linked = std::fs::hard_link(&post, &name);
        let links = std::fs::metadata(&post).map(|m| m.nlink()).unwrap_or(0);
        let _ = std::fs::remove_file(&post);
        if linked.is_ok() || links == 2 {
            return Ok(LockFile(name));
        }
        remove_stale(&name, how.lockfile_timeout);
    }
    Err(Trouble::found(
        error_code::LOCK_FAILED,
        format!("failed to lock mailbox {} (lock file)", mailbox.display()),
    ))
}

fn remove_stale(name: &Path, timeout: Duration) {
    let age = std::fs::metadata(name).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    if !timeout.is_zero() && age.is_some_and(|a| a > timeout) {
        let _ = std::fs::remove_file(name);
    }
}

/// What became of one try to lock an open file.
enum Tried {
    Locked,
    Busy,
}

/// Takes the locks on an open mailbox. `Ok(false)` asks the caller to close the file, wait and open it anew.
pub(super) fn lock_open_file(file: &File, mailbox: &Path, how: &Locking) -> Result<bool, Trouble> {
    let exclusive = !how.mbx;
    if how.fcntl && matches!(fcntl(file, mailbox, exclusive, how.fcntl_timeout)?, Tried::Busy) {
        return Ok(false);
    }
    if how.flock && matches!(flock(file, mailbox, exclusive, how.flock_timeout)?, Tried::Busy) {
        return Ok(false);
    }
    Ok(true)
}

/// The exclusive lock of the MBX rules, on a file in /tmp named after the mailbox's device and inode.
pub(super) fn take_mbx_lock(file: &File, mailbox: &Path, how: &Locking) -> Result<File, Trouble> {
    let meta =
        file.metadata().map_err(|e| Trouble::system(&e, format!("fstat of {} failed", mailbox.display())))?;
    let name = PathBuf::from(format!("/tmp/.{:x}.{:x}", meta.dev(), meta.ino()));
    if std::fs::symlink_metadata(&name).is_ok_and(|m| !m.is_file()) {
        return Err(Trouble::found(
            error_code::LOCK_FAILED,
            format!("MBX lock file {} is not a regular file", name.display()),
        ));
    }
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(how.lockfile_mode)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&name);
    let lock =
        open.map_err(|e| Trouble::system(&e, format!("failed to open MBX lock file {}", name.display())))?;
    for attempt in 0..how.retries.max(1) {
        if attempt > 0 {
            sleep(how.interval);
        }
        let is_free = |tried: Result<Tried, Trouble>| tried.map(|t| matches!(t, Tried::Locked));
        if (!how.fcntl || is_free(fcntl(&lock, mailbox, true, Duration::ZERO))?)
            && (!how.flock || is_free(flock(&lock, mailbox, true, Duration::ZERO))?)
        {
            return Ok(lock);
        }
    }
    Err(Trouble::found(
        error_code::LOCK_FAILED,
        format!("failed to lock mailbox {} (fcntl/flock)", mailbox.display()),
    ))
}

/// Tries until the time is over; a zero time means once. Polls, because a signal to break a blocking call off is not to be had safely.
fn within(timeout: Duration, mut attempt: impl FnMut() -> io::Result<bool>) -> io::Result<Tried> {
    let end = Instant::now() + timeout;
    loop {
        if attempt()? {
            return Ok(Tried::Locked);
        }
        if Instant::now() >= end {
            return Ok(Tried::Busy);
        }
        sleep(Duration::from_millis(100));
    }
}

fn fcntl(file: &File, mailbox: &Path, exclusive: bool, timeout: Duration) -> Result<Tried, Trouble> {
    let operation = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    within(timeout, || match rustix::fs::fcntl_lock(file.as_fd(), operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Ok(false),
        Err(error) => Err(error.into()),
    })
    .map_err(|e| Trouble::system(&e, format!("failed to lock mailbox {} (fcntl)", mailbox.display())))
}

fn flock(file: &File, mailbox: &Path, exclusive: bool, timeout: Duration) -> Result<Tried, Trouble> {
    let operation = if exclusive {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::NonBlockingLockShared
    };
    within(timeout, || match rustix::fs::flock(file.as_fd(), operation) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Errno::EWOULDBLOCK as i32 => Ok(false),
        Err(error) => Err(error.into()),
    })
    .map_err(|e| Trouble::system(&e, format!("failed to lock mailbox {} (flock)", mailbox.display())))
}

/// How often the whole open-and-lock is tried (manual section 26.3).
pub(super) fn attempts(how: &Locking) -> u32 {
    let timeout = how.fcntl_timeout.max(how.flock_timeout);
    let retries = how.retries.max(1);
    if timeout.is_zero() {
        return retries;
    }
    let total = how.interval.saturating_mul(retries).as_secs();
    u32::try_from(total.div_ceil(timeout.as_secs().max(1))).unwrap_or(u32::MAX).max(1)
}

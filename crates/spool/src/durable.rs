//! The only place where the spool forces what was written to the disk, so that `disable_fsync` has one switch.
//!
//! The switch is for the whole process and is set once, before the spool is opened: with it off, what is acknowledged lasts
//! a crash of the program, but not one of the machine (manual chapter 14, `disable_fsync`).

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

static IS_FORCED: AtomicBool = AtomicBool::new(true);

/// `disable_fsync`: from now on nothing is forced to the disk.
pub fn disable() {
    IS_FORCED.store(false, Ordering::Relaxed);
}

fn when_forced(sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    if IS_FORCED.load(Ordering::Relaxed) { sync() } else { Ok(()) }
}

/// Forces what a file holds.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    when_forced(|| file.sync_data())
}

/// Forces what a file holds, its times and its length.
pub(crate) fn sync_all(file: &File) -> io::Result<()> {
    when_forced(|| file.sync_all())
}

/// Forces the names in a directory.
pub(crate) fn sync_directory(directory: impl AsFd) -> io::Result<()> {
    when_forced(|| Ok(rustix::fs::fsync(directory)?))
}

/// Forces everything in the file system that holds the file.
pub(crate) fn sync_file_system(file: &File) -> io::Result<()> {
    when_forced(|| Ok(rustix::fs::syncfs(file)?))
}

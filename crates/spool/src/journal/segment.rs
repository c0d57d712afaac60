//! The segment files of one process's journal, and its locked directory.
//!
//! A new segment is given its blocks at once. One that is no longer needed is kept and overwritten: its blocks are
//! written ones, so that syncing data into it touches no metadata. Its old records carry its old number and do not count.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation};

use super::record::Salt;
use crate::SpoolError;
use crate::files::beneath;
use crate::files::directories::Directories;

/// Where the journals of all processes are, below the spool directory.
pub(super) const JOURNALS: &str = "input/.journal";
/// The file in a worker's directory that is locked while the worker lives; it holds the salt.
pub(super) const LOCK: &str = "lock";
/// What a directory is called until its lock is held.
pub(super) const UNFINISHED: &str = "new-";
/// How many segments are kept to be overwritten.
const SPARES_MAX: usize = 2;
/// Slices that one system call takes.
const SLICES_MAX: usize = 1_000;

/// One process's directory.
pub(super) struct WorkerDirectory {
    directories: Arc<Directories>,
    place: PathBuf,
    directory: OwnedFd,
    /// Keeps the lock.
    _lock: File,
    spares: Vec<(PathBuf, u64)>,
}

impl WorkerDirectory {
    /// Makes it under a name of its own. It gets its final name only once it is locked, so that nobody who looks for
    /// journals of the dead takes it for one.
    pub(super) fn create(directories: &Arc<Directories>, salt: &Salt) -> Result<WorkerDirectory, SpoolError> {
        let shown = directories.path().join(JOURNALS);
        WorkerDirectory::try_create(directories, salt).map_err(|e| SpoolError::io(shown, e))
    }

    fn try_create(directories: &Arc<Directories>, salt: &Salt) -> io::Result<WorkerDirectory> {
        let journals = directories.make(Path::new(JOURNALS))?;
        let name = format!("{}-{}", std::process::id(), hex(salt.0.get(8..).unwrap_or_default()));
        let unfinished = format!("{UNFINISHED}{name}");
        let directory = directories.make(&Path::new(JOURNALS).join(&unfinished))?;
        let mut lock = beneath::create(&directory, Path::new(LOCK), directories.owner())?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        lock.write_all(hex(&salt.0).as_bytes())?;
        lock.sync_all()?;
        rustix::fs::renameat(&journals, &unfinished, &journals, &name)?;
        rustix::fs::fsync(&directory)?;
        rustix::fs::fsync(&journals)?;
        let place = Path::new(JOURNALS).join(name);
        Ok(WorkerDirectory {
            directories: Arc::clone(directories),
            place,
            directory,
            _lock: lock,
            spares: Vec::new(),
        })
    }

    fn error(&self, name: &Path, error: io::Error) -> SpoolError {
        SpoolError::io(self.directories.path().join(&self.place).join(name), error)
    }

    /// Opens the next segment: a spare one if it is large enough, else a new one.
    pub(super) fn next_segment(&mut self, number: u64, bytes: u64) -> Result<Segment, SpoolError> {
        let name = PathBuf::from(format!("{number:08}"));
        let spare =
            self.spares.iter().position(|(_, size)| *size >= bytes).map(|at| self.spares.swap_remove(at));
        let opened = match spare {
            Some((old, size)) => self.reuse(&old, &name).map(|file| (file, size)),
            None => self.allocate(&name, bytes).map(|file| (file, bytes)),
        };
        let (file, size) = opened.map_err(|e| self.error(&name, e))?;
        let path = self.directories.path().join(&self.place).join(&name);
        Ok(Segment { file, path, number, offset: 0, size, part_start: 0 })
    }

    fn reuse(&self, old: &Path, name: &Path) -> io::Result<File> {
        rustix::fs::renameat(&self.directory, old, &self.directory, name)?;
        rustix::fs::fsync(&self.directory)?;
        let flags = rustix::fs::OFlags::RDWR;
        Ok(File::from(beneath::open(&self.directory, name, flags, rustix::fs::Mode::empty())?))
    }

    fn allocate(&self, name: &Path, bytes: u64) -> io::Result<File> {
        let file = beneath::create(&self.directory, name, self.directories.owner())?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => {
                rustix::fs::unlinkat(&self.directory, name, AtFlags::empty())?;
                return Err(error.into());
            }
        }
        file.sync_all()?;
        rustix::fs::fsync(&self.directory)?;
        Ok(file)
    }

    /// A segment is not needed any more: it becomes a spare one, or goes.
    pub(super) fn retire(&mut self, number: u64) {
        let name = PathBuf::from(format!("{number:08}"));
        let size = rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|s| u64::try_from(s.st_size).ok());
        let is_spare = self.spares.len() < SPARES_MAX && size.is_some_and(|s| s > 0);
        match size {
            // Its messages must not come back from it once a later segment, which says what became of them, is gone too.
            Some(size) if is_spare => {
                let spare = PathBuf::from(format!("spare-{number:08}"));
                if rustix::fs::renameat(&self.directory, &name, &self.directory, &spare).is_ok() {
                    self.spares.push((spare, size));
                }
            }
            // What cannot be removed now is replayed, and removed, by the next process.
            Some(_) | None => drop(rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())),
        }
    }

    /// Removes everything: nothing in it is alive.
    pub(super) fn remove(&mut self) {
        // Whatever stays behind is replayed, found to be empty, and removed by the next process.
        let _ = remove_directory(&self.directories, &self.place, &self.directory);
    }
}

/// Removes a journal directory: segments first, the lock last, so that a half-removed one still is one.
pub(super) fn remove_directory(
    directories: &Directories,
    place: &Path,
    directory: &OwnedFd,
) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !name.starts_with(b".") && name != LOCK.as_bytes() {
            names.push(name);
        }
    }
    for name in names {
        let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(name.as_slice());
        rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
    }
    rustix::fs::fsync(directory)?;
    rustix::fs::unlinkat(directory, LOCK, AtFlags::empty())?;
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    rustix::fs::unlinkat(directories.existing(parent)?, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The segment that is being written.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    offset: u64,
    size: u64,
    part_start: u64,
}

impl Segment {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn room(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.room() >= bytes
    }

    pub(super) fn error(&self, error: io::Error) -> SpoolError {
        SpoolError::io(&self.path, error)
    }

    /// Writes all slices at the end.
    pub(super) fn write(&mut self, slices: &mut [IoSlice<'_>]) -> Result<(), SpoolError> {
        self.part_start = self.offset;
        let mut rest = slices;
        while !rest.is_empty() {
            let now = rest.len().min(SLICES_MAX);
            let written = rustix::io::retry_on_intr(|| {
                rustix::io::pwritev(&self.file, rest.get(..now).unwrap_or_default(), self.offset)
            })
            .map_err(|e| self.error(e.into()))?;
            if written == 0 {
                return Err(self.error(io::ErrorKind::WriteZero.into()));
            }
            self.offset = self.offset.saturating_add(u64::try_from(written).unwrap_or(0));
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.file.sync_data().map_err(|e| self.error(e))
    }

    /// Nobody was promised what was written last: wipes it as far as the disk allows.
    pub(super) fn abandon(&mut self) {
        let length = self.offset.saturating_sub(self.part_start);
        let zeros = vec![0_u8; usize::try_from(length.min(16 * 1024 * 1024)).unwrap_or(0)];
        // If this fails too, a message that was refused may come back after a crash: a duplicate, not a loss.
        let _ = self.file.write_all_at(&zeros, self.part_start);
        let _ = self.file.sync_data();
    }
}

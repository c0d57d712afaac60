//! The segment files of one process's journal, and its locked directory.
//!
//! A new segment is given its blocks at once. One that is no longer needed is kept and overwritten: its blocks are
//! written ones, so that syncing data into it touches no metadata. Its old records carry its old number and do not count.
//! Until there is such a one, a thread fills some with zeros; a daemon that gets little mail never needs them.
//!
//! Whole pages are written, past the page cache where the file system can do that: a writer that uses the cache is slowed
//! down for whatever others have left in it. The last page, if it is not full, is written again with the next records; the
//! records in it do not change.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation};

use super::record::Salt;
use crate::files::beneath;
use crate::files::directories::Directories;
use crate::{SpoolError, durable};

/// Where the journals of all processes are, below the spool directory.
pub(super) const JOURNALS: &str = "input/.journal";
/// The file in a worker's directory that is locked while the worker lives; it holds the salt.
pub(super) const LOCK: &str = "lock";
/// What a directory is called until its lock is held.
pub(super) const UNFINISHED: &str = "new-";
/// How many segments are kept to be overwritten.
const SPARES_MAX: usize = 4;
/// Slices, here pages, that one system call takes.
const SLICES_MAX: usize = 1_000;
/// What is written begins and ends at multiples of this, in memory and in the file.
const PAGE_BYTES: usize = 4096;
/// Pages that are kept for the next batch.
const PAGES_KEPT: usize = 256;

/// Pages that are filled with zeros by one system call.
const PAGES_FILLED: usize = 64;

/// One process's directory.
pub(super) struct WorkerDirectory {
    directories: Arc<Directories>,
    place: PathBuf,
    directory: OwnedFd,
    /// Keeps the lock.
    _lock: File,
    spares: Vec<(PathBuf, u64)>,
    filler: Option<Filler>,
    filled: usize,
    /// Segments whose blocks have never been written; not worth keeping.
    unwritten: BTreeSet<u64>,
}

/// The thread that fills a spare segment with zeros.
struct Filler {
    name: PathBuf,
    bytes: u64,
    thread: JoinHandle<io::Result<()>>,
    is_stopped: Arc<AtomicBool>,
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
        let lock = make_lock(&directory, directories.owner(), salt)
            .and_then(|lock| {
                rustix::fs::renameat(&journals, &unfinished, &journals, &name)?;
                Ok(lock)
            })
            .inspect_err(|_| {
                // It is made again by this name.
                let _ = rustix::fs::unlinkat(&directory, LOCK, AtFlags::empty());
                let _ = rustix::fs::unlinkat(&journals, &unfinished, AtFlags::REMOVEDIR);
            })?;
        durable::sync_directory(&directory)?;
        durable::sync_directory(&journals)?;
        let place = Path::new(JOURNALS).join(name);
        Ok(WorkerDirectory {
            directories: Arc::clone(directories),
            place,
            directory,
            _lock: lock,
            spares: Vec::new(),
            filler: None,
            filled: 0,
            unwritten: BTreeSet::new(),
        })
    }

    fn error(&self, name: &Path, error: io::Error) -> SpoolError {
        SpoolError::io(self.directories.path().join(&self.place).join(name), error)
    }

    /// Opens the next segment: a spare one if it is large enough, else a new one.
    pub(super) fn next_segment(&mut self, number: u64, bytes: u64) -> Result<Segment, SpoolError> {
        let bytes = whole_pages(bytes);
        let name = PathBuf::from(format!("{number:08}"));
        let spare =
            self.spares.iter().position(|(_, size)| *size >= bytes).map(|at| self.spares.swap_remove(at));
        let is_written = spare.is_some();
        if !is_written {
            self.unwritten.insert(number);
        }
        let opened = match spare {
            Some((old, size)) => self.reuse(&old, &name).map(|file| (file, size)),
            None => self.allocate(&name, bytes).map(|file| (file, bytes)),
        };
        let (file, size) = opened.map_err(|e| self.error(&name, e))?;
        let path = self.directories.path().join(&self.place).join(&name);
        let is_direct = set_direct(&file, true).is_ok();
        let pages = Pages::default();
        Ok(Segment { file, path, number, offset: 0, size, part_start: 0, pages, is_direct, is_written })
    }

    /// Whether a segment that has been written before could take the place of this one.
    pub(super) fn has_better(&mut self, segment: &Segment) -> bool {
        if self.filler.as_ref().is_some_and(|filler| filler.thread.is_finished()) {
            self.end_filler();
        }
        !segment.is_written && self.spares.iter().any(|(_, size)| *size >= segment.size)
    }

    /// Has another segment filled with zeros if this one is well used and there is none to follow it.
    pub(super) fn think_ahead(&mut self, segment: &Segment) {
        let is_due = segment.offset > segment.size / 16 && self.spares.is_empty();
        if !is_due || self.filler.is_some() || self.filled >= SPARES_MAX {
            return;
        }
        self.filled = self.filled.saturating_add(1);
        let name = PathBuf::from(format!("spare-filled-{}", self.filled));
        let Ok(directory) = self.directory.try_clone() else { return };
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (file_name, owner, bytes, stop) =
            (name.clone(), self.directories.owner(), segment.size, Arc::clone(&is_stopped));
        let thread = std::thread::Builder::new().name("spool-fill".to_owned()).spawn(move || {
            fill(&directory, &file_name, owner, bytes, &stop).inspect_err(|_| {
                // Whatever stays is removed with the directory.
                let _ = rustix::fs::unlinkat(&directory, &file_name, AtFlags::empty());
            })
        });
        // Without it there is only less speed.
        self.filler = thread.ok().map(|thread| Filler { name, bytes, thread, is_stopped });
    }

    fn end_filler(&mut self) {
        let Some(filler) = self.filler.take() else { return };
        if let Ok(Ok(())) = filler.thread.join() {
            self.spares.push((filler.name, filler.bytes));
        }
    }

    fn reuse(&self, old: &Path, name: &Path) -> io::Result<File> {
        rustix::fs::renameat(&self.directory, old, &self.directory, name)?;
        durable::sync_directory(&self.directory)?;
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
        durable::sync_all(&file)?;
        durable::sync_directory(&self.directory)?;
        Ok(file)
    }

    /// A segment is not needed any more: it becomes a spare one, or goes.
    pub(super) fn retire(&mut self, number: u64) {
        let name = PathBuf::from(format!("{number:08}"));
        let size = rustix::fs::statat(&self.directory, &name, AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .and_then(|s| u64::try_from(s.st_size).ok());
        let is_written = !self.unwritten.remove(&number) || self.spares.is_empty();
        let is_spare = is_written && self.spares.len() < SPARES_MAX && size.is_some_and(|s| s > 0);
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
        if let Some(filler) = &self.filler {
            filler.is_stopped.store(true, Ordering::Relaxed);
        }
        self.end_filler();
        // Whatever stays behind is replayed, found to be empty, and removed by the next process.
        let _ = remove_directory(&self.directories, &self.place, &self.directory);
    }
}

/// Makes the lock file of a journal directory, and locks it.
fn make_lock(directory: &OwnedFd, owner: Option<crate::Owner>, salt: &Salt) -> io::Result<File> {
    let mut lock = beneath::create(directory, Path::new(LOCK), owner)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    lock.write_all(hex(&salt.0).as_bytes())?;
    durable::sync_all(&lock)?;
    Ok(lock)
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
    durable::sync_directory(directory)?;
    rustix::fs::unlinkat(directory, LOCK, AtFlags::empty())?;
    let (Some(parent), Some(name)) = (place.parent(), place.file_name()) else { return Ok(()) };
    rustix::fs::unlinkat(directories.existing(parent)?, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn whole_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(u64::try_from(PAGE_BYTES).unwrap_or(1))
}

/// Makes a file of zeros that lasts.
fn fill(
    directory: &OwnedFd,
    name: &Path,
    owner: Option<crate::Owner>,
    bytes: u64,
    is_stopped: &AtomicBool,
) -> io::Result<()> {
    let file = beneath::create(directory, name, owner)?;
    // Where this cannot be done, the blocks come one by one.
    let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
    // In small portions, past the page cache: those who wait for the disk come in between.
    let _ = set_direct(&file, true);
    let pages: Vec<Page> = std::iter::repeat_with(|| Page([0; PAGE_BYTES])).take(PAGES_FILLED).collect();
    let mut place = 0;
    while place < bytes {
        if is_stopped.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let left = usize::try_from(bytes.saturating_sub(place)).unwrap_or(usize::MAX) / PAGE_BYTES;
        let slices: Vec<IoSlice<'_>> = pages.iter().take(left.max(1)).map(|p| IoSlice::new(&p.0)).collect();
        let written = rustix::io::retry_on_intr(|| rustix::io::pwritev(&file, &slices, place))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        place = place.saturating_add(u64::try_from(written).unwrap_or(0));
    }
    durable::sync_all(&file)
}

/// Switches writing past the page cache on or off.
fn set_direct(file: &File, is_on: bool) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(
        file,
        if is_on { flags | rustix::fs::OFlags::DIRECT } else { flags - rustix::fs::OFlags::DIRECT },
    )?;
    Ok(())
}

/// Memory that may be written past the page cache.
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// What is to be written, from the start of a page on, zeros behind it.
#[derive(Default)]
struct Pages {
    pages: Vec<Page>,
    length: usize,
}

impl Pages {
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = self.length % PAGE_BYTES;
            if at == 0 {
                self.pages.push(Page([0; PAGE_BYTES]));
            }
            let Some(room) = self.pages.last_mut().and_then(|p| p.0.get_mut(at..)) else { return };
            let count = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(count);
            room.get_mut(..count).unwrap_or_default().copy_from_slice(now);
            self.length = self.length.saturating_add(count);
            bytes = later;
        }
    }

    /// Keeps only the page that is not full.
    fn keep_tail(&mut self) {
        let tail = self.length % PAGE_BYTES;
        let last = self.pages.pop();
        self.pages.clear();
        self.pages.shrink_to(PAGES_KEPT);
        self.pages.extend(last.filter(|_| tail > 0));
        self.length = tail;
    }

    /// Forgets all but the first bytes of the first page; zeros take the place of the others.
    fn wipe_after(&mut self, kept: usize) {
        for (number, page) in self.pages.iter_mut().enumerate() {
            let from = if number == 0 { kept } else { 0 };
            page.0.iter_mut().skip(from).for_each(|byte| *byte = 0);
        }
    }
}

/// The segment that is being written.
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    number: u64,
    /// Where the next record goes.
    offset: u64,
    size: u64,
    part_start: u64,
    /// What goes behind the last full page.
    pages: Pages,
    is_direct: bool,
    /// All its blocks have been written before.
    is_written: bool,
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
    pub(super) fn write<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>) -> Result<(), SpoolError> {
        self.pages.keep_tail();
        self.part_start = self.offset;
        let before = self.pages.length;
        slices.for_each(|slice| self.pages.push(slice));
        let added = self.pages.length.saturating_sub(before);
        self.offset = self.offset.saturating_add(u64::try_from(added).unwrap_or(0));
        match self.write_pages() {
            // Not every device can do it in our pages.
            Err(rustix::io::Errno::INVAL) if self.is_direct => {
                self.is_direct = false;
                set_direct(&self.file, false).map_err(|e| self.error(e))?;
                self.write_pages()
            }
            other => other,
        }
        .map_err(|e| self.error(e.into()))
    }

    /// Writes the pages where they belong.
    fn write_pages(&self) -> rustix::io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = self.pages.pages.iter().map(|p| IoSlice::new(&p.0)).collect();
        let mut rest = slices.as_mut_slice();
        let page = u64::try_from(PAGE_BYTES).unwrap_or(1);
        let mut place = self.part_start.saturating_sub(self.part_start % page);
        while !rest.is_empty() {
            let now = rest.len().min(SLICES_MAX);
            let written = rustix::io::retry_on_intr(|| {
                rustix::io::pwritev(&self.file, rest.get(..now).unwrap_or_default(), place)
            })?;
            if written == 0 {
                return Err(rustix::io::Errno::IO);
            }
            place = place.saturating_add(u64::try_from(written).unwrap_or(0));
            IoSlice::advance_slices(&mut rest, written);
        }
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        durable::sync_data(&self.file).map_err(|e| self.error(e))
    }

    /// Nobody was promised what was written last: wipes it as far as the disk allows.
    pub(super) fn abandon(&mut self) {
        let page = u64::try_from(PAGE_BYTES).unwrap_or(1);
        self.pages.wipe_after(usize::try_from(self.part_start % page).unwrap_or(0));
        // If this fails too, a message that was refused may come back after a crash: a duplicate, not a loss.
        let _ = self.write_pages();
        let _ = durable::sync_data(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{Kind, Record};
    use crate::journal::replay::scan;

    fn records(salt: &Salt, sizes: &[usize]) -> Vec<Record> {
        let record = |size: &usize| {
            let mut head = 16_u32.to_le_bytes().to_vec();
            head.extend_from_slice(b"1xUbTj-0005Py-07");
            Record::new(salt, Kind::Done, head, bytes::Bytes::from(vec![b'x'; *size]))
        };
        sizes.iter().map(record).collect()
    }

    fn write(segment: &mut Segment, salt: &Salt, records: &[Record]) {
        for record in records {
            let header = record.header(segment.number(), salt);
            let slices = std::iter::once(header.as_slice()).chain(record.parts());
            segment.write(slices).unwrap();
        }
    }

    #[test]
    fn a_used_segment_is_followed_by_one_that_was_written() {
        let root = tempfile::tempdir().unwrap();
        let directories = Arc::new(Directories::open(root.path(), None, false).unwrap());
        let salt = Salt([7; 16]);
        let mut worker = WorkerDirectory::create(&directories, &salt).unwrap();
        let mut segment = worker.next_segment(1, 1_000_000).unwrap();
        worker.think_ahead(&segment);
        assert!(worker.filler.is_none());
        write(&mut segment, &salt, &records(&salt, &[300_000]));
        worker.think_ahead(&segment);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !worker.has_better(&segment) {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut next = worker.next_segment(2, 1_000_000).unwrap();
        assert!(next.is_written && next.size == segment.size && !worker.has_better(&next));
        write(&mut next, &salt, &records(&salt, &[10]));
        let mut count = 0;
        assert!(scan(&salt, 2, &std::fs::read(&next.path).unwrap(), |_| count += 1).is_empty());
        assert_eq!(count, 1);
        worker.remove();
        assert!(!root.path().join(&worker.place).exists());
    }

    #[test]
    fn records_follow_each_other_whatever_their_sizes_and_a_failed_one_leaves_no_trace() {
        let root = tempfile::tempdir().unwrap();
        let directories = Arc::new(Directories::open(root.path(), None, false).unwrap());
        let salt = Salt([7; 16]);
        let mut worker = WorkerDirectory::create(&directories, &salt).unwrap();
        let mut segment = worker.next_segment(1, 100_000).unwrap();
        write(&mut segment, &salt, &records(&salt, &[10, 4096 - 100, 1, 9_000, 4096, 0, 20_000, 3]));
        let end = segment.offset;
        write(&mut segment, &salt, &records(&salt, &[9_000]));
        segment.abandon();
        let bytes = std::fs::read(&segment.path).unwrap();
        assert_eq!(bytes.len() % PAGE_BYTES, 0);
        let mut sizes = Vec::new();
        assert!(scan(&salt, 1, &bytes, |found| sizes.push(found.rest.len())).is_empty());
        assert_eq!(sizes, [10, 3996, 1, 9_000, 4096, 0, 20_000, 3]);
        let end = usize::try_from(end).unwrap();
        assert!(bytes[end..].iter().all(|b| *b == 0));
    }
}

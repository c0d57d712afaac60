//! Brings back what journals of dead processes hold: live messages become -H/-D pairs, then the segments go.
//!
//! A torn end is normal and says nothing; damage in the middle is reported, and the search goes on behind it. Whatever
//! cannot be written now (no space) leaves the journal in place for the next start: nothing that was promised is lost.
//! Reads each segment twice, so that only one is in memory at a time. The pairs are made to last in batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use oxim_mail::message_id::MessageId;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::record::{Decoded, Found, Kind, Salt, decode};
use super::segment::{JOURNALS, LOCK, UNFINISHED, hex, remove_directory};
use crate::files::directories::Directories;
use crate::files::pair::{self, Pair};
use crate::files::{beneath, header_read, header_write};
use crate::message::Body;
use crate::{Report, SpoolError, durable, fault};

/// Replays every journal whose process is dead. Returns how many messages came back.
///
/// Trouble is reported, and the journal concerned stays.
pub(crate) fn replay_dead(directories: &Directories, report: &Report) -> usize {
    let Ok(names) = worker_names(directories) else { return 0 };
    let mut messages = 0_usize;
    for name in names {
        let place = Path::new(JOURNALS).join(&name);
        match replay_worker(directories, &place, report) {
            Ok(count) => messages = messages.saturating_add(count),
            Err(error) => {
                report(&format!("spool journal {} stays: {error}", directories.path().join(&place).display()))
            }
        }
    }
    messages
}

fn worker_names(directories: &Directories) -> io::Result<Vec<String>> {
    let directory = directories.existing(Path::new(JOURNALS))?;
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(directory)? {
        if let Ok(name) = entry?.file_name().to_str()
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Replays one directory, unless its process lives.
fn replay_worker(directories: &Directories, place: &Path, report: &Report) -> Result<usize, SpoolError> {
    let error = |e: io::Error| SpoolError::io(directories.path().join(place), e);
    let Some((directory, lock)) = lock_dead(directories, place).map_err(error)? else { return Ok(0) };
    let salt = read_salt(&lock);
    let segments = segment_numbers(&directory).map_err(error)?;
    let count = match salt {
        Some(salt) => {
            let worker = Worker { directories, directory: &directory, place, salt, report };
            worker.replay(&segments)?
        }
        // Its process died before the salt lasted, so before anything was promised.
        None if segments.is_empty() => 0,
        None => return Err(error(io::Error::new(io::ErrorKind::InvalidData, "its lock file is damaged"))),
    };
    remove_directory(directories, place, &directory).map_err(error)?;
    Ok(count)
}

/// The directory and its lock, if nobody holds it.
fn lock_dead(directories: &Directories, place: &Path) -> io::Result<Option<(OwnedFd, File)>> {
    let is_gone = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    let directory = match directories.existing(place) {
        Err(error) if is_gone(&error) => return Ok(None),
        other => other?,
    };
    let lock = match beneath::open(&directory, Path::new(LOCK), OFlags::RDONLY, Mode::empty()) {
        Err(error) if is_gone(&error) => {
            let is_unfinished =
                place.file_name().is_some_and(|n| n.to_string_lossy().starts_with(UNFINISHED));
            // Someone may be about to make the lock in an unfinished one; an empty finished one is a leftover.
            if !is_unfinished && let (Some(parent), Some(name)) = (place.parent(), place.file_name()) {
                rustix::fs::unlinkat(directories.existing(parent)?, name, rustix::fs::AtFlags::REMOVEDIR)?;
            }
            return Ok(None);
        }
        other => File::from(other?),
    };
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some((directory, lock))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_salt(mut lock: &File) -> Option<Salt> {
    let mut text = String::new();
    lock.read_to_string(&mut text).ok()?;
    let mut salt = [0_u8; 16];
    for (at, place) in salt.iter_mut().enumerate() {
        let from = at.checked_mul(2)?;
        *place = u8::from_str_radix(text.get(from..from.checked_add(2)?)?, 16).ok()?;
    }
    (hex(&salt) == text.trim_end()).then_some(Salt(salt))
}

fn segment_numbers(directory: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        if let Some(number) = entry?.file_name().to_str().ok().and_then(|name| name.parse().ok()) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A stretch of a segment that could not be read although good records follow it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    from: usize,
    to: usize,
}

/// Calls `visit` with every good record of a segment; returns the damaged stretches between them.
pub(crate) fn scan<'a>(
    salt: &Salt,
    segment: u64,
    bytes: &'a [u8],
    mut visit: impl FnMut(Found<'a>),
) -> Vec<Damage> {
    let mut damages = Vec::new();
    let mut at = 0_usize;
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        match decode(salt, segment, rest) {
            Decoded::Record(found, length) => {
                visit(found);
                at = at.saturating_add(length);
            }
            Decoded::Nothing | Decoded::Damaged => match next_record(salt, segment, bytes, at) {
                Some(next) => {
                    damages.push(Damage { from: at, to: next });
                    at = next;
                }
                None => break,
            },
        }
    }
    damages
}

/// Where the next good record begins, after a bad place.
fn next_record(salt: &Salt, segment: u64, bytes: &[u8], bad: usize) -> Option<usize> {
    let marker = salt.marker();
    let mut from = bad.saturating_add(1);
    loop {
        let at = memchr::memmem::find(bytes.get(from..)?, &marker)?.saturating_add(from);
        if at % 8 == 0 && matches!(decode(salt, segment, bytes.get(at..)?), Decoded::Record(..)) {
            return Some(at);
        }
        from = at.saturating_add(1);
    }
}

/// What became of the messages of one journal.
#[derive(Default)]
struct Outcomes {
    gone: HashSet<MessageId>,
    done: HashMap<MessageId, Vec<Vec<u8>>>,
}

/// Files that are open, or directories, when a batch is settled at the latest.
const BATCH_MAX: usize = 256;

/// Pairs that are written but do not last yet.
#[derive(Default)]
struct Batch {
    files: Vec<File>,
    /// Those whose -H has no name yet.
    staged: Vec<Pair>,
    directories: BTreeMap<PathBuf, Arc<OwnedFd>>,
}

struct Worker<'a> {
    directories: &'a Directories,
    directory: &'a OwnedFd,
    place: &'a Path,
    salt: Salt,
    report: &'a Report,
}

impl Worker<'_> {
    fn replay(&self, segments: &[u64]) -> Result<usize, SpoolError> {
        let mut outcomes = Outcomes::default();
        for &number in segments {
            let bytes = self.read_segment(number)?;
            let damages = scan(&self.salt, number, &bytes, |found| match found.kind {
                Kind::Accepted | Kind::AcceptedWithData => {}
                Kind::Done => outcomes.done.entry(found.id).or_default().extend(found.addresses()),
                Kind::Finished | Kind::Moved => {
                    outcomes.gone.insert(found.id);
                }
            });
            for damage in damages {
                let path = self.path(number);
                (self.report)(&format!(
                    "spool journal {}: damaged from byte {} to {}",
                    path.display(),
                    damage.from,
                    damage.to
                ));
            }
        }
        let mut count = 0_usize;
        let mut batch = Batch::default();
        for &number in segments {
            let bytes = self.read_segment(number)?;
            let mut restored = Ok(());
            scan(&self.salt, number, &bytes, |found| {
                let is_message = matches!(found.kind, Kind::Accepted | Kind::AcceptedWithData);
                if is_message && restored.is_ok() && !outcomes.gone.contains(&found.id) {
                    let done = outcomes.done.get(&found.id).map_or(&[][..], Vec::as_slice);
                    restored = self.restore(&found, done, &mut batch);
                    count = count.saturating_add(1);
                }
            });
            restored?;
        }
        self.settle(&mut batch)?;
        Ok(count)
    }

    /// Makes a batch of pairs last: contents, then the names of -H, then the directories.
    fn settle(&self, batch: &mut Batch) -> Result<(), SpoolError> {
        let settle = |batch: &Batch| -> io::Result<()> {
            pair::sync_files(&batch.files.iter().collect::<Vec<_>>())?;
            fault::point("data-synced");
            batch.staged.iter().try_for_each(Pair::publish_header)?;
            batch.directories.values().try_for_each(durable::sync_directory)
        };
        settle(batch).map_err(|e| SpoolError::io(self.directories.path(), e))?;
        *batch = Batch::default();
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directories.path().join(self.place).join(format!("{number:08}"))
    }

    fn read_segment(&self, number: u64) -> Result<Vec<u8>, SpoolError> {
        let read = || -> io::Result<Vec<u8>> {
            let name = PathBuf::from(format!("{number:08}"));
            let mut file = File::from(beneath::open(self.directory, &name, OFlags::RDONLY, Mode::empty())?);
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|e| SpoolError::io(self.path(number), e))
    }

    /// Writes one message as a pair, or brings the pair up to date that an interrupted move left.
    /// It lasts when its batch is settled.
    fn restore(&self, found: &Found<'_>, done: &[Vec<u8>], batch: &mut Batch) -> Result<(), SpoolError> {
        if batch.directories.len() >= BATCH_MAX || batch.files.len() >= BATCH_MAX {
            self.settle(batch)?;
        }
        let Some((queue_name, header, body)) = found.message() else { return Ok(()) };
        let place = self.directories.place("input", queue_name, &found.id)?;
        let shown = self.directories.path().join(&place);
        let error = |e: io::Error| SpoolError::io(&shown, e);
        let directory = match batch.directories.get(&place) {
            Some(directory) => Arc::clone(directory),
            None => Arc::new(self.directories.make(&place).map_err(error)?),
        };
        batch.directories.insert(place.clone(), Arc::clone(&directory));
        let pair = Pair::new(directory, found.id, self.directories.owner());
        let has_pair = pair.has_header().map_err(error)?;
        let text = if has_pair { pair.read_header().map_err(error)? } else { header.to_vec() };
        let mut message = match header_read::read(&text) {
            Ok(message) => message,
            Err(fault) => {
                // Our own checksum holds, so this is a fault of the program: keep what was accepted for the postmaster.
                (self.report)(&format!("{} spool journal holds a malformed header ({fault})", found.id));
                pair.write_header(&text).map_err(error)?;
                return Ok(());
            }
        };
        let is_current = has_pair && done.iter().all(|a| message.non_recipients.contains(a));
        message.non_recipients.extend(done.iter().cloned());
        if !has_pair && found.kind == Kind::Accepted {
            let body = Body::Memory(Bytes::copy_from_slice(body));
            batch.files.push(pair.stage_data(&body, message.wireformat).map_err(error)?);
        }
        if !has_pair && found.kind == Kind::AcceptedWithData && !pair.has_data().map_err(error)? {
            // Its removal was under way: everything was done, and -D goes only after that was recorded.
            (self.report)(&format!("{} spool journal: the data file is missing", found.id));
            return Ok(());
        }
        if !is_current {
            batch.files.push(pair.stage_header(&header_write::write(&message)?).map_err(error)?);
            batch.staged.push(pair);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;

    #[test]
    fn damage_in_the_middle_is_skipped_and_told() {
        let salt = Salt([9; 16]);
        let id = MessageId::parse(b"1xUbTj-0005Py-07").unwrap();
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for n in 0..3 {
            let record = Record::done(&salt, &id, &[format!("a{n}@b").into_bytes()]);
            bytes.extend_from_slice(&record.header(1, &salt));
            record.parts().iter().for_each(|p| bytes.extend_from_slice(p));
            ends.push(bytes.len());
        }
        bytes.extend_from_slice(&[0; 500]);
        let read = |bytes: &[u8]| {
            let mut seen = Vec::new();
            let damages = scan(&salt, 1, bytes, |f| seen.extend(f.addresses()));
            (seen.len(), damages)
        };
        assert_eq!(read(&bytes), (3, vec![]));
        let mut middle = bytes.clone();
        middle[ends[0] + 40] ^= 1;
        assert_eq!(read(&middle), (2, vec![Damage { from: ends[0], to: ends[1] }]));
        let mut wiped = bytes.clone();
        wiped[ends[0]..ends[1]].fill(0);
        assert_eq!(read(&wiped).0, 2);
        assert_eq!(read(&bytes[..ends[2] - 9]), (2, vec![]));
    }
}

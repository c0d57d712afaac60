//! The group commit in front of Exim's files: append-only segments, written by one thread, replayed after a crash.
//!
//! `spool_directory/input/.journal/WORKER/NNNNNNNN`, one directory per process, locked for as long as it lives. All that
//! waits when the disk is free goes into one write and one `fdatasync`; there is no timer. A segment is removed, or kept
//! to be overwritten, when it and all older ones hold no message that is alive: a later segment may say what became of
//! a message in an earlier one, so they go strictly in order.
//!
//! Failure: a batch that cannot be written or synced fails as a whole, every waiting caller is told, and its segment is
//! never written to again; the next batch opens a new one. A process that cannot make its directory (read-only, full)
//! starts nevertheless: each batch tries again. `docs/spool-states.md` has the states and the format.

pub(crate) mod record;
pub(crate) mod replay;
mod segment;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use crate::files::directories::Directories;
use crate::{Report, SpoolError, fault};
use record::{Record, Salt};
use segment::{Segment, WorkerDirectory};

/// Told once the record lasts, with the number of its segment; runs on the committing thread.
pub(crate) type Notice = Box<dyn FnOnce(Result<u64, SpoolError>) + Send>;

/// Records without a notice that wait for the disk to recover: finished messages. More are dropped, which costs
/// duplicates after a crash at worst.
const UNWRITTEN_MAX: usize = 1_000_000;

struct Request {
    record: Record,
    notice: Option<Notice>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Request>,
    is_closing: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    salt: Salt,
    /// Live messages by segment. A segment is in here from its first record on.
    live: Mutex<BTreeMap<u64, u64>>,
    failures: fault::Failures,
}

/// The journal of this process.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Makes a locked directory of its own, now or with the first batch for which that is possible, and starts the committing
    /// thread.
    pub(crate) fn start(
        directories: &Arc<Directories>,
        segment_bytes: u64,
        report: &Report,
    ) -> Result<Journal, SpoolError> {
        let salt = Salt::random();
        let directory = WorkerDirectory::create(directories, &salt)
            .inspect_err(|error| report(&format!("spool journal: {error}")))
            .ok();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            salt,
            live: Mutex::default(),
            failures: fault::Failures::default(),
        });
        let committer = Committer {
            shared: Arc::clone(&shared),
            directories: Arc::clone(directories),
            directory,
            segment: None,
            next_number: 1,
            segment_bytes,
            unwritten: Vec::new(),
            report: Arc::clone(report),
        };
        let thread =
            std::thread::Builder::new().name("spool-commit".to_owned()).spawn(move || committer.run());
        let thread = thread.map_err(|e| SpoolError::io(directories.path(), e))?;
        Ok(Journal { shared, committer: Some(thread) })
    }

    /// The secret that marks this journal's records, needed to make them.
    pub(crate) fn salt(&self) -> &Salt {
        &self.shared.salt
    }

    /// Queues a record. With a notice, it is told the outcome; without, the record is written with the next batch.
    pub(crate) fn append(&self, record: Record, notice: Option<Notice>) {
        let mut queue = self.shared.queue.lock();
        if queue.is_closing {
            drop(queue);
            if let Some(notice) = notice {
                notice(Err(SpoolError::Closed));
            }
            return;
        }
        queue.waiting.push(Request { record, notice });
        drop(queue);
        self.shared.wake.notify_one();
    }

    /// Queues a record and waits until it lasts.
    #[cfg(test)]
    pub(crate) fn append_blocking(&self, record: Record) -> Result<u64, SpoolError> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let notice: Notice = Box::new(move |outcome| {
            // The receiver waits below.
            let _ = sender.send(outcome);
        });
        self.append(record, Some(notice));
        receiver.recv().unwrap_or(Err(SpoolError::Closed))
    }

    /// One message of this segment is not alive any more: finished, or in files that last.
    pub(crate) fn forget(&self, segment: u64) {
        if let Some(count) = self.shared.live.lock().get_mut(&segment) {
            *count = count.saturating_sub(1);
        }
    }

    #[cfg(test)]
    pub(crate) fn failures(&self) -> &fault::Failures {
        &self.shared.failures
    }

    #[cfg(test)]
    pub(crate) fn live_segments(&self) -> usize {
        self.shared.live.lock().len()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.queue.lock().is_closing = true;
        self.shared.wake.notify_one();
        // The last owner may be a callback, on the very thread.
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if let Some(committer) = self.committer.take().filter(|thread| !is_own(thread)) {
            // A panic there has been reported by the panic hook.
            let _ = committer.join();
        }
    }
}

/// The committing thread.
struct Committer {
    shared: Arc<Shared>,
    directories: Arc<Directories>,
    /// None: it cannot be made yet.
    directory: Option<WorkerDirectory>,
    segment: Option<Segment>,
    next_number: u64,
    segment_bytes: u64,
    unwritten: Vec<Record>,
    report: Report,
}

impl Committer {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let is_closing = {
                let mut queue = self.shared.queue.lock();
                while queue.waiting.is_empty() && !queue.is_closing {
                    self.shared.wake.wait(&mut queue);
                }
                std::mem::swap(&mut batch, &mut queue.waiting);
                queue.is_closing
            };
            if !batch.is_empty() {
                self.commit(&mut batch);
                self.retire();
                if let (Some(segment), Some(directory)) = (&self.segment, &mut self.directory) {
                    directory.think_ahead(segment);
                }
            } else if is_closing {
                break;
            }
        }
        if self.shared.live.lock().values().all(|count| *count == 0) && self.unwritten.is_empty() {
            self.segment = None;
            if let Some(directory) = &mut self.directory {
                directory.remove();
            }
        }
    }

    /// Writes and syncs a batch, in as many parts as segments are needed, and tells everyone.
    fn commit(&mut self, batch: &mut Vec<Request>) {
        let retried = std::mem::take(&mut self.unwritten);
        let mut requests: Vec<Request> = retried
            .into_iter()
            .map(|record| Request { record, notice: None })
            .chain(batch.drain(..))
            .collect();
        while !requests.is_empty() {
            let rest = match self.write_part(&requests) {
                Ok((count, number)) => {
                    let rest = requests.split_off(count.min(requests.len()));
                    for request in requests {
                        if let Some(notice) = request.notice {
                            notice(Ok(number));
                        }
                    }
                    rest
                }
                Err(error) => {
                    self.fail(requests, &error);
                    return;
                }
            };
            requests = rest;
        }
    }

    /// Writes as many records as fit into one segment; returns how many, and its number.
    fn write_part(&mut self, requests: &[Request]) -> Result<(usize, u64), SpoolError> {
        let first = requests.first().map_or(0, |r| r.record.written_bytes());
        let directory = match &mut self.directory {
            Some(directory) => directory,
            None => {
                let made = WorkerDirectory::create(&self.directories, &self.shared.salt)?;
                // What the dead left was as much out of reach when this process started.
                replay::replay_dead(&self.directories, &self.report);
                self.directory.insert(made)
            }
        };
        if self.segment.as_ref().is_none_or(|s| !s.has_room(first) || directory.has_better(s)) {
            self.segment = None;
            let bytes = self.segment_bytes.max(first.saturating_add(64));
            let segment = directory.next_segment(self.next_number, bytes)?;
            self.next_number = self.next_number.saturating_add(1);
            self.segment = Some(segment);
        }
        let Some(segment) = &mut self.segment else { return Err(SpoolError::Closed) };
        let number = segment.number();
        let mut room = segment.room();
        let fitting = requests.iter().take_while(|r| match room.checked_sub(r.record.written_bytes()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let part: Vec<&Record> = fitting.map(|r| &r.record).collect();
        let headers: Vec<[u8; record::HEADER_BYTES]> =
            part.iter().map(|r| r.header(number, &self.shared.salt)).collect();
        let slices = part
            .iter()
            .zip(&headers)
            .flat_map(|(record, header)| std::iter::once(header.as_slice()).chain(record.parts()));
        // Before the callbacks run, so that no message can be finished before it is counted.
        let accepted = part.iter().filter(|r| r.is_accepted()).count();
        fault::point("journal-write");
        self.shared.failures.take().map_err(|e| segment.error(e))?;
        segment.write(slices)?;
        fault::point("journal-written");
        segment.sync()?;
        fault::point("journal-synced");
        let mut live = self.shared.live.lock();
        let count = live.entry(number).or_insert(0);
        *count = count.saturating_add(u64::try_from(accepted).unwrap_or(0));
        Ok((part.len(), number))
    }

    /// The state of what was written is unknown: the segment is left as it is and its last part marked as nothing.
    fn fail(&mut self, requests: Vec<Request>, error: &SpoolError) {
        (self.report)(&format!("spool journal: {error}"));
        if let Some(mut segment) = self.segment.take() {
            segment.abandon();
            self.shared.live.lock().entry(segment.number()).or_insert(0);
        }
        for request in requests {
            match request.notice {
                Some(notice) => notice(Err(error.clone())),
                None if self.unwritten.len() < UNWRITTEN_MAX => self.unwritten.push(request.record),
                None => {}
            }
        }
    }

    /// Removes the oldest segments for as long as nothing in them is alive.
    fn retire(&mut self) {
        loop {
            let oldest = self.shared.live.lock().first_key_value().map(|(number, count)| (*number, *count));
            let Some((number, 0)) = oldest else { return };
            if self.segment.as_ref().is_some_and(|s| s.number() == number) {
                return;
            }
            self.shared.live.lock().remove(&number);
            if let Some(directory) = &mut self.directory {
                directory.retire(number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::Kind;
    use std::sync::mpsc;

    fn directories() -> (tempfile::TempDir, Arc<Directories>) {
        let root = tempfile::tempdir().unwrap();
        let directories = Arc::new(Directories::open(root.path(), None, false).unwrap());
        (root, directories)
    }

    fn record(journal: &Journal, kind: Kind, body: &[u8]) -> Record {
        Record::new(journal.salt(), kind, b"1xUbTj-0005Py-07".to_vec(), bytes::Bytes::copy_from_slice(body))
    }

    #[test]
    fn many_waiting_records_are_told_and_segments_go_in_order() {
        let (_root, directories) = directories();
        let report: Report = Arc::new(|text| panic!("{text}"));
        let journal = Journal::start(&directories, 64 * 1024, &report).unwrap();
        let (sender, receiver) = mpsc::channel();
        for _ in 0..200 {
            let sender = sender.clone();
            let notice: Notice = Box::new(move |outcome| sender.send(outcome).unwrap());
            journal.append(record(&journal, Kind::Accepted, &[b'x'; 1000]), Some(notice));
        }
        let numbers: Vec<u64> = (0..200).map(|_| receiver.recv().unwrap().unwrap()).collect();
        assert!(numbers.is_sorted());
        assert!(*numbers.last().unwrap() >= 4);
        let before = journal.live_segments();
        // The youngest are forgotten first: nothing may go, because the oldest is alive.
        for number in numbers.iter().rev().take(199) {
            journal.forget(*number);
        }
        journal.append_blocking(record(&journal, Kind::Done, b"a")).unwrap();
        assert!(journal.live_segments() >= before);
        journal.forget(numbers[0]);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while journal.live_segments() > 1 {
            assert!(std::time::Instant::now() < end);
            journal.append_blocking(record(&journal, Kind::Done, b"a")).unwrap();
        }
    }

    #[test]
    fn a_full_disk_fails_the_batch_and_the_next_one_succeeds() {
        let (_root, directories) = directories();
        let report: Report = Arc::new(|_| ());
        let journal = Journal::start(&directories, 64 * 1024, &report).unwrap();
        journal.append_blocking(record(&journal, Kind::Accepted, b"one")).unwrap();
        journal.failures().push(nix::libc::ENOSPC);
        let failed = journal.append_blocking(record(&journal, Kind::Accepted, b"two"));
        assert!(matches!(failed, Err(SpoolError::Full { .. })));
        assert_eq!(journal.append_blocking(record(&journal, Kind::Accepted, b"three")).unwrap(), 2);
    }
}

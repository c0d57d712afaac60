//! Writes messages that live in the journal only as Exim's pairs: when they grow old, when asked, before the end.
//!
//! Making files costs several times what accepting costs. So while many messages arrive they stay in the journal for longer,
//! up to `move_out_by` or an eighth of what may be alive in it.
//!
//! The order keeps every message in at least one place, and never in two that disagree: -D and the text of -H written and
//! synced, -H given its name, directory synced, `Moved` recorded and synced; only then may anyone else work on the pair.
//! The lock on -D is held throughout. A batch is synced by one call for the whole file system: the journal has the
//! messages meanwhile, so nobody waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxim_mail::message_id::MessageId;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::core::{Core, Entry, Place, State};
use super::location::Located;
use crate::files::header_write;
use crate::files::pair::{self, Pair};
use crate::journal::record::{Kind, Record};
use crate::message::{Body, Message};
use crate::{SpoolError, fault};

/// How many messages are written out together, so that they share the syncs of directory and journal.
const BATCH_MAX: usize = 512;
/// A message that somebody works on is about to be finished, and is left alone for so many times its usual age. Longer
/// would keep its segment of the journal, and all younger ones, on disk.
const CLAIMED_PATIENCE: u32 = 5;
/// So many messages within `BUSY_WINDOW`, and writing out waits: the disk is needed for the journal.
const BUSY_MESSAGES: usize = 32;
const BUSY_WINDOW: Duration = Duration::from_millis(500);
/// How often to look whether it has become quiet.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait after a failure.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Instant, MessageId)>,
    is_closing: bool,
}

impl Queue {
    /// Many messages arrive just now.
    fn is_busy(&self) -> bool {
        let sample = self.waiting.iter().rev().nth(BUSY_MESSAGES);
        sample.is_some_and(|(since, _)| since.elapsed() < BUSY_WINDOW)
    }
}

/// The messages of the journal, oldest first.
#[derive(Default)]
pub(super) struct Due {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Held by who holds the states of several messages: two who took them in different orders would wait for each other.
    moving: Mutex<()>,
}

impl Due {
    /// A message was accepted just now.
    pub(super) fn add(&self, id: MessageId) {
        let mut queue = self.queue.lock();
        let was_empty = queue.waiting.is_empty();
        queue.waiting.push_back((Instant::now(), id));
        drop(queue);
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.queue.lock().is_closing = true;
        self.wake.notify_all();
    }

    /// Waits until the oldest has been there for `age`, and, if many arrive and it need not be yet, until it is quiet;
    /// takes it and its contemporaries. None at the end.
    fn next(&self, core: &Core) -> Option<Vec<MessageId>> {
        let age = core.config.move_out_after;
        let mut queue = self.queue.lock();
        loop {
            if queue.is_closing {
                return None;
            }
            let Some(oldest) = queue.waiting.front().map(|(since, _)| since.elapsed()) else {
                self.wake.wait(&mut queue);
                continue;
            };
            if oldest < age {
                self.wake.wait_for(&mut queue, age.saturating_sub(oldest));
            } else if queue.is_busy() && oldest < core.config.move_out_by && !core.is_journal_well_filled() {
                self.wake.wait_for(&mut queue, BUSY_PAUSE);
            } else {
                break;
            }
        }
        let count =
            queue.waiting.iter().take(BATCH_MAX).take_while(|(since, _)| since.elapsed() >= age).count();
        Some(queue.waiting.drain(..count).map(|(_, id)| id).collect())
    }
}

/// The thread that writes out what has grown old.
pub(super) fn run(core: &Arc<Core>) {
    while let Some(ids) = core.due.next(core) {
        let entries: Vec<Arc<Entry>> = ids.iter().filter_map(|id| core.entry(id)).collect();
        let entries = leave_claimed(core, entries);
        if entries.is_empty() {
            continue;
        }
        if let Err(error) = move_out(core, &entries) {
            (core.config.report)(&format!("cannot write messages out of the journal: {error}"));
            std::thread::sleep(PAUSE_AFTER_FAILURE);
            for entry in entries {
                let state = entry.state.lock();
                if matches!(state.place, Place::Journal { .. }) {
                    core.due.add(state.message.id);
                }
            }
        }
    }
}

/// Puts off the messages that somebody works on, for a while; the others are returned.
fn leave_claimed(core: &Core, mut entries: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let limit = core.config.move_out_after.saturating_mul(CLAIMED_PATIENCE);
    entries.retain(|entry| {
        // Whoever holds the state has it for a moment only; writing out waits for that.
        let Some(state) = entry.state.try_lock() else { return true };
        let is_left = state.epoch.is_some() && state.accepted.elapsed() < limit;
        if is_left {
            core.due.add(state.message.id);
        }
        !is_left
    });
    entries
}

/// Writes out everything that lives in the journal only.
pub(super) fn flush(core: &Arc<Core>) -> Result<(), SpoolError> {
    let entries: Vec<Arc<Entry>> = core.table.lock().values().cloned().collect();
    entries.chunks(BATCH_MAX).map(|batch| move_out(core, batch)).fold(Ok(()), Result::and)
}

/// A pair that was written but may not be used yet.
struct Written<'a> {
    state: MutexGuard<'a, State>,
    located: Located,
    pair: Pair,
    made_data: bool,
    header: std::fs::File,
}

impl Written<'_> {
    /// The journal stays the only place of the message.
    fn undo(&self) {
        self.pair.forget_header();
        // If this fails, the next attempt or the replay finds the files and replaces them.
        let _ = self.pair.unlink("-H");
        if self.made_data {
            let _ = self.pair.unlink("-D");
        }
    }
}

/// Writes these messages as pairs, those of them that live in the journal only. All that can be written are, even if
/// one fails.
pub(super) fn move_out(core: &Arc<Core>, entries: &[Arc<Entry>]) -> Result<(), SpoolError> {
    let _moving = core.due.moving.lock();
    let mut outcome = Ok(());
    let mut written = Vec::new();
    let mut open = OpenDirectories::default();
    for entry in entries {
        let state = entry.state.lock();
        if !matches!(state.place, Place::Journal { .. }) {
            continue;
        }
        let message = state.current_message();
        match write_pair(core, &mut open, state, &message) {
            Ok(pair) => written.push(pair),
            Err(error) => outcome = Err(error),
        }
    }
    outcome.and(settle(core, written))
}

/// Writes one message, in new words, as a pair; for `update`. False: it had become files already.
pub(super) fn move_out_as(core: &Arc<Core>, entry: &Entry, message: &Message) -> Result<bool, SpoolError> {
    let state = entry.state.lock();
    if !matches!(state.place, Place::Journal { .. }) {
        return Ok(false);
    }
    let written = write_pair(core, &mut OpenDirectories::default(), state, message)?;
    settle(core, vec![written]).map(|()| true)
}

/// Directories that a batch has opened.
type OpenDirectories = BTreeMap<PathBuf, Arc<OwnedFd>>;

fn directory(core: &Core, open: &mut OpenDirectories, place: &Path) -> io::Result<Arc<OwnedFd>> {
    if let Some(directory) = open.get(place) {
        return Ok(Arc::clone(directory));
    }
    let directory = Arc::new(core.directories.make(place)?);
    open.insert(place.to_owned(), Arc::clone(&directory));
    Ok(directory)
}

fn write_pair<'a>(
    core: &Core,
    open: &mut OpenDirectories,
    state: MutexGuard<'a, State>,
    message: &Message,
) -> Result<Written<'a>, SpoolError> {
    let id = message.id;
    let text = header_write::write(message)?;
    let place = core.directories.place("input", &message.queue_name, &id)?;
    let shown = core.directories.path().join(&place);
    let error = |e: io::Error| SpoolError::io(&shown, e);
    let pair = Pair::new(directory(core, open, &place).map_err(error)?, id, core.directories.owner());
    let data = match &state.place {
        Place::Journal { data: Some(data), .. } => Some(data),
        Place::Journal { data: None, .. } | Place::Opening | Place::Files(_) | Place::Gone => None,
    };
    let made_data = data.is_none();
    let file = match data {
        Some((from, file)) => {
            if *from != place {
                let source =
                    Pair::new(core.directories.existing(from).map_err(error)?, id, core.directories.owner());
                source.move_data_to(&pair).map_err(error)?;
            }
            Arc::clone(file)
        }
        None => Arc::new(pair.stage_data(&state.body, message.wireformat).map_err(error)?),
    };
    let located = Located::new(place, file, false);
    match pair.stage_header(&text) {
        Ok(header) => Ok(Written { state, located, pair, made_data, header }),
        Err(fault) => {
            if made_data {
                // If this fails, the next attempt replaces the file.
                let _ = pair.unlink("-D");
            }
            Err(error(fault))
        }
    }
}

/// Makes the new pairs last, records that they are the messages now, and lets others at them.
fn settle(core: &Arc<Core>, written: Vec<Written<'_>>) -> Result<(), SpoolError> {
    if written.is_empty() {
        return Ok(());
    }
    let at = |place: &PathBuf| core.directories.path().join(place);
    let synced =
        sync_contents(&written).and_then(|()| written.iter().try_for_each(|w| w.pair.publish_header()));
    let synced = synced.map_err(|e| SpoolError::io(core.directories.path(), e)).and_then(|()| {
        let directories: BTreeMap<&PathBuf, &Pair> =
            written.iter().map(|w| (&w.located.place, &w.pair)).collect();
        directories
            .iter()
            .try_for_each(|(place, pair)| pair.sync_directory().map_err(|e| SpoolError::io(at(place), e)))
    });
    if let Err(error) = synced {
        written.iter().for_each(Written::undo);
        return Err(error);
    }
    fault::point("pair-lasts");
    let mut outcome = Ok(());
    for (moved, written) in record_moved(core, &written).into_iter().zip(written) {
        match moved {
            Ok(_) => becomes_files(core, written),
            Err(error) => {
                written.undo();
                outcome = Err(error);
            }
        }
    }
    outcome
}

/// Makes what was written last, before any -H gets its name.
fn sync_contents(written: &[Written<'_>]) -> io::Result<()> {
    let files: Vec<&std::fs::File> = written.iter().flat_map(|w| [&*w.located.file, &w.header]).collect();
    pair::sync_files(&files)
}

/// One `Moved` record each, all in the same batch or two.
fn record_moved(core: &Core, written: &[Written<'_>]) -> Vec<Result<u64, SpoolError>> {
    let Some(journal) = &core.journal else {
        return written.iter().map(|_| Err(SpoolError::Closed)).collect();
    };
    let waiting: Vec<_> = written
        .iter()
        .map(|w| {
            let (sender, receiver) = std::sync::mpsc::sync_channel(1);
            let record = Record::of_message(journal.salt(), Kind::Moved, &w.state.message.id);
            // The receiver is waited on below.
            journal.append(record, Some(Box::new(move |outcome| drop(sender.send(outcome)))));
            receiver
        })
        .collect();
    waiting.into_iter().map(|receiver| receiver.recv().unwrap_or(Err(SpoolError::Closed))).collect()
}

fn becomes_files(core: &Arc<Core>, written: Written<'_>) {
    let Written { mut state, located, pair, .. } = written;
    core.leave_journal(&state.place);
    state.message = Arc::new(state.current_message());
    if state.message.wireformat {
        // The file has other line ends: what is in memory stays.
    } else if let Ok(body) = pair.body(&located.file) {
        state.body = body;
    } else {
        state.body = Body::default();
    }
    state.place = Place::Files(located);
    let lines = std::mem::take(&mut state.log);
    if !lines.is_empty() {
        core.append_message_log(&state.message, &lines);
    }
    if state.epoch.is_none() {
        core.let_go(&mut state);
    }
}

//! What the local store knows of each message that this process works on, and how messages are claimed, changed and ended.
//!
//! Lock order: an entry's state, then the table; nobody waits for a state while holding the table, and nothing that
//! runs on the committing thread waits for a state.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use oxim_mail::message_id::MessageId;
use parking_lot::{Mutex, MutexGuard};

use super::local::LocalConfig;
use super::location::{self, ArrivingData, Located};
use super::mover::{self, Due};
use super::syncer::Tasks;
use super::{Claim, Details, Done, Part, QueueDetails, Release};
use crate::error::{ClaimError, SpoolError};
use crate::files::directories::Directories;
use crate::files::header_write;
use crate::files::pair::{self, Pair};
use crate::journal::Journal;
use crate::journal::record::{Kind, Record};
use crate::message::{Body, Message};

/// Where a message is.
pub(super) enum Place {
    /// Someone is looking for it.
    Opening,
    /// In the journal only; its -D and where that is, if the body was too large for the journal.
    Journal { segment: u64, data: Option<(PathBuf, Arc<std::fs::File>)>, bytes: u64 },
    /// In its files, locked by us.
    Files(Located),
    /// Finished, or let go: this entry is not in the table any more.
    Gone,
}

/// What is known of a message that this process works on or keeps in its journal.
pub(super) struct State {
    pub(super) message: Arc<Message>,
    pub(super) body: Body,
    pub(super) place: Place,
    /// The claim, if there is one.
    pub(super) epoch: Option<u64>,
    /// Recorded since `message` was made.
    pub(super) done: Vec<Vec<u8>>,
    /// Message log lines that wait for the message to become files.
    pub(super) log: Vec<u8>,
    /// Since when it is in the table.
    pub(super) accepted: Instant,
}

impl State {
    /// The message with everything that was recorded.
    pub(super) fn current_message(&self) -> Message {
        let mut message = Message::clone(&self.message);
        message.non_recipients.extend(self.done.iter().cloned());
        message
    }
}

/// One message in the table.
pub(super) struct Entry {
    pub(super) state: Mutex<State>,
}

/// What the store, its claims and its threads share.
pub(super) struct Core {
    pub(super) config: LocalConfig,
    pub(super) directories: Arc<Directories>,
    pub(super) table: Mutex<HashMap<MessageId, Arc<Entry>>>,
    pub(super) journal: Option<Journal>,
    pub(super) due: Due,
    pub(super) tasks: Arc<Tasks>,
    epochs: AtomicU64,
    live_bytes: AtomicU64,
    this: std::sync::Weak<Core>,
}

impl Core {
    /// A store's inside, with no messages in it.
    pub(super) fn new(
        config: LocalConfig,
        directories: Arc<Directories>,
        journal: Option<Journal>,
    ) -> Arc<Core> {
        Arc::new_cyclic(|this| Core {
            config,
            directories,
            table: Mutex::default(),
            journal,
            due: Due::default(),
            tasks: Arc::default(),
            epochs: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
            this: this.clone(),
        })
    }

    /// The journal holds as much as it may.
    pub(super) fn is_journal_full(&self) -> bool {
        self.live_bytes.load(Ordering::Relaxed) > self.config.live_bytes_max
    }

    pub(super) fn entry(&self, id: &MessageId) -> Option<Arc<Entry>> {
        self.table.lock().get(id).cloned()
    }

    /// Writing out must not wait any more: what is alive would have to be written out at once at the end, or after a crash.
    pub(super) fn is_journal_well_filled(&self) -> bool {
        self.live_bytes.load(Ordering::Relaxed) > self.config.live_bytes_max / 8
    }

    fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Runs `write` on the message of a claim, if it still is the claim.
    pub(super) fn with_claimed<T>(
        &self,
        claim: &Claim,
        write: impl FnOnce(&Arc<Entry>, MutexGuard<'_, State>) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let entry = self.entry(&claim.id()).ok_or(SpoolError::Stale)?;
        let state = entry.state.lock();
        if state.epoch == Some(claim.epoch()) { write(&entry, state) } else { Err(SpoolError::Stale) }
    }

    /// Puts a new message into the table, claimed.
    pub(super) fn insert(self: &Arc<Core>, message: Message, body: Body, place: Place) -> Claim {
        let epoch = self.next_epoch();
        let (id, message) = (message.id, Arc::new(message));
        let state = State {
            message: Arc::clone(&message),
            body: body.clone(),
            place,
            epoch: Some(epoch),
            done: Vec::new(),
            log: Vec::new(),
            accepted: Instant::now(),
        };
        self.table.lock().insert(id, Arc::new(Entry { state: Mutex::new(state) }));
        Claim::new(message, body, epoch, Arc::clone(self) as Arc<dyn Release>)
    }

    /// The message is not in the journal any more, or need not be.
    pub(super) fn leave_journal(&self, place: &Place) {
        if let (Place::Journal { segment, bytes, .. }, Some(journal)) = (place, &self.journal) {
            journal.forget(*segment);
            self.live_bytes.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }

    /// Unlocks the files of a message and forgets it.
    pub(super) fn let_go(&self, state: &mut State) {
        if let Place::Files(located) = &state.place {
            pair::unlock(&located.file, &state.message.id);
        }
        state.place = Place::Gone;
        self.table.lock().remove(&state.message.id);
    }

    pub(super) fn error(&self, place: &Path, error: std::io::Error) -> SpoolError {
        SpoolError::io(self.directories.path().join(place), error)
    }

    /// Writes a new message as a pair that lasts.
    pub(super) fn write_new_pair(
        self: &Arc<Core>,
        message: Message,
        body: Body,
        data: Option<ArrivingData>,
    ) -> Result<Claim, SpoolError> {
        let text = header_write::write(&message)?;
        let place = self.directories.place("input", &message.queue_name, &message.id)?;
        let error = |e| self.error(&place, e);
        let pair =
            Pair::new(self.directories.make(&place).map_err(error)?, message.id, self.directories.owner());
        let file = match data {
            Some(mut data) => {
                data.settle(&self.directories, &message.queue_name, &message.id)?;
                pair.write_header(&text).map_err(error)?;
                data.keep();
                Arc::clone(&data.file)
            }
            None => {
                let file = Arc::new(pair.write_data(&body, message.wireformat).map_err(error)?);
                if let Err(fault) = pair.write_header(&text) {
                    // Without -H it is no message; the error matters more.
                    let _ = pair.unlink("-D");
                    return Err(error(fault));
                }
                file
            }
        };
        if let Err(fault) = pair.sync_directory() {
            // It may or may not last; the sender is told to come again, so it must not be delivered too.
            let _ = pair.remove();
            return Err(error(fault));
        }
        crate::fault::point("pair-synced");
        Ok(self.insert(message, body, Place::Files(Located::new(place, file, false))))
    }

    /// Queues a message for the journal; `done` is called once it lasts.
    pub(super) fn commit_to_journal(
        self: &Arc<Core>,
        journal: &Journal,
        message: Message,
        body: Body,
        data: Option<ArrivingData>,
        done: Done<Claim>,
    ) {
        let header = match header_write::write(&message) {
            Ok(header) => header,
            Err(error) => return done(Err(error)),
        };
        let memory = match &body {
            Body::Memory(bytes) => Some(bytes.clone()),
            Body::File { .. } => None,
        };
        let record = Record::accepted(journal.salt(), &message.id, &message.queue_name, &header, memory);
        let bytes = record.written_bytes();
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
        let core = Arc::clone(self);
        let notice = move |outcome| match outcome {
            Ok(segment) => {
                let id = message.id;
                let data = data.map(|mut data| {
                    data.keep();
                    (data.place.clone(), Arc::clone(&data.file))
                });
                let claim = core.insert(message, body, Place::Journal { segment, data, bytes });
                core.due.add(id);
                done(Ok(claim));
            }
            Err(error) => {
                core.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
                done(Err(error));
            }
        };
        journal.append(record, Some(Box::new(notice)));
    }

    /// Large body: -D is synced here, on a thread of ours, then the record goes with the next batch.
    pub(super) fn commit_with_data(
        self: &Arc<Core>,
        message: Message,
        body: Body,
        mut data: ArrivingData,
        done: Done<Claim>,
    ) {
        let Some(journal) = &self.journal else { return done(Err(SpoolError::Closed)) };
        match data.settle(&self.directories, &message.queue_name, &message.id) {
            Ok(()) => {
                crate::fault::point("large-data-lasts");
                self.commit_to_journal(journal, message, body, Some(data), done);
            }
            Err(error) => done(Err(error)),
        }
    }

    /// Removes a message; if there is a `done`, it is taken and told when that lasts. Still there afterwards: not told.
    pub(super) fn finish(
        self: &Arc<Core>,
        claim: &Claim,
        done: &mut Option<Done<()>>,
    ) -> Result<(), SpoolError> {
        let id = claim.id();
        let (place, message, log) = self.with_claimed(claim, |_, mut state| {
            if let Place::Files(located) = &state.place {
                let pair = location::pair_at(&self.directories, &located.place, &id);
                let removed = pair.and_then(|pair| {
                    pair.remove()?;
                    if done.is_some() { pair.sync_directory() } else { Ok(()) }
                });
                removed.map_err(|e| self.error(&located.place, e))?;
                pair::unlock(&located.file, &id);
            }
            self.table.lock().remove(&id);
            let place = std::mem::replace(&mut state.place, Place::Gone);
            Ok((place, Arc::clone(&state.message), std::mem::take(&mut state.log)))
        })?;
        if let (Place::Journal { data, .. }, Some(journal)) = (&place, &self.journal) {
            // Only who has something to do afterwards needs to be told.
            let is_told = data.is_some() || done.is_some();
            self.leave_journal(&place);
            let record = Record::of_message(journal.salt(), Kind::Finished, &id);
            let removal = data.as_ref().map(|(place, _)| (Arc::clone(self), place.clone()));
            let done = done.take();
            let notice = move |outcome: Result<u64, SpoolError>| {
                // -D goes only when the journal says so, or a replay would miss it.
                if let (Ok(_), Some((core, place))) = (&outcome, removal) {
                    let tasks = Arc::clone(&core.tasks);
                    tasks.add(Box::new(move || {
                        drop(location::pair_at(&core.directories, &place, &id).map(|p| p.unlink("-D")))
                    }));
                }
                if let Some(done) = done {
                    done(outcome.map(drop));
                }
            };
            journal.append(record, is_told.then(|| Box::new(notice) as crate::journal::Notice));
        }
        if matches!(place, Place::Files(_)) || !log.is_empty() {
            self.close_message_log(&message, &log);
        }
        Ok(())
    }
}

impl Release for Core {
    fn release(&self, id: &MessageId, epoch: u64) {
        let Some(entry) = self.entry(id) else { return };
        // The state may be held by a thread that waits for the committing thread, and this may be that thread.
        if let Some(mut state) = entry.state.try_lock() {
            self.end_claim(&mut state, epoch);
            return;
        }
        self.release_later(entry, epoch);
    }
}

impl Core {
    pub(super) fn end_claim(&self, state: &mut State, epoch: u64) {
        if state.epoch != Some(epoch) {
            return;
        }
        state.epoch = None;
        if matches!(state.place, Place::Files(_)) {
            self.let_go(state);
        }
    }

    fn release_later(&self, entry: Arc<Entry>, epoch: u64) {
        let Some(core) = self.this.upgrade() else { return };
        self.tasks.add(Box::new(move || {
            let mut state = entry.state.lock();
            core.end_claim(&mut state, epoch);
        }));
    }

    /// Claims what is in the table, if it is. `Ok(None)`: it is not, look for files.
    pub(super) fn claim_known(self: &Arc<Core>, id: &MessageId) -> Result<Option<Claim>, ClaimError> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        // Whoever holds the state is about to write the message out or to finish it; both take a moment only.
        let mut state = entry.state.lock();
        match (&state.place, state.epoch) {
            (Place::Gone, _) => Ok(None),
            (_, Some(_)) | (Place::Opening | Place::Files(_), None) => Err(ClaimError::Busy),
            (Place::Journal { .. }, None) => {
                let epoch = self.next_epoch();
                state.epoch = Some(epoch);
                state.message = Arc::new(state.current_message());
                state.done.clear();
                let (message, body) = (Arc::clone(&state.message), state.body.clone());
                Ok(Some(Claim::new(message, body, epoch, Arc::clone(self) as Arc<dyn Release>)))
            }
        }
    }

    /// Claims a message in files. Its entry is there from the start, so that nobody else here looks too.
    pub(super) fn claim_files(self: &Arc<Core>, id: &MessageId) -> Result<Claim, ClaimError> {
        let claim = {
            let mut table = self.table.lock();
            if table.contains_key(id) {
                return Err(ClaimError::Busy);
            }
            let epoch = self.next_epoch();
            let message = Arc::new(Message::new(*id));
            let body = Body::default();
            let state = State {
                message: Arc::clone(&message),
                body: body.clone(),
                place: Place::Opening,
                epoch: Some(epoch),
                done: Vec::new(),
                log: Vec::new(),
                accepted: Instant::now(),
            };
            let entry = Arc::new(Entry { state: Mutex::new(state) });
            table.insert(*id, Arc::clone(&entry));
            drop(table);
            (entry, epoch)
        };
        let (entry, epoch) = claim;
        let mut state = entry.state.lock();
        match location::claim(&self.directories, id) {
            Ok((located, message, body)) => {
                state.place = Place::Files(located);
                state.message = Arc::new(message);
                state.body = body;
                let (message, body) = (Arc::clone(&state.message), state.body.clone());
                Ok(Claim::new(message, body, epoch, Arc::clone(self) as Arc<dyn Release>))
            }
            Err(error) => {
                self.let_go(&mut state);
                Err(error)
            }
        }
    }

    pub(super) fn record_done(self: &Arc<Core>, claim: &Claim, addresses: &[Vec<u8>], done: Done<()>) {
        let mut done = Some(done);
        let recorded = self.with_claimed(claim, |_, mut state| {
            state.done.extend_from_slice(addresses);
            match (&mut state.place, &self.journal) {
                (Place::Journal { .. }, Some(journal)) => {
                    let record = Record::done(journal.salt(), &claim.id(), addresses);
                    let done = done.take();
                    let notice = move |outcome: Result<u64, SpoolError>| {
                        done.into_iter().for_each(|d| d(outcome.clone().map(drop)))
                    };
                    journal.append(record, Some(Box::new(notice)));
                    Ok(())
                }
                (Place::Files(located), _) => located
                    .add_done(&self.directories, &claim.id(), addresses)
                    .map_err(|e| self.error(&located.place, e)),
                (Place::Journal { .. } | Place::Opening | Place::Gone, _) => Err(SpoolError::Stale),
            }
        });
        if let Some(done) = done {
            done(recorded);
        }
    }

    pub(super) fn update(self: &Arc<Core>, claim: &mut Claim, message: &Message) -> Result<(), SpoolError> {
        let mut whole = Message::clone(message);
        let entry = self.with_claimed(claim, |entry, state| {
            // What was done once stays done, whatever older copy the caller has changed.
            whole.non_recipients.extend(state.current_message().non_recipients);
            Ok(Arc::clone(entry))
        })?;
        if !mover::move_out_as(self, &entry, &whole)? {
            self.with_claimed(claim, |_, mut state| self.rewrite(&mut state, &whole))?;
        }
        let whole = Arc::new(whole);
        let mut state = entry.state.lock();
        state.message = Arc::clone(&whole);
        state.done.clear();
        drop(state);
        claim.set_message(whole);
        Ok(())
    }

    /// New -H, then no -J, in the directory of its queue.
    fn rewrite(&self, state: &mut State, message: &Message) -> Result<(), SpoolError> {
        let Place::Files(located) = &mut state.place else { return Err(SpoolError::Stale) };
        let place = self.directories.place("input", &message.queue_name, &message.id)?;
        let text = header_write::write(message)?;
        let write = |located: &mut Located| -> std::io::Result<()> {
            let pair = location::pair_at(&self.directories, &located.place, &message.id)?;
            pair.write_header(&text)?;
            pair.sync_directory()?;
            crate::fault::point("header-replaced");
            located.remove_done(&pair)?;
            if message.queue_name != state.message.queue_name {
                let target = Pair::new(self.directories.make(&place)?, message.id, self.directories.owner());
                pair.move_to(&target)?;
                located.place.clone_from(&place);
                self.move_message_log(&state.message, message);
            }
            Ok(())
        };
        write(located).map_err(|e| self.error(&place, e))
    }

    /// Moves a message in files, and its log, to the places of the same names with an F before them.
    pub(super) fn set_aside(&self, claim: &Claim) -> Result<(), SpoolError> {
        self.with_claimed(claim, |_, mut state| {
            let Place::Files(located) = &mut state.place else { return Err(SpoolError::Stale) };
            let (message, id) = (claim.message(), claim.id());
            let place = self.directories.place("Finput", &message.queue_name, &id)?;
            let log = self.directories.place("Fmsglog", &message.queue_name, &id)?;
            let (from, name) = self.message_log_name(message)?;
            let move_all = || -> std::io::Result<()> {
                let source = location::pair_at(&self.directories, &located.place, &id)?;
                let target = Pair::new(self.directories.make(&place)?, id, self.directories.owner());
                source.move_to(&target)?;
                let Ok(from) = self.directories.existing(&from) else { return Ok(()) };
                match rustix::fs::renameat(from, &name, self.directories.make(&log)?, &name) {
                    Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            };
            move_all().map_err(|e| self.error(&place, e))?;
            self.let_go(&mut state);
            Ok(())
        })
    }

    /// The state of a message that only this process can see.
    pub(super) fn in_journal(&self, id: &MessageId) -> Option<Message> {
        let entry = self.entry(id)?;
        let state = entry.state.lock();
        matches!(state.place, Place::Journal { .. }).then(|| state.current_message())
    }

    pub(super) fn part_of_journal(
        &self,
        id: &MessageId,
        part: Part,
    ) -> Result<Option<Box<dyn Read + Send>>, ClaimError> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        let state = entry.state.lock();
        if !matches!(state.place, Place::Journal { .. }) {
            return Ok(None);
        }
        Ok(Some(match part {
            Part::Header => {
                let text = header_write::write(&state.current_message());
                Box::new(std::io::Cursor::new(text.map_err(|e| ClaimError::Corrupt(e.to_string()))?))
            }
            Part::Data => {
                let first = std::io::Cursor::new(format!("{id}-D\n").into_bytes());
                Box::new(first.chain(state.body.reader()))
            }
            Part::Log => Box::new(std::io::Cursor::new(state.log.clone())),
        }))
    }
}

impl Details for Core {
    fn details(&self, id: &MessageId, queue_name: &[u8]) -> Result<QueueDetails, ClaimError> {
        if let Some(entry) = self.entry(id) {
            let state = entry.state.lock();
            if matches!(state.place, Place::Journal { .. }) {
                let message = state.current_message();
                let size = message.size_with(state.body.len());
                return Ok(QueueDetails { message: Arc::new(message), size });
            }
        }
        location::details(&self.directories, id, queue_name)
    }
}

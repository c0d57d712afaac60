//! The store on this machine's disk, in two forms: straight to Exim's files, for command-line modes, and behind the
//! journal, for the daemon.
//!
//! Lock order: an entry's state, then the table; nobody waits for a state while holding the table, and nothing that
//! runs on the committing thread waits for a state.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxim_mail::message_id::MessageId;
use parking_lot::{Mutex, MutexGuard};

use super::location::{self, ArrivingData, Located};
use super::mover::{self, Due};
use super::syncer::Tasks;
use super::{Claim, Details, Done, Draft, Part, QueueDetails, QueueEntry, Release, Spill, Store};
use crate::error::{ClaimError, SpoolError};
use crate::files::directories::Directories;
use crate::files::pair::{self, Pair};
use crate::files::{beneath, header_write};
use crate::journal::record::{Kind, Record};
use crate::journal::{Journal, replay};
use crate::message::{Body, Message};
use crate::{Owner, Report};

/// How the local store is set up.
#[derive(Clone)]
pub struct LocalConfig {
    /// spool_directory.
    pub spool_directory: PathBuf,
    /// exim_user and exim_group, for files that root writes.
    pub owner: Option<Owner>,
    /// split_spool_directory.
    pub split_spool_directory: bool,
    /// message_logs.
    pub message_logs: bool,
    /// preserve_message_logs.
    pub preserve_message_logs: bool,
    /// After this time a message in the journal is written as files, so that other programs see it.
    pub move_out_after: Duration,
    /// After this time it is, even while many others arrive.
    pub move_out_by: Duration,
    /// Size of one journal segment.
    pub segment_bytes: u64,
    /// With more than this alive in the journal and in memory, new messages go straight to files.
    pub live_bytes_max: u64,
    /// The panic log.
    pub report: Report,
}

impl LocalConfig {
    /// The usual settings; trouble is told on standard error.
    #[must_use]
    pub fn new(spool_directory: impl Into<PathBuf>) -> LocalConfig {
        LocalConfig {
            spool_directory: spool_directory.into(),
            owner: None,
            split_spool_directory: false,
            message_logs: true,
            preserve_message_logs: false,
            move_out_after: Duration::from_secs(1),
            move_out_by: Duration::from_secs(3),
            segment_bytes: 16 * 1024 * 1024,
            live_bytes_max: 256 * 1024 * 1024,
            report: Arc::new(|text| eprintln!("{text}")),
        }
    }
}

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
    tasks: Arc<Tasks>,
    epochs: AtomicU64,
    live_bytes: AtomicU64,
    this: std::sync::Weak<Core>,
}

impl Core {
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
    fn with_claimed<T>(
        &self,
        claim: &Claim,
        write: impl FnOnce(&Arc<Entry>, MutexGuard<'_, State>) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let entry = self.entry(&claim.id()).ok_or(SpoolError::Stale)?;
        let state = entry.state.lock();
        if state.epoch == Some(claim.epoch()) { write(&entry, state) } else { Err(SpoolError::Stale) }
    }

    /// Puts a new message into the table, claimed.
    fn insert(self: &Arc<Core>, message: Message, body: Body, place: Place) -> Claim {
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

    fn error(&self, place: &Path, error: std::io::Error) -> SpoolError {
        SpoolError::io(self.directories.path().join(place), error)
    }

    /// Writes a new message as a pair that lasts.
    fn write_new_pair(
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
        Ok(self.insert(message, body, Place::Files(Located { place, file, has_done_file: false })))
    }

    /// Queues a message for the journal; `done` is called once it lasts.
    fn commit_to_journal(
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
    fn commit_with_data(
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

    fn message_log_name(&self, message: &Message) -> Result<(PathBuf, PathBuf), SpoolError> {
        let place = self.directories.place("msglog", &message.queue_name, &message.id)?;
        Ok((place, PathBuf::from(message.id.to_string())))
    }

    /// Adds whole lines to the message's own log.
    pub(super) fn append_message_log(&self, message: &Message, lines: &[u8]) {
        let append = || -> Result<(), SpoolError> {
            let (place, name) = self.message_log_name(message)?;
            let directory = self.directories.make(&place).map_err(|e| self.error(&place, e))?;
            let (mut file, _) = beneath::append(&directory, &name, self.directories.owner())
                .map_err(|e| self.error(&place, e))?;
            std::io::Write::write_all(&mut file, lines).map_err(|e| self.error(&place, e))
        };
        if let Err(error) = append() {
            (self.config.report)(&format!("{} cannot write the message log: {error}", message.id));
        }
    }

    /// A message goes to another queue: its log goes along. Without it nothing is lost.
    fn move_message_log(&self, before: &Message, after: &Message) {
        let (Ok((from, name)), Ok((to, _))) = (self.message_log_name(before), self.message_log_name(after))
        else {
            return;
        };
        if let Ok(from) = self.directories.existing(&from)
            && rustix::fs::statat(&from, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok()
            && let Ok(to) = self.directories.make(&to)
        {
            let _ = rustix::fs::renameat(from, &name, to, &name);
        }
    }

    /// The message is finished: its log goes, or is kept apart.
    fn close_message_log(&self, message: &Message, unwritten: &[u8]) {
        if !self.config.message_logs {
            return;
        }
        let close = || -> Result<(), SpoolError> {
            let (place, name) = self.message_log_name(message)?;
            if !self.config.preserve_message_logs {
                // `split_spool_directory` may have been changed since the log was begun.
                let other = self.directories.other_place("msglog", &message.queue_name, &message.id)?;
                for place in [&place, &other] {
                    if let Ok(directory) = self.directories.existing(place) {
                        let _ = rustix::fs::unlinkat(&directory, &name, rustix::fs::AtFlags::empty());
                    }
                }
                return Ok(());
            }
            if !unwritten.is_empty() {
                self.append_message_log(message, unwritten);
            }
            let from = self.directories.make(&place).map_err(|e| self.error(&place, e))?;
            let old = Path::new("msglog.OLD");
            let to = self.directories.make(old).map_err(|e| self.error(old, e))?;
            match rustix::fs::renameat(from, &name, to, &name) {
                Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
                Err(error) => Err(self.error(old, error.into())),
            }
        };
        if let Err(error) = close() {
            (self.config.report)(&format!("{} cannot put the message log away: {error}", message.id));
        }
    }

    /// Removes a message; if there is a `done`, it is taken and told when that lasts. Still there afterwards: not told.
    fn finish(self: &Arc<Core>, claim: &Claim, done: &mut Option<Done<()>>) -> Result<(), SpoolError> {
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
    fn end_claim(&self, state: &mut State, epoch: u64) {
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
    fn claim_known(self: &Arc<Core>, id: &MessageId) -> Result<Option<Claim>, ClaimError> {
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
    fn claim_files(self: &Arc<Core>, id: &MessageId) -> Result<Claim, ClaimError> {
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

    fn record_done(self: &Arc<Core>, claim: &Claim, addresses: &[Vec<u8>], done: Done<()>) {
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
                (Place::Files(located), _) => {
                    let pair = location::pair_at(&self.directories, &located.place, &claim.id());
                    pair.and_then(|p| p.add_done(addresses)).map_err(|e| self.error(&located.place, e))?;
                    located.has_done_file = true;
                    Ok(())
                }
                (Place::Journal { .. } | Place::Opening | Place::Gone, _) => Err(SpoolError::Stale),
            }
        });
        if let Some(done) = done {
            done(recorded);
        }
    }

    fn update(self: &Arc<Core>, claim: &mut Claim, message: &Message) -> Result<(), SpoolError> {
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
            if located.has_done_file {
                pair.unlink("-J")?;
                located.has_done_file = false;
            }
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
    fn set_aside(&self, claim: &Claim) -> Result<(), SpoolError> {
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
    fn in_journal(&self, id: &MessageId) -> Option<Message> {
        let entry = self.entry(id)?;
        let state = entry.state.lock();
        matches!(state.place, Place::Journal { .. }).then(|| state.current_message())
    }

    fn part_of_journal(
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

/// Messages on this machine's disk.
pub struct LocalStore {
    core: Arc<Core>,
    threads: Vec<JoinHandle<()>>,
}

impl LocalStore {
    /// For command-line modes: a message is written as its files, synced, before it is acknowledged.
    ///
    /// # Errors
    /// If the spool directory cannot be opened or made.
    pub fn direct(config: LocalConfig) -> Result<LocalStore, SpoolError> {
        let directories = LocalStore::directories(&config)?;
        Ok(LocalStore { core: LocalStore::core(config, directories, None), threads: Vec::new() })
    }

    /// For the daemon: first brings back what dead processes left in their journals, then keeps one of its own.
    ///
    /// # Errors
    /// If the spool directory, the journal or a thread cannot be made.
    pub fn journal(config: LocalConfig) -> Result<LocalStore, SpoolError> {
        let directories = LocalStore::directories(&config)?;
        replay::replay_dead(&directories, &config.report);
        let journal = Journal::start(&directories, config.segment_bytes, &config.report)?;
        let core = LocalStore::core(config, directories, Some(journal));
        let error = |e| SpoolError::io(core.directories.path(), e);
        let mut threads = core.tasks.start(2).map_err(error)?;
        let mover_core = Arc::clone(&core);
        let mover =
            std::thread::Builder::new().name("spool-move".to_owned()).spawn(move || mover::run(&mover_core));
        threads.push(mover.map_err(error)?);
        Ok(LocalStore { core, threads })
    }

    /// Brings back what dead processes left in their journals, without keeping one. Returns how many messages.
    #[must_use]
    pub fn recover(&self) -> usize {
        replay::replay_dead(&self.core.directories, &self.core.config.report)
    }

    fn directories(config: &LocalConfig) -> Result<Arc<Directories>, SpoolError> {
        let path = &config.spool_directory;
        let opened = Directories::open(path, config.owner, config.split_spool_directory);
        Ok(Arc::new(opened.map_err(|e| SpoolError::io(path, e))?))
    }

    fn core(config: LocalConfig, directories: Arc<Directories>, journal: Option<Journal>) -> Arc<Core> {
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

    #[cfg(test)]
    pub(super) fn core_for_tests(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        if let Err(error) = mover::flush(&self.core) {
            (self.core.config.report)(&format!("messages stay in the journal: {error}"));
        }
        self.core.due.close();
        self.core.tasks.close();
        for thread in self.threads.drain(..) {
            // A panic there has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Store for LocalStore {
    fn begin(&self, id: MessageId) -> Result<Draft, SpoolError> {
        let directories = Arc::clone(&self.core.directories);
        let open = move || Ok(Box::new(ArrivingData::create(&directories, &id)?) as Box<dyn Spill>);
        Ok(Draft::new(id, Box::new(open)))
    }

    fn commit(&self, mut message: Message, draft: Draft, done: Done<Claim>) {
        let (body, spill) = match draft.into_parts() {
            Ok(parts) => parts,
            Err(error) => return done(Err(error)),
        };
        let data = spill
            .and_then(|spill| (spill as Box<dyn std::any::Any>).downcast::<ArrivingData>().ok())
            .map(|d| *d);
        // What went to its file while it arrived has the line ends of that file.
        message.wireformat &= data.is_none();
        let core = Arc::clone(&self.core);
        let Some(journal) = &self.core.journal else { return done(core.write_new_pair(message, body, data)) };
        let is_full = core.live_bytes.load(Ordering::Relaxed) > core.config.live_bytes_max;
        match data {
            Some(data) => {
                self.core.tasks.add(Box::new(move || core.commit_with_data(message, body, data, done)))
            }
            None if is_full => {
                self.core.tasks.add(Box::new(move || done(core.write_new_pair(message, body, None))))
            }
            None => core.commit_to_journal(journal, message, body, None, done),
        }
    }

    fn claim(&self, id: &MessageId) -> Result<Claim, ClaimError> {
        match self.core.claim_known(id)? {
            Some(claim) => Ok(claim),
            None => self.core.claim_files(id),
        }
    }

    fn record_done_then(&self, claim: &Claim, addresses: &[Vec<u8>], done: Done<()>) {
        self.core.record_done(claim, addresses, done);
    }

    fn update(&self, claim: &mut Claim, message: &Message) -> Result<(), SpoolError> {
        self.core.update(claim, message)
    }

    fn finish_then(&self, claim: Claim, done: Done<()>) {
        let mut done = Some(done);
        let finished = self.core.finish(&claim, &mut done);
        if let Some(done) = done {
            done(finished);
        }
    }

    fn finish(&self, claim: Claim) -> Result<(), SpoolError> {
        self.core.finish(&claim, &mut None)
    }

    fn set_aside(&self, claim: Claim) -> Result<(), SpoolError> {
        self.core.set_aside(&claim)
    }

    fn discard(&self, id: &MessageId) -> Result<(), ClaimError> {
        if self.core.entry(id).is_some() {
            return Err(ClaimError::Busy);
        }
        location::discard(&self.core.directories, id)?;
        for (_, place) in self.core.directories.candidates("msglog", id) {
            if let Ok(directory) = self.core.directories.existing(&place) {
                // The log of a message that is gone; most have none.
                let name = Path::new(id.as_str());
                let _ = rustix::fs::unlinkat(&directory, name, rustix::fs::AtFlags::empty());
            }
        }
        Ok(())
    }

    fn message_log(&self, claim: &Claim, line: &str) {
        if !self.core.config.message_logs {
            return;
        }
        // A holder whose claim was broken has nothing to say any more.
        let _ = self.core.with_claimed(claim, |_, mut state| {
            let lines = format!("{line}\n").into_bytes();
            match &state.place {
                Place::Journal { .. } => state.log.extend_from_slice(&lines),
                Place::Files(_) => self.core.append_message_log(&state.message, &lines),
                Place::Opening | Place::Gone => {}
            }
            Ok(())
        });
    }

    fn list(&self, queue: Option<&[u8]>) -> Result<Vec<QueueEntry>, SpoolError> {
        let queues: Vec<Arc<[u8]>> = match queue {
            Some(queue) => vec![Arc::from(queue)],
            None => {
                std::iter::once(Arc::from(Vec::new())).chain(self.core.directories.queue_names()).collect()
            }
        };
        let source = Arc::clone(&self.core) as Arc<dyn Details>;
        let mut entries = Vec::new();
        // The table first: what moves out meanwhile is then seen twice rather than never.
        let known: Vec<MessageId> = self.core.table.lock().keys().copied().collect();
        for id in known {
            if let Some(message) = self.core.in_journal(&id)
                && queue.is_none_or(|queue| queue == message.queue_name)
            {
                entries.push(QueueEntry::new(id, Arc::from(message.queue_name), Arc::clone(&source)));
            }
        }
        for queue in queues {
            for id in self.core.directories.ids(&queue)? {
                entries.push(QueueEntry::new(id, Arc::clone(&queue), Arc::clone(&source)));
            }
        }
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
        Ok(entries)
    }

    fn read_part(&self, id: &MessageId, part: Part) -> Result<Box<dyn Read + Send>, ClaimError> {
        if let Some(reader) = self.core.part_of_journal(id, part)? {
            return Ok(reader);
        }
        let (kind, suffix) = match part {
            Part::Header => ("input", "-H"),
            Part::Data => ("input", "-D"),
            Part::Log => ("msglog", ""),
        };
        for (_, place) in self.core.directories.candidates(kind, id) {
            match self.core.directories.read(&place.join(format!("{id}{suffix}"))) {
                Ok(file) => return Ok(Box::new(file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClaimError::Gone)
    }

    fn break_claim(&self, id: &MessageId) -> bool {
        let Some(entry) = self.core.entry(id) else { return false };
        // A holder stuck inside a write of ours cannot be broken without doing what it does twice.
        let until = Instant::now().checked_add(Duration::from_secs(1));
        let Some(mut state) = until.and_then(|until| entry.state.try_lock_until(until)) else { return false };
        match state.epoch {
            Some(epoch) => {
                self.core.end_claim(&mut state, epoch);
                true
            }
            None => false,
        }
    }

    fn flush(&self) -> Result<(), SpoolError> {
        mover::flush(&self.core)
    }
}

//! The store on this machine's disk, in two forms: straight to Exim's files, for command-line modes, and behind the
//! journal, for the daemon.
//!
//! [`core`](super::core) holds the messages; here are its options, its threads and the face that others see.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oxim_mail::message_id::MessageId;

use super::core::{Core, Place};
use super::location::{self, ArrivingData};
use super::mover;
use super::{Claim, Details, Done, Draft, Part, QueueEntry, Spill, Store};
use crate::error::{ClaimError, SpoolError};
use crate::files::directories::Directories;
use crate::journal::{Journal, replay};
use crate::message::Message;
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
        Ok(LocalStore { core: Core::new(config, directories, None), threads: Vec::new() })
    }

    /// For the daemon: first brings back what dead processes left in their journals, then keeps one of its own.
    ///
    /// # Errors
    /// If the spool directory, the journal or a thread cannot be made.
    pub fn journal(config: LocalConfig) -> Result<LocalStore, SpoolError> {
        let directories = LocalStore::directories(&config)?;
        replay::replay_dead(&directories, &config.report);
        let journal = Journal::start(&directories, config.segment_bytes, &config.report)?;
        let core = Core::new(config, directories, Some(journal));
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
        let is_full = core.is_journal_full();
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

    fn message_log(&self, claim: &Claim, lines: &str) {
        if !self.core.config.message_logs {
            return;
        }
        // A holder whose claim was broken has nothing to say any more.
        let _ = self.core.with_claimed(claim, |_, mut state| {
            let lines = format!("{lines}\n").into_bytes();
            let state = &mut *state;
            match &mut state.place {
                Place::Journal { .. } => state.log.extend_from_slice(&lines),
                Place::Files(located) => self.core.append_open_log(located, &state.message, &lines),
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

//! The trait through which everything above sees messages, and what it hands out. Nothing here knows about files.
//!
//! A message is begun (`Draft`), committed (the instant of acceptance), then held by one `Claim` at a time. Every write
//! of a holder carries the epoch of its claim; a claim that was broken meanwhile gets `SpoolError::Stale`.

pub mod admin;
mod core;
mod local;
mod location;
mod message_log;
mod mover;
mod syncer;
#[cfg(test)]
mod tests;

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use oxim_base::limits::{BODY_SMALL_BYTES, JOURNAL_BODY_BYTES_MAX};
use oxim_mail::message_id::MessageId;

pub use crate::error::{ClaimError, SpoolError};
use crate::message::{Body, Message};
pub use local::{LocalConfig, LocalStore};

/// Called once, with the outcome; on a thread of the store, so it must be quick and must not wait for the store.
pub type Done<T> = Box<dyn FnOnce(Result<T, SpoolError>) + Send>;

/// Which part of a message to read as it is (`-Mvh`, `-Mvb`, `-Mvl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The -H file.
    Header,
    /// The -D file, first line included.
    Data,
    /// The message log.
    Log,
}

/// Messages that last.
pub trait Store: Send + Sync {
    /// Opens a place for the body of a message that is arriving.
    ///
    /// # Errors
    /// If nothing can be stored now.
    fn begin(&self, id: MessageId) -> Result<Draft, SpoolError>;

    /// Makes the message last, then calls `done` with a claim on it: the instant of acceptance.
    fn commit(&self, message: Message, draft: Draft, done: Done<Claim>);

    /// As `commit`, and waits.
    ///
    /// # Errors
    /// If the message does not last: it must not be acknowledged.
    fn commit_blocking(&self, message: Message, draft: Draft) -> Result<Claim, SpoolError> {
        wait_for(|done| self.commit(message, draft, done))
    }

    /// Takes the message, to deliver it or to change it.
    ///
    /// # Errors
    /// `Busy` if someone else has it, `Gone` if it does not exist, `NoHeader`, `Corrupt` if it cannot be understood.
    fn claim(&self, id: &MessageId) -> Result<Claim, ClaimError>;

    /// Records addresses that must never be tried again, delivered or failed and reported; calls `done` when this lasts.
    fn record_done_then(&self, claim: &Claim, addresses: &[Vec<u8>], done: Done<()>);

    /// As `record_done_then`, and waits.
    ///
    /// # Errors
    /// `Stale`, or the failure of the machine; then the addresses may be tried again after a crash.
    fn record_done(&self, claim: &Claim, addresses: &[Vec<u8>]) -> Result<(), SpoolError> {
        wait_for(|done| self.record_done_then(claim, addresses, done))
    }

    /// Replaces all but the body, and lets go of the memory copy: deferred, frozen, thawed, recipients changed.
    /// The claim holds the new message from then on. Addresses that were done stay done even if `message` lacks them.
    ///
    /// # Errors
    /// `Stale`, or the failure of the machine; then the message is as it was.
    fn update(&self, claim: &mut Claim, message: &Message) -> Result<(), SpoolError>;

    /// Removes the message, and calls `done` when its removal will survive a crash.
    fn finish_then(&self, claim: Claim, done: Done<()>);

    /// Removes the message without waiting. After a crash it may be there again, with what `record_done` recorded.
    ///
    /// # Errors
    /// `Stale`, or the failure of the machine.
    fn finish(&self, claim: Claim) -> Result<(), SpoolError>;

    /// Takes a frozen message and its log out of the queue, to `Finput` and `Fmsglog`, where nothing looks for them.
    ///
    /// # Errors
    /// `Stale`, or the failure of the machine; then the message is where it was.
    fn set_aside(&self, claim: Claim) -> Result<(), SpoolError>;

    /// Removes a message that cannot be claimed because it is damaged or one of its files is missing, with its log.
    ///
    /// # Errors
    /// `Busy` if someone works on it, `Gone`, or the failure of the machine.
    fn discard(&self, id: &MessageId) -> Result<(), ClaimError>;

    /// Adds a line, or several, to the message's own log: with time stamps, without the last line end.
    fn message_log(&self, claim: &Claim, lines: &str);

    /// What is there, oldest first: one queue, or all of them. The empty name is the default queue.
    ///
    /// # Errors
    /// If the directories cannot be read.
    fn list(&self, queue: Option<&[u8]>) -> Result<Vec<QueueEntry>, SpoolError>;

    /// A part of a message as it stands in its file, without claiming it.
    ///
    /// # Errors
    /// `Gone`, or the failure of the machine.
    fn read_part(&self, id: &MessageId, part: Part) -> Result<Box<dyn Read + Send>, ClaimError>;

    /// Takes a claim away from a holder that is stuck or dead. Returns whether there was one.
    fn break_claim(&self, id: &MessageId) -> bool;

    /// Writes out what only this process can see so far.
    ///
    /// # Errors
    /// If something could not be written; it is as safe as it was, but others cannot see it.
    fn flush(&self) -> Result<(), SpoolError>;
}

/// Runs something that answers through a callback, and waits for the answer.
fn wait_for<T: Send + 'static>(start: impl FnOnce(Done<T>)) -> Result<T, SpoolError> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    start(Box::new(move |outcome| {
        // The receiver waits below for as long as the sender exists.
        let _ = sender.send(outcome);
    }));
    receiver.recv().unwrap_or(Err(SpoolError::Closed))
}

/// Where a draft's body goes when it outgrows memory; dropped without `commit`, it removes what it wrote.
pub(crate) trait Spill: Send + std::any::Any {
    /// Adds bytes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError>;
    /// What was written so far.
    fn body(&mut self) -> Result<Body, SpoolError>;
}

/// Makes the place for a body that outgrows memory.
type OpenSpill = Box<dyn FnOnce() -> Result<Box<dyn Spill>, SpoolError> + Send>;

/// The body of a message while it arrives. Dropping it forgets the message.
pub struct Draft {
    id: MessageId,
    memory: Vec<u8>,
    sealed: Option<Bytes>,
    spill: Option<Box<dyn Spill>>,
    open_spill: Option<OpenSpill>,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Draft {
    pub(crate) fn new(id: MessageId, open_spill: OpenSpill) -> Draft {
        Draft { id, memory: Vec::new(), sealed: None, spill: None, open_spill: Some(open_spill) }
    }

    /// The id of the message.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Adds bytes of the body, lines ended by LF, dots unstuffed.
    ///
    /// # Errors
    /// If there is no room: the message must be refused for now.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        if let Some(sealed) = self.sealed.take() {
            self.memory = Vec::from(sealed);
        }
        if let Some(spill) = &mut self.spill {
            return spill.append(bytes);
        }
        if self.memory.len().saturating_add(bytes.len()) > JOURNAL_BODY_BYTES_MAX
            && let Some(open) = self.open_spill.take()
        {
            let mut spill = open()?;
            spill.append(&std::mem::take(&mut self.memory))?;
            spill.append(bytes)?;
            self.spill = Some(spill);
            return Ok(());
        }
        make_room(&mut self.memory, bytes.len());
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    /// What was added so far, for content scanning. No copy.
    ///
    /// # Errors
    /// If what is in memory yet cannot be written to its file.
    pub fn body(&mut self) -> Result<Body, SpoolError> {
        if let Some(spill) = &mut self.spill {
            return spill.body();
        }
        let mut memory = std::mem::take(&mut self.memory);
        if memory.capacity().saturating_sub(memory.len()) > BODY_SMALL_BYTES {
            memory.shrink_to_fit();
        }
        Ok(Body::Memory(self.sealed.get_or_insert_with(|| Bytes::from(memory)).clone()))
    }

    pub(crate) fn into_parts(mut self) -> Result<(Body, Option<Box<dyn Spill>>), SpoolError> {
        let body = self.body()?;
        Ok((body, self.spill))
    }
}

/// Small bodies double; one that is no longer small gets all the room that it may have: what is not written to costs nothing,
/// and moving it again and again would leave holes.
fn make_room(memory: &mut Vec<u8>, more: usize) {
    let wanted = memory.len().saturating_add(more);
    if wanted > memory.capacity() && wanted > BODY_SMALL_BYTES {
        memory.reserve_exact(JOURNAL_BODY_BYTES_MAX.max(wanted).saturating_sub(memory.len()));
    }
}

/// Gives claims back; the store that made the claim.
pub(crate) trait Release: Send + Sync {
    /// Ends the claim of this epoch, if it still is the claim.
    fn release(&self, id: &MessageId, epoch: u64);
}

/// A message in someone's hands. Dropping it lets go of it.
pub struct Claim {
    message: Arc<Message>,
    body: Body,
    epoch: u64,
    release: Option<Arc<dyn Release>>,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("id", &self.message.id)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Claim {
    pub(crate) fn new(message: Arc<Message>, body: Body, epoch: u64, release: Arc<dyn Release>) -> Claim {
        Claim { message, body, epoch, release: Some(release) }
    }

    /// The id of the message.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.message.id
    }

    /// The message as it was claimed or last updated.
    #[must_use]
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Its body.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The number of this claim: later claims on the same message have higher ones.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn set_message(&mut self, message: Arc<Message>) {
        self.message = message;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release.release(&self.message.id, self.epoch);
        }
    }
}

/// A message in a listing. What needs the message to be read is read when asked for.
pub struct QueueEntry {
    /// Its id.
    pub id: MessageId,
    /// Its queue; empty for the default one.
    pub queue_name: Arc<[u8]>,
    /// When it arrived, seconds since 1970, as its id tells.
    pub received: i64,
    source: Arc<dyn Details>,
}

/// Reads what a listing shows of a message.
pub(crate) trait Details: Send + Sync {
    /// Reads it.
    fn details(&self, id: &MessageId, queue_name: &[u8]) -> Result<QueueDetails, ClaimError>;
}

/// What a listing shows of a message.
#[derive(Clone, Debug)]
pub struct QueueDetails {
    /// Envelope and state; no header lines. `is_done` of its recipients is up to date with -J and journal.
    pub message: Arc<Message>,
    /// Bytes of header and body, as `S=` counts them; 0 if the body is missing.
    pub size: u64,
}

impl QueueDetails {
    /// The recipients, each with whether it is done.
    pub fn recipients(&self) -> impl Iterator<Item = (&[u8], bool)> {
        self.message.recipients.iter().map(|r| (r.address.as_slice(), self.message.is_done(&r.address)))
    }
}

impl std::fmt::Debug for QueueEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueEntry").field("id", &self.id).finish_non_exhaustive()
    }
}

impl QueueEntry {
    pub(crate) fn new(id: MessageId, queue_name: Arc<[u8]>, source: Arc<dyn Details>) -> QueueEntry {
        QueueEntry { received: id.seconds(), id, queue_name, source }
    }

    /// Reads size, sender, recipients and state.
    ///
    /// # Errors
    /// `Gone` if it was finished meanwhile; `Corrupt` if it cannot be understood.
    pub fn details(&self) -> Result<QueueDetails, ClaimError> {
        self.source.details(&self.id, &self.queue_name)
    }
}

/// A whole part in memory, for small ones.
///
/// # Errors
/// As `read_part`.
pub fn read_part_whole(store: &dyn Store, id: &MessageId, part: Part) -> Result<Vec<u8>, ClaimError> {
    let mut out = Vec::new();
    let read: io::Result<usize> = store.read_part(id, part)?.read_to_end(&mut out);
    read?;
    Ok(out)
}

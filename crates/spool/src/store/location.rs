//! A message in Exim's files, found and held: which directory, and the locked -D.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::limits::JOURNAL_BODY_BYTES_MAX;
use oxim_mail::message_id::MessageId;

use super::{QueueDetails, Spill};
use crate::error::{ClaimError, SpoolError};
use crate::files::directories::Directories;
use crate::files::pair::{self, DoneFile, Pair};
use crate::files::{header_read, header_write};
use crate::message::{Body, Message};

/// A message's files, with the lock on them.
pub(super) struct Located {
    pub(super) place: PathBuf,
    pub(super) file: Arc<File>,
    /// There may be a -J.
    pub(super) has_done_file: bool,
    /// It, once something was added.
    pub(super) done_file: Option<DoneFile>,
    /// The message's log, once something was added.
    pub(super) log_file: Option<File>,
}

impl Located {
    pub(super) fn new(place: PathBuf, file: Arc<File>, has_done_file: bool) -> Located {
        Located { place, file, has_done_file, done_file: None, log_file: None }
    }

    /// Adds addresses to -J.
    pub(super) fn add_done(
        &mut self,
        directories: &Directories,
        id: &MessageId,
        addresses: &[Vec<u8>],
    ) -> io::Result<()> {
        self.has_done_file = true;
        let file = match &mut self.done_file {
            Some(file) => file,
            None => self.done_file.insert(pair_at(directories, &self.place, id)?.done_file()?),
        };
        file.add(addresses)
    }

    /// Removes -J: what it says stands in -H.
    pub(super) fn remove_done(&mut self, pair: &Pair) -> io::Result<()> {
        self.done_file = None;
        if self.has_done_file {
            pair.unlink("-J")?;
            self.has_done_file = false;
        }
        Ok(())
    }
}

/// The files of a message in a place that exists.
pub(super) fn pair_at(
    directories: &Directories,
    place: &std::path::Path,
    id: &MessageId,
) -> io::Result<Pair> {
    Ok(Pair::new(directories.existing(place)?, *id, directories.owner()))
}

/// Finds, locks and reads a message. A -J file is taken into account and, as Exim does, into -H.
pub(super) fn claim(
    directories: &Directories,
    id: &MessageId,
) -> Result<(Located, Message, Body), ClaimError> {
    for (queue_name, place) in directories.candidates("input", id) {
        let pair = match pair_at(directories, &place, id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let file = match pair.lock_data() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => Arc::new(other?.ok_or(ClaimError::Busy)?),
        };
        if !pair.is_named(&file)? {
            return Err(ClaimError::CorruptData { size: file.metadata()?.len() });
        }
        let header = match pair.read_header() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ClaimError::NoHeader),
            other => other?,
        };
        let mut message = parse(&header, id)?;
        message.queue_name = queue_name.to_vec();
        let has_done_file = take_over(&pair, &mut message)?;
        let body = pair.body(&file)?;
        let body = if message.wireformat {
            pair::without_carriage_returns(&body, JOURNAL_BODY_BYTES_MAX)?
        } else {
            body
        };
        return Ok((Located::new(place, file, has_done_file), message, body));
    }
    Err(ClaimError::Gone)
}

/// Removes a message that cannot be read, or what there is of it, if nobody works on it, and says where it was.
pub(super) fn discard(directories: &Directories, id: &MessageId) -> Result<PathBuf, ClaimError> {
    for (_, place) in directories.candidates("input", id) {
        let pair = match pair_at(directories, &place, id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let _held = match pair.lock_data() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && pair.has_header()? => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => Some(other?.ok_or(ClaimError::Busy)?),
        };
        pair.remove()?;
        pair.sync_directory()?;
        return Ok(place);
    }
    Err(ClaimError::Gone)
}

fn parse(text: &[u8], id: &MessageId) -> Result<Message, ClaimError> {
    let corrupt = |what: &dyn std::fmt::Display| ClaimError::Corrupt(format!("size={} ({what})", text.len()));
    let message = header_read::read(text).map_err(|e| corrupt(&e))?;
    if message.id != *id {
        return Err(corrupt(&format!("it says that it is {}", message.id)));
    }
    Ok(message)
}

/// Adds what -J says to the non-recipients; the new -H lasts before -J goes. Says whether -J is still there.
fn take_over(pair: &Pair, message: &mut Message) -> Result<bool, ClaimError> {
    let Some(done) = pair.read_done()? else { return Ok(false) };
    message.non_recipients.extend(done);
    let text = header_write::write(message).map_err(|e| ClaimError::Corrupt(e.to_string()))?;
    // A full disk must not stop the delivery that would empty it: -J stays then, and says the same.
    let written =
        pair.write_header(&text).and_then(|()| pair.sync_directory()).and_then(|()| pair.unlink("-J"));
    Ok(written.is_err())
}

/// What a listing shows of a message in files.
pub(super) fn details(
    directories: &Directories,
    id: &MessageId,
    queue: &[u8],
) -> Result<QueueDetails, ClaimError> {
    for place in directories.places("input", queue, id).into_iter().flatten() {
        let read = pair_at(directories, &place, id).and_then(|pair| Ok((pair.read_header()?, pair)));
        let (text, pair) = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let corrupt = |e| ClaimError::Corrupt(format!("size={} ({e})", text.len()));
        let (mut message, header_bytes) = header_read::read_envelope(&text).map_err(corrupt)?;
        message.queue_name = queue.to_vec();
        message.non_recipients.extend(pair.read_done()?.unwrap_or_default());
        let size = match pair.data_length() {
            // Somebody took -D away: the message is shown all the same.
            Err(error) if error.kind() == io::ErrorKind::NotFound && pair.has_header()? => 0,
            body => header_bytes.saturating_add(1).saturating_add(body?),
        };
        return Ok(QueueDetails { message: Arc::new(message), size });
    }
    Err(ClaimError::Gone)
}

/// A -D file that is being written while its message arrives.
pub(super) struct ArrivingData {
    pub(super) pair: Pair,
    pub(super) place: PathBuf,
    pub(super) file: Arc<File>,
    shown: PathBuf,
    length: u64,
    buffer: Vec<u8>,
    is_kept: bool,
}

const BUFFER_BYTES: usize = 64 * 1024;

impl ArrivingData {
    /// Makes the file in the default queue's place.
    pub(super) fn create(directories: &Directories, id: &MessageId) -> Result<ArrivingData, SpoolError> {
        let place = directories.place("input", b"", id)?;
        let shown = directories.path().join(&place);
        let create = || -> io::Result<(Pair, File)> {
            let pair = Pair::new(directories.make(&place)?, *id, directories.owner());
            let file = pair.create_data()?;
            Ok((pair, file))
        };
        let (pair, file) = create().map_err(|e| SpoolError::io(&shown, e))?;
        Ok(ArrivingData {
            pair,
            place,
            file: Arc::new(file),
            shown,
            length: 0,
            buffer: Vec::new(),
            is_kept: false,
        })
    }

    fn write_buffer(&mut self) -> Result<(), SpoolError> {
        io::Write::write_all(&mut &*self.file, &self.buffer).map_err(|e| SpoolError::io(&self.shown, e))?;
        self.buffer.clear();
        Ok(())
    }

    /// Syncs it, in the place where its queue is.
    pub(super) fn settle(
        &mut self,
        directories: &Directories,
        queue_name: &[u8],
        id: &MessageId,
    ) -> Result<(), SpoolError> {
        self.write_buffer()?;
        let place = directories.place("input", queue_name, id)?;
        let settle = |data: &mut ArrivingData| -> io::Result<()> {
            crate::durable::sync_data(&data.file)?;
            if place != data.place {
                let target = Pair::new(directories.make(&place)?, *id, directories.owner());
                data.pair.move_data_to(&target)?;
                data.pair = target;
                data.place = place;
            }
            data.pair.sync_directory()
        };
        settle(self).map_err(|e| SpoolError::io(&self.shown, e))
    }

    /// The message lasts: the file stays.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Spill for ArrivingData {
    fn append(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.buffer.extend_from_slice(bytes);
        self.length = self.length.saturating_add(u64::try_from(bytes.len()).unwrap_or(0));
        if self.buffer.len() >= BUFFER_BYTES { self.write_buffer() } else { Ok(()) }
    }

    fn body(&mut self) -> Result<Body, SpoolError> {
        self.write_buffer()?;
        Ok(Body::File { file: Arc::clone(&self.file), start: self.pair.data_start(), len: self.length })
    }
}

impl Drop for ArrivingData {
    fn drop(&mut self) {
        if !self.is_kept {
            // A -D without -H is no message; tools tidy it up.
            let _ = self.pair.unlink("-D");
        }
    }
}

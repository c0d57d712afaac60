//! A message while it arrives: header lines apart, body into a spool draft, limits watched.
//!
//! Whatever goes wrong, input is taken up to the end of the data, so that the next command is found; the fault is told then.
//! Manual sections 48.2 and 48.4; `message_size_limit`, `header_maxsize`, `header_line_maxsize`.

use std::sync::Arc;
use std::time::Instant;

use oxim_base::clock::Stamp;
use oxim_mail::header::HeaderList;
use oxim_mail::header::split::{FromLineTest, HeaderError, HeaderLimits};
use oxim_mail::message_id::MessageId;
use oxim_mail::smtp::data::MessageReader;
use oxim_mail::smtp::dot::{Counts, Framing};
use oxim_mailauth::dkim::verify::{Policy, Verifier};
use oxim_spool::SpoolError;
use oxim_spool::store::Draft;

use crate::reception::Reception;

/// Why a message that has arrived whole is not taken.
#[derive(Debug)]
pub enum BodyFault {
    /// The header is over a limit.
    Header(HeaderError),
    /// The message is over `message_size_limit`.
    TooBig {
        /// What was read, in bytes.
        read: u64,
    },
    /// The spool cannot hold it now.
    Spool(SpoolError),
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before or within a header line.
    Header,
    /// Behind a header line; whether another one follows is not known.
    AfterHeader,
    /// The header is complete.
    Body,
}

/// A message that is arriving.
pub struct Incoming {
    id: MessageId,
    reader: MessageReader,
    draft: Option<Draft>,
    /// Body in stored form that is not in the draft yet.
    block: Vec<u8>,
    stored: u64,
    size_limit: u64,
    fault: Option<SpoolError>,
    started: Stamp,
    clock: Instant,
    chunked: bool,
    signatures: Signatures,
}

/// What is done about DKIM signatures.
enum Signatures {
    /// Nothing: they are not wanted, or there are none.
    Ignored,
    /// They are looked for once the header is complete.
    Wanted(Policy),
    /// The body is hashed as they say.
    Found(Box<Verifier>),
}

/// A message that has arrived.
#[derive(Debug)]
pub struct Received {
    /// Its id.
    pub id: MessageId,
    /// When its first byte was awaited.
    pub started: Stamp,
    /// The same, for durations.
    pub clock: Instant,
    /// The header lines.
    pub headers: HeaderList,
    /// A "From " line.
    pub from_line: Option<Vec<u8>>,
    /// The body.
    pub draft: Draft,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// What was seen of lines and zeros.
    pub counts: Counts,
    /// A blank line has parted header and body.
    pub has_separator: bool,
    /// It came in BDAT chunks.
    pub chunked: bool,
    /// The verification of its DKIM signatures, if it has any.
    pub signatures: Option<Box<Verifier>>,
}

/// A message that has arrived and is refused: its header lines as far as they are known, for the reject log.
#[derive(Debug)]
pub struct Refused {
    /// The id that it would have had.
    pub id: MessageId,
    /// The header lines.
    pub headers: HeaderList,
    /// Why.
    pub fault: BodyFault,
}

/// When the draft gets a block, in bytes.
const BLOCK_BYTES: usize = 32 * 1024;

impl Incoming {
    /// A message before its first byte. `size_limit` 0 is none.
    ///
    /// `from_line` recognises a "From " line, where the source may send one.
    #[must_use]
    pub fn new(
        reception: &Reception,
        framing: Framing,
        size_limit: u64,
        from_line: Option<FromLineTest>,
    ) -> Incoming {
        let limits = &reception.settings.limits;
        let started = Stamp::now();
        let id = reception.ids.next(started);
        let (draft, fault) = match reception.store.begin(id) {
            Ok(draft) => (Some(draft), None),
            Err(error) => (None, Some(error)),
        };
        let limits = HeaderLimits {
            header_bytes_max: limits.header_bytes_max,
            header_line_bytes_max: limits.header_line_bytes_max,
            from_line,
        };
        Incoming {
            id,
            reader: MessageReader::new(framing, limits),
            draft,
            block: Vec::new(),
            stored: 0,
            size_limit,
            fault,
            started,
            clock: Instant::now(),
            chunked: framing == Framing::Chunks,
            signatures: Signatures::Ignored,
        }
    }

    /// Has DKIM signatures verified.
    #[must_use]
    pub fn verifying(mut self, policy: &Policy) -> Incoming {
        self.signatures = Signatures::Wanted(policy.clone());
        self
    }

    /// Whether there are DKIM signatures, so that keys will be asked for.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        matches!(self.signatures, Signatures::Found(_))
    }

    fn hash(&mut self) {
        if let Signatures::Wanted(policy) = &self.signatures
            && self.reader.has_header()
        {
            let lines = self.reader.headers().all().iter().map(|header| header.text.as_slice());
            self.signatures = match Verifier::new(lines, policy) {
                Some(verifier) => Signatures::Found(Box::new(verifier)),
                None => Signatures::Ignored,
            };
        }
        if let Signatures::Found(verifier) = &mut self.signatures {
            verifier.update(&self.block);
        }
    }

    /// Takes input. Returns how much belonged to the message, and whether it ended.
    pub fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let (used, ended) = self.reader.feed(input, &mut self.block);
        if ended || self.block.len() >= BLOCK_BYTES {
            self.store();
        }
        (used, ended)
    }

    /// The input is over: the last chunk, or the end of standard input.
    pub fn end_of_input(&mut self) {
        self.reader.end_of_input(&mut self.block);
        self.store();
    }

    /// The id that the message will have.
    #[must_use]
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// What was read so far, in bytes.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        self.reader.counts().received_bytes
    }

    /// How far it has come.
    #[must_use]
    pub fn place(&self) -> Place {
        if self.reader.has_header() {
            Place::Body
        } else if self.reader.is_between_lines() {
            Place::AfterHeader
        } else {
            Place::Header
        }
    }

    fn is_too_big(&self) -> bool {
        self.size_limit > 0 && self.read_bytes() > self.size_limit
    }

    /// Gives the block to the draft, or forgets it when the message will not be taken.
    fn store(&mut self) {
        self.stored = self.stored.saturating_add(u64::try_from(self.block.len()).unwrap_or(u64::MAX));
        if self.is_too_big() || self.reader.error().is_some() || self.fault.is_some() {
            self.draft = None;
            self.signatures = Signatures::Ignored;
        }
        self.hash();
        if let Some(draft) = &mut self.draft
            && let Err(error) = draft.append(&self.block)
        {
            self.fault = Some(error);
            self.draft = None;
        }
        self.block.clear();
    }

    /// The whole message, after its end.
    ///
    /// # Errors
    /// It is not taken.
    pub fn finish(mut self) -> Result<Received, Box<Refused>> {
        let too_big = self.is_too_big();
        let header_error = self.reader.error();
        let counts = self.reader.counts();
        let has_separator = self.reader.has_separator();
        let (headers, from_line) = self.reader.into_header();
        let fault = match (header_error, self.fault.take()) {
            (Some(error), _) => Some(BodyFault::Header(error)),
            (None, _) if too_big => Some(BodyFault::TooBig { read: spool_bytes(&headers, self.stored) }),
            (None, Some(error)) => Some(BodyFault::Spool(error)),
            (None, None) => None,
        };
        match (self.draft, fault) {
            (Some(draft), None) => Ok(Received {
                id: self.id,
                started: self.started,
                clock: self.clock,
                headers,
                from_line,
                draft,
                body_bytes: self.stored,
                counts,
                has_separator,
                chunked: self.chunked,
                signatures: match self.signatures {
                    Signatures::Found(verifier) => Some(verifier),
                    Signatures::Ignored | Signatures::Wanted(_) => None,
                },
            }),
            (_, fault) => {
                let fault = fault.unwrap_or(BodyFault::Spool(SpoolError::Closed));
                Err(Box::new(Refused { id: self.id, headers, fault }))
            }
        }
    }
}

/// The size that the message would have in the spool, with a blank line behind the header.
fn spool_bytes(headers: &HeaderList, body_bytes: u64) -> u64 {
    u64::try_from(headers.size_bytes()).unwrap_or(u64::MAX).saturating_add(1).saturating_add(body_bytes)
}

/// The test for a "From " line, made of `uucp_from_pattern`.
#[must_use]
pub fn from_line_test(reception: &Arc<Reception>) -> Option<FromLineTest> {
    reception.from_line.clone()
}

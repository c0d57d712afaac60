//! One record of the journal, as bytes and back.
//!
//! A record is a header of 32 bytes, a payload, and zeros up to a multiple of 8. The header begins with a marker that
//! only this journal's process knew, so that nothing in a message can pass for a record when a damaged segment is
//! searched for the next good one. The checksum of the payload is made by the caller's thread, the header's by the
//! committing thread, which knows the segment.

use bytes::Bytes;
use oxim_mail::message_id::MessageId;

/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 32;
/// Largest payload that is believed when a segment is read.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The secret of one process's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) [u8; 16]);

impl Salt {
    /// A new one from the system.
    pub(crate) fn random() -> Salt {
        let mut bytes = [0_u8; 16];
        // Only a kernel without random numbers fails here; then the clock must do, and damaged segments of this
        // process are searched with a marker that could be guessed.
        if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
            let now = oxim_base::clock::Stamp::now();
            let seed = now.seconds.unsigned_abs().wrapping_mul(1_000_003) ^ u64::from(now.micros);
            for (place, byte) in bytes.iter_mut().zip(seed.to_le_bytes().iter().cycle()) {
                *place = *byte;
            }
        }
        Salt(bytes)
    }

    /// What every record's header begins with. Never zeros, which an unwritten segment is full of.
    pub(crate) fn marker(&self) -> [u8; 8] {
        let mut marker = [0_u8; 8];
        for (place, byte) in marker.iter_mut().zip(self.0) {
            *place = byte;
        }
        if marker == [0; 8] { [1; 8] } else { marker }
    }
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A message was accepted: head is queue name and -H text, body its body.
    Accepted,
    /// A message was accepted whose body is in its own -D file.
    AcceptedWithData,
    /// Addresses must not be tried again.
    Done,
    /// The message is removed.
    Finished,
    /// The message is in its own files now.
    Moved,
}

impl Kind {
    const ALL: [(Kind, u8); 5] = [
        (Kind::Accepted, 1),
        (Kind::AcceptedWithData, 2),
        (Kind::Done, 3),
        (Kind::Finished, 4),
        (Kind::Moved, 5),
    ];

    fn code(self) -> u8 {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, code)| *code)
    }

    fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, c)| *c == code).map(|(kind, _)| *kind)
    }
}

/// A record to be written: its payload is `head`, then `body`.
pub(crate) struct Record {
    kind: Kind,
    head: Vec<u8>,
    body: Bytes,
    payload_crc: u32,
}

const PADDING: [u8; 8] = [0; 8];

impl Record {
    /// Makes a record; checksums the payload on the calling thread.
    pub(crate) fn new(salt: &Salt, kind: Kind, head: Vec<u8>, body: Bytes) -> Record {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&salt.0);
        hasher.update(&head);
        hasher.update(&body);
        Record { kind, head, body, payload_crc: hasher.finalize() }
    }

    /// A message. `body` is None if it has its own -D file.
    pub(crate) fn accepted(
        salt: &Salt,
        id: &MessageId,
        queue_name: &[u8],
        header: &[u8],
        body: Option<Bytes>,
    ) -> Record {
        let mut head = Vec::with_capacity(header.len().saturating_add(queue_name.len()).saturating_add(36));
        put(&mut head, id.as_bytes());
        put(&mut head, queue_name);
        put(&mut head, header);
        let kind = if body.is_some() { Kind::Accepted } else { Kind::AcceptedWithData };
        Record::new(salt, kind, head, body.unwrap_or_default())
    }

    /// Addresses of a message that must not be tried again.
    pub(crate) fn done(salt: &Salt, id: &MessageId, addresses: &[Vec<u8>]) -> Record {
        let mut head = Vec::new();
        put(&mut head, id.as_bytes());
        for address in addresses {
            put(&mut head, address);
        }
        Record::new(salt, Kind::Done, head, Bytes::new())
    }

    /// `Finished` or `Moved`.
    pub(crate) fn of_message(salt: &Salt, kind: Kind, id: &MessageId) -> Record {
        let mut head = Vec::with_capacity(32);
        put(&mut head, id.as_bytes());
        Record::new(salt, kind, head, Bytes::new())
    }

    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.kind, Kind::Accepted | Kind::AcceptedWithData)
    }

    fn payload_bytes(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }

    /// Bytes in the segment, header and padding included.
    pub(crate) fn written_bytes(&self) -> u64 {
        u64::try_from(padded(self.payload_bytes()).saturating_add(HEADER_BYTES)).unwrap_or(u64::MAX)
    }

    /// The header for a place in this segment.
    pub(crate) fn header(&self, segment: u64, salt: &Salt) -> [u8; HEADER_BYTES] {
        let length = u32::try_from(self.payload_bytes()).unwrap_or(u32::MAX);
        encode_header(salt, segment, length, self.payload_crc, self.kind.code())
    }

    /// The parts that follow the header: head, body, padding.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        let length = self.payload_bytes();
        let padding = padded(length).saturating_sub(length);
        [&self.head, &self.body, PADDING.get(..padding).unwrap_or_default()]
    }
}

fn padded(length: usize) -> usize {
    length.saturating_add(7) & !7
}

fn put(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(field);
}

fn encode_header(salt: &Salt, segment: u64, length: u32, payload_crc: u32, kind: u8) -> [u8; HEADER_BYTES] {
    let marker = salt.marker();
    let fields = [
        marker.as_slice(),
        &segment.to_le_bytes(),
        &length.to_le_bytes(),
        &payload_crc.to_le_bytes(),
        &[kind, 0, 0, 0],
    ];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0);
    for field in fields {
        hasher.update(field);
    }
    let crc = hasher.finalize().to_le_bytes();
    let mut header = [0_u8; HEADER_BYTES];
    for (place, byte) in header.iter_mut().zip(fields.into_iter().flatten().chain(&crc)) {
        *place = *byte;
    }
    header
}

/// A record read from a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    /// What it says.
    pub(crate) kind: Kind,
    /// The message.
    pub(crate) id: MessageId,
    /// The rest of the payload.
    pub(crate) rest: &'a [u8],
}

impl<'a> Found<'a> {
    /// Queue name, -H text and body of an accepted message.
    pub(crate) fn message(&self) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
        let (queue_name, rest) = field(self.rest)?;
        let (header, body) = field(rest)?;
        Some((queue_name, header, body))
    }

    /// The addresses of a `Done` record.
    pub(crate) fn addresses(&self) -> Vec<Vec<u8>> {
        let mut addresses = Vec::new();
        let mut rest = self.rest;
        while let Some((address, after)) = field(rest) {
            addresses.push(address.to_vec());
            rest = after;
        }
        addresses
    }
}

fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    bytes.get(4..)?.split_at_checked(usize::try_from(length).ok()?)
}

/// What stands at the start of some bytes of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decoded<'a> {
    /// A good record, and how many bytes it takes.
    Record(Found<'a>, usize),
    /// Nothing was written here, as far as the marker tells.
    Nothing,
    /// Something was, and it is damaged or cut short.
    Damaged,
}

/// Reads the record at the start of `bytes`.
pub(crate) fn decode<'a>(salt: &Salt, segment: u64, bytes: &'a [u8]) -> Decoded<'a> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
        return if bytes.iter().all(|b| *b == 0) { Decoded::Nothing } else { Decoded::Damaged };
    };
    if header.iter().all(|b| *b == 0) {
        return Decoded::Nothing;
    }
    let word =
        |at: usize| header.get(at..).and_then(|h| h.first_chunk()).map_or(0, |w| u32::from_le_bytes(*w));
    let (length, payload_crc) = (word(16), word(20));
    let code = header.get(24).copied().unwrap_or(0);
    if encode_header(salt, segment, length, payload_crc, code) != *header {
        // A segment that was used before is full of records of its former number.
        let former = header.get(8..).and_then(|h| h.first_chunk()).map_or(0, |w| u64::from_le_bytes(*w));
        let is_old = former < segment && encode_header(salt, former, length, payload_crc, code) == *header;
        return if is_old { Decoded::Nothing } else { Decoded::Damaged };
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let payload = bytes.get(HEADER_BYTES..).and_then(|b| b.get(..length.min(PAYLOAD_BYTES_MAX)));
    let Some(payload) = payload.filter(|p| p.len() == length) else { return Decoded::Damaged };
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0);
    hasher.update(payload);
    let found =
        Kind::from_code(code).zip(field(payload).and_then(|(id, rest)| Some((MessageId::parse(id)?, rest))));
    match found {
        Some((kind, (id, rest))) if hasher.finalize() == payload_crc => {
            Decoded::Record(Found { kind, id, rest }, padded(length).saturating_add(HEADER_BYTES))
        }
        Some(_) | None => Decoded::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(record: &Record, segment: u64, salt: &Salt) -> Vec<u8> {
        let mut out = record.header(segment, salt).to_vec();
        record.parts().iter().for_each(|p| out.extend_from_slice(p));
        assert_eq!(u64::try_from(out.len()).unwrap(), record.written_bytes());
        out
    }

    #[test]
    fn records_come_back_and_no_flipped_bit_passes() {
        let salt = Salt([7; 16]);
        let id = MessageId::parse(b"16VDhn-000000001bo-D342").unwrap();
        let record = Record::accepted(&salt, &id, b"q", b"header", Some(Bytes::from_static(b"body")));
        let bytes = written(&record, 3, &salt);
        let Decoded::Record(found, length) = decode(&salt, 3, &bytes) else { panic!("not read") };
        assert_eq!((found.kind, found.id, length), (Kind::Accepted, id, bytes.len()));
        assert_eq!(found.message(), Some((b"q".as_slice(), b"header".as_slice(), b"body".as_slice())));
        let used = HEADER_BYTES + record.payload_bytes();
        for at in 0..used {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(!matches!(decode(&salt, 3, &bad), Decoded::Record(..)), "byte {at}");
        }
        for length in 0..used {
            assert!(!matches!(decode(&salt, 3, &bytes[..length]), Decoded::Record(..)), "cut at {length}");
        }
    }

    #[test]
    fn records_of_a_former_use_and_of_others_do_not_count() {
        let salt = Salt([7; 16]);
        let id = MessageId::parse(b"1xUbTj-0005Py-07").unwrap();
        let bytes = written(&Record::done(&salt, &id, &[b"a@b".to_vec(), b"c".to_vec()]), 3, &salt);
        assert_eq!(decode(&salt, 4, &bytes), Decoded::Nothing);
        assert_eq!(decode(&salt, 2, &bytes), Decoded::Damaged);
        assert_eq!(decode(&Salt([8; 16]), 3, &bytes), Decoded::Damaged);
        assert_eq!(decode(&salt, 3, &[0; 100]), Decoded::Nothing);
        let Decoded::Record(found, _) = decode(&salt, 3, &bytes) else { panic!("not read") };
        assert_eq!(found.addresses(), [b"a@b".to_vec(), b"c".to_vec()]);
    }
}

//! What a client's first words say beyond what the library tells: whether it asks for a proof (RFC 6066 section 8).
//!
//! Failure mode: bytes that make no sense ask for nothing; the library refuses them anyway.

/// The extension `status_request`.
const STATUS_REQUEST: u16 = 5;
/// Most bytes of a ClientHello that are looked at.
pub(super) const HELLO_BYTES_MAX: usize = 32 * 1024;

/// Whether the ClientHello in these bytes, as they came from the wire, asks for an OCSP response.
#[must_use]
pub fn asks_for_proof(wire: &[u8]) -> bool {
    extensions(&handshake(wire)).is_some_and(|list| {
        let mut list = Bytes(list);
        while let Some(kind) = list.number(2) {
            let Some(content) = list.vector(2) else { return false };
            if kind == usize::from(STATUS_REQUEST) {
                // The only type of status that there is.
                return content.first() == Some(&1);
            }
        }
        false
    })
}

/// The handshake messages, out of their records.
fn handshake(wire: &[u8]) -> Vec<u8> {
    let mut records = Bytes(wire.get(..HELLO_BYTES_MAX).unwrap_or(wire));
    let mut messages = Vec::new();
    while let Some(kind) = records.number(1) {
        let whole = records.take(2).and_then(|_version| records.vector(2));
        match whole {
            Some(fragment) if kind == 22 => messages.extend_from_slice(fragment),
            Some(_) | None => break,
        }
    }
    messages
}

/// The extensions of a ClientHello (RFC 8446 section 4.1.2).
fn extensions(messages: &[u8]) -> Option<&[u8]> {
    let mut messages = Bytes(messages);
    if messages.number(1)? != 1 {
        return None;
    }
    let mut hello = Bytes(messages.vector(3)?);
    // Version and random; session, suites, compression.
    hello.take(34)?;
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    hello.vector(2)
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn vector(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with one extension, in records of `size` bytes.
    fn hello(extension: &[u8], size: usize) -> Vec<u8> {
        let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
        let mut body = vec![3; 34];
        body.extend([0, 0, 2, 0x13, 1, 1, 0, 0, length(extension)]);
        body.extend(extension);
        let message = [&[1, 0, 0, length(&body)], body.as_slice()].concat();
        message.chunks(size).flat_map(|part| [&[22, 3, 1, 0, length(part)], part].concat()).collect()
    }

    #[test]
    fn the_extension_is_found() {
        let asks = [0, 5, 0, 5, 1, 0, 0, 0, 0];
        for size in [1, 7, 200] {
            assert!(asks_for_proof(&hello(&asks, size)), "{size}");
        }
        assert!(!asks_for_proof(&hello(&[0, 6, 0, 1, 1], 200)));
        assert!(!asks_for_proof(&hello(&[0, 5, 0, 1, 2], 200)));
        assert!(!asks_for_proof(&hello(&[0, 5, 0, 9, 1], 200)));
        assert!(!asks_for_proof(b"EHLO a.example\r\n"));
        let whole = hello(&asks, 200);
        for cut in 0..whole.len() {
            assert!(!asks_for_proof(&whole[..cut]));
        }
    }
}

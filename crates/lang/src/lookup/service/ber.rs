//! The encoding of LDAP messages (X.690, of which RFC 4511 section 5.1 allows only definite lengths).

use std::io;

use super::wire::{Cursor, Wire, malformed};

/// A sequence.
pub const SEQUENCE: u8 = 0x30;
/// A number.
pub const INTEGER: u8 = 0x02;
/// A choice that is written as a number.
pub const ENUMERATED: u8 = 0x0a;
/// Bytes.
pub const OCTETS: u8 = 0x04;
/// Yes or no.
pub const BOOLEAN: u8 = 0x01;

/// An element of a tag around a content.
#[must_use]
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = length.iter().skip_while(|b| **b == 0);
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes: Vec<u8> = significant.copied().collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            out.extend_from_slice(&bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A number that is not negative.
#[must_use]
pub fn number(tag: u8, value: u32) -> Vec<u8> {
    let mut bytes: Vec<u8> = value.to_be_bytes().iter().skip_while(|b| **b == 0).copied().collect();
    if bytes.first().is_none_or(|b| b & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    element(tag, &bytes)
}

/// The length octets behind a tag.
fn length(next: &mut dyn FnMut() -> io::Result<u8>) -> io::Result<usize> {
    let first = next()?;
    if first < 0x80 {
        return Ok(usize::from(first));
    }
    let count = first & 0x7f;
    if !(1..=4).contains(&count) {
        return Err(malformed("bad length"));
    }
    let mut length = 0_usize;
    for _ in 0..count {
        length = length << 8 | usize::from(next()?);
    }
    Ok(length)
}

/// Takes an element: its tag and content.
///
/// # Errors
/// There is none, or it is longer than what is left.
pub fn take<'a>(cursor: &mut Cursor<'a>) -> io::Result<(u8, &'a [u8])> {
    let tag = cursor.byte()?;
    let length = length(&mut || cursor.byte())?;
    Ok((tag, cursor.take(length)?))
}

/// Takes an element that must have this tag.
///
/// # Errors
/// As [`take`], or another tag.
pub fn expect<'a>(cursor: &mut Cursor<'a>, tag: u8) -> io::Result<&'a [u8]> {
    match take(cursor)? {
        (found, content) if found == tag => Ok(content),
        _ => Err(malformed("unexpected element")),
    }
}

/// The value of a number's content; large ones are cut.
#[must_use]
pub fn value(content: &[u8]) -> u32 {
    content.iter().fold(0_u32, |sum, b| sum << 8 | u32::from(*b))
}

/// Reads one element from a server.
///
/// # Errors
/// The connection's, or a bad length.
pub fn read(wire: &mut Wire) -> io::Result<(u8, Vec<u8>)> {
    let tag = wire.byte()?;
    let length = length(&mut || wire.byte())?;
    Ok((tag, wire.take(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_come_back_as_they_went() {
        for size in [0, 1, 127, 128, 255, 256, 70_000] {
            let content = vec![7; size];
            let encoded = element(OCTETS, &content);
            assert_eq!(expect(&mut Cursor::new(&encoded), OCTETS).unwrap(), content);
        }
        for number in [0, 1, 127, 128, 255, 256, 1_000_000] {
            let encoded = super::number(INTEGER, number);
            assert_eq!(value(expect(&mut Cursor::new(&encoded), INTEGER).unwrap()), number);
        }
    }

    #[test]
    fn bad_lengths_are_errors() {
        for bytes in
            [&[4][..], &[4, 5, 1], &[4, 0x80], &[4, 0x85, 1, 1, 1, 1, 1], &[4, 0x84, 255, 255, 255, 255]]
        {
            assert!(take(&mut Cursor::new(bytes)).is_err());
        }
    }
}

//! Growing bytes that need no memory of their own while they are few.
//!
//! An expansion makes and drops a dozen texts, most of them local parts, domains and words: for those asking the
//! allocator costs more than the work.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

/// How many bytes stand in the value itself: with them it is as large as four words.
const INLINE_BYTES_MAX: usize = 30;

/// The bytes of a [`Text`](crate::Text).
#[derive(Clone)]
pub struct Bytes(Form);

#[derive(Clone)]
enum Form {
    /// The first `length` of the bytes.
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES_MAX],
    },
    Owned(Vec<u8>),
}

impl Bytes {
    /// None.
    #[must_use]
    pub const fn new() -> Bytes {
        Bytes(Form::Inline { length: 0, bytes: [0; INLINE_BYTES_MAX] })
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Form::Inline { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Form::Owned(bytes) => bytes,
        }
    }

    /// The bytes, to be changed in their place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Form::Inline { length, bytes } => bytes.get_mut(..usize::from(*length)).unwrap_or_default(),
            Form::Owned(bytes) => bytes,
        }
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, more: &[u8]) {
        match &mut self.0 {
            Form::Owned(bytes) => bytes.extend_from_slice(more),
            Form::Inline { length, bytes } => {
                let start = usize::from(*length);
                let end = start.saturating_add(more.len());
                match (bytes.get_mut(start..end), u8::try_from(end)) {
                    (Some(room), Ok(end)) => {
                        room.copy_from_slice(more);
                        *length = end;
                    }
                    _ => {
                        let mut owned = Vec::with_capacity(end.max(2 * INLINE_BYTES_MAX));
                        owned.extend_from_slice(self.as_slice());
                        owned.extend_from_slice(more);
                        self.0 = Form::Owned(owned);
                    }
                }
            }
        }
    }

    /// The bytes, given away.
    #[must_use]
    pub fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Form::Inline { .. } => self.as_slice().to_vec(),
            Form::Owned(bytes) => bytes,
        }
    }
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes::new()
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Bytes {}

impl Hash for Bytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_slice()))
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        let mut made = Bytes::new();
        made.push(bytes);
        made
    }
}

impl<const N: usize> From<&[u8; N]> for Bytes {
    fn from(bytes: &[u8; N]) -> Bytes {
        Bytes::from(bytes.as_slice())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Form::Owned(bytes))
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes::from(text.into_bytes())
    }
}

impl From<Cow<'_, [u8]>> for Bytes {
    fn from(bytes: Cow<'_, [u8]>) -> Bytes {
        match bytes {
            Cow::Borrowed(bytes) => Bytes::from(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_past_what_stands_in_the_value() {
        for parts in [[0, 0, 0], [10, 20, 0], [30, 1, 5], [10, 21, 100], [31, 0, 1], [200, 1, 1]] {
            let mut bytes = Bytes::new();
            let mut expected = Vec::new();
            for (letter, length) in [b'a', b'b', b'c'].into_iter().zip(parts) {
                bytes.push(&vec![letter; length]);
                expected.extend(vec![letter; length]);
            }
            assert_eq!(bytes.as_slice(), expected, "{parts:?}");
            bytes.as_mut_slice().make_ascii_uppercase();
            expected.make_ascii_uppercase();
            assert_eq!(bytes, Bytes::from(expected.clone()));
            assert_eq!(bytes.into_vec(), expected);
        }
    }

    #[test]
    fn they_are_no_larger_than_four_words() {
        assert_eq!(size_of::<Bytes>(), 4 * size_of::<usize>());
    }
}

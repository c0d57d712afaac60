//! The hash of a body while it arrives (RFC 6376 sections 3.4.3, 3.4.4 and 3.7).
//!
//! The body comes with LF at the ends of lines, in pieces of any size, and is hashed with CRLF.

use aws_lc_rs::digest::Context;

use super::{Canon, Hash};

/// One way of hashing a body.
pub struct BodyHasher {
    canon: Canon,
    hash: Hash,
    /// What the signer has hashed at most.
    limit: Option<u64>,
    context: Context,
    /// Bytes hashed so far.
    hashed: u64,
    /// Line ends that count only if something follows.
    line_ends: u64,
    /// White space that counts only if something follows on its line.
    has_space: bool,
    /// Hashed when it is full.
    block: Vec<u8>,
}

/// Size of the block.
const BLOCK_BYTES: usize = 4096;

impl BodyHasher {
    /// A hash of nothing yet.
    #[must_use]
    pub fn new(canon: Canon, hash: Hash, limit: Option<u64>) -> BodyHasher {
        BodyHasher {
            canon,
            hash,
            limit,
            context: Context::new(hash.algorithm()),
            hashed: 0,
            line_ends: 0,
            has_space: false,
            block: Vec::with_capacity(BLOCK_BYTES),
        }
    }

    /// Whether it hashes as this one says.
    #[must_use]
    pub fn is(&self, canon: Canon, hash: Hash, limit: Option<u64>) -> bool {
        (self.canon, self.hash, self.limit) == (canon, hash, limit)
    }

    /// How it hashes.
    #[must_use]
    pub fn way(&self) -> (Canon, Hash, Option<u64>) {
        (self.canon, self.hash, self.limit)
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.hashed >= limit)
    }

    /// Takes a piece of the body.
    pub fn update(&mut self, piece: &[u8]) {
        if self.is_full() {
            return;
        }
        for (index, part) in piece.split(|b| *b == b'\n').enumerate() {
            if index > 0 {
                self.end_line();
            }
            if !part.is_empty() {
                self.part_of_line(part);
            }
        }
    }

    fn end_line(&mut self) {
        self.line_ends = self.line_ends.saturating_add(1);
        self.has_space = false;
    }

    fn part_of_line(&mut self, part: &[u8]) {
        match self.canon {
            Canon::Simple => {
                self.owed_line_ends();
                self.put(part);
            }
            Canon::Relaxed => {
                let mut rest = part;
                while !rest.is_empty() {
                    let word_end = memchr::memchr2(b' ', b'\t', rest).unwrap_or(rest.len());
                    let (word, after) = rest.split_at_checked(word_end).unwrap_or((rest, b""));
                    if !word.is_empty() {
                        self.owed_line_ends();
                        if self.has_space {
                            self.put(b" ");
                            self.has_space = false;
                        }
                        self.put(word);
                    }
                    let trimmed =
                        after.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(after.len());
                    self.has_space |= trimmed > 0;
                    rest = after.get(trimmed..).unwrap_or_default();
                }
            }
        }
    }

    fn owed_line_ends(&mut self) {
        while self.line_ends > 0 {
            self.put(b"\r\n");
            self.line_ends = self.line_ends.saturating_sub(1);
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.hashed));
        let take = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..take).unwrap_or_default();
        self.hashed = self.hashed.saturating_add(u64::try_from(take).unwrap_or(u64::MAX));
        if self.block.len().saturating_add(bytes.len()) > BLOCK_BYTES {
            self.context.update(&self.block);
            self.block.clear();
        }
        if bytes.len() >= BLOCK_BYTES {
            self.context.update(bytes);
        } else {
            self.block.extend_from_slice(bytes);
        }
    }

    /// The hash of the whole, and how many bytes went into it.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, u64) {
        // One line end closes the body; in the simple form also an empty one.
        let is_empty = self.hashed == 0;
        if !is_empty || self.canon == Canon::Simple {
            self.put(b"\r\n");
        }
        self.context.update(&self.block);
        (self.context.finish().as_ref().to_vec(), self.hashed)
    }
}

impl std::fmt::Debug for BodyHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BodyHasher({:?}, {:?}, {} bytes)", self.canon, self.hash, self.hashed)
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    fn is(canon: Canon, limit: Option<u64>, body: &str, wanted: &str) {
        for size in [1, 2, 3, 1000] {
            let mut hasher = BodyHasher::new(canon, Hash::Sha256, limit);
            for piece in body.as_bytes().chunks(size) {
                hasher.update(piece);
            }
            let (hash, bytes) = hasher.finish();
            assert_eq!(bytes, wanted.len() as u64, "{body:?} {canon:?}");
            assert_eq!(
                hash,
                digest::digest(&digest::SHA256, wanted.as_bytes()).as_ref(),
                "{body:?} {canon:?}"
            );
        }
    }

    #[test]
    fn bodies_in_both_forms_however_they_are_cut() {
        is(Canon::Simple, None, "", "\r\n");
        is(Canon::Simple, None, "\n\n", "\r\n");
        is(Canon::Simple, None, " C \nD \t E\n\n\n", " C \r\nD \t E\r\n");
        is(Canon::Simple, None, "no end", "no end\r\n");
        is(Canon::Relaxed, None, "", "");
        is(Canon::Relaxed, None, " \n\t\n\n", "");
        is(Canon::Relaxed, None, " C \nD \t E\n\n\n", " C\r\nD E\r\n");
        is(Canon::Relaxed, None, "\n\n a\n \n\nb", "\r\n\r\n a\r\n\r\n\r\nb\r\n");
        is(Canon::Relaxed, Some(5), "abc\nd\nxyz\n", "abc\r\n");
        is(Canon::Simple, Some(4), "abc\nd\nxyz\n", "abc\r");
        is(Canon::Simple, Some(0), "abc\n", "");
    }

    #[test]
    fn long_lines_go_through_whole() {
        let long = "x".repeat(10_000);
        is(Canon::Relaxed, None, &format!("{long} {long}\n"), &format!("{long} {long}\r\n"));
    }
}

//! Database files of other programs, read by `pread`: nothing is mapped, every offset and length is checked against the
//! file's size, and the number of pages that one lookup reads is bounded, so that a damaged file defers and does no harm.

pub mod berkeley;
pub mod berkeley_write;
pub mod cdb;
pub mod gdbm;
pub mod lmdb;

use std::fs::File;
use std::os::unix::fs::FileExt;

use oxim_base::limits::EXPANSION_BYTES_MAX;

/// Most pages that one lookup reads, beside those of a large value: more than any path through a good file.
const STEPS_MAX: usize = 100_000;

/// Bytes at offsets.
pub trait Source: Send + Sync {
    /// How many there are.
    fn size(&self) -> u64;

    /// Reads exactly so many.
    ///
    /// # Errors
    /// They are not there, or cannot be read.
    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Damage>;
}

/// Why a file could not be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage(pub String);

impl Damage {
    fn new(text: &str) -> Damage {
        Damage(text.to_owned())
    }
}

/// A file, with its size when it was opened; it may have grown since.
pub struct OpenFile(pub File);

impl Source for OpenFile {
    fn size(&self) -> u64 {
        self.0.metadata().map_or(0, |meta| meta.len())
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Damage> {
        if length > EXPANSION_BYTES_MAX {
            return Err(Damage::new("data too long"));
        }
        // A length that is a lie must not make us ask for memory.
        if length > 1024 * 1024 && at.saturating_add(length as u64) > self.size() {
            return Err(Damage::new("too short"));
        }
        let mut out = vec![0; length];
        match self.0.read_exact_at(&mut out, at) {
            Ok(()) => Ok(out),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Damage::new("too short")),
            Err(error) => Err(Damage(super::files::reason(&error))),
        }
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Damage> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = self.get(start..start.saturating_add(length));
        bytes.map(<[u8]>::to_vec).ok_or_else(|| Damage::new("too short"))
    }
}

/// Numbers in the byte order of the machine that wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn number(self, bytes: &[u8], at: usize, length: usize) -> Result<u64, Damage> {
        let bytes = bytes.get(at..at.saturating_add(length)).ok_or_else(|| Damage::new("too short"))?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Ok(match self {
            Order::Little => bytes.iter().rev().fold(0, join),
            Order::Big => bytes.iter().fold(0, join),
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Result<usize, Damage> {
        self.number(bytes, at, 2).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
    }

    fn u32(self, bytes: &[u8], at: usize) -> Result<u32, Damage> {
        self.number(bytes, at, 4).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
    }

    fn u64(self, bytes: &[u8], at: usize) -> Result<u64, Damage> {
        self.number(bytes, at, 8)
    }
}

fn slice(bytes: &[u8], start: usize, end: usize) -> Result<&[u8], Damage> {
    bytes.get(start..end).ok_or_else(|| Damage::new("bad offset"))
}

/// Counts the pages that a lookup reads.
struct Steps(usize);

impl Steps {
    fn new() -> Steps {
        Steps(STEPS_MAX)
    }

    fn take(&mut self) -> Result<(), Damage> {
        self.0 = self.0.checked_sub(1).ok_or_else(|| Damage::new("endless"))?;
        Ok(())
    }
}

//! Tables of rows by name, for the parser: a short hash of short names that stand in our own tables.
//!
//! The keys are the program's and a look-up inserts nothing, so nobody can fill a bucket on purpose.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Rows by name.
pub(crate) type ByName<T> = HashMap<&'static str, T, BuildHasherDefault<Fnv>>;

/// The hash FNV-1a.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

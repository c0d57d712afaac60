//! Files of GDBM: the hash table of versions 1.8 to 1.24, with offsets of 32 or 64 bits, in either byte order.

use super::{Damage, Order, Source, Steps};

/// The magic numbers: old, 32-bit and 64-bit offsets, and the two with a count of writes in the header.
const MAGIC_OLD: u32 = 0x1357_9ace;
const MAGIC_32: u32 = 0x1357_9acd;
const MAGIC_64: u32 = 0x1357_9acf;
const MAGIC_32_COUNTED: u32 = 0x1357_9ad0;
const MAGIC_64_COUNTED: u32 = 0x1357_9ad1;

/// Free blocks that a bucket remembers.
const BUCKET_AVAILABLE: usize = 6;

/// An open file.
pub struct Database<S> {
    source: S,
    order: Order,
    /// Bytes of an offset.
    wide: usize,
    directory: u64,
    directory_bits: u32,
    bucket_bytes: usize,
    bucket_elements: u32,
}

fn hash(key: &[u8]) -> u32 {
    let length = u32::try_from(key.len()).unwrap_or(0);
    let mut value = 0x238f_13af_u32.wrapping_mul(length);
    for (index, byte) in key.iter().enumerate() {
        let shift = u32::try_from(index.wrapping_mul(5) % 24).unwrap_or(0);
        value = value.wrapping_add(u32::from(*byte) << shift) & 0x7fff_ffff;
    }
    1_103_515_243_u32.wrapping_mul(value).wrapping_add(12_345) & 0x7fff_ffff
}

impl<S: Source> Database<S> {
    /// Reads the header. None: it is not such a file.
    ///
    /// # Errors
    /// It is one that cannot be read.
    pub fn open(source: S) -> Result<Option<Database<S>>, Damage> {
        let Ok(header) = source.read(0, 40) else { return Ok(None) };
        let width = |magic: u32| match magic {
            MAGIC_OLD | MAGIC_32 | MAGIC_32_COUNTED => Some(4),
            MAGIC_64 | MAGIC_64_COUNTED => Some(8),
            _ => None,
        };
        let (little, big) = (width(Order::Little.u32(&header, 0)?), width(Order::Big.u32(&header, 0)?));
        let (order, wide) = match (little, big) {
            (Some(wide), _) => (Order::Little, wide),
            (None, Some(wide)) => (Order::Big, wide),
            (None, None) => return Ok(None),
        };
        // The old number stands for whatever width the machine had; a directory behind the end tells them apart.
        let plausible = |wide: usize| {
            let directory = order.number(&header, 8, wide).unwrap_or(u64::MAX);
            let bits = order.u32(&header, 8 + wide + 4).unwrap_or(u32::MAX);
            directory < source.size() && bits < 31
        };
        let wide = if plausible(wide) { wide } else { 12_usize.saturating_sub(wide) };
        let after = 8 + wide;
        let database = Database {
            directory: order.number(&header, 8, wide)?,
            directory_bits: order.u32(&header, after + 4)?,
            bucket_bytes: usize::try_from(order.u32(&header, after + 8)?).unwrap_or(0),
            bucket_elements: order.u32(&header, after + 12)?,
            source,
            order,
            wide,
        };
        if database.directory_bits > 30 || database.bucket_elements == 0 {
            return Err(Damage::new("bad header"));
        }
        Ok(Some(database))
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn find(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let hash = hash(key);
        let place = hash.checked_shr(31_u32.saturating_sub(self.directory_bits)).unwrap_or(0);
        let pointer = self.directory.saturating_add(u64::from(place).saturating_mul(self.wide as u64));
        let bucket_at = self.order.number(&self.source.read(pointer, self.wide)?, 0, self.wide)?;
        if self.bucket_bytes as u64 > self.source.size() {
            return Err(Damage::new("bad bucket size"));
        }
        let bucket = self.source.read(bucket_at, self.bucket_bytes)?;
        // Two numbers behind the free blocks; each of those is a length and an offset, and so is the count in front of them.
        let table =
            self.wide.saturating_mul(2).saturating_mul(BUCKET_AVAILABLE).saturating_add(self.wide + 8);
        let element_bytes = 16 + self.wide;
        let mut steps = Steps::new();
        for step in 0..self.bucket_elements {
            steps.take()?;
            let index = u64::from(hash % self.bucket_elements).saturating_add(u64::from(step));
            let index = usize::try_from(index % u64::from(self.bucket_elements)).unwrap_or(0);
            let at = table.saturating_add(index.saturating_mul(element_bytes));
            let element = |offset: usize| self.order.u32(&bucket, at.saturating_add(offset));
            let found = element(0)?;
            if found == u32::MAX {
                return Ok(None);
            }
            let key_bytes = usize::try_from(element(8 + self.wide)?).unwrap_or(usize::MAX);
            if found != hash || key_bytes != key.len() {
                continue;
            }
            let data_at = self.order.number(&bucket, at.saturating_add(8), self.wide)?;
            if self.source.read(data_at, key.len())? == key {
                let data_bytes = usize::try_from(element(12 + self.wide)?).unwrap_or(usize::MAX);
                return self.source.read(data_at.saturating_add(key.len() as u64), data_bytes).map(Some);
            }
        }
        Ok(None)
    }
}

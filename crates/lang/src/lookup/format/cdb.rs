//! Constant databases: <https://cr.yp.to/cdb/cdb.txt>.

use super::{Damage, Source, Steps};

/// The 256 pointers at the front: position and number of slots of each table.
const HEADER_BYTES: usize = 2048;

/// A database.
pub struct Database<S> {
    source: S,
    header: Vec<u8>,
}

/// A pair of little-endian numbers.
fn pair(bytes: &[u8]) -> Option<(u32, u32)> {
    let (first, second) = bytes.get(..8)?.split_at_checked(4)?;
    Some((u32::from_le_bytes(first.try_into().ok()?), u32::from_le_bytes(second.try_into().ok()?)))
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(*byte))
}

impl<S: Source> Database<S> {
    /// Smaller files are none.
    pub const SIZE_MIN: u64 = HEADER_BYTES as u64;

    /// Reads the pointers at the front.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn open(source: S) -> Result<Database<S>, Damage> {
        let header = source.read(0, HEADER_BYTES)?;
        Ok(Database { source, header })
    }

    fn pair_at(&self, at: u64) -> Result<(u32, u32), Damage> {
        pair(&self.source.read(at, 8)?).ok_or_else(|| Damage::new("too short"))
    }

    /// The data of the record at an offset, if its key is this one.
    fn record(&self, at: u64, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let (key_bytes, data_bytes) = self.pair_at(at)?;
        if usize::try_from(key_bytes) != Ok(key.len()) {
            return Ok(None);
        }
        let key_at = at.saturating_add(8);
        if self.source.read(key_at, key.len())? != key {
            return Ok(None);
        }
        let length = usize::try_from(data_bytes).unwrap_or(usize::MAX);
        self.source.read(key_at.saturating_add(u64::from(key_bytes)), length).map(Some)
    }

    /// The first record with a key.
    ///
    /// # Errors
    /// An offset or length that leads out of the file.
    pub fn find(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let hash = hash(key);
        let pointer = usize::try_from(hash & 255).unwrap_or(0) * 8;
        let (table, slots) = self.header.get(pointer..).and_then(pair).unwrap_or((0, 0));
        if slots == 0 {
            return Ok(None);
        }
        if u64::from(table).saturating_add(u64::from(slots) * 8) > self.source.size() {
            return Err(Damage::new("too short"));
        }
        let first = (hash >> 8) % slots;
        let mut steps = Steps::new();
        for i in 0..slots {
            steps.take()?;
            let slot = (u64::from(first) + u64::from(i)) % u64::from(slots);
            let (slot_hash, record) = self.pair_at(u64::from(table).saturating_add(slot * 8))?;
            if record == 0 {
                return Ok(None);
            }
            if slot_hash == hash
                && let Some(data) = self.record(u64::from(record), key)?
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A writer after the published description of the format, so that the reader is not tested against itself.
    fn build(records: &[(&[u8], &[u8])]) -> Vec<u8> {
        let word = |number: usize| u32::try_from(number).unwrap();
        let mut body = Vec::new();
        let mut tables: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 256];
        for (key, data) in records {
            let at = word(HEADER_BYTES + body.len());
            let h = hash(key);
            tables[(h & 255) as usize].push((h, at));
            body.extend(word(key.len()).to_le_bytes());
            body.extend(word(data.len()).to_le_bytes());
            body.extend_from_slice(key);
            body.extend_from_slice(data);
        }
        let mut header = Vec::new();
        for table in &tables {
            let slots = word(table.len() * 2);
            header.extend(word(HEADER_BYTES + body.len()).to_le_bytes());
            header.extend(slots.to_le_bytes());
            let mut filled = vec![(0, 0); slots as usize];
            for (h, at) in table {
                let mut slot = ((h >> 8) % slots) as usize;
                while filled[slot].1 != 0 {
                    slot = (slot + 1) % slots as usize;
                }
                filled[slot] = (*h, *at);
            }
            for (h, at) in filled {
                body.extend(h.to_le_bytes());
                body.extend(at.to_le_bytes());
            }
        }
        header.extend(body);
        header
    }

    fn database(content: &[u8]) -> Database<Vec<u8>> {
        Database::open(content.to_vec()).unwrap()
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let keys: Vec<String> = (0..1000).map(|i| format!("key{i}")).collect();
        let records: Vec<(&[u8], &[u8])> = keys.iter().map(|k| (k.as_bytes(), k.as_bytes())).collect();
        let database = database(&build(&records));
        for key in &keys {
            assert_eq!(database.find(key.as_bytes()).unwrap().as_deref(), Some(key.as_bytes()));
        }
        assert_eq!(database.find(b"key1000").unwrap(), None);
        assert_eq!(database.find(b"KEY1").unwrap(), None);
    }

    #[test]
    fn damaged_files_defer_and_do_no_harm() {
        let whole = build(&[(b"a", b"one"), (b"b", b"two")]);
        assert!(Database::open(whole[..100].to_vec()).is_err());
        for end in HEADER_BYTES..whole.len() {
            let database = database(&whole[..end]);
            let _ = database.find(b"a");
            let _ = database.find(b"b");
        }
        assert_eq!(database(&vec![0; 3000]).find(b"a"), Ok(None));
        assert_eq!(database(&vec![0xff; 3000]).find(b"a"), Err(Damage::new("too short")));
        // Slots that all hold another record with the hash of the key: the search ends.
        let mut endless = build(&[(b"a", b"one")]);
        let table = endless.len();
        endless.resize(table + 8_000_000, 0);
        for slot in endless[table..].chunks_mut(8) {
            slot[..4].copy_from_slice(&hash(b"a").to_le_bytes());
            slot[4..].copy_from_slice(&4_u32.to_le_bytes());
        }
        let pointer = (hash(b"a") & 255) as usize * 8;
        endless[pointer..pointer + 4].copy_from_slice(&u32::try_from(table).unwrap().to_le_bytes());
        endless[pointer + 4..pointer + 8].copy_from_slice(&1_000_000_u32.to_le_bytes());
        assert_eq!(database(&endless).find(b"a"), Err(Damage::new("endless")));
    }
}

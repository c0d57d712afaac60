//! The `cdb` lookup: a constant database file (manual section 9.3; format: <https://cr.yp.to/cdb/cdb.txt>).
//!
//! The file is kept open and read by `pread`; every offset and length that comes out of it is checked against its
//! size, so that a damaged or truncated file defers and does no harm. The key is looked up as it is, case included.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use oxim_base::limits::EXPANSION_BYTES_MAX;

use super::files::{self, FileError, Opened};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row.
pub(super) static CDB: LookupKind =
    LookupKind { name: "cdb", style: Style::KeyedFile(open), doc: "constant database file" };

/// The 256 pointers at the front: position and number of slots of each table.
const HEADER_BYTES: usize = 2048;

struct Database {
    path: Vec<u8>,
    file: File,
    bytes: u64,
    header: Vec<u8>,
}

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let database =
        files::parsed("cdb", path, |opened| Database::new(path, opened)).map_err(|error| match error {
            FileError::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                format!("failed to open {name} too short for cdb lookup")
            }
            FileError::Io(e) => format!("failed to open {name} for cdb lookup: {}", files::reason(&e)),
            FileError::NotRegular => format!("{name} is not a regular file (cdb lookup)"),
            FileError::TooLarge => format!("{name} is too large (cdb lookup)"),
        })?;
    Ok(database)
}

/// A pair of little-endian numbers.
fn pair(bytes: &[u8]) -> Option<(u32, u32)> {
    let (first, second) = bytes.get(..8)?.split_at_checked(4)?;
    Some((u32::from_le_bytes(first.try_into().ok()?), u32::from_le_bytes(second.try_into().ok()?)))
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381, |hash: u32, byte| hash.wrapping_mul(33) ^ u32::from(*byte))
}

impl Database {
    fn new(path: &[u8], opened: Opened) -> Result<Database, FileError> {
        let mut header = vec![0; HEADER_BYTES];
        opened.file.read_exact_at(&mut header, 0).map_err(FileError::Io)?;
        Ok(Database { path: path.to_vec(), file: opened.file, bytes: opened.bytes, header })
    }

    fn corrupt(&self, why: &str) -> String {
        format!("cdb: corrupt cdb file {} ({why})", String::from_utf8_lossy(&self.path))
    }

    fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, String> {
        if at.saturating_add(length as u64) > self.bytes {
            return Err(self.corrupt("too short"));
        }
        let mut out = vec![0; length];
        self.file.read_exact_at(&mut out, at).map_err(|_| self.corrupt("too short"))?;
        Ok(out)
    }

    fn pair_at(&self, at: u64) -> Result<(u32, u32), String> {
        pair(&self.read(at, 8)?).ok_or_else(|| self.corrupt("too short"))
    }

    /// The data of the record at an offset, if its key is this one.
    fn record(&self, at: u64, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let (key_bytes, data_bytes) = self.pair_at(at)?;
        if usize::try_from(key_bytes) != Ok(key.len()) {
            return Ok(None);
        }
        let key_at = at.saturating_add(8);
        if self.read(key_at, key.len())? != key {
            return Ok(None);
        }
        let length = usize::try_from(data_bytes).unwrap_or(usize::MAX);
        if length > EXPANSION_BYTES_MAX {
            return Err(self.corrupt("data too long"));
        }
        self.read(key_at.saturating_add(u64::from(key_bytes)), length).map(Some)
    }

    fn search(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let hash = hash(key);
        let pointer = usize::try_from(hash & 255).unwrap_or(0) * 8;
        let (table, slots) = self.header.get(pointer..).and_then(pair).unwrap_or((0, 0));
        if slots == 0 {
            return Ok(None);
        }
        if u64::from(table).saturating_add(u64::from(slots) * 8) > self.bytes {
            return Err(self.corrupt("too short"));
        }
        let first = (hash >> 8) % slots;
        for i in 0..slots {
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

impl KeyedFile for Database {
    fn find(&self, _: &mut Context, key: &[u8], _: &LookupType) -> Result<Option<Vec<u8>>, String> {
        self.search(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;

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

    fn database(content: &[u8]) -> Result<Database, FileError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let path = file.path().as_os_str().as_bytes().to_vec();
        Database::new(&path, files::open(&path)?.0)
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let keys: Vec<String> = (0..1000).map(|i| format!("key{i}")).collect();
        let records: Vec<(&[u8], &[u8])> = keys.iter().map(|k| (k.as_bytes(), k.as_bytes())).collect();
        let database = database(&build(&records)).unwrap();
        for key in &keys {
            assert_eq!(database.search(key.as_bytes()).unwrap().as_deref(), Some(key.as_bytes()));
        }
        assert_eq!(database.search(b"key1000").unwrap(), None);
        assert_eq!(database.search(b"KEY1").unwrap(), None);
    }

    #[test]
    fn damaged_files_defer_and_do_no_harm() {
        let whole = build(&[(b"a", b"one"), (b"b", b"two")]);
        assert!(matches!(database(&whole[..100]), Err(FileError::Io(_))));
        for end in HEADER_BYTES..whole.len() {
            let database = database(&whole[..end]).unwrap();
            let _ = database.search(b"a");
            let _ = database.search(b"b");
        }
        assert_eq!(database(&vec![0; 3000]).unwrap().search(b"a"), Ok(None));
        let error = database(&vec![0xff; 3000]).unwrap().search(b"a").unwrap_err();
        assert!(error.starts_with("cdb: corrupt cdb file "), "{error}");
        assert!(error.ends_with("(too short)"), "{error}");
    }
}

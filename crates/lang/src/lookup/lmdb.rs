//! The `lmdb` lookup: the unnamed database of an LMDB file (manual section 9.3).
//!
//! The file is one that was made without a directory of its own (`mdb_load -n`). Nothing is mapped and no lock is taken.

use std::sync::Arc;

use super::files::{self, FileError};
use super::format::OpenFile;
use super::format::lmdb::Database;
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row.
pub(super) static LMDB: LookupKind =
    LookupKind { name: "lmdb", style: Style::KeyedFile(open), doc: "LMDB file, its unnamed database" };

struct File(Database<OpenFile>);

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let opened = files::parsed("lmdb", path, |opened| {
        let database = Database::open(OpenFile(opened.file));
        database.map(File).map_err(|damage| FileError::Io(std::io::Error::other(damage.0)))
    });
    let file = opened.map_err(|error| {
        let text = match error {
            FileError::Io(e) => files::reason(&e),
            FileError::NotRegular => "not a regular file".to_owned(),
            FileError::TooLarge => "too large".to_owned(),
        };
        format!("LMDB: Unable to open environment with {name}: {text}")
    })?;
    Ok(file)
}

impl KeyedFile for File {
    fn find(&self, _: &mut Context, key: &[u8], _: &LookupType) -> Result<Option<Vec<u8>>, String> {
        self.0.find(key).map_err(|damage| format!("LMDB: lookup error: {}", damage.0))
    }
}

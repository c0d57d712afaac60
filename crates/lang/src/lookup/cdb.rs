//! The `cdb` lookup: a constant database file (manual section 9.3).
//!
//! The file is kept open and read by `pread`: see [`super::format`]. The key is looked up as it is, case included.

use std::sync::Arc;

use super::files::{self, FileError, Opened};
use super::format::cdb::Database;
use super::format::{Damage, OpenFile};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row.
pub(super) static CDB: LookupKind =
    LookupKind { name: "cdb", style: Style::KeyedFile(open), doc: "constant database file" };

struct Constant {
    path: Vec<u8>,
    database: Database<OpenFile>,
}

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let read = |opened: Opened| match Database::open(OpenFile(opened.file)) {
        Ok(database) => Ok(Constant { path: path.to_vec(), database }),
        Err(Damage(_)) if opened.bytes < Database::<OpenFile>::SIZE_MIN => {
            Err(FileError::Io(std::io::ErrorKind::UnexpectedEof.into()))
        }
        Err(Damage(text)) => Err(FileError::Io(std::io::Error::other(text))),
    };
    let database = files::parsed("cdb", path, read).map_err(|error| match error {
        FileError::Io(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            format!("failed to open {name} too short for cdb lookup")
        }
        FileError::Io(e) => format!("failed to open {name} for cdb lookup: {}", files::reason(&e)),
        FileError::NotRegular => format!("{name} is not a regular file (cdb lookup)"),
        FileError::TooLarge => format!("{name} is too large (cdb lookup)"),
    })?;
    Ok(database)
}

impl KeyedFile for Constant {
    fn find(&self, _: &mut Context, key: &[u8], _: &LookupType) -> Result<Option<Vec<u8>>, String> {
        self.database.find(key).map_err(|Damage(why)| {
            format!("cdb: corrupt cdb file {} ({why})", String::from_utf8_lossy(&self.path))
        })
    }
}

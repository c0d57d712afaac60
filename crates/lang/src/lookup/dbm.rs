//! The lookups `dbm`, `dbmnz` and `dbmjz`: files of Berkeley DB and GDBM (manual section 9.3).
//!
//! The kind of file is seen from its first bytes. The keys differ: with a zero byte at the end, without, or a list whose
//! elements are joined by zero bytes. Data end at their first zero byte, which exim_dbmbuild and others write.

use std::sync::Arc;

use super::files::{self, FileError, Opened};
use super::format::{Damage, OpenFile, berkeley, gdbm};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;
use crate::list::split;

/// The row of `dbm`.
pub(super) static DBM: LookupKind = LookupKind {
    name: "dbm",
    style: Style::KeyedFile(open),
    doc: "Berkeley DB (hash or B-tree) or GDBM file; keys end in a zero byte",
};

/// The row of `dbmnz`.
pub(super) static DBMNZ: LookupKind = LookupKind {
    name: "dbmnz",
    style: Style::KeyedFile(open),
    doc: "Berkeley DB or GDBM file; keys without a zero byte",
};

/// The row of `dbmjz`.
pub(super) static DBMJZ: LookupKind = LookupKind {
    name: "dbmjz",
    style: Style::KeyedFile(open),
    doc: "Berkeley DB or GDBM file; the key is a list that is joined by zero bytes",
};

enum Database {
    Berkeley(berkeley::Database<OpenFile>),
    Gdbm(gdbm::Database<OpenFile>),
}

struct File {
    path: Vec<u8>,
    database: Database,
}

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let opened = files::parsed("dbm", path, |opened| File::new(path, opened));
    let file = opened.map_err(|error| match error {
        FileError::Io(e) => format!("failed to open {name} as a db (v4.1+) file: {}", files::reason(&e)),
        FileError::NotRegular => format!("{name} is not a regular file (dbm lookup)"),
        FileError::TooLarge => format!("{name} is too large (dbm lookup)"),
    })?;
    Ok(file)
}

impl File {
    fn new(path: &[u8], opened: Opened) -> Result<File, FileError> {
        let broken = |damage: Damage| FileError::Io(std::io::Error::other(damage.0));
        let again = opened.file.try_clone().map_err(FileError::Io)?;
        let database = match berkeley::Database::open(OpenFile(opened.file)).map_err(broken)? {
            Some(database) => Database::Berkeley(database),
            None => match gdbm::Database::open(OpenFile(again)).map_err(broken)? {
                Some(database) => Database::Gdbm(database),
                None => return Err(broken(Damage("neither a Berkeley DB nor a GDBM file".to_owned()))),
            },
        };
        Ok(File { path: path.to_vec(), database })
    }
}

impl KeyedFile for File {
    fn find(&self, _: &mut Context, key: &[u8], lookup: &LookupType) -> Result<Option<Vec<u8>>, String> {
        let key = match lookup.kind.name {
            "dbm" => [key, b"\0"].concat(),
            "dbmjz" => split(key).collect::<Vec<_>>().join(&0),
            _ => key.to_vec(),
        };
        let found = match &self.database {
            Database::Berkeley(database) => database.find(&key),
            Database::Gdbm(database) => database.find(&key),
        };
        let path = String::from_utf8_lossy(&self.path);
        let found = found.map_err(|damage| format!("dbm: corrupt file {path} ({})", damage.0))?;
        Ok(found.map(|mut data| {
            data.truncate(memchr::memchr(0, &data).unwrap_or(data.len()));
            data
        }))
    }
}

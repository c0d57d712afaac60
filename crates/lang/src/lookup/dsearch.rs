//! The `dsearch` lookup: is there an entry of this name in a directory? The answer is clean (manual section 9.3).
//!
//! Options: `filter=file|dir|subdir|any`, `ret=full` (the whole path), `key=path` (the key may have several components,
//! none of them `..`). Symbolic links are not followed for the entry itself.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{KeyedFile, LookupKind, LookupType, Style, files};
use crate::context::Context;

/// The row.
pub(super) static DSEARCH: LookupKind = LookupKind {
    name: "dsearch",
    style: Style::KeyedFile(open),
    doc: "directory, searched for an entry of the key's name; options filter=, ret=full, key=path",
};

struct Directory {
    path: Vec<u8>,
    descriptor: OwnedFd,
}

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty()) {
        Ok(descriptor) => Ok(Arc::new(Directory { path: path.to_vec(), descriptor })),
        Err(error) => Err(format!(
            "failed to open {} for directory search: {}",
            String::from_utf8_lossy(path),
            files::reason(&error.into())
        )),
    }
}

fn check_key(key: &[u8], lookup: &LookupType) -> Result<(), String> {
    let refused = |why: &str| Err(format!("key for dsearch lookup {why}: {}", String::from_utf8_lossy(key)));
    if lookup.option("key") != Some("path") {
        return if key.contains(&b'/') { refused("contains a slash") } else { Ok(()) };
    }
    if key.starts_with(b"/") || key.split(|b| *b == b'/').any(|part| part == b"..") {
        return refused("leads out of the directory");
    }
    Ok(())
}

fn admits(filter: Option<&str>, kind: FileType, key: &[u8]) -> bool {
    let last = key.rsplit(|b| *b == b'/').next().unwrap_or_default();
    match filter {
        Some("file") => kind == FileType::RegularFile,
        Some("dir") => kind == FileType::Directory,
        Some("subdir") => kind == FileType::Directory && last != b"." && last != b"..",
        _ => true,
    }
}

impl KeyedFile for Directory {
    fn find(&self, _: &mut Context, key: &[u8], lookup: &LookupType) -> Result<Option<Vec<u8>>, String> {
        check_key(key, lookup)?;
        let stat =
            match rustix::fs::statat(&self.descriptor, OsStr::from_bytes(key), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL) => return Ok(None),
                Err(error) => {
                    let path = String::from_utf8_lossy(&self.path);
                    let key = String::from_utf8_lossy(key);
                    return Err(format!("{path}/{key}: lstat: {}", files::reason(&error.into())));
                }
            };
        if !admits(lookup.option("filter"), FileType::from_raw_mode(stat.st_mode), key) {
            return Ok(None);
        }
        Ok(Some(match lookup.option("ret") {
            Some("full") => [self.path.as_slice(), b"/", key].concat(),
            _ => key.to_vec(),
        }))
    }
}

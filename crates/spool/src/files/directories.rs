//! Where things lie below `spool_directory`: `[QUEUE/]input[/X]` and `[QUEUE/]msglog[/X]`.
//!
//! Messages are found in whichever of the split and unsplit places they are; new ones go where the option says.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use oxim_mail::message_id::MessageId;
use rustix::fs::{Mode, OFlags};

use super::beneath;
use crate::{Owner, SpoolError};

/// Makes a directory that is missing, for the owner alone and its group; those above it as the system makes them.
///
/// # Errors
/// What the system says.
pub fn make_owned(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::DirBuilder::new().mode(0o750).create(path)?;
    match owner.filter(|_| rustix::process::geteuid().is_root()) {
        Some(owner) => std::os::unix::fs::chown(path, Some(owner.uid), Some(owner.gid)),
        None => Ok(()),
    }
}

/// Whether the file system can take nothing now: it is full, or was made read-only.
fn is_unwritable(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull)
}

/// The spool directory, opened.
pub struct Directories {
    root: File,
    path: PathBuf,
    owner: Option<Owner>,
    is_split: bool,
}

impl Directories {
    /// Opens the spool directory, and makes it with its `input` if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, owner: Option<Owner>, is_split: bool) -> io::Result<Directories> {
        make_owned(path, owner)?;
        let root = File::open(path)?;
        let directories = Directories { root, path: path.to_owned(), owner, is_split };
        match directories.make(Path::new("input")) {
            Ok(_) => Ok(directories),
            // It is made with the first message, when that can be written.
            Err(error) if is_unwritable(&error) => Ok(directories),
            Err(error) => Err(error),
        }
    }

    /// The path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose new files are.
    #[must_use]
    pub fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// Where a message of this queue is put: `kind` is `input` or `msglog`.
    ///
    /// # Errors
    /// `Unwritable` for a queue name that is no plain directory name.
    pub fn place(&self, kind: &str, queue_name: &[u8], id: &MessageId) -> Result<PathBuf, SpoolError> {
        let mut place = queue_directory(queue_name)?;
        place.push(kind);
        if self.is_split {
            place.push(id.split_letter().to_string());
        }
        Ok(place)
    }

    /// Where a message of this queue would be if `split_spool_directory` were the other way round.
    ///
    /// # Errors
    /// As `place`.
    pub fn other_place(&self, kind: &str, queue_name: &[u8], id: &MessageId) -> Result<PathBuf, SpoolError> {
        let mut place = queue_directory(queue_name)?;
        place.push(kind);
        if !self.is_split {
            place.push(id.split_letter().to_string());
        }
        Ok(place)
    }

    /// Opens a directory that exists.
    ///
    /// # Errors
    /// What the system says.
    pub fn existing(&self, place: &Path) -> io::Result<OwnedFd> {
        beneath::open_directory(&self.root, place, None)
    }

    /// Opens a directory, making it if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self, place: &Path) -> io::Result<OwnedFd> {
        beneath::open_directory(&self.root, place, Some(self.owner))
    }

    /// Opens a file to read.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&self, place: &Path) -> io::Result<File> {
        beneath::open(&self.root, place, OFlags::RDONLY, Mode::empty()).map(File::from)
    }

    /// All places where this message's files may be, likeliest first. Named queues are looked for only when the message is
    /// not in the default one.
    pub fn candidates<'a>(
        &'a self,
        kind: &'a str,
        id: &'a MessageId,
    ) -> impl Iterator<Item = (Arc<[u8]>, PathBuf)> + 'a {
        let named = std::iter::once_with(|| self.queue_names()).flatten();
        std::iter::once(Arc::from(Vec::new())).chain(named).flat_map(move |queue: Arc<[u8]>| {
            let places = self.places(kind, &queue, id);
            places.into_iter().flatten().map(move |place| (Arc::clone(&queue), place))
        })
    }

    /// Both places where this message's files may be in a queue, likeliest first; none if the queue can have no such name.
    pub fn places(&self, kind: &str, queue: &[u8], id: &MessageId) -> Option<[PathBuf; 2]> {
        let base = queue_directory(queue).ok()?.join(kind);
        let split = base.join(id.split_letter().to_string());
        Some(if self.is_split { [split, base] } else { [base, split] })
    }

    /// The named queues that have been used: directories with an `input` in them.
    pub fn queue_names(&self) -> Vec<Arc<[u8]>> {
        let own = ["input", "msglog", "msglog.OLD", "db", "log", "gnutls-params", "scan"];
        self.subdirectories(Path::new("."))
            .into_iter()
            .filter(|name| !own.iter().any(|o| o.as_bytes() == name.as_slice()))
            .filter(|name| queue_directory(name).is_ok_and(|q| self.existing(&q.join("input")).is_ok()))
            .map(Arc::from)
            .collect()
    }

    /// Names of the directories in a directory.
    fn subdirectories(&self, place: &Path) -> Vec<Vec<u8>> {
        let Ok(entries) = self.existing(place).and_then(|d| Ok(rustix::fs::Dir::new(d)?)) else {
            return Vec::new();
        };
        let is_directory = |t| matches!(t, rustix::fs::FileType::Directory | rustix::fs::FileType::Unknown);
        entries
            .filter_map(Result::ok)
            .filter(|e| is_directory(e.file_type()))
            .map(|e| e.file_name().to_bytes().to_vec())
            .filter(|name| !name.starts_with(b"."))
            .collect()
    }

    /// The messages of one queue: every id with an -H file.
    ///
    /// # Errors
    /// If the queue's directory exists and cannot be read.
    pub fn ids(&self, queue_name: &[u8]) -> Result<Vec<MessageId>, SpoolError> {
        let base = queue_directory(queue_name)?.join("input");
        let mut ids = Vec::new();
        let letters = self.subdirectories(&base).into_iter().filter(|name| name.len() == 1);
        let splits: Vec<PathBuf> = letters.map(|l| base.join(std::ffi::OsStr::from_bytes(&l))).collect();
        for place in std::iter::once(base).chain(splits) {
            self.ids_in(&place, &mut ids).map_err(|e| SpoolError::io(self.path.join(&place), e))?;
        }
        Ok(ids)
    }

    fn ids_in(&self, place: &Path, ids: &mut Vec<MessageId>) -> io::Result<()> {
        let directory = match self.existing(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in rustix::fs::Dir::new(directory)? {
            let entry = entry?;
            if let Some(id) = entry.file_name().to_bytes().strip_suffix(b"-H").and_then(MessageId::parse) {
                ids.push(id);
            }
        }
        Ok(())
    }
}

/// The directory of a queue, relative to the spool directory.
fn queue_directory(queue_name: &[u8]) -> Result<PathBuf, SpoolError> {
    if queue_name.is_empty() {
        return Ok(PathBuf::new());
    }
    if queue_name.starts_with(b".") || queue_name.iter().any(|b| *b == b'/' || *b < b' ') {
        let shown = String::from_utf8_lossy(queue_name).escape_debug().to_string();
        return Err(SpoolError::Unwritable(format!("queue name \"{shown}\"")));
    }
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(queue_name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_exims() {
        let root = tempfile::tempdir().unwrap();
        let id = MessageId::parse(b"1xUbTj-0005Py-07").unwrap();
        let plain = Directories::open(root.path(), None, false).unwrap();
        assert_eq!(plain.place("input", b"", &id).unwrap(), Path::new("input"));
        assert_eq!(plain.place("msglog", b"foo", &id).unwrap(), Path::new("foo/msglog"));
        let split = Directories::open(root.path(), None, true).unwrap();
        assert_eq!(split.place("input", b"", &id).unwrap(), Path::new("input/j"));
        for bad in [b"../x".as_slice(), b"a/b", b".journal", b"a\n"] {
            assert!(split.place("input", bad, &id).is_err());
        }
        split.make(Path::new("foo/input/j")).unwrap();
        assert_eq!(split.queue_names(), vec![Arc::from(b"foo".as_slice())]);
        std::fs::write(root.path().join("foo/input/j/1xUbTj-0005Py-07-H"), "x").unwrap();
        std::fs::write(root.path().join("foo/input/hdr.1xUbTj-0005Py-07"), "x").unwrap();
        assert_eq!(split.ids(b"foo").unwrap(), vec![id]);
        assert_eq!(split.ids(b"none").unwrap(), vec![]);
    }
}

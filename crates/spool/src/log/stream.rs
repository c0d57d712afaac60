//! One log file that stays open: made when missing, opened again when the path leads elsewhere.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Kind, LogPaths};
use crate::Owner;

/// How often the path is compared with the open file: rotation is noticed this fast, and a busy log is not slowed down.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_millis(5);

struct Open {
    file: File,
    identity: (u64, u64),
    checked: Instant,
    date: String,
}

pub(super) struct Stream {
    kind: Kind,
    paths: LogPaths,
    owner: Option<Owner>,
    open: Option<Open>,
}

impl Stream {
    pub(super) fn new(kind: Kind, paths: LogPaths, owner: Option<Owner>) -> Stream {
        Stream { kind, paths, owner, open: None }
    }

    /// The file's name on a day, `2026-11-21`.
    pub(super) fn path(&self, date: &str) -> PathBuf {
        match self.kind {
            Kind::Panic => self.paths.panic_path(),
            Kind::Main | Kind::Reject => self.paths.path(self.kind.word(), date),
        }
    }

    /// Adds an entry with one write. `date` is the day it belongs to.
    pub(super) fn write(&mut self, entry: &[u8], date: &str) -> io::Result<()> {
        let file = self.file(date)?;
        match file.write_all(entry) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.open = None;
                Err(error)
            }
        }
    }

    fn file(&mut self, date: &str) -> io::Result<&mut File> {
        let is_recent = |open: &Open| open.checked.elapsed() < CHECK_INTERVAL;
        let is_in_place = |open: &Open| identity_at(&self.path(date)) == Some(open.identity);
        let is_current = |open: &Open| open.date == date && (is_recent(open) || is_in_place(open));
        if !self.open.as_ref().is_some_and(is_current) {
            self.open = None;
        }
        if let Some(open) = self.open.as_mut().filter(|open| !is_recent(open)) {
            open.checked = Instant::now();
        }
        if self.open.is_none() {
            let file = self.create(&self.path(date))?;
            let metadata = file.metadata()?;
            let identity = (metadata.dev(), metadata.ino());
            self.open = Some(Open { file, identity, checked: Instant::now(), date: date.to_owned() });
        }
        self.open.as_mut().map(|open| &mut open.file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens for appending; a missing file is made with mode 0640 for `exim_user`, and its directory likewise.
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o640).custom_flags(nix::libc::O_NOFOLLOW);
        match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        options.create(true);
        let file = match options.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_directory(path)?;
                options.open(path)?
            }
            other => other?,
        };
        if let Some(owner) = self.new_owner() {
            std::os::unix::fs::fchown(&file, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(file)
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let Some(directory) = path.parent() else { return Ok(()) };
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
        match builder.create(directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        }
        match self.new_owner() {
            Some(owner) => std::os::unix::fs::chown(directory, Some(owner.uid), Some(owner.gid)),
            None => Ok(()),
        }
    }

    fn new_owner(&self) -> Option<Owner> {
        self.owner.filter(|_| rustix::process::geteuid().is_root())
    }
}

fn identity_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

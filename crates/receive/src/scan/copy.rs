//! The copy of a message that scanners read: `scan/ID/ID.eml` below the spool directory, in mbox form.
//!
//! The directory also takes decoded MIME parts. It goes when the message is over, unless `control = no_mbox_unspool` wants
//! it kept. Failure modes: those of writing files.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use oxim_base::clock::Stamp;
use oxim_lang::context::Context;
use parking_lot::Mutex;

/// The copy, and the directory that is its own.
#[derive(Debug)]
pub struct MailCopy {
    directory: PathBuf,
    file: PathBuf,
    id: String,
    /// Whose the files are to be, when root writes them: scanners are in the group of the spool.
    owner: Option<(u32, u32)>,
    is_kept: AtomicBool,
    /// Files that were numbered so far, by directory.
    numbered: Mutex<HashMap<PathBuf, u32>>,
}

impl MailCopy {
    /// Writes the message of the context. With `keep` the directory stays for ever.
    ///
    /// # Errors
    /// A directory or file cannot be written, or the message has no id or body yet.
    pub fn create(context: &Context, keep: bool) -> io::Result<MailCopy> {
        let id = context.message.id.ok_or(io::ErrorKind::NotFound)?.to_string();
        let directory = context.services.spool_directory.join("scan").join(&id);
        let main = &context.config.main;
        let owner = rustix::process::geteuid().is_root().then_some((main.exim_user, main.exim_group));
        DirBuilder::new().recursive(true).mode(0o750).create(&directory)?;
        if let Some((user, group)) = owner {
            for path in directory.parent().into_iter().chain([directory.as_path()]) {
                std::os::unix::fs::lchown(path, Some(user), Some(group))?;
            }
        }
        let file = directory.join(format!("{id}.eml"));
        let is_kept = AtomicBool::new(keep);
        let copy = MailCopy { directory, file, id, owner, is_kept, numbered: Mutex::default() };
        copy.write(context)?;
        Ok(copy)
    }

    /// Writes the message once more, with the header lines that it has now.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn write(&self, context: &Context) -> io::Result<()> {
        let message = &context.message;
        let mut out = BufWriter::new(self.new_file(&self.file)?);
        writeln!(out, "From MAILER-DAEMON {}", Stamp::now().bsd_inbox(context.services.zone))?;
        out.write_all(b"X-Envelope-From: <")?;
        out.write_all(&one_line(&message.sender))?;
        out.write_all(b">\nX-Envelope-To: ")?;
        for (index, recipient) in message.recipients.iter().enumerate() {
            out.write_all(if index == 0 { b"" } else { b", " })?;
            out.write_all(&one_line(&recipient.address))?;
        }
        out.write_all(b"\n")?;
        for header in message.headers.iter_live() {
            out.write_all(&header.text)?;
        }
        out.write_all(b"\n")?;
        let body = message.body.as_ref().ok_or(io::ErrorKind::NotFound)?;
        io::copy(&mut body.reader(), &mut out)?;
        out.flush()
    }

    /// A file to write, readable by the group. It may be there, but not be a link.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn new_file(&self, path: &Path) -> io::Result<File> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(true).mode(0o640).custom_flags(flags).open(path)?;
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
        }
        Ok(file)
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// It is not removed when the message is over.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// The next free numbered name in a directory: `ID-00000`.
    #[must_use]
    pub fn numbered(&self, directory: &Path) -> PathBuf {
        let mut all = self.numbered.lock();
        let next = all.entry(directory.to_owned()).or_default();
        loop {
            let number = *next;
            *next = next.wrapping_add(1);
            let path = directory.join(format!("{}-{number:05}", self.id));
            if fs::symlink_metadata(&path).is_err() {
                return path;
            }
        }
    }
}

impl Drop for MailCopy {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// No value may make a line of its own.
fn one_line(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect()
}

//! One message's files: makes, locks, reads and replaces -D, -H and -J in a directory that is open already.
//!
//! The lock is Exim's: a write lock on the first line of -D. It is taken as an open-file-description lock, which
//! conflicts with the fcntl locks of other programs and is not lost when this process closes another descriptor.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use oxim_mail::message_id::MessageId;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::beneath;
use crate::message::Body;
use crate::{Owner, durable, fault};

/// Largest -H file that is read: far above what header_maxsize and recipients_max let in.
const HEADER_FILE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The directory of a message and its id.
pub struct Pair {
    directory: Arc<OwnedFd>,
    id: MessageId,
    owner: Option<Owner>,
}

/// -J, open to be added to.
pub struct DoneFile(File);

impl DoneFile {
    /// Adds addresses, and syncs.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&mut self, addresses: &[Vec<u8>]) -> io::Result<()> {
        let mut text = Vec::new();
        for address in addresses {
            text.extend(address.iter().map(|&b| if b < b' ' { b' ' } else { b }));
            text.push(b'\n');
        }
        self.0.write_all(&text)?;
        fault::point("done-written");
        durable::sync_data(&self.0)
    }
}

impl Pair {
    /// The files of this message in this directory, there or not.
    #[must_use]
    pub fn new(directory: impl Into<Arc<OwnedFd>>, id: MessageId, owner: Option<Owner>) -> Pair {
        Pair { directory: directory.into(), id, owner }
    }

    fn name(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.id))
    }

    fn temporary_header(&self) -> PathBuf {
        PathBuf::from(format!("hdr.{}", self.id))
    }

    /// Where the body begins in -D: after its own name and a line end.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        u64::try_from(self.id.as_bytes().len()).unwrap_or(0).saturating_add(3)
    }

    /// Makes -D with its first line, and locks it.
    ///
    /// # Errors
    /// What the system says.
    pub fn create_data(&self) -> io::Result<File> {
        let mut file = beneath::create(&*self.directory, &self.name("-D"), self.owner)?;
        if !lock(&file, self.data_start())? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.write_all(format!("{}-D\n", self.id).as_bytes()).inspect_err(|_| {
            // Nothing can be done with it.
            let _ = self.unlink("-D");
        })?;
        Ok(file)
    }

    /// Writes the -D of a message that owns its id, in place of one that an interrupted attempt left, without the sync: that
    /// is the caller's, for many files at once.
    ///
    /// # Errors
    /// What the system says.
    pub fn stage_data(&self, body: &Body, wireformat: bool) -> io::Result<File> {
        let mut file = match self.create_data() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.unlink("-D")?;
                self.create_data()?
            }
            other => other?,
        };
        copy_body(&mut file, body, wireformat).inspect_err(|_| {
            // Half a body without -H is no message.
            let _ = self.unlink("-D");
        })?;
        Ok(file)
    }

    /// Writes a whole new -D, locks and syncs it.
    ///
    /// # Errors
    /// Already exists: the id is taken. What the system says.
    pub fn write_data(&self, body: &Body, wireformat: bool) -> io::Result<File> {
        let mut file = self.create_data()?;
        let written = fill_data(&mut file, body, wireformat);
        if written.is_err() {
            // Half a body without -H is no message; the error above matters more.
            let _ = self.unlink("-D");
        }
        written.map(|()| file)
    }

    /// Opens -D to work on the message. `Ok(None)`: someone else has it locked.
    ///
    /// # Errors
    /// Not found if it does not exist or was removed meanwhile; what the system says.
    pub fn lock_data(&self) -> io::Result<Option<File>> {
        let file =
            File::from(beneath::open(&*self.directory, &self.name("-D"), OFlags::RDWR, Mode::empty())?);
        if !lock(&file, self.data_start())? {
            return Ok(None);
        }
        // Whoever held the lock before may have removed the file.
        if rustix::fs::fstat(&file)?.st_nlink == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Some(file))
    }

    /// The body in an open -D.
    ///
    /// # Errors
    /// What the system says.
    pub fn body(&self, file: &Arc<File>) -> io::Result<Body> {
        let start = self.data_start();
        let len = file.metadata()?.len().saturating_sub(start);
        Ok(Body::File { file: Arc::clone(file), start, len })
    }

    /// Whether an open -D begins with its own name, as every one does.
    ///
    /// # Errors
    /// What the system says.
    pub fn is_named(&self, file: &File) -> io::Result<bool> {
        let mut first = vec![0; usize::try_from(self.data_start()).unwrap_or(0)];
        match std::os::unix::fs::FileExt::read_exact_at(file, &mut first, 0) {
            Ok(()) => Ok(first == format!("{}-D\n", self.id).as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How long the body in -D is.
    ///
    /// # Errors
    /// What the system says.
    pub fn data_length(&self) -> io::Result<u64> {
        let status = rustix::fs::statat(&*self.directory, self.name("-D"), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(u64::try_from(status.st_size).unwrap_or(0).saturating_sub(self.data_start()))
    }

    /// Reads -H.
    ///
    /// # Errors
    /// What the system says; too large counts as malformed data.
    pub fn read_header(&self) -> io::Result<Vec<u8>> {
        let file =
            File::from(beneath::open(&*self.directory, &self.name("-H"), OFlags::RDONLY, Mode::empty())?);
        let mut text = Vec::with_capacity(usize::try_from(file.metadata()?.len().min(1 << 20)).unwrap_or(0));
        file.take(HEADER_FILE_BYTES_MAX).read_to_end(&mut text)?;
        Ok(text)
    }

    /// Whether -H exists.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_header(&self) -> io::Result<bool> {
        self.has("-H")
    }

    /// Whether -D exists.
    ///
    /// # Errors
    /// What the system says.
    pub fn has_data(&self) -> io::Result<bool> {
        self.has("-D")
    }

    fn has(&self, suffix: &str) -> io::Result<bool> {
        match rustix::fs::statat(&*self.directory, self.name(suffix), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the text of -H under its temporary name, without the sync: that is the caller's, before `publish_header`.
    ///
    /// # Errors
    /// What the system says.
    pub fn stage_header(&self, text: &[u8]) -> io::Result<File> {
        let mut file = self.create_temporary_header()?;
        file.write_all(text).inspect_err(|_| self.forget_header())?;
        fault::point("header-written");
        Ok(file)
    }

    /// Gives a staged and synced -H its name. The caller syncs the directory.
    ///
    /// # Errors
    /// What the system says; then -H is as it was.
    pub fn publish_header(&self) -> io::Result<()> {
        rustix::fs::renameat(&*self.directory, self.temporary_header(), &*self.directory, self.name("-H"))?;
        fault::point("header-renamed");
        Ok(())
    }

    /// Takes a staged -H away.
    pub fn forget_header(&self) {
        // What is left is a temporary file, which the next attempt replaces.
        let _ = rustix::fs::unlinkat(&*self.directory, self.temporary_header(), AtFlags::empty());
    }

    fn create_temporary_header(&self) -> io::Result<File> {
        let temporary = self.temporary_header();
        match beneath::create(&*self.directory, &temporary, self.owner) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                rustix::fs::unlinkat(&*self.directory, &temporary, AtFlags::empty())?;
                beneath::create(&*self.directory, &temporary, self.owner)
            }
            other => other,
        }
    }

    /// Replaces -H, or makes it: temporary file, sync, rename. The caller syncs the directory.
    ///
    /// # Errors
    /// What the system says; then -H is as it was.
    pub fn write_header(&self, text: &[u8]) -> io::Result<()> {
        let temporary = self.temporary_header();
        let mut file = self.create_temporary_header()?;
        let written = self.fill_header(&mut file, text, &temporary);
        if written.is_err() {
            // What is left is a temporary file; the error above matters more.
            let _ = rustix::fs::unlinkat(&*self.directory, &temporary, AtFlags::empty());
        }
        written
    }

    fn fill_header(&self, file: &mut File, text: &[u8], temporary: &Path) -> io::Result<()> {
        file.write_all(text)?;
        fault::point("header-written");
        durable::sync_data(file)?;
        fault::point("header-synced");
        rustix::fs::renameat(&self.directory, temporary, &*self.directory, self.name("-H"))?;
        fault::point("header-renamed");
        Ok(())
    }

    /// Makes names that were given or taken away last.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_directory(&self) -> io::Result<()> {
        durable::sync_directory(&*self.directory)
    }

    /// The addresses in -J. None if there is no such file; a last line without its end is not counted.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_done(&self) -> io::Result<Option<Vec<Vec<u8>>>> {
        let flags = OFlags::RDONLY;
        let file = match beneath::open(&*self.directory, &self.name("-J"), flags, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => File::from(other?),
        };
        let mut text = Vec::new();
        file.take(HEADER_FILE_BYTES_MAX).read_to_end(&mut text)?;
        let whole = memchr::memrchr(b'\n', &text).unwrap_or(0);
        let lines = text.get(..whole).unwrap_or_default().split(|b| *b == b'\n');
        Ok(Some(lines.filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect()))
    }

    /// Opens -J, making it if it is missing; its name lasts then.
    ///
    /// # Errors
    /// What the system says.
    pub fn done_file(&self) -> io::Result<DoneFile> {
        let (file, is_new) = beneath::append(&*self.directory, &self.name("-J"), self.owner)?;
        if is_new {
            self.sync_directory()?;
        }
        Ok(DoneFile(file))
    }

    /// Removes a file of the message; one that is not there is no error.
    ///
    /// # Errors
    /// What the system says.
    pub fn unlink(&self, suffix: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&*self.directory, self.name(suffix), AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the message. -H goes first, since without it there is no message; -J last, so that what was
    /// delivered stays known for as long as an -H could come back after a crash.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self) -> io::Result<()> {
        self.unlink("-H")?;
        fault::point("header-removed");
        self.unlink("-D")?;
        self.unlink("-J")
    }

    /// Moves the files to another directory, -H last: until then the message is where it was.
    ///
    /// # Errors
    /// What the system says.
    pub fn move_to(&self, target: &Pair) -> io::Result<()> {
        for suffix in ["-J", "-D", "-H"] {
            match rustix::fs::renameat(
                &*self.directory,
                self.name(suffix),
                &*target.directory,
                self.name(suffix),
            ) {
                Ok(()) => {}
                Err(rustix::io::Errno::NOENT) if suffix == "-J" => {}
                Err(error) => return Err(error.into()),
            }
        }
        target.sync_directory()?;
        self.sync_directory()
    }

    /// Moves only -D, of a message that is not yet there.
    ///
    /// # Errors
    /// What the system says.
    pub fn move_data_to(&self, target: &Pair) -> io::Result<()> {
        rustix::fs::renameat(&*self.directory, self.name("-D"), &*target.directory, self.name("-D"))?;
        Ok(())
    }
}

/// From so many files on, one sync of the file system is cheaper than one for each.
const SHARED_SYNC_MIN: usize = 16;

/// Makes files of one file system last.
///
/// # Errors
/// What the system says; then some of them may not.
pub fn sync_files(files: &[&File]) -> io::Result<()> {
    match files.first() {
        Some(any) if files.len() >= SHARED_SYNC_MIN => durable::sync_file_system(any),
        _ => files.iter().try_for_each(|file| durable::sync_data(file)),
    }
}

fn copy_body(file: &mut File, body: &Body, wireformat: bool) -> io::Result<()> {
    match body {
        Body::Memory(bytes) if wireformat => file.write_all(&with_carriage_returns(bytes))?,
        Body::Memory(bytes) => file.write_all(bytes)?,
        Body::File { .. } => {
            io::copy(&mut body.reader(), file)?;
        }
    }
    fault::point("data-written");
    Ok(())
}

fn fill_data(file: &mut File, body: &Body, wireformat: bool) -> io::Result<()> {
    copy_body(file, body, wireformat)?;
    durable::sync_data(file)?;
    fault::point("data-synced");
    Ok(())
}

/// Takes Exim's lock. False: someone else has it.
fn lock(file: impl AsFd, length: u64) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&first_line(libc::F_WRLCK, length))) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives Exim's lock back, though others may still hold the file open.
pub fn unlock(file: &File, id: &MessageId) {
    let length = u64::try_from(id.as_bytes().len()).unwrap_or(0).saturating_add(3);
    // Unlocking what is locked or not cannot fail.
    let _ = fcntl(file, FcntlArg::F_OFD_SETLK(&first_line(libc::F_UNLCK, length)));
}

fn first_line(kind: libc::c_int, length: u64) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: i64::try_from(length).unwrap_or_default(),
        l_pid: 0,
    }
}

/// The lines of a body as they go over the wire (`spool_wireformat`).
fn with_carriage_returns(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len().saturating_add(body.len() / 16));
    for line in body.split_inclusive(|b| *b == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out
}

/// Turns the CR LF line ends of a wire-format -D into LF, in memory or in an unnamed file.
///
/// # Errors
/// What the system says.
pub fn without_carriage_returns(body: &Body, memory_max: usize) -> io::Result<Body> {
    let mut reader = body.reader();
    let mut out = Vec::new();
    let mut file: Option<File> = None;
    let mut chunk = vec![0_u8; 64 * 1024];
    let mut held = false;
    loop {
        let count = reader.read(&mut chunk)?;
        let part = chunk.get(..count).unwrap_or_default();
        for &byte in part {
            if held && byte != b'\n' {
                out.push(b'\r');
            }
            held = byte == b'\r';
            if !held {
                out.push(byte);
            }
        }
        if count == 0 && held {
            out.push(b'\r');
        }
        if out.len() > memory_max || file.is_some() {
            let target = match &mut file {
                Some(file) => file,
                none => none.insert(unnamed_file()?),
            };
            target.write_all(&out)?;
            out.clear();
        }
        if count == 0 {
            break;
        }
    }
    match file {
        None => Ok(Body::from(out)),
        Some(mut file) => {
            let len = file.seek(SeekFrom::End(0))?;
            Ok(Body::File { file: Arc::new(file), start: 0, len })
        }
    }
}

fn unnamed_file() -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(std::env::temp_dir(), flags, Mode::from_raw_mode(0o600))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_format_and_back_is_the_same() {
        for text in ["", "a\nb\n", "a\r\nb", "\r\n\r\r\n", "a\rb\n\n"] {
            let wire = with_carriage_returns(text.as_bytes());
            let back = without_carriage_returns(&Body::from(wire), 1_000).unwrap();
            assert_eq!(back.bytes().unwrap().as_ref(), text.as_bytes());
        }
    }

    #[test]
    fn carriage_returns_before_line_feeds_go() {
        for (input, output) in
            [("a\r\nb\r\n", "a\nb\n"), ("a\rb\r\r\nc\r", "a\rb\r\nc\r"), ("", ""), ("a\n", "a\n")]
        {
            for memory_max in [1_000, 0] {
                let body =
                    without_carriage_returns(&Body::from(input.as_bytes().to_vec()), memory_max).unwrap();
                assert_eq!(body.bytes().unwrap().as_ref(), output.as_bytes());
            }
        }
    }
}

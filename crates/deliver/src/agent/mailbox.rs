//! Appends a message to a single file, in mbox or MBX form.
//!
//! Every check of manual section 26.3: links, owner, mode, inode before and after the open, locks, quota. When
//! writing fails the file is cut back to its old length, so that a full disk leaves no half message.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;

use super::job::{CreateWhere, JobResult, MailboxJob, Trouble};
use super::{comsat, lock, mailbox_write, path, quota};
use crate::transport::error_code;

/// How often a file may vanish and reappear while it is being opened.
const RACES_MAX: u32 = 10;

/// Appends the message.
pub(super) fn append(job: &MailboxJob, message: &mut dyn Read) -> JobResult {
    let name = path::path(&job.path);
    if job.path == b"/dev/null" {
        return match io::copy(message, &mut io::sink()) {
            Ok(bytes) => JobResult::Delivered { bytes, quota_warning: false },
            Err(error) => JobResult::Deferred(Trouble::system(&error, "failed to read the message")),
        };
    }
    match try_append(job, name, message) {
        Ok(result) => result,
        Err(trouble) => JobResult::Deferred(trouble),
    }
}

fn try_append(job: &MailboxJob, name: &Path, message: &mut dyn Read) -> Result<JobResult, Trouble> {
    // Where the file may not be made, nor are the directories above it: the file itself is refused later.
    let may_create = || path::check_creation(name, false, &job.directories.allowed).is_ok();
    if let Some(parent) = name.parent().filter(|_| job.directories.create && may_create()) {
        path::ensure_directory(parent, &job.directories)?;
    }
    if let Some(other) = other_transport(job, name)? {
        return Ok(JobResult::OtherTransport(other));
    }
    let _lock_file =
        if job.locking.lockfile { Some(lock::take_lock_file(name, &job.locking)?) } else { None };
    let mut file = open_and_lock(job, name)?;
    let _mbx_lock =
        if job.locking.mbx { Some(lock::take_mbx_lock(&file, name, &job.locking)?) } else { None };
    let meta =
        file.metadata().map_err(|e| Trouble::system(&e, format!("fstat of {} failed", name.display())))?;
    if meta.file_type().is_fifo() {
        let bytes = mailbox_write::copy(message, &mut file, &job.framing)
            .map_err(|e| Trouble::system(&e, format!("error while writing to {}", name.display())))?;
        return Ok(JobResult::Delivered { bytes, quota_warning: false });
    }
    let quota_warning = check_quota(job, &meta)?;
    let old_length = meta.len();
    match write_at_end(job, &mut file, message) {
        Ok(bytes) => {
            if let Some(user) = &job.comsat_user {
                comsat::tell(user, old_length);
            }
            Ok(JobResult::Delivered { bytes, quota_warning })
        }
        Err(error) => {
            let _ = file.set_len(old_length);
            let _ = meta.modified().and_then(|time| file.set_modified(time));
            Err(write_trouble(&error, name))
        }
    }
}

fn write_trouble(error: &io::Error, name: &Path) -> Trouble {
    if error.raw_os_error() == Some(nix::errno::Errno::EDQUOT as i32) {
        return Trouble {
            code: error_code::MAILBOX_FULL,
            text: format!("mailbox is full (system quota exceeded while writing to {})", name.display()),
            ..Trouble::default()
        };
    }
    Trouble::system(error, format!("error while writing to {}", name.display()))
}

fn write_at_end(job: &MailboxJob, file: &mut File, message: &mut dyn Read) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))?;
    let bytes = if job.mbx_format {
        write_mbx(job, file, message)?
    } else {
        mailbox_write::copy(message, file, &job.framing)?
    };
    file.sync_data()?;
    Ok(bytes)
}

/// Size of the header block of an MBX file, in bytes.
const MBX_HEADER: usize = 2048;

/// One message of an MBX file: a line with date, size and flags, then the message with CR LF line ends.
fn write_mbx(job: &MailboxJob, file: &mut File, message: &mut dyn Read) -> io::Result<u64> {
    if file.metadata()?.len() == 0 {
        let mut header =
            format!("*mbx*\r\n{:08x}00000000\r\n", oxim_base::clock::Stamp::now().seconds & 0xffff_ffff)
                .into_bytes();
        for _ in 0..30 {
            header.extend_from_slice(b"\r\n");
        }
        header.resize(MBX_HEADER, 0);
        file.write_all(&header)?;
    }
    let mut framing = job.framing.clone();
    framing.use_crlf = true;
    let mut whole = Vec::new();
    mailbox_write::copy(message, &mut whole, &framing)?;
    let date = oxim_base::clock::Stamp::now().strftime(oxim_base::clock::Zone::Local, "%e-%b-%Y %H:%M:%S %z");
    let mut line = format!("{date},{};000000000000-00000000\r\n", whole.len()).into_bytes();
    line.append(&mut whole);
    file.write_all(&line)?;
    Ok(line.len() as u64)
}

fn check_quota(job: &MailboxJob, meta: &std::fs::Metadata) -> Result<bool, Trouble> {
    if !job.quota.is_needed() {
        return Ok(false);
    }
    let size = job.quota.known_bytes.unwrap_or(meta.len());
    let age = quota::age(meta.atime());
    let used = quota::Used { bytes: size, files: 0 };
    quota::check(&job.quota, used, job.message_bytes, age, path::path(&job.path))
}

/// Opens the file, checks it, locks it, as often as the settings allow.
fn open_and_lock(job: &MailboxJob, name: &Path) -> Result<File, Trouble> {
    let attempts = lock::attempts(&job.locking);
    for attempt in 0..attempts {
        if attempt > 0 && job.locking.fcntl_timeout.is_zero() && job.locking.flock_timeout.is_zero() {
            sleep(job.locking.interval);
        }
        let file = open(job, name)?;
        if file.metadata().is_ok_and(|m| m.file_type().is_fifo())
            || lock::lock_open_file(&file, name, &job.locking)?
        {
            return Ok(file);
        }
    }
    Err(Trouble::found(
        error_code::LOCK_FAILED,
        format!("failed to lock mailbox {} (fcntl/flock)", name.display()),
    ))
}

fn open(job: &MailboxJob, name: &Path) -> Result<File, Trouble> {
    for _ in 0..RACES_MAX {
        let found = match std::fs::symlink_metadata(name) {
            Ok(meta) => Some(meta),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(Trouble::system(
                    &error,
                    format!("attempt to stat mailbox {} failed", name.display()),
                ));
            }
        };
        let opened = match found {
            Some(link) => open_existing(job, name, &link)?,
            None => create(job, name)?,
        };
        if let Some(file) = opened {
            return Ok(file);
        }
    }
    let mut trouble = Trouble::found(
        error_code::EXIST_RACE,
        format!("mailbox {} keeps being created and removed", name.display()),
    );
    trouble.freeze = true;
    Err(trouble)
}

/// `Ok(None)`: it has vanished in between.
fn open_existing(job: &MailboxJob, name: &Path, link: &std::fs::Metadata) -> Result<Option<File>, Trouble> {
    let mut meta = link.clone();
    if link.file_type().is_symlink() {
        if !job.allow_symlink {
            return Err(Trouble::found(
                error_code::NOT_REGULAR,
                format!("mailbox {} is not a regular file", name.display()),
            ));
        }
        check_owner(job, name, link, " (symlink)")?;
        meta = match std::fs::metadata(name) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return create_through_link(job, name),
            Err(error) => {
                return Err(Trouble::system(
                    &error,
                    format!("attempt to stat mailbox {} failed", name.display()),
                ));
            }
        };
    }
    let is_fifo = meta.file_type().is_fifo();
    // A second name of the file may be somebody's trap.
    if meta.is_file() && meta.nlink() > 1 {
        let text = format!("mailbox {} has too many links ({})", name.display(), meta.nlink());
        return Err(Trouble::found(error_code::NOT_REGULAR, text));
    }
    let is_allowed_fifo = is_fifo && job.allow_fifo;
    if !meta.is_file() && !is_allowed_fifo {
        let text = format!(
            "mailbox {} is not a regular file{}",
            name.display(),
            if job.allow_fifo { " or named pipe" } else { "" }
        );
        return Err(Trouble::found(error_code::NOT_REGULAR, text));
    }
    check_owner(job, name, &meta, "")?;
    check_mode(job, name, &meta)?;
    let mut options = OpenOptions::new();
    options.append(true).read(!is_fifo);
    options.custom_flags(if is_fifo {
        nix::libc::O_NONBLOCK
    } else if job.allow_symlink {
        0
    } else {
        nix::libc::O_NOFOLLOW
    });
    let file = match options.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_fifo && error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => {
            return Err(Trouble::found(
                nix::errno::Errno::ENXIO as i32,
                format!("while opening named pipe {} (could mean no process is reading it)", name.display()),
            ));
        }
        Err(error) => {
            return Err(Trouble::system(&error, format!("failed to open mailbox {}", name.display())));
        }
    };
    let now =
        file.metadata().map_err(|e| Trouble::system(&e, format!("fstat of {} failed", name.display())))?;
    if now.ino() != meta.ino()
        || now.dev() != meta.dev()
        || now.file_type() != meta.file_type()
        || now.uid() != meta.uid()
    {
        let mut trouble = Trouble::found(
            error_code::INODE_CHANGED,
            format!("opened mailbox {} has changed", name.display()),
        );
        trouble.freeze = true;
        return Err(trouble);
    }
    Ok(Some(file))
}

fn check_owner(job: &MailboxJob, name: &Path, meta: &std::fs::Metadata, what: &str) -> Result<(), Trouble> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if job.check_owner && meta.uid() != uid {
        return Err(Trouble::found(
            error_code::NOT_OWNER,
            format!("mailbox {}{what} has wrong uid ({} != {uid})", name.display(), meta.uid()),
        ));
    }
    if job.check_group && meta.gid() != gid {
        return Err(Trouble::found(
            error_code::NOT_OWNER,
            format!("mailbox {} has wrong gid ({} != {gid})", name.display(), meta.gid()),
        ));
    }
    Ok(())
}

/// Wider permissions are narrowed, narrower ones are an error (`mode`, `mode_fail_narrower`).
fn check_mode(job: &MailboxJob, name: &Path, meta: &std::fs::Metadata) -> Result<(), Trouble> {
    let have = meta.mode() & 0o7777;
    if have == job.mode || meta.file_type().is_fifo() {
        return Ok(());
    }
    let narrower = job.mode & !have != 0;
    if narrower && !job.mode_forced && job.mode_fail_narrower {
        let text =
            format!("mailbox {} has the wrong mode {have:o} ({:o} expected)", name.display(), job.mode);
        return Err(Trouble::found(error_code::BAD_MODE, text));
    }
    if !narrower || job.mode_forced {
        std::fs::set_permissions(name, std::fs::Permissions::from_mode(job.mode))
            .map_err(|e| Trouble::system(&e, format!("attempting to chmod mailbox {}", name.display())))?;
    }
    Ok(())
}

fn create(job: &MailboxJob, name: &Path) -> Result<Option<File>, Trouble> {
    if job.must_exist {
        return Err(Trouble::found(
            nix::errno::Errno::ENOENT as i32,
            format!("mailbox {} does not exist, but file_must_exist is set", name.display()),
        ));
    }
    if job.directories.allowed != CreateWhere::Anywhere {
        path::check_creation(name, false, &job.directories.allowed)?;
    }
    let made = OpenOptions::new().read(true).append(true).create_new(true).mode(job.mode).open(name);
    match made {
        Ok(file) => {
            let _ = file.set_permissions(std::fs::Permissions::from_mode(job.mode));
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(Trouble::system(&error, format!("while creating mailbox {}", name.display()))),
    }
}

/// The link is there but its target is not: only here may creation follow a link (`allow_symlink`).
fn create_through_link(job: &MailboxJob, name: &Path) -> Result<Option<File>, Trouble> {
    if job.must_exist {
        return Err(Trouble::found(
            nix::errno::Errno::ENOENT as i32,
            format!("mailbox {} does not exist, but file_must_exist is set", name.display()),
        ));
    }
    if job.directories.allowed != CreateWhere::Anywhere {
        path::check_creation(name, false, &job.directories.allowed)?;
    }
    let made = OpenOptions::new().read(true).append(true).create(true).mode(job.mode).open(name);
    made.map(Some).map_err(|e| Trouble::system(&e, format!("failed to open mailbox {}", name.display())))
}

/// `file_format`: the transport for files that begin as this one does, if it is not the one that made the job.
fn other_transport(job: &MailboxJob, name: &Path) -> Result<Option<String>, Trouble> {
    if job.formats.is_empty() {
        return Ok(None);
    }
    let longest = job.formats.iter().map(|(start, _)| start.len()).max().unwrap_or(0);
    let mut start = Vec::with_capacity(longest);
    match File::open(name) {
        Ok(file) => {
            let limit = longest as u64;
            file.take(limit)
                .read_to_end(&mut start)
                .map_err(|e| Trouble::system(&e, format!("failed to read {}", name.display())))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Trouble::system(&error, format!("failed to open {}", name.display()))),
    }
    if start.is_empty() {
        return Ok(None);
    }
    match job.formats.iter().find(|(prefix, _)| start.starts_with(prefix)) {
        Some((_, transport)) if *transport == job.transport => Ok(None),
        Some((_, transport)) => Ok(Some(transport.clone())),
        None => {
            Err(Trouble::found(error_code::UNKNOWN_FORMAT, "mailbox file format unrecognized".to_owned()))
        }
    }
}

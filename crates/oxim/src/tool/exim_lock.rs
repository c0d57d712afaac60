//! `exim_lock`: locks a mailbox as Exim does, and runs a command meanwhile (manual section 54.15).
//!
//! By a lock file, fcntl, flock, or the rules of MBX, in any mixture that Exim has. The lock file is made under another name and
//! linked, which also works over NFS. A lock file that is too old is left alone. Exit code 1 if the mailbox could not be locked.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use rustix::fs::FlockOperation;

use super::Call;

pub(super) const USAGE: &str = "usage: exim_lock [-v] [-q] [-lockfile] [-fcntl] [-flock] [-mbx]
       [-retries <n>] [-interval <n>] [-timeout <n>] [-restore-times]
       <file name> [command]";

/// The options.
struct Wish {
    verbose: bool,
    quiet: bool,
    lock_file: bool,
    fcntl: bool,
    flock: bool,
    mbx: bool,
    restores_times: bool,
    retries: u64,
    interval: u64,
    timeout: u64,
    mailbox: PathBuf,
    command: Option<OsString>,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let Some(wish) = read(&call.words) else {
        say!("{USAGE}");
        return 1;
    };
    match lock(&wish) {
        Ok(locked) => {
            wish.say(format_args!("locking {} succeeded: running the command ...", wish.mailbox.display()));
            run_command(&wish);
            locked.release(&wish);
            0
        }
        Err(NotLocked) => 1,
    }
}

/// The mailbox is not locked; why has been told.
struct NotLocked;

fn read(words: &[Vec<u8>]) -> Option<Wish> {
    let mut wish = Wish {
        verbose: false,
        quiet: false,
        lock_file: false,
        fcntl: false,
        flock: false,
        mbx: false,
        restores_times: false,
        retries: 10,
        interval: 3,
        timeout: 0,
        mailbox: PathBuf::new(),
        command: None,
    };
    let mut words = words.iter();
    let mailbox = loop {
        let word = words.next()?;
        let mut number =
            || words.next().and_then(|w| std::str::from_utf8(w).ok()).and_then(|w| w.parse().ok());
        match word.as_slice() {
            b"-v" => wish.verbose = true,
            b"-q" => wish.quiet = true,
            b"-lockfile" => wish.lock_file = true,
            b"-fcntl" => wish.fcntl = true,
            b"-flock" => wish.flock = true,
            b"-mbx" => wish.mbx = true,
            b"-restore-times" | b"-restore_time" | b"-restore_times" => wish.restores_times = true,
            b"-retries" => wish.retries = number()?,
            b"-interval" => wish.interval = number()?,
            b"-timeout" => wish.timeout = number()?,
            other if other.is_empty() || other.starts_with(b"-") => return None,
            _ => break word,
        }
    };
    wish.mailbox = PathBuf::from(OsStr::from_bytes(mailbox));
    wish.command = words.next().map(|command| OsStr::from_bytes(command).to_owned());
    if words.next().is_some() {
        return None;
    }
    if wish.mbx {
        wish.fcntl |= !wish.flock;
    } else if !wish.lock_file && !wish.fcntl && !wish.flock {
        wish.lock_file = true;
        wish.fcntl = true;
    }
    Some(wish)
}

impl Wish {
    fn say(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            say!("exim_lock: {text}");
        }
    }

    fn tell(&self, text: impl std::fmt::Display) {
        if self.verbose {
            say!("exim_lock: {text}");
        }
    }
}

/// What is held; the locks of files go with them.
struct Locked {
    mailbox: File,
    times: (Stamp, Stamp),
    lock_file: Option<PathBuf>,
    mbx: Option<(File, PathBuf)>,
}

/// Why an attempt failed.
enum Failed {
    /// Someone else has it.
    Busy,
    /// It makes no sense to try again. Why has been told.
    Final,
}

fn lock(wish: &Wish) -> Result<Locked, NotLocked> {
    let lock_name = with_suffix(&wish.mailbox, ".lock");
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let unique = format!(".{host}.{:08x}.{:08x}", Stamp::now().seconds, std::process::id());
    let hitching = with_suffix(&lock_name, &unique);
    if wish.lock_file {
        wish.tell(format_args!(
            "lockname =  {}\n           hitchname = {}",
            lock_name.display(),
            hitching.display()
        ));
    }
    for _ in 0..wish.retries {
        match attempt(wish, &lock_name, &hitching) {
            Ok(locked) => return Ok(locked),
            Err(Failed::Final) => return Err(NotLocked),
            Err(Failed::Busy) => {
                if wish.verbose {
                    say!(" ... waiting");
                }
                std::thread::sleep(Duration::from_secs(wish.interval));
            }
        }
    }
    say!("exim_lock: locking failed too many times");
    Err(NotLocked)
}

fn final_fault(text: impl std::fmt::Display) -> Failed {
    say!("exim_lock: {text}");
    Failed::Final
}

fn attempt(wish: &Wish, lock_name: &Path, hitching: &Path) -> Result<Locked, Failed> {
    let lock_file = if wish.lock_file {
        make_lock_file(wish, lock_name, hitching)?;
        Some(lock_name.to_owned())
    } else {
        None
    };
    let opened = open_and_lock(wish);
    if opened.is_err()
        && let Some(name) = &lock_file
    {
        remove_lock_file(wish, name);
    }
    let (mailbox, times, mbx) = opened?;
    Ok(Locked { mailbox, times, lock_file, mbx })
}

fn make_lock_file(wish: &Wish, name: &Path, hitching: &Path) -> Result<(), Failed> {
    wish.tell("creating lock file");
    let made = OpenOptions::new().write(true).create_new(true).mode(0o440).open(hitching);
    let file = made.map_err(|error| {
        final_fault(format!("failed to create hitching post {}: {}", hitching.display(), error_text(&error)))
    })?;
    let linked = fs::hard_link(hitching, name);
    // Over NFS a link may be there though its answer was lost.
    let is_ours = linked.is_ok() || file.metadata().is_ok_and(|m| m.nlink() == 2);
    let _ = fs::remove_file(hitching);
    if is_ours {
        wish.say("lock file successfully created");
        Ok(())
    } else {
        wish.tell("failed to link hitching post to lock file");
        Err(Failed::Busy)
    }
}

fn remove_lock_file(wish: &Wish, name: &Path) {
    if fs::remove_file(name).is_ok() {
        wish.say("lock file removed");
    }
}

type Opened = (File, (Stamp, Stamp), Option<(File, PathBuf)>);

fn open_and_lock(wish: &Wish) -> Result<Opened, Failed> {
    let shown = wish.mailbox.display();
    let mailbox = OpenOptions::new().read(true).append(true).open(&wish.mailbox);
    let mailbox = mailbox.map_err(|error| {
        final_fault(format!("failed to open {shown} for writing: {}", error_text(&error)))
    })?;
    let status = mailbox.metadata().map_err(|error| final_fault(error_text(&error)))?;
    if !status.is_file() {
        return Err(final_fault(format!("{shown} is not a regular file")));
    }
    let times = (Stamp { seconds: status.atime(), micros: 0 }, Stamp { seconds: status.mtime(), micros: 0 });
    let shared = wish.mbx;
    take(wish, &mailbox, shared, "")?;
    let mbx = if wish.mbx { Some(lock_mbx(wish, &status)?) } else { None };
    Ok((mailbox, times, mbx))
}

/// The file in /tmp that stands for the mailbox.
fn lock_mbx(wish: &Wish, status: &fs::Metadata) -> Result<(File, PathBuf), Failed> {
    let path = PathBuf::from(format!("/tmp/.{:x}.{:x}", status.dev(), status.ino()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o666)
        // A link there would make us lock, and later remove, something else.
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| {
            final_fault(format!("failed to open mbx lock file {}: {}", path.display(), error_text(&error)))
        })?;
    let plain = file.metadata().is_ok_and(|m| m.is_file() && m.nlink() == 1);
    if !plain {
        return Err(final_fault(format!("mbx lock file {} is not plain", path.display())));
    }
    take(wish, &file, false, &format!(" to mbx lock file {}", path.display()))?;
    Ok((file, path))
}

/// Takes the locks of the system. `what` is said of a lock file of MBX.
fn take(wish: &Wish, file: &File, shared: bool, what: &str) -> Result<(), Failed> {
    let kind = if shared { "read lock" } else { "lock" };
    if wish.fcntl {
        within(wish, || by_fcntl(file, shared)).map_err(|error| busy(wish, "fcntl", &error))?;
        wish.say(format_args!("fcntl() {kind} successfully applied{what}"));
    }
    if wish.flock {
        within(wish, || by_flock(file, shared)).map_err(|error| busy(wish, "flock", &error))?;
        wish.say(format_args!("flock() {kind} successfully applied{what}"));
    }
    Ok(())
}

fn busy(wish: &Wish, call: &str, error: &io::Error) -> Failed {
    wish.tell(format_args!("{call}() failed: {}", error_text(error)));
    wish.tell("file closed");
    Failed::Busy
}

/// With `-timeout`, for so long; else once.
fn within(wish: &Wish, take: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let end = Instant::now().checked_add(Duration::from_secs(wish.timeout));
    loop {
        match take() {
            Err(error) if end.is_some_and(|end| Instant::now() < end) => {
                debug_assert!(error.raw_os_error().is_some());
                std::thread::sleep(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

fn by_fcntl(file: &File, shared: bool) -> io::Result<()> {
    let kind = if shared { libc::F_RDLCK } else { libc::F_WRLCK };
    let whole = libc::flock {
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_SETLK(&whole))?;
    Ok(())
}

fn by_flock(file: &File, shared: bool) -> io::Result<()> {
    let operation =
        if shared { FlockOperation::NonBlockingLockShared } else { FlockOperation::NonBlockingLockExclusive };
    Ok(rustix::fs::flock(file, operation)?)
}

impl Locked {
    fn release(self, wish: &Wish) {
        if wish.restores_times {
            let time = |stamp: Stamp| {
                u64::try_from(stamp.seconds).ok().map(|s| std::time::UNIX_EPOCH + Duration::from_secs(s))
            };
            if let (Some(read), Some(changed)) = (time(self.times.0), time(self.times.1)) {
                let times = fs::FileTimes::new().set_accessed(read).set_modified(changed);
                if let Err(error) = self.mailbox.set_times(times) {
                    say!("exim_lock: the times could not be restored: {}", error_text(&error));
                }
            }
        }
        if let Some((file, path)) = self.mbx {
            // Nobody else has the mailbox open by these rules if it can be had for ourselves.
            let alone = (!wish.fcntl || by_fcntl(&self.mailbox, false).is_ok())
                && (!wish.flock || by_flock(&self.mailbox, false).is_ok());
            if alone && fs::remove_file(&path).is_ok() {
                wish.say(format_args!("{} unlinked - no sharers", path.display()));
            }
            drop(file);
            wish.say(format_args!("{} closed", path.display()));
        }
        drop(self.mailbox);
        wish.say(format_args!("{} closed", wish.mailbox.display()));
        if let Some(name) = &self.lock_file {
            remove_lock_file(wish, name);
        }
    }
}

fn run_command(wish: &Wish) {
    let mut command = match &wish.command {
        Some(text) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(text);
            shell
        }
        None => {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            Command::new(shell.unwrap_or_else(|| "/bin/sh".into()))
        }
    };
    // What we have said comes before what it says.
    let _ = io::Write::flush(&mut io::stdout());
    match command.status() {
        Ok(status) if status.success() || wish.quiet => {}
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            say!("warning: nonzero status {}", status.into_raw());
        }
        Err(error) => say!("warning: the command could not be run: {}", error_text(&error)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(line: &str) -> Option<Wish> {
        let words: Vec<Vec<u8>> = line.split(' ').map(|w| w.as_bytes().to_vec()).collect();
        read(&words)
    }

    #[test]
    fn locks_without_options_are_exims_usual_ones() {
        let usual = wish("box").unwrap();
        assert!(usual.lock_file && usual.fcntl && !usual.flock && !usual.mbx);
        let mbx = wish("-mbx box true").unwrap();
        assert!(mbx.mbx && mbx.fcntl && !mbx.lock_file);
        assert_eq!(wish("-retries 2 -interval 0 box").map(|w| (w.retries, w.interval)), Some((2, 0)));
        for wrong in ["", "-retries x box", "-foo box", "box a b"] {
            assert!(wish(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_locked_mailbox_is_not_locked_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("box");
        fs::write(&path, "x").unwrap();
        let line = format!("-q -flock -lockfile -retries 1 -interval 0 {}", path.display());
        let first = lock(&wish(&line).unwrap()).ok().unwrap();
        assert!(lock(&wish(&line).unwrap()).is_err());
        first.release(&wish(&line).unwrap());
        assert!(lock(&wish(&line).unwrap()).is_ok());
    }
}

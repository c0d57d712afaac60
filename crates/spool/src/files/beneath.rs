//! Opens below a directory that no symbolic link can lead out of.
//!
//! `openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS where the kernel has it; otherwise one `openat` with
//! O_NOFOLLOW per path component. A link anywhere below the directory is an error (ELOOP).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Owner;

/// Set once the kernel has said that it does not know `openat2`.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Opens `path`, which must be relative, below `directory`.
///
/// # Errors
/// What the system says; ELOOP or EXDEV where a link or `..` is in the way.
pub fn open(directory: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(directory.as_fd(), path, flags, mode, resolve) {
            // A sandbox that does not know the call answers EPERM; openat tells whether that was it.
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            other => return Ok(other?),
        }
    }
    open_stepwise(directory, path, flags, mode)
}

fn open_stepwise(directory: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at: OwnedFd = rustix::fs::openat(directory.as_fd(), ".", step, Mode::empty())?;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let name = match component {
            Component::Normal(name) => name,
            Component::CurDir => Path::new(".").as_os_str(),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Errno::XDEV.into());
            }
        };
        let is_last = components.peek().is_none();
        let (flags, mode) = if is_last { (flags, mode) } else { (step, Mode::empty()) };
        at = rustix::fs::openat(&at, name, flags, mode)?;
    }
    Ok(at)
}

/// Opens a directory below another one, making those that are missing, with mode 0750 and the given owner.
///
/// # Errors
/// What the system says.
pub fn open_directory(
    directory: impl AsFd,
    path: &Path,
    create: Option<Option<Owner>>,
) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let missing = match open(&directory, path, flags, Mode::empty()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        other => return other,
    };
    let Some(owner) = create else { return Err(missing) };
    let mut so_far = std::path::PathBuf::new();
    for component in path.components() {
        so_far.push(component);
        make_directory(directory.as_fd(), &so_far, owner)?;
    }
    open(&directory, path, flags, Mode::empty())
}

fn make_directory(directory: impl AsFd, path: &Path, owner: Option<Owner>) -> io::Result<()> {
    let (Some(name), parent) = (path.file_name(), path.parent()) else { return Ok(()) };
    let parent = match parent.filter(|p| !p.as_os_str().is_empty()) {
        Some(parent) => open(&directory, parent, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
        None => open(&directory, Path::new("."), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?,
    };
    match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o750)) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    if let Some(owner) = owner {
        give(&parent, Some(Path::new(name)), owner)?;
    }
    crate::durable::sync_directory(&parent)
}

/// Makes a file that must not exist, mode 0640, with the given owner.
///
/// # Errors
/// EEXIST if it exists, and what the system says.
pub fn create(directory: impl AsFd, name: &Path, owner: Option<Owner>) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
    let file = open(directory, name, flags, Mode::from_raw_mode(0o640))?;
    if let Some(owner) = owner {
        give(&file, None, owner)?;
    }
    Ok(File::from(file))
}

/// Opens a file to add to it, making it if it is missing. Says whether it was made.
///
/// # Errors
/// What the system says.
pub fn append(directory: impl AsFd, name: &Path, owner: Option<Owner>) -> io::Result<(File, bool)> {
    let flags = OFlags::WRONLY | OFlags::APPEND;
    match open(&directory, name, flags, Mode::empty()) {
        Ok(file) => return Ok((File::from(file), false)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made = open(&directory, name, flags | OFlags::CREATE, Mode::from_raw_mode(0o640))?;
    if let Some(owner) = owner {
        give(&made, None, owner)?;
    }
    Ok((File::from(made), true))
}

/// Only root can give files away, and only root needs to: anyone else already is the owner.
fn give(file: impl AsFd, name: Option<&Path>, owner: Owner) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let uid = Some(rustix::fs::Uid::from_raw(owner.uid));
    let gid = Some(rustix::fs::Gid::from_raw(owner.gid));
    match name {
        Some(name) => rustix::fs::chownat(file, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?,
        None => rustix::fs::fchown(file, uid, gid)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_parents_are_refused_either_way() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("real")).unwrap();
        std::fs::write(root.path().join("real/file"), "x").unwrap();
        symlink("real", root.path().join("link")).unwrap();
        symlink("file", root.path().join("real/alias")).unwrap();
        let directory = File::open(root.path()).unwrap();
        for step in [false, true] {
            let open = |path: &str| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                if step {
                    open_stepwise(&directory, Path::new(path), flags, Mode::empty())
                } else {
                    open(&directory, Path::new(path), OFlags::RDONLY, Mode::empty())
                }
            };
            assert!(open("real/file").is_ok());
            for bad in ["link/file", "real/alias", "../etc/passwd", "/etc/passwd", "real/../../x"] {
                assert!(open(bad).is_err(), "{bad} stepwise {step}");
            }
        }
    }

    #[test]
    fn directories_are_made_with_their_mode() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let directory = File::open(root.path()).unwrap();
        open_directory(&directory, Path::new("q/input/x"), Some(None)).unwrap();
        let mode = std::fs::metadata(root.path().join("q/input")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777 & !0o750, 0);
        assert!(open_directory(&directory, Path::new("no/such"), None).is_err());
    }
}

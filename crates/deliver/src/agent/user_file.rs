//! Reads and asks for files as the user whose they are.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use oxim_base::errno::error_text;

use super::job::{FileExists, FileRead, ReadFileJob};
use super::path;

/// Reads a file, up to its limit; a longer one is an error, because half a `.forward` is another `.forward`.
pub(super) fn read(job: &ReadFileJob) -> FileRead {
    match try_read(job) {
        Ok(read) => read,
        Err(error) => match error.raw_os_error() {
            Some(nix::libc::ENOENT) => FileRead::NotThere,
            code => FileRead::Error(code.unwrap_or(0), error_text(&error)),
        },
    }
}

fn try_read(job: &ReadFileJob) -> io::Result<FileRead> {
    // A FIFO in the place of the file must not hold the delivery up.
    let file =
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path::path(&job.path))?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(FileRead::Error(0, "not a regular file".to_owned()));
    }
    let mut data = Vec::new();
    file.take(job.bytes_max.saturating_add(1)).read_to_end(&mut data)?;
    if data.len() as u64 > job.bytes_max {
        return Ok(FileRead::Error(0, format!("larger than {} bytes", job.bytes_max)));
    }
    Ok(FileRead::Contents { data, uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 })
}

/// Whether a path exists and this user may know it.
pub(super) fn exists(name: &[u8]) -> FileExists {
    match std::fs::metadata(path::path(name)) {
        Ok(_) => FileExists::Yes,
        Err(error) => match error.raw_os_error() {
            Some(nix::libc::ENOENT | nix::libc::ENOTDIR) => FileExists::No,
            code => FileExists::Error(code.unwrap_or(0)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_absence_and_size() {
        let place = tempfile::tempdir().unwrap();
        let name = place.path().join("f");
        std::fs::write(&name, "abc").unwrap();
        let bytes = std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str()).to_vec();
        assert!(
            matches!(read(&ReadFileJob { path: bytes.clone(), bytes_max: 3 }), FileRead::Contents { data, .. } if data == b"abc")
        );
        assert!(matches!(read(&ReadFileJob { path: bytes.clone(), bytes_max: 2 }), FileRead::Error(..)));
        assert_eq!(exists(&bytes), FileExists::Yes);
        let absent = [&bytes, &b"x"[..]].concat();
        assert_eq!(read(&ReadFileJob { path: absent.clone(), bytes_max: 3 }), FileRead::NotThere);
        assert_eq!(exists(&absent), FileExists::No);
        let below = [&bytes, &b"/x"[..]].concat();
        let answer = read(&ReadFileJob { path: below, bytes_max: 3 });
        assert!(matches!(answer, FileRead::Error(nix::libc::ENOTDIR, _)));
    }
}

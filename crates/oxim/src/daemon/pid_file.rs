//! The daemon's pid file: written whole under another name, then renamed; removed by its owner only.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A pid file that goes away with this value, unless another daemon has taken it over.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes this process's id.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(path: &Path) -> io::Result<PidFile> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        let written = file
            .write_all(format!("{}\n", std::process::id()).as_bytes())
            .and_then(|()| fs::rename(&temporary, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok(PidFile(path.to_path_buf()))
    }

    /// Removes the file at `path` if it names this process's parent or a dead process (`-oPX`).
    ///
    /// # Errors
    /// The system's, or that the file belongs to another live daemon.
    pub(crate) fn remove_stale(path: &Path) -> io::Result<()> {
        let pid: i32 = fs::read_to_string(path)?
            .trim()
            .parse()
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let caller = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get());
        let is_alive = Path::new(&format!("/proc/{pid}")).exists();
        if pid == caller || !is_alive {
            fs::remove_file(path)
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let ours = fs::read_to_string(&self.0).is_ok_and(|t| t.trim() == std::process::id().to_string());
        if ours {
            let _ = fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_file_goes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("daemon.pid");
        let file = PidFile::write(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert!(path.exists());
        assert!(PidFile::remove_stale(&path).is_err());
        fs::write(&path, "99999999\n").unwrap();
        PidFile::remove_stale(&path).unwrap();
        assert!(!path.exists());
    }
}

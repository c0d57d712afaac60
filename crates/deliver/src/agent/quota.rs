//! How full a mailbox is, and whether one more message fits.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use pcre2::bytes::Regex;

use super::job::{Quota, Trouble};
use crate::transport::error_code;

/// What a mailbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Bytes.
    pub(super) bytes: u64,
    /// Files.
    pub(super) files: u64,
}

/// Deepest directory that is counted; a mailbox is no file system.
const DEPTH_MAX: usize = 32;

/// Seconds since a point in time, for retry rules such as `quota_7d`.
pub(super) fn age(last_read: i64) -> u64 {
    let now = oxim_base::clock::Stamp::now().seconds;
    u64::try_from(now.saturating_sub(last_read)).unwrap_or(0)
}

/// Checks the limits. `Ok(true)`: it fits, and this message passes the warning threshold.
pub(super) fn check(quota: &Quota, used: Used, added: u64, age: u64, place: &Path) -> Result<bool, Trouble> {
    let counted = if quota.inclusive { added } else { 0 };
    let over_bytes =
        quota.bytes > 0 && !quota.bytes_no_check && used.bytes.saturating_add(counted) > quota.bytes;
    let over_files = quota.files > 0
        && !quota.files_no_check
        && used.files.saturating_add(u64::from(quota.inclusive)) > quota.files;
    if over_bytes || over_files {
        return Err(Trouble {
            code: error_code::MAILBOX_FULL,
            quota_age: Some(age),
            text: format!(
                "mailbox is full (MTA-imposed {}quota exceeded while writing to {})",
                if over_bytes { "" } else { "filecount " },
                place.display()
            ),
            freeze: false,
        });
    }
    Ok(quota.warn_bytes > 0
        && used.bytes <= quota.warn_bytes
        && used.bytes.saturating_add(added) > quota.warn_bytes)
}

/// Adds up the files below a directory. Links count once for each name, as a share of the file's size.
pub(super) fn measure(
    directory: &Path,
    size_regex: Option<&Regex>,
    only: Option<&Regex>,
) -> io::Result<Used> {
    let mut used = Used::default();
    measure_into(directory, size_regex, only, 0, &mut used)?;
    Ok(used)
}

fn measure_into(
    directory: &Path,
    size_regex: Option<&Regex>,
    only: Option<&Regex>,
    depth: usize,
    used: &mut Used,
) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name.as_os_str());
        if let Some(size) = size_regex.and_then(|r| size_in_name(r, name)) {
            used.bytes = used.bytes.saturating_add(size);
            used.files += 1;
            continue;
        }
        let Ok(meta) = std::fs::symlink_metadata(entry.path()) else { continue };
        if meta.is_dir() {
            // At the top of a maildir only the directories that the postmaster named count.
            let counts = depth > 0 || only.is_none_or(|r| r.is_match(name).unwrap_or(false));
            if counts && depth < DEPTH_MAX {
                measure_into(&entry.path(), size_regex, only, depth + 1, used)?;
            }
        } else if meta.is_file() && (only.is_none() || depth > 0 && name != b"maildirfolder") {
            used.bytes = used.bytes.saturating_add(share(&meta));
            used.files += 1;
        }
    }
    Ok(())
}

fn share(meta: &Metadata) -> u64 {
    meta.len() / meta.nlink().max(1)
}

fn size_in_name(regex: &Regex, name: &[u8]) -> Option<u64> {
    let captures = regex.captures(name).ok()??;
    let digits = captures.get(1)?.as_bytes();
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A pattern of the configuration; it was checked when the configuration was read.
pub(super) fn pattern(source: Option<&str>) -> Result<Option<Regex>, Trouble> {
    source
        .map(|s| {
            Regex::new(s).map_err(|e| {
                Trouble::found(error_code::BAD_FORMAT, format!("malformed regular expression \"{s}\": {e}"))
            })
        })
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_warning() {
        let quota = Quota { bytes: 100, inclusive: true, warn_bytes: 50, ..Quota::default() };
        assert_eq!(check(&quota, Used { bytes: 0, files: 0 }, 10, 0, Path::new("x")), Ok(false));
        assert_eq!(check(&quota, Used { bytes: 45, files: 0 }, 10, 0, Path::new("x")), Ok(true));
        assert_eq!(check(&quota, Used { bytes: 60, files: 0 }, 10, 0, Path::new("x")), Ok(false));
        assert!(check(&quota, Used { bytes: 95, files: 0 }, 10, 0, Path::new("x")).is_err());
        let exclusive = Quota { inclusive: false, ..quota };
        assert_eq!(check(&exclusive, Used { bytes: 95, files: 0 }, 10, 0, Path::new("x")), Ok(false));
    }

    #[test]
    fn sizes_come_from_names_where_they_are() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("cur")).unwrap();
        std::fs::write(place.path().join("cur/a,S=500"), "xx").unwrap();
        std::fs::write(place.path().join("cur/b"), "xxx").unwrap();
        let regex = Regex::new(r",S=(\d+)").unwrap();
        assert_eq!(measure(place.path(), Some(&regex), None).unwrap(), Used { bytes: 503, files: 2 });
    }
}

//! The `maildirsize` file of maildir++: a cached sum, one line a change.
//!
//! The first line is the quota (`1000000S,100C`), each further line adds bytes and files. The file is rebuilt when it is
//! missing, when its quota is not ours, when it is longer than 5,120 bytes, or when it says that the quota is exceeded
//! and is older than fifteen minutes: another program may have removed mail without saying so.

use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use pcre2::bytes::Regex;

use super::job::Quota;
use super::quota::{self, Used};

/// A longer file is rebuilt.
const BYTES_MAX: u64 = 5_120;
/// An over-quota file that is older than this, in seconds, is rebuilt.
const DOUBT_AFTER: u64 = 15 * 60;

/// Sizes as the file has them, rebuilding it where needed.
pub(super) fn used(
    top: &Path,
    limits: &Quota,
    counted: &Regex,
    size_regex: Option<&Regex>,
    mode: u32,
) -> io::Result<Used> {
    let name = top.join("maildirsize");
    if let Ok(file) = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&name) {
        let meta = file.metadata()?;
        let mut text = String::new();
        let short = meta.len() <= BYTES_MAX && file.take(BYTES_MAX).read_to_string(&mut text).is_ok();
        if short && let Some(used) = parse(&text, limits) {
            let over = limits.bytes > 0 && used.bytes > limits.bytes
                || limits.files > 0 && used.files > limits.files;
            if !over || quota::age(meta.mtime()) < DOUBT_AFTER {
                return Ok(used);
            }
        }
    }
    let used = quota::measure(top, size_regex, Some(counted))?;
    write_new(top, &name, &header(limits), used, mode)?;
    Ok(used)
}

/// Adds a delivered message.
pub(super) fn add(top: &Path, bytes: u64) -> io::Result<()> {
    let mut file =
        OpenOptions::new().append(true).custom_flags(nix::libc::O_NOFOLLOW).open(top.join("maildirsize"))?;
    file.write_all(format!("{bytes} 1\n").as_bytes())
}

fn header(limits: &Quota) -> String {
    format!("{}S,{}C", limits.bytes, limits.files)
}

/// Bytes and files of a first line. A number that is not there is no limit.
fn quota_of(line: &str) -> Option<(u64, u64)> {
    let (mut bytes, mut files) = (0, 0);
    for part in line.split(',') {
        match (part.strip_suffix('S'), part.strip_suffix('C')) {
            (Some(number), _) => bytes = number.parse().ok()?,
            (None, Some(number)) => files = number.parse().ok()?,
            (None, None) => return None,
        }
    }
    Some((bytes, files))
}

fn parse(text: &str, limits: &Quota) -> Option<Used> {
    let mut lines = text.lines();
    if quota_of(lines.next()?)? != (limits.bytes, limits.files) {
        return None;
    }
    let (mut bytes, mut files) = (0i64, 0i64);
    for line in lines {
        let mut words = line.split_ascii_whitespace();
        bytes = bytes.checked_add(words.next()?.parse().ok()?)?;
        files = files.checked_add(words.next()?.parse().ok()?)?;
    }
    Some(Used { bytes: u64::try_from(bytes).ok()?, files: u64::try_from(files).ok()? })
}

fn write_new(top: &Path, name: &Path, header: &str, used: Used, mode: u32) -> io::Result<()> {
    let unfinished = format!("maildirsize.{}.{}", std::process::id(), oxim_base::clock::Stamp::now().micros);
    // The whole need not be a maildir itself, where mail goes to its folders only.
    let place = top.join("tmp");
    let temporary = if place.is_dir() { place.join(unfinished) } else { top.join(unfinished) };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(format!("{header}\n{} {}\n", used.bytes, used.files).as_bytes())?;
    drop(file);
    std::fs::rename(&temporary, name).inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_lines_under_the_right_header() {
        let limits = Quota { bytes: 1000, files: 10, ..Quota::default() };
        assert_eq!(header(&limits), "1000S,10C");
        assert_eq!(parse("1000S,10C\n100 2\n-40 -1\n", &limits), Some(Used { bytes: 60, files: 1 }));
        assert_eq!(parse("10C,1000S\n100 2\n", &limits), Some(Used { bytes: 100, files: 2 }));
        assert_eq!(parse("2000S\n100 2\n", &limits), None);
        assert_eq!(parse("1000S,10C\nrubbish\n", &limits), None);
        assert_eq!(parse("1000S,10C\n-5 1\n", &limits), None);
        let bytes_only = Quota { bytes: 1000, ..Quota::default() };
        assert_eq!(parse("1000S\n100 2\n", &bytes_only), Some(Used { bytes: 100, files: 2 }));
        assert_eq!(header(&bytes_only), "1000S,0C");
    }
}

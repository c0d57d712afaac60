//! Operators on intervals, random numbers and files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use oxim_base::{Text, clock};

use super::{OperatorRow, operator};
use crate::context::Context;
use crate::errand::Errand;
use crate::expand::item::int;
use crate::expand::{ExpandError, integer};
use crate::restrict;

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "randint",
        "A random number below the given one, at least 0.",
        &[("${randint:1}", "0")],
        |_, _, s| random(&s),
    ),
    &OperatorRow {
        may_block: true,
        ..operator(
            "stat",
            "What stat() tells about a file, as names and values.",
            &[("${extract{smode}{${stat:/}}{${substr{0}{1}{$value}}}}", "d")],
            |context, _, s| stat(context, &s),
        )
    },
    &operator(
        "time_eval",
        "An interval such as 2d4h5m in seconds.",
        &[("${time_eval:2d4h5m}", "187500"), ("${time_eval:1m1h}", "3660")],
        |_, _, s| {
            let seconds = s.as_str().and_then(seconds);
            let seconds = seconds.ok_or_else(|| {
                ExpandError::Failed(format!(
                    "string \"{s}\" is not an Exim time interval in \"time_eval\" operator"
                ))
            })?;
            Ok(s.derive(int(&seconds.to_string()).to_string()))
        },
    ),
    &operator(
        "time_interval",
        "Seconds as an interval.",
        &[("${time_interval:1000000}", "1w4d13h46m40s"), ("${time_interval:0}", "0s")],
        |_, _, s| {
            let digits = s.as_str().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
            let digits = digits.ok_or_else(|| {
                ExpandError::Failed(format!(
                    "string \"{s}\" is not a positive number in \"time_interval\" operator"
                ))
            })?;
            let seconds = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
            Ok(s.derive(clock::interval(seconds)))
        },
    ),
];

/// An interval in which every number has its unit; the units may come in any order.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at_checked(digits)?;
        let mut letters = after.chars();
        let unit = match letters.next()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = letters.as_str();
        if rest.is_empty() {
            return Some(total);
        }
    }
}

fn random(text: &Text) -> Result<Text, ExpandError> {
    let shown = text.to_string_lossy();
    if shown.is_empty() {
        return Err(ExpandError::Failed("integer expected but \"\" found".to_owned()));
    }
    let negative = || format!("non-negative integer expected but \"{shown}\" found");
    let bound = integer::parse(&shown).map_err(|message| {
        // The sign counts before what follows the figures.
        let is_negative = shown.starts_with('-') && message.starts_with("invalid integer");
        ExpandError::Failed(if is_negative { negative() } else { message })
    })?;
    let bound = u64::try_from(bound).map_err(|_| ExpandError::Failed(negative()))?;
    let mut bytes = [0_u8; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| ExpandError::Failed(format!("no random numbers: {e}")))?;
    Ok(text.derive(u64::from_ne_bytes(bytes).checked_rem(bound).unwrap_or(0).to_string()))
}

fn stat(context: &Context, path: &Text) -> Result<Text, ExpandError> {
    restrict::check(context, |f| f.existstest, "Use of the stat() expansion is not permitted")?;
    match restrict::by_user(context, || Errand::Stat(path.as_bytes().to_vec())) {
        Some(brought) => Ok(Text::clean(brought?.into_bytes())),
        None => stat_text(path.as_bytes()).map(Text::from),
    }
}

/// What is known of a path.
pub(crate) fn stat_text(path: &[u8]) -> Result<String, ExpandError> {
    let meta = std::fs::metadata(OsStr::from_bytes(path)).map_err(|error| {
        let (path, reason) = (oxim_base::text::shown(path), oxim_base::errno::error_text(&error));
        ExpandError::Failed(format!("stat({path}) failed: {reason}"))
    })?;
    // The type is shown as far as it fits below the bit of regular files, as observed: 0644, 40755.
    let mode = meta.mode() & 0o77777;
    Ok(format!(
        "mode={mode:04o} smode={} inode={} device={} links={} uid={} gid={} size={} atime={} mtime={} ctime={}",
        symbolic(meta.mode()),
        meta.ino(),
        meta.dev(),
        meta.nlink(),
        meta.uid(),
        meta.gid(),
        meta.size(),
        meta.atime(),
        meta.mtime(),
        meta.ctime()
    ))
}

/// The mode as `ls` shows it.
fn symbolic(mode: u32) -> String {
    let kind = match mode & 0o170_000 {
        0o040_000 => 'd',
        0o020_000 => 'c',
        0o060_000 => 'b',
        0o010_000 => 'p',
        0o120_000 => 'l',
        0o140_000 => 's',
        _ => '-',
    };
    let mut out = String::from(kind);
    for (shift, special, lower, upper) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => lower,
            (false, true) => upper,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown_as_ls_does() {
        assert_eq!(symbolic(0o041_777), "drwxrwxrwt");
        assert_eq!(symbolic(0o104_644), "-rwSr--r--");
        assert_eq!(symbolic(0o100_755), "-rwxr-xr-x");
    }

    #[test]
    fn every_number_needs_its_unit() {
        assert_eq!(seconds("30s"), Some(30));
        assert_eq!(seconds("30"), None);
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("1h1h"), Some(7200));
        assert_eq!(seconds(" 5s"), None);
    }
}

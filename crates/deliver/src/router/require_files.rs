//! `require_files`: a router runs only if files exist, or do not. Manual chapter 15.
//!
//! An item without a slash names the user (and after a comma the group) as whom the following files are looked at.
//! A file whose existence cannot be found out defers the address, unless a `+` says that denied means absent.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use oxim_base::errno::errno_text;
use oxim_lang::expand::ExpandError;

use super::prepare::{find_group, find_user};
use super::{Problem, Run, error_code};
use crate::agent::Identity;
use crate::agent::job::FileExists;

/// Whether all required files are there, and all forbidden ones are not.
///
/// # Errors
/// Something could not be found out, or the option is faulty: the address is deferred.
pub fn are_met(run: &mut Run<'_>) -> Result<bool, Problem> {
    let mut user: Option<Identity> = None;
    for template in &run.router.generic.require_files {
        let item = match template.expand(run.context) {
            Ok(text) => text,
            Err(ExpandError::Forced(_)) => continue,
            Err(error) => {
                let source = String::from_utf8_lossy(template.source_bytes()).into_owned();
                let text = format!("failed to expand \"{source}\" for require_files: {error}");
                return Err(Problem::new(error_code::UNKNOWN, text));
            }
        };
        let item = item.as_bytes().trim_ascii();
        if item.is_empty() {
            continue;
        }
        if !item.contains(&b'/') {
            user = Some(identity(&String::from_utf8_lossy(item))?);
            continue;
        }
        let check = Check::parse(item);
        if !check.path.starts_with(b"/") {
            let text = format!("require_files: \"{}\" is not absolute", String::from_utf8_lossy(check.path));
            return Err(Problem::new(error_code::UNKNOWN, text));
        }
        if !check.is_met(run, user.as_ref())? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One path with its marks.
struct Check<'a> {
    path: &'a [u8],
    must_exist: bool,
    denied_is_absent: bool,
}

impl<'a> Check<'a> {
    fn parse(item: &'a [u8]) -> Check<'a> {
        let mut check = Check { path: item, must_exist: true, denied_is_absent: false };
        loop {
            match check.path {
                [b'!', rest @ ..] => {
                    check.must_exist = false;
                    check.path = rest.trim_ascii_start();
                }
                [b'+', rest @ ..] => {
                    check.denied_is_absent = true;
                    check.path = rest.trim_ascii_start();
                }
                _ => return check,
            }
        }
    }

    fn is_met(&self, run: &Run<'_>, user: Option<&Identity>) -> Result<bool, Problem> {
        let found = match user {
            // The manual's rough check: search permission on the way, read permission at the end.
            Some(user) => accessible(run, user, self.path),
            None => run.delivery.user_files.exists(None, self.path),
        };
        match found {
            FileExists::Yes => Ok(self.must_exist),
            FileExists::No => Ok(!self.must_exist),
            FileExists::Error(code) if code == Errno::EACCES as i32 && self.denied_is_absent => {
                Ok(!self.must_exist)
            }
            FileExists::Error(code) => {
                let path = String::from_utf8_lossy(self.path);
                let text = format!("require_files: error for {path}: {}", errno_text(code));
                Err(Problem::new(error_code::UNKNOWN, text))
            }
        }
    }
}

/// Whether a file exists and the user could read it, going by owner, group and mode along the path.
fn accessible(run: &Run<'_>, user: &Identity, path: &[u8]) -> FileExists {
    match run.delivery.user_files.exists(None, path) {
        FileExists::Yes => {}
        // Over NFS root may be nobody: the user looks then.
        FileExists::Error(code) if code == Errno::EACCES as i32 => {
            return run.delivery.user_files.exists(Some(user), path);
        }
        other @ (FileExists::No | FileExists::Error(_)) => return other,
    }
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    for (place, part) in path.ancestors().collect::<Vec<_>>().into_iter().rev().map(|p| (p, p == path)) {
        let wanted = if part { 0o4 } else { 0o1 };
        match std::fs::metadata(place) {
            Ok(meta) if user.uid == 0 || permits(&meta, user, wanted) => {}
            Ok(_) => return FileExists::Error(Errno::EACCES as i32),
            Err(error) => return FileExists::Error(error.raw_os_error().unwrap_or(0)),
        }
    }
    FileExists::Yes
}

fn permits(meta: &std::fs::Metadata, user: &Identity, wanted: u32) -> bool {
    let shift = if meta.uid() == user.uid {
        6
    } else if meta.gid() == user.gid {
        3
    } else {
        0
    };
    meta.mode() >> shift & wanted == wanted
}

/// `user` or `user,group`, each by name or number.
fn identity(text: &str) -> Result<Identity, Problem> {
    let (user, group) = match text.split_once(',') {
        Some((user, group)) => (user.trim(), Some(group.trim())),
        None => (text, None),
    };
    let problem = |text: String| Problem::new(error_code::UNKNOWN, text);
    let account =
        find_user(user)?.ok_or_else(|| problem(format!("user \"{user}\" for require_files not found")))?;
    let gid = match group {
        Some(group) => find_group(group)?
            .ok_or_else(|| problem(format!("group \"{group}\" for require_files not found")))?,
        None => account.gid.ok_or_else(|| {
            problem(format!("group missing after numerical uid {} for require_files", account.uid))
        })?,
    };
    Ok(Identity { uid: account.uid, gid, groups_of: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_in_any_order() {
        let check = Check::parse(b"!+/a");
        assert!(!check.must_exist && check.denied_is_absent && check.path == b"/a");
        let check = Check::parse(b"+!/a");
        assert!(!check.must_exist && check.denied_is_absent);
        let check = Check::parse(b"/a");
        assert!(check.must_exist && !check.denied_is_absent);
    }

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(identity("root").unwrap(), Identity { uid: 0, gid: 0, groups_of: None });
        assert_eq!(identity("12,34").unwrap(), Identity { uid: 12, gid: 34, groups_of: None });
        let text = |name: &str| identity(name).unwrap_err().message.unwrap();
        assert_eq!(text("no-such-user"), "user \"no-such-user\" for require_files not found");
        assert_eq!(text("12"), "group missing after numerical uid 12 for require_files");
        assert_eq!(text("12,no-such-group"), "group \"no-such-group\" for require_files not found");
    }
}

//! Where redirection data comes from: an expanded string, or a file that passes its checks. Manual section 22.1.

use nix::errno::Errno;
use oxim_base::Text;
use oxim_base::errno::errno_text;
use oxim_lang::expand::{ExpandError, Template};

use super::super::{Problem, Run, error_code};
use crate::agent::Identity;
use crate::agent::job::{FileExists, FileRead};

/// Largest redirection file and largest `:include:` file, in bytes: more is a mistake, not a list.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What a file must be like.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Mode bits that must not be set.
    pub modemask: u32,
    /// Owners that are allowed beside the local user; unset: not checked, unless `check_owner` says so.
    pub owners: Option<Vec<u32>>,
    /// Groups that are allowed beside the local user's; unset: not checked, unless `check_group` says so.
    pub groups: Option<Vec<u32>>,
    /// `check_owner`, if it is set.
    pub check_owner: Option<bool>,
    /// `check_group`, if it is set.
    pub check_group: Option<bool>,
    /// A file that may not be read does not exist.
    pub ignore_eacces: bool,
    /// Neither does one below something that is no directory.
    pub ignore_enotdir: bool,
}

/// Where the data is.
pub enum Source {
    /// `data`.
    Data(Template),
    /// `file`, with what it must be like.
    File(Template, Checks),
}

impl Source {
    /// What error texts call it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Source::Data(_) => "data",
            Source::File(..) => "file",
        }
    }
}

/// The data, if there is any. A file's contents belong to the user who may name files: they are clean.
///
/// # Errors
/// The expansion failed, or the file is not as it must be: the address is deferred.
pub fn read(source: &Source, run: &mut Run<'_>, user: Option<&Identity>) -> Result<Option<Text>, Problem> {
    let (template, checks) = match source {
        Source::Data(template) => (template, None),
        Source::File(template, checks) => (template, Some(checks)),
    };
    let text = match template.expand(run.context) {
        Ok(text) => text,
        Err(ExpandError::Forced(_)) => return Ok(None),
        Err(error) => {
            let source = String::from_utf8_lossy(template.source_bytes());
            return Err(Problem::new(error_code::UNKNOWN, format!("failed to expand \"{source}\": {error}")));
        }
    };
    let Some(checks) = checks else {
        return Ok(Some(text));
    };
    if text.is_foreign() {
        let text = format!("Tainted name '{text}' for file read not permitted");
        return Err(Problem::new(error_code::UNKNOWN, text));
    }
    let path = text.as_bytes();
    if !path.starts_with(b"/") {
        return Err(Problem::new(error_code::UNKNOWN, format!("\"{text}\" is not an absolute path")));
    }
    Ok(checks.read(run, path, user)?.map(Text::clean))
}

impl Checks {
    fn read(&self, run: &Run<'_>, path: &[u8], user: Option<&Identity>) -> Result<Option<Vec<u8>>, Problem> {
        let name = String::from_utf8_lossy(path).into_owned();
        match run.delivery.user_files.read(user, path, FILE_BYTES_MAX) {
            FileRead::NotThere => self.check_parent(run, path, user).map(|()| None),
            FileRead::Error(code, _) if code == Errno::EACCES as i32 && self.ignore_eacces => Ok(None),
            FileRead::Error(code, _) if code == Errno::ENOTDIR as i32 && self.ignore_enotdir => Ok(None),
            FileRead::Error(0, text) => Err(Problem::new(error_code::UNKNOWN, format!("{name} is {text}"))),
            FileRead::Error(code, mut text) => {
                if code == Errno::EACCES as i32 {
                    let who = user.cloned().unwrap_or_else(Identity::current);
                    text.push_str(&format!(" (euid={} egid={})", who.uid, who.gid));
                }
                Err(Problem::new(error_code::UNKNOWN, format!("failed to open {name}: {text}")))
            }
            FileRead::Contents { data, uid, gid, mode } => {
                let bad = mode & self.modemask;
                if bad != 0 {
                    let full = mode | 0o100_000;
                    let text = format!("bad mode (0{full:o}) for {name}: 0{bad:o} bit(s) unexpected");
                    return Err(Problem::new(error_code::UNKNOWN, text));
                }
                self.check_owner(run, &name, uid, gid)?;
                Ok(Some(data))
            }
        }
    }

    /// A directory that is missing may be a file system that is not mounted: then nobody knows.
    fn check_parent(&self, run: &Run<'_>, path: &[u8], user: Option<&Identity>) -> Result<(), Problem> {
        if self.ignore_enotdir {
            return Ok(());
        }
        let end = path.iter().rposition(|b| *b == b'/').unwrap_or(0).max(1);
        let parent = path.get(..end).unwrap_or(b"/");
        let name = String::from_utf8_lossy(parent);
        match run.delivery.user_files.exists(user, parent) {
            FileExists::Yes => Ok(()),
            FileExists::No => {
                let text = format!("failed to stat {name}/. (No such file or directory)");
                Err(Problem::new(error_code::UNKNOWN, text))
            }
            FileExists::Error(code) if code == Errno::EACCES as i32 && self.ignore_eacces => Ok(()),
            FileExists::Error(code) => {
                let text = format!("failed to stat {name}/. ({})", errno_text(code));
                Err(Problem::new(error_code::UNKNOWN, text))
            }
        }
    }

    fn check_owner(&self, run: &Run<'_>, name: &str, uid: u32, gid: u32) -> Result<(), Problem> {
        let local = run.local_user.as_ref();
        let checks_owner = self.check_owner.unwrap_or(local.is_some() || self.owners.is_some());
        // Only where the mode may let the group write does it matter which group that is.
        let checks_group = self
            .check_group
            .unwrap_or((local.is_some() && self.modemask & 0o20 == 0) || self.groups.is_some());
        let listed = |list: &Option<Vec<u32>>, id: u32| list.as_ref().is_some_and(|l| l.contains(&id));
        let bad = if checks_owner && local.is_none_or(|u| u.uid != uid) && !listed(&self.owners, uid) {
            "owner"
        } else if checks_group && local.is_none_or(|u| u.gid != gid) && !listed(&self.groups, gid) {
            "group"
        } else {
            return Ok(());
        };
        Err(Problem::new(error_code::UNKNOWN, format!("bad {bad} for {name}")))
    }
}

/// Reads a file that a list includes.
///
/// # Errors
/// The text for the log.
pub fn include(
    run: &Run<'_>,
    name: &str,
    directory: Option<&str>,
    user: Option<&Identity>,
) -> Result<Vec<u8>, String> {
    if let Some(directory) = directory {
        let inside = name
            .strip_prefix(directory)
            .is_some_and(|rest| rest.starts_with('/') || directory.ends_with('/'));
        if !inside || name.contains("/../") {
            return Err(format!("included file {name} is not in directory {directory}"));
        }
        refuse_links(name, directory)?;
    }
    match run.delivery.user_files.read(user, name.as_bytes(), FILE_BYTES_MAX) {
        FileRead::Contents { data, .. } => Ok(data),
        FileRead::NotThere => Err(format!("failed to open included file {name}: No such file or directory")),
        FileRead::Error(0, text) if text.starts_with("larger") => {
            Err(format!("included file {name} is too big (max {FILE_BYTES_MAX})"))
        }
        FileRead::Error(0, text) => Err(format!("error while reading included file {name}: {text}")),
        FileRead::Error(_, text) => Err(format!("failed to open included file {name}: {text}")),
    }
}

/// Below `include_directory` nothing may be a symbolic link: it would lead out of it.
fn refuse_links(name: &str, directory: &str) -> Result<(), String> {
    let base = std::path::Path::new(directory);
    let is_bad =
        |part: &&std::path::Path| !std::fs::symlink_metadata(part).is_ok_and(|meta| !meta.is_symlink());
    let below =
        std::path::Path::new(name).ancestors().take_while(|part| part.starts_with(base) && *part != base);
    match below.filter(is_bad).last() {
        Some(part) => {
            let part = part.display();
            Err(format!("failed to open {part} (component of included file); could be symbolic link"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_below_the_include_directory_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let base = place.path().to_str().unwrap().to_owned();
        std::fs::write(format!("{base}/list"), "bob").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", format!("{base}/link")).unwrap();
        assert_eq!(refuse_links(&format!("{base}/list"), &base), Ok(()));
        assert!(refuse_links(&format!("{base}/link"), &base).unwrap_err().contains("could be symbolic link"));
    }
}

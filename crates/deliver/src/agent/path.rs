//! Directories that a delivery makes, and where it may make them.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path};

use oxim_base::errno::error_text;

use super::job::{CreateWhere, Directories, Trouble};
use crate::transport::error_code;

/// A path from bytes.
pub(super) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

const OUTSIDE: &str = "outside the home directory is not permitted";

/// Whether a file may be created at this path, or files in this directory (`create_file`). The error is Exim's text.
pub(super) fn check_creation(
    target: &Path,
    is_directory: bool,
    allowed: &CreateWhere,
) -> Result<(), Trouble> {
    let refuse = || {
        let text = if is_directory {
            format!("tried to create file in {}, but file creation {OUTSIDE}", target.display())
        } else {
            format!("mailbox {} does not exist, but creation {OUTSIDE}", target.display())
        };
        Trouble::found(error_code::BAD_CREATE, text)
    };
    if allowed.permits(target, is_directory) { Ok(()) } else { Err(refuse()) }
}

impl CreateWhere {
    fn permits(&self, target: &Path, is_directory: bool) -> bool {
        let climbs = || target.components().any(|c| matches!(c, Component::ParentDir));
        match self {
            CreateWhere::Anywhere => true,
            CreateWhere::BelowHome(None) | CreateWhere::InHome(None) => false,
            CreateWhere::BelowHome(Some(top)) | CreateWhere::Below(top) => {
                target.starts_with(path(top)) && !climbs()
            }
            CreateWhere::InHome(Some(home)) => {
                let place = if is_directory { Some(target) } else { target.parent() };
                place == Some(path(home)) && !climbs()
            }
        }
    }

    /// Whether a name made of foreign data may be used, there or not, for a file or a directory: it stays below a known place.
    pub(crate) fn vouches_for(&self, name: &[u8]) -> bool {
        matches!(self, CreateWhere::BelowHome(_) | CreateWhere::Below(_)) && self.permits(path(name), true)
    }
}

/// Makes a directory and those above it where they are missing.
pub(super) fn ensure_directory(directory: &Path, how: &Directories) -> Result<(), Trouble> {
    match std::fs::metadata(directory) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(Trouble::found(
                error_code::NOT_DIRECTORY,
                format!("{} is not a directory", directory.display()),
            ));
        }
        Err(error) if how.create && error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let text = format!("stat() error for {}: {}", directory.display(), error_text(&error));
            return Err(Trouble::found(error.raw_os_error().unwrap_or(0), text));
        }
    }
    if how.allowed != CreateWhere::Anywhere {
        check_creation(directory, true, &how.allowed)?;
    }
    let mut missing: Vec<&Path> = Vec::new();
    let mut walk = Some(directory);
    while let Some(step) = walk {
        if step.as_os_str().is_empty() || step.is_dir() {
            break;
        }
        missing.push(step);
        walk = step.parent();
    }
    for step in missing.into_iter().rev() {
        match std::fs::DirBuilder::new().mode(how.mode).create(step) {
            // The mask must not narrow what the postmaster asked for.
            Ok(()) => {
                let _ = std::fs::set_permissions(step, std::fs::Permissions::from_mode(how.mode));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let mut trouble = Trouble::found(
                    error.raw_os_error().unwrap_or(0),
                    format!(
                        "failed to create directories for {}: {}",
                        directory.display(),
                        error_text(&error)
                    ),
                );
                trouble.freeze = false;
                return Err(trouble);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creation_stays_where_it_is_allowed() {
        let home = Some(b"/home/u".to_vec());
        assert!(
            check_creation(Path::new("/home/u/mail/x"), false, &CreateWhere::BelowHome(home.clone())).is_ok()
        );
        assert!(
            check_creation(Path::new("/home/u2/x"), false, &CreateWhere::BelowHome(home.clone())).is_err()
        );
        assert!(
            check_creation(Path::new("/home/u/../v/x"), false, &CreateWhere::BelowHome(home.clone()))
                .is_err()
        );
        assert!(
            check_creation(Path::new("/home/u/mail/x"), false, &CreateWhere::InHome(home.clone())).is_err()
        );
        assert!(check_creation(Path::new("/home/u/x"), false, &CreateWhere::InHome(home.clone())).is_ok());
        assert!(check_creation(Path::new("/home/u"), true, &CreateWhere::InHome(home.clone())).is_ok());
        assert!(check_creation(Path::new("/home/u/x"), true, &CreateWhere::InHome(home)).is_err());
        assert!(
            check_creation(Path::new("/etc/x"), false, &CreateWhere::Below(b"/var/mail".to_vec())).is_err()
        );
        assert!(check_creation(Path::new("/etc/x"), false, &CreateWhere::InHome(None)).is_err());
    }

    #[test]
    fn foreign_names_stay_below() {
        for place in [CreateWhere::Below(b"/m".to_vec()), CreateWhere::BelowHome(Some(b"/m".to_vec()))] {
            assert!(place.vouches_for(b"/m/x"));
            assert!(!place.vouches_for(b"/m/../x"));
            assert!(!place.vouches_for(b"/mx"));
        }
        assert!(!CreateWhere::Anywhere.vouches_for(b"/m/x"));
        assert!(!CreateWhere::BelowHome(None).vouches_for(b"/m/x"));
        assert!(!CreateWhere::InHome(Some(b"/m".to_vec())).vouches_for(b"/m/x"));
    }
}

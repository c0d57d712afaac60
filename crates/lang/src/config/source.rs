//! Which file is the configuration, and whether it may be believed (manual sections 6 and 6.1).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use oxim_base::errno::error_text;

use super::error::ConfigError;

/// Where the configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct ConfigSource {
    /// A colon-separated list of file names; the first that exists is read.
    pub path: String,
    /// Macros of `-D`, in order.
    pub macros: Vec<(String, String)>,
    /// Whether the file must belong to root and be safe from others' writing: for the default file, and for any file
    /// while privileges are kept.
    pub checks_owner: bool,
}

/// Mode bits that must not be set.
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_OTHERS: u32 = 0o002;

/// Opens the first file that exists: its name and contents.
///
/// # Errors
/// None of them exists, the one that does cannot be read, or its owner or mode are wrong.
pub fn open(source: &ConfigSource) -> Result<(String, Vec<u8>), ConfigError> {
    for path in source.path.split(':').map(str::trim).filter(|path| !path.is_empty()) {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => continue,
            Err(error) => {
                let text = error_text(&error);
                return Err(ConfigError::bare(format!("failed to open configuration file {path}: {text}")));
            }
        };
        if source.checks_owner {
            check_owner(path, &file)?;
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| {
            ConfigError::bare(format!("failed to read configuration file {path}: {}", error_text(&error)))
        })?;
        return Ok((path.to_owned(), bytes));
    }
    Err(ConfigError::bare(format!("non-existent configuration file(s): {}", source.path)))
}

/// Through the open file, so that what is checked is what is read.
fn check_owner(path: &str, file: &File) -> Result<(), ConfigError> {
    let is_safe = file.metadata().is_ok_and(|facts| {
        let group_is_safe = facts.gid() == 0 || facts.mode() & WRITABLE_BY_GROUP == 0;
        facts.uid() == 0 && group_is_safe && facts.mode() & WRITABLE_BY_OTHERS == 0
    });
    if is_safe || path == "/dev/null" {
        Ok(())
    } else {
        Err(ConfigError::bare(format!("Exim configuration file {path} has the wrong owner, group, or mode")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_exists() {
        let source = ConfigSource { path: "/nonexistent/a : /dev/null:/x".into(), ..ConfigSource::default() };
        assert_eq!(open(&source).unwrap().0, "/dev/null");
        let source = ConfigSource { path: "nonex:nonex2".into(), ..ConfigSource::default() };
        assert_eq!(
            open(&source).unwrap_err().exim_text(),
            "non-existent configuration file(s): nonex:nonex2"
        );
    }

    #[test]
    fn a_file_that_others_may_write() {
        let path = std::env::temp_dir().join(format!("oxim-owner-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let source = ConfigSource {
            path: path.to_string_lossy().into_owned(),
            checks_owner: true,
            ..ConfigSource::default()
        };
        let text = open(&source).unwrap_err().exim_text();
        std::fs::remove_file(&path).unwrap();
        assert!(text.ends_with("has the wrong owner, group, or mode"), "{text}");
    }
}

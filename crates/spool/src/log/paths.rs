//! log_file_path: where the logs are (manual sections 53.1 and 53.3).
//!
//! A colon-separated list of at most one path and the word `syslog`; an empty item is the default path. Anything that
//! would leave the program without logs is an error with Exim's words.

use std::fmt;
use std::path::{Path, PathBuf};

/// What log_file_path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPaths {
    /// The path, with `%s` and perhaps `%D` or `%M`.
    pub template: String,
    /// Files are written.
    pub files: bool,
    /// Syslog is written.
    pub syslog: bool,
    /// There was more than one path; the first is used. This text belongs into the panic log.
    pub warning: Option<String>,
}

/// Why log_file_path cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathError {
    /// No `%s` in it.
    NoStream(String),
    /// It does not begin with a slash.
    NotAbsolute(String),
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathError::NoStream(path) => write!(f, "log_file_path \"{path}\" does not contain \"%s\""),
            PathError::NotAbsolute(path) => write!(f, "log_file_path \"{path}\" is not absolute"),
        }
    }
}

impl std::error::Error for PathError {}

impl LogPaths {
    /// `log/%slog` below the spool directory.
    #[must_use]
    pub fn standard(spool_directory: &Path) -> LogPaths {
        let template = spool_directory.join("log/%slog").to_string_lossy().into_owned();
        LogPaths { template, files: true, syslog: false, warning: None }
    }

    /// Reads the expanded option. Empty: the standard place.
    ///
    /// # Errors
    /// If the path that would be used has no `%s`, or is relative.
    pub fn parse(option: &str, spool_directory: &Path) -> Result<LogPaths, PathError> {
        let standard = LogPaths::standard(spool_directory);
        let mut paths: Vec<&str> = Vec::new();
        let mut syslog = false;
        for item in items(option) {
            match item {
                "syslog" => syslog = true,
                "" => paths.push(&standard.template),
                path => paths.push(path),
            }
        }
        let template = paths.first().copied().unwrap_or(&standard.template).to_owned();
        if !template.contains("%s") {
            return Err(PathError::NoStream(template));
        }
        if !template.starts_with('/') {
            return Err(PathError::NotAbsolute(template));
        }
        let warning =
            (paths.len() > 1).then(|| format!("More than one path given in log_file_path: using {template}"));
        Ok(LogPaths { files: !paths.is_empty(), syslog, template, warning })
    }

    /// The file of main or reject log on a day, `2026-11-21`.
    #[must_use]
    pub fn path(&self, word: &str, date: &str) -> PathBuf {
        let digits: String = date.chars().filter(char::is_ascii_digit).collect();
        let month = digits.get(..6).unwrap_or_default();
        PathBuf::from(self.template.replace("%s", word).replace("%D", &digits).replace("%M", month))
    }

    /// The panic log: never datestamped. With the stamp goes one character beside it that is no letter or digit: the
    /// one after it at the start of a name, else the one before it.
    #[must_use]
    pub fn panic_path(&self) -> PathBuf {
        let mut path = self.template.replace("%s", "panic");
        for stamp in ["%D", "%M"] {
            while let Some((before, after)) = path.split_once(stamp) {
                let is_other = |c: &char| !c.is_ascii_alphanumeric();
                path = if before.ends_with('/') {
                    let rest = after.strip_prefix(|c: char| is_other(&c)).unwrap_or(after);
                    format!("{before}{rest}")
                } else {
                    let rest = before.strip_suffix(|c: char| is_other(&c)).unwrap_or(before);
                    format!("{rest}{after}")
                };
            }
        }
        PathBuf::from(path)
    }
}

/// The items of the option, which may begin with another separator (`<; `), as lists do.
fn items(option: &str) -> impl Iterator<Item = &str> {
    let changed = option.trim_start().strip_prefix('<').and_then(|rest| {
        let separator = rest.chars().next().filter(|c| c.is_ascii_punctuation() || c.is_ascii_control())?;
        Some((separator, rest.get(separator.len_utf8()..)?))
    });
    let (separator, list) = changed.unwrap_or((':', option));
    list.split(separator).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(option: &str) -> Result<LogPaths, PathError> {
        LogPaths::parse(option, Path::new("/s"))
    }

    #[test]
    fn the_forms_of_the_manual() {
        let forms = [
            ("", "/s/log/%slog", true, false),
            ("syslog", "/s/log/%slog", false, true),
            (":syslog", "/s/log/%slog", true, true),
            ("syslog : /usr/log/exim_%s", "/usr/log/exim_%s", true, true),
            ("<; syslog ; /usr/log/exim:%s", "/usr/log/exim:%s", true, true),
            ("/usr/log/exim_%s", "/usr/log/exim_%s", true, false),
        ];
        for (option, template, files, syslog) in forms {
            let paths = parse(option).unwrap();
            assert_eq!(
                (paths.template.as_str(), paths.files, paths.syslog),
                (template, files, syslog),
                "{option}"
            );
        }
        let several = parse("/tmp/a-%s-%D.log:/tmp/b%s").unwrap();
        assert_eq!(
            several.warning.unwrap(),
            "More than one path given in log_file_path: using /tmp/a-%s-%D.log"
        );
        assert_eq!(
            parse("/tmp/log").unwrap_err().to_string(),
            "log_file_path \"/tmp/log\" does not contain \"%s\""
        );
        assert!(parse("%slog").is_err());
    }

    #[test]
    fn datestamped_names_and_their_panic_logs() {
        let table = [
            (
                "/var/spool/exim/log/%slog-%D",
                "/var/spool/exim/log/mainlog-20021225",
                "/var/spool/exim/log/paniclog",
            ),
            ("/var/log/exim-%s-%D.log", "/var/log/exim-main-20021225.log", "/var/log/exim-panic.log"),
            (
                "/var/spool/exim/log/%D-%slog",
                "/var/spool/exim/log/20021225-mainlog",
                "/var/spool/exim/log/paniclog",
            ),
            ("/var/log/exim/%s.%M", "/var/log/exim/main.200212", "/var/log/exim/panic"),
        ];
        for (option, main, panic) in table {
            let paths = parse(option).unwrap();
            assert_eq!(paths.path("main", "2002-12-25"), Path::new(main));
            assert_eq!(paths.panic_path(), Path::new(panic));
        }
    }
}

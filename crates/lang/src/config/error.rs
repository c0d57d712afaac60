//! What is wrong with a configuration, where, and how Exim says it.
//!
//! An error carries what both faces need: the text of Exim's one-line form (`exim_text`), and for `oxim check` the logical
//! line with the columns at fault and a piece of advice. Manual chapter 6; the wording is listed in
//! docs/configuration-errors.md.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file, as it was named to the reader or to `.include`.
    pub file: Arc<str>,
    /// Counted from 1. Of a continued line, the last one: that is the one Exim names.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {}", self.line, self.file)
    }
}

/// The logical line at fault, continuations joined and macros replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The line.
    pub text: String,
    /// The bytes of `text` that are meant.
    pub span: Range<usize>,
    /// Number of its first physical line.
    pub first_line: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Exim's text, without the line that says where.
    pub message: String,
    /// Where; None for what belongs to no line (a duplicate macro, a missing driver).
    pub location: Option<Location>,
    /// What the error is about if it has no line: `a router` in `Exim configuration error for a router:`.
    pub subject: Option<String>,
    /// The message stands alone, without the words `Exim configuration error`.
    pub is_bare: bool,
    /// The line with the columns at fault.
    pub excerpt: Option<Box<Excerpt>>,
    /// Advice for `oxim check`, such as the nearest name. Never part of Exim's text.
    pub help: Option<String>,
}

impl ConfigError {
    /// An error that belongs to no line.
    #[must_use]
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError {
            message: message.into(),
            location: None,
            subject: None,
            is_bare: false,
            excerpt: None,
            help: None,
        }
    }

    /// An error whose message is the whole text, such as a file that does not exist.
    #[must_use]
    pub fn bare(message: impl Into<String>) -> ConfigError {
        ConfigError { is_bare: true, ..ConfigError::new(message) }
    }

    /// An error in a line.
    #[must_use]
    pub fn at(location: &Location, message: impl Into<String>) -> ConfigError {
        ConfigError { location: Some(location.clone()), ..ConfigError::new(message) }
    }

    /// An error of a driver instance, which Exim reports without a line: `Exim configuration error for a router:`.
    #[must_use]
    pub fn about(subject: impl Into<String>, message: impl Into<String>) -> ConfigError {
        ConfigError { subject: Some(subject.into()), ..ConfigError::new(message) }
    }

    /// The same error with the line shown.
    #[must_use]
    pub fn shown(mut self, text: &str, span: Range<usize>, first_line: usize) -> ConfigError {
        self.excerpt = Some(Box::new(Excerpt { text: text.to_owned(), span, first_line }));
        self
    }

    /// The same error with advice.
    #[must_use]
    pub fn helped(mut self, help: Option<String>) -> ConfigError {
        self.help = help;
        self
    }

    /// The text that Exim prints and logs after its time stamp: two lines or more, without a newline at the end.
    #[must_use]
    pub fn exim_text(&self) -> String {
        if self.is_bare {
            return self.message.clone();
        }
        let place = match (&self.location, &self.subject) {
            (Some(location), _) => format!(" in {location}"),
            (None, Some(subject)) => format!(" for {subject}"),
            (None, None) => String::new(),
        };
        format!("Exim configuration error{place}:\n  {}", self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.exim_text())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_of_the_first_line() {
        let place = Location { file: "/etc/x".into(), line: 7 };
        assert_eq!(
            ConfigError::at(&place, "option \"a\" unknown").exim_text(),
            "Exim configuration error in line 7 of /etc/x:\n  option \"a\" unknown"
        );
        assert_eq!(ConfigError::new("m").exim_text(), "Exim configuration error:\n  m");
        assert_eq!(
            ConfigError::about("a router", "m").exim_text(),
            "Exim configuration error for a router:\n  m"
        );
    }
}

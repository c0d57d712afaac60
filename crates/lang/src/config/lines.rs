//! From files to logical lines: inclusion, conditional parts, macros, comments, continuation.
//!
//! Manual sections 6.2 to 6.5 and 6.10. All of these work on physical lines, in the order: macro replacement, then
//! directives and comments, then continuation; so a directive may stand within a continued line. Only the first physical
//! line of a logical one can define a macro, and keeps the name.
//! A blank line ends a continuation; a comment does not.

use std::path::Path;
use std::sync::Arc;

use super::error::{ConfigError, Location};
use super::macros::{LINE_BYTES_MAX, Macros};

/// How deep `.include` may nest: a file that includes itself must end somewhere.
const INCLUDE_DEPTH_MAX: usize = 64;

/// A logical line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its text, without white space around it; never empty.
    pub text: String,
    /// Where it ends.
    pub location: Location,
    /// Number of its first physical line.
    pub first_line: usize,
}

struct Frame {
    file: Arc<str>,
    text: String,
    at: usize,
    line: usize,
}

/// State of one `.ifdef`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    /// The lines count.
    Taken,
    /// The lines do not count, but a later branch may.
    Waiting,
    /// The lines do not count and no later branch will.
    Done,
}

struct Condition {
    branch: Branch,
    location: Location,
}

/// What `-bP config` shows besides the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Here begins or goes on a file.
    File(usize, Arc<str>),
    /// A logical line.
    Line(String),
}

/// The files, line by line.
pub struct Lines {
    frames: Vec<Frame>,
    conditions: Vec<Condition>,
    /// The macros; the reader defines them as it meets them.
    pub macros: Macros,
    /// What was read, for `-bP config`.
    pub shown: Vec<Shown>,
    /// Errors that do not stop the reading.
    pub errors: Vec<ConfigError>,
    /// Doubtful things.
    pub warnings: Vec<ConfigError>,
    end: Location,
}

enum Physical {
    Text,
    Skipped,
    Blank,
}

impl Lines {
    /// Starts with a file that has been read.
    #[must_use]
    pub fn new(file: &str, bytes: &[u8], macros: Macros) -> Lines {
        let file: Arc<str> = file.into();
        let mut lines = Lines {
            frames: Vec::new(),
            conditions: Vec::new(),
            macros,
            shown: vec![Shown::File(1, file.clone())],
            errors: Vec::new(),
            warnings: Vec::new(),
            end: Location { file: file.clone(), line: 0 },
        };
        lines.enter(file, bytes);
        lines
    }

    fn enter(&mut self, file: Arc<str>, bytes: &[u8]) {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(at) => {
                let line = bytes
                    .iter()
                    .take(at.valid_up_to())
                    .filter(|byte| **byte == b'\n')
                    .count()
                    .saturating_add(1);
                let place = Location { file: file.clone(), line };
                let warning = "the file is not UTF-8: it is read as ISO-8859-1";
                self.warnings.push(ConfigError::at(&place, warning));
                bytes.iter().map(|byte| char::from(*byte)).collect()
            }
        };
        self.frames.push(Frame { file, text, at: 0, line: 0 });
    }

    /// Where the last line came from.
    #[must_use]
    pub fn here(&self) -> Location {
        self.end.clone()
    }

    /// Reads the next physical line into `line`; None at the end of the last file.
    fn physical(&mut self, line: &mut String) -> Option<()> {
        loop {
            let frame = self.frames.last_mut()?;
            if let Some(rest) = frame.text.get(frame.at..).filter(|rest| !rest.is_empty()) {
                let length = rest.find('\n').map_or(rest.len(), |at| at.saturating_add(1));
                line.clear();
                line.push_str(rest.get(..length).unwrap_or(rest).trim());
                frame.at = frame.at.saturating_add(length);
                frame.line = frame.line.saturating_add(1);
                self.end = Location { file: frame.file.clone(), line: frame.line };
                return Some(());
            }
            self.frames.pop();
            if let Some(outer) = self.frames.last() {
                self.shown.push(Shown::File(outer.line, outer.file.clone()));
            }
        }
    }

    fn is_skipping(&self) -> bool {
        self.conditions.iter().any(|condition| condition.branch != Branch::Taken)
    }

    /// Macros, comments and directives of one physical line.
    fn prepare(&mut self, line: &mut String, is_first: bool) -> Physical {
        let was_replaced = self.macros.replace(line, is_first);
        if was_replaced {
            let trimmed = line.trim();
            if trimmed.len() != line.len() {
                *line = trimmed.to_owned();
            }
        }
        if line.starts_with('.') && self.directive(line, was_replaced) {
            return Physical::Skipped;
        }
        if self.is_skipping() || line.starts_with('#') {
            return Physical::Skipped;
        }
        if line.is_empty() { Physical::Blank } else { Physical::Text }
    }

    /// The next logical line; None at the end.
    pub fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(line) = self.joined() else {
                self.unfinished();
                return None;
            };
            if !line.text.is_empty() {
                self.shown.push(Shown::Line(line.text.clone()));
                return Some(line);
            }
        }
    }

    /// Physical lines up to one that is not continued; the text may be empty.
    fn joined(&mut self) -> Option<Line> {
        let mut whole = String::new();
        let mut first_line = None;
        let mut line = String::new();
        let mut location = self.end.clone();
        while self.physical(&mut line).is_some() {
            match self.prepare(&mut line, first_line.is_none()) {
                Physical::Skipped => continue,
                Physical::Blank if first_line.is_some() => break,
                Physical::Blank => continue,
                Physical::Text => {}
            }
            location = self.end.clone();
            first_line.get_or_insert(location.line);
            match line.strip_suffix('\\') {
                Some(head) if whole.len() < LINE_BYTES_MAX => whole.push_str(head),
                Some(_) => {}
                None => {
                    whole.push_str(&line);
                    break;
                }
            }
        }
        let first_line = first_line?;
        if whole.len() >= LINE_BYTES_MAX {
            self.errors.push(ConfigError::at(&location, "the line is too long"));
        }
        let text = whole.trim().to_owned();
        Some(Line { text, location, first_line })
    }

    /// Reports `.ifdef`s without `.endif`.
    fn unfinished(&mut self) {
        if let Some(open) = self.conditions.drain(..).next_back() {
            let help = Some(format!("the condition was opened in {}", open.location));
            let message = "Unexpected end of configuration file: .endif missing";
            self.errors.push(ConfigError::at(&self.end, message).helped(help));
        }
    }

    /// Carries out a directive. False if the line is none.
    fn directive(&mut self, line: &str, was_replaced: bool) -> bool {
        let word_length = line.bytes().skip(1).take_while(u8::is_ascii_alphabetic).count().saturating_add(1);
        let (word, rest) = line.split_at_checked(word_length).unwrap_or((line, ""));
        match word {
            ".ifdef" | ".ifndef" => {
                let holds = was_replaced == (word == ".ifdef");
                let branch = if self.is_skipping() {
                    Branch::Done
                } else if holds {
                    Branch::Taken
                } else {
                    Branch::Waiting
                };
                self.conditions.push(Condition { branch, location: self.end.clone() });
            }
            ".elifdef" | ".elifndef" => {
                let holds = was_replaced == (word == ".elifdef");
                self.next_branch(word, holds);
            }
            ".else" => self.next_branch(word, true),
            ".endif" => {
                if self.conditions.pop().is_none() {
                    self.without_ifdef(line, word);
                }
            }
            ".include" | ".include_if_exists" if self.is_skipping() => {}
            ".include" => self.include(line, rest),
            _ => return self.is_skipping() || self.is_ignored(line, word),
        }
        true
    }

    /// A word that only begins like a conditional directive: Exim passes over it, so a warning is all it gets.
    fn is_ignored(&mut self, line: &str, word: &str) -> bool {
        let known = [".ifdef", ".ifndef", ".elifdef", ".elifndef", ".else", ".endif"];
        let is_like = known.iter().any(|known| word.starts_with(known));
        if is_like {
            let warning = format!("unknown directive \"{word}\" is ignored");
            let warning = ConfigError::at(&self.end, warning).shown(line, 0..word.len(), self.end.line);
            self.warnings.push(warning);
        }
        is_like
    }

    fn next_branch(&mut self, word: &str, holds: bool) {
        let outer_is_skipping =
            self.conditions.iter().rev().skip(1).any(|condition| condition.branch != Branch::Taken);
        match self.conditions.last_mut() {
            None => self.without_ifdef(word, word),
            Some(condition) => {
                condition.branch = match condition.branch {
                    Branch::Waiting if holds && !outer_is_skipping => Branch::Taken,
                    Branch::Waiting => Branch::Waiting,
                    Branch::Taken | Branch::Done => Branch::Done,
                };
            }
        }
    }

    fn without_ifdef(&mut self, line: &str, word: &str) {
        let error = ConfigError::at(&self.end, format!("{word} without matching .ifdef"));
        self.errors.push(error.shown(line, 0..word.len(), self.end.line));
    }

    fn include(&mut self, line: &str, rest: &str) {
        let (rest, is_optional) = match rest.strip_prefix("_if_exists") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let start = line.len().saturating_sub(rest.trim_start().len());
        let name = rest.trim();
        let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
        let fail = |lines: &mut Lines, message: String| {
            let error = ConfigError::at(&lines.end, message).shown(line, start..line.len(), lines.end.line);
            lines.errors.push(error);
        };
        let path = if name.starts_with('/') {
            name.to_owned()
        } else if is_optional {
            return fail(self, format!(".include specifies a non-absolute path \"{name}\""));
        } else {
            let folder = Path::new(&*self.end.file).parent().unwrap_or(Path::new(""));
            folder.join(name).to_string_lossy().into_owned()
        };
        if self.frames.len() >= INCLUDE_DEPTH_MAX {
            return fail(self, format!("included configuration files nest too deeply at {path}"));
        }
        match std::fs::read(&path) {
            Ok(bytes) => {
                self.shown.push(Shown::File(self.end.line, self.end.file.clone()));
                let file: Arc<str> = path.into();
                self.shown.push(Shown::File(1, file.clone()));
                self.enter(file, &bytes);
            }
            Err(error) if is_optional && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(_) => fail(self, format!("failed to open included configuration file {path}")),
        }
    }
}

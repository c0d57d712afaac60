//! Errors for people: the line with the columns marked, and the nearest name (`oxim check`).

use codespan_reporting::diagnostic::{Diagnostic, Label, Severity};
use codespan_reporting::files::{Error, Files};
use codespan_reporting::term::{self, Config as Style};

use super::error::{ConfigError, Excerpt};

/// Most changes between a word and the name that is suggested for it.
const DISTANCE_MAX: usize = 3;

/// The name most like `word`, as a sentence; None if none is near.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let allowed = DISTANCE_MAX.min(word.len() / 3);
    let (_, name) = names
        .filter(|name| name.len().abs_diff(word.len()) <= allowed)
        .map(|name| (distance(word, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()?;
    Some(format!("did you mean \"{name}\"?"))
}

/// Insertions, deletions, replacements and exchanges of neighbours that make one word of another.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last = None;
    for (line, x) in a.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line.saturating_add(1);
        let mut next = vec![left];
        let mut beside = None;
        for (column, (above, y)) in row.iter().skip(1).zip(b.bytes()).enumerate() {
            let replaced = diagonal.saturating_add(usize::from(x != y));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            if last == Some(y) && beside == Some(x) {
                let exchanged = column.checked_sub(1).and_then(|back| before.get(back));
                left = exchanged.map_or(left, |from| left.min(from.saturating_add(1)));
            }
            (diagonal, beside) = (*above, Some(y));
            next.push(left);
        }
        last = Some(x);
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

/// One logical line, seen as a file whose first line has its number in the real one.
struct OneLine<'a> {
    name: String,
    excerpt: &'a Excerpt,
}

impl<'a> Files<'a> for OneLine<'_> {
    type FileId = ();
    type Name = String;
    type Source = String;

    fn name(&'a self, (): ()) -> Result<String, Error> {
        Ok(self.name.clone())
    }

    fn source(&'a self, (): ()) -> Result<String, Error> {
        Ok(self.excerpt.text.clone())
    }

    fn line_index(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(0)
    }

    fn line_number(&'a self, (): (), _: usize) -> Result<usize, Error> {
        Ok(self.excerpt.first_line)
    }

    fn line_range(&'a self, (): (), line_index: usize) -> Result<std::ops::Range<usize>, Error> {
        if line_index == 0 {
            Ok(0..self.excerpt.text.len())
        } else {
            Err(Error::LineTooLarge { given: line_index, max: 0 })
        }
    }
}

/// Shows an error or warning with its line, over several lines of plain text.
#[must_use]
pub fn render(error: &ConfigError, is_warning: bool) -> String {
    let severity = if is_warning { Severity::Warning } else { Severity::Error };
    let mut diagnostic = Diagnostic::new(severity).with_message(&error.message);
    if let Some(help) = &error.help {
        diagnostic = diagnostic.with_notes(vec![help.clone()]);
    }
    let empty = Excerpt { text: String::new(), span: 0..0, first_line: 0 };
    let excerpt = error.excerpt.as_deref().unwrap_or(&empty);
    let name = error.location.as_ref().map(|place| place.file.to_string()).unwrap_or_default();
    if error.excerpt.is_some() && !name.is_empty() {
        diagnostic = diagnostic.with_labels(vec![Label::primary((), excerpt.span.clone())]);
    }
    let files = OneLine { name, excerpt };
    let mut out = String::new();
    match term::emit_to_string(&mut out, &Style::default(), &files, &diagnostic) {
        Ok(()) => out,
        Err(_) => format!("{}\n", error.exim_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::error::Location;

    #[test]
    fn distances_and_suggestions() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("macth", "match"), 1);
        assert_eq!(distance("domians", "domains"), 1);
        assert_eq!(
            nearest("qualify_domian", ["qualify_domain", "queue_only"].into_iter()).unwrap(),
            "did you mean \"qualify_domain\"?"
        );
        assert_eq!(nearest("foo", ["queue_only"].into_iter()), None);
    }

    #[test]
    fn the_columns_are_marked() {
        let place = Location { file: "/etc/x".into(), line: 3 };
        let error = ConfigError::at(&place, "option \"b\" unknown")
            .shown("a_b = c", 0..3, 3)
            .helped(Some("did you mean \"a_c\"?".to_owned()));
        let text = render(&error, false);
        assert!(text.contains("/etc/x:3:1"), "{text}");
        assert!(text.contains("^^^"), "{text}");
        assert!(text.contains("did you mean"), "{text}");
    }
}

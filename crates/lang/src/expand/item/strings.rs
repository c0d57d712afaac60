//! Items that work on strings: substr, length, hash, nhash, sg, tr, listquote.

use std::sync::Arc;

use oxim_base::Text;

use super::lists::int;
use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::condition::simple::compiled;
use crate::expand::operator::{hash, text};
use crate::expand::{Body, ExpandError, Fault, Parser, Template};
use crate::regex;

pub(super) static ROWS: &[&ItemRow] = &[
    &row(
        "hash",
        "An old textual hash of a string: length, number of letters (26), string.",
        &[("${hash{3}{monty}}", "jmg"), ("${hash{4}{62}{monty python}}", "fbWx")],
        |p| {
            numbered(p, "hash", 2, 3, [is_first, is_letters], |_, texts| match texts {
                [length, letters, subject] => hash::text_hash(
                    subject,
                    first_positive(length, "hash")?,
                    Some(positive(letters, "hash")?),
                ),
                [length, subject] => hash::text_hash(subject, first_positive(length, "hash")?, None),
                _ => Ok(Text::new()),
            })
        },
    ),
    &row("length", "The first bytes of a string: number, string.", &[("${length{3}{abcdef}}", "abc")], |p| {
        numbered(p, "length", 2, 2, [is_positive, is_positive], |_, texts| match texts {
            [length, subject] => Ok(text::substring(subject, 0, Some(positive(length, "length")?))),
            _ => Ok(Text::new()),
        })
    }),
    &row(
        "listquote",
        "The string as an element of a list with this separator.",
        &[("${listquote{:}{a:b}}", "a::b"), ("${listquote{:}{}}", " ")],
        |p| {
            fixed(p, "listquote", 2, 2, |_, texts| match texts {
                [separator, subject] => Ok(list_quoted(separator, subject)),
                _ => Ok(Text::new()),
            })
        },
    ),
    &row(
        "nhash",
        "An old numeric hash of a string: one or two numbers, string.",
        &[("${nhash{8}{64}{supercalifragilisticexpialidocious}}", "6/33")],
        |p| {
            numbered(p, "nhash", 2, 3, [is_first, is_positive], |_, texts| match texts {
                [n, m, subject] => {
                    hash::numeric_hash(subject, first_positive(n, "nhash")?, Some(positive(m, "nhash")?))
                }
                [n, subject] => hash::numeric_hash(subject, first_positive(n, "nhash")?, None),
                _ => Ok(Text::new()),
            })
        },
    ),
    &row(
        "sg",
        "Substitutes all matches of a regular expression: subject, expression, replacement with `$1`….",
        &[
            ("${sg{abcdefabcdef}{abc}{xyz}}", "xyzdefxyzdef"),
            ("${sg{abcdef}{^(...)(...)\\$}{\\$2\\$1}}", "defabc"),
            ("${sg{abc}{b*}{x}}", "xaxxcx"),
        ],
        substitute,
    ),
    &row(
        "substr",
        "A part of a string: start, length, string.",
        &[("${substr{3}{2}{abcdefg}}", "de"), ("${substr{-5}{2}{1234567}}", "34")],
        |p| {
            numbered(p, "substr", 2, 3, [is_number, is_positive], |_, texts| match texts {
                [start, length, subject] => {
                    Ok(text::substring(subject, number(start, "substr")?, Some(positive(length, "substr")?)))
                }
                [start, subject] => Ok(text::substring(subject, number(start, "substr")?, None)),
                _ => Ok(Text::new()),
            })
        },
    ),
    &row(
        "tr",
        "Translates characters: subject, characters, replacements.",
        &[("${tr{abcdea}{ac}{13}}", "1b3de1"), ("${tr{abcdea}{ac}{}}", "abcdea")],
        |p| {
            fixed(p, "tr", 3, 3, |_, texts| match texts {
                [subject, from, to] => Ok(translated(subject, from.as_bytes(), to.as_bytes())),
                _ => Ok(Text::new()),
            })
        },
    ),
];

type Work = fn(&mut Context, &[Text]) -> Result<Text, ExpandError>;

/// An item that expands a fixed number of strings and works on the results.
struct Fixed {
    strings: Vec<Body>,
    work: Work,
}

/// Reads an item with `min` to `max` strings.
pub(super) fn fixed(
    parser: &mut Parser<'_>,
    name: &str,
    min: usize,
    max: usize,
    work: Work,
) -> Result<Box<dyn Item>, Fault> {
    Ok(of_strings(parser.strings(name, min, max)?, work))
}

/// The same of strings that have been read.
pub(super) fn of_strings(strings: Vec<Body>, work: Work) -> Box<dyn Item> {
    Box::new(Fixed { strings, work })
}

impl Item for Fixed {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let texts: Result<Vec<Text>, ExpandError> =
            self.strings.iter().map(|body| body.expand(context)).collect();
        out.push(&(self.work)(context, &texts?)?);
        Ok(())
    }
}

/// A number as strtol() reads it, kept in an int.
fn number(text: &Text, item: &str) -> Result<i64, ExpandError> {
    let shown = text.to_string_lossy();
    let trimmed = shown.trim_ascii_start();
    let unsigned = trimmed.strip_prefix(['-', '+']).unwrap_or(trimmed);
    let is_number = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit());
    if !is_number && !shown.is_empty() {
        return Err(ExpandError::Failed(format!("\"{shown}\" is not a number (in \"{item}\" expansion)")));
    }
    Ok(if shown.is_empty() { 0 } else { int(trimmed) })
}

fn positive(text: &Text, item: &str) -> Result<u64, ExpandError> {
    let complaint =
        || ExpandError::Failed(format!("\"{text}\" is not a positive number (in \"{item}\" expansion)"));
    u64::try_from(number(text, item).map_err(|_| complaint())?).map_err(|_| complaint())
}

/// A first number, of which a negative one is refused in Oxim's words: Exim dies of some of these.
fn first_positive(text: &Text, item: &str) -> Result<u64, ExpandError> {
    let number = number(text, item)?;
    // ${nhash} takes a negative one for a large one, as Exim.
    if item == "nhash" && number < 0 {
        return Ok(u32::from_ne_bytes(i32::try_from(number).unwrap_or(-1).to_ne_bytes()).into());
    }
    positive(text, item)
}

/// What is wrong with a constant number, if anything is.
type Judge = fn(&Text, &str) -> Result<(), ExpandError>;

/// Judges the numbers of an item while the configuration is read, as far as they stand there: a wrong one is a fault even
/// where the item would not be evaluated.
fn numbered(
    parser: &mut Parser<'_>,
    name: &'static str,
    min: usize,
    max: usize,
    judge: [Judge; 2],
    work: Work,
) -> Result<Box<dyn Item>, Fault> {
    let strings = parser.strings(name, min, max)?;
    let numbers = strings.len().saturating_sub(1);
    for (body, judge) in strings.iter().take(numbers).zip(judge) {
        if let Some(text) = body.constant() {
            judge(&text, name).map_err(|e| parser.complaint(e))?;
        }
    }
    Ok(Box::new(Fixed { strings, work }))
}

fn is_number(text: &Text, item: &str) -> Result<(), ExpandError> {
    number(text, item).map(|_| ())
}

fn is_positive(text: &Text, item: &str) -> Result<(), ExpandError> {
    positive(text, item).map(|_| ())
}

fn is_letters(text: &Text, item: &str) -> Result<(), ExpandError> {
    hash::text_hash(&Text::new(), 1, Some(positive(text, item)?)).map(|_| ())
}

fn is_first(text: &Text, item: &str) -> Result<(), ExpandError> {
    first_positive(text, item).map(|_| ())
}

fn list_quoted(separator: &Text, subject: &Text) -> Text {
    if subject.is_empty() {
        return Text::from(" ");
    }
    let Some(separator) = separator.as_bytes().first() else {
        return subject.clone();
    };
    let double = |b: &u8| if b == separator { vec![*b, *b] } else { vec![*b] };
    subject.derive(subject.as_bytes().iter().flat_map(double).collect::<Vec<u8>>())
}

fn translated(subject: &Text, from: &[u8], to: &[u8]) -> Text {
    let Some(last) = to.last() else {
        return subject.clone();
    };
    let translate = |b: &u8| match from.iter().rposition(|f| f == b) {
        Some(index) => *to.get(index).unwrap_or(last),
        None => *b,
    };
    subject.derive(subject.as_bytes().iter().map(translate).collect::<Vec<u8>>())
}

struct Substitute {
    strings: Vec<Body>,
    /// The replacement as a template of its own, if the postmaster wrote it: it may then hold more than `$1`….
    replacement: Option<Template>,
    /// The compiled pattern, if the pattern never changes.
    constant: Option<Arc<regex::Regex>>,
}

fn substitute(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let strings = parser.strings("sg", 3, 3)?;
    let replacement =
        strings.last().and_then(Body::constant).map(|text| Template::compile_bytes(text.as_bytes()));
    if let Some(template) = &replacement {
        parser.note_blocking(template.may_block());
    }
    let pattern = strings.get(1).and_then(Body::constant);
    let constant = pattern.map(|text| {
        regex::shared(text.as_bytes(), false)
            .map_err(|error| parser.complaint(ExpandError::Failed(error.describe(text.as_bytes()))))
    });
    Ok(Box::new(Substitute { strings, replacement, constant: constant.transpose()? }))
}

impl Item for Substitute {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let mut texts = [Text::new(), Text::new(), Text::new()];
        for (text, body) in texts.iter_mut().zip(&self.strings) {
            body.append(context, text)?;
        }
        let [subject, pattern, replacement] = &texts;
        let regex = match &self.constant {
            Some(regex) => Arc::clone(regex),
            None => compiled(context, pattern)?,
        };
        let saved = std::mem::take(&mut context.local.captures);
        let result = self.replace_all(context, out, subject, (&regex, pattern), replacement);
        context.local.captures = saved;
        result
    }
}

impl Substitute {
    fn replace_all(
        &self,
        context: &mut Context,
        out: &mut Text,
        subject: &Text,
        (regex, pattern): (&regex::Regex, &Text),
        replacement: &Text,
    ) -> Result<(), ExpandError> {
        let mut position = 0_usize;
        while position <= subject.len() {
            let found = regex.find_at(subject.as_bytes(), position);
            let Some(groups) = found.map_err(|e| ExpandError::Failed(e.describe(pattern.as_bytes())))? else {
                break;
            };
            let (start, end) = groups.first().copied().unwrap_or((position, position));
            // A lookbehind with \K may give a match that ends before where the search began.
            let end = end.max(start).max(position);
            out.push(&subject.slice(position, start));
            context.local.captures = regex::texts(subject, &groups);
            match &self.replacement {
                Some(template) => out.push(&template.expand(context)?),
                None => out.push(&filled_in(replacement, &context.local.captures)),
            }
            position = end;
            if start >= end {
                // An empty match: one byte goes through unchanged, so that the next search makes way.
                out.push(&subject.slice(end, end.saturating_add(1)));
                position = end.saturating_add(1);
            }
            if out.len() > oxim_base::limits::EXPANSION_BYTES_MAX {
                return Err(ExpandError::Failed("the result of the expansion is too long".to_owned()));
            }
        }
        out.push(&subject.slice(position, subject.len()));
        Ok(())
    }
}

/// A replacement that came out of an expansion: `$1` and `${1}` are filled in and backslashes taken off; whatever else
/// it holds stays text.
fn filled_in(replacement: &Text, captures: &[Text]) -> Text {
    let mut out = Text::with_taint(Vec::new(), replacement.taint());
    let mut rest = replacement.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'\\' => {
                if let Some((literal, after)) = rest.split_first() {
                    out.push_bytes(&[*literal], replacement.taint());
                    rest = after;
                }
            }
            b'$' => match capture_number(rest) {
                Some((number, length)) => {
                    rest = rest.get(length..).unwrap_or_default();
                    if let Some(capture) = captures.get(number) {
                        out.push(capture);
                    }
                }
                None => out.push_bytes(b"$", replacement.taint()),
            },
            other => out.push_bytes(&[*other], replacement.taint()),
        }
    }
    out
}

/// The number of a capture after `$`, and how many bytes it takes.
fn capture_number(text: &[u8]) -> Option<(usize, usize)> {
    let braced = text.first() == Some(&b'{');
    let digits_at = usize::from(braced);
    let digits = text.get(digits_at..)?.iter().take_while(|b| b.is_ascii_digit()).count();
    let end = digits_at.checked_add(digits)?;
    let number = std::str::from_utf8(text.get(digits_at..end)?).ok()?.parse().ok()?;
    match (braced, text.get(end)) {
        (false, _) => Some((number, end)),
        (true, Some(b'}')) => Some((number, end.checked_add(1)?)),
        (true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_from_data_is_never_expanded() {
        let captures = [Text::from("all"), Text::from("one")];
        let data = Text::tainted("<$1> ${1} \\$1 ${run{/bin/id}} $home");
        assert_eq!(filled_in(&data, &captures), "<one> one $1 ${run{/bin/id}} $home");
    }
}

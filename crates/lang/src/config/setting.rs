//! One option line: taking it apart, reading its value, and putting that in its place.

use std::ops::Range;

use super::lines::Line;
use super::options::{OptionKind, OptionRow, Options, Value};
use super::value;

/// What is wrong with a line: the text, the columns and advice.
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) span: Range<usize>,
    pub(super) help: Option<String>,
}

pub(super) fn fault(message: impl Into<String>, span: Range<usize>) -> Fault {
    Fault { message: message.into(), span, help: None }
}

pub(super) fn name_length(text: &str) -> usize {
    if !text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
        return 0;
    }
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count()
}

/// An option line taken apart.
pub(super) struct Written<'a> {
    pub(super) is_hidden: bool,
    /// From the name on.
    pub(super) text: &'a str,
    pub(super) name: &'a str,
    /// From after the name on, then the value once `=` is read; without white space before it.
    pub(super) rest: &'a str,
    pub(super) has_equals: bool,
}

pub(super) fn take_apart(line: &str) -> Result<Written<'_>, Fault> {
    if name_length(line) == 0 {
        return Err(fault(format!("option setting expected: {line}"), 0..line.len()));
    }
    let (first, after) = line.split_at_checked(name_length(line)).unwrap_or((line, ""));
    let (is_hidden, text) = if first == "hide" { (true, after.trim_start()) } else { (false, line) };
    let (name, after) = text.split_at_checked(name_length(text)).unwrap_or((text, ""));
    let after = after.trim_start();
    let (has_equals, rest) = match after.strip_prefix('=') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, after),
    };
    Ok(Written { is_hidden, text, name, rest, has_equals })
}

/// A name without `no_` or `not_`.
pub(super) fn positive(name: &str) -> &str {
    name.strip_prefix("not_").or_else(|| name.strip_prefix("no_")).unwrap_or(name)
}

fn is_switch(kind: OptionKind) -> bool {
    matches!(kind, OptionKind::Bool | OptionKind::BoolOrExpanded | OptionKind::Both(..))
}

pub(super) fn is_repeatable(kind: OptionKind) -> bool {
    matches!(
        kind,
        OptionKind::StrLines | OptionKind::StrList | OptionKind::StrSemicolons | OptionKind::StrConditions
    )
}

/// The value of an option line, or Exim's text of what is wrong.
pub(super) fn read_value(
    row: &'static OptionRow,
    written: &Written<'_>,
    is_negated: bool,
) -> Result<Value, String> {
    let name = written.name;
    if is_switch(row.kind) {
        if is_negated || !written.has_equals {
            if written.has_equals || !written.rest.is_empty() {
                let hint =
                    if written.rest.starts_with('#') { " (# is comment only at line start)" } else { "" };
                return Err(format!("extra characters follow boolean option {name}{hint}"));
            }
            return Ok(Value::Bool(!is_negated));
        }
        return value::read(row.kind, name, written.rest);
    }
    if is_negated {
        return Err("negation prefix applied to a non-boolean option".to_owned());
    }
    if written.has_equals {
        value::read(row.kind, name, written.rest)
    } else if written.rest.is_empty() {
        Err(format!("unexpected end of line (data missing) after {name}"))
    } else {
        Err(format!("missing \"=\" after {name}"))
    }
}

/// Puts a value in its place: where an alias points, in both of a pair, or joined to what is there.
pub(super) fn store(options: &mut Options, row: &'static OptionRow, value: Value, line: &Line) {
    let place = Some(line.location.clone());
    if let OptionKind::Alias(target) = row.kind {
        if let Some(target) = options.row(target) {
            let text = if let Value::Text(text) = &value { text.as_str() } else { "" };
            let value = value::read(target.kind, target.name, text).unwrap_or(value);
            options.put(target, value, place);
        }
    } else if let OptionKind::Both(first, second) = row.kind {
        for target in [options.row(first), options.row(second)].into_iter().flatten() {
            options.put(target, value.clone(), place.clone());
        }
    } else if is_repeatable(row.kind)
        && let Value::Text(text) = &value
    {
        let joined = join(row.kind, options.string(row.name), text);
        options.put(row, Value::Text(joined), place);
    } else {
        options.put(row, value, place);
    }
}

/// What a repeated option comes to.
fn join(kind: OptionKind, old: Option<&str>, new: &str) -> String {
    if kind == OptionKind::StrConditions {
        return old.map_or_else(
            || new.to_owned(),
            |old| format!("${{if and{{{{bool_lax{{{old}}}}}{{bool_lax{{{new}}}}}}}}}"),
        );
    }
    let (separator, item) = if kind == OptionKind::StrLines {
        ('\n', relisted(new.trim_end_matches('\n'), '\n'))
    } else if kind == OptionKind::StrSemicolons {
        (';', relisted(new, ';'))
    } else {
        (':', relisted(new, ':'))
    };
    old.map_or_else(|| item.clone(), |old| format!("{old}{separator}{item}"))
}

/// A list with another separator as one with `separator`, so that lists can be joined.
fn relisted(text: &str, separator: char) -> String {
    let Some(rest) = text.strip_prefix('<') else { return text.to_owned() };
    let mut letters = rest.chars();
    let Some(own) = letters.next().filter(char::is_ascii_punctuation) else { return text.to_owned() };
    let doubled = [own, own].iter().collect::<String>();
    let mut items: Vec<String> = vec![String::new()];
    let mut rest = letters.as_str();
    while let Some(c) = rest.chars().next() {
        let length = if rest.starts_with(&doubled) { doubled.len() } else { c.len_utf8() };
        if c == own && length == own.len_utf8() {
            items.push(String::new());
        } else if let Some(item) = items.last_mut() {
            item.push(c);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    let double: String = [separator, separator].iter().collect();
    let items: Vec<String> = items.iter().map(|item| item.trim().replace(separator, &double)).collect();
    items.join(&separator.to_string())
}

//! `${extract`: a field by name, by number and separators, or out of JSON; and `${env`.

use std::borrow::Cow;

use oxim_base::Text;

use super::lists::{pick, whole_number};
use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::yes_no::{self, Branches};
use crate::expand::{Body, ExpandError, Fault, Parser, json};

pub(super) static ROWS: &[&ItemRow] = &[
    &row("env", "A variable of the environment.", &[("${env{NO_SUCH_VARIABLE}{$value}{none}}", "none")], env),
    &row(
        "extract",
        "A field: by name from `name=value` pairs, by number and separators, or with `json` or `jsons` from JSON.",
        &[
            ("${extract{gid}{uid=1984 gid=2001}}", "2001"),
            ("${extract{2}{:}{x:42:99:& Mailer::/bin/bash}}", "42"),
            ("${extract{-4}{:}{x:42:99:& Mailer::/bin/bash}}", "99"),
            ("${extract json{b}{\\{\"a\":1,\"b\":\"x\"\\}}}", "\"x\""),
            ("${extract jsons{2}{[1,\"two\"]}}", "two"),
            ("${extract{Z}{A=1}{$value}{none}}", "none"),
        ],
        extract,
    ),
];

struct Env {
    name: Body,
    branches: Branches,
}

fn env(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault("missing '{' for name arg of env");
    }
    let name = parser.body()?;
    Ok(Box::new(Env { name, branches: Branches::parse(parser, "env")? }))
}

impl Item for Env {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let name = self.name.expand_word(context)?;
        let name = name.trim_ascii();
        // Names that the system cannot have would make the call fail.
        let usable = !name.is_empty() && !name.contains(['=', '\0']);
        let value = if usable { std::env::var_os(name) } else { None };
        let value = value.map(|v| Text::clean(std::os::unix::ffi::OsStringExt::into_vec(v)));
        self.branches.append_value(context, out, value)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Json,
    Jsons,
}

struct Extract {
    form: Form,
    key: Key,
    rest: Rest,
}

/// The first argument.
enum Key {
    Constant(Selector),
    String(Body),
}

/// Which field is wanted.
struct Selector {
    name: Text,
    /// The name as a number, if it is one.
    number: Option<i64>,
}

impl Key {
    fn new(string: Body) -> Key {
        let selector = string.constant().and_then(|text| Selector::new(&text).ok());
        selector.map_or(Key::String(string), Key::Constant)
    }
}

impl Selector {
    fn new(text: &Text) -> Result<Selector, ExpandError> {
        let name = text.trimmed();
        if name.is_empty() {
            return Err(ExpandError::Failed("first argument of \"extract\" must not be empty".to_owned()));
        }
        let number = name.as_str().filter(|k| is_number(k)).map(|k| whole_number(k).unwrap_or(0));
        Ok(Selector { name, number })
    }
}

/// What follows the key. The key decides how it is read; one that is not constant does so when it is evaluated.
enum Rest {
    /// `{fields}` and the branches.
    Named(Body, Branches),
    /// `{separators}{fields}` and the branches.
    Numbered(Body, Body, Branches),
    /// Any strings, and what follows them.
    Open(Open),
}

struct Open {
    strings: Vec<Body>,
    /// Whether `fail` comes after the strings.
    fail: bool,
    /// What remained of the source after each string, for complaints.
    tails: Vec<Box<str>>,
}

fn extract(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    parser.space();
    let form = match parser.rest() {
        rest if rest.starts_with(b"jsons") => Form::Jsons,
        rest if rest.starts_with(b"json") => Form::Json,
        _ => Form::Plain,
    };
    parser.advance(match form {
        Form::Plain => 0,
        Form::Json => 4,
        Form::Jsons => 5,
    });
    let key = argument(parser, 1)?;
    let fixed = key.constant().map(|text| text.to_string_lossy());
    let rest = match fixed {
        None if form == Form::Plain => open_strings(parser)?,
        Some(key) if form == Form::Plain && is_number(&key) => {
            let separators = argument(parser, 2)?;
            let fields = argument(parser, 3)?;
            Rest::Numbered(separators, fields, Branches::parse(parser, "extract")?)
        }
        _ => {
            let fields = argument(parser, 2)?;
            Rest::Named(fields, Branches::parse(parser, "extract")?)
        }
    };
    Ok(Box::new(Extract { form, key: Key::new(key), rest }))
}

fn argument(parser: &mut Parser<'_>, number: usize) -> Result<Body, Fault> {
    if !parser.space_eat(b'{') {
        return parser.fault(format!("missing '{{' for arg {number} of extract"));
    }
    parser.body()
}

fn open_strings(parser: &mut Parser<'_>) -> Result<Rest, Fault> {
    let tail = |parser: &mut Parser<'_>| {
        parser.space();
        String::from_utf8_lossy(parser.rest()).into()
    };
    let mut strings = vec![argument(parser, 2)?];
    let mut tails = vec![tail(parser)];
    while strings.len() < 4 && parser.space_eat(b'{') {
        strings.push(parser.body()?);
        tails.push(tail(parser));
    }
    let fail = parser.rest().starts_with(b"fail");
    parser.advance(if fail { 4 } else { 0 });
    if !parser.space_eat(b'}') {
        return parser.fault("curly-bracket problem in conditional yes/no parsing: did not close with '}'");
    }
    Ok(Rest::Open(Open { strings, fail, tails }))
}

fn is_number(key: &str) -> bool {
    let trimmed = key.trim_ascii();
    let digits = trimmed.strip_prefix('-').unwrap_or(trimmed);
    !trimmed.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

impl Item for Extract {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        let expanded;
        let Selector { name, number } = match &self.key {
            Key::Constant(selector) => selector,
            Key::String(string) => {
                expanded = Selector::new(&string.expand(context)?)?;
                &expanded
            }
        };
        match (&self.rest, *number) {
            (Rest::Named(fields, branches), number) => {
                let fields = fields.expand(context)?;
                let value = match (self.form, number) {
                    (Form::Plain, _) => named_field(&fields, name.as_bytes()),
                    (form, number) => json_field(&fields, name.as_bytes(), number, form)?,
                };
                branches.append_value(context, out, value)
            }
            (Rest::Numbered(separators, fields, branches), number) => {
                let separators = separators.expand(context)?;
                let fields = fields.expand(context)?;
                let value = numbered_field(&fields, separators.as_bytes(), number.unwrap_or(0));
                branches.append_value(context, out, value)
            }
            (Rest::Open(open), number) => open.append(context, out, name.as_bytes(), number),
        }
    }
}

impl Open {
    fn append(
        &self,
        context: &mut Context,
        out: &mut Text,
        key: &[u8],
        number: Option<i64>,
    ) -> Result<(), ExpandError> {
        let (value, branches) = match (number, self.strings.as_slice()) {
            (Some(number), [separators, fields, branches @ ..]) => {
                let separators = separators.expand(context)?;
                let fields = fields.expand(context)?;
                (numbered_field(&fields, separators.as_bytes(), number), branches)
            }
            (Some(_), _) => return Err(ExpandError::Failed("missing '{' for arg 3 of extract".to_owned())),
            (None, [fields, branches @ ..]) => {
                let fields = fields.expand(context)?;
                (named_field(&fields, key), branches)
            }
            (None, []) => return Ok(()),
        };
        let (yes, otherwise) = match branches {
            [] if self.fail => return Err(self.problem("'yes' part did not start with '{'", 0, branches)),
            [] => (None, yes_no::Otherwise::Nothing),
            [yes] if self.fail => (Some(yes), yes_no::Otherwise::Fail),
            [yes] => (Some(yes), yes_no::Otherwise::Nothing),
            [yes, no] if !self.fail => (Some(yes), yes_no::Otherwise::String(no)),
            _ => return Err(self.problem("did not close with '}'", 2, branches)),
        };
        yes_no::append_value(context, out, "extract", value, yes, otherwise)
    }

    /// What is wrong behind so many of the branches, with the source from there.
    fn problem(&self, what: &str, behind: usize, branches: &[Body]) -> ExpandError {
        let strings = self.strings.len().saturating_sub(branches.len()).saturating_add(behind);
        let tail = strings.checked_sub(1).and_then(|last| self.tails.get(last)).map_or("", AsRef::as_ref);
        ExpandError::Failed(format!(
            "curly-bracket problem in conditional yes/no parsing: {what}\n remaining string is '{tail}'"
        ))
    }
}

/// The field with a number, between any of the separators; number zero is the whole text.
fn numbered_field(fields: &Text, separators: &[u8], number: i64) -> Option<Text> {
    if number == 0 {
        return Some(fields.clone());
    }
    let parts: Vec<&[u8]> = fields.as_bytes().split(|b| separators.contains(b)).collect();
    pick(number, parts.len()).and_then(|index| parts.get(index).map(|part| fields.derive(*part)))
}

/// The value of a name in `name=value name = "quoted value"`; names are compared without regard to case.
pub fn named_field(fields: &Text, key: &[u8]) -> Option<Text> {
    let mut rest = fields.as_bytes().trim_ascii_start();
    while !rest.is_empty() {
        let length = rest.iter().take_while(|b| **b != b'=' && !b.is_ascii_whitespace()).count();
        let (name, after) = rest.split_at_checked(length)?;
        let after = after.trim_ascii_start();
        let after = after.strip_prefix(b"=").unwrap_or(after).trim_ascii_start();
        let (value, after) = field_value(after);
        if name.eq_ignore_ascii_case(key) {
            return Some(fields.derive(value));
        }
        rest = after.trim_ascii_start();
    }
    None
}

/// A value up to white space or in quotes, and what follows it.
fn field_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let length = text.iter().take_while(|b| !b.is_ascii_whitespace()).count();
        let (value, after) = text.split_at_checked(length).unwrap_or_default();
        return (Cow::Borrowed(value), after);
    };
    let (value, after) = in_quotes(quoted);
    (Cow::Owned(value), after)
}

/// A text up to the double quote that ends it (or its end), its escapes replaced, and what follows.
pub(super) fn in_quotes(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'"' => break,
            b'\\' => {
                let (byte, length) = unescape(rest);
                value.extend(byte);
                rest = rest.get(length..).unwrap_or_default();
            }
            other => value.push(*other),
        }
    }
    (value, rest)
}

/// The byte that an escape stands for, after its backslash, and how many bytes it takes.
fn unescape(text: &[u8]) -> (Option<u8>, usize) {
    let digits = |radix: u32, most: usize, from: usize| {
        let run = text.iter().skip(from).take(most).take_while(|b| char::from(**b).is_digit(radix));
        let digits: Vec<u32> = run.filter_map(|b| char::from(*b).to_digit(radix)).collect();
        let value = digits.iter().fold(0_u32, |sum, d| sum.wrapping_mul(radix).wrapping_add(*d));
        (u8::try_from(value & 0xff).ok(), digits.len().saturating_add(from))
    };
    match text.first() {
        None => (Some(b'\\'), 0),
        Some(b'n') => (Some(b'\n'), 1),
        Some(b'r') => (Some(b'\r'), 1),
        Some(b't') => (Some(b'\t'), 1),
        Some(b'b') => (Some(0x08), 1),
        Some(b'v') => (Some(0x0b), 1),
        Some(b'f') => (Some(0x0c), 1),
        Some(b'0'..=b'7') => digits(8, 3, 0),
        Some(b'x') => digits(16, 2, 1),
        Some(other) => (Some(*other), 1),
    }
}

fn json_field(
    fields: &Text,
    key: &[u8],
    number: Option<i64>,
    form: Form,
) -> Result<Option<Text>, ExpandError> {
    let failed = |problem: &str| ExpandError::Failed(format!("{problem} for extract json"));
    let found = match number {
        Some(number) => {
            let elements = json::elements(fields.as_bytes()).map_err(failed)?;
            if number < 1 {
                let text = "first argument of \"extract\" must be greater than zero";
                return Err(ExpandError::Failed(text.to_owned()));
            }
            pick(number, elements.len()).and_then(|index| elements.get(index).map(|e| e.trim_ascii_end()))
        }
        None => json::member(fields.as_bytes(), key).map_err(failed)?,
    };
    let Some(found) = found else { return Ok(None) };
    if form == Form::Json {
        return Ok(Some(fields.derive(found)));
    }
    let bare = json::unquoted(found).ok_or_else(|| {
        ExpandError::Failed("missing '\"' wrapping string result for extract jsons".to_owned())
    })?;
    Ok(Some(fields.derive(bare)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_fields_have_loose_forms() {
        for (fields, key, expected) in [
            ("uid=1984 gid=2001", "gid", Some("2001")),
            ("uid = 1984 gid = \"20 \\\"01\"", "GID", Some("20 \"01")),
            ("a b=2", "a", Some("b=2")),
            ("a b=2", "b", None),
            ("a=1,b=2", "b", None),
            ("x y b z", "b", Some("z")),
            ("a=\"x y\" b=\"p q\"c=3", "c", Some("3")),
            ("a = b = c", "b", None),
            ("b=1 a", "a", Some("")),
            ("=1 a=2", "a", Some("2")),
            ("b=\"1 a=2", "a", None),
            ("a=x\"y z\"", "a", Some("x\"y")),
        ] {
            let found = named_field(&Text::from(fields), key.as_bytes());
            assert_eq!(found.as_ref().map(Text::to_string_lossy).as_deref(), expected, "{fields}");
        }
    }
}

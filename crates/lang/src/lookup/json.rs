//! The `json` lookup: an element of a JSON file (manual section 9.3).
//!
//! The key is a list of names and numbers that lead from the outermost value inwards. A string comes without its quotes,
//! `null` as an empty text, an object or array as JSON. A file that is not JSON fails the lookup: it is never "not found".

use std::sync::Arc;

use oxim_base::limits::LOOKUP_NESTING_MAX;

use super::files::{self, FileError};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;
use crate::list::split;

/// The row.
pub(super) static JSON: LookupKind = LookupKind {
    name: "json",
    style: Style::KeyedFile(open),
    doc: "JSON file; the key is a list of names and indices that lead to an element",
};

/// A value. Numbers keep their text.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

struct File(Value);

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let opened = files::parsed("json", path, |opened| {
        let bytes = opened.read()?;
        let value = parse(&bytes).map_err(|text| FileError::Io(std::io::Error::other(text)))?;
        Ok(File(value))
    });
    let file = opened.map_err(|error| match error {
        FileError::Io(e) => format!("json error on open: {name}: {}", files::reason(&e)),
        FileError::NotRegular => format!("{name} is not a regular file (json lookup)"),
        FileError::TooLarge => format!("{name} is too large (json lookup)"),
    })?;
    Ok(file)
}

impl KeyedFile for File {
    fn find(&self, _: &mut Context, key: &[u8], _: &LookupType) -> Result<Option<Vec<u8>>, String> {
        Ok(element(&self.0, key))
    }
}

/// The element of a JSON text that a key leads to, as the lookup gives it; None if there is none.
///
/// # Errors
/// Where the text is not JSON.
pub fn element_of(text: &[u8], key: &[u8]) -> Result<Option<Vec<u8>>, String> {
    Ok(element(&parse(text)?, key))
}

fn element(whole: &Value, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = whole;
    for selector in split(key) {
        let selector = String::from_utf8_lossy(&selector).into_owned();
        let is_number = !selector.is_empty() && selector.bytes().all(|b| b.is_ascii_digit());
        let inner = match value {
            Value::Array(elements) if is_number => {
                selector.parse::<usize>().ok().and_then(|index| elements.get(index))
            }
            // Of two members with one name the last counts.
            Value::Object(members) if !is_number => {
                members.iter().rev().find(|(name, _)| *name == selector).map(|(_, value)| value)
            }
            Value::Array(_) | Value::Object(_) => None,
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
        };
        match inner {
            Some(inner) => value = inner,
            None => return None,
        }
    }
    Some(match value {
        Value::Null => Vec::new(),
        Value::Bool(bool) => bool.to_string().into_bytes(),
        Value::Number(number) => number_text(number).into_bytes(),
        Value::Text(text) => text.clone().into_bytes(),
        Value::Array(_) | Value::Object(_) => {
            let mut out = String::new();
            write(&mut out, value);
            out.into_bytes()
        }
    })
}

/// An integer as it is, any other number with six places, as Exim does.
fn number_text(number: &str) -> String {
    if number.contains(['.', 'e', 'E'])
        && let Ok(value) = number.parse::<f64>()
    {
        return format!("{value:.6}");
    }
    number.to_owned()
}

fn write(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number),
        Value::Text(text) => write_text(out, text),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(out, element);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_text(out, name);
                out.push_str(": ");
                write(out, member);
            }
            out.push('}');
        }
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Reads a whole text as one value.
fn parse(bytes: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let mut parser = Parser { rest: text, whole: text.len() };
    let value = parser.value(0)?;
    parser.space();
    if parser.rest.is_empty() { Ok(value) } else { Err(parser.fault("text behind the value")) }
}

struct Parser<'a> {
    rest: &'a str,
    whole: usize,
}

impl Parser<'_> {
    fn fault(&self, what: &str) -> String {
        format!("{what} at byte {}", self.whole.saturating_sub(self.rest.len()))
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, text: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, nesting: usize) -> Result<Value, String> {
        if nesting > LOOKUP_NESTING_MAX {
            return Err(self.fault("nested too deep"));
        }
        if self.eat("{") {
            return self.object(nesting);
        }
        if self.eat("[") {
            return self.array(nesting);
        }
        if self.eat("\"") {
            return self.text().map(Value::Text);
        }
        for (word, value) in
            [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))]
        {
            if self.eat(word) {
                return Ok(value);
            }
        }
        self.number()
    }

    fn object(&mut self, nesting: usize) -> Result<Value, String> {
        let mut members = Vec::new();
        if self.eat("}") {
            return Ok(Value::Object(members));
        }
        loop {
            if !self.eat("\"") {
                return Err(self.fault("a name in quotes is missing"));
            }
            let name = self.text()?;
            if !self.eat(":") {
                return Err(self.fault("a colon is missing"));
            }
            members.push((name, self.value(nesting.saturating_add(1))?));
            if self.eat("}") {
                return Ok(Value::Object(members));
            }
            if !self.eat(",") {
                return Err(self.fault("a comma or } is missing"));
            }
        }
    }

    fn array(&mut self, nesting: usize) -> Result<Value, String> {
        let mut elements = Vec::new();
        if self.eat("]") {
            return Ok(Value::Array(elements));
        }
        loop {
            elements.push(self.value(nesting.saturating_add(1))?);
            if self.eat("]") {
                return Ok(Value::Array(elements));
            }
            if !self.eat(",") {
                return Err(self.fault("a comma or ] is missing"));
            }
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let fits = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at_checked(end).unwrap_or(("", self.rest));
        let begins = number.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
        if !begins || number.parse::<f64>().is_err() {
            return Err(self.fault("a value is missing"));
        }
        self.rest = rest;
        Ok(Value::Number(number.to_owned()))
    }

    /// A string, after its first quote.
    fn text(&mut self) -> Result<String, String> {
        let mut out = String::new();
        loop {
            let mut characters = self.rest.chars();
            let next = characters.next().ok_or_else(|| self.fault("a string does not end"))?;
            self.rest = characters.as_str();
            match next {
                '"' => return Ok(out),
                '\\' => out.push(self.escaped()?),
                c if c < ' ' => return Err(self.fault("a control character in a string")),
                c => out.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let mut characters = self.rest.chars();
        let kind = characters.next();
        self.rest = characters.as_str();
        Ok(match kind {
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('u') => {
                let first = self.unit()?;
                let unit = if (0xd800..0xdc00).contains(&first) {
                    if !self.rest.starts_with("\\u") {
                        return Err(self.fault("half of a surrogate pair"));
                    }
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    let second = self.unit()?;
                    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                    let low = low.ok_or_else(|| self.fault("half of a surrogate pair"))?;
                    0x1_0000 + ((first - 0xd800) << 10) + low
                } else {
                    first
                };
                char::from_u32(unit).ok_or_else(|| self.fault("half of a surrogate pair"))?
            }
            _ => return Err(self.fault("unknown escape")),
        })
    }

    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.rest.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.fault("four hexadecimal digits are missing"))?;
        self.rest = self.rest.get(4..).unwrap_or_default();
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(json: &str, key: &str) -> String {
        let file = File(parse(json.as_bytes()).unwrap());
        let lookup = LookupType::parse("json").unwrap();
        let found = file.find(&mut Context::default(), key.as_bytes(), &lookup).unwrap();
        found.map_or("NF".to_owned(), |data| String::from_utf8(data).unwrap())
    }

    #[test]
    fn selectors_lead_inwards() {
        let json = r#" {"a": {"b": [1, -2.5, "x\"\u00e9\ud83d\ude00\n", null, true, [], {"k":[1,{"z":"q"}]}]}, "0": "name"} "#;
        assert_eq!(look(json, "a:b:0"), "1");
        assert_eq!(look(json, "<, a, b, 1"), "-2.500000");
        assert_eq!(look(json, "a:b:2"), "x\"\u{e9}\u{1f600}\n");
        assert_eq!(look(json, "a:b:3"), "");
        assert_eq!(look(json, "a:b:4"), "true");
        assert_eq!(look(json, "a:b:5"), "[]");
        assert_eq!(look(json, "a:b:6"), r#"{"k": [1, {"z": "q"}]}"#);
        for missing in ["a:b:7", "a:c", "0", "a:b:x", "a:b:0:0"] {
            assert_eq!(look(json, missing), "NF", "{missing}");
        }
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for bad in [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{a:1}",
            "nul",
            "1 2",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a\nb\"",
            "-",
            "1e",
            "\u{feff}1",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(parse(b"\xff").is_err());
    }
}

//! How values of each type are written (manual sections 6.12 to 6.19).
//!
//! Each function gives the value, or Exim's text of what is wrong with it.

use oxim_base::clock;

use super::options::{OptionKind, Value};

/// Times in a list (`delay_warning`).
const TIMES_MAX: usize = 10;

/// Why a number could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberError {
    /// There is no digit.
    Expected,
    /// Something follows; the rest of the text.
    Extra(String),
    /// It does not fit.
    Overflow,
}

/// Text of an error about what follows a value.
fn extra(kind: &str, name: &str, rest: &str) -> String {
    let hint = if rest.starts_with('#') { " (# is comment only at line start)" } else { "" };
    format!("extra characters follow {kind} {name}{hint}")
}

fn split_digits(text: &str, radix: u32) -> (&str, &str) {
    let length = text.chars().take_while(|c| c.is_digit(radix)).map(char::len_utf8).sum();
    text.split_at_checked(length).unwrap_or((text, ""))
}

fn signed(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn based(text: &str, radix: u32) -> Result<(i64, &str), NumberError> {
    let (is_negative, rest) = signed(text);
    let (digits, rest) = split_digits(rest, radix);
    if digits.is_empty() {
        return Err(NumberError::Expected);
    }
    let number = i64::from_str_radix(digits, radix).map_err(|_| NumberError::Overflow)?;
    Ok((if is_negative { number.saturating_neg() } else { number }, rest))
}

/// An integer: decimal, `0` octal or `0x` hexadecimal, with K, M, G or T after it.
///
/// # Errors
/// No digits, anything after the number, a number beyond 64 bits.
pub fn integer(text: &str) -> Result<i64, NumberError> {
    let (is_negative, rest) = signed(text);
    let hexadecimal = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
    let (number, rest) = match hexadecimal.filter(|rest| rest.starts_with(|c: char| c.is_ascii_hexdigit())) {
        Some(rest) => based(rest, 16)?,
        None if rest.starts_with(['+', '-']) => return Err(NumberError::Expected),
        None => based(rest, if rest.starts_with('0') { 8 } else { 10 })?,
    };
    let mut letters = rest.chars();
    let (shift, rest) = match letters.next() {
        Some('k' | 'K') => (10, letters.as_str()),
        Some('m' | 'M') => (20, letters.as_str()),
        Some('g' | 'G') => (30, letters.as_str()),
        Some('t' | 'T') => (40, letters.as_str()),
        _ => (0, rest),
    };
    let number = number.checked_mul(1_i64 << shift).ok_or(NumberError::Overflow)?;
    match rest.trim_start() {
        "" => Ok(if is_negative { number.saturating_neg() } else { number }),
        rest => Err(NumberError::Extra(rest.to_owned())),
    }
}

/// A fixed-point number in thousandths; further decimals are cut off.
///
/// # Errors
/// As for integers.
pub fn fixed(text: &str) -> Result<i64, NumberError> {
    let (whole, rest) = based(text, 10)?;
    let (decimals, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest, 10),
        None => ("", rest),
    };
    if !rest.trim().is_empty() {
        return Err(NumberError::Extra(rest.trim_start().to_owned()));
    }
    let thousandths = format!("{decimals:0<3}");
    let thousandths: i64 = thousandths.get(..3).and_then(|three| three.parse().ok()).unwrap_or(0);
    if whole < 0 || whole > i64::from(i32::MAX) / 1000 {
        return Err(NumberError::Overflow);
    }
    Ok(whole.saturating_mul(1000).saturating_add(thousandths))
}

/// An interval, strictly: each number has its letter (manual section 6.16).
#[must_use]
pub fn time(text: &str) -> Option<u64> {
    clock::parse_interval_with_units(text)
}

fn number(name: &str, what: &str, text: &str, result: Result<i64, NumberError>) -> Result<i64, String> {
    result.map_err(|error| match error {
        NumberError::Expected if what == "fixed-point" => format!("fixed-point number expected for {name}"),
        NumberError::Expected => format!("{what} expected for {name}"),
        NumberError::Extra(rest) => extra(&format!("{what} value for"), name, &rest),
        NumberError::Overflow if what == "fixed-point" => {
            format!("integer \"{text}\" is too large (overflow)")
        }
        NumberError::Overflow => format!("absolute value of integer \"{text}\" is too large (overflow)"),
    })
}

/// A string that may be in double quotes, with their escapes (manual section 6.17).
///
/// # Errors
/// A missing closing quote, or text after it.
pub fn string(name: &str, text: &str) -> Result<String, String> {
    let Some(quoted) = text.strip_prefix('"') else { return Ok(text.to_owned()) };
    let mut out = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    loop {
        match rest.next() {
            None => return Err(format!("missing quote at end of string value for {name}")),
            Some('"') => break,
            Some('\\') => match escape(&mut rest) {
                Some(c) => out.push(c),
                None => return Err(format!("missing quote at end of string value for {name}")),
            },
            Some(c) => out.push(c),
        }
    }
    let rest = rest.as_str().trim_start();
    if rest.is_empty() { Ok(out) } else { Err(extra("string value for", name, rest)) }
}

/// The character that an escape stands for; the backslash is read already.
fn escape(rest: &mut std::str::Chars<'_>) -> Option<char> {
    let code = |digits: &str, radix| u8::from_str_radix(digits, radix).map_or('\0', char::from);
    let take = |text: &mut std::str::Chars<'_>, radix: u32, most: usize| {
        let all = text.as_str();
        let length = all.chars().take(most).take_while(|c| c.is_digit(radix)).count();
        let (digits, tail) = all.split_at_checked(length).unwrap_or((all, ""));
        *text = tail.chars();
        code(digits, radix)
    };
    let ahead = rest.as_str();
    match ahead.chars().next()? {
        '0'..='7' => Some(take(rest, 8, 3)),
        'x' => {
            rest.next();
            Some(take(rest, 16, 2))
        }
        'n' => rest.next().map(|_| '\n'),
        'r' => rest.next().map(|_| '\r'),
        't' => rest.next().map(|_| '\t'),
        _ => rest.next(),
    }
}

/// A switch after its `=`; nothing there means yes.
///
/// # Errors
/// A word that is none of true, false, yes and no, or anything after it.
pub fn switch(name: &str, text: &str) -> Result<bool, String> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let length = if text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) { length } else { 0 };
    let (word, rest) = text.split_at_checked(length).unwrap_or((text, ""));
    let on = match word.to_ascii_lowercase().as_str() {
        "true" | "yes" => true,
        "" if text.is_empty() => true,
        "false" | "no" => false,
        _ => return Err(format!("\"{word}\" is not a valid value for the \"{name}\" option")),
    };
    let rest = rest.trim_start();
    if rest.is_empty() { Ok(on) } else { Err(extra(&format!("\"{word}\" for boolean option"), name, rest)) }
}

fn times(name: &str, text: &str) -> Result<Vec<u64>, String> {
    let mut list = Vec::new();
    if text.trim().is_empty() {
        return Ok(list);
    }
    for item in text.split(':') {
        let item = item.trim();
        let Some(seconds) = time(item) else { return Err(format!("invalid time value for {name}")) };
        if list.len() >= TIMES_MAX {
            return Err(format!("too many time values for {name}"));
        }
        if list.last().is_some_and(|last| *last >= seconds) {
            return Err(format!("time value out of order for {name}"));
        }
        list.push(seconds);
    }
    Ok(list)
}

fn id(name: &str, look_up: fn(&str) -> Option<u32>, class: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    look_up(name).ok_or_else(|| format!("{class} {name} was not found"))
}

fn user_id(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

fn group_id(name: &str) -> Option<u32> {
    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// A user by name or number.
///
/// # Errors
/// Exim's text if there is no such user.
pub fn user(name: &str) -> Result<u32, String> {
    id(name, user_id, "user")
}

/// A group by name or number.
///
/// # Errors
/// Exim's text if there is no such group.
pub fn group(name: &str) -> Result<u32, String> {
    id(name, group_id, "group")
}

fn ids(text: &str, one: fn(&str) -> Result<u32, String>) -> Result<Vec<u32>, String> {
    let (separator, rest) = match text.trim_start().strip_prefix('<') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_punctuation()) => {
            let mut letters = rest.chars();
            (letters.next().unwrap_or(':'), letters.as_str())
        }
        _ => (':', text),
    };
    rest.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(one).collect()
}

/// Reads the text after `=` as the kind of option says. Switches are not read here: they need no `=`.
///
/// # Errors
/// Exim's text.
pub fn read(kind: OptionKind, name: &str, text: &str) -> Result<Value, String> {
    match kind {
        OptionKind::Int | OptionKind::Kint => {
            let number = number(name, "integer", text, integer(text))?;
            if i32::try_from(number).is_err() {
                return Err(format!("absolute value of integer \"{text}\" is too large (overflow)"));
            }
            Ok(Value::Int(number))
        }
        OptionKind::KintWide => number(name, "integer", text, integer(text)).map(Value::Int),
        OptionKind::Octal => number(name, "octal integer", text, octal(text)).map(Value::Int),
        OptionKind::Fixed => number(name, "fixed-point", text, fixed(text)).map(Value::Int),
        OptionKind::Time => {
            time(text).map(Value::Time).ok_or_else(|| format!("invalid time value for {name}"))
        }
        OptionKind::TimeExpanded if text.starts_with('$') || time(text).is_some() => {
            Ok(Value::Text(text.to_owned()))
        }
        OptionKind::TimeExpanded => Err(format!("invalid time value for {name}")),
        OptionKind::TimeList => times(name, text).map(Value::Times),
        OptionKind::Uid => user(&string(name, text)?).map(Value::Id),
        OptionKind::Gid => group(&string(name, text)?).map(Value::Id),
        OptionKind::UidExpanded => expanded(string(name, text)?, user),
        OptionKind::GidExpanded => expanded(string(name, text)?, group),
        OptionKind::UidList => ids(&string(name, text)?, user).map(Value::Ids),
        OptionKind::GidList => ids(&string(name, text)?, group).map(Value::Ids),
        OptionKind::Bool | OptionKind::Both(..) => switch(name, text).map(Value::Bool),
        OptionKind::BoolOrExpanded if text.contains('$') => string(name, text).map(Value::Text),
        OptionKind::BoolOrExpanded => switch(name, text).map(Value::Bool),
        OptionKind::Str
        | OptionKind::DomainList
        | OptionKind::HostList
        | OptionKind::AddressList
        | OptionKind::LocalPartList
        | OptionKind::StringList
        | OptionKind::ListBy(_)
        | OptionKind::StrLines
        | OptionKind::StrList
        | OptionKind::StrSemicolons
        | OptionKind::StrConditions
        | OptionKind::Rewrite
        | OptionKind::Alias(_) => string(name, text).map(Value::Text),
    }
}

fn octal(text: &str) -> Result<i64, NumberError> {
    let (number, rest) = based(text, 8)?;
    match rest.trim_start() {
        "" if i32::try_from(number).is_err() => Err(NumberError::Overflow),
        "" => Ok(number),
        rest => Err(NumberError::Extra(rest.to_owned())),
    }
}

fn expanded(text: String, look_up: fn(&str) -> Result<u32, String>) -> Result<Value, String> {
    if !text.contains('$') {
        look_up(&text)?;
    }
    Ok(Value::Text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, number) in
            [("12", 12), ("0x10K", 16384), ("010", 8), ("0", 0), ("-5", -5), ("3k", 3072), ("5G", 5 << 30)]
        {
            assert_eq!(integer(text), Ok(number), "{text}");
        }
        assert_eq!(integer("abc"), Err(NumberError::Expected));
        assert_eq!(integer("089"), Err(NumberError::Extra("89".into())));
        assert_eq!(integer("0x"), Err(NumberError::Extra("x".into())));
        assert_eq!(integer("99999999999999999999"), Err(NumberError::Overflow));
        for (text, number) in [("1", 1000), ("1.5", 1500), ("1.23456", 1234), ("0.05", 50)] {
            assert_eq!(fixed(text), Ok(number), "{text}");
        }
        assert_eq!(octal("0770"), Ok(0o770));
    }

    #[test]
    fn strings() {
        assert_eq!(string("o", "a \"b\""), Ok("a \"b\"".to_owned()));
        assert_eq!(string("o", "\"a\\n\\x41\\101\\q\\\\b\\\"\" "), Ok("a\nAAq\\b\"".to_owned()));
        assert_eq!(string("o", "\"a"), Err("missing quote at end of string value for o".to_owned()));
        assert_eq!(string("o", "\"a\\"), Err("missing quote at end of string value for o".to_owned()));
        assert_eq!(string("o", "\"a\" b"), Err("extra characters follow string value for o".to_owned()));
    }

    #[test]
    fn lists_of_times() {
        assert_eq!(times("o", "1h : 1d"), Ok(vec![3600, 86400]));
        assert_eq!(times("o", ""), Ok(vec![]));
        assert_eq!(times("o", "2h:1h"), Err("time value out of order for o".to_owned()));
        assert_eq!(times("o", "1h:x"), Err("invalid time value for o".to_owned()));
        assert_eq!(
            times("o", "1s:2s:3s:4s:5s:6s:7s:8s:9s:10s:11s"),
            Err("too many time values for o".to_owned())
        );
    }
}

//! Comparison of strings in Sieve tests (RFC 5228 section 2.7, RFC 4790).

use super::tree::{Comparator, Match};
use crate::filter::exim::contains_caseless;

/// Steps that one wildcard match may take: patterns with many stars are refused beyond.
const STEPS_MAX: usize = 1_000_000;

/// Whether a value matches a key.
///
/// # Errors
/// Exim's words for what cannot be compared.
pub(super) fn compare(
    matching: Match,
    comparator: Comparator,
    key: &[u8],
    value: &[u8],
) -> Result<bool, &'static str> {
    match (matching, comparator) {
        (Match::Is, Comparator::Octet) => Ok(key == value),
        (Match::Is, Comparator::Casemap) => Ok(key.eq_ignore_ascii_case(value)),
        (Match::Is, Comparator::Numeric) => Ok(number(key) == number(value)),
        (Match::Contains, Comparator::Octet) => Ok(memchr::memmem::find(value, key).is_some()),
        (Match::Contains, Comparator::Casemap) => Ok(contains_caseless(value, key)),
        (Match::Matches, Comparator::Octet) => glob(key, value, false),
        (Match::Matches, Comparator::Casemap) => glob(key, value, true),
        (_, Comparator::NumericUnrequired) => Err("missing previous require \"comparator-i;ascii-numeric\";"),
        (Match::Contains | Match::Matches, Comparator::Numeric) => {
            Err("comparator does not offer specified matchtype")
        }
    }
}

/// The digits at the start without leading zeros; `None` is more than any number.
fn number(text: &[u8]) -> Option<&[u8]> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = text.get(..length).filter(|digits| !digits.is_empty())?;
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    digits.get(zeros..)
}

/// One element of a pattern.
enum Wild {
    Star,
    One,
    Byte(u8),
}

fn element(pattern: &[u8]) -> Result<Option<(Wild, &[u8])>, &'static str> {
    Ok(match pattern {
        [] => None,
        [b'*', rest @ ..] => Some((Wild::Star, rest)),
        [b'?', rest @ ..] => Some((Wild::One, rest)),
        [b'\\', byte, rest @ ..] => Some((Wild::Byte(*byte), rest)),
        [b'\\'] => return Err("syntactically invalid pattern"),
        [byte, rest @ ..] => Some((Wild::Byte(*byte), rest)),
    })
}

/// `*` and `?`; a character of several bytes is one for `?`.
fn glob(pattern: &[u8], value: &[u8], caseless: bool) -> Result<bool, &'static str> {
    let (mut pattern, mut value) = (pattern, value);
    let mut retry: Option<(&[u8], &[u8])> = None;
    for _ in 0..STEPS_MAX {
        let matched = match element(pattern)? {
            None if value.is_empty() => return Ok(true),
            None => false,
            Some((Wild::Star, rest)) => {
                pattern = rest;
                retry = Some((rest, value));
                continue;
            }
            Some((Wild::One, rest)) => match value.split_at_checked(width(value)) {
                Some((one, after)) if !one.is_empty() => {
                    (pattern, value) = (rest, after);
                    true
                }
                _ => false,
            },
            Some((Wild::Byte(byte), rest)) => match value.split_first() {
                Some((first, after)) if *first == byte || (caseless && first.eq_ignore_ascii_case(&byte)) => {
                    (pattern, value) = (rest, after);
                    true
                }
                _ => false,
            },
        };
        if matched {
            continue;
        }
        let Some((rest, from)) = retry else { return Ok(false) };
        let Some((_, after)) = from.split_first() else { return Ok(false) };
        retry = Some((rest, after));
        (pattern, value) = (rest, after);
    }
    Err("pattern takes too many steps")
}

/// Length of the first character; a byte that begins none counts alone.
fn width(text: &[u8]) -> usize {
    let length = match text.first() {
        None => return 0,
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) => 1,
    };
    let whole = text.get(1..length).is_some_and(|tail| tail.iter().all(|b| b & 0xc0 == 0x80));
    if whole { length } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_as_observed() {
        use Comparator::{Casemap, Numeric, Octet};
        for (matching, comparator, key, value, expected) in [
            (Match::Is, Casemap, "hello world", "Hello World", Ok(true)),
            (Match::Is, Octet, "hello world", "Hello World", Ok(false)),
            (Match::Contains, Casemap, "", "Hello", Ok(true)),
            (Match::Matches, Casemap, "h*w?rld", "Hello World", Ok(true)),
            (Match::Matches, Octet, "h*", "Hello", Ok(false)),
            (Match::Matches, Casemap, "\\*", "Hello", Ok(false)),
            (Match::Matches, Casemap, "hello\\", "Hello", Err("syntactically invalid pattern")),
            (Match::Matches, Casemap, "a?c", "aéc", Ok(true)),
            (Match::Matches, Casemap, "*b*b", "abab", Ok(true)),
            (Match::Matches, Casemap, "*b*bc", "abab", Ok(false)),
            (Match::Is, Numeric, "0010x", "10", Ok(true)),
            (Match::Is, Numeric, "x", "", Ok(true)),
            (Match::Is, Numeric, "1", "x", Ok(false)),
            (Match::Contains, Numeric, "1", "1", Err("comparator does not offer specified matchtype")),
        ] {
            let found = compare(matching, comparator, key.as_bytes(), value.as_bytes());
            assert_eq!(found, expected, "{key} {value}");
        }
    }

    #[test]
    fn hostile_patterns_end() {
        let value = vec![b'a'; 20_000];
        let pattern = [b"*a".repeat(50), b"b".to_vec()].concat();
        assert!(compare(Match::Matches, Comparator::Octet, &pattern, &value).is_ok_and(|found| !found));
    }
}

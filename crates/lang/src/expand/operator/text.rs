//! Operators on bytes and characters.

use oxim_base::Text;

use super::hash::unsigned_pair;
use super::{Arguments, OperatorRow, Word, operator};
use crate::expand::{ExpandError, Template};

pub(super) static ROWS: &[&OperatorRow] = &[
    &OperatorRow {
        may_block: true,
        ..operator(
            "expand",
            "Expands the string a second time.",
            &[("${expand:\\${lc:ABC\\}}", "abc")],
            |context, _, s| {
                if s.is_foreign() {
                    let text = format!("attempt to expand tainted string '{s}'");
                    return Err(ExpandError::Failed(format!("internal expansion of \"{s}\" failed: {text}")));
                }
                let template = Template::compile_bytes(s.as_bytes());
                super::super::tree::enter(context, |context| template.expand(context)).map_err(|error| {
                    let text = format!("internal expansion of \"{s}\" failed: {error}");
                    match error {
                        ExpandError::Forced(_) => ExpandError::Forced(text),
                        ExpandError::Failed(_) => ExpandError::Failed(text),
                        ExpandError::Defer(_) => ExpandError::Defer(text),
                    }
                })
            },
        )
    },
    &operator(
        "from_utf8",
        "UTF-8 as ISO-8859-1; what that does not have becomes `_`.",
        &[("${strlen:${from_utf8:\\xc3\\xa9a}}", "2")],
        |_, _, s| {
            let latin = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'_');
            Ok(s.derive(String::from_utf8_lossy(s.as_bytes()).chars().map(latin).collect::<Vec<u8>>()))
        },
    ),
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "headerwrap",
            "Folds a header line: `headerwrap_<columns>_<limit>`, 80 and 998 if not given, 0 for no bound.",
            &[("${headerwrap_12:aaaaaaaaaaa bbb ccc}", "aaaaaaaaaaa\n\tbbb\n\tccc")],
            |_, numbers, s| {
                let (columns, limit) = unsigned_pair(numbers);
                Ok(s.derive(wrapped(s.as_bytes(), columns.unwrap_or(80), limit.unwrap_or(998))))
            },
        )
    },
    &operator("lc", "Letters in lower case.", &[("${lc:ABC}", "abc")], |_, _, mut s| {
        s.bytes_mut().make_ascii_lowercase();
        Ok(s)
    }),
    &OperatorRow {
        alias: Some("l"),
        arguments: Arguments::Numbers,
        ..operator(
            "length",
            "The first bytes: `length_<n>`.",
            &[("${length_3:abcdef}", "abc")],
            |_, numbers, s| {
                let (length, _) = unsigned_pair(numbers);
                Ok(substring(&s, 0, Some(length.unwrap_or(0))))
            },
        )
    },
    &operator("strlen", "The number of bytes.", &[("${strlen:abc}", "3")], |_, _, s| {
        Ok(s.derive(s.len().to_string()))
    }),
    &OperatorRow {
        alias: Some("s"),
        arguments: Arguments::Numbers,
        ..operator(
            "substr",
            "A part of the string: `substr_<start>_<length>`.",
            &[("${substr_1_2:abcdef}", "bc"), ("${substr_-1:abcde}", "abcd"), ("${s_-3_2:abcdef}", "de")],
            |_, numbers, s| {
                let (start, length) = signed_start(numbers);
                Ok(substring(&s, start, length))
            },
        )
    },
    &operator("uc", "Letters in upper case.", &[("${uc:abc}", "ABC")], |_, _, mut s| {
        s.bytes_mut().make_ascii_uppercase();
        Ok(s)
    }),
    &operator(
        "utf8clean",
        "Invalid UTF-8 sequences as `?`.",
        &[("${utf8clean:a\\xe9b}", "a?b"), ("${utf8clean:\\xc0\\x80}", "??")],
        |_, _, s| Ok(s.derive(cleaned(s.as_bytes()))),
    ),
];

fn signed_start(numbers: Word<'_>) -> (i64, Option<u64>) {
    let text = numbers.unwrap_or_default();
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (start, length) = unsigned_pair(Some(unsigned));
    let start = i64::try_from(start.unwrap_or(0)).unwrap_or(i64::MAX);
    (if negative { start.wrapping_neg() } else { start }, length)
}

/// The bytes from an offset on, which counts from the end if it is negative. Without a length: all that follow, or
/// for a negative offset all that stand before.
pub(crate) fn substring(text: &Text, start: i64, length: Option<u64>) -> Text {
    let size = i64::try_from(text.len()).unwrap_or(i64::MAX);
    let bounded = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let (from, to) = match (start < 0, length) {
        (false, None) => (start, size),
        (false, Some(length)) => (start, start.saturating_add(bounded(length))),
        (true, None) => (0, size.saturating_add(start)),
        (true, Some(length)) => {
            let from = size.saturating_add(start);
            (from.max(0), from.saturating_add(bounded(length)))
        }
    };
    let clamp = |n: i64| usize::try_from(n.clamp(0, size)).unwrap_or(0);
    text.slice(clamp(from), clamp(to).max(clamp(from)))
}

/// The length and the range of second bytes of a UTF-8 sequence that begins with a byte; None for no such sequence.
fn sequence(lead: u8) -> Option<usize> {
    match lead {
        0xc2..=0xdf => Some(2),
        0xe0..=0xef => Some(3),
        0xf0..=0xf7 => Some(4),
        _ => None,
    }
}

fn cleaned(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((lead, after)) = rest.split_first() {
        if lead.is_ascii() {
            out.push(*lead);
            rest = after;
            continue;
        }
        let Some(length) = sequence(*lead) else {
            out.push(b'?');
            rest = after;
            continue;
        };
        let there =
            after.iter().take(length.saturating_sub(1)).take_while(|b| (0x80..0xc0).contains(*b)).count();
        let (whole, next) = rest.split_at_checked(there.saturating_add(1)).unwrap_or((rest, &[]));
        match std::str::from_utf8(whole) {
            Ok(_) => out.extend_from_slice(whole),
            Err(_) => out.push(b'?'),
        }
        rest = next;
    }
    out
}

/// Folds at white space before the column, or at the column where there is none; see the feature page.
fn wrapped(text: &[u8], columns: u64, limit: u64) -> Vec<u8> {
    let bound = |n: u64| if n == 0 { usize::MAX } else { usize::try_from(n).unwrap_or(usize::MAX) };
    let (columns, limit) = (bound(columns), bound(limit));
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut first = true;
    while !rest.is_empty() {
        if !first {
            if out.len() >= limit {
                break;
            }
            out.extend_from_slice(b"\n\t");
        }
        let width = if first { columns } else { columns.saturating_sub(8).max(1) };
        // White space within the first ten characters is no place to break; the tab counts as eight.
        let break_min = if first { 10 } else { 2 };
        first = false;
        let (line, next) = split_line(rest, width, break_min);
        out.extend_from_slice(line);
        rest = next;
    }
    out.truncate(limit);
    out
}

/// One line of at most `width` bytes and what follows the break.
fn split_line(text: &[u8], width: usize, break_min: usize) -> (&[u8], &[u8]) {
    let window = text.get(..width.saturating_add(1)).unwrap_or(text);
    if let Some(at) = window.iter().position(|b| *b == b'\n') {
        return (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(1)..).unwrap_or_default());
    }
    if let Some(at) = memchr::memmem::find(window, b"\\n") {
        return (text.get(..at).unwrap_or_default(), text.get(at.saturating_add(2)..).unwrap_or_default());
    }
    if text.len() <= width {
        return (text, &[]);
    }
    let at = window.iter().rposition(u8::is_ascii_whitespace).filter(|at| *at >= break_min);
    let Some(at) = at else {
        return text.split_at_checked(width).unwrap_or((text, &[]));
    };
    let (line, next) = text.split_at_checked(at).unwrap_or((text, &[]));
    (line.trim_ascii_end(), next.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_count_from_both_ends() {
        let text = Text::tainted("12");
        for (start, length, expected) in [
            (-5, Some(2), ""),
            (-3, Some(2), "1"),
            (0, None, "12"),
            (7, Some(2), ""),
            (-1, None, "1"),
            (-9, None, ""),
        ] {
            let part = substring(&text, start, length);
            assert_eq!(part, expected, "{start} {length:?}");
        }
        assert!(substring(&text, 0, Some(1)).is_foreign());
        assert_eq!(substring(&text, i64::MAX, Some(u64::MAX)), "");
    }

    #[test]
    fn invalid_sequences_become_question_marks() {
        for (dirty, clean) in [
            (&b"a\xe9b\xc3\xa9"[..], "a?bé"),
            (b"\xc3", "?"),
            ("😀".as_bytes(), "😀"),
            (b"\xed\xa0\x80", "?"),
            (b"\xc0\x80", "??"),
            (b"\xf4\x90\x80\x80", "?"),
            (b"\xf8\x88\x80\x80\x80", "?????"),
            (b"\x80a", "?a"),
            (b"\xe2\x82a", "?a"),
        ] {
            assert_eq!(cleaned(dirty), clean.as_bytes());
        }
    }

    #[test]
    fn a_line_without_blanks_is_cut_at_the_column() {
        let wrapped = wrapped(&[b'x'; 81], 80, 998);
        assert_eq!(wrapped, [vec![b'x'; 80], b"\n\tx".to_vec()].concat());
    }
}

//! The `lsearch` lookup: a text file of keys and data, searched without regard to case (manual section 9.3).
//!
//! The file is read once into an index of key hashes and kept until it changes, so a lookup does not scan it. The
//! first line of a key counts. The same reader serves `wildlsearch`, `nwildlsearch` and `iplsearch`.
//!
//! Empty lines and comments inside an item are skipped, as the manual says (Exim 4.96 ends the item there).

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use oxim_base::bytes::Bytes;

use super::files::{self, FileError};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row.
pub(super) static LSEARCH: LookupKind = LookupKind {
    name: "lsearch",
    style: Style::KeyedFile(open),
    doc: "text file of keys and data, first match, without regard to case; option ret=full",
};

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    Ok(files::parsed("lsearch", path, |opened| Ok(Index::new(opened.read()?)))
        .map_err(|e| describe(&e, path, "lsearch"))?)
}

/// Exim's text about a file that cannot be used for a linear search.
pub(super) fn describe(error: &FileError, path: &[u8], name: &str) -> String {
    let path = String::from_utf8_lossy(path);
    match error {
        FileError::Io(e) => format!("failed to open {path} for linear search: {}", files::reason(e)),
        FileError::NotRegular => format!("{path} is not a regular file ({name} lookup)"),
        FileError::TooLarge => format!("{path} is too large ({name} lookup)"),
    }
}

/// The key, and where in the line what follows it begins.
fn split_key(line: &[u8]) -> (Cow<'_, [u8]>, usize) {
    if line.first() == Some(&b'"') {
        let (key, end) = dequote(line);
        return (Cow::Owned(key), end);
    }
    let end = line.iter().position(|b| *b == b':' || is_blank(*b)).unwrap_or(line.len());
    (Cow::Borrowed(line.get(..end).unwrap_or_default()), end)
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_blank(*b)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !is_blank(*b)).map_or(0, |i| i.saturating_add(1));
    text.get(..end).unwrap_or_default()
}

/// Reads a string in double quotes with the escapes of manual section 6.17: the text and the offset behind it.
/// An unclosed one ends with the input.
pub fn dequote(text: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut at = 1;
    while let Some(byte) = text.get(at).copied() {
        at = at.saturating_add(1);
        match byte {
            b'"' => break,
            b'\\' => at = unescape(text, at, &mut out),
            _ => out.push(byte),
        }
    }
    (out, at.min(text.len()))
}

/// Reads what follows a backslash at `at`; gives the offset behind it.
pub(crate) fn unescape(text: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let Some(byte) = text.get(at).copied() else {
        out.push(b'\\');
        return at;
    };
    let after = at.saturating_add(1);
    let digits = |from: usize, max: usize, radix: u32| {
        let rest = text.get(from..).unwrap_or_default();
        let run = rest.iter().take(max).take_while(|b| char::from(**b).is_digit(radix));
        run.fold((0_u32, from), |(value, end), b| {
            (value * radix + char::from(*b).to_digit(radix).unwrap_or(0), end.saturating_add(1))
        })
    };
    let (value, end) = match byte {
        b'n' => (u32::from(b'\n'), after),
        b'r' => (u32::from(b'\r'), after),
        b't' => (u32::from(b'\t'), after),
        b'0'..=b'7' => digits(at, 3, 8),
        b'x' => digits(after, 2, 16),
        _ => (u32::from(byte), after),
    };
    out.push(value.to_le_bytes().first().copied().unwrap_or(0));
    end
}

/// One item of a file: where it begins, which is where its key stands.
pub(super) struct Items {
    data: Vec<u8>,
}

impl Items {
    /// A file's content.
    pub(super) fn new(data: Vec<u8>) -> Items {
        Items { data }
    }

    /// The line at an offset without its line end, and the offset of the next one.
    fn line(&self, start: usize) -> Option<(&[u8], usize)> {
        let rest = self.data.get(start..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        Some((rest.get(..length).unwrap_or_default(), start.saturating_add(length).saturating_add(1)))
    }

    /// Offsets and keys of all items, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, Cow<'_, [u8]>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let start = at;
                let (line, next) = self.line(at)?;
                at = next;
                if line.first().is_some_and(|b| *b != b'#' && !is_blank(*b)) {
                    return Some((start, split_key(line).0));
                }
            }
        })
    }

    /// The key of the item at an offset.
    fn key(&self, start: usize) -> Cow<'_, [u8]> {
        self.line(start).map_or(Cow::Borrowed(&[]), |(line, _)| split_key(line).0)
    }

    /// The data of the item at an offset; with `full`, the key and the line end between them too.
    pub(super) fn data(&self, start: usize, full: bool) -> Vec<u8> {
        let Some((line, mut at)) = self.line(start) else {
            return Vec::new();
        };
        let (key, end) = split_key(line);
        let rest = trim_end(line.get(end..).unwrap_or_default());
        let mut out = Vec::new();
        if full {
            out.extend_from_slice(&key);
            out.extend_from_slice(rest);
        } else {
            let rest = trim_start(rest);
            out.extend_from_slice(trim_start(rest.strip_prefix(b":").unwrap_or(rest)));
        }
        while let Some((line, next)) = self.line(at) {
            at = next;
            let text = trim_end(trim_start(line));
            match line.first() {
                None | Some(b'#') => {}
                Some(first) if is_blank(*first) => {
                    if !text.is_empty() {
                        out.push(b' ');
                        out.extend_from_slice(text);
                    }
                }
                Some(_) => break,
            }
        }
        out
    }
}

/// A file with its keys sorted by hash.
struct Index {
    items: Items,
    hasher: RandomState,
    /// Hash of the lower-case key, offset of the item; equal hashes in the order of the file.
    entries: Vec<(u64, usize)>,
}

/// The hash of a key in lower case.
fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut key = Bytes::from(key);
    key.as_mut_slice().make_ascii_lowercase();
    hasher.hash_one(key)
}

impl Index {
    fn new(data: Vec<u8>) -> Index {
        let items = Items::new(data);
        let hasher = RandomState::new();
        let mut entries: Vec<(u64, usize)> =
            items.keys().map(|(at, key)| (hash(&hasher, &key), at)).collect();
        entries.sort_unstable();
        Index { items, hasher, entries }
    }

    fn offset(&self, key: &[u8]) -> Option<usize> {
        let hash = hash(&self.hasher, key);
        let first = self.entries.partition_point(|(h, _)| *h < hash);
        let same = self.entries.iter().skip(first).take_while(|(h, _)| *h == hash);
        same.map(|(_, at)| *at).find(|at| self.items.key(*at).eq_ignore_ascii_case(key))
    }
}

impl KeyedFile for Index {
    fn find(&self, _: &mut Context, key: &[u8], lookup: &LookupType) -> Result<Option<Vec<u8>>, String> {
        let full = lookup.option("ret") == Some("full");
        Ok(self.offset(key).map(|at| self.items.data(at, full)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"a: one\n\"b c\" : two\nC:three\n   cont\n# comment\n\n   more\nd data:x\n*.x.y: part\n\
        \"e\\\"f\": qu\nquo\"te: z\nempty:\nnocolon\na: again\nk4:\n   more\nk7 :: x\n\"k8\"x: y\n\"k9\"  data\nlast: x";

    fn data(key: &str) -> Option<String> {
        let index = Index::new(FILE.to_vec());
        index.offset(key.as_bytes()).map(|at| String::from_utf8(index.items.data(at, false)).unwrap())
    }

    #[test]
    fn keys_and_data_are_those_of_the_observed_program() {
        for (key, expected) in [
            ("a", "one"),
            ("B C", "two"),
            ("d", "data:x"),
            ("*.X.y", "part"),
            ("e\"f", "qu"),
            ("quo\"te", "z"),
            ("empty", ""),
            ("nocolon", ""),
            ("k4", " more"),
            ("k7", ": x"),
            ("k8", "x: y"),
            ("k9", "data"),
            ("last", "x"),
        ] {
            assert_eq!(data(key).as_deref(), Some(expected), "{key}");
        }
        assert_eq!(data("nope"), None);
        assert_eq!(data("cont"), None);
    }

    #[test]
    fn comments_inside_an_item_are_skipped_as_the_manual_says() {
        assert_eq!(data("c").as_deref(), Some("three cont more"));
    }

    #[test]
    fn the_full_line_has_the_key_dequoted() {
        let index = Index::new(FILE.to_vec());
        let full =
            |key: &[u8]| String::from_utf8(index.items.data(index.offset(key).unwrap(), true)).unwrap();
        assert_eq!(full(b"b c"), "b c : two");
        assert_eq!(full(b"a"), "a: one");
        assert_eq!(full(b"k9"), "k9  data");
    }

    proptest::proptest! {
        #[test]
        fn the_index_finds_what_a_scan_finds(data in "[ab:\"\\\\ #\n\t]{0,60}", key in "[abAB:# ]{1,4}") {
            let index = Index::new(data.clone().into_bytes());
            let scanned = index.items.keys().find(|(_, k)| k.eq_ignore_ascii_case(key.as_bytes())).map(|(at, _)| at);
            proptest::prop_assert_eq!(index.offset(key.as_bytes()), scanned);
            if let Some(at) = scanned {
                let found = index.items.data(at, false);
                proptest::prop_assert!(!found.contains(&b'\n') && found.len() <= data.len());
            }
        }
    }

    #[test]
    fn escapes_in_quoted_keys() {
        assert_eq!(dequote(b"\"a\\tb\\101\\x41\\q\" x"), (b"a\tbAAq".to_vec(), 16));
        assert_eq!(dequote(b"\"open"), (b"open".to_vec(), 5));
        assert_eq!(dequote(b"\"\\"), (b"\\".to_vec(), 2));
    }
}

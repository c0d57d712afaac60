//! Taking a list apart at its separators (manual sections 6.20 to 6.22).

use std::borrow::Cow;

/// The items of a list, without white space around them; an empty item at the end is left out.
///
/// The separator is a colon, or the punctuation or control character that follows `<` at the front. A doubled
/// printing separator stands for itself; a control character cannot be doubled.
#[must_use]
pub fn split(list: &[u8]) -> Split<'_> {
    let list = trim_start(list);
    match list {
        [b'<', separator, rest @ ..] if separator.is_ascii_punctuation() || separator.is_ascii_control() => {
            Split { rest, separator: *separator }
        }
        // To Exim the end of the text is a separator too.
        b"<" => Split { rest: b"", separator: b':' },
        _ => Split { rest: list, separator: b':' },
    }
}

/// Like [`split`], with the separator to be used unless the list names its own.
#[must_use]
pub fn split_at(list: &[u8], separator: u8) -> Split<'_> {
    let items = split(list);
    if items.rest.len() == trim_start(list).len() { Split { rest: items.rest, separator } } else { items }
}

/// Iterator over the items of a list.
#[derive(Clone, Debug)]
pub struct Split<'a> {
    rest: &'a [u8],
    separator: u8,
}

impl<'a> Split<'a> {
    /// The separator in force.
    #[must_use]
    pub fn separator(&self) -> u8 {
        self.separator
    }

    /// The part of the list that has not been taken apart yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_space(*b)).unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

fn trim(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !is_space(*b)).map_or(0, |i| i.saturating_add(1));
    // The blank after a backslash at the end belongs to the item, as in Exim.
    let escaped = text.get(..end).is_some_and(|item| item.ends_with(b"\\"));
    let end = if escaped { end.saturating_add(1).min(text.len()) } else { end };
    trim_start(text.get(..end).unwrap_or_default())
}

impl<'a> Iterator for Split<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let separator = self.separator;
        // White space in front of an item is skipped, unless it is the separator.
        let start = self.rest.iter().position(|b| *b == separator || !is_space(*b));
        self.rest = self.rest.get(start?..)?;
        let text = self.rest;
        let Some(end) = memchr::memchr(separator, text) else {
            self.rest = &[];
            return Some(Cow::Borrowed(trim(text)));
        };
        let doubled = |at: usize| separator > b' ' && text.get(at.saturating_add(1)) == Some(&separator);
        if !doubled(end) {
            self.rest = text.get(end.saturating_add(1)..).unwrap_or_default();
            return Some(Cow::Borrowed(trim(text.get(..end).unwrap_or_default())));
        }
        let mut item = Vec::new();
        let mut from = 0;
        let mut at = end;
        loop {
            item.extend_from_slice(text.get(from..at).unwrap_or_default());
            let after = at.saturating_add(1);
            if !doubled(at) {
                self.rest = text.get(after..).unwrap_or_default();
                break;
            }
            item.push(separator);
            from = after.saturating_add(1);
            let tail = text.get(from..).unwrap_or_default();
            let Some(next) = memchr::memchr(separator, tail) else {
                item.extend_from_slice(tail);
                self.rest = &[];
                break;
            };
            at = from.saturating_add(next);
        }
        Some(Cow::Owned(trim(&item).to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(list: &str) -> Vec<String> {
        split(list.as_bytes()).map(|item| String::from_utf8(item.into_owned()).unwrap()).collect()
    }

    #[test]
    fn separators_empty_items_and_doubling() {
        assert_eq!(items("a:b : c"), ["a", "b", "c"]);
        assert_eq!(items("a : : b"), ["a", "", "b"]);
        assert_eq!(items("a :"), ["a"]);
        assert_eq!(items(":"), [""]);
        assert_eq!(items(""), [""; 0]);
        assert_eq!(items("  "), [""; 0]);
        assert_eq!(items("a::b"), ["a:b"]);
        assert_eq!(items("127.0.0.1 : ::::1"), ["127.0.0.1", "::1"]);
        assert_eq!(items("127.0.0.1:::::1"), ["127.0.0.1::", "1"]);
        assert_eq!(items("<; a;b ; ;; ;c"), ["a", "b", ";", "c"]);
        assert_eq!(items("<\n a\n\nb"), ["a", "", "b"]);
        assert_eq!(items("< x : q"), ["< x", "q"]);
        assert_eq!(items("::"), [":"]);
        assert_eq!(items(":a"), ["", "a"]);
    }

    #[test]
    fn the_blank_after_a_backslash_belongs_to_the_item() {
        assert_eq!(items(r"a\ : b\  :c\"), [r"a\ ", r"b\ ", r"c\"]);
        assert_eq!(items(r"a \ "), [r"a \ "]);
        assert_eq!(items(r"a::\ :b"), [r"a:\ ", "b"]);
        assert_eq!(items("a\\t:b"), ["a\\t", "b"]);
    }

    #[test]
    fn another_default_separator() {
        let list =
            |text: &str| -> Vec<Vec<u8>> { split_at(text.as_bytes(), b';').map(Cow::into_owned).collect() };
        assert_eq!(list("a:b;c"), [b"a:b".to_vec(), b"c".to_vec()]);
        assert_eq!(list("<, a;b,c"), [b"a;b".to_vec(), b"c".to_vec()]);
    }
}

//! Lists as items of expansions see them: split with their separator, and put together again. Manual section 6.21.

use oxim_base::Text;

use crate::list;

/// A list that has been taken apart.
pub(crate) struct Elements {
    /// The separator, for the output.
    pub(crate) separator: u8,
    /// The elements, trimmed, doubled separators made single.
    pub(crate) items: Vec<Text>,
}

/// Splits a list.
pub(crate) fn split(list: &Text) -> Elements {
    let split = list::split(list.as_bytes());
    let separator = split.separator();
    Elements { separator, items: split.map(|item| list.derive(item)).collect() }
}

/// A list that is being put together.
pub(crate) struct Joined {
    separator: u8,
    text: Text,
    first: bool,
}

impl Joined {
    /// An empty list.
    pub(crate) fn new(separator: u8) -> Joined {
        Joined { separator, text: Text::new(), first: true }
    }

    /// Adds an element: separators in it are doubled; one that is empty or begins with a separator gets a space in
    /// front, unless it is the first.
    pub(crate) fn push(&mut self, element: &Text) {
        let bytes = element.as_bytes();
        let separator = [self.separator];
        let taint = element.taint();
        if !self.first {
            self.text.push_bytes(&separator, taint);
            if bytes.first().is_none_or(|b| *b == self.separator) {
                self.text.push_bytes(b" ", taint);
            }
        }
        self.first = false;
        for (number, part) in bytes.split(|b| *b == self.separator).enumerate() {
            if number > 0 {
                self.text.push_bytes(&[self.separator; 2], taint);
            }
            self.text.push_bytes(part, taint);
        }
    }

    /// The list.
    pub(crate) fn into_text(self) -> Text {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_split_as_observed() {
        for (list, expected) in [
            ("a:b:c", vec!["a", "b", "c"]),
            ("a::b", vec!["a:b"]),
            ("a: :b", vec!["a", "", "b"]),
            (":a", vec!["", "a"]),
            ("a:", vec!["a"]),
            (":", vec![""]),
            ("", vec![]),
            (" : : ", vec!["", ""]),
            ("a: ::b", vec!["a", ":b"]),
            ("a:::b", vec!["a:", "b"]),
            ("<, a;b,c", vec!["a;b", "c"]),
            ("< a b c", vec!["< a b c"]),
            ("<\n a\nb", vec!["a", "b"]),
        ] {
            let items: Vec<String> =
                split(&Text::from(list)).items.iter().map(Text::to_string_lossy).collect();
            assert_eq!(items, expected, "{list}");
        }
    }
}

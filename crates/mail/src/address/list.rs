//! The comma-separated addresses of a header line, with their places in it.
//!
//! Commas and semicolons within quotes, comments, angle brackets, domain literals and source routes separate
//! nothing. Group syntax (`name: a@b, c@d;`, RFC 5322 section 3.4) is seen through. Nothing here fails: each
//! item is parsed on demand and carries its own error. Used for `-t`, `${addresses:}`, header rewriting and
//! `verify = header_syntax`.

use super::{AddressError, AddressSyntax, ParsedAddress, comment_end, parse};

/// Longest domain literal within which separators are seen as part of it, in bytes.
const LITERAL_BYTES_MAX: usize = 128;

/// One address of a list, not yet parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListItem<'a> {
    /// The text of the item: phrase, comments and brackets, without white space at its ends.
    pub raw: &'a [u8],
    /// Where it begins in the list.
    pub start: usize,
    /// It stands within a group.
    pub in_group: bool,
}

impl ListItem<'_> {
    /// Parses the item. The offsets of the result count from the beginning of the list, not of the item.
    ///
    /// # Errors
    /// As `address::parse`; `AddressError::Empty` is an item of comments only, which Exim ignores.
    pub fn parse(&self, syntax: &AddressSyntax) -> Result<ParsedAddress, AddressError> {
        let mut parsed = parse(self.raw, syntax)?;
        parsed.start = parsed.start.saturating_add(self.start);
        parsed.end = parsed.end.saturating_add(self.start);
        Ok(parsed)
    }
}

/// The items of a list, in order; empty ones are left out.
#[derive(Clone, Debug)]
pub struct AddressList<'a> {
    input: &'a [u8],
    at: usize,
    in_group: bool,
    has_groups: bool,
}

/// Takes the body of a header line such as To: apart.
#[must_use]
pub fn address_list(input: &[u8]) -> AddressList<'_> {
    AddressList { input, at: 0, in_group: false, has_groups: true }
}

/// Takes a list without groups apart, as the command line has it: a colon after words makes a faulty address there.
#[must_use]
pub fn plain_list(input: &[u8]) -> AddressList<'_> {
    AddressList { input, at: 0, in_group: false, has_groups: false }
}

/// Which byte ended an item.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    Comma,
    Colon,
    Semicolon,
    End,
}

impl<'a> AddressList<'a> {
    /// Finds the next separator from `at` on that stands outside quotes, comments and brackets.
    fn separator(&self, at: usize) -> (usize, Stop) {
        let mut at = at;
        let mut in_route = self.input.get(at) == Some(&b'@');
        let mut in_angle = false;
        // A group within a group is an error of this item; its semicolon does not end the outer one.
        let mut inner_group = false;
        // Only words can name a group.
        let mut is_phrase = true;
        while let Some(&byte) = self.input.get(at) {
            is_phrase &= !matches!(byte, b'@' | b'<' | b'>' | b'[' | b']' | b';' | b')');
            match byte {
                b'\\' => at = at.saturating_add(1),
                b'(' => {
                    at = comment_end(self.input, at);
                    continue;
                }
                b'"' => {
                    at = quote_end(self.input, at);
                    continue;
                }
                b'[' => {
                    // A literal is short: looking further would make a line of brackets cost its square.
                    let rest = self.input.get(at..).unwrap_or_default();
                    let close = rest
                        .iter()
                        .take(LITERAL_BYTES_MAX)
                        .position(|b| matches!(b, b']' | b',' | b'>' | b'\n'));
                    if let Some(length) = close.filter(|&n| rest.get(n) == Some(&b']')) {
                        at = at.saturating_add(length);
                    }
                }
                b'<' => in_angle = true,
                b'>' => in_angle = false,
                b',' if !in_angle && (!in_route || !self.route_goes_on(at)) => return (at, Stop::Comma),
                b':' if in_route => in_route = false,
                b':' if is_phrase && !self.in_group && self.has_groups => return (at, Stop::Colon),
                b':' if !in_angle && self.in_group => inner_group = true,
                b';' if !in_angle && inner_group => inner_group = false,
                b';' if !in_angle && self.in_group => return (at, Stop::Semicolon),
                _ => {}
            }
            at = at.saturating_add(1);
        }
        (self.input.len(), Stop::End)
    }

    /// Whether the comma at `at` separates the domains of a source route rather than addresses.
    fn route_goes_on(&self, at: usize) -> bool {
        let next = self.skip_blank(at.saturating_add(1));
        matches!(self.input.get(next), Some(b'@' | b',' | b':'))
    }

    fn skip_blank(&self, at: usize) -> usize {
        let mut at = at;
        while let Some(byte) = self.input.get(at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => at = at.saturating_add(1),
                b'(' => at = comment_end(self.input, at),
                _ => break,
            }
        }
        at
    }

    fn item(&self, start: usize, end: usize, in_group: bool) -> Option<ListItem<'a>> {
        let text = self.input.get(start..end)?;
        let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let raw = text.trim_ascii();
        (!raw.is_empty()).then(|| ListItem { raw, start: start.saturating_add(blank), in_group })
    }
}

/// Position after the quoted string whose `"` stands at `at`; an unclosed one runs to the end.
fn quote_end(input: &[u8], at: usize) -> usize {
    let mut at = at.saturating_add(1);
    while let Some(&byte) = input.get(at) {
        at = at.saturating_add(1);
        match byte {
            b'\\' => at = at.saturating_add(1),
            b'"' => break,
            _ => {}
        }
    }
    at.min(input.len())
}

impl<'a> Iterator for AddressList<'a> {
    type Item = ListItem<'a>;

    fn next(&mut self) -> Option<ListItem<'a>> {
        while self.at < self.input.len() {
            let start = self.at;
            let blank = self.input.get(start..)?.iter().take_while(|b| b.is_ascii_whitespace()).count();
            let (end, stop) = self.separator(start.saturating_add(blank));
            self.at = end.saturating_add(1);
            let was_in_group = self.in_group;
            match stop {
                Stop::Colon => {
                    self.in_group = true;
                    continue;
                }
                Stop::Semicolon => {
                    self.in_group = false;
                    // Exim ignores what stands between the end of a group and the next comma.
                    let mut after = self.separator(self.at);
                    while after.1 == Stop::Colon {
                        after = self.separator(after.0.saturating_add(1));
                    }
                    self.at = after.0.saturating_add(1);
                }
                Stop::Comma | Stop::End => {}
            }
            if let Some(item) = self.item(start, end, was_in_group) {
                return Some(item);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(input: &str) -> String {
        let syntax = AddressSyntax::default();
        let good: Vec<String> = address_list(input.as_bytes())
            .filter_map(|item| item.parse(&syntax).ok())
            .map(|parsed| String::from_utf8(parsed.address).unwrap())
            .collect();
        good.join(" ")
    }

    #[test]
    fn lists_as_observed_with_the_addresses_operator() {
        for (input, expected) in [
            ("grp: a@b, c@d;", "a@b c@d"),
            ("grp:;", ""),
            ("x@y, grp: a@b, c@d;, e@f", "x@y a@b c@d e@f"),
            ("x@y, grp: a@b, c@d; e@f", "x@y a@b c@d"),
            ("a:b@c, d@e", "b@c d@e"),
            ("a@b;c@d, e@f", "e@f"),
            ("a@b,,c@d, ,", "a@b c@d"),
            ("\"a,b\" <c@d>, e (x,y) <f@g>", "c@d f@g"),
            ("\"a,b <c@d>, e@f", ""),
            ("a (b, c@d", "a"),
            ("a <b,c@d>, e@f", "e@f"),
            ("\"grp,x\": a@b, c@d;", "a@b c@d"),
            ("g r p: a@b, c@d;", "a@b c@d"),
            ("<@x,@y:a@b>, c@d", "a@b c@d"),
            ("@x,@y:a@b, c@d", "a@b c@d"),
            ("a@[IPv6:::1], b@c", "a@[IPv6:::1] b@c"),
            ("(c: d) a@b, c@d", "a@b c@d"),
            ("grp (x:y): a@b, <c@d>;", "a@b c@d"),
            ("From: Last, First <user@example.com>", "Last user@example.com"),
            ("undisclosed-recipients:;, a@b", "a@b"),
            ("g: a@b, h: c@d;, e@f;, i@j", "a@b e@f i@j"),
            ("g: bad@@x, a@b;, e@f", "a@b e@f"),
            ("g:;x@y,e@f", "e@f"),
            (";a@b,c@d", "c@d"),
            ("a:b:c@d, e@f", "e@f"),
            (":a@b, c@d", "a@b c@d"),
            ("a <x:y@z>, c@d", "c@d"),
            ("Fred <a@b>, g h <c@d>, i@j k", "a@b c@d"),
        ] {
            assert_eq!(addresses(input), expected, "{input}");
        }
    }

    #[test]
    fn replacing_by_range_keeps_the_rest() {
        let body = b" Fred <a@b> (x),\n g: c@d , \"e f\"@g;, h";
        let mut out = Vec::new();
        let mut done = 0;
        for item in address_list(body) {
            let parsed = item.parse(&AddressSyntax::default()).unwrap();
            out.extend_from_slice(&body[done..parsed.start]);
            out.extend_from_slice(b"#");
            done = parsed.end;
        }
        out.extend_from_slice(&body[done..]);
        assert_eq!(out, b" Fred <#> (x),\n g: # , #;, #");
    }

    #[test]
    fn hostile_lists_cost_no_more_than_their_length() {
        for unit in ["[", "(", "\"", "<", "@,", "@a,(", "a:", ";", "=?a?b?", "\\", "a;,g:"] {
            let input = unit.repeat(400_000 / unit.len());
            let started = std::time::Instant::now();
            let count =
                address_list(input.as_bytes()).filter(|i| i.parse(&AddressSyntax::default()).is_ok()).count();
            assert!(count <= input.len());
            assert!(started.elapsed().as_secs() < 20, "{unit}");
        }
    }
}

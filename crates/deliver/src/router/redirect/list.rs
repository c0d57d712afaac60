//! Redirection lists: aliases and `.forward` files that are no filters. Manual sections 22.4 to 22.6.
//!
//! Pure parsing: files that `:include:` names are read through a callback. Faults are collected or end the parsing, as
//! `skip_syntax_errors` says.

use oxim_base::limits::INCLUDE_DEPTH_MAX;
use oxim_mail::address::{AddressError, AddressSyntax, parse};

/// What a list may hold, and how addresses are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// `:defer:`.
    pub defer: bool,
    /// `:fail:`.
    pub fail: bool,
    /// `:blackhole:`.
    pub blackhole: bool,
    /// `:include:`.
    pub include: bool,
    /// Malformed addresses are left out.
    pub skip_syntax_errors: bool,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An address with a domain, or a local part to be qualified.
    Address {
        /// Without comments and phrase.
        address: Vec<u8>,
        /// Whether it has no domain yet.
        is_unqualified: bool,
        /// It had a backslash in front: the incoming domain is meant.
        keeps_domain: bool,
    },
    /// A command, with its `|`.
    Pipe(Vec<u8>),
    /// A path; a directory if it ends in a slash.
    File(Vec<u8>),
}

/// What the list says as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Items, none if there were only comments.
    Items(Vec<Item>),
    /// `:blackhole:` stood somewhere.
    Blackhole,
    /// `:defer:` and its text.
    Defer(String),
    /// `:fail:` and its text.
    Fail(String),
}

/// A malformed item that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// The item.
    pub item: String,
}

/// Opens the files of `:include:`; the error is the text for the log.
pub type Include<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// A list, and what was left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What it says.
    pub content: Content,
    /// What was left out.
    pub errors: Vec<SyntaxError>,
}

struct Reader<'a, 'i> {
    allowed: Allowed,
    syntax: &'a AddressSyntax,
    include: &'a mut Include<'i>,
    items: Vec<Item>,
    errors: Vec<SyntaxError>,
    is_blackhole: bool,
}

/// Reads a list.
///
/// # Errors
/// The text after "error in redirect data: ".
pub fn read(
    data: &[u8],
    allowed: Allowed,
    syntax: &AddressSyntax,
    include: &mut Include<'_>,
) -> Result<Parsed, String> {
    let mut reader =
        Reader { allowed, syntax, include, items: Vec::new(), errors: Vec::new(), is_blackhole: false };
    let end = reader.read(data, 0)?;
    let content = match end {
        Some(content) => content,
        None if reader.is_blackhole => Content::Blackhole,
        None => Content::Items(reader.items),
    };
    Ok(Parsed { content, errors: reader.errors })
}

impl Reader<'_, '_> {
    /// Reads to the end, or to a `:defer:` or `:fail:`, which end everything.
    fn read(&mut self, data: &[u8], depth: usize) -> Result<Option<Content>, String> {
        let mut rest = data;
        loop {
            rest = skip_nothings(rest);
            if rest.is_empty() {
                return Ok(None);
            }
            if let Some(end) = self.final_item(rest)? {
                return Ok(Some(end));
            }
            let (item, after) = rest.split_at_checked(item_end(rest)).unwrap_or((rest, &[]));
            rest = after;
            let item = item.trim_ascii();
            let bare = strip_quotes(item);
            if let Some(end) = self.item(bare, bare.len() < item.len(), depth)? {
                return Ok(Some(end));
            }
        }
    }

    /// `:fail:` and `:defer:` take the whole rest of the list as their text.
    fn final_item(&self, rest: &[u8]) -> Result<Option<Content>, String> {
        let text = |rest: &[u8]| String::from_utf8_lossy(rest.trim_ascii()).into_owned();
        for (word, allowed) in [(":defer:", self.allowed.defer), (":fail:", self.allowed.fail)] {
            let Some(after) = strip_word(rest, word) else { continue };
            if !allowed {
                return Err(format!("\"{}\" is not permitted", text(rest)));
            }
            let message = text(after);
            return Ok(Some(if word == ":fail:" { Content::Fail(message) } else { Content::Defer(message) }));
        }
        Ok(None)
    }

    fn item(&mut self, item: &[u8], was_quoted: bool, depth: usize) -> Result<Option<Content>, String> {
        if let Some(end) = self.final_item(item)? {
            return Ok(Some(end));
        }
        if item.is_empty() || strip_word(item, ":unknown:").is_some() {
            return Ok(None);
        }
        if strip_word(item, ":blackhole:").is_some() {
            if !self.allowed.blackhole {
                return Err(format!("\"{}\" is not permitted", String::from_utf8_lossy(item)));
            }
            self.is_blackhole = true;
            return Ok(None);
        }
        if let Some(name) = strip_word(item, ":include:") {
            return self.include(&String::from_utf8_lossy(name.trim_ascii()), depth);
        }
        self.plain(item, was_quoted)?;
        Ok(None)
    }

    fn include(&mut self, name: &str, depth: usize) -> Result<Option<Content>, String> {
        if !self.allowed.include {
            return Err("included files not permitted".to_owned());
        }
        if name.is_empty() {
            return Err("file name missing after :include:".to_owned());
        }
        if !name.starts_with('/') {
            return Err(format!("included file \"{name}\" is not an absolute path"));
        }
        if depth >= INCLUDE_DEPTH_MAX {
            return Err(format!("included file {name} is nested too deeply"));
        }
        let data = (self.include)(name)?;
        self.read(&data, depth.saturating_add(1))
    }

    /// A command, a path or an address. With a domain behind it, even `|x@y` is an address.
    fn plain(&mut self, item: &[u8], was_quoted: bool) -> Result<(), String> {
        let parsed = parse(item, self.syntax);
        match item.first() {
            Some(b'|' | b'/') if !parsed.as_ref().is_ok_and(|p| p.local_part_end.is_some()) => {
                let item = if was_quoted { without_backslashes(item) } else { item.to_vec() };
                self.items.push(if item.starts_with(b"|") { Item::Pipe(item) } else { Item::File(item) });
                return Ok(());
            }
            Some(b'\\') => {
                let bare = item.get(1..).unwrap_or_default();
                if let Ok(local) = parse(bare, self.syntax)
                    && local.local_part_end.is_none()
                    && !local.address.is_empty()
                {
                    let address = local.address;
                    self.items.push(Item::Address { address, is_unqualified: true, keeps_domain: true });
                    return Ok(());
                }
            }
            _ => {}
        }
        match parsed {
            Ok(found) if found.address.is_empty() => {}
            Ok(found) => self.items.push(Item::Address {
                is_unqualified: found.local_part_end.is_none(),
                address: found.address,
                keeps_domain: false,
            }),
            // An item of comments alone is no address and no fault.
            Err(AddressError::Empty) => {}
            Err(error) => {
                let item = String::from_utf8_lossy(item).into_owned();
                if !self.allowed.skip_syntax_errors {
                    return Err(format!("{error} in \"{item}\""));
                }
                self.errors.push(SyntaxError { message: error.to_string(), item });
            }
        }
        Ok(())
    }
}

/// Skips white space, commas and comments between items.
fn skip_nothings(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b',' | b';', rest @ ..] => text = rest,
            [byte, rest @ ..] if byte.is_ascii_whitespace() => text = rest,
            [b'#', ..] => {
                let end = text.iter().position(|b| *b == b'\n').unwrap_or(text.len());
                text = text.get(end..).unwrap_or_default();
            }
            _ => return text,
        }
    }
}

fn strip_word<'a>(text: &'a [u8], word: &str) -> Option<&'a [u8]> {
    text.strip_prefix(word.as_bytes())
}

/// Where an item ends: at a comma or newline that is not in quotes, comments or angle brackets.
fn item_end(text: &[u8]) -> usize {
    let (mut quoted, mut angle, mut comments) = (false, false, 0_usize);
    let mut bytes = text.iter().copied().enumerate();
    let is_command = text.starts_with(b"|") || text.starts_with(b"/");
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' if comments == 0 => quoted = !quoted,
            _ if quoted => {}
            b'\n' => return at,
            b'(' if !is_command => comments = comments.saturating_add(1),
            b')' if !is_command => comments = comments.saturating_sub(1),
            _ if comments > 0 => {}
            b'<' if !is_command => angle = true,
            b'>' if !is_command => angle = false,
            b',' if !angle => return at,
            _ => {}
        }
    }
    text.len()
}

/// Quotes around the whole item are taken off; inner ones belong to the address.
fn strip_quotes(item: &[u8]) -> &[u8] {
    let [b'"', inside @ .., b'"'] = item else { return item };
    let mut escaped = false;
    for byte in inside {
        match (escaped, byte) {
            (true, _) => escaped = false,
            (false, b'\\') => escaped = true,
            // It closes before the end: `"a" "b"`.
            (false, b'"') => return item,
            (false, _) => {}
        }
    }
    if escaped { item } else { inside }
}

/// What backslashes protect within the quotes of an item, without them.
fn without_backslashes(item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len());
    let mut bytes = item.iter().copied();
    while let Some(byte) = bytes.next() {
        out.extend(if byte == b'\\' { bytes.next() } else { Some(byte) });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Allowed =
        Allowed { defer: true, fail: true, blackhole: true, include: true, skip_syntax_errors: false };

    fn with(data: &str, allowed: Allowed) -> Result<Parsed, String> {
        let mut include = |name: &str| match name {
            "/inc" => Ok(b"bob\n# comment\ncarl, # more\n\"|/bin/true x\"".to_vec()),
            "/loop" => Ok(b":include:/loop".to_vec()),
            _ => Err(format!("failed to open included file {name}: No such file or directory")),
        };
        read(data.as_bytes(), allowed, &AddressSyntax::default(), &mut include)
    }

    fn shown(data: &str) -> String {
        match with(data, ALL).map(|p| p.content) {
            Ok(Content::Items(items)) => items
                .iter()
                .map(|item| match item {
                    Item::Address { address, keeps_domain, .. } => {
                        let mark = if *keeps_domain { "\\" } else { "" };
                        format!("{mark}{}", String::from_utf8_lossy(address))
                    }
                    Item::Pipe(text) | Item::File(text) => String::from_utf8_lossy(text).into_owned(),
                })
                .collect::<Vec<_>>()
                .join("; "),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn items_as_observed() {
        for (data, expected) in [
            ("bob, carl", "bob; carl"),
            ("# hi\n bob, # comm, x\n\n,,  carl (comment), (only comment)", "bob; carl"),
            ("# hi\n", ""),
            ("(only comment)", ""),
            (
                "<@a.b:bob@test.ex>, \"Some Name\" <carl@test.ex>, Bob Foo <bob>",
                "bob@test.ex; carl@test.ex; bob",
            ),
            ("/s=m/o=b/@test.ex, \"|x y\"@test.ex", "/s=m/o=b/@test.ex; \"|x y\"@test.ex"),
            ("\"|a b c, d\", \"bob\"", "|a b c, d; bob"),
            ("|\"a b c, d\"", "|\"a b c, d\""),
            ("|/bin/cat, /tmp/file, /tmp/dir/", "|/bin/cat; /tmp/file; /tmp/dir/"),
            ("\\bob, bob", "\\bob; bob"),
            ("\\bob@test.ex", "\\bob@test.ex"),
            (":include: /inc  , \":include:/inc\"", "bob; carl; |/bin/true x; bob; carl; |/bin/true x"),
            (":unknown:, bob", "bob"),
        ] {
            assert_eq!(shown(data), expected, "{data:?}");
        }
    }

    #[test]
    fn special_items() {
        for (data, expected) in [
            ("bob, :blackhole:, carl", "Blackhole"),
            (":fail: Gone away, no forwarding address", "Fail(\"Gone away, no forwarding address\")"),
            ("bob, :defer: something, else\nmore", "Defer(\"something, else\\nmore\")"),
            (":fail:", "Fail(\"\")"),
            ("bob, \":fail: gone\", carl", "Fail(\"gone\")"),
            (":FAIL: x", "error: missing or malformed local part (expected word or \"<\") in \":FAIL: x\""),
        ] {
            assert_eq!(shown(data), expected, "{data:?}");
        }
    }

    #[test]
    fn faults_as_observed() {
        for (data, expected) in [
            ("a@@b, bob", "domain missing or malformed in \"a@@b\""),
            ("bob carl", "missing or malformed local part (expected word or \"<\") in \"bob carl\""),
            (":bogus: foo", "missing or malformed local part (expected word or \"<\") in \":bogus: foo\""),
            (
                "Friends: bob, carl;",
                "missing or malformed local part (expected word or \"<\") in \"Friends: bob\"",
            ),
            (":include:foo", "included file \"foo\" is not an absolute path"),
            (":include:", "file name missing after :include:"),
            (":include:/none", "failed to open included file /none: No such file or directory"),
            (":include:/loop", "included file /loop is nested too deeply"),
        ] {
            assert_eq!(shown(data), format!("error: {expected}"), "{data:?}");
        }
    }

    #[test]
    fn what_is_forbidden_is_an_error() {
        let none = Allowed::default();
        assert_eq!(with(":fail: foo", none).unwrap_err(), "\":fail: foo\" is not permitted");
        assert_eq!(with(":blackhole:", none).unwrap_err(), "\":blackhole:\" is not permitted");
        assert_eq!(with(":include:/inc", none).unwrap_err(), "included files not permitted");
    }

    #[test]
    fn syntax_errors_may_be_skipped() {
        let parsed = with("a@@b, bob", Allowed { skip_syntax_errors: true, ..ALL }).unwrap();
        assert_eq!(parsed.errors.len(), 1);
        assert_eq!(parsed.errors[0].item, "a@@b");
        assert!(matches!(parsed.content, Content::Items(items) if items.len() == 1));
    }
}

//! The items of a list, parsed. What is wrong with an item is told when it is reached, as Exim does.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use oxim_base::Text;

use super::network::Network;
use super::{ListKind, split};
use crate::config::Config;
use crate::lookup::{self, LookupType};
use crate::regex::{Regex, RegexError};

/// Lists shorter than this are searched faster without a table.
const INDEX_ITEMS_MIN: usize = 8;

/// What is said of figures and dots in a host list that are no address.
pub(super) const MALFORMED_ADDRESS: &str = "malformed IPv4 address or address mask";

/// A parsed list.
#[derive(Debug)]
pub(super) struct Items {
    text: Text,
    items: Vec<Item>,
    index: Option<Index>,
    pure: bool,
}

/// Where the plain items of a long list are.
#[derive(Debug)]
pub(super) struct Index {
    /// The first plain item by its key.
    pub(super) plain: HashMap<Vec<u8>, usize>,
    /// Positions of the other items.
    pub(super) others: Vec<usize>,
}

/// One item.
#[derive(Debug)]
pub(super) struct Item {
    /// Whether `!` stood in front.
    pub(super) negated: bool,
    /// The item without it.
    pub(super) text: Text,
    /// What it means.
    pub(super) pattern: Pattern,
}

/// The special items that change how the following ones are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Caseful,
    IncludeUnknown,
    IgnoreUnknown,
    IncludeDefer,
    IgnoreDefer,
}

/// Which MX records must point here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MxRank {
    Any,
    Primary,
    Secondary,
}

/// How the key of a lookup in a host list is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKey {
    /// The name of the host.
    Name,
    /// `net-`: its address.
    Address,
    /// `net24-`: its network, with the mask.
    Network(u8),
}

/// A lookup as a pattern.
#[derive(Debug)]
pub(super) struct LookupItem {
    pub(super) lookup: LookupType,
    /// The file or the query.
    pub(super) source: Text,
}

/// What an item means.
#[derive(Debug)]
pub(super) enum Pattern {
    /// The empty item.
    Empty,
    /// `*`, where it needs no looking at the subject.
    Anything,
    /// `+name`.
    Named(Vec<u8>),
    /// `/path`.
    File,
    Switch(Switch),
    /// `@`.
    LocalName,
    /// `@[]`.
    LocalAddress,
    Mx {
        rank: MxRank,
        ignore: Option<Box<Items>>,
    },
    /// `*text`.
    EndsWith(Vec<u8>),
    Regex(RegexItem),
    /// Any other text.
    Literal,
    Lookup(LookupItem),
    HostLookup {
        key: HostKey,
        item: LookupItem,
    },
    Network(Network),
    /// Figures and dots that are no IPv4 address, or its mask is none.
    MalformedAddress,
    /// `local@domain`; the domain part is an item of a domain list.
    Address {
        local: LocalPattern,
        domain: Box<Item>,
    },
    /// An address item without `@`.
    DomainOnly(Box<Item>),
    /// `@@lookup`.
    LocalPartsOf(LookupItem),
    /// Something that cannot be used; the text is Exim's.
    Faulty(String),
}

/// The local part of an address item.
#[derive(Debug)]
pub(super) enum LocalPattern {
    EndsWith(Vec<u8>),
    Literal(Vec<u8>),
}

/// A regular expression, compiled in the case mode in which it is first needed.
#[derive(Debug)]
pub(super) struct RegexItem {
    source: Vec<u8>,
    caseless: OnceLock<Result<Arc<Regex>, String>>,
    caseful: OnceLock<Result<Arc<Regex>, String>>,
}

impl RegexItem {
    fn new(source: &[u8]) -> RegexItem {
        RegexItem { source: source.to_vec(), caseless: OnceLock::new(), caseful: OnceLock::new() }
    }

    /// The groups of a match.
    pub(super) fn captures(&self, subject: &Text, caseful: bool) -> Result<Option<Vec<Text>>, String> {
        let regex = self.compiled(caseful).as_ref().map_err(String::clone)?;
        regex.captures(subject).map_err(|error| self.describe(&error))
    }

    fn compiled(&self, caseful: bool) -> &Result<Arc<Regex>, String> {
        let slot = if caseful { &self.caseful } else { &self.caseless };
        slot.get_or_init(|| {
            Regex::compile(&self.source, !caseful).map(Arc::new).map_err(|error| self.describe(&error))
        })
    }

    fn describe(&self, error: &RegexError) -> String {
        let source = String::from_utf8_lossy(&self.source);
        match error {
            RegexError::Pattern { message, offset } => {
                format!("regular expression error: {message} at offset {offset} while compiling {source}")
            }
            RegexError::Match(message) => {
                format!("regular expression error: {message} while matching {source}")
            }
        }
    }
}

impl Items {
    /// Parses an expanded list.
    pub(super) fn parse(kind: ListKind, text: &Text) -> Items {
        let items =
            split(text.as_bytes()).map(|item| Item::parse(kind, &text.derive(item.into_owned()), false));
        Items::new(text.clone(), kind, items.collect())
    }

    /// Takes a text as one item; the empty text is an empty item.
    pub(super) fn single(kind: ListKind, text: &Text) -> Items {
        Items::new(text.clone(), kind, vec![Item::parse(kind, &text.trimmed(), false)])
    }

    /// The lines of a file, which was named by `name`.
    pub(super) fn from_lines(kind: ListKind, name: Text, lines: impl Iterator<Item = Vec<u8>>) -> Items {
        let items = lines.map(|line| Item::parse(kind, &Text::clean(line), true)).collect();
        Items::new(name, kind, items)
    }

    fn new(text: Text, kind: ListKind, items: Vec<Item>) -> Items {
        let index = (items.len() >= INDEX_ITEMS_MIN).then(|| Index::new(kind, &items)).flatten();
        let pure = items.iter().all(Item::is_pure);
        Items { text, items, index, pure }
    }

    pub(super) fn text(&self) -> &Text {
        &self.text
    }

    pub(super) fn all(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Whether matching may wait for DNS, files or lookups. `named` tells it of a named list.
    pub(super) fn may_block(&self, kind: ListKind, named: &dyn Fn(&[u8]) -> bool) -> bool {
        self.items.iter().any(|item| item.may_block(kind, named))
    }

    /// Whether matching needs nothing but the subject.
    pub(super) fn is_pure(&self) -> bool {
        self.pure
    }
}

impl Index {
    fn new(kind: ListKind, items: &[Item]) -> Option<Index> {
        if items.iter().any(|item| matches!(item.pattern, Pattern::Switch(Switch::Caseful))) {
            return None;
        }
        let mut index = Index { plain: HashMap::new(), others: Vec::new() };
        for (position, item) in items.iter().enumerate() {
            match item.plain_key(kind) {
                Some(key) => {
                    index.plain.entry(key).or_insert(position);
                }
                None => index.others.push(position),
            }
        }
        Some(index)
    }
}

impl Item {
    /// Parses one item, `!` included. In a file, `/` and `+` have no meaning of their own.
    pub(super) fn parse(kind: ListKind, text: &Text, in_file: bool) -> Item {
        let bytes = text.as_bytes();
        let (negated, text) = match bytes.strip_prefix(b"!") {
            Some(rest) => (true, text.derive(rest.trim_ascii_start())),
            None => (false, text.clone()),
        };
        let pattern =
            top_level(kind, text.as_bytes(), in_file, negated).unwrap_or_else(|| parse_pattern(kind, &text));
        Item { negated, text, pattern }
    }

    /// The key under which a plain item is found, in lower case; None if it is not plain.
    fn plain_key(&self, kind: ListKind) -> Option<Vec<u8>> {
        match (&self.pattern, kind) {
            (Pattern::Literal, ListKind::Domain | ListKind::LocalPart | ListKind::String) => {
                Some(self.text.as_bytes().to_ascii_lowercase())
            }
            (Pattern::Network(network), ListKind::Host) => {
                network.single().map(|a| a.to_string().into_bytes())
            }
            (Pattern::Address { local: LocalPattern::Literal(_), domain }, ListKind::Address)
                if matches!(domain.pattern, Pattern::Literal) =>
            {
                Some(self.text.as_bytes().to_ascii_lowercase())
            }
            _ => None,
        }
    }

    fn may_block(&self, kind: ListKind, named: &dyn Fn(&[u8]) -> bool) -> bool {
        match &self.pattern {
            Pattern::Empty
            | Pattern::Anything
            | Pattern::Switch(_)
            | Pattern::LocalAddress
            | Pattern::Network(_)
            | Pattern::MalformedAddress
            | Pattern::Faulty(_) => false,
            // In a host list these are about the name of the host, which has to be looked up first, or a name whose addresses have.
            Pattern::EndsWith(_) | Pattern::Regex(_) | Pattern::Literal | Pattern::LocalName => {
                kind == ListKind::Host
            }
            Pattern::Address { domain, .. } | Pattern::DomainOnly(domain) => {
                domain.may_block(ListKind::Domain, named)
            }
            Pattern::Named(name) => named(name),
            Pattern::File
            | Pattern::Mx { .. }
            | Pattern::Lookup(_)
            | Pattern::HostLookup { .. }
            | Pattern::LocalPartsOf(_) => true,
        }
    }

    /// Whether it says the same of a subject whatever else is known; `named` answers for a named list.
    pub(super) fn is_fixed(&self, kind: ListKind, named: &dyn Fn(ListKind, &[u8]) -> bool) -> bool {
        match &self.pattern {
            Pattern::Named(name) => named(kind, name),
            Pattern::Address { domain, .. } | Pattern::DomainOnly(domain) => {
                domain.is_fixed(ListKind::Domain, named)
            }
            Pattern::Mx { ignore, .. } => ignore.is_none(),
            Pattern::Empty
            | Pattern::Anything
            | Pattern::File
            | Pattern::Switch(_)
            | Pattern::LocalName
            | Pattern::LocalAddress
            | Pattern::EndsWith(_)
            | Pattern::Regex(_)
            | Pattern::Literal
            | Pattern::Lookup(_)
            | Pattern::HostLookup { .. }
            | Pattern::Network(_)
            | Pattern::MalformedAddress
            | Pattern::LocalPartsOf(_)
            | Pattern::Faulty(_) => true,
        }
    }

    /// Why it can never match, if that is so whatever is looked for.
    pub(super) fn fault(&self, kind: ListKind, config: &Config) -> Option<String> {
        match &self.pattern {
            Pattern::Faulty(text) => Some(text.clone()),
            Pattern::MalformedAddress => Some(MALFORMED_ADDRESS.to_owned()),
            Pattern::Regex(regex) => regex.compiled(false).as_ref().err().cloned(),
            Pattern::Named(name) => {
                let name = String::from_utf8_lossy(name);
                config.lists.get(kind.named(), &name).is_none().then(|| super::named::unknown(kind, &name))
            }
            Pattern::Address { domain, .. } | Pattern::DomainOnly(domain) => {
                domain.fault(ListKind::Domain, config)
            }
            Pattern::Empty
            | Pattern::Anything
            | Pattern::File
            | Pattern::Switch(_)
            | Pattern::LocalName
            | Pattern::LocalAddress
            | Pattern::Mx { .. }
            | Pattern::EndsWith(_)
            | Pattern::Literal
            | Pattern::Lookup(_)
            | Pattern::HostLookup { .. }
            | Pattern::Network(_)
            | Pattern::LocalPartsOf(_) => None,
        }
    }

    fn is_pure(&self) -> bool {
        match &self.pattern {
            Pattern::Empty
            | Pattern::Anything
            | Pattern::Switch(_)
            | Pattern::LocalName
            | Pattern::EndsWith(_)
            | Pattern::Regex(_)
            | Pattern::Literal
            | Pattern::Network(_)
            | Pattern::MalformedAddress
            | Pattern::Faulty(_) => true,
            Pattern::Address { domain, .. } | Pattern::DomainOnly(domain) => domain.is_pure(),
            Pattern::Named(_)
            | Pattern::File
            | Pattern::LocalAddress
            | Pattern::Mx { .. }
            | Pattern::Lookup(_)
            | Pattern::HostLookup { .. }
            | Pattern::LocalPartsOf(_) => false,
        }
    }
}

/// The items that mean the same in all kinds of list, at the top level only.
fn top_level(kind: ListKind, text: &[u8], in_file: bool, negated: bool) -> Option<Pattern> {
    if in_file {
        return None;
    }
    match text {
        [b'+', name @ ..] => {
            // Negated, these words are names of lists like all others.
            let switch = switch(kind, name).filter(|_| !negated);
            Some(switch.map_or_else(|| Pattern::Named(name.to_vec()), Pattern::Switch))
        }
        [b'/', ..] => Some(Pattern::File),
        _ => None,
    }
}

fn switch(kind: ListKind, name: &[u8]) -> Option<Switch> {
    match (kind, name) {
        (ListKind::Address | ListKind::LocalPart | ListKind::String, b"caseful") => Some(Switch::Caseful),
        (ListKind::Host, b"include_unknown") => Some(Switch::IncludeUnknown),
        (ListKind::Host, b"ignore_unknown") => Some(Switch::IgnoreUnknown),
        (ListKind::Host, b"include_defer") => Some(Switch::IncludeDefer),
        (ListKind::Host, b"ignore_defer") => Some(Switch::IgnoreDefer),
        _ => None,
    }
}

fn parse_pattern(kind: ListKind, text: &Text) -> Pattern {
    match kind {
        ListKind::Domain => domain_pattern(text, true),
        ListKind::LocalPart | ListKind::String => domain_pattern(text, false),
        ListKind::Host => host_pattern(text),
        ListKind::Address => address_pattern(text),
    }
}

/// An item of a domain list or a local part list; `local_host`: whether the items that begin with `@` have a meaning.
fn domain_pattern(text: &Text, local_host: bool) -> Pattern {
    let bytes = text.as_bytes();
    match bytes {
        b"@" if local_host => return Pattern::LocalName,
        b"@[]" if local_host => return Pattern::LocalAddress,
        [b'@', b'm', b'x', b'_', rest @ ..] if local_host => {
            if let Some(pattern) = mx_pattern(text, rest) {
                return pattern;
            }
        }
        [b'^', ..] => return Pattern::Regex(RegexItem::new(bytes)),
        [b'*', rest @ ..] => return Pattern::EndsWith(rest.to_vec()),
        _ => {}
    }
    match memchr::memchr(b';', bytes) {
        Some(semicolon) => lookup_item(text, 0, semicolon).map_or_else(Pattern::Faulty, Pattern::Lookup),
        None => Pattern::Literal,
    }
}

fn mx_pattern(text: &Text, rest: &[u8]) -> Option<Pattern> {
    let words =
        [(&b"any"[..], MxRank::Any), (b"primary", MxRank::Primary), (b"secondary", MxRank::Secondary)];
    let (rank, rest) = words.iter().find_map(|(word, rank)| Some((*rank, rest.strip_prefix(*word)?)))?;
    if rest.is_empty() {
        return Some(Pattern::Mx { rank, ignore: None });
    }
    let hosts = text.derive(rest.strip_prefix(b"/ignore=")?);
    Some(Pattern::Mx { rank, ignore: Some(Box::new(Items::parse(ListKind::Host, &hosts))) })
}

/// The lookup whose type stands between two offsets, the second being that of the semicolon.
fn lookup_item(text: &Text, start: usize, semicolon: usize) -> Result<LookupItem, String> {
    let specification = text.slice(start, semicolon);
    let lookup = LookupType::parse(&specification.to_string_lossy())?;
    let source = text.slice(semicolon.saturating_add(1), text.len());
    Ok(LookupItem { lookup, source: source.derive(source.as_bytes().trim_ascii_start()) })
}

fn host_pattern(text: &Text) -> Pattern {
    let bytes = text.as_bytes();
    match bytes {
        b"" => return Pattern::Empty,
        b"*" => return Pattern::Anything,
        b"@" => return Pattern::LocalName,
        b"@[]" => return Pattern::LocalAddress,
        [b'^', ..] => return Pattern::Regex(RegexItem::new(bytes)),
        _ => {}
    }
    if let Some(network) = Network::parse(bytes) {
        return Pattern::Network(network);
    }
    let front = bytes.split(|b| *b == b'/').next().unwrap_or_default();
    if !front.is_empty() && front.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return Pattern::MalformedAddress;
    }
    if let Some(semicolon) = memchr::memchr(b';', bytes) {
        let (key, start) = host_key(bytes);
        return match lookup_item(text, start, semicolon) {
            Ok(item) if key != HostKey::Name && item.lookup.partial.is_some() => {
                let name = text.slice(start, semicolon);
                Pattern::Faulty(format!(
                    "unknown lookup type \"{name}\" in \"{text}\" (partial matching is for names; {})",
                    item.lookup.kind.name
                ))
            }
            Ok(item) => Pattern::HostLookup { key, item },
            Err(error) => Pattern::Faulty(error),
        };
    }
    match bytes {
        [b'*', rest @ ..] => Pattern::EndsWith(rest.to_vec()),
        _ => Pattern::Literal,
    }
}

/// `net-`, `net24-`: how the key is made, and where the lookup type begins.
fn host_key(text: &[u8]) -> (HostKey, usize) {
    let Some(rest) = text.strip_prefix(b"net") else {
        return (HostKey::Name, 0);
    };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (number, rest) = rest.split_at_checked(digits).unwrap_or((b"", rest));
    if rest.first() != Some(&b'-') {
        return (HostKey::Name, 0);
    }
    let start = digits.saturating_add(4);
    if number.is_empty() {
        return (HostKey::Address, start);
    }
    let bits = std::str::from_utf8(number).ok().and_then(|n| n.parse().ok()).unwrap_or(u8::MAX);
    (HostKey::Network(bits), start)
}

fn address_pattern(text: &Text) -> Pattern {
    let bytes = text.as_bytes();
    match bytes {
        b"" => return Pattern::Empty,
        [b'^', ..] => return Pattern::Regex(RegexItem::new(bytes)),
        [b'@', b'@', rest @ ..] => {
            let Some(semicolon) = memchr::memchr(b';', rest) else {
                return Pattern::Faulty(format!("no lookup type in \"{text}\""));
            };
            return lookup_item(text, 2, semicolon.saturating_add(2))
                .map_or_else(Pattern::Faulty, Pattern::LocalPartsOf);
        }
        _ => {}
    }
    if let Some(semicolon) = memchr::memchr(b';', bytes)
        && is_lookup_type(bytes.get(..semicolon).unwrap_or_default())
    {
        return lookup_item(text, 0, semicolon).map_or_else(Pattern::Faulty, Pattern::Lookup);
    }
    let Some(at) = pattern_at(bytes) else {
        return Pattern::DomainOnly(Box::new(Item {
            negated: false,
            text: text.clone(),
            pattern: domain_pattern(text, true),
        }));
    };
    let local = bytes.get(..at).unwrap_or_default();
    let local = match local.strip_prefix(b"*") {
        Some(rest) => LocalPattern::EndsWith(rest.to_vec()),
        None => LocalPattern::Literal(local.to_vec()),
    };
    let domain = text.slice(at.saturating_add(1), text.len());
    let pattern = match domain.as_bytes() {
        [b'+', name @ ..] => Pattern::Named(name.to_vec()),
        _ => domain_pattern(&domain, true),
    };
    Pattern::Address { local, domain: Box::new(Item { negated: false, text: domain, pattern }) }
}

/// Whether a text is a lookup type with what may stand around it, and not a local part and a domain lookup.
fn is_lookup_type(text: &[u8]) -> bool {
    let name = text.split(|b| *b == b',').next().unwrap_or_default();
    let Some(name) = std::str::from_utf8(name).ok() else { return false };
    let name = match name.strip_prefix("partial") {
        Some(rest) => rest.split_once(['-', ')']).map_or(rest, |(_, after)| after),
        None => name,
    };
    let name = name.strip_suffix("*@").or_else(|| name.strip_suffix('*')).unwrap_or(name);
    lookup::kind_named(name).is_some()
}

/// The `@` that ends the local part of a pattern: the first one outside quotes.
fn pattern_at(text: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    text.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'@' => return !quoted,
            _ => {}
        }
        false
    })
}

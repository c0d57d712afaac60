//! Domain, host, address, local part and string lists: compiled once, matched against a subject (manual chapter 10).
//!
//! A [`List`] is made from the text of an option. If the text is constant, its items are parsed then and there; if it
//! has to be expanded, the result is parsed when it is matched, and the parsed form is remembered by the text. Lists
//! with many plain items are searched through a hash table, files in lists are parsed once until they change.
//!
//! Modules: [`split`](fn@split) takes a text apart, `item` parses one item, `walk` goes through the items, `domain`,
//! `address`, `host` and `mx` match one of each kind, `named` holds the lists of the configuration, `file` reads file
//! items, `surroundings` is all that lists need to know of this host.
//!
//! Failure modes: [`Defer`] for everything that could not be found out: a failed expansion (a forced one means "not in
//! the list"), an unknown named list or lookup type, a faulty regular expression, a file that cannot be read, a service
//! that does not answer. A host whose name or address does not exist follows `+include_unknown` and `+ignore_unknown`.

mod address;
mod domain;
mod file;
mod host;
mod item;
mod mx;
mod named;
pub mod network;
mod split;
pub(crate) mod surroundings;
mod walk;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use oxim_base::Text;
use oxim_base::limits::{EXPANSION_NESTING_MAX, LISTS_CACHED_MAX};

use crate::config::{self, Config};
use crate::context::Context;
use crate::expand::{ExpandError, Template};
use crate::lookup::LookupError;
use item::Items;
pub use named::{NamedList, NamedLists, Results};
pub use split::{Split, split, split_at};
pub use surroundings::{LogKind, LogSink, Surroundings, write_log};

/// What the items of a list are patterns for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// Mail domains.
    Domain,
    /// Hosts, by address or name.
    Host,
    /// Mail addresses.
    Address,
    /// Local parts of addresses.
    LocalPart,
    /// Other strings; the items are those of a local part list.
    String,
}

/// How deep named lists are followed to find out whether they may block.
const NESTED_LISTS_MAX: usize = 20;

impl ListKind {
    /// The kind of named list that its items refer to: string lists have those of local parts.
    fn named(self) -> config::ListKind {
        match self {
            ListKind::Domain => config::ListKind::Domain,
            ListKind::Host => config::ListKind::Host,
            ListKind::Address => config::ListKind::Address,
            ListKind::LocalPart | ListKind::String => config::ListKind::LocalPart,
        }
    }

    /// The word in messages: `unknown named domain list "+x"`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ListKind::Domain => "domain",
            ListKind::Host => "host",
            ListKind::Address => "address",
            ListKind::LocalPart => "local part",
            ListKind::String => "string",
        }
    }
}

impl From<config::ListKind> for ListKind {
    fn from(kind: config::ListKind) -> ListKind {
        match kind {
            config::ListKind::Address => ListKind::Address,
            config::ListKind::Domain => ListKind::Domain,
            config::ListKind::Host => ListKind::Host,
            config::ListKind::LocalPart => ListKind::LocalPart,
        }
    }
}

/// What is looked for in a list.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A domain.
    Domain(&'a Text),
    /// A local part in its original case; `caseful`: case counts from the start of the list.
    LocalPart {
        /// The local part.
        text: &'a Text,
        /// Whether case counts.
        caseful: bool,
    },
    /// Any string.
    String {
        /// The string.
        text: &'a Text,
        /// Whether case counts.
        caseful: bool,
    },
    /// A mail address, or the empty address.
    Address {
        /// `local@domain`, the local part in its original case.
        address: &'a Text,
        /// Whether the case of the local part counts from the start of the list.
        caseful: bool,
        /// Whether `$0`, `$1`… are set after a match (rewriting and retry rules).
        captures: bool,
    },
    /// A host.
    Host {
        /// Its address; None: no remote host is involved.
        address: Option<IpAddr>,
        /// Where its name comes from.
        name: HostName<'a>,
    },
}

/// How the name of a host in [`Subject::Host`] is known.
#[derive(Clone, Copy, Debug)]
pub enum HostName<'a> {
    /// It is the calling host: the name is looked up when the first item needs it.
    Caller,
    /// It is this.
    Known(&'a str),
    /// There is none and none is looked up; items that need it are undecided (`match_ip`).
    None,
}

/// Whether the subject is in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// It is not.
    No,
    /// It is.
    Yes {
        /// The value of the match: the item, or what a lookup gave. None when the end of the list decided, and for
        /// most host items.
        data: Option<Text>,
    },
}

impl Match {
    /// Whether the subject is in the list.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        matches!(self, Match::Yes { .. })
    }

    /// The value of the match.
    #[must_use]
    pub fn data(self) -> Option<Text> {
        match self {
            Match::Yes { data } => data,
            Match::No => None,
        }
    }
}

/// It could not be found out: a temporary error, with the text for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Defer {
    /// The list cannot be used as it is written: the postmaster must know (the panic log).
    Config(String),
    /// A service has no answer now: the text belongs to what was being done.
    Remote(String),
}

impl Defer {
    /// The text, whoever is at fault.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Defer::Config(text) | Defer::Remote(text) => text,
        }
    }
}

impl fmt::Display for Defer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<LookupError> for Defer {
    fn from(error: LookupError) -> Defer {
        match error {
            LookupError::Failed(text) => Defer::Config(text),
            LookupError::Defer(text) => Defer::Remote(text),
        }
    }
}

impl std::error::Error for Defer {}

/// A list of the configuration, compiled.
#[derive(Clone, Debug)]
pub struct List {
    kind: ListKind,
    source: Source,
    label: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
enum Source {
    /// Always the same items.
    Constant(Arc<Items>),
    /// Expanded each time.
    Expanded(Template),
    /// Expanded each time, and then one item whatever separators it has.
    SingleExpanded(Template),
}

impl List {
    /// Compiles the text of an option. Never fails: a faulty list defers when it is matched.
    #[must_use]
    pub fn compile(kind: ListKind, source: &str) -> List {
        List::from_template(kind, Template::compile(source))
    }

    /// Makes a list of an option that is compiled already.
    #[must_use]
    pub fn from_template(kind: ListKind, template: Template) -> List {
        let source = match template.constant() {
            Some(text) => Source::Constant(Arc::new(Items::parse(kind, text))),
            None => Source::Expanded(template),
        };
        List { kind, source, label: None }
    }

    /// Makes a list of a text that is expanded already. The parsed form is remembered by the text.
    #[must_use]
    pub fn from_text(kind: ListKind, text: &Text) -> List {
        List { kind, source: Source::Constant(remembered(kind, text)), label: None }
    }

    /// A list of the one item that a text is, whatever separators it has; `!` and file names have their meaning.
    #[must_use]
    pub fn single(kind: ListKind, text: &Text) -> List {
        List { kind, source: Source::Constant(Arc::new(Items::single(kind, text))), label: None }
    }

    /// A list of one item, expanded when it is matched (retry and rewrite patterns, `wildlsearch` keys).
    #[must_use]
    pub fn single_expanded(kind: ListKind, source: &str) -> List {
        let template = Template::compile(source);
        match template.constant() {
            Some(text) => List::single(kind, text),
            None => List { kind, source: Source::SingleExpanded(template), label: None },
        }
    }

    /// The list under the name of its option, as `-bh` shows it: `host in hosts_proxy?`.
    #[must_use]
    pub fn labelled(mut self, label: &str) -> List {
        self.label = Some(Arc::from(label));
        self
    }

    /// What it is a list of.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        self.kind
    }

    /// Whether matching may wait for a file, a database or the network: then it must run on a worker thread.
    #[must_use]
    pub fn may_block(&self) -> bool {
        match &self.source {
            Source::Constant(items) => !items.is_pure(),
            Source::Expanded(_) | Source::SingleExpanded(_) => true,
        }
    }

    /// Whether matching may wait for DNS, files or lookups, when the named lists are those of a configuration.
    #[must_use]
    pub fn may_block_in(&self, config: &Config) -> bool {
        self.may_block_at(config, NESTED_LISTS_MAX)
    }

    /// Whether it says the same of a subject whatever else is known: nothing in it is expanded, nor in the named lists of a
    /// configuration that it refers to.
    #[must_use]
    pub fn is_fixed_in(&self, config: &Config) -> bool {
        self.is_fixed_at(config, NESTED_LISTS_MAX)
    }

    fn is_fixed_at(&self, config: &Config, depth: usize) -> bool {
        let Source::Constant(items) = &self.source else { return false };
        let named = |kind: ListKind, name: &[u8]| {
            let Some(depth) = depth.checked_sub(1) else { return false };
            let found = config.lists.get(kind.named(), &String::from_utf8_lossy(name));
            found.is_some_and(|list| List::compile(kind, &list.source).is_fixed_at(config, depth))
        };
        items.all().iter().all(|item| item.is_fixed(self.kind, &named))
    }

    /// The items that can never match, each with the reason: names that no list has, lookup types that there are not,
    /// regular expressions that do not compile, figures that are no address. What is expanded first is not looked at.
    #[must_use]
    pub fn faults(&self, config: &Config) -> Vec<(String, String)> {
        let Source::Constant(items) = &self.source else { return Vec::new() };
        let fault = |item: &item::Item| Some((item.text.to_string_lossy(), item.fault(self.kind, config)?));
        items.all().iter().filter_map(fault).collect()
    }

    fn may_block_at(&self, config: &Config, depth: usize) -> bool {
        let Source::Constant(items) = &self.source else { return true };
        items.may_block(self.kind, &|name| {
            let Some(depth) = depth.checked_sub(1) else { return true };
            let found = config.lists.get(self.kind.named(), &String::from_utf8_lossy(name));
            found.is_none_or(|list| List::compile(self.kind, &list.source).may_block_at(config, depth))
        })
    }

    /// Whether the subject is in the list. Domain, local part and string matches set `$0`, `$1`….
    ///
    /// # Errors
    /// [`Defer`].
    pub fn matches(&self, context: &mut Context, subject: &Subject<'_>) -> Result<Match, Defer> {
        self.matches_at(context, subject, 0)
    }

    fn matches_at(
        &self,
        context: &mut Context,
        subject: &Subject<'_>,
        nesting: usize,
    ) -> Result<Match, Defer> {
        let items = match self.items(context) {
            Ok(items) => items,
            Err(ExpandError::Forced(_)) => {
                walk::trace(context, || {
                    format!("expansion of \"{}\" forced failure: assume not in this list", self.source_text())
                });
                return Ok(Match::No);
            }
            Err(ExpandError::Failed(text) | ExpandError::Defer(text)) => {
                let source = self.source_text();
                return Err(Defer::Config(format!(
                    "failed to expand \"{source}\" while checking a list: {text}"
                )));
            }
        };
        if context.local.depth > EXPANSION_NESTING_MAX {
            return Err(Defer::Config(format!(
                "lists and lookups are nested too deeply at \"{}\"",
                items.text()
            )));
        }
        context.local.depth = context.local.depth.saturating_add(1);
        let walk =
            walk::Walk { items: &items, subject, label: self.label.as_deref(), nesting, in_file: false };
        let result = walk.run(context);
        context.local.depth = context.local.depth.saturating_sub(1);
        result
    }

    fn items(&self, context: &mut Context) -> Result<Arc<Items>, ExpandError> {
        match &self.source {
            Source::Constant(items) => Ok(Arc::clone(items)),
            Source::Expanded(template) => Ok(remembered(self.kind, &template.expand(context)?)),
            Source::SingleExpanded(template) => {
                Ok(Arc::new(Items::single(self.kind, &template.expand(context)?)))
            }
        }
    }

    fn source_text(&self) -> Cow<'_, str> {
        match &self.source {
            Source::Constant(items) => Cow::Owned(items.text().to_string_lossy()),
            Source::Expanded(template) | Source::SingleExpanded(template) => Cow::Borrowed(template.source()),
        }
    }
}

/// Parsed lists by kind and text.
type ParsedLists = HashMap<(ListKind, Text), Arc<Items>>;

/// For lists that come out of expansions. Emptied when full.
static REMEMBERED: LazyLock<parking_lot::RwLock<ParsedLists>> = LazyLock::new(Default::default);

/// Longer texts are parsed each time: they are unlikely to come again.
const REMEMBERED_BYTES_MAX: usize = 16 * 1024;

fn remembered(kind: ListKind, text: &Text) -> Arc<Items> {
    if text.len() > REMEMBERED_BYTES_MAX {
        return Arc::new(Items::parse(kind, text));
    }
    let key = (kind, text.clone());
    if let Some(items) = REMEMBERED.read().get(&key) {
        return Arc::clone(items);
    }
    let items = Arc::new(Items::parse(kind, text));
    let mut remembered = REMEMBERED.write();
    if remembered.len() >= LISTS_CACHED_MAX {
        remembered.clear();
    }
    remembered.insert(key, Arc::clone(&items));
    items
}

#[cfg(test)]
mod tests;

//! The named lists of the configuration, and the results that one message remembers of them (manual 10.6 to 10.8).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use oxim_base::Text;
use oxim_base::limits::LIST_RESULTS_MAX;

use super::{Defer, List, ListKind, Match, Subject, split, walk};
use crate::context::Context;

/// How deep named lists may refer to each other.
const NESTING_MAX: usize = 20;

/// A `domainlist`, `hostlist`, `addresslist` or `localpartlist` line.
#[derive(Debug)]
pub struct NamedList {
    /// The name, without `+`.
    pub name: String,
    /// The text as it stands in the configuration.
    pub source: String,
    /// `hide` stood in front: only admin users may see the text.
    pub hidden: bool,
    /// `domainlist_cache`: results may be remembered though the text is expanded.
    pub forced_cache: bool,
    list: List,
    /// Its number among all lists.
    number: usize,
    /// Whether results may be remembered; found out at first use, when all lists are known.
    cacheable: OnceLock<bool>,
}

impl NamedList {
    /// The compiled list.
    #[must_use]
    pub fn list(&self) -> &List {
        &self.list
    }
}

/// All named lists of a configuration.
#[derive(Debug, Default)]
pub struct NamedLists {
    lists: BTreeMap<ListKind, BTreeMap<String, NamedList>>,
}

impl NamedLists {
    /// Adds a list. False if the name is taken within its kind; then nothing is changed.
    pub fn define(
        &mut self,
        kind: ListKind,
        name: &str,
        source: &str,
        forced_cache: bool,
        hidden: bool,
    ) -> bool {
        let number = self.lists.values().map(BTreeMap::len).sum();
        let of_kind = self.lists.entry(kind).or_default();
        if of_kind.contains_key(name) {
            return false;
        }
        let list = NamedList {
            name: name.to_owned(),
            source: source.to_owned(),
            hidden,
            forced_cache,
            list: List::compile(kind, source),
            number,
            cacheable: OnceLock::new(),
        };
        of_kind.insert(name.to_owned(), list);
        true
    }

    /// The list of a name.
    #[must_use]
    pub fn get(&self, kind: ListKind, name: &[u8]) -> Option<&NamedList> {
        // String lists have no names of their own.
        let kind = if kind == ListKind::String { ListKind::LocalPart } else { kind };
        self.lists.get(&kind)?.get(std::str::from_utf8(name).ok()?)
    }

    /// The lists of one kind, by name.
    pub fn of_kind(&self, kind: ListKind) -> impl Iterator<Item = &NamedList> {
        self.lists.get(&kind).into_iter().flat_map(BTreeMap::values)
    }

    /// Whether results may be remembered: nothing is expanded in the list, nor in those it refers to.
    pub(super) fn is_cacheable(&self, kind: ListKind, list: &NamedList) -> bool {
        *list.cacheable.get_or_init(|| self.is_fixed(kind, list, 0))
    }

    fn is_fixed(&self, kind: ListKind, list: &NamedList, nesting: usize) -> bool {
        if list.forced_cache {
            return true;
        }
        if nesting > NESTING_MAX || list.source.contains('$') {
            return false;
        }
        split(list.source.as_bytes()).all(|item| {
            let item = item.strip_prefix(b"!").unwrap_or(&item).trim_ascii_start();
            let (kind, name) = match item.strip_prefix(b"+") {
                Some(name) => (kind, Some(name)),
                // The domain part of an address may be a named list too.
                None if kind == ListKind::Address => {
                    let at = memchr::memmem::find(item, b"@+").map(|at| at.saturating_add(2));
                    (ListKind::Domain, at.and_then(|at| item.get(at..)))
                }
                None => (kind, None),
            };
            let inner = name.and_then(|name| self.get(kind, name));
            inner.is_none_or(|inner| self.is_fixed(kind, inner, nesting.saturating_add(1)))
        })
    }
}

/// Results of named lists. It lives in the message, so that it ends with it.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By the numbers of the lists.
    lists: Vec<ListResults>,
    /// How many there are in all.
    count: usize,
}

/// Results of one list, by subject: those in which case did not count at the start of the list, and those in which it did.
#[derive(Clone, Debug, Default)]
struct ListResults {
    caseless: HashMap<Vec<u8>, Remembered>,
    caseful: HashMap<Vec<u8>, Remembered>,
}

impl ListResults {
    fn get(&self, (subject, caseful): &Identity<'_>) -> Option<&Remembered> {
        if *caseful { &self.caseful } else { &self.caseless }.get(subject.as_ref())
    }

    fn insert(&mut self, (subject, caseful): Identity<'_>, remembered: Remembered) {
        let results = if caseful { &mut self.caseful } else { &mut self.caseless };
        results.insert(subject.into_owned(), remembered);
    }
}

impl Results {
    fn get(&self, list: &NamedList, identity: &Identity<'_>) -> Option<&Remembered> {
        self.lists.get(list.number)?.get(identity)
    }

    fn put(&mut self, list: &NamedList, identity: Identity<'_>, remembered: Remembered) {
        if self.count >= LIST_RESULTS_MAX {
            *self = Results::default();
        }
        if self.lists.len() <= list.number {
            self.lists.resize_with(list.number.saturating_add(1), ListResults::default);
        }
        if let Some(results) = self.lists.get_mut(list.number) {
            results.insert(identity, remembered);
            self.count = self.count.saturating_add(1);
        }
    }
}

#[derive(Clone, Debug)]
struct Remembered {
    result: Match,
    captures: Option<Vec<Text>>,
}

/// What tells subjects apart, and whether case counts.
type Identity<'a> = (Cow<'a, [u8]>, bool);

fn identity<'a>(subject: &Subject<'a>) -> Identity<'a> {
    match *subject {
        Subject::Domain(text) if text.as_bytes().iter().any(u8::is_ascii_uppercase) => {
            (Cow::Owned(text.as_bytes().to_ascii_lowercase()), false)
        }
        Subject::Domain(text) => (Cow::Borrowed(text.as_bytes()), false),
        Subject::LocalPart { text, caseful } | Subject::String { text, caseful } => {
            (Cow::Borrowed(text.as_bytes()), caseful)
        }
        Subject::Address { address, caseful, .. } => (Cow::Borrowed(address.as_bytes()), caseful),
        Subject::Host { address, name } => (Cow::Owned(format!("{address:?} {name:?}").into_bytes()), false),
    }
}

/// What is said of a name that no list of the kind has.
pub(super) fn unknown(kind: ListKind, name: &str) -> String {
    format!("unknown named {} list \"+{name}\"", kind.word())
}

/// Matches `+name`, from what the message remembers if it may.
pub(super) fn matches(
    context: &mut Context,
    kind: ListKind,
    name: &[u8],
    subject: &Subject<'_>,
    nesting: usize,
) -> Result<Match, Defer> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    let lists = super::surroundings::named_lists(context);
    let Some(named) = lists.get(kind, name) else {
        return Err(Defer::Config(unknown(kind, &shown())));
    };
    if nesting > NESTING_MAX {
        return Err(Defer::Config(format!("named {} list \"+{}\" refers to itself", kind.word(), shown())));
    }
    // A list that looks at nothing but the subject is faster than the memory of it.
    let cached = named.list.may_block() && lists.is_cacheable(kind, named);
    let key = cached.then(|| identity(subject));
    if let Some(key) = &key
        && let Some(remembered) = context.message.list_results.get(named, key)
    {
        let result = remembered.result.clone();
        if let (Match::Yes { .. }, Some(captures)) = (&result, &remembered.captures) {
            context.local.captures.clone_from(captures);
        }
        walk::trace(context, || format!("{}: result of +{} - cached", walk::show(subject), shown()));
        return Ok(result);
    }
    let result = named.list.matches_at(context, subject, nesting.saturating_add(1))?;
    if let Some(key) = key {
        let captures = matches!(kind, ListKind::Domain | ListKind::LocalPart | ListKind::String)
            .then(|| context.local.captures.clone());
        let remembered = Remembered { result: result.clone(), captures };
        context.message.list_results.put(named, key, remembered);
    }
    Ok(result)
}

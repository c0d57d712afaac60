//! The named lists of the configuration, and the results that one message remembers of them (manual 10.6 to 10.8).

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
    lists: BTreeMap<(ListKind, String), NamedList>,
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
        let key = (kind, name.to_owned());
        if self.lists.contains_key(&key) {
            return false;
        }
        let list = NamedList {
            name: name.to_owned(),
            source: source.to_owned(),
            hidden,
            forced_cache,
            list: List::compile(kind, source),
            cacheable: OnceLock::new(),
        };
        self.lists.insert(key, list);
        true
    }

    /// The list of a name.
    #[must_use]
    pub fn get(&self, kind: ListKind, name: &[u8]) -> Option<&NamedList> {
        // String lists have no names of their own.
        let kind = if kind == ListKind::String { ListKind::LocalPart } else { kind };
        self.lists.get(&(kind, String::from_utf8_lossy(name).into_owned()))
    }

    /// The lists of one kind, by name.
    pub fn of_kind(&self, kind: ListKind) -> impl Iterator<Item = &NamedList> {
        self.lists.iter().filter(move |((k, _), _)| *k == kind).map(|(_, list)| list)
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
    entries: HashMap<(ListKind, Vec<u8>, Vec<u8>), Remembered>,
}

#[derive(Clone, Debug)]
struct Remembered {
    result: Match,
    captures: Option<Vec<Text>>,
}

/// What tells subjects apart; None if the subject has no fixed identity.
fn identity(subject: &Subject<'_>) -> Vec<u8> {
    match subject {
        Subject::Domain(text) => text.as_bytes().to_ascii_lowercase(),
        Subject::LocalPart { text, caseful } | Subject::String { text, caseful } => {
            [text.as_bytes(), &[u8::from(*caseful)]].concat()
        }
        Subject::Address { address, caseful, .. } => [address.as_bytes(), &[u8::from(*caseful)]].concat(),
        Subject::Host { address, name } => format!("{address:?} {name:?}").into_bytes(),
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
    let shown = String::from_utf8_lossy(name);
    let lists = super::surroundings::named_lists(context);
    let Some(named) = lists.get(kind, name) else {
        return Err(Defer::Config(unknown(kind, &shown)));
    };
    if nesting > NESTING_MAX {
        return Err(Defer::Config(format!("named {} list \"+{shown}\" refers to itself", kind.word())));
    }
    // A list that looks at nothing but the subject is faster than the memory of it.
    let cached = named.list.may_block() && lists.is_cacheable(kind, named);
    let key = cached.then(|| (kind, name.to_vec(), identity(subject)));
    if let Some(key) = &key
        && let Some(remembered) = context.message.list_results.entries.get(key)
    {
        let remembered = remembered.clone();
        if let (Match::Yes { .. }, Some(captures)) = (&remembered.result, remembered.captures) {
            context.local.captures = captures;
        }
        walk::trace(context, || format!("{}: result of +{shown} - cached", walk::show(subject)));
        return Ok(remembered.result);
    }
    let result = named.list.matches_at(context, subject, nesting.saturating_add(1))?;
    if let Some(key) = key {
        let captures = matches!(kind, ListKind::Domain | ListKind::LocalPart | ListKind::String)
            .then(|| context.local.captures.clone());
        let entries = &mut context.message.list_results.entries;
        if entries.len() >= LIST_RESULTS_MAX {
            entries.clear();
        }
        entries.insert(key, Remembered { result: result.clone(), captures });
    }
    Ok(result)
}

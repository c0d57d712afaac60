//! File and database lookups: the table of lookup types, their generic part, and the caches behind them.
//!
//! A [`LookupKind`] is a row of [`LOOKUPS`]; each lives in a file of its own. What all have in common is here: the
//! type specification (`partial2-lsearch*@,ret=key`), the sequence of keys for partial matching and defaults, the
//! taint rules and `ret=key`. Manual chapter 9.
//!
//! Failure modes: [`LookupError::Failed`] is a lookup that cannot be done (an unknown type, a file that cannot be
//! opened, a tainted file name); [`LookupError::Defer`] one that could not be done now. "Not there" is `Ok(None)` and
//! nothing else is ever turned into it.

mod cdb;
mod dbm;
mod dnsdb;
mod dsearch;
pub(crate) mod files;
pub mod format;
mod iplsearch;
pub mod json;
mod ldap;
mod lmdb;
mod lsearch;
mod mysql;
mod nmh;
mod passwd;
mod pgsql;
mod psl;
mod readsock;
mod redis;
pub mod service;
mod spf;
mod sqlite;
mod testdb;
mod unavailable;
mod wildlsearch;

use std::fmt;
use std::sync::Arc;

use oxim_base::debug;
use oxim_base::{Taint, Text};

use crate::context::Context;
use crate::errand::Errand;
use crate::expand::ExpandError;
use crate::restrict;
use service::results;

pub use ldap::authenticate as ldap_authenticate;
pub use lsearch::dequote;
pub use redis::{servers_named as redis_servers, words as redis_command};
pub use service::results::Results;

/// All lookup types, in the order of the manual.
pub static LOOKUPS: &[&LookupKind] = &[
    &cdb::CDB,
    &dbm::DBM,
    &dbm::DBMJZ,
    &dbm::DBMNZ,
    &dsearch::DSEARCH,
    &iplsearch::IPLSEARCH,
    &json::JSON,
    &lmdb::LMDB,
    &lsearch::LSEARCH,
    &unavailable::NIS,
    &unavailable::NIS0,
    &nmh::NMH,
    &psl::PSL,
    &psl::REGDOM,
    &spf::SPF,
    &wildlsearch::WILDLSEARCH,
    &wildlsearch::NWILDLSEARCH,
    &dnsdb::DNSDB,
    &unavailable::IBASE,
    &ldap::LDAP,
    &ldap::LDAPDN,
    &ldap::LDAPM,
    &mysql::MYSQL,
    &unavailable::NISPLUS,
    &unavailable::ORACLE,
    &passwd::PASSWD,
    &pgsql::PGSQL,
    &readsock::READSOCK,
    &redis::REDIS,
    &sqlite::SQLITE,
    &testdb::TESTDB,
    &unavailable::WHOSON,
];

/// A lookup type: one row of [`LOOKUPS`].
pub struct LookupKind {
    /// The name in the configuration.
    pub name: &'static str,
    /// How it is asked.
    pub style: Style,
    /// One line for the documentation.
    pub doc: &'static str,
}

/// Opens the file of a single-key lookup; the error is Exim's text.
pub type OpenFile = fn(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String>;

/// How a lookup type is asked.
pub enum Style {
    /// Single-key: a file (or directory), then one key after the other.
    KeyedFile(OpenFile),
    /// Single-key, with an address in the place of the file: it names nothing on this host, so it may come from outside.
    KeyedAddress(OpenFile),
    /// Query-style: one text, in a language of its own.
    Query(fn(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Option<Text>, LookupError>),
    /// Query-style, asked of a database or server; answers are kept for the message (manual section 9.8).
    Service(Service),
    /// Known by name and refused; the text says why, and what to do.
    Unavailable {
        /// Whether it would take a key.
        single_key: bool,
        /// The rest of the error message, after the name.
        reason: &'static str,
    },
}

/// A query-style type with a quoting operator of its own.
pub struct Service {
    /// The mark that its quoting operator leaves: types that share a quoting share the mark.
    pub mark: &'static str,
    /// Quotes for a query; the second argument is what followed the type's name. None: that word is not known.
    pub quote: fn(text: &[u8], word: Option<&str>) -> Option<Vec<u8>>,
    /// Whether a query with foreign text in it must have been quoted by that operator.
    pub needs_quoting: bool,
    /// Whether a query is a command of words, in which foreign text can be quoted where it stands.
    pub has_words: bool,
    /// Asks.
    pub ask: fn(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError>,
}

/// What a database or server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Data.
    Found(Text),
    /// There is none.
    NotThere,
    /// The query has changed something: earlier answers of this type are forgotten, and this one is not kept.
    Changed(Option<Text>),
    /// What came of it is not kept.
    Passing(Option<Text>),
}

impl LookupKind {
    /// Whether the type takes a key beside the file.
    #[must_use]
    pub fn is_single_key(&self) -> bool {
        matches!(
            self.style,
            Style::KeyedFile(_) | Style::KeyedAddress(_) | Style::Unavailable { single_key: true, .. }
        )
    }

    /// Whether it can be used in this version.
    #[must_use]
    pub fn is_available(&self) -> bool {
        !matches!(self.style, Style::Unavailable { .. })
    }
}

impl fmt::Debug for LookupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupKind({})", self.name)
    }
}

/// A file that has been opened for single-key lookups.
pub trait KeyedFile: Send + Sync {
    /// Looks one non-empty key up, once: partial matching and defaults are the caller's.
    ///
    /// # Errors
    /// The text of a deferral. A failure is never an absence.
    fn find(&self, context: &mut Context, key: &[u8], lookup: &LookupType)
    -> Result<Option<Vec<u8>>, String>;
}

/// Why a lookup gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// It cannot be done: the expansion fails with this text.
    Failed(String),
    /// It could not be done now. The text is the service's; Exim's message around it is the caller's.
    Defer(String),
}

impl LookupError {
    /// The text, whichever it is.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            LookupError::Failed(text) | LookupError::Defer(text) => text,
        }
    }
}

/// Which key is tried when nothing else was found (manual section 9.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultKey {
    /// None.
    #[default]
    None,
    /// `*`.
    Star,
    /// `*@domain`, then `*`.
    StarAt,
}

/// Partial matching (manual section 9.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partial {
    /// How many components must be left.
    pub components_min: usize,
    /// What is put before them.
    pub affix: Vec<u8>,
}

/// A lookup type as written: name, partial matching, defaults, options.
#[derive(Clone, Debug)]
pub struct LookupType {
    /// The row.
    pub kind: &'static LookupKind,
    /// `partialN-` before the name.
    pub partial: Option<Partial>,
    /// `*` or `*@` behind it.
    pub default: DefaultKey,
    /// What follows the first comma, as name and value.
    pub options: Vec<(String, String)>,
    /// All of it, as written.
    pub specification: String,
}

/// Main options that list servers and cannot mean what they say, with what is wrong.
#[must_use]
pub fn faulty_server_lists(options: &crate::config::Options) -> Vec<(&'static str, String)> {
    redis::faulty_servers(options).map(|message| ("redis_servers", message)).into_iter().collect()
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The data; for most types it is clean whatever the key was.
    pub data: Text,
    /// After partial matching or a default, the wild and the fixed part of the key, for `$1` and `$2`.
    pub parts: Option<(Vec<u8>, Vec<u8>)>,
}

impl LookupType {
    /// Reads a specification such as `lsearch`, `partial-dbm*@` or `dsearch,filter=dir,ret=full`.
    ///
    /// # Errors
    /// Exim's text for an unknown type and for what the type does not allow; our own for a type that is refused.
    pub fn parse(specification: &str) -> Result<LookupType, String> {
        let (name, options) = specification.split_once(',').unwrap_or((specification, ""));
        let (partial, rest) =
            split_partial(name).ok_or_else(|| format!("format error in lookup type \"{name}\""))?;
        let (base, default) = match rest {
            _ if rest.ends_with("*@") => (rest.trim_end_matches("*@"), DefaultKey::StarAt),
            _ if rest.ends_with('*') => (rest.trim_end_matches('*'), DefaultKey::Star),
            _ => (rest, DefaultKey::None),
        };
        let kind = kind_named(base).ok_or_else(|| format!("unknown lookup type \"{base}\""))?;
        if let Style::Unavailable { reason, .. } = &kind.style {
            return Err(format!("lookup type \"{base}\" {reason}"));
        }
        if partial.is_some() && !kind.is_single_key() {
            return Err(format!("\"partial\" is not permitted for lookup type \"{base}\""));
        }
        if default != DefaultKey::None && !kind.is_single_key() {
            return Err(format!(
                "defaults using \"*\" or \"*@\" are not permitted for lookup type \"{rest}\""
            ));
        }
        let specification = specification.to_owned();
        Ok(LookupType { kind, partial, default, options: split_options(options), specification })
    }

    /// The value of an option, if it is given.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `ret=key`: the result is the key, made clean.
    fn returns_key(&self) -> bool {
        self.kind.is_single_key() && self.option("ret") == Some("key")
    }
}

/// The row of a name, if there is one; refused types are found too.
#[must_use]
pub fn kind_named(name: &str) -> Option<&'static LookupKind> {
    LOOKUPS.iter().find(|kind| kind.name == name).copied()
}

/// What `${quote_<type>:` does to a string. Types that have no quoting leave it as it is (manual section 9.9).
///
/// # Errors
/// Exim's text for an unknown type, our own for one that is refused.
pub fn quote(type_name: &str, text: &Text) -> Result<Text, String> {
    let (name, word) = match type_name.split_once('_') {
        Some((name, word)) if kind_named(type_name).is_none() => (name, Some(word)),
        _ => (type_name, None),
    };
    let kind = kind_named(name).ok_or_else(|| format!("unknown lookup type \"{name}\""))?;
    let unknown = |word: &str| format!("\"{word}\" unrecognized after \"${{quote_{name}\"");
    match &kind.style {
        Style::Unavailable { reason, .. } => Err(format!("lookup type \"{name}\" {reason}")),
        Style::KeyedFile(_) | Style::KeyedAddress(_) | Style::Query(_) => {
            word.map_or_else(|| Ok(text.clone()), |word| Err(unknown(word)))
        }
        Style::Service(service) => {
            let quoted =
                (service.quote)(text.as_bytes(), word).ok_or_else(|| unknown(word.unwrap_or_default()))?;
            let taint = if text.is_foreign() { Taint::Quoted(service.mark) } else { Taint::Clean };
            Ok(Text::with_taint(quoted, taint))
        }
    }
}

/// A part of a query that comes from outside. For a command of words it is quoted, unless it has been: so it stays within
/// the word in which it stands. All others must have been quoted by the postmaster.
pub(crate) fn guarded(kind: &LookupKind, part: Text) -> Text {
    let Style::Service(service) = &kind.style else { return part };
    if !service.has_words || is_quoted(&part, service.mark) {
        return part;
    }
    match (service.quote)(part.as_bytes(), None) {
        Some(quoted) => Text::with_taint(quoted, Taint::Quoted(service.mark)),
        None => part,
    }
}

/// Asks a service, or what the message remembers of it.
fn ask(
    context: &mut Context,
    lookup: &LookupType,
    service: &Service,
    query: &Text,
) -> Result<Option<Found>, LookupError> {
    let name = lookup.kind.name;
    if query.is_empty() {
        return Ok(None);
    }
    if service.needs_quoting && !is_quoted(query, service.mark) {
        return Err(LookupError::Failed(format!("tainted search query is not properly quoted ({name})")));
    }
    let results = context.message.lookup_results.clone();
    let caching = Caching::of(lookup);
    let key = results::Key::new(lookup, query);
    if caching.reads
        && let Some(known) = results.get(&key)
    {
        return Ok(known.map(|data| Found { data, parts: None }));
    }
    let answer = (service.ask)(context, query, lookup)?;
    let data = match answer {
        Answer::Found(data) => {
            results.put(key, Some(data.clone()), caching.writes);
            Some(data)
        }
        Answer::NotThere => {
            results.put(key, None, caching.writes);
            None
        }
        Answer::Changed(data) => {
            results.forget(name);
            data
        }
        Answer::Passing(data) => data,
    };
    Ok(data.map(|data| Found { data, parts: None }))
}

/// Whether all that is foreign in a query has gone through the quoting operator of a mark.
fn is_quoted(query: &Text, mark: &str) -> bool {
    match query.taint() {
        Taint::Clean => true,
        Taint::Quoted(by) => by == mark,
        Taint::Tainted => false,
    }
}

/// The option `cache=`.
struct Caching {
    reads: bool,
    writes: bool,
}

impl Caching {
    fn of(lookup: &LookupType) -> Caching {
        match lookup.option("cache") {
            Some("no") => Caching { reads: false, writes: false },
            Some("no_rd") => Caching { reads: false, writes: true },
            Some("no_wr") => Caching { reads: true, writes: false },
            _ => Caching { reads: true, writes: true },
        }
    }
}

/// For debugging output. The options of a service may hold passwords, and so may an LDAP query.
fn what_was_asked(lookup: &LookupType, key: Option<&Text>, source: &Text) -> String {
    let name = lookup.kind.name;
    match key {
        Some(key) => format!("{name} lookup of {key:?} in {source}"),
        None => format!("{name} lookup of \"{}\"", service::without_secrets(name, source)),
    }
}

/// Runs a lookup: with a key for a single-key type (`source` is then the file), without for a query-style one.
///
/// May block.
///
/// # Errors
/// [`LookupError`]; a key where none belongs, or none where one does, is `Failed` with Exim's text.
pub fn find(
    context: &mut Context,
    lookup: &LookupType,
    key: Option<&Text>,
    source: &Text,
) -> Result<Option<Found>, LookupError> {
    let name = lookup.kind.name;
    if let Some(found) = find_by_user(context, lookup, key, source) {
        return found;
    }
    let found = match (&lookup.kind.style, key) {
        (Style::KeyedFile(_), Some(_)) if source.taint() != Taint::Clean => {
            Err(LookupError::Failed(format!("Tainted filename for search: '{source}'")))
        }
        (Style::KeyedFile(open) | Style::KeyedAddress(open), Some(key)) => {
            find_in_file(context, lookup, *open, key, source)
        }
        (Style::Query(run), None) => {
            run(context, source, lookup).map(|data| data.map(|data| Found { data, parts: None }))
        }
        (Style::Service(service), None) => ask(context, lookup, service, source),
        (Style::KeyedFile(_) | Style::KeyedAddress(_), None) => {
            Err(LookupError::Failed(format!("missing {{key}} for single-key \"{name}\" lookup")))
        }
        (Style::Query(_) | Style::Service(_), Some(_)) => Err(LookupError::Failed(format!(
            "a single key was given for lookup type \"{name}\", which is not a single-key lookup type"
        ))),
        (Style::Unavailable { reason, .. }, _) => {
            Err(LookupError::Failed(format!("lookup type \"{name}\" {reason}")))
        }
    };
    debug::line(debug::LOOKUP, || {
        let what = what_was_asked(lookup, key, source);
        match &found {
            Ok(Some(found)) => format!("{what}: {}", found.data),
            Ok(None) => format!("{what} failed"),
            Err(error) => format!("{what} deferred: {}", error.text()),
        }
    });
    found
}

/// A lookup that needs rights, by the user whose filter it stands in.
fn find_by_user(
    context: &Context,
    lookup: &LookupType,
    key: Option<&Text>,
    source: &Text,
) -> Option<Result<Option<Found>, LookupError>> {
    let name = lookup.kind.name;
    // The keys of a wildlsearch file are expanded: that is done here.
    let in_file = matches!(lookup.kind.style, Style::KeyedFile(_)) && name != "wildlsearch";
    if !in_file && !matches!(name, "sqlite" | "readsock") {
        return None;
    }
    let options = || match context.config.main_options.string("sqlite_dbfile") {
        // The user's process has no configuration.
        Some(path) if name == "sqlite" && sqlite::needs_file(lookup, source) => format!(",file={path}"),
        _ => String::new(),
    };
    let brought = restrict::by_user(context, || Errand::find(lookup, key, source, &options()))?;
    Some(match brought {
        Ok(brought) => Ok(brought.into_found()),
        Err(ExpandError::Defer(text)) => Err(LookupError::Defer(text)),
        Err(ExpandError::Failed(text) | ExpandError::Forced(text)) => Err(LookupError::Failed(text)),
    })
}

fn find_in_file(
    context: &mut Context,
    lookup: &LookupType,
    open: OpenFile,
    key: &Text,
    path: &Text,
) -> Result<Option<Found>, LookupError> {
    let file = match restrict::user(context) {
        Some(user) if lookup.kind.name == "wildlsearch" => wildlsearch::of_user(user, path.as_bytes()),
        _ => open(path.as_bytes()),
    };
    let file = file.map_err(LookupError::Failed)?;
    let search = Search { file: &*file, lookup, key: key.as_bytes() };
    let found = search.run(context).map_err(LookupError::Defer)?;
    Ok(found.map(|(data, parts)| {
        let data = if lookup.returns_key() { key.as_bytes().to_vec() } else { data };
        Found { data: Text::clean(data), parts }
    }))
}

/// The data with the wild and the fixed part of the key.
type Hit = Option<(Vec<u8>, Option<(Vec<u8>, Vec<u8>)>)>;

/// One lookup of one subject key: the sequence of keys that is tried.
struct Search<'a> {
    file: &'a dyn KeyedFile,
    lookup: &'a LookupType,
    key: &'a [u8],
}

impl Search<'_> {
    fn run(&self, context: &mut Context) -> Result<Hit, String> {
        let whole = |partial: &Option<Partial>| partial.is_some().then(|| (Vec::new(), self.key.to_vec()));
        if let Some(data) = self.one(context, self.key)? {
            return Ok(Some((data, whole(&self.lookup.partial))));
        }
        if let Some(partial) = &self.lookup.partial
            && let Some(hit) = self.partial(context, partial)?
        {
            return Ok(Some(hit));
        }
        let at = self.key.iter().rposition(|b| *b == b'@');
        if let (DefaultKey::StarAt, Some(at)) = (self.lookup.default, at) {
            let (local, domain) = self.key.split_at_checked(at).unwrap_or((self.key, b""));
            let default = [b"*", domain].concat();
            if default != self.key
                && let Some(data) = self.one(context, &default)?
            {
                return Ok(Some((data, Some((local.to_vec(), Vec::new())))));
            }
        }
        if self.lookup.default != DefaultKey::None
            && let Some(data) = self.one(context, b"*")?
        {
            return Ok(Some((data, Some((self.key.to_vec(), Vec::new())))));
        }
        Ok(None)
    }

    fn one(&self, context: &mut Context, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if key.is_empty() { Ok(None) } else { self.file.find(context, key, self.lookup) }
    }

    fn partial(&self, context: &mut Context, partial: &Partial) -> Result<Hit, String> {
        let with_affix = |rest: &[u8]| [partial.affix.as_slice(), rest].concat();
        if !partial.affix.is_empty()
            && let Some(data) = self.one(context, &with_affix(self.key))?
        {
            return Ok(Some((data, Some((Vec::new(), self.key.to_vec())))));
        }
        let dots: Vec<usize> = memchr::memchr_iter(b'.', self.key).collect();
        // Removing n components leaves dots.len() + 1 - n; each removal ends at a dot.
        let removable = (dots.len() + 1).saturating_sub(partial.components_min.max(1));
        for dot in dots.iter().take(removable) {
            let wild = self.key.get(..*dot).unwrap_or_default();
            let fixed = self.key.get(dot.saturating_add(1)..).unwrap_or_default();
            if let Some(data) = self.one(context, &with_affix(fixed))? {
                return Ok(Some((data, Some((wild.to_vec(), fixed.to_vec())))));
            }
        }
        if partial.components_min > 0 {
            return Ok(None);
        }
        let last = match partial.affix.as_slice() {
            [] => return Ok(None),
            [_] => partial.affix.as_slice(),
            [front @ .., b'.'] => front,
            whole => whole,
        };
        let found = self.one(context, last)?;
        Ok(found.map(|data| (data, Some((self.key.to_vec(), Vec::new())))))
    }
}

/// Takes `partial`, a number and `-` or `(affix)` off the front. None: begun and malformed.
fn split_partial(name: &str) -> Option<(Option<Partial>, &str)> {
    let Some(after) = name.strip_prefix("partial") else {
        return Some((None, name));
    };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = after.split_at_checked(digits)?;
    // More components than any name has: a number that does not fit means the same.
    let components_min = if number.is_empty() { 2 } else { number.parse().unwrap_or(usize::MAX) };
    if let Some(rest) = rest.strip_prefix('-') {
        return Some((Some(Partial { components_min, affix: b"*.".to_vec() }), rest));
    }
    let (affix, rest) = rest.strip_prefix('(')?.split_once(')')?;
    let affix = affix.as_bytes().to_vec();
    affix.iter().all(u8::is_ascii_punctuation).then_some((Some(Partial { components_min, affix }), rest))
}

fn split_options(text: &str) -> Vec<(String, String)> {
    let options = text.split(',').map(str::trim).filter(|option| !option.is_empty());
    options
        .map(|option| option.split_once('=').unwrap_or((option, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests;

//! The `wildlsearch` and `nwildlsearch` lookups: a text file whose keys are patterns (manual section 9.3).
//!
//! Each key is a list of one item: `*.example`, `^regex`, a nested lookup, or a literal. `wildlsearch` expands each
//! key first, `nwildlsearch` does not. The keys are compiled when the file is read. No captures are set.

use std::sync::Arc;

use oxim_base::Text;

use super::lsearch::{Items, describe};
use super::{KeyedFile, LookupKind, LookupType, Style, files};
use crate::context::Context;
use crate::list::{List, ListKind, Match, Subject};
use crate::restrict::AsUser;

/// The row of `wildlsearch`.
pub(super) static WILDLSEARCH: LookupKind = LookupKind {
    name: "wildlsearch",
    style: Style::KeyedFile(open_expanded),
    doc: "text file whose keys are patterns, each expanded before use; option ret=full",
};

/// The row of `nwildlsearch`.
pub(super) static NWILDLSEARCH: LookupKind = LookupKind {
    name: "nwildlsearch",
    style: Style::KeyedFile(open_plain),
    doc: "text file whose keys are patterns; option ret=full",
};

fn expanded(key: &[u8]) -> List {
    List::single_expanded(ListKind::LocalPart, &String::from_utf8_lossy(key))
}

/// A `wildlsearch` file that is read with a user's rights.
pub(super) fn of_user(user: &dyn AsUser, path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let data = user.read(path).map_err(|reason| {
        format!("failed to open {} for linear search: {reason}", String::from_utf8_lossy(path))
    })?;
    Ok(Arc::new(Patterns::new(data, expanded)))
}

fn open_expanded(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    Ok(files::parsed("wildlsearch", path, |opened| Ok(Patterns::new(opened.read()?, expanded)))
        .map_err(|e| describe(&e, path, "wildlsearch"))?)
}

fn open_plain(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let build = |key: &[u8]| List::single(ListKind::LocalPart, &Text::clean(key));
    Ok(files::parsed("nwildlsearch", path, |opened| Ok(Patterns::new(opened.read()?, build)))
        .map_err(|e| describe(&e, path, "nwildlsearch"))?)
}

struct Patterns {
    items: Items,
    patterns: Vec<(usize, List)>,
}

impl Patterns {
    fn new(data: Vec<u8>, build: impl Fn(&[u8]) -> List) -> Patterns {
        let items = Items::new(data);
        let patterns = items.keys().map(|(at, key)| (at, build(&key))).collect();
        Patterns { items, patterns }
    }
}

impl KeyedFile for Patterns {
    fn find(
        &self,
        context: &mut Context,
        key: &[u8],
        lookup: &LookupType,
    ) -> Result<Option<Vec<u8>>, String> {
        let subject = Text::tainted(key);
        let captures = context.local.captures.clone();
        let mut found = None;
        for (at, pattern) in &self.patterns {
            let subject = Subject::LocalPart { text: &subject, caseful: false };
            let matched = pattern.matches(context, &subject).map_err(|defer| defer.to_string())?;
            if matches!(matched, Match::Yes { .. }) {
                found = Some(self.items.data(*at, lookup.option("ret") == Some("full")));
                break;
            }
        }
        context.local.captures = captures;
        Ok(found)
    }
}

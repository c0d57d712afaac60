//! Named lists: `domainlist`, `hostlist`, `addresslist` and `localpartlist` (manual section 10.6).

use super::error::Location;

/// What the items of a named list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// `addresslist`
    Address,
    /// `domainlist`
    Domain,
    /// `hostlist`
    Host,
    /// `localpartlist`
    LocalPart,
}

impl ListKind {
    /// In the order in which `-bP +name` looks.
    pub const ALL: [ListKind; 4] = [ListKind::Address, ListKind::Domain, ListKind::Host, ListKind::LocalPart];

    /// The word that introduces the list.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ListKind::Address => "addresslist",
            ListKind::Domain => "domainlist",
            ListKind::Host => "hostlist",
            ListKind::LocalPart => "localpartlist",
        }
    }

    /// The words for it in messages.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            ListKind::Address => "address",
            ListKind::Domain => "domain",
            ListKind::Host => "host",
            ListKind::LocalPart => "local part",
        }
    }
}

/// One named list.
#[derive(Clone, Debug)]
pub struct NamedList {
    /// What its items are.
    pub kind: ListKind,
    /// Its name, without the plus sign.
    pub name: String,
    /// The list as written.
    pub source: String,
    /// Where.
    pub location: Location,
    /// Its results may be kept although it refers to lookups (`domainlist_cache`).
    pub is_cached: bool,
    /// Its value is for admin users only.
    pub is_hidden: bool,
}

/// All named lists of the configuration.
#[derive(Clone, Debug, Default)]
pub struct NamedLists(Vec<NamedList>);

impl NamedLists {
    /// The list of that kind and name.
    #[must_use]
    pub fn get(&self, kind: ListKind, name: &str) -> Option<&NamedList> {
        self.0.iter().find(|list| list.kind == kind && list.name == name)
    }

    /// Adds a list; false if there is one of that kind and name.
    pub fn add(&mut self, list: NamedList) -> bool {
        let is_new = self.get(list.kind, &list.name).is_none();
        if is_new {
            self.0.push(list);
        }
        is_new
    }

    /// All, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &NamedList> {
        self.0.iter()
    }
}

//! Hot hints in memory, and which of them are not in the database yet.
//!
//! Bounded: when it is full, what has been written is forgotten.

use std::collections::HashMap;

use super::{Database, Hint};

/// Most entries in memory.
const ENTRIES_MAX: usize = 100_000;
/// Most unwritten changes before they are written without waiting.
const UNWRITTEN_MAX: usize = 1_000;

type Key = (Database, Vec<u8>);

struct Entry {
    /// None: known not to be there.
    hint: Option<Hint>,
    is_written: bool,
}

/// The hints in memory.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<Key, Entry>,
    unwritten: usize,
}

impl Cache {
    /// What is known of a key: `Some(None)` means that it is known not to be there.
    pub(super) fn get(&self, database: &Database, key: &[u8]) -> Option<Option<Hint>> {
        self.entries.get(&(database.clone(), key.to_vec())).map(|entry| entry.hint.clone())
    }

    /// What the database holds now.
    pub(super) fn remember(&mut self, database: &Database, key: &[u8], hint: Option<Hint>) {
        self.insert((database.clone(), key.to_vec()), Entry { hint, is_written: true });
    }

    /// What the database shall hold. True: so much has changed that it should be written now.
    pub(super) fn change(&mut self, database: &Database, key: &[u8], hint: Option<Hint>) -> bool {
        self.insert((database.clone(), key.to_vec()), Entry { hint, is_written: false });
        self.unwritten = self.unwritten.saturating_add(1);
        self.unwritten >= UNWRITTEN_MAX
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.retain(|_, entry| !entry.is_written);
        }
        self.entries.insert(key, entry);
    }

    /// The change of one key that is not written yet; afterwards it counts as written.
    pub(super) fn take_unwritten(&mut self, database: &Database, key: &[u8]) -> Option<Option<Hint>> {
        let entry = self.entries.get_mut(&(database.clone(), key.to_vec()))?;
        if std::mem::replace(&mut entry.is_written, true) { None } else { Some(entry.hint.clone()) }
    }

    /// All changes that are not written yet; afterwards they count as written.
    pub(super) fn take_all_unwritten(&mut self) -> Vec<(Key, Option<Hint>)> {
        if self.unwritten == 0 {
            return Vec::new();
        }
        self.unwritten = 0;
        let unwritten = self.entries.iter_mut().filter(|(_, entry)| !entry.is_written);
        unwritten
            .map(|(key, entry)| {
                entry.is_written = true;
                (key.clone(), entry.hint.clone())
            })
            .collect()
    }

    /// Forgets a collection; what is unwritten in it is lost.
    pub(super) fn forget(&mut self, database: &Database) {
        self.entries.retain(|(other, _), _| other != database);
    }

    /// Forgets everything that the database holds as well.
    pub(super) fn forget_written(&mut self) {
        self.entries.retain(|_, entry| !entry.is_written);
    }
}

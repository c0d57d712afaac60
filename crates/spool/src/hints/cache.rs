//! Hot hints in memory, and which of them are not in the database yet.
//!
//! Bounded: when it is full, what has been written is forgotten.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

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
    /// Hashes of all keys that a collection may have, where somebody has asked for them.
    keys: HashMap<Database, HashSet<u64>>,
    hasher: RandomState,
}

impl Cache {
    /// What is known of a key: `Some(None)` means that it is known not to be there.
    pub(super) fn get(&self, database: &Database, key: &[u8]) -> Option<Option<Hint>> {
        self.entries.get(&(database.clone(), key.to_vec())).map(|entry| entry.hint.clone())
    }

    /// Whether there may be such a key; None as long as nobody has told which there are.
    pub(super) fn may_have(&self, database: &Database, key: &[u8]) -> Option<bool> {
        self.keys.get(database).map(|keys| keys.contains(&self.hasher.hash_one(key)))
    }

    /// All keys that the database holds now.
    pub(super) fn know_keys(&mut self, database: &Database, keys: impl Iterator<Item = Vec<u8>>) {
        let unwritten =
            self.entries.keys().filter(|(other, _)| other == database).map(|(_, key)| key.clone());
        let hashes = keys.chain(unwritten).map(|key| self.hasher.hash_one(key.as_slice())).collect();
        self.keys.insert(database.clone(), hashes);
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
        if entry.hint.is_some()
            && let Some(keys) = self.keys.get_mut(&key.0)
        {
            keys.insert(self.hasher.hash_one(key.1.as_slice()));
        }
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
        self.keys.remove(database);
        self.entries.retain(|(other, _), _| other != database);
    }

    /// Forgets everything that the database holds as well.
    pub(super) fn forget_written(&mut self) {
        self.keys.clear();
        self.entries.retain(|_, entry| !entry.is_written);
    }
}

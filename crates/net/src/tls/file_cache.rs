//! Things made from files, kept until a file changes.

use std::collections::HashMap;
use std::fs::Metadata;
use std::hash::Hash;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How many things one cache keeps. Options are expanded per connection, so their values are not bounded by themselves.
const ENTRIES_MAX: usize = 1_000;

/// Which file, and which state of it: device, inode, length, time of change of content and of inode.
type Stamp = Vec<Option<(u64, u64, u64, i64, i64, i64, i64)>>;

/// A map from settings to what was made of them and of their files.
pub struct FileCache<K, V> {
    entries: Mutex<HashMap<K, (Stamp, Arc<V>)>>,
}

impl<K: Eq + Hash + Clone, V> FileCache<K, V> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        FileCache { entries: Mutex::new(HashMap::new()) }
    }

    /// What was made for `key`, made anew if one of `files` is not what it was. Costs one stat per file.
    ///
    /// # Errors
    /// Those of `make`; they are not kept.
    pub fn get<E>(&self, key: &K, files: &[&Path], make: impl FnOnce() -> Result<V, E>) -> Result<Arc<V>, E> {
        // Taken before the files are read: a change meanwhile is seen the next time.
        let stamp = stamp(files);
        if let Some(value) = self.known_as(key, &stamp) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(key.clone(), (stamp, value.clone()));
        Ok(value)
    }

    /// What was made for `key`, if its files are what they were. Costs one stat per file.
    pub fn known(&self, key: &K, files: &[&Path]) -> Option<Arc<V>> {
        self.known_as(key, &stamp(files))
    }

    fn known_as(&self, key: &K, stamp: &Stamp) -> Option<Arc<V>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(known, _)| known == stamp).map(|(_, value)| value.clone())
    }

    /// Forgets one entry.
    pub(super) fn remove(&self, key: &K) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<K: Eq + Hash + Clone, V> Default for FileCache<K, V> {
    fn default() -> Self {
        FileCache::new()
    }
}

fn stamp(files: &[&Path]) -> Stamp {
    files.iter().map(|file| std::fs::metadata(file).ok().map(|meta| identity(&meta))).collect()
}

fn identity(meta: &Metadata) -> (u64, u64, u64, i64, i64, i64, i64) {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_until_the_file_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache: FileCache<&str, Vec<u8>> = FileCache::new();
        let load = || cache.get(&"k", &[file.path()], || std::fs::read(file.path())).unwrap();
        let first = load();
        assert!(Arc::ptr_eq(&first, &load()));
        assert!(cache.known(&"k", &[file.path()]).is_some_and(|known| Arc::ptr_eq(&first, &known)));
        assert!(cache.known(&"other", &[file.path()]).is_none());
        std::fs::write(file.path(), "x").unwrap();
        assert!(cache.known(&"k", &[file.path()]).is_none());
        assert_eq!(*load(), b"x");
    }
}

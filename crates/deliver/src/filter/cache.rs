//! Parsed filters, by their text: a user's filter is read for each message, but parsed only after it has changed.

use std::sync::Arc;

use quick_cache::sync;

use super::{Filter, Kind};

/// How many filters one process keeps parsed.
const FILTERS_MAX: usize = 500;
/// Largest filter that is kept, in bytes; a larger one is parsed each time.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// The filters that a process has parsed.
pub struct Cache(sync::Cache<(Kind, Vec<u8>), Arc<Filter>>);

impl Default for Cache {
    fn default() -> Self {
        Cache(sync::Cache::new(FILTERS_MAX))
    }
}

impl Cache {
    /// The parsed form of a filter.
    #[must_use]
    pub fn get(&self, kind: Kind, data: &[u8]) -> Arc<Filter> {
        if data.len() > KEPT_BYTES_MAX {
            return Arc::new(Filter::parse(kind, data));
        }
        let key = (kind, data.to_vec());
        if let Some(found) = self.0.get(&key) {
            return found;
        }
        let parsed = Arc::new(Filter::parse(kind, data));
        self.0.insert(key, Arc::clone(&parsed));
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_parsed_once() {
        let cache = Cache::default();
        let first = cache.get(Kind::Exim, b"# Exim filter\nfinish");
        assert!(Arc::ptr_eq(&first, &cache.get(Kind::Exim, b"# Exim filter\nfinish")));
        assert!(!Arc::ptr_eq(&first, &cache.get(Kind::Exim, b"# Exim filter\n")));
    }
}

//! Answers of databases, remembered for one message (manual section 9.8).
//!
//! Lives in the message, so that it ends with it; a message that is worked on in several places shares it. Answers are found
//! again by type, options and query. Deferrals are not kept.

use std::collections::HashMap;
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::limits::LOOKUP_RESULTS_MAX;
use parking_lot::Mutex;

use crate::lookup::LookupType;

/// What identifies a question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    name: &'static str,
    options: Vec<(String, String)>,
    query: Vec<u8>,
}

impl Key {
    pub(crate) fn new(lookup: &LookupType, query: &Text) -> Key {
        let options = lookup.options.iter().filter(|(name, _)| name != "cache").cloned().collect();
        Key { name: lookup.kind.name, options, query: query.as_bytes().to_vec() }
    }
}

/// The answers so far.
#[derive(Clone, Default)]
pub struct Results(Arc<Mutex<HashMap<Key, Option<Text>>>>);

impl Results {
    pub(crate) fn get(&self, key: &Key) -> Option<Option<Text>> {
        self.0.lock().get(key).cloned()
    }

    /// Remembers an answer; or forgets the one there was, if answers to this question are not to be kept.
    pub(crate) fn put(&self, key: Key, answer: Option<Text>, keep: bool) {
        let mut results = self.0.lock();
        if !keep {
            results.remove(&key);
            return;
        }
        if results.len() >= LOOKUP_RESULTS_MAX {
            results.clear();
        }
        results.insert(key, answer);
    }

    /// Forgets all answers of a type: something has been changed.
    pub(crate) fn forget(&self, name: &str) {
        self.0.lock().retain(|key, _| key.name != name);
    }
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Queries and options may hold passwords.
        write!(f, "Results({})", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(specification: &str, query: &str) -> Key {
        Key::new(&LookupType::parse(specification).unwrap(), &Text::from(query))
    }

    #[test]
    fn answers_are_told_apart_by_type_options_and_query() {
        let results = Results::default();
        results.put(key("pgsql", "q"), Some(Text::from("a")), true);
        assert_eq!(results.get(&key("pgsql", "q")), Some(Some(Text::from("a"))));
        assert_eq!(results.get(&key("pgsql,cache=no_rd", "q")), Some(Some(Text::from("a"))));
        assert_eq!(results.get(&key("pgsql,servers=x", "q")), None);
        assert_eq!(results.get(&key("mysql", "q")), None);
        results.put(key("mysql", "q"), None, true);
        results.forget("pgsql");
        assert_eq!(results.get(&key("pgsql", "q")), None);
        assert_eq!(results.get(&key("mysql", "q")), Some(None));
    }
}

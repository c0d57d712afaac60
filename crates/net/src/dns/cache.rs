//! The cache of answers, absences and fresh failures, bounded in bytes and by time to live.
//!
//! Absences live as long as RFC 2308 says (the SOA record of the response), failures a few seconds, so that a dead
//! server is not asked again for every recipient of a message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::rr::{RData, RecordType};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::NotThere;

/// Bytes that cached answers may take, about.
const CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How many answers the cache is laid out for.
const CACHE_ITEMS: usize = 20_000;
/// No answer is believed for longer than a day, whatever its time to live.
pub(super) const TTL_SECONDS_MAX: u32 = 86_400;
/// RFC 2308 section 5: absences for no more than three hours.
pub(super) const NEGATIVE_TTL_SECONDS_MAX: u32 = 10_800;
/// How long a failure is remembered.
const FAILURE_LIFE: Duration = Duration::from_secs(10);

/// What a question is known by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The full name in lower case.
    pub(super) name: String,
    /// The record type.
    pub(super) record_type: RecordType,
    /// Whether the AD bit was asked for: an answer without it cannot serve one who needs it.
    pub(super) dnssec: bool,
}

/// Records that were found.
#[derive(Debug)]
pub(super) struct RecordSet {
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) records: Vec<RData>,
    pub(super) secure: bool,
    pub(super) ttl_seconds: u32,
    pub(super) authority: Option<String>,
}

/// What came of a question, before it is turned into a type.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Found(Arc<RecordSet>),
    /// The second part is the life of the absence in seconds, 0 when the response did not say.
    NotThere(NotThere, u32),
    AskAgain(Arc<str>),
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    expires: Instant,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Entry> for ByBytes {
    fn weight(&self, key: &Key, entry: &Entry) -> u64 {
        let records = if let Outcome::Found(set) = &entry.outcome { set.records.len() } else { 0 };
        200_u64.saturating_add((key.name.len() as u64).saturating_mul(3)).saturating_add(records as u64 * 120)
    }
}

/// The cache.
pub(super) struct AnswerCache(Cache<Key, Entry, ByBytes>);

impl AnswerCache {
    pub(super) fn new() -> Self {
        AnswerCache(Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, ByBytes))
    }

    /// A remembered outcome that has not expired.
    pub(super) fn get(&self, key: &Key) -> Option<Outcome> {
        let entry = self.0.get(key)?;
        if entry.expires > Instant::now() {
            return Some(entry.outcome);
        }
        self.0.remove(key);
        None
    }

    /// Remembers an outcome for as long as it may be.
    pub(super) fn put(&self, key: Key, outcome: &Outcome) {
        let life = match outcome {
            Outcome::Found(set) => Duration::from_secs(set.ttl_seconds.min(TTL_SECONDS_MAX).into()),
            Outcome::NotThere(_, ttl) => Duration::from_secs((*ttl).min(NEGATIVE_TTL_SECONDS_MAX).into()),
            Outcome::AskAgain(_) => FAILURE_LIFE,
        };
        if !life.is_zero() {
            let expires = Instant::now() + life;
            self.0.insert(key, Entry { outcome: outcome.clone(), expires });
        }
    }

    pub(super) fn clear(&self) {
        self.0.clear();
    }
}

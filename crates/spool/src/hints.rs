//! Hints: what is worth remembering and no loss when it is forgotten. One SQLite database,
//! `spool_directory/db/oxim-hints.sqlite`, that several processes can read (WAL, synchronous off).
//!
//! With the cache, as in the daemon, entries are kept in memory and written behind, at most a second late; rate limits
//! and `seen` are written at once, because others count with them. Without it, as in the tools, everything is direct.
//! A database that is damaged is set aside as `.corrupt-TIME` and started anew, with a line in the panic log.

mod cache;
mod database;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use oxim_base::clock::Stamp;
use parking_lot::{Condvar, Mutex};

use crate::{Owner, Report};
use cache::Cache;
use database::Connection;

/// Which collection of hints.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Database {
    /// Retry times.
    Retry,
    /// Messages that wait for a host, by transport.
    Wait(String),
    /// Results of callouts.
    Callout,
    /// Rate limits.
    Ratelimit,
    /// The `seen` condition.
    Seen,
    /// Anything else, such as serialised connections.
    Misc,
    /// TLS sessions.
    Tls,
    /// Policies of MTA-STS, by domain.
    MtaSts,
}

impl Database {
    /// The name, as Exim's file of the same purpose has it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Database::Retry => "retry".to_owned(),
            Database::Wait(transport) => format!("wait-{transport}"),
            Database::Callout => "callout".to_owned(),
            Database::Ratelimit => "ratelimit".to_owned(),
            Database::Seen => "seen".to_owned(),
            Database::Misc => "misc".to_owned(),
            Database::Tls => "tls".to_owned(),
            Database::MtaSts => "mta-sts".to_owned(),
        }
    }

    /// The collection of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Database> {
        Some(match name {
            "retry" => Database::Retry,
            "callout" => Database::Callout,
            "ratelimit" => Database::Ratelimit,
            "seen" => Database::Seen,
            "misc" => Database::Misc,
            "tls" => Database::Tls,
            "mta-sts" => Database::MtaSts,
            _ => Database::Wait(name.strip_prefix("wait-")?.to_owned()),
        })
    }

    /// Whether other processes must see a change at once.
    fn is_written_at_once(&self) -> bool {
        matches!(self, Database::Ratelimit | Database::Seen)
    }
}

/// A hint: its value, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What was put.
    pub value: Vec<u8>,
    /// When.
    pub stamp: Stamp,
}

/// Why hints could not be read or written: ask again later, and go on without.
#[derive(Debug)]
pub struct HintsError {
    /// The file.
    pub path: PathBuf,
    /// What SQLite or the system says.
    pub what: String,
}

impl fmt::Display for HintsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hints database {}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for HintsError {}

/// How the hints are opened.
#[derive(Clone)]
pub struct HintsConfig {
    /// The spool directory; the database is in its `db`.
    pub spool_directory: PathBuf,
    /// exim_user and exim_group.
    pub owner: Option<Owner>,
    /// Keep entries in memory and write behind: only for the one process that writes.
    pub cache: bool,
    /// The panic log.
    pub report: Report,
}

/// How long a change may stay in memory.
const WRITE_BEHIND: Duration = Duration::from_secs(1);

struct Shared {
    connection: Mutex<Connection>,
    cache: Option<Mutex<Cache>>,
    closing: Mutex<bool>,
    wake: Condvar,
    report: Report,
}

/// The hints of this process.
pub struct Hints {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

impl fmt::Debug for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hints").field("is_cached", &self.shared.cache.is_some()).finish_non_exhaustive()
    }
}

impl Hints {
    /// Opens the database, making it if it is missing.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn open(config: HintsConfig) -> Result<Hints, HintsError> {
        let is_cached = config.cache;
        let report = Arc::clone(&config.report);
        let shared = Arc::new(Shared {
            connection: Mutex::new(Connection::open(config)?),
            cache: is_cached.then(Mutex::default),
            closing: Mutex::new(false),
            wake: Condvar::new(),
            report,
        });
        let writer = if is_cached {
            let shared = Arc::clone(&shared);
            // Without the thread, changes are written when the cache is full and at the end.
            std::thread::Builder::new()
                .name("hints-writer".to_owned())
                .spawn(move || shared.write_behind())
                .ok()
        } else {
            None
        };
        Ok(Hints { shared, writer })
    }

    /// Reads one hint. `Ok(None)`: there is none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get(&self, database: &Database, key: &[u8]) -> Result<Option<Hint>, HintsError> {
        let cache = self.shared.cache.as_ref().filter(|_| !database.is_written_at_once());
        let Some(cache) = cache else { return self.shared.connection.lock().get(database, key) };
        if let Some(known) = cache.lock().get(database, key) {
            return Ok(known);
        }
        // Read and remembered under the connection's lock, so that no put comes between.
        let mut connection = self.shared.connection.lock();
        if let Some(known) = cache.lock().get(database, key) {
            return Ok(known);
        }
        let found = connection.get(database, key)?;
        cache.lock().remember(database, key, found.clone());
        Ok(found)
    }

    /// Whether there may be such a hint. With the cache this asks the database once for all keys, and never again: for those
    /// who ask about many things of which nothing is known.
    #[must_use]
    pub fn may_have(&self, database: &Database, key: &[u8]) -> bool {
        let Some(cache) = &self.shared.cache else {
            return !matches!(self.get(database, key), Ok(None));
        };
        if let Some(answer) = cache.lock().may_have(database, key) {
            return answer;
        }
        // Under the connection's lock, so that no change comes between.
        let mut connection = self.shared.connection.lock();
        let Ok(keys) = connection.keys(database) else { return true };
        let mut cache = cache.lock();
        cache.know_keys(database, keys.into_iter());
        cache.may_have(database, key).unwrap_or(true)
    }

    /// Writes one hint.
    ///
    /// # Errors
    /// If it cannot be written; behind a cache, that is reported later instead.
    pub fn put(&self, database: &Database, key: &[u8], value: &[u8], stamp: Stamp) -> Result<(), HintsError> {
        self.change(database, key, Some(Hint { value: value.to_vec(), stamp }))
    }

    /// Forgets one hint.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete(&self, database: &Database, key: &[u8]) -> Result<(), HintsError> {
        self.change(database, key, None)
    }

    /// Forgets several hints, with one access to the database.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete_all(&self, database: &Database, keys: Vec<Vec<u8>>) -> Result<(), HintsError> {
        if self.shared.cache.is_some() && !database.is_written_at_once() {
            return keys.iter().try_for_each(|key| self.delete(database, key));
        }
        let changes: Vec<_> = keys.into_iter().map(|key| ((database.clone(), key), None)).collect();
        if changes.is_empty() { Ok(()) } else { self.shared.connection.lock().set_all(&changes) }
    }

    fn change(&self, database: &Database, key: &[u8], hint: Option<Hint>) -> Result<(), HintsError> {
        let cache = self.shared.cache.as_ref().filter(|_| !database.is_written_at_once());
        let Some(cache) = cache else {
            return self.shared.connection.lock().set(database, key, hint.as_ref());
        };
        let is_full = cache.lock().change(database, key, hint);
        if is_full { self.flush() } else { Ok(()) }
    }

    /// Reads a hint and writes what `edit` makes of it, with nobody in between, in this process or another.
    /// `edit` returns the new hint (None: forget it) and an answer.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn update<T>(
        &self,
        database: &Database,
        key: &[u8],
        edit: impl FnOnce(Option<Hint>) -> (Option<Hint>, T),
    ) -> Result<T, HintsError> {
        let mut connection = self.shared.connection.lock();
        if let Some(cache) = &self.shared.cache {
            // The database must not be behind for this key.
            if let Some(hint) = cache.lock().take_unwritten(database, key) {
                connection.set(database, key, hint.as_ref())?;
            }
        }
        let mut answer = None;
        let mut edit = Some(edit);
        let hint = connection.update(database, key, &mut |old| {
            let (new, value) = edit.take().map(|edit| edit(old)).unzip();
            answer = value;
            new.flatten()
        })?;
        if let Some(cache) = &self.shared.cache {
            cache.lock().remember(database, key, hint);
        }
        answer.ok_or_else(|| connection.error("not updated"))
    }

    /// All hints whose key begins with `prefix`, in order of their keys, up to `limit`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn scan(
        &self,
        database: &Database,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Hint)>, HintsError> {
        self.flush()?;
        self.shared.connection.lock().scan(database, prefix, limit)
    }

    /// The collections that have entries.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn databases(&self) -> Result<Vec<Database>, HintsError> {
        self.flush()?;
        self.shared.connection.lock().databases()
    }

    /// Forgets everything in a collection that is older than `before`. Returns how many.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn tidy(&self, database: &Database, before: Stamp) -> Result<usize, HintsError> {
        self.flush()?;
        let count = self.shared.connection.lock().tidy(database, before)?;
        if let Some(cache) = &self.shared.cache {
            cache.lock().forget(database);
        }
        Ok(count)
    }

    /// Writes what is in memory only, and reads everything anew: another program is about to change the database.
    ///
    /// # Errors
    /// As `flush`.
    pub fn forget_memory(&self) -> Result<(), HintsError> {
        self.flush()?;
        if let Some(cache) = &self.shared.cache {
            cache.lock().forget_written();
        }
        Ok(())
    }

    /// Writes what is in memory only.
    ///
    /// # Errors
    /// If it cannot be written; then it is forgotten, as hints may be.
    pub fn flush(&self) -> Result<(), HintsError> {
        self.shared.flush()
    }
}

impl Shared {
    fn flush(&self) -> Result<(), HintsError> {
        let Some(cache) = &self.cache else { return Ok(()) };
        let mut connection = self.connection.lock();
        let changes = cache.lock().take_all_unwritten();
        if changes.is_empty() { Ok(()) } else { connection.set_all(&changes) }
    }

    fn write_behind(&self) {
        let mut is_closing = self.closing.lock();
        while !*is_closing {
            self.wake.wait_for(&mut is_closing, WRITE_BEHIND);
            parking_lot::MutexGuard::unlocked(&mut is_closing, || {
                if let Err(error) = self.flush() {
                    (self.report)(&error.to_string());
                }
            });
        }
    }
}

impl Drop for Hints {
    fn drop(&mut self) {
        *self.shared.closing.lock() = true;
        self.shared.wake.notify_all();
        if let Some(writer) = self.writer.take() {
            // A panic there has been reported by the panic hook.
            let _ = writer.join();
        }
        if let Err(error) = self.shared.flush() {
            (self.shared.report)(&error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(root: &Path, cache: bool) -> Hints {
        let report: Report = Arc::new(|text| panic!("{text}"));
        Hints::open(HintsConfig { spool_directory: root.to_owned(), owner: None, cache, report }).unwrap()
    }

    fn value(hints: &Hints, database: &Database, key: &[u8]) -> Option<Vec<u8>> {
        hints.get(database, key).unwrap().map(|h| h.value)
    }

    #[test]
    fn hints_come_back_in_this_and_another_process() {
        for cache in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let hints = open(root.path(), cache);
            let wait = Database::Wait("smtp".to_owned());
            let stamp = Stamp { seconds: 5, micros: 7 };
            hints.put(&Database::Retry, b"a", b"1", stamp).unwrap();
            hints.put(&wait, b"a", b"2", stamp).unwrap();
            hints.put(&Database::Retry, b"b\xff", b"3", stamp).unwrap();
            hints.put(&Database::Retry, b"a", b"4", stamp).unwrap();
            assert_eq!(
                hints.get(&Database::Retry, b"a").unwrap(),
                Some(Hint { value: b"4".to_vec(), stamp })
            );
            assert_eq!(value(&hints, &wait, b"a").unwrap(), b"2");
            assert_eq!(value(&hints, &Database::Callout, b"a"), None);
            hints.flush().unwrap();
            let other = open(root.path(), false);
            assert_eq!(value(&other, &Database::Retry, b"a").unwrap(), b"4");
            assert_eq!(other.scan(&Database::Retry, b"b", 10).unwrap().len(), 1);
            assert_eq!(other.scan(&Database::Retry, b"", 1).unwrap().len(), 1);
            assert_eq!(other.databases().unwrap(), [Database::Retry, wait]);
            hints.delete(&Database::Retry, b"a").unwrap();
            assert_eq!(value(&hints, &Database::Retry, b"a"), None);
            assert_eq!(hints.tidy(&Database::Retry, Stamp::from_seconds(6)).unwrap(), 1);
            assert_eq!(value(&hints, &Database::Retry, b"b\xff"), None);
        }
    }

    #[test]
    fn what_is_surely_not_there_is_known() {
        for cache in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let hints = open(root.path(), cache);
            let may_have = |key: &[u8]| hints.may_have(&Database::Retry, key);
            hints.put(&Database::Retry, b"before", b"", Stamp::now()).unwrap();
            assert!(may_have(b"before") && !may_have(b"after"), "{cache}");
            hints.put(&Database::Retry, b"after", b"", Stamp::now()).unwrap();
            assert!(may_have(b"after") && !hints.may_have(&Database::Callout, b"after"), "{cache}");
            hints.forget_memory().unwrap();
            open(root.path(), false).put(&Database::Retry, b"of another", b"", Stamp::now()).unwrap();
            assert!(may_have(b"before") && may_have(b"of another") && !may_have(b"none"), "{cache}");
        }
    }

    #[test]
    fn rate_limits_are_never_behind_and_updates_have_nobody_between() {
        let root = tempfile::tempdir().unwrap();
        let hints = open(root.path(), true);
        let other = open(root.path(), false);
        let now = Stamp::now();
        hints.put(&Database::Ratelimit, b"k", b"0", now).unwrap();
        assert_eq!(value(&other, &Database::Ratelimit, b"k").unwrap(), b"0");
        let count = |hints: &Hints| {
            hints.update(&Database::Ratelimit, b"k", |old| {
                let n: u32 = String::from_utf8(old.unwrap().value).unwrap().parse().unwrap();
                (Some(Hint { value: (n + 1).to_string().into_bytes(), stamp: now }), n + 1)
            })
        };
        std::thread::scope(|scope| {
            for hints in [&hints, &other] {
                scope.spawn(move || (0..50).for_each(|_| assert!(count(hints).is_ok())));
            }
        });
        assert_eq!(count(&other).unwrap(), 101);
    }

    #[test]
    fn a_damaged_database_is_set_aside() {
        let root = tempfile::tempdir().unwrap();
        drop(open(root.path(), false));
        let path = root.path().join("db/oxim-hints.sqlite");
        std::fs::write(&path, vec![b'x'; 8192]).unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&told);
        let report: Report = Arc::new(move |text| lines.lock().push(text.to_owned()));
        let config =
            HintsConfig { spool_directory: root.path().to_owned(), owner: None, cache: false, report };
        let hints = Hints::open(config).unwrap();
        hints.put(&Database::Misc, b"k", b"v", Stamp::now()).unwrap();
        assert_eq!(value(&hints, &Database::Misc, b"k").unwrap(), b"v");
        assert!(told.lock()[0].contains("corrupt"), "{:?}", told.lock());
        let aside = std::fs::read_dir(root.path().join("db"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".corrupt-"));
        assert_eq!(aside.count(), 1);
    }
}

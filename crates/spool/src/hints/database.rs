//! The SQLite side of the hints: one table, prepared statements, and what to do with a damaged file.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use rusqlite::{ErrorCode, OptionalExtension, TransactionBehavior, params};

use super::{Database, Hint, HintsConfig, HintsError};
use crate::files::directories::make_owned;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS hint (
    kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, stamp INTEGER NOT NULL,
    PRIMARY KEY (kind, key)) WITHOUT ROWID";

/// How long another process may keep the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The open database.
pub(super) struct Connection {
    config: HintsConfig,
    path: PathBuf,
    sqlite: rusqlite::Connection,
}

/// The database and key of a record, and what it is to be; `None` removes it.
type Change = ((Database, Vec<u8>), Option<Hint>);

impl Connection {
    pub(super) fn open(config: HintsConfig) -> Result<Connection, HintsError> {
        let directory = config.spool_directory.join("db");
        let path = directory.join("oxim-hints.sqlite");
        let error = |what: String| HintsError { path: path.clone(), what };
        make_owned(&config.spool_directory, config.owner)
            .and_then(|()| make_owned(&directory, config.owner))
            .map_err(|e| error(error_text(&e)))?;
        let opened = match connect(&path) {
            Err(fault) if is_damage(&fault) => {
                set_aside(&path, &config, &fault).map_err(|e| error(error_text(&e)))?;
                connect(&path)
            }
            other => other,
        };
        let sqlite = opened.map_err(|e| error(e.to_string()))?;
        give_away(&path, &config).map_err(|e| error(error_text(&e)))?;
        Ok(Connection { config, path, sqlite })
    }

    pub(super) fn error(&self, what: impl ToString) -> HintsError {
        HintsError { path: self.path.clone(), what: what.to_string() }
    }

    /// Runs something; if the database turns out to be damaged, once more on a new one.
    fn run<T>(
        &mut self,
        mut work: impl FnMut(&mut rusqlite::Connection) -> rusqlite::Result<T>,
    ) -> Result<T, HintsError> {
        match work(&mut self.sqlite) {
            Ok(value) => Ok(value),
            Err(fault) if is_damage(&fault) => {
                set_aside(&self.path, &self.config, &fault).map_err(|e| self.error(error_text(&e)))?;
                self.sqlite = connect(&self.path).map_err(|e| self.error(e))?;
                give_away(&self.path, &self.config).map_err(|e| self.error(error_text(&e)))?;
                work(&mut self.sqlite).map_err(|e| self.error(e))
            }
            Err(fault) => Err(self.error(fault)),
        }
    }

    pub(super) fn get(&mut self, database: &Database, key: &[u8]) -> Result<Option<Hint>, HintsError> {
        let kind = database.name();
        self.run(|sqlite| get(sqlite, &kind, key))
    }

    pub(super) fn set(
        &mut self,
        database: &Database,
        key: &[u8],
        hint: Option<&Hint>,
    ) -> Result<(), HintsError> {
        let kind = database.name();
        self.run(|sqlite| set(sqlite, &kind, key, hint))
    }

    pub(super) fn set_all(&mut self, changes: &[Change]) -> Result<(), HintsError> {
        self.run(|sqlite| {
            let transaction = sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for ((database, key), hint) in changes {
                set(&transaction, &database.name(), key, hint.as_ref())?;
            }
            transaction.commit()
        })
    }

    pub(super) fn update(
        &mut self,
        database: &Database,
        key: &[u8],
        edit: &mut dyn FnMut(Option<Hint>) -> Option<Hint>,
    ) -> Result<Option<Hint>, HintsError> {
        let kind = database.name();
        self.run(|sqlite| {
            let transaction = sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let hint = edit(get(&transaction, &kind, key)?);
            set(&transaction, &kind, key, hint.as_ref())?;
            transaction.commit()?;
            Ok(hint)
        })
    }

    pub(super) fn scan(
        &mut self,
        database: &Database,
        prefix: &[u8],
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Hint)>, HintsError> {
        let kind = database.name();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = after_prefix(prefix);
        self.run(|sqlite| {
            let mut statement = sqlite.prepare_cached(
                "SELECT key, value, stamp FROM hint WHERE kind = ?1 AND key >= ?2 AND (?3 IS NULL OR key < ?3) ORDER BY key LIMIT ?4",
            )?;
            let rows = statement.query_map(params![kind, prefix, after, limit], |row| {
                Ok((row.get(0)?, Hint { value: row.get(1)?, stamp: stamp(row.get(2)?) }))
            })?;
            rows.collect()
        })
    }

    pub(super) fn keys(&mut self, database: &Database) -> Result<Vec<Vec<u8>>, HintsError> {
        let kind = database.name();
        self.run(|sqlite| {
            let mut statement = sqlite.prepare_cached("SELECT key FROM hint WHERE kind = ?1")?;
            statement.query_map([kind.as_str()], |row| row.get(0))?.collect()
        })
    }

    pub(super) fn databases(&mut self) -> Result<Vec<Database>, HintsError> {
        self.run(|sqlite| {
            let mut statement = sqlite.prepare_cached("SELECT DISTINCT kind FROM hint ORDER BY kind")?;
            let names = statement.query_map([], |row| row.get::<_, String>(0))?;
            Ok(names.filter_map(Result::ok).filter_map(|name| Database::from_name(&name)).collect())
        })
    }

    pub(super) fn tidy(&mut self, database: &Database, before: Stamp) -> Result<usize, HintsError> {
        let kind = database.name();
        self.run(|sqlite| {
            let mut statement = sqlite.prepare_cached("DELETE FROM hint WHERE kind = ?1 AND stamp < ?2")?;
            statement.execute(params![kind, micros(before)])
        })
    }
}

fn get(sqlite: &rusqlite::Connection, kind: &str, key: &[u8]) -> rusqlite::Result<Option<Hint>> {
    let mut statement =
        sqlite.prepare_cached("SELECT value, stamp FROM hint WHERE kind = ?1 AND key = ?2")?;
    statement
        .query_row(params![kind, key], |row| Ok(Hint { value: row.get(0)?, stamp: stamp(row.get(1)?) }))
        .optional()
}

fn set(sqlite: &rusqlite::Connection, kind: &str, key: &[u8], hint: Option<&Hint>) -> rusqlite::Result<()> {
    match hint {
        Some(hint) => {
            let mut statement = sqlite.prepare_cached(
                "INSERT OR REPLACE INTO hint (kind, key, value, stamp) VALUES (?1, ?2, ?3, ?4)",
            )?;
            statement.execute(params![kind, key, hint.value, micros(hint.stamp)])?;
        }
        None => {
            let mut statement = sqlite.prepare_cached("DELETE FROM hint WHERE kind = ?1 AND key = ?2")?;
            statement.execute(params![kind, key])?;
        }
    }
    Ok(())
}

/// The first key that does not begin with the prefix any more; None if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut after = prefix.to_vec();
    while let Some(last) = after.pop() {
        if let Some(next) = last.checked_add(1) {
            after.push(next);
            return Some(after);
        }
    }
    None
}

fn micros(stamp: Stamp) -> i64 {
    stamp.seconds.saturating_mul(1_000_000).saturating_add(i64::from(stamp.micros))
}

fn stamp(micros: i64) -> Stamp {
    let rest = u32::try_from(micros.rem_euclid(1_000_000)).unwrap_or(0);
    Stamp { seconds: micros.div_euclid(1_000_000), micros: rest }
}

fn connect(path: &Path) -> rusqlite::Result<rusqlite::Connection> {
    let sqlite = rusqlite::Connection::open(path)?;
    sqlite.busy_timeout(BUSY_TIMEOUT)?;
    sqlite.pragma_update(None, "journal_mode", "WAL")?;
    sqlite.pragma_update(None, "synchronous", "OFF")?;
    sqlite.execute(SCHEMA, [])?;
    Ok(sqlite)
}

fn is_damage(fault: &rusqlite::Error) -> bool {
    matches!(fault.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Renames the database and its companions, so that a new one can be made.
fn set_aside(path: &Path, config: &HintsConfig, fault: &rusqlite::Error) -> std::io::Result<()> {
    let aside = format!("{}.corrupt-{}", path.display(), Stamp::now().seconds);
    (config.report)(&format!("hints database {} is corrupt ({fault}): set aside as {aside}", path.display()));
    for suffix in ["-wal", "-shm"] {
        let companion = format!("{}{suffix}", path.display());
        match std::fs::remove_file(companion) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    std::fs::rename(path, aside)
}

/// What root has made belongs to `exim_user`, mode 0640.
fn give_away(path: &Path, config: &HintsConfig) -> std::io::Result<()> {
    let owner = config.owner.filter(|_| rustix::process::geteuid().is_root());
    for suffix in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{suffix}", path.display()));
        if !file.exists() {
            continue;
        }
        if let Some(owner) = owner {
            std::os::unix::fs::chown(&file, Some(owner.uid), Some(owner.gid))?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
        }
    }
    Ok(())
}

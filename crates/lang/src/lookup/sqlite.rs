//! The `sqlite` lookup: a query to an SQLite file (manual section 9.26).
//!
//! The file is that of the lookup's option `file=`, that in front of the query, or that of the option `sqlite_dbfile`; in each
//! case with an absolute path. A file that does not exist is not made. Whatever goes wrong in a query defers.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::limits::{EXPANSION_BYTES_MAX, LOOKUP_FILES_CACHED_MAX};
use parking_lot::Mutex;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, OpenFlags};

use super::service::rows::Rows;
use super::{Answer, LookupError, LookupKind, LookupType, Service, Style, files};
use crate::context::Context;

/// The row.
pub(super) static SQLITE: LookupKind = LookupKind {
    name: "sqlite",
    style: Style::Service(Service { mark: "sqlite", quote, needs_quoting: true, has_words: false, ask }),
    doc: "SQLite query; option file=",
};

fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if *byte == b'\'' {
            out.push(b'\'');
        }
        out.push(*byte);
    }
    word.is_none().then_some(out)
}

/// Which file it is: another one under the same name is another database.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    path: Vec<u8>,
    device: u64,
    inode: u64,
}

/// Connections that nobody uses just now.
static IDLE: LazyLock<Mutex<HashMap<Identity, Vec<Connection>>>> = LazyLock::new(Mutex::default);

/// Connections to one file that are kept.
const IDLE_MAX: usize = 4;

fn identity(path: &[u8]) -> Result<Identity, String> {
    let meta = std::fs::metadata(Path::new(std::ffi::OsStr::from_bytes(path)))
        .map_err(|error| format!("unable to open database file: {}", files::reason(&error)))?;
    if !meta.is_file() {
        return Err("unable to open database file: not a regular file".to_owned());
    }
    Ok(Identity { path: path.to_vec(), device: meta.dev(), inode: meta.ino() })
}

fn open(identity: &Identity, patience: Duration) -> Result<Connection, String> {
    if let Some(connection) = IDLE.lock().get_mut(identity).and_then(Vec::pop) {
        return Ok(connection);
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(&identity.path));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)
        .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
        .map_err(|error| error_text(&error))?;
    connection.busy_timeout(patience).map_err(|error| error_text(&error))?;
    Ok(connection)
}

fn keep(identity: Identity, connection: Connection) {
    if !connection.is_autocommit() {
        return;
    }
    let mut idle = IDLE.lock();
    if idle.len() > LOOKUP_FILES_CACHED_MAX {
        idle.clear();
    }
    let kept = idle.entry(identity).or_default();
    if kept.len() < IDLE_MAX {
        kept.push(connection);
    }
}

fn error_text(error: &rusqlite::Error) -> String {
    if let rusqlite::Error::SqliteFailure(_, Some(text)) | rusqlite::Error::SqlInputError { msg: text, .. } =
        error
    {
        return text.clone();
    }
    error.to_string()
}

/// Whether neither the lookup nor the query says which file is meant.
pub(super) fn needs_file(lookup: &LookupType, query: &Text) -> bool {
    lookup.option("file").is_none() && !query.as_bytes().trim_ascii_start().starts_with(b"/")
}

/// The file and the query. The error is Exim's text.
fn file_and_query<'a>(
    context: &Context,
    query: &'a Text,
    lookup: &LookupType,
) -> Result<(Vec<u8>, &'a [u8]), String> {
    let bytes = query.as_bytes().trim_ascii_start();
    let absolute = |path: &[u8]| {
        if path.starts_with(b"/") {
            Ok(path.to_vec())
        } else {
            Err("absolute file name expected for \"sqlite\" lookup".to_owned())
        }
    };
    if let Some(path) = lookup.option("file") {
        return Ok((absolute(path.as_bytes())?, bytes));
    }
    if bytes.starts_with(b"/") {
        let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
        let (path, rest) = bytes.split_at_checked(end).unwrap_or((bytes, b""));
        if query.is_foreign() {
            return Err(format!("Tainted filename for search: '{}'", String::from_utf8_lossy(path)));
        }
        return Ok((path.to_vec(), rest.trim_ascii_start()));
    }
    let path = context.config.main_options.string("sqlite_dbfile").unwrap_or_default();
    Ok((absolute(path.as_bytes())?, bytes))
}

fn ask(context: &mut Context, query: &Text, lookup: &LookupType) -> Result<Answer, LookupError> {
    let (path, query) = file_and_query(context, query, lookup).map_err(LookupError::Failed)?;
    let query = std::str::from_utf8(query)
        .map_err(|_| LookupError::Failed("sqlite: the query is not UTF-8".to_owned()))?;
    let seconds = u64::try_from(context.config.main_options.int("sqlite_lock_timeout")).unwrap_or(5);
    let identity = identity(&path).map_err(LookupError::Failed)?;
    let connection = open(&identity, Duration::from_secs(seconds)).map_err(LookupError::Failed)?;
    let result = run(&connection, query).map_err(|text| LookupError::Defer(format!("sqlite: {text}")));
    keep(identity, connection);
    result
}

/// Runs all statements; the rows of all are the answer.
fn run(connection: &Connection, query: &str) -> Result<Answer, String> {
    let mut rows = Rows::default();
    let mut changes = false;
    let mut batch = Batch::new(connection, query);
    while let Some(mut statement) = batch.next().map_err(|error| error_text(&error))? {
        changes |= !statement.readonly();
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut results = statement.raw_query();
        while let Some(row) = results.next().map_err(|error| error_text(&error))? {
            if names.is_empty() {
                continue;
            }
            let mut values = Vec::with_capacity(names.len());
            for index in 0..names.len() {
                values.push(value_text(row.get_ref(index).map_err(|error| error_text(&error))?));
            }
            let fields: Vec<(&[u8], &[u8])> =
                names.iter().map(String::as_bytes).zip(values.iter().map(Vec::as_slice)).collect();
            rows.push(&fields);
            if rows.len() > EXPANSION_BYTES_MAX {
                return Err("the answer is too long".to_owned());
            }
        }
    }
    let text = rows.into_text().map(Text::clean);
    Ok(match (text, changes) {
        (text, true) => Answer::Changed(text),
        (Some(text), false) => Answer::Found(text),
        (None, false) => Answer::NotThere,
    })
}

fn value_text(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Null => b"<NULL>".to_vec(),
        ValueRef::Integer(number) => number.to_string().into_bytes(),
        ValueRef::Real(number) => real_text(number).into_bytes(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
    }
}

/// As SQLite writes it: always with a point.
fn real_text(number: f64) -> String {
    let text = number.to_string();
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if is_plain { format!("{text}.0") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed with Exim 4.96.
    #[test]
    fn answers_are_those_of_exim() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table t(a,b); insert into t values(1,null),('x y',''),('q\"r',2.50),(x'616263','new\nline');",
            )
            .unwrap();
        let shown = |query: &str| match run(&connection, query) {
            Ok(Answer::Found(text)) => text.to_string_lossy(),
            Ok(other) => format!("{other:?}"),
            Err(text) => text,
        };
        assert_eq!(shown("select a from t"), "1\nx y\nq\"r\nabc");
        assert_eq!(
            shown("select * from t"),
            "a=1 b=<NULL> \na=\"x y\" b=\"\" \na=q\"r b=2.5 \na=abc b=\"new\nline\" "
        );
        assert_eq!(shown("select b from t where a=1"), "<NULL>");
        assert_eq!(shown("select 1 as a, 2 as \"b c\""), "a=1 b c=2 ");
        assert_eq!(shown("select 1; select 2"), "1\n2");
        assert_eq!(shown("select \"\" as x where 1"), "");
        assert_eq!(shown("select * from t where a=99"), "NotThere");
        assert_eq!(shown(""), "NotThere");
        assert_eq!(shown("insert into t values(7,8)"), "Changed(None)");
        assert_eq!(shown("select 2.0"), "2.0");
        assert!(shown("select bad").starts_with("no such column"), "{}", shown("select bad"));
    }

    #[test]
    fn quoting_doubles_single_quotes() {
        assert_eq!(quote(b"a'b\"c", None).unwrap(), b"a''b\"c");
    }
}

//! What the programs about hints share: their arguments, the opened hints, and how records are shown.
//!
//! They work on the one database of hints, which a running daemon is asked to write out first. A database that is not
//! there is an error, and is not made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::clock::{Stamp, Zone};
use oxim_base::errno::error_text;
use oxim_deliver::retry::RetryRecord;
use oxim_receive::hint_record::{Domain, Rate, Said};
use oxim_spool::hints::{Database, Hint, Hints, HintsConfig};

use super::Call;

/// The names that are asked for.
const NAMES: &str = "retry | misc | wait-<transport-name> | callout | ratelimit | tls | seen";

/// The arguments, understood.
pub(super) struct Opened {
    /// The hints.
    pub hints: Hints,
    /// Which collection.
    pub database: Database,
    /// The spool directory.
    pub spool: PathBuf,
    /// The collection's place, as Exim would name it.
    pub shown_path: String,
    /// `-z`, or local time.
    pub zone: Zone,
    /// `-k`.
    pub keys_only: bool,
    /// `-t`, in seconds.
    pub keep: Option<u64>,
}

/// Reads the arguments and opens the hints. `options` is what the usage text says of options.
///
/// # Errors
/// The exit code; what is wrong has been told.
pub(super) fn open(call: &Call, options: &str) -> Result<Opened, u8> {
    let has_time = options.contains("-t");
    let usage = || {
        say!(
            "Usage: {} {options}  <spool-directory> <database-name>\n  <database-name> = {NAMES}",
            call.name()
        );
        1
    };
    let (mut zone, mut keys_only, mut keep) = (Zone::Local, false, None);
    let mut words = call.words.iter();
    let mut places: Vec<&Vec<u8>> = Vec::new();
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-z" if !has_time => zone = Zone::Utc,
            b"-k" if !has_time => keys_only = true,
            b"-t" if has_time => {
                let time = words.next().and_then(|w| std::str::from_utf8(w).ok());
                keep = Some(time.and_then(oxim_base::clock::parse_interval).ok_or_else(usage)?);
            }
            other if other.starts_with(b"-") => return Err(usage()),
            _ => places.push(word),
        }
    }
    let [spool, name] = places.as_slice() else { return Err(usage()) };
    let database = std::str::from_utf8(name).ok().and_then(Database::from_name).ok_or_else(usage)?;
    let spool = PathBuf::from(OsStr::from_bytes(spool));
    let shown_path = spool.join("db").join(database.name()).display().to_string();
    let hints = open_in(&spool).map_err(|text| {
        say!("** {text}");
        1
    })?;
    Ok(Opened { hints, database, spool, shown_path, zone, keys_only, keep })
}

/// Opens the hints of a spool directory, which must be there.
///
/// # Errors
/// What to tell.
pub(super) fn open_in(spool: &std::path::Path) -> Result<Hints, String> {
    let path = spool.join("db/oxim-hints.sqlite");
    let status = std::fs::metadata(&path).map_err(|error| {
        format!("Failed to open hints database {}: {}", path.display(), error_text(&error))
    })?;
    crate::control::forget_hints(spool);
    Hints::open(HintsConfig {
        spool_directory: spool.to_owned(),
        owner: rustix::process::geteuid()
            .is_root()
            .then_some(oxim_spool::Owner { uid: status.uid(), gid: status.gid() }),
        cache: false,
        report: Arc::new(|text| complain!("{text}")),
    })
    .map_err(|error| error.to_string())
}

impl Opened {
    /// All records, by key.
    ///
    /// # Errors
    /// What to tell.
    pub(super) fn all(&self) -> Result<Vec<(Vec<u8>, Hint)>, String> {
        self.hints.scan(&self.database, b"", usize::MAX).map_err(|error| error.to_string())
    }
}

/// A time: `21-Nov-2026 09:44:15`.
pub(super) fn time(seconds: i64, zone: Zone) -> String {
    Stamp::from_seconds(seconds).strftime(zone, "%d-%b-%Y %H:%M:%S")
}

/// Whole seconds.
#[expect(clippy::cast_possible_truncation, reason = "a cast of a number to an integer saturates")]
pub(super) fn whole(seconds: f64) -> i64 {
    seconds as i64
}

/// What follows the point in a time.
pub(super) fn micros(seconds: f64) -> i64 {
    whole((seconds - seconds.floor()) * 1e6)
}

/// A record as exim_dumpdb shows it.
pub(super) fn shown(database: &Database, key: &[u8], hint: &Hint, zone: Zone) -> String {
    let name = String::from_utf8_lossy(key);
    let written = time(hint.stamp.seconds, zone);
    match database {
        Database::Retry => match RetryRecord::decode(&hint.value) {
            Some(record) => retry(&name, &record, zone),
            None => format!("  {name} unreadable\n"),
        },
        Database::Callout if key.contains(&b'@') => {
            let said = Said::of_letter(hint.value.first());
            format!("{written} {name} callout={}\n", word(said))
        }
        Database::Callout => {
            let domain = Domain::read(&hint.value);
            let with_time = |said: Said| match said {
                Said::Nothing => word(said).to_owned(),
                Said::Yes | Said::No => format!("{} ({written})", word(said)),
            };
            format!(
                "{written} {name} callout={} postmaster={} random={}\n",
                word(domain.mail),
                with_time(domain.postmaster),
                with_time(domain.random)
            )
        }
        Database::Ratelimit => match Rate::read(&hint.value) {
            Some(rate) => rate_line(&name, &rate, zone),
            None => format!("{written} key: {name} unreadable\n"),
        },
        Database::Seen => {
            let met = hint.value.as_slice().try_into().map_or(hint.stamp.seconds, i64::from_le_bytes);
            format!("{name}\t{}\n", time(met, zone))
        }
        Database::Wait(_) => format!("{name} {} \n", String::from_utf8_lossy(&hint.value)),
        Database::Misc | Database::Tls | Database::MtaSts => format!("{written} {name}\n"),
    }
}

/// Why a retry record is there: what was said, else the system's words for the number.
pub(super) fn reason(record: &RetryRecord) -> String {
    match (record.text.is_empty(), record.errno) {
        (false, _) => record.text.clone(),
        (true, 1..) => error_text(&std::io::Error::from_raw_os_error(record.errno)),
        (true, _) => "unknown error".to_owned(),
    }
}

/// The two lines of a retry record.
fn retry(name: &str, record: &RetryRecord, zone: Zone) -> String {
    format!(
        "  {name} {} {} {}\n{}  {}  {} {}\n",
        record.errno,
        record.more_errno,
        reason(record),
        time(record.first_failed, zone),
        time(record.last_try, zone),
        time(record.next_try, zone),
        if record.expired { "*" } else { "" }
    )
}

fn rate_line(name: &str, rate: &Rate, zone: Zone) -> String {
    let mut line =
        format!("{}.{:06} rate: {:10.3}", time(whole(rate.written), zone), micros(rate.written), rate.rate);
    if !rate.events.is_empty() {
        let bytes = rate.events.len().saturating_mul(8);
        line.push_str(&format!(" epoch: {} size: {bytes}", time(whole(rate.epoch), zone)));
    }
    format!("{line} key: {name}\n")
}

/// Exim's word.
pub(super) fn word(said: Said) -> &'static str {
    match said {
        Said::Nothing => "unknown",
        Said::Yes => "accept",
        Said::No => "reject",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_shown_as_exims() {
        let hint = |value: Vec<u8>| Hint { value, stamp: Stamp::from_seconds(1_795_252_455) };
        let shown = |database, key: &str, value| shown(&database, key.as_bytes(), &hint(value), Zone::Utc);
        let record = RetryRecord {
            first_failed: 1_795_252_455,
            last_try: 1_795_252_455,
            next_try: 1_795_253_055,
            expired: true,
            errno: 111,
            more_errno: 65,
            text: "Connection refused".to_owned(),
        };
        assert_eq!(
            shown(Database::Retry, "T:h:1.2.3.4", record.encode()),
            "  T:h:1.2.3.4 111 65 Connection refused\n21-Nov-2026 09:14:15  21-Nov-2026 09:14:15  21-Nov-2026 09:24:15 *\n"
        );
        assert_eq!(
            shown(Database::Callout, "a@b", b"n".to_vec()),
            "21-Nov-2026 09:14:15 a@b callout=reject\n"
        );
        assert_eq!(
            shown(Database::Callout, "b", b"y-n".to_vec()),
            "21-Nov-2026 09:14:15 b callout=accept postmaster=reject (21-Nov-2026 09:14:15) random=unknown\n"
        );
        let rate = Rate { rate: 3.0, written: 1_795_252_455.5, epoch: 1_795_252_455.0, events: vec![1] };
        assert_eq!(
            shown(Database::Ratelimit, "k", rate.write()),
            "21-Nov-2026 09:14:15.500000 rate:      3.000 epoch: 21-Nov-2026 09:14:15 size: 8 key: k\n"
        );
        assert_eq!(
            shown(Database::Seen, "k", 1_795_252_455_i64.to_le_bytes().to_vec()),
            "k\t21-Nov-2026 09:14:15\n"
        );
    }
}

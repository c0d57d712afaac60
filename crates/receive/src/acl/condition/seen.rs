//! The `seen` condition: a key has been met before, since or before a time. For greylisting and its kin.
//!
//! The hints hold the time at which a key was met. Without options, a test "since" always writes the present, a test "before" writes
//! if there was nothing, and when what it found is older than `refresh=`.
//! Failure modes: bad parameters make the ACL faulty; hints that cannot be used defer. Manual section 44.38.

use oxim_base::Text;
use oxim_base::clock::{self, Stamp};
use oxim_lang::config::Config;
use oxim_lang::list::split_at;
use oxim_spool::hints::{Database, Hint};

use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "seen",
    doc: "The key has been met since, or with `-` before, that time ago.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

/// When a record that answers "before" is written anew, so that it is not tidied away.
const REFRESH_DEFAULT: u64 = 10 * 24 * 3600;

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Seen))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// `readonly`.
    Never,
    /// `write`.
    Always,
    /// Neither.
    AsNeeded,
}

/// The parameters, read.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    is_before: bool,
    interval: i64,
    refresh: i64,
    write: Write,
    key: Option<Vec<u8>>,
}

fn parse(argument: &Text) -> Result<Parameters, String> {
    let shown = argument.to_string_lossy();
    let time = |text: &[u8]| {
        let seconds = clock::parse_interval(&String::from_utf8_lossy(text));
        seconds
            .and_then(|seconds| i64::try_from(seconds).ok())
            .ok_or_else(|| format!("failed to parse '{shown}'"))
    };
    let mut items = split_at(argument.as_bytes(), b'/');
    let first = items.next().unwrap_or_default();
    let (is_before, interval) = match first.strip_prefix(b"-") {
        Some(interval) => (true, interval),
        None => (false, first.as_ref()),
    };
    let mut parameters = Parameters {
        is_before,
        interval: time(interval)?,
        refresh: i64::try_from(REFRESH_DEFAULT).unwrap_or(i64::MAX),
        write: Write::AsNeeded,
        key: None,
    };
    for item in items {
        if let Some(key) = item.strip_prefix(b"key=") {
            parameters.key = Some(key.to_vec());
        } else if let Some(interval) = item.strip_prefix(b"refresh=") {
            parameters.refresh = time(interval)?;
        } else {
            parameters.write = match item.as_ref() {
                b"readonly" => Write::Never,
                b"write" => Write::Always,
                other => {
                    let option = String::from_utf8_lossy(other);
                    return Err(format!("unrecognised option '{option}' in '{shown}'"));
                }
            };
        }
    }
    Ok(parameters)
}

/// Whether the condition holds, and the time to write if there is one.
fn decide(met: Option<i64>, parameters: &Parameters, now: i64) -> (bool, Option<i64>) {
    let test = now.saturating_sub(parameters.interval);
    let holds = met.is_some_and(|met| if parameters.is_before { met <= test } else { met > test });
    let is_stale = met.is_some_and(|met| now.saturating_sub(met) > parameters.refresh);
    let write = match parameters.write {
        Write::Never => None,
        Write::Always => Some(now),
        Write::AsNeeded if !parameters.is_before || met.is_none() => Some(now),
        Write::AsNeeded if holds && is_stale => Some(test),
        Write::AsNeeded => None,
    };
    (holds, write)
}

#[derive(Debug)]
struct Seen;

impl Condition for Seen {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let parameters = match parse(argument) {
            Ok(parameters) => parameters,
            Err(what) => return Tested::faulty(what),
        };
        let Some(hints) = run.scene.context.services.hints.get().cloned() else {
            return Tested::logged(Answer::Later, "database for 'seen' not available");
        };
        let key = parameters.key.clone().unwrap_or_else(|| {
            let address = run.scene.context.connection.host_address;
            address.map(|address| address.to_string().into_bytes()).unwrap_or_default()
        });
        let now = Stamp::now();
        let held = if parameters.write == Write::Never {
            hints
                .get(&Database::Seen, &key)
                .map(|hint| decide(hint.and_then(|hint| met(&hint)), &parameters, now.seconds).0)
        } else {
            hints.update(&Database::Seen, &key, |hint| {
                let (holds, write) = decide(hint.as_ref().and_then(met), &parameters, now.seconds);
                match write {
                    Some(time) => (Some(Hint { value: time.to_le_bytes().to_vec(), stamp: now }), holds),
                    None => (hint, holds),
                }
            })
        };
        match held {
            Ok(holds) => Tested::of(holds),
            Err(error) => Tested::logged(Answer::Later, error.to_string()),
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// When the key was met; a record that makes no sense is none.
fn met(hint: &Hint) -> Option<i64> {
    hint.value.as_slice().try_into().ok().map(i64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(text: &str, met: Option<i64>) -> (bool, Option<i64>) {
        decide(met, &parse(&Text::clean(text)).unwrap(), 1_000_000)
    }

    #[test]
    fn what_holds_and_what_is_written() {
        let old = 1_000_000 - 400;
        assert_eq!(decided("1h", None), (false, Some(1_000_000)));
        assert_eq!(decided("1h", Some(old)), (true, Some(1_000_000)));
        assert_eq!(decided("5m", Some(old)), (false, Some(1_000_000)));
        assert_eq!(decided("-5m", None), (false, Some(1_000_000)));
        assert_eq!(decided("-5m", Some(old)), (true, None));
        assert_eq!(decided("-10m", Some(old)), (false, None));
        assert_eq!(decided("-5m/write", Some(old)), (true, Some(1_000_000)));
        assert_eq!(decided("-5m/refresh=6m", Some(old)), (true, Some(999_700)));
        assert_eq!(decided("1h/write/readonly", None), (false, None));
    }

    #[test]
    fn faults_are_named_as_exim_names_them() {
        for (text, fault) in [
            ("", "failed to parse ''"),
            ("- 1h", "failed to parse '- 1h'"),
            ("1h/refresh=x", "failed to parse '1h/refresh=x'"),
            ("1h/bogus", "unrecognised option 'bogus' in '1h/bogus'"),
        ] {
            assert_eq!(parse(&Text::clean(text)).unwrap_err(), fault);
        }
        assert_eq!(parse(&Text::clean("1h / key=a//b")).unwrap().key.unwrap(), b"a/b");
    }
}

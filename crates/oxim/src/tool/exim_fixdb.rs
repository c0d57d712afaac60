//! `exim_fixdb`: shows and changes single hints, by lines from standard input (manual section 54.14).
//!
//! A line is a key, whose record is shown; `d` deletes it; a number and a value change a field. `q` or the end of the input ends it.
//! A running daemon reads what it has to anew, but may write over a change of what it is just using.

use std::io::{BufRead, Write};

use oxim_base::clock::{Stamp, Zone};
use oxim_deliver::retry::RetryRecord;
use oxim_receive::hint_record::{Domain, Rate, Said};
use oxim_spool::hints::{Database, Hint};

use super::hints::{Opened, micros, reason, time, whole, word};
use super::{Call, hints};

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let opened = match hints::open(call, "[-z]") {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    say!("Modifying Exim hints database {}", opened.shown_path);
    let mut current: Option<Vec<u8>> = None;
    let mut input = std::io::stdin().lock();
    loop {
        say_part!("> ");
        let mut line = Vec::new();
        // Whoever reads our output may have gone; the input still counts.
        let _ = std::io::stdout().flush();
        match input.read_until(b'\n', &mut line) {
            Ok(0) => {
                say!("");
                return 0;
            }
            Ok(_) => {}
            Err(error) => return call.fail(1, error),
        }
        let line = line.trim_ascii();
        if line == b"q" {
            return 0;
        }
        if let Err(text) = step(&opened, &mut current, line) {
            return call.fail(1, text);
        }
    }
}

/// One line.
fn step(opened: &Opened, current: &mut Option<Vec<u8>>, line: &[u8]) -> Result<(), String> {
    let said = |error: oxim_spool::hints::HintsError| error.to_string();
    let is_change = line.first().is_some_and(u8::is_ascii_digit) && line.get(1).is_none_or(|b| *b == b' ');
    let key = match (&*current, line) {
        (None, b"d") => {
            say!("No previous record name is set");
            return Ok(());
        }
        (None, _) if is_change => {
            say!("No previous record name is set");
            return Ok(());
        }
        (Some(key), b"d") => {
            let was_there = opened.hints.get(&opened.database, key).map_err(said)?.is_some();
            opened.hints.delete(&opened.database, key).map_err(said)?;
            say!("{}", if was_there { "deleted" } else { "not found" });
            return Ok(());
        }
        (Some(key), _) if is_change => {
            let key = key.clone();
            if !change(opened, &key, line)? {
                return Ok(());
            }
            key
        }
        _ => line.to_vec(),
    };
    match opened.hints.get(&opened.database, &key).map_err(said)? {
        Some(hint) => {
            say_part!("{}", fields(&opened.database, &hint, opened.zone));
            *current = Some(key);
        }
        None => {
            say!("record {} not found", String::from_utf8_lossy(&key));
            *current = None;
        }
    }
    Ok(())
}

/// The fields of a record, with their numbers.
fn fields(database: &Database, hint: &Hint, zone: Zone) -> String {
    let mut out = format!("{}\n", time(hint.stamp.seconds, zone));
    let lines: Vec<(&str, String)> = match database {
        Database::Retry => RetryRecord::decode(&hint.value).map_or_else(Vec::new, |record| {
            vec![
                ("error number: ", format!("{} {}", record.errno, reason(&record))),
                ("extra data:   ", record.more_errno.to_string()),
                ("first failed: ", time(record.first_failed, zone)),
                ("last try:     ", time(record.last_try, zone)),
                ("next try:     ", time(record.next_try, zone)),
                ("expired:      ", if record.expired { "yes" } else { "no" }.to_owned()),
            ]
        }),
        Database::Callout => {
            let domain = Domain::read(&hint.value);
            let number = |said: Said| match said {
                Said::Nothing => "unknown (0)".to_owned(),
                Said::Yes => format!("{} (1)", word(said)),
                Said::No => format!("{} (2)", word(said)),
            };
            let mut lines = vec![("callout:    ", number(domain.mail))];
            if hint.value.len() > 1 {
                lines.push(("postmaster: ", number(domain.postmaster)));
                lines.push(("random:     ", number(domain.random)));
            }
            lines
        }
        Database::Ratelimit => Rate::read(&hint.value).map_or_else(Vec::new, |rate| {
            let mut lines = vec![
                ("time stamp:  ", time(whole(rate.written), zone)),
                ("fract. time: ", format!(".{:06}", micros(rate.written))),
                ("sender rate: ", format!("{:6.3}", rate.rate)),
            ];
            if !rate.events.is_empty() {
                lines.push(("filter epoch: ", time(whole(rate.epoch), zone).trim_start().to_owned()));
            }
            lines
        }),
        Database::Wait(_) | Database::Seen | Database::Misc | Database::Tls | Database::MtaSts => Vec::new(),
    };
    for (number, (name, value)) in lines.iter().enumerate() {
        out.push_str(&format!("{number} {name}{value}\n"));
    }
    out
}

/// What a field's value may be at fault with.
enum Wrong {
    Time,
    Number,
    Field,
    Kind,
}

/// Changes a field. False: there is no such field, and the record is not shown again.
fn change(opened: &Opened, key: &[u8], line: &[u8]) -> Result<bool, String> {
    let text = String::from_utf8_lossy(line).into_owned();
    let (field, value) = text.split_once(' ').unwrap_or((&text, ""));
    let value = value.trim();
    let said = |error: oxim_spool::hints::HintsError| error.to_string();
    let Some(hint) = opened.hints.get(&opened.database, key).map_err(said)? else { return Ok(true) };
    if value.is_empty() {
        say!("value missing");
        return Ok(false);
    }
    let new = match &opened.database {
        Database::Retry => retry(&hint, field, value),
        Database::Callout => callout(&hint, field, value),
        Database::Ratelimit => rate(&hint, field, value),
        Database::Wait(_) | Database::Seen | Database::Misc | Database::Tls | Database::MtaSts => {
            Err(Wrong::Kind)
        }
    };
    match new {
        Ok(value) => {
            opened.hints.put(&opened.database, key, &value, Stamp::now()).map_err(said)?;
            Ok(true)
        }
        Err(wrong) => {
            let is_field = !matches!(wrong, Wrong::Field);
            match wrong {
                Wrong::Time => say!("bad time value"),
                Wrong::Number => say!("bad number"),
                Wrong::Field => say!("unknown field number"),
                Wrong::Kind => {
                    let kind = opened.database.name();
                    let kind = kind.split('-').next().unwrap_or_default();
                    say!("Can't change contents of {kind} database record");
                }
            }
            Ok(is_field)
        }
    }
}

fn retry(hint: &Hint, field: &str, value: &str) -> Result<Vec<u8>, Wrong> {
    let mut record = RetryRecord::decode(&hint.value).ok_or(Wrong::Kind)?;
    match field {
        "0" => {
            // The text stays what it was, also where only the number told it.
            record.text = reason(&record);
            record.errno = value.parse().map_err(|_| Wrong::Number)?;
        }
        "1" => record.more_errno = value.parse().map_err(|_| Wrong::Number)?,
        "2" => record.first_failed = read_time(value).ok_or(Wrong::Time)?,
        "3" => record.last_try = read_time(value).ok_or(Wrong::Time)?,
        "4" => record.next_try = read_time(value).ok_or(Wrong::Time)?,
        "5" if matches!(value, "yes" | "no") => record.expired = value == "yes",
        "5" => return Err(Wrong::Number),
        _ => return Err(Wrong::Field),
    }
    Ok(record.encode())
}

fn callout(hint: &Hint, field: &str, value: &str) -> Result<Vec<u8>, Wrong> {
    let said = match value {
        "0" => Said::Nothing,
        "1" => Said::Yes,
        "2" => Said::No,
        _ => return Err(Wrong::Number),
    };
    if hint.value.len() <= 1 {
        return if field == "0" { Ok(vec![said.letter()]) } else { Err(Wrong::Field) };
    }
    let mut domain = Domain::read(&hint.value);
    match field {
        "0" => domain.mail = said,
        "1" => domain.postmaster = said,
        "2" => domain.random = said,
        _ => return Err(Wrong::Field),
    }
    Ok(domain.write().to_vec())
}

fn rate(hint: &Hint, field: &str, value: &str) -> Result<Vec<u8>, Wrong> {
    let mut rate = Rate::read(&hint.value).ok_or(Wrong::Kind)?;
    let number = || value.parse::<f64>().ok().filter(|n| n.is_finite()).ok_or(Wrong::Number);
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
    let seconds = |value: &str| read_time(value).map(|s| s as f64).ok_or(Wrong::Time);
    match field {
        "0" => rate.written = seconds(value)?,
        "1" => rate.written = rate.written.floor() + number()? / 1e6,
        "2" => rate.rate = number()?,
        "3" => rate.epoch = seconds(value)?,
        _ => return Err(Wrong::Field),
    }
    Ok(rate.write())
}

/// Pairs of digits for year, month, day, hour and minute, colons between them or not, in local time.
fn read_time(text: &str) -> Option<i64> {
    let digits: Vec<i64> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(10).map(i64::from)).collect::<Option<_>>()?;
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let pairs: Vec<i64> = pairs.iter().map(|[a, b]| a * 10 + b).collect();
    let [year, month, day, hour, minute] = pairs.as_slice() else { return None };
    let is_time = (1..=12).contains(month) && (1..=31).contains(day) && *hour < 24 && *minute < 60;
    let wanted = format!("{:04}-{month:02}-{day:02} {hour:02}:{minute:02}", 2000 + year);
    // The moment that the clock shows so: its difference from UTC is asked for near it, twice for a change of hours.
    let as_utc = super::log_line::seconds_of(&format!("{wanted}:00")).filter(|_| is_time)?;
    let mut moment = as_utc;
    for _ in 0..2 {
        let shown = Stamp::from_seconds(moment).strftime(Zone::Local, "%Y-%m-%d %H:%M:%S");
        moment = moment.checked_add(as_utc.checked_sub(super::log_line::seconds_of(&shown)?)?)?;
    }
    Some(moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_change_and_bad_values_do_not() {
        let record = RetryRecord { errno: 1, ..RetryRecord::default() };
        let hint = Hint { value: record.encode(), stamp: Stamp::default() };
        let changed = |field, value| retry(&hint, field, value).ok().and_then(|v| RetryRecord::decode(&v));
        assert_eq!(changed("0", "5").unwrap().errno, 5);
        assert!(changed("5", "yes").unwrap().expired);
        assert_eq!(changed("4", "271231:1000").unwrap().next_try, read_time("27:12:31:10:00").unwrap());
        for (field, value) in [("3", "x"), ("3", "271331:1000"), ("5", "2"), ("6", "1"), ("0", "")] {
            assert_eq!(changed(field, value), None, "{field} {value}");
        }
        let hint = Hint { value: b"yny".to_vec(), stamp: Stamp::default() };
        assert_eq!(callout(&hint, "1", "2").ok(), Some(b"ynn".to_vec()));
        assert!(callout(&hint, "3", "2").is_err() && callout(&hint, "1", "reject").is_err());
        let hint = Hint { value: Rate::default().write(), stamp: Stamp::default() };
        assert!(rate(&hint, "2", "7.5").is_ok() && rate(&hint, "2", "nan").is_err());
    }
}

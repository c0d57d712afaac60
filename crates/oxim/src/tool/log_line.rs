//! A line of a main log, from the file itself or from syslog: its time, its message, its text.
//!
//! In front of the text may stand what syslog puts there (`Nov 20 03:00:02 host exim[2]: ` or with an ISO time), the
//! date and time with milliseconds and zone, and a process id in brackets. A line without date in either form is none.

use oxim_mail::message_id::MessageId;

/// A line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine<'a> {
    /// The line without what syslog put in front of Exim's own date; with it, if that is the only date.
    pub whole: &'a str,
    /// `2026-11-20 03:00:02`. None: syslog's date is the only one.
    pub time: Option<&'a str>,
    /// The message that it is about.
    pub id: Option<MessageId>,
    /// What follows.
    pub text: &'a str,
}

impl<'a> LogLine<'a> {
    /// Takes a line apart. None: it is no line of a log.
    pub(super) fn read(line: &'a str) -> Option<LogLine<'a>> {
        let (own, rest) = match after_time(line) {
            Some(rest) => (Some(line), rest),
            None => {
                let rest = after_syslog(line)?;
                match after_time(rest) {
                    Some(text) => (Some(rest), text),
                    None => (None, rest),
                }
            }
        };
        let text = after_pid(rest);
        let (id, text) = match text.split_once(' ') {
            Some((word, text)) if MessageId::parse(word.as_bytes()).is_some() => {
                (MessageId::parse(word.as_bytes()), text)
            }
            _ => (None, text),
        };
        Some(LogLine { whole: own.unwrap_or(line), time: own.and_then(|own| own.get(..19)), id, text })
    }

    /// How far the zone of the time is before UTC, in seconds, if the line tells it.
    pub(super) fn offset(&self) -> Option<i64> {
        let zone = after_milliseconds(self.whole.get(19..).filter(|_| self.time.is_some())?);
        let number = |from: usize, to: usize| zone.get(from..to)?.parse::<i64>().ok();
        let seconds = number(2, 4)?.checked_mul(60)?.checked_add(number(4, 6)?)?.checked_mul(60)?;
        has_zone(zone).then_some(if zone.starts_with(" -") { -seconds } else { seconds })
    }

    /// Seconds since 1970 of the time, as if it were UTC: for differences.
    pub(super) fn seconds(&self) -> Option<i64> {
        seconds_of(self.time?)
    }
}

/// Seconds since 1970 of `2026-11-20 03:00:02`, as if it were UTC.
pub(super) fn seconds_of(time: &str) -> Option<i64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let clock = number(11, 13)?.checked_mul(3_600)?.checked_add(number(14, 16)?.checked_mul(60)?)?;
    days(year, month, day)?.checked_mul(86_400)?.checked_add(clock)?.checked_add(number(17, 19)?)
}

/// Days since 1970 in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era.checked_mul(146_097)?.checked_add(of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Whether a text begins with this shape; `9` stands for any digit.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && shape.bytes().zip(text.bytes()).all(|(s, b)| if s == b'9' { b.is_ascii_digit() } else { s == b })
}

/// What follows date, time, milliseconds and zone.
fn after_time(line: &str) -> Option<&str> {
    if !has_shape(line, "9999-99-99 99:99:99") {
        return None;
    }
    let rest = after_milliseconds(line.get(19..)?);
    let rest = if has_zone(rest) { rest.get(6..)? } else { rest };
    rest.strip_prefix(' ')
}

/// Takes `.123` off.
fn after_milliseconds(rest: &str) -> &str {
    if has_shape(rest, ".999") { rest.get(4..).unwrap_or_default() } else { rest }
}

/// Whether a text begins with ` +0100 `.
fn has_zone(rest: &str) -> bool {
    has_shape(rest, " +9999 ") || has_shape(rest, " -9999 ")
}

/// What follows the part of syslog: time, host, program.
fn after_syslog(line: &str) -> Option<&str> {
    let rest = if has_shape(line, "9999-99-99T99:99:99") {
        line.split_once(' ')?.1
    } else {
        // `Nov 20 03:00:02`
        let is_date = line.get(..3)?.bytes().all(|b| b.is_ascii_alphabetic())
            && has_shape(line.get(6..)?, " 99:99:99 ");
        is_date.then(|| line.get(16..))??
    };
    let (_host, rest) = rest.split_once(' ')?;
    let (program, rest) = rest.split_once(": ")?;
    (!program.contains(' ')).then_some(rest)
}

/// What follows `[123] `.
fn after_pid(text: &str) -> &str {
    let inner = text.strip_prefix('[').and_then(|t| t.split_once("] "));
    match inner {
        Some((pid, rest)) if !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_kinds() {
        let id = MessageId::parse(b"1xUh6V-0007qv-19");
        let read = |line| LogLine::read(line).map(|l| (l.whole, l.time, l.id, l.text));
        let own = "2026-11-20 03:00:00 1xUh6V-0007qv-19 <= root";
        let time = Some("2026-11-20 03:00:00");
        assert_eq!(read(own), Some((own, time, id, "<= root")));
        let precise = "2026-11-20 03:00:00.123 +0100 [99] 1xUh6V-0007qv-19 <= root";
        assert_eq!(read(precise), Some((precise, time, id, "<= root")));
        let syslog = "Nov 20 03:00:02 h exim[2]: 2026-11-20 03:00:00 1xUh6V-0007qv-19 <= root";
        assert_eq!(read(syslog), Some((own, time, id, "<= root")));
        let bare = "2026-11-20T03:00:02.123456+00:00 h exim[2]: 1xUh6V-0007qv-19 Completed";
        assert_eq!(read(bare), Some((bare, None, id, "Completed")));
        let offset = |line| LogLine::read(line).and_then(|l| l.offset());
        assert_eq!((offset(own), offset(precise)), (None, Some(3_600)));
        assert_eq!(offset("2026-11-20 03:00:00 -0330 x"), Some(-12_600));
        assert_eq!(read("garbage"), None);
        assert_eq!(read("2026-11-20 03:00:00 x y").unwrap().3, "x y");
        assert_eq!(read("2026-11-20 03:00:00 TLS error").unwrap().3, "TLS error");
        assert_eq!(LogLine::read("2026-11-20 03:00:00 x").unwrap().seconds(), Some(1_795_143_600));
        assert_eq!(LogLine::read("1970-01-01 00:00:01 x").unwrap().seconds(), Some(1));
    }
}

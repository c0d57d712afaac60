//! Points in time and how Exim writes them.
//!
//! Wall-clock time is taken once per log line or header; intervals use `std::time::Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Local, Utc};

/// Wall-clock time now, seconds and microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: i64,
    /// Microseconds within the second, 0 to 999,999.
    pub micros: u32,
}

/// Which zone times are written in (manual: `timezone`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// The zone of the machine, or of `TZ`.
    #[default]
    Local,
    /// `timezone = UTC`.
    Utc,
}

impl Stamp {
    /// The time now.
    #[must_use]
    pub fn now() -> Stamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Stamp { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), micros: since.subsec_micros() }
    }

    /// A point given in whole seconds since 1970.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Stamp {
        Stamp { seconds, micros: 0 }
    }

    /// Time from an earlier point to this one; zero if the clock went back.
    #[must_use]
    pub fn since(self, earlier: Stamp) -> Duration {
        let micros = |s: Stamp| s.seconds.saturating_mul(1_000_000).saturating_add(i64::from(s.micros));
        let difference = micros(self).saturating_sub(micros(earlier)).max(0);
        Duration::from_micros(u64::try_from(difference).unwrap_or(0))
    }

    fn format(self, zone: Zone, pattern: &str) -> String {
        let utc: DateTime<Utc> =
            DateTime::from_timestamp(self.seconds, self.micros.saturating_mul(1000)).unwrap_or_default();
        match zone {
            Zone::Local => utc.with_timezone(&Local).format(pattern).to_string(),
            Zone::Utc => utc.format(pattern).to_string(),
        }
    }

    /// `2026-11-21 02:43:05`, as log lines begin without `log_timezone` and `+millisec`.
    #[must_use]
    pub fn log(self, zone: Zone) -> String {
        self.format(zone, "%Y-%m-%d %H:%M:%S")
    }

    /// The offset of the zone, `+0100`.
    #[must_use]
    pub fn zone_offset(self, zone: Zone) -> String {
        self.format(zone, "%z")
    }

    /// `Sat, 21 Nov 2026 02:43:05 +0000`: the RFC 5322 date, and `$tod_full`.
    #[must_use]
    pub fn rfc5322(self, zone: Zone) -> String {
        self.format(zone, "%a, %d %b %Y %H:%M:%S %z")
    }

    /// `Sat Nov 21 02:43:05 2026`: the mbox separator's date, and `$tod_bsdinbox`.
    #[must_use]
    pub fn bsd_inbox(self, zone: Zone) -> String {
        self.format(zone, "%a %b %d %H:%M:%S %Y")
    }

    /// Any strftime pattern, for `$tod_logfile` and `%D` in log file names.
    #[must_use]
    pub fn strftime(self, zone: Zone, pattern: &str) -> String {
        self.format(zone, pattern)
    }
}

/// Writes an interval as Exim does: `1w2d3h4m5s`, zero parts left out, `0s` for nothing (manual section 6.15).
#[must_use]
pub fn interval(seconds: u64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut rest = seconds;
    let mut out = String::new();
    for (unit, letter) in [(604_800, 'w'), (86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            out.push_str(&count.to_string());
            out.push(letter);
        }
    }
    out
}

/// As [`interval`], but with milliseconds if they are wanted and the time is short: the times in log lines.
#[must_use]
pub fn short_interval(time: Duration, millisec: bool) -> String {
    if millisec && time.as_secs() < 5 {
        return format!("{}.{:03}s", time.as_secs(), time.subsec_millis());
    }
    interval(time.as_secs())
}

/// The longest interval that is read: 68 years, as in Exim.
const INTERVAL_SECONDS_MAX: u64 = i32::MAX as u64;

/// Reads an interval such as `1w2d3h4m5s` or a bare number of seconds. None if it is malformed or too large.
///
/// Units may be given in any order that gets smaller, each once at most (manual section 6.15).
#[must_use]
pub fn parse_interval(text: &str) -> Option<u64> {
    let mut total: u64 = 0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let mut letters = tail.chars();
        let unit = match letters.next() {
            None | Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            Some(_) => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = letters.as_str();
    }
    (total <= INTERVAL_SECONDS_MAX).then_some(total)
}

/// Like [`parse_interval`], but each number must have its unit, as Exim wants it in the configuration.
#[must_use]
pub fn parse_interval_with_units(text: &str) -> Option<u64> {
    if text.ends_with(|c: char| c.is_ascii_digit()) { None } else { parse_interval(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_times_have_milliseconds() {
        let shown = |ms| short_interval(Duration::from_millis(ms), true);
        assert_eq!((shown(4_999), shown(5_000)), ("4.999s".to_owned(), "5s".to_owned()));
        assert_eq!(short_interval(Duration::from_millis(4_999), false), "4s");
    }

    #[test]
    fn intervals_round_trip() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (3_600, "1h"), (694_861, "1w1d1h1m1s")] {
            assert_eq!(interval(seconds), text);
            assert_eq!(parse_interval(text), Some(seconds));
        }
        assert_eq!(parse_interval("90"), Some(90));
        assert_eq!(parse_interval_with_units("90"), None);
        assert_eq!(parse_interval_with_units("1h5"), None);
        assert_eq!(parse_interval_with_units("1h5m"), Some(3_900));
        assert_eq!(parse_interval("1x"), None);
        assert_eq!(parse_interval(""), None);
        assert_eq!(parse_interval("h"), None);
        assert_eq!(parse_interval("3550w5d3h14m7s"), Some(2_147_483_647));
        assert_eq!(parse_interval("3550w5d3h14m8s"), None);
    }

    #[test]
    fn dates_in_utc() {
        let stamp = Stamp::from_seconds(1_000_000_000);
        assert_eq!(stamp.rfc5322(Zone::Utc), "Sun, 09 Sep 2001 01:46:40 +0000");
        assert_eq!(stamp.log(Zone::Utc), "2001-09-09 01:46:40");
        assert_eq!(stamp.bsd_inbox(Zone::Utc), "Sun Sep 09 01:46:40 2001");
    }
}

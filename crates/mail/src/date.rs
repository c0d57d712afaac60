//! Dates in header lines (RFC 5322 section 3.3), as they are found: with comments, old zone names, two-digit years.
//!
//! Writing is `oxim_base::clock::Stamp::rfc5322`. Failure: a text without a date in it gives None.

use chrono::NaiveDate;

/// Reads a date; the result is seconds since 1970. Comments and a day of the week are passed over.
#[must_use]
pub fn parse(text: &[u8]) -> Option<i64> {
    let plain = without_comments(text);
    let mut words = plain
        .split(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b','))
        .filter(|w| !w.is_empty())
        .map(|w| std::str::from_utf8(w).unwrap_or_default())
        .peekable();
    if words.peek()?.starts_with(|c: char| c.is_ascii_alphabetic()) {
        words.next();
    }
    let day: u32 = words.next()?.parse().ok()?;
    let month = month(words.next()?)?;
    let year = year(words.next()?)?;
    let (hour, minute, second) = time(words.next()?)?;
    let offset = words.next().map_or(Some(0), zone)?;
    // A leap second counts as the second before it.
    let date = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, minute, second.min(59))?;
    date.and_utc().timestamp().checked_sub(offset)
}

fn without_comments(text: &[u8]) -> Vec<u8> {
    let mut depth = 0_usize;
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'(' => depth = depth.saturating_add(1),
            b')' => {
                depth = depth.saturating_sub(1);
                out.push(b' ');
            }
            _ if depth == 0 => out.push(byte),
            _ => {}
        }
    }
    out
}

fn month(word: &str) -> Option<u32> {
    let names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let index = names.iter().position(|n| word.get(..3).is_some_and(|w| w.eq_ignore_ascii_case(n)))?;
    u32::try_from(index).ok()?.checked_add(1)
}

/// RFC 5322 section 4.3: two digits below 50 are this century, three digits count from 1900.
fn year(word: &str) -> Option<i32> {
    let year: i32 = word.parse().ok()?;
    match (word.len(), year) {
        (2, 0..=49) => year.checked_add(2000),
        (2 | 3, _) => year.checked_add(1900),
        (4.., 1900..) => Some(year),
        _ => None,
    }
}

fn time(word: &str) -> Option<(u32, u32, u32)> {
    let mut parts = word.split(':').map(|p| p.parse::<u32>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    (hour < 24 && minute < 60 && second < 61 && parts.next().is_none()).then_some((hour, minute, second))
}

/// Seconds east of Greenwich. Unknown names count as UTC, as the RFC says.
fn zone(word: &str) -> Option<i64> {
    let hours = |h: i64| Some(h.saturating_mul(3600));
    if let Some((sign, digits)) = word.split_at_checked(1).filter(|(s, _)| matches!(*s, "+" | "-")) {
        let number: i64 = digits.parse().ok().filter(|_| digits.len() == 4)?;
        let seconds = (number / 100).saturating_mul(3600).saturating_add((number % 100).saturating_mul(60));
        return Some(if sign == "-" { seconds.saturating_neg() } else { seconds });
    }
    match word.to_ascii_uppercase().as_str() {
        "EDT" => hours(-4),
        "EST" | "CDT" => hours(-5),
        "CST" | "MDT" => hours(-6),
        "MST" | "PDT" => hours(-7),
        "PST" => hours(-8),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_all_ages() {
        for (text, seconds) in [
            ("Sun, 09 Sep 2001 01:46:40 +0000", 1_000_000_000),
            ("9 Sep 2001 03:46:40 +0200 (CEST)", 1_000_000_000),
            ("Sat, 8 Sep 01 21:46:40 EDT", 1_000_000_000),
            ("Sat, 8 Sep 101 21:46:40 -0400", 1_000_000_000),
            ("Sun,\r\n 09 (ninth) Sep 2001 01:46:40 GMT", 1_000_000_000),
            ("Sun, 09 Sep 2001 01:46 Z", 999_999_960),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "32 Jan 2001 00:00:00 +0000",
            "1 Jan 2001",
            "1 Jan 2001 25:00 +0000",
            "1 Jan 2001 1:2:3:4",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_the_clock_writes_is_read() {
        use oxim_base::clock::{Stamp, Zone};
        let stamp = Stamp::from_seconds(1_795_230_419);
        assert_eq!(parse(stamp.rfc5322(Zone::Utc).as_bytes()), Some(stamp.seconds));
    }
}

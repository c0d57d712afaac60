//! A reader of DER, as far as OCSP needs it (X.690). Failure mode: `None`; nothing is skipped and nothing is guessed.

use super::super::signature::element;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const PRIMITIVE_0: u8 = 0x80;
pub(super) const PRIMITIVE_2: u8 = 0x82;
pub(super) const CONTEXT_0: u8 = 0xa0;
pub(super) const CONTEXT_1: u8 = 0xa1;
pub(super) const CONTEXT_2: u8 = 0xa2;

/// Elements yet to be read.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element: tag and content.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, content, rest) = element(self.0)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, if it has this tag; else it stays unread.
    pub(super) fn next_of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(content)
    }

    /// The next element with its header, if it has this tag; else it stays unread.
    pub(super) fn next_whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.next_of(tag)?;
        before.get(..before.len().checked_sub(self.0.len())?)
    }

    /// The content of the one element that there is.
    pub(super) fn only(mut self, tag: u8) -> Option<&'a [u8]> {
        let content = self.next_of(tag)?;
        self.is_empty().then_some(content)
    }

    /// The one element that there is, with its header.
    pub(super) fn only_whole(mut self, tag: u8) -> Option<&'a [u8]> {
        let whole = self.next_whole(tag)?;
        self.is_empty().then_some(whole)
    }
}

/// Seconds since the epoch of a GeneralizedTime as RFC 6960 has it: `YYYYMMDDHHMMSSZ`.
pub(super) fn seconds(text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == 14)?;
    let number = |from: usize, to: usize| {
        let part = digits.get(from..to)?;
        if !part.iter().all(u8::is_ascii_digit) {
            return None;
        }
        std::str::from_utf8(part).ok()?.parse::<i64>().ok()
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour <= 23
        && minute <= 59
        // A leap second is the second after it.
        && second <= 60;
    if !is_time {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since the epoch of a date of the Gregorian calendar; years begin in March here, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let in_year = (153 * month + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        for (text, expected) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20261121091122Z", Some(1_795_252_282)),
            ("20991231000000Z", Some(4_102_358_400)),
            ("20001301000000Z", None),
            ("20000101000000", None),
            ("20000101000000.5Z", None),
            ("+0000101000000Z", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn elements_are_taken_by_tag() {
        let mut der = Der(&[2, 1, 7, 4, 0]);
        assert_eq!(der.next_of(OCTET_STRING), None);
        assert_eq!(der.next_whole(INTEGER), Some(&[2, 1, 7][..]));
        assert_eq!(der.only(OCTET_STRING), Some(&[][..]));
        assert_eq!(Der(&[2, 1, 7, 4, 0]).only(INTEGER), None);
    }
}

//! Message ids: the names under which messages are queued and logged (manual section 3.4).
//!
//! Two forms are read and written: 23 characters `tttttt-ppppppppppp-ffff`, Exim's since 4.97, and the 16 characters
//! `tttttt-pppppp-ff` of before, written under `message_id_form = short` (ours). The fields are base 62: seconds
//! since 1970; process id; fraction of the second. Failure: a text that is no id does not parse.

use std::fmt;

use oxim_base::clock::Stamp;
use parking_lot::Mutex;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LONG: usize = 23;
const SHORT: usize = 16;
/// In short ids of one process, the counter goes above the process id in steps of this: Linux's largest pid plus one.
const PID_SPAN: u64 = 1 << 22;

/// Which of the two forms new ids have: the option `message_id_form`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// 23 characters.
    #[default]
    Long,
    /// 16 characters, which an Exim before 4.97 can read.
    Short,
}

/// The id of a message: 16 or 23 characters of base 62 with two hyphens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    text: [u8; LONG],
    length: u8,
}

impl MessageId {
    /// Reads an id; None if the text is none. A leading `E`, as in Message-Id: lines, is not part of it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<MessageId> {
        let fields: [usize; 3] = match text.len() {
            LONG => [6, 11, 4],
            SHORT => [6, 6, 2],
            _ => return None,
        };
        let mut parts = text.split(|b| *b == b'-');
        for width in fields {
            let part = parts.next()?;
            if part.len() != width || !part.iter().all(u8::is_ascii_alphanumeric) {
                return None;
            }
        }
        let mut id = MessageId { text: [0; LONG], length: u8::try_from(text.len()).ok()? };
        id.text.get_mut(..text.len())?.copy_from_slice(text);
        Some(id)
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.text.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(bytes).expect("parse and Generator put ASCII only")
    }

    /// The characters as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    /// The form of this id.
    #[must_use]
    pub fn form(&self) -> Form {
        if usize::from(self.length) == SHORT { Form::Short } else { Form::Long }
    }

    fn field(&self, index: usize) -> u64 {
        let part = self.as_str().split('-').nth(index).unwrap_or_default();
        decode_base62(part.as_bytes()).unwrap_or(0)
    }

    /// When the message arrived, in whole seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        i64::try_from(self.field(0)).unwrap_or(i64::MAX)
    }

    /// The process that received it. In short ids of a busy process the field holds more than the process id.
    #[must_use]
    pub fn pid(&self) -> u64 {
        match self.form() {
            Form::Long => self.field(1),
            Form::Short => self.field(1) % PID_SPAN,
        }
    }

    /// When the message arrived, to the microsecond. `localhost_number` is that of the host that made the id.
    #[must_use]
    pub fn stamp(&self, localhost_number: Option<u32>) -> Stamp {
        let units = self.field(2);
        let (span, unit) = fraction_units(self.form(), localhost_number.is_some());
        let base = u64::from(localhost_number.unwrap_or(0)).saturating_mul(span);
        let micros = units.saturating_sub(base).saturating_mul(unit);
        Stamp { seconds: self.seconds(), micros: u32::try_from(micros).unwrap_or(0).min(999_999) }
    }

    /// The letter of the subdirectory under `split_spool_directory`: the sixth character.
    #[must_use]
    pub fn split_letter(&self) -> char {
        self.text.get(5).copied().map_or('0', char::from)
    }

    /// The id in the long form: a short one has zeros put in, as `exim_id_update --upgrade` does.
    #[must_use]
    pub fn to_long(self) -> MessageId {
        if self.form() == Form::Long {
            return self;
        }
        let (head, fraction) = self.as_str().rsplit_once('-').unwrap_or_default();
        let (time, middle) = head.split_once('-').unwrap_or_default();
        MessageId::parse(format!("{time}-00000{middle}-{fraction}00").as_bytes()).unwrap_or(self)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for MessageId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::str::FromStr for MessageId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<MessageId, NotAnId> {
        MessageId::parse(text.as_bytes()).ok_or(NotAnId)
    }
}

/// The text is no message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a message id")
    }
}

impl std::error::Error for NotAnId {}

/// How many units of fraction a second has, and how many microseconds a unit is.
fn fraction_units(form: Form, has_number: bool) -> (u64, u64) {
    match (form, has_number) {
        (Form::Long, false) => (1_000_000, 1),
        (Form::Long, true) => (500_000, 2),
        (Form::Short, false) => (2_000, 500),
        (Form::Short, true) => (200, 5_000),
    }
}

/// Makes ids that differ from all others of this host, without waiting.
///
/// Long ids of one process are told apart by the fraction, which runs ahead of the clock when more than one message
/// arrives in a unit. Short ones, whose fraction is coarse, by a counter in the middle field above the process id.
#[derive(Debug)]
pub struct Generator {
    pid: u64,
    localhost_number: Option<u32>,
    form: Form,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Last {
    slot: u64,
    count: u64,
}

impl Generator {
    /// A generator for one process of one host. `localhost_number` is the option of that name, 0 to 16.
    #[must_use]
    pub fn new(pid: u32, localhost_number: Option<u32>, form: Form) -> Generator {
        Generator { pid: u64::from(pid), localhost_number, form, last: Mutex::new(Last::default()) }
    }

    /// A new id for a message that arrived at `now`.
    #[must_use]
    pub fn next(&self, now: Stamp) -> MessageId {
        let (span, unit) = fraction_units(self.form, self.localhost_number.is_some());
        let seconds = u64::try_from(now.seconds).unwrap_or(0);
        let slot = seconds.saturating_mul(span).saturating_add(u64::from(now.micros.min(999_999)) / unit);
        let (slot, count) = self.claim(slot);
        let base = u64::from(self.localhost_number.unwrap_or(0)).saturating_mul(span);
        let fraction = base.saturating_add(slot % span);
        let mut id = MessageId { text: [0; LONG], length: 0 };
        match self.form {
            Form::Long => id.fill(LONG, [(slot / span, 6), (self.pid, 11), (fraction, 4)]),
            Form::Short => {
                let middle = self.pid.saturating_add(count.saturating_mul(PID_SPAN));
                id.fill(SHORT, [(slot / span, 6), (middle, 6), (fraction, 2)]);
            }
        }
        id
    }

    /// Takes a place of its own: never one that was taken before, even if the clock goes back.
    fn claim(&self, slot: u64) -> (u64, u64) {
        // The middle field of a short id has room for 62^6 / 2^22 counts above the process id.
        let counts = match self.form {
            Form::Long => 1,
            Form::Short => 13_000,
        };
        let mut last = self.last.lock();
        if slot > last.slot {
            *last = Last { slot, count: 0 };
        } else if last.count.saturating_add(1) < counts {
            last.count = last.count.saturating_add(1);
        } else {
            *last = Last { slot: last.slot.saturating_add(1), count: 0 };
        }
        (last.slot, last.count)
    }
}

impl MessageId {
    fn fill(&mut self, length: usize, fields: [(u64, usize); 3]) {
        self.text = [0; LONG];
        self.text.iter_mut().take(length).for_each(|place| *place = b'-');
        self.length = u8::try_from(length).unwrap_or(0);
        let mut at = 0_usize;
        for (value, width) in fields {
            let mut rest = value;
            for place in self.text.iter_mut().skip(at).take(width).rev() {
                *place = digit(rest % 62);
                rest /= 62;
            }
            at = at.saturating_add(width).saturating_add(1);
        }
    }
}

fn digit(value: u64) -> u8 {
    usize::try_from(value).ok().and_then(|v| DIGITS.get(v)).copied().unwrap_or(b'0')
}

/// A number in base 62, at least `width` digits wide.
#[must_use]
pub fn encode_base62(value: u64, width: usize) -> String {
    let mut digits = Vec::new();
    let mut rest = value;
    while rest > 0 || digits.len() < width.max(1) {
        digits.push(digit(rest % 62));
        rest /= 62;
    }
    digits.iter().rev().copied().map(char::from).collect()
}

/// Reads a number in base 62. None if it is empty, has another character, or is too large.
#[must_use]
pub fn decode_base62(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let value = match byte {
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'A'..=b'Z' => byte.wrapping_sub(b'A').wrapping_add(10),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(36),
            _ => return None,
        };
        sum.checked_mul(62)?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_of_exim_is_read() {
        // Made by exim4 4.96 at 2026-11-21 03:06:59.948967 UTC.
        let id = MessageId::parse(b"1xUbRL-0004r9-33").unwrap();
        assert_eq!(
            (id.seconds(), id.form(), id.to_string().as_str()),
            (1_795_230_419, Form::Short, "1xUbRL-0004r9-33")
        );
        assert_eq!(id.stamp(None).micros / 1000, 94);
        assert_eq!(id.to_long().as_str(), "1xUbRL-000000004r9-3300");
        assert_eq!(id.split_letter(), 'L');
        let long = MessageId::parse(b"16VDhn-000000001bo-D342").unwrap();
        assert_eq!((long.form(), long.pid()), (Form::Long, decode_base62(b"1bo").unwrap()));
        for bad in [
            "",
            "1xUbRL-0004r9-3",
            "1xUbRL_0004r9-33",
            "1xUbRL-0004r9-3.",
            "-xUbRL-0004r9-33",
            "1xUbR-00004r9-33",
        ] {
            assert_eq!(MessageId::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn ids_are_unique_and_ordered_without_waiting() {
        for (form, number) in
            [(Form::Long, None), (Form::Long, Some(3)), (Form::Short, None), (Form::Short, Some(16))]
        {
            let generator = Generator::new(4_194_303, number, form);
            let now = Stamp { seconds: 1_795_230_419, micros: 999_990 };
            let ids: Vec<MessageId> = (0..30_000).map(|_| generator.next(now)).collect();
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
            assert!(ids.iter().all(|id| MessageId::parse(id.as_bytes()) == Some(*id)));
            assert!(ids.iter().all(|id| id.pid() == 4_194_303));
            let earlier = generator.next(Stamp::from_seconds(1_795_230_000));
            assert!(!ids.contains(&earlier));
        }
    }

    #[test]
    fn time_and_process_come_back() {
        for (form, number, unit) in [
            (Form::Long, None, 1),
            (Form::Long, Some(16), 2),
            (Form::Short, None, 500),
            (Form::Short, Some(2), 5_000),
        ] {
            let now = Stamp { seconds: 1_795_230_419, micros: 123_457 };
            let id = Generator::new(12_345, number, form).next(now);
            let back = id.stamp(number);
            assert_eq!((back.seconds, back.micros / unit), (now.seconds, now.micros / unit));
            assert_eq!(id.pid(), 12_345);
        }
    }

    #[test]
    fn base62_round_trips() {
        for value in [0, 1, 61, 62, 1_795_230_419, u64::MAX] {
            assert_eq!(decode_base62(encode_base62(value, 6).as_bytes()), Some(value));
        }
        assert_eq!(encode_base62(0, 2), "00");
        assert_eq!(decode_base62(b"!"), None);
        assert_eq!(decode_base62(b"zzzzzzzzzzzz"), None);
    }
}

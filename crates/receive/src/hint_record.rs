//! What reception keeps in the hints: rates, and results of callouts. The programs that show hints read them by this too.
//!
//! A value that makes no sense is no record: hints are hints.

/// What a host said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// It was not asked, or that was too long ago.
    #[default]
    Nothing,
    /// Yes.
    Yes,
    /// No.
    No,
}

impl Said {
    /// How it is written.
    #[must_use]
    pub const fn letter(self) -> u8 {
        match self {
            Said::Nothing => b'-',
            Said::Yes => b'y',
            Said::No => b'n',
        }
    }

    /// Reads the letter; anything else is nothing.
    #[must_use]
    pub fn of_letter(letter: Option<&u8>) -> Said {
        match letter {
            Some(b'y') => Said::Yes,
            Some(b'n') => Said::No,
            Some(_) | None => Said::Nothing,
        }
    }
}

/// What is known of a domain: whether it takes mail from the empty sender, for any local part, and for postmaster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Domain {
    /// Everything up to MAIL with an empty sender.
    pub mail: Said,
    /// A local part that cannot exist.
    pub random: Said,
    /// postmaster.
    pub postmaster: Said,
}

impl Domain {
    /// Reads the three letters.
    #[must_use]
    pub fn read(value: &[u8]) -> Domain {
        Domain {
            mail: Said::of_letter(value.first()),
            random: Said::of_letter(value.get(1)),
            postmaster: Said::of_letter(value.get(2)),
        }
    }

    /// The three letters.
    #[must_use]
    pub fn write(self) -> [u8; 3] {
        [self.mail.letter(), self.random.letter(), self.postmaster.letter()]
    }
}

/// What is remembered of a key of `ratelimit`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rate {
    /// Events in a period.
    pub rate: f64,
    /// When it was written, in seconds.
    pub written: f64,
    /// When the first event of the set came.
    pub epoch: f64,
    /// The hashes of the values that were seen since, in order.
    pub events: Vec<u64>,
}

impl Rate {
    /// Reads what `write` wrote.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Rate> {
        let (words, []) = value.as_chunks::<8>() else { return None };
        let [rate, written, epoch, events @ ..] = words else { return None };
        let record = Rate {
            rate: f64::from_le_bytes(*rate),
            written: f64::from_le_bytes(*written),
            epoch: f64::from_le_bytes(*epoch),
            events: events.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        };
        (record.rate.is_finite() && record.written.is_finite() && record.epoch.is_finite()).then_some(record)
    }

    /// The bytes for the hints.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(24_usize.saturating_add(self.events.len().saturating_mul(8)));
        for number in [self.rate, self.written, self.epoch] {
            value.extend_from_slice(&number.to_le_bytes());
        }
        for event in &self.events {
            value.extend_from_slice(&event.to_le_bytes());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let rate = Rate { rate: 1.5, written: 2.25, epoch: 1.0, events: vec![7, 9] };
        assert_eq!(Rate::read(&rate.write()), Some(rate));
        assert_eq!(Rate::read(b"12345678"), None);
        assert_eq!(Rate::read(&Rate { rate: f64::NAN, ..Rate::default() }.write()), None);
        let domain = Domain { mail: Said::Yes, random: Said::No, postmaster: Said::Nothing };
        assert_eq!(Domain::read(&domain.write()), domain);
        assert_eq!(Domain::read(b"?"), Domain::default());
    }
}

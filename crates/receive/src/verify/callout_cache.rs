//! What callouts have found out, in the hints database `callout`: one record for each address, one for each domain.
//!
//! Records expire by `callout_negative_expire` and its three kin. A record that cannot be read counts as none; hints are
//! hints. Manual section 44.48.

use std::time::Duration;

use oxim_base::clock::Stamp;
use oxim_lang::config::Options;
use oxim_spool::hints::{Database, Hints};

pub(super) use crate::hint_record::{Domain, Said};

/// The cache, as one callout uses it.
pub(super) struct Cache<'a> {
    hints: &'a Hints,
    options: &'a Options,
}

impl<'a> Cache<'a> {
    /// The cache of a configuration.
    pub(super) fn new(hints: &'a Hints, options: &'a Options) -> Cache<'a> {
        Cache { hints, options }
    }

    /// What is known of an address, for callouts that show this sender.
    pub(super) fn address(&self, address: &[u8], sender: &[u8]) -> Said {
        let Some((value, age)) = self.get(&address_key(address, sender)) else { return Said::Nothing };
        let said = Said::of_letter(value.first());
        let expire = match said {
            Said::Yes => "callout_positive_expire",
            Said::No | Said::Nothing => "callout_negative_expire",
        };
        if age < self.options.time(expire) { said } else { Said::Nothing }
    }

    /// What is known under a key, if it is not older than these times.
    pub(super) fn within(&self, key: &[u8], positive: Duration, negative: Duration) -> Said {
        let Some((value, age)) = self.get(key) else { return Said::Nothing };
        match Said::of_letter(value.first()) {
            Said::Yes if age < positive => Said::Yes,
            Said::No if age < negative => Said::No,
            Said::Yes | Said::No | Said::Nothing => Said::Nothing,
        }
    }

    /// Remembers something under a key.
    pub(super) fn put_said(&self, key: &[u8], said: Said) {
        self.put(key, &[said.letter()]);
    }

    /// Remembers what a host said of an address.
    pub(super) fn put_address(&self, address: &[u8], sender: &[u8], said: Said) {
        self.put(&address_key(address, sender), &[said.letter()]);
    }

    /// What is known of a domain.
    pub(super) fn domain(&self, domain: &[u8]) -> Domain {
        let Some((value, age)) = self.get(&domain.to_ascii_lowercase()) else { return Domain::default() };
        let known = Domain::read(&value);
        let is_bad = known.mail == Said::No || known.postmaster == Said::No;
        let expire = if is_bad { "callout_domain_negative_expire" } else { "callout_domain_positive_expire" };
        if age < self.options.time(expire) { known } else { Domain::default() }
    }

    /// Remembers what is known of a domain.
    pub(super) fn put_domain(&self, domain: &[u8], known: Domain) {
        self.put(&domain.to_ascii_lowercase(), &known.write());
    }

    fn get(&self, key: &[u8]) -> Option<(Vec<u8>, Duration)> {
        let hint = self.hints.get(&Database::Callout, key).ok().flatten()?;
        let age = Stamp::now().seconds.saturating_sub(hint.stamp.seconds);
        Some((hint.value, Duration::from_secs(u64::try_from(age).unwrap_or(0))))
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        // What cannot be remembered is found out again.
        let _ = self.hints.put(&Database::Callout, key, value, Stamp::now());
    }
}

/// The address, and the sender that was shown unless it was empty.
fn address_key(address: &[u8], sender: &[u8]) -> Vec<u8> {
    if sender.is_empty() {
        return address.to_vec();
    }
    [address, b"/<", sender, b">"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_is_part_of_the_key_unless_it_is_empty() {
        assert_eq!(address_key(b"a@b", b""), b"a@b");
        assert_eq!(address_key(b"a@b", b"c@d"), b"a@b/<c@d>");
        assert_eq!(Said::of_letter(Some(&Said::No.letter())), Said::No);
        assert_eq!(Said::of_letter(None), Said::Nothing);
    }
}

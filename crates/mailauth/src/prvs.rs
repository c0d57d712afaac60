//! Signed return paths (BATV, draft-levine-smtp-batv): `prvs=KDDDSSSSSS=local@domain`.
//!
//! K is the number of the key, DDD the day (modulo 1000) until which the signature is good, SSSSSS the first three
//! bytes of an HMAC-SHA-1 over key number, day and address. A signature is good for seven days. Manual section 44.53.

use aws_lc_rs::hmac;

/// How many days a signature is good.
const DAYS: i64 = 7;
const SECONDS_PER_DAY: i64 = 86_400;

/// A signed address that has been taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The address that was signed.
    pub address: Vec<u8>,
    /// The key number, a digit.
    pub key: u8,
    day: i64,
    tag: Vec<u8>,
}

fn day_of(seconds: i64) -> i64 {
    seconds.div_euclid(SECONDS_PER_DAY)
}

fn tag(address: &[u8], secret: &[u8], key: u8, day: i64) -> String {
    let signing = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let mut context = hmac::Context::with_key(&signing);
    context.update(&[key]);
    context.update(format!("{day:03}").as_bytes());
    context.update(address);
    context.sign().as_ref().iter().take(3).map(|b| format!("{b:02x}")).collect()
}

/// Signs an address; `key` is a digit, `now` is in seconds since 1970.
#[must_use]
pub fn sign(address: &[u8], secret: &[u8], key: u8, now: i64) -> Vec<u8> {
    let day = day_of(now).saturating_add(DAYS).rem_euclid(1_000);
    let tag = tag(address, secret, key, day);
    let prefix = format!("prvs={}{day:03}{tag}=", char::from(key));
    [prefix.as_bytes(), address].concat()
}

/// Takes a signed address apart; None if it does not have the form.
#[must_use]
pub fn read(text: &[u8]) -> Option<Signed> {
    let (prefix, rest) = text.split_at_checked(5)?;
    if !prefix.eq_ignore_ascii_case(b"prvs=") {
        return None;
    }
    let (code, rest) = rest.split_at_checked(10)?;
    let (key, code) = code.split_first()?;
    let (day, tag) = code.split_at_checked(3)?;
    let address = rest.strip_prefix(b"=")?;
    let at = address.iter().rposition(|b| *b == b'@')?;
    let whole = at > 0 && at.checked_add(1)? < address.len();
    let digits = key.is_ascii_digit() && day.iter().all(u8::is_ascii_digit);
    if !whole || !digits || !tag.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let day = std::str::from_utf8(day).ok()?.parse().ok()?;
    Some(Signed { address: address.to_vec(), key: *key, day, tag: tag.to_vec() })
}

impl Signed {
    /// Whether the signature was made with this secret and is still good.
    #[must_use]
    pub fn is_valid(&self, secret: &[u8], now: i64) -> bool {
        let left = self.day.saturating_sub(day_of(now)).rem_euclid(1_000);
        left <= DAYS
            && tag(&self.address, secret, self.key, self.day).as_bytes().eq_ignore_ascii_case(&self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21.
    const NOW: i64 = 1_795_231_789;

    #[test]
    fn the_signature_is_that_of_exim() {
        assert_eq!(sign(b"a@b.c", b"secret", b'0', NOW), b"prvs=0785cc3333=a@b.c");
        assert_eq!(sign(b"a@b.c", b"secret", b'3', NOW), b"prvs=378559be15=a@b.c");
    }

    #[test]
    fn a_signature_is_good_for_seven_days() {
        let signed = read(b"prvs=0785CC3333=a@b.c").unwrap();
        assert_eq!((signed.address.as_slice(), signed.key), (&b"a@b.c"[..], b'0'));
        assert!(signed.is_valid(b"secret", NOW));
        assert!(signed.is_valid(b"secret", NOW + 7 * SECONDS_PER_DAY));
        assert!(!signed.is_valid(b"secret", NOW + 8 * SECONDS_PER_DAY));
        assert!(!signed.is_valid(b"other", NOW));
    }

    #[test]
    fn other_addresses_are_not_signed_ones() {
        for text in [
            &b"a@b.c"[..],
            b"prvs=xyz",
            b"prvs=0785cc333=a@b.c",
            b"prvs=0785cc3333=ab",
            b"prvs=0785cc3333=@b",
        ] {
            assert_eq!(read(text), None);
        }
    }
}

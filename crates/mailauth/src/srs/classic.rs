//! The SRS of Mail::SRS, postsrsd and Exim's older options: `SRS0=hash=TT=domain=local@forwarder`, and SRS1 for senders
//! that another forwarder has rewritten already.
//!
//! The hash is the start of an HMAC-SHA1 in base 64 over what follows it, in lower case; all secrets of a list verify,
//! the first one signs. A hash whose case has been damaged on the way counts. With a database the address holds a key.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::DAYS_MASK;

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Characters of the key of an address in a database.
const KEY_CHARACTERS: usize = 16;

/// How addresses are written and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    /// At least one; the first signs.
    pub secrets: Vec<Vec<u8>>,
    /// Days that an address is good for, 1 to 365.
    pub days: i64,
    /// Characters of a hash, 1 to 20.
    pub hash_length: usize,
    /// Fewest characters of a hash that are accepted, 1 to 20.
    pub hash_min: usize,
    /// Whether there is a stamp.
    pub has_stamp: bool,
    /// Whether there is a hash.
    pub has_hash: bool,
}

/// Why an address leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReverseError {
    /// It is not an SRS address.
    NotSrs,
    /// Its hash is wrong.
    Hash,
    /// Its stamp is wrong or too old.
    Stamp,
}

/// What an SRS address leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// An address.
    Address(Vec<u8>),
    /// The key of an address in the database.
    Key(Vec<u8>),
}

impl Scheme {
    /// The sender, rewritten to an address at `domain`; `day` counts from 1970. None if the sender has no domain, or one that
    /// cannot be told apart again.
    #[must_use]
    pub fn forward(&self, sender: &[u8], domain: &[u8], day: i64) -> Option<Vec<u8>> {
        let (local_part, sender_domain) = split(sender)?;
        if sender_domain.contains(&b'=') {
            return None;
        }
        let (mark, rest) = match tag(local_part) {
            // The first forwarder's own part stays as it is, with its separator.
            Some((0, rest)) => (1, [sender_domain, b"=", rest].concat()),
            Some((_, rest)) => {
                let rest = rest.get(1..)?;
                let end = rest.iter().position(|b| *b == b'=')?;
                (1, rest.get(end.checked_add(1)?..)?.to_vec())
            }
            None => (0, [sender_domain, b"=", local_part].concat()),
        };
        if mark == 1 {
            let at = rest.iter().position(|b| *b == b'=')?;
            let (first, rest_of) = rest.split_at_checked(at)?;
            let rest_of = rest_of.get(1..)?;
            let hash = self.hash(self.secrets.first()?, &[first, rest_of]);
            return Some([b"SRS1=", hash.as_slice(), b"=", &rest, b"@", domain].concat());
        }
        Some([self.start(&[sender_domain, local_part], day)?.as_slice(), &rest, b"@", domain].concat())
    }

    /// As [`Scheme::forward`], for a sender that is kept in a database under its key.
    #[must_use]
    pub fn forward_key(&self, key: &[u8], domain: &[u8], day: i64) -> Option<Vec<u8>> {
        Some([self.start(&[key], day)?.as_slice(), key, b"@", domain].concat())
    }

    /// The key of a sender.
    #[must_use]
    pub fn key(&self, sender: &[u8]) -> Option<Vec<u8>> {
        let digest = digest(self.secrets.first()?, &[sender]);
        Some(digest.get(..KEY_CHARACTERS)?.to_vec())
    }

    /// `SRS0=hash=stamp=`
    fn start(&self, signed: &[&[u8]], day: i64) -> Option<Vec<u8>> {
        let stamp = if self.has_stamp { stamp(day) } else { Vec::new() };
        let mut out = b"SRS0=".to_vec();
        if self.has_hash {
            let parts: Vec<&[u8]> = std::iter::once(stamp.as_slice()).chain(signed.iter().copied()).collect();
            out.extend_from_slice(&self.hash(self.secrets.first()?, &parts));
            out.push(b'=');
        }
        if self.has_stamp {
            out.extend_from_slice(&stamp);
            out.push(b'=');
        }
        Some(out)
    }

    /// Where mail for an SRS address goes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn reverse(&self, address: &[u8], day: i64) -> Result<Way, ReverseError> {
        let (local_part, _) = split(address).ok_or(ReverseError::NotSrs)?;
        match tag(local_part).ok_or(ReverseError::NotSrs)? {
            (0, rest) => self.reverse_first(rest.get(1..).unwrap_or_default(), day),
            (_, rest) => self.reverse_second(rest.get(1..).unwrap_or_default()),
        }
    }

    /// `hash=TT=domain=local`, or `hash=TT=key`
    fn reverse_first(&self, rest: &[u8], day: i64) -> Result<Way, ReverseError> {
        let (hash, rest) = if self.has_hash { part(rest)? } else { (&b""[..], rest) };
        let (stamp, rest) = if self.has_stamp { part(rest)? } else { (&b""[..], rest) };
        let way = match part(rest) {
            Ok((domain, local_part)) => (vec![stamp, domain, local_part], domain, local_part),
            Err(_) => (vec![stamp, rest], &b""[..], rest),
        };
        let (signed, domain, local_part) = way;
        if self.has_hash && !self.verifies(hash, &signed) {
            return Err(ReverseError::Hash);
        }
        if self.has_stamp && !self.is_fresh(stamp, day) {
            return Err(ReverseError::Stamp);
        }
        if signed.len() == 2 {
            return Ok(Way::Key(local_part.to_vec()));
        }
        Ok(Way::Address([local_part, b"@", domain].concat()))
    }

    /// `hash=domain=rest`: back to the first forwarder, with its own part.
    fn reverse_second(&self, rest: &[u8]) -> Result<Way, ReverseError> {
        let (hash, rest) = part(rest)?;
        let (domain, rest) = part(rest)?;
        if !self.verifies(hash, &[domain, rest]) {
            return Err(ReverseError::Hash);
        }
        Ok(Way::Address([b"SRS0", rest, b"@", domain].concat()))
    }

    fn hash(&self, secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut digest = digest(secret, parts);
        digest.truncate(self.hash_length);
        digest
    }

    /// Whether a hash is that of any of the secrets; its case may have been damaged.
    fn verifies(&self, given: &[u8], parts: &[&[u8]]) -> bool {
        if given.len() < self.hash_min {
            return false;
        }
        let given = given.to_ascii_lowercase();
        self.secrets.iter().any(|secret| {
            let wanted = digest(secret, parts).to_ascii_lowercase();
            wanted.get(..given.len()).is_some_and(|wanted| verify_slices_are_equal(&given, wanted).is_ok())
        })
    }

    fn is_fresh(&self, stamp: &[u8], day: i64) -> bool {
        let digit = |byte: &u8| ALPHABET.iter().position(|b| *b == byte.to_ascii_uppercase());
        let [high, low] = stamp else { return false };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
        let value = i64::try_from((high << 5) | low).unwrap_or(0);
        day.wrapping_sub(value) & DAYS_MASK <= self.days
    }
}

fn split(address: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = address.iter().rposition(|b| *b == b'@')?;
    let (local_part, domain) = address.split_at_checked(at)?;
    Some((local_part, domain.get(1..)?))
}

/// `SRS0` or `SRS1`, and what follows, beginning with its separator.
fn tag(local_part: &[u8]) -> Option<(u8, &[u8])> {
    let (mark, rest) = local_part.split_at_checked(4)?;
    let number = match mark.to_ascii_uppercase().as_slice() {
        b"SRS0" => 0,
        b"SRS1" => 1,
        _ => return None,
    };
    matches!(rest.first(), Some(b'=' | b'+' | b'-')).then_some((number, rest))
}

/// Up to the next `=`, and what follows it.
fn part(text: &[u8]) -> Result<(&[u8], &[u8]), ReverseError> {
    let at = text.iter().position(|b| *b == b'=').ok_or(ReverseError::NotSrs)?;
    let (first, rest) = text.split_at_checked(at).ok_or(ReverseError::NotSrs)?;
    Ok((first, rest.get(1..).unwrap_or_default()))
}

fn digest(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(&part.to_ascii_lowercase());
    }
    STANDARD.encode(context.sign().as_ref()).into_bytes()
}

fn stamp(day: i64) -> Vec<u8> {
    let day = usize::try_from(day & DAYS_MASK).unwrap_or(0);
    [day >> 5, day & 31].iter().filter_map(|digit| ALPHABET.get(*digit).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme() -> Scheme {
        Scheme {
            secrets: vec![b"mysecret".to_vec()],
            days: 31,
            hash_length: 6,
            hash_min: 6,
            has_stamp: true,
            has_hash: true,
        }
    }

    fn forward(sender: &str, domain: &str, day: i64) -> String {
        String::from_utf8(scheme().forward(sender.as_bytes(), domain.as_bytes(), day).unwrap()).unwrap()
    }

    /// Written by the library that Exim used, on those days.
    #[test]
    fn addresses_are_those_of_the_library() {
        assert_eq!(forward("bob@src.ex", "fwd.ex", 20_000), "SRS0=Lp3udg=RA=src.ex=bob@fwd.ex");
        let first = forward("bob@src.ex", "fwd.ex", 20_778);
        assert_eq!(first, "SRS0=X93BkO=JK=src.ex=bob@fwd.ex");
        let second = forward(&first, "second.ex", 20_778);
        assert_eq!(second, "SRS1=bsHIJV=fwd.ex==X93BkO=JK=src.ex=bob@second.ex");
        let third = forward(&second, "third.ex", 20_778);
        assert!(third.starts_with("SRS1=") && third.ends_with("=fwd.ex==X93BkO=JK=src.ex=bob@third.ex"));
    }

    #[test]
    fn the_way_back() {
        let scheme = scheme();
        let reverse = |address: &str, day| scheme.reverse(address.as_bytes(), day);
        let bob = Ok(Way::Address(b"bob@src.ex".to_vec()));
        assert_eq!(reverse("SRS0=X93BkO=JK=src.ex=bob@fwd.ex", 20_778), bob);
        assert_eq!(reverse("SRS0=X93BkO=JK=src.ex=bob@fwd.ex", 20_809), bob);
        assert_eq!(reverse("SRS0=X93BkO=JK=src.ex=bob@fwd.ex", 20_810), Err(ReverseError::Stamp));
        assert_eq!(reverse("SRS0=X93BkO=JK=src.ex=bob@fwd.ex", 20_777), Err(ReverseError::Stamp));
        assert_eq!(reverse("srs0+x93bko=jk=src.ex=bob@fwd.ex", 20_778), bob);
        assert_eq!(reverse("SRS0=X93BkP=JK=src.ex=bob@fwd.ex", 20_778), Err(ReverseError::Hash));
        assert_eq!(reverse("SRS0=X93Bk=JK=src.ex=bob@fwd.ex", 20_778), Err(ReverseError::Hash));
        for other in ["bob@fwd.ex", "SRS0@fwd.ex", "SRS0=@fwd.ex", "SRS2=a=b@fwd.ex", "SRS0=X93BkO@fwd.ex"] {
            assert_eq!(reverse(other, 20_778), Err(ReverseError::NotSrs), "{other}");
        }
        let first = Ok(Way::Address(b"SRS0=X93BkO=JK=src.ex=bob@fwd.ex".to_vec()));
        assert_eq!(reverse("SRS1=bsHIJV=fwd.ex==X93BkO=JK=src.ex=bob@second.ex", 20_778), first);
    }

    #[test]
    fn old_secrets_verify_and_keys_stand_for_addresses() {
        let mut scheme = scheme();
        scheme.secrets.insert(0, b"new".to_vec());
        let back = scheme.reverse(b"SRS0=X93BkO=JK=src.ex=bob@fwd.ex", 20_778);
        assert_eq!(back, Ok(Way::Address(b"bob@src.ex".to_vec())));
        let key = scheme.key(b"bob@src.ex").unwrap();
        assert_eq!(key.len(), 16);
        let address = scheme.forward_key(&key, b"fwd.ex", 20_778).unwrap();
        assert_eq!(scheme.reverse(&address, 20_778), Ok(Way::Key(key)));
    }

    #[test]
    fn without_stamp_or_hash() {
        let plain = Scheme { has_stamp: false, has_hash: false, ..scheme() };
        let address = plain.forward(b"bob@src.ex", b"fwd.ex", 0).unwrap();
        assert_eq!(address, b"SRS0=src.ex=bob@fwd.ex");
        assert_eq!(plain.reverse(&address, 0), Ok(Way::Address(b"bob@src.ex".to_vec())));
    }
}

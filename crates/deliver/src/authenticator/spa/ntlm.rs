//! NTLM messages and their arithmetic, both sides (Microsoft's [MS-NLMP]).
//!
//! Nothing here talks or expands: the driver does. Failure mode of reading: `None`, whatever is wrong; every offset is checked.

use des::Des;
use des::cipher::{BlockEncrypt, KeyInit};
use hmac::{Hmac, Mac};
use md4::{Digest, Md4};
use md5::Md5;

use super::super::is_equal;

/// With what every message begins.
const SIGNATURE: &[u8] = b"NTLMSSP\0";
/// Longest message of the other side.
const MESSAGE_BYTES_MAX: usize = 8192;

/// Names are UTF-16.
const UNICODE: u32 = 0x1;
/// Names are in the code page of the client.
const OEM: u32 = 0x2;
/// The challenge names its server.
const REQUEST_TARGET: u32 = 0x4;
/// NTLM answers.
const NTLM: u32 = 0x200;
/// Said by all.
const ALWAYS_SIGN: u32 = 0x8000;
/// The name of the challenge is that of a server.
const TARGET_IS_SERVER: u32 = 0x2_0000;
/// The challenge has facts about its server, which answers of version 2 need.
const TARGET_INFO: u32 = 0x80_0000;

/// The bytes of a message, read in place.
#[derive(Clone, Copy)]
struct Message<'a>(&'a [u8]);

impl<'a> Message<'a> {
    /// A message of this type.
    fn of_type(bytes: &'a [u8], kind: u32) -> Option<Message<'a>> {
        let message = Message(bytes);
        let fits = bytes.len() <= MESSAGE_BYTES_MAX && bytes.starts_with(SIGNATURE);
        (fits && message.number(8)? == kind).then_some(message)
    }

    fn number(self, at: usize) -> Option<u32> {
        let bytes = self.0.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn short(self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..at.checked_add(2)?)?;
        Some(usize::from(u16::from_le_bytes(bytes.try_into().ok()?)))
    }

    /// What a length, a second length and an offset point to.
    fn field(self, at: usize) -> Option<&'a [u8]> {
        let length = self.short(at)?;
        if length == 0 {
            return Some(&[]);
        }
        let offset = usize::try_from(self.number(at.checked_add(4)?)?).ok()?;
        self.0.get(offset..offset.checked_add(length)?)
    }
}

/// A message under construction: a head of fixed length with pointers into what follows.
struct Writer {
    head: Vec<u8>,
    tail: Vec<u8>,
    head_length: usize,
}

impl Writer {
    fn new(kind: u32, head_length: usize) -> Writer {
        let mut head = SIGNATURE.to_vec();
        head.extend(kind.to_le_bytes());
        Writer { head, tail: Vec::new(), head_length }
    }

    fn number(&mut self, number: u32) {
        self.head.extend(number.to_le_bytes());
    }

    /// A field that is too long for its pointer is left out: none of ours is.
    fn field(&mut self, content: &[u8]) {
        let offset = u32::try_from(self.head_length.saturating_add(self.tail.len())).unwrap_or(u32::MAX);
        let (length, content) = u16::try_from(content.len()).map_or((0, &[][..]), |n| (n, content));
        self.head.extend(length.to_le_bytes());
        self.head.extend(length.to_le_bytes());
        self.head.extend(offset.to_le_bytes());
        self.tail.extend_from_slice(content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.head.resize(self.head_length, 0);
        self.head.extend(self.tail);
        self.head
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn from_utf16(bytes: &[u8]) -> Option<String> {
    let (units, []) = bytes.as_chunks::<2>() else { return None };
    let units: Vec<u16> = units.iter().map(|unit| u16::from_le_bytes(*unit)).collect();
    String::from_utf16(&units).ok()
}

/// A name of a message.
fn name(bytes: &[u8], is_unicode: bool) -> Option<String> {
    if is_unicode { from_utf16(bytes) } else { Some(String::from_utf8_lossy(bytes).into_owned()) }
}

fn named(text: &str, is_unicode: bool) -> Vec<u8> {
    if is_unicode { utf16(text) } else { text.as_bytes().to_vec() }
}

/// The client's first message: what it can do.
#[must_use]
pub fn negotiate() -> Vec<u8> {
    let mut message = Writer::new(1, 32);
    message.number(UNICODE | OEM | REQUEST_TARGET | NTLM | ALWAYS_SIGN);
    message.field(b"");
    message.field(b"");
    message.finish()
}

/// The server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    flags: u32,
    nonce: [u8; 8],
    target: Vec<u8>,
    /// Facts about the server, as they stand in the message; empty if there are none.
    info: Vec<u8>,
}

impl Challenge {
    /// The challenge for a client whose first message this is. One that is none gets the same as one that can do all.
    #[must_use]
    pub fn for_client(negotiate: &[u8], nonce: [u8; 8], host: &str) -> Challenge {
        let asked = Message::of_type(negotiate, 1).and_then(|message| message.number(12));
        let is_unicode = asked.is_none_or(|flags| flags & UNICODE != 0 || flags & OEM == 0);
        let charset = if is_unicode { UNICODE } else { OEM };
        let short = host.split('.').next().unwrap_or_default().to_ascii_uppercase();
        let mut info = Vec::new();
        // Computer and domain by their short names, computer by its DNS name, the end.
        for (kind, text) in [(2_u16, short.as_str()), (1, &short), (3, host), (0, "")] {
            let text = utf16(text);
            let Ok(length) = u16::try_from(text.len()) else { continue };
            info.extend(kind.to_le_bytes());
            info.extend(length.to_le_bytes());
            info.extend(text);
        }
        Challenge {
            flags: charset | REQUEST_TARGET | NTLM | ALWAYS_SIGN | TARGET_IS_SERVER | TARGET_INFO,
            nonce,
            target: named(&short, is_unicode),
            info,
        }
    }

    /// Reads a server's challenge.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Challenge> {
        let message = Message::of_type(bytes, 2)?;
        let flags = message.number(20)?;
        let nonce = bytes.get(24..32)?.try_into().ok()?;
        let info = if flags & TARGET_INFO != 0 { message.field(40)?.to_vec() } else { Vec::new() };
        // The name of the target is of no use to the client, and some servers point nowhere with it.
        Some(Challenge { flags, nonce, target: message.field(12).unwrap_or_default().to_vec(), info })
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut message = Writer::new(2, 48);
        message.field(&self.target);
        message.number(self.flags);
        message.head.extend(self.nonce);
        message.head.extend([0; 8]);
        message.field(&self.info);
        message.finish()
    }

    fn is_unicode(&self) -> bool {
        self.flags & UNICODE != 0
    }

    /// The client's last message. `fresh` are random bytes, `now` is in seconds since the epoch.
    #[must_use]
    pub fn answer(&self, login: &Login, host: &str, fresh: [u8; 8], now: i64) -> Vec<u8> {
        let key = password_key(&login.password);
        let (lan_manager, nt) = if self.info.is_empty() {
            let answer = version1(&key, self.nonce);
            // In the place of the weaker hash, as is custom.
            (answer.clone(), answer)
        } else {
            let key = version2_key(&key, &login.user, &login.domain);
            let short = [mac(&key, &[&self.nonce, &fresh]).as_slice(), &fresh].concat();
            let facts = facts(&self.info, fresh, now);
            (short, [mac(&key, &[&self.nonce, &facts]).as_slice(), &facts].concat())
        };
        let is_unicode = self.is_unicode();
        let mut message = Writer::new(3, 64);
        message.field(&lan_manager);
        message.field(&nt);
        message.field(&named(&login.domain, is_unicode));
        message.field(&named(&login.user, is_unicode));
        message.field(&named(host, is_unicode));
        message.field(b"");
        let charset = if is_unicode { UNICODE } else { OEM };
        message.number(charset | NTLM | self.flags & (ALWAYS_SIGN | TARGET_INFO));
        message.finish()
    }
}

/// What a client logs in with.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
    /// The domain, or nothing.
    pub domain: String,
}

/// The client's last message, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The user.
    pub user: String,
    /// The domain.
    pub domain: String,
    nt: Vec<u8>,
}

impl Answer {
    /// Reads the answer to a challenge.
    #[must_use]
    pub fn read(bytes: &[u8], challenge: &Challenge) -> Option<Answer> {
        let message = Message::of_type(bytes, 3)?;
        let is_unicode = challenge.is_unicode();
        let user = name(message.field(36)?, is_unicode)?;
        if user.is_empty() || user.contains('\0') {
            return None;
        }
        let domain = name(message.field(28)?, is_unicode)?;
        Some(Answer { user, domain, nt: message.field(20)?.to_vec() })
    }

    /// Whether it is right by this password; takes the same time wherever it differs.
    #[must_use]
    pub fn is_right(&self, challenge: &Challenge, password: &str) -> bool {
        let key = password_key(password);
        match self.nt.len() {
            24 => is_equal(&version1(&key, challenge.nonce), &self.nt),
            44.. => {
                let Some((proof, facts)) = self.nt.split_at_checked(16) else { return false };
                let key = version2_key(&key, &self.user, &self.domain);
                is_equal(&mac(&key, &[&challenge.nonce, facts]), proof)
            }
            _ => false,
        }
    }
}

/// MD4 of the password in UTF-16.
fn password_key(password: &str) -> [u8; 16] {
    Md4::digest(utf16(password)).into()
}

/// The key of version 2: of the password, and of the user at his domain.
fn version2_key(key: &[u8; 16], user: &str, domain: &str) -> [u8; 16] {
    mac(key, &[&utf16(&user.to_uppercase()), &utf16(domain)])
}

fn mac(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    // Keys of this kind have any length.
    let Ok(mut mac) = <Hmac<Md5> as Mac>::new_from_slice(key) else { return [0; 16] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// What a client proves of version 2: time, something fresh of its own, and the server's facts.
fn facts(info: &[u8], fresh: [u8; 8], now: i64) -> Vec<u8> {
    // Tenths of microseconds since 1601.
    let time = now.saturating_add(11_644_473_600).saturating_mul(10_000_000);
    [&[1, 1, 0, 0, 0, 0, 0, 0], time.to_le_bytes().as_slice(), &fresh, &[0; 4], info, &[0; 4]].concat()
}

/// The answer of version 1: the nonce under three keys of the password's digest.
fn version1(key: &[u8; 16], nonce: [u8; 8]) -> Vec<u8> {
    let mut long = key.to_vec();
    long.resize(21, 0);
    long.as_chunks::<7>().0.iter().flat_map(|part| encrypted(part, nonce)).collect()
}

/// DES of a block under 56 bits, which are spread over eight bytes.
fn encrypted(part: &[u8; 7], nonce: [u8; 8]) -> [u8; 8] {
    let bits = part.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut key = [0_u8; 8];
    for (place, byte) in key.iter_mut().rev().enumerate() {
        let seven = bits.checked_shr(u32::try_from(place).unwrap_or(0).saturating_mul(7)).unwrap_or(0) & 0x7f;
        // The lowest bit is parity, which nobody looks at.
        *byte = u8::try_from(seven << 1).unwrap_or(0);
    }
    let mut block = nonce.into();
    Des::new(&key.into()).encrypt_block(&mut block);
    block.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    // [MS-NLMP] section 4.2: user "User", domain "Domain", password "Password".
    #[test]
    fn the_examples_of_the_standard() {
        let key = password_key("Password");
        assert_eq!(hex(&key), "a4f49c406510bdcab6824ee7c30fd852");
        assert_eq!(hex(&version1(&key, NONCE)), "67c43011f30298a2ad35ece64f16331c44bdbed927841f94");
        let key = version2_key(&key, "User", "Domain");
        assert_eq!(hex(&key), "0c868a403bfd7a93a3001ef22ef02e3f");
        let fresh = [0xaa; 8];
        let short = [mac(&key, &[&NONCE, &fresh]).as_slice(), &fresh].concat();
        assert_eq!(hex(&short), "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa");
        let info =
            [&[2, 0, 12, 0][..], &utf16("Domain"), &[1, 0, 12, 0], &utf16("Server"), &[0, 0, 0, 0]].concat();
        let proof = mac(&key, &[&NONCE, &facts(&info, fresh, -11_644_473_600)]);
        assert_eq!(hex(&proof), "68cd0ab851e51c96aabc927bebef6a1c");
    }

    #[test]
    fn answers_of_both_versions_are_judged() {
        let login =
            Login { user: "Tim".to_owned(), password: "gehéim".to_owned(), domain: "Dom".to_owned() };
        for first in [negotiate(), b"nonsense".to_vec()] {
            let offered = Challenge::for_client(&first, NONCE, "mx.host.example");
            let read = Challenge::read(&offered.write()).unwrap();
            assert_eq!(read, offered);
            let old = Challenge { info: Vec::new(), flags: offered.flags & !TARGET_INFO, ..offered.clone() };
            for challenge in [&offered, &old] {
                let message = challenge.answer(&login, "here", [7; 8], 1_700_000_000);
                let answer = Answer::read(&message, challenge).unwrap();
                assert_eq!((answer.user.as_str(), answer.domain.as_str()), ("Tim", "Dom"));
                assert!(answer.is_right(challenge, "gehéim"));
                assert!(!answer.is_right(challenge, "geheim"));
                let other = Challenge { nonce: [1; 8], ..challenge.clone() };
                assert!(!answer.is_right(&other, "gehéim"));
            }
        }
    }

    #[test]
    fn clients_without_unicode_are_served() {
        let mut hello = negotiate();
        hello[12] = 0x02;
        let challenge = Challenge::for_client(&hello, NONCE, "mx");
        assert!(!challenge.is_unicode());
        let login = Login { user: "tim".to_owned(), password: "x".to_owned(), domain: String::new() };
        let answer = Answer::read(&challenge.answer(&login, "", [7; 8], 0), &challenge).unwrap();
        assert!(answer.user == "tim" && answer.is_right(&challenge, "x"));
    }

    proptest::proptest! {
        #[test]
        fn spoilt_messages_do_not_panic(at in 0_usize..200, byte: u8, cut in 0_usize..200) {
            let challenge = Challenge::for_client(b"", NONCE, "mx.example");
            let login = Login { user: "tim".to_owned(), password: "x".to_owned(), domain: "d".to_owned() };
            for mut message in [challenge.write(), challenge.answer(&login, "h", [7; 8], 0)] {
                if let Some(place) = message.get_mut(at) {
                    *place = byte;
                }
                let _ = Challenge::read(&message);
                let _ = Answer::read(&message, &challenge);
                message.truncate(cut);
                let _ = Challenge::read(&message);
                let _ = Answer::read(&message, &challenge);
            }
        }
    }
}

//! Verification of all signatures of a message (RFC 6376 section 6).
//!
//! Failure modes are in [`Status`]: a key that no server could give is told apart from one that is not there.

use super::body::BodyHasher;
use super::canon;
use super::key::KeyRecord;
use super::signature::{Signature, SignatureFault, without_signature};
use super::{Canon, Hash, KeyType};
use crate::dns::{Answer, Dns};

/// What came of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is right.
    Pass,
    /// It was not looked at, because another one was right.
    NotVerified,
    /// The body is another one.
    BodyHash,
    /// The header lines are others, or the signature was made with another key.
    Wrong,
    /// The key is shorter than what counts.
    ShortKey,
    /// There is no key.
    NoKey,
    /// No server could say what the key is.
    KeyLater,
    /// The key record is none, or not one for mail.
    KeyRecord,
    /// What is in the record is no key of the type of the signature; also a key that was revoked.
    KeyData,
    /// The key record does not allow this hash, or an identity below the domain.
    NotAllowed,
    /// The version is another one.
    Version,
    /// A tag of the signature is missing or not understood.
    Syntax,
}

impl Status {
    /// The word of `$dkim_verify_status`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::NotVerified => "none",
            Status::BodyHash | Status::Wrong | Status::ShortKey | Status::NotAllowed => "fail",
            Status::NoKey
            | Status::KeyLater
            | Status::KeyRecord
            | Status::KeyData
            | Status::Version
            | Status::Syntax => "invalid",
        }
    }

    /// The word of `$dkim_verify_reason`.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Status::BodyHash => "bodyhash_mismatch",
            Status::Wrong => "signature_incorrect",
            Status::NoKey | Status::KeyLater => "pubkey_unavailable",
            Status::KeyRecord => "pubkey_dns_syntax",
            Status::KeyData => "pubkey_der_syntax",
            Status::ShortKey => "pubkey_too_short",
            Status::Pass | Status::NotVerified | Status::NotAllowed | Status::Version | Status::Syntax => "",
        }
    }
}

/// Which signatures count (`dkim_verify_hashes` and its kin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Hashes; a signature with another one is not looked at. Signatures are looked at in this order.
    pub hashes: Vec<Hash>,
    /// Key types; a signature with another one is not looked at.
    pub key_types: Vec<KeyType>,
    /// The shortest RSA key, in bits.
    pub rsa_bits_min: u32,
    /// The shortest Ed25519 key, in bits.
    pub ed25519_bits_min: u32,
    /// Stop after the first good signature.
    pub is_minimal: bool,
    /// Signatures of a message that are looked at.
    pub signatures_max: usize,
}

/// A signature and what came of it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The signature.
    pub signature: Signature,
    /// What came of it.
    pub status: Status,
    /// The key record, if there was one.
    pub key: Option<KeyRecord>,
}

struct Pending {
    line: usize,
    signature: Signature,
    /// Which hasher has its body.
    hasher: Option<usize>,
}

/// The verification of one message.
pub struct Verifier {
    policy: Policy,
    lines: Vec<Vec<u8>>,
    pending: Vec<Pending>,
    hashers: Vec<BodyHasher>,
}

/// The value of a DKIM-Signature: line; None for another line.
fn signature_value(line: &[u8]) -> Option<&[u8]> {
    let at = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(at)?;
    if name.trim_ascii_end().eq_ignore_ascii_case(b"dkim-signature") { value.get(1..) } else { None }
}

/// The name of a header line.
pub(crate) fn name_of(line: &[u8]) -> &[u8] {
    let at = memchr::memchr(b':', line).unwrap_or(line.len());
    line.get(..at).unwrap_or_default().trim_ascii_end()
}

impl Verifier {
    /// A verification that has the header lines, each with LF at its end, as they came. None if nothing is signed.
    #[must_use]
    pub fn new<'a>(lines: impl Iterator<Item = &'a [u8]> + Clone, policy: &Policy) -> Option<Verifier> {
        if !lines.clone().any(|line| signature_value(line).is_some()) {
            return None;
        }
        let mut verifier = Verifier {
            policy: policy.clone(),
            lines: lines.map(<[u8]>::to_vec).collect(),
            pending: Vec::new(),
            hashers: Vec::new(),
        };
        for (index, line) in verifier.lines.iter().enumerate() {
            let Some(value) = signature_value(line) else { continue };
            let signature = Signature::parse(value);
            let Some((key_type, hash)) = signature.method else { continue };
            let counts = policy.hashes.contains(&hash) && policy.key_types.contains(&key_type);
            if !counts || verifier.pending.len() >= policy.signatures_max {
                continue;
            }
            let hasher = signature.fault.is_none().then(|| {
                hasher_for(&mut verifier.hashers, signature.body_canon, hash, signature.body_length)
            });
            verifier.pending.push(Pending { line: index, signature, hasher });
        }
        verifier.pending.sort_by_key(|pending| {
            pending.signature.method.map(|(key_type, hash)| {
                let place = policy.key_types.iter().position(|known| *known == key_type);
                (place, policy.hashes.iter().position(|known| *known == hash))
            })
        });
        if verifier.pending.is_empty() { None } else { Some(verifier) }
    }

    /// Takes a piece of the body, with LF at the ends of lines.
    pub fn update(&mut self, piece: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(piece);
        }
    }

    /// The results, in the order of the key types and hashes that count, then of the lines. Asks for keys.
    #[must_use]
    pub fn finish(self, dns: &dyn Dns) -> Vec<Checked> {
        let bodies: Vec<_> = self.hashers.into_iter().map(BodyHasher::finish).collect();
        let mut out = Vec::with_capacity(self.pending.len());
        let mut is_over = false;
        for pending in self.pending {
            if is_over {
                out.push(Checked { signature: pending.signature, status: Status::NotVerified, key: None });
                continue;
            }
            let body = pending.hasher.and_then(|index| bodies.get(index));
            let (status, key) = check(&self.policy, &self.lines, pending.line, &pending.signature, body, dns);
            out.push(Checked { signature: pending.signature, status, key });
            is_over = self.policy.is_minimal && status == Status::Pass;
        }
        out
    }
}

fn hasher_for(hashers: &mut Vec<BodyHasher>, canon: Canon, hash: Hash, limit: Option<u64>) -> usize {
    if let Some(index) = hashers.iter().position(|hasher| hasher.is(canon, hash, limit)) {
        return index;
    }
    hashers.push(BodyHasher::new(canon, hash, limit));
    hashers.len().saturating_sub(1)
}

fn check(
    policy: &Policy,
    lines: &[Vec<u8>],
    own: usize,
    signature: &Signature,
    body: Option<&(Vec<u8>, u64)>,
    dns: &dyn Dns,
) -> (Status, Option<KeyRecord>) {
    match signature.fault {
        Some(SignatureFault::Version) => return (Status::Version, None),
        Some(SignatureFault::Tag) => return (Status::Syntax, None),
        None => {}
    }
    let (Some((key_type, hash)), Some((body_hash, bytes))) = (signature.method, body) else {
        return (Status::Syntax, None);
    };
    let is_short = signature.body_length.is_some_and(|length| length > *bytes);
    if *body_hash != signature.body_hash || is_short {
        return (Status::BodyHash, None);
    }
    let Some(name) = signature.key_name() else { return (Status::Syntax, None) };
    let record = match dns.txt(&name) {
        Answer::AskAgain => return (Status::KeyLater, None),
        Answer::NotThere => return (Status::NoKey, None),
        Answer::Found(texts) => match texts.iter().find_map(|text| KeyRecord::parse(text)) {
            Some(record) => record,
            None => return (Status::KeyRecord, None),
        },
    };
    if !record.is_for_mail() {
        return (Status::KeyRecord, None);
    }
    let status = with_key(policy, lines, own, signature, (key_type, hash), &record);
    (status, Some(record).filter(|_| status != Status::KeyData))
}

fn with_key(
    policy: &Policy,
    lines: &[Vec<u8>],
    own: usize,
    signature: &Signature,
    (key_type, hash): (KeyType, Hash),
    record: &KeyRecord,
) -> Status {
    let strays =
        record.forbids_subdomains && !signature.identity_domain().eq_ignore_ascii_case(&signature.domain);
    if record.key_type != Some(key_type) {
        return Status::KeyData;
    }
    let Some(bits) = record.bits() else { return Status::KeyData };
    if strays || !record.allows(hash) {
        return Status::NotAllowed;
    }
    let bits_min = match key_type {
        KeyType::Rsa => policy.rsa_bits_min,
        KeyType::Ed25519 => policy.ed25519_bits_min,
    };
    if bits < bits_min {
        return Status::ShortKey;
    }
    let text = signed_text(lines, own, signature);
    if record.verifies(hash, &text, &signature.signature) { Status::Pass } else { Status::Wrong }
}

/// The header lines that are signed, in the form that is hashed: of lines with one name, the lowest first.
fn signed_text(lines: &[Vec<u8>], own: usize, signature: &Signature) -> Vec<u8> {
    let canon = signature.header_canon;
    let mut out = Vec::new();
    let mut is_used = vec![false; lines.len()];
    for name in signature.names() {
        let found = lines
            .iter()
            .zip(&mut is_used)
            .rfind(|(line, used)| !**used && name_of(line).eq_ignore_ascii_case(name));
        if let Some((line, used)) = found {
            *used = true;
            canon::header(canon, line, true, &mut out);
        }
    }
    if let Some(line) = lines.get(own) {
        canon::header(canon, &without_signature(line), false, &mut out);
    }
    out
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({} signatures)", self.pending.len())
    }
}

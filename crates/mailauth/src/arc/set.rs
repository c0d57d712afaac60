//! The three kinds of ARC lines, and the sets that they make (RFC 8617 section 4).

use super::INSTANCES_MAX;
use crate::dkim::signature::method;
use crate::dkim::tags::{base64, number, tags, without_space};
use crate::dkim::{Canon, Hash, KeyType};

/// What an ARC line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `ARC-Authentication-Results:`.
    Results,
    /// `ARC-Message-Signature:`.
    Signature,
    /// `ARC-Seal:`.
    Seal,
}

impl Part {
    /// The kind of a header line, and its value. None: no ARC line.
    #[must_use]
    pub fn of(line: &[u8]) -> Option<(Part, &[u8])> {
        let at = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at_checked(at)?;
        let value = value.get(1..).unwrap_or_default();
        let name = name.trim_ascii_end().to_ascii_lowercase();
        let part = match name.as_slice() {
            b"arc-authentication-results" => Part::Results,
            b"arc-message-signature" => Part::Signature,
            b"arc-seal" => Part::Seal,
            _ => return None,
        };
        Some((part, value))
    }

    fn short(self) -> &'static str {
        match self {
            Part::Results => "AAR",
            Part::Signature => "AMS",
            Part::Seal => "AS",
        }
    }
}

/// The tags of a signature or a seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// `a=`: key type and hash, if both are known.
    pub method: Option<(KeyType, Hash)>,
    /// `b=`.
    pub signature: Vec<u8>,
    /// `bh=`.
    pub body_hash: Vec<u8>,
    /// `c=`, for header lines.
    pub header_canon: Canon,
    /// `c=`, for the body.
    pub body_canon: Canon,
    /// `cv=`.
    pub chain: Vec<u8>,
    /// `d=`.
    pub domain: Vec<u8>,
    /// `s=`.
    pub selector: Vec<u8>,
    /// `h=`, without white space.
    pub header_names: Option<Vec<u8>>,
    /// `l=`.
    pub body_length: Option<u64>,
    instance: Option<u64>,
}

impl Tags {
    fn parse(value: &[u8]) -> Result<Tags, &'static str> {
        let mut found = Tags::default();
        for tag in tags(value) {
            let Some(tag) = tag else { return Err("line parse: tag without value") };
            match tag.name {
                b"a" => found.method = method(&without_space(tag.value)),
                b"b" => found.signature = base64(tag.value).unwrap_or_default(),
                b"bh" => found.body_hash = base64(tag.value).unwrap_or_default(),
                b"c" => {
                    let value = without_space(tag.value);
                    let mut words = value.split(|b| *b == b'/');
                    found.header_canon = words.next().and_then(Canon::from_word).unwrap_or_default();
                    found.body_canon = words.next().and_then(Canon::from_word).unwrap_or_default();
                }
                b"cv" => found.chain = without_space(tag.value).to_ascii_lowercase(),
                b"d" => found.domain = without_space(tag.value),
                b"s" => found.selector = without_space(tag.value),
                b"h" => found.header_names = Some(without_space(tag.value)),
                b"i" => found.instance = number(tag.value),
                b"l" => found.body_length = Some(number(tag.value).ok_or("line parse: l tag")?),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Where the key is. None if that is no name for the DNS.
    #[must_use]
    pub fn key_name(&self) -> Option<String> {
        crate::dkim::signature::key_name(&self.selector, &self.domain)
    }
}

/// The lines with one instance number.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// Which line has the results.
    pub results: Option<usize>,
    /// Which line is the signature, and its tags.
    pub signature: Option<(usize, Tags)>,
    /// Which line is the seal, and its tags.
    pub seal: Option<(usize, Tags)>,
}

/// The instance of a line of results: `i=1; …`.
fn instance_of_results(value: &[u8]) -> Option<u64> {
    let first = value.split(|b| *b == b';').next()?;
    let tag = tags(first).next()??;
    if tag.name == b"i" { number(tag.value) } else { None }
}

/// All sets by instance, from 1 on; a number that no line has is an empty set. The error is a text for the log.
///
/// # Errors
/// A line that cannot be put into a set.
pub fn collect<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Set>, String> {
    let mut sets: Vec<Set> = Vec::new();
    for (index, line) in lines.enumerate() {
        let Some((part, value)) = Part::of(line) else { continue };
        insert(&mut sets, index, part, value)
            .map_err(|fault| format!("collecting headers: inserting {}: {fault}", part.short()))?;
    }
    Ok(sets)
}

fn insert(sets: &mut Vec<Set>, index: usize, part: Part, value: &[u8]) -> Result<(), &'static str> {
    let parsed = match part {
        Part::Results => None,
        Part::Signature | Part::Seal => Some(Tags::parse(value)?),
    };
    let instance = match &parsed {
        None => instance_of_results(value),
        Some(tags) => tags.instance,
    };
    let instance = instance.filter(|instance| *instance > 0).ok_or("instance find")?;
    if instance > u64::from(INSTANCES_MAX) {
        return Err("overlarge instance number");
    }
    let place = usize::try_from(instance).unwrap_or(1);
    if sets.len() < place {
        sets.resize_with(place, Set::default);
    }
    let Some(set) = sets.get_mut(place.saturating_sub(1)) else { return Err("instance find") };
    let is_double = match part {
        Part::Results => set.results.replace(index).is_some(),
        Part::Signature => set.signature.replace((index, parsed.unwrap_or_default())).is_some(),
        Part::Seal => set.seal.replace((index, parsed.unwrap_or_default())).is_some(),
    };
    if is_double { Err("dup hdr") } else { Ok(()) }
}

//! A set added to a chain (RFC 8617 section 5.1).
//!
//! What this station has found stands in the `Authentication-Results:` line of its name. Failure modes are in [`SealFault`].

use super::INSTANCES_MAX;
use super::set::{Set, collect};
use super::verify::{State, sealed_text};
use crate::dkim::sign::{Folder, HeaderChoice, SIGN_HEADERS, encoded};
use crate::dkim::signing_key::SigningKey;
use crate::dkim::{Canon, Hash, canon};

/// Why there is no set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealFault {
    /// There is no `Authentication-Results:` line of this name.
    NoResults,
    /// There is a chain, and nobody has verified it.
    NotVerified,
    /// The chain is as long as it may be.
    TooLong,
    /// The lines of the chain cannot be read.
    Chain(String),
    /// The key makes no such signatures.
    Key,
}

/// What a set is made with.
#[derive(Clone, Debug)]
pub struct Sealer<'a> {
    /// The name in results, and the domain of the signatures.
    pub name: &'a [u8],
    /// The selector.
    pub selector: &'a [u8],
    /// The key.
    pub key: &'a SigningKey,
    /// The client, as text.
    pub client: Option<String>,
    /// `t=`.
    pub created: Option<u64>,
    /// `x=` of the signature.
    pub expires: Option<u64>,
}

/// The results in a line of this name: what follows the name.
fn results_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memchr::memchr(b':', line)?;
    let (field, value) = line.split_at_checked(at)?;
    if !field.trim_ascii_end().eq_ignore_ascii_case(b"authentication-results") {
        return None;
    }
    let value = value.get(1..)?;
    let end = memchr::memchr(b';', value)?;
    let (own, rest) = value.split_at_checked(end)?;
    // A version may stand behind the name.
    let own = own.trim_ascii().split(u8::is_ascii_whitespace).next()?;
    if own.eq_ignore_ascii_case(name) { Some(rest.get(1..)?.trim_ascii()) } else { None }
}

/// The result of the method `arc` among results.
fn chain_state(results: &[u8]) -> Option<State> {
    results.split(|b| *b == b';').find_map(|one| {
        let word = one.trim_ascii().strip_prefix(b"arc=")?;
        let word = word.split(|b| !b.is_ascii_alphabetic()).next()?;
        [State::None, State::Fail, State::Pass].into_iter().find(|state| state.word().as_bytes() == word)
    })
}

impl Sealer<'_> {
    /// The lines of a new set, with LF at their ends: seal, results, signature. Takes the header lines of the message, top
    /// first, and the hash (SHA-256) of its body in relaxed form.
    ///
    /// # Errors
    /// There can be none.
    pub fn set(&self, lines: &[&[u8]], body_hash: &[u8]) -> Result<Vec<u8>, SealFault> {
        let results =
            lines.iter().find_map(|line| results_of(line, self.name)).ok_or(SealFault::NoResults)?;
        let sets = collect(lines.iter().copied()).map_err(SealFault::Chain)?;
        let state = match chain_state(results) {
            Some(state) => state,
            None if sets.is_empty() => State::None,
            None => return Err(SealFault::NotVerified),
        };
        let instance = sets.len().saturating_add(1);
        if u32::try_from(instance).map_or(true, |instance| instance > INSTANCES_MAX) {
            return Err(SealFault::TooLong);
        }
        let results = self.results(instance, results);
        let signature = self.signature(instance, lines, body_hash).ok_or(SealFault::Key)?;
        let seal = self.seal(instance, state, &sets, lines, &results, &signature).ok_or(SealFault::Key)?;
        Ok([seal, results, signature].concat())
    }

    fn results(&self, instance: usize, results: &[u8]) -> Vec<u8> {
        let client = self.client.as_ref().map(|ip| format!(" smtp.remote-ip={ip};")).unwrap_or_default();
        let start = format!("ARC-Authentication-Results: i={instance}; ");
        [start.as_bytes(), self.name, b";", client.as_bytes(), b"\n\t", results, b"\n"].concat()
    }

    fn tags(&self, folder: &mut Folder, expires: Option<u64>) {
        folder.tag("d", self.name);
        folder.tag("s", self.selector);
        if let Some(created) = self.created {
            folder.tag("t", created.to_string().as_bytes());
        }
        if let Some(expires) = expires {
            folder.tag("x", expires.to_string().as_bytes());
        }
    }

    fn method(&self) -> String {
        format!("{}-sha256", self.key.key_type().word())
    }

    fn signature(&self, instance: usize, lines: &[&[u8]], body_hash: &[u8]) -> Option<Vec<u8>> {
        let choice = HeaderChoice::parse(format!("{SIGN_HEADERS}:=DKIM-Signature").as_bytes());
        let (names, chosen) = choice.choose(lines);
        let mut folder = Folder::new("ARC-Message-Signature:");
        folder.tag("i", instance.to_string().as_bytes());
        folder.tag("a", self.method().as_bytes());
        folder.tag("c", b"relaxed/relaxed");
        self.tags(&mut folder, self.expires);
        folder.list("h", &names);
        folder.long("bh", &encoded(body_hash));
        let mut text = Vec::new();
        for line in chosen {
            canon::header(Canon::Relaxed, line, true, &mut text);
        }
        folder.sign(Canon::Relaxed, Hash::Sha256, self.key, text)
    }

    fn seal(
        &self,
        instance: usize,
        state: State,
        sets: &[Set],
        lines: &[&[u8]],
        results: &[u8],
        signature: &[u8],
    ) -> Option<Vec<u8>> {
        let mut folder = Folder::new("ARC-Seal:");
        folder.tag("i", instance.to_string().as_bytes());
        folder.tag("a", self.method().as_bytes());
        folder.tag("cv", state.word().as_bytes());
        self.tags(&mut folder, None);
        let mut text = Vec::new();
        if state != State::Fail {
            // All sets before this one, as if another followed: their seals with their signatures.
            let owned: Vec<Vec<u8>> = lines.iter().map(|line| line.to_vec()).collect();
            let with_next: Vec<Set> = sets.iter().cloned().chain([Set::default()]).collect();
            text = sealed_text(&owned, &with_next);
        }
        canon::header(Canon::Relaxed, results, true, &mut text);
        canon::header(Canon::Relaxed, signature, true, &mut text);
        folder.sign(Canon::Relaxed, Hash::Sha256, self.key, text)
    }
}

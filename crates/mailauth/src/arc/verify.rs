//! Whether a chain holds (RFC 8617 section 5.2).
//!
//! Failure modes are in [`State`] and [`Checked::reason`]; without a key that a server could not give there is no result.

use super::set::{Set, Tags, collect};
use crate::dkim::body::BodyHasher;
use crate::dkim::key::KeyRecord;
use crate::dkim::signature::without_signature;
use crate::dkim::{Canon, canon};
use crate::dns::{Answer, Dns};

/// What is said of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// There is none.
    #[default]
    None,
    /// It does not hold.
    Fail,
    /// It does.
    Pass,
}

impl State {
    /// The word of `$arc_state` and of `cv=`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            State::None => "none",
            State::Fail => "fail",
            State::Pass => "pass",
        }
    }
}

/// One station of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// Domain of its seal; empty if there is none.
    pub domain: Vec<u8>,
    /// Selector of its seal.
    pub selector: Vec<u8>,
}

/// The result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is said of the chain.
    pub state: State,
    /// Why it does not hold.
    pub reason: String,
    /// The stations, oldest first.
    pub stations: Vec<Station>,
    /// The lowest instance whose signature still holds; 0 if none does.
    pub oldest_pass: usize,
}

/// No server could say what a key is: its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Later(pub String);

/// The most different ways in which the signatures of a chain may want the body hashed.
const HASHERS_MAX: usize = 4;

/// The verification of the chain of one message.
pub struct ArcVerifier<'a> {
    lines: &'a [Vec<u8>],
    sets: Result<Vec<Set>, String>,
    hashers: Vec<BodyHasher>,
}

impl<'a> ArcVerifier<'a> {
    /// A verification that has the header lines, each with LF at its end, as they came.
    #[must_use]
    pub fn new(lines: &'a [Vec<u8>]) -> ArcVerifier<'a> {
        let sets = collect(lines.iter().map(Vec::as_slice));
        let mut hashers: Vec<BodyHasher> = Vec::new();
        for set in sets.iter().flatten() {
            let Some((_, tags)) = &set.signature else { continue };
            let Some((_, hash)) = tags.method else { continue };
            let is_known = hashers.iter().any(|one| one.is(tags.body_canon, hash, tags.body_length));
            if !is_known && hashers.len() < HASHERS_MAX {
                hashers.push(BodyHasher::new(tags.body_canon, hash, tags.body_length));
            }
        }
        ArcVerifier { lines, sets, hashers }
    }

    /// Whether there is anything to verify, so that the body matters.
    #[must_use]
    pub fn wants_body(&self) -> bool {
        !self.hashers.is_empty()
    }

    /// Takes a piece of the body, with LF at the ends of lines.
    pub fn update(&mut self, piece: &[u8]) {
        for hasher in &mut self.hashers {
            hasher.update(piece);
        }
    }

    /// The result. Asks for keys.
    ///
    /// # Errors
    /// A key that no server could give.
    pub fn finish(self, dns: &dyn Dns) -> Result<Checked, Later> {
        let sets = match self.sets {
            Ok(sets) => sets,
            Err(reason) => return Ok(Checked { state: State::Fail, reason, ..Checked::default() }),
        };
        let bodies = self.hashers.into_iter().map(|one| {
            let key = one.way();
            (key, one.finish())
        });
        let chain = Chain { lines: self.lines, sets: &sets, bodies: bodies.collect(), dns };
        let stations = sets.iter().map(|set| match &set.seal {
            Some((_, tags)) => Station { domain: tags.domain.clone(), selector: tags.selector.clone() },
            None => Station::default(),
        });
        let mut checked = Checked { stations: stations.collect(), ..Checked::default() };
        if sets.is_empty() {
            return Ok(checked);
        }
        match chain.check(&mut checked.oldest_pass) {
            Ok(()) => checked.state = State::Pass,
            Err(Broken::Fault(reason)) => {
                checked.state = State::Fail;
                checked.reason = reason;
            }
            Err(Broken::Later(later)) => return Err(later),
        }
        Ok(checked)
    }
}

impl std::fmt::Debug for ArcVerifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ArcVerifier({} hashers)", self.hashers.len())
    }
}

enum Broken {
    Fault(String),
    Later(Later),
}

fn fault<T>(text: impl Into<String>) -> Result<T, Broken> {
    Err(Broken::Fault(text.into()))
}

type Way = (Canon, crate::dkim::Hash, Option<u64>);

struct Chain<'a> {
    lines: &'a [Vec<u8>],
    sets: &'a [Set],
    bodies: Vec<(Way, (Vec<u8>, u64))>,
    dns: &'a dyn Dns,
}

impl Chain<'_> {
    fn check(&self, oldest_pass: &mut usize) -> Result<(), Broken> {
        self.structure()?;
        let count = self.sets.len();
        self.signature(count)?;
        *oldest_pass = count;
        // How far back the message is as it was: of no weight for the result.
        for instance in (1..count).rev() {
            match self.signature(instance) {
                Ok(()) => *oldest_pass = instance,
                Err(Broken::Fault(_)) => break,
                Err(later) => return Err(later),
            }
        }
        for instance in (1..=count).rev() {
            self.seal(instance)?;
        }
        Ok(())
    }

    /// Every set is whole, and each station said of the chain before it that it holds.
    fn structure(&self) -> Result<(), Broken> {
        for (index, set) in self.sets.iter().enumerate() {
            let instance = index.saturating_add(1);
            let parts = [set.results.is_some(), set.signature.is_some(), set.seal.is_some()];
            if parts == [false; 3] {
                return fault(format!("(sequence; expected i={instance})"));
            }
            if parts != [true; 3] {
                return fault(format!("i={instance} (missing header)"));
            }
        }
        let of = |set: &Set| set.seal.as_ref().map(|(_, tags)| tags.chain.clone()).unwrap_or_default();
        // What has failed before does not become good again.
        if self.sets.last().is_some_and(|set| of(set) == b"fail") {
            return fault("seal cv state");
        }
        for (index, set) in self.sets.iter().enumerate() {
            let wanted: &[u8] = if index == 0 { b"none" } else { b"pass" };
            if of(set) != wanted {
                return fault(format!("i={} (cv)", index.saturating_add(1)));
            }
        }
        Ok(())
    }

    fn set(&self, instance: usize) -> Option<&Set> {
        self.sets.get(instance.checked_sub(1)?)
    }

    fn signature(&self, instance: usize) -> Result<(), Broken> {
        let Some((own, tags)) = self.set(instance).and_then(|set| set.signature.as_ref()) else {
            return fault("required tag missing");
        };
        let (Some((_, hash)), Some(names)) = (tags.method, &tags.header_names) else {
            return fault("required tag missing");
        };
        if tags.domain.is_empty() || tags.selector.is_empty() || tags.signature.is_empty() {
            return fault("required tag missing");
        }
        let way = (tags.body_canon, hash, tags.body_length);
        let body = self.bodies.iter().find(|(known, _)| *known == way).map(|(_, body)| body);
        let is_whole = |bytes: u64| tags.body_length.is_none_or(|length| length <= bytes);
        if !body.is_some_and(|(found, bytes)| *found == tags.body_hash && is_whole(*bytes)) {
            return fault("AMS body hash miscompare");
        }
        let mut text = Vec::new();
        let mut is_used = vec![false; self.lines.len()];
        for name in names.split(|b| *b == b':').filter(|name| !name.is_empty()) {
            let found = self.lines.iter().zip(&mut is_used).rfind(|(line, used)| {
                !**used && crate::dkim::verify::name_of(line).eq_ignore_ascii_case(name)
            });
            if let Some((line, used)) = found {
                *used = true;
                canon::header(tags.header_canon, line, true, &mut text);
            }
        }
        if let Some(line) = self.lines.get(*own) {
            canon::header(tags.header_canon, &without_signature(line), false, &mut text);
        }
        self.holds(tags, &text, "AMS sig nonverify")
    }

    fn seal(&self, instance: usize) -> Result<(), Broken> {
        let Some((_, tags)) = self.set(instance).and_then(|set| set.seal.as_ref()) else {
            return fault("required tag missing");
        };
        // A seal is over lines that nobody may choose.
        let is_whole = tags.method.is_some()
            && tags.header_names.is_none()
            && [&tags.domain, &tags.selector, &tags.signature].iter().all(|part| !part.is_empty());
        if !is_whole {
            return fault("required tag missing");
        }
        let sets = self.sets.get(..instance).unwrap_or_default();
        let text = sealed_text(self.lines, sets);
        self.holds(tags, &text, "seal sigverify error")
    }

    fn holds(&self, tags: &Tags, text: &[u8], what: &str) -> Result<(), Broken> {
        let Some(name) = tags.key_name() else { return fault("required tag missing") };
        let record = match self.dns.txt(&name) {
            Answer::AskAgain => return Err(Broken::Later(Later(name))),
            Answer::NotThere => return fault(format!("pubkey dns lookup fail ({name})")),
            Answer::Found(texts) => texts.iter().find_map(|text| KeyRecord::parse(text)),
        };
        let (Some(record), Some((key_type, hash))) = (record, tags.method) else {
            return fault(format!("pubkey dns lookup fail ({name})"));
        };
        let is_usable = record.key_type == Some(key_type) && record.is_for_mail() && record.bits().is_some();
        if !is_usable || !record.allows(hash) {
            return fault("no usable sig for this pubkey hash list");
        }
        if record.verifies(hash, text, &tags.signature) { Ok(()) } else { fault(what) }
    }
}

/// What the seal of the last of these sets is over: all their lines, that seal itself without its signature.
pub(crate) fn sealed_text(lines: &[Vec<u8>], sets: &[Set]) -> Vec<u8> {
    let mut text = Vec::new();
    let line = |index: usize| lines.get(index).map(Vec::as_slice).unwrap_or_default();
    for (index, set) in sets.iter().enumerate() {
        let is_last = index.saturating_add(1) == sets.len();
        let signature = set.signature.as_ref().map(|(at, _)| *at);
        for at in [set.results, signature].into_iter().flatten() {
            canon::header(Canon::Relaxed, line(at), true, &mut text);
        }
        let Some((at, _)) = &set.seal else { continue };
        if is_last {
            canon::header(Canon::Relaxed, &without_signature(line(*at)), false, &mut text);
        } else {
            canon::header(Canon::Relaxed, line(*at), true, &mut text);
        }
    }
    text
}

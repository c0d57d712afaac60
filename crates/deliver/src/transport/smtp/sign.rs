//! DKIM signatures on what is sent (manual section 58.2; `mailauth::dkim::sign` writes them).
//!
//! The message is signed as it travels: line ends are those of the wire, and what a transport filter made of it counts. The
//! body is read twice, once to be hashed and once to be sent, and never kept.
//!
//! Whatever goes wrong is logged; the message then goes without signature, or waits if `dkim_strict` says so.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use oxim_base::{Taint, Text};
use oxim_lang::expand::Template;
use oxim_lang::list;
use oxim_mail::smtp::dot::Sender;
use oxim_mailauth::dkim::body::BodyHasher;
use oxim_mailauth::dkim::sign::{HeaderChoice, Recipe, SIGN_HEADERS};
use oxim_mailauth::dkim::signing_key::SigningKey;
use oxim_mailauth::dkim::{Canon, Hash};
use oxim_net::tls::FileCache;

use super::Work;
use crate::transport::DeliveryError;
use crate::transport::compose::Composed;

/// Bytes of a body in a file that are hashed at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Where a key is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum KeySource {
    File(PathBuf),
    Pem(Vec<u8>),
}

/// Keys that have been read, until their files change.
static KEYS: LazyLock<FileCache<KeySource, SigningKey>> = LazyLock::new(FileCache::new);

/// Why a message cannot be signed: the line for the log.
pub(super) struct Fault(pub(super) String);

/// A signature that is to be made.
struct Wanted {
    recipe: Recipe,
    key: Arc<SigningKey>,
}

/// The key that an option gives: a file, or the key itself.
pub(super) fn key(text: &Text) -> Result<Arc<SigningKey>, Fault> {
    let bytes = text.as_bytes();
    if !bytes.starts_with(b"/") {
        return KEYS.get(&KeySource::Pem(bytes.to_vec()), &[], || {
            SigningKey::from_pem(bytes).map_err(|error| Fault(format!("DKIM: signing failed: {error}")))
        });
    }
    let name = text.to_string_lossy();
    if text.taint() == Taint::Tainted {
        return Err(Fault(format!("Tainted filename '{name}'")));
    }
    let path = Path::new(&name);
    KEYS.get(&KeySource::File(path.to_owned()), &[path], || {
        let pem = std::fs::read(path).map_err(|error| {
            Fault(format!("unable to open file for reading: {name}: {}", error_text(&error)))
        })?;
        SigningKey::from_pem(&pem).map_err(|error| Fault(format!("DKIM: signing failed: {name}: {error}")))
    })
}

impl Work<'_> {
    /// Whether messages are signed at all.
    pub(super) fn signs(&self) -> bool {
        let dkim = &self.smtp.dkim;
        dkim.domain.is_some() && dkim.selector.is_some() && dkim.private_key.is_some()
    }

    /// The message with its signatures on top.
    ///
    /// # Errors
    /// It cannot be signed and must be.
    pub(super) fn signed(&mut self, composed: Composed) -> Result<Composed, DeliveryError> {
        if !self.signs() {
            return Ok(composed);
        }
        let made = self.dkim_lines(&composed);
        let result = match made {
            Ok(mut lines) => {
                if !lines.is_empty() {
                    lines.extend_from_slice(&composed.header);
                    return Ok(Composed { header: lines, body: composed.body });
                }
                Ok(composed)
            }
            Err(Fault(text)) => {
                self.delivery.services.log().both(format!("{}{text}", self.label));
                if self.is_strict() { Err(self.unsigned(&text)) } else { Ok(composed) }
            }
        };
        let scope = &mut self.context.delivery;
        scope.signing_domain = None;
        scope.signing_selector = None;
        result
    }

    /// The message waits. The number is that of Exim.
    fn unsigned(&self, text: &str) -> DeliveryError {
        self.log("DKIM: message could not be signed, and dkim_strict is set. Deferring message delivery.");
        DeliveryError::new(rustix::io::Errno::ACCESS.raw_os_error(), text)
    }

    fn is_strict(&mut self) -> bool {
        let Some(template) = self.smtp.dkim.strict.clone() else { return false };
        match self.signing_option(Some(&template), "dkim_strict") {
            Ok(text) => text.is_some_and(|text| matches!(text.as_bytes(), b"1" | b"true")),
            Err(Fault(text)) => {
                self.delivery.services.log().both(format!("{}{text}", self.label));
                true
            }
        }
    }

    /// An option of signing, expanded. None: unset or empty.
    pub(super) fn signing_option(
        &mut self,
        template: Option<&Template>,
        name: &str,
    ) -> Result<Option<Text>, Fault> {
        let Some(template) = template else { return Ok(None) };
        match template.expand(self.context) {
            Ok(text) if text.trimmed().is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(Fault(format!("failed to expand {name}: {error}"))),
        }
    }

    /// All signatures, one below the other.
    fn dkim_lines(&mut self, composed: &Composed) -> Result<Vec<u8>, Fault> {
        let wanted = self.wanted()?;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut hashers: Vec<BodyHasher> = Vec::new();
        for Wanted { recipe, .. } in &wanted {
            if !hashers.iter().any(|hasher| hasher.is(recipe.canon, recipe.hash, None)) {
                hashers.push(BodyHasher::new(recipe.canon, recipe.hash, None));
            }
        }
        let ways: Vec<_> = wanted.iter().map(|w| (w.recipe.canon, w.recipe.hash)).collect();
        let signable = Signable::of(composed);
        signable
            .hash(&mut hashers)
            .map_err(|error| Fault(format!("DKIM: signing failed: the body: {}", error_text(&error))))?;
        let order: Vec<usize> = ways
            .iter()
            .filter_map(|(canon, hash)| hashers.iter().position(|hasher| hasher.is(*canon, *hash, None)))
            .collect();
        let hashes: Vec<_> = hashers.into_iter().map(|hasher| hasher.finish().0).collect();
        let lines = signable.lines();
        let mut out = Vec::new();
        for (Wanted { recipe, key }, index) in wanted.iter().zip(order) {
            let hash = hashes.get(index).map(Vec::as_slice).unwrap_or_default();
            let line = recipe.line(key, &lines, hash);
            let line = line.map_err(|fault| Fault(format!("DKIM: signing failed: {}", fault.text())))?;
            out.extend_from_slice(&line);
        }
        Ok(out)
    }

    /// What is to be signed with: each domain with each of its selectors.
    fn wanted(&mut self) -> Result<Vec<Wanted>, Fault> {
        let smtp = self.smtp;
        let mut wanted = Vec::new();
        let Some(domains) = self.signing_option(smtp.dkim.domain.as_ref(), "dkim_domain")? else {
            return Ok(wanted);
        };
        for domain in list::split(domains.as_bytes()).filter(|domain| !domain.is_empty()) {
            let domain = Text::with_taint(domain.to_ascii_lowercase(), domains.taint());
            self.context.delivery.signing_domain = Some(domain.clone());
            let Some(selectors) = self.signing_option(smtp.dkim.selector.as_ref(), "dkim_selector")? else {
                continue;
            };
            for selector in list::split(selectors.as_bytes()).filter(|selector| !selector.is_empty()) {
                let selector = Text::with_taint(selector.to_vec(), selectors.taint());
                self.context.delivery.signing_selector = Some(selector.clone());
                wanted.extend(self.one_wanted(&domain, &selector)?);
            }
        }
        Ok(wanted)
    }

    fn one_wanted(&mut self, domain: &Text, selector: &Text) -> Result<Option<Wanted>, Fault> {
        let smtp = self.smtp;
        let canon = match self.signing_option(smtp.dkim.canon.as_ref(), "dkim_canon")? {
            Some(word) => Canon::from_word(word.trimmed().as_bytes()).unwrap_or_else(|| {
                let word = word.to_string_lossy();
                self.log(&format!(
                    "DKIM: unknown canonicalization method '{word}', defaulting to 'relaxed'."
                ));
                Canon::Relaxed
            }),
            None => Canon::Relaxed,
        };
        let headers = self.signing_option(smtp.dkim.headers.as_ref(), "dkim_sign_headers")?;
        let headers = HeaderChoice::parse(headers.as_ref().map_or(SIGN_HEADERS.as_bytes(), Text::as_bytes));
        let Some(source) = self.signing_option(smtp.dkim.private_key.as_ref(), "dkim_private_key")? else {
            return Ok(None);
        };
        if matches!(source.as_bytes(), b"0" | b"false") {
            return Ok(None);
        }
        let key = key(&source)?;
        let hash = match self.signing_option(smtp.dkim.hash.as_ref(), "dkim_hash")? {
            Some(word) => Hash::from_word(word.trimmed().as_bytes())
                .filter(|hash| *hash != Hash::Sha1)
                .ok_or_else(|| Fault(format!("DKIM: unrecognised hashname '{}'", word.to_string_lossy())))?,
            None => Hash::Sha256,
        };
        let identity = self.signing_option(smtp.dkim.identity.as_ref(), "dkim_identity")?;
        let times = match self.signing_option(smtp.dkim.timestamps.as_ref(), "dkim_timestamps")? {
            Some(text) => {
                let seconds: Option<u64> = text.trimmed().to_string_lossy().parse().ok();
                let seconds = seconds.ok_or_else(|| {
                    Fault(format!("DKIM: dkim_timestamps is no number: '{}'", text.to_string_lossy()))
                })?;
                let now = u64::try_from(Stamp::now().seconds).unwrap_or_default();
                Some((now, now.saturating_add(seconds)))
            }
            None => None,
        };
        let recipe = Recipe {
            domain: domain.as_bytes().to_vec(),
            selector: selector.as_bytes().to_vec(),
            identity: identity.map(|identity| identity.trimmed().as_bytes().to_vec()),
            canon,
            hash,
            headers,
            times,
        };
        Ok(Some(Wanted { recipe, key }))
    }
}

/// A message as it is signed: with the line ends that it has on the wire, written as LF.
pub(super) struct Signable<'a> {
    composed: &'a Composed,
    header: std::borrow::Cow<'a, [u8]>,
    /// What a filter gave behind the header lines.
    rest: &'a [u8],
}

impl<'a> Signable<'a> {
    pub(super) fn of(composed: &'a Composed) -> Signable<'a> {
        let whole = composed.header.as_slice();
        let end = if whole.starts_with(b"\n") {
            Some(0)
        } else {
            memchr::memmem::find(whole, b"\n\n").map(|at| at.saturating_add(1))
        };
        let (header, rest) = whole.split_at_checked(end.unwrap_or(whole.len())).unwrap_or((whole, b""));
        let header = match memchr::memchr(b'\r', header) {
            Some(_) => {
                let mut wire = Vec::new();
                Sender::for_chunks().feed(header, &mut wire);
                wire.retain(|b| *b != b'\r');
                std::borrow::Cow::Owned(wire)
            }
            None => std::borrow::Cow::Borrowed(header),
        };
        Signable { composed, header, rest: rest.strip_prefix(b"\n").unwrap_or(rest) }
    }

    /// The header lines, each with its continuations.
    pub(super) fn lines(&self) -> Vec<&[u8]> {
        let mut lines = Vec::new();
        let mut rest = self.header.as_ref();
        while !rest.is_empty() {
            let end = memchr::memchr_iter(b'\n', rest)
                .map(|at| at.saturating_add(1))
                .find(|end| !matches!(rest.get(*end), Some(b' ' | b'\t')))
                .unwrap_or(rest.len());
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, b""));
            lines.push(line);
            rest = after;
        }
        lines
    }

    /// Hashes the body.
    pub(super) fn hash(&self, hashers: &mut [BodyHasher]) -> io::Result<()> {
        let mut feeder = Feeder { hashers, wire: None };
        feeder.feed(self.rest);
        match &self.composed.body {
            None => {}
            Some(body) if body.len() <= PIECE_BYTES as u64 => feeder.feed(&body.bytes()?),
            Some(body) => {
                let mut reader = body.reader();
                let mut piece = vec![0; PIECE_BYTES];
                loop {
                    let count = reader.read(&mut piece)?;
                    if count == 0 {
                        break;
                    }
                    feeder.feed(piece.get(..count).unwrap_or_default());
                }
            }
        }
        Ok(())
    }
}

/// Gives the body to the hashers as it will be sent.
struct Feeder<'a> {
    hashers: &'a mut [BodyHasher],
    /// There was a CR: what follows goes the way of the wire.
    wire: Option<Sender>,
}

impl Feeder<'_> {
    fn feed(&mut self, piece: &[u8]) {
        if self.wire.is_none() && memchr::memchr(b'\r', piece).is_some() {
            self.wire = Some(Sender::for_chunks());
        }
        match &mut self.wire {
            Some(sender) => {
                let mut wire = Vec::new();
                sender.feed(piece, &mut wire);
                wire.retain(|b| *b != b'\r');
                self.hashers.iter_mut().for_each(|hasher| hasher.update(&wire));
            }
            None => self.hashers.iter_mut().for_each(|hasher| hasher.update(piece)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_and_hash(header: &[u8], body: Option<&[u8]>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let body = body.map(|body| oxim_spool::message::Body::Memory(body.to_vec().into()));
        let composed = Composed { header: header.to_vec(), body };
        let signable = Signable::of(&composed);
        let mut hashers = [BodyHasher::new(Canon::Simple, Hash::Sha256, None)];
        signable.hash(&mut hashers).unwrap();
        let lines = signable.lines().into_iter().map(<[u8]>::to_vec).collect();
        let [hasher] = hashers;
        (lines, hasher.finish().0)
    }

    fn hash(body: &[u8]) -> Vec<u8> {
        let mut hasher = BodyHasher::new(Canon::Simple, Hash::Sha256, None);
        hasher.update(body);
        hasher.finish().0
    }

    #[test]
    fn header_and_body_come_apart_wherever_they_are() {
        let wanted = (vec![b"A: 1\n 2\n".to_vec(), b"B: 3\n".to_vec()], hash(b"x\n\n y\n"));
        assert_eq!(lines_and_hash(b"A: 1\n 2\nB: 3\n\n", Some(b"x\n\n y\n")), wanted);
        assert_eq!(lines_and_hash(b"A: 1\n 2\nB: 3\n\nx\n\n y\n", None), wanted);
        assert_eq!(lines_and_hash(b"A: 1\n 2\nB: 3\n\n", Some(b"x\r\n\r y\r\n")), wanted);
        assert_eq!(lines_and_hash(b"A: 1\r\n 2\r\nB: 3\n\n", Some(b"x\n\n y")), wanted);
        assert_eq!(lines_and_hash(b"\nbody\n", None), (vec![], hash(b"body\n")));
        assert_eq!(lines_and_hash(b"A: 1\n", None), (vec![b"A: 1\n".to_vec()], hash(b"")));
    }

    #[test]
    fn a_key_is_a_file_or_a_text_and_must_not_be_tainted() {
        assert!(key(&Text::from("junk")).is_err_and(|fault| fault.0.contains("no private key")));
        let fault = key(&Text::from("/nonexistent/key")).err().unwrap().0;
        assert_eq!(fault, "unable to open file for reading: /nonexistent/key: No such file or directory");
        let fault = key(&Text::tainted("/nonexistent/key")).err().unwrap().0;
        assert_eq!(fault, "Tainted filename '/nonexistent/key'");
    }
}

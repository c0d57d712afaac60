//! OCSP proofs: what a response says, and whether it is to be believed (RFC 6960).
//!
//! Both sides use it: a server judges the proofs that it is about to staple, a client those that it gets; [`fetch`] gets them
//! from a responder. Failure mode: a [`Fault`], which says whose fault it is and has the words for the log.
//!
//! - [`Proof::parse`] reads the bytes and believes nothing.
//! - [`Proof::judge`] says whether it proves, now, that one certificate of one issuer is good.
//! - [`judge_staple`] does both for a chain and a set of trusted certificates.
//!
//! A proof is signed by the issuer of the certificate, or by somebody whom that issuer has named in a certificate for this
//! purpose, which may be in the response; it is good no longer than the certificate of its signer. A proof without the time of the next update proves nothing.

mod der;
mod fetch;
mod request;
mod signer;

use std::fmt;

use rustls_pki_types::{CertificateDer, UnixTime};

use super::CaSource;
use super::trust::Trust;
use der::Der;
pub use fetch::{FetchFault, Fetched, Wish, fetch, state_of_file, write};
pub use request::{request, responders};
use signer::{Issuer, Signed};

/// How far clocks may differ, in seconds.
const SKEW_SECONDS: i64 = 300;
/// Longest response that is read.
const RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// Most single answers and most certificates in a response that are looked at.
const ITEMS_MAX: usize = 64;

/// id-pkix-ocsp-basic, the only type of response that there is.
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];

/// Why a response proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is no OCSP response.
    Malformed,
    /// The responder could not answer; the number is of RFC 6960 section 4.2.1.
    Unsuccessful(u8),
    /// It is about other certificates.
    OtherCertificate,
    /// Nobody who may sign it has signed it.
    Unverifiable,
    /// Its time has passed, or has not come.
    Dates,
    /// It does not say until when it is good.
    NoNextUpdate,
    /// The certificate has been revoked.
    Revoked {
        /// Why, if the issuer says so.
        reason: Option<&'static str>,
    },
    /// The issuer does not know the certificate.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Malformed => f.write_str("wrong tag"),
            Fault::Unsuccessful(status) => write!(f, "the responder answered with status {status}"),
            Fault::OtherCertificate => f.write_str("it is about another certificate"),
            Fault::Unverifiable => f.write_str("certificate verify error"),
            Fault::Dates => f.write_str("OCSP dates invalid"),
            Fault::NoNextUpdate => f.write_str("no time of the next update"),
            Fault::Revoked { reason: None } => f.write_str("certificate revoked"),
            Fault::Revoked { reason: Some(reason) } => write!(f, "certificate revoked; reason: {reason}"),
            Fault::Unknown => f.write_str("certificate status unknown"),
        }
    }
}

impl std::error::Error for Fault {}

impl Fault {
    /// The line of a client's log over a staple of this kind.
    #[must_use]
    pub fn client_log_line(&self) -> String {
        match self {
            Fault::Malformed => "Received TLS cert status response, parse error".to_owned(),
            Fault::Unsuccessful(status) => {
                format!("Received TLS cert status response, bad status {status}")
            }
            Fault::OtherCertificate => {
                "Received TLS cert status response, not for this certificate".to_owned()
            }
            Fault::Unverifiable => {
                "Received TLS cert status response, itself unverifiable: certificate verify error".to_owned()
            }
            Fault::Dates => "OCSP dates invalid".to_owned(),
            Fault::NoNextUpdate => "OCSP dates invalid: no time of the next update".to_owned(),
            Fault::Revoked { reason } => {
                let reason = reason.map(|reason| format!("; reason: {reason}")).unwrap_or_default();
                format!("Server certificate revoked{reason}")
            }
            Fault::Unknown => "Server certificate status unknown, in OCSP stapling".to_owned(),
        }
    }
}

/// What became of OCSP stapling in a TLS session; the numbers are those of `$tls_in_ocsp` and `$tls_out_ocsp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Stapling {
    /// The client did not ask.
    #[default]
    NotRequested = 0,
    /// It asked, and there was no response.
    NoResponse = 1,
    /// There was a response, and nobody has judged it.
    NotJudged = 2,
    /// The response proves nothing.
    Failed = 3,
    /// The response proves that the certificate is good.
    Verified = 4,
}

impl Stapling {
    /// The number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// Whether a client wants a proof from the server that its certificate is not revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// It is not looked at.
    #[default]
    No,
    /// It is judged, and only one that cannot be read ends the session.
    Requested,
    /// There is no session without a good one.
    Required,
}

/// What is said of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not revoked.
    Good,
    /// Revoked, perhaps with a reason (RFC 5280 section 5.3.1).
    Revoked {
        /// The reason in OpenSSL's words.
        reason: Option<&'static str>,
    },
    /// The responder does not know it.
    Unknown,
}

/// The answer about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Single {
    hash: Vec<u8>,
    issuer_name_hash: Vec<u8>,
    issuer_key_hash: Vec<u8>,
    serial: Vec<u8>,
    /// What is said.
    pub status: Status,
    /// Since when it has been known to be right; seconds since the epoch.
    pub this_update: i64,
    /// When more will be known; seconds since the epoch.
    pub next_update: Option<i64>,
}

/// Who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Responder {
    /// The subject name, DER with its header.
    Name(Vec<u8>),
    /// SHA-1 of the key.
    Key(Vec<u8>),
}

/// A successful response, read but not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The answers.
    pub singles: Vec<Single>,
    responder: Responder,
    signed: Signed,
    certificates: Vec<Vec<u8>>,
}

/// How long a proof is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From here on; seconds since the epoch, with the allowance for clocks that differ.
    pub since: i64,
    /// Up to here.
    pub until: i64,
}

impl Validity {
    /// Whether it is good at a time.
    #[must_use]
    pub fn contains(self, now: UnixTime) -> bool {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        (self.since..=self.until).contains(&now)
    }
}

impl Proof {
    /// Reads a response in DER.
    ///
    /// # Errors
    /// It is none, or the responder had nothing to say.
    pub fn parse(der: &[u8]) -> Result<Proof, Fault> {
        if der.len() > RESPONSE_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        let basic = successful(der)?;
        read_basic(basic).ok_or(Fault::Malformed)
    }

    /// Whether it proves that `leaf` is good. `issuers` are certificates that are believed to be authorities; the issuer of the
    /// certificate must be among them. Certificates in DER.
    ///
    /// # Errors
    /// The reason why not; if there are several, what matters most: a revocation that is properly signed and in time comes first.
    pub fn judge(&self, leaf: &[u8], issuers: &[&[u8]], now: UnixTime) -> Result<Validity, Fault> {
        let subject = signer::Facts::read(leaf).ok_or(Fault::OtherCertificate)?;
        let issuer = issuers
            .iter()
            .filter_map(|der| Issuer::of(&subject, der))
            .find(|issuer| issuer.has_signed(&subject.signed))
            .ok_or(Fault::Unverifiable)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let signer_until = issuer
            .answers_for(&self.responder, &self.signed, &self.certificates, now)
            .ok_or(Fault::Unverifiable)?;
        let single = self
            .singles
            .iter()
            .find(|single| {
                single.serial == subject.serial
                    && issuer.is_named_by(&single.hash, &single.issuer_name_hash, &single.issuer_key_hash)
            })
            .ok_or(Fault::OtherCertificate)?;
        // A signature is worth no more than the certificate of the signer.
        let validity = single.judge(now)?;
        Ok(Validity { until: validity.until.min(signer_until), ..validity })
    }
}

impl Single {
    fn judge(&self, now: i64) -> Result<Validity, Fault> {
        let since = self.this_update.saturating_sub(SKEW_SECONDS);
        if now < since || self.next_update.is_some_and(|next| next < self.this_update) {
            return Err(Fault::Dates);
        }
        let until = self.next_update.map(|next| next.saturating_add(SKEW_SECONDS));
        if until.is_some_and(|until| now > until) {
            return Err(Fault::Dates);
        }
        match self.status {
            Status::Revoked { reason } => return Err(Fault::Revoked { reason }),
            Status::Unknown => return Err(Fault::Unknown),
            Status::Good => {}
        }
        until.map(|until| Validity { since, until }).ok_or(Fault::NoNextUpdate)
    }
}

/// Judges a staple. `chain` is that of the certificate, leaf first; its others count as authorities only if `chain_is_trusted` (it is
/// our own, or was verified). Besides, those of `ca` count.
///
/// # Errors
/// Why it proves nothing.
pub fn judge_staple(
    staple: &[u8],
    chain: &[CertificateDer<'_>],
    chain_is_trusted: bool,
    ca: &CaSource,
    now: UnixTime,
) -> Result<Validity, Fault> {
    let proof = Proof::parse(staple)?;
    let Some((leaf, others)) = chain.split_first() else { return Err(Fault::OtherCertificate) };
    let trust = Trust::of(ca, None).ok();
    let of_chain = others.iter().filter(|_| chain_is_trusted).map(AsRef::as_ref);
    let of_trust = trust.as_ref().into_iter().flat_map(|trust| trust.certificates());
    let issuers: Vec<&[u8]> = of_chain.chain(of_trust).collect();
    proof.judge(leaf, &issuers, now)
}

/// The DER of a response in a PEM file (`OCSP RESPONSE`).
#[must_use]
pub fn from_pem(text: &[u8]) -> Option<Vec<u8>> {
    use rustls_pki_types::pem::{SectionKind, from_buf};
    // The library knows no such section; its bytes are those of a section that it does know.
    let text = String::from_utf8_lossy(text);
    let (_, rest) = text.split_once("-----BEGIN OCSP RESPONSE-----")?;
    let (body, _) = rest.split_once("-----END OCSP RESPONSE-----")?;
    let section = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----\n");
    match from_buf(&mut section.as_bytes()) {
        Ok(Some((SectionKind::Certificate, der))) => Some(der),
        Ok(_) | Err(_) => None,
    }
}

/// The BasicOCSPResponse of a successful response.
fn successful(der: &[u8]) -> Result<&[u8], Fault> {
    let mut outer = Der(Der(der).only(der::SEQUENCE).ok_or(Fault::Malformed)?);
    match outer.next_of(der::ENUMERATED).ok_or(Fault::Malformed)? {
        [0] => {}
        [status] => return Err(Fault::Unsuccessful(*status)),
        _ => return Err(Fault::Malformed),
    }
    let mut basic = || {
        let mut bytes = Der(Der(outer.next_of(der::CONTEXT_0)?).only(der::SEQUENCE)?);
        let kind = bytes.next_of(der::OBJECT_ID)?;
        let basic = bytes.next_of(der::OCTET_STRING)?;
        (kind == BASIC && bytes.is_empty()).then_some(basic)
    };
    basic().ok_or(Fault::Malformed)
}

fn read_basic(basic: &[u8]) -> Option<Proof> {
    let signed = Signed::cut(basic)?;
    let mut rest = Der(signed.rest.as_slice());
    let mut certificates = Vec::new();
    if let Some(list) = rest.next_of(der::CONTEXT_0) {
        let mut list = Der(Der(list).only(der::SEQUENCE)?);
        while let Some(certificate) = list.next_whole(der::SEQUENCE) {
            certificates.push(certificate.to_vec());
        }
        if !list.is_empty() || certificates.len() > ITEMS_MAX {
            return None;
        }
    }
    let mut data = Der(Der(&signed.message).only(der::SEQUENCE)?);
    if let Some(version) = data.next_of(der::CONTEXT_0)
        && Der(version).only(der::INTEGER)? != [0]
    {
        return None;
    }
    let responder = if let Some(name) = data.next_of(der::CONTEXT_1) {
        Responder::Name(Der(name).only_whole(der::SEQUENCE)?.to_vec())
    } else {
        Responder::Key(Der(data.next_of(der::CONTEXT_2)?).only(der::OCTET_STRING)?.to_vec())
    };
    der::seconds(data.next_of(der::GENERALIZED_TIME)?)?;
    let mut list = Der(data.next_of(der::SEQUENCE)?);
    let mut singles = Vec::new();
    while !list.is_empty() {
        singles.push(read_single(list.next_of(der::SEQUENCE)?)?);
    }
    if singles.is_empty() || singles.len() > ITEMS_MAX {
        return None;
    }
    if let Some(extensions) = data.next_of(der::CONTEXT_1) {
        no_critical_extension(extensions)?;
    }
    (rest.is_empty() && data.is_empty()).then_some(Proof { singles, responder, signed, certificates })
}

fn read_single(single: &[u8]) -> Option<Single> {
    let mut single = Der(single);
    let mut id = Der(single.next_of(der::SEQUENCE)?);
    let hash = Der(id.next_of(der::SEQUENCE)?).next_of(der::OBJECT_ID)?.to_vec();
    let issuer_name_hash = id.next_of(der::OCTET_STRING)?.to_vec();
    let issuer_key_hash = id.next_of(der::OCTET_STRING)?.to_vec();
    let serial = id.next_of(der::INTEGER)?.to_vec();
    let (tag, content) = single.next()?;
    let status = match tag {
        der::PRIMITIVE_0 if content.is_empty() => Status::Good,
        der::CONTEXT_1 => Status::Revoked { reason: read_revocation(content)? },
        der::PRIMITIVE_2 if content.is_empty() => Status::Unknown,
        _ => return None,
    };
    let this_update = der::seconds(single.next_of(der::GENERALIZED_TIME)?)?;
    let next_update = match single.next_of(der::CONTEXT_0) {
        Some(time) => Some(der::seconds(Der(time).only(der::GENERALIZED_TIME)?)?),
        None => None,
    };
    if let Some(extensions) = single.next_of(der::CONTEXT_1) {
        no_critical_extension(extensions)?;
    }
    let is_whole = id.is_empty() && single.is_empty();
    is_whole.then_some(Single {
        hash,
        issuer_name_hash,
        issuer_key_hash,
        serial,
        status,
        this_update,
        next_update,
    })
}

/// The reason of a revocation: `Some(None)` if none is given.
fn read_revocation(content: &[u8]) -> Option<Option<&'static str>> {
    let mut revoked = Der(content);
    der::seconds(revoked.next_of(der::GENERALIZED_TIME)?)?;
    let Some(reason) = revoked.next_of(der::CONTEXT_0) else {
        return revoked.is_empty().then_some(None);
    };
    let [reason] = Der(reason).only(der::ENUMERATED)? else { return None };
    let words = match reason {
        0 => "unspecified",
        1 => "keyCompromise",
        2 => "cACompromise",
        3 => "affiliationChanged",
        4 => "superseded",
        5 => "cessationOfOperation",
        6 => "certificateHold",
        8 => "removeFromCRL",
        9 => "privilegeWithdrawn",
        10 => "aACompromise",
        _ => return None,
    };
    revoked.is_empty().then_some(Some(words))
}

/// Extensions that we must understand to believe the rest: we understand none.
fn no_critical_extension(extensions: &[u8]) -> Option<()> {
    let mut list = Der(Der(extensions).only(der::SEQUENCE)?);
    while !list.is_empty() {
        let mut extension = Der(list.next_of(der::SEQUENCE)?);
        extension.next_of(der::OBJECT_ID)?;
        if extension.next_of(der::BOOLEAN).is_some_and(|critical| critical != [0]) {
            return None;
        }
        extension.next_of(der::OCTET_STRING)?;
    }
    Some(())
}

#[cfg(test)]
mod tests;

//! Our certificates with their keys and OCSP proofs, and which of them a client gets.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::SignatureScheme;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::super::ocsp::{self, Fault, Validity};
use super::super::{CaSource, KeyPair, TlsError, config_error, pem, signature};
use super::{Note, ProofFile, ServerPolicy};

/// Our keys, in the order of preference.
#[derive(Debug)]
pub(super) struct Keys {
    list: Vec<OurKey>,
    late_notes: Mutex<Vec<Note>>,
}

/// A key with its certificate, and the same with a staple.
#[derive(Debug)]
struct OurKey {
    plain: Arc<CertifiedKey>,
    stapled: Option<Stapled>,
}

#[derive(Debug)]
struct Stapled {
    key: Arc<CertifiedKey>,
    validity: Validity,
    file: ProofFile,
    end_is_told: AtomicBool,
}

impl Keys {
    /// Reads keys, certificates and proofs. Faults of proofs are only noted.
    pub(super) fn load(
        policy: &ServerPolicy,
        provider: &CryptoProvider,
        notes: &mut Vec<Note>,
    ) -> Result<Keys, TlsError> {
        let mut list = Vec::new();
        if policy.certificates.is_empty() {
            let plain = self_signed(&policy.self_signed_name, provider)?;
            list.push(OurKey { plain, stapled: None });
        }
        for (index, pair) in policy.certificates.iter().enumerate() {
            let plain = load_pair(pair, provider)?;
            let proof = policy.proofs.get(index);
            let stapled = proof.and_then(|file| match staple(&plain, file, &policy.ca) {
                Ok(stapled) => Some(stapled),
                Err(note) => {
                    notes.push(note);
                    None
                }
            });
            list.push(OurKey { plain, stapled });
        }
        Ok(Keys { list, late_notes: Mutex::new(Vec::new()) })
    }

    /// Whether clients may get different things.
    pub(super) fn has_choice(&self) -> bool {
        self.list.len() > 1 || self.list.iter().any(|key| key.stapled.is_some())
    }

    /// The certificate of a key.
    pub(super) fn certificate(&self, index: usize) -> Option<CertificateDer<'static>> {
        self.list.get(index).and_then(|key| key.plain.cert.first().cloned())
    }

    pub(super) fn take_notes(&self) -> Vec<Note> {
        std::mem::take(&mut *self.late_notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first key that can sign in a way the client understands.
    fn choose(&self, schemes: &[SignatureScheme]) -> Option<(usize, &OurKey)> {
        let mut keys = self.list.iter().enumerate();
        keys.find(|(_, key)| key.plain.key.choose_scheme(schemes).is_some())
            .or_else(|| self.list.first().map(|key| (0, key)))
    }

    fn current_staple<'a>(&self, key: &'a OurKey) -> Option<&'a Stapled> {
        let stapled = key.stapled.as_ref()?;
        if stapled.validity.contains(UnixTime::now()) {
            return Some(stapled);
        }
        if !stapled.end_is_told.swap(true, Ordering::Relaxed) {
            let note = ignored(&stapled.file, &Fault::Dates);
            self.late_notes.lock().unwrap_or_else(PoisonError::into_inner).push(note);
        }
        None
    }
}

/// What a connection got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) is_stapled: bool,
}

/// Chooses for one connection, and remembers what.
pub(super) struct Chooser {
    keys: Arc<Keys>,
    asks_for_proof: bool,
    choice: OnceLock<Choice>,
}

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chooser({:?})", self.choice)
    }
}

impl Chooser {
    pub(super) fn new(keys: Arc<Keys>, asks_for_proof: bool) -> Chooser {
        Chooser { keys, asks_for_proof, choice: OnceLock::new() }
    }

    pub(super) fn choice(&self) -> Option<Choice> {
        self.choice.get().copied()
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (index, key) = self.keys.choose(hello.signature_schemes())?;
        let staple = self.keys.current_staple(key).filter(|_| self.asks_for_proof);
        let _first = self.choice.set(Choice { index, is_stapled: staple.is_some() });
        Some(staple.map_or(&key.plain, |staple| &staple.key).clone())
    }
}

fn load_pair(pair: &KeyPair, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let key_file = pair.key.as_deref().unwrap_or(&pair.certificate);
    let load = || {
        let chain = pem::certificates(&pair.certificate)?;
        certified(chain, pem::private_key(key_file)?, provider, "certificate")
    };
    load().map_err(|error| {
        let (certificate, key) = (pair.certificate.display(), key_file.display());
        TlsError::Config(format!("(cert/key setup: cert={certificate} key={key}): {error}"))
    })
}

/// The key with the proof of a file, if that proves something.
fn staple(key: &CertifiedKey, file: &ProofFile, ca: &CaSource) -> Result<Stapled, Note> {
    let der = read_proof(file)?;
    let validity = ocsp::judge_staple(&der, &key.cert, true, ca, UnixTime::now()).map_err(|fault| {
        if fault == Fault::Malformed { unreadable(&file.path) } else { ignored(file, &fault) }
    })?;
    let key = CertifiedKey { cert: key.cert.clone(), key: key.key.clone(), ocsp: Some(der) };
    Ok(Stapled { key: Arc::new(key), validity, file: file.clone(), end_is_told: AtomicBool::new(false) })
}

fn read_proof(file: &ProofFile) -> Result<Vec<u8>, Note> {
    let bytes = std::fs::read(&file.path).map_err(|error| Note {
        text: format!(
            "Failed to open OCSP response file \"{}\": {}",
            file.path.display(),
            oxim_base::errno::error_text(&error)
        ),
        is_panic: true,
    })?;
    if file.is_pem { ocsp::from_pem(&bytes).ok_or_else(|| unreadable(&file.path)) } else { Ok(bytes) }
}

fn unreadable(path: &Path) -> Note {
    let text = format!("Error reading OCSP response from \"{}\": {}", path.display(), Fault::Malformed);
    Note { text, is_panic: true }
}

fn ignored(file: &ProofFile, fault: &Fault) -> Note {
    Note {
        text: format!("OCSP response in \"{}\" is not stapled: {fault}", file.path.display()),
        is_panic: false,
    }
}

/// The key must belong to the certificate; a certificate too odd for the library to compare is believed.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
    what: &str,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let key = provider.key_provider.load_private_key(key).map_err(config_error(what))?;
    let spki = key.public_key();
    let in_certificate = chain.first().and_then(|leaf| signature::public_key(leaf));
    if let (Some(ours), Some(theirs)) = (&spki, in_certificate)
        && ours.as_ref() != theirs
    {
        return Err(TlsError::Config(format!("{what}: the private key does not match")));
    }
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Good enough for opportunistic encryption, which is all that an unset `tls_certificate` promises.
fn self_signed(name: &str, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let failed =
        |error: rcgen::Error| TlsError::Config(format!("cannot make a self-signed certificate: {error}"));
    let name = if name.is_empty() { "localhost" } else { name };
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()])
        .or_else(|_| rcgen::CertificateParams::new(Vec::new()))
        .map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let der = PrivateKeyDer::try_from(key.serialize_der())
        .map_err(|error| TlsError::Config(format!("cannot make a self-signed certificate: {error}")))?;
    certified(vec![certificate.der().clone()], der, provider, "self-signed certificate")
}

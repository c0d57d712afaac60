//! The client's side: a blocking handshake over any stream, for code on worker threads.
//!
//! The stream must have its own read and write timeouts ([`crate::socket::Socket`] has). Nothing about the peer's certificate
//! fails the handshake; it is judged afterwards, and only [`Verify::Require`] turns a bad verdict into an error.
//!
//! Resumption is off unless the policy has a `resumption_key`: one session cache per key and policy, and a session whose
//! certificate was found bad is forgotten. The library does not call a verifier for resumed sessions, but keeps the chain,
//! so those are judged like all others.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Certificate;
use super::file_cache::FileCache;
use super::ocsp::Stapling;
use super::trust::{Side, Trust};
use super::{
    CaSource, KeyPair, TlsError, TlsFacts, Verify, Versions, ciphers, config_error, dane, ocsp, pem,
    signature,
};
use crate::dns::Tlsa;

/// How to be a TLS client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientPolicy {
    /// What the server's certificate matters.
    pub verify: Verify,
    /// The certificate must be for one of these hosts; empty means that names are not looked at.
    pub names: Vec<String>,
    /// Usable TLSA records of the host. With any, they alone decide; the names count for those of DANE-TA only.
    pub tlsa: Vec<Tlsa>,
    /// What is trusted.
    pub ca: CaSource,
    /// A file or directory of revocation lists.
    pub crl: Option<PathBuf>,
    /// Our own certificate, for servers that ask.
    pub certificate: Option<KeyPair>,
    /// Application protocols to offer.
    pub alpn: Vec<Vec<u8>>,
    /// Protocol versions.
    pub versions: Versions,
    /// A cipher string of either dialect; see [`ciphers::choose`].
    pub ciphers: Option<String>,
    /// Which server this is, if sessions may be resumed.
    pub resumption_key: Option<String>,
    /// Whether a stapled OCSP response matters. The library asks for one in any case.
    pub ocsp: ocsp::Wanted,
}

/// A TLS session over `S`.
pub struct ClientStream<S: Read + Write> {
    inner: StreamOwned<ClientConnection, S>,
}

impl<S: Read + Write> ClientStream<S> {
    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.inner.sock
    }

    /// The stream below, to change its timeouts.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner.sock
    }

    /// Says that nothing more will be sent. Failures do not matter: the peer may have gone.
    pub fn close(&mut self) {
        self.inner.conn.send_close_notify();
        let _gone = self.inner.conn.write_tls(&mut self.inner.sock);
    }
}

impl<S: Read + Write> Read for ClientStream<S> {
    /// An end without the peer's farewell is an end like any other: SMTP has its own.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }
}

impl<S: Read + Write> Write for ClientStream<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.inner.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// What is made once per policy.
struct Prepared {
    config: Arc<ClientConfig>,
    /// The staple of the last full handshake: a resumed session brings none.
    staple: Mutex<Option<Vec<u8>>>,
}

static PREPARED: LazyLock<FileCache<ClientPolicy, Prepared>> = LazyLock::new(FileCache::new);

thread_local! {
    /// Where the verifier leaves the staple: it is shared between connections, the handshake stays on its thread.
    static STAPLE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    /// The certificate that this handshake has shown to the server.
    static SHOWN: RefCell<Option<CertificateDer<'static>>> = const { RefCell::new(None) };
}

/// Performs the handshake. `sni` is the host name to ask for, if any; it has no part in the name check.
///
/// # Errors
/// See [`TlsError`]. After any error the stream is of no further use.
pub fn connect<S: Read + Write>(
    mut stream: S,
    sni: Option<&str>,
    policy: &ClientPolicy,
) -> Result<(ClientStream<S>, TlsFacts), TlsError> {
    let key = ClientPolicy { names: Vec::new(), tlsa: Vec::new(), ocsp: ocsp::Wanted::No, ..policy.clone() };
    let files: Vec<&Path> = policy
        .certificate
        .iter()
        .flat_map(|pair| std::iter::once(&pair.certificate).chain(&pair.key))
        .map(PathBuf::as_path)
        .collect();
    let prepared = PREPARED.get(&key, &files, || prepare(&key))?;
    let asked = sni.and_then(|name| ServerName::try_from(name.trim_end_matches('.').to_owned()).ok());
    // The library wants a name; for an address it sends none.
    let name = asked.clone().unwrap_or_else(|| ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    let mut connection =
        ClientConnection::new(prepared.config.clone(), name).map_err(config_error("TLS client setup"))?;
    STAPLE.with_borrow_mut(|staple| *staple = None);
    SHOWN.with_borrow_mut(|shown| *shown = None);
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let facts = facts_of(&connection, policy, &prepared, asked);
    let mut stream = ClientStream { inner: StreamOwned::new(connection, stream) };
    if let (Verify::Require, false) = (policy.verify, facts.verified) {
        PREPARED.remove(&key);
        stream.close();
        let reason = facts.verify_failure.clone().unwrap_or_default();
        return Err(TlsError::Unverified { reason, facts: Box::new(facts) });
    }
    let is_ended = match policy.ocsp {
        ocsp::Wanted::No => false,
        ocsp::Wanted::Requested => facts.ocsp_fault == Some(ocsp::Fault::Malformed),
        ocsp::Wanted::Required => facts.ocsp != Stapling::Verified,
    };
    if is_ended {
        PREPARED.remove(&key);
        stream.close();
        return Err(TlsError::Unproven(Box::new(facts)));
    }
    Ok((stream, facts))
}

fn facts_of(
    connection: &ClientConnection,
    policy: &ClientPolicy,
    prepared: &Prepared,
    asked: Option<ServerName<'_>>,
) -> TlsFacts {
    let mut facts = TlsFacts::of(connection);
    facts.sni =
        asked.filter(|name| matches!(name, ServerName::DnsName(_))).map(|name| name.to_str().into_owned());
    facts.own_certificate = SHOWN.with_borrow_mut(Option::take);
    facts.may_resume = policy.resumption_key.is_some();
    facts.channel_binding = (facts.version == "TLS1.3")
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok())
        .flatten();
    let mut kept = prepared.staple.lock().unwrap_or_else(PoisonError::into_inner);
    if !facts.resumed {
        *kept = STAPLE.with_borrow_mut(Option::take);
    }
    facts.ocsp_staple.clone_from(&kept);
    drop(kept);
    let mut chain_is_trusted = false;
    if policy.verify != Verify::None {
        match judge(&facts.peer_chain, policy) {
            Ok(vouched) => {
                facts.verified = true;
                facts.dane = !policy.tlsa.is_empty();
                chain_is_trusted = vouched == Vouched::Chain;
            }
            Err(reason) => facts.verify_failure = Some(reason),
        }
    }
    if policy.ocsp != ocsp::Wanted::No {
        (facts.ocsp, facts.ocsp_fault) = proof(&facts, policy, chain_is_trusted);
    }
    facts
}

/// What the server's OCSP response proves.
fn proof(facts: &TlsFacts, policy: &ClientPolicy, chain_is_trusted: bool) -> (Stapling, Option<ocsp::Fault>) {
    let Some(staple) = &facts.ocsp_staple else { return (Stapling::NoResponse, None) };
    match ocsp::judge_staple(staple, &facts.peer_chain, chain_is_trusted, &policy.ca, UnixTime::now()) {
        Ok(_) => (Stapling::Verified, None),
        Err(fault) => (Stapling::Failed, Some(fault)),
    }
}

/// How much of a chain was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vouched {
    /// The first certificate: nothing is known of the others (DANE-EE).
    Leaf,
    /// All that leads to an authority.
    Chain,
}

/// What a policy says of a server's chain, leaf first: what [`connect`] would say of it.
///
/// # Errors
/// It is not good; the reason is in OpenSSL's words.
pub fn verdict(chain: &[CertificateDer<'_>], policy: &ClientPolicy) -> Result<(), String> {
    judge(chain, policy).map(|_| ())
}

/// Chain first, then names, as Exim reports them.
fn judge(chain: &[CertificateDer<'_>], policy: &ClientPolicy) -> Result<Vouched, String> {
    if !policy.tlsa.is_empty() {
        let rules = dane::Rules { names: &policy.names, ..dane::Rules::default() };
        return dane::judge(chain, &policy.tlsa, &rules, UnixTime::now())
            .map(|fit| if fit.usage == dane::DANE_EE { Vouched::Leaf } else { Vouched::Chain })
            .map_err(|misfit| misfit.to_string());
    }
    let trust = Trust::of(&policy.ca, policy.crl.as_deref()).map_err(|error| error.to_string())?;
    trust.judge(chain, Side::Server)?;
    if policy.names.is_empty() {
        return Ok(Vouched::Chain);
    }
    let certificate = chain.first().and_then(|leaf| Certificate::parse(leaf).ok());
    if certificate.is_some_and(|certificate| policy.names.iter().any(|name| certificate.is_for_host(name))) {
        return Ok(Vouched::Chain);
    }
    Err("certificate name mismatch".to_owned())
}

fn prepare(policy: &ClientPolicy) -> Result<Prepared, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    let mut versions = policy.versions;
    provider.cipher_suites = ciphers::all();
    if let Some(text) = &policy.ciphers {
        let choice = ciphers::choose(text)?;
        versions.tls12 &= choice.versions.tls12;
        versions.tls13 &= choice.versions.tls13;
        provider.cipher_suites = choice.suites;
    }
    let provider: Arc<CryptoProvider> = Arc::new(provider);
    let verifier = Arc::new(AnyCertificate { supported: provider.signature_verification_algorithms });
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions.list())
        .map_err(config_error("TLS versions"))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match &policy.certificate {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = pem::certificates(&pair.certificate)?;
            let key = pem::private_key(pair.key.as_deref().unwrap_or(&pair.certificate))?;
            let key = provider.key_provider.load_private_key(key);
            let key = CertifiedKey::new(chain, key.map_err(config_error("client certificate"))?);
            if let Err(error @ rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
                key.keys_match()
            {
                return Err(config_error("client certificate")(error));
            }
            builder.with_client_cert_resolver(Arc::new(OwnCertificate(Arc::new(key))))
        }
    };
    config.alpn_protocols.clone_from(&policy.alpn);
    config.resumption = if policy.resumption_key.is_some() {
        Resumption::in_memory_sessions(2)
    } else {
        Resumption::disabled()
    };
    Ok(Prepared { config: Arc::new(config), staple: Mutex::new(None) })
}

/// Our certificate, for any server that asks; remembers that one did.
#[derive(Debug)]
struct OwnCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.key.choose_scheme(schemes)?;
        SHOWN.with_borrow_mut(|place| {
            *place = self.0.end_entity_cert().ok().map(|der| der.clone().into_owned())
        });
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any certificate and leaves the judgement to others; the proof of the key is checked.
#[derive(Debug)]
struct AnyCertificate {
    supported: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let staple = (!ocsp_response.is_empty()).then(|| ocsp_response.to_vec());
        STAPLE.with_borrow_mut(|place| *place = staple);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls12(&self.supported, message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls13(&self.supported, message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.supported.supported_schemes()
    }
}

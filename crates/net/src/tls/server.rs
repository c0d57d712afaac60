//! The server's side: an async handshake, in one step or with a look at the client's wishes in between.
//!
//! [`ServerTls::of`] is cheap when nothing changed: files are compared by identity and parsed only when they differ.
//! A client certificate that was only asked for never fails the handshake; one that is required does, and the client is told.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

pub use tokio_rustls::server::TlsStream;

use super::file_cache::FileCache;
use super::trust::{Side, Trust};
use super::{CaSource, KeyPair, TlsError, TlsFacts, Verify, Versions, ciphers, config_error, pem, signature};

/// How to be a TLS server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerPolicy {
    /// Certificates with their keys; the first that fits the client is used. Empty: a self-signed one is made.
    pub certificates: Vec<KeyPair>,
    /// The host that a self-signed certificate is for.
    pub self_signed_name: String,
    /// Whether to ask the client for a certificate.
    pub client_certificates: Verify,
    /// What is trusted in clients' certificates.
    pub ca: CaSource,
    /// A file or directory of revocation lists.
    pub crl: Option<PathBuf>,
    /// Application protocols; a client that offers only others is refused, one that offers none is not.
    pub alpn: Vec<Vec<u8>>,
    /// Protocol versions.
    pub versions: Versions,
    /// A cipher string of either dialect; see [`ciphers::choose`].
    pub ciphers: Option<String>,
    /// Whether clients may resume sessions.
    pub resumption: bool,
}

/// A policy made ready.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    trust: Option<Arc<Trust>>,
    own_certificate: Option<CertificateDer<'static>>,
}

static PREPARED: LazyLock<FileCache<ServerPolicy, ServerTls>> = LazyLock::new(FileCache::new);

impl ServerTls {
    /// The policy made ready: from the cache, unless one of its files changed. Blocks on file I/O when it did.
    ///
    /// # Errors
    /// [`TlsError::Config`], naming the file or option. Answer STARTTLS with 454 then.
    pub fn of(policy: &ServerPolicy) -> Result<Arc<ServerTls>, TlsError> {
        let pairs =
            policy.certificates.iter().flat_map(|pair| std::iter::once(&pair.certificate).chain(&pair.key));
        let mut files: Vec<&Path> = pairs.map(PathBuf::as_path).collect();
        files.extend(policy.crl.as_deref());
        if let CaSource::Path(path) = &policy.ca
            && policy.client_certificates != Verify::None
        {
            files.push(path);
        }
        PREPARED.get(policy, &files, || ServerTls::prepare(policy))
    }

    fn prepare(policy: &ServerPolicy) -> Result<ServerTls, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        let mut versions = policy.versions;
        provider.cipher_suites = ciphers::all();
        if let Some(text) = &policy.ciphers {
            let choice = ciphers::choose(text)?;
            versions.tls12 &= choice.versions.tls12;
            versions.tls13 &= choice.versions.tls13;
            provider.cipher_suites = choice.suites;
        }
        let provider = Arc::new(provider);
        let keys = load_keys(policy, &provider)?;
        let trust = match policy.client_certificates {
            Verify::None => None,
            Verify::Try | Verify::Require => Some(Trust::of(&policy.ca, policy.crl.as_deref())?),
        };
        let own_certificate = keys.first().and_then(|key| key.cert.first().cloned());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions.list())
            .map_err(config_error("TLS versions"))?;
        let builder = match &trust {
            None => builder.with_no_client_auth(),
            Some(trust) => builder.with_client_cert_verifier(Arc::new(ClientCertificates {
                supported: provider.signature_verification_algorithms,
                trust: trust.clone(),
                required: policy.client_certificates == Verify::Require,
            })),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Keys(keys)));
        config.alpn_protocols.clone_from(&policy.alpn);
        // The client's order counts for nothing when the postmaster gave one.
        config.ignore_client_order = policy.ciphers.is_some();
        if policy.resumption {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(config_error("session tickets"))?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(ServerTls { config: Arc::new(config), trust, own_certificate })
    }
}

/// A client that has said what it wants, before our certificate is chosen.
pub struct Hello<S> {
    start: StartHandshake<S>,
    deadline: tokio::time::Instant,
}

/// Waits for the client's first words. Use this when `tls_certificate` depends on `$tls_in_sni`; else [`accept`].
/// The limit is for the whole handshake.
///
/// # Errors
/// See [`TlsError`].
pub async fn begin<S>(stream: S, limit: Duration) -> Result<Hello<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = tokio::time::Instant::now() + limit;
    let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let start = timeout_at(deadline, acceptor).await.map_err(|_| TlsError::Timeout)??;
    Ok(Hello { start, deadline })
}

impl<S> Hello<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// The name that the client asked for.
    pub fn sni(&self) -> Option<String> {
        self.start.client_hello().server_name().map(str::to_owned)
    }

    /// The application protocols that the client offered.
    pub fn alpn(&self) -> Vec<Vec<u8>> {
        self.start.client_hello().alpn().map(|list| list.map(<[u8]>::to_vec).collect()).unwrap_or_default()
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub async fn accept(self, tls: &ServerTls) -> Result<(TlsStream<S>, TlsFacts), TlsError> {
        let accept = self.start.into_stream(tls.config.clone());
        let stream = timeout_at(self.deadline, accept).await.map_err(|_| TlsError::Timeout)??;
        let facts = facts_of(&stream, tls);
        Ok((stream, facts))
    }
}

/// Performs the handshake within a time limit.
///
/// # Errors
/// See [`TlsError`].
pub async fn accept<S>(
    stream: S,
    tls: &ServerTls,
    limit: Duration,
) -> Result<(TlsStream<S>, TlsFacts), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    begin(stream, limit).await?.accept(tls).await
}

fn facts_of<S>(stream: &TlsStream<S>, tls: &ServerTls) -> TlsFacts {
    let connection = stream.get_ref().1;
    let mut facts = TlsFacts::of(connection);
    facts.sni = connection.server_name().map(str::to_owned);
    facts.own_certificate.clone_from(&tls.own_certificate);
    facts.channel_binding = (facts.version == "TLS1.3")
        .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok())
        .flatten();
    if let Some(trust) = &tls.trust
        && !facts.peer_chain.is_empty()
    {
        match trust.judge(&facts.peer_chain, Side::Client) {
            Ok(()) => facts.verified = true,
            Err(reason) => facts.verify_failure = Some(reason),
        }
    }
    facts
}

fn load_keys(policy: &ServerPolicy, provider: &CryptoProvider) -> Result<Vec<Arc<CertifiedKey>>, TlsError> {
    if policy.certificates.is_empty() {
        return Ok(vec![self_signed(&policy.self_signed_name, provider)?]);
    }
    let load = |pair: &KeyPair| {
        let chain = pem::certificates(&pair.certificate)?;
        let key = pem::private_key(pair.key.as_deref().unwrap_or(&pair.certificate))?;
        let what = format!("certificate {}", pair.certificate.display());
        certified(chain, key, provider, &what)
    };
    policy.certificates.iter().map(load).collect()
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

/// Our keys: the first that can sign in a way the client understands.
#[derive(Debug)]
struct Keys(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        self.0.iter().find(fits).or(self.0.first()).cloned()
    }
}

/// Asks for a client certificate. Unless one is required, any is taken here and judged later.
struct ClientCertificates {
    supported: WebPkiSupportedAlgorithms,
    trust: Arc<Trust>,
    required: bool,
}

impl std::fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCertificates(required: {})", self.required)
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.trust.subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.required {
            let chain: Vec<CertificateDer<'_>> = std::iter::once(end_entity)
                .chain(intermediates)
                .map(|der| CertificateDer::from(der.as_ref()))
                .collect();
            self.trust.judge(&chain, Side::Client).map_err(|reason| {
                let reason: Box<dyn std::error::Error + Send + Sync> = reason.into();
                rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(Arc::from(
                    reason,
                ))))
            })?;
        }
        Ok(ClientCertVerified::assertion())
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

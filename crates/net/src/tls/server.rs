//! The server's side: an async handshake, with a look at the client's wishes in between.
//!
//! [`ServerTls::of`] is cheap when nothing changed: files are compared by identity and parsed only when they differ.
//! A client certificate that was only asked for never fails the handshake; one that is required does, and the client is told.
//! An OCSP proof that proves nothing, or no longer, is not stapled: the handshake goes on without it.

mod client_certificates;
mod keys;
mod recorded;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, NoServerSessionStorage};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::file_cache::FileCache;
use super::ocsp::Stapling;
use super::trust::{Side, Trust};
use super::{
    CaSource, KeyPair, TlsError, TlsFacts, Verify, Versions, ciphers, client_hello, config_error, groups,
};
use client_certificates::ClientCertificates;
use keys::{Chooser, Keys};
pub use recorded::Recorded;

/// A TLS session over `S`.
pub type TlsStream<S> = tokio_rustls::server::TlsStream<Recorded<S>>;

/// A file with an OCSP response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProofFile {
    /// Where it is.
    pub path: PathBuf,
    /// It is PEM (`OCSP RESPONSE`), not DER.
    pub is_pem: bool,
}

/// How to be a TLS server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServerPolicy {
    /// Certificates with their keys; the first that fits the client is used. Empty: a self-signed one is made.
    pub certificates: Vec<KeyPair>,
    /// Their OCSP responses, in the same order; there may be fewer.
    pub proofs: Vec<ProofFile>,
    /// The host that a self-signed certificate is for.
    pub self_signed_name: String,
    /// Whether to ask the client for a certificate.
    pub client_certificates: Verify,
    /// What is trusted in clients' certificates, and among the issuers of proofs.
    pub ca: CaSource,
    /// A file or directory of revocation lists.
    pub crl: Option<PathBuf>,
    /// Application protocols; a client that offers only others, or more than one, is refused; one that offers none is not.
    pub alpn: Vec<Vec<u8>>,
    /// Protocol versions.
    pub versions: Versions,
    /// A cipher string of either dialect; see [`ciphers::choose`].
    pub ciphers: Option<String>,
    /// Groups of the key exchange by name; unset or `auto`: the library's.
    pub groups: Option<String>,
    /// Whether clients may resume sessions.
    pub resumption: bool,
    /// Whether something may be sent before the client has ended its part of the handshake (TLS 1.3 without client certificates).
    pub early_data_out: bool,
}

/// Something about a policy that the postmaster should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// For the log.
    pub text: String,
    /// It belongs into the panic log too.
    pub is_panic: bool,
}

/// A policy made ready.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    trust: Option<Arc<Trust>>,
    keys: Arc<Keys>,
    notes: Mutex<Vec<Note>>,
}

static PREPARED: LazyLock<FileCache<ServerPolicy, ServerTls>> = LazyLock::new(FileCache::new);

impl ServerTls {
    /// The policy made ready: from the cache, unless one of its files changed. Blocks on file I/O when it did.
    ///
    /// # Errors
    /// [`TlsError::Config`], naming the file or option. Answer STARTTLS with 454 then.
    pub fn of(policy: &ServerPolicy) -> Result<Arc<ServerTls>, TlsError> {
        PREPARED.get(policy, &ServerTls::files(policy), || ServerTls::prepare(policy))
    }

    /// As [`ServerTls::of`], but only from the cache: costs one stat per file.
    #[must_use]
    pub fn known(policy: &ServerPolicy) -> Option<Arc<ServerTls>> {
        PREPARED.known(policy, &ServerTls::files(policy))
    }

    /// The files that a policy is made of.
    fn files(policy: &ServerPolicy) -> Vec<&Path> {
        let pairs =
            policy.certificates.iter().flat_map(|pair| std::iter::once(&pair.certificate).chain(&pair.key));
        let mut files: Vec<&Path> = pairs.map(PathBuf::as_path).collect();
        files.extend(policy.proofs.iter().map(|proof| proof.path.as_path()));
        files.extend(policy.crl.as_deref());
        if let CaSource::Path(path) = &policy.ca
            && (policy.client_certificates != Verify::None || !policy.proofs.is_empty())
        {
            files.push(path);
        }
        files
    }

    /// What has been noticed since the last call: each thing is told once, until a file changes.
    pub fn take_notes(&self) -> Vec<Note> {
        let mut notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        notes.extend(self.keys.take_notes());
        notes
    }

    /// Whether it matters which application protocols a client offers.
    #[must_use]
    pub fn has_protocols(&self) -> bool {
        !self.config.alpn_protocols.is_empty()
    }

    fn prepare(policy: &ServerPolicy) -> Result<ServerTls, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        let mut versions = policy.versions;
        let mut notes = Vec::new();
        let mut note = |option: &str, words: &[String]| {
            if !words.is_empty() {
                let text = format!("{option}: ignored what is not known here: {}", words.join(" "));
                notes.push(Note { text, is_panic: false });
            }
        };
        provider.cipher_suites = ciphers::all();
        if let Some(text) = &policy.ciphers {
            let choice = ciphers::choose(text)?;
            versions.tls12 &= choice.versions.tls12;
            versions.tls13 &= choice.versions.tls13;
            provider.cipher_suites = choice.suites;
            note("tls_require_ciphers", &choice.unknown);
        }
        if let Some(text) = &policy.groups {
            let (groups, unknown) = groups::choose(text)?;
            provider.kx_groups = groups;
            note("tls_eccurve", &unknown);
        }
        let provider = Arc::new(provider);
        let keys = Arc::new(Keys::load(policy, &provider, &mut notes)?);
        let trust = match policy.client_certificates {
            Verify::None => None,
            Verify::Try | Verify::Require => Some(Trust::of(&policy.ca, policy.crl.as_deref())?),
        };
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
        let mut config = builder.with_cert_resolver(Arc::new(Chooser::new(keys.clone(), false)));
        config.alpn_protocols.clone_from(&policy.alpn);
        // Our order counts: the strongest, or what the postmaster said.
        config.ignore_client_order = true;
        config.send_half_rtt_data = policy.early_data_out;
        if policy.resumption {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(config_error("session tickets"))?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(ServerTls { config: Arc::new(config), trust, keys, notes: Mutex::new(notes) })
    }

    /// The configuration for one connection, and what will tell the choice of the certificate.
    fn for_connection(&self, asks: bool, protocols: usize) -> (Arc<ServerConfig>, Option<Arc<Chooser>>) {
        let is_alien = protocols > 1 && self.has_protocols();
        let chooses = self.keys.has_choice();
        if !is_alien && !chooses {
            return (self.config.clone(), None);
        }
        let mut config = ServerConfig::clone(&self.config);
        if is_alien {
            // No protocol has this name: the client is refused with the right alert.
            config.alpn_protocols = vec![b"\0".to_vec()];
        }
        let chooser = Arc::new(Chooser::new(self.keys.clone(), asks));
        config.cert_resolver = chooser.clone();
        (Arc::new(config), Some(chooser))
    }
}

/// A client that has said what it wants, before our certificate is chosen.
pub struct Hello<S> {
    start: StartHandshake<Recorded<S>>,
    deadline: tokio::time::Instant,
    asks_for_proof: bool,
}

/// Waits for the client's first words. Use this when the policy depends on `$tls_in_sni`; else [`accept`].
/// The limit is for the whole handshake.
///
/// # Errors
/// See [`TlsError`].
pub async fn begin<S>(stream: S, limit: Duration) -> Result<Hello<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let deadline = tokio::time::Instant::now() + limit;
    let acceptor = LazyConfigAcceptor::new(Acceptor::default(), Recorded::new(stream));
    let mut start = timeout_at(deadline, acceptor).await.map_err(|_| TlsError::Timeout)??;
    let asks_for_proof = client_hello::asks_for_proof(start.io.heard());
    start.io.forget();
    Ok(Hello { start, deadline, asks_for_proof })
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
        self.accept_saying(tls, b"").await
    }

    /// As [`Self::accept`], and sends `first` as soon as can be: before the client's last words under a policy with
    /// `early_data_out`.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub async fn accept_saying(
        self,
        tls: &ServerTls,
        first: &[u8],
    ) -> Result<(TlsStream<S>, TlsFacts), TlsError> {
        let protocols = self.start.client_hello().alpn().map_or(0, Iterator::count);
        let (config, chooser) = tls.for_connection(self.asks_for_proof, protocols);
        let say = |connection: &mut ServerConnection| {
            // Into a buffer without limit: it cannot fail.
            let _kept = std::io::Write::write_all(&mut connection.writer(), first);
        };
        let accept = self.start.into_stream_with(config, say);
        let stream = timeout_at(self.deadline, accept).await.map_err(|_| TlsError::Timeout)??;
        let mut facts = facts_of(&stream, tls);
        let choice = chooser.as_ref().and_then(|chooser| chooser.choice());
        facts.own_certificate = tls.keys.certificate(choice.map_or(0, |choice| choice.index));
        facts.ocsp = match choice {
            _ if !self.asks_for_proof || facts.resumed => Stapling::NotRequested,
            Some(choice) if choice.is_stapled => Stapling::Verified,
            Some(_) | None => Stapling::NoResponse,
        };
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

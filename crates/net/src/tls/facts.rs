//! What is known about a TLS session once its handshake is over: the source of log fields and variables.

use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};
use rustls_pki_types::CertificateDer;

use super::certificate::Certificate;
use super::ciphers;
use super::ocsp::{Fault, Stapling};

/// A TLS session, as logs and variables show it.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// `TLS1.3` or `TLS1.2`.
    pub version: &'static str,
    /// The cipher suite in OpenSSL's words (`ECDHE-RSA-AES256-GCM-SHA384`, `TLS_AES_256_GCM_SHA384`).
    pub cipher: &'static str,
    /// The cipher suite by its RFC name (`$tls_in_cipher_std`).
    pub cipher_std: String,
    /// Key length of the cipher (`$tls_in_bits`).
    pub bits: u32,
    /// The peer's certificates as it sent them, leaf first; empty if it sent none.
    pub peer_chain: Vec<CertificateDer<'static>>,
    /// The peer's subject name on one line (`DN=`, `$tls_in_peerdn`).
    pub peer_dn: Option<String>,
    /// Our own certificate, if we sent one.
    pub own_certificate: Option<CertificateDer<'static>>,
    /// Whether the peer's certificate was judged and found good (`CV=`, `$tls_in_certificate_verified`).
    pub verified: bool,
    /// Why not, in OpenSSL's words; unset if it was not judged.
    pub verify_failure: Option<String>,
    /// It was found good by TLSA records (`CV=dane`, `$tls_out_dane`).
    pub dane: bool,
    /// It was found good as an MTA-STS policy wants it (`CV=sts`); set by who knows the policy.
    pub sts: bool,
    /// The name that the client asked for (`SNI=`, `$tls_in_sni`).
    pub sni: Option<String>,
    /// The application protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// The OCSP response that the server stapled, not yet judged.
    pub ocsp_staple: Option<Vec<u8>>,
    /// What became of OCSP stapling (`$tls_in_ocsp`, `$tls_out_ocsp`).
    pub ocsp: Stapling,
    /// Why the server's proof is none, if there was one.
    pub ocsp_fault: Option<Fault>,
    /// Whether a client would have resumed an earlier session.
    pub may_resume: bool,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// Keying material for SCRAM with channel binding `tls-exporter` (RFC 9266); TLS 1.3 only.
    pub channel_binding: Option<[u8; 32]>,
}

impl TlsFacts {
    /// The log field `X=`, and `$tls_in_cipher`: `TLS1.3:TLS_AES_256_GCM_SHA384:256`.
    #[must_use]
    pub fn cipher_field(&self) -> String {
        format!("{}:{}:{}", self.version, self.cipher, self.bits)
    }

    /// `$tls_in_resumption`, `$tls_out_resumption`. Bit 0: there is support; 1: a ticket was asked for; 2: a session was offered; 3: a ticket was issued;
    /// 4: it was used.
    #[must_use]
    pub const fn resumption_bits(&self) -> u8 {
        match (self.may_resume, self.resumed) {
            (_, true) => 0b1_0111,
            (true, false) => 0b0_0011,
            (false, false) => 0b0_0001,
        }
    }

    /// The peer's certificate, read.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<Certificate> {
        self.peer_chain.first().and_then(|der| Certificate::parse(der).ok())
    }

    /// What the library knows of a finished handshake.
    pub(super) fn of(state: &CommonState) -> TlsFacts {
        let suite = state.negotiated_cipher_suite().map(|suite| suite.suite());
        let peer_chain: Vec<CertificateDer<'static>> = state
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|der| der.clone().into_owned())
            .collect();
        TlsFacts {
            version: if state.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                "TLS1.3"
            } else {
                "TLS1.2"
            },
            cipher: suite.map_or("", ciphers::openssl_name),
            cipher_std: suite.map(rfc_name).unwrap_or_default(),
            bits: suite.map_or(0, ciphers::key_bits),
            peer_dn: peer_chain.first().and_then(|der| Some(Certificate::parse(der).ok()?.subject_one_line)),
            peer_chain,
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            ..TlsFacts::default()
        }
    }
}

/// The library names TLS 1.3 suites `TLS13_…`; the RFC does not.
fn rfc_name(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    name.strip_prefix("TLS13_").map_or_else(|| name.to_owned(), |rest| format!("TLS_{rest}"))
}

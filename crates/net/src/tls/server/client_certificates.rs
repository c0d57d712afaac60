//! Asking clients for certificates. Unless one is required, any is taken in the handshake and judged later.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::super::signature;
use super::super::trust::{Side, Trust};

pub(super) struct ClientCertificates {
    pub(super) supported: WebPkiSupportedAlgorithms,
    pub(super) trust: Arc<Trust>,
    pub(super) required: bool,
}

impl fmt::Debug for ClientCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

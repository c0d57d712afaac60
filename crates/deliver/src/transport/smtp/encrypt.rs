//! TLS of the smtp transport (manual section 43.9 and the `tls_` options of chapter 30).

use std::path::PathBuf;
use std::sync::Arc;

use oxim_net::smtp_client::{SmtpError, StartTls};
use oxim_net::tls::client::ClientPolicy;
use oxim_net::tls::{CaSource, KeyPair, Verify};

use super::session::{Opening, Session, lost};
use super::trouble::{self, About, Codes, Trouble};
use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// How TLS is to be done with a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsWishes {
    pub(super) policy: ClientPolicy,
    pub(super) sni: Option<String>,
}

impl Work<'_> {
    /// Expands the TLS options for a host.
    pub(super) fn tls_wishes(&mut self, target: &Target) -> Result<TlsWishes, DeliveryError> {
        let tls = &self.smtp.tls;
        let certificate = self.optional(tls.certificate.as_ref(), "tls_certificate")?;
        let key = self.optional(tls.private_key.as_ref(), "tls_privatekey")?;
        let authorities = self.optional(tls.verify_certificates.as_ref(), "tls_verify_certificates")?;
        let ciphers = self.optional(tls.ciphers.as_ref(), "tls_require_ciphers")?;
        let sni = self.optional(tls.sni.as_ref(), "tls_sni")?;
        let verify = match &authorities {
            None => Verify::None,
            Some(_) if self.is_in(tls.verify.as_ref(), target) => Verify::Require,
            Some(_) if self.is_in(tls.try_verify.as_ref(), target) => Verify::Try,
            // Neither option set: as if all hosts had to be verified.
            Some(_) if tls.verify.is_none() && tls.try_verify.is_none() => Verify::Require,
            Some(_) => Verify::None,
        };
        let checks_name = verify != Verify::None && self.is_in(tls.verify_names.as_ref(), target);
        let policy = ClientPolicy {
            verify,
            names: if checks_name { vec![target.name.clone()] } else { Vec::new() },
            ca: match authorities.as_deref() {
                None | Some("system") => CaSource::System,
                Some(path) => CaSource::Path(PathBuf::from(path)),
            },
            certificate: certificate
                .map(|certificate| KeyPair { certificate: certificate.into(), key: key.map(PathBuf::from) }),
            ciphers,
            ..ClientPolicy::default()
        };
        Ok(TlsWishes { policy, sni })
    }

    /// TLS before the greeting.
    pub(super) fn encrypt_at_once(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let wishes = session.wishes.tls.clone();
        let limit = self.limits.command;
        let facts = session.connection.tls_on_connect(wishes.sni.as_deref(), &wishes.policy, limit);
        session.tls = Some(Arc::new(facts.map_err(|error| lost(session, target, error))?));
        Ok(())
    }

    /// STARTTLS where it is offered and wanted, and what follows from a failure.
    pub(super) fn start_tls(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let is_required = self.is_in(self.smtp.tls.require.as_ref(), target);
        if !session.connection.extensions().starttls {
            return if is_required {
                Err(required(
                    session,
                    target,
                    "a TLS session is required, but the server did not offer TLS support",
                ))
            } else {
                Ok(())
            };
        }
        if !is_required && self.is_in(self.smtp.tls.avoid.as_ref(), target) {
            return Ok(());
        }
        let wishes = session.wishes.tls.clone();
        let limit = self.limits.command;
        match session.connection.starttls(wishes.sni.as_deref(), &wishes.policy, limit) {
            Ok(StartTls::Started(facts)) => {
                session.tls = Some(Arc::new(*facts));
                self.hello(session, target)
            }
            Ok(StartTls::Refused(_)) if is_required => Err(required(
                session,
                target,
                "a TLS session is required, but an attempt to start TLS failed",
            )),
            Ok(StartTls::Refused(reply)) if reply.is_temporary() && !self.smtp.tls.tempfail_tryclear => {
                let error = trouble::refused(&session.used(target), "STARTTLS", &reply, Codes::Other);
                Err(Opening::Trouble(Trouble::host(error)))
            }
            Ok(StartTls::Refused(_)) => Ok(()),
            Err(SmtpError::Tls(error)) if !is_required && self.smtp.tls.tempfail_tryclear => {
                Err(Opening::InTheClear(trouble::tls_text(&error)))
            }
            Err(error) => {
                Err(Opening::Trouble(trouble::broken(target, &session.used(target), error, About::Host)))
            }
        }
    }
}

fn required(session: &Session, target: &Target, text: &str) -> Opening {
    let error = DeliveryError {
        host: Some(Box::new(session.used(target))),
        ..DeliveryError::new(error_code::TLS_REQUIRED, text)
    };
    Opening::Trouble(Trouble::host(error))
}

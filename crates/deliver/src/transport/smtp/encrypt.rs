//! TLS of the smtp transport, DANE included (manual section 43.9 and the `tls_` options of chapter 30).

use std::path::PathBuf;
use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::expand::ExpandError;
use oxim_net::dns::Tlsa;
use oxim_net::smtp_client::{SmtpError, StartTls};
use oxim_net::tls::client::{self, ClientPolicy};
use oxim_net::tls::ocsp::{self, Fault};
use oxim_net::tls::{CaSource, KeyPair, TlsError, TlsFacts, Verify, Versions, openssl_options};
use oxim_spool::log::Selector;

use super::dane::Dane;
use super::mta_sts::Sts;
use super::session::{Opening, Session, lost};
use super::trouble::{self, About, Codes, Trouble};
use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// `$tls_out_tlsa_usage` if all records are of DANE-TA.
const DANE_TA_ONLY: u8 = 0b100;

/// What `hosts_require_alpn` says.
const NO_ALPN: &str = "no application protocol was agreed on";

/// How TLS is to be done with a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsWishes {
    pub(super) policy: ClientPolicy,
    pub(super) sni: Option<String>,
    /// No delivery without TLS, whatever the options say: the host has TLSA records.
    pub(super) is_mandatory: bool,
    /// Lines for the log when a connection is opened.
    pub(super) notes: Vec<String>,
    /// A policy of the domain that was found.
    pub(super) sts: Option<Sts>,
    /// No TLS session without an agreed application protocol.
    pub(super) requires_alpn: bool,
}

impl TlsWishes {
    /// Whether a message may go in the clear, as far as these know.
    pub(super) fn allow_the_clear(&self) -> bool {
        !self.is_mandatory && self.sts.is_none() && !self.requires_alpn && self.policy.tlsa.is_empty()
    }

    /// Whether a policy of MTA-STS forbids to go on without a verified session.
    pub(super) fn is_of_mta_sts(&self) -> bool {
        self.sts.as_ref().is_some_and(|sts| sts.is_enforced)
    }
}

impl Work<'_> {
    /// What DANE and the TLS options ask for with a host.
    pub(super) fn tls_wishes(&mut self, target: &Target) -> Result<TlsWishes, DeliveryError> {
        let (note, is_mandatory) = match self.dane(target)? {
            // DANE takes precedence (RFC 8461 section 2).
            Dane::Verified { base, records } => return self.wishes_of_dane(target, base, records),
            Dane::Off { note } => (note, false),
            Dane::Unusable => (None, true),
        };
        let mut wishes = self.wishes_of_options(target)?;
        wishes.is_mandatory = is_mandatory;
        wishes.notes.extend(note);
        if let Some(sts) = self.sts(target)? {
            self.add_sts(&mut wishes, sts, target)?;
        }
        Ok(wishes)
    }

    /// What the options say whatever verifies the server.
    fn wishes_of_all(&mut self, target: &Target) -> Result<TlsWishes, DeliveryError> {
        let tls = &self.smtp.tls;
        let alpn = self.optional(tls.alpn.as_ref(), "tls_alpn")?;
        let requires_alpn = self.is_in(tls.require_alpn.as_ref(), target);
        let may_resume = self.is_in(tls.resumption.as_ref(), target);
        let policy = ClientPolicy {
            certificate: self.own_certificate()?,
            ocsp: self.proof_wanted(target),
            alpn: alpn.into_iter().map(String::into_bytes).collect(),
            resumption_key: may_resume
                .then(|| format!("{} [{}]:{}", target.name, target.address, target.port)),
            versions: self.versions(),
            ..ClientPolicy::default()
        };
        Ok(TlsWishes { policy, requires_alpn, ..TlsWishes::default() })
    }

    /// Whether the server has to prove that its certificate is not revoked.
    fn proof_wanted(&mut self, target: &Target) -> ocsp::Wanted {
        let tls = &self.smtp.tls;
        // Who publishes the server's own key in the DNS takes it out there, too: there may be no authority to ask.
        let is_for_authorities = matches!(self.context.delivery.tlsa_usage, 0 | DANE_TA_ONLY);
        if self.is_in(tls.require_ocsp.as_ref(), target) {
            ocsp::Wanted::Required
        } else if (is_for_authorities || !tls.requests_ocsp_by_default)
            && self.is_in(tls.request_ocsp.as_ref(), target)
        {
            ocsp::Wanted::Requested
        } else {
            ocsp::Wanted::No
        }
    }

    /// Whom `tls_verify_certificates` trusts; none if it is empty.
    pub(super) fn authorities(&mut self) -> Result<Option<CaSource>, DeliveryError> {
        let name = self.optional(self.smtp.tls.verify_certificates.as_ref(), "tls_verify_certificates")?;
        Ok(name.map(|name| match name.as_str() {
            "system" => CaSource::System,
            path => CaSource::Path(PathBuf::from(path)),
        }))
    }

    fn own_certificate(&mut self) -> Result<Option<KeyPair>, DeliveryError> {
        let tls = &self.smtp.tls;
        let certificate = self.optional(tls.certificate.as_ref(), "tls_certificate")?;
        let key = self.optional(tls.private_key.as_ref(), "tls_privatekey")?.map(PathBuf::from);
        Ok(certificate.map(|certificate| KeyPair { certificate: certificate.into(), key }))
    }

    /// The options that are about certificates and names have no say here (RFC 7672 sections 2.2 and 8.1).
    fn wishes_of_dane(
        &mut self,
        target: &Target,
        base: String,
        records: Vec<Tlsa>,
    ) -> Result<TlsWishes, DeliveryError> {
        let tls = &self.smtp.tls;
        let ciphers = match self.optional(tls.dane_ciphers.as_ref(), "dane_require_tls_ciphers")? {
            Some(ciphers) => Some(ciphers),
            None => self.optional(tls.ciphers.as_ref(), "tls_require_ciphers")?,
        };
        let mut names = vec![base.clone()];
        names.extend(self.next_hop(target).filter(|domain| !domain.eq_ignore_ascii_case(&base)));
        let all = self.wishes_of_all(target)?;
        // The authorities do not verify the server here, but who signed its OCSP response is one of them.
        let ca = self.authorities()?.unwrap_or_default();
        let mut policy =
            ClientPolicy { verify: Verify::Require, names, tlsa: records, ca, ciphers, ..all.policy };
        tie_resumption(&mut policy);
        Ok(TlsWishes { policy, sni: Some(base), is_mandatory: true, ..all })
    }

    fn wishes_of_options(&mut self, target: &Target) -> Result<TlsWishes, DeliveryError> {
        let tls = &self.smtp.tls;
        let crl = self.optional(tls.crl.as_ref(), "tls_crl")?.map(PathBuf::from);
        let ca = self.authorities()?;
        let ciphers = self.optional(tls.ciphers.as_ref(), "tls_require_ciphers")?;
        let sni = self.optional(tls.sni.as_ref(), "tls_sni")?;
        let verify = match &ca {
            None => Verify::None,
            Some(_) if self.is_in(tls.verify.as_ref(), target) => Verify::Require,
            Some(_) if self.is_in(tls.try_verify.as_ref(), target) => Verify::Try,
            // Neither option set: as if all hosts had to be verified.
            Some(_) if tls.verify.is_none() && tls.try_verify.is_none() => Verify::Require,
            Some(_) => Verify::None,
        };
        let checks_name = verify != Verify::None && self.is_in(tls.verify_names.as_ref(), target);
        let all = self.wishes_of_all(target)?;
        let mut policy = ClientPolicy {
            verify,
            names: if checks_name { vec![target.name.clone()] } else { Vec::new() },
            ca: ca.unwrap_or_default(),
            crl,
            ciphers,
            ..all.policy
        };
        tie_resumption(&mut policy);
        Ok(TlsWishes { policy, sni, ..all })
    }

    /// A policy that is enforced verifies the server by the authorities of the options; all else that they say has no say.
    fn add_sts(&mut self, wishes: &mut TlsWishes, sts: Sts, target: &Target) -> Result<(), DeliveryError> {
        let host = target.mx_name().to_owned();
        if !sts.policy_names_host {
            let text = sts.text(&format!("does not name {host}"));
            if sts.is_enforced {
                return Err(DeliveryError::new(error_code::MTA_STS, text));
            }
            wishes.notes.push(text);
        }
        if sts.is_enforced {
            wishes.policy.verify = Verify::Require;
            wishes.policy.names = vec![host.clone()];
            wishes.sni = Some(host);
            wishes.is_mandatory = true;
            tie_resumption(&mut wishes.policy);
        }
        wishes.sts = Some(sts);
        Ok(())
    }

    /// TLS before the greeting.
    pub(super) fn encrypt_at_once(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let wishes = session.wishes.tls.clone();
        let limit = self.limits.command;
        let facts = session.connection.tls_on_connect(wishes.sni.as_deref(), &wishes.policy, limit);
        let facts = facts.map_err(|error| {
            self.tell(session, target, &error);
            lost(session, target, error)
        })?;
        if lacks_alpn(session, &facts) {
            return Err(lost(session, target, SmtpError::Tls(TlsError::Handshake(NO_ALPN.to_owned()))));
        }
        self.encrypted(session, target, facts);
        self.certificate_events(session, target)
    }

    fn encrypted(&mut self, session: &mut Session, target: &Target, mut facts: TlsFacts) {
        self.judge_by_sts(session, target, &mut facts);
        if let Some(fault) = &facts.ocsp_fault
            && self.delivery.services.log().selectors().has(Selector::TlsCipher)
        {
            self.log(&fault.client_log_line());
        }
        let facts = Arc::new(facts);
        self.context.delivery.tls = Some(Arc::clone(&facts));
        session.tls = Some(facts);
    }

    /// Whether the session is as the policy wants it. One that is enforced has been verified so already.
    fn judge_by_sts(&self, session: &Session, target: &Target, facts: &mut TlsFacts) {
        let wishes = &session.wishes.tls;
        let Some(sts) = &wishes.sts else { return };
        if sts.is_enforced {
            facts.sts = facts.verified;
            return;
        }
        let names = vec![target.mx_name().to_owned()];
        let policy = ClientPolicy { verify: Verify::Try, names, ..wishes.policy.clone() };
        match client::verdict(&facts.peer_chain, &policy) {
            Ok(()) => facts.sts = sts.policy_names_host,
            Err(reason) => self.log(&sts.text(&format!("is not fulfilled by {}: {reason}", target.field()))),
        }
    }

    /// The main log's line about a server that could not prove that its certificate is not revoked.
    fn tell_of_proof(&self, error: &TlsError) {
        if let TlsError::Unproven(facts) = error {
            let line = facts.ocsp_fault.as_ref().map(Fault::client_log_line);
            self.log(line.as_deref().unwrap_or("Required TLS certificate status not received"));
        }
    }

    /// The main log's lines about a handshake that failed over OCSP, or under DANE.
    fn tell(&mut self, session: &Session, target: &Target, error: &SmtpError) {
        if let SmtpError::Tls(error) = error {
            self.tell_of_proof(error);
        }
        if let SmtpError::Tls(error) = error
            && !session.wishes.tls.policy.tlsa.is_empty()
        {
            self.event("dane:fail", b"validation-failure");
            let text = trouble::tls_text(error);
            let text = text.strip_prefix("TLS session: ").unwrap_or(&text);
            self.log(&format!(
                "DANE attempt failed; TLS connection to {} [{}]: {text}",
                target.name, target.address
            ));
        }
        if let Some(sts) = session.wishes.tls.sts.as_ref().filter(|sts| sts.is_enforced)
            && let SmtpError::Tls(error) = error
        {
            let text = trouble::tls_text(error);
            let text = text.strip_prefix("TLS session: ").unwrap_or(&text);
            self.log(&sts.text(&format!("is not fulfilled by {}: {text}", target.field())));
        }
    }

    /// Of a server that does without TLS.
    fn tell_of_clear_text(&self, session: &Session, target: &Target) {
        if let Some(sts) = &session.wishes.tls.sts {
            self.log(&sts.text(&format!("is not fulfilled by {}: no TLS", target.field())));
        }
    }

    /// `openssl_options`; a faulty one has been refused before.
    fn versions(&self) -> Versions {
        let text = self.delivery.config.main.openssl_options.as_deref().unwrap_or_default();
        openssl_options::parse(text).unwrap_or_default()
    }

    /// The server behind a load balancer is not always the same one: what `host_name_extract` makes of its answer to EHLO tells
    /// whose TLS session can be resumed.
    fn tell_servers_apart(&mut self, wishes: &mut TlsWishes, session: &Session) {
        let (Some(key), Some(template)) = (&mut wishes.policy.resumption_key, &self.smtp.host_name_extract)
        else {
            return;
        };
        let before = self.context.local.item.replace(Text::tainted(session.answer.clone()));
        let name = template.expand(self.context);
        self.context.local.item = before;
        match name {
            Ok(name) if name.is_empty() => {}
            Ok(name) => *key = format!("{} {key}", name.to_string_lossy().replace('\n', " ")),
            Err(ExpandError::Forced(_)) => {}
            Err(error) => self.log(&format!("failed to expand host_name_extract: {error}")),
        }
    }

    fn avoids_tls(&mut self, target: &Target) -> bool {
        let tls = &self.smtp.tls;
        self.is_in(tls.avoid.as_ref(), target)
            || self.is_verification && self.is_in(tls.avoid_in_verification.as_ref(), target)
    }

    /// STARTTLS where it is offered and wanted, and what follows from a failure.
    pub(super) fn start_tls(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let is_required =
            session.wishes.tls.is_mandatory || self.is_in(self.smtp.tls.require.as_ref(), target);
        if is_required || session.connection.extensions().starttls {
            self.settle_early(session, target)?;
        }
        if !session.connection.extensions().starttls {
            self.tell_of_clear_text(session, target);
            if session.wishes.tls.is_mandatory && !session.wishes.tls.is_of_mta_sts() {
                self.event("dane:fail", b"starttls-not-supported");
            }
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
        if !is_required && self.avoids_tls(target) {
            return Ok(());
        }
        let mut wishes = session.wishes.tls.clone();
        self.tell_servers_apart(&mut wishes, session);
        let limit = self.limits.command;
        match session.connection.starttls(wishes.sni.as_deref(), &wishes.policy, limit) {
            Ok(StartTls::Started(facts)) => {
                if lacks_alpn(session, &facts) {
                    return Err(if is_required || !self.smtp.tls.tempfail_tryclear {
                        lost(session, target, SmtpError::Tls(TlsError::Handshake(NO_ALPN.to_owned())))
                    } else {
                        Opening::InTheClear(format!("TLS session: {NO_ALPN}"))
                    });
                }
                self.encrypted(session, target, *facts);
                self.certificate_events(session, target)?;
                session.is_early = false;
                if self.hello_early(session, target, false) {
                    return Ok(());
                }
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
                self.tell_of_proof(&error);
                Err(Opening::InTheClear(trouble::tls_text(&error)))
            }
            Err(error) => {
                self.tell(session, target, &error);
                Err(Opening::Trouble(trouble::broken(&session.used(target), error, About::Host)))
            }
        }
    }
}

fn lacks_alpn(session: &Session, facts: &TlsFacts) -> bool {
    session.wishes.tls.requires_alpn && facts.alpn.is_none()
}

/// A session is resumed only where the server was verified by the same names and records; the rest of the policy is part of
/// the library's own key.
fn tie_resumption(policy: &mut ClientPolicy) {
    if let Some(key) = &mut policy.resumption_key {
        let place = key.split('\n').next().unwrap_or_default().to_owned();
        *key = format!("{place}\n{:?} {:?}", policy.names, policy.tlsa);
    }
}

fn required(session: &Session, target: &Target, text: &str) -> Opening {
    let error = DeliveryError {
        host: Some(Arc::new(session.used(target))),
        ..DeliveryError::new(error_code::TLS_REQUIRED, text)
    };
    Opening::Trouble(Trouble::host(error))
}

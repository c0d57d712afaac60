//! Whether DANE is due with a host: its own lookup, the options, its TLSA records (RFC 7672; manual section 43.18).
//!
//! Without secure records TLS is done as the other options say, unless `hosts_require_dane` holds the host: then it is not
//! used now. A lookup that failed is never taken for an absence, or whoever can disturb the DNS could turn DANE off.

use oxim_net::dns::{Lookup, Tlsa};
use oxim_net::tls::dane;

use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// What DANE asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Dane {
    /// Nothing; perhaps with a line for the log.
    Off { note: Option<String> },
    /// There are secure records, but none of use: TLS is due, verified or not.
    Unusable,
    /// The certificate must fit the records.
    Verified {
        /// The host name that the records belong to.
        base: String,
        records: Vec<Tlsa>,
    },
}

fn refusal(text: String) -> DeliveryError {
    DeliveryError::new(error_code::DANE, text)
}

impl Work<'_> {
    /// Looks at options and records.
    ///
    /// # Errors
    /// The host must not be used now; the code is [`error_code::DANE`].
    pub(super) fn dane(&mut self, target: &Target) -> Result<Dane, DeliveryError> {
        self.context.delivery.tlsa_usage = 0;
        let is_required = self.is_in(self.smtp.tls.require_dane.as_ref(), target);
        // Most hosts are not secured: the other list need not be looked at for them.
        if !is_required && (!target.is_secure || !self.is_in(self.smtp.tls.try_dane.as_ref(), target)) {
            return Ok(Dane::Off { note: None });
        }
        if !target.is_secure {
            self.event("dane:fail", b"dane-required");
            return Err(refusal(format!("DANE error: {} lookup not DNSSEC", target.name)));
        }
        let found = self.tlsa_records(target)?;
        match found {
            Dane::Off { note } if is_required => {
                let word: &[u8] = if note.is_some() { b"dnssec-invalid" } else { b"dane-required" };
                if let Some(note) = note {
                    self.log(&note);
                }
                self.event("dane:fail", word);
                Err(refusal("DANE error: tlsa lookup FAIL".to_owned()))
            }
            Dane::Unusable if is_required => {
                self.event("dane:fail", b"dane-required");
                Err(refusal("DANE error: No usable TLSA records".to_owned()))
            }
            Dane::Verified { ref records, .. } => {
                self.context.delivery.tlsa_usage = dane::usage_bits(records);
                Ok(found)
            }
            Dane::Off { .. } | Dane::Unusable => Ok(found),
        }
    }

    /// The records of the host, else those of the alias that led to it (RFC 7672 section 2.2.2).
    fn tlsa_records(&self, target: &Target) -> Result<Dane, DeliveryError> {
        let surroundings = self.delivery.services.surroundings.get();
        let Some(resolver) = surroundings.and_then(|all| all.resolver.as_ref()) else {
            return Ok(Dane::Off { note: None });
        };
        let resolver = resolver.with_dnssec(true);
        let mut note = None;
        for base in std::iter::once(&target.name).chain(&target.alias) {
            match resolver.tlsa(&format!("_{}._tcp.{base}", target.port)) {
                Lookup::Found(answer) if answer.secure => {
                    let records = dane::usable(&answer.records);
                    return Ok(if records.is_empty() {
                        Dane::Unusable
                    } else {
                        Dane::Verified { base: base.clone(), records }
                    });
                }
                Lookup::Found(_) => {
                    note.get_or_insert_with(|| format!("DANE error: TLSA lookup for {base} not DNSSEC"));
                }
                Lookup::NotThere(_) => {}
                Lookup::AskAgain(_) => return Err(refusal("DANE error: tlsa lookup DEFER".to_owned())),
            }
        }
        Ok(Dane::Off { note })
    }

    /// The domain whose secure MX record named the host: a certificate for it will do too (RFC 7672 section 3.2.2). Not for
    /// a batch of several domains, where it would vouch for one of them only.
    pub(super) fn next_hop(&self, target: &Target) -> Option<String> {
        target.mx?;
        if target.mx_domain.is_some() {
            return target.mx_domain.clone();
        }
        let (first, others) = self.batch.addresses.split_first()?;
        let is_same = others.iter().all(|other| other.domain.eq_ignore_ascii_case(&first.domain));
        is_same.then(|| String::from_utf8_lossy(&first.domain).into_owned())
    }
}

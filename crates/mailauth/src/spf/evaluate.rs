//! The evaluation: `check_host` of RFC 7208, section 4, with the limits of section 4.6.4.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::macros::{Letter, MacroString};
use super::record::{Directive, Mechanism, Prefixes, Record, is_spf};
use super::{Fault, Identity, Outcome, Verdict};
use crate::dns::{Answer, Dns};

/// Terms that ask the DNS, in all the records of one check.
const TERMS_MAX: usize = 10;
/// Questions of terms that no record answers.
const VOIDS_MAX: usize = 2;
/// Exchangers of an `mx` term, names of a `ptr` term.
const NAMES_MAX: usize = 10;
/// Longest domain name that is asked for, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

/// Why an evaluation ends without a match.
#[derive(Debug)]
enum Stop {
    TempError,
    PermError(Fault),
}

/// What one record came to.
struct Matched {
    verdict: Verdict,
    is_by_mechanism: bool,
    /// Where the explanation of a `fail` is, and the domain it was found in.
    explanation: Option<(MacroString, String)>,
}

/// Why there are no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoNames {
    NotThere,
    AskAgain,
}

struct Evaluation<'a> {
    identity: &'a Identity<'a>,
    client: IpAddr,
    local_part: &'a [u8],
    dns: &'a dyn Dns,
    /// The names that lead back to the client, asked for once; the error is what the reverse tree said.
    names: OnceCell<Result<Vec<String>, NoNames>>,
    terms: usize,
    voids: usize,
    voids_max: usize,
}

pub(super) fn check(identity: &Identity<'_>, dns: &dyn Dns, guess: Option<&[u8]>) -> Outcome {
    let mut evaluation = Evaluation::new(identity, dns);
    let outcome = |verdict, fault| Outcome { verdict, is_by_mechanism: false, fault, explanation: None };
    let Some(domain) = usable(identity.domain).filter(|domain| domain.contains('.')) else {
        return outcome(Verdict::None, None);
    };
    let matched = match guess {
        Some(text) => {
            // The record is the postmaster's own, written for domains of which nothing is known.
            evaluation.voids_max = usize::MAX;
            evaluation.evaluate(text, &domain).map(Some)
        }
        None => evaluation.check_domain(&domain),
    };
    match matched {
        Ok(Some(matched)) => {
            let explanation = matched.explanation.filter(|_| identity.wants_explanation);
            Outcome {
                verdict: matched.verdict,
                is_by_mechanism: matched.is_by_mechanism,
                fault: None,
                explanation: explanation.and_then(|(name, domain)| evaluation.explanation(&name, &domain)),
            }
        }
        Ok(None) => outcome(Verdict::None, None),
        Err(Stop::TempError) => outcome(Verdict::TempError, None),
        Err(Stop::PermError(fault)) => outcome(Verdict::PermError, Some(fault)),
    }
}

/// Expands a text that is not of the domain's records.
pub(super) fn expand_outside(identity: &Identity<'_>, dns: &dyn Dns, text: &MacroString) -> Vec<u8> {
    let domain = String::from_utf8_lossy(identity.domain).into_owned();
    Evaluation::new(identity, dns).expand(text, &domain)
}

/// A name that can be asked for, without final dot; too long ones lose labels from the left (section 7.3).
fn usable(name: &[u8]) -> Option<String> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let mut text = std::str::from_utf8(name).ok().filter(|text| text.is_ascii())?;
    while text.len() > DOMAIN_BYTES_MAX {
        text = text.split_once('.')?.1;
    }
    let is_usable = text.split('.').all(|label| (1..=63).contains(&label.len())) && !text.starts_with('[');
    is_usable.then(|| text.to_ascii_lowercase())
}

impl<'a> Evaluation<'a> {
    fn new(identity: &'a Identity<'a>, dns: &'a dyn Dns) -> Evaluation<'a> {
        let local_part = if identity.local_part.is_empty() { b"postmaster" } else { identity.local_part };
        Evaluation {
            identity,
            client: identity.client.to_canonical(),
            local_part,
            dns,
            names: OnceCell::new(),
            terms: 0,
            voids: 0,
            voids_max: VOIDS_MAX,
        }
    }

    /// The record of a domain, evaluated; None if it has none.
    fn check_domain(&mut self, domain: &str) -> Result<Option<Matched>, Stop> {
        let texts = match self.dns.txt(domain) {
            Answer::Found(texts) => texts,
            Answer::NotThere => return Ok(None),
            Answer::AskAgain => return Err(Stop::TempError),
        };
        let mut records = texts.iter().filter(|text| is_spf(text));
        match (records.next(), records.next()) {
            (None, _) => Ok(None),
            (Some(record), None) => self.evaluate(record, domain).map(Some),
            (Some(_), Some(_)) => Err(Stop::PermError(Fault::SeveralRecords)),
        }
    }

    fn evaluate(&mut self, text: &[u8], domain: &str) -> Result<Matched, Stop> {
        let record = Record::read(text).map_err(|error| Stop::PermError(Fault::Syntax(error)))?;
        for Directive { verdict, mechanism } in &record.directives {
            if self.matches(mechanism, domain)? {
                let explanation = record.explanation.filter(|_| *verdict == Verdict::Fail);
                let explanation = explanation.map(|name| (name, domain.to_owned()));
                return Ok(Matched { verdict: *verdict, is_by_mechanism: true, explanation });
            }
        }
        let Some(redirect) = &record.redirect else {
            return Ok(Matched { verdict: Verdict::Neutral, is_by_mechanism: false, explanation: None });
        };
        self.count_term()?;
        let target = usable(&self.expand(redirect, domain));
        let found = match target {
            Some(target) => self.check_domain(&target)?,
            None => None,
        };
        found.ok_or(Stop::PermError(Fault::NoRecord))
    }

    fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Result<bool, Stop> {
        match mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Network(network, bits) => Ok(is_within(self.client, *network, *bits)),
            Mechanism::Include(name) => {
                self.count_term()?;
                let found = match usable(&self.expand(name, domain)) {
                    Some(target) => self.check_domain(&target)?,
                    None => None,
                };
                found.map(|found| found.verdict == Verdict::Pass).ok_or(Stop::PermError(Fault::NoRecord))
            }
            Mechanism::A(name, prefixes) => {
                self.count_term()?;
                let Some(target) = self.target(name.as_ref(), domain) else { return Ok(false) };
                let answer = self.dns.addresses(&target, self.client.is_ipv6());
                Ok(self.any(answer)?.into_iter().any(|address| self.is_near(address, *prefixes)))
            }
            Mechanism::Mx(name, prefixes) => self.matches_exchangers(name.as_ref(), *prefixes, domain),
            Mechanism::Ptr(name) => self.matches_names(name.as_ref(), domain),
            Mechanism::Exists(name) => {
                self.count_term()?;
                let Some(target) = self.target(Some(name), domain) else { return Ok(false) };
                let answer = self.dns.addresses(&target, false);
                Ok(!self.any(answer)?.is_empty())
            }
        }
    }

    fn matches_exchangers(
        &mut self,
        name: Option<&MacroString>,
        prefixes: Prefixes,
        domain: &str,
    ) -> Result<bool, Stop> {
        self.count_term()?;
        let Some(target) = self.target(name, domain) else { return Ok(false) };
        let answer = self.dns.exchangers(&target);
        let hosts = self.any(answer)?;
        if hosts.len() > NAMES_MAX {
            return Err(Stop::PermError(Fault::TooManyExchangers));
        }
        for host in hosts.iter().filter_map(|host| usable(host.as_bytes())) {
            match self.dns.addresses(&host, self.client.is_ipv6()) {
                Answer::Found(found) if found.iter().any(|address| self.is_near(*address, prefixes)) => {
                    return Ok(true);
                }
                Answer::Found(_) | Answer::NotThere => {}
                Answer::AskAgain => return Err(Stop::TempError),
            }
        }
        Ok(false)
    }

    /// `ptr`: a DNS failure here is no match (section 5.5).
    fn matches_names(&mut self, name: Option<&MacroString>, domain: &str) -> Result<bool, Stop> {
        self.count_term()?;
        let Some(target) = self.target(name, domain) else { return Ok(false) };
        match self.names() {
            Ok(names) => Ok(names.iter().any(|name| is_below(name, &target))),
            Err(NoNames::NotThere) => self.count_void().map(|()| false),
            Err(NoNames::AskAgain) => Ok(false),
        }
    }

    /// The names that lead back to the client; at most ten are asked for.
    fn names(&self) -> Result<&[String], NoNames> {
        let found = self.names.get_or_init(|| match self.dns.names_of(self.client) {
            Answer::Found(names) => {
                let names = names.into_iter().take(NAMES_MAX).filter_map(|name| usable(name.as_bytes()));
                Ok(names.filter(|name| self.leads_back(name)).collect())
            }
            Answer::NotThere => Err(NoNames::NotThere),
            Answer::AskAgain => Err(NoNames::AskAgain),
        });
        found.as_deref().map_err(|error| *error)
    }

    fn leads_back(&self, name: &str) -> bool {
        match self.dns.addresses(name, self.client.is_ipv6()) {
            Answer::Found(found) => found.contains(&self.client),
            Answer::NotThere | Answer::AskAgain => false,
        }
    }

    fn target(&self, name: Option<&MacroString>, domain: &str) -> Option<String> {
        match name {
            Some(name) => usable(&self.expand(name, domain)),
            None => Some(domain.to_owned()),
        }
    }

    fn is_near(&self, address: IpAddr, prefixes: Prefixes) -> bool {
        let bits = if address.is_ipv4() { prefixes.v4 } else { prefixes.v6 };
        is_within(self.client, address, bits)
    }

    fn count_term(&mut self) -> Result<(), Stop> {
        self.terms = self.terms.saturating_add(1);
        if self.terms > TERMS_MAX { Err(Stop::PermError(Fault::TooManyTerms)) } else { Ok(()) }
    }

    fn count_void(&mut self) -> Result<(), Stop> {
        self.voids = self.voids.saturating_add(1);
        if self.voids > self.voids_max { Err(Stop::PermError(Fault::TooManyVoids)) } else { Ok(()) }
    }

    /// The records of an answer; an absence is counted.
    fn any<T>(&mut self, answer: Answer<T>) -> Result<Vec<T>, Stop> {
        match answer {
            Answer::Found(records) => Ok(records),
            Answer::NotThere => self.count_void().map(|()| Vec::new()),
            Answer::AskAgain => Err(Stop::TempError),
        }
    }

    /// The domain's explanation; None wherever something is wrong with it (section 6.2).
    fn explanation(&self, name: &MacroString, domain: &str) -> Option<String> {
        let target = usable(&self.expand(name, domain))?;
        let Answer::Found(texts) = self.dns.txt(&target) else { return None };
        let [text] = texts.as_slice() else { return None };
        let read = MacroString::explanation(text).ok()?;
        String::from_utf8(self.expand(&read, domain)).ok().filter(|text| text.is_ascii())
    }

    fn expand(&self, text: &MacroString, domain: &str) -> Vec<u8> {
        text.expand(|letter| self.value(letter, domain))
    }

    fn value(&self, letter: Letter, domain: &str) -> Vec<u8> {
        match letter {
            Letter::Sender => [self.local_part, b"@", self.identity.domain].concat(),
            Letter::LocalPart => self.local_part.to_vec(),
            Letter::SenderDomain => self.identity.domain.to_vec(),
            Letter::Domain => domain.as_bytes().to_vec(),
            Letter::Client => dotted(self.client),
            Letter::ReadableClient => self.client.to_string().into_bytes(),
            Letter::ValidatedName => self.validated_name(domain).into_bytes(),
            Letter::Helo => self.identity.helo.to_vec(),
            Letter::ReverseZone => if self.client.is_ipv4() { "in-addr" } else { "ip6" }.into(),
            Letter::Receiver => self.identity.receiver.to_vec(),
            Letter::Time => self.identity.now.to_string().into_bytes(),
        }
    }

    /// `%{p}`: the domain itself if it is a validated name, else one below it, else any.
    fn validated_name(&self, domain: &str) -> String {
        let names = self.names().unwrap_or_default();
        let best = names.iter().find(|name| *name == domain);
        let best = best.or_else(|| names.iter().find(|name| is_below(name, domain)));
        best.or(names.first()).cloned().unwrap_or_else(|| "unknown".to_owned())
    }
}

/// `192.0.2.1`, or 32 nibbles in upper case between dots.
fn dotted(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.to_string().into_bytes(),
        IpAddr::V6(address) => {
            let nibbles: Vec<String> =
                address.octets().iter().flat_map(|b| [b >> 4, b & 15]).map(|n| format!("{n:X}")).collect();
            nibbles.join(".").into_bytes()
        }
    }
}

/// Whether a name is the domain or below it; both in lower case.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|head| head.is_empty() || head.ends_with('.'))
}

/// Whether the first bits of both addresses are the same; false for different families.
fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv4Addr::to_bits(a) & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
            Ipv6Addr::to_bits(a) & mask == n.to_bits() & mask
        }
        _ => false,
    }
}

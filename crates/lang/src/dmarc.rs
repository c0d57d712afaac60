//! DMARC as the language sees it: the check of the message in hand, and what `$dmarc_…` hold.
//!
//! The words and texts are those of Exim. SPF counts as the last `spf` condition has found it, DKIM as the DKIM ACL has
//! left it. Manual section 58.6; RFC 7489, RFC 9989.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use oxim_base::Text;
use oxim_mail::address::{self, AddressSyntax};
use oxim_mail::idna;
use oxim_mailauth::dkim::verify::Status;
use oxim_mailauth::dmarc::record::Policy;
use oxim_mailauth::dmarc::suffix::{Rules, Suffixes, last_labels};
use oxim_mailauth::dmarc::{Authentication, Checked, Claims, Method, Outcome, check as check_claims};
use oxim_mailauth::dns::Dns;
use oxim_net::tls::FileCache;

use crate::context::Context;
use crate::expand::ExpandError;

/// What a check has come to, as a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DmarcStatus {
    /// Nothing was checked.
    #[default]
    Skipped,
    /// The From: line has no domain that could publish anything.
    NoFrom,
    /// There is a result.
    Is(Outcome),
}

/// What is known of the message in hand.
#[derive(Clone, Debug, Default)]
pub struct DmarcFacts {
    /// How it ended.
    pub status: DmarcStatus,
    /// `$dmarc_used_domain`, as written in From:.
    pub used_domain: Text,
    /// The domain of From:, as written.
    pub from_domain: Text,
    /// All of the result, if there was a check.
    pub checked: Option<Checked>,
    /// The domain that SPF checked, if an `spf` condition has run.
    pub spf_domain: Option<String>,
}

impl DmarcFacts {
    /// `$dmarc_status`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.status {
            DmarcStatus::Skipped => "none",
            DmarcStatus::NoFrom => "nofrom",
            DmarcStatus::Is(outcome) => match outcome {
                Outcome::NoRecord => "norecord",
                Outcome::TempError => "temperror",
                Outcome::Accept => "accept",
                Outcome::Fail(policy) => policy.word(),
            },
        }
    }

    /// `$dmarc_status_text`.
    #[must_use]
    pub fn text(&self) -> &'static str {
        match self.status {
            DmarcStatus::Skipped => "",
            DmarcStatus::NoFrom => "No From: domain found",
            DmarcStatus::Is(outcome) => match outcome {
                Outcome::NoRecord => "No DMARC record",
                Outcome::TempError => "DNS Error, Try Later",
                Outcome::Accept => "Accept",
                Outcome::Fail(Policy::None) => "None, Accept",
                Outcome::Fail(Policy::Quarantine) => "Quarantine",
                Outcome::Fail(Policy::Reject) => "Reject",
            },
        }
    }

    /// The word of RFC 8601 in an Authentication-Results: line.
    #[must_use]
    pub fn result(&self) -> &'static str {
        match self.status {
            DmarcStatus::Skipped => "skipped",
            DmarcStatus::NoFrom => "temperror",
            DmarcStatus::Is(outcome) => match outcome {
                Outcome::NoRecord | Outcome::Fail(Policy::None) => "none",
                Outcome::TempError => "temperror",
                Outcome::Accept => "pass",
                Outcome::Fail(Policy::Quarantine | Policy::Reject) => "fail",
            },
        }
    }

    /// The part of an Authentication-Results: line, after the name.
    #[must_use]
    pub fn authentication_result(&self) -> Vec<u8> {
        let from = self.from_domain.as_bytes();
        let name: &[u8] = if from.is_empty() { b"" } else { b" header.from=" };
        let from = if from.is_empty() { Vec::new() } else { crate::expand::authresults_value(from) };
        [b"dmarc=", self.result().as_bytes(), name, &from].concat()
    }

    /// `$dmarc_domain_policy`.
    #[must_use]
    pub fn domain_policy(&self) -> &'static str {
        let found = self.checked.as_ref().and_then(|checked| checked.found.as_ref());
        found.map_or("", |found| found.record.policy.word())
    }
}

/// The files with public suffixes that have been read, until they change.
static SUFFIX_FILES: LazyLock<FileCache<PathBuf, Arc<Rules>>> = LazyLock::new(FileCache::new);

/// Why a message could not be checked.
#[derive(Debug)]
pub enum DmarcFault {
    /// An option could not be expanded.
    Expansion(&'static str, ExpandError),
    /// The file with the public suffixes cannot be used: its name, and why.
    SuffixFile(String, String),
}

impl std::fmt::Display for DmarcFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DmarcFault::Expansion(option, error) => write!(f, "failed to expand {option}: {error}"),
            DmarcFault::SuffixFile(name, why) => write!(f, "DMARC failure to load tld list '{name}': {why}"),
        }
    }
}

fn suffixes(context: &mut Context) -> Result<Suffixes, DmarcFault> {
    let config = Arc::clone(&context.config);
    let Some(template) = &config.main.dmarc_tld_file else { return Ok(Suffixes::BuiltIn) };
    let name = template
        .expand(context)
        .map_err(|error| DmarcFault::Expansion("dmarc_tld_file", error))?
        .to_string_lossy();
    if name.is_empty() {
        return Ok(Suffixes::BuiltIn);
    }
    let path = Path::new(&name);
    let rules = SUFFIX_FILES.get(&path.to_owned(), &[path], || {
        let text = std::fs::read(path).map_err(|error| oxim_base::errno::error_text(&error))?;
        let rules = Rules::parse(&text);
        if rules.is_empty() { Err("no rules in it".to_owned()) } else { Ok(Arc::new(rules)) }
    });
    match rules {
        Ok(rules) => Ok(Suffixes::File(Arc::clone(&rules))),
        Err(why) => Err(DmarcFault::SuffixFile(name, why)),
    }
}

/// The domain in the From: line, as written: that of the first address of the last such line. None: there is none.
fn from_domain(context: &Context) -> Option<Vec<u8>> {
    let header = context.message.headers.find(b"from").next_back()?;
    let body = header.unfolded();
    let syntax = AddressSyntax {
        allow_domain_literals: true,
        allow_utf8_domains: true,
        strip_trailing_dot: true,
        ..AddressSyntax::default()
    };
    let parsed = address::address_list(&body).find_map(|item| item.parse(&syntax).ok())?;
    parsed.domain().map(<[u8]>::to_vec).filter(|domain| !domain.is_empty())
}

/// A domain in A-labels and lower case. None if it can be none.
fn ascii(domain: &[u8]) -> Option<String> {
    let domain = domain.strip_suffix(b".").unwrap_or(domain);
    let ascii = idna::to_ascii(domain).ok()?.to_ascii_lowercase();
    let is_name = ascii.split(|b| *b == b'.').all(|label| !label.is_empty() && label.len() <= 63)
        && ascii.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_name { String::from_utf8(ascii).ok() } else { None }
}

/// What SPF has found, if an `spf` condition has asked; what was guessed does not count.
fn spf_claim(context: &Context) -> Option<(Authentication, String)> {
    let facts = context.message.spf.as_deref()?;
    let result = match facts.result {
        "pass" if !facts.is_guessed => Authentication::Passed,
        "temperror" => Authentication::Later,
        _ => Authentication::NotPassed,
    };
    Some((result, ascii(facts.used_domain.as_bytes()).unwrap_or_default()))
}

fn dkim_claims(context: &Context) -> Vec<(Authentication, String)> {
    let results = context.message.dkim.as_deref().map(|facts| facts.results.as_slice()).unwrap_or_default();
    let claim = |result: &crate::signatures::DkimResult| {
        let authentication = if result.is_good() {
            Authentication::Passed
        } else if result.checked.status == Status::KeyLater && !result.is_changed() {
            Authentication::Later
        } else {
            Authentication::NotPassed
        };
        Some((authentication, ascii(&result.checked.signature.domain)?))
    };
    results.iter().filter_map(claim).collect()
}

/// Checks the message in hand, and keeps the facts in the context. Those who have authenticated and local callers are not
/// checked.
///
/// # Errors
/// It could not be checked; that is a fact too.
pub fn check(context: &mut Context, dns: &dyn Dns, draw: Option<u8>) -> Result<(), DmarcFault> {
    let mut facts = DmarcFacts::default();
    let result = fill(context, dns, draw, &mut facts);
    context.message.dmarc = Some(Box::new(facts));
    result
}

fn fill(
    context: &mut Context,
    dns: &dyn Dns,
    draw: Option<u8>,
    facts: &mut DmarcFacts,
) -> Result<(), DmarcFault> {
    let connection = &context.connection;
    if connection.host_address.is_none() || connection.authenticator.is_some() {
        return Ok(());
    }
    let Some(domain) = from_domain(context) else { return Ok(()) };
    facts.from_domain = Text::tainted(domain.clone());
    facts.used_domain = Text::tainted(domain.clone());
    let method = match context.config.main.dmarc_lookup.as_str() {
        "treewalk" => Method::TreeWalk,
        _ => Method::Suffixes(suffixes(context)?),
    };
    let Some(from) = ascii(&domain) else {
        facts.status = DmarcStatus::NoFrom;
        return Ok(());
    };
    let spf = spf_claim(context);
    facts.spf_domain = spf.as_ref().map(|(_, domain)| domain.clone());
    let claims = Claims { from: &from, spf, dkim: dkim_claims(context) };
    let checked = check_claims(&claims, dns, &method, draw);
    facts.status = DmarcStatus::Is(checked.outcome);
    if let Some(found) = &checked.found {
        let written = String::from_utf8_lossy(&domain).into_owned();
        let labels = found.domain.split('.').count();
        let as_written = last_labels(&written, labels);
        let used = if as_written.eq_ignore_ascii_case(&found.domain) { as_written } else { &found.domain };
        facts.used_domain = Text::tainted(used.as_bytes().to_vec());
    }
    facts.checked = Some(checked);
    Ok(())
}

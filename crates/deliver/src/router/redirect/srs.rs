//! The older SRS options of the redirect router: `srs`, `srs_alias`, `srs_condition`, `srs_dbinsert`, `srs_dbselect`.
//!
//! `reverse` finds the sender in an SRS address, before the redirection data is read (`$srs_recipient`); `forward` gives
//! the addresses that are made a return path in this host's domain. The calculation is in `oxim_mailauth::srs::classic`.
//! Failure modes: an address that is not SRS makes the router decline; a wrong hash or stamp fails the address; main
//! options that cannot be, and expansions that fail, defer.

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_lang::config::{Main, Options};
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::split;
use oxim_mailauth::srs::classic::{ReverseError, Scheme, Way};
use oxim_mailauth::srs::day_of;

use super::super::precondition::is_true;
use super::super::{Problem, Purpose, Run, Verdict, error_code};
use crate::address::Address;

/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 1..=32;

/// The options of one router.
pub(super) struct Srs {
    forwards: bool,
    reverses: bool,
    alias: Option<Template>,
    condition: Option<Template>,
    db_insert: Option<Template>,
    db_select: Option<Template>,
}

impl Srs {
    /// None if nothing is to be done: any other word than the three does nothing, as in Exim.
    pub(super) fn read(options: &Options) -> Option<Srs> {
        let (forwards, reverses) = match options.string("srs").unwrap_or_default() {
            "forward" => (true, false),
            "reverse" => (false, true),
            "reverseandforward" => (true, true),
            _ => return None,
        };
        Some(Srs {
            forwards,
            reverses,
            alias: options.template("srs_alias"),
            condition: options.template("srs_condition"),
            db_insert: options.template("srs_dbinsert"),
            db_select: options.template("srs_dbselect"),
        })
    }

    /// What comes before the redirection data; a verdict ends the router's work.
    pub(super) fn apply(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Option<Verdict>, Problem> {
        if let Some(template) = &self.condition {
            match template.expand(run.context) {
                Ok(text) if is_true(text.as_bytes()) => {}
                Ok(_) | Err(ExpandError::Forced(_)) => return Ok(None),
                Err(error) => return Err(failed("srs_condition", &error)),
            }
        }
        if self.forwards && self.reverses && self.db_insert.is_some() != self.db_select.is_some() {
            return Err(problem("srs_dbinsert and srs_dbselect must both be set or both not"));
        }
        let scheme = scheme(&run.context.config.main).map_err(problem)?;
        let day = day_of(Stamp::now().seconds);
        if self.reverses
            && let Some(verdict) = self.reverse(run, address, &scheme, day)?
        {
            return Ok(Some(verdict));
        }
        let is_verified =
            matches!(run.purpose, Purpose::VerifySender | Purpose::VerifyRecipient | Purpose::Expn);
        if self.forwards && !is_verified && !run.context.message.sender.is_empty() {
            self.forward(run, address, &scheme, day)?;
        }
        Ok(None)
    }

    fn reverse(
        &self,
        run: &mut Run<'_>,
        address: &Address,
        scheme: &Scheme,
        day: i64,
    ) -> Result<Option<Verdict>, Problem> {
        run.context.address.srs.orig_recipient = Some(Text::tainted(address.address.clone()));
        match scheme.reverse(&address.address, day) {
            Ok(Way::Address(found)) => {
                run.context.address.srs_recipient = Some(Text::tainted(found));
                Ok(None)
            }
            Ok(Way::Key(key)) => {
                let Some(template) = &self.db_select else { return Ok(Some(Verdict::Decline(None))) };
                run.context.address.srs.db_key = Some(Text::tainted(key));
                let found = template.expand(run.context).map_err(|error| failed("srs_dbselect", &error))?;
                run.context.address.srs_recipient = Some(found);
                Ok(None)
            }
            Err(ReverseError::NotSrs) => Ok(Some(Verdict::Decline(None))),
            Err(ReverseError::Hash) => Ok(Some(Verdict::Fail(problem("SRS address with a wrong hash")))),
            Err(ReverseError::Stamp) => Ok(Some(Verdict::Fail(problem("SRS address that is too old")))),
        }
    }

    fn forward(
        &self,
        run: &mut Run<'_>,
        address: &mut Address,
        scheme: &Scheme,
        day: i64,
    ) -> Result<(), Problem> {
        let sender = run.context.message.sender.clone();
        run.context.address.srs.orig_sender = Some(Text::tainted(sender.clone()));
        let alias = self.alias.as_ref().and_then(|template| template.expand(run.context).ok());
        let domain = match alias.filter(|alias| !alias.is_empty()) {
            Some(alias) => alias.into_bytes(),
            None => address.domain.clone(),
        };
        let rewritten = match &self.db_insert {
            None => scheme.forward(&sender, &domain, day),
            Some(template) => {
                let key = scheme.key(&sender).unwrap_or_default();
                run.context.address.srs.db_address = Some(Text::tainted(sender.clone()));
                run.context.address.srs.db_key = Some(Text::tainted(key.clone()));
                template.expand(run.context).map_err(|error| failed("srs_dbinsert", &error))?;
                scheme.forward_key(&key, &domain, day)
            }
        };
        let rewritten = rewritten.ok_or_else(|| problem("the sender cannot be put into an SRS address"))?;
        address.propagated.srs_sender = Some(rewritten);
        Ok(())
    }
}

fn problem(text: impl Into<String>) -> Problem {
    Problem::new(error_code::UNKNOWN, text.into())
}

fn failed(option: &str, error: &ExpandError) -> Problem {
    Problem::new(error_code::UNKNOWN, format!("failed to expand {option}: {error}"))
}

/// What the main options ask for; `srs_config` goes before the others.
fn scheme(main: &Main) -> Result<Scheme, &'static str> {
    let mut secrets: Vec<Vec<u8>> = main
        .srs_secrets
        .as_deref()
        .map(|list| split(list.as_bytes()).map(|s| s.to_vec()).collect())
        .unwrap_or_default();
    let (mut days, mut length, mut least) = (main.srs_maxage, main.srs_hashlength, main.srs_hashmin);
    let (mut has_stamp, mut has_hash) = (main.srs_usetimestamp, main.srs_usehash);
    if let Some(config) = &main.srs_config {
        // secret:maxage:hashlen:usetimestamp:usehash
        let fields: Vec<Vec<u8>> = split(config.as_bytes()).map(|field| field.to_vec()).collect();
        let number = |index: usize, default: i64| match fields.get(index) {
            Some(field) if !field.is_empty() => {
                std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).unwrap_or(-1)
            }
            _ => default,
        };
        secrets = fields.first().filter(|secret| !secret.is_empty()).cloned().into_iter().collect();
        (days, length, least) = (number(1, 31), number(2, 6), -1);
        (has_stamp, has_hash) = (number(3, 1) != 0, number(4, 1) != 0);
    }
    if secrets.is_empty() || !secrets.iter().all(|secret| SECRET_BYTES.contains(&secret.len())) {
        return Err("SRS Configuration Error: No secret specified");
    }
    if !(0..=365).contains(&days) {
        return Err("SRS Configuration Error: Invalid maximum timestamp age");
    }
    let in_range = |value: i64| usize::try_from(value).ok().filter(|n| (1..=20).contains(n));
    let hash_length = in_range(length).ok_or("SRS Configuration Error: Invalid hash length")?;
    let hash_min = match least {
        -1 => hash_length,
        least => in_range(least).ok_or("SRS Configuration Error: Invalid hash length")?,
    };
    Ok(Scheme {
        secrets,
        days: if days == 0 { 31 } else { days },
        hash_length,
        hash_min,
        has_stamp,
        has_hash,
    })
}

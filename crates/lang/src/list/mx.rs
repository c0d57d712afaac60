//! `@mx_any`, `@mx_primary`, `@mx_secondary`: domains whose MX records point here (manual section 10.9).
//!
//! A host is this one if one of its addresses is local, or its name is in `hosts_treat_as_local`. Names are not
//! widened. A domain without MX records never matches. DNS trouble defers, unless a match is certain without it.

use std::net::IpAddr;

use oxim_base::Text;
use oxim_net::dns::Lookup;

use super::item::{Items, MxRank};
use super::{Defer, HostName, Subject, surroundings, walk};
use crate::context::Context;

/// Whether the MX records of a domain point here in the wanted rank.
pub(super) fn points_here(
    context: &mut Context,
    domain: &Text,
    rank: MxRank,
    ignore: Option<&Items>,
) -> Result<bool, Defer> {
    let resolver = surroundings::resolver(context).map_err(Defer::Config)?.with_search(false, false);
    let records = match resolver.mx(&domain.to_string_lossy()) {
        Lookup::Found(answer) => answer.records,
        Lookup::NotThere(_) => return Ok(false),
        Lookup::AskAgain(reason) => return Err(unanswered(context, domain, &reason)),
    };
    let Some(best) = records.iter().map(|mx| mx.preference).min() else {
        return Ok(false);
    };
    let mut trouble = None;
    let mut local = (false, false);
    for mx in &records {
        match is_here(context, &mx.exchange, ignore)? {
            Ok(true) if mx.preference == best => local.0 = true,
            Ok(true) => local.1 = true,
            Ok(false) => {}
            Err(reason) => trouble = Some(reason),
        }
    }
    let (certain, answer) = match rank {
        MxRank::Any => (local.0 || local.1, local.0 || local.1),
        MxRank::Primary => (local.0, local.0),
        MxRank::Secondary => (local.0, !local.0 && local.1),
    };
    match trouble {
        Some(reason) if !certain => Err(unanswered(context, domain, &reason)),
        _ => Ok(answer),
    }
}

fn unanswered(context: &Context, domain: &Text, reason: &str) -> Defer {
    walk::trace(context, || format!("MX records of {domain}: {reason}"));
    Defer::Remote(format!("DNS lookup of \"{domain}\" deferred"))
}

/// Whether a host is this one; the inner error is DNS trouble.
fn is_here(context: &mut Context, host: &str, ignore: Option<&Items>) -> Result<Result<bool, String>, Defer> {
    if surroundings::is_treated_as_local(context, host)? {
        return Ok(Ok(true));
    }
    let resolver = surroundings::resolver(context).map_err(Defer::Config)?;
    let addresses = match resolver.addresses_of(host, surroundings::family(context)) {
        Lookup::Found(answer) => answer.records,
        Lookup::NotThere(_) => return Ok(Ok(false)),
        Lookup::AskAgain(reason) => return Ok(Err(format!("lookup of {host} deferred: {reason}"))),
    };
    for address in addresses {
        if surroundings::is_local_address(context, address) && !is_ignored(context, address, ignore)? {
            return Ok(Ok(true));
        }
    }
    Ok(Ok(false))
}

fn is_ignored(context: &mut Context, address: IpAddr, ignore: Option<&Items>) -> Result<bool, Defer> {
    let Some(items) = ignore else {
        return Ok(false);
    };
    let subject = Subject::Host { address: Some(address), name: HostName::None };
    let walk = walk::Walk { items, subject: &subject, label: Some("ignore"), nesting: 0, in_file: false };
    Ok(walk.run(context)?.is_yes())
}

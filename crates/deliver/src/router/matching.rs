//! List matches as routers need them: with the data that a lookup gave, and a deferral as a [`Problem`].

use std::net::IpAddr;

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::list::{Defer, HostName, List, LogKind, Match, Subject, write_log};

use super::{Problem, Run, error_code};

/// Whether a subject is in a list. `Some` holds the data of the match.
///
/// # Errors
/// The list could not be evaluated now; `option` is named in the text.
pub fn test(
    list: &List,
    context: &mut Context,
    subject: &Subject<'_>,
    option: &str,
) -> Result<Option<Option<Text>>, Problem> {
    match list.matches(context, subject) {
        Ok(Match::Yes { data }) => Ok(Some(data)),
        Ok(Match::No) => Ok(None),
        Err(defer) => {
            tell(context, &defer, option);
            Err(Problem::new(error_code::UNKNOWN, format!("{option} check lookup or other defer")))
        }
    }
}

/// Tells the postmaster of a list that cannot be used as it is written.
pub(super) fn tell(context: &Context, defer: &Defer, option: &str) {
    oxim_base::debug::line(oxim_base::debug::ROUTE, || format!("{option}: {defer}"));
    if let Defer::Config(text) = defer {
        write_log(context, LogKind::Panic, text);
    }
}

/// Whether a domain is in an optional list of domains; an unset list has none.
///
/// # Errors
/// As for [`test`].
pub fn domain(
    list: Option<&List>,
    context: &mut Context,
    domain: &[u8],
    option: &str,
) -> Result<bool, Problem> {
    match list {
        Some(list) => {
            let captures = context.local.captures.clone();
            let found = test(list, context, &Subject::Domain(&Text::tainted(domain)), option);
            context.local.captures = captures;
            Ok(found?.is_some())
        }
        None => Ok(false),
    }
}

/// Whether `ignore_target_hosts` of the running router says that an address of a host does not exist.
///
/// # Errors
/// As for [`test`].
pub fn is_ignored(run: &mut Run<'_>, name: &str, ip: IpAddr) -> Result<bool, Problem> {
    let Some(list) = &run.router.generic.ignore_target_hosts else {
        return Ok(false);
    };
    let old = run.context.delivery.host_address.replace(ip);
    let subject = Subject::Host { address: Some(ip), name: HostName::Known(name) };
    let found = test(list, run.context, &subject, "ignore_target_hosts");
    run.context.delivery.host_address = old;
    Ok(found?.is_some())
}

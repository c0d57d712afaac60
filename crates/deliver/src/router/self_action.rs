//! What happens when an address leads to this very host: the `self` option. Manual chapter 15, section 13.8.

use oxim_lang::context::Context;

use super::generic::SelfAction;
use super::{Declined, Problem, Run, Verdict, error_code, matching};
use crate::address::{Address, RouteHost};

/// Whether a host is this one: by its address (`local_interfaces`, `extra_local_interfaces`) or by its name
/// (`hosts_treat_as_local`).
///
/// # Errors
/// The list of names cannot be evaluated now.
pub fn is_local(context: &mut Context, host: &RouteHost) -> Result<bool, Problem> {
    let Some(surroundings) = context.services.surroundings.get().cloned() else {
        return Ok(false);
    };
    if host.address.is_some_and(|ip| surroundings.interfaces.is_local(ip)) {
        return Ok(true);
    }
    let Some(list) = &surroundings.hosts_treat_as_local else { return Ok(false) };
    matching::domain(Some(list), context, host.name.as_bytes(), "hosts_treat_as_local")
}

/// What the `self` option came to.
pub enum Applied {
    /// Deliver to this host all the same.
    GoOn,
    /// The router's verdict.
    Verdict(Verdict),
}

/// Applies `self` to an address whose first host is this one.
pub fn apply(run: &mut Run<'_>, address: &mut Address, host: &RouteHost) -> Applied {
    let reason = if host.mx.is_some() {
        "lowest numbered MX record points to local host"
    } else {
        "remote host address is the local host"
    };
    let domain = String::from_utf8_lossy(&address.domain).into_owned();
    let action = &run.router.generic.self_action;
    if !matches!(action, SelfAction::Send) {
        // It never comes to the transport.
        address.transport = None;
    }
    match action {
        SelfAction::Freeze => {
            let mut line = format!("{reason}: {domain}");
            if run.purpose.is_verify()
                && let Some(client) = run.context.connection.host_address
            {
                line.push_str(&format!(" (while verifying <{}> from host {client})", address.text()));
            } else if run.context.message.id.is_none() {
                line.push_str(&format!(" (while routing <{}>)", address.text()));
            }
            run.log(&line);
            let freeze = true;
            Applied::Verdict(Verdict::Defer(Problem { freeze, ..Problem::new(error_code::UNKNOWN, reason) }))
        }
        SelfAction::Defer => Applied::Verdict(Verdict::Defer(Problem::new(error_code::UNKNOWN, reason))),
        SelfAction::Fail => Applied::Verdict(Verdict::Fail(Problem::new(error_code::UNKNOWN, reason))),
        SelfAction::Send => Applied::GoOn,
        SelfAction::Pass => {
            address.self_hostname = Some(host.name.clone());
            Applied::Verdict(Verdict::Pass(Some(Declined::from(reason))))
        }
        SelfAction::Reroute { domain, rewrite } => {
            Applied::Verdict(Verdict::Reroute { domain: domain.clone(), rewrite_headers: *rewrite })
        }
    }
}

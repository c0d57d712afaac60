//! The start of a session, up to the greeting: who calls, may it, and what it is told.
//!
//! The order of tests is Exim's: number of connections, host name, `host_reject_connection`, reserve and load, connect ACL.
//! Manual sections 44.4 and 49.3; `smtp_banner`, `smtp_active_hostname`.

use std::sync::Arc;
use std::time::Duration;

use oxim_lang::expand::Template;

use crate::acl::{Outcome, Phase, Verdict};
use crate::admission::Guard;
use crate::host_name;
use crate::ident::Ident;
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

/// How many are connected, as far as the limits are concerned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// All connections, this one included.
    pub total: u32,
    /// Those from the same host, this one included.
    pub same_host: u32,
}

impl From<&Guard> for Crowd {
    fn from(guard: &Guard) -> Crowd {
        Crowd { total: guard.total(), same_host: guard.same_host() }
    }
}

/// Everything before the greeting; the last reply is the greeting, or closes the connection.
pub fn greet(reception: &Arc<Reception>, talk: &mut Talk, crowd: Option<Crowd>) -> Progress {
    set_active_hostname(reception, talk);
    let protocol = talk.protocol();
    talk.scene.context.connection.protocol = protocol;
    if talk.scene.context.connection.proxy.is_none()
        && !talk.is_announced
        && let Some(reply) = announce(reception, talk, crowd)
    {
        return Progress::Close(Some(reply));
    }
    if wants_ident(reception, talk) {
        let then = move |reception: &Arc<Reception>, talk: &mut Talk, ident: Ident| {
            know(reception, talk, ident);
            admit(reception, talk, crowd)
        };
        return Progress::Ident(Box::new(then));
    }
    admit(reception, talk, crowd)
}

/// Whether the client's host is to be asked who has connected. What stands behind a proxy cannot be asked.
fn wants_ident(reception: &Reception, talk: &mut Talk) -> bool {
    let connection = &talk.scene.context.connection;
    reception.settings.ident_timeout.is_some()
        && connection.host_address.is_some()
        && connection.interface.is_some()
        && connection.proxy.is_none()
        && !connection.host_checking
        && talk.caller.is_none()
        && reception.settings.hosts.ident.matches(&mut talk.scene.context)
}

fn know(reception: &Reception, talk: &mut Talk, ident: Ident) {
    match ident {
        Ident::Name(name) => talk.scene.context.connection.ident = Some(name),
        Ident::Unknown => {}
        Ident::Late => {
            if reception.wants.ident_timeout
                && let Some(address) = talk.scene.context.connection.host_address
            {
                reception.logs.main(&format!("ident connection to {address} timed out"));
            }
        }
    }
}

/// Everything between the ident and the greeting.
fn admit(reception: &Arc<Reception>, talk: &mut Talk, crowd: Option<Crowd>) -> Progress {
    talk.timeout = timeout(reception, talk);
    talk.helo_required = reception.settings.hosts.require_helo.matches(&mut talk.scene.context);
    talk.may_send_from_line = reception.settings.ignore_fromline_local;
    talk.limits_nonmail = reception.settings.hosts.max_nonmail.matches(&mut talk.scene.context);
    if !talk.is_local()
        && let Some(reply) = remote(reception, talk, crowd)
    {
        return Progress::Close(Some(reply));
    }
    match size_limit(reception, talk) {
        Ok(limit) => talk.size_limit = limit,
        Err(reason) => {
            reception.logs.panic(&reason);
            return Progress::Close(Some(Reply::fixed(421, "Temporary local problem - please try later")));
        }
    }
    let then = |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict != Verdict::Accept {
            return Progress::Reply(refusal::refuse(reception, talk, Phase::Connect, "", &outcome));
        }
        Progress::Reply(banner(reception, talk, &outcome))
    };
    Progress::Acl(Phase::Connect, Box::new(then))
}

/// What comes before the header of a proxy, for the proxy, and before a handshake that comes first: limits of number and the log
/// line. A reply ends the session.
pub(crate) fn announce(reception: &Reception, talk: &mut Talk, crowd: Option<Crowd>) -> Option<Reply> {
    if let Some(crowd) = crowd {
        talk.scene.context.connection.count_at_start = crowd.total;
        if let Some(reply) = too_many(reception, talk, crowd) {
            return Some(reply);
        }
    }
    let nolog = &reception.settings.hosts.connection_nolog;
    talk.log_connection = nolog.is_unset() || !nolog.matches(&mut talk.scene.context);
    log_connection(reception, talk, crowd);
    None
}

/// `smtp_active_hostname`, for messages that come otherwise too: their -H files have it.
pub(crate) fn set_active_hostname(reception: &Reception, talk: &mut Talk) {
    let Some(template) = &reception.settings.active_hostname else { return };
    match template.expand(&mut talk.scene.context) {
        Ok(name) if !name.is_empty() => {
            talk.scene.context.connection.active_hostname = Some(name.into_bytes())
        }
        Ok(_) => {}
        Err(error) if error.is_forced() => {}
        Err(error) => {
            let source = template.source();
            reception.logs.panic(&format!("failed to expand smtp_active_hostname \"{source}\": {error}"));
        }
    }
}

/// `smtp_accept_max` and `smtp_accept_max_per_host`.
pub(crate) fn too_many(reception: &Reception, talk: &mut Talk, crowd: Crowd) -> Option<Reply> {
    let limits = &reception.settings.limits;
    if limits.accept_max > 0 && crowd.total > limits.accept_max {
        log_refusal(reception, talk, "too many connections");
        return Some(Reply::fixed(421, "Too many concurrent SMTP connections; please try again later."));
    }
    let max = number(reception.settings.max_per_host.as_ref(), reception, talk)?;
    if max == 0 || u64::from(crowd.same_host) <= max {
        return None;
    }
    log_refusal(reception, talk, "too many connections from that IP address");
    Some(Reply::fixed(
        421,
        "Too many concurrent SMTP connections from this IP address; please try again later.",
    ))
}

fn log_refusal(reception: &Reception, talk: &Talk, why: &str) {
    if reception.wants.connection_reject {
        let client = log_line::client(reception, talk, false);
        reception.logs.main(&format!("Connection from {client} refused: {why}"));
    }
}

fn log_connection(reception: &Reception, talk: &Talk, crowd: Option<Crowd>) {
    if !reception.wants.smtp_connection || !talk.log_connection {
        return;
    }
    let connection = log_line::connection(reception, talk);
    let count = crowd.map(|c| format!(" (TCP/IP connection count = {})", c.total)).unwrap_or_default();
    reception.logs.main(&format!("{connection}{count}"));
}

/// An option that expands to a number. One that does not is logged and counts as no limit.
fn number(template: Option<&Template>, reception: &Reception, talk: &mut Talk) -> Option<u64> {
    let template = template?;
    match template.expand(&mut talk.scene.context) {
        Ok(text) => text.as_str().and_then(|text| text.trim().parse().ok()),
        Err(error) if error.is_forced() => None,
        Err(error) => {
            reception.logs.panic(&format!("expansion of \"{}\" failed: {error}", template.source()));
            None
        }
    }
}

/// What concerns only clients with an address. A reply ends the session.
fn remote(reception: &Arc<Reception>, talk: &mut Talk, crowd: Option<Crowd>) -> Option<Reply> {
    let hosts = &reception.settings.hosts;
    let context = &mut talk.scene.context;
    // Of a proxy that does not say for whom it is no more is asked.
    let is_failed_proxy = context.connection.proxy.is_some_and(|proxy| proxy.is_failed);
    if !is_failed_proxy && hosts.lookup.matches(context) {
        host_name::look_up(reception, context);
    }
    match hosts.reject_connection.try_match(context) {
        Ok(false) => {}
        Ok(true) => {
            if reception.wants.connection_reject {
                let client = log_line::client(reception, talk, false);
                reception
                    .logs
                    .main_and_reject(&format!("refused connection from {client} (host_reject_connection)"));
            }
            return Some(Reply::fixed(554, "SMTP service not available"));
        }
        Err(reason) => {
            let client = log_line::client(reception, talk, false);
            reception
                .logs
                .main_and_reject(&format!("temporarily refused connection from {client}: {reason}"));
            return Some(Reply::fixed(451, "Temporary local problem - please try later"));
        }
    }
    set_rights(reception, talk);
    if let Some(crowd) = crowd
        && let Some(reply) = reserved(reception, talk, crowd)
    {
        return Some(reply);
    }
    let enforce = reception.settings.enforce_sync;
    talk.offers.early_pipelining = enforce && hosts.pipelining_connect.matches(&mut talk.scene.context);
    None
}

/// What the client's host may do. For a local caller too, when it speaks for a host (`-oMa`).
pub(crate) fn set_rights(reception: &Reception, talk: &mut Talk) {
    let hosts = &reception.settings.hosts;
    talk.allow_unqualified_sender = hosts.sender_unqualified.matches(&mut talk.scene.context);
    talk.allow_unqualified_recipient = hosts.recipient_unqualified.matches(&mut talk.scene.context);
    talk.is_rate_limited = hosts.ratelimit.matches(&mut talk.scene.context);
    talk.may_send_from_line = hosts.ignore_fromline.matches(&mut talk.scene.context);
}

/// `smtp_accept_reserve` and `smtp_load_reserve`: the last places, and busy times, are for `smtp_reserve_hosts`.
fn reserved(reception: &Reception, talk: &mut Talk, crowd: Crowd) -> Option<Reply> {
    let limits = &reception.settings.limits;
    let others = crowd.total.saturating_sub(1);
    let is_crowded = limits.accept_max > 0
        && limits.accept_reserve > 0
        && others.saturating_add(limits.accept_reserve) >= limits.accept_max;
    let load =
        limits.load_reserve.map(|max| (reception.load.thousandths(), max)).filter(|(load, max)| load > max);
    if !is_crowded && load.is_none() {
        return None;
    }
    if reception.settings.hosts.reserve.matches(&mut talk.scene.context) {
        return None;
    }
    let client = log_line::client(reception, talk, false);
    let name = talk.active_hostname(reception);
    if is_crowded {
        let (max, reserve) = (limits.accept_max, limits.accept_reserve);
        reception.logs.main(&format!(
            "temporarily refused connection from {client}: not in reserve list: connected={others} max={max} reserve={reserve}"
        ));
        return Some(Reply::new(
            421,
            format!("{name}: Too many concurrent SMTP connections; please try again later"),
        ));
    }
    let (load, _) = load?;
    reception.logs.main(&format!(
        "temporarily refused connection from {client}: not in reserve list and load average = {}.{:02}",
        load / 1000,
        (load % 1000) / 10
    ));
    Some(Reply::new(421, format!("{name}: Too much load; please try again later")))
}

/// `smtp_receive_timeout` for this connection. One that cannot be read is five minutes.
fn timeout(reception: &Reception, talk: &mut Talk) -> Option<Duration> {
    let template = &reception.settings.smtp_receive_timeout;
    let expanded = template.expand(&mut talk.scene.context).ok();
    let seconds =
        expanded.and_then(|text| oxim_base::clock::parse_interval(text.as_str()?.trim())).unwrap_or(300);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// `message_size_limit` for this connection; 0 is none.
pub(crate) fn size_limit(reception: &Reception, talk: &mut Talk) -> Result<u64, String> {
    let template = &reception.settings.message_size_limit;
    let text = match template.expand(&mut talk.scene.context) {
        Ok(text) => text.to_string_lossy(),
        Err(error) => return Err(format!("unable to expand message_size_limit: {error}")),
    };
    parse_size(text.trim()).ok_or_else(|| format!("invalid value for message_size_limit: {text}"))
}

/// A number of bytes, perhaps with K, M or G.
fn parse_size(text: &str) -> Option<u64> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (text.get(..text.len().checked_sub(1)?)?, 1 << 10),
        b'm' | b'M' => (text.get(..text.len().checked_sub(1)?)?, 1 << 20),
        b'g' | b'G' => (text.get(..text.len().checked_sub(1)?)?, 1 << 30),
        _ => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// The greeting: the ACL's message, or `smtp_banner`.
fn banner(reception: &Reception, talk: &mut Talk, outcome: &Outcome) -> Reply {
    if outcome.user_message.is_some() {
        return refusal::accepted(reception, 220, "", outcome);
    }
    let template = &reception.settings.banner;
    match template.expand(&mut talk.scene.context) {
        Ok(text) => Reply::new(220, text.as_bytes().trim_ascii_end().to_vec()),
        Err(error) => {
            reception
                .logs
                .panic(&format!("Expansion of \"{}\" (smtp_banner) failed: {error}", template.source()));
            Reply::fixed(421, "Unexpected failure, please try later").closing()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_units() {
        assert_eq!(parse_size("5k"), Some(5120));
        assert_eq!(parse_size("50M"), Some(52_428_800));
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(parse_size("x"), None);
        assert_eq!(parse_size(""), None);
    }
}

//! RCPT: one recipient.
//!
//! The address is rewritten by `S` rules, parsed, qualified where that is allowed, counted against `recipients_max`, and shown
//! to the RCPT ACL. RFC 5321 section 4.1.1.3, RFC 3461; manual sections 44.2 and 48.3.

use std::sync::Arc;

use oxim_base::Text;
use oxim_deliver::router::worklist::hacked;
use oxim_mail::address::{self, ParsedAddress};
use oxim_mail::smtp::arguments::{RcptArguments, rcpt_arguments};
use oxim_spool::message::Recipient;

use super::{argument_error, protocol_error, syntax_error};
use crate::acl::{Outcome, Phase, Verdict};
use crate::cutthrough;
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::rewriting;
use crate::talk::{Progress, RcptReplies, Talk};

pub(super) fn run(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    argument: &[u8],
    was_refused_mail: bool,
) -> Progress {
    if !talk.transaction.sender_given {
        talk.last_was_refused_mail = was_refused_mail;
        // A client that pipelines could not know that MAIL would be refused.
        if was_refused_mail && talk.offers.pipelining {
            talk.last_was_rcpt = true;
            remember_reply(talk, b"503 sender not yet given");
            return Progress::fixed(503, "sender not yet given");
        }
        remember_reply(talk, b"503 sender not yet given");
        return protocol_error(reception, talk, 503, "sender not yet given");
    }
    talk.last_was_rcpt = true;
    let rcpt_count = &mut talk.scene.context.message.rcpt_count;
    *rcpt_count = rcpt_count.saturating_add(1);
    let arguments = if talk.is_extended {
        match rcpt_arguments(argument, &talk.offers.parameters) {
            Ok(arguments) => arguments,
            Err(error) => return with_memory(syntax_error(reception, talk, 501, &error.to_string()), talk),
        }
    } else {
        RcptArguments { path: argument.to_vec(), ..RcptArguments::default() }
    };
    let path = rewriting::smtp(reception, talk, &arguments.path);
    let parsed = match address::parse(&path, &talk.address_syntax(reception)) {
        Ok(parsed) => parsed,
        Err(error) => {
            return with_memory(argument_error(reception, talk, &arguments.path, &error.to_string()), talk);
        }
    };
    let recipient = match qualify(reception, talk, &parsed, &arguments.path) {
        Ok(recipient) => recipient,
        Err(progress) => return with_memory(progress, talk),
    };
    if let Some(progress) = too_many(reception, talk) {
        return with_memory(progress, talk);
    }
    let recipient = Recipient {
        address: recipient,
        dsn_notify: arguments.notify.unwrap_or_default(),
        orcpt: arguments.orcpt.filter(|orcpt| !orcpt.is_empty()),
        ..Recipient::default()
    };
    let limit = reception.settings.ratelimit_rcpt.filter(|_| talk.is_rate_limited);
    let delay = limit.map(|limit| limit.delay(talk.scene.context.message.rcpt_count)).unwrap_or_default();
    let progress = ask(reception, talk, recipient, &arguments.path);
    if delay.is_zero() { progress } else { Progress::Pause(delay, Box::new(progress)) }
}

/// Gives an unqualified recipient our domain, where that is allowed. `postmaster` always is.
fn qualify(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    parsed: &ParsedAddress,
    argument: &[u8],
) -> Result<Vec<u8>, Progress> {
    let mut recipient = parsed.address.clone();
    if parsed.domain().is_some() {
        return Ok(recipient);
    }
    if !talk.allow_unqualified_recipient && !recipient.eq_ignore_ascii_case(b"postmaster") {
        let client = log_line::client(reception, talk, true);
        let shown = log_line::address(&recipient);
        let line = format!("unqualified recipient rejected: <{shown}> {client}");
        reception.logs.rejection(&line, reception.wants.smtp_syntax_error, None);
        let mut text = argument.to_vec();
        text.extend_from_slice(b": recipient address must contain a domain");
        return Err(Progress::Reply(Reply::new(501, text)));
    }
    recipient.push(b'@');
    recipient.extend_from_slice(&reception.settings.qualify_recipient);
    Ok(recipient)
}

/// `recipients_max`. The surplus is logged once for each message.
fn too_many(reception: &Arc<Reception>, talk: &mut Talk) -> Option<Progress> {
    let limits = &reception.settings.limits;
    let max = match reception.settings.recipients_max.value(&mut talk.scene.context) {
        Ok(max) => max,
        Err(reason) => {
            reception.logs.panic(&format!("recipients_max: {reason}"));
            return Some(Progress::fixed(451, "Temporary local problem - please try later"));
        }
    };
    if max == 0 || talk.scene.context.message.rcpt_count <= max {
        return None;
    }
    let for_good = limits.recipients_max_reject;
    talk.transaction.surplus_refused |= for_good;
    if !std::mem::replace(&mut talk.transaction.surplus_logged, true) {
        let what = if for_good { "message rejected" } else { "excess temporarily rejected" };
        let sender = String::from_utf8_lossy(&talk.scene.context.message.sender).into_owned();
        let client = log_line::client(reception, talk, true);
        reception.logs.main_and_reject(&format!("too many recipients: {what}: sender=<{sender}> {client}"));
    }
    let counts = &mut talk.scene.context.message;
    if for_good {
        counts.rcpt_fail_count = counts.rcpt_fail_count.saturating_add(1);
        return Some(Progress::fixed(552, "too many recipients"));
    }
    counts.rcpt_defer_count = counts.rcpt_defer_count.saturating_add(1);
    Some(Progress::fixed(452, "too many recipients"))
}

/// Runs the RCPT ACL, unless the MAIL ACL has thrown all recipients away already.
fn ask(reception: &Arc<Reception>, talk: &mut Talk, recipient: Recipient, path: &[u8]) -> Progress {
    set_address(talk, &recipient.address);
    if talk.transaction.discard_all {
        let reason = talk.transaction.discard_reason.clone();
        discard(reception, talk, &recipient, "MAIL", &reason);
        remember_reply(talk, b"Accepted");
        return Progress::fixed(250, "Accepted");
    }
    // A refusal is logged with what the client has said.
    let said = log_line::address(path.trim_ascii());
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        let progress = after_acl(reception, talk, recipient, &said, &outcome);
        with_memory(progress, talk)
    };
    Progress::Acl(Phase::Rcpt, Box::new(then))
}

/// Sets `$local_part` and `$domain` from an envelope address, in lower case, and the subject of `verify = recipient`.
pub(crate) fn set_address(talk: &mut Talk, address: &[u8]) {
    let (local_part, domain) = address::split_at_domain(address);
    let mut local_part = address::unquote_local_part(local_part);
    local_part.make_ascii_lowercase();
    let mut domain = domain.unwrap_or_default().to_ascii_lowercase();
    let context = &mut talk.scene.context;
    if let Some(list) = context.config.main.percent_hack_domains.clone() {
        while let Some(inner) = hacked(context, &list, &local_part, &domain) {
            (local_part, domain) = inner;
        }
    }
    let scope = &mut context.address;
    scope.local_part = Text::tainted(local_part);
    scope.domain = Text::tainted(domain);
    scope.local_part_data = None;
    scope.domain_data = None;
    talk.scene.subject = address.to_vec();
    talk.scene.message.bmi.opt_in = None;
    talk.scene.message.caseful_local_part = false;
}

fn after_acl(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    recipient: Recipient,
    said: &str,
    outcome: &Outcome,
) -> Progress {
    match outcome.verdict {
        Verdict::Accept if !cutthrough::takes(reception, talk, &recipient.address) => {
            let refused = Outcome::plain(Verdict::Deny);
            after_acl(reception, talk, recipient, said, &refused)
        }
        Verdict::Accept => {
            talk.transaction.raw_recipients.push(recipient.address.clone());
            talk.scene.message.bmi.accepted(&recipient.address);
            Arc::make_mut(&mut talk.scene.context.message.recipients).push(recipient);
            Progress::Reply(refusal::accepted(reception, 250, "Accepted", outcome))
        }
        Verdict::Discard => {
            // It counts as one that was refused, as it does in Exim.
            let counts = &mut talk.scene.context.message;
            counts.rcpt_fail_count = counts.rcpt_fail_count.saturating_add(1);
            let reason = outcome.discard_reason();
            discard(reception, talk, &recipient, "RCPT", &reason);
            Progress::Reply(refusal::accepted(reception, 250, "Accepted", outcome))
        }
        Verdict::Deny | Verdict::Defer | Verdict::Drop => {
            let counts = &mut talk.scene.context.message;
            let count = if outcome.verdict == Verdict::Defer {
                &mut counts.rcpt_defer_count
            } else {
                &mut counts.rcpt_fail_count
            };
            *count = count.saturating_add(1);
            let what = format!(" {said}");
            Progress::Reply(refusal::refuse(reception, talk, Phase::Rcpt, &what, outcome))
        }
    }
}

/// Throws a recipient away, with the line that says so.
fn discard(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    recipient: &Recipient,
    acl: &'static str,
    reason: &str,
) {
    talk.transaction.discarded_by = Some(acl);
    let client = log_line::client(reception, talk, true);
    let sender = String::from_utf8_lossy(&talk.scene.context.message.sender).into_owned();
    let address = String::from_utf8_lossy(&recipient.address);
    reception
        .logs
        .main_and_reject(&format!("{client} F=<{sender}> RCPT <{address}>: discarded by {acl} ACL{reason}"));
}

/// Remembers what RCPT commands have been answered with, for a DATA without recipients.
fn with_memory(progress: Progress, talk: &mut Talk) -> Progress {
    if let Progress::Reply(reply) = &progress {
        // A text from an ACL is remembered without its code, one of our own with it, as Exim does.
        let text = match reply.code {
            550 | 451 => reply.text.to_vec(),
            code => [code.to_string().as_bytes(), b" ", &reply.text].concat(),
        };
        remember_reply(talk, &text);
    }
    progress
}

fn remember_reply(talk: &mut Talk, text: &[u8]) {
    let replies = &mut talk.transaction.replies;
    match replies {
        RcptReplies::None => *replies = RcptReplies::Same(text.to_vec()),
        RcptReplies::Same(first) if first == text => {}
        RcptReplies::Same(_) => *replies = RcptReplies::Different,
        RcptReplies::Different => {}
    }
}

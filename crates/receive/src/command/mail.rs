//! MAIL: the sender, and the parameters of the message.
//!
//! A local caller who is not trusted keeps the sender that belongs to the login, whatever the command says.
//! RFC 5321 section 4.1.1.2; manual sections 5.2 (-bs), 48.3 and 49.3.

use std::sync::Arc;

use oxim_mail::address;
use oxim_mail::dsn::xtext_encode;
use oxim_mail::smtp::arguments::{Body, MailArguments, Offered, mail_arguments};

use super::{argument_error, protocol_error, syntax_error};
use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::rewriting;
use crate::space;
use crate::talk::{Progress, Talk, Transaction};

/// The largest SIZE that the log shows as it is.
const SHOWN_SIZE_MAX: u64 = 0x7fff_ffff;

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    talk.last_was_refused_mail = true;
    talk.counts.mail = talk.counts.mail.saturating_add(1);
    if talk.helo_required && !talk.greeted {
        let client = log_line::client(reception, talk, false);
        reception.logs.main_and_reject(&format!("rejected MAIL from {client}: no HELO/EHLO given"));
        return Progress::fixed(503, "HELO or EHLO required");
    }
    if talk.transaction.sender_given {
        return protocol_error(reception, talk, 503, "sender already given");
    }
    if let Some(progress) = too_many_messages(reception, talk) {
        return progress;
    }
    let arguments = if talk.is_extended {
        // Whatever EHLO was answered.
        let eight_bit = reception.settings.accept_8bitmime;
        match mail_arguments(argument, &Offered { eight_bit, ..talk.offers.parameters }) {
            Ok(arguments) => arguments,
            Err(error) => return syntax_error(reception, talk, 501, &error.to_string()),
        }
    } else {
        MailArguments { path: argument.to_vec(), ..MailArguments::default() }
    };
    let limit = reception.settings.ratelimit_mail.filter(|_| talk.is_rate_limited);
    let delay = limit.map(|limit| limit.delay(talk.counts.mail)).unwrap_or_default();
    let progress = start(reception, talk, arguments);
    if delay.is_zero() { progress } else { Progress::Pause(delay, Box::new(progress)) }
}

/// `smtp_accept_max_per_connection`.
fn too_many_messages(reception: &Arc<Reception>, talk: &mut Talk) -> Option<Progress> {
    let max = match reception.settings.messages_max.value(&mut talk.scene.context) {
        Ok(max) => max,
        Err(reason) => {
            reception.logs.panic(&format!("smtp_accept_max_per_connection: {reason}"));
            return None;
        }
    };
    if max == 0 || talk.counts.mail <= max {
        return None;
    }
    let client = log_line::client(reception, talk, true);
    reception
        .logs
        .main_and_reject(&format!("rejected MAIL command {client}: too many messages in one connection"));
    Some(Progress::fixed(421, "too many messages in this connection"))
}

/// Takes the parameters over, checks address, size and space, and asks the ACL.
fn start(reception: &Arc<Reception>, talk: &mut Talk, arguments: MailArguments) -> Progress {
    let transaction = Transaction {
        size: arguments.size,
        body: match arguments.body {
            None => 0,
            Some(Body::SevenBit) => 7,
            Some(Body::EightBitMime) => 8,
        },
        dsn_ret: arguments.ret,
        dsn_envid: arguments.envid,
        prdr: arguments.prdr,
        said_sender: arguments.path.trim_ascii().to_vec(),
        ..Transaction::default()
    };
    // A MAIL that was refused may have gone before.
    talk.withdraw_smtputf8();
    talk.transaction = transaction;
    if arguments.smtputf8 {
        talk.announce_smtputf8();
    }
    let path = rewriting::smtp(reception, talk, &arguments.path);
    let mut syntax = talk.address_syntax(reception);
    syntax.allow_empty = true;
    let parsed = match address::parse(&path, &syntax) {
        Ok(parsed) => parsed,
        Err(error) => return argument_error(reception, talk, &arguments.path, &error.to_string()),
    };
    if let Some(progress) = too_big_or_no_space(reception, talk, &parsed.address) {
        return progress;
    }
    let sender = match qualify(reception, talk, &parsed, &arguments.path) {
        Ok(sender) => sender,
        Err(progress) => return progress,
    };
    let message = &mut talk.scene.context.message;
    message.prdr_requested = arguments.prdr;
    message.size = arguments.size.map_or(-1, |size| i64::try_from(size).unwrap_or(i64::MAX));
    talk.scene.context.message.sender = sender;
    believe_caller(talk);
    let believed = talk.scene.context.message.sender.clone();
    talk.transaction.raw_sender = believed;
    talk.scene.subject = Vec::new();
    match arguments.auth {
        None => ask(talk),
        // Nobody is named.
        Some(auth) if auth.is_empty() => ask(talk),
        Some(auth) => mail_auth(reception, talk, auth),
    }
}

/// The sender of a local caller who may not set it is that of the login; an empty one is always allowed.
fn believe_caller(talk: &mut Talk) {
    let Some(caller) = talk.caller.clone() else { return };
    let context = &mut talk.scene.context;
    if caller.may_set_sender || context.message.sender.is_empty() || context.connection.host_address.is_some()
    {
        return;
    }
    let raw = context.message.sender.clone();
    if caller.may_claim(context, &raw) {
        return;
    }
    context.message.sender.clone_from(&caller.sender);
}

/// 552 when the announced size is over the limit, 452 when the spool has too little room.
fn too_big_or_no_space(reception: &Arc<Reception>, talk: &mut Talk, sender: &[u8]) -> Option<Progress> {
    let size = talk.transaction.size;
    if let Some(size) = size.filter(|size| talk.size_limit > 0 && *size > talk.size_limit) {
        let client = log_line::client(reception, talk, true);
        let shown = if size < SHOWN_SIZE_MAX { format!("={size}") } else { format!(">={SHOWN_SIZE_MAX}") };
        let line = format!(
            "rejected MAIL FROM:<{}> {client}: message too big: size{shown} max={}",
            String::from_utf8_lossy(sender),
            talk.size_limit
        );
        // The selector is for the main log alone.
        if reception.wants.size_reject {
            reception.logs.main(&line);
        }
        reception.logs.reject(&line, None);
        return Some(Progress::fixed(552, "Message size exceeds maximum permitted"));
    }
    // Beyond that nothing is known of it.
    let size = size.map(|size| size.min(SHOWN_SIZE_MAX));
    let announced = size.filter(|_| reception.settings.limits.check_space_for_size).unwrap_or(0);
    if space::is_short(reception, announced) {
        return Some(Progress::fixed(452, "Space shortage, please try later"));
    }
    None
}

/// Gives an unqualified sender our domain, where that is allowed.
fn qualify(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    parsed: &address::ParsedAddress,
    argument: &[u8],
) -> Result<Vec<u8>, Progress> {
    let mut sender = parsed.address.clone();
    if sender.is_empty() || parsed.domain().is_some() {
        return Ok(sender);
    }
    if !talk.allow_unqualified_sender {
        let client = log_line::client(reception, talk, true);
        let shown = log_line::address(&sender);
        let line = format!("unqualified sender rejected: <{shown}> {client}");
        reception.logs.rejection(&line, reception.wants.smtp_syntax_error, None);
        let mut text = argument.to_vec();
        text.extend_from_slice(b": sender address must contain a domain");
        return Err(Progress::Reply(Reply::new(501, text)));
    }
    sender.push(b'@');
    sender.extend_from_slice(&reception.settings.qualify_domain);
    Ok(sender)
}

/// The AUTH parameter: asked of its ACL if there is one, else believed from an authenticated client (manual section 33.2).
fn mail_auth(reception: &Arc<Reception>, talk: &mut Talk, auth: Vec<u8>) -> Progress {
    if auth == b"<>" {
        talk.scene.context.connection.auth_sender = None;
        return ask(talk);
    }
    if !reception.acls.is_set(Phase::MailAuth) {
        if talk.scene.context.connection.authenticator.is_none() {
            ignored(reception, talk, &auth, "client not authenticated");
            return ask(talk);
        }
        talk.scene.context.connection.auth_sender = Some(auth);
        check_condition(reception, talk);
        return ask(talk);
    }
    talk.scene.context.connection.auth_sender = Some(auth.clone());
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| match outcome.verdict {
        Verdict::Accept => {
            check_condition(reception, talk);
            ask(talk)
        }
        Verdict::Defer => {
            let command = &talk.scene.context.connection.smtp_command;
            let colon = memchr::memchr(b':', command).unwrap_or_default();
            let argument = command.get(colon.saturating_add(1)..).unwrap_or_default().trim_ascii();
            let what = format!(" {}", log_line::printable(argument));
            let reply = refusal::refuse(reception, talk, Phase::MailAuth, &what, &outcome);
            talk.reset();
            talk.last_was_refused_mail = true;
            Progress::Reply(reply)
        }
        Verdict::Deny | Verdict::Drop | Verdict::Discard => {
            ignored(reception, talk, &auth, "rejected by ACL");
            talk.scene.context.connection.auth_sender = None;
            ask(talk)
        }
    };
    Progress::Acl(Phase::MailAuth, Box::new(then))
}

fn ignored(reception: &Reception, talk: &Talk, auth: &[u8], why: &str) {
    let client = log_line::client(reception, talk, true);
    let shown = log_line::printable(&xtext_encode(auth));
    reception.logs.main(&format!("ignoring AUTH={shown} from {client} ({why})"));
}

/// `server_mail_auth_condition` of the authenticator that let the client in.
fn check_condition(reception: &Reception, talk: &mut Talk) {
    let connection = &talk.scene.context.connection;
    let Some(name) = &connection.authenticator else { return };
    let found = reception.delivery.authenticators.iter().find(|a| a.name.as_bytes() == name.as_slice());
    let Some(condition) = found.and_then(|a| a.mail_auth_condition.clone()) else { return };
    let is_good = condition.expand(&mut talk.scene.context).is_ok_and(|text| {
        !matches!(text.trimmed().to_string_lossy().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false")
    });
    if !is_good {
        let auth = talk.scene.context.connection.auth_sender.take().unwrap_or_default();
        let id = talk.scene.context.connection.auth_id.as_deref().map(log_line::printable);
        let id = id.unwrap_or_default();
        let why = format!("server_mail_auth_condition failed: authenticated ID=\"{id}\"");
        ignored(reception, talk, &auth, &why);
    }
}

fn ask(_: &Talk) -> Progress {
    let then =
        |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| after_acl(reception, talk, &outcome);
    Progress::Acl(Phase::Mail, Box::new(then))
}

fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, outcome: &Outcome) -> Progress {
    if !matches!(outcome.verdict, Verdict::Accept | Verdict::Discard) {
        // It is logged with what the client has said.
        let what = format!(" {}", log_line::address(&talk.transaction.said_sender));
        let reply = refusal::refuse(reception, talk, Phase::Mail, &what, outcome);
        talk.reset();
        talk.last_was_refused_mail = true;
        return Progress::Reply(reply);
    }
    talk.last_was_refused_mail = false;
    talk.transaction.sender_given = true;
    talk.transaction.discard_all = outcome.verdict == Verdict::Discard;
    if talk.transaction.discard_all {
        talk.transaction.discard_reason = outcome.discard_reason();
    }
    let mut reply = refusal::accepted(reception, 250, "OK", outcome);
    if talk.transaction.prdr {
        reply.text.to_mut().extend_from_slice(b", PRDR Requested");
    }
    Progress::Reply(reply)
}

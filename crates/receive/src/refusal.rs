//! How an ACL that says no becomes a reply and log lines, and how an accepting one may change the reply.
//!
//! Manual sections 44.13, 44.21 (`message`, `log_message`, `log_reject_target`) and 44.22 (`no_multiline_responses`).

use std::sync::Arc;

use oxim_base::Text;
use oxim_mail::header::HeaderList;
use oxim_spool::message::{Message, Recipient};

use crate::acl::{Outcome, Phase, RejectTargets, Verdict};
use crate::command::set_end_reason;
use crate::log_line;
use crate::reception::Reception;
use crate::reply::{Reply, after_codes, folded, leading_code};
use crate::talk::Talk;

/// What an accepting ACL makes of a default reply.
#[must_use]
pub fn accepted(reception: &Reception, code: u16, default: &'static str, outcome: &Outcome) -> Reply {
    match &outcome.user_message {
        None => Reply::fixed(code, default),
        Some(text) => with_code(reception, code, text),
    }
}

/// A reply in the words of an ACL.
#[must_use]
pub fn worded(reception: &Reception, code: u16, text: &Text) -> Reply {
    with_code(reception, code, text)
}

/// A text with its own code, if its first digit is right; a wrong one is dropped, with a panic log line.
fn with_code(reception: &Reception, code: u16, text: &Text) -> Reply {
    let bytes = text.as_bytes();
    if leading_code(bytes).is_some_and(|(own, _)| own / 100 != code / 100) {
        reception.logs.panic(&format!(
            "configured error code starts with incorrect digit (expected {}) in \"{text}\"",
            code / 100
        ));
    }
    // The codes count for the length of the first line.
    let folded = folded(bytes);
    let (code, text) = own_code(code, &folded);
    Reply::new(code, text)
}

/// The code that a text begins with, if its first digit is that of the default code, and the rest of the text.
fn own_code(code: u16, text: &[u8]) -> (u16, &[u8]) {
    match leading_code(text) {
        None => (code, text),
        Some((own, at)) if own / 100 == code / 100 => (own, text.get(at..).unwrap_or_default()),
        Some(_) => (code, after_codes(text)),
    }
}

/// The reply to a command that an ACL has refused or put off, and the log lines about it.
///
/// `what` follows the name of the phase in the log line: an address in angle brackets with a space before it, or nothing.
pub fn refuse(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    phase: Phase,
    what: &str,
    outcome: &Outcome,
) -> Reply {
    let is_defer = outcome.verdict == Verdict::Defer;
    let code = default_code(phase, is_defer);
    let mut reply = match &outcome.user_message {
        Some(text) => with_code(reception, code, text),
        None if is_defer => Reply::fixed(code, "Temporary local problem - please try later"),
        None => Reply::fixed(code, "Administrative prohibition"),
    };
    let logged = reason(outcome, code);
    sender_verification(reception, talk, phase, outcome, &mut reply);
    if talk.scene.connection.no_multiline_responses {
        first_line_only(&mut reply);
    }
    let line = rejection_line(reception, talk, phase, what, is_defer, &logged);
    write(reception, talk, phase, &line, outcome.targets);
    if outcome.verdict == Verdict::Drop || phase == Phase::Connect {
        reply.close = true;
        if outcome.verdict == Verdict::Drop {
            set_end_reason(talk, "acl-drop");
        }
        if phase != Phase::Connect && talk.log_connection && reception.wants.smtp_connection {
            let id = talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
            let connection = log_line::connection(reception, talk);
            reception.logs.main(&format!("{id}{connection} closed by DROP in ACL"));
        }
    }
    reply
}

const fn default_code(phase: Phase, is_defer: bool) -> u16 {
    match (phase, is_defer) {
        (Phase::Etrn, false) => 458,
        (Phase::Atrn, false) => 450,
        (Phase::Vrfy, false) => 252,
        (Phase::Auth, false) => 503,
        (_, true) => 451,
        (_, false) => 550,
    }
}

/// `: text`, from the log message or else the first line of the user message; nothing without either.
fn reason(outcome: &Outcome, code: u16) -> String {
    let first_line = |text: &[u8]| {
        let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
        log_line::address(text.get(..end).unwrap_or_default())
    };
    match (&outcome.log_message, &outcome.user_message) {
        (Some(text), user) if user.as_ref() != Some(text) => format!(": {}", first_line(text.as_bytes())),
        // With a code of its own, the code is logged as it was sent.
        (_, Some(text)) if leading_code(text.as_bytes()).is_some() => {
            let (code, text) = own_code(code, text.as_bytes());
            format!(": {code} {}", first_line(text))
        }
        (_, Some(text)) => format!(": {}", first_line(text.as_bytes())),
        (_, None) => String::new(),
    }
}

/// A refusal for the sender's sake tells the address and the reason before its own text, and logs them on a line.
fn sender_verification(
    reception: &Reception,
    talk: &Talk,
    phase: Phase,
    outcome: &Outcome,
    reply: &mut Reply,
) {
    let Some(failure) = &outcome.sender_verify else { return };
    let address = oxim_base::text::shown(&failure.address);
    if reception.wants.sender_verify_fail {
        let word = if failure.is_deferred { "defer" } else { "fail" };
        let detail = failure.detail.as_ref().map(|d| format!(": {d}")).unwrap_or_default();
        let client = log_line::client(reception, talk, true);
        let line = format!("{client} sender verify {word} for <{address}>{detail}");
        write(reception, talk, phase, &line, RejectTargets::default());
    }
    if talk.scene.connection.no_multiline_responses || outcome.verdict == Verdict::Defer {
        return;
    }
    let Some(user) = &failure.user_message else { return };
    let mut text = format!("Verification failed for <{address}>\n").into_bytes();
    text.extend_from_slice(user.as_bytes());
    text.push(b'\n');
    text.extend_from_slice(&reply.text);
    reply.text = text.into();
}

fn first_line_only(reply: &mut Reply) {
    if let Some(end) = memchr::memchr(b'\n', &reply.text) {
        reply.text = reply.text.get(..end).unwrap_or_default().to_vec().into();
    }
}

fn rejection_line(
    reception: &Reception,
    talk: &Talk,
    phase: Phase,
    what: &str,
    is_defer: bool,
    reason: &str,
) -> String {
    let client = log_line::client(reception, talk, true);
    let tls = log_line::tls(reception, talk);
    let sender = if phase.concerns_envelope() {
        let authentication = log_line::authentication(reception, talk);
        format!(" F=<{}>{authentication}", oxim_base::text::shown(&talk.scene.context.message.sender))
    } else {
        String::new()
    };
    let temporarily = if is_defer { "temporarily " } else { "" };
    let what = if phase == Phase::Connect {
        "rejected connection in \"connect\" ACL".to_owned()
    } else if phase == Phase::Mime {
        "rejected during MIME ACL checks".to_owned()
    } else if phase == Phase::Data {
        "rejected after DATA".to_owned()
    } else {
        format!("rejected {}{what}", phase.name())
    };
    format!("{client}{tls}{sender} {temporarily}{what}{reason}")
}

/// Writes a rejection to the logs that `log_reject_target` names; after DATA, with the id and the header lines.
fn write(reception: &Reception, talk: &Talk, phase: Phase, line: &str, targets: RejectTargets) {
    let message = &talk.scene.context.message;
    let with_headers = matches!(phase, Phase::Data | Phase::Mime | Phase::Dkim | Phase::Prdr);
    let line = match message.id.filter(|_| with_headers) {
        Some(id) => format!("{id} {line}"),
        None => line.to_owned(),
    };
    // A selector is for the main log alone.
    let is_in_main = targets.main && (phase != Phase::Connect || reception.wants.connection_reject);
    if targets.reject {
        let headers = (with_headers && reception.wants.rejected_header).then(|| header_block(talk));
        reception.logs.rejection(&line, is_in_main, headers.as_deref());
    } else if is_in_main {
        reception.logs.main(&line);
    }
    if targets.panic {
        reception.logs.panic_only(&line);
    }
}

/// The envelope and the header lines of a refused message, as the reject log shows them.
#[must_use]
pub fn header_block(talk: &Talk) -> String {
    let message = &talk.scene.context.message;
    block(&message.sender, &message.recipients, &message.headers)
}

/// As [`header_block`], of a message in its spool form.
#[must_use]
pub fn header_block_of(message: &Message) -> String {
    block(&message.sender, &message.recipients, &message.headers)
}

/// Envelope and header lines, as the reject log has them.
pub(crate) fn block(sender: &[u8], recipients: &[Recipient], headers: &HeaderList) -> String {
    let mut out = format!("Envelope-from: <{}>\n", oxim_base::text::shown(sender));
    for (index, recipient) in recipients.iter().enumerate() {
        out.push_str(if index == 0 { "Envelope-to: <" } else { "    <" });
        out.push_str(&oxim_base::text::shown(&recipient.address));
        out.push_str(">\n");
    }
    for header in headers.all() {
        out.push(char::from(header.kind.letter()));
        out.push(' ');
        out.push_str(&oxim_base::text::shown(&header.text));
    }
    out
}

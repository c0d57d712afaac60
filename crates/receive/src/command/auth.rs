//! AUTH: which mechanisms are offered, and the dialogue of one of them (RFC 4954, manual chapter 33).
//!
//! A mechanism is asked step by step with decoded client data; base64, cancellation, counting and log lines are done here.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_deliver::authenticator::{Dialogue, Step};
use oxim_deliver::event::{self, Event};

use super::protocol_error;
use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

const INVALID_BASE64: &str = "Invalid base64 data";

/// A dialogue under way.
pub struct Exchange {
    dialogue: Dialogue,
    name: String,
    public_name: String,
    /// What the client must answer.
    pub(crate) challenge: Reply,
}

/// The mechanisms that are offered to this client, as EHLO lists them; remembers which.
pub(crate) fn advertise(reception: &Arc<Reception>, talk: &mut Talk) -> Option<String> {
    talk.advertised_authenticators.clear();
    // Nobody logs in twice.
    if reception.delivery.authenticators.is_empty() || talk.scene.context.connection.authenticator.is_some() {
        return None;
    }
    if !reception.settings.hosts.auth.matches(&mut talk.scene.context) {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for (index, mechanism) in reception.delivery.authenticators.iter().enumerate() {
        match mechanism.is_advertised(&mut talk.scene.context) {
            Ok(true) => {
                talk.advertised_authenticators.push(index);
                if !names.contains(&mechanism.public_name.as_str()) {
                    names.push(&mechanism.public_name);
                }
            }
            Ok(false) => {}
            Err(reason) => reception.logs.panic(&reason),
        }
    }
    (!names.is_empty()).then(|| names.join(" "))
}

pub(super) fn run(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mechanism: &[u8],
    initial: Option<&[u8]>,
) -> Progress {
    let unadvertised_allowed = talk.scene.connection.allow_auth_unadvertised;
    if !talk.offers.auth && !unadvertised_allowed {
        return protocol_error(reception, talk, 503, "AUTH command used when not advertised");
    }
    if talk.scene.context.connection.authenticator.is_some() {
        return protocol_error(reception, talk, 503, "already authenticated");
    }
    if talk.transaction.sender_given {
        return protocol_error(reception, talk, 503, "not permitted in mail transaction");
    }
    let mechanism = mechanism.to_vec();
    let initial = initial.map(<[u8]>::to_vec);
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict == Verdict::Accept {
            return choose(reception, talk, &mechanism, initial.as_deref());
        }
        let what = format!(" {}", log_line::printable(&mechanism));
        Progress::Reply(refusal::refuse(reception, talk, Phase::Auth, &what, &outcome))
    };
    Progress::Acl(Phase::Auth, Box::new(then))
}

/// Finds the mechanism among those offered, and makes the first step.
fn choose(reception: &Arc<Reception>, talk: &mut Talk, mechanism: &[u8], initial: Option<&[u8]>) -> Progress {
    let any = talk.scene.connection.allow_auth_unadvertised;
    let found = reception.delivery.authenticators.iter().enumerate().find(|(index, candidate)| {
        candidate.public_name.as_bytes().eq_ignore_ascii_case(mechanism)
            && candidate.is_server()
            && !candidate.judges_tls()
            && (any || talk.advertised_authenticators.contains(index))
    });
    let Some((_, found)) = found else {
        let text = format!("{} authentication mechanism not supported", log_line::printable(mechanism));
        return protocol_error(reception, talk, 504, &text);
    };
    let exchange = Exchange {
        dialogue: found.begin(),
        name: found.name.clone(),
        public_name: found.public_name.clone(),
        challenge: Reply::fixed(334, ""),
    };
    match initial {
        None => step(reception, talk, Box::new(exchange), None),
        // An empty initial response is sent as one equals sign.
        Some(b"=") => step(reception, talk, Box::new(exchange), Some(b"")),
        Some(text) => answer(reception, talk, Box::new(exchange), text),
    }
}

/// Takes a line that the client sent in answer to a challenge.
pub(crate) fn answer(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    exchange: Box<Exchange>,
    line: &[u8],
) -> Progress {
    if line == b"*" {
        return failed(reception, talk, &exchange, 501, "Authentication cancelled", None);
    }
    match STANDARD.decode(line) {
        Ok(data) => step(reception, talk, exchange, Some(&data)),
        Err(_) => failed(reception, talk, &exchange, 501, INVALID_BASE64, None),
    }
}

/// Ends the exchange over an answer that is longer than any line may be. A part of it is no answer.
pub(crate) fn refuse_long(reception: &Arc<Reception>, talk: &mut Talk, exchange: &Exchange) -> Progress {
    failed(reception, talk, exchange, 501, INVALID_BASE64, None)
}

fn step(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mut exchange: Box<Exchange>,
    input: Option<&[u8]>,
) -> Progress {
    match exchange.dialogue.step(&mut talk.scene.context, input) {
        Step::Challenge(text) => {
            exchange.challenge = Reply::new(334, STANDARD.encode(text));
            Progress::Authenticate(exchange)
        }
        Step::Say(words) => {
            exchange.challenge = Reply::fixed(334, words);
            Progress::Authenticate(exchange)
        }
        Step::Accepted { id } => {
            accepted(talk, &exchange.name, &exchange.public_name, id);
            Progress::fixed(235, "Authentication succeeded")
        }
        Step::Refused { id } => failed(reception, talk, &exchange, 535, "Incorrect authentication data", id),
        Step::Malformed => failed(reception, talk, &exchange, 501, "Invalid authentication data", None),
        Step::Defer(reason) => {
            log_later(reception, talk, &exchange.name, None, &reason);
            Progress::fixed(435, "Unable to authenticate at present")
        }
        Step::Undecided { text, id } => {
            log_later(reception, talk, &exchange.name, id.as_deref(), &text);
            Progress::Reply(Reply::new(435, format!("Unable to authenticate at present: {text}")))
        }
    }
}

fn accepted(talk: &mut Talk, name: &str, public_name: &str, id: Option<Vec<u8>>) {
    talk.auth_public_name = Some(public_name.as_bytes().to_vec());
    let connection = &mut talk.scene.context.connection;
    connection.authenticator = Some(name.as_bytes().to_vec());
    connection.auth_id = id.filter(|id| !id.is_empty());
    connection.auth_failed = false;
    let protocol = talk.protocol();
    talk.scene.context.connection.protocol = protocol;
}

/// Runs the authenticator that judges TLS sessions, if there is one: right after the handshake, before a word of SMTP. May block.
pub(crate) fn judge_tls(reception: &Reception, talk: &mut Talk) {
    let Some(found) = reception.delivery.authenticators.iter().find(|one| one.judges_tls()) else { return };
    if !found.is_server() {
        return;
    }
    match found.begin().step(&mut talk.scene.context, None) {
        Step::Accepted { id } => accepted(talk, &found.name, &found.public_name, id),
        // A certificate of no use is no attempt to get in.
        Step::Refused { .. } | Step::Challenge(_) | Step::Say(_) | Step::Malformed => {}
        Step::Defer(reason) => log_later(reception, talk, &found.name, None, &reason),
        Step::Undecided { text, id } => log_later(reception, talk, &found.name, id.as_deref(), &text),
    }
}

/// Whether [`judge_tls`] has anything to do.
pub(crate) fn judges_tls(reception: &Reception) -> bool {
    reception.delivery.authenticators.iter().any(|one| one.judges_tls())
}

/// An attempt that could not be decided now.
fn log_later(reception: &Reception, talk: &mut Talk, name: &str, id: Option<&[u8]>, reason: &str) {
    let reply = "435 Unable to authenticate at present";
    let id = shown_id(id);
    tell(reception, talk, name, reply, &format!("{id}: {reason}"));
}

/// `auth:fail`: the event's result is logged in place of the line about the attempt.
fn tell(reception: &Reception, talk: &mut Talk, name: &str, reply: &str, more: &str) {
    let context = &mut talk.scene.context;
    let outer = context.connection.authenticator.replace(name.as_bytes().to_vec());
    let said = event::raise_main(context, Event::new("auth:fail", reply.as_bytes()));
    context.connection.authenticator = outer;
    let line = said.map_or_else(
        || {
            let client = log_line::client(reception, talk, false);
            format!("{name} authenticator failed for {client}: {reply}{more}")
        },
        |text| text.to_string_lossy(),
    );
    reception.logs.main_and_reject(&line);
}

fn shown_id(id: Option<&[u8]>) -> String {
    id.filter(|id| !id.is_empty())
        .map(|id| format!(" (set_id={})", log_line::printable(id)))
        .unwrap_or_default()
}

fn failed(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    exchange: &Exchange,
    code: u16,
    text: &'static str,
    id: Option<Vec<u8>>,
) -> Progress {
    let connection = &mut talk.scene.context.connection;
    connection.auth_failed = true;
    connection.auth_fail_id.clone_from(&id);
    tell(reception, talk, &exchange.name, &format!("{code} {text}"), &shown_id(id.as_deref()));
    Progress::fixed(code, text)
}

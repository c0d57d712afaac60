//! STARTTLS: everything after it is encrypted, and everything said before it is forgotten.
//!
//! Input that was sent together with the command is refused as a synchronization error before we come here: nothing that
//! travelled in the clear may be taken for a command inside TLS. RFC 3207; manual chapter 43.

use std::sync::Arc;

use oxim_deliver::event::{self, Event};
use oxim_net::tls::TlsFacts;
use oxim_net::tls::certificate::Certificate;

use super::{auth, protocol_error};
use crate::acl::{Outcome, Phase, Verdict};
use crate::ending;
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Offers, Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    if talk.is_encrypted && !talk.has_greeted_in_tls {
        // Who does not know where the session stands is not told more.
        talk.is_insecure = true;
        return Progress::fixed(554, "Already in TLS");
    }
    if !talk.offers.tls {
        return protocol_error(reception, talk, 503, "STARTTLS command used when not advertised");
    }
    let then = |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict != Verdict::Accept {
            return Progress::Reply(refusal::refuse(reception, talk, Phase::StartTls, " ", &outcome));
        }
        ending::log_incomplete(reception, talk, "STARTTLS");
        Progress::StartTls(Reply::fixed(220, "TLS go ahead"))
    };
    Progress::Acl(Phase::StartTls, Box::new(then))
}

/// The handshake has succeeded: the session begins anew. False: an event's action does not want the client's certificate.
pub(crate) fn after_handshake(reception: &Reception, talk: &mut Talk, facts: TlsFacts) -> bool {
    if !certificate_events(reception, talk, &facts) {
        return false;
    }
    begin_anew(reception, talk, facts);
    true
}

/// `tls:cert` for each certificate of the client, the leaf last. False: one is not wanted.
fn certificate_events(reception: &Reception, talk: &mut Talk, facts: &TlsFacts) -> bool {
    if reception.config.main.event_action.is_none() {
        return true;
    }
    for depth in (0..facts.peer_chain.len()).rev() {
        let chain = facts.peer_chain.iter().skip(depth).cloned().collect();
        let before =
            talk.scene.context.connection.tls.replace(TlsFacts { peer_chain: chain, ..facts.clone() });
        let said =
            event::raise_main(&mut talk.scene.context, Event::new("tls:cert", depth.to_string().as_bytes()));
        talk.scene.context.connection.tls = before;
        if let Some(text) = said {
            let subject = facts.peer_chain.get(depth).and_then(|der| Certificate::parse(der).ok());
            let subject = subject.map(|certificate| certificate.subject_one_line).unwrap_or_default();
            let address = talk.scene.context.connection.host_address.map(|ip| ip.to_string());
            reception.logs.main(&format!(
                "[{}] SSL verify denied by event-action: depth={depth} cert={subject}: {text}",
                address.unwrap_or_default()
            ));
            after_failure(reception, talk, "(SSL_accept): certificate verify failed");
            return false;
        }
    }
    true
}

fn begin_anew(reception: &Reception, talk: &mut Talk, facts: TlsFacts) {
    talk.reset();
    talk.is_encrypted = true;
    talk.has_greeted_in_tls = false;
    // For clients that say no second EHLO (`tls_remember_esmtp`).
    let remembers = talk.is_extended && reception.tls.as_ref().is_some_and(|tls| tls.remembers_esmtp);
    talk.greeted = remembers;
    talk.is_extended = remembers;
    talk.offers = Offers { early_pipelining: talk.offers.early_pipelining, ..Offers::default() };
    talk.free.helo = true;
    talk.free.auth = true;
    talk.auth_public_name = None;
    let protocol = talk.protocol();
    let connection = &mut talk.scene.context.connection;
    connection.helo_name = None;
    connection.helo_verified = false;
    connection.helo_verify_failed = false;
    connection.authenticator = None;
    connection.auth_id = None;
    connection.auth_sender = None;
    connection.protocol = protocol;
    connection.tls = Some(facts);
    auth::judge_tls(reception, talk);
}

/// The handshake has failed: nothing more can be said on this connection.
pub(crate) fn after_failure(reception: &Reception, talk: &mut Talk, reason: &str) {
    event::raise_main(&mut talk.scene.context, Event::new("tls:fail:connect", reason.as_bytes()));
    let client = log_line::client(reception, talk, false);
    reception.logs.main(&format!("TLS error on connection from {client} {reason}"));
    if reception.wants.smtp_connection && talk.log_connection {
        let connection = log_line::connection(reception, talk);
        reception.logs.main(&format!("{connection} closed by EOF"));
    }
    super::set_end_reason(talk, "tls-failed");
}

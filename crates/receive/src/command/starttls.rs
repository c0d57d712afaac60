//! STARTTLS: everything after it is encrypted, and everything said before it is forgotten.
//!
//! Input that was sent together with the command is refused as a synchronization error before we come here: nothing that
//! travelled in the clear may be taken for a command inside TLS. RFC 3207; manual chapter 43.

use std::sync::Arc;

use oxim_net::tls::TlsFacts;

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
            return Progress::Reply(refusal::refuse(reception, talk, Phase::StartTls, "", &outcome));
        }
        ending::log_incomplete(reception, talk, "STARTTLS");
        Progress::StartTls(Reply::fixed(220, "TLS go ahead"))
    };
    Progress::Acl(Phase::StartTls, Box::new(then))
}

/// The handshake has succeeded: the session begins anew.
pub(crate) fn after_handshake(reception: &Reception, talk: &mut Talk, facts: TlsFacts) {
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
    let client = log_line::client(reception, talk, false);
    reception.logs.main(&format!("TLS error on connection from {client} {reason}"));
    if reception.wants.smtp_connection && talk.log_connection {
        let connection = log_line::connection(reception, talk);
        reception.logs.main(&format!("{connection} closed by EOF"));
    }
    super::set_end_reason(talk, "tls-failed");
}

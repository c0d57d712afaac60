//! ATRN: a client turns the line around to get its mail over it (on-demand mail relay, RFC 2645).
//!
//! Only for clients that have authenticated, and only where `acl_smtp_atrn` expands to something. The ACL decides, and names the
//! domains by its condition `atrn_domains`; then we are the client.

use std::sync::Arc;

use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk, TurnOrder};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    let connection = &talk.scene.context.connection;
    let fault = if !talk.offers.atrn {
        Some((502, "ATRN command used when not advertised"))
    } else if connection.authenticator.is_none() {
        Some((530, "ATRN is not permitted without authentication"))
    } else if talk.transaction.sender_given {
        Some((503, "ATRN is not permitted inside a transaction"))
    } else {
        None
    };
    if let Some((code, text)) = fault {
        return super::protocol_error(reception, talk, code, text);
    }
    let shown = log_line::printable(argument);
    if reception.wants.etrn {
        let client = log_line::client(reception, talk, false);
        reception.logs.main(&format!("ATRN '{shown}' received from {client}"));
    }
    talk.scene.connection.atrn_domains = None;
    talk.scene.context.message.queue_name = Vec::new();
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        let domains = talk.scene.connection.atrn_domains.take().unwrap_or_default();
        let queue_name = std::mem::take(&mut talk.scene.context.message.queue_name);
        if outcome.verdict != Verdict::Accept {
            let what = format!(" {shown}");
            return Progress::Reply(refusal::refuse(reception, talk, Phase::Atrn, what.trim_end(), &outcome));
        }
        let reply = Reply::fixed(250, "ODMR provider turning line around");
        Progress::Turn(reply, Box::new(TurnOrder { domains, queue_name }))
    };
    Progress::Acl(Phase::Atrn, Box::new(then))
}

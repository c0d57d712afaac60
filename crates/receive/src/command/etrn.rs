//! ETRN: a client asks for its mail (RFC 1985). Refused unless an ACL accepts. Manual section 49.8.

use std::sync::Arc;

use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    if talk.transaction.sender_given {
        return super::protocol_error(reception, talk, 503, "ETRN is not permitted inside a transaction");
    }
    let shown = log_line::printable(argument);
    if reception.wants.etrn {
        let client = log_line::client(reception, talk, false);
        reception.logs.main(&format!("ETRN {shown} received from {client}"));
    }
    let argument = argument.to_vec();
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        if outcome.verdict == Verdict::Accept {
            return after_acl(reception, &argument);
        }
        Progress::Reply(refusal::refuse(reception, talk, Phase::Etrn, &format!(" {shown}"), &outcome))
    };
    Progress::Acl(Phase::Etrn, Box::new(then))
}

/// Only the form `#string` is served: a queue run for recipients that contain the string.
fn after_acl(reception: &Reception, argument: &[u8]) -> Progress {
    let Some(text) = argument.strip_prefix(b"#") else {
        return Progress::Reply(Reply::fixed(501, "argument must begin with #"));
    };
    match reception.sink.run_queue_for(text) {
        Ok(()) => Progress::fixed(250, "OK"),
        Err(reason) => Progress::Reply(Reply::new(458, format!("Unable to start queue run: {reason}"))),
    }
}

//! DATA: the message follows.
//!
//! Without a recipient it is refused; a client that pipelines could not know, so that is no protocol error then.
//! RFC 5321 section 4.1.1.4; manual section 44.6.

use std::sync::Arc;

use super::protocol_error_reply;
use crate::acl::{Outcome, Phase, Verdict};
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{BodySource, Progress, RcptReplies, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, was_rcpt: bool) -> Progress {
    if let Some(progress) = without_recipients(reception, talk, "DATA", was_rcpt) {
        return progress;
    }
    if talk.transaction.surplus_refused {
        talk.reset();
        return Progress::fixed(554, "Too many recipients");
    }
    let then =
        |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| after_acl(reception, talk, &outcome);
    Progress::Acl(Phase::Predata, Box::new(then))
}

/// The answer to DATA or BDAT when there is nobody to deliver to.
pub(super) fn without_recipients(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    verb: &str,
    was_rcpt: bool,
) -> Option<Progress> {
    let has_recipients = !talk.scene.context.message.recipients.is_empty();
    if talk.transaction.sender_given && (has_recipients || talk.transaction.discarded_by.is_some()) {
        return None;
    }
    let mut text = String::new();
    if let RcptReplies::Same(reply) = &talk.transaction.replies {
        text =
            format!("All RCPT commands were rejected with this error:\n{}\n", String::from_utf8_lossy(reply));
    }
    if talk.offers.pipelining && was_rcpt {
        text.push_str(&format!("Valid RCPT command must precede {verb}"));
        return Some(Progress::Reply(Reply::new(503, text)));
    }
    let reason = format!("valid RCPT command must precede {verb}");
    text.push_str(&reason);
    let reply = protocol_error_reply(reception, talk, 503, &reason);
    let surplus = reply.text.get(reason.len()..).unwrap_or_default();
    let text = [text.as_bytes(), surplus].concat();
    Some(Progress::Reply(Reply { text: text.into(), ..reply }))
}

fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, outcome: &Outcome) -> Progress {
    if outcome.verdict != Verdict::Accept {
        return Progress::Reply(refusal::refuse(reception, talk, Phase::Predata, "", outcome));
    }
    let default = "Enter message, ending with \".\" on a line by itself";
    Progress::Body(BodySource::Data, Some(refusal::accepted(reception, 354, default, outcome)))
}

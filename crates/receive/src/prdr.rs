//! PRDR: after the data, an answer for each recipient, then one for the message.
//!
//! The PRDR ACL is asked once for each recipient, in the order of the RCPT commands; those that it does not accept are
//! taken off the message. If some are left, the DATA ACL is asked about the message, and its answer is the last one; if none
//! is left, nothing is stored. An ACL that cannot be evaluated defers its recipient.
//! Not for a single recipient: there one answer says it all. Manual section 49.1 (`prdr_enable`); draft-hall-prdr-00.

use std::sync::Arc;

use oxim_mail::message_id::MessageId;

use crate::acceptance::{self, Pending};
use crate::acl::{Outcome, Phase, Verdict};
use crate::command::rcpt;
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

/// A message between its data and the last reply.
struct Round {
    pending: Pending,
    /// Where the recipient in hand stands among those that are left.
    place: usize,
    deferred: usize,
    discarded: usize,
}

/// Whether this message gets an answer for each recipient: the client has asked, and there is something to tell apart.
#[must_use]
pub(crate) fn is_due(reception: &Reception, talk: &Talk) -> bool {
    talk.transaction.prdr
        && talk.scene.context.message.recipients.len() > 1
        && reception.acls.is_set(Phase::Prdr)
}

/// Announces the answers and gives the first.
pub(crate) fn begin(talk: &mut Talk, pending: Pending) -> Progress {
    let round = Round { pending, place: 0, deferred: 0, discarded: 0 };
    let next = next(talk, round);
    Progress::Say(Reply::fixed(353, "PRDR content analysis beginning"), Box::new(next))
}

/// The reply for a message of which recipients are left.
#[must_use]
pub(crate) fn accepted(talk: &Talk, id: MessageId) -> Reply {
    let all = talk.transaction.raw_recipients.len() == talk.scene.context.message.recipients.len();
    let whom = if all { "" } else { " for some recipients" };
    Reply::new(250, format!("id={id} message accepted{whom}"))
}

fn next(talk: &mut Talk, round: Round) -> Progress {
    let Some(recipient) = talk.scene.context.message.recipients.get(round.place) else {
        return end(talk, round);
    };
    let address = recipient.address.clone();
    rcpt::set_address(talk, &address);
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        answer(reception, talk, round, &address, &outcome)
    };
    Progress::Acl(Phase::Prdr, Box::new(then))
}

/// The reply for one recipient, and the line about it.
fn answer(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mut round: Round,
    address: &[u8],
    outcome: &Outcome,
) -> Progress {
    let (code, word) = match outcome.verdict {
        Verdict::Accept | Verdict::Discard => (250, "acceptance"),
        Verdict::Defer => (450, "temporary refusal"),
        Verdict::Deny | Verdict::Drop => (550, "refusal"),
    };
    if outcome.verdict == Verdict::Accept {
        round.place = round.place.saturating_add(1);
    } else if round.place < talk.scene.context.message.recipients.len() {
        Arc::make_mut(&mut talk.scene.context.message.recipients).remove(round.place);
        round.deferred = round.deferred.saturating_add(usize::from(outcome.verdict == Verdict::Defer));
        round.discarded = round.discarded.saturating_add(usize::from(outcome.verdict == Verdict::Discard));
    }
    let shown = log_line::printable(address);
    let reply = match &outcome.user_message {
        Some(text) => refusal::worded(reception, code, text),
        None => Reply::new(code, [b"PRDR R=<", address, b"> ", word.as_bytes()].concat()),
    };
    let id = round.pending.id();
    match outcome.log_message.as_ref().or(outcome.user_message.as_ref()) {
        Some(text) => {
            let text = log_line::printable(text.as_bytes());
            reception.logs.main(&format!("{id} PRDR {shown} {text}"));
        }
        None => reception.logs.main(&format!("{id} PRDR R=<{shown}> {word}")),
    }
    let next = next(talk, round);
    Progress::Say(reply, Box::new(next))
}

/// What follows the last recipient.
fn end(talk: &mut Talk, round: Round) -> Progress {
    talk.scene.subject = Vec::new();
    if !talk.scene.context.message.recipients.is_empty() {
        return acceptance::ask_data_acl(round.pending);
    }
    let id = round.pending.id();
    let all_discarded = round.discarded == talk.transaction.raw_recipients.len();
    let reply = if all_discarded {
        Reply::new(250, format!("id={id} message accepted"))
    } else if round.discarded > 0 {
        Reply::new(250, format!("id={id} message accepted for some recipients"))
    } else if round.deferred > 0 {
        // A client that goes by this reply alone must not take it for success.
        Reply::new(450, format!("id={id} message deferred for all recipients"))
    } else {
        Reply::new(550, format!("id={id} message rejected for all recipients"))
    };
    talk.message_over();
    Progress::Reply(reply)
}

//! VRFY: is this a recipient? Without an ACL, or when it refuses without a code, the answer is 252, to please clients that ask
//! before every RCPT. Manual section 49.7.

use std::sync::Arc;

use oxim_deliver::verify::{Verified, VerifyOptions};
use oxim_mail::address;

use super::rcpt::set_address;
use crate::acl::{Outcome, Phase, Verdict};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Progress, Talk};

pub(super) fn run(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8]) -> Progress {
    let parsed = match address::parse(argument, &talk.address_syntax(reception)) {
        Ok(parsed) => parsed,
        Err(error) => return Progress::Reply(Reply::new(501, error.to_string())),
    };
    let mut recipient = parsed.address.clone();
    if parsed.domain().is_none() {
        if !talk.allow_unqualified_recipient {
            let client = log_line::client(reception, talk, true);
            let shown = log_line::address(&recipient);
            let line = format!("unqualified verify rejected: <{shown}> {client}");
            reception.logs.rejection(&line, reception.wants.smtp_syntax_error, None);
            let text = [argument, b": recipient address must contain a domain"].concat();
            return Progress::Reply(Reply::new(501, text));
        }
        recipient.push(b'@');
        recipient.extend_from_slice(&reception.settings.qualify_recipient);
    }
    set_address(talk, &recipient);
    let argument = argument.to_vec();
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        after_acl(reception, talk, &recipient, &argument, &outcome)
    };
    Progress::Acl(Phase::Vrfy, Box::new(then))
}

fn after_acl(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    recipient: &[u8],
    argument: &[u8],
    outcome: &Outcome,
) -> Progress {
    if outcome.verdict != Verdict::Accept {
        let what = format!(" {}", log_line::printable(argument));
        return Progress::Reply(refusal::refuse(reception, talk, Phase::Vrfy, &what, outcome));
    }
    let shown = String::from_utf8_lossy(recipient).into_owned();
    let verified = reception.delivery.verify(&mut talk.scene.context, recipient, VerifyOptions::default());
    let (code, text) = match verified {
        Verified::Accepted(_) => (250, format!("<{shown}> is deliverable")),
        Verified::Refused(_, problem) => {
            let for_client = problem.message.as_deref().filter(|_| problem.is_for_client);
            let reason = problem.user_message.as_deref().or(for_client).unwrap_or("is not deliverable");
            (550, format!("<{shown}> {reason}"))
        }
        Verified::Deferred(_, problem) => {
            match problem.message.as_deref().filter(|_| problem.is_for_client) {
                Some(reason) => (451, format!("<{shown}> {reason}")),
                None => (451, format!("Cannot resolve <{shown}> at this time")),
            }
        }
    };
    if code == 550 {
        let client = log_line::client(reception, talk, true);
        reception.logs.main(&format!("VRFY failed for {} {client}", log_line::printable(argument)));
    }
    Progress::Reply(Reply::new(code, text))
}

//! Verifies an address: the routers first, then, if asked for, the hosts to which they lead.
//! Manual sections 44.45 and 44.51.

use oxim_base::Text;
use oxim_deliver::router::Problem;
use oxim_deliver::verify::{Verified, VerifyOptions};
use oxim_mail::address::split_at_domain;

use super::callout;
use super::options::Options;
use super::quota;
use crate::acl::{Answer, Run, Tested};

/// Why an address is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The sender of the message, or another that `sender=` names.
    Sender,
    /// A recipient.
    Recipient,
    /// An address of Sender:, Reply-To: or From:.
    HeaderSender,
}

impl Role {
    /// As the texts have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Role::Sender | Role::HeaderSender => "sender",
            Role::Recipient => "recipient",
        }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    /// Good, bad, or not to be found out now.
    pub answer: Answer,
    /// Why, for the client.
    pub user: Option<Text>,
    /// Why, for the log.
    pub log: Option<Text>,
    /// `$sender_verify_failure` or `$recipient_verify_failure`.
    pub failure: Option<&'static str>,
    /// `$address_data` of the last router.
    pub address_data: Option<Text>,
    /// The routers have accepted it.
    pub is_routed: bool,
    /// Another host has accepted it, or there was none to ask.
    pub has_called_out: bool,
}

impl Checked {
    /// An answer without reasons.
    pub(super) fn plain(answer: Answer) -> Checked {
        Checked {
            answer,
            user: None,
            log: None,
            failure: None,
            address_data: None,
            is_routed: false,
            has_called_out: false,
        }
    }

    fn of_problem(answer: Answer, role: Role, problem: &Problem) -> Checked {
        let log = problem.message.as_ref().map(|text| Text::tainted(text.as_bytes()));
        let user = match &problem.user_message {
            Some(text) => Some(Text::tainted(text.as_bytes())),
            // A temporary problem, or one of the sender, is told to the client only in words meant for it.
            None if answer == Answer::No && role == Role::Recipient || problem.is_for_client => log.clone(),
            None => None,
        };
        Checked { user, log, failure: Some("route"), ..Checked::plain(answer) }
    }
}

/// The text when something could not be found out now.
pub(super) fn outcome_text(word: &str, is_callout: bool) -> Text {
    let callout = if is_callout { " callout" } else { "" };
    Text::from(format!("Could not complete {word} verify{callout}"))
}

/// Verifies an address.
pub(super) fn check(run: &mut Run<'_>, address: &[u8], role: Role, options: &Options) -> Checked {
    if split_at_domain(address).1.is_none() {
        return Checked { failure: Some("qualify"), ..Checked::plain(Answer::No) };
    }
    let wanted = VerifyOptions {
        is_sender: role != Role::Recipient,
        success_on_redirect: options.success_on_redirect,
    };
    let delivery = run.reception.delivery.clone();
    let checked = match run.lending(|context| delivery.verify(context, address, wanted)) {
        Verified::Accepted(acceptance) => {
            let full = match &options.quota {
                Some(quota) if role == Role::Recipient => quota::check(run, &acceptance.address, quota),
                Some(_) | None => None,
            };
            let mut checked = match &options.callout {
                _ if full.is_some() => full.unwrap_or_else(|| Checked::plain(Answer::No)),
                Some(parameters) => {
                    let mut checked = callout::check(run, &acceptance.address, address, role, parameters);
                    checked.has_called_out = checked.answer == Answer::Yes;
                    checked
                }
                None => Checked::plain(Answer::Yes),
            };
            checked.is_routed = true;
            checked.address_data = acceptance.address.propagated.address_data.clone();
            checked
        }
        Verified::Refused(failed, problem) => Checked {
            address_data: failed.propagated.address_data.clone(),
            ..Checked::of_problem(Answer::No, role, &problem)
        },
        Verified::Deferred(failed, problem) => Checked {
            address_data: failed.propagated.address_data.clone(),
            ..Checked::of_problem(Answer::Later, role, &problem)
        },
    };
    if checked.answer == Answer::Later && options.defer_ok {
        run.trace(|| "verify defer overridden by defer_ok".to_owned());
        return Checked { answer: Answer::Yes, ..checked };
    }
    checked
}

/// `verify = recipient`.
pub(super) fn recipient(run: &mut Run<'_>, options: &Options) -> Tested {
    run.scene.context.local.recipient_verify_failure = None;
    let address = run.scene.subject.clone();
    let checked = check(run, &address, Role::Recipient, options);
    let context = &mut run.scene.context;
    context.local.recipient_verify_failure = checked.failure;
    context.address.address_data.clone_from(&checked.address_data);
    match checked.answer {
        Answer::Yes => {
            if options.callout.is_some() && checked.has_called_out {
                let (local_part, domain) = split_at_domain(&address);
                context.address.local_part_data = Some(Text::clean(local_part));
                context.address.domain_data =
                    Some(Text::clean(domain.unwrap_or_default().to_ascii_lowercase()));
            }
            Tested::of(true)
        }
        // With a question about room, the client is told nothing.
        Answer::No => {
            let user = checked.user.filter(|_| options.quota.is_none());
            Tested { answer: Answer::No, user, log: checked.log }
        }
        Answer::Later | Answer::Faulty => {
            let user = if checked.is_routed {
                Some(outcome_text("recipient", options.callout.is_some()))
            } else {
                checked.user
            };
            Tested { answer: checked.answer, user, log: checked.log }
        }
    }
}

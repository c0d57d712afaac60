//! Verifies the sender, remembers what came of it for the message, and keeps the reasons for the next refusal.
//! Manual sections 44.26 and 44.50.

use oxim_base::Text;
use oxim_deliver::rewrite::Place;

use super::Options;
use super::address::{Checked, Role, check, outcome_text};
use crate::acl::{Answer, Run, SenderVerifyFailure, Tested};

/// What has been found out about senders of the message in hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct SenderVerification {
    known: Vec<Known>,
    /// The last one that failed, by its place in `known`.
    failed: Option<usize>,
}

#[derive(Clone, Debug)]
struct Known {
    address: Vec<u8>,
    /// The address as the rules of the envelope rewrite it, if it failed: what is told.
    rewritten: Vec<u8>,
    checked: Checked,
    /// The reasons have been told, or are not to be.
    is_told: bool,
}

impl SenderVerification {
    /// The sender that failed last, unless it has been told already. From now on it has.
    pub(crate) fn report(&mut self) -> Option<Box<SenderVerifyFailure>> {
        let known = self.known.get_mut(self.failed?)?;
        if std::mem::replace(&mut known.is_told, true) {
            return None;
        }
        Some(Box::new(SenderVerifyFailure {
            address: known.rewritten.clone(),
            user_message: known.checked.user.clone(),
            detail: known.checked.log.as_ref().map(|log| crate::log_line::printable(log.as_bytes())),
            is_deferred: known.checked.answer == Answer::Later,
        }))
    }

    /// An earlier result that will do: a callout is made again unless it has succeeded, or routing failed already.
    fn find(&self, address: &[u8], wants_callout: bool) -> Option<usize> {
        self.known.iter().rposition(|known| {
            let will_do = !wants_callout || !known.checked.is_routed || known.checked.has_called_out;
            known.address == address && will_do
        })
    }
}

/// `verify = sender`, `verify = sender=address`. A bounce has a good sender.
pub(super) fn verify(run: &mut Run<'_>, address: Option<&Text>, options: &Options) -> Tested {
    let address = match address {
        Some(address) => address.as_bytes().to_vec(),
        None => run.scene.context.message.sender.clone(),
    };
    if address.is_empty() {
        return Tested::of(true);
    }
    let place = match run.scene.message.sender_verification.find(&address, options.callout.is_some()) {
        Some(place) => place,
        None => {
            run.scene.context.local.sender_verify_failure = None;
            let checked = check(run, &address, Role::Sender, options);
            run.scene.context.local.sender_verify_failure = checked.failure;
            let rewritten = match checked.answer {
                Answer::Yes => Vec::new(),
                Answer::No | Answer::Later | Answer::Faulty => rewritten(run, &address),
            };
            let known = &mut run.scene.message.sender_verification.known;
            known.push(Known { address, rewritten, checked, is_told: false });
            known.len().saturating_sub(1)
        }
    };
    answer(run, place, options)
}

fn rewritten(run: &mut Run<'_>, address: &[u8]) -> Vec<u8> {
    let delivery = run.reception.delivery.clone();
    let settings = &delivery.rewrite_settings;
    run.lending(|context| delivery.rewrite.address(context, Place::EnvelopeFrom, address, settings))
}

fn answer(run: &mut Run<'_>, place: usize, options: &Options) -> Tested {
    let verification = &mut run.scene.message.sender_verification;
    let Some(known) = verification.known.get_mut(place) else { return Tested::of(false) };
    let checked = known.checked.clone();
    run.scene.context.address.sender_address_data.clone_from(&checked.address_data);
    if checked.answer == Answer::Yes {
        return Tested::of(true);
    }
    known.is_told |= options.no_details;
    verification.failed = Some(place);
    if checked.answer == Answer::No {
        let text = Text::clean("Sender verify failed");
        return Tested { answer: Answer::No, user: Some(text.clone()), log: Some(text) };
    }
    // Where no host was found, none was asked.
    let is_callout = options.callout.is_some() && checked.is_routed;
    let text = outcome_text("sender", is_callout);
    let user = is_callout.then(|| text.clone());
    Tested { answer: Answer::Later, user, log: Some(text) }
}

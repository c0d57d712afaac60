//! Address rewriting at reception (manual section 31.2): where the rules are applied; what they do is in `deliver`.
//!
//! SMTP-time rules see the argument of MAIL and RCPT before it is parsed. The others wait for the header: then the envelope
//! and the header lines are rewritten for good, and unqualified addresses in header lines get a domain where that is allowed.

use std::sync::Arc;

use oxim_deliver::delivery::Delivery;
use oxim_deliver::rewrite::{Place, Settings};

use crate::reception::Reception;
use crate::talk::Talk;

/// Whether rewriting may wait for lookups, as far as can be said without looking into the rules.
#[must_use]
pub(crate) fn may_block(delivery: &Delivery) -> bool {
    !delivery.config.rewrite.is_empty()
}

/// Rewrites the argument of MAIL or RCPT by the rules for SMTP time.
pub(crate) fn smtp(reception: &Reception, talk: &mut Talk, argument: &[u8]) -> Vec<u8> {
    let rules = &reception.delivery.rewrite;
    if rules.has_smtp_rules() { rules.smtp(&mut talk.scene.context, argument) } else { argument.to_vec() }
}

/// Rewrites the envelope of the message in hand.
pub(crate) fn envelope(reception: &Reception, talk: &mut Talk) {
    let (rules, settings) = (&reception.delivery.rewrite, &reception.delivery.rewrite_settings);
    let context = &mut talk.scene.context;
    if rules.concern(Place::EnvelopeTo) {
        let mut recipients = std::mem::take(&mut context.message.recipients);
        for recipient in Arc::make_mut(&mut recipients) {
            recipient.address = rules.address(context, Place::EnvelopeTo, &recipient.address, settings);
        }
        context.message.recipients = recipients;
    }
    if rules.concern(Place::EnvelopeFrom) {
        let sender = std::mem::take(&mut context.message.sender);
        let rewritten = rules.address(context, Place::EnvelopeFrom, &sender, settings);
        context.message.sender = rewritten;
    }
}

/// Qualifies and rewrites the header lines of the message in hand.
pub(crate) fn headers(reception: &Reception, talk: &mut Talk) {
    let has_rules = !reception.delivery.config.rewrite.is_empty();
    if !has_rules && !talk.allow_unqualified_sender && !talk.allow_unqualified_recipient {
        return;
    }
    let own = &reception.settings;
    let settings = Settings {
        qualify_senders: talk.allow_unqualified_sender.then(|| own.qualify_domain.clone()),
        qualify_recipients: talk.allow_unqualified_recipient.then(|| own.qualify_recipient.clone()),
        ..reception.delivery.rewrite_settings.clone()
    };
    let rules = &reception.delivery.rewrite;
    let mut index = 0;
    while let Some(header) = talk.scene.context.message.headers.all().get(index).cloned() {
        if let Some(changed) = rules.header(&mut talk.scene.context, &header, &settings) {
            talk.scene.context.message.headers.replace(index, changed.text);
            index = index.saturating_add(1);
        }
        index = index.saturating_add(1);
    }
}

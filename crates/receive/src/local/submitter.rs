//! Messages that this program writes itself: the same door as for local processes, without a caller.
//!
//! Bounces, warnings and automatic replies get an id, a Received: line, the non-SMTP ACL and an arrival line like any other.

use std::sync::Arc;

use oxim_deliver::submission::{Submission, Submitter};
use oxim_mail::message_id::MessageId;
use oxim_mail::smtp::dot::Framing;
use oxim_spool::message::Recipient;

use crate::acceptance::{self, Rejection};
use crate::acl::Phase;
use crate::body::{BodyFault, Incoming};
use crate::fixup::Origin;
use crate::reception::Reception;
use crate::talk::Talk;

/// Puts our own messages on the queue.
pub struct OwnMessages(pub Arc<Reception>);

impl Submitter for OwnMessages {
    fn submit(&self, submission: Submission) -> Result<(), String> {
        submit(&self.0, submission).map(|_| ())
    }
}

/// Puts one of our own messages on the queue. Blocks until it is durable.
///
/// # Errors
/// Why it could not be taken.
pub(crate) fn submit(reception: &Arc<Reception>, submission: Submission) -> Result<MessageId, String> {
    let mut talk = Talk::new(reception.context(), None);
    talk.allow_unqualified_sender = true;
    talk.allow_unqualified_recipient = true;
    talk.is_own_error = submission.sender.is_empty();
    talk.message_reference = submission.about.map(|id| id.as_bytes().to_vec());
    talk.transaction.sender_given = true;
    talk.transaction.raw_sender.clone_from(&submission.sender);
    let context = &mut talk.scene.context;
    context.connection.ident = Some(reception.identity.login.clone());
    context.connection.protocol = b"local".to_vec();
    if submission.sender.is_empty() {
        let authenticated = reception.config.main.bounce_sender_authentication.as_ref();
        context.connection.auth_sender = authenticated.map(|address| address.clone().into_bytes());
    }
    context.message.sender = submission.sender;
    context.message.recipients = Arc::new(submission.recipients.into_iter().map(Recipient::new).collect());
    let recipients = context.message.recipients.iter().map(|recipient| recipient.address.clone()).collect();
    talk.transaction.raw_recipients = recipients;
    super::note_international(&mut talk);
    crate::connect::set_active_hostname(reception, &mut talk);
    super::run_acl(reception, &mut talk, Phase::NotSmtpStart);
    let mut incoming = Incoming::new(reception, Framing::Counted, 0, None);
    incoming.feed(&submission.text);
    incoming.end_of_input();
    let received = incoming.finish().map_err(|refused| match refused.fault {
        BodyFault::Header(error) => error.to_string(),
        BodyFault::TooBig { .. } => "message too big".to_owned(),
        BodyFault::Spool(error) => error.to_string(),
    })?;
    let id = received.id;
    let origin = Origin { is_local: true, is_smtp: false, sender_set: true, extract_recipients: false };
    match acceptance::submit(reception, &mut talk, received, origin) {
        Ok(()) => Ok(id),
        Err(Rejection::Acl { text, .. } | Rejection::Local(text)) => Err(text),
    }
}

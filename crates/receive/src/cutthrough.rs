//! Cutthrough delivery: a message that has passed all ACLs goes to the next host before the client is answered.
//!
//! The next host's yes or no is the client's; nothing is stored then. What is put off is stored, or passed on with
//! `defer=pass`. Unlike Exim, DATA is said to the next host only when the whole message is here and has been accepted, so
//! that a message refused here never reaches it in part. Manual section 44.22.

use std::sync::Arc;
use std::time::Duration;

use oxim_deliver::address::Address;
use oxim_deliver::agent::Identity;
use oxim_deliver::event;
use oxim_deliver::log_line::{Lines, RunLines};
use oxim_deliver::transport::{Batch, Delivered, HostUsed, NoHistory};
use oxim_mail::smtp::reply::Reply as Said;
use oxim_spool::message::Message;
use oxim_spool::store::Draft;

use crate::acl::{Phase, RejectTargets, Run};
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::Talk;
use crate::verify::{Onward, offer};

/// A recipient has been accepted: asks the next host if that is wanted. False: it refuses the recipient.
pub(crate) fn takes(reception: &Arc<Reception>, talk: &mut Talk, given: &[u8]) -> bool {
    if talk.scene.message.cut_through.is_none()
        || talk.transaction.prdr
        || talk.transaction.smtputf8
        || talk.scene.context.connection.host_checking
        || talk.is_local()
    {
        return true;
    }
    let is_first = talk.scene.context.message.recipients.is_empty();
    let mut run = Run {
        acls: &reception.acls,
        reception,
        scene: &mut talk.scene,
        phase: Phase::Rcpt,
        targets: RejectTargets::default(),
        depth: 0,
    };
    offer(&mut run, given, is_first) == Onward::Fine
}

/// What came of the attempt.
pub(crate) enum Cut {
    /// The message goes the usual way.
    NotDone,
    /// The next host has it.
    Delivered,
    /// The next host refuses it, or puts it off and the client is to know.
    Refused(Reply),
    /// The next host puts it off: the message waits in the queue.
    PutOff,
}

/// Sends the message on, if a connection is held for all its recipients. Writes the lines about it.
pub(crate) fn attempt(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    message: &Message,
    draft: &mut Draft,
) -> Cut {
    let wish = talk.scene.message.cut_through.take();
    let held = talk.scene.held.take();
    let (Some(wish), Some(mut held)) = (wish, held) else { return Cut::NotDone };
    let recipients: Vec<Vec<u8>> = message.recipients.iter().map(|r| r.address.clone()).collect();
    let is_plain = message.frozen.is_none() && talk.transaction.last_chunk.is_none();
    let released = if is_plain { held.release(&recipients) } else { None };
    let Some((mut connection, addresses)) = released else { return Cut::NotDone };
    let Ok(body) = draft.body() else { return Cut::NotDone };
    let delivery = reception.delivery.clone();
    let transport = delivery.transport(held.transport).filter(|transport| !transport.driver.signs_messages());
    let Some(transport) = transport else { return Cut::NotDone };
    let batch = Batch {
        addresses,
        message: Arc::new(message.clone()),
        body,
        return_path: message.sender.clone(),
        identity: Identity::current(),
        current_directory: None,
        is_forced: true,
        history: &NoHistory,
        submitter: None,
        is_shadow: false,
        handed_over: 0,
    };
    let context = &mut talk.scene.context;
    let sent = transport.driver.send_over(transport, &delivery, context, &batch, &mut connection);
    connection.quit(Duration::ZERO);
    match sent {
        Ok(reply) => judge(reception, talk, &batch, &held.used, &reply, wish.passes_deferral),
        // The usual way has its own words for what is wrong.
        Err(_) => Cut::NotDone,
    }
}

fn judge(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    batch: &Batch<'_>,
    used: &HostUsed,
    reply: &Said,
    passes_deferral: bool,
) -> Cut {
    let done = Delivered {
        confirmation: Some(reply.to_text().into()),
        host: Some(Arc::new(used.clone())),
        ..Delivered::default()
    };
    let lines = Lines {
        delivery: &reception.delivery,
        selectors: reception.services.log().selectors(),
        sender: &batch.message.sender,
        received: batch.message.received,
        queue_name: &batch.message.queue_name,
        size: batch.message.size_with(batch.body.len()),
    };
    let mut run = RunLines::new(false, Duration::ZERO, &batch.return_path);
    let mut line = |address: &Address| {
        let mut line = String::new();
        lines.delivered(&mut line, address, &done, &mut run);
        line
    };
    let id = batch.message.id;
    if reply.is_success() {
        // The last one comes first, as in Exim.
        for address in batch.addresses.iter().rev() {
            reception.logs.main(&format!("{id} >> {}", line(address)));
            event::delivered(&reception.delivery, &mut talk.scene.context, address, &done);
        }
        return Cut::Delivered;
    }
    let is_final = reply.is_permanent();
    let what = if is_final { "rejected after DATA" } else { "tmp-reject from cutthrough after DATA" };
    let client = log_line::client(reception, talk, true);
    let sender = String::from_utf8_lossy(&batch.message.sender).into_owned();
    for address in batch.addresses.iter().rev() {
        let text = String::from_utf8_lossy(&address.address).into_owned();
        let fields = line(address);
        let fields = fields.split_once(" R=").map_or(String::new(), |(_, rest)| format!("R={rest}"));
        let entry = format!("{id} {client} {text} F=<{sender}> {what}: {fields}");
        if is_final {
            let headers = reception.wants.rejected_header.then(|| refusal::header_block_of(&batch.message));
            reception.logs.rejection(&entry, true, headers.as_deref());
        } else {
            reception.logs.main(&entry);
        }
    }
    if is_final || passes_deferral {
        return Cut::Refused(Reply::new(reply.code, reply.lines.join(b"\n".as_slice())));
    }
    Cut::PutOff
}

//! The scan for verdicts at the end of reception: `control = bmi_run`, with what `bmi_optin` has said of recipients.
//!
//! Once per message, when all ACLs have accepted it and its header is as it will be kept. Failure modes: without verdicts the
//! message is accepted or put off, as `oxim_deliver::bmi` is configured. Manual: docs/features/bmi.md.

use std::collections::BTreeMap;

use oxim_deliver::bmi::{self, OnFailure, Question, Scanned};
use oxim_spool::message::{Body, Message};

use crate::reception::Reception;
use crate::talk::Talk;

/// What ACLs have said about the scan.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `bmi_run`.
    pub is_wanted: bool,
    /// `bmi_optin`, for the recipient that is accepted next.
    pub opt_in: Option<Vec<u8>>,
    /// `bmi_optin`, by the address of the recipient that it was meant for.
    pub opt_ins: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Wishes {
    /// A recipient has been accepted: what has been said belongs to it.
    pub(crate) fn accepted(&mut self, address: &[u8]) {
        if let Some(text) = self.opt_in.take() {
            self.opt_ins.insert(address.to_vec(), text);
        }
    }
}

/// Scans a message that is about to be kept, if an ACL has asked for it. Blocks.
///
/// # Errors
/// The message is to be put off; the text is for the log.
pub(crate) fn scan(
    reception: &Reception,
    talk: &mut Talk,
    message: &mut Message,
    body: &Body,
) -> Result<(), String> {
    let wishes = std::mem::take(&mut talk.scene.message.bmi);
    if !wishes.is_wanted || talk.scene.context.connection.host_checking {
        return Ok(());
    }
    let connection = &talk.scene.context.connection;
    let recipients = message.recipients.iter().map(|recipient| {
        let address = recipient.address.as_slice();
        (address, wishes.opt_ins.get(address).map(Vec::as_slice))
    });
    let question = Question {
        id: message.id.to_string(),
        client: connection.host_address,
        helo: connection.helo_name.as_deref(),
        client_name: connection.host_name.as_deref(),
        user: connection.auth_id.as_deref(),
        sender: &message.sender,
        recipients: recipients.collect(),
        headers: &message.headers,
        body,
    };
    let id = message.id;
    let scanned = reception.delivery.bmi.scan(&question, &mut |warning| {
        reception.logs.panic(&format!("{id} {warning}"));
    });
    match scanned {
        Scanned::Verdicts(texts) => {
            bmi::store(message, texts.as_ref());
            Ok(())
        }
        Scanned::Failed(failure, on_failure) => {
            let line = bmi::error_line(&failure);
            reception.logs.panic_only(&format!("{id} {line}"));
            if on_failure == OnFailure::Accept { Ok(()) } else { Err(line) }
        }
    }
}

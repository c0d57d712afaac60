//! Connections for callouts: opened as for a delivery, with TLS and authentication as the transport's options say, up to MAIL.

use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_mail::message_id::MessageId;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::Connection;
use oxim_spool::message::{Body, Message};

use super::trouble::{Said, Trouble};
use super::{Limits, Smtp, Target, Work};
use crate::address::RouteHost;
use crate::agent::Identity;
use crate::delivery::Delivery;
use crate::transport::{Batch, NoHistory, Transport};

/// Why there is no connection.
#[derive(Clone, Debug)]
pub enum NotOpened {
    /// The server refused: in answer to what, and how.
    Refused {
        /// The command, or `initial connection`.
        sent: String,
        /// The answer.
        reply: Reply,
    },
    /// Another server may do better.
    Unclear(String),
}

impl From<Trouble> for NotOpened {
    fn from(trouble: Trouble) -> NotOpened {
        match trouble.said.map(|said| *said) {
            Some(Said::Refused { sent, reply }) => NotOpened::Refused { sent, reply },
            Some(Said::Broken(text)) => NotOpened::Unclear(text),
            None => NotOpened::Unclear(trouble.error.text),
        }
    }
}

/// The id of the message that is not there. No line of the log shows it.
const NO_MESSAGE: &[u8] = b"000000-000000-00";

pub(super) fn open(
    smtp: &Smtp,
    transport: &Transport,
    delivery: &Delivery,
    context: &mut Context,
    host: &RouteHost,
    limits: Limits,
) -> Option<Result<Connection, NotOpened>> {
    let address = host.address?;
    let batch = Batch {
        addresses: Vec::new(),
        message: Arc::new(Message::new(MessageId::parse(NO_MESSAGE)?)),
        body: Body::Memory(Default::default()),
        return_path: Vec::new(),
        identity: Identity::current(),
        current_directory: None,
        is_forced: true,
        history: &NoHistory,
        submitter: None,
        is_shadow: false,
    };
    let scope = context.delivery.clone();
    context.delivery.transport_name = Some(transport.name.clone());
    let mut work = Work {
        smtp,
        transport,
        delivery,
        context,
        batch: &batch,
        limits,
        label: String::new(),
        composed: None,
        has_more_hosts: false,
        progress: Vec::new(),
        results: Vec::new(),
    };
    let opened = match work.port(Some(host)) {
        Ok(port) => {
            let target = Target::new(host, address, port);
            work.enter(&target);
            work.open(&target).map(|session| session.connection).map_err(NotOpened::from)
        }
        Err(error) => Err(NotOpened::Unclear(error.text)),
    };
    context.delivery = scope;
    Some(opened)
}

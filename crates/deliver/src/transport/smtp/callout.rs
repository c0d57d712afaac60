//! Connections for callouts: opened as for a delivery, with TLS and authentication as the transport's options say, up to MAIL.

use oxim_lang::context::Context;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::Connection;

use super::trouble::{Said, Trouble};
use super::{Limits, Smtp, Target, Work};
use crate::address::RouteHost;
use crate::delivery::Delivery;
use crate::transport::{Batch, Transport};

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

pub(super) fn open(
    smtp: &Smtp,
    transport: &Transport,
    delivery: &Delivery,
    context: &mut Context,
    host: &RouteHost,
    limits: Limits,
) -> Option<Result<Connection, NotOpened>> {
    let address = host.address?;
    let batch = Batch::without_message(Vec::new())?;
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

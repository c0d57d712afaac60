//! Connections for callouts: opened as for a delivery, with TLS and authentication as the transport's options say, up to MAIL.

use std::time::Duration;

use oxim_lang::context::Context;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::Connection;

use super::transaction::Pieces;
use super::trouble::{Said, Trouble};
use super::{Limits, Smtp, Target, Work};
use crate::address::{Address, RouteHost};
use crate::delivery::Delivery;
use crate::transport::{Batch, HostUsed, Outcome, Transport, compose};

/// A connection on which MAIL can be said.
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// What log lines say of the server.
    pub used: HostUsed,
}

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

/// Opens a connection to the first host of an address that lets us.
pub(super) fn open_line(
    smtp: &Smtp,
    transport: &Transport,
    delivery: &Delivery,
    context: &mut Context,
    address: &Address,
) -> Option<Result<(Opened, Duration), NotOpened>> {
    let batch = Batch::without_message(vec![address.clone()])?;
    context.delivery.transport_name = Some(transport.name.clone());
    let limits = Limits { connect: smtp.timeouts.connect, command: smtp.timeouts.command };
    let mut work = Work::new(smtp, transport, delivery, context, &batch, limits);
    let hosts = match work.first_hosts() {
        Ok(hosts) => hosts,
        Err(error) => return Some(Err(NotOpened::Unclear(error.text))),
    };
    let mut last = NotOpened::Unclear("there is no host".to_owned());
    for target in &hosts {
        work.enter(target);
        match work.open(target) {
            Ok(session) => {
                let opened = Opened { used: session.used(target), connection: session.connection };
                return Some(Ok((opened, limits.command)));
            }
            Err(trouble) => {
                let text = trouble.line(&target.field());
                last = match NotOpened::from(trouble) {
                    NotOpened::Unclear(_) => NotOpened::Unclear(text),
                    refused @ NotOpened::Refused { .. } => refused,
                };
            }
        }
    }
    Some(Err(last))
}

pub(super) fn open(
    smtp: &Smtp,
    transport: &Transport,
    delivery: &Delivery,
    context: &mut Context,
    host: &RouteHost,
    limits: Limits,
) -> Option<Result<Opened, NotOpened>> {
    let address = host.address?;
    let batch = Batch::without_message(Vec::new())?;
    let (scope, proxy) = (context.delivery.clone(), context.connection.proxy);
    context.delivery.transport_name = Some(transport.name.clone());
    let mut work = Work::new(smtp, transport, delivery, context, &batch, limits);
    work.is_verification = true;
    let opened = match work.port(Some(host)) {
        Ok(port) => {
            let target = Target::new(host, address, port);
            work.enter(&target);
            work.open(&target)
                .map(|session| Opened { used: session.used(&target), connection: session.connection })
                .map_err(NotOpened::from)
        }
        Err(error) => Err(NotOpened::Unclear(error.text)),
    };
    context.delivery = scope;
    context.connection.proxy = proxy;
    Some(opened)
}

/// DATA and the message, after MAIL and RCPT: what cutthrough delivery sends (manual section 44.22).
pub(super) fn send(
    smtp: &Smtp,
    transport: &Transport,
    delivery: &Delivery,
    context: &mut Context,
    batch: &Batch<'_>,
    connection: &mut Connection,
) -> Result<Reply, String> {
    let composed =
        compose::compose(delivery, transport, context, batch).map_err(|outcome| match outcome {
            Outcome::Failed(error) | Outcome::Deferred(error) => error.text,
            Outcome::Delivered(_) => String::new(),
        })?;
    let told = |error: oxim_net::smtp_client::SmtpError| error.to_string();
    let reply = connection.command("DATA", smtp.timeouts.command).map_err(told)?;
    if !reply.is_intermediate() {
        return Ok(reply);
    }
    let mut pieces = Pieces::new(&composed);
    connection.send_data(smtp.timeouts.data, |out| pieces.next(out)).map_err(told)?;
    connection.read_reply(smtp.timeouts.end).map_err(told)
}

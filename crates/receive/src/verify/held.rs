//! Connections to other hosts that stay open between recipients: the callout option `hold`, and cutthrough delivery.
//!
//! `control = cutthrough_delivery` takes the message of an SMTP client on to the next host before the client has its answer.
//! Only one connection is held for a message, and all recipients must go over it: the first one for elsewhere, a temporary
//! refusal or a host that cannot be reached end it, and the message goes the usual way. Manual sections 44.22 and 44.46.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use oxim_deliver::address::{Address, TransportId};
use oxim_deliver::transport::HostUsed;
use oxim_deliver::transport::smtp::{Limits, NotOpened, Opened};
use oxim_deliver::verify::{Verified, VerifyOptions};
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::{Connection, SmtpError};

use super::callout;
use crate::acl::Run;

/// How long a host may take for each answer before the message is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection on which MAIL and some RCPT commands have been accepted.
pub(crate) struct Held {
    /// None once it has been given away.
    connection: Option<Connection>,
    /// What log lines say of the host.
    pub(crate) used: HostUsed,
    /// The transport that opened it.
    pub(crate) transport: TransportId,
    host: IpAddr,
    sender: Vec<u8>,
    /// The recipients as they were given, each with what the routers made of it.
    recipients: Vec<(Vec<u8>, Address)>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.quit(Duration::ZERO);
        }
    }
}

impl Held {
    /// A connection after the first RCPT.
    pub(super) fn new(
        opened: Opened,
        routed: &Address,
        transport: TransportId,
        host: IpAddr,
        sender: Vec<u8>,
        given: Vec<u8>,
    ) -> Held {
        Held {
            connection: Some(opened.connection),
            used: opened.used,
            transport,
            host,
            sender,
            recipients: vec![(given, routed.clone())],
        }
    }

    /// Whether a recipient of this route can be added.
    pub(super) fn serves(&self, transport: TransportId, host: IpAddr, sender: &[u8]) -> bool {
        self.transport == transport && self.host == host && self.sender == sender
    }

    fn has(&self, given: &[u8]) -> bool {
        self.recipients.iter().any(|(known, _)| known == given)
    }

    /// Asks for one more recipient.
    pub(super) fn ask(
        &mut self,
        given: &[u8],
        routed: &Address,
        limit: Duration,
    ) -> Result<Reply, SmtpError> {
        let command = format!("RCPT TO:<{}>", String::from_utf8_lossy(&routed.address));
        let Some(connection) = &mut self.connection else {
            return Err(SmtpError::Connect(std::io::ErrorKind::NotConnected.into()));
        };
        let reply = connection.command(&command, limit)?;
        if reply.is_success() {
            self.recipients.push((given.to_vec(), routed.clone()));
        }
        Ok(reply)
    }

    /// The connection and the routed recipients, if they are those of the message.
    pub(crate) fn release(&mut self, recipients: &[Vec<u8>]) -> Option<(Connection, Vec<Address>)> {
        let is_whole = self.recipients.iter().map(|(given, _)| given).eq(recipients);
        let connection = if is_whole { self.connection.take() } else { None }?;
        Some((connection, self.recipients.iter().map(|(_, routed)| routed.clone()).collect()))
    }
}

/// What the next host makes of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    /// It takes it, or is not asked (any more).
    Fine,
    /// It refuses it for good.
    Refused,
}

/// A recipient has been accepted while cutthrough delivery is wanted: asks the next host, over the connection that is held or
/// a new one for the first recipient.
pub(crate) fn offer(run: &mut Run<'_>, given: &[u8], is_first: bool) -> Onward {
    if run.scene.held.as_ref().is_some_and(|held| held.has(given)) {
        return Onward::Fine;
    }
    if run.scene.held.is_none() && !is_first {
        return Onward::Fine;
    }
    let answer = match route(run, given) {
        Some((routed, transport)) => ask(run, given, &routed, transport),
        None => None,
    };
    match answer {
        Some(reply) if reply.is_success() => Onward::Fine,
        Some(reply) if reply.is_permanent() => {
            run.scene.held = None;
            Onward::Refused
        }
        Some(_) | None => {
            run.scene.held = None;
            Onward::Fine
        }
    }
}

/// The one remote transport to which an address leads.
fn route(run: &mut Run<'_>, given: &[u8]) -> Option<(Address, TransportId)> {
    let delivery = run.reception.delivery.clone();
    let wanted = VerifyOptions::default();
    let Verified::Accepted(acceptance) = run.lending(|context| delivery.verify(context, given, wanted))
    else {
        return None;
    };
    let routed = acceptance.address;
    let id = routed.transport.filter(|id| !delivery.is_local_transport(*id))?;
    let transport = delivery.transport(id)?;
    let is_plain = routed.propagated.errors_to.is_none() && routed.propagated.srs_sender.is_none();
    (is_plain && transport.driver.can_cut_through(transport)).then_some((routed, id))
}

fn ask(run: &mut Run<'_>, given: &[u8], routed: &Address, transport: TransportId) -> Option<Reply> {
    let sender = run.scene.context.message.sender.clone();
    let host = callout::hosts(run, routed, transport).into_iter().next()?;
    if let Some(held) = &mut run.scene.held {
        if !held.serves(transport, host.address, &sender) {
            return None;
        }
        return held.ask(given, routed, PATIENCE).ok();
    }
    let limits = Limits { connect: PATIENCE, command: PATIENCE };
    // For the events of the connection.
    let outer = std::mem::replace(&mut run.scene.context.delivery.verify_mode, "R");
    let opened = callout::connect(run, transport, &host, limits);
    run.scene.context.delivery.verify_mode = outer;
    let mut opened = match opened? {
        Ok(opened) => opened,
        Err(NotOpened::Refused { .. } | NotOpened::Unclear(_)) => return None,
    };
    let reply = envelope(&mut opened.connection, &sender, &routed.address).ok()?;
    if reply.is_success() {
        let held = Held::new(opened, routed, transport, host.address, sender, given.to_vec());
        run.scene.held = Some(Box::new(held));
    } else {
        opened.connection.quit(Duration::ZERO);
    }
    Some(reply)
}

/// MAIL and RCPT, together if the host takes that; the answer that counts.
fn envelope(connection: &mut Connection, sender: &[u8], recipient: &[u8]) -> Result<Reply, SmtpError> {
    connection.queue(format!("MAIL FROM:<{}>", String::from_utf8_lossy(sender)).as_bytes())?;
    let rcpt = format!("RCPT TO:<{}>", String::from_utf8_lossy(recipient));
    if connection.extensions().pipelining {
        connection.queue(rcpt.as_bytes())?;
        let mail = connection.read_reply(PATIENCE)?;
        if !mail.is_success() {
            return Ok(mail);
        }
        return connection.read_reply(PATIENCE);
    }
    let mail = connection.read_reply(PATIENCE)?;
    if mail.is_success() { connection.command(&rcpt, PATIENCE) } else { Ok(mail) }
}

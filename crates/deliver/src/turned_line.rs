//! Lines that ATRN turns around (on-demand mail relay, RFC 2645): the provider's deliveries over one, and the customer's request.
//!
//! The provider's half: [`deliver`] makes a queue run whose deliveries to `$atrn_host` go over the line, for the recipients of
//! the domains that the ACL has named; when the line ends, what is left waits. The customer's half: [`ask`] routes
//! `_atrn@HOST` and says ATRN over the transport's connection.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::context::{Context, Turnaround};
use oxim_lang::list::{List, ListKind, Subject};
use oxim_mail::address::split_at_domain;
use oxim_net::smtp_client::{Connection, SmtpError};
use oxim_net::socket::Socket;
use oxim_net::tls::TlsFacts;
use oxim_spool::message::Message;
use oxim_spool::store::Store;

use crate::address::Address;
use crate::delivery::Delivery;
use crate::queue::AttemptOptions;
use crate::queue::run::{RunOptions, run};
use crate::router::{Decided, Problem, Purpose, RouteRequest};
use crate::submission::Submitter;
use crate::transport::HostUsed;
use crate::transport::smtp::{NotOpened, turned};

/// A line whose client has become the server.
pub struct TurnedLine {
    /// The customer's end of it.
    pub customer: SocketAddr,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// The TLS session, which others carry on.
    pub tls: Option<TlsFacts>,
    /// A socket that speaks in the clear with the other end.
    pub stream: UnixStream,
    /// The domain list whose mail is wanted; empty for none.
    pub domains: String,
    /// The queue that holds it; empty for the default one.
    pub queue_name: Vec<u8>,
}

/// What a queue run over such a line needs to know.
#[derive(Debug)]
pub struct Turn {
    customer: SocketAddr,
    domains: List,
}

impl Turn {
    /// The part that the context's process has.
    pub(crate) fn role(&self) -> Turnaround {
        Turnaround::Provider(self.customer)
    }

    /// Whether more can be said over the line.
    pub(crate) fn is_open(&self) -> bool {
        turned::is_open(self.customer)
    }

    /// Whether mail for the address goes over the line.
    pub(crate) fn wants(&self, context: &mut Context, address: &[u8]) -> bool {
        has_domain(context, &self.domains, address)
    }
}

fn has_domain(context: &mut Context, domains: &List, address: &[u8]) -> bool {
    let (_, domain) = split_at_domain(address);
    let domain = Text::tainted(domain.unwrap_or_default().to_ascii_lowercase());
    domains.matches(context, &Subject::Domain(&domain)).is_ok_and(|found| found.is_yes())
}

/// Whether a message has an undelivered recipient in one of the domains.
pub fn has_recipient_in(context: &mut Context, message: &Message, domains: &List) -> bool {
    let mut waiting = message.recipients.iter().filter(|recipient| !message.is_done(&recipient.address));
    waiting.any(|recipient| has_domain(context, domains, &recipient.address))
}

/// Delivers what is wanted over the line, and ends it. For a thread that may block.
pub fn deliver(delivery: &Arc<Delivery>, line: TurnedLine, run_queue: impl FnOnce(&RunOptions)) {
    let TurnedLine { customer, local, tls, stream, domains, queue_name } = line;
    let connection = Connection::over_line(Socket::from_unix(stream), customer, local, tls);
    turned::enter(customer, connection);
    let turn = Turn { customer, domains: List::compile(ListKind::Domain, &domains) };
    if !domains.is_empty() {
        run_queue(&RunOptions {
            attempt: AttemptOptions { force: true, queue_running: true, ..AttemptOptions::default() },
            queue_name,
            label: " -qqf".to_owned(),
            turn: Some(Arc::new(turn)),
            ..RunOptions::default()
        });
    }
    turned::hang_up(customer, delivery);
}

/// As [`deliver`], by this process alone.
pub fn deliver_here(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    line: TurnedLine,
) {
    deliver(delivery, line, |options| run(delivery, store, submitter, options, |_, _| {}));
}

/// What came of a customer's request.
pub enum Asked {
    /// The provider is the client now.
    Turned(Box<Connection>, HostUsed),
    /// There is no mail, or not now. The text is for whoever asks.
    Later(String),
    /// The provider, or our configuration, does not want it.
    Refused(String),
}

/// Asks a provider for the mail of domains: names with commas, or nothing for all that are ours there.
pub fn ask(delivery: &Arc<Delivery>, context: &mut Context, host: &str, domains: &str) -> Asked {
    context.turnaround = Some(Turnaround::Customer);
    let address = Address::recipient(format!("_atrn@{host}"), 0);
    let request = RouteRequest::new(Purpose::Deliver);
    let mut routed = delivery.route_all(context, vec![address], &request);
    let address = match routed.decided.pop() {
        Some(Decided::Deliver(address)) => address,
        Some(Decided::Failed(_, problem) | Decided::Deferred(_, problem)) => return unrouted(host, &problem),
        Some(Decided::Discarded(_)) | None => return Asked::Refused(format!("no route to {host}")),
    };
    let Some(transport) = address.transport.and_then(|id| delivery.transport(id)) else {
        return Asked::Refused(format!("no transport for {host}"));
    };
    crate::router::scope::enter(context, &address);
    let opened = match transport.driver.open_line(transport, delivery, context, &address) {
        None => return Asked::Refused(format!("the {} transport does not speak SMTP", transport.name)),
        Some(opened) => opened,
    };
    let (mut connection, used, limit) = match opened {
        Ok((opened, limit)) => (opened.connection, opened.used, limit),
        Err(NotOpened::Refused { sent, reply }) => {
            return judged(&sent, &reply.to_string(), reply.is_temporary());
        }
        Err(NotOpened::Unclear(text)) => return Asked::Refused(text),
    };
    let command = if domains.is_empty() { "ATRN".to_owned() } else { format!("ATRN {domains}") };
    match connection.command(&command, limit) {
        Ok(reply) if reply.is_success() => Asked::Turned(Box::new(connection), used),
        Ok(reply) => {
            connection.quit(limit);
            judged(&command, &reply.to_string(), reply.is_temporary())
        }
        Err(SmtpError::LocalArgument { .. }) => {
            Asked::Refused("the domains are no argument for ATRN".to_owned())
        }
        Err(error) => Asked::Refused(error.to_string()),
    }
}

fn unrouted(host: &str, problem: &Problem) -> Asked {
    Asked::Refused(format!("no route to {host}: {}", problem.text()))
}

fn judged(sent: &str, reply: &str, is_temporary: bool) -> Asked {
    let text = format!("SMTP error from remote mail server after {sent}: {reply}");
    if is_temporary { Asked::Later(text) } else { Asked::Refused(text) }
}

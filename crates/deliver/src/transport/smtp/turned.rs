//! Deliveries over a line whose client has become the server (ATRN, RFC 2645).
//!
//! A line is known by the customer's address and port, and is used by one delivery at a time. The first one waits for the
//! greeting and says EHLO; TLS and authentication are not done again inside TLS. A delivery that cannot use the line leaves
//! its addresses waiting, without any record about the host.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use oxim_lang::context::Turnaround;
use oxim_net::smtp_client::Connection;
use parking_lot::{Condvar, Mutex};

use super::session::{Opening, Session, Wishes, bad_host, lost};
use super::trouble::{About, Trouble};
use super::{Protocol, Target, Work};
use crate::delivery::Delivery;
use crate::transport::{DeliveryError, error_code};

/// What stands for the command before the customer's greeting in errors.
const PHASE: &str = "ATRN line turnaround";
/// How long the last words of a line may take.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// How far a line is.
enum Line {
    /// Nothing has been said since it was turned around.
    New(Box<Connection>),
    /// EHLO has been answered.
    Ready(Box<Session>),
    /// A delivery is using it.
    InUse,
}

#[derive(Default)]
struct Lines {
    open: Mutex<HashMap<SocketAddr, Line>>,
    changed: Condvar,
}

static LINES: LazyLock<Lines> = LazyLock::new(Lines::default);

/// A line is there.
pub fn enter(customer: SocketAddr, connection: Connection) {
    LINES.open.lock().insert(customer, Line::New(Box::new(connection)));
}

/// Whether more can be said over it.
#[must_use]
pub fn is_open(customer: SocketAddr) -> bool {
    LINES.open.lock().contains_key(&customer)
}

/// Says QUIT, after the greeting if nothing has been said before.
pub fn hang_up(customer: SocketAddr, delivery: &Delivery) {
    let Some(line) = LINES.open.lock().remove(&customer) else { return };
    match line {
        Line::New(mut connection) => match connection.read_banner_after(PHASE, LAST_WORDS) {
            Ok(_) => connection.quit(LAST_WORDS),
            Err(error) => delivery.services.log().main(format!("H=[{}] {error}", customer.ip())),
        },
        Line::Ready(session) => session.connection.quit(LAST_WORDS),
        Line::InUse => {}
    }
}

/// Takes the line, when nobody uses it. None: it has ended.
fn take(customer: SocketAddr) -> Option<Line> {
    let mut open = LINES.open.lock();
    loop {
        match open.get_mut(&customer)? {
            Line::InUse => LINES.changed.wait(&mut open),
            line @ (Line::New(_) | Line::Ready(_)) => return Some(std::mem::replace(line, Line::InUse)),
        }
    }
}

/// Gives the line back; None ends it.
fn give_back(customer: SocketAddr, session: Option<Session>) {
    let mut open = LINES.open.lock();
    match session {
        Some(session) => open.insert(customer, Line::Ready(Box::new(session))),
        None => open.remove(&customer),
    };
    LINES.changed.notify_all();
}

impl Work<'_> {
    /// The customer, if the host is the one that has turned the line around.
    pub(super) fn customer_at(&self, target: &Target) -> Option<SocketAddr> {
        match self.context.turnaround {
            Some(Turnaround::Provider(customer)) => {
                Some(customer).filter(|customer| *customer == SocketAddr::new(target.address, target.port))
            }
            Some(Turnaround::Customer) | None => None,
        }
    }

    /// The message, over the line.
    pub(super) fn deliver_over_turned(&mut self, target: &Target, customer: SocketAddr) -> Option<Trouble> {
        self.early_allowed = false;
        let mut recipients = self.waiting();
        if let Err(outcome) = self.compose() {
            return Some(self.not_composed(target, outcome));
        }
        let session = match take(customer) {
            Some(Line::New(connection)) => self.first_words(*connection, target),
            Some(Line::Ready(session)) => Ok(Session { is_continued: true, ..*session }),
            Some(Line::InUse) | None => Err(Trouble::quiet(DeliveryError::new(
                error_code::HOSTS_NOT_DUE,
                format!("{PHASE}: the line has ended"),
            ))),
        };
        let mut session = match session {
            Ok(session) => session,
            Err(trouble) => {
                give_back(customer, None);
                self.set_waiting(&trouble.error);
                return Some(trouble);
            }
        };
        self.context.delivery.sending = session.local;
        self.context.delivery.tls.clone_from(&session.tls);
        let passed = self.carry(&mut session, target, &mut recipients);
        let goes_on = !self.is_full(&session) && (passed.is_clean || self.reset(&mut session));
        if goes_on {
            give_back(customer, Some(session));
        } else {
            give_back(customer, None);
            session.quit();
        }
        passed.trouble
    }

    /// After a refusal there is no other line to be had: RSET makes this one fit for the next message.
    fn reset(&mut self, session: &mut Session) -> bool {
        let limit = self.limits.command;
        while session.connection.awaited_replies() > 0 {
            match session.connection.read_reply(limit) {
                Ok(reply) if !reply.is_intermediate() => {}
                Ok(_) | Err(_) => return false,
            }
        }
        session.connection.command("RSET", limit).is_ok_and(|reply| reply.is_success())
    }

    /// The greeting and EHLO; in the clear also what the transport's options ask for.
    fn first_words(&mut self, connection: Connection, target: &Target) -> Result<Session, Trouble> {
        let silent = |error| Trouble { about: About::Configuration, ..Trouble::quiet(error) };
        let local = connection.local_address();
        let tls = connection.tls_facts().cloned().map(Arc::new);
        let wishes = Wishes {
            interface: None,
            proxies: None,
            tls: self.tls_wishes(target).map_err(silent)?,
            helo: {
                self.context.delivery.sending = local;
                self.helo().map_err(silent)?
            },
        };
        let mut session = Session::over(connection, wishes);
        session.local = local;
        session.tls = tls;
        self.greet_customer(&mut session, target).map_err(|opening| opening.into_trouble(target))?;
        self.note_extensions(&mut session, target);
        Ok(session)
    }

    fn greet_customer(&mut self, session: &mut Session, target: &Target) -> Result<(), Opening> {
        let limit = self.limits.command;
        let reply = session
            .connection
            .read_banner_after(PHASE, limit)
            .map_err(|error| lost(session, target, error))?;
        if !reply.is_success() {
            return Err(bad_host(session, target, PHASE, &reply));
        }
        self.hello(session, target)?;
        if session.tls.is_some() {
            return Ok(());
        }
        if self.smtp.protocol == Protocol::Smtp {
            self.start_tls(session, target)?;
        }
        self.authenticate(session, target)
    }
}

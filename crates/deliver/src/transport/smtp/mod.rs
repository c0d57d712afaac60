//! The smtp transport: messages to other servers over SMTP, SMTP inside TLS, or LMTP (manual chapter 30, sections 49.1 and 49.2).
//!
//! One run takes a batch to the hosts of its addresses, in their order, until every address has an answer that is not
//! "try again". `hosts` finds the hosts, `session` opens a connection as far as MAIL, `authenticate` and `encrypt` are parts
//! of that, `transaction` carries one message over it, `pool` keeps it for the next one, `trouble` has the words and numbers
//! of what goes wrong.
//!
//! Which kind of record a failure leaves: of the host (no connection, a bad greeting, a connection lost), of this message
//! on this host (4xx to MAIL or to the data), or of the address (4xx to RCPT).

mod authenticate;
mod callout;
mod dane;
mod early;
mod encrypt;
mod events;
mod hosts;
mod international;
mod mta_sts;
mod options;
mod pool;
mod seal;
mod session;
mod sign;
mod socks;
#[cfg(test)]
mod tests;
mod transaction;
mod trouble;
pub mod turned;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance, Switch, rows};
use oxim_lang::context::Context;
use oxim_lang::list::{HostName, List, Subject};
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::Connection;
use parking_lot::Mutex;

use super::compose::{self, Composed};
use super::{
    Batch, DeliveryError, Driver, HostKey, HostResult, HostStatus, Outcome, Run, Transport, TransportKind,
    error_code,
};
use crate::address::{Address, AddressKind, RouteHost};
use crate::delivery::Delivery;
pub use callout::{NotOpened, Opened};
pub use international::{Downconvert, Form};
pub use options::{Protocol, Smtp};
pub use pool::close_idle_connections;
use session::Session;
use trouble::{About, Trouble};

/// The row.
pub static SMTP: TransportKind =
    TransportKind { row: DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP }, build };

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    Smtp::build(instance).map(|smtp| Box::new(smtp) as Box<dyn Driver>)
}

/// A host with all that is needed to connect.
#[derive(Clone, Debug)]
struct Target {
    name: String,
    address: IpAddr,
    port: u16,
    mx: Option<u16>,
    is_secure: bool,
    /// The name whose CNAME led to `name`.
    alias: Option<String>,
    /// The domain whose MX records led here, if that is not the recipient's own.
    mx_domain: Option<String>,
}

/// How far an address has come.
enum Progress {
    /// Nothing is known, or the last host said "not now".
    Waits(Option<DeliveryError>),
    Ends(Outcome),
}

/// How long the steps before MAIL may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection.
    pub connect: std::time::Duration,
    /// For each reply.
    pub command: std::time::Duration,
}

/// What one run needs everywhere.
struct Work<'a> {
    smtp: &'a Smtp,
    transport: &'a Transport,
    delivery: &'a Delivery,
    context: &'a mut Context,
    batch: &'a Batch<'a>,
    limits: Limits,
    /// What stands before a line of the log: the message's id and a space, if there is a message.
    label: String,
    composed: Option<Composed>,
    /// It is for a callout, or for cutthrough delivery.
    is_verification: bool,
    /// Something may be said before the server has greeted.
    early_allowed: bool,
    /// Another host may be tried after the one in hand.
    has_more_hosts: bool,
    /// The SOCKS proxy that leads to it, or is asked to.
    proxy: Option<SocketAddr>,
    progress: Vec<Progress>,
    /// What servers said against recipients for now ([`Run::refusals`]).
    refusals: Vec<(usize, DeliveryError)>,
    results: Vec<HostResult>,
}

/// A trouble that the log is told of only if another host is tried.
struct Untold {
    target: Target,
    trouble: Trouble,
    /// How many recipients had been put off before.
    refusals_before: usize,
}

impl Driver for Smtp {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        if self.line_bytes_max > 0 && batch.message.max_line > self.line_bytes_max {
            let error = DeliveryError::new(error_code::UNKNOWN, "message has lines too long for transport");
            return Run::all(batch, &Outcome::Failed(error));
        }
        let (scope, proxy) = (context.delivery.clone(), context.connection.proxy);
        let progress = batch.addresses.iter().map(|_| Progress::Waits(None)).collect();
        let mut work = Work {
            smtp: self,
            transport,
            delivery,
            context,
            batch,
            limits: Limits { connect: self.timeouts.connect, command: self.timeouts.command },
            label: format!("{} ", batch.message.id),
            composed: None,
            is_verification: false,
            early_allowed: true,
            has_more_hosts: false,
            proxy: None,
            progress,
            refusals: Vec::new(),
            results: Vec::new(),
        };
        let run = work.run();
        context.delivery = scope;
        context.connection.proxy = proxy;
        run
    }

    fn is_local(&self) -> bool {
        false
    }

    fn overrides_hosts(&self) -> bool {
        self.hosts_override && self.hosts.is_some()
    }

    fn signs_messages(&self) -> bool {
        self.dkim.domain.is_some() || self.arc_sign.is_some()
    }

    fn addresses_max(&self) -> usize {
        self.recipients_max
    }

    fn takes_domains(&self) -> bool {
        // A policy of MTA-STS speaks for one domain.
        !matches!(self.multi_domain, Switch::Fixed(false)) && self.tls.mta_sts.is_none()
    }

    fn multi_domain(&self) -> Option<&Switch> {
        Some(&self.multi_domain).filter(|switch| matches!(switch, Switch::Expanded(_)))
    }

    fn close_idle(&self) {
        pool::close_of(self.number);
    }

    fn open_for_callout(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        host: &RouteHost,
        limits: Limits,
    ) -> Option<Result<Opened, NotOpened>> {
        callout::open(self, transport, delivery, context, host, limits)
    }

    fn open_line(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        address: &Address,
    ) -> Option<Result<(Opened, std::time::Duration), NotOpened>> {
        callout::open_line(self, transport, delivery, context, address)
    }

    fn can_cut_through(&self, transport: &Transport) -> bool {
        self.protocol != Protocol::Lmtp
            && self.dkim.domain.is_none()
            && transport.generic.filter.is_none()
            && transport.generic.return_path.is_none()
    }

    fn send_over(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
        connection: &mut Connection,
    ) -> Result<Reply, String> {
        callout::send(self, transport, delivery, context, batch, connection)
    }
}

impl<'a> Work<'a> {
    /// Work without a message.
    fn new(
        smtp: &'a Smtp,
        transport: &'a Transport,
        delivery: &'a Delivery,
        context: &'a mut Context,
        batch: &'a Batch<'a>,
        limits: Limits,
    ) -> Work<'a> {
        Work {
            smtp,
            transport,
            delivery,
            context,
            batch,
            limits,
            label: String::new(),
            composed: None,
            is_verification: false,
            early_allowed: false,
            has_more_hosts: false,
            proxy: None,
            progress: Vec::new(),
            refusals: Vec::new(),
            results: Vec::new(),
        }
    }
}

impl Work<'_> {
    fn log(&self, text: &str) {
        self.delivery.services.log().main(format!("{}{text}", self.label));
    }

    fn run(&mut self) -> Run {
        let hosts = self.first_hosts();
        self.dns_events();
        match hosts {
            Ok(hosts) => self.try_hosts(&hosts),
            Err(error) => return Run::all(self.batch, &Outcome::Deferred(error)),
        }
        if self.has_waiting() && !self.is_for_all() {
            let hosts = self.fallback_hosts();
            self.dns_events();
            match hosts {
                Ok(hosts) if hosts.is_empty() => {}
                Ok(hosts) => self.try_hosts(&hosts),
                Err(error) => self.set_waiting(&error),
            }
        }
        let outcomes = std::mem::take(&mut self.progress).into_iter().map(|progress| match progress {
            Progress::Ends(outcome) => outcome,
            Progress::Waits(error) => Outcome::Deferred(error.unwrap_or_default()),
        });
        Run {
            hosts: std::mem::take(&mut self.results),
            refusals: std::mem::take(&mut self.refusals),
            ..Run::of(outcomes.collect())
        }
    }

    /// `mua_wrapper`: all recipients or none.
    fn is_for_all(&self) -> bool {
        self.delivery.config.main.mua_wrapper
    }

    fn has_waiting(&self) -> bool {
        self.progress.iter().any(|progress| matches!(progress, Progress::Waits(_)))
    }

    /// Indexes of the addresses that still need a host.
    fn waiting(&self) -> Vec<usize> {
        let waits =
            |(index, progress): (usize, &Progress)| matches!(progress, Progress::Waits(_)).then_some(index);
        self.progress.iter().enumerate().filter_map(waits).collect()
    }

    fn set_waiting(&mut self, error: &DeliveryError) {
        for progress in &mut self.progress {
            if let Progress::Waits(last) = progress {
                *last = Some(error.clone());
            }
        }
    }

    fn end_waiting(&mut self, outcome: &Outcome) {
        for progress in &mut self.progress {
            if matches!(progress, Progress::Waits(_)) {
                *progress = Progress::Ends(outcome.clone());
            }
        }
    }

    /// Goes through the hosts (manual section 30.5 for the limits).
    fn try_hosts(&mut self, hosts: &[Target]) {
        let (mut tried, mut counted) = (0, 0);
        let mut all_given_up = true;
        let mut untold: Option<Untold> = None;
        let mut index = 0;
        while let Some(target) = hosts.get(index).filter(|_| self.has_waiting()) {
            index += 1;
            let is_expired = match self.status(target) {
                HostStatus::Usable { is_expired } => is_expired,
                HostStatus::GivenUp => continue,
                HostStatus::NotYet => {
                    all_given_up = false;
                    continue;
                }
            };
            all_given_up = false;
            if tried >= self.smtp.hosts_hard_limit {
                break;
            }
            if !is_expired {
                if counted >= self.smtp.hosts_max_try {
                    break;
                }
                // At the limit, a host with a higher MX value is considered next, and this one does not count.
                let later =
                    hosts.iter().skip(index).position(|later| later.mx > target.mx && target.mx.is_some());
                match later.filter(|_| counted + 1 >= self.smtp.hosts_max_try) {
                    Some(place) => index += place,
                    None => counted += 1,
                }
            }
            tried += 1;
            if let Some(before) = untold.take() {
                self.log_untold(&before);
            }
            self.has_more_hosts = index < hosts.len();
            let refusals_before = self.refusals.len();
            let trouble = self.try_host(target);
            untold = trouble.map(|trouble| Untold { target: target.clone(), trouble, refusals_before });
        }
        if tried == 0 {
            self.none_tried(all_given_up);
        }
    }

    /// Another host is tried after this one: the log says why, of each recipient that was put off.
    fn log_untold(&self, before: &Untold) {
        let place = before.target.field_of_log(self.delivery);
        let refusals = self.refusals.get(before.refusals_before..).unwrap_or_default();
        if !refusals.iter().any(|(_, refusal)| refusal.smtp_reply.is_some()) {
            self.log(&before.trouble.line(&place));
            return;
        }
        // As Exim has it, a port stands in the place of the colon.
        let colon = if place == before.target.field() { ":" } else { "" };
        for (_, refusal) in refusals {
            self.log(&format!("{place}{colon} {}", refusal.text));
        }
    }

    fn none_tried(&mut self, all_given_up: bool) {
        let domain = self.batch.addresses.first().map(|a| String::from_utf8_lossy(&a.domain).into_owned());
        let of = format!(" for '{}'", domain.unwrap_or_default());
        if all_given_up {
            let text =
                format!("all hosts{of} have been failing for a long time (and retry time not reached)");
            self.end_waiting(&Outcome::Failed(DeliveryError::new(error_code::HOSTS_NOT_DUE, text)));
        } else if self.progress.iter().any(|progress| matches!(progress, Progress::Waits(None))) {
            let text = format!("retry time not reached for any host{of}");
            self.set_waiting(&DeliveryError::new(error_code::HOSTS_NOT_DUE, text));
        }
    }

    fn status(&mut self, target: &Target) -> HostStatus {
        if self.batch.is_forced {
            return HostStatus::Usable { is_expired: false };
        }
        self.enter(target);
        let by_address = self.retries_by_address();
        let key = HostKey {
            name: &target.name,
            address: by_address.then_some(target.address),
            port: (target.port != 25).then_some(target.port),
            message: &self.batch.message.id,
            delay_after_cutoff: self.smtp.delay_after_cutoff,
        };
        self.batch.history.status(self.context, &key)
    }

    fn retries_by_address(&mut self) -> bool {
        self.smtp.retry_by_address.is_on(self.context).unwrap_or(true)
    }

    /// Makes the host the one that variables tell of.
    fn enter(&mut self, target: &Target) {
        self.proxy = None;
        let scope = &mut self.context.delivery;
        scope.host = Some(Text::tainted(target.name.clone()));
        scope.host_address = Some(target.address);
        scope.host_port = target.port;
        scope.sending = None;
        scope.tls = None;
        scope.tlsa_usage = 0;
    }

    /// Whether the host is in a list. A list that cannot be evaluated does not hold it; the log says so.
    fn is_in(&mut self, list: Option<&List>, target: &Target) -> bool {
        let Some(list) = list else { return false };
        let subject = Subject::Host { address: Some(target.address), name: HostName::Known(&target.name) };
        match list.matches(self.context, &subject) {
            Ok(found) => found.is_yes(),
            Err(error) => {
                self.delivery.services.log().both(format!("{}{error}", self.label));
                false
            }
        }
    }

    /// Tries one host for all that wait. What comes back is a trouble whose line is not in the log yet.
    fn try_host(&mut self, target: &Target) -> Option<Trouble> {
        self.enter(target);
        let Some(_turn) = self.take_turn(target) else {
            self.set_waiting(&DeliveryError::new(
                error_code::UNKNOWN,
                "connection limit reached for all hosts",
            ));
            return None;
        };
        let trouble = self.deliver_to(target);
        let about = trouble.as_ref().map(|t| t.about);
        if about == Some(About::Configuration) {
            return trouble;
        }
        let error = trouble.as_ref().filter(|t| t.about != About::Address).map(|t| {
            let error = (*t.error).clone();
            DeliveryError { more: error.more | target.mx_mark(), ..error }
        });
        let by_address = self.retries_by_address();
        self.results.push(HostResult {
            name: target.name.clone(),
            address: by_address.then_some(target.address),
            port: (target.port != 25).then_some(target.port),
            error,
            is_about_message: about == Some(About::Message),
            line: trouble
                .as_ref()
                .filter(|t| t.is_logged)
                .map(|t| t.line(&target.field_of_log(self.delivery))),
        });
        let trouble = trouble?;
        // A host that takes nothing from us leaves the others.
        if trouble.is_final && !(trouble.about == About::Host && self.has_more_hosts) {
            self.end_waiting(&Outcome::Failed((*trouble.error).clone()));
        }
        // Nobody comes back to this host with the message of a caller who waits: the line about the address says it all.
        if trouble.is_logged && !(self.is_for_all() && trouble.about == About::Message) {
            self.log(&trouble.line(&target.field_of_log(self.delivery)));
        }
        self.deferral_events(&trouble);
        if trouble.is_logged { None } else { Some(trouble) }
    }

    /// One message to one host, over a connection that waits or a new one. What was answered is in `progress`.
    ///
    /// A server that takes few recipients at a time (LIMITS) gets the rest in further transactions, over another connection
    /// when it takes no more on this one.
    fn deliver_to(&mut self, target: &Target) -> Option<Trouble> {
        if let Some(customer) = self.customer_at(target) {
            return self.deliver_over_turned(target, customer);
        }
        let mut recipients = self.waiting();
        if let Err(outcome) = self.compose() {
            return Some(self.not_composed(target, outcome));
        }
        let place =
            pool::Place { transport: self.smtp.number, server: SocketAddr::new(target.address, target.port) };
        let mut kept = None;
        if let Some(mut session) = self.waiting_session(&place, target) {
            let passed = self.carry(&mut session, target, &mut recipients);
            if passed.is_stale {
                drop(session);
                self.event("tcp:close", b"");
            } else {
                let is_over = recipients.is_empty() || !passed.is_clean && passed.trouble.is_some();
                kept = self.after(place, target, session, passed);
                if is_over {
                    return kept;
                }
            }
        }
        loop {
            match self.open(target) {
                Ok(mut session) => {
                    let passed = self.carry(&mut session, target, &mut recipients);
                    if passed.is_stale {
                        session.quit();
                        self.event("tcp:close", b"");
                        self.early_allowed = false;
                        continue;
                    }
                    let is_over = recipients.is_empty() || !passed.is_clean && passed.trouble.is_some();
                    kept = self.after(place, target, session, passed).or(kept);
                    if is_over {
                        return kept;
                    }
                }
                Err(trouble) => {
                    self.set_waiting(&trouble.error);
                    return Some(trouble);
                }
            }
        }
    }

    /// As many transactions as the recipients need and the connection allows. Those that were named leave the list.
    fn carry(
        &mut self,
        session: &mut Session,
        target: &Target,
        recipients: &mut Vec<usize>,
    ) -> transaction::Passed {
        let mut kept = None;
        loop {
            let part = self.part(session, recipients);
            let mut passed = self.transact(session, target, &part);
            if passed.is_stale {
                return passed;
            }
            // A refusal of the sender ends those too that have not been named.
            let waits = |index: &usize| matches!(self.progress.get(*index), Some(Progress::Waits(_)));
            recipients.retain(|index| !part.contains(index) && waits(index));
            kept = passed.trouble.take().or(kept);
            if recipients.is_empty() || !passed.is_clean || self.is_full(session) {
                passed.trouble = kept;
                return passed;
            }
        }
    }

    /// The recipients of the next transaction, by what the server says of its limits (RFC 9422).
    fn part(&self, session: &Session, recipients: &[usize]) -> Vec<usize> {
        let limits = session.limits();
        let domain = |index: &usize| self.batch.addresses.get(*index).map(|address| &address.domain);
        let first = recipients.first().and_then(domain);
        let max = limits.rcpt_max.and_then(|max| usize::try_from(max).ok()).filter(|max| *max > 0);
        let one_domain = limits.rcpt_domain_max.is_some_and(|max| max > 0);
        let wanted = recipients.iter().filter(|index| !one_domain || domain(index) == first);
        wanted.copied().take(max.unwrap_or(usize::MAX)).collect()
    }

    /// Whether the connection has carried all that it may.
    fn is_full(&self, session: &Session) -> bool {
        let theirs = session.limits().mail_max.and_then(|max| usize::try_from(max).ok()).unwrap_or(0);
        [self.smtp.messages_max, theirs].into_iter().any(|max| max > 0 && session.messages >= max)
    }

    fn after(
        &mut self,
        place: pool::Place,
        target: &Target,
        mut session: Session,
        passed: transaction::Passed,
    ) -> Option<Trouble> {
        if passed.is_clean && !self.is_full(&session) && session.may_be_kept && self.expects_more(target) {
            session.farewell = self.farewell();
            pool::keep(place, session);
        } else {
            session.quit();
            self.event("tcp:close", b"");
        }
        passed.trouble
    }

    /// Whether a connection is kept for another message: on speculation, unless there are events. Then only if there is a message
    /// that may want it, so that `tcp:close` comes before the end of the last one.
    fn expects_more(&self, target: &Target) -> bool {
        self.transport.generic.event_action.is_none()
            || crate::queue::are_others_under_way()
            || self.delivery.waiting.expects(
                self.delivery.services.hints.get(),
                &self.transport.name,
                &target.name,
                self.batch.message.id,
            )
    }

    /// A filter or a signature may depend on the host, so that each host gets a message of its own.
    fn compose(&mut self) -> Result<(), Outcome> {
        let has_filter = self.transport.generic.filter.is_some();
        if self.composed.is_none() || has_filter || self.signs() || self.smtp.arc_sign.is_some() {
            let mut composed = compose::compose(self.delivery, self.transport, self.context, self.batch)?;
            if has_filter && composed.body.is_none() && !composed.header.ends_with(b"\n") {
                composed.header.push(b'\n');
            }
            let signed = self.signed(composed).map_err(Outcome::Deferred)?;
            self.composed = Some(self.sealed(signed));
        }
        Ok(())
    }

    /// There is nothing to send. The host is not to blame.
    fn not_composed(&mut self, target: &Target, outcome: Outcome) -> Trouble {
        let with_host = |error: DeliveryError| match error.code {
            error_code::FILTER_FAILED => {
                DeliveryError { host: Some(Arc::new(target.used())), is_for_panic_log: false, ..error }
            }
            _ => error,
        };
        let error = match outcome {
            Outcome::Failed(error) => {
                self.end_waiting(&Outcome::Failed(error.clone()));
                error
            }
            Outcome::Deferred(error) => {
                let error = with_host(error);
                self.set_waiting(&error);
                error
            }
            Outcome::Delivered(_) => DeliveryError::default(),
        };
        Trouble { about: About::Configuration, ..Trouble::quiet(error) }
    }

    /// A waiting connection whose facts are those that this message would have. The server may have been known by another name
    /// where names matter to nothing: one that serves many domains under a name for each.
    fn waiting_session(&mut self, place: &pool::Place, target: &Target) -> Option<Session> {
        let local = pool::local_address(place)?;
        self.context.delivery.sending = local;
        let wishes = self.wishes(target, local).ok()?;
        let mut found = pool::take(place, |session| {
            let are_alike = || self.smtp.treats_hosts_alike && session.is_nameless();
            session.wishes == wishes || are_alike() && session.wishes.are_same_in_the_clear(&wishes)
        })?;
        self.context.delivery.sending = found.local;
        self.context.delivery.tls.clone_from(&found.tls);
        if let Some(session) = found.proxy {
            self.proxy = session.proxy;
            self.context.connection.proxy = found.proxy;
        }
        found.farewell.call_off();
        found.is_continued = true;
        Some(found)
    }
}

/// Hosts of `serialize_hosts` to which this process has a connection.
static SERIALIZED: LazyLock<Mutex<Vec<(u64, IpAddr)>>> = LazyLock::new(Mutex::default);

/// The right to connect to a host; given back when dropped.
struct Turn(Option<(u64, IpAddr)>);

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(mine) = self.0 {
            let mut all = SERIALIZED.lock();
            if let Some(at) = all.iter().position(|other| *other == mine) {
                all.swap_remove(at);
            }
        }
    }
}

impl Work<'_> {
    fn take_turn(&mut self, target: &Target) -> Option<Turn> {
        let list = self.smtp.serialize.as_ref();
        if !self.is_in(list, target) {
            return Some(Turn(None));
        }
        let mine = (self.smtp.number, target.address);
        let mut all = SERIALIZED.lock();
        if all.contains(&mine) {
            return None;
        }
        all.push(mine);
        Some(Turn(Some(mine)))
    }
}

fn is_mail(kind: AddressKind) -> bool {
    kind == AddressKind::Mail
}

impl Target {
    fn new(host: &RouteHost, address: IpAddr, port: u16) -> Target {
        Target {
            name: host.name.clone(),
            address,
            port: host.port.unwrap_or(port),
            mx: host.mx,
            is_secure: host.dnssec == crate::address::HostDnssec::Yes,
            alias: host.certificate_name.clone(),
            mx_domain: host.mx_domain.clone(),
        }
    }
}

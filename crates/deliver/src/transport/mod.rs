//! Transports: what carries a message to a mailbox, a command or another server.
//!
//! A driver is a row of [`TRANSPORTS`]. It gets a [`Batch`] and answers with one [`Outcome`] for each address, in their
//! order. It never writes the main log's delivery lines, never records an outcome: that is `settle`.
//!
//! A local driver only resolves its options into a job; the job is performed by [`crate::agent`] as the right user.

#![allow(clippy::result_large_err, reason = "an outcome is moved once or twice in a delivery")]

pub mod appendfile;
mod autoreply;
pub mod compose;
pub mod error_code;
pub mod filter;
pub mod generic;
pub mod lmtp;
pub(crate) mod local;
pub mod pipe;
mod queuefile;
pub mod smtp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oxim_lang::config::{ConfigError, DriverRow, Instance};
use oxim_lang::context::{Context, Services};
use oxim_mail::message_id::MessageId;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::Connection;
use oxim_spool::message::{Body, Message};

use crate::address::{Address, RouteHost};
use crate::agent::job::NewFileJob;
use crate::agent::{Identity, Job};
use crate::delivery::Delivery;
use crate::submission::Submitter;

/// What one run of a transport delivers.
#[derive(Clone)]
pub struct Batch<'a> {
    /// The addresses; their hosts, users and propagated data are equal as far as the driver needs it.
    pub addresses: Vec<Address>,
    /// The message.
    pub message: Arc<Message>,
    /// Its body, with LF line ends.
    pub body: Body,
    /// Envelope sender for this delivery, after `errors_to` and the transport's `return_path`; empty for a bounce.
    pub return_path: Vec<u8>,
    /// Whom a local delivery runs as.
    pub identity: Identity,
    /// Where a local delivery runs; unset: in `/`.
    pub current_directory: Option<Vec<u8>>,
    /// Retry times are to be ignored (a forced delivery).
    pub is_forced: bool,
    /// How hosts did before.
    pub history: &'a dyn HostHistory,
    /// The door for messages that a transport makes (autoreply).
    pub submitter: Option<&'a dyn Submitter>,
    /// It runs as the shadow of another transport: what a command prints is nobody's business.
    pub is_shadow: bool,
    /// How many transports have found that the mailbox is another one's (`file_format`).
    pub handed_over: usize,
}

/// The id of the message that is not there. No line of the log shows it.
const NO_MESSAGE: &[u8] = b"000000-000000-00";

impl Batch<'static> {
    /// A batch before there is a message: what verification gives a driver.
    #[must_use]
    pub fn without_message(addresses: Vec<Address>) -> Option<Batch<'static>> {
        Some(Batch {
            addresses,
            message: Arc::new(Message::new(MessageId::parse(NO_MESSAGE)?)),
            body: Body::Memory(Default::default()),
            return_path: Vec::new(),
            identity: Identity::current(),
            current_directory: None,
            is_forced: true,
            history: &NoHistory,
            submitter: None,
            is_shadow: false,
            handed_over: 0,
        })
    }
}

/// One host as the retry hints know it.
#[derive(Clone, Copy, Debug)]
pub struct HostKey<'a> {
    /// Name as routed.
    pub name: &'a str,
    /// Its address; `None` if the hints are to be by name only (`retry_include_ip_address`).
    pub address: Option<IpAddr>,
    /// The port, if it is not 25: part of the key, as Exim has it (`T:name:address:port`).
    pub port: Option<u16>,
    /// The message: trouble of one message with one host has a key of its own.
    pub message: &'a MessageId,
    /// The transport's option of that name.
    pub delay_after_cutoff: bool,
}

/// Whether a host may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostStatus {
    /// It may.
    Usable {
        /// It has failed for longer than its retry rule allows: such a try does not count for `hosts_max_try`.
        is_expired: bool,
    },
    /// Its retry time has not come.
    NotYet,
    /// Its retry time has not come, and it has failed for so long that an address fails if all hosts are like this.
    GivenUp,
}

/// What the retry hints tell a remote transport before it connects. What came of it goes back in [`Run::hosts`].
pub trait HostHistory: Sync {
    /// Whether the host may be tried.
    fn status(&self, context: &mut Context, host: &HostKey<'_>) -> HostStatus;
}

/// Nothing is remembered: every host may be tried.
pub struct NoHistory;

impl HostHistory for NoHistory {
    fn status(&self, _context: &mut Context, _host: &HostKey<'_>) -> HostStatus {
        HostStatus::Usable { is_expired: false }
    }
}

/// What came of one address.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is delivered.
    Delivered(Delivered),
    /// It will never be.
    Failed(DeliveryError),
    /// Not now.
    Deferred(DeliveryError),
}

/// Facts about a successful delivery, for the log and for DSN.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// What the server said (`C="250 OK"`), or the first line that a command printed.
    pub confirmation: Option<Arc<[u8]>>,
    /// The server.
    pub host: Option<Arc<HostUsed>>,
    /// What was written, in bytes, where it is known: the size in the log line.
    pub bytes: Option<u64>,
    /// What the server was told in place of international addresses.
    pub downconverted: Option<Box<Downconverted>>,
    /// The server takes over DSN duties for it.
    pub is_dsn_relayed: bool,
    /// Output that is to be returned to the sender although the delivery succeeded (`return_output` of pipe is a failure; this is not).
    pub output: Vec<u8>,
    /// What became of the shadow transport: `ST=` in the log.
    pub shadow: Option<String>,
    /// The `quota_warn_threshold` was passed: the warning message, if one is to be sent.
    pub quota_warning: Option<Vec<u8>>,
    /// The file that was written, if options made another path of the one that a redirection named.
    pub path: Option<Vec<u8>>,
}

impl Delivered {
    /// A delivery that only counts as one: nothing was written.
    #[must_use]
    pub fn of_nothing() -> Self {
        Delivered { bytes: Some(0), ..Delivered::default() }
    }
}

/// Envelope addresses that went out in A-labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Downconverted {
    /// The recipient.
    pub address: String,
    /// The sender.
    pub sender: String,
}

/// The server that a remote delivery talked to.
#[derive(Clone, Debug, Default)]
pub struct HostUsed {
    /// Its name, or its address as text.
    pub name: String,
    /// Its address; None for a socket in the file system.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// The SOCKS proxy that led there.
    pub proxy: Option<SocketAddr>,
    /// What TLS came to.
    pub tls: Option<Arc<oxim_net::tls::TlsFacts>>,
    /// The lookups that led there were authenticated.
    pub is_dnssec: bool,
    /// The client authenticator that worked, with the id it used and the AUTH= sender.
    pub authenticator: Option<String>,
    /// AUTH= parameter that was sent.
    pub auth_sender: Option<Vec<u8>>,
    /// MAIL, RCPT and DATA went out together.
    pub is_pipelined: bool,
    /// They went out before the greeting.
    pub is_early: bool,
    /// The server answered for each recipient (PRDR).
    pub is_prdr: bool,
    /// The message went by BDAT.
    pub is_chunked: bool,
    /// The connection was opened for an earlier message.
    pub is_continued: bool,
}

/// Why an address was not delivered.
#[derive(Clone, Debug, Default)]
pub struct DeliveryError {
    /// The system's errno, or one of [`error_code`].
    pub code: i32,
    /// Further detail for retry rules: the SMTP code's last digits, the age of a quota, `A` or `M` for MX.
    pub more: i32,
    /// The text for the log.
    pub text: String,
    /// The text for a bounce, if it is another one.
    pub bounce_text: Option<Box<str>>,
    /// The server that said so.
    pub host: Option<Arc<HostUsed>>,
    /// The server's whole reply, for DSN.
    pub smtp_reply: Option<Box<[u8]>>,
    /// Output of a command, returned to the sender.
    pub output: Vec<u8>,
    /// The message is to be frozen.
    pub freeze: bool,
    /// It was a deferral until its retry time was over.
    pub is_timed_out: bool,
    /// The key of the retry record, if routing has named it.
    pub retry_key: Option<Box<[u8]>>,
    /// The retry record goes to the address, not to the host (4xx to RCPT).
    pub is_about_address: bool,
    /// The configuration is at fault: the line about the address goes to the panic log as well.
    pub is_for_panic_log: bool,
    /// No retry hint is left: the address is tried again in each queue run.
    pub is_unremembered: bool,
}

impl DeliveryError {
    /// An error with a number and a text.
    #[must_use]
    pub fn new(code: i32, text: impl Into<String>) -> DeliveryError {
        DeliveryError { code, text: text.into(), ..DeliveryError::default() }
    }
}

/// How one host did in a run, for the retry hints.
#[derive(Clone, Debug)]
pub struct HostResult {
    /// Name as routed.
    pub name: String,
    /// Address; `None` if the hints are by name only.
    pub address: Option<IpAddr>,
    /// Port, if it is not the usual one.
    pub port: Option<u16>,
    /// `None`: it worked, an old retry record goes.
    pub error: Option<DeliveryError>,
    /// The trouble is with this message on this host, not with the host.
    pub is_about_message: bool,
    /// What the log has of it, if it has a line of its own.
    pub line: Option<String>,
}

/// What a run came to.
pub struct Run {
    /// One for each address of the batch, in order.
    pub outcomes: Vec<Outcome>,
    /// The hosts that were tried.
    pub hosts: Vec<HostResult>,
    /// What servers said against recipients for now: the index of the address, and the words. It is remembered even where a later
    /// host has another reason to wait.
    pub refusals: Vec<(usize, DeliveryError)>,
    /// Another transport that has done the work (`file_format` of appendfile).
    pub handed_to: Option<crate::address::TransportId>,
}

impl Run {
    /// One outcome for each address, and no hosts.
    #[must_use]
    pub fn of(outcomes: Vec<Outcome>) -> Run {
        Run { outcomes, hosts: Vec::new(), refusals: Vec::new(), handed_to: None }
    }

    /// The same outcome for all.
    #[must_use]
    pub fn all(batch: &Batch<'_>, outcome: &Outcome) -> Run {
        Run::of(vec![outcome.clone(); batch.addresses.len()])
    }
}

/// A new file that an agent is to write.
pub struct Order {
    /// Where and how.
    pub job: NewFileJob,
    /// What.
    pub message: compose::Composed,
}

/// A driver whose deliveries are new files that do not ask for each other.
pub trait FileDriver {
    /// What the agent is to do for a batch.
    ///
    /// # Errors
    /// The run is over without it.
    fn order(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Result<Order, Run>;
}

/// A transport driver, built once from its options.
pub trait Driver: Send + Sync {
    /// Delivers the batch. Runs on a worker thread and may block.
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run;

    /// Whether deliveries run as a user, one batch at a time, before the remote ones.
    fn is_local(&self) -> bool;

    /// The driver as one whose files may reach the disk together with those of other deliveries; none if a delivery must know what
    /// the one before it has done.
    fn files(&self) -> Option<&dyn FileDriver> {
        None
    }

    /// What becomes of the addresses when the transport filter takes too long.
    fn filter_timed_out(&self) -> Outcome {
        Outcome::Deferred(DeliveryError::new(nix::libc::ETIMEDOUT, "transport filter timed out"))
    }

    /// Whether it has hosts of its own that go before those of the route.
    fn overrides_hosts(&self) -> bool {
        false
    }

    /// Whether it puts signatures on what it sends, so that nothing may go past it (cutthrough delivery).
    fn signs_messages(&self) -> bool {
        false
    }

    /// How many addresses one run takes (`batch_max`, `max_rcpt`); 0 is no limit.
    fn addresses_max(&self) -> usize;

    /// Whether one run takes addresses of several domains.
    fn takes_domains(&self) -> bool;

    /// `multi_domain` that must be expanded for each address.
    fn multi_domain(&self) -> Option<&oxim_lang::config::Switch> {
        None
    }

    /// Whether what it writes names the recipients (SMTP, LMTP, batched SMTP): with their affixes under `rcpt_include_affixes`.
    fn names_recipients(&self) -> bool {
        !self.is_local()
    }

    /// Whether it runs as who submitted the message, if no user is set (`pipe_as_creator`).
    fn runs_as_creator(&self) -> bool {
        false
    }

    /// Opens a connection as for a delivery to that host, up to MAIL: what a callout talks over. `None`: not this kind of
    /// transport, or the host has no address.
    fn open_for_callout(
        &self,
        _transport: &Transport,
        _delivery: &Delivery,
        _context: &mut Context,
        _host: &RouteHost,
        _limits: smtp::Limits,
    ) -> Option<Result<smtp::Opened, smtp::NotOpened>> {
        None
    }

    /// Opens a connection to the first usable host of an address, for a client that becomes the server (ATRN). With it comes the
    /// time limit of a command. `None`: not this kind of transport.
    fn open_line(
        &self,
        _transport: &Transport,
        _delivery: &Delivery,
        _context: &mut Context,
        _address: &Address,
    ) -> Option<Result<(smtp::Opened, std::time::Duration), smtp::NotOpened>> {
        None
    }

    /// Whether a message can go out over a connection that was opened before the message was there: nothing about it
    /// depends on the whole message.
    fn can_cut_through(&self, _transport: &Transport) -> bool {
        false
    }

    /// Sends a message over a connection on which MAIL and RCPT have been answered; gives the last reply.
    ///
    /// # Errors
    /// There is none: the text tells why.
    fn send_over(
        &self,
        _transport: &Transport,
        _delivery: &Delivery,
        _context: &mut Context,
        _batch: &Batch<'_>,
        _connection: &mut Connection,
    ) -> Result<Reply, String> {
        Err("not this kind of transport".to_owned())
    }

    /// The question whether the mailbox of an address has room for a message of this size. `None`: there is no limit.
    ///
    /// # Errors
    /// The options cannot be evaluated.
    fn room_job(
        &self,
        _transport: &Transport,
        _delivery: &Delivery,
        _context: &mut Context,
        _address: &Address,
        _message_bytes: u64,
    ) -> Result<Option<Job>, DeliveryError> {
        Ok(None)
    }

    /// Ends connections that wait for another message: when no more is to come soon.
    fn close_idle(&self) {}

    /// `batch_id`, or whatever else keeps addresses of one local transport apart.
    fn batch_id(&self) -> Option<&oxim_lang::expand::Template> {
        None
    }
}

/// Makes a driver of its section, or tells all that is wrong with the section.
pub type Build = fn(&Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>>;

/// A transport driver's row.
pub struct TransportKind {
    /// Name and private options.
    pub row: DriverRow,
    /// Reads the options.
    pub build: Build,
}

/// A configured transport.
pub struct Transport {
    /// Its name.
    pub name: String,
    /// Its driver's row.
    pub kind: &'static TransportKind,
    /// The options that all transports have.
    pub generic: generic::Generic,
    /// Its driver.
    pub driver: Box<dyn Driver>,
}

impl Transport {
    /// Whether anything is to be expanded for events.
    #[must_use]
    pub fn has_events(&self) -> bool {
        let generic = &self.generic;
        crate::event::ARE_RAISED
            && (generic.event_action.is_some()
                || generic.tpda_delivery_action.is_some()
                || generic.tpda_host_defer_action.is_some())
    }

    /// Builds a transport from its section.
    ///
    /// # Errors
    /// Options that exclude each other, or that make no sense.
    pub fn build(instance: &Instance, kind: &'static TransportKind) -> Result<Transport, Vec<ConfigError>> {
        let generic = generic::Generic::build(instance)?;
        let driver = (kind.build)(instance)?;
        if generic.shadow_transport.is_some() && !driver.is_local() {
            let text = format!("shadow transport not allowed on non-local transport {}", instance.name);
            return Err(vec![ConfigError::new(text)]);
        }
        Ok(Transport { name: instance.name.clone(), kind, generic, driver })
    }
}

/// Writes a line that is not about the outcome of an address: about a host, or what a command printed.
pub(crate) fn log_main(services: &Services, batch: &Batch<'_>, text: &str) {
    services.log().main(format!("{} {text}", batch.message.id));
}

/// All transport drivers.
pub static TRANSPORTS: &[&TransportKind] = &[
    &appendfile::APPENDFILE,
    &autoreply::AUTOREPLY,
    &lmtp::LMTP,
    &pipe::PIPE,
    &queuefile::QUEUEFILE,
    &smtp::SMTP,
];

//! Routers: who decides where an address goes.
//!
//! A driver is a row of [`ROUTERS`]. `walk` offers an address to the routers in turn, `precondition` says whether one
//! is run at all, the driver gives a [`Verdict`], and `worklist` goes on with the children until all is decided.
//! Failure modes: whatever cannot be found out now is a deferral, never an absence. Manual chapters 3 and 15 to 22.

#![allow(clippy::result_large_err, reason = "errors of a configuration, made once at most")]

pub mod accept;
pub mod affix;
pub mod by_domain;
pub mod dns_hosts;
pub mod dnslookup;
pub mod generic;
pub mod host_item;
pub mod host_list;
pub mod ipliteral;
pub mod iplookup;
pub mod manualroute;
pub mod matching;
pub mod precondition;
pub mod prepare;
pub mod queryprogram;
pub mod redirect;
pub mod require_files;
pub mod scope;
pub mod self_action;
pub mod trace;
pub mod user_files;
pub mod walk;
pub mod worklist;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, Instance};
use oxim_lang::context::Context;
use oxim_lang::list::LogKind;
use oxim_spool::log::Selector;

use crate::address::{Address, LocalUser, RouterId, TransportId};
use crate::delivery::{Delivery, TransportName};
pub use by_domain::{ByDomain, Inputs};
pub use generic::Generic;
pub use worklist::{Decided, DomainChange, RouteRequest, Routed, SyntaxNotice};

/// All router drivers.
pub static ROUTERS: &[&RouterKind] = &[
    &accept::ACCEPT,
    &dnslookup::DNSLOOKUP,
    &ipliteral::IPLITERAL,
    &iplookup::IPLOOKUP,
    &manualroute::MANUALROUTE,
    &queryprogram::QUERYPROGRAM,
    &redirect::REDIRECT,
];

/// Numbers that stand in log lines and retry records for errors of routing: `defer (-17)`.
pub mod error_code {
    /// Nothing more is known, as when an option cannot be expanded.
    pub const UNKNOWN: i32 = -1;
    /// A redirection list is faulty.
    pub const BAD_REDIRECT: i32 = -17;
    /// The router names no transport, or one that does not exist.
    pub const BAD_TRANSPORT: i32 = -30;
    /// A host's address could not be found.
    pub const HOST_LOOKUP: i32 = -32;
    /// The DNS did not answer a question for a host.
    pub const DNS_DEFER: i32 = -36;
}

/// Why an address is routed. `$verify_mode` and the preconditions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To deliver a message.
    Deliver,
    /// `-bt`.
    Test,
    /// To find out whether a sender address can be answered (`verify = sender`, `-bvs`).
    VerifySender,
    /// To find out whether a recipient address is good (`verify = recipient`, `-bv`).
    VerifyRecipient,
    /// The EXPN command.
    Expn,
}

impl Purpose {
    /// Whether it is one of the two verifications.
    #[must_use]
    pub fn is_verify(self) -> bool {
        matches!(self, Purpose::VerifySender | Purpose::VerifyRecipient)
    }

    /// `$verify_mode`.
    #[must_use]
    pub fn verify_mode(self) -> &'static str {
        match self {
            Purpose::VerifySender => "S",
            Purpose::VerifyRecipient => "R",
            Purpose::Deliver | Purpose::Test | Purpose::Expn => "",
        }
    }
}

/// Why an address fails or must wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// For the log and, without `user_message`, for the bounce. Unset: "unknown error".
    pub message: Option<String>,
    /// For the sender or the SMTP client, if it is another text (`cannot_route_message`).
    pub user_message: Option<String>,
    /// Whether `message` was written by the postmaster for the sender (`:fail:`, `:defer:`) and may go to an SMTP client.
    pub is_for_client: bool,
    /// The message is to be frozen.
    pub freeze: bool,
    /// The number for the log and the retry rules.
    pub code: i32,
    /// The key of the retry record for a routing delay: `R:` and the domain or the address. Set by the walk.
    pub retry_key: Option<Vec<u8>>,
}

impl Problem {
    /// A problem with a text.
    #[must_use]
    pub fn new(code: i32, message: impl Into<String>) -> Problem {
        Problem { message: Some(message.into()), code, ..Problem::default() }
    }

    /// The text for logs.
    #[must_use]
    pub fn text(&self) -> &str {
        self.message.as_deref().unwrap_or("unknown error")
    }
}

/// Why a router declined, where that tells more than "Unrouteable address".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// For the log, bounces and replies to RCPT.
    pub text: String,
    /// For clients and senders, if it is another text.
    pub told: Option<String>,
}

impl From<&str> for Declined {
    fn from(text: &str) -> Declined {
        Declined { text: text.to_owned(), told: None }
    }
}

impl From<String> for Declined {
    fn from(text: String) -> Declined {
        Declined { text, told: None }
    }
}

/// What a router says about an address.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to the transport that the driver has put into the address.
    Deliver,
    /// It is replaced by these children (whose parent the driver has set).
    Redirect(Vec<Address>),
    /// It is thrown away (`:blackhole:`).
    Discard,
    /// It is thrown away by a filter.
    FilteredOut,
    /// It is the same address in another domain: routed anew (`self = reroute`, widening).
    Reroute {
        /// The new domain.
        domain: Vec<u8>,
        /// Whether header lines are changed too.
        rewrite_headers: bool,
    },
    /// Not mine; with a text that tells the sender more than "Unrouteable address", should nobody want it.
    Decline(Option<Declined>),
    /// Mine, but another router shall have it, whatever `more` says; with a text as for `Decline`.
    Pass(Option<Declined>),
    /// It can never be delivered.
    Fail(Problem),
    /// Not now.
    Defer(Problem),
}

/// A router at work on one address.
pub struct Run<'a> {
    /// Everything that is configured.
    pub delivery: &'a Delivery,
    /// The router.
    pub router: &'a Router,
    /// What expansions read.
    pub context: &'a mut Context,
    /// Why the address is routed.
    pub purpose: Purpose,
    /// The account that `check_local_user` found.
    pub local_user: Option<Arc<LocalUser>>,
    /// `router_home_directory`, expanded.
    pub router_home: Option<Text>,
    /// What the worklist collects beside addresses.
    pub notices: &'a mut worklist::Notices,
    /// Addresses that a filter makes without taking the address in hand.
    pub beside: &'a mut Vec<Address>,
}

impl Run<'_> {
    /// Whether the log is to have lines of this kind.
    pub(crate) fn has_selector(&self, selector: Selector) -> bool {
        self.delivery.services.log().selectors().has(selector)
    }

    /// Writes a line to the main log.
    pub fn log(&self, line: &str) {
        write_log(self.context, self.purpose, LogKind::Main, line);
    }

    /// Writes a line to the main and the panic log.
    pub fn log_panic(&self, line: &str) {
        write_log(self.context, self.purpose, LogKind::Panic, line);
    }
}

/// Writes a log line of routing, with the message's id in front in a delivery; EXPN has none.
pub(crate) fn write_log(context: &Context, purpose: Purpose, kind: LogKind, line: &str) {
    if purpose == Purpose::Expn {
        oxim_base::debug::line(oxim_base::debug::ROUTE, || line.to_owned());
        return;
    }
    oxim_lang::list::write_log(context, kind, line);
}

/// A driver, built once from its options.
pub trait RouterDriver: Send + Sync {
    /// Decides about an address whose preconditions are met. May block.
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict;

    /// What its decisions are made of, if of nothing that differs between addresses of a domain as long as these do not.
    fn inputs(&self) -> Option<Inputs<'_>> {
        None
    }

    /// `same_domain_copy_routing`: other addresses of the domain get the same hosts without being routed.
    fn copies_routing_by_domain(&self) -> bool {
        false
    }
}

/// Whether a driver uses the generic `transport` option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportUse {
    /// It must be set, unless `verify_only` is.
    Required,
    /// It may be set.
    Allowed,
    /// It must not be set.
    Forbidden,
}

/// What a driver's `build` may look at.
pub struct Build<'a> {
    /// The router's section of the configuration.
    pub instance: &'a Instance,
    /// The options that all routers have.
    pub generic: &'a Generic,
    /// The transports' names, and which of them are local.
    pub transports: &'a [TransportName],
}

impl Build<'_> {
    /// An error of this router, in Exim's form.
    #[must_use]
    pub fn error(&self, text: &str) -> ConfigError {
        ConfigError::about(format!("{} router", self.instance.name), text)
    }

    /// The transport of a name.
    #[must_use]
    pub fn transport(&self, name: &str) -> Option<TransportId> {
        self.transports.iter().position(|t| t.name == name).map(TransportId)
    }
}

/// A router driver's row.
pub struct RouterKind {
    /// Name and private options.
    pub row: &'static DriverRow,
    /// Whether `transport` is needed.
    pub transport: TransportUse,
    /// Reads the options.
    pub build: fn(&Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError>,
}

/// A configured router.
pub struct Router {
    /// Its place in the order.
    pub id: RouterId,
    /// Its name.
    pub name: String,
    /// Its driver's row.
    pub kind: &'static RouterKind,
    /// The options that all routers have.
    pub generic: Generic,
    /// Its driver.
    pub driver: Box<dyn RouterDriver>,
    /// Whether it decides by the domain alone.
    pub by_domain: ByDomain,
}

//! Verification: what the `verify` condition asks for, and who answers it.
//!
//! [`Request`] is the text of the condition, parsed; `address` asks the routers, `callout` other hosts (its results are
//! remembered by `callout_cache`), `header` looks at the header lines, `host` at the client.
//! Failure modes: what cannot be found out now is "later", unless the request says `defer_ok`.
//! Manual sections 44.26 and 44.45 to 44.51.

mod address;
mod arc;
mod callout;
mod callout_cache;
mod csa;
mod header;
mod held;
mod host;
mod options;
mod quota;
mod sender;

use oxim_base::Text;

use crate::acl::{Phase, Phases, Run, Tested};
pub(crate) use held::{Held, Onward, offer};
pub(crate) use options::Options;
pub(crate) use sender::SenderVerification;

/// What is to be verified.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// `arc`, perhaps with the states that are accepted.
    Arc(Option<Text>),
    /// `certificate`.
    Certificate,
    /// `csa`, with the domain to ask for if it is not the HELO name.
    Csa {
        /// The domain.
        domain: Option<Text>,
    },
    /// `header_names_ascii`.
    HeaderNamesAscii,
    /// `header_sender`.
    HeaderSender(Box<Options>),
    /// `header_syntax`.
    HeaderSyntax,
    /// `helo`.
    Helo,
    /// `not_blind`.
    NotBlind {
        /// Local parts are compared without case.
        case_insensitive: bool,
    },
    /// `recipient`.
    Recipient(Box<Options>),
    /// `reverse_host_lookup`.
    ReverseHostLookup {
        /// A temporary failure is a success.
        defer_ok: bool,
    },
    /// `sender`, or `sender=address`.
    Sender {
        /// The address, if it is not that of the message.
        address: Option<Text>,
        /// The rest.
        options: Box<Options>,
    },
}

/// Phases in which the header lines are there.
const WITH_HEADERS: Phases = crate::acl::phases(&[
    Phase::Data,
    Phase::Prdr,
    Phase::Mime,
    Phase::Dkim,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
    Phase::NotQuit,
    Phase::Quit,
    Phase::Unknown,
]);

const WITH_SENDER: Phases = crate::acl::phases(&[
    Phase::Mail,
    Phase::Rcpt,
    Phase::Predata,
    Phase::Data,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
    Phase::Unknown,
]);

impl Request {
    /// Where it can be asked.
    fn phases(&self) -> Phases {
        match self {
            Request::Arc(_) => crate::acl::phases(&[Phase::Data]),
            Request::Certificate
            | Request::Csa { .. }
            | Request::Helo
            | Request::ReverseHostLookup { .. } => Phases::MAX,
            Request::HeaderNamesAscii
            | Request::HeaderSender(_)
            | Request::HeaderSyntax
            | Request::NotBlind { .. } => WITH_HEADERS,
            Request::Recipient(_) => crate::acl::phases(&[Phase::Rcpt]),
            Request::Sender { .. } => WITH_SENDER,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Request::Arc(_) => "arc",
            Request::Certificate => "certificate",
            Request::Csa { .. } => "csa",
            Request::HeaderNamesAscii => "header_names_ascii",
            Request::HeaderSender(_) => "header_sender",
            Request::HeaderSyntax => "header_syntax",
            Request::Helo => "helo",
            Request::NotBlind { .. } => "not_blind",
            Request::Recipient(_) => "recipient",
            Request::ReverseHostLookup { .. } => "reverse_host_lookup",
            Request::Sender { .. } => "sender",
        }
    }

    /// Whether it may wait for files, DNS or other hosts.
    pub(crate) fn may_block(&self) -> bool {
        match self {
            Request::Certificate
            | Request::HeaderNamesAscii
            | Request::HeaderSyntax
            | Request::NotBlind { .. } => false,
            Request::Arc(_)
            | Request::Csa { .. }
            | Request::HeaderSender(_)
            | Request::Helo
            | Request::Recipient(_)
            | Request::ReverseHostLookup { .. }
            | Request::Sender { .. } => true,
        }
    }

    /// Whether it asks other hosts.
    pub(crate) fn has_callout(&self) -> bool {
        match self {
            Request::HeaderSender(options)
            | Request::Recipient(options)
            | Request::Sender { options, .. } => options.callout.is_some(),
            Request::Arc(_)
            | Request::Certificate
            | Request::Csa { .. }
            | Request::HeaderNamesAscii
            | Request::HeaderSyntax
            | Request::Helo
            | Request::NotBlind { .. }
            | Request::ReverseHostLookup { .. } => false,
        }
    }
}

/// Verifies.
pub(crate) fn verify(run: &mut Run<'_>, request: &Request) -> Tested {
    if request.phases() & run.phase.bit() == 0 {
        return Tested::faulty(format!(
            "cannot verify {} in ACL for {}",
            request.name(),
            run.phase.acl_name()
        ));
    }
    match request {
        Request::Arc(states) => arc::chain(run, states.as_ref()),
        Request::Certificate => host::certificate(run),
        Request::Csa { domain } => csa::verify(run, domain.as_ref()),
        Request::HeaderNamesAscii => header::detailed(run, header::names_ascii),
        Request::HeaderSender(options) => header::sender(run, options),
        Request::HeaderSyntax => header::detailed(run, header::syntax),
        Request::Helo => host::helo(run),
        Request::NotBlind { case_insensitive } => {
            header::detailed(run, |run| header::not_blind(run, *case_insensitive))
        }
        Request::Recipient(options) => address::recipient(run, options),
        Request::ReverseHostLookup { defer_ok } => host::reverse_lookup(run, *defer_ok),
        Request::Sender { address, options } => sender::verify(run, address.as_ref(), options),
    }
}

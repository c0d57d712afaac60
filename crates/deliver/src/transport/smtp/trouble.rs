//! What goes wrong with a server, in Exim's numbers and words (manual section 49.2).

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::SmtpError;
use oxim_net::tls::TlsError;
use oxim_spool::log::Selector;

use super::Target;
use crate::delivery::Delivery;
use crate::log_line::is_in_log_ports;
use crate::retry::MORE_CONNECT;
use crate::transport::{DeliveryError, HostUsed, error_code};

/// Whom a trouble concerns: that is what its retry record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// The host, whatever the message.
    Host,
    /// This message on this host.
    Message,
    /// An address; the host is all right.
    Address,
    /// Nobody outside: an option could not be evaluated, nothing was sent.
    Configuration,
}

/// Why a host took nothing more.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) error: Box<DeliveryError>,
    pub(super) about: About,
    /// The addresses fail for good.
    pub(super) is_final: bool,
    /// A line `H=…` is due in the main log at once; else only if another host is tried.
    pub(super) is_logged: bool,
    /// What was said or what broke, for callouts, which tell of it in their own words.
    pub(super) said: Option<Box<Said>>,
}

/// See [`Trouble::said`].
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// A refusal.
    Refused {
        /// In answer to this command.
        sent: String,
        /// The answer.
        reply: Reply,
    },
    /// The connection broke, or was never made.
    Broken(String),
}

impl Trouble {
    /// A trouble of the host with a line of its own.
    pub(super) fn host(error: DeliveryError) -> Trouble {
        Trouble { error: Box::new(error), about: About::Host, is_final: false, is_logged: true, said: None }
    }

    /// A trouble of the host that only the address's line tells.
    pub(super) fn quiet(error: DeliveryError) -> Trouble {
        Trouble { is_logged: false, ..Trouble::host(error) }
    }

    /// The main log's line about it: `H=host [address]: text: strerror`. `place` is the host, see [`Target::field`].
    pub(super) fn line(&self, place: &str) -> String {
        let system =
            (self.error.code > 0).then(|| error_text(&std::io::Error::from_raw_os_error(self.error.code)));
        match (self.error.text.is_empty(), system) {
            (true, Some(system)) => format!("{place} {system}"),
            (true, None) => place.to_owned(),
            (false, Some(system)) => format!("{place}: {}: {system}", self.error.text),
            (false, None) => format!("{place}: {}", self.error.text),
        }
    }
}

/// A connection that could not be made.
pub(super) fn not_connected(error: &std::io::Error) -> Trouble {
    let code = error.raw_os_error().unwrap_or(error_code::UNKNOWN);
    let text = if code > 0 { String::new() } else { error_text(error) };
    let said = Some(Box::new(Said::Broken(error_text(error))));
    let connecting = if code == nix::libc::ETIMEDOUT { MORE_CONNECT } else { 0 };
    let error = DeliveryError { code, more: connecting, text, ..DeliveryError::default() };
    Trouble { said, ..Trouble::host(error) }
}

/// What a connection's end means. `about` is whom it concerns in that phase.
pub(super) fn broken(used: &HostUsed, error: SmtpError, about: About) -> Trouble {
    let said = Some(Box::new(Said::Broken(error.to_string())));
    let (code, text) = match &error {
        SmtpError::Connect(error) => return not_connected(error),
        SmtpError::Timeout { after } => {
            let bytes = after.bytes_written.map(|b| format!(" ({b} bytes written)")).unwrap_or_default();
            // As Exim has it, whatever waits for the answer about a recipient.
            let pipelined = after.pipelined && !after.command.starts_with("RCPT ");
            let pipelined = if pipelined { "pipelined " } else { "" };
            (nix::libc::ETIMEDOUT, format!("SMTP timeout after {pipelined}{}{bytes}", after.command))
        }
        SmtpError::Closed { .. } => (error_code::CONNECTION_LOST, error.to_string()),
        SmtpError::PeerMalformed { .. } => (error_code::BAD_REPLY, error.to_string()),
        SmtpError::Tls(error) => (error_code::TLS_FAILED, tls_text(error)),
        SmtpError::LocalArgument { .. } | SmtpError::LocalSource(_) | SmtpError::PeerInjected => {
            (error_code::UNKNOWN, error.to_string())
        }
    };
    let error = DeliveryError { code, text, host: Some(Arc::new(used.clone())), ..DeliveryError::default() };
    let is_logged = code != error_code::TLS_FAILED && about != About::Address;
    Trouble { error: Box::new(error), about, is_final: false, is_logged, said }
}

/// `TLS session: (SSL_connect): …`, as an OpenSSL build of Exim says it.
pub(super) fn tls_text(error: &TlsError) -> String {
    match error {
        TlsError::Unverified { reason, .. } => {
            format!("TLS session: (certificate verification failed): {reason}")
        }
        TlsError::Unproven(_) => "TLS session: (certificate status check failed)".to_owned(),
        TlsError::Config(text) => format!("TLS session: (setup): {text}"),
        TlsError::Timeout => "TLS session: (SSL_connect): timed out".to_owned(),
        TlsError::Handshake(_) | TlsError::Io(_) => format!("TLS session: (SSL_connect): {error}"),
    }
}

/// A refusal: `SMTP error from remote mail server after COMMAND: REPLY`.
pub(super) fn refused(used: &HostUsed, after: &str, reply: &Reply, codes: Codes) -> DeliveryError {
    DeliveryError {
        code: if codes.are_for(reply) { codes.temporary() } else { 0 },
        more: codes.digits(reply),
        text: format!("SMTP error from remote mail server after {after}: {reply}"),
        host: Some(Arc::new(used.clone())),
        smtp_reply: Some(reply.to_text().into()),
        ..DeliveryError::default()
    }
}

/// Which number a temporary refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codes {
    /// None of its own.
    Other,
    Mail,
    Rcpt,
    Data,
}

impl Codes {
    /// Whether such a reply has a number. To RCPT that is any but a refusal for good, as in Exim.
    fn are_for(self, reply: &Reply) -> bool {
        if self == Codes::Rcpt { !reply.is_permanent() } else { reply.is_temporary() }
    }

    fn temporary(self) -> i32 {
        match self {
            Codes::Other => 0,
            Codes::Mail => error_code::MAIL_4XX,
            Codes::Rcpt => error_code::RCPT_4XX,
            Codes::Data => error_code::DATA_4XX,
        }
    }

    /// What goes with that number: the last two digits of the reply. The place below them is for [`Target::mx_mark`].
    fn digits(self, reply: &Reply) -> i32 {
        match self {
            Codes::Mail | Codes::Rcpt | Codes::Data if self.are_for(reply) => {
                i32::from(reply.code % 100) << 8
            }
            Codes::Other | Codes::Mail | Codes::Rcpt | Codes::Data => 0,
        }
    }
}

impl Target {
    /// `H=name [address]`.
    pub(super) fn field(&self) -> String {
        format!("H={} [{}]", self.name, self.address)
    }

    /// The same with the port, if `log_selector = +outgoing_port` shows it.
    pub(super) fn field_of_log(&self, delivery: &Delivery) -> String {
        let mut field = self.field();
        if delivery.services.log().selectors().has(Selector::OutgoingPort)
            && is_in_log_ports(&delivery.config.main.log_ports, self.port)
        {
            let _infallible = write!(field, ":{}", self.port);
        }
        field
    }

    /// `M` for a host from an MX record, `A` for others: every hint about a server has it, and retry rules tell them apart.
    pub(super) fn mx_mark(&self) -> i32 {
        i32::from(if self.mx.is_some() { b'M' } else { b'A' })
    }

    /// What is known of the server before there is a connection.
    pub(super) fn used(&self) -> HostUsed {
        HostUsed {
            name: self.name.clone(),
            address: Some(self.address),
            port: self.port,
            is_dnssec: self.is_secure,
            ..HostUsed::default()
        }
    }

    /// The address as it is written in names of things.
    pub(super) fn ip(&self) -> IpAddr {
        self.address
    }
}

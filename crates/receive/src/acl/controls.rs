//! What `control`, `add_header`, `remove_header` and `queue` leave behind for the session and the message.
//!
//! Two groups by lifetime: the connection, and the message in hand, which MAIL, RSET, HELO and the end of a message reset.
//! Manual sections 44.22, 44.24 and 44.25.

use std::collections::BTreeMap;

use oxim_base::Text;
use oxim_mail::header::Position;

/// Controls that last as long as the connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionControls {
    /// `enforce_sync` or `no_enforce_sync`, over `smtp_enforce_sync`.
    pub enforce_sync: Option<bool>,
    /// `allow_auth_unadvertised`.
    pub allow_auth_unadvertised: bool,
    /// `no_multiline_responses`.
    pub no_multiline_responses: bool,
    /// `no_pipelining`.
    pub no_pipelining: bool,
    /// `no_delay_flush`.
    pub no_delay_flush: bool,
    /// `no_callout_flush`.
    pub no_callout_flush: bool,
    /// Packets are marked: `dscp` that is to be set on the socket.
    pub dscp: Option<u8>,
    /// Whether the session has a socket that can be marked.
    pub has_socket: bool,
    /// `debug`.
    pub debug: Option<super::Debugging>,
    /// `wellknown`: the contents of the file.
    pub wellknown: Option<Vec<u8>>,
    /// `atrn_domains`: the domain list whose mail ATRN delivers.
    pub atrn_domains: Option<String>,
    /// What `ratelimit` has measured of the connection, by key.
    pub rates: BTreeMap<Vec<u8>, f64>,
}

/// `control = freeze`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// Whether `freeze_tell` applies; false after `/no_tell`.
    pub tell: bool,
}

/// `control = queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueControl {
    /// Wait for a queue run.
    Wait,
    /// `/first_pass_route`: route now, deliver in a queue run.
    FirstPassRoute,
}

/// `control = submission`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission {
    /// `/sender_retain`.
    pub sender_retain: bool,
    /// `/domain=`; an empty one means that the authenticated id is a whole address.
    pub domain: Option<Vec<u8>>,
    /// `/name=`.
    pub name: Option<Vec<u8>>,
}

/// `control = fakedefer` or `fakereject`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fake {
    /// 450 instead of 250.
    Defer(Text),
    /// 550 instead of 250.
    Reject(Text),
}

/// A header line from `add_header`, complete with its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedHeader {
    /// Where it goes.
    pub position: Position,
    /// `Name: value\n`.
    pub text: Vec<u8>,
}

/// `control = cutthrough_delivery`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutThrough {
    /// What the next host puts off, the client is told to send again (`/defer=pass`).
    pub passes_deferral: bool,
}

/// Controls that last as long as the message.
#[derive(Clone, Debug, Default)]
pub struct MessageControls {
    /// `freeze`.
    pub freeze: Option<Freeze>,
    /// `queue` or `queue_only`.
    pub queue: Option<QueueControl>,
    /// `cutthrough_delivery`.
    pub cut_through: Option<CutThrough>,
    /// `submission`.
    pub submission: Option<Submission>,
    /// `suppress_local_fixups`.
    pub suppress_local_fixups: bool,
    /// `fakedefer` or `fakereject`.
    pub fake: Option<Fake>,
    /// `dkim_disable_verify`.
    pub dkim_disable_verify: bool,
    /// `dmarc_disable_verify`.
    pub dmarc_disable_verify: bool,
    /// `dmarc_enable_forensic`.
    pub dmarc_enable_forensic: bool,
    /// `utf8_downconvert`: 1 always, -1 for servers without SMTPUTF8, 0 never; None if no ACL says so.
    pub utf8_downconvert: Option<i8>,
    /// `no_mbox_unspool`.
    pub no_mbox_unspool: bool,
    /// `bmi_run` and `bmi_optin`.
    pub bmi: crate::bmi::Wishes,
    /// What has been scanned of it.
    pub scan: crate::scan::Scan,
    /// `caseful_local_part`: for the recipient in hand.
    pub caseful_local_part: bool,
    /// Header lines to add, in the order given.
    pub headers_added: Vec<AddedHeader>,
    /// Names (or patterns) of header lines to remove.
    pub headers_removed: Vec<Vec<u8>>,
    /// Warnings already logged for this message, so that each is logged once.
    pub warnings_logged: Vec<String>,
    /// What `ratelimit` has measured of the message, by key.
    pub rates: BTreeMap<Vec<u8>, f64>,
    /// What has been found out about senders.
    pub(crate) sender_verification: crate::verify::SenderVerification,
}

/// What `control = fakereject` says without a text of its own.
pub const FAKE_REJECT_TEXT: &str = "Your message has been rejected but is being kept for evaluation.\n\
    If it was a legitimate message, it may still be delivered to the target\nrecipient(s).";

//! The state of one SMTP conversation, apart from its socket.
//!
//! Verbs are plain functions over a [`Talk`]; a verb that needs an ACL, the message body or another protocol layer says so in
//! its [`Progress`], and the session does it. A `Talk` is boxed and moves to worker threads and back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxim_lang::context::Context;
use oxim_mail::address::AddressSyntax;
use oxim_mail::smtp::arguments::Offered;

use crate::acl::{Outcome, Phase, Scene};
use crate::caller::Caller;
use crate::command::Verb;
use crate::ident::Ident;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::sink::Queueing;

/// What the session has to do next for a verb.
pub enum Progress {
    /// Send this.
    Reply(Reply),
    /// Run the ACL of a phase and go on with its outcome.
    Acl(Phase, Then),
    /// Receive a message body, after sending the reply if there is one.
    Body(BodySource, Option<Reply>),
    /// Send the reply and start TLS.
    StartTls(Reply),
    /// Send the reply and become the client (ATRN).
    Turn(Reply, Box<TurnOrder>),
    /// Go on with the dialogue of an authenticator.
    Authenticate(Box<crate::command::auth::Exchange>),
    /// Make the message durable, then go on.
    Commit(Box<crate::acceptance::Ready>),
    /// Send one of several replies, then go on.
    Say(Reply, Box<Progress>),
    /// Wait, then go on.
    Pause(Duration, Box<Progress>),
    /// Ask the client's host for an ident, and go on with it.
    Ident(Known),
    /// Send the reply, if any, and close.
    Close(Option<Reply>),
}

impl Progress {
    /// An immediate reply with a fixed text.
    #[must_use]
    pub fn fixed(code: u16, text: &'static str) -> Progress {
        Progress::Reply(Reply::fixed(code, text))
    }
}

/// What is delivered over a line that ATRN turns around.
#[derive(Clone, Debug)]
pub struct TurnOrder {
    /// A domain list.
    pub domains: String,
    /// The queue; empty for the default one.
    pub queue_name: Vec<u8>,
}

/// What to do with the outcome of an ACL.
pub type Then = Box<dyn FnOnce(&Arc<Reception>, &mut Talk, Outcome) -> Progress + Send>;

/// What to do once the client's host has been asked.
pub type Known = Box<dyn FnOnce(&Arc<Reception>, &mut Talk, Ident) -> Progress + Send>;

/// Where the bytes of a message come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySource {
    /// DATA: dot-stuffed lines.
    Data,
    /// BDAT: this many bytes.
    Chunk {
        /// Bytes in the chunk.
        size: u64,
        /// Whether it is the last one.
        last: bool,
    },
    /// A chunk of a message that has been refused already: thrown away.
    Discarded {
        /// Bytes to throw away.
        size: u64,
    },
}

/// What the last EHLO offered, and what the connection allows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offers {
    /// Parameters of MAIL and RCPT.
    pub parameters: Offered,
    /// PIPELINING.
    pub pipelining: bool,
    /// PIPECONNECT: input before the greeting is no error.
    pub early_pipelining: bool,
    /// CHUNKING.
    pub chunking: bool,
    /// STARTTLS.
    pub tls: bool,
    /// AUTH with at least one mechanism.
    pub auth: bool,
    /// XCLIENT.
    pub xclient: bool,
    /// ATRN.
    pub atrn: bool,
}

/// Counts that lead to the end of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Syntax and protocol errors.
    pub errors: u32,
    /// Unknown commands.
    pub unknown: u32,
    /// Commands that do not move mail.
    pub nonmail: u32,
    /// MAIL commands.
    pub mail: u32,
    /// Messages accepted.
    pub messages: u32,
    /// A message was queued because of this load, and `queue_only_load_latch` keeps the others back too.
    pub queued_by_load: Option<i64>,
}

/// Commands that may come once without counting as non-mail commands (manual section 49.6).
#[derive(Clone, Copy, Debug)]
pub struct Free {
    /// RSET.
    pub rset: bool,
    /// HELO or EHLO.
    pub helo: bool,
    /// STARTTLS.
    pub tls: bool,
    /// AUTH.
    pub auth: bool,
}

/// Why a session is over, for the log.
#[derive(Debug)]
pub struct LastLine {
    /// The line.
    pub text: String,
    /// We have ended it: the reject log has the line too.
    pub is_refusal: bool,
}

impl LastLine {
    /// A line for the main log.
    #[must_use]
    pub fn plain(text: String) -> LastLine {
        LastLine { text, is_refusal: false }
    }

    /// A line for the reject log too.
    #[must_use]
    pub fn refusal(text: String) -> LastLine {
        LastLine { text, is_refusal: true }
    }
}

/// What the replies to the RCPT commands of a transaction have been, for the answer to a DATA without recipients.
#[derive(Clone, Debug, Default)]
pub enum RcptReplies {
    /// No RCPT yet.
    #[default]
    None,
    /// All the same.
    Same(Vec<u8>),
    /// Different ones.
    Different,
}

/// The mail transaction in hand, beyond what variables show.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// A MAIL command has been accepted.
    pub sender_given: bool,
    /// The sender before any rewriting, for log lines.
    pub raw_sender: Vec<u8>,
    /// What stood behind `MAIL FROM:`, without parameters.
    pub said_sender: Vec<u8>,
    /// Recipients as they came, before any rewriting, for log lines.
    pub raw_recipients: Vec<Vec<u8>>,
    /// Whom it must not be delivered to: arguments of `-t`.
    pub non_recipients: BTreeSet<Vec<u8>>,
    /// SIZE.
    pub size: Option<u64>,
    /// BODY: 0 not given, 7 or 8.
    pub body: u8,
    /// RET and ENVID.
    pub dsn_ret: Option<oxim_mail::dsn::Return>,
    /// ENVID, in xtext.
    pub dsn_envid: Option<Vec<u8>>,
    /// PRDR was asked for; once the data has come: and is done.
    pub prdr: bool,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// What threw recipients away: the name of the ACL.
    pub discarded_by: Option<&'static str>,
    /// What that ACL has for the log, as `: text`, or nothing.
    pub discard_reason: String,
    /// `discard` of the MAIL ACL: every recipient is thrown away.
    pub discard_all: bool,
    /// Replies to RCPT so far.
    pub replies: RcptReplies,
    /// The surplus of recipients has been logged.
    pub surplus_logged: bool,
    /// A recipient too many was refused for good: so is the message (`recipients_max_reject`).
    pub surplus_refused: bool,
    /// Some ACL refused or deferred recipients: counts for `$rcpt_fail_count`.
    pub chunking: Chunking,
    /// The chunk that ended the message.
    pub last_chunk: Option<LastChunk>,
}

/// The chunk that ended a message: the reply to it tells its size.
#[derive(Clone, Copy, Debug)]
pub struct LastChunk {
    /// Bytes in it.
    pub size: u64,
    /// Bytes in all chunks of the message.
    pub total: u64,
}

/// How far a message that comes in chunks is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunking {
    /// No BDAT in this transaction.
    #[default]
    Unused,
    /// Between two chunks.
    Between,
    /// The message failed between chunks: only RSET helps.
    Failed,
}

/// The state of one conversation.
pub struct Talk {
    /// Variables and controls.
    pub scene: Scene,
    /// The caller, if it is a local process.
    pub caller: Option<Arc<Caller>>,
    /// `-od…` of this caller.
    pub forced_queueing: Option<Queueing>,
    /// When it began.
    pub started: Instant,
    /// HELO or EHLO has been accepted.
    pub greeted: bool,
    /// It was EHLO.
    pub is_extended: bool,
    /// What EHLO offered.
    pub offers: Offers,
    /// The client has said by XCLIENT for whom it speaks, and may do so again.
    pub speaks_for_others: bool,
    /// Whether HELO is required before MAIL.
    pub helo_required: bool,
    /// `sender_unqualified_hosts` matches, or a local caller.
    pub allow_unqualified_sender: bool,
    /// `recipient_unqualified_hosts` matches, or a local caller.
    pub allow_unqualified_recipient: bool,
    /// Whether connection lines are logged for this host.
    pub log_connection: bool,
    /// Whether `smtp_accept_max_nonmail` applies.
    pub limits_nonmail: bool,
    /// Whether the client may send a "From " line.
    pub may_send_from_line: bool,
    /// `smtp_receive_timeout`, expanded for this connection; None: for ever.
    pub timeout: Option<Duration>,
    /// Whether `smtp_ratelimit_hosts` matches.
    pub is_rate_limited: bool,
    /// `message_size_limit`, expanded for this connection; 0: none.
    pub size_limit: u64,
    /// Counts.
    pub counts: Counts,
    /// Uncounted commands.
    pub free: Free,
    /// Verbs so far, for log lines; at most the last 20.
    pub history: Vec<Verb>,
    /// Verbs so far, all.
    pub history_length: usize,
    /// The previous command was a MAIL that was refused (or RCPTs right after it).
    pub last_was_refused_mail: bool,
    /// A line that is written when the session is over and the ACL for an end without QUIT has run, as in Exim.
    pub last_line: Option<LastLine>,
    /// The previous command was RCPT.
    pub last_was_rcpt: bool,
    /// The client has sent a command before the reply to the one before, as PIPELINING allows.
    pub pipelined: bool,
    /// The client has spoken before the greeting, as PIPECONNECT allows.
    pub is_early: bool,
    /// The transaction in hand.
    pub transaction: Transaction,
    /// Authenticators that EHLO offered, by their place in the configuration.
    pub advertised_authenticators: Vec<usize>,
    /// Public name of the mechanism that let the client in.
    pub auth_public_name: Option<Vec<u8>>,
    /// Whether TLS is on.
    pub is_encrypted: bool,
    /// Whether HELO or EHLO has been said under TLS.
    pub has_greeted_in_tls: bool,
    /// The client wanted TLS within TLS: it gets no answers any more.
    pub is_insecure: bool,
    /// The connection has been counted and logged, before TLS.
    pub is_announced: bool,
    /// `-oMm`: the message that this one is about.
    pub message_reference: Option<Vec<u8>>,
    /// The message is a bounce of our own.
    pub is_own_error: bool,
    /// Whether the session ended with a QUIT, for the not-QUIT ACL.
    pub quit: bool,
}

impl Talk {
    /// A conversation that has not begun.
    #[must_use]
    pub fn new(context: Context, caller: Option<Arc<Caller>>) -> Talk {
        let is_local = caller.is_some();
        Talk {
            scene: Scene::new(context),
            caller,
            forced_queueing: None,
            started: Instant::now(),
            greeted: false,
            is_extended: false,
            offers: Offers::default(),
            speaks_for_others: false,
            helo_required: true,
            allow_unqualified_sender: is_local,
            allow_unqualified_recipient: is_local,
            log_connection: true,
            limits_nonmail: false,
            may_send_from_line: false,
            timeout: Some(Duration::from_secs(300)),
            is_rate_limited: false,
            size_limit: 0,
            counts: Counts::default(),
            free: Free { rset: true, helo: true, tls: true, auth: true },
            history: Vec::new(),
            history_length: 0,
            last_was_refused_mail: false,
            last_line: None,
            last_was_rcpt: false,
            pipelined: false,
            is_early: false,
            transaction: Transaction::default(),
            advertised_authenticators: Vec::new(),
            auth_public_name: None,
            is_encrypted: false,
            has_greeted_in_tls: false,
            is_insecure: false,
            is_announced: false,
            message_reference: None,
            is_own_error: false,
            quit: false,
        }
    }

    /// What variables read.
    pub fn context(&mut self) -> &mut Context {
        &mut self.scene.context
    }

    /// Whether the client is a local process (no host address).
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.scene.context.connection.host_address.is_none()
    }

    /// The name that this host goes by in this conversation.
    #[must_use]
    pub fn active_hostname(&self, reception: &Reception) -> String {
        match &self.scene.context.connection.active_hostname {
            Some(name) => String::from_utf8_lossy(name).into_owned(),
            None => reception.settings.primary_hostname.clone(),
        }
    }

    /// Address syntax for envelope addresses of this transaction.
    #[must_use]
    pub fn address_syntax(&self, reception: &Reception) -> AddressSyntax {
        AddressSyntax { smtp_utf8: self.transaction.smtputf8, ..reception.settings.address_syntax }
    }

    /// Notes that the message in hand is international, for its variables, its addresses and the name of its protocol.
    pub fn set_smtputf8(&mut self) {
        self.transaction.smtputf8 = true;
        self.scene.context.message.smtputf8 = true;
    }

    /// As [`Talk::set_smtputf8`], where the client said so: the protocol has another name (manual section 60.1).
    pub fn announce_smtputf8(&mut self) {
        self.set_smtputf8();
        let protocol = &mut self.scene.context.connection.protocol;
        if !protocol.starts_with(UTF8_PREFIX) {
            protocol.splice(..0, UTF8_PREFIX.iter().copied());
        }
    }

    /// Takes back [`Talk::announce_smtputf8`]: the next message is an international one only if its MAIL says so.
    pub fn withdraw_smtputf8(&mut self) {
        let protocol = &mut self.scene.context.connection.protocol;
        if self.transaction.smtputf8 && protocol.starts_with(UTF8_PREFIX) {
            protocol.drain(..UTF8_PREFIX.len());
        }
        self.transaction.smtputf8 = false;
        self.scene.context.message.smtputf8 = false;
    }

    /// Forgets the transaction. A message may follow.
    pub fn reset(&mut self) {
        self.withdraw_smtputf8();
        self.transaction = Transaction::default();
        let context = &mut self.scene.context;
        // The size is not known before MAIL says it.
        context.message = oxim_lang::context::Message { size: -1, ..Default::default() };
        context.address = oxim_lang::context::AddressScope::default();
        self.scene.message = crate::acl::MessageControls::default();
        self.scene.subject = Vec::new();
        self.scene.held = None;
        self.last_was_refused_mail = false;
        self.last_was_rcpt = false;
    }

    /// A message has been received, accepted or not. Another may follow, with its uncounted commands.
    pub fn message_over(&mut self) {
        self.reset();
        self.free = Free { rset: true, helo: true, tls: true, auth: self.free.auth };
    }

    /// Remembers a verb for log lines.
    pub fn remember(&mut self, verb: Verb) {
        self.history_length = self.history_length.saturating_add(1);
        let shown = &mut self.scene.context.connection.smtp_command_history;
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        if shown.len() >= HISTORY_MAX {
            shown.remove(0);
        }
        self.history.push(verb);
        shown.push(verb.name().as_bytes().to_vec());
    }

    /// The verbs so far, as log lines show them: `EHLO,MAIL,QUIT`.
    #[must_use]
    pub fn history_text(&self) -> String {
        let mut out = String::new();
        if self.history_length > HISTORY_MAX {
            out.push_str("...,");
        }
        for (index, verb) in self.history.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(verb.name());
        }
        out
    }

    /// The protocol name of the next message: `smtp`, `esmtpsa`, with `local-` for a local caller.
    #[must_use]
    pub fn protocol(&self) -> Vec<u8> {
        let mut name = String::new();
        if self.caller.is_some() && self.is_local() {
            name.push_str("local-");
        }
        name.push_str(if self.is_extended || self.auth_public_name.is_some() { "esmtp" } else { "smtp" });
        if self.is_encrypted {
            name.push('s');
        }
        if self.scene.context.connection.authenticator.is_some() {
            name.push('a');
        }
        name.into_bytes()
    }
}

/// What the name of a protocol begins with when the message is international.
const UTF8_PREFIX: &[u8] = b"utf8";

/// Verbs that a log line shows at most.
const HISTORY_MAX: usize = 20;

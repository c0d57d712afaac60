//! SMTP verbs, one file each. A verb is a function over the [`Talk`]; it never touches the socket.
//!
//! [`run`] counts commands, checks what may come when, and calls the verb. Manual chapter 49, RFC 5321.

mod atrn;
pub mod auth;
mod bdat;
mod data;
mod etrn;
mod expn;
mod hello;
mod help;
mod mail;
mod quit;
pub(crate) mod rcpt;
mod rset;
mod starttls;
mod vrfy;
mod wellknown;
mod xclient;

use std::sync::Arc;

use oxim_deliver::event::{self, Event};
use oxim_mail::smtp::command::{Command, CommandError};

use crate::ending;
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::{Chunking, LastLine, Progress, Talk};

pub(crate) use bdat::after_chunk;
pub(crate) use starttls::{after_failure as tls_failed, after_handshake as tls_started};

/// The verbs that log lines name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// ATRN.
    Atrn,
    /// AUTH.
    Auth,
    /// BDAT.
    Bdat,
    /// DATA.
    Data,
    /// EHLO.
    Ehlo,
    /// ETRN.
    Etrn,
    /// EXPN.
    Expn,
    /// HELO.
    Helo,
    /// HELP.
    Help,
    /// MAIL.
    Mail,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// RCPT.
    Rcpt,
    /// RSET.
    Rset,
    /// STARTTLS.
    StartTls,
    /// VRFY.
    Vrfy,
    /// WELLKNOWN.
    Wellknown,
    /// XCLIENT.
    Xclient,
}

impl Verb {
    /// As log lines have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Atrn => "ATRN",
            Verb::Auth => "AUTH",
            Verb::Bdat => "BDAT",
            Verb::Data => "DATA",
            Verb::Ehlo => "EHLO",
            Verb::Etrn => "ETRN",
            Verb::Expn => "EXPN",
            Verb::Helo => "HELO",
            Verb::Help => "HELP",
            Verb::Mail => "MAIL",
            Verb::Noop => "NOOP",
            Verb::Quit => "QUIT",
            Verb::Rcpt => "RCPT",
            Verb::Rset => "RSET",
            Verb::StartTls => "STARTTLS",
            Verb::Vrfy => "VRFY",
            Verb::Wellknown => "WELLKNOWN",
            Verb::Xclient => "XCLIENT",
        }
    }

    /// The verb of a command; None if it is not one of ours.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Option<Verb> {
        Some(match command {
            Command::Helo(_) => Verb::Helo,
            Command::Ehlo(_) => Verb::Ehlo,
            Command::Mail(_) => Verb::Mail,
            Command::Rcpt(_) => Verb::Rcpt,
            Command::Data => Verb::Data,
            Command::Bdat { .. } => Verb::Bdat,
            Command::Rset => Verb::Rset,
            Command::Noop => Verb::Noop,
            Command::Quit => Verb::Quit,
            Command::Vrfy(_) => Verb::Vrfy,
            Command::Expn(_) => Verb::Expn,
            Command::Help(_) => Verb::Help,
            Command::Etrn(_) => Verb::Etrn,
            Command::StartTls => Verb::StartTls,
            Command::Auth { .. } => Verb::Auth,
            Command::Wellknown(_) => Verb::Wellknown,
            Command::Xclient(_) => Verb::Xclient,
            Command::Atrn(_) => Verb::Atrn,
            // LMTP is not served.
            Command::Lhlo(_) | Command::Unknown => return None,
        })
    }

    /// Whether input may follow before the reply when PIPELINING was offered; without it, only after these two and QUIT.
    #[must_use]
    pub const fn must_be_last(self, pipelining: bool) -> bool {
        match self {
            Verb::Mail | Verb::Rcpt | Verb::Rset => !pipelining,
            Verb::Auth | Verb::Help | Verb::Quit | Verb::Bdat => false,
            Verb::Atrn
            | Verb::Data
            | Verb::Ehlo
            | Verb::Etrn
            | Verb::Expn
            | Verb::Helo
            | Verb::Noop
            | Verb::StartTls
            | Verb::Vrfy
            | Verb::Wellknown
            | Verb::Xclient => true,
        }
    }
}

const NUL_IN_COMMAND: &str = "NUL characters are not allowed in SMTP commands";

/// Obeys one command line.
pub fn run(reception: &Arc<Reception>, talk: &mut Talk, line: &[u8]) -> Progress {
    if let Some(refusal) = locked(talk) {
        return match oxim_mail::smtp::command::parse(line) {
            Ok(Command::Quit) => {
                talk.remember(Verb::Quit);
                quit::run(reception, talk)
            }
            _ => refusal,
        };
    }
    if memchr::memchr(0, line).is_some() {
        let reply = error(reception, talk, "syntax", 501, NUL_IN_COMMAND.as_bytes(), NUL_IN_COMMAND);
        return Progress::Reply(if is_bdat(line) { reply.closing() } else { reply });
    }
    let was_refused_mail = std::mem::take(&mut talk.last_was_refused_mail);
    let was_rcpt = std::mem::take(&mut talk.last_was_rcpt);
    let command = match oxim_mail::smtp::command::parse(line) {
        Ok(command) => command,
        Err(error) => return bad_argument(reception, talk, line, error),
    };
    let Some(verb) = Verb::of(&command) else { return unknown(reception, talk) };
    talk.remember(verb);
    if let Some(progress) = count_nonmail(reception, talk, verb) {
        return progress;
    }
    if let Some(progress) = refuse_within_chunks(reception, talk, verb) {
        return progress;
    }
    match command {
        Command::Helo(argument) => hello::run(reception, talk, argument, false),
        Command::Ehlo(argument) => hello::run(reception, talk, argument, true),
        Command::Mail(argument) => mail::run(reception, talk, argument),
        Command::Rcpt(argument) => rcpt::run(reception, talk, argument, was_refused_mail),
        Command::Data => data::run(reception, talk, was_rcpt),
        Command::Bdat { size, last } => bdat::run(reception, talk, size, last, was_rcpt),
        Command::Rset => rset::run(reception, talk),
        Command::Noop => Progress::fixed(250, "OK"),
        Command::Quit => quit::run(reception, talk),
        Command::Vrfy(argument) => vrfy::run(reception, talk, argument),
        Command::Expn(argument) => expn::run(reception, talk, argument),
        Command::Help(_) => help::run(reception, talk),
        Command::Etrn(argument) => etrn::run(reception, talk, argument),
        Command::StartTls => starttls::run(reception, talk),
        Command::Auth { mechanism, initial } => auth::run(reception, talk, mechanism, initial),
        Command::Wellknown(_) => wellknown::run(reception, talk),
        Command::Xclient(argument) => xclient::run(reception, talk, argument),
        Command::Atrn(argument) => atrn::run(reception, talk, argument),
        Command::Lhlo(_) | Command::Unknown => unknown(reception, talk),
    }
}

/// Answers a line that is longer than any command may be, of which this is the beginning: nothing of it is obeyed.
pub fn refuse_long(reception: &Arc<Reception>, talk: &mut Talk, head: &[u8]) -> Progress {
    if let Some(refusal) = locked(talk) {
        return refusal;
    }
    match unknown(reception, talk) {
        Progress::Reply(reply) if is_bdat(head) => Progress::Reply(reply.closing()),
        progress @ (Progress::Reply(_)
        | Progress::Acl(..)
        | Progress::Body(..)
        | Progress::StartTls(_)
        | Progress::Turn(..)
        | Progress::Authenticate(_)
        | Progress::Commit(_)
        | Progress::Say(..)
        | Progress::Pause(..)
        | Progress::Ident(_)
        | Progress::Close(_)) => progress,
    }
}

/// The answer to everything but QUIT, once the session is of no use any more.
fn locked(talk: &Talk) -> Option<Progress> {
    if talk.scene.context.connection.proxy.is_some_and(|proxy| proxy.is_failed) {
        return Some(Progress::fixed(503, "Command refused, required Proxy negotiation failed"));
    }
    talk.is_insecure.then(|| Progress::fixed(554, "Security failure"))
}

/// A chunk whose size is not understood cannot be skipped, and what follows would be taken for commands.
fn is_bdat(line: &[u8]) -> bool {
    line.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}

/// Whether obeying the command may wait for files, DNS or lookups, so that it must run on a worker thread.
#[must_use]
pub fn may_block(reception: &Reception, line: &[u8]) -> bool {
    // Any command may be faulty, and raise an event.
    if reception.config.main.event_action.as_ref().is_some_and(|action| action.may_block()) {
        return true;
    }
    let Ok(command) = oxim_mail::smtp::command::parse(line) else { return false };
    let rules = &reception.blocking;
    match command {
        Command::Helo(name) | Command::Ehlo(name) => {
            let settings = &reception.settings;
            rules.helo || settings.helo_lookup_domains.may_match(name, &settings.primary_hostname)
        }
        Command::Mail(_) => rules.mail,
        Command::Rcpt(_) => rules.rcpt,
        Command::Vrfy(_) | Command::Expn(_) | Command::Etrn(_) | Command::Help(_) => true,
        Command::Atrn(_) | Command::Auth { .. } | Command::Wellknown(_) | Command::Xclient(_) => true,
        Command::Lhlo(_)
        | Command::Data
        | Command::Bdat { .. }
        | Command::Rset
        | Command::Noop
        | Command::Quit
        | Command::StartTls
        | Command::Unknown => false,
    }
}

/// A verb with an argument that it cannot have.
fn bad_argument(reception: &Arc<Reception>, talk: &mut Talk, line: &[u8], fault: CommandError) -> Progress {
    let text = fault.to_string();
    match fault {
        CommandError::PeerUnexpectedArgument => {
            let reply = error(reception, talk, "syntax", 501, text.as_bytes(), &text);
            Progress::Reply(if is_bdat(line) { reply.closing() } else { reply })
        }
        CommandError::PeerMailWithoutAddress => {
            talk.remember(Verb::Mail);
            talk.last_was_refused_mail = true;
            protocol_error(reception, talk, 501, &text)
        }
        CommandError::PeerRcptWithoutAddress => {
            talk.remember(Verb::Rcpt);
            if !talk.transaction.sender_given {
                return rcpt::run(reception, talk, b"", false);
            }
            protocol_error(reception, talk, 501, &text)
        }
        CommandError::PeerBdatWithoutSize => {
            talk.remember(Verb::Bdat);
            protocol_error(reception, talk, 501, &text)
        }
    }
}

/// A command that nobody knows.
fn unknown(reception: &Arc<Reception>, talk: &mut Talk) -> Progress {
    talk.counts.unknown = talk.counts.unknown.saturating_add(1);
    let max = reception.settings.limits.unknown_commands_max;
    if talk.counts.unknown > max {
        log_error(reception, talk, "syntax", "unrecognized command");
        ending::log_incomplete(reception, talk, "unrecognized command");
        let line = format!(
            "SMTP call from {} dropped: too many unrecognized commands (last was \"{}\")",
            log_line::client(reception, talk, false),
            log_line::printable(&talk.scene.context.connection.smtp_command)
        );
        talk.last_line = Some(LastLine::refusal(line));
        set_end_reason(talk, "bad-commands");
        return Progress::Reply(Reply::fixed(500, "Too many unrecognized commands").closing());
    }
    syntax_error(reception, talk, 500, "unrecognized command")
}

/// Counts a command that moves no mail; an answer means that there were too many.
fn count_nonmail(reception: &Arc<Reception>, talk: &mut Talk, verb: Verb) -> Option<Progress> {
    let free = &mut talk.free;
    let is_free = match verb {
        Verb::Mail | Verb::Rcpt | Verb::Data | Verb::Bdat | Verb::Quit => true,
        Verb::Rset => std::mem::take(&mut free.rset),
        Verb::Helo | Verb::Ehlo => std::mem::take(&mut free.helo),
        Verb::StartTls => std::mem::take(&mut free.tls),
        Verb::Auth => std::mem::take(&mut free.auth),
        Verb::Atrn
        | Verb::Etrn
        | Verb::Expn
        | Verb::Help
        | Verb::Noop
        | Verb::Vrfy
        | Verb::Wellknown
        | Verb::Xclient => false,
    };
    if is_free {
        return None;
    }
    talk.counts.nonmail = talk.counts.nonmail.saturating_add(1);
    if !talk.limits_nonmail || talk.counts.nonmail <= reception.settings.limits.nonmail_max {
        return None;
    }
    ending::log_incomplete(reception, talk, "too many non-mail commands");
    let command = &talk.scene.context.connection.smtp_command;
    let word = command.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let line = format!(
        "SMTP call from {} dropped: too many nonmail commands (last was \"{}\")",
        log_line::client(reception, talk, false),
        log_line::printable(word)
    );
    reception.logs.main_and_reject(&line);
    set_end_reason(talk, "bad-commands");
    Some(Progress::Reply(Reply::fixed(554, "Too many nonmail commands").closing()))
}

/// Between the chunks of a message only BDAT, RSET and QUIT make sense; after a failed one, only RSET and QUIT.
fn refuse_within_chunks(reception: &Arc<Reception>, talk: &mut Talk, verb: Verb) -> Option<Progress> {
    match (talk.transaction.chunking, verb) {
        (Chunking::Unused, _)
        | (_, Verb::Rset | Verb::Quit)
        | (Chunking::Between, Verb::Bdat)
        | (Chunking::Failed, Verb::Bdat) => None,
        (Chunking::Between, Verb::Data) => {
            talk.transaction.chunking = Chunking::Failed;
            Some(protocol_error(reception, talk, 503, "only BDAT permissible after non-LAST BDAT"))
        }
        (Chunking::Between | Chunking::Failed, _) => {
            talk.transaction.chunking = Chunking::Failed;
            Some(protocol_error(reception, talk, 503, "only RSET accepted now"))
        }
    }
}

/// Counts and logs a syntax error and makes the reply.
pub(crate) fn syntax_error(reception: &Arc<Reception>, talk: &mut Talk, code: u16, text: &str) -> Progress {
    Progress::Reply(error(reception, talk, "syntax", code, text.as_bytes(), text))
}

/// Counts and logs a protocol error and makes the reply.
pub(crate) fn protocol_error(reception: &Arc<Reception>, talk: &mut Talk, code: u16, text: &str) -> Progress {
    Progress::Reply(protocol_error_reply(reception, talk, code, text))
}

/// As [`protocol_error`], as a bare reply.
fn protocol_error_reply(reception: &Arc<Reception>, talk: &mut Talk, code: u16, text: &str) -> Reply {
    error(reception, talk, "protocol", code, text.as_bytes(), text)
}

/// As [`syntax_error`], with a reply that shows the argument before the reason.
pub(crate) fn argument_error(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    argument: &[u8],
    reason: &str,
) -> Progress {
    let mut reply = argument.to_vec();
    reply.extend_from_slice(b": ");
    reply.extend_from_slice(reason.as_bytes());
    Progress::Reply(error(reception, talk, "syntax", 501, &reply, reason))
}

/// Counts an error, logs it if wanted, and closes the connection when there are too many.
fn error(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    kind: &str,
    code: u16,
    reply: &[u8],
    reason: &str,
) -> Reply {
    talk.counts.errors = talk.counts.errors.saturating_add(1);
    let name = if kind == "syntax" { "smtp:fail:syntax" } else { "smtp:fail:protocol" };
    event::raise_main(&mut talk.scene.context, Event::new(name, reason.as_bytes()));
    log_error(reception, talk, kind, reason);
    if talk.counts.errors <= reception.settings.limits.synprot_errors_max {
        return Reply::new(code, reply);
    }
    let history = talk.history_text();
    let command = log_line::printable(&talk.scene.context.connection.smtp_command);
    let line = format!(
        "SMTP call from {} dropped: too many syntax or protocol errors (last command was \"{command}\", {})",
        log_line::client(reception, talk, false),
        if history.is_empty() { "NULL".to_owned() } else { format!(" C={history}") }
    );
    // No reason is set: the ACL for an end without QUIT does not run, as in Exim.
    reception.logs.main_and_reject(&line);
    let mut text = reply.to_vec();
    text.extend_from_slice(b"\nToo many syntax or protocol errors");
    Reply::new(code, text).closing()
}

/// Logs an error of a command, if errors of its kind are wanted.
fn log_error(reception: &Reception, talk: &Talk, kind: &str, reason: &str) {
    if reception.wants.for_error(kind) {
        let command = log_line::printable(&talk.scene.context.connection.smtp_command);
        let client = log_line::client(reception, talk, true);
        reception.logs.main(&format!("SMTP {kind} error in \"{command}\" {client} {reason}"));
    }
}

/// Sets `$smtp_notquit_reason`.
pub(crate) fn set_end_reason(talk: &mut Talk, reason: &'static str) {
    talk.scene.context.connection.notquit_reason = Some(reason.as_bytes().to_vec());
}

//! Batched SMTP on standard input (`-bS`): envelopes from SMTP commands, no replies, the first error ends it.
//!
//! Only the non-SMTP ACLs are run. Manual sections 5.2 and 49.11.

use std::io::Read;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_mail::address;
use oxim_mail::smtp::command::{self, Command, CommandError};
use oxim_mail::smtp::dot::Framing;
use oxim_spool::message::Recipient;

use super::input::Input;
use super::told::Told;
use super::{ExitStatus, Given, run_acl, talk_for};
use crate::acceptance::{self, Rejection};
use crate::acl::Phase;
use crate::body::{BodyFault, Incoming, Received};
use crate::caller::Caller;
use crate::ending;
use crate::fixup::Origin;
use crate::log_line;
use crate::reception::Reception;
use crate::reply::Reply;
use crate::talk::Talk;

/// The error that ended a batch.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    /// Code and text, as a reply would be.
    text: String,
    /// The command at fault, if it was one.
    command: Option<Vec<u8>>,
}

impl Fault {
    /// What a client would be told.
    fn of(reply: &Reply) -> Fault {
        Fault { text: format!("{} {}", reply.code, String::from_utf8_lossy(&reply.text)), command: None }
    }
}

/// A batch under way.
struct Batch<'a, R> {
    reception: &'a Arc<Reception>,
    caller: &'a Arc<Caller>,
    talk: Talk,
    input: Input<R>,
    no_qualify: bool,
    /// Lines read.
    line: u64,
    /// The line with the last MAIL.
    transaction_line: u64,
    accepted: u64,
    sender_set: bool,
}

/// Receives a batch. `given` counts for trusted callers; `no_qualify` is `-bnq`; what the caller must be told goes to `told`.
pub fn receive(
    reception: &Arc<Reception>,
    caller: &Arc<Caller>,
    given: &Given,
    no_qualify: bool,
    input: impl Read,
    told: &Told,
) -> ExitStatus {
    let talk = talk_for(reception, caller, given, "local-bsmtp");
    if reception.wants.smtp_connection {
        reception.logs.main(&log_line::connection(reception, &talk));
    }
    let input = Input::new(input);
    let mut batch = Batch {
        reception,
        caller,
        talk,
        input,
        no_qualify,
        line: 0,
        transaction_line: 0,
        accepted: 0,
        sender_set: false,
    };
    match batch.run() {
        Ok(()) => ExitStatus::OK,
        Err(fault) => {
            batch.report(&fault, told);
            if batch.accepted > 0 { ExitStatus::FAILED } else { ExitStatus(2) }
        }
    }
}

/// What is wrong with a command, in the words that Exim has in a batch.
fn in_batch(error: CommandError) -> String {
    match error {
        CommandError::PeerUnexpectedArgument => "Unexpected argument data".to_owned(),
        CommandError::PeerMailWithoutAddress => "MAIL FROM must have an address operand".to_owned(),
        CommandError::PeerRcptWithoutAddress => "RCPT TO must have an address operand".to_owned(),
        CommandError::PeerBdatWithoutSize => error.to_string(),
    }
}

fn fault(code: u16, text: &str, command: &[u8]) -> Fault {
    Fault { text: format!("{code} {text}"), command: Some(command.to_vec()) }
}

impl<R: Read> Batch<'_, R> {
    fn run(&mut self) -> Result<(), Fault> {
        while let Some(line) = self.next_line()? {
            let parsed = command::parse(&line);
            match parsed.map_err(|error| fault(501, &in_batch(error), &line))? {
                Command::Mail(argument) => self.mail(argument, &line)?,
                Command::Rcpt(argument) => self.rcpt(argument, &line)?,
                Command::Data => {
                    self.data(&line)?;
                    if self.reception.sink.has_failed() {
                        return Ok(());
                    }
                }
                Command::Helo(_) | Command::Ehlo(_) | Command::Lhlo(_) | Command::Rset => self.reset(),
                Command::Noop | Command::Vrfy(_) | Command::Expn(_) | Command::Help(_) | Command::Etrn(_) => {
                }
                Command::Wellknown(_) => {}
                Command::Quit => return Ok(()),
                Command::Bdat { .. }
                | Command::StartTls
                | Command::Auth { .. }
                | Command::Xclient(_)
                | Command::Atrn(_)
                | Command::Unknown => return Err(fault(500, "Command unrecognized", &line)),
            }
        }
        Ok(())
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        let line = self
            .input
            .line()
            .map_err(|error| Fault { text: format!("421 {}", error_text(&error)), command: None })?;
        if line.is_some() {
            self.line = self.line.saturating_add(1);
        }
        Ok(line)
    }

    fn reset(&mut self) {
        let connection = self.talk.scene.context.connection.clone();
        self.talk.reset();
        self.talk.scene.context.connection = connection;
        self.sender_set = false;
    }

    fn mail(&mut self, argument: &[u8], line: &[u8]) -> Result<(), Fault> {
        if self.talk.transaction.sender_given {
            return Err(fault(503, "Sender already given", line));
        }
        self.transaction_line = self.line;
        let mut syntax = self.reception.settings.address_syntax;
        syntax.allow_empty = true;
        let parsed =
            address::parse(argument, &syntax).map_err(|error| fault(501, &error.to_string(), line))?;
        let mut sender = parsed.address.clone();
        if !sender.is_empty() && parsed.domain().is_none() {
            sender.push(b'@');
            sender.extend_from_slice(&self.reception.settings.qualify_domain);
        }
        self.sender_set = self.caller.may_claim(&mut self.talk.scene.context, &sender);
        if !self.sender_set {
            sender.clone_from(&self.caller.sender);
        }
        self.talk.transaction.sender_given = true;
        self.talk.transaction.raw_sender.clone_from(&sender);
        self.talk.scene.context.message.sender = sender;
        Ok(())
    }

    fn rcpt(&mut self, argument: &[u8], line: &[u8]) -> Result<(), Fault> {
        if !self.talk.transaction.sender_given {
            return Err(fault(503, "No sender yet given", line));
        }
        let settings = &self.reception.settings;
        let parsed = address::parse(argument, &settings.address_syntax)
            .map_err(|error| fault(501, &error.to_string(), line))?;
        let mut recipient = parsed.address.clone();
        if parsed.domain().is_none() {
            if self.no_qualify {
                return Err(fault(501, "recipient address must contain a domain", line));
            }
            recipient.push(b'@');
            recipient.extend_from_slice(&settings.qualify_recipient);
        }
        let message = &mut self.talk.scene.context.message;
        message.rcpt_count = message.rcpt_count.saturating_add(1);
        self.talk.transaction.raw_recipients.push(recipient.clone());
        Arc::make_mut(&mut message.recipients).push(Recipient::new(recipient));
        Ok(())
    }

    fn data(&mut self, line: &[u8]) -> Result<(), Fault> {
        if self.talk.scene.context.message.recipients.is_empty() {
            let missing = if self.talk.transaction.sender_given {
                "RCPT TO:<recipient> must precede DATA"
            } else {
                "MAIL FROM:<sender> command must precede DATA"
            };
            return Err(fault(503, missing, line));
        }
        run_acl(self.reception, &mut self.talk, Phase::NotSmtpStart);
        let received = self.read()?;
        if !self.caller.is_trusted {
            self.talk.scene.context.connection.auth_id = Some(self.caller.login.clone());
        }
        let origin = Origin {
            is_local: self.talk.is_local(),
            is_smtp: true,
            sender_set: self.sender_set,
            extract_recipients: false,
        };
        acceptance::submit(self.reception, &mut self.talk, received, origin).map_err(|rejection| {
            match rejection {
                Rejection::Acl { text, .. } => Fault { text: format!("550 {text}"), command: None },
                Rejection::Local(text) => Fault { text: format!("451 {text}"), command: None },
            }
        })?;
        self.accepted = self.accepted.saturating_add(1);
        self.reset();
        Ok(())
    }

    fn read(&mut self) -> Result<Received, Fault> {
        let limit = crate::connect::size_limit(self.reception, &mut self.talk)
            .map_err(|reason| Fault { text: format!("421 {reason}"), command: None })?;
        self.talk.size_limit = limit;
        let mut incoming = Incoming::new(self.reception, Framing::Local, limit, None);
        loop {
            let more = self
                .input
                .fill()
                .map_err(|error| Fault { text: format!("421 {}", error_text(&error)), command: None })?;
            if !more {
                self.line = self.line.saturating_add(1);
                return Err(Fault::of(&ending::data_lost(
                    self.reception,
                    &mut self.talk,
                    Some(incoming.place()),
                )));
            }
            let pending = self.input.pending();
            let (used, ended) = incoming.feed(pending);
            let lines = memchr::memchr_iter(b'\n', pending.get(..used).unwrap_or_default()).count();
            self.line = self.line.saturating_add(u64::try_from(lines).unwrap_or(0));
            self.input.consume(used);
            if ended {
                break;
            }
        }
        incoming.finish().map_err(|refused| match refused.fault {
            BodyFault::Spool(error) => Fault { text: format!("451 {error}"), command: None },
            BodyFault::Header(_) | BodyFault::TooBig { .. } => {
                Fault::of(&acceptance::refused(self.reception, &mut self.talk, *refused))
            }
        })
    }

    /// The stylized report on standard output, and the one for people on standard error.
    fn report(&self, fault: &Fault, told: &Told) {
        let command = fault.command.as_deref().map(String::from_utf8_lossy);
        let mut out = format!(
            "{}\nTransaction started in line {}\nError detected in line {}\n",
            fault.text, self.transaction_line, self.line
        );
        if let Some(command) = &command {
            out.push_str(command);
            out.push('\n');
        }
        told.output(&out);
        told.error_line(&format!(
            "An error was detected while processing a file of BSMTP input.\nThe error message was:\n\n  {}\n",
            fault.text
        ));
        told.error_line(&format!("The SMTP transaction started in line {}.", self.transaction_line));
        told.error_line(&format!("The error was detected in line {}.", self.line));
        if let Some(command) = command {
            told.error_line(&format!("The SMTP command at fault was:\n\n   {command}\n"));
        }
        let (plural, were) = if self.accepted == 1 { ("", "was") } else { ("s", "were") };
        told.error_line(&format!(
            "{} previous message{plural} {were} successfully processed.",
            self.accepted
        ));
        told.error_line("The rest of the batch was abandoned.");
    }
}

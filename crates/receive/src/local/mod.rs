//! Messages from local processes: on standard input with recipients as arguments or in the header (`-bm`, `-t`), as batched
//! SMTP (`-bS`), as an SMTP dialogue (`-bs`), and the dialogue that is only a test (`-bh`).
//!
//! All of it runs in the calling thread. What goes wrong is told by mail or on standard error, as `-oe…` says; the exit status
//! tells the caller. Manual sections 5.2, 48.4, 49.9 and 49.11.

pub mod batch;
pub mod complaint;
pub mod dialogue;
mod input;
pub mod submitter;
pub mod told;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_lang::context::HostLookup;
use oxim_mail::address::{self, AddressError, AddressSyntax};
use oxim_mail::header::HeaderList;
use oxim_mail::header::split::HeaderError;
use oxim_mail::smtp::dot::Framing;
use oxim_spool::message::Recipient;

use crate::acceptance::{self, Rejection};
use crate::acl::{Outcome, Phase, Step};
use crate::body::{BodyFault, Incoming};
use crate::caller::Caller;
use crate::fixup::{self, Origin};
use crate::reception::Reception;
use crate::sink::Queueing;
use crate::talk::Talk;
use complaint::{BadAddress, Complaint};
use input::Input;
use told::Told;

/// How errors are reported (`-oe…`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// `-oem`: by mail, and the exit status is not zero.
    #[default]
    Mail,
    /// `-oee`: by mail, and the exit status is zero if that worked.
    MailQuietly,
    /// `-oep`: on standard error.
    Print,
}

/// Values that `-oM…` gives. They count only for trusted callers, or in tests.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `-oMa`, and its port.
    pub host_address: Option<(IpAddr, u16)>,
    /// `-oMs`.
    pub host_name: Option<Vec<u8>>,
    /// `-oMt`.
    pub ident: Option<Vec<u8>>,
    /// `-oMr`.
    pub protocol: Option<Vec<u8>>,
    /// `-oMi`.
    pub interface: Option<SocketAddr>,
    /// `-oMaa`.
    pub authenticator: Option<Vec<u8>>,
    /// `-oMai`.
    pub auth_id: Option<Vec<u8>>,
    /// `-oMas`.
    pub auth_sender: Option<Vec<u8>>,
    /// `-oMm`.
    pub message_reference: Option<Vec<u8>>,
    /// This program itself says so, in the name of somebody who is not trusted: the reference counts all the same.
    pub is_own_message: bool,
    /// `-od…`, where it is not the whole process that is asked so. It counts for every caller.
    pub queueing: Option<Queueing>,
}

/// What the command line says about a message on standard input.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Arguments: recipients, each perhaps several with commas; with `-t`, addresses to leave out.
    pub arguments: Vec<Vec<u8>>,
    /// `-t`.
    pub extract: bool,
    /// `-i`: a line of one dot is nothing special.
    pub ignore_dots: bool,
    /// `-f`.
    pub sender: Option<Vec<u8>>,
    /// `-bnq`.
    pub no_qualify: bool,
    /// `-G`: the header is left as it is, as by the control `suppress_local_fixups`.
    pub suppress_fixups: bool,
    /// `-oe…`.
    pub errors: Errors,
    /// `-oM…`.
    pub given: Given,
}

/// What the process exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitStatus(pub u8);

impl ExitStatus {
    /// All is well.
    pub const OK: ExitStatus = ExitStatus(0);
    /// The message was not accepted.
    pub const FAILED: ExitStatus = ExitStatus(1);
    /// It has no recipients, and nobody could be told by mail.
    pub const NO_RECIPIENTS: ExitStatus = ExitStatus(2);
}

/// Receives one message from standard input: `-bm` and `-t`. May block.
pub fn receive(
    reception: &Arc<Reception>,
    caller: Arc<Caller>,
    request: &Request,
    input: impl Read,
) -> ExitStatus {
    receive_for(reception, caller, request, input, &Told::Here)
}

/// The same for a caller that is not this process's own: what it must be told goes to `told`.
pub fn receive_for(
    reception: &Arc<Reception>,
    caller: Arc<Caller>,
    request: &Request,
    input: impl Read,
    told: &Told,
) -> ExitStatus {
    let mut talk = talk_for(reception, &caller, &request.given, "local");
    talk.is_own_error = request.given.is_own_message && request.sender.as_deref() == Some(b"<>");
    let mut input = Input::new(input);
    let receiving = Receiving { reception, request, caller: &caller, told };
    match receiving.run(&mut talk, &mut input) {
        Ok(()) => ExitStatus::OK,
        Err(complaint) => complaint::report(reception, &talk, request, *complaint, &mut input, told),
    }
}

/// Whether a time limit of reading has passed: `receive_timeout`, as the reader keeps it.
fn is_late(error: &std::io::Error) -> bool {
    // A socket with a time limit says the second.
    matches!(error.kind(), std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock)
}

/// A conversation with a local caller, with the `-oM` values it may set.
pub(crate) fn talk_for(
    reception: &Arc<Reception>,
    caller: &Arc<Caller>,
    given: &Given,
    protocol: &str,
) -> Talk {
    let mut talk = Talk::new(reception.context(), Some(Arc::clone(caller)));
    let connection = &mut talk.scene.context.connection;
    connection.ident = Some(caller.login.clone());
    connection.caller_login.clone_from(&caller.login);
    connection.caller_uid = caller.uid;
    connection.caller_gid = caller.gid;
    connection.protocol = protocol.as_bytes().to_vec();
    talk.forced_queueing = given.queueing;
    let message = &mut talk.scene.context.message;
    message.originator_uid = caller.uid;
    message.originator_gid = caller.gid;
    if caller.is_trusted {
        apply(&mut talk, given);
    } else if given.is_own_message {
        talk.message_reference.clone_from(&given.message_reference);
    }
    talk
}

/// Sets the `-oM` values.
pub(crate) fn apply(talk: &mut Talk, given: &Given) {
    let connection = &mut talk.scene.context.connection;
    if let Some((address, port)) = given.host_address {
        connection.host_address = Some(address);
        connection.host_port = port;
    }
    if let Some(name) = &given.host_name {
        connection.host_name = Some(name.clone());
        connection.host_lookup = HostLookup::Found;
    }
    let texts = [
        (&given.ident, &mut connection.ident),
        (&given.authenticator, &mut connection.authenticator),
        (&given.auth_id, &mut connection.auth_id),
        (&given.auth_sender, &mut connection.auth_sender),
    ];
    for (value, field) in texts {
        if value.is_some() {
            field.clone_from(value);
        }
    }
    if let Some(protocol) = &given.protocol {
        connection.protocol.clone_from(protocol);
    }
    connection.interface = given.interface.or(connection.interface);
    talk.message_reference.clone_from(&given.message_reference);
}

/// One message being received.
struct Receiving<'a> {
    reception: &'a Arc<Reception>,
    request: &'a Request,
    caller: &'a Arc<Caller>,
    told: &'a Told,
}

impl Receiving<'_> {
    fn run<R: Read>(&self, talk: &mut Talk, input: &mut Input<R>) -> Result<(), Box<Complaint>> {
        talk.allow_unqualified_sender = !self.request.no_qualify;
        talk.allow_unqualified_recipient = !self.request.no_qualify;
        crate::connect::set_active_hostname(self.reception, talk);
        talk.size_limit = crate::connect::size_limit(self.reception, talk).map_err(|reason| {
            self.reception.logs.panic(&reason);
            Box::new(Complaint::Local("local configuration problem".to_owned()))
        })?;
        talk.scene.message.suppress_local_fixups = self.request.suppress_fixups;
        let sender_set = self.set_sender(talk)?;
        if !self.request.extract {
            self.take_arguments(talk)?;
        }
        run_acl(self.reception, talk, Phase::NotSmtpStart);
        let mut received = self.read(talk, input, sender_set)?;
        let was_set = sender_set;
        let sender_set = self.take_from_line(talk, received.from_line.take(), sender_set);
        self.remember_login(talk, was_set, sender_set);
        let bad = if self.request.extract { self.extract(talk, &received.headers) } else { Vec::new() };
        let origin = Origin {
            is_local: talk.is_local(),
            is_smtp: false,
            sender_set,
            extract_recipients: self.request.extract,
        };
        if self.request.extract && talk.scene.context.message.recipients.is_empty() {
            return Err(self.nobody(talk, received, &origin, bad));
        }
        if !bad.is_empty() {
            self.report_some(talk, &mut received, &origin, bad);
        }
        note_international(talk);
        acceptance::submit(self.reception, talk, received, origin).map_err(|rejection| {
            Box::new(match rejection {
                Rejection::Acl { text, headers, body } => Complaint::Acl { text, headers, body },
                Rejection::Local(text) => Complaint::Local(text),
            })
        })
    }

    /// The sender: that of `-f` if the caller may set it, else the caller's own. Tells whether it was set.
    fn set_sender(&self, talk: &mut Talk) -> Result<bool, Box<Complaint>> {
        let mut sender_set = false;
        let mut sender = if talk.is_local() || self.request.sender.is_none() {
            self.caller.sender.clone()
        } else {
            Vec::new()
        };
        if let Some(text) = &self.request.sender {
            let parsed = self.parse_sender(text)?;
            if self.caller.may_claim(&mut talk.scene.context, &parsed) {
                sender = parsed;
                sender_set = true;
            }
        }
        talk.transaction.raw_sender.clone_from(&sender);
        talk.transaction.sender_given = true;
        talk.scene.context.message.sender = sender;
        Ok(sender_set)
    }

    fn parse_sender(&self, text: &[u8]) -> Result<Vec<u8>, Box<Complaint>> {
        let settings = &self.reception.settings;
        let text = text.trim_ascii();
        if text.is_empty() || text == b"<>" {
            return Ok(Vec::new());
        }
        let parsed = address::parse(text, &for_text(settings.address_syntax, text)).map_err(|error| {
            Box::new(Complaint::Usage(format!(
                "bad -f address \"{}\": {error}",
                String::from_utf8_lossy(text)
            )))
        })?;
        let mut sender = parsed.address.clone();
        if parsed.domain().is_none() {
            sender.push(b'@');
            sender.extend_from_slice(&settings.qualify_domain);
        }
        Ok(sender)
    }

    /// What a local message remembers of its caller: the login unless `-f` was given, the address unless any sender was.
    fn remember_login(&self, talk: &mut Talk, was_set: bool, sender_set: bool) {
        let given = &self.request.given;
        let connection = &mut talk.scene.context.connection;
        if !self.caller.is_trusted || (given.auth_id.is_none() && !was_set) {
            connection.auth_id = Some(self.caller.login.clone());
        }
        if !self.caller.is_trusted || (given.auth_sender.is_none() && !sender_set) {
            connection.auth_sender = Some(self.caller.sender.clone());
        }
    }

    /// Recipients from the command line; the first that is wrong ends it all.
    fn take_arguments(&self, talk: &mut Talk) -> Result<(), Box<Complaint>> {
        for argument in &self.request.arguments {
            for item in address::address_list(argument) {
                match self.recipient(&item) {
                    Ok(Some(recipient)) => {
                        add_recipient(talk, recipient);
                        // As it was given, for the log.
                        if let (Some(shown), Ok(parsed)) = (
                            talk.transaction.raw_recipients.last_mut(),
                            item.parse(&self.reception.settings.address_syntax),
                        ) {
                            *shown = parsed.address.clone();
                        }
                    }
                    Ok(None) => {}
                    Err(reason) => {
                        return Err(Box::new(Complaint::BadArgument(BadAddress {
                            text: argument.clone(),
                            reason,
                        })));
                    }
                }
            }
        }
        Ok(())
    }

    /// One recipient, qualified. None for an item of comments only.
    fn recipient(&self, item: &address::ListItem<'_>) -> Result<Option<Vec<u8>>, String> {
        let settings = &self.reception.settings;
        let parsed = match item.parse(&for_text(settings.address_syntax, item.raw)) {
            Ok(parsed) => parsed,
            Err(AddressError::Empty) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let mut recipient = parsed.address.clone();
        if parsed.domain().is_none() {
            if self.request.no_qualify {
                return Err("unqualified recipient address not allowed".to_owned());
            }
            recipient.push(b'@');
            recipient.extend_from_slice(&settings.qualify_recipient);
        }
        Ok(Some(recipient))
    }

    /// Reads the message to its end.
    fn read<R: Read>(
        &self,
        talk: &mut Talk,
        input: &mut Input<R>,
        sender_set: bool,
    ) -> Result<crate::body::Received, Box<Complaint>> {
        let framing = if self.request.ignore_dots { Framing::Counted } else { Framing::DotLine };
        let mut incoming =
            Incoming::new(self.reception, framing, talk.size_limit, self.reception.from_line.clone());
        let mut ended = false;
        while !ended {
            match input.fill() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) if is_late(&error) => {
                    let id = incoming.id();
                    self.reception.logs.main(&format!("{id} timed out while reading local message"));
                    return Err(Box::new(Complaint::Late));
                }
                Err(error) => {
                    return Err(Box::new(Complaint::Local(format!(
                        "error reading input: {}",
                        error_text(&error)
                    ))));
                }
            }
            let (used, end) = incoming.feed(input.pending());
            input.consume(used);
            ended = end;
        }
        if !ended {
            incoming.end_of_input();
        }
        incoming.finish().map_err(|refused| self.body_refused(talk, *refused, sender_set))
    }

    fn body_refused(
        &self,
        talk: &mut Talk,
        refused: crate::body::Refused,
        sender_set: bool,
    ) -> Box<Complaint> {
        let origin =
            &Origin { is_local: talk.is_local(), is_smtp: false, sender_set, extract_recipients: false };
        let reception = self.reception;
        let login = String::from_utf8_lossy(&self.caller.login);
        Box::new(match refused.fault {
            BodyFault::Header(error) => {
                let (what, limit) = acceptance::header_fault(&error);
                reception.logs.main(&format!(
                    "{what} received from {login} (more than {limit} characters): message abandoned"
                ));
                let is_line = matches!(error, HeaderError::PeerLineTooLong { .. });
                Complaint::Header { is_line, limit, headers: refused.headers }
            }
            BodyFault::TooBig { read } => {
                talk.scene.context.message.id = Some(refused.id);
                talk.scene.context.message.headers = refused.headers;
                fixup::apply(reception, talk, refused.id, origin);
                let max = talk.size_limit;
                // Exim stops reading at the first byte too many.
                acceptance::too_big(reception, talk, read.min(max.saturating_add(1)));
                let headers = std::mem::take(&mut talk.scene.context.message.headers);
                return Box::new(Complaint::TooBig { max, headers });
            }
            BodyFault::Spool(error) => {
                reception.logs.panic(&format!("spool error: {error}"));
                Complaint::Local(error.to_string())
            }
        })
    }

    /// A "From " line gives the sender, if the caller is trusted and `-f` did not.
    fn take_from_line(&self, talk: &mut Talk, line: Option<Vec<u8>>, sender_set: bool) -> bool {
        let Some(line) = line.filter(|_| !sender_set) else { return sender_set };
        let reception = self.reception;
        let context = &mut talk.scene.context;
        let Some(captures) = reception.captures_of_from_line(&Text::tainted(line)) else { return false };
        let saved = std::mem::replace(&mut context.local.captures, captures);
        let expanded = reception.settings.uucp_from_sender.expand(context);
        context.local.captures = saved;
        let Ok(text) = expanded else { return false };
        let Ok(sender) = self.parse_sender(text.as_bytes()) else { return false };
        if !self.caller.may_claim(context, &sender) {
            return false;
        }
        context.message.sender = sender;
        true
    }

    /// `-t`: recipients from To:, Cc: and Bcc:, or their Resent- forms; the arguments are left out, or added. Returns what
    /// is no address.
    fn extract(&self, talk: &mut Talk, headers: &HeaderList) -> Vec<BadAddress> {
        let names: [&[u8]; 3] = if headers.has_resent() {
            [b"Resent-To", b"Resent-Cc", b"Resent-Bcc"]
        } else {
            [b"To", b"Cc", b"Bcc"]
        };
        let mut bad = Vec::new();
        let removes = self.reception.settings.fixups.extract_remove_arguments;
        let left_out: BTreeSet<Vec<u8>> =
            if removes { self.arguments(&mut bad).into_iter().collect() } else { BTreeSet::new() };
        for header in headers.all().iter().filter(|h| names.iter().any(|name| h.is_named(name))) {
            for item in address::address_list(header.body()) {
                match self.recipient(&item) {
                    Ok(Some(recipient)) if left_out.contains(&recipient) => {}
                    Ok(Some(recipient)) => add_recipient(talk, recipient),
                    Ok(None) => {}
                    Err(reason) => bad.push(BadAddress { text: item.raw.to_vec(), reason }),
                }
            }
        }
        if !removes {
            self.arguments(&mut bad).into_iter().for_each(|recipient| add_recipient(talk, recipient));
        }
        // An alias must not lead to them either.
        talk.transaction.non_recipients = left_out;
        bad
    }

    fn arguments(&self, bad: &mut Vec<BadAddress>) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for argument in &self.request.arguments {
            for item in address::address_list(argument) {
                match self.recipient(&item) {
                    Ok(Some(recipient)) => found.push(recipient),
                    Ok(None) => {}
                    Err(reason) => bad.push(BadAddress { text: argument.clone(), reason }),
                }
            }
        }
        found
    }

    /// `-t` found nobody.
    fn nobody(
        &self,
        talk: &mut Talk,
        received: crate::body::Received,
        origin: &Origin,
        bad: Vec<BadAddress>,
    ) -> Box<Complaint> {
        let id = received.id;
        let what =
            if bad.is_empty() { "no recipients found in headers" } else { "bad addresses found in headers" };
        self.reception.logs.main(&format!("{id} {what}"));
        let has_arguments = !self.request.arguments.is_empty();
        talk.scene.context.message.id = Some(id);
        let (headers, body) = acceptance::fixed(self.reception, talk, received, origin);
        if bad.is_empty() {
            Box::new(Complaint::Nobody { overridden: has_arguments, headers, body })
        } else {
            Box::new(Complaint::BadHeader { bad, others: false, headers, body })
        }
    }

    /// Some addresses of `-t` are wrong, others are not: the message goes on, and the sender is told.
    fn report_some(
        &self,
        talk: &mut Talk,
        received: &mut crate::body::Received,
        _: &Origin,
        bad: Vec<BadAddress>,
    ) {
        talk.scene.context.message.id = Some(received.id);
        self.reception.logs.main(&format!("{} bad addresses found in headers", received.id));
        let body = received.draft.body().ok();
        let complaint = Complaint::BadHeader { bad, others: true, headers: received.headers.clone(), body };
        complaint::tell(self.reception, talk, self.request.errors, complaint, self.told);
    }
}

/// Local programs have no word for SMTPUTF8: an address with bytes that are not ASCII says it (manual section 60.1).
fn for_text(syntax: AddressSyntax, text: &[u8]) -> AddressSyntax {
    AddressSyntax { smtp_utf8: !text.is_ascii(), ..syntax }
}

/// Makes the message an international one if its envelope is not all ASCII. Its protocol keeps its name.
pub(crate) fn note_international(talk: &mut Talk) {
    let message = &talk.scene.context.message;
    if !message.sender.is_ascii() || message.recipients.iter().any(|r| !r.address.is_ascii()) {
        talk.set_smtputf8();
    }
}

fn add_recipient(talk: &mut Talk, recipient: Vec<u8>) {
    let message = &mut talk.scene.context.message;
    message.rcpt_count = message.rcpt_count.saturating_add(1);
    talk.transaction.raw_recipients.push(recipient.clone());
    Arc::make_mut(&mut message.recipients).push(Recipient::new(recipient));
}

/// Runs an ACL here, sleeping where it asks for a delay.
pub(crate) fn run_acl(reception: &Arc<Reception>, talk: &mut Talk, phase: Phase) -> Outcome {
    let mut step = reception.acls.run(reception, &mut talk.scene, phase);
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Delay { pause, resume, .. } => {
                std::thread::sleep(pause);
                step = reception.acls.resume(reception, &mut talk.scene, resume);
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! One message over an open connection: MAIL, RCPT, DATA or BDAT, and what each answer means (manual section 49.2).
//!
//! With PIPELINING the whole envelope leaves in one write; with CHUNKING too the message goes with it.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use oxim_base::errno::error_text;
use oxim_mail::dsn::xtext_encode;
use oxim_mail::idna::IdnaError;
use oxim_mail::smtp::dot::Sender;
use oxim_mail::smtp::reply::Reply;
use oxim_net::smtp_client::SmtpError;

use super::international::Form;
use super::session::{Opening, Session};
use super::trouble::{self, About, Codes, Trouble};
use super::{Progress, Protocol, Target, Work};
use crate::address::Address;
use crate::retry_hints::recipient_key;
use crate::transport::compose::Composed;
use crate::transport::local::recipient;
use crate::transport::{Delivered, DeliveryError, Downconverted, HostUsed, Outcome, error_code};

/// A message up to this size goes as one chunk, together with its envelope.
const WHOLE_BYTES_MAX: u64 = 1024 * 1024;
/// Of a larger one this much is read at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// What a transaction came to; the outcomes of addresses are in the work's `progress`.
pub(super) struct Passed {
    pub(super) trouble: Option<Trouble>,
    /// The next transaction can begin.
    pub(super) is_clean: bool,
    /// A connection from the pool was dead: nothing was sent.
    pub(super) is_stale: bool,
}

impl Passed {
    fn clean(trouble: Option<Trouble>) -> Passed {
        Passed { trouble, is_clean: true, is_stale: false }
    }

    fn over(trouble: Option<Trouble>) -> Passed {
        Passed { trouble, is_clean: false, is_stale: false }
    }

    /// The host does not take this message now.
    fn deferred(error: DeliveryError) -> Passed {
        Passed::over(Some(Trouble { about: About::Message, ..Trouble::host(error) }))
    }
}

/// The commands of one transaction.
struct Envelope {
    mail: String,
    recipients: Vec<(usize, String)>,
    /// The message as one chunk.
    chunk: Option<Vec<u8>>,
    auth_sender: Option<Vec<u8>>,
    /// An answer for each recipient was asked for.
    is_prdr: bool,
    /// The sender that was named, if addresses go out in A-labels.
    converted: Option<String>,
}

impl Work<'_> {
    /// Sends the message to these addresses.
    pub(super) fn transact(
        &mut self,
        session: &mut Session,
        target: &Target,
        recipients: &[usize],
    ) -> Passed {
        let form = match self.form(session, target) {
            Ok(form) => form,
            Err(trouble) => {
                self.set_waiting(&trouble.error);
                return Passed::over(Some(trouble));
            }
        };
        let envelope = match self.envelope(session, recipients, form) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.set_waiting(&error);
                return Passed::over(Some(Trouble { about: About::Configuration, ..Trouble::quiet(error) }));
            }
        };
        let mut used = session.used(target);
        used.is_pipelined = session.is_pipelined;
        used.is_chunked = session.is_chunked;
        used.auth_sender.clone_from(&envelope.auth_sender);
        let refusals_before = self.refusals.len();
        let mut step = Step {
            work: self,
            session,
            target,
            used,
            envelope,
            accepted: Vec::new(),
            refusals_before,
            deferral: None,
            last_chunk_bytes: None,
            sent_bytes: 0,
            is_data_sent: false,
            is_chunk_sent: false,
        };
        match step.run() {
            Ok(passed) | Err(passed) => passed,
        }
    }

    fn envelope(
        &mut self,
        session: &Session,
        recipients: &[usize],
        form: Form,
    ) -> Result<Envelope, DeliveryError> {
        let extensions = session.connection.extensions().clone();
        let message = &self.batch.message;
        let unconvertible = |error: IdnaError| DeliveryError::new(error_code::UNKNOWN, error.to_string());
        let sender = lossy(&form.of(&self.batch.return_path).map_err(unconvertible)?);
        let mut mail = format!("MAIL FROM:<{sender}>");
        if extensions.size && self.smtp.size_addition >= 0 {
            let lines =
                u64::try_from(message.headers.line_count()).unwrap_or(0).saturating_add(message.body_lines);
            let size = message.size_with(self.batch.body.len()).saturating_add(lines);
            let size = size.saturating_add(u64::try_from(self.smtp.size_addition).unwrap_or(0));
            mail.push_str(&format!(" SIZE={size}"));
        }
        let is_prdr = session.is_prdr && recipients.len() > 1;
        if is_prdr {
            mail.push_str(" PRDR");
        }
        if form == Form::Utf8 {
            mail.push_str(" SMTPUTF8");
        }
        if extensions.dsn && !self.is_last_hop(recipients) {
            if let Some(ret) = message.dsn_ret {
                mail.push_str(&format!(" RET={}", ret.as_str()));
            }
            if let Some(id) = &message.dsn_envid {
                mail.push_str(&format!(" ENVID={}", lossy(id)));
            }
        }
        let auth_sender = self.auth_sender(session)?;
        if let Some(sender) = &auth_sender {
            mail.push_str(&format!(" AUTH={}", lossy(&xtext_encode(sender))));
        }
        let ignores_quota =
            self.smtp.protocol == Protocol::Lmtp && self.smtp.ignore_quota && extensions.ignore_quota;
        let mut commands = Vec::with_capacity(recipients.len());
        let mut left_out: Vec<(usize, DeliveryError)> = Vec::new();
        for &index in recipients {
            let Some(address) = self.batch.addresses.get(index) else { continue };
            let text = recipient(self.transport, address);
            let sent = match form.of(&text).map_err(unconvertible) {
                Ok(sent) => sent,
                Err(error) => {
                    left_out.push((index, error));
                    continue;
                }
            };
            let mut command = String::with_capacity("RCPT TO:<>".len().saturating_add(sent.len()));
            for part in ["RCPT TO:<", &String::from_utf8_lossy(&sent), ">"] {
                command.push_str(part);
            }
            if ignores_quota {
                command.push_str(" IGNOREQUOTA");
            }
            if extensions.dsn && !address.dsn.last_hop {
                push_dsn(address, &mut command);
            }
            commands.push((index, command));
        }
        if commands.is_empty()
            && let Some((_, error)) = left_out.pop()
        {
            return Err(error);
        }
        for (index, mut error) in left_out {
            error.is_about_address = true;
            if let Some(progress) = self.progress.get_mut(index) {
                *progress = Progress::Waits(Some(error));
            }
        }
        let chunk = match &self.composed {
            Some(composed) if session.is_chunked && composed.len() <= WHOLE_BYTES_MAX => {
                let chunk = whole(composed).map_err(|error| unreadable(&error))?;
                Some(chunk)
            }
            _ => None,
        };
        let converted = (form == Form::ALabels).then_some(sender);
        Ok(Envelope { mail, recipients: commands, chunk, auth_sender, is_prdr, converted })
    }

    fn is_last_hop(&self, recipients: &[usize]) -> bool {
        recipients.iter().filter_map(|i| self.batch.addresses.get(*i)).all(|address| address.dsn.last_hop)
    }

    /// The value of AUTH= in MAIL.
    fn auth_sender(&mut self, session: &Session) -> Result<Option<Vec<u8>>, DeliveryError> {
        let is_authenticated = session.authenticator.is_some();
        let wanted = self.optional(self.smtp.authenticated_sender.as_ref(), "authenticated_sender")?;
        if !is_authenticated && !self.smtp.authenticated_sender_force {
            return Ok(None);
        }
        let kept = || self.batch.message.auth_sender.clone().filter(|_| is_authenticated);
        Ok(wanted.map(String::into_bytes).or_else(kept))
    }
}

/// `NOTIFY=` and `ORCPT=`, as far as they were given.
fn push_dsn(address: &Address, command: &mut String) {
    let dsn = &address.dsn;
    if dsn.notify_given {
        let words =
            [(dsn.never, "NEVER"), (dsn.success, "SUCCESS"), (dsn.failure, "FAILURE"), (dsn.delay, "DELAY")];
        let given: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        command.push_str(&format!(" NOTIFY={}", given.join(",")));
    }
    if let Some(original) = &dsn.orcpt {
        command.push_str(&format!(" ORCPT={}", lossy(original)));
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn unreadable(error: &io::Error) -> DeliveryError {
    let text = format!("failed to read the message: {}", error_text(error));
    DeliveryError::new(error.raw_os_error().unwrap_or(0), text)
}

/// The wire form of a message, for one chunk.
fn whole(composed: &Composed) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(usize::try_from(composed.len()).unwrap_or(0));
    let mut sender = Sender::for_chunks();
    sender.feed(&composed.header, &mut out);
    if let Some(body) = &composed.body {
        sender.feed(&body.bytes()?, &mut out);
    }
    sender.finish(&mut out);
    Ok(out)
}

/// A transaction under way.
struct Step<'a, 'b> {
    work: &'a mut Work<'b>,
    session: &'a mut Session,
    target: &'a Target,
    used: HostUsed,
    envelope: Envelope,
    accepted: Vec<usize>,
    /// How many recipients had been put off when it began.
    refusals_before: usize,
    /// The first temporary refusal of a recipient.
    deferral: Option<DeliveryError>,
    /// The length of the chunk that ended the message; none if it went by DATA.
    last_chunk_bytes: Option<usize>,
    /// What the message took on the wire.
    sent_bytes: u64,
    /// DATA went with the envelope.
    is_data_sent: bool,
    /// So did the message.
    is_chunk_sent: bool,
}

impl Step<'_, '_> {
    fn run(&mut self) -> Result<Passed, Passed> {
        self.send_mail()?;
        self.read_mail()?;
        self.recipients()?;
        if self.work.is_for_all() {
            self.all_or_none();
        }
        if self.accepted.is_empty() {
            return Ok(self.nobody());
        }
        if self.session.is_chunked {
            self.send_chunks()?
        } else {
            self.send_data()?
        }
        if self.work.smtp.protocol == Protocol::Lmtp {
            self.read_each()?
        } else {
            self.read_end()?
        }
        self.session.messages = self.session.messages.saturating_add(1);
        self.session.is_early = false;
        Ok(Passed::clean(self.quiet_deferral()))
    }

    fn pipelined(&self) -> &'static str {
        if self.session.is_pipelined { "pipelined " } else { "" }
    }

    fn quiet_deferral(&mut self) -> Option<Trouble> {
        let error = self.deferral.take()?;
        Some(Trouble { about: About::Address, ..Trouble::quiet(error) })
    }

    /// The connection is of no use any more: all addresses that still wait get this error.
    fn broken(&mut self, error: SmtpError, about: About) -> Passed {
        let trouble = trouble::broken(&self.used, error, about);
        self.work.set_waiting(&trouble.error);
        Passed::over(Some(trouble))
    }

    /// The whole message is refused. Only the addresses that were not refused on their own count.
    fn refused(&mut self, error: DeliveryError, reply: &Reply) -> Passed {
        let is_final = reply.is_permanent();
        let accepted = std::mem::take(&mut self.accepted);
        let all = self.work.waiting();
        let concerned = if accepted.is_empty() { all } else { accepted };
        for index in concerned {
            let progress = if is_final {
                Progress::Ends(Outcome::Failed(error.clone()))
            } else {
                Progress::Waits(Some(error.clone()))
            };
            self.set(index, progress);
        }
        if is_final { Passed::over(self.quiet_deferral()) } else { Passed::deferred(error) }
    }

    fn set(&mut self, index: usize, progress: Progress) {
        if let Some(place) = self.work.progress.get_mut(index) {
            *place = progress;
        }
    }

    /// MAIL, and what may go with it.
    fn send_mail(&mut self) -> Result<(), Passed> {
        let mut queued = self.session.connection.queue(self.envelope.mail.as_bytes());
        if self.session.is_pipelined {
            for (_, command) in &self.envelope.recipients {
                queued = queued.and_then(|()| self.session.connection.queue(command.as_bytes()));
            }
            let limit = self.work.smtp.timeouts.data;
            // A server that may have changed gets nothing that it could take for commands.
            let is_sure = self.session.early.is_none();
            // One refused recipient ends it: the message must not be there yet.
            let is_for_all = self.work.is_for_all();
            queued = queued.and_then(|()| match (&self.envelope.chunk, self.session.is_chunked) {
                _ if is_for_all => Ok(()),
                (Some(chunk), true) if is_sure => {
                    self.is_chunk_sent = true;
                    self.session.connection.queue_bdat(chunk, true, limit)
                }
                (_, true) => Ok(()),
                (_, false) => {
                    self.is_data_sent = true;
                    self.session.connection.queue(b"DATA")
                }
            });
        }
        queued.map_err(|error| self.broken(error, About::Configuration))
    }

    /// Reads what is outstanding before the answer to MAIL.
    fn settle(&mut self) -> Result<(), Passed> {
        let settled = self.work.settle_early(self.session, self.target);
        self.used.is_early = self.session.is_early;
        self.used.is_chunked = self.session.is_chunked;
        match settled {
            Ok(()) => Ok(()),
            Err(Opening::Again | Opening::InTheClear(_)) => {
                Err(Passed { is_stale: true, ..Passed::over(None) })
            }
            Err(Opening::Trouble(trouble)) => {
                self.work.set_waiting(&trouble.error);
                Err(Passed::over(Some(trouble)))
            }
        }
    }

    fn read_mail(&mut self) -> Result<(), Passed> {
        self.settle()?;
        let limit = self.work.smtp.timeouts.command;
        let reply = self.session.connection.read_reply(limit).map_err(|error| {
            // The server may have closed a waiting connection just as we took it.
            let is_stale = self.session.is_continued && matches!(error, SmtpError::Closed { .. });
            let about = if matches!(error, SmtpError::Timeout { .. }) { About::Message } else { About::Host };
            if is_stale { Passed { is_stale, ..Passed::over(None) } } else { self.broken(error, about) }
        })?;
        if reply.is_success() {
            return Ok(());
        }
        if self.session.has_changed {
            // It may be about a parameter that the server does not know any more.
            return Err(Passed { is_stale: true, ..Passed::over(None) });
        }
        let after = format!("{}{}", self.pipelined(), self.envelope.mail);
        let error = trouble::refused(&self.used, &after, &reply, Codes::Mail);
        Err(self.refused(error, &reply))
    }

    fn recipients(&mut self) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.command;
        for (index, command) in std::mem::take(&mut self.envelope.recipients) {
            if !self.session.is_pipelined {
                self.session
                    .connection
                    .queue(command.as_bytes())
                    .map_err(|e| self.broken(e, About::Configuration))?;
            }
            let reply = match self.session.connection.read_reply(limit) {
                Ok(reply) => reply,
                Err(error) => return Err(self.recipient_broken(index, error)),
            };
            if reply.is_success() {
                self.accepted.push(index);
                continue;
            }
            // What the server complains about is the address, not its parameters.
            let after = command.find("> ").and_then(|end| command.get(..=end)).unwrap_or(&command);
            let mut error = trouble::refused(&self.used, after, &reply, Codes::Rcpt);
            error.is_about_address = true;
            error.more |= self.target.mx_mark();
            if !reply.is_permanent() {
                error.retry_key = self.retry_key(index);
            }
            if reply.is_permanent() && !self.session.has_changed {
                self.set(index, Progress::Ends(Outcome::Failed(error)));
            } else {
                self.deferral.get_or_insert_with(|| error.clone());
                self.work.recipient_events(index, &error);
                self.work.refusals.push((index, error.clone()));
                self.set(index, Progress::Waits(Some(error)));
            }
        }
        Ok(())
    }

    /// `mua_wrapper`: those that were accepted share the fate of the first that was refused.
    fn all_or_none(&mut self) {
        let accepted = std::mem::take(&mut self.accepted);
        let mut refused =
            self.work.progress.iter().enumerate().filter(|(index, _)| !accepted.contains(index));
        let refusal = refused.find_map(|(_, progress)| match progress {
            Progress::Ends(Outcome::Failed(error)) | Progress::Waits(Some(error)) => Some(error.clone()),
            Progress::Ends(_) | Progress::Waits(None) => None,
        });
        let Some(refusal) = refusal else {
            self.accepted = accepted;
            return;
        };
        for (index, progress) in self.work.progress.iter_mut().enumerate() {
            let own = match progress {
                Progress::Waits(own) if !accepted.contains(&index) => own.take(),
                Progress::Waits(_) => None,
                Progress::Ends(_) => continue,
            };
            *progress = Progress::Ends(Outcome::Failed(own.unwrap_or_else(|| refusal.clone())));
        }
    }

    /// Whose waiting the answer is about: this recipient's, for mail of this sender if the option says so.
    fn retry_key(&self, index: usize) -> Option<Box<[u8]>> {
        let address = self.work.batch.addresses.get(index)?;
        let sender = self.work.smtp.retry_by_sender.then_some(self.work.batch.message.sender.as_slice());
        Some(recipient_key(address, sender).into_boxed_slice())
    }

    /// The connection is lost, or nothing is said, before the answer about a recipient. Those that were put off before keep what
    /// was said about them. A server that says nothing: the recipient is to blame, the others just wait.
    fn recipient_broken(&mut self, index: usize, error: SmtpError) -> Passed {
        let is_silent = matches!(error, SmtpError::Timeout { .. });
        let mut passed = self.broken(error, if is_silent { About::Address } else { About::Host });
        let refused: Vec<_> = self.work.refusals.iter().skip(self.refusals_before).cloned().collect();
        for (index, error) in refused {
            self.set(index, Progress::Waits(Some(error)));
        }
        if !is_silent {
            // A server that goes with a word about the first, as with 421, has said why.
            if self.accepted.is_empty()
                && let Some(said) = self.deferral.take()
            {
                passed.trouble =
                    Some(Trouble::host(DeliveryError { is_about_address: false, retry_key: None, ..said }));
            }
            return passed;
        }
        let key = self.work.batch.addresses.get(index).map(|address| recipient_key(address, None));
        if let Some(Progress::Waits(Some(error))) = self.work.progress.get_mut(index) {
            error.is_about_address = true;
            error.retry_key = key.map(Vec::into_boxed_slice);
            error.more |= self.target.mx_mark();
            self.work.refusals.push((index, error.clone()));
        }
        passed
    }

    /// No recipient was accepted; what was pipelined behind them has to be got rid of.
    fn nobody(&mut self) -> Passed {
        let limit = self.work.smtp.timeouts.command;
        if self.session.is_pipelined && self.session.connection.awaited_replies() > 0 {
            let reply = self.session.connection.read_reply(limit);
            // RFC 2920: a server that wants the message all the same gets an empty one, which it must refuse.
            if reply.is_ok_and(|reply| reply.is_intermediate())
                && self.session.connection.send_data(limit, |_| Ok(false)).is_ok()
            {
                let _refused = self.session.connection.read_reply(limit);
            }
        }
        Passed::over(self.quiet_deferral())
    }

    fn send_data(&mut self) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.command;
        if !self.is_data_sent {
            self.session.connection.queue(b"DATA").map_err(|e| self.broken(e, About::Host))?;
        }
        let reply = self.session.connection.read_reply(limit).map_err(|e| self.broken(e, About::Host))?;
        if !reply.is_intermediate() {
            let error =
                trouble::refused(&self.used, &format!("{}DATA", self.pipelined()), &reply, Codes::Data);
            return Err(self.refused(error, &reply));
        }
        let limit = self.work.smtp.timeouts.data;
        let Some(composed) = self.work.composed.take() else { return Ok(()) };
        let mut pieces = Pieces::new(&composed);
        let sent = self.session.connection.send_data(limit, |out| pieces.next(out));
        drop(pieces);
        self.work.composed = Some(composed);
        self.sent_bytes = sent.map_err(|e| self.broken(e, About::Host))?.bytes;
        Ok(())
    }

    /// BDAT, unless the whole message went with the envelope.
    fn send_chunks(&mut self) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.data;
        if let Some(chunk) = self.envelope.chunk.take() {
            self.last_chunk_bytes = Some(chunk.len());
            self.sent_bytes = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if self.is_chunk_sent {
                return Ok(());
            }
            return self
                .session
                .connection
                .queue_bdat(&chunk, true, limit)
                .map_err(|e| self.broken(e, About::Host));
        }
        let Some(composed) = self.work.composed.take() else { return Ok(()) };
        let result = self.send_pieces(&composed);
        self.work.composed = Some(composed);
        result
    }

    fn send_pieces(&mut self, composed: &Composed) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.data;
        let mut pieces = Pieces::new(composed);
        let mut sender = Sender::for_chunks();
        loop {
            let (mut stored, mut wire) = (Vec::new(), Vec::new());
            let more = pieces
                .next(&mut stored)
                .map_err(|e| self.broken(SmtpError::LocalSource(e), About::Configuration))?;
            sender.feed(&stored, &mut wire);
            if !more {
                sender.finish(&mut wire);
            }
            self.sent_bytes = self.sent_bytes.saturating_add(u64::try_from(wire.len()).unwrap_or(u64::MAX));
            self.session
                .connection
                .queue_bdat(&wire, !more, limit)
                .map_err(|e| self.broken(e, About::Host))?;
            if !more {
                self.last_chunk_bytes = Some(wire.len());
                return Ok(());
            }
            let reply = self.session.connection.read_reply(limit).map_err(|e| self.broken(e, About::Host))?;
            if !reply.is_success() {
                let error = trouble::refused(&self.used, "BDAT", &reply, Codes::Data);
                return Err(self.refused(error, &reply));
            }
        }
    }

    fn read_end(&mut self) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.end;
        let reply = self.read_at_end(limit)?;
        if self.envelope.is_prdr && reply.is_intermediate() {
            return self.read_prdr(limit);
        }
        // The end went with the envelope if it was a chunk.
        let after = if self.session.is_chunked { self.pipelined() } else { "" };
        if !reply.is_success() {
            let error = self.end_refused(after, &reply);
            return Err(self.refused(error, &reply));
        }
        let (confirmation, host) = (Arc::from(reply.to_text()), Arc::new(self.used.clone()));
        for index in std::mem::take(&mut self.accepted) {
            self.delivered(index, Arc::clone(&confirmation), Arc::clone(&host));
        }
        Ok(())
    }

    fn read_at_end(&mut self, limit: Duration) -> Result<Reply, Passed> {
        self.session.connection.read_reply(limit).map_err(|e| self.broken(at_end(e), About::Message))
    }

    /// What a refusal of the whole message is called.
    fn end_refused(&self, pipelined: &str, reply: &Reply) -> DeliveryError {
        trouble::refused(&self.used, &format!("{pipelined}end of data"), reply, Codes::Data)
    }

    /// PRDR: an answer for each recipient that was accepted, then one for the message. A refused message is nobody's.
    fn read_prdr(&mut self, limit: Duration) -> Result<(), Passed> {
        let accepted = std::mem::take(&mut self.accepted);
        let mut answers = Vec::with_capacity(accepted.len());
        for &index in &accepted {
            // None of these is final before the last reply has come: a connection that breaks leaves all of them waiting.
            let reply = self.session.connection.read_reply(limit);
            answers.push((index, reply.map_err(|e| self.broken(at_end(e), About::Message))?));
        }
        let whole = self.read_at_end(limit)?;
        if !whole.is_success() {
            for (index, reply) in answers {
                if reply.is_success() || whole.is_permanent() {
                    self.accepted.push(index);
                } else {
                    self.refused_one("PRDR", index, &reply);
                }
            }
            let error = self.end_refused("", &whole);
            // When each recipient has an answer of its own, this one is the host's alone.
            let nobody = self.accepted.is_empty();
            return Err(if nobody { Passed::deferred(error) } else { self.refused(error, &whole) });
        }
        self.used.is_prdr = true;
        let host = Arc::new(self.used.clone());
        for (index, reply) in answers {
            if reply.is_success() {
                let confirmation = [reply.to_text(), whole.to_text()].join(&b"\\n"[..]);
                self.delivered(index, confirmation.into(), Arc::clone(&host));
            } else {
                self.refused_one("PRDR", index, &reply);
            }
        }
        Ok(())
    }

    /// LMTP answers for each recipient that was accepted, in their order.
    fn read_each(&mut self) -> Result<(), Passed> {
        let limit = self.work.smtp.timeouts.end;
        let host = Arc::new(self.used.clone());
        for index in std::mem::take(&mut self.accepted) {
            let reply = self
                .session
                .connection
                .read_reply(limit)
                .map_err(|e| self.broken(at_end(e), About::Message))?;
            if reply.is_success() {
                self.delivered(index, reply.to_text().into(), Arc::clone(&host));
                continue;
            }
            self.refused_one("LMTP", index, &reply);
        }
        Ok(())
    }

    /// The message was refused for one recipient.
    fn refused_one(&mut self, protocol: &str, index: usize, reply: &Reply) {
        let mut error = trouble::refused(&self.used, "", reply, Codes::Other);
        let after = self.last_chunk_bytes.map_or("DATA".to_owned(), |bytes| format!("BDAT {bytes} LAST"));
        error.text = format!("{protocol} error after {after}: {reply}");
        if reply.is_permanent() {
            self.set(index, Progress::Ends(Outcome::Failed(error)));
        } else {
            error.is_about_address = true;
            self.set(index, Progress::Waits(Some(error)));
        }
    }

    fn delivered(&mut self, index: usize, confirmation: Arc<[u8]>, host: Arc<HostUsed>) {
        let last_hop = self.work.batch.addresses.get(index).is_some_and(|address| address.dsn.last_hop);
        let named = self.envelope.converted.as_ref().zip(self.work.batch.addresses.get(index));
        let downconverted = named.map(|(sender, address)| {
            let text = recipient(self.work.transport, address);
            // It went out in this form: it has one.
            let address = Form::ALabels.of(&text).map_or_else(|_| lossy(&text), |sent| lossy(&sent));
            Box::new(Downconverted { address, sender: sender.clone() })
        });
        let delivered = Delivered {
            downconverted,
            confirmation: Some(confirmation),
            host: Some(host),
            bytes: Some(self.sent_bytes),
            is_dsn_relayed: self.session.connection.extensions().dsn && !last_hop,
            ..Delivered::default()
        };
        self.set(index, Progress::Ends(Outcome::Delivered(delivered)));
    }
}

/// The last reply is always to the end of the data, however it was sent and however many there are.
fn at_end(error: SmtpError) -> SmtpError {
    let name = |mut after: oxim_net::smtp_client::Phase| {
        after.command = "end of data".to_owned();
        after.pipelined = false;
        after
    };
    match error {
        SmtpError::Timeout { after } => SmtpError::Timeout { after: name(after) },
        SmtpError::Closed { after, error } => SmtpError::Closed { after: name(after), error },
        SmtpError::PeerMalformed { after, error } => SmtpError::PeerMalformed { after: name(after), error },
        SmtpError::LocalArgument { .. }
        | SmtpError::LocalSource(_)
        | SmtpError::Connect(_)
        | SmtpError::PeerInjected
        | SmtpError::Tls(_) => error,
    }
}

/// The stored message in pieces: header and a body in memory at once, a body in a file bit by bit.
pub(super) struct Pieces<'a> {
    composed: &'a Composed,
    file: Option<Box<dyn Read + 'a>>,
    has_begun: bool,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(composed: &'a Composed) -> Pieces<'a> {
        Pieces { composed, file: None, has_begun: false }
    }

    /// Appends the next piece; false after the last one.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if !self.has_begun {
            self.has_begun = true;
            out.extend_from_slice(&self.composed.header);
            let Some(body) = &self.composed.body else { return Ok(false) };
            if body.len() <= PIECE_BYTES {
                out.extend_from_slice(&body.bytes()?);
                return Ok(false);
            }
            self.file = Some(Box::new(body.reader()));
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        let count = file.take(PIECE_BYTES).read_to_end(out)?;
        Ok(count > 0)
    }
}

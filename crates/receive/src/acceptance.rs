//! From the last byte of a message to the instant of acceptance, and the reply after it.
//!
//! [`examine`] fixes the header and asks the DATA ACL; the session then makes the message durable; [`accepted`] writes the
//! arrival line, gives the message to the queue and makes the 250. Nothing before the commit may be promised, nothing after it
//! lost. Manual sections 44.6, 48.13 and 53.6.

use std::sync::Arc;

use oxim_base::clock::Stamp;
use oxim_mail::header::{Header, HeaderKind, HeaderList};
use oxim_mail::message_id::MessageId;
use oxim_spool::SpoolError;
use oxim_spool::message::{Body, Message};
use oxim_spool::store::{Claim, Draft};

use crate::acl::{Fake, Outcome, Phase, QueueControl, Verdict};
use crate::arrival;
use crate::bmi;
use crate::body::{BodyFault, Received, Refused};
use crate::command::set_end_reason;
use crate::cutthrough::{self, Cut};
use crate::fixup::{self, Origin};
use crate::log_line;
use crate::prdr;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::scan::{Scan, parts};
use crate::signatures;
use crate::sink::Queueing;
use crate::talk::{Progress, Talk};

/// A message that every check has passed, before it is durable.
pub struct Ready {
    /// The message.
    pub message: Message,
    /// Its body.
    pub draft: Draft,
    /// The reply when it is durable.
    pub reply: Reply,
    /// What the arrival line needs.
    pub facts: arrival::Facts,
}

/// What is carried from the fix-ups past the ACL.
pub(crate) struct Pending {
    received: Received,
    origin: Origin,
    id_created: bool,
}

impl Pending {
    /// The id of the message.
    pub(crate) fn id(&self) -> MessageId {
        self.received.id
    }
}

/// A message that arrived but is refused: the reply, and the line about it.
pub fn refused(reception: &Arc<Reception>, talk: &mut Talk, refused: Refused) -> Reply {
    talk.scene.context.message.id = Some(refused.id);
    talk.scene.context.message.headers = refused.headers;
    let client = log_line::client(reception, talk, false);
    let reply = match refused.fault {
        BodyFault::Header(error) => {
            let (what, limit) = header_fault(&error);
            reception.logs.main(&format!(
                "{what} received from {client} (more than {limit} characters): message abandoned"
            ));
            Reply::new(552, error.to_string())
        }
        BodyFault::TooBig { read } => {
            too_big(reception, talk, read);
            Reply::fixed(552, "Message size exceeds maximum permitted")
        }
        BodyFault::Spool(error) => spool_fault(reception, &error),
    };
    talk.message_over();
    reply
}

/// How log lines name a header over its limit, and the limit.
#[must_use]
pub fn header_fault(error: &oxim_mail::header::split::HeaderError) -> (&'static str, usize) {
    use oxim_mail::header::split::HeaderError;
    match error {
        HeaderError::PeerHeaderTooLong { limit } => ("ridiculously long message header", *limit),
        HeaderError::PeerLineTooLong { limit } => ("overlong message header line", *limit),
        HeaderError::PeerBareLineFeed => ("message header line without CRLF", 0),
    }
}

/// Logs a message that is over the limit; its header lines are in the context.
pub fn too_big(reception: &Reception, talk: &Talk, read: u64) {
    let message = &talk.scene.context.message;
    let id = message.id.map(|id| format!("{id} ")).unwrap_or_default();
    let sender = String::from_utf8_lossy(&message.sender).into_owned();
    let client = log_line::client(reception, talk, true);
    let line = format!(
        "{id}rejected from <{sender}> {client}: message too big: read={read} max={}",
        talk.size_limit
    );
    // The selector is for the main log alone.
    let is_in_main = reception.wants.size_reject;
    let headers = reception.wants.rejected_header.then(|| refusal::header_block(talk));
    reception.logs.rejection(&line, is_in_main, headers.as_deref());
}

/// What a client is told when the spool cannot hold its message.
pub fn spool_fault(reception: &Reception, error: &SpoolError) -> Reply {
    reception.logs.panic(&format!("spool error: {error}"));
    match error {
        SpoolError::Full { .. } => Reply::fixed(452, "Space shortage, please try later"),
        SpoolError::Local { source, .. } if is_out_of_files(source) => {
            Reply::fixed(421, "Unable to accept mail now - please try later").closing()
        }
        SpoolError::Local { .. } | SpoolError::Stale | SpoolError::Unwritable(_) | SpoolError::Closed => {
            Reply::fixed(451, "Temporary local problem - please try later")
        }
    }
}

fn is_out_of_files(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE].iter().any(|e| Some(e.raw_os_error()) == error.raw_os_error())
}

/// Fixes the header and goes on to the DATA ACL. For messages over SMTP.
pub fn examine(reception: &Arc<Reception>, talk: &mut Talk, received: Received) -> Progress {
    let is_local = talk.is_local();
    let sender = &talk.scene.context.message.sender;
    let sender_set = talk.caller.as_ref().is_some_and(|caller| *sender != caller.sender);
    let origin = Origin { is_local, is_smtp: true, sender_set, extract_recipients: false };
    let mut received = received;
    let signatures = received.signatures.take();
    if received.headers.contains(b"arc-seal") || received.headers.contains(b"arc-message-signature") {
        let lines = received.headers.all().iter().map(|header| header.text.clone()).collect();
        talk.scene.context.message.arc.lines = Arc::new(lines);
    }
    let pending = match prepare(reception, talk, received, origin) {
        Ok(pending) => pending,
        Err(reply) => return Progress::Reply(reply),
    };
    // What the ACLs before the data have asked for can be seen by those after it.
    add_acl_headers(talk);
    let go_on: signatures::GoOn =
        Box::new(move |reception: &Arc<Reception>, talk: &mut Talk| data_acl(reception, talk, pending));
    if talk.scene.context.message.recipients.is_empty() {
        return go_on(reception, talk);
    }
    let mime: signatures::GoOn = Box::new(move |reception: &Arc<Reception>, talk: &mut Talk| {
        if talk.scene.context.message.recipients.is_empty() {
            return go_on(reception, talk);
        }
        parts::examine(reception, talk, go_on)
    });
    signatures::examine(reception, talk, signatures, mime)
}

fn data_acl(reception: &Arc<Reception>, talk: &mut Talk, pending: Pending) -> Progress {
    if talk.scene.context.message.recipients.is_empty() {
        let outcome = Outcome::plain(Verdict::Accept);
        return after_acl(reception, talk, pending, &outcome);
    }
    if prdr::is_due(reception, talk) {
        return prdr::begin(talk, pending);
    }
    talk.transaction.prdr = false;
    talk.scene.context.message.prdr_requested = false;
    ask_data_acl(pending)
}

/// Asks the DATA ACL about the message as a whole.
pub(crate) fn ask_data_acl(pending: Pending) -> Progress {
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        after_acl(reception, talk, pending, &outcome)
    };
    Progress::Acl(Phase::Data, Box::new(then))
}

/// Makes the message visible to variables, fixes its header, and puts Received: on top.
fn prepare(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mut received: Received,
    origin: Origin,
) -> Result<Pending, Reply> {
    let message = &mut talk.scene.context.message;
    message.id = Some(received.id);
    message.received = received.started;
    message.headers = std::mem::take(&mut received.headers);
    message.body_lines = received.counts.body_lines;
    message.body_zeros = received.counts.body_zeros;
    message.max_line = received.counts.line_bytes_max;
    message.recipients_visible = true;
    match received.draft.body() {
        Ok(body) => message.body = Some(body),
        Err(error) => return Err(spool_fault(reception, &error)),
    }
    // As it was sent: what is added to it now is no part of $message_size and $message_linecount.
    let header_bytes = u64::try_from(message.headers.size_bytes()).unwrap_or(u64::MAX);
    let lines = u64::try_from(message.headers.line_count()).unwrap_or(0);
    let id_created = fixup::apply(reception, talk, received.id, &origin);
    let message = &mut talk.scene.context.message;
    message.received_for = match message.recipients.as_slice() {
        [only] => Some(only.address.clone()),
        _ => None,
    };
    let separator = u64::from(received.has_separator);
    let size = header_bytes.saturating_add(separator).saturating_add(received.body_bytes);
    let message = &mut talk.scene.context.message;
    // A body without a blank line before it has a line more than there are, as Exim counts.
    let boundary = u64::from(received.has_separator || received.body_bytes > 0);
    message.lines = lines.saturating_add(boundary).saturating_add(message.body_lines);
    message.size = i64::try_from(size).unwrap_or(i64::MAX);
    match fixup::received_line(reception, talk, received.started) {
        Ok(header) => talk.scene.context.message.headers.push_front(header),
        Err(reason) => {
            reception.logs.panic(&reason);
            return Err(Reply::fixed(451, "Temporary local problem - please try later"));
        }
    }
    let headers = &talk.scene.context.message.headers;
    talk.scene.context.message.received_count = fixup::received_count(headers);
    Ok(Pending { received, origin, id_created })
}

fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, pending: Pending, outcome: &Outcome) -> Progress {
    match outcome.verdict {
        Verdict::Accept => {}
        Verdict::Discard => {
            talk.transaction.discarded_by = Some("DATA");
            talk.transaction.discard_reason = outcome.discard_reason();
            talk.scene.context.message.recipients = Arc::default();
        }
        Verdict::Deny | Verdict::Defer | Verdict::Drop => {
            add_acl_headers(talk);
            let reply = refusal::refuse(reception, talk, Phase::Data, "", outcome);
            talk.message_over();
            return Progress::Reply(reply);
        }
    }
    let id = pending.received.id;
    let reply = final_reply(reception, talk, id, outcome);
    let (mut message, mut draft, mut facts) = assemble(reception, talk, pending);
    if message.recipients.is_empty() {
        let reply = swallow(reception, talk, &message, &facts, reply);
        return Progress::Reply(reply);
    }
    let is_scanned = talk.scene.message.bmi.is_wanted;
    if let Err(reason) = scan(reception, talk, &mut message, &mut draft) {
        let log_message = Some(reason.into());
        let outcome = Outcome { log_message, ..Outcome::plain(Verdict::Defer) };
        let reply = refusal::refuse(reception, talk, Phase::Data, "", &outcome);
        talk.message_over();
        return Progress::Reply(reply);
    }
    // Routers are to see the verdicts; the next host of a cutthrough delivery was chosen before there were any.
    if is_scanned {
        talk.scene.held = None;
    }
    match cutthrough::attempt(reception, talk, &message, &mut draft) {
        Cut::NotDone => {}
        Cut::Delivered => return Progress::Reply(passed_on(reception, talk, &message, &facts, reply)),
        Cut::Refused(reply) => {
            talk.message_over();
            return Progress::Reply(reply);
        }
        Cut::PutOff => facts.is_put_off = true,
    }
    Progress::Commit(Box::new(Ready { message, draft, reply, facts }))
}

/// Asks for verdicts, if an ACL wants them. The error is the reason why the message is put off.
fn scan(
    reception: &Reception,
    talk: &mut Talk,
    message: &mut Message,
    draft: &mut Draft,
) -> Result<(), String> {
    if !talk.scene.message.bmi.is_wanted {
        return Ok(());
    }
    let body = draft.body().map_err(|error| error.to_string())?;
    bmi::scan(reception, talk, message, &body)
}

/// A message that the next host has already: it is logged as arrived and done, and stored nowhere.
fn passed_on(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    message: &Message,
    facts: &arrival::Facts,
    reply: Reply,
) -> Reply {
    reception.logs.main(&arrival::line(reception, talk, message, facts));
    reception.logs.main(&format!("{} Completed", message.id));
    talk.counts.messages = talk.counts.messages.saturating_add(1);
    talk.message_over();
    reply
}

/// Why a message from a local process was not taken.
#[derive(Debug)]
pub enum Rejection {
    /// The non-SMTP ACL said no.
    Acl {
        /// What it said.
        text: String,
        /// The header lines.
        headers: HeaderList,
        /// The body.
        body: Option<Body>,
    },
    /// This machine cannot take it now.
    Local(String),
}

/// Takes a message from a local process, from fix-ups to queue. For everything that is not a dialogue. Blocks.
///
/// # Errors
/// It was not taken.
pub fn submit(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    received: Received,
    origin: Origin,
) -> Result<(), Rejection> {
    let id = received.id;
    let pending = prepare(reception, talk, received, origin)
        .map_err(|reply| Rejection::Local(String::from_utf8_lossy(&reply.text).into_owned()))?;
    if let Err(outcome) = parts::examine_local(reception, talk) {
        return Err(refuse_local(reception, talk, id, Phase::NotSmtpMime, &outcome));
    }
    let outcome = match talk.transaction.discarded_by {
        Some("MIME") => Outcome::plain(Verdict::Accept),
        _ => crate::local::run_acl(reception, talk, Phase::NotSmtp),
    };
    match outcome.verdict {
        Verdict::Accept => {}
        Verdict::Discard => {
            talk.transaction.discarded_by = Some("non-SMTP");
            talk.transaction.discard_reason = outcome.discard_reason();
            talk.scene.context.message.recipients = Arc::default();
        }
        // There is no way to tell a local process to come again: "later" is "no".
        Verdict::Deny | Verdict::Defer | Verdict::Drop => {
            return Err(refuse_local(reception, talk, id, Phase::NotSmtp, &outcome));
        }
    }
    let (mut message, mut draft, facts) = assemble(reception, talk, pending);
    let reply = Reply::fixed(250, "OK");
    if message.recipients.is_empty() {
        swallow(reception, talk, &message, &facts, reply);
        return Ok(());
    }
    scan(reception, talk, &mut message, &mut draft).map_err(|reason| {
        reception.logs.main_and_reject(&format!("{id} temporarily rejected: {reason}"));
        Rejection::Local("Temporary local problem - please try later".to_owned())
    })?;
    let claim = reception.store.commit_blocking(message, draft).map_err(|error| {
        reception.logs.panic(&format!("spool error: {error}"));
        Rejection::Local(error.to_string())
    })?;
    accepted(reception, talk, &facts, reply, claim);
    Ok(())
}

fn refuse_local(
    reception: &Reception,
    talk: &mut Talk,
    id: MessageId,
    phase: Phase,
    outcome: &Outcome,
) -> Rejection {
    add_acl_headers(talk);
    let text = outcome.user_message.as_ref().map(oxim_base::Text::to_string_lossy);
    let logged = outcome.log_message.as_ref().map(oxim_base::Text::to_string_lossy).or_else(|| text.clone());
    let reason =
        logged.map(|logged| format!(": {}", logged.lines().next().unwrap_or_default())).unwrap_or_default();
    let sender = String::from_utf8_lossy(&talk.scene.context.message.sender).into_owned();
    let line = format!("{id} F=<{sender}> rejected by {} ACL{reason}", phase.name());
    if outcome.targets.reject {
        let headers = reception.wants.rejected_header.then(|| refusal::header_block(talk));
        reception.logs.rejection(&line, outcome.targets.main, headers.as_deref());
    } else if outcome.targets.main {
        reception.logs.main(&line);
    }
    let message = &mut talk.scene.context.message;
    Rejection::Acl {
        text: text.unwrap_or_else(|| "local configuration problem".to_owned()),
        headers: std::mem::take(&mut message.headers),
        body: message.body.take(),
    }
}

/// Header and body of a message that is given back to its sender, with the lines that it would have got.
pub fn fixed(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    mut received: Received,
    origin: &Origin,
) -> (HeaderList, Option<Body>) {
    let origin = Origin { extract_recipients: false, ..origin.clone() };
    talk.scene.context.message.headers = std::mem::take(&mut received.headers);
    fixup::apply(reception, talk, received.id, &origin);
    (std::mem::take(&mut talk.scene.context.message.headers), received.draft.body().ok())
}

/// `-bh`: the lines and the reply of an accepted message that is then thrown away.
pub fn pretended(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    message: &Message,
    facts: &arrival::Facts,
    reply: Reply,
) -> Reply {
    reception.logs.main(&arrival::line(reception, talk, message, facts));
    talk.counts.messages = talk.counts.messages.saturating_add(1);
    talk.message_over();
    reply
}

/// What the client will be told when the message is durable.
fn final_reply(reception: &Reception, talk: &Talk, id: MessageId, outcome: &Outcome) -> Reply {
    match &talk.scene.message.fake {
        Some(Fake::Defer(text)) => Reply::new(450, text.as_bytes()),
        Some(Fake::Reject(text)) => Reply::new(550, text.as_bytes()),
        None if outcome.user_message.is_some() => refusal::accepted(reception, 250, "", outcome),
        None if talk.transaction.prdr => prdr::accepted(talk, id),
        None => match talk.transaction.last_chunk {
            Some(chunk) => {
                Reply::new(250, format!(" {} byte chunk, total {}\nOK id={id}", chunk.size, chunk.total))
            }
            None => Reply::new(250, format!("OK id={id}")),
        },
    }
}

/// A message without recipients left: it is logged as arrived and done, and stored nowhere.
fn swallow(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    message: &Message,
    facts: &arrival::Facts,
    reply: Reply,
) -> Reply {
    reception.logs.main(&arrival::line(reception, talk, message, facts));
    let acl = talk.transaction.discarded_by.unwrap_or("RCPT");
    // The reasons of a MAIL or RCPT ACL have been logged with each recipient.
    let has_own_line = matches!(acl, "MAIL" | "RCPT");
    let reason = if has_own_line { "" } else { talk.transaction.discard_reason.as_str() };
    reception.logs.main(&format!("{} => blackhole ({acl} ACL discarded recipients){reason}", message.id));
    reception.logs.main(&format!("{} Completed", message.id));
    talk.message_over();
    reply
}

/// Adds the lines that ACLs have asked for, and takes out those that they have named.
pub(crate) fn add_acl_headers(talk: &mut Talk) {
    let controls = &mut talk.scene.message;
    let added = std::mem::take(&mut controls.headers_added);
    let removed = std::mem::take(&mut controls.headers_removed);
    let headers = &mut talk.scene.context.message.headers;
    for name in removed {
        headers.mark_deleted(&name, 0);
    }
    for line in added {
        headers.add(line.position, Header::new(line.text));
    }
    talk.scene.context.message.headers_added.clear();
}

/// Puts the spool's form of the message together.
fn assemble(reception: &Reception, talk: &mut Talk, pending: Pending) -> (Message, Draft, arrival::Facts) {
    let Pending { received, origin, id_created } = pending;
    add_acl_headers(talk);
    let now = Stamp::now();
    let headers = &mut talk.scene.context.message.headers;
    if let Some(header) = headers.all_mut().iter_mut().find(|h| h.kind == HeaderKind::Received) {
        fixup::restamp(header, reception, now);
    }
    let taken = received.clock.elapsed();
    let controls = &talk.scene.message;
    let is_wrapper = reception.config.main.mua_wrapper;
    let frozen = controls.freeze.filter(|_| !is_wrapper).map(|_| now.seconds);
    let facts = arrival::Facts {
        taken,
        size: arrival::total_size(&talk.scene.context.message.headers, received.body_bytes),
        id_created,
        chunked: received.chunked,
        fake: matches!(controls.fake, Some(Fake::Reject(_))),
        freeze: controls.freeze,
        queue: controls.queue,
        is_put_off: false,
        original_sender: talk.transaction.raw_sender.clone(),
        original_recipients: talk.transaction.raw_recipients.clone(),
    };
    // What scanners were shown is not needed any more.
    talk.scene.message.scan = Scan::default();
    let context = &mut talk.scene.context;
    let mut message = Message::new(received.id);
    if let Some(spam) = &context.message.content.spam {
        message.spam_bar = Some(spam.bar.clone());
        message.spam_score = Some(spam.score.clone());
        message.spam_score_int = Some(spam.score_int.clone());
    }
    message.sender.clone_from(&context.message.sender);
    message.received = received.started;
    message.received_micros_taken = u64::try_from(taken.as_micros()).ok();
    message.frozen = frozen;
    message.first_delivery = true;
    message.recipients = Arc::unwrap_or_clone(std::mem::take(&mut context.message.recipients));
    message.non_recipients = std::mem::take(&mut talk.transaction.non_recipients);
    message.headers = std::mem::take(&mut context.message.headers);
    message.acl_c.clone_from(&context.connection.acl_c);
    message.acl_m = std::mem::take(&mut context.message.acl_m);
    message.body_lines = received.counts.body_lines;
    message.body_zeros = received.counts.body_zeros;
    message.max_line = received.counts.line_bytes_max;
    message.wireformat = reception.config.main.spool_wireformat && received.chunked;
    message.queue_name.clone_from(&context.message.queue_name);
    message.dsn_ret = talk.transaction.dsn_ret;
    message.dsn_envid.clone_from(&talk.transaction.dsn_envid);
    message.smtputf8 = talk.transaction.smtputf8;
    message.utf8_downconvert = match talk.scene.message.utf8_downconvert {
        None if is_wrapper => Some(-1),
        wanted => wanted.filter(|form| *form != 0),
    };
    arrival::describe_source(reception, talk, &origin, &mut message);
    (message, received.draft, facts)
}

/// The message is durable: the arrival line, the queue, the reply.
pub fn accepted(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    facts: &arrival::Facts,
    reply: Reply,
    claim: Claim,
) -> Reply {
    let line = arrival::line(reception, talk, claim.message(), facts);
    reception.logs.main(&line);
    if reception.config.main.message_logs {
        start_message_log(reception, &claim, &line);
    }
    let queueing = if reception.config.main.mua_wrapper {
        Queueing::Foreground
    } else {
        queueing(reception, talk, facts, claim.id())
    };
    talk.counts.messages = talk.counts.messages.saturating_add(1);
    reception.sink.accepted(claim, queueing);
    talk.message_over();
    Reply { close: reply.close || reception.sink.has_failed(), ..reply }
}

/// The message's own log begins with its arrival; it is kept in memory while the message has no files.
fn start_message_log(reception: &Reception, claim: &Claim, line: &str) {
    if let Some((_, facts)) = line.split_once(" <= ") {
        let stamp = reception.services.log().stamp();
        reception.store.message_log(claim, &format!("{stamp} Received from {facts}"));
    }
}

fn log_queued(reception: &Reception, facts: &arrival::Facts, id: MessageId) {
    if facts.queue == Some(QueueControl::Wait) && reception.wants.delay_delivery {
        reception.logs.main(&format!("{id} no immediate delivery: queued by ACL"));
    }
}

/// `queue_only_file`: a file that is there makes messages wait, whatever the command line says; with `smtp` before its name,
/// only their remote deliveries.
fn by_file(files: &[String]) -> Option<Queueing> {
    let mut found = None;
    for file in files {
        let (path, queueing) = match file.strip_prefix("smtp") {
            Some(path) => (path, Queueing::RemoteWaits),
            None => (file.as_str(), Queueing::Wait),
        };
        if path.starts_with('/') && std::path::Path::new(path).exists() {
            found = Some(queueing);
            if found == Some(Queueing::Wait) {
                break;
            }
        }
    }
    found
}

/// When the message is to be delivered.
fn queueing(reception: &Reception, talk: &mut Talk, facts: &arrival::Facts, id: MessageId) -> Queueing {
    if let Some(freeze) = facts.freeze {
        reception.logs.main(&format!("{id} frozen by ACL"));
        log_queued(reception, facts, id);
        return Queueing::Frozen { tell: freeze.tell };
    }
    log_queued(reception, facts, id);
    if facts.is_put_off {
        return Queueing::Wait;
    }
    match facts.queue {
        Some(QueueControl::Wait) => return Queueing::Wait,
        Some(QueueControl::FirstPassRoute) => return Queueing::RemoteWaits,
        None => {}
    }
    let settings = &reception.settings;
    if let Some(queueing) = by_file(&settings.queue_only_files) {
        return queueing;
    }
    // The command line goes before `queue_only`, but not before what follows.
    let forced = talk.forced_queueing.or(reception.forced_queueing);
    let is_overruled = forced.is_none() || !settings.queue_only_override;
    if settings.queue_only && is_overruled || forced == Some(Queueing::Wait) {
        return Queueing::Wait;
    }
    let limits = &settings.limits;
    let (open, most) = (reception.admission.open(), limits.accept_queue);
    if most > 0 && open > most && !talk.is_local() {
        if reception.wants.delay_delivery {
            reception
                .logs
                .main(&format!("{id} no immediate delivery: too many connections ({open}, max {most})"));
        }
        return Queueing::Wait;
    }
    let per_connection = limits.accept_queue_per_connection;
    if per_connection > 0 && !talk.is_local() && talk.counts.messages >= per_connection {
        if reception.wants.delay_delivery {
            reception.logs.main(&format!(
                "{id} no immediate delivery: more than {per_connection} messages received in one connection"
            ));
        }
        return Queueing::Wait;
    }
    if let Some(max) = limits.queue_only_load {
        let load = talk.counts.queued_by_load.unwrap_or_else(|| reception.load.thousandths());
        if load > max {
            talk.counts.queued_by_load = limits.queue_only_load_latch.then_some(load);
            if reception.wants.delay_delivery {
                let shown = |value: i64| format!("{}.{:02}", value / 1000, (value % 1000) / 10);
                reception.logs.main(&format!("{id} no immediate delivery: load average {}", shown(load)));
            }
            return Queueing::Wait;
        }
    }
    forced.unwrap_or(Queueing::Immediate)
}

/// The message could not be made durable.
pub fn not_durable(reception: &Arc<Reception>, talk: &mut Talk, error: &SpoolError) -> Reply {
    let reply = spool_fault(reception, error);
    if reply.close {
        set_end_reason(talk, "connection-lost");
    }
    talk.message_over();
    reply
}

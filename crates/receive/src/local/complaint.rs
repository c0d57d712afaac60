//! What is wrong with a local submission, told to its sender by mail or on standard error.
//!
//! Manual section 5.2 (`-oee`, `-oem`, `-oep`). The mail is an ordinary bounce message: empty sender, `Auto-Submitted:`, and a
//! copy of the message as far as it is known.

use std::fmt::Write as _;
use std::io::Read;
use std::sync::Arc;

use oxim_base::errno::error_text;
use oxim_deliver::submission::Submission;
use oxim_mail::header::{HeaderKind, HeaderList};
use oxim_mail::message_id::MessageId;
use oxim_spool::message::Body;

use super::input::Input;
use super::told::Told;
use super::{Errors, ExitStatus, Request, submitter};
use crate::log_line;
use crate::reception::Reception;
use crate::talk::Talk;

/// An address that is none.
#[derive(Clone, Debug)]
pub struct BadAddress {
    /// As it was given.
    pub text: Vec<u8>,
    /// Why.
    pub reason: String,
}

/// Why a submission failed.
#[derive(Debug)]
pub enum Complaint {
    /// The command line makes no sense: only ever printed.
    Usage(String),
    /// A recipient argument is no address.
    BadArgument(BadAddress),
    /// `-t`: addresses in the header are none.
    BadHeader {
        /// Those.
        bad: Vec<BadAddress>,
        /// Whether the message goes to others.
        others: bool,
        /// The header.
        headers: HeaderList,
        /// The body.
        body: Option<Body>,
    },
    /// `-t`: nobody to deliver to.
    Nobody {
        /// There were recipients, but the command line took them all away.
        overridden: bool,
        /// The header.
        headers: HeaderList,
        /// The body.
        body: Option<Body>,
    },
    /// The non-SMTP ACL refused it.
    Acl {
        /// What the ACL said.
        text: String,
        /// The header.
        headers: HeaderList,
        /// The body.
        body: Option<Body>,
    },
    /// Over `message_size_limit`.
    TooBig {
        /// The limit, in bytes.
        max: u64,
        /// The header.
        headers: HeaderList,
    },
    /// Over `header_maxsize` or `header_line_maxsize`.
    Header {
        /// It is one line that is too long.
        is_line: bool,
        /// The limit, in bytes.
        limit: usize,
        /// The header, as far as it was kept.
        headers: HeaderList,
    },
    /// `receive_timeout` passed before its end came.
    Late,
    /// This machine cannot take it now.
    Local(String),
}

impl Complaint {
    /// The line on standard error, without the program's name.
    fn printed(&self) -> String {
        match self {
            Complaint::Usage(text) => text.clone(),
            Complaint::BadArgument(bad) => {
                format!("bad recipient address \"{}\": {}", String::from_utf8_lossy(&bad.text), bad.reason)
            }
            Complaint::BadHeader { bad, .. } => match bad.as_slice() {
                [only] => format!("invalid address:{}", listed(std::slice::from_ref(only)).trim_end()),
                many => format!("invalid addresses:\n{}", listed(many).trim_end()),
            },
            Complaint::Nobody { overridden: true, .. } => {
                "all -t recipients overridden by command line".to_owned()
            }
            Complaint::Nobody { overridden: false, .. } => "no recipients in message".to_owned(),
            Complaint::Acl { text, .. } => format!("message rejected by non-SMTP ACL: {text}"),
            Complaint::TooBig { max, .. } => format!("message rejected: message too big (max={max})"),
            Complaint::Header { limit, .. } => {
                format!("message header longer than {limit} characters received: message not accepted")
            }
            Complaint::Late => "timed out while reading - message abandoned".to_owned(),
            Complaint::Local(text) => format!("message not accepted: {text}"),
        }
    }

    /// Subject and explanation for the mail; None if it is never mailed.
    fn mailed(&self) -> Option<(&'static str, String)> {
        let subject = match self {
            Complaint::Usage(_) | Complaint::Late | Complaint::Local(_) => return None,
            Complaint::BadArgument(_) | Complaint::BadHeader { .. } => "malformed recipient address",
            Complaint::Nobody { .. } => "no recipient addresses",
            Complaint::Acl { .. } => "rejected by local scanning code",
            Complaint::TooBig { .. } => "message too big",
            Complaint::Header { is_line: true, .. } => "overlong header line",
            Complaint::Header { is_line: false, .. } => "overlong header section",
        };
        let text = match self {
            Complaint::Usage(_) | Complaint::Late | Complaint::Local(_) => return None,
            Complaint::BadArgument(bad) => format!(
                "Your message has a recipient that is not a valid address:\n\n  {}  {}\n\nNothing has been delivered.\n",
                String::from_utf8_lossy(&bad.text),
                bad.reason
            ),
            Complaint::BadHeader { bad, others, .. } => format!(
                "These recipients in the header of your message are not valid addresses:\n\n{}\nThey have been left out. {}\n",
                listed(bad),
                if *others { "The other recipients are valid, and delivery to them goes on." } else { "There was nobody else to deliver to." }
            ),
            Complaint::Nobody { overridden: false, .. } => {
                "Your message names no recipients, so it could not be delivered to anybody.\n".to_owned()
            }
            Complaint::Nobody { overridden: true, .. } => {
                "All recipients in the header of your message were excluded on the command line (-t with\naddresses), so there was nobody left to deliver to.\n".to_owned()
            }
            Complaint::Acl { text, .. } => {
                format!("Your message was refused by the rules for messages on this system:\n\n  {text}\n")
            }
            Complaint::TooBig { max, .. } => {
                format!("Your message is larger than this system accepts ({max} bytes). Nothing has been delivered.\n")
            }
            Complaint::Header { limit, .. } => format!(
                "The header of your message is larger than this system accepts ({limit} bytes). Nothing has\nbeen delivered.\n"
            ),
        };
        Some((subject, text))
    }

    /// What the log says of it if its sender is empty, so that nobody can be told by mail; None if it is never mailed.
    fn logged(&self) -> Option<String> {
        Some(match self {
            Complaint::Usage(_) | Complaint::Late | Complaint::Local(_) => return None,
            Complaint::BadArgument(bad) => malformed(std::slice::from_ref(bad)),
            Complaint::BadHeader { bad, .. } => malformed(bad),
            Complaint::Nobody { .. } => "no recipient addresses".to_owned(),
            Complaint::Acl { text, .. } => format!("rejected by non-SMTP ACL: {text}"),
            Complaint::TooBig { max, .. } => format!("message too big (limit set to {max})"),
            Complaint::Header { is_line, limit, .. } => {
                let what = if *is_line { "line" } else { "section" };
                format!("excessively long message header {what} read (more than {limit} characters)")
            }
        })
    }

    /// The exit status if it was not mailed though it should have been (manual section 5.2, `-oee`).
    fn unmailed_status(&self) -> ExitStatus {
        if matches!(self, Complaint::Nobody { .. }) { ExitStatus::NO_RECIPIENTS } else { ExitStatus::FAILED }
    }

    /// The message that it is about, as far as it is known.
    fn copy(self) -> Option<(HeaderList, Option<Body>)> {
        match self {
            Complaint::Usage(_) | Complaint::Late | Complaint::Local(_) | Complaint::BadArgument(_) => None,
            Complaint::BadHeader { headers, body, .. }
            | Complaint::Nobody { headers, body, .. }
            | Complaint::Acl { headers, body, .. } => Some((headers, body)),
            Complaint::TooBig { headers, .. } | Complaint::Header { headers, .. } => Some((headers, None)),
        }
    }
}

fn malformed(bad: &[BadAddress]) -> String {
    let first = bad.first().map_or_else(String::new, |bad| {
        format!(": {} - {}", log_line::printable(bad.text.trim_ascii()), bad.reason)
    });
    format!("at least one malformed recipient address{first}")
}

fn listed(bad: &[BadAddress]) -> String {
    let mut out = String::new();
    for address in bad {
        let _ = writeln!(out, "  {}: {}", String::from_utf8_lossy(&address.text), address.reason);
    }
    out
}

/// How much of a message on standard input is copied into a complaint, in bytes.
const COPIED_BYTES_MAX: usize = 64 * 1024;

/// Reports a failure, and says what to exit with.
pub(crate) fn report<R: Read>(
    reception: &Arc<Reception>,
    talk: &Talk,
    request: &Request,
    complaint: Complaint,
    input: &mut Input<R>,
    told: &Told,
) -> ExitStatus {
    let errors = request.errors;
    // A bad argument is found before anything is read: then the copy comes from standard input.
    let unread = match &complaint {
        Complaint::BadArgument(_) if errors != Errors::Print => {
            let rest = input.rest(COPIED_BYTES_MAX);
            Some(if request.ignore_dots { rest } else { up_to_dot(rest) })
        }
        Complaint::BadArgument(_)
        | Complaint::Usage(_)
        | Complaint::BadHeader { .. }
        | Complaint::Nobody { .. }
        | Complaint::Acl { .. }
        | Complaint::TooBig { .. }
        | Complaint::Header { .. }
        | Complaint::Late
        | Complaint::Local(_) => None,
    };
    let unmailed = if errors == Errors::Print { ExitStatus::FAILED } else { complaint.unmailed_status() };
    match (tell_with(reception, talk, errors, complaint, unread, told), errors) {
        (false, _) => unmailed,
        (true, Errors::MailQuietly) => ExitStatus::OK,
        (true, _) => ExitStatus::FAILED,
    }
}

/// The message without its final dot and what follows.
fn up_to_dot(mut text: Vec<u8>) -> Vec<u8> {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let length = lines.take_while(|line| *line != b".\n" && *line != b".\r\n").map(<[u8]>::len).sum();
    text.truncate(length);
    text
}

/// Reports something that does not stop the message.
pub(crate) fn tell(
    reception: &Arc<Reception>,
    talk: &Talk,
    errors: Errors,
    complaint: Complaint,
    told: &Told,
) {
    tell_with(reception, talk, errors, complaint, None, told);
}

/// Whether it was told by mail.
fn tell_with(
    reception: &Arc<Reception>,
    talk: &Talk,
    errors: Errors,
    complaint: Complaint,
    unread: Option<Vec<u8>>,
    told: &Told,
) -> bool {
    let recipient = talk.scene.context.message.sender.clone();
    let printed = complaint.printed();
    if errors != Errors::Print
        && recipient.is_empty()
        && let Some(reason) = complaint.logged()
    {
        let id = talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
        reception
            .logs
            .main(&format!("{id}Error while reading message with no usable sender address: {reason}"));
    }
    let letter = complaint.mailed().filter(|_| errors != Errors::Print && !recipient.is_empty());
    let Some((subject, text)) = letter else {
        told.error_line(&format!("exim: {printed}"));
        return false;
    };
    match mail(reception, &recipient, subject, &text, talk.scene.context.message.id, complaint.copy(), unread)
    {
        Ok(()) => true,
        Err(reason) => {
            reception.logs.panic(&format!("a report could not be mailed: {reason}"));
            told.error_line(&format!("exim: {printed}"));
            false
        }
    }
}

/// Makes and queues the mail.
/// Adds the lines of a body, none longer than `bounce_return_linesize_limit` (0: as they are).
fn shorten_into(out: &mut Vec<u8>, body: &[u8], limit: usize) {
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let (text, end) = line.strip_suffix(b"\n").map_or((line, b"".as_slice()), |text| (text, b"\n"));
        let short = text.get(..limit).filter(|_| limit > 0).unwrap_or(text);
        out.extend_from_slice(short);
        out.extend_from_slice(end);
    }
}

fn mail(
    reception: &Arc<Reception>,
    recipient: &[u8],
    subject: &str,
    text: &str,
    about: Option<MessageId>,
    copy: Option<(HeaderList, Option<Body>)>,
    unread: Option<Vec<u8>>,
) -> Result<(), String> {
    let domain = String::from_utf8_lossy(&reception.settings.qualify_domain).into_owned();
    let line_limit = usize::try_from(reception.config.main.bounce_return_linesize_limit).unwrap_or(0);
    let shown = String::from_utf8_lossy(recipient);
    let mut out = format!(
        "Auto-Submitted: auto-replied\nFrom: Mail Delivery System <Mailer-Daemon@{domain}>\nTo: {shown}\n"
    )
    .into_bytes();
    let reference = copy.as_ref().and_then(|(headers, _)| headers.of_kind(HeaderKind::Id).next());
    if let Some(reference) = reference {
        out.extend_from_slice(b"References: ");
        out.extend_from_slice(&reference.unfolded());
        out.push(b'\n');
    }
    out.extend_from_slice(format!("Subject: Mail failure - {subject}\n\n{text}").as_bytes());
    out.extend_from_slice(b"\n------ This is a copy of your message, including all the headers. ------\n\n");
    if let Some((headers, original)) = copy {
        for header in headers.iter_live() {
            out.extend_from_slice(&header.text);
        }
        out.push(b'\n');
        if let Some(original) = original {
            let head = original.head(COPIED_BYTES_MAX).map_err(|error| error_text(&error))?;
            shorten_into(&mut out, &head, line_limit);
        }
    }
    let unread = unread.unwrap_or_default();
    let header_end = memchr::memmem::find(&unread, b"\n\n").unwrap_or(unread.len());
    let (headers, rest) = unread.split_at_checked(header_end).unwrap_or((&unread, &[]));
    out.extend_from_slice(headers);
    shorten_into(&mut out, rest, line_limit);
    let submission = Submission {
        sender: Vec::new(),
        recipients: vec![recipient.to_vec()],
        text: out,
        about,
        caller: None,
    };
    submitter::submit(reception, submission).map(|_| ())
}

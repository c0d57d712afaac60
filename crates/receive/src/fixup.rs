//! What happens to the header lines of a message that has arrived: lines removed, lines added, addresses completed.
//!
//! Some of it is done for every message (Received:, the removal of Return-path: and its kin), the rest for messages from local
//! callers and in submission mode. The order of the added lines is Exim's. Manual chapter 48 and section 31.4.

use std::sync::Arc;

use oxim_base::clock::Stamp;
use oxim_lang::expand::Template;
use oxim_mail::address;
use oxim_mail::header::{Header, HeaderKind, HeaderList};
use oxim_mail::message_id::MessageId;

use crate::acl::Submission;
use crate::caller::Caller;
use crate::originator;
use crate::reception::Reception;
use crate::rewriting;
use crate::talk::Talk;

/// How a message came in, as far as its header lines are concerned.
#[derive(Clone, Debug)]
pub struct Origin {
    /// From a local process, whatever way, without a host address.
    pub is_local: bool,
    /// Over SMTP, be it on standard input.
    pub is_smtp: bool,
    /// The caller set a sender of its own (`-f`, MAIL, a "From " line).
    pub sender_set: bool,
    /// Recipients were taken from the header (`-t`): Bcc: goes away.
    pub extract_recipients: bool,
}

/// Does it all, except for Received:. Returns the id of a Message-ID: line that had to be made.
pub fn apply(reception: &Arc<Reception>, talk: &mut Talk, id: MessageId, origin: &Origin) -> bool {
    let submission = talk.scene.message.submission.clone();
    let is_suppressed = talk.scene.message.suppress_local_fixups;
    let wants_fixups = submission.is_some() || (origin.is_local && !is_suppressed);
    let caller = talk.caller.clone();
    // What makes a message resent counts, even if it is taken away.
    let has_resent = talk.scene.context.message.headers.has_resent();
    remove_lines(reception, talk, origin, submission.as_ref(), has_resent);
    if origin.is_local
        && !origin.is_smtp
        && let Some(caller) = &caller
    {
        login_only_from(reception, talk, caller);
    }
    let mut id_created = false;
    if wants_fixups {
        let prefix = if has_resent { "Resent-" } else { "" };
        id_created = add_message_id(reception, talk, id, prefix);
        add_from(reception, talk, origin, submission.as_ref(), caller.as_deref(), prefix);
        add_sender(reception, talk, origin, submission.as_ref(), caller.as_deref(), prefix);
        add_date(reception, talk, prefix);
    }
    rewriting::envelope(reception, talk);
    rewriting::headers(reception, talk);
    id_created
}

/// Removes what must not be in transit, and what `-t` has used up.
fn remove_lines(
    reception: &Reception,
    talk: &mut Talk,
    origin: &Origin,
    submission: Option<&Submission>,
    has_resent: bool,
) {
    let fixups = &reception.settings.fixups;
    let is_suppressed = talk.scene.message.suppress_local_fixups;
    let caller_is_untrusted = talk.caller.as_ref().is_some_and(|caller| !caller.is_trusted);
    let drop_sender = match submission {
        Some(submission) => !submission.sender_retain,
        None => origin.is_local && caller_is_untrusted && !fixups.local_sender_retain && !is_suppressed,
    };
    // Only the recipients that `-t` has used are hidden.
    let removals: [(&[u8], bool); 7] = [
        (b"Return-path", fixups.return_path_remove),
        (b"Delivery-date", fixups.delivery_date_remove),
        (b"Envelope-to", fixups.envelope_to_remove),
        (b"Bcc", origin.extract_recipients && !has_resent),
        (b"Resent-Bcc", origin.extract_recipients && has_resent),
        (b"Sender", drop_sender),
        (b"Resent-Sender", drop_sender),
    ];
    let headers = &mut talk.scene.context.message.headers;
    for (name, _) in removals.into_iter().filter(|(_, wanted)| *wanted) {
        headers.mark_deleted(name, 0);
    }
}

/// A From: that is nothing but the caller's login becomes name and address.
fn login_only_from(reception: &Reception, talk: &mut Talk, caller: &Caller) {
    let headers = &mut talk.scene.context.message.headers;
    let mut added = Vec::new();
    for header in headers.all_mut() {
        let is_from = header.kind == HeaderKind::From;
        if is_from && header.body().trim_ascii() == caller.login.as_slice() {
            let name = header.name().to_vec();
            header.kind = HeaderKind::Deleted;
            let address = originator::with_name(reception, &caller.real_name, &caller.sender);
            added.push(Header::from_parts(&name, &address));
        }
    }
    for header in added {
        headers.push_back(header);
    }
}

/// Adds Message-Id: (or its Resent- form, at the top). Returns whether it was needed.
fn add_message_id(reception: &Reception, talk: &mut Talk, id: MessageId, prefix: &str) -> bool {
    let name = format!("{prefix}Message-Id");
    if talk.scene.context.message.headers.contains(name.as_bytes()) {
        return false;
    }
    let fixups = &reception.settings.fixups;
    let mut extra = expanded(reception, fixups.message_id_text.as_ref(), "message_id_header_text", talk);
    if !extra.is_empty() {
        extra.insert(0, b'.');
        // Anything that may not stand in a message id becomes a hyphen.
        for byte in extra.iter_mut().filter(|b| !address::is_atom_byte(**b) && **b != b'.') {
            *byte = b'-';
        }
    }
    let mut domain = expanded(reception, fixups.message_id_domain.as_ref(), "message_id_header_domain", talk);
    domain.retain(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if domain.is_empty() {
        domain = reception.settings.primary_hostname.clone().into_bytes();
    }
    let value = [b"<E", id.as_bytes(), &extra, b"@", &domain, b">"].concat();
    add(talk, prefix, Header::from_parts(name.as_bytes(), &value));
    true
}

/// A line at the end, or at the top if it is a Resent- line.
fn add(talk: &mut Talk, prefix: &str, header: Header) {
    let headers = &mut talk.scene.context.message.headers;
    if prefix.is_empty() { headers.push_back(header) } else { headers.push_front(header) }
}

/// An option that may be unset; one that cannot be expanded is logged and counts as unset.
fn expanded(reception: &Reception, template: Option<&Template>, option: &str, talk: &mut Talk) -> Vec<u8> {
    let Some(template) = template else { return Vec::new() };
    match template.expand(&mut talk.scene.context) {
        Ok(text) => text.into_bytes(),
        Err(error) => {
            if !error.is_forced() {
                let id = talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default();
                let source = template.source();
                reception.logs.panic(&format!("{id}expansion of \"{source}\" ({option}) failed: {error}"));
            }
            Vec::new()
        }
    }
}

/// Adds From: where it is missing.
fn add_from(
    reception: &Reception,
    talk: &mut Talk,
    origin: &Origin,
    submission: Option<&Submission>,
    caller: Option<&Caller>,
    prefix: &str,
) {
    let name = format!("{prefix}From");
    let message = &talk.scene.context.message;
    if message.headers.contains(name.as_bytes()) {
        return;
    }
    let value = match (caller.filter(|_| origin.is_local), submission) {
        (Some(caller), _) if !caller.is_trusted || !origin.sender_set => {
            let shown = if message.sender.is_empty() { &caller.sender } else { &message.sender };
            originator::with_name(reception, &caller.real_name, shown)
        }
        (Some(caller), _) if caller.is_named && !message.sender.is_empty() => {
            originator::with_name(reception, &caller.real_name, &message.sender)
        }
        (Some(_), _) if !message.sender.is_empty() => message.sender.clone(),
        (None, submission) if !message.sender.is_empty() => {
            let real_name = submission.and_then(|submission| submission.name.as_deref());
            originator::with_name(reception, real_name.unwrap_or_default(), &message.sender)
        }
        (_, Some(submission)) => match submitted_sender(reception, talk, submission) {
            Some(sender) => {
                originator::with_name(reception, submission.name.as_deref().unwrap_or_default(), &sender)
            }
            None => return,
        },
        // A trusted caller who says that nobody sends it means that.
        (_, None) => return,
    };
    let header = Header::from_parts(name.as_bytes(), &value);
    talk.scene.context.message.headers.push_back(header);
}

/// The address that belongs to an authenticated client in submission mode.
fn submitted_sender(reception: &Reception, talk: &Talk, submission: &Submission) -> Option<Vec<u8>> {
    let id = talk.scene.context.connection.auth_id.clone().filter(|id| !id.is_empty())?;
    let domain = match &submission.domain {
        Some(domain) if domain.is_empty() => return Some(id),
        Some(domain) => domain,
        None => &reception.settings.qualify_domain,
    };
    Some([&*address::quote_local_part(&id), b"@", domain].concat())
}

/// Adds Sender: where From: is not the caller. In submission mode the envelope sender is the caller's address, whatever From: says.
fn add_sender(
    reception: &Reception,
    talk: &mut Talk,
    origin: &Origin,
    submission: Option<&Submission>,
    caller: Option<&Caller>,
    prefix: &str,
) {
    let (sender, real_name) = match (submission, caller) {
        (Some(submission), _) if !submission.sender_retain => {
            match submitted_sender(reception, talk, submission) {
                Some(sender) => (sender, submission.name.clone().unwrap_or_default()),
                None => return,
            }
        }
        (None, Some(caller))
            if origin.is_local && !caller.is_trusted && reception.settings.fixups.local_from_check =>
        {
            (caller.sender.clone(), caller.real_name.clone())
        }
        (Some(_) | None, _) => return,
    };
    let from = format!("{prefix}From");
    let message = &mut talk.scene.context.message;
    // Of several lines the last one counts.
    let is_sender = message
        .headers
        .find(from.as_bytes())
        .last()
        .is_some_and(|line| is_from_sender(reception, line, &sender));
    if !is_sender {
        let name = format!("{prefix}Sender");
        let value = originator::with_name(reception, &real_name, &sender);
        message.headers.push_back(Header::from_parts(name.as_bytes(), &value));
    }
    // A message from nobody, a bounce, stays one. What a local caller may say as sender stays too.
    if submission.is_some() && !message.sender.is_empty() {
        message.sender = sender;
    }
}

/// Whether a From: line has one address, the sender's, perhaps with a permitted prefix or suffix of the local part.
fn is_from_sender(reception: &Reception, header: &Header, sender: &[u8]) -> bool {
    let settings = &reception.settings;
    let Ok(parsed) = address::parse(header.body(), &settings.address_syntax) else {
        return false;
    };
    let (login, domain) = address::split_at_domain(sender);
    let from_domain = parsed.domain().unwrap_or(settings.qualify_domain.as_slice());
    domain.unwrap_or_default().eq_ignore_ascii_case(from_domain)
        && is_login(
            parsed.local_part(),
            login,
            &settings.fixups.local_from_prefix,
            &settings.fixups.local_from_suffix,
        )
}

/// Whether a local part is the login, in whatever case, but for a permitted prefix and suffix.
fn is_login(local_part: &[u8], login: &[u8], prefixes: &[String], suffixes: &[String]) -> bool {
    let local_part = local_part.to_ascii_lowercase();
    memchr::memmem::find_iter(&local_part, &login.to_ascii_lowercase()).any(|at| {
        let (prefix, rest) = local_part.split_at(at);
        let suffix = rest.get(login.len()..).unwrap_or_default();
        is_affix(prefix, prefixes, |affix| affix.strip_prefix('*'), <[u8]>::ends_with)
            && is_affix(suffix, suffixes, |affix| affix.strip_suffix('*'), <[u8]>::starts_with)
    })
}

/// Whether what stands before or after the login may stand there. A star at the outer end of an affix, which `open` takes
/// away, stands for any text: then only the inner end must fit.
fn is_affix(
    text: &[u8],
    affixes: &[String],
    open: impl Fn(&str) -> Option<&str>,
    has_end: impl Fn(&[u8], &[u8]) -> bool,
) -> bool {
    text.is_empty()
        || affixes.iter().map(|affix| affix.to_ascii_lowercase()).any(|affix| match open(&affix) {
            Some(inner) => has_end(text, inner.as_bytes()),
            None => text == affix.as_bytes(),
        })
}

/// Adds Date: where it is missing.
fn add_date(reception: &Reception, talk: &mut Talk, prefix: &str) {
    let name = format!("{prefix}Date");
    if !talk.scene.context.message.headers.contains(name.as_bytes()) {
        let date = Stamp::now().rfc5322(reception.zone);
        add(talk, prefix, Header::from_parts(name.as_bytes(), date.as_bytes()));
    }
}

/// Makes the Received: line, without putting it anywhere.
///
/// # Errors
/// `received_header_text` cannot be expanded; the text is for the log.
pub fn received_line(reception: &Reception, talk: &mut Talk, time: Stamp) -> Result<Header, String> {
    let template = &reception.settings.fixups.received_header_text;
    let text = match template.expand(&mut talk.scene.context) {
        Ok(text) => text.into_bytes(),
        Err(error) => {
            return Err(format!(
                "{}Expansion of \"{}\" (received_header_text) failed: {error}",
                talk.scene.context.message.id.map(|id| format!("{id} ")).unwrap_or_default(),
                template.source()
            ));
        }
    };
    if text.is_empty() {
        // It only keeps its place, and is never sent.
        let text = format!("Received: ; {}\n", time.rfc5322(reception.zone)).into_bytes();
        return Ok(Header { kind: HeaderKind::Deleted, text });
    }
    Ok(Header { kind: HeaderKind::Received, text: with_time(text, reception, time) })
}

/// The line with its time stamp.
fn with_time(mut text: Vec<u8>, reception: &Reception, time: Stamp) -> Vec<u8> {
    text.extend_from_slice(b";\n\t");
    text.extend_from_slice(time.rfc5322(reception.zone).as_bytes());
    text.push(b'\n');
    text
}

/// Puts a later time into a Received: line.
pub fn restamp(header: &mut Header, reception: &Reception, time: Stamp) {
    if let Some(at) = memchr::memmem::rfind(&header.text, b";\n\t") {
        let text = header.text.get(..at).unwrap_or_default().to_vec();
        header.text = with_time(text, reception, time);
    }
}

/// Number of Received: lines.
#[must_use]
pub fn received_count(headers: &HeaderList) -> u32 {
    u32::try_from(headers.of_kind(HeaderKind::Received).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affixes_of_local_parts() {
        let (prefixes, suffixes) = (["*-ist-".to_owned(), "Pre-".to_owned()], ["-s*".to_owned()]);
        for local_part in
            ["user", "User", "x-ist-user", "a-ist-b-ist-user", "PRE-user-s", "user-suf", "user-S"]
        {
            assert!(is_login(local_part.as_bytes(), b"user", &prefixes, &suffixes), "{local_part}");
        }
        for local_part in ["users", "pre-pre-user", "list-user", "user-t", "x-pre-user", ""] {
            assert!(!is_login(local_part.as_bytes(), b"user", &prefixes, &suffixes), "{local_part}");
        }
    }
}

//! The autoreply transport: answers a message with a new one (manual chapter 27).
//!
//! The reply goes through the door of [`crate::submission`], with an empty envelope sender, so that it is never answered
//! itself. Who has had a reply (`once`) is kept in the hints, under the name of the file that the option names.
//!
//! Files are read and the log is written as the user of the delivery.

use oxim_base::Text;
use oxim_base::clock::{self, Stamp};
use oxim_lang::config::{ConfigError, DriverRow, Instance, rows};
use oxim_lang::context::Context;
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::{List, ListKind, Subject};
use oxim_mail::address::{AddressError, AddressSyntax, address_list};
use oxim_spool::hints::{Database, Hints, HintsError};

use super::compose;
use super::{Batch, Delivered, DeliveryError, Driver, Outcome, Run, Transport, TransportKind, error_code};
use crate::agent::JobResult;
use crate::agent::job::{FileRead, Job, MailboxJob, ReadFileJob};
use crate::delivery::Delivery;
use crate::filter;
use crate::filter::rights::with_rights_of;
use crate::submission::Submission;

/// The row.
pub(super) static AUTOREPLY: TransportKind =
    TransportKind { row: DriverRow { name: "autoreply", options: rows::TRANSPORT_AUTOREPLY }, build };

/// Largest file that becomes part of a reply, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// What a remembered recipient takes beside its address, in bytes: a time and an end.
const ONCE_BYTES_EACH: usize = 9;
/// Ids of the References: line that are passed on.
const REFERENCES_MAX: usize = 12;

struct Autoreply {
    from: Option<Template>,
    reply_to: Option<Template>,
    to: Option<Template>,
    cc: Option<Template>,
    bcc: Option<Template>,
    subject: Option<Template>,
    headers: Option<Template>,
    text: Option<Template>,
    file: Option<Template>,
    file_expand: bool,
    file_optional: bool,
    return_message: bool,
    log: Option<Template>,
    mode: u32,
    never_mail: Option<List>,
    once: Option<Template>,
    once_repeat: Option<Template>,
    /// How much may be remembered, in bytes; 0 is everything.
    once_bytes_max: usize,
}

fn build(instance: &Instance) -> Result<Box<dyn Driver>, Vec<ConfigError>> {
    let options = &instance.options;
    Ok(Box::new(Autoreply {
        from: options.template("from"),
        reply_to: options.template("reply_to"),
        to: options.template("to"),
        cc: options.template("cc"),
        bcc: options.template("bcc"),
        subject: options.template("subject"),
        headers: options.template("headers"),
        text: options.template("text"),
        file: options.template("file"),
        file_expand: options.bool("file_expand"),
        file_optional: options.bool("file_optional"),
        return_message: options.bool("return_message"),
        log: options.template("log"),
        mode: options.octal("mode"),
        never_mail: options.string("never_mail").map(|text| List::compile(ListKind::Address, text)),
        once: options.template("once"),
        once_repeat: options.template("once_repeat"),
        once_bytes_max: usize::try_from(options.int("once_file_size")).unwrap_or(0),
    }))
}

/// The options of one reply, expanded. Empty is unset.
#[derive(Default)]
struct Lines {
    from: Vec<u8>,
    reply_to: Vec<u8>,
    to: Vec<u8>,
    cc: Vec<u8>,
    bcc: Vec<u8>,
    subject: Vec<u8>,
    headers: Vec<u8>,
}

/// One reply under way.
struct Reply<'a> {
    options: &'a Autoreply,
    transport: &'a Transport,
    delivery: &'a Delivery,
    context: &'a mut Context,
    batch: &'a Batch<'a>,
}

impl Reply<'_> {
    fn expanded(&mut self, template: Option<&Template>) -> Result<Vec<u8>, Outcome> {
        let Some(template) = template else { return Ok(Vec::new()) };
        match template.expand(self.context) {
            Ok(text) => Ok(text.into_bytes()),
            Err(error) => {
                let text = format!(
                    "Expansion of \"{}\" failed in {} transport: {error}",
                    template.source(),
                    self.transport.name
                );
                Err(Outcome::Deferred(DeliveryError::new(error_code::EXPANSION_FAILED, text)))
            }
        }
    }

    /// A text for a header line: nothing unprintable but line breaks that go on.
    fn header_text(&mut self, template: Option<&Template>, may_have_lines: bool) -> Result<Vec<u8>, Outcome> {
        let text = self.expanded(template)?;
        let prints_top = self.delivery.config.main_options.bool("print_topbitchars");
        let bad = text.iter().enumerate().find(|(index, byte)| match byte {
            b'\n' => !may_have_lines && !matches!(text.get(index.saturating_add(1)), Some(b' ' | b'\t')),
            b'\t' => false,
            byte => **byte < b' ' || **byte == 0x7f || (**byte > 0x7f && !prints_top),
        });
        let Some((_, byte)) = bad else { return Ok(text) };
        let shown = String::from_utf8_lossy(&filter::printing(&text)).replace('\t', "\\t");
        let text = format!(
            "Expansion of \"{shown}\" in {} transport contains non-printing character {byte}",
            self.transport.name
        );
        Err(Outcome::Failed(DeliveryError { text, bounce_text: Some("".into()), ..DeliveryError::default() }))
    }

    /// What a filter said, if it made this reply.
    fn of_filter(&self) -> Option<filter::Reply> {
        self.batch.addresses.first()?.made.as_ref()?.reply().cloned()
    }

    fn lines(&mut self) -> Result<Lines, Outcome> {
        let options = self.options;
        if let Some(reply) = self.of_filter() {
            return Ok(Lines {
                from: reply.from,
                reply_to: reply.reply_to,
                to: reply.to,
                cc: reply.cc,
                bcc: reply.bcc,
                subject: reply.subject,
                headers: reply.headers,
            });
        }
        Ok(Lines {
            from: self.header_text(options.from.as_ref(), false)?,
            reply_to: self.header_text(options.reply_to.as_ref(), false)?,
            to: self.header_text(options.to.as_ref(), false)?,
            cc: self.header_text(options.cc.as_ref(), false)?,
            bcc: self.header_text(options.bcc.as_ref(), false)?,
            subject: self.header_text(options.subject.as_ref(), false)?,
            headers: self.header_text(options.headers.as_ref(), true)?,
        })
    }

    fn run(&mut self) -> Result<(), Outcome> {
        let options = self.options;
        let mut lines = self.lines()?;
        let made = self.of_filter();
        let (text, file, log) = match &made {
            Some(reply) => (reply.text.clone(), self.absolute(&reply.file), self.absolute(&reply.log)),
            None => (
                self.expanded(options.text.as_ref())?,
                self.file_name(options.file.as_ref())?,
                self.file_name(options.log.as_ref())?,
            ),
        };
        for field in [&mut lines.to, &mut lines.cc, &mut lines.bcc] {
            *field = self.without_never_mail(field)?;
        }
        let recipients = self.recipients(&lines)?;
        if recipients.is_empty() {
            return Ok(());
        }
        let memory = self.once_key(&lines.to)?;
        if let Some(key) = &memory
            && self.was_sent(key)?
        {
            self.write_log(log.as_deref(), &[b"  previously sent to ", lines.to.as_slice(), b"\n"].concat());
            return Ok(());
        }
        let mut message = self.header(&lines);
        message.push(b'\n');
        push_whole_lines(&text, &mut message);
        if let Some(file) = file {
            let contents = self.read_file(&file)?;
            push_whole_lines(&contents, &mut message);
        }
        if made.as_ref().map_or(options.return_message, |reply| reply.returns_message) {
            self.push_original(&mut message)?;
        }
        self.submit(message, recipients)?;
        if let Some(key) = memory {
            self.remember(&key, &lines.to);
        }
        self.write_log(log.as_deref(), &log_entry(&lines));
        Ok(())
    }

    /// A file that a filter names: below the home directory if its path is relative.
    fn absolute(&self, name: &[u8]) -> Option<Vec<u8>> {
        if name.is_empty() || name.starts_with(b"/") {
            return Some(name.to_vec()).filter(|name| !name.is_empty());
        }
        let home = self.context.address.home.as_ref().map(|home| home.as_bytes().to_vec());
        Some([home.unwrap_or_default().as_slice(), b"/", name].concat())
    }

    fn file_name(&mut self, template: Option<&Template>) -> Result<Option<Vec<u8>>, Outcome> {
        let Some(template) = template else { return Ok(None) };
        let name = match template.expand(self.context) {
            Ok(name) => name,
            Err(ExpandError::Forced(_)) => return Ok(None),
            Err(_) => self.expanded(Some(template)).map(Text::clean)?,
        };
        if name.is_foreign() {
            let text =
                format!("Tainted '{name}' (file name for {} transport) not permitted", self.transport.name);
            return Err(Outcome::Deferred(DeliveryError::new(error_code::UNKNOWN, text)));
        }
        Ok(Some(name.into_bytes()).filter(|name| !name.is_empty()))
    }

    /// The list less the addresses that never get a reply.
    fn without_never_mail(&mut self, field: &[u8]) -> Result<Vec<u8>, Outcome> {
        let Some(list) = &self.options.never_mail else { return Ok(field.to_vec()) };
        let mut kept: Vec<&[u8]> = Vec::new();
        for item in field.split(|byte| *byte == b',') {
            let address = single_address(item, &self.delivery.settings.syntax);
            let subject = Text::tainted(address.unwrap_or_else(|| item.trim_ascii().to_vec()));
            let subject = Subject::Address { address: &subject, caseful: false, captures: false };
            match list.matches(self.context, &subject) {
                Ok(found) if found.is_yes() => {}
                Ok(_) => kept.push(item),
                Err(error) => {
                    return Err(Outcome::Deferred(DeliveryError::new(
                        error_code::UNKNOWN,
                        error.to_string(),
                    )));
                }
            }
        }
        Ok(kept.join(&b","[..]))
    }

    fn recipients(&self, lines: &Lines) -> Result<Vec<Vec<u8>>, Outcome> {
        let settings = &self.delivery.settings;
        let syntax = &settings.syntax;
        let mut recipients: Vec<Vec<u8>> = Vec::new();
        for field in [&lines.to, &lines.cc, &lines.bcc] {
            for item in address_list(field) {
                let parsed = match item.parse(syntax) {
                    Ok(parsed) => parsed,
                    Err(AddressError::Empty) => continue,
                    Err(error) => {
                        let (shown, name) = (oxim_base::text::shown(field), &self.transport.name);
                        let text =
                            format!("Failed to send message from {name} transport: {error} in \"{shown}\"");
                        return Err(Outcome::Deferred(DeliveryError { text, ..DeliveryError::default() }));
                    }
                };
                let address = if parsed.domain().is_some() {
                    parsed.address.clone()
                } else {
                    [parsed.address.as_slice(), b"@", &settings.qualify_recipient].concat()
                };
                if !address.is_empty() && !recipients.contains(&address) {
                    recipients.push(address);
                }
            }
        }
        Ok(recipients)
    }

    fn header(&self, lines: &Lines) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line = |name: &str, value: &[u8]| {
            if !value.is_empty() {
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.push(b'\n');
            }
        };
        line("From", &lines.from);
        line("Reply-To", &lines.reply_to);
        line("To", &lines.to);
        line("Cc", &lines.cc);
        line("Subject", &lines.subject);
        let headers = &self.batch.message.headers;
        let value = |name: &[u8]| headers.find(name).next().map(|header| header.unfolded());
        let id = value(b"Message-ID");
        if let Some(id) = &id {
            line("In-Reply-To", id);
        }
        line("References", &references(value(b"References").or_else(|| value(b"In-Reply-To")), id));
        // A notification of a Sieve script has its own line.
        if !lines.headers.starts_with(b"Auto-Submitted:") {
            line("Auto-Submitted", b"auto-replied");
        }
        push_whole_lines(&lines.headers, &mut out);
        out
    }

    /// The key under which a recipient's last reply is remembered; `None` without `once`.
    fn once_key(&mut self, to: &[u8]) -> Result<Option<Vec<u8>>, Outcome> {
        let file = match self.of_filter() {
            Some(reply) => self.absolute(&reply.once),
            None => self.file_name(self.options.once.as_ref())?,
        };
        Ok(file.map(|file| [b"autoreply ", file.as_slice(), b" ", to].concat()))
    }

    fn was_sent(&mut self, key: &[u8]) -> Result<bool, Outcome> {
        if let Some(reply) = self.of_filter() {
            return self.was_sent_within(key, reply.once_repeat);
        }
        let repeat = self.expanded(self.options.once_repeat.as_ref())?;
        let repeat = String::from_utf8_lossy(&repeat).trim().to_owned();
        let defer = |text: String| Outcome::Deferred(DeliveryError::new(error_code::UNKNOWN, text));
        let seconds = if repeat.is_empty() {
            0
        } else {
            clock::parse_interval(&repeat).ok_or_else(|| {
                defer(format!(
                    "Invalid time value \"{repeat}\" for \"once_repeat\" in {} transport",
                    self.transport.name
                ))
            })?
        };
        self.was_sent_within(key, seconds)
    }

    /// Whether a reply went there in this time, or at any time if it is 0.
    fn was_sent_within(&self, key: &[u8], seconds: u64) -> Result<bool, Outcome> {
        let defer = |text: String| Outcome::Deferred(DeliveryError::new(error_code::UNKNOWN, text));
        // Without a memory a reply could go to the same person for ever: it waits.
        let hints = self
            .delivery
            .services
            .hints
            .get()
            .ok_or_else(|| defer("no hints database for \"once\"".to_owned()))?;
        let hint = hints.get(&Database::Misc, key).map_err(|error| defer(error.to_string()))?;
        let Some(hint) = hint else { return Ok(false) };
        let age = Stamp::now().since(hint.stamp).as_secs();
        Ok(seconds == 0 || age < seconds)
    }

    fn remember(&self, key: &[u8], to: &[u8]) {
        let remembered = self.delivery.services.hints.get().map(|hints| {
            hints.put(&Database::Misc, key, b"", Stamp::now())?;
            let all_of_file = key.strip_suffix(to).unwrap_or(key);
            self.forget_surplus(hints, all_of_file)
        });
        if let Some(Err(error)) = remembered {
            self.delivery
                .services
                .log()
                .panic(format!("{} {} transport: {error}", self.batch.message.id, self.transport.name));
        }
    }

    /// `once_file_size`: the oldest recipients are forgotten when all of them would take more than that.
    fn forget_surplus(&self, hints: &Hints, all_of_file: &[u8]) -> Result<(), HintsError> {
        let bytes_max = self.options.once_bytes_max;
        if bytes_max == 0 {
            return Ok(());
        }
        // One more than can fit, so that a first look tells whether there are too many.
        let mut known = hints.scan(&Database::Misc, all_of_file, bytes_max.div_ceil(ONCE_BYTES_EACH))?;
        known.sort_by_key(|(_, hint)| std::cmp::Reverse(hint.stamp));
        let mut used = 0_usize;
        for (key, _) in known {
            let length = key.len().saturating_sub(all_of_file.len()).saturating_add(ONCE_BYTES_EACH);
            used = used.saturating_add(length);
            if used > bytes_max {
                hints.delete(&Database::Misc, &key)?;
            }
        }
        Ok(())
    }

    fn read_file(&mut self, name: &[u8]) -> Result<Vec<u8>, Outcome> {
        let job = Job::ReadFile(ReadFileJob { path: name.to_vec(), bytes_max: FILE_BYTES_MAX });
        let answer = self.delivery.agents.perform(&self.batch.identity, &job, &mut std::io::empty());
        let (code, text) = if let JobResult::File(read) = answer {
            match read {
                FileRead::Contents { data, .. } if !self.expands_file() => return Ok(data),
                FileRead::Contents { data, .. } => return self.expand_lines(&data),
                FileRead::NotThere | FileRead::Error(..) if self.options.file_optional => {
                    return Ok(Vec::new());
                }
                FileRead::NotThere => (nix::libc::ENOENT, "No such file or directory".to_owned()),
                FileRead::Error(code, text) => (code, text),
            }
        } else {
            let trouble = answer.trouble();
            (trouble.code, trouble.text)
        };
        let text = format!(
            "Failed to open file {} when sending message from {} transport: {text}",
            String::from_utf8_lossy(name),
            self.transport.name
        );
        Err(Outcome::Deferred(DeliveryError::new(code, text)))
    }

    fn expands_file(&self) -> bool {
        self.of_filter().map_or(self.options.file_expand, |reply| reply.expands_file)
    }

    /// Each line is expanded for itself, as Exim does.
    fn expand_lines(&mut self, data: &[u8]) -> Result<Vec<u8>, Outcome> {
        let mut out = Vec::with_capacity(data.len());
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let template = Template::compile_bytes(line);
            let made = self.batch.addresses.first().and_then(|address| address.made.clone());
            let text = match made {
                None => self.expanded(Some(&template))?,
                Some(made) => {
                    let expanded = with_rights_of(
                        &made,
                        self.context,
                        &self.batch.identity,
                        &self.delivery.user_files,
                        |context| template.expand(context),
                    );
                    let failed = |error| {
                        let text = format!("Failed to expand line of file: {error}");
                        Outcome::Deferred(DeliveryError::new(error_code::EXPANSION_FAILED, text))
                    };
                    expanded.map_err(failed)?.into_bytes()
                }
            };
            out.extend_from_slice(&text);
        }
        Ok(out)
    }

    /// The message that is answered, as far as `bounce_return_size_limit` allows.
    fn push_original(&mut self, out: &mut Vec<u8>) -> Result<(), Outcome> {
        let composed = compose::compose(self.delivery, self.transport, self.context, self.batch)?;
        let limit = self.delivery.config.main_options.int("bounce_return_size_limit");
        let limit = u64::try_from(limit).unwrap_or(0);
        let size = self.batch.body.len();
        let (mut what, mut rest) =
            ("------ This is a copy of the message, including all the headers.\n".to_owned(), size);
        if self.transport.generic.body_only {
            what = "------ This is a copy of the body of the message, without the headers.\n".to_owned();
        } else if self.transport.generic.headers_only {
            what = "------ This is a copy of the message's header lines.\n".to_owned();
        }
        if composed.body.is_some() && limit > 0 && size > limit {
            rest = limit;
            what.push_str(&format!(
                "------ The body of the message is {size} characters long; only the first\n------ {limit} or so are included here.\n"
            ));
        }
        what.push('\n');
        out.push(b'\n');
        out.extend_from_slice(what.as_bytes());
        out.extend_from_slice(&composed.header);
        if let Some(body) = &composed.body {
            let head = body.head(usize::try_from(rest).unwrap_or(usize::MAX));
            let head = head.map_err(|e| {
                Outcome::Deferred(DeliveryError::new(
                    e.raw_os_error().unwrap_or(0),
                    "failed to read the message",
                ))
            })?;
            push_whole_lines(&head, out);
        }
        Ok(())
    }

    fn submit(&self, text: Vec<u8>, recipients: Vec<Vec<u8>>) -> Result<(), Outcome> {
        let defer = |text: String| Outcome::Deferred(DeliveryError::new(error_code::UNKNOWN, text));
        let submitter =
            self.batch.submitter.ok_or_else(|| defer("messages cannot be submitted here".to_owned()))?;
        let submission = Submission {
            sender: Vec::new(),
            recipients,
            text,
            about: Some(self.batch.message.id),
            caller: Some((self.batch.identity.uid, self.batch.identity.gid)),
        };
        submitter.submit(submission).map_err(|error| {
            defer(format!("Failed to send message from {} transport ({error})", self.transport.name))
        })
    }

    /// Adds an entry to the transport's own log. Failures are no reason to send the reply again.
    fn write_log(&self, name: Option<&[u8]>, entry: &[u8]) {
        let Some(name) = name else { return };
        let stamp = Stamp::now().log(self.delivery.services.zone);
        let text = [stamp.as_bytes(), b"\n", entry].concat();
        let job = Job::Mailbox(MailboxJob::plain(name, self.options.mode, &text));
        if let JobResult::Deferred(trouble) | JobResult::Failed(trouble) =
            self.delivery.agents.perform(&self.batch.identity, &job, &mut text.as_slice())
        {
            let line = format!(
                "Failed to write to log file {} for {} transport: {}",
                String::from_utf8_lossy(name),
                self.transport.name,
                trouble.text
            );
            super::log_main(&self.delivery.services, self.batch, &line);
        }
    }
}

fn push_whole_lines(text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(text);
    if !text.is_empty() && !text.ends_with(b"\n") {
        out.push(b'\n');
    }
}

fn single_address(item: &[u8], syntax: &AddressSyntax) -> Option<Vec<u8>> {
    address_list(item).next()?.parse(syntax).ok().map(|parsed| parsed.address)
}

/// The References: line of an answer (RFC 5322 section 3.6.4): the old ones, shortened in the middle, and the id.
fn references(old: Option<Vec<u8>>, id: Option<Vec<u8>>) -> Vec<u8> {
    let old = old.unwrap_or_default();
    let mut ids: Vec<&[u8]> =
        old.split(u8::is_ascii_whitespace).filter(|word| word.starts_with(b"<")).collect();
    if ids.len() > REFERENCES_MAX {
        ids.drain(1..ids.len().saturating_sub(REFERENCES_MAX - 1));
    }
    ids.extend(id.as_deref());
    ids.join(&b" "[..])
}

fn log_entry(lines: &Lines) -> Vec<u8> {
    let mut out = Vec::new();
    let fields: [(&str, &[u8]); 6] = [
        ("  From: ", &lines.from),
        ("  To: ", &lines.to),
        ("  Cc: ", &lines.cc),
        ("  Bcc: ", &lines.bcc),
        ("  Subject: ", &lines.subject),
        ("  ", &lines.headers),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        out.extend_from_slice(name.as_bytes());
        push_whole_lines(value, &mut out);
    }
    out
}

impl Driver for Autoreply {
    fn deliver(
        &self,
        transport: &Transport,
        delivery: &Delivery,
        context: &mut Context,
        batch: &Batch<'_>,
    ) -> Run {
        let mut reply = Reply { options: self, transport, delivery, context, batch };
        match reply.run() {
            Ok(()) => Run::all(batch, &Outcome::Delivered(Delivered::default())),
            Err(outcome) => Run::all(batch, &outcome),
        }
    }

    fn is_local(&self) -> bool {
        true
    }

    fn addresses_max(&self) -> usize {
        1
    }

    fn takes_domains(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_what_is_answered() {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(references(Some(b"<0@s.ex>".to_vec()), Some(b"<1@s.ex>".to_vec()))),
            "<0@s.ex> <1@s.ex>"
        );
        assert_eq!(text(references(None, Some(b"<1@s.ex>".to_vec()))), "<1@s.ex>");
        let many: Vec<String> = (0..30).map(|n| format!("<{n}@s.ex>")).collect();
        let short = text(references(Some(many.join(" ").into_bytes()), Some(b"<x@s.ex>".to_vec())));
        assert!(short.starts_with("<0@s.ex> <19@s.ex> ") && short.ends_with("<29@s.ex> <x@s.ex>"), "{short}");
    }

    #[test]
    fn the_log_entry_has_what_is_set() {
        let lines =
            Lines { to: b"a@s.ex".to_vec(), headers: b"X-One: 1\nX-Two: 2".to_vec(), ..Lines::default() };
        assert_eq!(log_entry(&lines), b"  To: a@s.ex\n  X-One: 1\nX-Two: 2\n");
    }
}

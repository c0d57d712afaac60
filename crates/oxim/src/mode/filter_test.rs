//! `-bf`, `-bF`: tests a filter file, or a `.forward` file, with a message from standard input. Manual section 5.3 and
//! "Exim's interfaces to mail filtering", section 1.3.
//!
//! Runs as the caller. Exit code 1 if a file cannot be read or has an error.

use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_base::errno::error_text;
use oxim_deliver::delivery::Settings;
use oxim_deliver::filter::{End, Kind, Outcome, exim, sieve};
use oxim_deliver::router::redirect::list::{self, Allowed, Content, Item};
use oxim_lang::context::Context;
use oxim_mail::address::address_list;
use oxim_mail::header::split::{HeaderLimits, split_header_block};
use oxim_mail::header::{Header, HeaderList};
use oxim_mail::message_id::{Form, Generator, MessageId};
use oxim_receive::caller::Caller;
use oxim_receive::originator;
use oxim_spool::message::{Body, Recipient};

use crate::args::FilterTest;
use crate::assemble::Program;

/// Largest test message and largest filter, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The recipient that the filter is told of.
struct Whom {
    local_part: Vec<u8>,
    domain: Vec<u8>,
    prefix: Vec<u8>,
    suffix: Vec<u8>,
}

impl Whom {
    fn address(&self) -> Vec<u8> {
        [self.prefix.as_slice(), &self.local_part, &self.suffix, b"@", &self.domain].concat()
    }
}

/// Tests the files.
pub(crate) fn run(program: &Program, context: &mut Context, test: &FilterTest) -> u8 {
    match try_run(program, context, test) {
        Ok(code) => code,
        Err(text) => {
            complain!("{text}");
            1
        }
    }
}

fn try_run(program: &Program, context: &mut Context, test: &FilterTest) -> Result<u8, String> {
    let read = |name: &Option<Vec<u8>>| name.as_ref().map(|name| read_file(name)).transpose();
    let (system, user) = (read(&test.system)?, read(&test.user)?);
    let mut out = Vec::new();
    let whom = Whom {
        local_part: test.local_part.clone().unwrap_or_else(|| crate::privilege::caller_login().into_bytes()),
        domain: test
            .domain
            .clone()
            .unwrap_or_else(|| program.config.main.qualify_recipient.clone().into_bytes()),
        prefix: test.prefix.clone().unwrap_or_default(),
        suffix: test.suffix.clone().unwrap_or_default(),
    };
    read_message(program, context, &mut out)?;
    address_scope(context, &whom);
    show_envelope(context, &whom, &mut out);
    let mut code = 0;
    if let (Some(name), Some(data)) = (&test.system, &system) {
        context.message.recipients = Arc::new(vec![Recipient::new(whom.address())]);
        context.message.recipients_visible = true;
        code = system_filter(program, context, name, data, &mut out);
        context.message.recipients_visible = false;
        context.message.system_counters = context.address.counters;
        context.address.counters = [0; 10];
    }
    if let (0, Some(name), Some(data)) = (code, &test.user, &user) {
        code = user_filter(program, context, &whom, name, data, &mut out);
    }
    let _ = std::io::stdout().lock().write_all(&out);
    Ok(code)
}

fn read_file(name: &[u8]) -> Result<Vec<u8>, String> {
    let told = |what: &str, error: &std::io::Error| {
        let reason = error
            .raw_os_error()
            .map_or_else(|| error.to_string(), |code| nix::errno::Errno::from_raw(code).desc().to_owned());
        format!("exim: {what} {}: {reason}", String::from_utf8_lossy(name))
    };
    let mut data = Vec::new();
    let file = std::fs::File::open(std::ffi::OsStr::from_bytes(name))
        .map_err(|error| told("failed to open", &error))?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut data).map_err(|error| told("error while reading", &error))?;
    Ok(data)
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}

/// The message, its sender and its return path; a line tells where each was found.
/// The message up to a line with a single dot, which ends it as it does when it is submitted.
fn before_dot(text: &[u8]) -> &[u8] {
    let mut length = 0_usize;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if line == b".\n" {
            break;
        }
        length = length.saturating_add(line.len());
    }
    text.get(..length).unwrap_or(text)
}

fn read_message(program: &Program, context: &mut Context, out: &mut Vec<u8>) -> Result<(), String> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("exim: failed to read the message: {}", error_text(&error)))?;
    let mut text = bytes.as_slice();
    if !program.line.sending.ignore_dot {
        text = before_dot(text);
    }
    let envelope = text.split(|byte| *byte == b'\n').next().and_then(|first| first.strip_prefix(b"From "));
    if let Some(first) = envelope {
        text = text.get(first.len().saturating_add(6)..).unwrap_or_default();
        if program.line.origin.sender.is_none() {
            let sender = first.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
            context.message.sender = sender.unwrap_or_default().to_vec();
            line(out, &[b"Sender taken from \"From \" line"]);
        }
    }
    let (mut headers, body_start) = split_header_block(text, HeaderLimits::default())
        .map_err(|_| "exim: the header of the message is too long".to_owned())?;
    if headers.all().is_empty() {
        line(out, &[b"Warning: no message headers read"]);
    }
    let body = text.get(body_start..).unwrap_or_default().to_vec();
    let given = headers.find(b"Return-Path").next().map(|header| {
        let parsed = address_list(header.body()).next().and_then(|item| item.parse(&Default::default()).ok());
        parsed.map(|parsed| parsed.address).unwrap_or_default()
    });
    match given {
        Some(path) => {
            line(out, &[b"Return-path taken from \"Return-path:\" header line"]);
            line(out, &[b"Return-path = ", if path.is_empty() { b"<>" } else { &path }]);
            context.delivery.return_path = Some(path);
            headers.mark_deleted(b"Return-Path", 0);
        }
        None => {
            line(out, &[b"Return-path copied from sender"]);
            context.delivery.return_path = Some(context.message.sender.clone());
        }
    }
    let id = Generator::new(std::process::id(), None, Form::Long).next(Stamp::now());
    // The lines that are added do not count.
    let size = headers.size_bytes().saturating_add(body.len()).saturating_add(1);
    complete(program, &mut headers, &context.message.sender, id);
    let message = &mut context.message;
    message.id = Some(id);
    message.body_lines = body.iter().filter(|byte| **byte == b'\n').count() as u64;
    message.body_zeros = body.iter().filter(|byte| **byte == 0).count() as u64;
    message.size = i64::try_from(size).unwrap_or(i64::MAX);
    message.received = Stamp::now();
    message.first_delivery = true;
    message.headers = headers;
    message.body = Some(Body::Memory(body.into()));
    Ok(())
}

/// Adds the lines that a message of the caller's gets when it is received.
fn complete(program: &Program, headers: &mut HeaderList, sender: &[u8], id: MessageId) {
    let is_resent = headers.has_resent();
    let prefix = if is_resent { "Resent-" } else { "" };
    let mut add = |name: &str, value: &[u8], may_be_first: bool| {
        let name = format!("{prefix}{name}");
        if headers.contains(name.as_bytes()) {
            return;
        }
        let header = Header::from_parts(name.as_bytes(), value);
        if is_resent && may_be_first { headers.push_front(header) } else { headers.push_back(header) }
    };
    let main = &program.config.main;
    add("Message-Id", format!("<E{id}@{}>", main.primary_hostname).as_bytes(), true);
    let origin = &program.line.origin;
    let caller = Caller::current(&program.config, origin.full_name.as_deref());
    let address = if caller.is_trusted { sender } else { &caller.sender };
    if !address.is_empty() {
        let is_own = address == caller.sender || caller.is_named;
        if is_own && !caller.real_name.is_empty() {
            let name = originator::phrase(&caller.real_name, b"utf-8");
            add("From", &[&name, &b" <"[..], address, b">"].concat(), false);
        } else {
            add("From", address, false);
        }
    }
    add("Date", Stamp::now().rfc5322(program.services.zone).as_bytes(), true);
}

fn address_scope(context: &mut Context, whom: &Whom) {
    let scope = &mut context.address;
    scope.local_part = Text::tainted(whom.local_part.clone());
    scope.domain = Text::tainted(whom.domain.clone());
    scope.original_local_part = scope.local_part.clone();
    scope.original_domain = scope.domain.clone();
    let affix = |text: &Vec<u8>| Some(Text::tainted(text.clone())).filter(|text| !text.is_empty());
    scope.local_part_prefix = affix(&whom.prefix);
    scope.local_part_suffix = affix(&whom.suffix);
    let home = std::env::var_os("HOME").map(OsStringExt::into_vec).or_else(|| {
        let user = nix::unistd::User::from_uid(nix::unistd::Uid::current()).ok().flatten();
        user.map(|user| user.dir.into_os_string().into_vec())
    });
    scope.home = home.map(Text::clean);
}

fn show_envelope(context: &Context, whom: &Whom, out: &mut Vec<u8>) {
    let sender = &context.message.sender;
    line(out, &[b"Sender      = ", if sender.is_empty() { b"<>" } else { sender }]);
    line(out, &[b"Recipient   = ", &whom.address()]);
    if !whom.prefix.is_empty() {
        line(out, &[b"Prefix    = ", &whom.prefix]);
    }
    if !whom.suffix.is_empty() {
        line(out, &[b"Suffix    = ", &whom.suffix]);
    }
}

fn system_filter(
    program: &Program,
    context: &mut Context,
    name: &[u8],
    data: &[u8],
    out: &mut Vec<u8>,
) -> u8 {
    let shown = Kind::of(data).map_or("Exim", Kind::name);
    line(out, &[b"Testing ", shown.as_bytes(), b" filter file \"", name, b"\"\n"]);
    let settings = Settings::of(&program.config.main_options);
    let rules = exim::Rules {
        is_system: true,
        is_test: true,
        syntax: settings.syntax,
        qualify_domain: settings.qualify_recipient,
        ..exim::Rules::default()
    };
    let outcome = exim::Program::parse(data).evaluate(context, &rules);
    tell(&outcome, out)
}

fn user_filter(
    program: &Program,
    context: &mut Context,
    whom: &Whom,
    name: &[u8],
    data: &[u8],
    out: &mut Vec<u8>,
) -> u8 {
    let settings = Settings::of(&program.config.main_options);
    let plain = [whom.local_part.as_slice(), b"@", &whom.domain].concat();
    let own = vec![whom.address(), plain];
    let kind = Kind::of(data);
    let shown = kind.map_or("forward file", Kind::name);
    let what = if kind.is_some() { " filter file \"" } else { " file \"" };
    line(out, &[b"Testing ", shown.as_bytes(), what.as_bytes(), name, b"\"\n"]);
    match kind {
        None => forward_file(&settings, data, out),
        Some(Kind::Exim) => {
            let rules = exim::Rules {
                is_test: true,
                own,
                syntax: settings.syntax,
                qualify_domain: settings.qualify_recipient,
                ..exim::Rules::default()
            };
            let outcome = exim::Program::parse(data).evaluate(context, &rules);
            tell(&outcome, out)
        }
        Some(Kind::Sieve) => {
            let rules = sieve::Rules {
                is_test: true,
                inbox: b"inbox".to_vec(),
                own,
                recipient: whom.address(),
                ..sieve::Rules::default()
            };
            out.extend_from_slice(&sieve::Script::parse(data).evaluate(context, &rules).shown);
            0
        }
    }
}

/// The actions, and how the filter ended.
fn tell(outcome: &Outcome, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&outcome.shown);
    let end = match &outcome.end {
        End::Error(text) => {
            line(out, &[b"Filter error: ", text.as_bytes()]);
            return 1;
        }
        End::Fail(_) => "Filtering ended by \"fail\".",
        End::Defer(_) => "Filtering ended by \"defer\".",
        End::Freeze(_) => "Filtering ended by \"freeze\".",
        End::Normal if outcome.is_significant => {
            "Filtering set up at least one significant delivery or other action.\nNo other deliveries will occur."
        }
        End::Normal => "Filtering did not set up a significant delivery.\nNormal delivery will occur.",
    };
    line(out, &[end.as_bytes()]);
    0
}

fn forward_file(settings: &Settings, data: &[u8], out: &mut Vec<u8>) -> u8 {
    let allowed = Allowed { blackhole: true, include: true, ..Allowed::default() };
    let mut include = |name: &str| {
        read_file(name.as_bytes())
            .map_err(|text| text.replacen("exim: failed to open", "failed to open included file", 1))
    };
    let parsed = match list::read(data, allowed, &settings.syntax, &mut include) {
        Ok(parsed) => parsed,
        Err(text) => {
            line(out, &[b"exim: error in forward file: ", text.as_bytes()]);
            return 1;
        }
    };
    let items = match parsed.content {
        Content::Blackhole => {
            line(out, &[b"exim: forwardfile contains \":blackhole:\""]);
            return 0;
        }
        Content::Items(items) => items,
        Content::Fail(_) | Content::Defer(_) => Vec::new(),
    };
    if items.is_empty() {
        line(out, &[b"exim: no addresses generated from forward file"]);
        return 0;
    }
    line(out, &[b"exim: forward file generated:"]);
    for item in items.iter().rev() {
        match item {
            Item::Address { address, is_unqualified: true, .. } => {
                line(out, &[b"  ", address, b"@", &settings.qualify_recipient]);
            }
            Item::Address { address, .. } => line(out, &[b"  ", address]),
            Item::Pipe(text) | Item::File(text) => line(out, &[b"  ", text]),
        }
    }
    0
}

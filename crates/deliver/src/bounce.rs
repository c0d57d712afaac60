//! Bounce messages: one for each address that errors go to, with all addresses that failed for it (RFC 3461, 3464).
//!
//! The wording is Exim's unless `bounce_message_file` gives another (manual section 49.2).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{Read, Write as _};

use oxim_base::clock::Stamp;
use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_spool::message::{Body, Message, Ret};

use crate::address::{Address, AddressKind};
use crate::delivery::Delivery;
use crate::report_text::ReportTexts;
use crate::submission::Submission;
use crate::transport::DeliveryError;

/// An address that failed, and why.
pub struct Failure {
    /// The address.
    pub address: Address,
    /// Why.
    pub error: DeliveryError,
}

/// What every report has at its head.
pub struct Letterhead {
    /// `dsn_from`, expanded.
    pub from: String,
    /// `errors_reply_to`.
    pub reply_to: Option<String>,
    /// The reporting host.
    pub host: String,
}

impl Letterhead {
    /// Expands `dsn_from`; if that fails the default is used, and the log says so.
    #[must_use]
    pub fn new(delivery: &Delivery, context: &mut Context) -> Letterhead {
        let main = &delivery.config.main;
        let from = main.dsn_from.expand(context).map_or_else(
            |error| {
                delivery.services.log().both(format!("Failed to expand dsn_from (using default): {error}"));
                format!("Mail Delivery System <Mailer-Daemon@{}>", main.qualify_domain)
            },
            |text| text.to_string_lossy(),
        );
        let host = context
            .connection
            .active_hostname
            .as_ref()
            .map_or_else(|| main.primary_hostname.clone(), |n| String::from_utf8_lossy(n).into_owned());
        Letterhead { from, reply_to: main.errors_reply_to.clone(), host }
    }
}

/// Makes the bounce for failures that are told to one recipient. The failures are in the order in which they happened, last first.
#[must_use]
pub fn compose(
    head: &Letterhead,
    config: &Config,
    message: &Message,
    body: &Body,
    errors_to: &[u8],
    failures: &[&Failure],
    texts: &ReportTexts,
) -> Submission {
    let boundary = boundary(message);
    let mut out = String::new();
    let names: Vec<String> = failures
        .iter()
        .filter(|f| !f.address.is_hidden_in_bounces)
        .map(|f| for_people(message, &shown(&f.address)))
        .collect();
    if !names.is_empty() {
        let _ = writeln!(out, "X-Failed-Recipients: {}", names.join(",\n  "));
    }
    if let Some(reply_to) = &head.reply_to {
        let _ = writeln!(out, "Reply-To: {reply_to}");
    }
    let _ = writeln!(out, "Auto-Submitted: auto-replied");
    let _ = writeln!(out, "From: {}", head.from);
    let _ = writeln!(out, "To: {}", String::from_utf8_lossy(errors_to));
    if let Some(references) = references(message) {
        let _ = writeln!(out, "References: {references}");
    }
    let _ = writeln!(
        out,
        "Content-Type: multipart/report; report-type=delivery-status; boundary={boundary}\nMIME-Version: 1.0"
    );
    let is_own = errors_to == message.sender.as_slice();
    match texts.item(0) {
        Some(lines) => out.push_str(lines),
        None => {
            let rest = if is_own { ": returning message to sender" } else { "" };
            let _ = writeln!(out, "Subject: Mail delivery failed{rest}");
        }
    }
    out.push('\n');
    let _ = writeln!(out, "--{boundary}\nContent-type: {}\n", text_type(message));
    match texts.item(1) {
        Some(lines) => {
            out.push_str(lines);
            out.push('\n');
        }
        None => opening(&mut out, message, is_own, config.main.bounce_message_text.as_deref()),
    }
    for failure in failures {
        list(&mut out, message, &failure.address, &failure.error, "");
    }
    let mut text = out.into_bytes();
    outputs(&mut text, message, failures, texts.item(2));
    let mut out = format!(
        "\n--{boundary}\nContent-type: {}\n\nReporting-MTA: dns; {}\n",
        status_type(message),
        head.host
    );
    if let Some(id) = &message.dsn_envid {
        let _ = writeln!(out, "Original-Envelope-ID: {}", String::from_utf8_lossy(id));
    }
    out.push('\n');
    // Exim's order: as they failed, those with output of a command before the others.
    for with_output in [true, false] {
        for failure in failures.iter().rev().filter(|f| f.error.output.is_empty() != with_output) {
            status_fields(&mut out, message, failure);
        }
    }
    text.extend_from_slice(out.as_bytes());
    returned_message(&mut text, config, message, body, &boundary);
    Submission {
        sender: Vec::new(),
        recipients: vec![errors_to.to_vec()],
        text,
        about: Some(message.id),
        caller: None,
    }
}

/// The type of the part for programs (RFC 6533 section 4).
pub(crate) fn status_type(message: &Message) -> &'static str {
    if message.smtputf8 { "message/global-delivery-status" } else { "message/delivery-status" }
}

/// The type of the part that returns the header.
pub(crate) fn header_type(message: &Message) -> &'static str {
    if message.smtputf8 { "message/global-headers" } else { "text/rfc822-headers" }
}

fn opening(out: &mut String, message: &Message, is_own: bool, own_text: Option<&str>) {
    out.push_str("This message was created automatically by mail delivery software.\n");
    out.push_str(own_text.unwrap_or(""));
    out.push('\n');
    if is_own {
        out.push_str(
            "A message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n",
        );
    } else {
        let _ = write!(
            out,
            "A message sent by\n\n  <{}>\n\ncould not be delivered to one or more of its recipients. The following\naddress(es) failed:\n\n",
            String::from_utf8_lossy(&message.sender)
        );
    }
}

/// What commands printed goes back to the sender, byte for byte.
fn outputs(out: &mut Vec<u8>, message: &Message, failures: &[&Failure], own_text: Option<&str>) {
    let mut first = true;
    for failure in failures.iter().filter(|f| !f.error.output.is_empty()) {
        if first {
            out.push(b'\n');
            let several = failures.iter().filter(|f| !f.error.output.is_empty()).count() > 1;
            match own_text {
                Some(lines) => out.extend_from_slice(lines.as_bytes()),
                None => {
                    let ending = if several { "s" } else { "" };
                    let _ = writeln!(
                        out,
                        "The following text was generated during the delivery attempt{ending}:"
                    );
                }
            }
            first = false;
        }
        let address = for_people(message, &described(&failure.address));
        let _ = writeln!(out, "\n------ {address} ------\n");
        out.extend_from_slice(&failure.error.output);
        while out.last() == Some(&b'\n') {
            out.pop();
        }
        out.push(b'\n');
    }
}

/// The type of an address field (RFC 6533 section 4.1): an address in UTF-8 has a type of its own.
pub(crate) fn address_type(is_international: bool, address: &str) -> &'static str {
    if is_international && !address.is_ascii() { "utf-8" } else { "rfc822" }
}

/// The type of the part for people, and how it is encoded.
pub(crate) fn text_type(message: &Message) -> &'static str {
    if message.smtputf8 {
        "text/plain; charset=utf-8\nContent-transfer-encoding: 8bit"
    } else {
        "text/plain; charset=us-ascii"
    }
}

/// Addresses in the part for people: as they are in a report about an international message; else in ASCII, other bytes as
/// octal escapes, as Exim has them.
fn for_people(message: &Message, text: &str) -> String {
    if message.smtputf8 {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
    out
}

/// The address that is named to the sender: the original one, if its child is to be hidden.
fn shown(address: &Address) -> Cow<'_, str> {
    if address.kind == AddressKind::Mail && !address.is_hidden_in_bounces {
        address.text()
    } else {
        address.top().text()
    }
}

/// `hide_child_in_errmsg`: nothing is told of the address, nor why it failed.
fn is_undisclosed(address: &Address) -> bool {
    address.is_hidden_in_bounces && address.parent.is_some()
}

/// Adds an address to a list of those that were not delivered, with the host and why it was; `label` stands before the reason.
pub(crate) fn list(
    out: &mut String,
    message: &Message,
    address: &Address,
    error: &DeliveryError,
    label: &str,
) {
    let _ = writeln!(out, "  {}", for_people(message, &described(address)));
    if let Some((host, ip)) = error.host.as_ref().and_then(|host| Some((&host.name, host.address?))) {
        let _ = writeln!(out, "    host {host} [{ip}]");
    }
    let reason = reason(error);
    if is_undisclosed(address) || reason.is_empty() {
        return;
    }
    for line in format!("{label}{reason}").lines() {
        let _ = writeln!(out, "    {line}");
    }
}

/// The address in such a list, with its origin where that is another.
fn described(address: &Address) -> String {
    let origin = || {
        let far = if address.ancestors().nth(1).is_some() { "ultimately " } else { "" };
        format!("\n    ({far}generated from {})", address.top().text())
    };
    if is_undisclosed(address) {
        return format!("an undisclosed address{}", origin());
    }
    match address.kind {
        AddressKind::Mail if address.parent.is_none() || address.top().address == address.address => {
            address.text().into_owned()
        }
        AddressKind::Mail => format!("{}{}", address.text(), origin()),
        AddressKind::Pipe => format!("pipe to {}\n    generated by {}", address.text(), parent_text(address)),
        AddressKind::File | AddressKind::Directory => {
            format!("save to {}\n    generated by {}", address.text(), parent_text(address))
        }
        AddressKind::Reply => {
            format!("autoreply to {}\n    generated by {}", address.text(), parent_text(address))
        }
    }
}

fn parent_text(address: &Address) -> Cow<'_, str> {
    address.ancestors().next().map(Address::text).unwrap_or_default()
}

/// Why it was not delivered. The server's words begin a line of their own.
fn reason(error: &DeliveryError) -> String {
    let text = error.bounce_text.as_deref().unwrap_or(&error.text);
    let reply = error.smtp_reply.as_deref().map(String::from_utf8_lossy);
    match reply.as_deref().and_then(|reply| Some((text.strip_suffix(reply)?.trim_end(), reply))) {
        Some((ours, reply)) if !ours.is_empty() => format!("{ours}\n{reply}"),
        _ => text.to_owned(),
    }
}

fn status_fields(out: &mut String, message: &Message, failure: &Failure) {
    let address = &failure.address;
    if let Some(orcpt) = &address.dsn.orcpt {
        let _ = writeln!(out, "Original-Recipient: {}", String::from_utf8_lossy(orcpt));
    }
    let _ = writeln!(out, "Action: failed");
    let recipient = address.top().text();
    let _ = writeln!(out, "Final-Recipient: {};{recipient}", address_type(message.smtputf8, &recipient));
    let reply = failure.error.smtp_reply.as_deref().map(String::from_utf8_lossy);
    let _ = writeln!(out, "Status: {}", reply.as_deref().and_then(enhanced_status).unwrap_or("5.0.0"));
    remote_fields(out, &failure.error);
    out.push('\n');
}

/// The server, and what it has said.
pub(crate) fn remote_fields(out: &mut String, error: &DeliveryError) {
    let Some(reply) = error.smtp_reply.as_deref().map(String::from_utf8_lossy) else { return };
    if let Some(host) = &error.host {
        let _ = writeln!(out, "Remote-MTA: dns; {}", host.name);
    }
    let lines: Vec<&str> = reply.lines().collect();
    let _ = writeln!(out, "Diagnostic-Code: smtp; {}", lines.join("\n "));
}

/// `5.1.1` out of `550 5.1.1 no such user`.
fn enhanced_status(reply: &str) -> Option<&str> {
    let word = reply.get(4..)?.split([' ', '\r', '\n']).next()?;
    let mut parts = word.split('.');
    let class = parts.next()?;
    let is_number = |p: Option<&str>| {
        p.is_some_and(|t| !t.is_empty() && t.len() <= 3 && t.bytes().all(|b| b.is_ascii_digit()))
    };
    (matches!(class, "4" | "5")
        && is_number(parts.next())
        && is_number(parts.next())
        && parts.next().is_none())
    .then_some(word)
}

/// Unique enough that no body holds it.
pub(crate) fn boundary(message: &Message) -> String {
    let now = Stamp::now();
    format!(
        "{}-eximdsn-{}{}",
        now.seconds,
        now.micros,
        message.id.as_str().bytes().map(u32::from).sum::<u32>()
    )
}

/// `References:` of a report: those of the message, and its own id.
pub(crate) fn references(message: &Message) -> Option<String> {
    let body =
        |name: &[u8]| {
            message.headers.find(name).next().map(|h| {
                String::from_utf8_lossy(h.body()).split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
        };
    let id = body(b"Message-ID")?;
    let older = body(b"References").or_else(|| body(b"In-Reply-To"));
    Some(older.map_or(id.clone(), |o| format!("{o} {id}")))
}

/// The last part: the message itself, or its header, as `bounce_return_message`, `bounce_return_body`,
/// `bounce_return_size_limit`, `bounce_return_linesize_limit` and RET want it.
fn returned_message(text: &mut Vec<u8>, config: &Config, message: &Message, body: &Body, boundary: &str) {
    let main = &config.main;
    let wants_body = main.bounce_return_body && message.dsn_ret != Some(Ret::Headers);
    let limit = u64::try_from(main.bounce_return_size_limit).unwrap_or(0);
    let line_limit = u64::try_from(main.bounce_return_linesize_limit).unwrap_or(0);
    let too_long =
        wants_body && (limit > 0 && body.len() > limit || line_limit > 0 && message.max_line > line_limit);
    if main.bounce_return_message {
        let with_body = wants_body && !too_long;
        let kind = match (with_body, message.smtputf8) {
            (true, true) => "message/global",
            (true, false) => "message/rfc822",
            (false, _) => header_type(message),
        };
        text.extend_from_slice(format!("--{boundary}\nContent-type: {kind}\n\n").as_bytes());
        text.extend_from_slice(b"Return-path: <");
        text.extend_from_slice(&message.sender);
        text.extend_from_slice(b">\n");
        for header in message.headers.iter_live() {
            text.extend_from_slice(&header.text);
        }
        let is_wanted = message.dsn_ret == Some(Ret::Full) || wants_body;
        if is_wanted && !with_body {
            text.extend_from_slice(
                b"X-Exim-DSN-Information: Due to administrative limits only headers are returned\n",
            );
        }
        text.push(b'\n');
        if with_body {
            let mut reader = body.reader();
            // The message is in the spool: a body that cannot be read now ends the copy, not the report.
            let _ = reader.by_ref().read_to_end(text);
            if !text.ends_with(b"\n") {
                text.push(b'\n');
            }
        }
        text.push(b'\n');
    }
    text.extend_from_slice(format!("--{boundary}--\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enhanced_codes_only_where_they_are_complete() {
        assert_eq!(enhanced_status("550 5.1.1 unknown"), Some("5.1.1"));
        assert_eq!(enhanced_status("550 5.1 unknown"), None);
        assert_eq!(enhanced_status("550 unknown"), None);
        assert_eq!(enhanced_status("550"), None);
    }
}

//! Writes the text of an -H file, line for line as Exim 4.96 does (manual section 57.1).
//!
//! Values that came from outside carry a second hyphen, values quoted for a lookup its name in parentheses.
//! Fails only for what no line could hold: an address with a line break.

use std::net::{IpAddr, SocketAddr};

use oxim_base::{Taint, Text};
use oxim_mail::dsn::{Notify, Return};

use crate::error::SpoolError;
use crate::message::{Message, Recipient, SenderHost, TlsRecord};

/// The whole text of the file, first line included.
///
/// # Errors
/// `Unwritable` if the sender, a recipient or a non-recipient has a line break in it.
pub fn write(message: &Message) -> Result<Vec<u8>, SpoolError> {
    let estimate = message.headers.size_bytes().saturating_add(message.recipients.len().saturating_mul(40));
    let mut out = Out { text: Vec::with_capacity(estimate.saturating_add(1024)) };
    out.number_line(format_args!("{}-H", message.id));
    let login = if message.login.is_empty() { b"unknown".as_slice() } else { &message.login };
    out.printable(login);
    out.number_line(format_args!(" {} {}", message.uid, message.gid));
    out.bytes(b"<");
    out.address(&message.sender)?;
    out.bytes(b">\n");
    out.number_line(format_args!("{} {}", message.received.seconds, message.warnings_sent));
    arrival(&mut out, message);
    acl_variables(&mut out, b"aclc ", &message.acl_c);
    acl_variables(&mut out, b"aclm ", &message.acl_m);
    state(&mut out, message);
    if let Some(tls) = &message.tls {
        tls_lines(&mut out, tls);
    }
    extensions(&mut out, message);
    non_recipients(&mut out, message)?;
    out.number_line(format_args!("{}", message.recipients.len()));
    for recipient in &message.recipients {
        recipient_line(&mut out, recipient)?;
    }
    out.bytes(b"\n");
    for header in message.headers.all().iter().filter(|h| !h.text.is_empty()) {
        out.formatted(format_args!("{:03}{} ", header.text.len(), char::from(header.kind.letter())));
        out.bytes(&header.text);
    }
    Ok(out.text)
}

struct Out {
    text: Vec<u8>,
}

impl Out {
    fn bytes(&mut self, bytes: &[u8]) {
        self.text.extend_from_slice(bytes);
    }

    fn formatted(&mut self, arguments: std::fmt::Arguments<'_>) {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        let _ = self.text.write_fmt(arguments);
    }

    fn number_line(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.formatted(arguments);
        self.bytes(b"\n");
    }

    /// Control characters would end the line or the file: they become spaces.
    fn printable(&mut self, value: &[u8]) {
        self.text.extend(value.iter().map(|&b| if b < b' ' { b' ' } else { b }));
    }

    fn address(&mut self, value: &[u8]) -> Result<(), SpoolError> {
        if value.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) {
            let shown = String::from_utf8_lossy(value).escape_debug().to_string();
            return Err(SpoolError::Unwritable(format!("address \"{shown}\"")));
        }
        self.bytes(value);
        Ok(())
    }

    fn flag(&mut self, is_set: bool, name: &str) {
        if is_set {
            self.number_line(format_args!("-{name}"));
        }
    }

    fn value(&mut self, tainted: bool, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.formatted(format_args!("{}{name} ", if tainted { "--" } else { "-" }));
            self.printable(value);
            self.bytes(b"\n");
        }
    }

    /// As `value`, with line breaks as `\n`: certificates.
    fn escaped(&mut self, tainted: bool, name: &str, value: Option<&[u8]>) {
        let Some(value) = value else { return };
        self.formatted(format_args!("{}{name} ", if tainted { "--" } else { "-" }));
        for &byte in value {
            match byte {
                b'\n' => self.bytes(b"\\n"),
                0..b' ' => self.bytes(b" "),
                _ => self.text.push(byte),
            }
        }
        self.bytes(b"\n");
    }
}

fn arrival(out: &mut Out, message: &Message) {
    let remote = message.host.is_some();
    out.number_line(format_args!("-received_time_usec .{:06}", message.received.micros.min(999_999)));
    if let Some(taken) = message.received_micros_taken {
        let micros = u64::from(message.received.micros).saturating_add(taken);
        let seconds = message.received.seconds.saturating_add(i64::try_from(micros / 1_000_000).unwrap_or(0));
        out.number_line(format_args!("-received_time_complete {seconds}.{:06}", micros % 1_000_000));
    }
    out.value(true, "helo_name", message.helo_name.as_deref());
    if let Some(host) = &message.host {
        host_lines(out, message, host);
    }
    if let Some(interface) = message.interface {
        out.number_line(format_args!("-interface_address {}", bracketed(interface)));
    }
    out.value(false, "active_hostname", message.active_hostname.as_deref());
    out.value(remote, "ident", message.ident.as_deref());
    out.value(false, "received_protocol", message.protocol.as_deref());
}

fn host_lines(out: &mut Out, message: &Message, host: &SenderHost) {
    out.number_line(format_args!("-host_address {}", bracketed(SocketAddr::new(host.address, host.port))));
    out.value(true, "host_name", host.name.as_deref());
    out.value(false, "host_auth", message.authenticator.as_deref());
    out.value(false, "host_auth_pubname", message.authenticator_public_name.as_deref());
}

/// `[10.0.0.1]:25`, `[::1]:25`.
fn bracketed(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("[{ip}]:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

fn acl_variables(out: &mut Out, kind: &[u8], variables: &std::collections::BTreeMap<Vec<u8>, Text>) {
    for (name, value) in variables {
        match value.taint() {
            Taint::Clean => out.bytes(b"-"),
            Taint::Tainted => out.bytes(b"--"),
            Taint::Quoted(lookup) => out.formatted(format_args!("--({lookup})")),
        }
        out.bytes(kind);
        out.printable(name);
        out.number_line(format_args!(" {}", value.len()));
        out.bytes(value.as_bytes());
        out.bytes(b"\n");
    }
}

fn state(out: &mut Out, message: &Message) {
    let remote = message.host.is_some();
    if message.wireformat {
        out.bytes(b"-spool_file_wireformat\n");
    } else {
        out.number_line(format_args!("-body_linecount {}", message.body_lines));
    }
    out.number_line(format_args!("-max_received_linelength {}", message.max_line));
    if message.body_zeros > 0 {
        out.number_line(format_args!("-body_zerocount {}", message.body_zeros));
    }
    out.value(remote, "auth_id", message.auth_id.as_deref());
    out.value(remote, "auth_sender", message.auth_sender.as_deref());
    out.flag(message.allow_unqualified_recipient, "allow_unqualified_recipient");
    out.flag(message.allow_unqualified_sender, "allow_unqualified_sender");
    out.flag(message.first_delivery, "deliver_firsttime");
    if let Some(when) = message.frozen {
        out.number_line(format_args!("-frozen {when}"));
    }
    out.flag(message.dont_deliver, "N");
    out.flag(message.host.as_ref().is_some_and(|h| h.lookup_deferred), "host_lookup_deferred");
    out.flag(message.host.as_ref().is_some_and(|h| h.lookup_failed), "host_lookup_failed");
    out.flag(message.is_local, "local");
    out.flag(message.local_error, "localerror");
    out.value(true, "local_scan", message.local_scan_data.as_deref());
    out.value(false, "spam_bar", message.spam_bar.as_deref());
    out.value(false, "spam_score", message.spam_score.as_deref());
    out.value(false, "spam_score_int", message.spam_score_int.as_deref());
    out.flag(message.manual_thaw, "manual_thaw");
    out.flag(message.sender_set_untrusted, "sender_set_untrusted");
}

fn tls_lines(out: &mut Out, tls: &TlsRecord) {
    out.flag(tls.verified, "tls_certificate_verified");
    out.value(false, "tls_cipher", tls.cipher.as_deref());
    out.escaped(true, "tls_peercert", tls.peer_certificate.as_deref());
    out.value(true, "tls_peerdn", tls.peer_dn.as_deref());
    out.value(true, "tls_sni", tls.sni.as_deref());
    out.escaped(false, "tls_ourcert", tls.our_certificate.as_deref());
    if tls.ocsp > 0 {
        out.number_line(format_args!("-tls_ocsp {}", tls.ocsp));
    }
    out.number_line(format_args!(
        "-tls_resumption {}",
        char::from(b'A'.saturating_add(tls.resumption.min(25)))
    ));
    out.value(false, "tls_ver", tls.version.as_deref());
}

fn extensions(out: &mut Out, message: &Message) {
    out.flag(message.smtputf8, "smtputf8");
    match message.utf8_downconvert {
        Some(1..) => out.bytes(b"-utf8_downcvt\n"),
        Some(..0) => out.bytes(b"-utf8_optdowncvt\n"),
        Some(0) | None => {}
    }
    out.value(false, "dsn_envid", message.dsn_envid.as_deref());
    match message.dsn_ret {
        Some(Return::Full) => out.bytes(b"-dsn_ret 1\n"),
        Some(Return::Headers) => out.bytes(b"-dsn_ret 2\n"),
        None => {}
    }
    for line in &message.unknown {
        out.printable(line);
        out.bytes(b"\n");
    }
}

/// The balanced tree, root first; `YN` tells which branches follow.
fn non_recipients(out: &mut Out, message: &Message) -> Result<(), SpoolError> {
    if message.non_recipients.is_empty() {
        out.bytes(b"XX\n");
        return Ok(());
    }
    let sorted: Vec<&[u8]> = message.non_recipients.iter().map(Vec::as_slice).collect();
    let mut pending: Vec<&[&[u8]]> = vec![&sorted];
    while let Some(part) = pending.pop() {
        let (left, rest) = part.split_at(part.len() / 2);
        let Some((node, right)) = rest.split_first() else { continue };
        let letter = |branch: &[&[u8]]| if branch.is_empty() { b'N' } else { b'Y' };
        out.bytes(&[letter(left), letter(right), b' ']);
        out.address(node)?;
        out.bytes(b"\n");
        pending.extend([right, left].into_iter().filter(|branch| !branch.is_empty()));
    }
    Ok(())
}

/// The plain address, or with the further fields behind it that the flag bits announce.
fn recipient_line(out: &mut Out, recipient: &Recipient) -> Result<(), SpoolError> {
    out.address(&recipient.address)?;
    let notify = notify_bits(recipient.dsn_notify);
    let has_dsn = notify != 0 || recipient.orcpt.is_some();
    if has_dsn || recipient.parent.is_some() || recipient.errors_to.is_some() {
        let orcpt = recipient.orcpt.as_deref().unwrap_or_default();
        out.bytes(b" ");
        out.address(orcpt)?;
        out.formatted(format_args!(" {},{notify}", orcpt.len()));
        let errors_to = recipient.errors_to.as_deref().unwrap_or_default();
        let parent = recipient.parent.map_or_else(|| "-1".to_owned(), |p| p.to_string());
        out.bytes(b" ");
        out.address(errors_to)?;
        // The DSN fields are always there: Exim 4.96 takes one character too much off an address without them (`#1`).
        out.formatted(format_args!(" {},{parent}#3", errors_to.len()));
    }
    out.bytes(b"\n");
    Ok(())
}

fn notify_bits(notify: Notify) -> u8 {
    [(notify.never, 2), (notify.success, 4), (notify.failure, 8), (notify.delay, 16)]
        .iter()
        .filter(|(set, _)| *set)
        .fold(0, |bits, (_, bit)| bits | bit)
}

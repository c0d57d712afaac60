//! The lines of the main log that tell what became of an address (manual section 53.7 and after).
//!
//! `=>` delivered, `->` a further address of the same delivery, `>>` cut through, `**` failed, `==` deferred, `*>` with -N.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use oxim_base::clock::{self, Stamp};
use oxim_base::errno::error_text;
use oxim_base::text::shown;
use oxim_spool::log::{LogSelectors, Selector};

use crate::address::{Address, AddressKind};
use crate::delivery::Delivery;
use crate::transport::{Delivered, DeliveryError, HostUsed, error_code};

/// What lines about one message have in common.
pub struct Lines<'a> {
    /// Everything that is configured.
    pub delivery: &'a Delivery,
    /// Which fields are wanted.
    pub selectors: LogSelectors,
    /// Envelope sender of the message.
    pub sender: &'a [u8],
    /// When the message came.
    pub received: Stamp,
    /// The named queue that the message is on.
    pub queue_name: &'a [u8],
    /// Size of the message, for `+delivery_size`.
    pub size: u64,
}

impl Lines<'_> {
    fn has(&self, selector: Selector) -> bool {
        self.selectors.has(selector)
    }

    /// Adds what stands behind the mark of a delivered address: `bob <bob@test.ex> R=all T=mbox`.
    pub fn delivered(&self, line: &mut String, address: &Address, done: &Delivered, run: &mut RunLines<'_>) {
        let sent = done.downconverted.as_deref();
        match sent.filter(|sent| sent.address != address.text()) {
            Some(sent) => {
                let _ = write!(line, "{} <{}>", sent.address, address.top().text());
            }
            // A remote delivery is told with the whole address, whatever the router says.
            None if done.path.is_none() && done.host.is_some() => {
                self.full_address(line, address);
            }
            None => self.address_text(line, address, done.path.as_deref()),
        }
        if self.has(Selector::SenderOnDelivery) {
            let sender = sent.map_or_else(|| shown(self.sender), |sent| Cow::Borrowed(&sent.sender));
            push_field(line, " F=<", &sender, ">");
        }
        if self.has(Selector::ReturnPathOnDelivery) && !address.is_bypassed() {
            push_field(line, " P=<", &shown(run.return_path), ">");
        }
        if let Some(sender) = &address.propagated.srs_sender {
            push_field(line, " SRS=<", &shown(sender), ">");
        }
        if !self.queue_name.is_empty() {
            push_field(line, " Q=", &shown(self.queue_name), "");
        }
        self.router_and_transport(line, address);
        if self.has(Selector::DeliverySize) {
            let _ = write!(line, " S={}", done.bytes.unwrap_or(self.size));
        }
        if let Some(shadow) = &done.shadow {
            let _ = write!(line, " ST={shadow}");
        }
        if let Some(host) = &done.host {
            line.push_str(run.host_text(self, host));
        } else if let Some(hosts) = &address.host_list {
            let _ = write!(line, " H={hosts}");
        }
        if let Some(text) = done.confirmation.as_deref().filter(|_| self.has(Selector::SmtpConfirmation)) {
            line.push_str(" C=\"");
            push_escaped(line, text);
            line.push('"');
        }
        if self.has(Selector::QueueTime) {
            let _ = write!(line, " QT={}", self.interval(Stamp::now().since(self.received)));
        }
        if self.has(Selector::DeliverTime) {
            let _ = write!(line, " DT={}", self.interval(run.took));
        }
    }

    /// What stands behind the mark of a failed address: `bob@test.ex R=x T=y: no such user`. The return path is that of the
    /// transport, if one was run.
    #[must_use]
    pub fn failed(&self, address: &Address, error: &DeliveryError, return_path: Option<&[u8]>) -> String {
        let mut line = String::new();
        self.full_address(&mut line, address);
        if self.has(Selector::SenderOnDelivery) {
            push_field(&mut line, " F=<", &shown(self.sender), ">");
        }
        if let Some(return_path) = return_path.filter(|_| self.has(Selector::ReturnPathOnDelivery)) {
            push_field(&mut line, " P=<", &shown(return_path), ">");
        }
        self.router_and_transport(&mut line, address);
        if let Some(host) = &error.host {
            self.host(&mut line, host, false);
        }
        // A router always has a reason, be it an empty one (`:fail:`).
        let is_routers = address.router.is_some() && address.transport.is_none();
        if is_routers || !error.text.is_empty() {
            let _ = write!(line, ": {}", error.text);
        }
        line
    }

    /// What stands behind the mark of a deferred address: `bob@test.ex R=x T=y defer (-1): come back later`.
    #[must_use]
    pub fn deferred(&self, address: &Address, error: &DeliveryError) -> String {
        let mut line = String::new();
        self.full_address(&mut line, address);
        self.router_and_transport(&mut line, address);
        let before_routing = matches!(error.code, error_code::RETRY_TIME | error_code::QUEUED_DOMAIN)
            || address.router.is_none() && error.is_for_panic_log;
        let _ = write!(line, "{} defer ({})", if before_routing { " routing" } else { "" }, error.code);
        if error.code > 0 {
            let _ = write!(line, ": {}", error_text(&std::io::Error::from_raw_os_error(error.code)));
        }
        if let Some(host) = &error.host {
            self.host(&mut line, host, false);
        }
        if !error.text.is_empty() {
            let _ = write!(line, ": {}", error.text);
        }
        line
    }

    fn router_and_transport(&self, line: &mut String, address: &Address) {
        if let Some(router) = address.router.and_then(|id| self.delivery.router(id)) {
            push_field(line, " R=", &router.name, "");
        }
        if address.is_bypassed() && address.refusal.is_none() {
            push_field(line, " T=", crate::queue::BYPASSED, "");
        } else if let Some(transport) = address.transport.and_then(|id| self.delivery.transport(id)) {
            push_field(line, " T=", &transport.name, "");
        }
    }

    /// The address in the style that its router asks for, with where it came from. `path` is the file that was written, where
    /// that is another one than the address names.
    fn address_text(&self, line: &mut String, address: &Address, path: Option<&[u8]>) {
        let start = line.len();
        match (path, address.is_logged_as_local, address.kind) {
            (_, true, AddressKind::Mail) => {
                line.push_str(&shown(&address.routed_local_part(self.shows_affixes(address))));
            }
            (Some(path), ..) => line.push_str(&shown(path)),
            (None, ..) => self.address_alone(line, address),
        }
        self.origin(line, start, address, address.is_logged_as_local);
    }

    /// Whether what the transport writes names the address with its affixes (`rcpt_include_affixes`).
    fn shows_affixes(&self, address: &Address) -> bool {
        let transport = address.transport.and_then(|id| self.delivery.transport(id));
        transport.is_some_and(|t| t.generic.rcpt_include_affixes && t.driver.names_recipients())
    }

    /// The whole address, with where it came from.
    fn full_address(&self, line: &mut String, address: &Address) {
        let start = line.len();
        // A folder of a Sieve script, which only the transport makes a path of.
        let is_file = matches!(address.kind, AddressKind::File | AddressKind::Directory);
        if is_file && !address.address.starts_with(b"/") {
            line.push_str("save ");
        }
        self.address_alone(line, address);
        self.origin(line, start, address, false);
    }

    fn address_alone(&self, line: &mut String, address: &Address) {
        match address.kind {
            AddressKind::Mail if address.is_offered => {
                line.push_str(&shown(&address.routed_local_part(self.shows_affixes(address))));
                line.push('@');
                line.push_str(&shown(&address.domain));
            }
            AddressKind::Directory | AddressKind::File | AddressKind::Pipe | AddressKind::Mail => {
                line.push_str(&address.text());
            }
            AddressKind::Reply => {
                push_field(line, ">", address.text().trim_start_matches('>'), "");
            }
        }
    }

    /// `(parent) <original>`: the addresses between only under `+all_parents`, the original if it is another text, whatever
    /// the case of its domain. The address itself stands in the line from `start` on.
    fn origin(&self, line: &mut String, start: usize, address: &Address, always: bool) {
        let is_mail = address.kind == AddressKind::Mail;
        let parents: Vec<&Address> = address.ancestors().filter(|a| !is_mail || !a.is_unseen_copy).collect();
        let top = parents.last().copied().unwrap_or(address).text();
        let between = parents.iter().rev().skip(1).rev();
        let shows_top = always || !is_same(line.get(start..).unwrap_or_default(), &top);
        if self.has(Selector::AllParents) {
            for parent in between {
                push_field(line, " (", &parent.text(), ")");
            }
        } else if !is_mail && parents.len() > 1 {
            // A pipe or file says nothing of whose it is: its parent is always shown.
            if let Some(parent) = parents.first() {
                push_field(line, " (", &parent.text(), ")");
            }
        }
        if shows_top {
            push_field(line, " <", &top, ">");
        }
    }

    /// What a host said about one address, for the message log: `H=mx.ex [192.0.2.1] SMTP error …`.
    #[must_use]
    pub fn host_trouble(&self, host: &HostUsed, text: &str) -> String {
        let mut line = String::new();
        self.host(&mut line, host, false);
        format!("{} {text}", line.trim_start())
    }

    /// An error without its address: the server, if one said so, and the text.
    #[must_use]
    pub fn error(&self, error: &DeliveryError) -> String {
        let Some(host) = &error.host else { return error.text.clone() };
        let mut line = String::new();
        self.host(&mut line, host, false);
        format!("{}: {}", line.trim_start(), error.text)
    }

    /// `log_ports`.
    fn shows_port(&self, port: u16) -> bool {
        is_in_log_ports(&self.delivery.config.main.log_ports, port)
    }

    fn host(&self, line: &mut String, host: &HostUsed, success: bool) {
        let Some(address) = host.address else {
            let _ = write!(line, " H={}", host.name);
            return;
        };
        if self.has(Selector::Dnssec) && host.is_dnssec {
            line.push_str(" DS");
        }
        let _ = write!(line, " H={} [{address}]", host.name);
        if self.has(Selector::OutgoingPort) && self.shows_port(host.port) {
            let _ = write!(line, ":{}", host.port);
        }
        if success && host.is_continued {
            line.push('*');
        }
        if let Some(proxy) = host.proxy.filter(|_| self.has(Selector::Proxy)) {
            let _ = write!(line, " PRX=[{}]", proxy.ip());
            if self.has(Selector::OutgoingPort) {
                let _ = write!(line, ":{}", proxy.port());
            }
        }
        if let Some(local) = host.local.filter(|_| self.has(Selector::OutgoingInterface)) {
            let _ = write!(line, " I=[{}]:{}", local.ip(), local.port());
        }
        if let Some(tls) = &host.tls {
            self.tls(line, tls);
        }
        if let Some(name) = host.authenticator.as_ref().filter(|_| success) {
            let _ = write!(line, " A={name}");
        }
        if success && host.is_pipelined && self.has(Selector::Pipelining) {
            line.push_str(if host.is_early { " L*" } else { " L" });
        }
        if success && host.is_prdr {
            line.push_str(" PRDR");
        }
        if success && host.is_chunked {
            line.push_str(" K");
        }
    }

    fn tls(&self, line: &mut String, tls: &oxim_net::tls::TlsFacts) {
        if self.has(Selector::TlsCipher) {
            let _ = write!(line, " X={}", tls.cipher_field());
            if tls.resumed && self.has(Selector::TlsResumption) {
                line.push('*');
            }
        }
        if self.has(Selector::TlsCertificateVerified) {
            let how = match (tls.dane, tls.sts, tls.verified) {
                (true, _, _) => "dane",
                (false, true, _) => "sts",
                (false, false, true) => "yes",
                (false, false, false) => "no",
            };
            let _ = write!(line, " CV={how}");
        }
        if let Some(name) = tls.peer_dn.as_ref().filter(|_| self.has(Selector::TlsPeerdn)) {
            let _ = write!(line, " DN=\"{name}\"");
        }
    }

    fn interval(&self, time: Duration) -> String {
        clock::short_interval(time, self.has(Selector::Millisec))
    }
}

/// What the lines about one run of a transport have in common.
pub struct RunLines<'a> {
    dont_deliver: bool,
    took: Duration,
    return_path: &'a [u8],
    /// One was delivered to before.
    has_first: bool,
    /// The fields about the server that was written of last.
    host: Option<(Arc<HostUsed>, String)>,
}

impl<'a> RunLines<'a> {
    /// Before the first line. `dont_deliver` is `-N`: nothing was really delivered. `return_path` is what the transport went with.
    #[must_use]
    pub fn new(dont_deliver: bool, took: Duration, return_path: &'a [u8]) -> RunLines<'a> {
        RunLines { dont_deliver, took, return_path, has_first: false, host: None }
    }

    /// The mark of the next line: `=>`, for further addresses `->`, and `*>` if nothing was really delivered.
    pub fn mark(&mut self) -> &'static str {
        let has_first = std::mem::replace(&mut self.has_first, true);
        match (self.dont_deliver, has_first) {
            (true, _) => "*>",
            (false, false) => "=>",
            (false, true) => "->",
        }
    }

    /// The fields about a server that took the message: most recipients of a run have the same one.
    fn host_text(&mut self, lines: &Lines<'_>, host: &Arc<HostUsed>) -> &str {
        if self.host.as_ref().is_none_or(|(last, _)| !Arc::ptr_eq(last, host)) {
            let mut text = String::new();
            lines.host(&mut text, host, true);
            self.host = Some((Arc::clone(host), text));
        }
        self.host.as_ref().map_or("", |(_, text)| text)
    }
}

/// Whether two addresses differ at most in the case of the domain.
fn is_same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    let (one, other) = (one.rsplit_once('@'), other.rsplit_once('@'));
    matches!((one, other), (Some(one), Some(other)) if one.0 == other.0 && one.1.eq_ignore_ascii_case(other.1))
}

fn push_field(line: &mut String, before: &str, value: &str, after: &str) {
    line.push_str(before);
    line.push_str(value);
    line.push_str(after);
}

/// For a quoted field: what is not printable becomes an escape, quotes and backslashes get a backslash.
fn push_escaped(out: &mut String, bytes: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(is_plain) {
        return out.push_str(&shown(bytes));
    }
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            // As Exim has it: the line end becomes \n first, then its backslash is quoted.
            b'\n' => out.push_str("\\\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x20..=0x7e => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "\\{other:03o}");
            }
        }
    }
}

/// Whether a port is in `log_ports`: numbers, or an asterisk for all.
#[must_use]
pub fn is_in_log_ports(list: &str, port: u16) -> bool {
    let mut items = oxim_lang::list::split(list.as_bytes());
    items.any(|item| &*item == b"*" || std::str::from_utf8(&item).is_ok_and(|item| item.parse() == Ok(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirmations_are_one_printable_line() {
        let escaped = |bytes: &[u8]| {
            let mut out = String::new();
            push_escaped(&mut out, bytes);
            out
        };
        assert_eq!(escaped(b"250 \"ok\"\n\x01"), "250 \\\"ok\\\"\\\\n\\001");
        assert_eq!(escaped(b"250 OK id=1"), "250 OK id=1");
    }
}

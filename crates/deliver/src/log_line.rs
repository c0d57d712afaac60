//! The lines of the main log that tell what became of an address (manual section 53.7 and after).
//!
//! `=>` delivered, `->` a further address of the same delivery, `>>` cut through, `**` failed, `==` deferred, `*>` with -N.

use std::fmt::Write as _;
use std::time::Duration;

use oxim_net::socket::error_text;
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
    /// How long the message has been on the queue.
    pub on_queue: Duration,
    /// The named queue that the message is on.
    pub queue_name: &'a [u8],
    /// Size of the message, for `+delivery_size`.
    pub size: u64,
}

impl Lines<'_> {
    fn has(&self, selector: Selector) -> bool {
        self.selectors.has(selector)
    }

    /// `=> bob <bob@test.ex> R=all T=mbox`; `first` is false for further addresses of the same run.
    #[must_use]
    pub fn delivered(
        &self,
        address: &Address,
        done: &Delivered,
        first: bool,
        dont_deliver: bool,
        took: Duration,
        return_path: &[u8],
    ) -> String {
        let mark = if dont_deliver {
            "*>"
        } else if first {
            "=>"
        } else {
            "->"
        };
        // A remote delivery is told with the whole address, whatever the router says.
        let shown = match &done.path {
            Some(path) => self.address_text(&Address { address: path.clone(), ..address.clone() }),
            None if done.host.is_some() || address.host_list.is_some() => self.full_address(address),
            None => self.address_text(address),
        };
        let sent = done.downconverted.as_deref();
        let mut line = match sent.filter(|sent| sent.address != address.text()) {
            Some(sent) => format!("{mark} {} <{}>", sent.address, address.top().text()),
            None => format!("{mark} {shown}"),
        };
        if self.has(Selector::SenderOnDelivery) {
            let sender = sent.map_or_else(|| lossy(self.sender), |sent| sent.sender.clone());
            let _ = write!(line, " F=<{sender}>");
        }
        if self.has(Selector::ReturnPathOnDelivery) {
            let _ = write!(line, " P=<{}>", lossy(return_path));
        }
        if let Some(sender) = &address.propagated.srs_sender {
            let _ = write!(line, " SRS=<{}>", lossy(sender));
        }
        if !self.queue_name.is_empty() {
            let _ = write!(line, " Q={}", lossy(self.queue_name));
        }
        self.router_and_transport(&mut line, address);
        if let Some(shadow) = &done.shadow {
            let _ = write!(line, " ST={shadow}");
        }
        if self.has(Selector::DeliverySize) {
            let _ = write!(line, " S={}", done.bytes.unwrap_or(self.size));
        }
        if let Some(host) = &done.host {
            self.host(&mut line, host, true);
        } else if let Some(hosts) = &address.host_list {
            let _ = write!(line, " H={hosts}");
        }
        if let Some(text) = done.confirmation.as_deref().filter(|_| self.has(Selector::SmtpConfirmation)) {
            let _ = write!(line, " C=\"{}\"", escaped(text));
        }
        if self.has(Selector::QueueTime) {
            let _ = write!(line, " QT={}", self.interval(self.on_queue));
        }
        if self.has(Selector::DeliverTime) {
            let _ = write!(line, " DT={}", self.interval(took));
        }
        line
    }

    /// What stands behind the mark of a failed address: `bob@test.ex R=x T=y: no such user`. The return path is that of the
    /// transport, if one was run.
    #[must_use]
    pub fn failed(&self, address: &Address, error: &DeliveryError, return_path: Option<&[u8]>) -> String {
        let mut line = self.full_address(address);
        if self.has(Selector::SenderOnDelivery) {
            let _ = write!(line, " F=<{}>", lossy(self.sender));
        }
        if let Some(return_path) = return_path.filter(|_| self.has(Selector::ReturnPathOnDelivery)) {
            let _ = write!(line, " P=<{}>", lossy(return_path));
        }
        self.router_and_transport(&mut line, address);
        if let Some(host) = &error.host {
            self.host(&mut line, host, false);
        }
        if !error.text.is_empty() {
            let _ = write!(line, ": {}", error.text);
        }
        line
    }

    /// What stands behind the mark of a deferred address: `bob@test.ex R=x T=y defer (-1): come back later`.
    #[must_use]
    pub fn deferred(&self, address: &Address, error: &DeliveryError) -> String {
        let mut line = self.full_address(address);
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
            let _ = write!(line, " R={}", router.name);
        }
        if address.is_bypassed() {
            let _ = write!(line, " T={}", crate::queue::BYPASSED);
        } else if let Some(transport) = address.transport.and_then(|id| self.delivery.transport(id)) {
            let _ = write!(line, " T={}", transport.name);
        }
    }

    /// The address in the style that its router asks for, with where it came from.
    fn address_text(&self, address: &Address) -> String {
        let mut text = match (address.is_logged_as_local, address.kind) {
            (true, AddressKind::Mail) => lossy(&address.routed_local_part(self.shows_affixes(address))),
            _ => self.shown(address),
        };
        self.origin(&mut text, address, address.is_logged_as_local);
        text
    }

    /// Whether what the transport writes names the address with its affixes (`rcpt_include_affixes`).
    fn shows_affixes(&self, address: &Address) -> bool {
        let transport = address.transport.and_then(|id| self.delivery.transport(id));
        transport.is_some_and(|t| t.generic.rcpt_include_affixes && t.driver.names_recipients())
    }

    /// The whole address, with where it came from.
    fn full_address(&self, address: &Address) -> String {
        let mut text = self.shown(address);
        self.origin(&mut text, address, false);
        text
    }

    fn shown(&self, address: &Address) -> String {
        match address.kind {
            AddressKind::Mail if address.is_offered => lossy(&address.routed(self.shows_affixes(address))),
            AddressKind::Directory | AddressKind::File | AddressKind::Pipe | AddressKind::Mail => {
                address.text()
            }
            AddressKind::Reply => format!(">{}", address.text().trim_start_matches('>')),
        }
    }

    /// `(parent) <original>`: the addresses between only under `+all_parents`, the original if it is another text, whatever
    /// the case of its domain.
    fn origin(&self, text: &mut String, address: &Address, always: bool) {
        let parents: Vec<&Address> = address.ancestors().filter(|a| !a.is_unseen_copy).collect();
        let top = parents.last().copied().unwrap_or(address);
        let between = parents.iter().rev().skip(1).rev();
        let shows_top = always || !is_same(text, &top.text());
        if self.has(Selector::AllParents) {
            for parent in between {
                let _ = write!(text, " ({})", parent.text());
            }
        } else if address.kind != AddressKind::Mail && parents.len() > 1 {
            // A pipe or file says nothing of whose it is: its parent is always shown.
            if let Some(parent) = parents.first() {
                let _ = write!(text, " ({})", parent.text());
            }
        }
        if shows_top {
            let _ = write!(text, " <{}>", top.text());
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
        let literal = format!("{address}");
        if self.has(Selector::Dnssec) && host.is_dnssec {
            line.push_str(" DS");
        }
        let _ = write!(line, " H={} [{literal}]", host.name);
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
        if self.has(Selector::Millisec) {
            return format!("{}.{:03}s", time.as_secs(), time.subsec_millis());
        }
        oxim_base::clock::interval(time.as_secs())
    }
}

/// Whether two addresses differ at most in the case of the domain.
fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.rsplit_once('@'), other.rsplit_once('@'));
    matches!((one, other), (Some(one), Some(other)) if one.0 == other.0 && one.1.eq_ignore_ascii_case(other.1))
}

fn lossy(bytes: &[u8]) -> String {
    oxim_base::text::shown(bytes).into_owned()
}

/// For a quoted field: what is not printable becomes an escape, quotes and backslashes get a backslash.
fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
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
    out
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
        assert_eq!(escaped(b"250 \"ok\"\n\x01"), "250 \\\"ok\\\"\\\\n\\001");
    }
}

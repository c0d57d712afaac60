//! `-bt` and `-bv`: shows what the routers make of an address. Manual section 5.1; the texts are Exim's.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use oxim_lang::context::Context;
use oxim_mail::address::{parse, plain_list};

use crate::address::{Address, AddressKind, HostDnssec, Refusal, RouteHost};
use crate::delivery::Delivery;
use crate::rewrite::Place;
use crate::router::worklist::{Decided, RouteRequest};
use crate::router::{Problem, Purpose};
use crate::verify::{Verified, VerifyOptions};

/// Which test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestMode {
    /// `-bt`: where it would be delivered.
    Route,
    /// `-bv`: whether it is good as a recipient.
    VerifyRecipient,
    /// `-bvs`: whether it is good as a sender.
    VerifySender,
}

/// How good the addresses were; the exit status is the number, and the worst counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitStatus {
    /// All are good.
    #[default]
    Good = 0,
    /// One cannot be resolved now.
    Deferred = 1,
    /// One fails.
    Failed = 2,
}

/// What is printed, and how good it was.
#[derive(Clone, Debug, Default)]
pub struct TestResult {
    /// Lines for standard output.
    pub text: String,
    /// The worst outcome.
    pub status: ExitStatus,
    /// The caller is not an administrator: reasons are not told.
    is_reticent: bool,
    /// Where mail would have gone already, with what was tested before.
    seen: HashSet<Vec<u8>>,
}

impl TestResult {
    /// A result for a caller of whom it is known whether he is an administrator: others are not told reasons.
    #[must_use]
    pub fn new(is_admin: bool) -> TestResult {
        TestResult { is_reticent: !is_admin, ..TestResult::default() }
    }

    fn reason(&self, problem: &Problem) -> String {
        if self.is_reticent { String::new() } else { format!(": {}", problem.text()) }
    }

    fn note(&mut self, status: ExitStatus) {
        self.status = self.status.max(status);
    }
}

impl Delivery {
    /// Tests the addresses of one command-line argument or input line, which is a list as in a header line, and adds to the result.
    ///
    /// `shows_route` (`-v -bv`) makes a verification print the route as `-bt` does.
    pub fn test_addresses(
        &self,
        context: &mut Context,
        argument: &[u8],
        mode: TestMode,
        shows_route: bool,
        result: &mut TestResult,
    ) {
        context.shows_log = mode == TestMode::Route;
        let items: Vec<&[u8]> = plain_list(argument).map(|item| item.raw).collect();
        let items = if items.is_empty() { vec![argument] } else { items };
        for item in items {
            match parse(item, &self.settings.syntax) {
                Err(error) => {
                    let _ = writeln!(result.text, "syntax error: {error}");
                    result.note(ExitStatus::Failed);
                }
                Ok(parsed) => {
                    let address = self.qualified(parsed.address, parsed.local_part_end.is_some(), mode);
                    let address = self.rewritten(context, address, mode, result);
                    match mode {
                        TestMode::Route => self.show_route(context, address, Purpose::Test, result),
                        TestMode::VerifyRecipient if shows_route => {
                            self.show_route(context, address, Purpose::VerifyRecipient, result);
                        }
                        TestMode::VerifySender if shows_route => {
                            self.show_route(context, address, Purpose::VerifySender, result);
                        }
                        TestMode::VerifyRecipient | TestMode::VerifySender => {
                            self.show_verification(context, &address, mode, result);
                        }
                    }
                }
            }
        }
    }

    fn qualified(&self, mut address: Vec<u8>, has_domain: bool, mode: TestMode) -> Vec<u8> {
        if !has_domain {
            address.push(b'@');
            address.extend_from_slice(match mode {
                TestMode::Route | TestMode::VerifyRecipient => &self.settings.qualify_recipient,
                TestMode::VerifySender => &self.settings.qualify_domain,
            });
        }
        address
    }

    fn rewritten(
        &self,
        context: &mut Context,
        address: Vec<u8>,
        mode: TestMode,
        result: &mut TestResult,
    ) -> Vec<u8> {
        let place = match mode {
            TestMode::Route | TestMode::VerifyRecipient => Place::EnvelopeTo,
            TestMode::VerifySender => Place::EnvelopeFrom,
        };
        let new = self.rewrite.address(context, place, &address, &self.rewrite_settings);
        if new != address {
            let _ = writeln!(result.text, "Address rewritten as: {}", String::from_utf8_lossy(&new));
        }
        new
    }

    fn show_verification(
        &self,
        context: &mut Context,
        address: &[u8],
        mode: TestMode,
        result: &mut TestResult,
    ) {
        let options = VerifyOptions { is_sender: mode == TestMode::VerifySender, ..VerifyOptions::default() };
        let shown = String::from_utf8_lossy(address).into_owned();
        let (line, status) = match self.verify_rewritten(context, address, options) {
            Verified::Accepted(_) => (format!("{shown} verified"), ExitStatus::Good),
            Verified::Refused(_, problem) => {
                (format!("{shown} failed to verify{}", result.reason(&problem)), ExitStatus::Failed)
            }
            Verified::Deferred(_, problem) => (
                format!("{shown} cannot be resolved at this time{}", result.reason(&problem)),
                ExitStatus::Deferred,
            ),
        };
        let _ = writeln!(result.text, "{line}");
        result.note(status);
    }

    fn show_route(&self, context: &mut Context, address: Vec<u8>, purpose: Purpose, result: &mut TestResult) {
        let request = RouteRequest::new(purpose);
        let routed = self.route_all(context, vec![Address::recipient(address, 0)], &request);
        let mut deliveries = Vec::new();
        for decided in &routed.decided {
            match decided {
                Decided::Deliver(address) if address.kind == AddressKind::Mail => deliveries.push(address),
                Decided::Deliver(address) => self.show_special(address, &mut result.text),
                Decided::Discarded(address) => {
                    let _ = writeln!(result.text, "mail to {} is discarded", address.text());
                }
                Decided::Failed(address, problem) => {
                    let what = if purpose == Purpose::Test { "is undeliverable" } else { "failed to verify" };
                    let told = result.reason(problem);
                    let _ = writeln!(result.text, "{} {what}{told}", address.text());
                    show_parents(address, &mut result.text);
                    result.note(ExitStatus::Failed);
                }
                Decided::Deferred(address, problem) => {
                    let told = result.reason(problem);
                    let _ = writeln!(result.text, "{} cannot be resolved at this time{told}", address.text());
                    show_parents(address, &mut result.text);
                    result.note(ExitStatus::Deferred);
                }
            }
        }
        // Exim shows local deliveries first, and both kinds from the last to the first.
        let is_local = |address: &&Address| address.transport.is_none_or(|id| self.is_local_transport(id));
        let (local, remote): (Vec<_>, Vec<_>) = deliveries.into_iter().rev().partition(is_local);
        for address in local.into_iter().chain(remote) {
            let is_new = result.seen.insert(address.unique.clone());
            self.show_delivery(address, !is_new, &mut result.text);
        }
    }

    fn show_special(&self, address: &Address, out: &mut String) {
        let parent = address.parent.as_deref().map(Address::text).unwrap_or_default();
        let text = special_text(address);
        match &address.refusal {
            Some(Refusal::Forbidden { setup: None }) => {
                let _ = writeln!(out, "{parent} -> {text} *** forbidden ***");
            }
            Some(Refusal::Setup(problem) | Refusal::Forbidden { setup: Some(problem) }) => {
                let _ = writeln!(
                    out,
                    "{parent} -> {text}\n*** Error in setting up pipe, file, or autoreply:\n{problem}"
                );
            }
            None => {
                let name = address.transport.map(|id| self.transport_name(id)).unwrap_or_default();
                let _ = writeln!(out, "{parent} -> {text}\n  transport = {name}");
            }
        }
    }

    fn show_delivery(&self, address: &Address, is_duplicate: bool, out: &mut String) {
        let mark = if is_duplicate { "   [duplicate, would not be delivered]" } else { "" };
        let _ = writeln!(out, "{}{mark}", address.text());
        show_parents(address, out);
        let router = address.router.and_then(|id| self.routers.get(id.0)).map_or("", |r| r.name.as_str());
        let transport = address.transport.map_or("unset", |id| self.transport_name(id));
        let _ = writeln!(out, "  router = {router}, transport = {transport}");
        let driver = address.transport.and_then(|id| self.transport(id)).map(|transport| &transport.driver);
        match &address.host_list {
            _ if driver.is_some_and(|driver| driver.overrides_hosts()) => {}
            Some(list) if address.hosts.is_empty() => {
                let host = RouteHost { name: list.to_string_lossy(), ..RouteHost::default() };
                show_hosts(&[host], out);
            }
            Some(_) | None => {
                let mut hosts = [&*address.hosts, &*address.unusable_hosts].concat();
                hosts.sort_by_key(|host| host.sort_key);
                show_hosts(&hosts, out);
            }
        }
    }
}

/// A pipe, a file or an autoreply, as Exim shows it.
fn special_text(address: &Address) -> Cow<'_, str> {
    match (address.kind, address.text()) {
        (AddressKind::Reply, text) => match text.trim_start_matches('>') {
            "" => "mail **bad-reply**".into(),
            recipients => format!("mail {recipients}").into(),
        },
        (_, text) => text,
    }
}

fn show_parents(address: &Address, out: &mut String) {
    for parent in address.ancestors() {
        let _ = writeln!(out, "    <-- {}", parent.text());
    }
}

/// In columns: names, addresses, then preference and port where they are known.
fn show_hosts(hosts: &[RouteHost], out: &mut String) {
    let shown = |host: &RouteHost| host.address.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
    let name_width = hosts.iter().map(|h| h.name.len()).max().unwrap_or(0);
    let address_width = hosts.iter().map(|h| shown(h).len()).max().unwrap_or(0).saturating_add(2);
    for host in hosts {
        // A host without an address: a host list of a local transport, or one that cannot be used now.
        let is_unusable = host.address.is_none() && host.mx.is_some();
        let is_shown = host.address.is_some() || is_unusable;
        let address = if is_shown { format!("[{}]", shown(host)) } else { String::new() };
        let _ = write!(out, "  host {:name_width$} {address:address_width$}", host.name);
        if let Some(preference) = host.mx {
            let _ = write!(out, " MX={preference}");
        }
        if let Some(port) = host.port {
            let _ = write!(out, " port={port}");
        }
        if host.dnssec == HostDnssec::Yes {
            out.push_str(" AD");
        }
        if is_unusable {
            out.push_str(" ** unusable **");
        }
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_in_columns_as_observed() {
        let host = |name: &str, port| RouteHost {
            name: name.to_owned(),
            address: name.parse().ok(),
            port,
            ..RouteHost::default()
        };
        let mut out = String::new();
        show_hosts(&[host("127.0.0.9", None), host("127.0.0.100", Some(26))], &mut out);
        assert_eq!(out, "  host 127.0.0.9   [127.0.0.9]  \n  host 127.0.0.100 [127.0.0.100] port=26\n");
        let mut out = String::new();
        show_hosts(&[host("a:b", None)], &mut out);
        assert_eq!(out, "  host a:b          \n");
    }

    #[test]
    fn the_worst_outcome_counts() {
        let mut result = TestResult::default();
        result.note(ExitStatus::Failed);
        result.note(ExitStatus::Deferred);
        assert_eq!(result.status as i32, 2);
    }
}

//! Addresses for the host lists of `manualroute`, and what routers do to addresses that were found.
//!
//! Manual sections 20.6 and 20.7; `translate_ip_address` and `dnssec_*_domains` in chapter 15.

use std::net::IpAddr;

use oxim_lang::expand::ExpandError;
use oxim_net::dns::Lookup;
use oxim_spool::log::Selector;

use super::dns_hosts::{self, HostFind, Wanted};
use super::{Generic, Problem, Purpose, Run, Verdict, error_code, matching, self_action};
use crate::address::{Address, HostDnssec, RouteHost};

/// What happens when a host does not exist (`host_find_failed`, `host_all_ignored`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The router declines.
    Decline,
    /// The address waits.
    Defer,
    /// It bounces.
    Fail,
    /// It waits, and the message is frozen.
    Freeze,
    /// The host is left out.
    Ignore,
    /// The next router is asked.
    Pass,
}

impl NotFound {
    /// Reads an option's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<NotFound> {
        Some(match text {
            "decline" => NotFound::Decline,
            "defer" => NotFound::Defer,
            "fail" => NotFound::Fail,
            "freeze" => NotFound::Freeze,
            "ignore" => NotFound::Ignore,
            "pass" => NotFound::Pass,
            _ => return None,
        })
    }

    fn word(self) -> &'static str {
        match self {
            NotFound::Decline => "decline",
            NotFound::Defer => "defer",
            NotFound::Fail => "fail",
            NotFound::Freeze => "freeze",
            NotFound::Ignore => "ignore",
            NotFound::Pass => "pass",
        }
    }

    fn verdict(self, code: i32, text: String) -> Verdict {
        let problem = Problem::new(code, text);
        match self {
            NotFound::Decline => Verdict::Decline(None),
            NotFound::Pass => Verdict::Pass(None),
            NotFound::Fail => Verdict::Fail(problem),
            NotFound::Freeze => Verdict::Defer(Problem { freeze: true, ..problem }),
            NotFound::Defer | NotFound::Ignore => Verdict::Defer(problem),
        }
    }
}

/// How names are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Method {
    /// Only the DNS.
    pub by_dns: bool,
    /// The hosts file first.
    pub by_name: bool,
    /// Only A records.
    pub ipv4_only: bool,
    /// A records before AAAA records.
    pub ipv4_prefer: bool,
}

enum Step {
    Hosts(Vec<RouteHost>, bool),
    Absent,
    Again,
    Insecure,
}

/// Replaces each item of a host list by its addresses.
///
/// # Errors
/// An option could not be evaluated. The inner `Err` is the router's verdict if there is no list to go on with.
pub fn look_up(
    run: &mut Run<'_>,
    address: &mut Address,
    items: Vec<RouteHost>,
    method: Method,
    find_failed: NotFound,
    all_ignored: NotFound,
) -> Result<Result<Vec<RouteHost>, Verdict>, Problem> {
    let mut out: Vec<RouteHost> = Vec::new();
    for item in items {
        let domain = address.domain.clone();
        match one(run, &item, method, &domain)? {
            Step::Hosts(hosts, true) => {
                // This host is no use behind others; in front of all, `self` decides.
                if !out.is_empty() {
                    break;
                }
                let Some(first) = hosts.first().cloned() else { break };
                match self_action::apply(run, address, &first) {
                    self_action::Applied::GoOn => out.extend(hosts),
                    self_action::Applied::Verdict(verdict) => return Ok(Err(verdict)),
                }
            }
            Step::Hosts(hosts, false) => out.extend(hosts),
            Step::Again if run.router.generic.pass_on_timeout => return Ok(Err(Verdict::Pass(None))),
            Step::Again => {
                let text = format!("host lookup for {} did not complete (DNS timeout?)", item.name);
                return Ok(Err(Verdict::Defer(Problem::new(error_code::DNS_DEFER, text))));
            }
            Step::Insecure => {
                let text = format!("host lookup for {} done insecurely", item.name);
                return Ok(Err(Verdict::Defer(Problem::new(error_code::HOST_LOOKUP, text))));
            }
            Step::Absent => {
                let of_mx = mx_item(&item.name);
                let name = of_mx.unwrap_or(&item.name);
                let is_logged =
                    run.purpose == Purpose::Deliver && run.has_selector(Selector::HostLookupFailed);
                if of_mx.is_none() && is_logged {
                    run.log(&format!("no IP address found for host {name}"));
                }
                if find_failed == NotFound::Ignore {
                    continue;
                }
                let text = format!("lookup of host \"{name}\" failed in {} router", run.router.name);
                return Ok(Err(find_failed.verdict(error_code::HOST_LOOKUP, text)));
            }
        }
    }
    if out.is_empty() {
        let text = format!(
            "lookup failed for all hosts in {} router: host_find_failed=ignore host_all_ignored={}",
            run.router.name,
            all_ignored.word()
        );
        return Ok(Err(all_ignored.verdict(error_code::UNKNOWN, text)));
    }
    // The list's order is the postmaster's; keys of MX lookups have done their work.
    for (host, place) in out.iter_mut().zip(0_i64..) {
        host.sort_key = place;
    }
    Ok(Ok(out))
}

/// The addresses of one item; the flag says that it is this host.
fn one(run: &mut Run<'_>, item: &RouteHost, method: Method, domain: &[u8]) -> Result<Step, Problem> {
    if let Some(name) = mx_item(&item.name) {
        return mx(run, item, name, method, domain);
    }
    if let Some(ip) = item.address {
        if matching::is_ignored(run, &item.name, ip)? {
            return Ok(Step::Absent);
        }
        let local = self_action::is_local(run.context, item)?;
        return Ok(Step::Hosts(vec![item.clone()], local));
    }
    addresses(run, item, method, domain)
}

fn mx_item(name: &str) -> Option<&str> {
    let (name, end) = name.split_at_checked(name.len().checked_sub(3)?)?;
    end.eq_ignore_ascii_case("/mx").then_some(name)
}

fn mx(
    run: &mut Run<'_>,
    item: &RouteHost,
    name: &str,
    method: Method,
    domain: &[u8],
) -> Result<Step, Problem> {
    let generic = &run.router.generic;
    let wanted = Wanted {
        ipv4_only: method.ipv4_only,
        ipv4_prefer: method.ipv4_prefer,
        needs_mx: true,
        dnssec_request: requests_dnssec(run, generic, domain)?,
        dnssec_require: requires_dnssec(run, generic, domain)?,
        ..Wanted::default()
    };
    Ok(match dns_hosts::find(run, name, &wanted)? {
        HostFind::Found { mut hosts, first_is_local, .. } => {
            for host in &mut hosts {
                host.port = item.port;
                host.group = item.group;
                host.mx_domain = Some(name.to_owned());
            }
            Step::Hosts(hosts, first_is_local)
        }
        HostFind::NotThere(_) => Step::Absent,
        HostFind::Again => Step::Again,
        HostFind::Insecure => Step::Insecure,
    })
}

fn addresses(run: &mut Run<'_>, item: &RouteHost, method: Method, domain: &[u8]) -> Result<Step, Problem> {
    let generic = &run.router.generic;
    let (request, require) = (requests_dnssec(run, generic, domain)?, requires_dnssec(run, generic, domain)?);
    let family = dns_hosts::family(run, &item.name, method.ipv4_only)?;
    let resolver = dns_hosts::resolver(run)?.with_dnssec(request || require);
    // Neither word given: the DNS, and the hosts file where the DNS says no.
    let mut lookup = if method.by_name {
        resolver.addresses_of(&item.name, family)
    } else {
        resolver.addresses_by_dns(&item.name, family)
    };
    if !method.by_name && !method.by_dns && matches!(lookup, Lookup::NotThere(_)) {
        lookup = resolver.addresses_of(&item.name, family);
    }
    let answer = match lookup {
        Lookup::Found(answer) => answer,
        Lookup::NotThere(_) => return Ok(Step::Absent),
        Lookup::AskAgain(_) if dns_hosts::again_is_absent(run, &item.name)? => return Ok(Step::Absent),
        Lookup::AskAgain(_) => return Ok(Step::Again),
    };
    if require && !answer.secure {
        return Ok(Step::Insecure);
    }
    let dnssec = match (request || require, answer.secure) {
        (false, _) => HostDnssec::Unknown,
        (true, true) => HostDnssec::Yes,
        (true, false) => HostDnssec::No,
    };
    let mut ips = answer.records;
    if method.ipv4_prefer {
        ips.sort_by_key(IpAddr::is_ipv6);
    }
    let mut hosts = Vec::new();
    let mut local = false;
    for ip in ips {
        if matching::is_ignored(run, &item.name, ip)? {
            continue;
        }
        let host = RouteHost { address: Some(ip), dnssec, ..item.clone() }.named_after(&answer.owner);
        local |= self_action::is_local(run.context, &host)?;
        hosts.push(host);
    }
    Ok(if hosts.is_empty() { Step::Absent } else { Step::Hosts(hosts, local) })
}

/// Whether `dnssec_request_domains` holds a domain.
///
/// # Errors
/// The list cannot be evaluated now.
pub fn requests_dnssec(run: &mut Run<'_>, generic: &Generic, domain: &[u8]) -> Result<bool, Problem> {
    matching::domain(generic.dnssec_request_domains.as_ref(), run.context, domain, "dnssec_request_domains")
}

/// Whether `dnssec_require_domains` holds a domain.
///
/// # Errors
/// The list cannot be evaluated now.
pub fn requires_dnssec(run: &mut Run<'_>, generic: &Generic, domain: &[u8]) -> Result<bool, Problem> {
    matching::domain(generic.dnssec_require_domains.as_ref(), run.context, domain, "dnssec_require_domains")
}

/// Applies `translate_ip_address` to every host: another address, or a name whose addresses take its place.
///
/// # Errors
/// The expansion failed, or the new host could not be looked up.
pub fn translate_addresses(run: &mut Run<'_>, hosts: &mut Vec<RouteHost>) -> Result<(), Problem> {
    let Some(template) = run.router.generic.translate_ip_address.clone() else {
        return Ok(());
    };
    let mut out = Vec::with_capacity(hosts.len());
    for host in hosts.drain(..) {
        let old = std::mem::replace(&mut run.context.delivery.host_address, host.address);
        let text = template.expand(run.context);
        run.context.delivery.host_address = old;
        match text {
            Err(ExpandError::Forced(_)) => out.push(host),
            Err(error) => {
                let source = String::from_utf8_lossy(template.source_bytes());
                let text = format!("failed to expand \"{source}\" for translate_ip_address: {error}");
                return Err(Problem::new(error_code::UNKNOWN, text));
            }
            Ok(text) => {
                let name = text.to_string_lossy();
                let ips = match name.parse() {
                    Ok(ip) => vec![ip],
                    Err(_) => named_addresses(run, &name)?,
                };
                out.extend(ips.into_iter().map(|ip| RouteHost { address: Some(ip), ..host.clone() }));
            }
        }
    }
    *hosts = out;
    Ok(())
}

fn named_addresses(run: &mut Run<'_>, name: &str) -> Result<Vec<IpAddr>, Problem> {
    let family = dns_hosts::family(run, name, false)?;
    match dns_hosts::resolver(run)?.addresses_of(name, family) {
        Lookup::Found(answer) => Ok(answer.records),
        Lookup::NotThere(_) | Lookup::AskAgain(_) => {
            let text = format!("host lookup for {name} failed in {} router", run.router.name);
            Err(Problem::new(error_code::HOST_LOOKUP, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mx_items_are_told_by_their_end() {
        assert_eq!(mx_item("p.q.r/MX"), Some("p.q.r"));
        assert_eq!(mx_item("p.q.r"), None);
        assert_eq!(mx_item("mx"), None);
    }

    #[test]
    fn the_words_of_host_find_failed() {
        for word in ["decline", "defer", "fail", "freeze", "ignore", "pass"] {
            assert_eq!(NotFound::parse(word).map(NotFound::word), Some(word));
        }
        assert_eq!(NotFound::parse("no"), None);
    }
}

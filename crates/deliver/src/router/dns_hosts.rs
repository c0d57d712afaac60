//! From a mail domain to hosts: SRV, MX and address records, in the order in which they are to be tried.
//!
//! Used by `dnslookup` and by the `/MX` items of `manualroute`. A server that does not answer is `Again`, never an
//! absence, unless an option says so. Manual chapter 17, section 13.8; RFC 5321 section 5.1, RFC 2782, RFC 7505.

use std::collections::HashSet;
use std::net::IpAddr;

use oxim_net::dns::{Answer, BlockingResolver, Family, Lookup, Mx, Srv};

use super::host_item::random_below;
use super::{Declined, Problem, Run, error_code, matching, self_action};
use crate::address::{HostDnssec, RouteHost};

/// What to ask for, and how.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The service of `check_srv`.
    pub service: Option<String>,
    /// Only IPv4 addresses.
    pub ipv4_only: bool,
    /// IPv4 addresses before IPv6 ones.
    pub ipv4_prefer: bool,
    /// The domain must have an MX or SRV record (`mx_domains`).
    pub needs_mx: bool,
    /// Failed SRV lookups count as "no such record".
    pub srv_may_fail: bool,
    /// Failed MX lookups count as "no such record".
    pub mx_may_fail: bool,
    /// RES_DEFNAMES.
    pub qualify_single: bool,
    /// RES_DNSRCH.
    pub search_parents: bool,
    /// Ask for the AD bit.
    pub dnssec_request: bool,
    /// And take nothing without it.
    pub dnssec_require: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostFind {
    /// Hosts, each with an address, in order.
    Found {
        /// Never empty.
        hosts: Vec<RouteHost>,
        /// Hosts that are named but have no address now.
        unusable: Vec<RouteHost>,
        /// The domain in full, after search domains.
        full_name: String,
        /// Whether the first host is this one.
        first_is_local: bool,
        /// Whether this host stood further down and was removed with all behind it.
        local_was_removed: bool,
    },
    /// There is nothing; the text, if any, says why.
    NotThere(Option<Declined>),
    /// No server could say.
    Again,
    /// The answers were not authenticated, and had to be.
    Insecure,
}

/// One host that a record names.
struct Candidate {
    name: String,
    preference: Option<u16>,
    port: Option<u16>,
    /// Order among candidates; lower first.
    key: i64,
    secure: bool,
}

enum Candidates {
    Some(Vec<Candidate>, String),
    NoService,
    NoDomain,
    NoRecords,
    Again,
    Insecure,
}

struct Finder<'a, 'b> {
    run: &'a mut Run<'b>,
    wanted: &'a Wanted,
    resolver: BlockingResolver,
}

/// Looks a domain up.
///
/// # Errors
/// There is no resolver, or an option could not be evaluated.
pub fn find(run: &mut Run<'_>, domain: &str, wanted: &Wanted) -> Result<HostFind, Problem> {
    let resolver = resolver(run)?
        .with_search(wanted.qualify_single, wanted.search_parents)
        .with_dnssec(wanted.dnssec_request || wanted.dnssec_require);
    let mut finder = Finder { run, wanted, resolver };
    match finder.candidates(domain)? {
        Candidates::NoService => {
            Ok(HostFind::NotThere(Some("an MX or SRV record indicated no SMTP service".into())))
        }
        Candidates::Again => Ok(HostFind::Again),
        Candidates::Insecure => Ok(HostFind::Insecure),
        Candidates::Some(candidates, full_name) => finder.resolve_all(candidates, full_name),
        Candidates::NoDomain => Ok(HostFind::NotThere(None)),
        Candidates::NoRecords if wanted.needs_mx => Ok(HostFind::NotThere(None)),
        Candidates::NoRecords => finder.by_address(domain),
    }
}

/// The resolver of this process.
///
/// # Errors
/// There is none here: the address has to wait.
pub fn resolver(run: &Run<'_>) -> Result<BlockingResolver, Problem> {
    run.context
        .services
        .surroundings
        .get()
        .and_then(|s| s.resolver.clone())
        .ok_or_else(|| Problem::new(error_code::HOST_LOOKUP, "no DNS resolver is available here"))
}

/// Which addresses are looked up for a host.
///
/// # Errors
/// `dns_ipv4_lookup` cannot be evaluated now.
pub fn family(run: &mut Run<'_>, host: &str, ipv4_only: bool) -> Result<Family, Problem> {
    let default = run.context.services.surroundings.get().map(|s| s.family).unwrap_or_default();
    let list = run.delivery.settings.dns_ipv4_lookup.as_ref();
    if ipv4_only || matching::domain(list, run.context, host.as_bytes(), "dns_ipv4_lookup")? {
        return Ok(Family::V4Only);
    }
    Ok(default)
}

/// Whether "ask again" counts as "not there" for a name (`dns_again_means_nonexist`).
///
/// # Errors
/// The list cannot be evaluated now.
pub fn again_is_absent(run: &mut Run<'_>, name: &str) -> Result<bool, Problem> {
    let list = run.delivery.settings.dns_again_means_nonexist.as_ref();
    matching::domain(list, run.context, name.as_bytes(), "dns_again_means_nonexist")
}

impl Finder<'_, '_> {
    fn candidates(&mut self, domain: &str) -> Result<Candidates, Problem> {
        if let Some(service) = &self.wanted.service {
            let name = format!("_{service}._tcp.{domain}");
            match self.resolver.srv(&name) {
                Lookup::Found(answer) => return Ok(self.srv_candidates(answer, domain)),
                Lookup::NotThere(_) => {}
                Lookup::AskAgain(_) if self.wanted.srv_may_fail || again_is_absent(self.run, &name)? => {}
                Lookup::AskAgain(_) => return Ok(Candidates::Again),
            }
        }
        Ok(match self.resolver.mx(domain) {
            Lookup::Found(answer) => self.mx_candidates(answer),
            Lookup::NotThere(_) => Candidates::NoRecords,
            Lookup::AskAgain(_) if self.wanted.mx_may_fail => Candidates::NoRecords,
            Lookup::AskAgain(_) if again_is_absent(self.run, domain)? => Candidates::NoDomain,
            Lookup::AskAgain(_) => Candidates::Again,
        })
    }

    fn mx_candidates(&self, answer: Answer<Vec<Mx>>) -> Candidates {
        if self.wanted.dnssec_require && !answer.secure {
            return Candidates::Insecure;
        }
        // RFC 7505: a lone "." says that there is no mail; among others it is just no host.
        let mut records: Vec<Mx> = answer.records;
        records.retain(|mx| !mx.exchange.is_empty());
        if records.is_empty() {
            return Candidates::NoService;
        }
        records.sort_by_key(|mx| mx.preference);
        let mut seen = HashSet::new();
        records.retain(|mx| seen.insert(mx.exchange.to_ascii_lowercase()));
        let candidates = records
            .into_iter()
            .map(|mx| Candidate {
                key: i64::from(mx.preference) * 1000 + i64::from(random_below(500)),
                name: mx.exchange,
                preference: Some(mx.preference),
                port: None,
                secure: answer.secure,
            })
            .collect();
        Candidates::Some(candidates, answer.name)
    }

    fn srv_candidates(&self, answer: Answer<Vec<Srv>>, domain: &str) -> Candidates {
        if self.wanted.dnssec_require && !answer.secure {
            return Candidates::Insecure;
        }
        let secure = answer.secure;
        let mut records = answer.records;
        records.retain(|srv| !srv.target.is_empty());
        if records.is_empty() {
            return Candidates::NoService;
        }
        let candidates = in_srv_order(records)
            .into_iter()
            .zip(0_i64..)
            .map(|(srv, place)| Candidate {
                key: place * 1000,
                name: srv.target,
                preference: Some(srv.priority),
                port: Some(srv.port),
                secure,
            })
            .collect();
        Candidates::Some(candidates, domain.to_owned())
    }

    /// No MX: the domain's own address records.
    fn by_address(&mut self, domain: &str) -> Result<HostFind, Problem> {
        let candidate =
            Candidate { name: domain.to_owned(), preference: None, port: None, key: 0, secure: true };
        match self.addresses(&candidate)? {
            Addresses::Some(hosts, full_name) => {
                let mut hosts = sorted(hosts);
                let mut first_is_local = false;
                // Any of its addresses being ours makes the host ours.
                for place in 0..hosts.len() {
                    let Some(host) = hosts.get(place).cloned() else { break };
                    if self_action::is_local(self.run.context, &host)? {
                        hosts.swap(0, place);
                        first_is_local = true;
                        break;
                    }
                }
                Ok(HostFind::Found {
                    hosts,
                    unusable: Vec::new(),
                    full_name,
                    first_is_local,
                    local_was_removed: false,
                })
            }
            Addresses::None | Addresses::Ignored => Ok(HostFind::NotThere(None)),
            Addresses::Again => Ok(HostFind::Again),
            Addresses::Insecure => Ok(HostFind::Insecure),
        }
    }

    fn resolve_all(&mut self, candidates: Vec<Candidate>, full_name: String) -> Result<HostFind, Problem> {
        let (mut hosts, mut unusable) = (Vec::new(), Vec::new());
        let (mut again, mut insecure, mut to_ip) = (false, false, false);
        for candidate in candidates {
            let is_barred =
                !self.run.delivery.settings.allow_mx_to_ip && candidate.name.parse::<IpAddr>().is_ok();
            to_ip |= is_barred;
            match if is_barred { Addresses::None } else { self.addresses(&candidate)? } {
                Addresses::Some(found, _) => {
                    hosts.extend(found);
                    continue;
                }
                Addresses::Ignored => continue,
                Addresses::None => {}
                Addresses::Again => again = true,
                Addresses::Insecure => insecure = true,
            }
            unusable.push(RouteHost {
                name: candidate.name,
                mx: candidate.preference,
                port: candidate.port,
                sort_key: candidate.key,
                ..RouteHost::default()
            });
        }
        if hosts.is_empty() {
            return Ok(match (again, insecure) {
                (true, _) => HostFind::Again,
                (false, true) => HostFind::Insecure,
                (false, false) => {
                    let mut declined = Declined::from("all relevant MX records point to non-existent hosts");
                    if to_ip {
                        declined.text.push_str(" or (invalidly) to IP addresses");
                        declined.told = Some(format!(
                            "It appears that the DNS operator for {full_name}\nhas installed an invalid MX record with an IP address\ninstead of a domain name on the right hand side."
                        ));
                    }
                    HostFind::NotThere(Some(declined))
                }
            });
        }
        self.without_us(sorted(hosts), unusable, full_name)
    }

    /// This host and all that are not preferred to it are no use: mail would go round in a circle.
    fn without_us(
        &mut self,
        mut hosts: Vec<RouteHost>,
        mut unusable: Vec<RouteHost>,
        full_name: String,
    ) -> Result<HostFind, Problem> {
        let (mut first_is_local, mut local_was_removed) = (false, false);
        let mut ours = None;
        for (place, host) in hosts.iter().enumerate() {
            if self_action::is_local(self.run.context, host)? {
                ours = Some((place, host.mx));
                break;
            }
        }
        if let Some((place, preference)) = ours {
            first_is_local = hosts.first().is_some_and(|first| first.mx == preference);
            if first_is_local {
                hosts.swap(0, place);
            } else {
                local_was_removed = true;
                hosts.retain(|host| host.mx < preference);
                unusable.retain(|host| host.mx < preference);
            }
        }
        Ok(HostFind::Found { hosts, unusable, full_name, first_is_local, local_was_removed })
    }

    fn addresses(&mut self, candidate: &Candidate) -> Result<Addresses, Problem> {
        let family = family(self.run, &candidate.name, self.wanted.ipv4_only)?;
        // An MX that is an address, under allow_mx_to_ip, is its own answer.
        let lookup = match candidate.name.parse() {
            Ok(ip) => return self.hosts_of(candidate, vec![ip], HostDnssec::Unknown, None),
            Err(_) => self.resolver.addresses_by_dns(&candidate.name, family),
        };
        match lookup {
            Lookup::Found(answer) => {
                let secure = answer.secure && candidate.secure;
                if self.wanted.dnssec_require && !secure {
                    return Ok(Addresses::Insecure);
                }
                let dnssec = match (self.wanted.dnssec_request || self.wanted.dnssec_require, secure) {
                    (false, _) => HostDnssec::Unknown,
                    (true, true) => HostDnssec::Yes,
                    (true, false) => HostDnssec::No,
                };
                let full_name = answer.name.clone();
                let mut found = self.hosts_of(candidate, answer.records, dnssec, Some(&answer.owner))?;
                if let Addresses::Some(_, name) = &mut found {
                    *name = full_name;
                }
                Ok(found)
            }
            Lookup::NotThere(_) => Ok(Addresses::None),
            Lookup::AskAgain(_) if again_is_absent(self.run, &candidate.name)? => Ok(Addresses::None),
            Lookup::AskAgain(_) => Ok(Addresses::Again),
        }
    }

    fn hosts_of(
        &mut self,
        candidate: &Candidate,
        ips: Vec<IpAddr>,
        dnssec: HostDnssec,
        owner: Option<&str>,
    ) -> Result<Addresses, Problem> {
        let mut hosts = Vec::new();
        for ip in ips {
            if matching::is_ignored(self.run, &candidate.name, ip)? {
                continue;
            }
            let goes_later = ip.is_ipv4() != self.wanted.ipv4_prefer;
            let host = RouteHost {
                name: candidate.name.clone(),
                address: Some(ip),
                port: candidate.port,
                mx: candidate.preference,
                sort_key: candidate.key.saturating_add(if goes_later { 500 } else { 0 }),
                dnssec,
                ..RouteHost::default()
            };
            hosts.push(match owner {
                Some(owner) => host.named_after(owner),
                None => host,
            });
        }
        Ok(if hosts.is_empty() { Addresses::Ignored } else { Addresses::Some(hosts, candidate.name.clone()) })
    }
}

enum Addresses {
    Some(Vec<RouteHost>, String),
    None,
    /// There are some, and `ignore_target_hosts` has them all.
    Ignored,
    Again,
    Insecure,
}

/// By rising key, the addresses of equal keys at random, no address twice.
fn sorted(mut hosts: Vec<RouteHost>) -> Vec<RouteHost> {
    hosts.sort_by_cached_key(|host| (host.sort_key, random_below(u32::MAX)));
    let mut seen = HashSet::new();
    hosts.retain(|host| seen.insert((host.address, host.port)));
    hosts
}

/// RFC 2782: by priority, and within one at random in proportion to the weights.
fn in_srv_order(mut records: Vec<Srv>) -> Vec<Srv> {
    records.sort_by_key(|srv| (srv.priority, srv.weight));
    let mut out: Vec<Srv> = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|srv| srv.priority) {
        let equal = records.iter().take_while(|srv| srv.priority == priority).count();
        let mut group: Vec<Srv> = records.drain(..equal).collect();
        while !group.is_empty() {
            let total: u32 = group.iter().map(|srv| u32::from(srv.weight)).sum();
            let chosen = random_below(total.saturating_add(1));
            let mut running = 0_u32;
            let place = group.iter().position(|srv| {
                running = running.saturating_add(u32::from(srv.weight));
                running >= chosen
            });
            out.push(group.remove(place.unwrap_or(0)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 25, target: target.to_owned() }
    }

    #[test]
    fn srv_priorities_come_first() {
        let order = in_srv_order(vec![srv(20, 9, "c"), srv(10, 0, "a"), srv(10, 65535, "b")]);
        assert_eq!(order.len(), 3);
        assert_eq!(order[2].target, "c");
        let heavy = (0..50)
            .filter(|_| in_srv_order(vec![srv(1, 0, "light"), srv(1, 65535, "heavy")])[0].target == "heavy");
        assert!(heavy.count() > 40);
    }

    #[test]
    fn an_address_is_tried_once() {
        let host = |key: i64, ip: &str| RouteHost {
            name: format!("h{key}"),
            address: ip.parse().ok(),
            sort_key: key,
            ..RouteHost::default()
        };
        let hosts = sorted(vec![host(2, "192.0.2.1"), host(1, "192.0.2.1"), host(3, "::1")]);
        assert_eq!(hosts.iter().map(|h| h.sort_key).collect::<Vec<_>>(), vec![1, 3]);
    }
}

//! Which hosts a batch goes to: the router's, the transport's own, the fallback ones (manual sections 30.4 and 20.5).

use std::net::IpAddr;

use oxim_base::Text;
use oxim_lang::context::Turnaround;
use oxim_lang::expand::ExpandError;
use oxim_lang::list::{List, Subject};
use oxim_net::dns::{Family, Lookup};

use super::{Target, Work};
use crate::address::{HostDnssec, RouteHost};
use crate::router::{host_item, self_action};
use crate::transport::{DeliveryError, Driver, error_code};

/// The port of on-demand mail relay (RFC 2645), service `odmr`.
const ODMR_PORT: u16 = 366;

impl Work<'_> {
    /// The hosts that are tried first.
    ///
    /// # Errors
    /// There are none, or they cannot be found now.
    pub(super) fn first_hosts(&mut self) -> Result<Vec<Target>, DeliveryError> {
        let routed = self
            .batch
            .addresses
            .first()
            .filter(|a| super::is_mail(a.kind))
            .map(|a| (a.hosts.clone(), a.is_randomized));
        let (routed, is_randomized) = routed.unwrap_or_default();
        let is_overridden = self.smtp.overrides_hosts();
        if !routed.is_empty() && !is_overridden {
            let shuffles =
                self.smtp.randomizes && !is_randomized && routed.iter().all(|host| host.mx.is_none());
            return self.targets(routed.to_vec(), shuffles, false);
        }
        let own = self.own_hosts()?;
        let shuffles = self.smtp.randomizes;
        self.targets(own, shuffles, true)
    }

    /// The hosts that are tried when all others said "not now".
    ///
    /// # Errors
    /// They cannot be found now.
    pub(super) fn fallback_hosts(&mut self) -> Result<Vec<Target>, DeliveryError> {
        let routed = self.batch.addresses.first().map(|a| a.fallback_hosts.to_vec()).unwrap_or_default();
        let hosts = if routed.is_empty() { self.smtp.fallback_hosts.clone() } else { routed };
        if hosts.is_empty() {
            return Ok(Vec::new());
        }
        let shuffles = self.smtp.randomizes;
        self.targets(hosts, shuffles, true)
    }

    fn fault(&self, text: String) -> DeliveryError {
        DeliveryError { is_for_panic_log: true, ..DeliveryError::new(error_code::UNKNOWN, text) }
    }

    fn own_hosts(&mut self) -> Result<Vec<RouteHost>, DeliveryError> {
        let name = &self.transport.name;
        let Some(template) = &self.smtp.hosts else {
            return Err(self.fault(format!("{name} transport called with no hosts set")));
        };
        let text = match template.expand(self.context) {
            Ok(text) => text,
            Err(error) => {
                let text = format!(
                    "failed to expand list of hosts \"{}\" in {name} transport: {error}",
                    template.source()
                );
                let is_for_panic_log = !matches!(error, ExpandError::Defer(_));
                return Err(DeliveryError {
                    is_for_panic_log,
                    ..DeliveryError::new(error_code::UNKNOWN, text)
                });
            }
        };
        let hosts = host_item::list(text.as_bytes()).hosts;
        if hosts.is_empty() {
            Err(self.fault(format!("{name} transport has empty hosts setting")))
        } else {
            Ok(hosts)
        }
    }

    /// Gives each host its addresses and its port. `checks_local`: a host that is this one defers the whole batch.
    fn targets(
        &mut self,
        mut hosts: Vec<RouteHost>,
        shuffles: bool,
        checks_local: bool,
    ) -> Result<Vec<Target>, DeliveryError> {
        if shuffles {
            host_item::shuffle_groups(&mut hosts);
        }
        let port = self.port(hosts.first())?;
        let mut targets = Vec::with_capacity(hosts.len());
        let mut absent = None;
        for host in hosts {
            let (host, addresses) = match host.address {
                Some(address) => (host, vec![address]),
                None => match self.look_up(&host)? {
                    Some(found) => found,
                    None => {
                        absent.get_or_insert(host.name);
                        continue;
                    }
                },
            };
            for address in addresses {
                let resolved = RouteHost { address: Some(address), ..host.clone() };
                if checks_local && !self.smtp.allow_localhost && self.is_local(&resolved)? {
                    let text =
                        format!("{} transport found host {} to be local", self.transport.name, host.name);
                    return Err(DeliveryError::new(error_code::HOST_IS_LOCAL, text));
                }
                targets.push(Target::new(&resolved, address, port));
            }
        }
        match absent {
            Some(name) if targets.is_empty() => Err(unknown_host(&name)),
            _ => Ok(targets),
        }
    }

    fn is_local(&mut self, host: &RouteHost) -> Result<bool, DeliveryError> {
        self_action::is_local(self.context, host)
            .map_err(|problem| DeliveryError::new(problem.code, problem.text()))
    }

    fn is_in_domains(&mut self, list: Option<&List>, name: &str) -> bool {
        let name = Text::tainted(name.as_bytes());
        list.is_some_and(|list| {
            list.matches(self.context, &Subject::Domain(&name)).is_ok_and(|found| found.is_yes())
        })
    }

    /// The addresses of a host, and the host as it is known then; `None` if it has none.
    fn look_up(&mut self, host: &RouteHost) -> Result<Option<(RouteHost, Vec<IpAddr>)>, DeliveryError> {
        let Some(surroundings) = self.delivery.services.surroundings.get().cloned() else {
            return Err(unknown_host(&host.name));
        };
        let Some(resolver) = surroundings.resolver.clone() else { return Err(unknown_host(&host.name)) };
        let requires = self.is_in_domains(self.smtp.dnssec_require.as_ref(), &host.name);
        let requests = requires || self.is_in_domains(self.smtp.dnssec_request.as_ref(), &host.name);
        let resolver =
            resolver.with_search(self.smtp.qualify_single, self.smtp.search_parents).with_dnssec(requests);
        let family: Family = surroundings.family;
        let mut answer = if self.smtp.by_name {
            resolver.addresses_of(&host.name, family)
        } else {
            resolver.addresses_by_dns(&host.name, family)
        };
        if matches!(answer, Lookup::NotThere(_)) {
            answer = resolver.addresses_of(&host.name, family);
        }
        match answer {
            Lookup::Found(answer) if requires && !answer.secure => Err(unknown_host(&host.name)),
            Lookup::Found(answer) if answer.secure => {
                let host = RouteHost { dnssec: HostDnssec::Yes, ..host.clone() };
                Ok(Some((host.named_after(&answer.owner), answer.records)))
            }
            Lookup::Found(answer) => Ok(Some((host.clone(), answer.records))),
            Lookup::NotThere(_) => Ok(None),
            Lookup::AskAgain(_) => Err(unknown_host(&host.name)),
        }
    }

    /// The transport's port. It may depend on the host, of which the first one is shown to it.
    pub(super) fn port(&mut self, first: Option<&RouteHost>) -> Result<u16, DeliveryError> {
        if let Some(host) = first {
            self.context.delivery.host = Some(Text::tainted(host.name.clone()));
            self.context.delivery.host_address = host.address;
        }
        if self.smtp.has_default_port && self.context.turnaround == Some(Turnaround::Customer) {
            return Ok(ODMR_PORT);
        }
        let name = &self.transport.name;
        let text = self.smtp.port.expand(self.context).map_err(|error| {
            let text = format!("failed to expand \"port\" option for {name} transport: {error}");
            DeliveryError::new(error_code::UNKNOWN, text)
        })?;
        let text = text.to_string_lossy();
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return text
                .trim()
                .parse()
                .map_err(|_| self.fault(format!("invalid TCP port \"{text}\" for {name} transport")));
        }
        service_port(text.trim())
            .ok_or_else(|| self.fault(format!("TCP port \"{text}\" is not defined for {name} transport")))
    }
}

fn unknown_host(name: &str) -> DeliveryError {
    DeliveryError::new(error_code::HOST_LOOKUP, format!("failed to lookup IP address for {name}"))
}

/// The port of a service: those of mail without a look at /etc/services, which may lack them.
fn service_port(name: &str) -> Option<u16> {
    match name {
        "smtp" => Some(25),
        "lmtp" => Some(24),
        "smtps" | "submissions" | "ssmtp" => Some(465),
        "submission" => Some(587),
        _ => {
            let services = std::fs::read_to_string("/etc/services").ok()?;
            services.lines().find_map(|line| {
                let mut words = line.split('#').next()?.split_ascii_whitespace();
                let (first, port) = (words.next()?, words.next()?);
                let number = port.strip_suffix("/tcp")?;
                (first == name || words.any(|alias| alias == name)).then(|| number.parse().ok())?
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_ports() {
        assert_eq!(service_port("smtp"), Some(25));
        assert_eq!(service_port("submissions"), Some(465));
        assert_eq!(service_port("nosuchport"), None);
    }
}

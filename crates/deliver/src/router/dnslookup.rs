//! The `dnslookup` router: the hosts come from the domain's SRV, MX or address records. Manual chapter 17.

use oxim_lang::config::{ConfigError, DriverRow, rows};
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::{List, ListKind, split};

use super::dns_hosts::{self, HostFind, Wanted};
use super::{
    Build, Inputs, Problem, Purpose, RouterDriver, RouterKind, Run, TransportUse, Verdict, error_code,
    host_list, matching, prepare, self_action,
};
use crate::address::Address;

/// The row.
pub static DNSLOOKUP: RouterKind = RouterKind {
    row: &DriverRow { name: "dnslookup", options: rows::ROUTER_DNSLOOKUP },
    transport: TransportUse::Required,
    build,
};

struct DnsLookup {
    check_secondary_mx: bool,
    check_srv: Option<Template>,
    fail_defer_domains: Option<List>,
    ipv4_only: Option<Template>,
    ipv4_prefer: Option<Template>,
    mx_domains: Option<List>,
    mx_fail_domains: Option<List>,
    srv_fail_domains: Option<List>,
    qualify_single: bool,
    search_parents: bool,
    rewrite_headers: bool,
    same_domain_copy_routing: bool,
    widen_domains: Vec<String>,
}

fn build(build: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    let options = &build.instance.options;
    let list = |name: &str| options.string(name).map(|text| List::compile(ListKind::Domain, text));
    Ok(Box::new(DnsLookup {
        check_secondary_mx: options.bool("check_secondary_mx"),
        check_srv: options.template("check_srv"),
        fail_defer_domains: list("fail_defer_domains"),
        ipv4_only: options.template("ipv4_only"),
        ipv4_prefer: options.template("ipv4_prefer"),
        mx_domains: list("mx_domains"),
        mx_fail_domains: list("mx_fail_domains"),
        srv_fail_domains: list("srv_fail_domains"),
        qualify_single: options.bool("qualify_single"),
        search_parents: options.bool("search_parents"),
        rewrite_headers: options.bool("rewrite_headers"),
        same_domain_copy_routing: options.bool("same_domain_copy_routing"),
        widen_domains: split(options.string("widen_domains").unwrap_or_default().as_bytes())
            .map(|item| String::from_utf8_lossy(&item).trim_start_matches('.').to_owned())
            .filter(|item| !item.is_empty())
            .collect(),
    }))
}

impl RouterDriver for DnsLookup {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        self.try_route(run, address).unwrap_or_else(Verdict::Defer)
    }

    fn inputs(&self) -> Option<Inputs<'_>> {
        let lists =
            [&self.fail_defer_domains, &self.mx_domains, &self.mx_fail_domains, &self.srv_fail_domains];
        let templates = [&self.check_srv, &self.ipv4_only, &self.ipv4_prefer];
        Some(Inputs {
            lists: lists.into_iter().flatten().collect(),
            templates: templates.into_iter().flatten().collect(),
            are_hosts_shuffled: true,
        })
    }

    fn copies_routing_by_domain(&self) -> bool {
        self.same_domain_copy_routing
    }
}

impl DnsLookup {
    fn try_route(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Verdict, Problem> {
        let domain = String::from_utf8_lossy(&address.domain).into_owned();
        if !run.delivery.settings.dns_names.allow(&domain) {
            return Ok(Verdict::Decline(Some(
                format!("mail domain \"{domain}\" is syntactically invalid").into(),
            )));
        }
        let service = match &self.check_srv {
            None => None,
            Some(template) => match template.expand(run.context) {
                Ok(text) => Some(text.to_string_lossy()).filter(|text| !text.is_empty()),
                Err(ExpandError::Forced(_)) => None,
                Err(error) => return Err(failed(run, template, &error)),
            },
        };
        let mut last = HostFind::NotThere(None);
        for (place, name) in self.names(run.purpose, &domain).into_iter().enumerate() {
            let wanted = self.wanted(run, &name, service.clone())?;
            last = dns_hosts::find(run, &name, &wanted)?;
            match &last {
                HostFind::NotThere(_) => {}
                HostFind::Found { full_name, .. } => {
                    let full_name =
                        if place > 0 && !is_longer(full_name, &name) { name } else { full_name.clone() };
                    if is_longer(&full_name, &domain) {
                        return Ok(Verdict::Reroute {
                            domain: full_name.to_ascii_lowercase().into_bytes(),
                            rewrite_headers: self.rewrite_headers,
                        });
                    }
                    break;
                }
                HostFind::Again | HostFind::Insecure => break,
            }
        }
        self.judge(run, address, last)
    }

    /// The domain, then its widened forms: not for senders that are verified, unless headers stay as they are.
    fn names(&self, purpose: Purpose, domain: &str) -> Vec<String> {
        let mut names = vec![domain.to_owned()];
        if purpose != Purpose::VerifySender || !self.rewrite_headers {
            names.extend(self.widen_domains.iter().map(|end| format!("{domain}.{end}")));
        }
        names
    }

    fn wanted(&self, run: &mut Run<'_>, domain: &str, service: Option<String>) -> Result<Wanted, Problem> {
        let generic = &run.router.generic;
        let name = domain.as_bytes();
        Ok(Wanted {
            service,
            ipv4_only: is_on(run, self.ipv4_only.as_ref())?,
            ipv4_prefer: is_on(run, self.ipv4_prefer.as_ref())?,
            needs_mx: matching::domain(self.mx_domains.as_ref(), run.context, name, "mx_domains")?,
            srv_may_fail: matching::domain(
                self.srv_fail_domains.as_ref(),
                run.context,
                name,
                "srv_fail_domains",
            )?,
            mx_may_fail: matching::domain(
                self.mx_fail_domains.as_ref(),
                run.context,
                name,
                "mx_fail_domains",
            )?,
            qualify_single: self.qualify_single,
            search_parents: self.search_parents,
            dnssec_request: host_list::requests_dnssec(run, generic, name)?,
            dnssec_require: host_list::requires_dnssec(run, generic, name)?,
        })
    }

    fn judge(&self, run: &mut Run<'_>, address: &mut Address, found: HostFind) -> Result<Verdict, Problem> {
        let (mut hosts, first_is_local, local_was_removed) = match found {
            HostFind::Found { hosts, unusable, first_is_local, local_was_removed, .. } => {
                address.unusable_hosts = unusable.into();
                (hosts, first_is_local, local_was_removed)
            }
            HostFind::NotThere(text) => {
                let domain = &address.domain;
                let list = self.fail_defer_domains.as_ref();
                if matching::domain(list, run.context, domain, "fail_defer_domains")? {
                    let text = "missing MX, or all MXs point to missing A records, and defer requested";
                    return Ok(Verdict::Defer(Problem::new(error_code::UNKNOWN, text)));
                }
                return Ok(Verdict::Decline(text));
            }
            HostFind::Again if run.router.generic.pass_on_timeout => return Ok(Verdict::Pass(None)),
            HostFind::Again => {
                return Ok(Verdict::Defer(Problem::new(error_code::UNKNOWN, "host lookup did not complete")));
            }
            HostFind::Insecure => {
                return Ok(Verdict::Defer(Problem::new(error_code::UNKNOWN, "host lookup done insecurely")));
            }
        };
        if first_is_local && let Some(first) = hosts.first().cloned() {
            match self_action::apply(run, address, &first) {
                self_action::Applied::GoOn => {}
                self_action::Applied::Verdict(verdict) => return Ok(verdict),
            }
        }
        if self.check_secondary_mx && !local_was_removed {
            return Ok(Verdict::Decline(None));
        }
        host_list::translate_addresses(run, &mut hosts)?;
        address.hosts = hosts.into();
        prepare::for_delivery(run, address, None)?;
        Ok(Verdict::Deliver)
    }
}

/// Whether a lookup made the name longer: by a search domain or by widening. A wildcard's own name is no longer name.
fn is_longer(found: &str, asked: &str) -> bool {
    !found.starts_with('*') && found.len() > asked.len() && !found.eq_ignore_ascii_case(asked)
}

/// An expanded option that is on unless it is empty, 0, no or false.
fn is_on(run: &mut Run<'_>, template: Option<&Template>) -> Result<bool, Problem> {
    let Some(template) = template else { return Ok(false) };
    match template.expand(run.context) {
        Ok(text) => Ok(!matches!(
            text.as_bytes().trim_ascii().to_ascii_lowercase().as_slice(),
            b"" | b"0" | b"no" | b"false"
        )),
        Err(ExpandError::Forced(_)) => Ok(false),
        Err(error) => Err(failed(run, template, &error)),
    }
}

fn failed(run: &Run<'_>, template: &Template, error: &ExpandError) -> Problem {
    let source = String::from_utf8_lossy(template.source_bytes());
    let text = format!("{} router: failed to expand \"{source}\": {error}", run.router.name);
    Problem::new(error_code::UNKNOWN, text)
}

//! Whether a router decides by nothing of an address but its domain.
//!
//! That is found out when the configuration is read. A message to many asks such routers once for each domain: what they say of one
//! recipient holds for the others. In doubt a router is asked for each address.

use oxim_lang::config::{Config, Switch};
use oxim_lang::expand::Template;
use oxim_lang::list::List;

use super::Generic;
use super::generic::BmiConditions;
use crate::address::RouteHost;
use crate::delivery::Settings;

/// Variables and items that say the same of all addresses of a domain.
const SAME_FOR_A_DOMAIN: [&[u8]; 6] = [b"domain", b"domain_data", b"value", b"lookup", b"lc", b"uc"];

/// What a driver's decision is made of, beside the domain and the DNS.
#[derive(Default)]
pub struct Inputs<'a> {
    /// Lists in which domains or hosts are looked for.
    pub lists: Vec<&'a List>,
    /// Options that are expanded.
    pub templates: Vec<&'a Template>,
    /// Hosts of one preference come in another order each time.
    pub are_hosts_shuffled: bool,
}

/// What follows from a router's options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByDomain {
    /// Its `domains` hold all addresses of a domain, or none.
    pub chooses: bool,
    /// What it says of addresses that go to a remote transport holds for all addresses of the domain.
    pub decides: bool,
    are_hosts_shuffled: bool,
}

impl ByDomain {
    /// Looks at the options of a router. `inputs` is what its driver says of its own; none if it looks at whole addresses.
    #[must_use]
    pub fn of(
        generic: &Generic,
        inputs: Option<Inputs<'_>>,
        settings: &Settings,
        config: &Config,
    ) -> ByDomain {
        let is_fixed = |list: &&List| list.is_fixed_in(config);
        let chooses = generic.domains.iter().all(|list| is_fixed(&list));
        let Some(inputs) = inputs else { return ByDomain { chooses, ..ByDomain::default() } };
        let mut lists = [
            &generic.senders,
            &generic.ignore_target_hosts,
            &generic.dnssec_request_domains,
            &generic.dnssec_require_domains,
            &settings.dns_ipv4_lookup,
            &settings.dns_again_means_nonexist,
        ]
        .into_iter()
        .flatten()
        .chain(inputs.lists);
        let mut templates =
            [&generic.condition, &generic.transport].into_iter().flatten().chain(inputs.templates);
        let decides = chooses
            && !looks_at_more(generic)
            && lists.all(|list| is_fixed(&list))
            && templates.all(is_of_domain)
            // What fails in the DNS is an event for each address.
            && config.main.event_action.is_none();
        ByDomain { chooses, decides, are_hosts_shuffled: inputs.are_hosts_shuffled }
    }

    /// Whether another address of the domain would have these hosts in this order. A message that goes in several parts is to be shared
    /// out among servers of one preference.
    #[must_use]
    pub fn keeps_order(&self, hosts: &[RouteHost]) -> bool {
        hosts.array_windows().all(|[one, next]| match (one.mx, next.mx) {
            (None, None) if !self.are_hosts_shuffled => true,
            (this, that) if this != that => true,
            // A server's addresses of either family, one each: those of one family stand before those of the other.
            _ => one.name == next.name && is_ipv4(one) != is_ipv4(next),
        })
    }
}

fn is_ipv4(host: &RouteHost) -> Option<bool> {
    host.address.map(|address| address.is_ipv4())
}

/// Generic options that look at the local part, or leave their mark on what is propagated.
fn looks_at_more(generic: &Generic) -> bool {
    !generic.prefixes.is_empty()
        || !generic.suffixes.is_empty()
        || generic.local_parts.is_some()
        || generic.check_local_user
        || !generic.require_files.is_empty()
        || generic.bmi != BmiConditions::default()
        || generic.debug_print.is_some()
        || !generic.variables.is_empty()
        || generic.address_data.is_some()
        || generic.errors_to.is_some()
        || generic.changes_headers()
        || generic.translate_ip_address.is_some()
        || generic.router_home_directory.is_some()
        || [&generic.unseen, &generic.more].into_iter().any(|switch| matches!(switch, Switch::Expanded(_)))
}

/// Whether a string comes to the same for all addresses of a domain. Only what surely does is taken for it: what else has a dollar,
/// or is `def:` something, may be about the local part.
fn is_of_domain(template: &Template) -> bool {
    let source = template.source_bytes();
    let is_same = |at: usize| {
        let rest = source.get(at.saturating_add(1)..).unwrap_or_default();
        let rest = rest.strip_prefix(b"{").unwrap_or(rest);
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let name = rest.get(..length).unwrap_or_default();
        let is_capture = name.first().is_some_and(u8::is_ascii_digit);
        is_capture || name.starts_with(b"quote_") || SAME_FOR_A_DOMAIN.contains(&name)
    };
    template.constant().is_some() || memchr::memchr_iter(b'$', source).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_about_the_domain_alone() {
        let is_of_domain = |source| is_of_domain(&Template::compile(source));
        for source in [
            "mail.test.ex",
            "$domain",
            "${domain}::587 byname",
            "${lookup{$domain}lsearch{/etc/routes}{$value}fail}",
        ] {
            assert!(is_of_domain(source), "{source}");
        }
        for source in [
            "$local_part.$domain",
            "${if def:local_part{a}{b}}",
            "${lookup{$local_part@$domain}lsearch{/x}}",
            "${randint:9}.test.ex",
            "$domainless",
        ] {
            assert!(!is_of_domain(source), "{source}");
        }
    }

    #[test]
    fn servers_of_one_preference_are_drawn_for_each_address() {
        let host = |name: &str, address: &str, mx| RouteHost {
            name: name.to_owned(),
            address: address.parse().ok(),
            mx,
            ..RouteHost::default()
        };
        let [listed, drawn] =
            [false, true].map(|are_hosts_shuffled| ByDomain { are_hosts_shuffled, ..ByDomain::default() });
        let pair = |mx: Option<u16>| [host("a", "192.0.2.1", mx), host("b", "192.0.2.2", mx)];
        assert!(listed.keeps_order(&pair(None)));
        assert!(!drawn.keeps_order(&pair(None)));
        assert!(!listed.keeps_order(&pair(Some(5))));
        assert!(drawn.keeps_order(&[host("a", "192.0.2.1", Some(5)), host("b", "192.0.2.2", Some(6))]));
        assert!(drawn.keeps_order(&[host("a", "2001:db8::1", Some(5)), host("a", "192.0.2.1", Some(5))]));
    }
}

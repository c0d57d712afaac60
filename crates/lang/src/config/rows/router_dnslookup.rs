//! Options of the dnslookup router (manual chapter 17).

use crate::config::options::OptionKind::{Bool, DomainList, Str, StringList};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of dnslookup.
pub static ROUTER_DNSLOOKUP: &[OptionRow] = &[
    row(
        "check_secondary_mx",
        Bool,
        "false",
        Works,
        "only take domains for which this host is a secondary MX",
    ),
    row("check_srv", Str, "", Works, "look for SRV records of this service"),
    row("fail_defer_domains", DomainList, "", Works, "domains where a failure is a deferral"),
    row("ipv4_only", Str, "", Works, "look up IPv4 addresses only"),
    row("ipv4_prefer", Str, "", Works, "put IPv4 addresses first"),
    row("mx_domains", DomainList, "", Works, "domains that must have MX records"),
    row("mx_fail_domains", DomainList, "", Works, "domains where a failing MX lookup is no host"),
    row("qualify_single", Bool, "true", Works, "add the default domain to single names"),
    row("rewrite_headers", Bool, "true", Works, "rewrite header lines when the domain was completed"),
    row("same_domain_copy_routing", Bool, "false", Works, "route a domain once for all its local parts"),
    row("search_parents", Bool, "false", Works, "look in parent domains"),
    row("srv_fail_domains", DomainList, "", Works, "domains where a failing SRV lookup is no host"),
    row("widen_domains", StringList, "", Works, "domains added to names that are not found"),
];

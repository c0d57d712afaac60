//! Options of the manualroute router (manual chapter 20).

use crate::config::options::OptionKind::{Bool, ListBy, Str};
use crate::config::options::Status::Works;
use crate::config::options::{OptionRow, row};

/// Private options of manualroute.
pub static ROUTER_MANUALROUTE: &[OptionRow] = &[
    row("host_all_ignored", Str, "defer", Works, "what is done when ignore_target_hosts leaves nothing"),
    row("host_find_failed", Str, "freeze", Works, "what is done when a host is not found"),
    row("hosts_randomize", Bool, "false", Works, "shuffle the hosts"),
    row("route_data", Str, "", Works, "host list for the domain"),
    row("route_list", ListBy(';'), "", Works, "rules that give a host list for a domain"),
    row("same_domain_copy_routing", Bool, "false", Works, "route a domain once for all its local parts"),
];

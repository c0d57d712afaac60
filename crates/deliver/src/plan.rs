//! Groups routed addresses into batches: which addresses one run of a transport takes (manual chapter 25 and section 30.1).
//!
//! Local transports take one address at a time unless `batch_max` says more; remote ones take all addresses that go to
//! the same hosts with the same sender and header changes, up to `max_rcpt`.

use std::collections::HashMap;

use crate::address::{Address, AddressKind, RouteHost};
use crate::transport::Transport;

/// Addresses for one run of one transport.
pub struct Group {
    /// Index of the transport in the configuration.
    pub transport: usize,
    /// The addresses, in the order in which they were routed.
    pub addresses: Vec<Address>,
    /// The `batch_id` that they share.
    pub batch_id: BatchId,
    mixes_domains: bool,
}

/// What `plan` needs to know of each address beyond the address itself.
pub struct Routed {
    /// The address.
    pub address: Address,
    /// Its transport's `batch_id`.
    pub batch_id: BatchId,
    /// Addresses of other domains may go with it.
    pub mixes_domains: bool,
}

/// What `batch_id` says of an address.
pub enum BatchId {
    /// The option is not set.
    Unset,
    /// Its expansion.
    Is(Vec<u8>),
    /// It could not be expanded: the address goes alone.
    Failed,
}

impl BatchId {
    fn allows(&self, other: &BatchId) -> bool {
        match (self, other) {
            (BatchId::Unset, BatchId::Unset) => true,
            (BatchId::Is(one), BatchId::Is(other)) => one == other,
            (BatchId::Unset | BatchId::Is(_) | BatchId::Failed, _) => false,
        }
    }
}

/// Makes the groups, local ones first. `is_for_caller`: one transaction must do, so that `max_rcpt` does not count.
#[must_use]
pub fn plan(
    routed: impl Iterator<Item = Routed>,
    transports: &[Transport],
    is_for_caller: bool,
) -> (Vec<Group>, Vec<Group>) {
    let (mut local, mut remote): (Vec<Group>, Vec<Group>) = (Vec::new(), Vec::new());
    // Which group the latest address of a domain went into: the next one most likely goes there too.
    let mut latest: HashMap<Vec<u8>, usize> = HashMap::new();
    for Routed { address, batch_id, mixes_domains } in routed {
        let Some((index, transport)) =
            address.transport.and_then(|id| transports.get(id.0).map(|t| (id.0, t)))
        else {
            continue;
        };
        let groups = if transport.driver.is_local() { &mut local } else { &mut remote };
        let limit = if is_for_caller { 0 } else { addresses_max(transport, &address) };
        let fits = |group: &Group| {
            group.transport == index
                && (limit == 0 || group.addresses.len() < limit)
                && group.batch_id.allows(&batch_id)
                && group.addresses.first().is_some_and(|first| {
                    go_together(transport, first, &address, group.mixes_domains && mixes_domains)
                })
        };
        let near = latest.get_mut(&address.domain);
        let near_place = near.as_deref().copied().filter(|place| groups.get(*place).is_some_and(&fits));
        let place = near_place.or_else(|| groups.iter().position(&fits)).unwrap_or(groups.len());
        match near {
            Some(near) => *near = place,
            None => {
                latest.insert(address.domain.clone(), place);
            }
        }
        match groups.get_mut(place) {
            Some(group) => group.addresses.push(address),
            None => {
                groups.push(Group { transport: index, addresses: vec![address], batch_id, mixes_domains })
            }
        }
    }
    (local, remote)
}

/// Files, directories and replies are never batched; pipes only where `batch_max` allows it; nothing where an option names
/// `$local_part`.
fn addresses_max(transport: &Transport, address: &Address) -> usize {
    if transport.driver.is_local() && transport.generic.mentions.local_part {
        return 1;
    }
    match address.kind {
        AddressKind::File | AddressKind::Directory | AddressKind::Reply => 1,
        AddressKind::Mail | AddressKind::Pipe => transport.driver.addresses_max(),
    }
}

/// Whether two routes lead to the same hosts. Hosts of one MX preference are shuffled for each address, and so are those of lists
/// that are `shuffled`: their order says nothing. A host that one lookup secured and another did not is not the same: DANE may be for the one only.
fn same_hosts(a: &[RouteHost], b: &[RouteHost], shuffled: bool) -> bool {
    // A message to many compares many pairs, most of one routing, of one host or in the same order: nothing is sorted for those.
    if std::ptr::eq(a, b) {
        return true;
    }
    if a.len() != b.len() || a.iter().map(host_key).eq(b.iter().map(host_key)) {
        return a.len() == b.len();
    }
    let shuffled = shuffled || a.iter().all(|host| host.mx.is_some());
    a.len() > 1 && shuffled && sorted_keys(a).eq(sorted_keys(b))
}

/// A local transport sees the first host of a list, or the list as it was written, as `$host`.
fn same_first_host(a: &Address, b: &Address) -> bool {
    let first = |address: &Address| address.hosts.first().map(|host| host.name.clone());
    first(a) == first(b) && a.host_list == b.host_list
}

/// What makes two hosts the same.
fn host_key(host: &RouteHost) -> impl Ord + '_ {
    (host.mx, &host.name, host.address, host.port, host.group, host.dnssec)
}

fn sorted_keys(hosts: &[RouteHost]) -> impl Iterator<Item = impl Ord + '_> + '_ {
    let mut keys: Vec<_> = hosts.iter().map(host_key).collect();
    keys.sort();
    keys.into_iter()
}

/// Whether two addresses of one transport may be in one run.
fn go_together(transport: &Transport, a: &Address, b: &Address, mix_domains: bool) -> bool {
    let needs_domain = transport.driver.is_local() && transport.generic.mentions.domain;
    let may_differ = mix_domains && !needs_domain;
    let same_domain = a.domain == b.domain || may_differ;
    let same_text = a.kind == AddressKind::Mail && b.kind == AddressKind::Mail || a.address == b.address;
    same_domain
        && same_text
        && a.kind == b.kind
        && (if transport.driver.is_local() {
            same_first_host(a, b)
        } else {
            same_hosts(&a.hosts, &b.hosts, a.is_randomized && b.is_randomized)
        })
        && a.fallback_hosts == b.fallback_hosts
        && a.propagated.errors_to == b.propagated.errors_to
        && a.propagated.srs_sender == b.propagated.srs_sender
        && a.propagated.headers_add == b.propagated.headers_add
        && a.propagated.headers_remove == b.propagated.headers_remove
        // Whoever the mail is for, it is Exim's user who speaks to servers.
        && (!transport.driver.is_local() || a.run_as == b.run_as && a.router_home == b.router_home)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[(&str, Option<u16>)]) -> Vec<RouteHost> {
        let host = |(name, mx): &(&str, Option<u16>)| RouteHost {
            name: (*name).to_owned(),
            mx: *mx,
            ..RouteHost::default()
        };
        names.iter().map(host).collect()
    }

    #[test]
    fn only_the_order_of_mail_exchangers_says_nothing() {
        let same = |a, b| same_hosts(&hosts(a), &hosts(b), false);
        assert!(same(&[("a", Some(5)), ("b", Some(5))], &[("b", Some(5)), ("a", Some(5))]));
        assert!(!same(&[("a", Some(5)), ("b", Some(5))], &[("b", Some(5)), ("c", Some(5))]));
        assert!(!same(&[("a", Some(5))], &[("a", Some(6))]));
        assert!(!same(&[("a", Some(5))], &[("a", Some(5)), ("b", Some(5))]));
        assert!(same(&[("a", None), ("b", None)], &[("a", None), ("b", None)]));
        assert!(!same(&[("a", None), ("b", None)], &[("b", None), ("a", None)]));
        assert!(!same(&[("a", Some(5)), ("b", None)], &[("b", None), ("a", Some(5))]));
        assert!(same(&[], &[]));
        let (a, b) = (hosts(&[("a", None), ("b", None)]), hosts(&[("b", None), ("a", None)]));
        assert!(same_hosts(&a, &b, true));
    }
}

//! The host lists of `manualroute` and `fallback_hosts`: names, addresses, ports, and `+` between groups.
//!
//! Manual sections 20.4 and 20.5.

use std::net::IpAddr;

use oxim_lang::list::split;

use crate::address::RouteHost;

/// A list, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostItems {
    /// The hosts, not looked up; an item that is an address has it. `group` counts the `+` items before it.
    pub hosts: Vec<RouteHost>,
}

/// Takes a host list apart.
#[must_use]
pub fn list(text: &[u8]) -> HostItems {
    let mut group = 0;
    let mut hosts = Vec::new();
    for item in split(text).filter(|item| !item.is_empty()) {
        if item.as_ref() == b"+" {
            group += 1;
            continue;
        }
        let (name, port) = name_and_port(&String::from_utf8_lossy(&item));
        hosts.push(RouteHost { address: name.parse().ok(), name, port, group, ..RouteHost::default() });
    }
    HostItems { hosts }
}

/// `name`, `name:port`, `[address]`, `[address]:port`. What is none of these is a name as it stands.
fn name_and_port(item: &str) -> (String, Option<u16>) {
    if item.parse::<IpAddr>().is_ok() {
        return (item.to_owned(), None);
    }
    if let Some((inside, after)) = item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let port = after.strip_prefix(':').and_then(|digits| digits.parse().ok());
        if inside.parse::<IpAddr>().is_ok() && (after.is_empty() || port.is_some()) {
            return (inside.to_owned(), port);
        }
        return (item.to_owned(), None);
    }
    match item.rsplit_once(':') {
        Some((name, digits)) if !name.is_empty() => match digits.parse() {
            Ok(port) => (name.to_owned(), Some(port)),
            Err(_) => (item.to_owned(), None),
        },
        _ => (item.to_owned(), None),
    }
}

/// Puts the hosts of each group into random order.
pub fn shuffle_groups(hosts: &mut [RouteHost]) {
    for host in hosts.iter_mut() {
        host.sort_key = i64::from(host.group) * 1_000_000 + i64::from(random_below(1_000_000));
    }
    hosts.sort_by_key(|host| host.sort_key);
}

/// A number from 0 to `limit - 1` for spreading load; not for secrets.
#[must_use]
pub fn random_below(limit: u32) -> u32 {
    use std::hash::{BuildHasher, Hasher};
    // Each RandomState has fresh keys, so the empty hash is a fresh number.
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(number % u64::from(limit.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<(String, Option<u16>, u32)> {
        list(text.as_bytes()).hosts.into_iter().map(|h| (h.name, h.port, h.group)).collect()
    }

    #[test]
    fn ports_and_groups_as_observed() {
        assert_eq!(
            parts("127.0.0.2:127.0.0.3::26:+:h"),
            vec![("127.0.0.2".into(), None, 0), ("127.0.0.3".into(), Some(26), 0), ("h".into(), None, 1)]
        );
        assert_eq!(
            parts("</ [10.1.1.1]:1225 / [::7]:1226 / h:12 / fe80::5"),
            vec![
                ("10.1.1.1".into(), Some(1225), 0),
                ("::7".into(), Some(1226), 0),
                ("h".into(), Some(12), 0),
                ("fe80::5".into(), None, 0)
            ]
        );
        assert_eq!(parts("127.0.0.8::x"), vec![("127.0.0.8:x".into(), None, 0)]);
        assert_eq!(parts("[::1]"), vec![("[:1]".into(), None, 0)]);
        assert_eq!(parts("[127.0.0.8]x"), vec![("[127.0.0.8]x".into(), None, 0)]);
        assert_eq!(parts("dom1.tld/mx::1225"), vec![("dom1.tld/mx".into(), Some(1225), 0)]);
    }

    #[test]
    fn groups_stay_in_order() {
        let mut hosts = list(b"a:b:c:+:d:e").hosts;
        shuffle_groups(&mut hosts);
        let groups: Vec<u32> = hosts.iter().map(|h| h.group).collect();
        assert_eq!(groups, vec![0, 0, 0, 1, 1]);
    }
}

//! The IP addresses of this host: what `@[]`, `@mx_…`, `self` and "local host" tests mean (manual sections 13.3 and 13.8).
//!
//! They are the items of `local_interfaces`, each wildcard (`0.0.0.0`, `::0`) standing for all running interfaces of
//! its family, and those of `extra_local_interfaces`. The system is asked again after a while, because interfaces come
//! and go while a daemon runs. If it cannot be asked, the last answer stands.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::list::split;

/// How old the system's answer may be.
const ANSWER_LIFE: Duration = Duration::from_secs(30);

/// Which addresses are this host's.
#[derive(Debug)]
pub struct Interfaces {
    fixed: BTreeSet<IpAddr>,
    all_v4: bool,
    all_v6: bool,
    current: Mutex<Option<(Instant, Arc<BTreeSet<IpAddr>>)>>,
}

impl Default for Interfaces {
    /// As with neither option set: all interfaces.
    fn default() -> Self {
        Interfaces::new("<; ::0 ; 0.0.0.0", "")
    }
}

impl Interfaces {
    /// Takes the values of `local_interfaces` and `extra_local_interfaces`. Items that are no address are left out:
    /// complaining about them is the daemon's.
    #[must_use]
    pub fn new(local_interfaces: &str, extra_local_interfaces: &str) -> Interfaces {
        let mut interfaces =
            Interfaces { fixed: BTreeSet::new(), all_v4: false, all_v6: false, current: Mutex::new(None) };
        for list in [local_interfaces, extra_local_interfaces] {
            for address in
                split(list.as_bytes()).filter_map(|item| parse_interface(&String::from_utf8_lossy(&item)))
            {
                match address.ip() {
                    IpAddr::V4(v4) if v4.is_unspecified() => interfaces.all_v4 = true,
                    IpAddr::V6(v6) if v6.is_unspecified() => interfaces.all_v6 = true,
                    ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => {
                        interfaces.fixed.insert(ip);
                    }
                }
            }
        }
        interfaces
    }

    /// All local addresses.
    pub fn addresses(&self) -> Arc<BTreeSet<IpAddr>> {
        let mut current = self.current.lock();
        if let Some((asked, addresses)) = &*current
            && (asked.elapsed() < ANSWER_LIFE || !(self.all_v4 || self.all_v6))
        {
            return Arc::clone(addresses);
        }
        let mut addresses = self.fixed.clone();
        if self.all_v4 || self.all_v6 {
            match running() {
                Ok(all) => {
                    let wanted = |ip: &IpAddr| if ip.is_ipv4() { self.all_v4 } else { self.all_v6 };
                    addresses.extend(all.into_iter().filter(wanted));
                }
                Err(_) => {
                    if let Some((_, last)) = &*current {
                        addresses.extend(last.iter());
                    }
                }
            }
        }
        let addresses = Arc::new(addresses);
        *current = Some((Instant::now(), Arc::clone(&addresses)));
        addresses
    }

    /// Whether an address is one of this host's. An IPv4 address in IPv6 form is the IPv4 address.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses().contains(&address.to_canonical())
    }
}

/// The addresses of all running interfaces.
fn running() -> nix::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
        })
        .collect())
}

/// Reads an item of `local_interfaces`: `1.2.3.4`, `1.2.3.4.26`, `[1.2.3.4]:26`, `::1`, `::1.26`, `[::1]:26`.
/// Port 0 stands for "not given".
#[must_use]
pub fn parse_interface(item: &str) -> Option<SocketAddr> {
    if let Some(rest) = item.strip_prefix('[') {
        let (address, after) = rest.split_once(']')?;
        let port = match after.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None if after.is_empty() => 0,
            None => return None,
        };
        return Some(SocketAddr::new(address.parse().ok()?, port));
    }
    if let Ok(address) = item.parse() {
        return Some(SocketAddr::new(address, 0));
    }
    let (address, port) = item.rsplit_once('.')?;
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_items() {
        for (item, expected) in [
            ("1.2.3.4", "1.2.3.4:0"),
            ("1.2.3.4.26", "1.2.3.4:26"),
            ("[1.2.3.4]:26", "1.2.3.4:26"),
            ("::1", "[::1]:0"),
            ("::1.26", "[::1]:26"),
            ("[::1]", "[::1]:0"),
        ] {
            assert_eq!(parse_interface(item).unwrap().to_string(), expected, "{item}");
        }
        assert!(parse_interface("host.example").is_none() && parse_interface("[::1]x").is_none());
    }

    #[test]
    fn wildcards_stand_for_the_running_interfaces() {
        let all = Interfaces::default();
        assert!(all.is_local("127.0.0.1".parse().unwrap()));
        assert!(all.is_local("::ffff:127.0.0.1".parse().unwrap()));
        assert!(!all.is_local("192.0.2.77".parse().unwrap()));
        let some = Interfaces::new("192.0.2.1.26", "<; 2001:db8::1");
        assert!(some.is_local("192.0.2.1".parse().unwrap()) && some.is_local("2001:db8::1".parse().unwrap()));
        assert!(!some.is_local("127.0.0.1".parse().unwrap()));
    }
}

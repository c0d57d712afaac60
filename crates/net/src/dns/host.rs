//! From names to addresses and back, the hosts file included, as `gethostbyname` and `gethostbyaddr` do.
//!
//! Manual: `host_lookup`, `host_lookup_order`, `dns_ipv4_lookup` in chapter 14; RFC 1035 section 3.5, RFC 3596.

use std::net::IpAddr;

use super::{Answer, Lookup, NotThere, Resolver};

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv6 addresses, then IPv4 addresses.
    #[default]
    Any,
    /// IPv4 only (`disable_ipv6`, `dns_ipv4_lookup`).
    V4Only,
    /// IPv6 only.
    V6Only,
}

impl Family {
    fn admits(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4Only => address.is_ipv4(),
            Family::V6Only => address.is_ipv6(),
        }
    }
}

/// The words of `host_lookup_order`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostLookupMethod {
    /// The PTR record alone.
    ByDns,
    /// The hosts file, then the PTR record.
    ByAddress,
}

/// Whether a name that was found for an address leads back to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameCheck {
    /// It does. The flag tells whether all answers had the AD bit.
    Matches {
        /// Whether the forward lookup was secure.
        secure: bool,
    },
    /// It has addresses, but not this one.
    Differs,
    /// It has no address.
    NoAddress,
    /// No server could say.
    AskAgain(String),
}

/// The labels of an address in reverse, without a zone: for `in-addr.arpa`, `ip6.arpa`, and DNS lists.
#[must_use]
pub fn reverse_labels(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let labels: Vec<String> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            labels.join(".")
        }
    }
}

/// The name that holds the PTR records of an address.
#[must_use]
pub fn reverse_name(address: IpAddr) -> String {
    let zone = if address.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
    format!("{}.{zone}", reverse_labels(address))
}

impl Resolver {
    /// The addresses of a host: the hosts file, else A and AAAA records. An address is its own answer.
    /// `owner` of the answer is the canonical name.
    pub async fn addresses_of(&self, name: &str, family: Family) -> Lookup<Vec<IpAddr>> {
        match self.addresses_at_once(name, family) {
            Some(lookup) => lookup,
            None => self.addresses_by_dns(name, family).await,
        }
    }

    /// What can be said without asking the DNS.
    pub(super) fn addresses_at_once(&self, name: &str, family: Family) -> Option<Lookup<Vec<IpAddr>>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Some(if family.admits(address) {
                Lookup::Found(local_answer(name, name.to_owned(), vec![address]))
            } else {
                Lookup::NotThere(NotThere::NoData)
            });
        }
        let (canonical, mut addresses) = self.hosts().addresses(name)?;
        addresses.retain(|address| family.admits(*address));
        addresses.sort_by_key(IpAddr::is_ipv4);
        (!addresses.is_empty()).then(|| Lookup::Found(local_answer(name, canonical, addresses)))
    }

    /// The addresses of a host from its AAAA and A records alone, both asked at the same time.
    ///
    /// One kind found is enough; without any, a failure for either kind is `AskAgain`.
    pub async fn addresses_by_dns(&self, name: &str, family: Family) -> Lookup<Vec<IpAddr>> {
        let v6 = async { self.aaaa(name).await.map(|list| list.into_iter().map(IpAddr::from).collect()) };
        let v4 = async { self.a(name).await.map(|list| list.into_iter().map(IpAddr::from).collect()) };
        match family {
            Family::V6Only => v6.await,
            Family::V4Only => v4.await,
            Family::Any => {
                let (v6, v4) = tokio::join!(v6, v4);
                join(v6, v4)
            }
        }
    }

    /// The names of an address, by the first method that finds any. The first name is the main one.
    pub async fn name_of(&self, address: IpAddr, order: &[HostLookupMethod]) -> Lookup<Vec<String>> {
        let mut last = Lookup::NotThere(NotThere::NoDomain);
        for method in order {
            if *method == HostLookupMethod::ByAddress
                && let Some(names) = self.hosts().names(address)
            {
                return Lookup::Found(local_answer(&reverse_name(address), reverse_name(address), names));
            }
            match self.ptr(&reverse_name(address)).await {
                Lookup::Found(answer) => return Lookup::Found(answer),
                Lookup::AskAgain(reason) => last = Lookup::AskAgain(reason),
                Lookup::NotThere(kind) => {
                    if !matches!(last, Lookup::AskAgain(_)) {
                        last = Lookup::NotThere(kind);
                    }
                }
            }
        }
        last
    }

    /// Whether a name that [`Resolver::name_of`] gave leads back to the address.
    pub async fn check_name(&self, name: &str, address: IpAddr) -> NameCheck {
        let family = if address.is_ipv4() { Family::V4Only } else { Family::V6Only };
        match self.addresses_of(name, family).await {
            Lookup::Found(answer) if answer.records.contains(&address) => {
                NameCheck::Matches { secure: answer.secure }
            }
            Lookup::Found(_) => NameCheck::Differs,
            Lookup::AskAgain(reason) => NameCheck::AskAgain(reason),
            // A host with addresses of the other family only has addresses, but not this one.
            Lookup::NotThere(_) => match self.addresses_of(name, Family::Any).await {
                Lookup::Found(_) => NameCheck::Differs,
                Lookup::NotThere(_) => NameCheck::NoAddress,
                Lookup::AskAgain(reason) => NameCheck::AskAgain(reason),
            },
        }
    }
}

fn local_answer<T>(name: &str, owner: String, records: T) -> Answer<T> {
    Answer { records, secure: false, name: name.to_owned(), owner, ttl_seconds: 0, authority: None }
}

fn join(v6: Lookup<Vec<IpAddr>>, v4: Lookup<Vec<IpAddr>>) -> Lookup<Vec<IpAddr>> {
    match (v6, v4) {
        (Lookup::Found(mut first), Lookup::Found(second)) => {
            first.records.extend(second.records);
            first.secure &= second.secure;
            first.ttl_seconds = first.ttl_seconds.min(second.ttl_seconds);
            if first.authority != second.authority {
                first.authority = None;
            }
            Lookup::Found(first)
        }
        (Lookup::Found(answer), _) | (_, Lookup::Found(answer)) => Lookup::Found(answer),
        (Lookup::AskAgain(reason), _) | (_, Lookup::AskAgain(reason)) => Lookup::AskAgain(reason),
        (Lookup::NotThere(NotThere::NoData), _) | (_, Lookup::NotThere(NotThere::NoData)) => {
            Lookup::NotThere(NotThere::NoData)
        }
        (Lookup::NotThere(NotThere::NoDomain), Lookup::NotThere(NotThere::NoDomain)) => {
            Lookup::NotThere(NotThere::NoDomain)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_reversed() {
        assert_eq!(reverse_name("192.0.2.95".parse().unwrap()), "95.2.0.192.in-addr.arpa");
        assert_eq!(
            reverse_name("2001:db8::1".parse().unwrap()),
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}

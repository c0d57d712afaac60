//! Client SMTP Authorization: SRV records that say whether a host may send mail (manual section 44.52).
//!
//! Priority is the version (1), the weight is the verdict; the lowest bit of the port says that subdomains need
//! records of their own, which matters only for a record found at a parent.

use std::net::IpAddr;

use super::{Lookup, NotThere, Resolver, Srv, reverse_name};

/// The verdict of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CsaCode {
    /// `Y`: may send, from the target's addresses.
    Authorized,
    /// `N`: may not send.
    Unauthorized,
    /// `X`: a parent says that this host needs a record, and it has none.
    ExplicitAbsent,
    /// `?`: the owner does not say.
    Unknown,
}

impl CsaCode {
    /// The letter that the dnsdb lookup gives.
    #[must_use]
    pub fn letter(self) -> char {
        match self {
            CsaCode::Authorized => 'Y',
            CsaCode::Unauthorized => 'N',
            CsaCode::ExplicitAbsent => 'X',
            CsaCode::Unknown => '?',
        }
    }
}

/// One record: the verdict and the host whose addresses it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsaAnswer {
    /// The verdict.
    pub code: CsaCode,
    /// The host; empty if the record names none.
    pub target: String,
}

/// How far to look.
#[derive(Clone, Copy, Debug)]
pub struct CsaSettings {
    /// How many parent domains are tried, counted from the root (`dns_csa_search_limit`).
    pub search_limit: usize,
    /// Whether an address is looked for in the reverse zones (`dns_csa_use_reverse`).
    pub use_reverse: bool,
}

impl Default for CsaSettings {
    fn default() -> Self {
        CsaSettings { search_limit: 5, use_reverse: true }
    }
}

impl Resolver {
    /// Looks up the CSA records of a domain, an address or an address literal, then of its parents.
    /// Top-level domains are not asked.
    pub async fn csa(&self, key: &str, settings: CsaSettings) -> Lookup<Vec<CsaAnswer>> {
        let literal = key.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(key);
        let domain = match literal.parse::<IpAddr>() {
            Ok(address) if settings.use_reverse => reverse_name(address),
            Ok(_) => return Lookup::NotThere(NotThere::NoDomain),
            Err(_) => key.trim_end_matches('.').to_owned(),
        };
        let own = self.srv(&format!("_client._smtp.{domain}")).await;
        if !matches!(own, Lookup::NotThere(_)) {
            return keep(own.map(|records| records.into_iter().filter_map(own_verdict).collect()));
        }
        for parent in parents(&domain, settings.search_limit) {
            let found = self.srv(&format!("_client._smtp.{parent}")).await;
            if !matches!(found, Lookup::NotThere(_)) {
                return keep(found.map(|records| records.into_iter().filter_map(parents_verdict).collect()));
            }
        }
        Lookup::NotThere(NotThere::NoData)
    }
}

/// The parents of a domain that are asked, the nearest first: of many, those that are nearest to the root.
fn parents(domain: &str, limit: usize) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = domain;
    while let Some((_, parent)) = rest.split_once('.').filter(|(_, parent)| parent.contains('.')) {
        found.push(parent);
        rest = parent;
    }
    let surplus = found.len().saturating_sub(limit);
    found.split_off(surplus)
}

/// An answer of nothing but unusable records is no answer.
fn keep(lookup: Lookup<Vec<CsaAnswer>>) -> Lookup<Vec<CsaAnswer>> {
    match lookup {
        Lookup::Found(answer) if answer.records.is_empty() => Lookup::NotThere(NotThere::NoData),
        Lookup::Found(_) | Lookup::NotThere(_) | Lookup::AskAgain(_) => lookup,
    }
}

fn own_verdict(srv: Srv) -> Option<CsaAnswer> {
    let code = match (srv.priority, srv.weight) {
        (1, 0 | 1) => CsaCode::Unauthorized,
        (1, 2) => CsaCode::Authorized,
        (1, 3) => CsaCode::Unknown,
        _ => return None,
    };
    Some(CsaAnswer { code, target: srv.target })
}

fn parents_verdict(srv: Srv) -> Option<CsaAnswer> {
    (srv.priority == 1 && srv.port & 1 == 1)
        .then_some(CsaAnswer { code: CsaCode::ExplicitAbsent, target: srv.target })
}

#[cfg(test)]
mod tests {
    use super::parents;

    #[test]
    fn the_parents_near_the_root_are_asked() {
        assert_eq!(parents("a.b.example.com", 5), ["b.example.com", "example.com"]);
        assert_eq!(parents("a.b.c.d.example.com", 2), ["d.example.com", "example.com"]);
        assert!(parents("example.com", 5).is_empty());
        assert!(parents("a.example.com", 0).is_empty());
    }
}

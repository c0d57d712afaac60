//! The `ipliteral` router: `user@[192.0.2.1]` goes to that address. Manual chapter 18.

use std::net::IpAddr;
use std::sync::Arc;

use oxim_lang::config::{ConfigError, DriverRow, rows};

use super::{Build, RouterDriver, RouterKind, Run, TransportUse, Verdict, matching, prepare, self_action};
use crate::address::{Address, RouteHost};

/// The row.
pub static IPLITERAL: RouterKind = RouterKind {
    row: &DriverRow { name: "ipliteral", options: rows::ROUTER_IPLITERAL },
    transport: TransportUse::Required,
    build,
};

struct IpLiteral;

fn build(_: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    Ok(Box::new(IpLiteral))
}

/// The address in a domain literal: `[192.0.2.1]`, `[IPv6:::1]`, and `[IPv4:…]` for symmetry.
fn literal(domain: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(domain).ok()?.strip_prefix('[')?.strip_suffix(']')?;
    let bare = match text.split_at_checked(5) {
        Some((kind, rest)) if kind.eq_ignore_ascii_case("ipv6:") || kind.eq_ignore_ascii_case("ipv4:") => {
            rest
        }
        _ => text,
    };
    bare.parse().ok()
}

impl RouterDriver for IpLiteral {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        let Some(ip) = literal(&address.domain) else {
            return Verdict::Decline(None);
        };
        let name = String::from_utf8_lossy(&address.domain).into_owned();
        match matching::is_ignored(run, &name, ip) {
            Err(problem) => return Verdict::Defer(problem),
            Ok(true) => return Verdict::Decline(Some("IP literal host explicitly ignored".into())),
            Ok(false) => {}
        }
        let host = RouteHost { name, address: Some(ip), ..RouteHost::default() };
        match self_action::is_local(run.context, &host) {
            Err(problem) => return Verdict::Defer(problem),
            Ok(false) => {}
            Ok(true) => match self_action::apply(run, address, &host) {
                self_action::Applied::GoOn => {}
                self_action::Applied::Verdict(verdict) => return verdict,
            },
        }
        address.hosts = Arc::new([host]);
        match prepare::for_delivery(run, address, None) {
            Ok(()) => Verdict::Deliver,
            Err(problem) => Verdict::Defer(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_both_kinds() {
        assert_eq!(literal(b"[192.168.1.1]"), "192.168.1.1".parse().ok());
        assert_eq!(literal(b"[ipv6:fe80::1]"), "fe80::1".parse().ok());
        assert_eq!(literal(b"[ipv4:10.0.0.1]"), "10.0.0.1".parse().ok());
        assert_eq!(literal(b"example.com"), None);
        assert_eq!(literal(b"[nonsense]"), None);
    }
}

//! `socks_proxy`: hosts are reached by way of a SOCKS 5 proxy. The wire is `oxim_net::socks`.
//!
//! The proxies are tried in the order of the list, or, once one of them has `pri` or `weight`, the highest priority first and
//! by chance in proportion to the weights within one. The next one is tried only if there is no connection to a proxy: one that
//! has answered has answered for all. All of it takes no longer than `connect_timeout`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use oxim_base::errno::error_text;
use oxim_lang::context::ProxySession;
use oxim_lang::list::{split, split_at};
use oxim_net::smtp_client::Connection;
use oxim_net::socket::{ConnectTarget, Endpoint, Socket};
use oxim_net::socks::{self, Login, SocksError};

use super::events::FORBIDDEN;
use super::trouble::{self, Trouble};
use super::{Target, Work};
use crate::transport::{DeliveryError, error_code};

/// Proxies of one list that are looked at; the others are left out.
const PROXIES_MAX: usize = 32;

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proxy {
    address: SocketAddr,
    login: Option<Login>,
    timeout: Duration,
    priority: u32,
    weight: u32,
}

/// The proxies in a list, and whether one of them says more of the order than its place.
fn proxies(list: &[u8]) -> Result<(Vec<Proxy>, bool), String> {
    let mut found = Vec::new();
    let mut is_weighted = false;
    for item in split(list).filter(|item| !item.is_empty()).take(PROXIES_MAX) {
        found.push(proxy(&item, &mut is_weighted)?);
    }
    Ok((found, is_weighted))
}

fn proxy(text: &[u8], is_weighted: &mut bool) -> Result<Proxy, String> {
    let mut words = split_at(text, b' ').filter(|word| !word.is_empty());
    let word = words.next().unwrap_or_default();
    let shown = String::from_utf8_lossy(&word).into_owned();
    let ip: IpAddr = shown.parse().map_err(|_| format!("\"{shown}\" is not an IP address"))?;
    let (mut port, mut timeout, mut priority, mut weight) = (1080, 5, 1, 1);
    let (mut wants_login, mut name, mut password) = (false, Vec::new(), Vec::new());
    for word in words {
        let at = memchr::memchr(b'=', &word).unwrap_or(word.len());
        let (option, value) = word.split_at_checked(at).unwrap_or((&word, b""));
        let value = value.get(1..).unwrap_or_default();
        let option = String::from_utf8_lossy(option);
        let number = |limit: u32| {
            let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            number.filter(|n: &u32| *n <= limit).ok_or_else(|| format!("bad number for \"{option}\""))
        };
        match option.as_ref() {
            "auth" => {
                wants_login = match value {
                    b"none" => false,
                    b"name" => true,
                    _ => return Err("\"auth\" must be none or name".to_owned()),
                }
            }
            "name" => name = value.to_vec(),
            "pass" => password = value.to_vec(),
            "port" => port = u16::try_from(number(65535)?).unwrap_or_default(),
            "tmo" => timeout = number(u32::MAX)?,
            "pri" => (priority, *is_weighted) = (number(u32::MAX)?, true),
            "weight" => (weight, *is_weighted) = (number(u32::MAX)?, true),
            _ => return Err(format!("unknown option \"{option}\"")),
        }
    }
    let login = match wants_login {
        true => Some(Login::new(&name, &password).ok_or("\"name\" or \"pass\" is longer than 255 bytes")?),
        false => None,
    };
    let timeout = Duration::from_secs(u64::from(timeout));
    Ok(Proxy { address: SocketAddr::new(ip, port), login, timeout, priority, weight })
}

/// Takes out the proxy to try next. `chance` gives a number below its argument. None: there is none left, or none that has
/// weight.
fn next(left: &mut Vec<Proxy>, is_weighted: bool, chance: impl Fn(u64) -> u64) -> Option<Proxy> {
    if !is_weighted {
        return (!left.is_empty()).then(|| left.remove(0));
    }
    let highest = left.iter().filter(|p| p.weight > 0).map(|p| p.priority).max()?;
    let total = left.iter().filter(|p| p.priority == highest).map(|p| u64::from(p.weight)).sum();
    let mut point = chance(total);
    let at = left.iter().position(|p| {
        let weight = if p.priority == highest { u64::from(p.weight) } else { 0 };
        let is_it = point < weight;
        point = point.saturating_sub(weight);
        is_it
    })?;
    Some(left.remove(at))
}

impl Work<'_> {
    /// What `socks_proxy` expands to; None if no proxy is wanted.
    pub(super) fn proxies(&mut self) -> Result<Option<Vec<u8>>, DeliveryError> {
        let Some(template) = &self.smtp.socks_proxy else { return Ok(None) };
        match template.expand(self.context) {
            Ok(text) if text.trimmed().is_empty() => Ok(None),
            Ok(text) => Ok(Some(text.into_bytes())),
            Err(error) => {
                let text = format!("Bad expansion for socks_proxy in {}: {error}", self.transport.name);
                Err(DeliveryError { is_for_panic_log: true, ..DeliveryError::new(error_code::UNKNOWN, text) })
            }
        }
    }

    /// A connection to the target by way of the first proxy that can be reached.
    pub(super) fn connect_by_proxy(
        &mut self,
        list: &[u8],
        target: &Target,
        to: &ConnectTarget,
    ) -> Result<(Connection, Option<ProxySession>), Trouble> {
        let (mut left, is_weighted) = proxies(list).map_err(|why| {
            let text = format!("socks_proxy in {} transport: {why}", self.transport.name);
            Trouble::quiet(DeliveryError {
                is_for_panic_log: true,
                ..DeliveryError::new(error_code::UNKNOWN, text)
            })
        })?;
        let began = Instant::now();
        let timed_out = || trouble::not_connected(&rustix::io::Errno::TIMEDOUT.into());
        while let Some(proxy) = next(&mut left, is_weighted, below) {
            let remaining = match to.connect_timeout {
                Duration::ZERO => Duration::ZERO,
                limit => limit.checked_sub(began.elapsed()).filter(|l| !l.is_zero()).ok_or_else(timed_out)?,
            };
            let limits = [proxy.timeout, remaining];
            let there = ConnectTarget {
                endpoint: Endpoint::Tcp(proxy.address),
                interface: to.interface.filter(|ip| ip.is_ipv4() == proxy.address.is_ipv4()),
                connect_timeout: limits.into_iter().filter(|l| !l.is_zero()).min().unwrap_or_default(),
                ..to.clone()
            };
            self.proxy = Some(proxy.address);
            if self.event("tcp:connect", b"").is_some() {
                self.log(&format!("SOCKS proxy {}: {FORBIDDEN}", shown(proxy.address)));
                continue;
            }
            let mut socket = match Socket::connect(&there) {
                Ok(socket) => socket,
                Err(error) => {
                    self.log(&format!("SOCKS proxy {}: {}", shown(proxy.address), error_text(&error)));
                    continue;
                }
            };
            socket.begin_step(remaining);
            return match socks::request(
                &mut socket,
                proxy.login.as_ref(),
                SocketAddr::new(target.ip(), target.port),
            ) {
                Ok(from) => {
                    let session = ProxySession { proxy: Some(proxy.address), target: from, is_failed: false };
                    Ok((Connection::over(socket), Some(session)))
                }
                Err(error) => Err(self.refused_by_proxy(&proxy, error)),
            };
        }
        Err(trouble::not_connected(&rustix::io::Errno::BUSY.into()))
    }

    fn refused_by_proxy(&self, proxy: &Proxy, error: SocksError) -> Trouble {
        self.log(&format!("SOCKS proxy {}: {error}", shown(proxy.address)));
        trouble::not_connected(&error.into_io())
    }
}

/// A number below the limit, as good as the kernel's; 0 if it has none.
fn below(limit: u64) -> u64 {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if got.is_err() { 0 } else { u64::from_ne_bytes(bytes).checked_rem(limit).unwrap_or(0) }
}

fn shown(address: SocketAddr) -> String {
    format!("[{}]:{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(list: &str, chances: &[u64]) -> Vec<u16> {
        let (mut left, is_weighted) = proxies(list.as_bytes()).unwrap();
        let given = std::cell::RefCell::new(chances.to_vec());
        let chance =
            |limit| (if given.borrow().is_empty() { 0 } else { given.borrow_mut().remove(0) }) % limit;
        std::iter::from_fn(|| next(&mut left, is_weighted, chance)).map(|p| p.address.port()).collect()
    }

    #[test]
    fn lists_and_their_separators() {
        let (found, is_weighted) =
            proxies(b"<; 127.0.0.1 port=1  tmo=7;::1;10.0.0.1 auth=name name=u pass=p").unwrap();
        assert!(!is_weighted);
        let addresses: Vec<String> = found.iter().map(|p| p.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:1", "[::1]:1080", "10.0.0.1:1080"]);
        assert_eq!(found[0].timeout, Duration::from_secs(7));
        assert_eq!((&found[1].login, &found[2].login), (&None, &Login::new(b"u", b"p")));
        let (found, _) = proxies(b"<, 127.0.0.1 name=a, <; ::1; auth=name; name=a b; pass=").unwrap();
        assert_eq!((&found[0].login, &found[1].login), (&None, &Login::new(b"a b", b"")));
        let many = "127.0.0.1:".repeat(40);
        assert_eq!(proxies(many.as_bytes()).unwrap().0.len(), PROXIES_MAX);
        for bad in
            ["::1", "mx.ex", "127.0.0.1 port=70000", "127.0.0.1 port=", "127.0.0.1 auth=gss", "127.0.0.1 x=1"]
        {
            assert!(proxies(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_list_or_of_priority_and_weight() {
        let plain = "127.0.0.1 port=1 : 127.0.0.1 port=2 : 127.0.0.1 port=3";
        assert_eq!(ports(plain, &[]), [1, 2, 3]);
        let priorities = "127.0.0.1 port=1 pri=2 : 127.0.0.1 port=2 pri=5 : 127.0.0.1 port=3";
        assert_eq!(ports(priorities, &[]), [2, 1, 3]);
        let weights = "127.0.0.1 port=1 weight=3 : 127.0.0.1 port=2 weight=1 : 127.0.0.1 port=3 weight=0";
        assert_eq!(ports(weights, &[2, 0]), [1, 2]);
        assert_eq!(ports(weights, &[3, 0]), [2, 1]);
        assert_eq!(ports("127.0.0.1 weight=0", &[]), [0; 0]);
    }
}

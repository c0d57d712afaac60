//! Where the daemon listens: `local_interfaces`, `daemon_smtp_ports`, `tls_on_connect_ports` and `-oX` (manual chapter 13).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use oxim_lang::config::{Config, ConfigError};
use oxim_lang::list;
use oxim_receive::tls::TlsAtOnce;

use crate::args::CommandLine;

/// What the options say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// `local_interfaces`, expanded.
    pub interfaces: String,
    /// `daemon_smtp_ports`, expanded.
    pub ports: String,
    /// `-oX`.
    pub command_line: Option<String>,
    /// `disable_ipv6`.
    pub disable_ipv6: bool,
}

/// Addresses and ports, each once.
///
/// # Errors
/// The text of Exim for a faulty item.
pub(crate) fn addresses(wanted: &Wanted) -> Result<Vec<SocketAddr>, String> {
    let (mut interfaces, mut ports) = (wanted.interfaces.clone(), wanted.ports.clone());
    if let Some(text) = &wanted.command_line {
        // A number or a name is a port; anything with a dot or a colon is an interface.
        let (mut own_ports, mut own_interfaces) = (Vec::new(), Vec::new());
        for item in list::split(text.as_bytes()) {
            let item = String::from_utf8_lossy(&item).into_owned();
            if item.contains(['.', ':']) { own_interfaces.push(item) } else { own_ports.push(item) }
        }
        if !own_ports.is_empty() {
            ports = format!("<\n {}", own_ports.join("\n"));
            if own_interfaces.is_empty() {
                // Ports alone: every interface keeps its address and loses its port.
                own_interfaces = list::split(interfaces.as_bytes())
                    .map(|i| without_port(&String::from_utf8_lossy(&i)))
                    .collect();
            }
        }
        interfaces = format!("<\n {}", own_interfaces.join("\n"));
    }
    let ports: Vec<u16> = list::split(ports.as_bytes())
        .map(|p| port(&String::from_utf8_lossy(&p)))
        .collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    let interfaces: Vec<_> = list::split(interfaces.as_bytes()).collect();
    let everywhere = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    if interfaces.is_empty() {
        all.extend(everywhere.iter().flat_map(|ip| ports.iter().map(|p| SocketAddr::new(*ip, *p))));
    }
    for item in interfaces {
        let item = String::from_utf8_lossy(&item).into_owned();
        let (ip, own_port) = interface(&item)?;
        match own_port {
            Some(port) => all.push(SocketAddr::new(ip, port)),
            None => all.extend(ports.iter().map(|p| SocketAddr::new(ip, *p))),
        }
    }
    all.retain(|a| !(wanted.disable_ipv6 && a.is_ipv6()));
    let mut seen = std::collections::HashSet::new();
    all.retain(|a| seen.insert(*a));
    Ok(all)
}

fn without_port(item: &str) -> String {
    interface(item).map_or_else(|_| item.to_owned(), |(ip, _)| ip.to_string())
}

/// `192.0.2.1`, `192.0.2.1.25`, `[192.0.2.1]:25`, `2001:db8::1`, `2001:db8::1.25`, `[2001:db8::1]:25`.
fn interface(item: &str) -> Result<(IpAddr, Option<u16>), String> {
    let bad = || format!("invalid IP address in local_interfaces: \"{item}\"");
    if let Some(rest) = item.strip_prefix('[') {
        let (ip, tail) = rest.split_once(']').ok_or_else(bad)?;
        let ip = ip.parse().map_err(|_| bad())?;
        return match tail.strip_prefix(':') {
            Some(text) => Ok((ip, Some(text.parse().map_err(|_| bad())?))),
            None if tail.is_empty() => Ok((ip, None)),
            None => Err(bad()),
        };
    }
    if let Ok(ip) = item.parse() {
        return Ok((ip, None));
    }
    let (ip, number) = item.rsplit_once('.').ok_or_else(bad)?;
    Ok((ip.parse().map_err(|_| bad())?, Some(number.parse().map_err(|_| bad())?)))
}

/// Names that postmasters use for ports; others are looked up in /etc/services.
const NAMES: &[(&str, u16)] = &[
    ("smtp", 25),
    ("mail", 25),
    ("smtps", 465),
    ("ssmtp", 465),
    ("submissions", 465),
    ("urd", 465),
    ("submission", 587),
];

/// A port by number or name.
///
/// # Errors
/// The text of Exim.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == text) {
        return Ok(*number);
    }
    let services = std::fs::read_to_string("/etc/services").unwrap_or_default();
    let found = services.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let name = words.next()?;
        let number = words.next()?.strip_suffix("/tcp")?.parse().ok()?;
        (name == text || words.any(|alias| alias == text)).then_some(number)
    });
    found.into_iter().next().ok_or_else(|| format!("TCP port \"{text}\" not found"))
}

/// Where TLS comes before the greeting, by `-tls-on-connect` and `tls_on_connect_ports`.
///
/// # Errors
/// A port that nobody knows.
pub(crate) fn tls_at_once(line: &CommandLine, config: &Config) -> Result<TlsAtOnce, ConfigError> {
    if line.tls_on_connect {
        return Ok(TlsAtOnce::Everywhere);
    }
    let list = config.main.tls_on_connect_ports.as_deref().unwrap_or_default();
    let ports: Result<Vec<u16>, String> =
        list::split(list.as_bytes()).map(|item| port(&String::from_utf8_lossy(&item))).collect();
    ports.map(TlsAtOnce::Ports).map_err(|text| match config.main_options.location("tls_on_connect_ports") {
        Some(location) => ConfigError::at(location, text),
        None => ConfigError::new(text),
    })
}

/// The words of the log for where the daemon listens: `listening for SMTP on port 25 (IPv6 and IPv4)`.
#[must_use]
pub(crate) fn shown(addresses: &[SocketAddr], tls_at_once: &TlsAtOnce) -> String {
    let part = |is_smtps: bool| -> Vec<SocketAddr> {
        addresses.iter().copied().filter(|a| tls_at_once.is_on(Some(a.port())) == is_smtps).collect()
    };
    let mut phrases = Vec::new();
    for (name, addresses) in [("SMTP", part(false)), ("SMTPS", part(true))] {
        if !addresses.is_empty() {
            phrases.push(format!("for {name} on {}", places(&addresses).join(" ")));
        }
    }
    if phrases.is_empty() {
        "not listening for SMTP".to_owned()
    } else {
        format!("listening {}", phrases.join(" and "))
    }
}

/// Wildcards by port, other addresses with their ports, each where it first comes.
fn places(addresses: &[SocketAddr]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for address in addresses {
        let shown = if address.ip().is_unspecified() {
            let on_port = |v6: bool| {
                addresses
                    .iter()
                    .any(|a| a.ip().is_unspecified() && a.port() == address.port() && a.is_ipv6() == v6)
            };
            let families = match (on_port(true), on_port(false)) {
                (true, true) => "IPv6 and IPv4",
                (true, false) => "IPv6",
                (false, _) => "IPv4",
            };
            format!("port {} ({families})", address.port())
        } else {
            let ports: Vec<String> =
                addresses.iter().filter(|a| a.ip() == address.ip()).map(|a| a.port().to_string()).collect();
            match ports.as_slice() {
                [port] => format!("[{}]:{port}", address.ip()),
                ports => format!("[{}]:{{{}}}", address.ip(), ports.join(",")),
            }
        };
        if !out.contains(&shown) {
            out.push(shown);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(interfaces: &str, ports: &str, command_line: Option<&str>) -> Vec<String> {
        let wanted = Wanted {
            interfaces: interfaces.into(),
            ports: ports.into(),
            command_line: command_line.map(str::to_owned),
            disable_ipv6: false,
        };
        addresses(&wanted).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn interfaces_and_ports() {
        assert_eq!(
            listed("127.0.0.1 : 192.0.2.7.26", "25:587", None),
            ["127.0.0.1:25", "127.0.0.1:587", "192.0.2.7:26"]
        );
        assert_eq!(listed("<; ::1 ; [::1]:26", "smtp", None), ["[::1]:25", "[::1]:26"]);
        assert_eq!(listed("", "25", None), ["[::]:25", "0.0.0.0:25"]);
    }

    #[test]
    fn the_command_line_goes_before() {
        assert_eq!(listed("127.0.0.1.26", "25", Some("2525")), ["127.0.0.1:2525"]);
        assert_eq!(listed("127.0.0.1", "25", Some("127.0.0.3")), ["127.0.0.3:25"]);
        assert_eq!(
            listed("127.0.0.1", "25", Some("127.0.0.3:26:[127.0.0.4]")),
            ["127.0.0.3:26"]
                .map(str::to_owned)
                .to_vec()
                .into_iter()
                .chain(["127.0.0.4:26".to_owned()])
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn words_of_the_log() {
        let on = |ports: &[u16]| TlsAtOnce::Ports(ports.to_vec());
        let all = |items: &[&str]| -> Vec<SocketAddr> { items.iter().map(|i| i.parse().unwrap()).collect() };
        assert_eq!(
            shown(&all(&["[::]:2525", "[::]:2526", "0.0.0.0:2525", "0.0.0.0:2526"]), &on(&[2526])),
            "listening for SMTP on port 2525 (IPv6 and IPv4) and for SMTPS on port 2526 (IPv6 and IPv4)"
        );
        assert_eq!(
            shown(&all(&["127.0.0.1:2525", "127.0.0.1:2526"]), &on(&[])),
            "listening for SMTP on [127.0.0.1]:{2525,2526}"
        );
        assert_eq!(shown(&all(&["[::1]:25"]), &on(&[25])), "listening for SMTPS on [::1]:25");
        assert_eq!(shown(&all(&["[::1]:25"]), &TlsAtOnce::Everywhere), "listening for SMTPS on [::1]:25");
        assert_eq!(shown(&[], &on(&[])), "not listening for SMTP");
    }

    #[test]
    fn faulty_items() {
        let wanted = Wanted { interfaces: "nonsense".into(), ports: "25".into(), ..Wanted::default() };
        assert!(addresses(&wanted).is_err());
        assert!(port("no-such-port").is_err());
        assert_eq!(port("submission"), Ok(587));
    }
}

//! `oxim dane-check [-C FILE] [--json] [--port NUMBER] [--dns-only] DOMAIN`: what a sender that knows DANE would do with a domain (RFC 7672).
//!
//! Shows the mail exchangers, whether the DNS is secured on the whole way, the TLSA records, and how the certificate of each server
//! compares with them. Asks the DNS as the configuration says; says EHLO and STARTTLS to the servers, no more.
//!
//! Exit codes: 0 every host is verified by DANE, 1 DANE does not apply to some host and none is at fault, 2 mail to some host would be
//! deferred, 3 something could not be found out now, 64 wrong arguments.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oxim_lang::context::Context;
use oxim_net::dns::{BlockingResolver, Family, Lookup, Tlsa};
use oxim_net::smtp_client::{Connection, StartTls};
use oxim_net::socket::ConnectTarget;
use oxim_net::tls::client::ClientPolicy;
use oxim_net::tls::{Verify, dane};
use serde_json::{Value, json};

use crate::args::CommandLine;

const USAGE: &str = "usage: oxim dane-check [-C FILE] [--json] [--port NUMBER] [--dns-only] DOMAIN";
/// How long each step with a server may take.
const STEP_TIME: Duration = Duration::from_secs(20);

/// The arguments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    configuration: Option<Vec<u8>>,
    is_json: bool,
    port: u16,
    dns_only: bool,
    domain: String,
}

impl Order {
    /// Reads the words. None: they make no sense.
    pub(crate) fn read(words: &[Vec<u8>]) -> Option<Order> {
        let mut order =
            Order { configuration: None, is_json: false, port: 25, dns_only: false, domain: String::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_slice() {
                b"-C" => order.configuration = Some(words.next()?.clone()),
                b"--json" => order.is_json = true,
                b"--dns-only" => order.dns_only = true,
                b"--port" => {
                    order.port = std::str::from_utf8(words.next()?).ok()?.parse().ok().filter(|p| *p > 0)?
                }
                option if option.starts_with(b"-") => return None,
                domain if order.domain.is_empty() => {
                    let ascii = oxim_mail::idna::to_ascii(domain).ok()?;
                    order.domain = String::from_utf8(ascii).ok()?.trim_end_matches('.').to_ascii_lowercase();
                }
                _ => return None,
            }
        }
        (!order.domain.is_empty()).then_some(order)
    }

    /// The command line for the configuration that is read.
    pub(crate) fn line(&self) -> CommandLine {
        CommandLine::of_configuration(self.configuration.as_deref())
    }
}

/// Tells how it is called.
pub(crate) fn usage() -> u8 {
    complain!("{USAGE}");
    64
}

/// What a sender would do with a host; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Verified,
    NotApplied,
    Deferred,
    Unknown,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Verified => "verified",
            Verdict::NotApplied => "not applied",
            Verdict::Deferred => "deferred",
            Verdict::Unknown => "unknown",
        }
    }
}

/// What was found about one host.
struct Host {
    name: String,
    preference: Option<u16>,
    addresses: Vec<IpAddr>,
    is_secure: bool,
    /// The name with the records, and they.
    base: Option<String>,
    records: Vec<Tlsa>,
    verdict: Verdict,
    why: String,
}

struct Report {
    domain: String,
    /// Whether the MX records are secured; `None` if there are none.
    mx_is_secure: Option<bool>,
    hosts: Vec<Host>,
    verdict: Verdict,
    why: String,
}

struct Check<'a> {
    order: &'a Order,
    resolver: BlockingResolver,
    family: Family,
    helo: String,
}

/// Checks, shows, and gives the exit code.
pub(crate) fn run(context: &Context, order: &Order) -> u8 {
    let surroundings = context.services.surroundings.get();
    let Some((resolver, family)) = surroundings.and_then(|all| Some((all.resolver.clone()?, all.family)))
    else {
        complain!("there is no resolver");
        return 3;
    };
    let helo = context.config.main.primary_hostname.clone();
    let check = Check { order, resolver: resolver.with_dnssec(true), family, helo };
    let report = check.report();
    if order.is_json {
        say!("{}", report.json());
    } else {
        report.show();
    }
    report.verdict as u8
}

impl Check<'_> {
    fn report(&self) -> Report {
        let domain = self.order.domain.clone();
        let ended = |verdict, why: String| Report {
            domain: domain.clone(),
            mx_is_secure: None,
            hosts: Vec::new(),
            verdict,
            why,
        };
        let (mx_is_secure, names) = match self.resolver.mx(&domain) {
            Lookup::Found(answer) => {
                let mut records = answer.records;
                records.sort_by_key(|mx| mx.preference);
                if records.iter().all(|mx| mx.exchange.is_empty()) {
                    return ended(Verdict::NotApplied, "the domain takes no mail (null MX)".to_owned());
                }
                let names = records.into_iter().filter(|mx| !mx.exchange.is_empty());
                (Some(answer.secure), names.map(|mx| (Some(mx.preference), mx.exchange)).collect())
            }
            Lookup::NotThere(_) => (None, vec![(None, domain.clone())]),
            Lookup::AskAgain(reason) => {
                return ended(Verdict::Unknown, format!("the MX records cannot be looked up: {reason}"));
            }
        };
        let hosts: Vec<Host> = names
            .into_iter()
            .map(|(preference, name)| self.host(preference, name, mx_is_secure != Some(false)))
            .collect();
        let worst = hosts.iter().map(|host| host.verdict).max().unwrap_or(Verdict::Unknown);
        let why = match worst {
            Verdict::Verified => "mail goes only to servers that DANE verifies",
            Verdict::NotApplied => "some host is used without DANE",
            Verdict::Deferred => "mail to some host waits",
            Verdict::Unknown => "something could not be found out now",
        };
        Report { domain, mx_is_secure, hosts, verdict: worst, why: why.to_owned() }
    }

    fn host(&self, preference: Option<u16>, name: String, mx_is_good: bool) -> Host {
        let mut host = Host {
            name: name.clone(),
            preference,
            addresses: Vec::new(),
            is_secure: false,
            base: None,
            records: Vec::new(),
            verdict: Verdict::Unknown,
            why: String::new(),
        };
        let owner = match self.resolver.addresses_by_dns(&name, self.family) {
            Lookup::Found(answer) => {
                host.is_secure = answer.secure && mx_is_good;
                host.addresses = answer.records;
                answer.owner
            }
            Lookup::NotThere(_) => return host.with(Verdict::Deferred, "it has no address"),
            Lookup::AskAgain(reason) => {
                return host.with(Verdict::Unknown, format!("its addresses cannot be looked up: {reason}"));
            }
        };
        if !mx_is_good {
            return host.with(Verdict::NotApplied, "the MX records are not secured by DNSSEC");
        }
        if !host.is_secure {
            return host.with(Verdict::NotApplied, "its address is not secured by DNSSEC");
        }
        let mut insecure = false;
        let alias = (!owner.eq_ignore_ascii_case(&name)).then_some(name);
        for base in std::iter::once(owner).chain(alias) {
            match self.resolver.tlsa(&format!("_{}._tcp.{base}", self.order.port)) {
                Lookup::Found(answer) if answer.secure => {
                    (host.base, host.records) = (Some(base), answer.records);
                    break;
                }
                Lookup::Found(_) => insecure = true,
                Lookup::NotThere(_) => {}
                Lookup::AskAgain(reason) => {
                    let why = format!("its TLSA records cannot be looked up: {reason}");
                    return host.with(Verdict::Deferred, why);
                }
            }
        }
        if host.records.is_empty() {
            let why = if insecure {
                "its TLSA records are not secured by DNSSEC"
            } else {
                "it has no TLSA records"
            };
            return host.with(Verdict::NotApplied, why);
        }
        self.compare(host)
    }

    /// Looks at the certificates of the first address that answers.
    fn compare(&self, host: Host) -> Host {
        let records = dane::usable(&host.records);
        if records.is_empty() {
            return host.with(
                Verdict::NotApplied,
                "none of its TLSA records is of use: TLS is due, and not verified",
            );
        }
        if self.order.dns_only {
            return host.with(Verdict::Unknown, "its certificate was not looked at");
        }
        let base = host.base.clone().unwrap_or_default();
        let mut names = vec![base.clone()];
        if host.preference.is_some() {
            names.push(self.order.domain.clone());
        }
        let policy =
            ClientPolicy { verify: Verify::Require, names, tlsa: records, ..ClientPolicy::default() };
        let mut last = String::new();
        for address in &host.addresses {
            match self.dial(*address, &base, &policy) {
                Ok((verdict, why)) => return host.with(verdict, why),
                Err(reason) => last = format!("[{address}]: {reason}"),
            }
        }
        host.with(Verdict::Unknown, last)
    }

    /// The error is one of the network: another address may do better.
    fn dial(&self, address: IpAddr, sni: &str, policy: &ClientPolicy) -> Result<(Verdict, String), String> {
        let target = ConnectTarget::tcp(SocketAddr::new(address, self.order.port), STEP_TIME);
        let said = |error: oxim_net::smtp_client::SmtpError| error.to_string();
        let mut connection = Connection::connect(&target).map_err(said)?;
        let banner = connection.read_banner(STEP_TIME).map_err(said)?;
        if !banner.is_success() {
            return Err(format!("the server says {banner}"));
        }
        let hello = connection.ehlo(&self.helo, STEP_TIME).map_err(said)?;
        if !hello.is_success() || !connection.extensions().starttls {
            connection.quit(Duration::ZERO);
            return Ok((Verdict::Deferred, format!("[{address}]: the server does not offer TLS")));
        }
        let answer = match connection.starttls(Some(sni), policy, STEP_TIME) {
            Ok(StartTls::Started(facts)) => {
                let dn = facts.peer_dn.clone().unwrap_or_default();
                (Verdict::Verified, format!("[{address}]: {} {dn}", facts.cipher_field()))
            }
            Ok(StartTls::Refused(reply)) => {
                (Verdict::Deferred, format!("[{address}]: the server refuses TLS: {reply}"))
            }
            Err(oxim_net::smtp_client::SmtpError::Tls(error)) => {
                return Ok((Verdict::Deferred, format!("[{address}]: {error}")));
            }
            Err(error) => return Err(error.to_string()),
        };
        connection.quit(Duration::ZERO);
        Ok(answer)
    }
}

impl Host {
    fn with(self, verdict: Verdict, why: impl Into<String>) -> Host {
        Host { verdict, why: why.into(), ..self }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Report {
    fn show(&self) {
        let mx = match self.mx_is_secure {
            Some(true) => "MX records, secured by DNSSEC",
            Some(false) => "MX records, not secured by DNSSEC",
            None => "no MX records",
        };
        say!("{}: {mx}", self.domain);
        for host in &self.hosts {
            let preference = host.preference.map(|n| format!("{n} ")).unwrap_or_default();
            let addresses: Vec<String> = host.addresses.iter().map(|a| format!("[{a}]")).collect();
            let secured = if host.is_secure { "secured" } else { "not secured" };
            say!("  {preference}{} {} {secured}", host.name, addresses.join(" "));
            for record in &host.records {
                let is_usable = !dane::usable(std::slice::from_ref(record)).is_empty();
                let note = if is_usable { "" } else { " (of no use)" };
                let (usage, selector, matching) = (record.usage, record.selector, record.matching);
                say!("    TLSA {usage} {selector} {matching} {}{note}", hex(&record.data));
            }
            say!("    {}: {}", host.verdict.word(), host.why);
        }
        say!("{}: {}", self.verdict.word(), self.why);
    }

    fn json(&self) -> Value {
        let record = |record: &Tlsa| {
            json!({
                "usage": record.usage, "selector": record.selector, "matching": record.matching, "data": hex(&record.data),
                "usable": !dane::usable(std::slice::from_ref(record)).is_empty(),
            })
        };
        let host = |host: &Host| {
            json!({
                "name": host.name, "preference": host.preference,
                "addresses": host.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "dnssec": host.is_secure, "tlsa_base": host.base,
                "tlsa": host.records.iter().map(record).collect::<Vec<_>>(),
                "verdict": host.verdict.word(), "reason": host.why,
            })
        };
        json!({
            "domain": self.domain, "mx_dnssec": self.mx_is_secure,
            "hosts": self.hosts.iter().map(host).collect::<Vec<_>>(),
            "verdict": self.verdict.word(), "reason": self.why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(line: &str) -> Option<Order> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        Order::read(&words)
    }

    #[test]
    fn orders() {
        let read = order("--json --port 2525 Example.ORG.").unwrap();
        assert_eq!((read.domain.as_str(), read.port, read.is_json), ("example.org", 2525, true));
        for wrong in ["", "--json", "a b", "--port 0 a", "--port x a", "--what a", "--port"] {
            assert_eq!(order(wrong), None, "{wrong}");
        }
    }
}

//! The `iplookup` router: a server is asked, by UDP or TCP, which address stands for this one. Manual chapter 19.
//!
//! Hosts are asked in turn until one answers. Failure modes: when none does, the address is deferred, or passed on if the router is
//! `optional`; an answer that does not fit makes the router decline.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use oxim_base::Text;
use oxim_lang::config::{ConfigError, DriverRow, rows};
use oxim_lang::expand::{ExpandError, Template};
use oxim_lang::list::split;
use oxim_lang::regex::Regex;
use oxim_mail::address::AddressSyntax;
use oxim_net::socket::{ConnectTarget, Socket};

use super::{
    Build, Problem, RouterDriver, RouterKind, Run, TransportUse, Verdict, dns_hosts, error_code, prepare,
};
use crate::address::Address;

/// The row.
pub static IPLOOKUP: RouterKind = RouterKind {
    row: &DriverRow { name: "iplookup", options: rows::ROUTER_IPLOOKUP },
    transport: TransportUse::Forbidden,
    build,
};

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Udp,
    Tcp,
}

struct IpLookup {
    hosts: Vec<String>,
    port: u16,
    protocol: Protocol,
    timeout: Duration,
    is_optional: bool,
    query: Option<Template>,
    pattern: Option<Regex>,
    reroute: Option<Template>,
}

fn build(build: &Build<'_>) -> Result<Box<dyn RouterDriver>, ConfigError> {
    let options = &build.instance.options;
    let hosts = options.string("hosts").ok_or_else(|| build.error("a host list must be specified"))?;
    let port = u16::try_from(options.int("port")).ok().filter(|port| *port != 0);
    let protocol = match options.string("protocol") {
        None | Some("udp") => Protocol::Udp,
        Some("tcp") => Protocol::Tcp,
        Some(_) => return Err(build.error("protocol not specified as udp or tcp")),
    };
    let pattern = match options.string("response_pattern") {
        None => None,
        Some(text) => {
            let compiled = Regex::compile(text.as_bytes(), false);
            Some(compiled.map_err(|error| build.error(&error.describe(text.as_bytes())))?)
        }
    };
    Ok(Box::new(IpLookup {
        hosts: split(hosts.as_bytes())
            .filter(|host| !host.is_empty())
            .map(|host| String::from_utf8_lossy(&host).into_owned())
            .collect(),
        port: port.ok_or_else(|| build.error("a port must be specified"))?,
        protocol,
        timeout: options.time("timeout"),
        is_optional: options.bool("optional"),
        query: options.template("query"),
        pattern,
        reroute: options.template("reroute"),
    }))
}

impl RouterDriver for IpLookup {
    fn route(&self, run: &mut Run<'_>, address: &mut Address) -> Verdict {
        let captures = run.context.local.captures.clone();
        let verdict = self.try_route(run, address).unwrap_or_else(Verdict::Defer);
        run.context.local.captures = captures;
        verdict
    }
}

impl IpLookup {
    fn try_route(&self, run: &mut Run<'_>, address: &mut Address) -> Result<Verdict, Problem> {
        let own = [address.local_part.as_slice(), b"@", address.domain.as_slice()].concat();
        let query = match &self.query {
            None => [own.as_slice(), b" ", own.as_slice()].concat(),
            Some(template) => {
                template.expand(run.context).map_err(|error| expansion(run, template, &error))?.into_bytes()
            }
        };
        let Some(answer) = self.ask(run, &query)? else {
            if self.is_optional {
                return Ok(Verdict::Pass(None));
            }
            let text = format!("{} router: failed to communicate with any host", run.router.name);
            return Err(Problem::new(error_code::UNKNOWN, text));
        };
        let answer = Text::tainted(answer);
        let Some(captures) = self.fits(&answer, &own)? else { return Ok(Verdict::Decline(None)) };
        run.context.local.captures = captures;
        let wanted = match &self.reroute {
            None => answer.derive(first_word(answer.as_bytes()).0),
            Some(template) => {
                template.expand(run.context).map_err(|error| expansion(run, template, &error))?
            }
        };
        prepare::propagate(run, address)?;
        // A server is not the postmaster: only what is an address through and through goes on.
        let syntax =
            AddressSyntax { smtp_utf8: run.context.message.smtputf8, ..run.delivery.settings.syntax };
        let parsed = oxim_mail::address::parse(wanted.as_bytes(), &syntax);
        let Some(parsed) = parsed.ok().filter(|parsed| parsed.local_part_end.is_some()) else {
            let text =
                format!("{} router: reroute string {wanted} is not of the form user@domain", run.router.name);
            run.log(&text);
            return Err(Problem::new(error_code::UNKNOWN, text));
        };
        let parent = prepare::parent(run, address);
        let mut child = Address::child(&parent, parsed.address);
        child.start = run.router.generic.redirect_router;
        Ok(Verdict::Redirect(vec![child]))
    }

    /// What `$0`, `$1`… are if the answer belongs to the question; `None` if it does not.
    fn fits(&self, answer: &Text, own: &[u8]) -> Result<Option<Vec<Text>>, Problem> {
        match &self.pattern {
            Some(pattern) => pattern
                .captures(answer)
                .map_err(|error| Problem::new(error_code::UNKNOWN, error.describe(b"response_pattern"))),
            None if self.query.is_some() => Ok(Some(vec![answer.clone()])),
            // The question was the address twice: the answer ends with the second of them.
            None => {
                let (_, rest) = first_word(answer.as_bytes());
                Ok(rest.eq_ignore_ascii_case(own).then(|| vec![answer.clone()]))
            }
        }
    }

    /// The first answer that any host gives, without the line end behind it.
    fn ask(&self, run: &mut Run<'_>, query: &[u8]) -> Result<Option<Vec<u8>>, Problem> {
        for host in &self.hosts {
            for address in addresses(run, host)? {
                let target = SocketAddr::new(address, self.port);
                let answer = match self.protocol {
                    Protocol::Udp => by_udp(target, query, self.timeout),
                    Protocol::Tcp => by_tcp(target, query, self.timeout),
                };
                match answer {
                    Ok(answer) if !answer.is_empty() => {
                        return Ok(Some(answer.trim_ascii_end().to_vec()));
                    }
                    Ok(_) => oxim_base::debug::line(oxim_base::debug::ROUTE, || {
                        format!("{host} [{address}] says nothing")
                    }),
                    Err(error) => {
                        oxim_base::debug::line(oxim_base::debug::ROUTE, || {
                            format!("{host} [{address}]: {}", oxim_base::errno::error_text(&error))
                        });
                    }
                }
            }
        }
        Ok(None)
    }
}

fn expansion(run: &Run<'_>, template: &Template, error: &ExpandError) -> Problem {
    let source = String::from_utf8_lossy(template.source_bytes());
    let text = format!("{} router: failed to expand {source}: {error}", run.router.name);
    Problem::new(error_code::UNKNOWN, text)
}

/// What stands before the first white space, and what behind it.
fn first_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.trim_ascii_start())
}

/// The addresses of a host; none if it has none, or if the DNS does not say: the next host is asked then.
fn addresses(run: &mut Run<'_>, host: &str) -> Result<Vec<IpAddr>, Problem> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let family = dns_hosts::family(run, host, false)?;
    Ok(dns_hosts::resolver(run)?.addresses_of(host, family).records().unwrap_or_default())
}

fn by_udp(target: SocketAddr, query: &[u8], timeout: Duration) -> std::io::Result<Vec<u8>> {
    let here: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((here, 0))?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(timeout).filter(|t| !t.is_zero()))?;
    socket.send(query)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// One read, as the answer has no end but that of the packet.
fn by_tcp(target: SocketAddr, query: &[u8], timeout: Duration) -> std::io::Result<Vec<u8>> {
    let mut socket = Socket::connect(&ConnectTarget::tcp(target, timeout))?;
    socket.begin_step(timeout);
    socket.write_all(query)?;
    socket.flush()?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = socket.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(first_word(b"a@x.ex  b@y.ex"), (&b"a@x.ex"[..], &b"b@y.ex"[..]));
        assert_eq!(first_word(b"a@x.ex"), (&b"a@x.ex"[..], &b""[..]));
        assert_eq!(first_word(b""), (&b""[..], &b""[..]));
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let answer = by_udp(silent.local_addr().unwrap(), b"x", Duration::from_millis(50));
        assert!(answer.is_err());
    }
}

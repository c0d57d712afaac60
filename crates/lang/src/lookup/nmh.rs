//! The `nmh` lookup: whether an address is in a table of a daemon that is asked by one datagram.
//!
//! The key is an IP address or network. In the place of the file stands the daemon: `@name` (an abstract Unix socket), `/path`, or
//! a host with the option `port=`. Sent are the name of the table, a zero byte, `?` (or `+`, `-` with the options `add`, `sub`) and
//! the key; one byte comes back: `2` yes, `1` a part of the network only, `0` no. "No" is found, and empty. Silence and any
//! other byte defer. Facts: the newer editions of the manual; docs/features/lookups.md.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::files::reason;
use super::service::wire;
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;
use crate::list::network::Network;
use crate::list::surroundings;

/// The row.
pub(super) static NMH: LookupKind = LookupKind {
    name: "nmh",
    style: Style::KeyedFile(open),
    doc: "IP address or network in a table of a daemon, which is asked by a datagram to @abstract, /path or a host; \
          options port=, unix, udp, tmo=, table=, add, sub, partial",
};

/// How long the daemon may take unless `tmo=` says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

struct Daemon(Vec<u8>);

fn open(name: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    Ok(Arc::new(Daemon(name.to_vec())))
}

/// What the options ask for.
#[derive(Debug, PartialEq, Eq)]
struct Manner<'a> {
    port: Option<u16>,
    is_unix: bool,
    patience: Duration,
    table: &'a str,
    action: u8,
    takes_part: bool,
}

impl<'a> Manner<'a> {
    fn of(lookup: &'a LookupType, name: &[u8]) -> Result<Manner<'a>, String> {
        let number = |option: &str| {
            lookup.option(option).map(|text| {
                text.parse::<u16>()
                    .ok()
                    .filter(|number| *number > 0)
                    .ok_or_else(|| format!("bad value \"{text}\" of {option}="))
            })
        };
        let has = |option: &str| lookup.option(option).is_some();
        Ok(Manner {
            port: number("port").transpose()?,
            is_unix: has("unix") || (!has("udp") && matches!(name.first(), Some(b'@' | b'/'))),
            patience: number("tmo").transpose()?.map_or(PATIENCE, |s| Duration::from_secs(s.into())),
            table: lookup.option("table").unwrap_or("default"),
            action: match (has("add"), has("sub")) {
                (true, false) => b'+',
                (false, true) => b'-',
                (false, false) => b'?',
                (true, true) => return Err("add and sub exclude each other".to_owned()),
            },
            takes_part: has("partial"),
        })
    }
}

/// A name for our end, without which the daemon could not answer.
fn own_name() -> io::Result<UnixAddr> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    UnixAddr::from_abstract_name(format!("oxim-nmh-{}-{count}", std::process::id()))
}

fn over_unix(name: &[u8], request: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let there = match name.strip_prefix(b"@") {
        Some(name) => UnixAddr::from_abstract_name(name)?,
        None => UnixAddr::from_pathname(Path::new(OsStr::from_bytes(name)))?,
    };
    let socket = UnixDatagram::bind_addr(&own_name()?)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    socket.connect_addr(&there)?;
    socket.send(request)?;
    let mut answer = [0; 2];
    let length = socket.recv(&mut answer)?;
    Ok(answer.get(..length).unwrap_or_default().to_vec())
}

fn over_udp(address: SocketAddr, request: &[u8], patience: Duration) -> io::Result<Vec<u8>> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_read_timeout(Some(patience))?;
    socket.connect(address)?;
    socket.send(request)?;
    let mut answer = [0; 2];
    let length = socket.recv(&mut answer)?;
    Ok(answer.get(..length).unwrap_or_default().to_vec())
}

impl Daemon {
    fn ask(&self, context: &Context, manner: &Manner<'_>, request: &[u8]) -> Result<Vec<u8>, String> {
        let name = String::from_utf8_lossy(&self.0).into_owned();
        let answer = if manner.is_unix {
            over_unix(&self.0, request, manner.patience)
        } else {
            let port = manner.port.ok_or_else(|| format!("nmh lookup: no port for \"{name}\""))?;
            let address = wire::addresses(context, &name)?
                .first()
                .copied()
                .ok_or_else(|| format!("no address for {name}"))?;
            over_udp(SocketAddr::new(address, port), request, manner.patience)
        };
        answer.map_err(|error| {
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
                surroundings::log_panic(context, &format!("Timeout on nmh lookup on \"{name}\""));
                return "read timed out".to_owned();
            }
            format!("nmh lookup on \"{name}\": {}", reason(&error))
        })
    }
}

impl KeyedFile for Daemon {
    fn find(
        &self,
        context: &mut Context,
        key: &[u8],
        lookup: &LookupType,
    ) -> Result<Option<Vec<u8>>, String> {
        if Network::parse(key).is_none() {
            return Err(format!("\"{}\" is not an IP address or network", String::from_utf8_lossy(key)));
        }
        let manner = Manner::of(lookup, &self.0)?;
        let request = [manner.table.as_bytes(), &[0, manner.action], key].concat();
        let answer = self.ask(context, &manner, &request)?;
        match answer.as_slice() {
            b"2" => Ok(Some(b"yes".to_vec())),
            b"1" if manner.takes_part => Ok(Some(b"yes".to_vec())),
            b"0" | b"1" => Ok(Some(Vec::new())),
            _ => Err("bad response value".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxim_base::Text;

    fn look(options: &str, name: &str, key: &str) -> Result<String, String> {
        let lookup = LookupType::parse(&format!("nmh{options}")).unwrap();
        crate::lookup::find(&mut Context::default(), &lookup, Some(&Text::tainted(key)), &Text::from(name))
            .map(|found| found.map_or("NF".to_owned(), |found| found.data.to_string()))
            .map_err(|error| error.text().to_owned())
    }

    /// Answers by the last figure of the key, and gives back what it was asked.
    fn answer_of(request: &[u8]) -> &'static [u8] {
        match request.last() {
            Some(b'1') => b"1",
            Some(b'2') => b"2",
            Some(b'3') => b"x",
            _ => b"0",
        }
    }

    #[test]
    fn a_daemon_on_a_unix_socket_is_asked() {
        let name = format!("oxim-nmh-test-{}", std::process::id());
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let server = std::thread::spawn(move || {
            let mut seen = Vec::new();
            let mut buffer = [0; 256];
            for _ in 0..6 {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                seen.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
                socket.send_to_addr(answer_of(&buffer[..length]), &from).unwrap();
            }
            seen
        });
        let name = format!("@{name}");
        assert_eq!(look("", &name, "192.0.2.2").unwrap(), "yes");
        assert_eq!(look("", &name, "192.0.2.1").unwrap(), "");
        assert_eq!(look(",partial", &name, "192.0.2.1").unwrap(), "yes");
        assert_eq!(look(",table=a,add", &name, "2001:db8::/40").unwrap(), "");
        assert_eq!(look(",sub,tmo=2", &name, "192.0.2.0").unwrap(), "");
        assert_eq!(look("", &name, "192.0.2.3").unwrap_err(), "bad response value");
        assert_eq!(
            server.join().unwrap(),
            [
                "default\0?192.0.2.2",
                "default\0?192.0.2.1",
                "default\0?192.0.2.1",
                "a\0+2001:db8::/40",
                "default\0-192.0.2.0",
                "default\0?192.0.2.3"
            ]
        );
    }

    #[test]
    fn a_daemon_on_the_network_is_asked_and_a_silent_one_defers() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let mut buffer = [0; 256];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            socket.send_to(answer_of(&buffer[..length]), from).unwrap();
            // The second question is left without an answer.
            socket.recv_from(&mut buffer).unwrap();
            socket
        });
        assert_eq!(look(&format!(",port={port}"), "127.0.0.1", "192.0.2.2").unwrap(), "yes");
        let silent = look(&format!(",port={port},tmo=1"), "127.0.0.1", "192.0.2.2");
        assert_eq!(silent.unwrap_err(), "read timed out");
        drop(server.join().unwrap());
    }

    #[test]
    fn what_cannot_be_asked_defers() {
        assert!(look("", "127.0.0.1", "192.0.2.1").unwrap_err().contains("no port"));
        assert!(look("", "/nonexistent/socket", "192.0.2.1").unwrap_err().contains("No such file"));
        assert!(look("", "@x", "host.ex").unwrap_err().contains("not an IP address"));
        for bad in [",port=0,udp", ",port=x", ",tmo=", ",add,sub"] {
            assert!(look(bad, "@x", "192.0.2.1").is_err(), "{bad}");
        }
    }
}

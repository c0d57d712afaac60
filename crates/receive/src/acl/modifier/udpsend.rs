//! The `udpsend` modifier: sends its text to a server in one UDP packet, for statistics. Manual section 44.21.
//!
//! Nobody waits for an answer, and a packet that cannot be sent is lost, as any may be. Failure modes: parameters that make no sense and a
//! server without address make the ACL faulty.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use oxim_base::Text;
use oxim_base::errno::error_text;
use oxim_net::dns::Family;

use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "udpsend",
    doc: "Sends a UDP packet.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(Send))
}

#[derive(Debug)]
struct Send;

/// Where a packet goes, and what is in it.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    host: String,
    port: u16,
    data: Vec<u8>,
}

/// The text up to the next separator, where a doubled one stands for itself; and what follows, if anything does.
fn field(text: &[u8], separator: u8) -> (Vec<u8>, Option<&[u8]>) {
    let mut field = Vec::new();
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != separator {
            field.push(byte);
        } else if let Some(tail) = rest.strip_prefix(&[separator]) {
            field.push(separator);
            rest = tail;
        } else {
            return (field, Some(rest));
        }
    }
    (field, None)
}

fn parse(argument: &[u8]) -> Result<Packet, String> {
    let (separator, rest) = match argument.trim_ascii_start() {
        [b'<', separator, rest @ ..] if separator.is_ascii_punctuation() => (*separator, rest),
        rest => (b':', rest),
    };
    let fault = |what: &str| format!("{what} in \"udpsend\" modifier");
    if rest.is_empty() {
        return Err(fault("missing destination host"));
    }
    let (host, rest) = field(rest, separator);
    let (port, rest) = field(rest.ok_or_else(|| fault("missing destination port"))?, separator);
    let port = String::from_utf8_lossy(&port).trim().parse().map_err(|_| fault("bad destination port"))?;
    // Whatever follows is the packet, as it stands.
    let data = rest.unwrap_or_default().to_vec();
    Ok(Packet { host: String::from_utf8_lossy(&host).trim().to_owned(), port, data })
}

impl Modifier for Send {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let packet = parse(argument.as_bytes())?;
        let address = match packet.host.parse::<IpAddr>() {
            Ok(address) => Some(address),
            Err(_) => run
                .reception
                .resolver
                .as_ref()
                .and_then(|resolver| resolver.addresses_of(&packet.host, Family::default()).records())
                .and_then(|found| found.first().copied()),
        };
        let address = address.ok_or_else(|| "DNS lookup failed in \"udpsend\" modifier".to_owned())?;
        let here: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sent = UdpSocket::bind((here, 0)).and_then(|s| s.send_to(&packet.data, (address, packet.port)));
        if let Err(error) = sent {
            run.trace(|| format!("udpsend: {}", error_text(&error)));
        }
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(host: &str, port: u16, data: &str) -> Result<Packet, String> {
        Ok(Packet { host: host.to_owned(), port, data: data.as_bytes().to_vec() })
    }

    #[test]
    fn three_fields_of_which_the_last_is_the_rest() {
        assert_eq!(parse(b"192.0.2.1:99:one:two"), packet("192.0.2.1", 99, "one:two"));
        assert_eq!(parse(b"2001::db8::::1 : 99 :x"), packet("2001:db8::1", 99, "x"));
        assert_eq!(parse(b"<; 2001:db8::1 ; 99 ; a;b "), packet("2001:db8::1", 99, " a;b "));
        assert_eq!(parse(b"<; host.ex;99"), packet("host.ex", 99, ""));
        for (text, fault) in [
            ("", "missing destination host in \"udpsend\" modifier"),
            ("host", "missing destination port in \"udpsend\" modifier"),
            ("<; host;x;y", "bad destination port in \"udpsend\" modifier"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), fault);
        }
    }
}

//! The PROXY protocol, versions 1 and 2, as its receiver: who a proxy speaks for (HAProxy's `proxy-protocol.txt`).
//!
//! [`read_header`] takes exactly the header from the stream, in whatever pieces it comes, so that a TLS handshake may
//! follow. It is strict: one space between fields, decimal ports from 1 to 65535, addresses of the family that is named.
//! The caller bounds the time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// First bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, in bytes, with CR LF.
const LINE_BYTES_MAX: usize = 107;
/// Longest body of version 2, in bytes: addresses and what a proxy may add about TLS.
const BODY_BYTES_MAX: usize = 4_096;

/// What a proxy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// It is the proxy's own, or it does not know for whom it is: the addresses of the socket stand.
    Own,
    /// It is relayed.
    Relayed {
        /// The client.
        client: SocketAddr,
        /// Where the client connected to.
        target: SocketAddr,
    },
}

/// Why there is no header.
#[derive(Debug)]
pub enum HeaderError {
    /// The bytes are no header of either version, or one of a command or family that mail has no use for.
    Malformed,
    /// The connection ended or broke.
    Lost(std::io::Error),
}

impl From<std::io::Error> for HeaderError {
    fn from(error: std::io::Error) -> HeaderError {
        HeaderError::Lost(error)
    }
}

/// Reads a header.
///
/// # Errors
/// See [`HeaderError`]. Of other input the first line is taken, or as much as the longest header of version 1.
pub async fn read_header<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, HeaderError> {
    let mut bytes = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut bytes).await?;
    if bytes == SIGNATURE {
        return read_binary(stream).await;
    }
    let is_text = bytes.starts_with(b"PROXY ");
    while !bytes.ends_with(b"\n") {
        // Only as much as must still come, lest anything after the line be taken.
        let wanted = if is_text { least_to_come(&bytes) } else { 1 };
        let start = bytes.len();
        let end = start.saturating_add(wanted);
        if end > LINE_BYTES_MAX {
            return Err(HeaderError::Malformed);
        }
        bytes.resize(end, 0);
        let read = stream.read(bytes.get_mut(start..).unwrap_or_default()).await?;
        if read == 0 {
            return Err(HeaderError::Lost(std::io::ErrorKind::UnexpectedEof.into()));
        }
        bytes.truncate(start.saturating_add(read));
    }
    if is_text { parse_line(&bytes).ok_or(HeaderError::Malformed) } else { Err(HeaderError::Malformed) }
}

/// How many bytes a line of version 1 lacks at least: five spaces with a character after each, and CR LF.
fn least_to_come(line: &[u8]) -> usize {
    if line.ends_with(b"\r") {
        return 1;
    }
    if line.starts_with(b"PROXY U") {
        return 2;
    }
    let spaces = line.iter().filter(|b| **b == b' ').count();
    let fields = 5_usize.saturating_sub(spaces).saturating_mul(2);
    fields.saturating_add(2)
}

/// A line of version 1, with its CR LF.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(line).ok()?.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Some(Header::Own);
    }
    let mut fields = text.split(' ');
    let family = fields.next()?;
    let (client, target) = (fields.next()?, fields.next()?);
    let (client, target): (IpAddr, IpAddr) = match family {
        "TCP4" => (client.parse::<Ipv4Addr>().ok()?.into(), target.parse::<Ipv4Addr>().ok()?.into()),
        "TCP6" => (client.parse::<Ipv6Addr>().ok()?.into(), target.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    let (client_port, target_port) = (port(fields.next()?)?, port(fields.next()?)?);
    let header = Header::Relayed {
        client: SocketAddr::new(client, client_port),
        target: SocketAddr::new(target, target_port),
    };
    fields.next().is_none().then_some(header)
}

fn port(text: &str) -> Option<u16> {
    let is_decimal = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_decimal)
}

async fn read_binary<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Header, HeaderError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > BODY_BYTES_MAX {
        return Err(HeaderError::Malformed);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    parse_binary(command, family, &body).ok_or(HeaderError::Malformed)
}

/// What follows the signature of version 2: version and command, family and protocol, body.
#[must_use]
pub fn parse_binary(command: u8, family: u8, body: &[u8]) -> Option<Header> {
    match (command, family) {
        (0x20, _) => Some(Header::Own),
        (0x21, 0x11) => {
            let (client, rest) = body.split_first_chunk::<4>()?;
            let (target, rest) = rest.split_first_chunk::<4>()?;
            relayed(Ipv4Addr::from(*client).into(), Ipv4Addr::from(*target).into(), rest)
        }
        (0x21, 0x21) => {
            let (client, rest) = body.split_first_chunk::<16>()?;
            let (target, rest) = rest.split_first_chunk::<16>()?;
            relayed(Ipv6Addr::from(*client).into(), Ipv6Addr::from(*target).into(), rest)
        }
        _ => None,
    }
}

fn relayed(client: IpAddr, target: IpAddr, ports: &[u8]) -> Option<Header> {
    let (client_port, rest) = ports.split_first_chunk::<2>()?;
    let (target_port, _) = rest.split_first_chunk::<2>()?;
    Some(Header::Relayed {
        client: SocketAddr::new(client, u16::from_be_bytes(*client_port)),
        target: SocketAddr::new(target, u16::from_be_bytes(*target_port)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(client: &str, target: &str) -> Option<Header> {
        Some(Header::Relayed { client: client.parse().unwrap(), target: target.parse().unwrap() })
    }

    #[test]
    fn lines() {
        let v4 = relayed("192.0.2.5:4321", "198.51.100.9:25");
        let v6 = relayed("[2001:db8::5]:4321", "[2001:db8::9]:25");
        for (line, expected) in [
            ("PROXY TCP4 192.0.2.5 198.51.100.9 4321 25\r\n", v4),
            ("PROXY TCP6 2001:db8::5 2001:db8::9 4321 25\r\n", v6),
            ("PROXY UNKNOWN\r\n", Some(Header::Own)),
            ("PROXY UNKNOWN ffff:f::f 1 2\r\n", Some(Header::Own)),
            ("PROXY TCP4  192.0.2.5 198.51.100.9 4321 25\r\n", None),
            ("PROXY TCP4 192.0.2.500 198.51.100.9 4321 25\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 0 25\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 70000 25\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 +1 25\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 01 25\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 4321 25 x\r\n", None),
            ("PROXY TCP4 2001:db8::5 2001:db8::9 4321 25\r\n", None),
            ("proxy TCP4 192.0.2.5 198.51.100.9 4321 25\r\n", None),
            ("PROXY UNKNOWNX\r\n", None),
            ("PROXY TCP4 192.0.2.5 198.51.100.9 4321 25\n", None),
        ] {
            assert_eq!(parse_line(line.as_bytes()), expected, "{line}");
        }
    }

    /// Every version, command, family, protocol and length up to 300.
    #[test]
    fn binary_headers() {
        let (v4, v6) = (
            relayed("0.1.2.3:2057", "4.5.6.7:2571"),
            relayed("[1:203:405:607:809:a0b:c0d:e0f]:8225", "[1011:1213:1415:1617:1819:1a1b:1c1d:1e1f]:8739"),
        );
        let body: Vec<u8> = (0..300_u16).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for command in 0..=255_u8 {
            for family in 0..=255_u8 {
                for length in 0..=body.len() {
                    let header = parse_binary(command, family, &body[..length]);
                    let expected = match (command, family) {
                        (0x20, _) => Some(Header::Own),
                        (0x21, 0x11) if length >= 12 => v4,
                        (0x21, 0x21) if length >= 36 => v6,
                        _ => None,
                    };
                    assert_eq!(header, expected, "{command:x} {family:x} {length}");
                }
            }
        }
    }

    /// The lines of section 2.1 of the specification, and its longest ones.
    #[test]
    fn examples_of_the_specification() {
        let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        for (line, expected) in [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n".to_owned(),
                relayed("255.255.255.255:65535", "255.255.255.255:65535"),
            ),
            (
                format!("PROXY TCP6 {full} {full} 65535 65535\r\n"),
                relayed(&format!("[{full}]:65535"), &format!("[{full}]:65535")),
            ),
            ("PROXY UNKNOWN\r\n".to_owned(), Some(Header::Own)),
            (format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n"), Some(Header::Own)),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_owned(),
                relayed("192.168.0.1:56324", "192.168.0.11:443"),
            ),
        ] {
            assert!(line.len() <= LINE_BYTES_MAX);
            assert_eq!(parse_line(line.as_bytes()), expected, "{line}");
            let read =
                block_on(async { read_header(&mut format!("{line}GET / HTTP/1.1\r\n").as_bytes()).await });
            assert_eq!(read.ok(), expected, "{line}");
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// In pieces of every size; what follows stays in the stream.
    #[test]
    fn nothing_after_the_header_is_taken() {
        let mut binary = [SIGNATURE.as_slice(), b"\x21\x11\x00\x0f"].concat();
        binary.extend_from_slice(&[192, 0, 2, 5, 198, 51, 100, 9, 0x10, 0xe1, 0, 25, 4, 0, 0]);
        let headers: [&[u8]; 3] =
            [b"PROXY TCP4 192.0.2.5 198.51.100.9 4321 25\r\n", b"PROXY UNKNOWN\r\n", &binary];
        for header in headers {
            for size in 1..header.len() {
                block_on(async {
                    let (mut sender, mut receiver) = tokio::io::duplex(size);
                    let input = [header, b"rest"].concat();
                    let writing = tokio::spawn(async move {
                        tokio::io::AsyncWriteExt::write_all(&mut sender, &input).await.unwrap();
                    });
                    assert!(read_header(&mut receiver).await.is_ok());
                    let mut rest = Vec::new();
                    receiver.read_to_end(&mut rest).await.unwrap();
                    assert_eq!(rest, b"rest");
                    writing.await.unwrap();
                });
            }
        }
    }

    #[test]
    fn other_input_is_taken_up_to_its_line_end() {
        block_on(async {
            let mut input: &[u8] = b"EHLO client.example\r\nQUIT\r\n";
            assert!(matches!(read_header(&mut input).await, Err(HeaderError::Malformed)));
            assert_eq!(input, b"QUIT\r\n");
            let long = [b'x'; 300];
            let mut input: &[u8] = &long;
            assert!(matches!(read_header(&mut input).await, Err(HeaderError::Malformed)));
            assert_eq!(input.len(), 300 - LINE_BYTES_MAX);
            let mut input: &[u8] = b"PROXY TCP4 1";
            assert!(matches!(read_header(&mut input).await, Err(HeaderError::Lost(_))));
        });
    }
}

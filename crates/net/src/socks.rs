//! A connection by way of a SOCKS 5 proxy (RFC 1928), with user name and password if it wants them (RFC 1929).
//!
//! The target is always an address: names are looked up by us. One method is offered, that of the proxy's own settings. Not a
//! byte is read beyond the proxy's answer, since what follows is the server's. Every step ends at the socket's deadline.
//!
//! Failure: the socket's, a proxy that speaks something else, or that refuses; [`SocksError`] tells each in its own words, and
//! as the errno that Exim shows for it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;

/// The protocol's version.
const VERSION: u8 = 5;
/// No authentication.
const METHOD_NONE: u8 = 0;
/// User name and password.
const METHOD_LOGIN: u8 = 2;
/// Answers of the two subprotocols that mean success.
const SUCCESS: u8 = 0;
/// The version of RFC 1929.
const LOGIN_VERSION: u8 = 1;

/// User name and password, each of at most 255 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    name: Vec<u8>,
    password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(***)")
    }
}

impl Login {
    /// None if one of them is too long for the protocol.
    #[must_use]
    pub fn new(name: &[u8], password: &[u8]) -> Option<Login> {
        let fits = |text: &[u8]| u8::try_from(text.len()).is_ok();
        (fits(name) && fits(password)).then(|| Login { name: name.to_vec(), password: password.to_vec() })
    }
}

/// Why there is no way through the proxy.
#[derive(Debug)]
pub enum SocksError {
    /// The connection to it.
    Io(io::Error),
    /// It ended the connection in the middle of an answer.
    Closed,
    /// It does not speak version 5: the byte in the version's place.
    NotSocks(u8),
    /// It wants a method that was not offered; 255 means that it takes none of those offered.
    Method(u8),
    /// It refused name and password.
    Login,
    /// It refused the connection, with this code.
    Refused(u8),
    /// The address in its answer is of no kind that there is.
    AddressType(u8),
}

impl From<io::Error> for SocksError {
    fn from(error: io::Error) -> SocksError {
        if error.kind() == io::ErrorKind::UnexpectedEof { SocksError::Closed } else { SocksError::Io(error) }
    }
}

impl fmt::Display for SocksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SocksError::Io(error) => f.write_str(&oxim_base::errno::error_text(error)),
            SocksError::Closed => f.write_str("connection closed in the middle of an answer"),
            SocksError::NotSocks(byte) => write!(f, "answer is not SOCKS 5 (first byte {byte})"),
            SocksError::Method(255) => f.write_str("no acceptable authentication method"),
            SocksError::Method(method) => write!(f, "unrecognised authentication method {method}"),
            SocksError::Login => f.write_str("user name or password refused"),
            SocksError::Refused(code) => {
                let text = match code {
                    1 => "general failure",
                    2 => "connection not allowed by ruleset",
                    3 => "network unreachable",
                    4 => "host unreachable",
                    5 => "connection refused",
                    6 => "TTL expired",
                    7 => "command not supported",
                    8 => "address type not supported",
                    _ => "unknown failure",
                };
                write!(f, "{text} (reply {code})")
            }
            SocksError::AddressType(kind) => write!(f, "unknown type of address {kind} in the answer"),
        }
    }
}

impl std::error::Error for SocksError {}

impl SocksError {
    /// The error as the errno that a deferral shows.
    #[must_use]
    pub fn into_io(self) -> io::Error {
        let errno = match self {
            SocksError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Errno::TIMEDOUT,
            SocksError::Io(error) => return error,
            SocksError::Closed
            | SocksError::NotSocks(_)
            | SocksError::Method(_)
            | SocksError::AddressType(_) => Errno::PROTO,
            SocksError::Login => Errno::ACCESS,
            SocksError::Refused(code) => match code {
                1 => Errno::IO,
                2 => Errno::ACCESS,
                3 => Errno::NETUNREACH,
                4 => Errno::HOSTUNREACH,
                5 => Errno::CONNREFUSED,
                6 => Errno::CANCELED,
                7 => Errno::OPNOTSUPP,
                8 => Errno::AFNOSUPPORT,
                _ => Errno::PROTO,
            },
        };
        io::Error::from_raw_os_error(errno.raw_os_error())
    }
}

/// Asks the proxy at the other end of a stream for a connection to an address. Gives the address that it connects from, if it
/// tells one; the stream leads to the target then.
///
/// # Errors
/// See [`SocksError`]. The stream is of no use after one.
pub fn request(
    stream: &mut (impl Read + Write),
    login: Option<&Login>,
    to: SocketAddr,
) -> Result<Option<SocketAddr>, SocksError> {
    let method = if login.is_some() { METHOD_LOGIN } else { METHOD_NONE };
    stream.write_all(&[VERSION, 1, method])?;
    stream.flush()?;
    let [version, chosen] = take(stream)?;
    if version != VERSION {
        return Err(SocksError::NotSocks(version));
    }
    match (chosen, login) {
        // It may do without what it was offered.
        (METHOD_NONE, _) => {}
        (METHOD_LOGIN, Some(login)) => authenticate(stream, login)?,
        (other, _) => return Err(SocksError::Method(other)),
    }
    stream.write_all(&connect_command(to))?;
    stream.flush()?;
    let [version, code, _, kind] = take(stream)?;
    if version != VERSION {
        return Err(SocksError::NotSocks(version));
    }
    if code != SUCCESS {
        return Err(SocksError::Refused(code));
    }
    let ip: Option<IpAddr> = match kind {
        1 => Some(Ipv4Addr::from(take::<4>(stream)?).into()),
        3 => {
            let [length] = take(stream)?;
            stream.read_exact(&mut vec![0; usize::from(length)])?;
            None
        }
        4 => Some(Ipv6Addr::from(take::<16>(stream)?).into()),
        other => return Err(SocksError::AddressType(other)),
    };
    let port = u16::from_be_bytes(take(stream)?);
    Ok(ip.map(|ip| SocketAddr::new(ip, port)))
}

fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn authenticate(stream: &mut (impl Read + Write), login: &Login) -> Result<(), SocksError> {
    let mut command = vec![LOGIN_VERSION];
    for text in [&login.name, &login.password] {
        command.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        command.extend_from_slice(text);
    }
    stream.write_all(&command)?;
    stream.flush()?;
    match take(stream)? {
        [LOGIN_VERSION, SUCCESS] => Ok(()),
        _ => Err(SocksError::Login),
    }
}

fn connect_command(to: SocketAddr) -> Vec<u8> {
    let mut command = vec![VERSION, 1, 0];
    match to.ip().to_canonical() {
        IpAddr::V4(ip) => {
            command.push(1);
            command.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            command.push(4);
            command.extend_from_slice(&ip.octets());
        }
    }
    command.extend_from_slice(&to.port().to_be_bytes());
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// What a proxy says, and what it hears.
    struct Script {
        says: Cursor<Vec<u8>>,
        hears: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.says.read(buffer)
        }
    }

    impl Write for Script {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.hears.extend_from_slice(buffer);
            Ok(buffer.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const SECRET: &[u8] = b"\x01\x04user\x06secret";

    fn run(says: &[u8], login: bool, to: &str) -> (Result<Option<SocketAddr>, String>, Vec<u8>, u64) {
        let mut script = Script { says: Cursor::new(says.to_vec()), hears: Vec::new() };
        let login = login.then(|| Login::new(b"user", b"secret").unwrap());
        let got = request(&mut script, login.as_ref(), to.parse().unwrap()).map_err(|e| e.to_string());
        (got, script.hears, script.says.position())
    }

    #[test]
    fn without_and_with_a_login_over_both_families() {
        let (got, heard, read) =
            run(b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x0c\x1d220 mx", false, "127.0.0.1:3101");
        assert_eq!(got, Ok(Some("127.0.0.1:3101".parse().unwrap())));
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x0c\x1d");
        assert_eq!(read, 12, "the banner is the server's");
        let answer = [&b"\x05\x02\x01\x00\x05\x00\x00\x04"[..], &[0; 15], &[1, 0, 25]].concat();
        let (got, heard, _) = run(&answer, true, "[::1]:25");
        assert_eq!(got, Ok(Some("[::1]:25".parse().unwrap())));
        let command = [b"\x05\x01\x02", SECRET, b"\x05\x01\x00\x04", &[0; 15], &[1, 0, 25]].concat();
        assert_eq!(heard, command);
        // A proxy that does without the login, and one that tells a name.
        let (got, heard, _) = run(b"\x05\x00\x05\x00\x00\x03\x02ab\x00\x19", true, "10.0.0.1:25");
        assert_eq!((got, heard.len()), (Ok(None), 13));
        assert!(Login::new(&[b'x'; 256], b"").is_none());
    }

    #[test]
    fn each_refusal_has_its_words_and_its_errno() {
        let (got, heard, _) = run(b"\x04\x00", false, "10.0.0.1:25");
        assert_eq!((got, heard.len()), (Err("answer is not SOCKS 5 (first byte 4)".to_owned()), 3));
        let text = |says: &[u8], login| run(says, login, "10.0.0.1:25").0.unwrap_err();
        assert_eq!(text(b"\x05\xff", true), "no acceptable authentication method");
        assert_eq!(text(b"\x05\x01", true), "unrecognised authentication method 1");
        assert_eq!(text(b"\x05\x02", false), "unrecognised authentication method 2");
        assert_eq!(text(b"\x05\x02\x01\x01", true), "user name or password refused");
        assert_eq!(text(b"\x05\x00\x05\x00\x00\x07", false), "unknown type of address 7 in the answer");
        assert_eq!(text(b"\x05\x00\x05\x02\x00\x01", false), "connection not allowed by ruleset (reply 2)");
        for (code, errno) in
            [(1, 5), (2, 13), (3, 101), (4, 113), (5, 111), (6, 125), (7, 95), (8, 97), (9, 71), (255, 71)]
        {
            assert_eq!(SocksError::Refused(code).into_io().raw_os_error(), Some(errno), "{code}");
        }
        assert_eq!(SocksError::Login.into_io().raw_os_error(), Some(13));
        assert_eq!(SocksError::Closed.into_io().raw_os_error(), Some(71));
    }

    #[test]
    fn misbehaviour_at_each_byte_is_an_error_or_harmless() {
        let good = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x0c\x1d";
        for end in 0..good.len() {
            let got = run(&good[..end], true, "10.0.0.1:25").0;
            assert_eq!(got, Err("connection closed in the middle of an answer".to_owned()), "{end}");
            for byte in 0..=255 {
                let mut bad = good.to_vec();
                bad[end] = byte;
                let got = run(&bad, true, "10.0.0.1:25").0;
                // The reserved byte, and the address that it connects from, may be anything.
                let is_free = end == 6 || end > 7;
                let is_good = byte == good[end];
                // Method 0 takes the login's answer for that to the request; type 3 counts another length.
                assert!(got.is_err() || is_free || is_good, "{end} {byte}: {got:?}");
                assert!(got.is_ok() || !is_good, "{end} {byte}: {got:?}");
            }
        }
    }
}

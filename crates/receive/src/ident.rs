//! Asks the client's host who has made the connection (RFC 1413). `rfc1413_hosts`, `rfc1413_query_timeout`.
//!
//! The answer is the client's own claim. No answer, a late one, and an error all mean that there is none.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// The port of the service.
const PORT: u16 = 113;
/// Longest answer that is read, in bytes: RFC 1413 section 4 has lines of at most 1000.
const ANSWER_BYTES_MAX: usize = 1000;
/// Longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 127;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ident {
    /// A name.
    Name(Vec<u8>),
    /// None.
    Unknown,
    /// The time was up.
    Late,
}

/// Asks about the connection between two ends.
pub async fn ask(client: SocketAddr, local: SocketAddr, limit: Duration) -> Ident {
    ask_at(SocketAddr::new(client.ip(), PORT), client, local, limit).await
}

async fn ask_at(service: SocketAddr, client: SocketAddr, local: SocketAddr, limit: Duration) -> Ident {
    match tokio::time::timeout(limit, exchange(service, client, local)).await {
        Ok(answer) => answer
            .ok()
            .and_then(|line| parse(&line, client.port(), local.port()))
            .map_or(Ident::Unknown, Ident::Name),
        Err(_) => Ident::Late,
    }
}

async fn exchange(service: SocketAddr, client: SocketAddr, local: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = connect(service, local).await?;
    stream.write_all(format!("{} , {}\r\n", client.port(), local.port()).as_bytes()).await?;
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ANSWER_BYTES_MAX && stream.read(&mut byte).await? == 1 {
        line.extend(byte);
        if byte == *b"\n" {
            break;
        }
    }
    Ok(line)
}

/// From the address that the client has called: its host knows no other.
async fn connect(service: SocketAddr, local: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if service.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(local.ip(), 0))?;
    socket.connect(service).await
}

/// `6193, 23 : USERID : UNIX : joe`. The ports must be those that were asked about.
fn parse(line: &[u8], client: u16, local: u16) -> Option<Vec<u8>> {
    let text = line.trim_ascii_end();
    let mut fields = text.splitn(4, |byte| *byte == b':');
    let ports = std::str::from_utf8(fields.next()?).ok()?;
    let (theirs, ours) = ports.split_once(',')?;
    if theirs.trim().parse() != Ok(client) || ours.trim().parse() != Ok(local) {
        return None;
    }
    if fields.next()?.trim_ascii() != b"USERID" {
        return None;
    }
    let _system = fields.next()?;
    let name = fields.next()?.trim_ascii_start();
    let name = name.get(..NAME_BYTES_MAX).unwrap_or(name);
    // It goes into log lines and header lines.
    let name: Vec<u8> = name.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_strictly() {
        let name = |line: &str| parse(line.as_bytes(), 6193, 23).map(|name| String::from_utf8(name).unwrap());
        assert_eq!(name("6193, 23 : USERID : UNIX : joe\r\n").as_deref(), Some("joe"));
        assert_eq!(name("6193,23:USERID:UNIX,utf-8:a:b c").as_deref(), Some("a:b c"));
        assert_eq!(name("6193,23:USERID:UNIX:a\tb\r\n").as_deref(), Some("a?b"));
        assert_eq!(name("6194,23:USERID:UNIX:joe"), None);
        assert_eq!(name("6193,23:ERROR:NO-USER"), None);
        assert_eq!(name("6193,23:USERID:UNIX:"), None);
        assert_eq!(name("nonsense"), None);
        assert_eq!(
            parse(format!("1,2:USERID:UNIX:{}", "x".repeat(500)).as_bytes(), 1, 2).unwrap().len(),
            127
        );
    }

    #[tokio::test]
    async fn a_silent_service_is_given_up() {
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = service.local_addr().unwrap();
        let client = "127.0.0.1:4000".parse().unwrap();
        let local = "127.0.0.1:25".parse().unwrap();
        assert_eq!(ask_at(address, client, local, Duration::from_millis(30)).await, Ident::Late);
        drop(service);
        assert_eq!(ask_at(address, client, local, Duration::from_secs(5)).await, Ident::Unknown);
    }
}

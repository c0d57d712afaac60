//! A client of RADIUS (RFC 2865) for the `radius` condition: one user, one password, PAP over UDP.
//!
//! Servers and secrets come from the files of the usual client libraries (`authserver`, `servers`, `radius_timeout`,
//! `radius_retries`). Requests carry a Message-Authenticator (RFC 3579), and an answer counts only if its own authenticator is
//! right. A server that does not answer is followed by the next; if none does, the condition fails, it is not false.

use std::net::{ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};

/// Where the client's configuration may be.
const FILES: [&str; 3] =
    ["/etc/radcli/radiusclient.conf", "/etc/radiusclient/radiusclient.conf", "/etc/radiusclient.conf"];
const PORT: u16 = 1812;
const ACCESS_REQUEST: u8 = 1;
const ACCESS_ACCEPT: u8 = 2;
const ACCESS_REJECT: u8 = 3;
const ACCESS_CHALLENGE: u8 = 11;
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;
/// RFC 2865 section 5.2.
const PASSWORD_BYTES_MAX: usize = 128;
/// RFC 2865 section 3.
const PACKET_BYTES_MAX: usize = 4096;

/// What is known of the servers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Client {
    /// `host:port` and secret.
    servers: Vec<(String, String)>,
    timeout: Duration,
    tries: u32,
}

impl Client {
    /// The client of this machine.
    pub(super) fn configured() -> Result<Client, String> {
        let found = FILES.iter().find_map(|file| Some((file, std::fs::read_to_string(file).ok()?)));
        let (file, text) = found.ok_or_else(|| format!("there is no {}", FILES.join(", nor ")))?;
        let client = Client::read(&text, |path| std::fs::read_to_string(Path::new(path)).unwrap_or_default());
        if client.servers.is_empty() {
            return Err(format!("{file} names no server with a secret"));
        }
        Ok(client)
    }

    fn read(text: &str, secrets: impl Fn(&str) -> String) -> Client {
        let mut client = Client { timeout: Duration::from_secs(10), tries: 3, ..Client::default() };
        let mut hosts = Vec::new();
        let mut known = String::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next()) {
                (Some("authserver"), Some(server)) => hosts.push(server.to_owned()),
                (Some("servers"), Some(path)) => known = secrets(path),
                (Some("radius_timeout"), Some(seconds)) => {
                    client.timeout = Duration::from_secs(seconds.parse().unwrap_or(10).clamp(1, 60));
                }
                (Some("radius_retries"), Some(tries)) => {
                    client.tries = tries.parse().unwrap_or(3_u32).clamp(1, 10);
                }
                _ => {}
            }
        }
        for server in hosts {
            // host[:port[:secret]]
            let mut parts = server.splitn(3, ':');
            let host = parts.next().unwrap_or_default();
            let port = parts.next().and_then(|port| port.parse().ok()).unwrap_or(PORT);
            let own = parts.next().map(str::to_owned);
            if let Some(secret) = own.or_else(|| secret_of(&known, host)) {
                client.servers.push((format!("{host}:{port}"), secret));
            }
        }
        client
    }

    /// Whether a server accepts the password.
    pub(super) fn accepts(&self, user: &[u8], password: &[u8]) -> Result<bool, String> {
        if password.len() > PASSWORD_BYTES_MAX || user.is_empty() || user.len() > 253 {
            return Ok(false);
        }
        let mut problem = String::new();
        for (server, secret) in &self.servers {
            match self.ask(server, secret.as_bytes(), user, password) {
                Ok(verdict) => return Ok(verdict),
                Err(reason) => problem = format!("{server}: {reason}"),
            }
        }
        Err(problem)
    }

    fn ask(&self, server: &str, secret: &[u8], user: &[u8], password: &[u8]) -> Result<bool, String> {
        let address = server.to_socket_addrs().ok().and_then(|mut all| all.next()).ok_or("no address")?;
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let text = |error: std::io::Error| oxim_base::errno::error_text(&error);
        let socket = UdpSocket::bind(local).map_err(text)?;
        socket.connect(address).map_err(text)?;
        let mut random = [0_u8; 17];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|e| e.to_string())?;
        let [identifier, authenticator @ ..] = random;
        let request = request(identifier, &authenticator, secret, user, password);
        for _ in 0..self.tries {
            socket.send(&request).map_err(text)?;
            let deadline = Instant::now() + self.timeout;
            while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
                socket.set_read_timeout(Some(left)).map_err(text)?;
                let mut buffer = [0_u8; PACKET_BYTES_MAX];
                let Ok(length) = socket.recv(&mut buffer) else { break };
                let answer = buffer.get(..length).unwrap_or_default();
                if let Some(verdict) = verdict(answer, identifier, &authenticator, secret) {
                    return Ok(verdict);
                }
            }
        }
        Err("no answer".to_owned())
    }
}

/// The secret of a host in a file of `host secret` lines.
fn secret_of(text: &str, host: &str) -> Option<String> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let named = words.next()?.split('/').any(|name| name.eq_ignore_ascii_case(host));
        named.then(|| words.next().map(str::to_owned)).flatten()
    })
}

fn attribute(packet: &mut Vec<u8>, kind: u8, value: &[u8]) {
    packet.push(kind);
    packet.push(u8::try_from(value.len().saturating_add(2)).unwrap_or(u8::MAX));
    packet.extend_from_slice(value);
}

fn request(identifier: u8, authenticator: &[u8; 16], secret: &[u8], user: &[u8], password: &[u8]) -> Vec<u8> {
    let mut packet = vec![ACCESS_REQUEST, identifier, 0, 0];
    packet.extend_from_slice(authenticator);
    // First, so that a server can judge the packet before it reads more.
    let at = packet.len().saturating_add(2);
    attribute(&mut packet, MESSAGE_AUTHENTICATOR, &[0; 16]);
    attribute(&mut packet, USER_NAME, user);
    attribute(&mut packet, USER_PASSWORD, &hidden(authenticator, secret, password));
    attribute(&mut packet, NAS_IDENTIFIER, b"exim");
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    for (place, byte) in packet.iter_mut().skip(2).zip(length) {
        *place = byte;
    }
    let code = keyed(secret, &packet);
    for (place, byte) in packet.iter_mut().skip(at).zip(code) {
        *place = byte;
    }
    packet
}

fn keyed(secret: &[u8], packet: &[u8]) -> Vec<u8> {
    let code =
        Hmac::<Md5>::new_from_slice(secret).map(|m| m.chain_update(packet).finalize().into_bytes().to_vec());
    code.unwrap_or_default()
}

/// The password as RFC 2865 section 5.2 hides it.
fn hidden(authenticator: &[u8; 16], secret: &[u8], password: &[u8]) -> Vec<u8> {
    let mut padded = password.to_vec();
    padded.resize(password.len().max(1).next_multiple_of(16), 0);
    let mut previous = authenticator.to_vec();
    let mut out = Vec::new();
    for block in padded.chunks(16) {
        let mask = Md5::new().chain_update(secret).chain_update(&previous).finalize();
        previous = block.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        out.extend_from_slice(&previous);
    }
    out
}

/// What an answer says; None for one that is not the server's answer to this request.
fn verdict(answer: &[u8], identifier: u8, authenticator: &[u8; 16], secret: &[u8]) -> Option<bool> {
    let (head, rest) = answer.split_first_chunk::<4>()?;
    let [code, its_identifier, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (its_authenticator, _) = rest.split_first_chunk::<16>()?;
    let attributes = answer.get(20..length)?;
    let expected = Md5::new()
        .chain_update(head)
        .chain_update(authenticator)
        .chain_update(attributes)
        .chain_update(secret)
        .finalize();
    if its_identifier != identifier || expected.as_slice() != its_authenticator {
        return None;
    }
    match code {
        ACCESS_ACCEPT => Some(true),
        ACCESS_REJECT | ACCESS_CHALLENGE => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_hidden_as_in_the_example_of_the_rfc() {
        // RFC 2865 section 7.1: user nemo, password arctangent, secret xyzzy5461.
        let authenticator =
            [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];
        let expected =
            [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee];
        assert_eq!(hidden(&authenticator, b"xyzzy5461", b"arctangent"), expected);
    }

    #[test]
    fn files_of_the_usual_libraries_are_read() {
        let client = Client::read(
            "# comment\nauthserver one\nauthserver two:99:own\nservers /x\nradius_timeout 2\nradius_retries 1\n",
            |_| "one/alias first\nthree third\n".to_owned(),
        );
        let expected =
            vec![("one:1812".to_owned(), "first".to_owned()), ("two:99".to_owned(), "own".to_owned())];
        assert_eq!(client, Client { servers: expected, timeout: Duration::from_secs(2), tries: 1 });
    }

    #[test]
    fn only_the_right_answer_counts() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap().to_string();
        let answers = std::thread::spawn(move || {
            for code in [ACCESS_ACCEPT, ACCESS_REJECT] {
                let mut buffer = [0; 1000];
                let (length, peer) = server.recv_from(&mut buffer).unwrap();
                let request = &buffer[..length];
                let mut answer = vec![code, request[1], 0, 20];
                let forged = [answer.clone(), vec![0; 16]].concat();
                server.send_to(&forged, peer).unwrap();
                let right = Md5::new()
                    .chain_update(&answer)
                    .chain_update(&request[4..20])
                    .chain_update(b"s")
                    .finalize();
                answer.extend_from_slice(&right);
                server.send_to(&answer, peer).unwrap();
            }
        });
        let client =
            Client { servers: vec![(address, "s".to_owned())], timeout: Duration::from_secs(5), tries: 1 };
        assert_eq!(client.accepts(b"nemo", b"arctangent"), Ok(true));
        assert_eq!(client.accepts(b"nemo", b"wrong"), Ok(false));
        answers.join().unwrap();
        let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
        let servers = vec![(deaf.local_addr().unwrap().to_string(), "s".to_owned())];
        let client = Client { servers, timeout: Duration::from_millis(50), tries: 2 };
        assert!(client.accepts(b"nemo", b"x").unwrap_err().ends_with("no answer"));
    }
}

//! One question to the name servers: UDP first, TCP when the answer was cut short.
//!
//! Each question has a socket of its own, so the kernel gives it an unpredictable port; the identifier, the source and
//! the question of a response are checked, anything else on that port is ignored. Servers are asked in order, in rounds;
//! one that fails or refuses is passed over. RFC 1035, RFC 5452 (forged answers), RFC 6891 (EDNS), RFC 7766 (TCP).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use oxim_base::errno::error_text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Small enough never to be fragmented (the figure of DNS flag day 2020).
const EDNS_PAYLOAD_BYTES: u16 = 1_232;

/// How a question is to be put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// How long one server is given for one try.
    pub(super) timeout: Duration,
    /// How many rounds over all servers.
    pub(super) attempts: usize,
    /// Whether to send an EDNS record.
    pub(super) edns: bool,
    /// Whether to ask for the AD bit; implies EDNS.
    pub(super) dnssec: bool,
    /// Whether the server is to leave the judgement to us (CD bit).
    pub(super) unchecked: bool,
}

/// Why there is no response that could be used.
#[derive(Debug)]
enum Trouble {
    /// The server did not answer, or not in the protocol.
    Silent(String),
    /// The server answered that it cannot answer.
    Refused(ResponseCode),
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Trouble::Silent(text) => text.clone(),
            Trouble::Refused(ResponseCode::ServFail) => "server failure".to_owned(),
            Trouble::Refused(code) => format!("server says {code}"),
        }
    }
}

/// How long a server that did not answer is asked only after the others.
const SILENCE_REMEMBERED: Duration = Duration::from_secs(30);

/// Which servers did not answer of late, so that a dead one does not delay every question.
#[derive(Default)]
pub(super) struct Silence(Mutex<HashMap<SocketAddr, Instant>>);

impl Silence {
    /// The servers in their order, those that were silent last.
    fn order(&self, servers: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut order = servers.to_vec();
        let silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !silent.is_empty() {
            order.sort_by_key(|server| {
                silent.get(server).is_some_and(|since| since.elapsed() < SILENCE_REMEMBERED)
            });
        }
        order
    }

    fn note(&self, server: SocketAddr, is_silent: bool) {
        let mut silent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_silent {
            silent.insert(server, Instant::now());
        } else if !silent.is_empty() {
            silent.remove(&server);
        }
    }
}

/// Asks until a server gives NOERROR or NXDOMAIN. The error is the reason of the last failure.
pub(super) async fn ask(
    servers: &[SocketAddr],
    silence: &Silence,
    name: &Name,
    kind: RecordType,
    manner: Manner,
) -> Result<Message, String> {
    let mut reason = "no name server".to_owned();
    for _ in 0..manner.attempts.max(1) {
        let mut any_silent = false;
        for server in silence.order(servers) {
            let result = ask_server(server, name, kind, manner).await;
            let is_silent = matches!(result, Err(Trouble::Silent(_)));
            silence.note(server, is_silent);
            match result {
                Ok(response) => return Ok(response),
                Err(trouble) => {
                    any_silent |= is_silent;
                    reason = trouble.text();
                }
            }
        }
        // Every server has spoken: asking them again at once changes nothing.
        if !any_silent {
            break;
        }
    }
    Err(reason)
}

/// Asks one server; one that does not know EDNS is asked again without.
async fn ask_server(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    manner: Manner,
) -> Result<Message, Trouble> {
    let result = exchange(server, name, kind, manner).await;
    match result {
        Err(Trouble::Refused(ResponseCode::FormErr | ResponseCode::NotImp))
            if (manner.edns || manner.dnssec) && !manner.unchecked =>
        {
            exchange(server, name, kind, Manner { edns: false, dnssec: false, ..manner }).await
        }
        Ok(_) | Err(_) => result,
    }
}

async fn exchange(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    manner: Manner,
) -> Result<Message, Trouble> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = manner.unchecked;
    message.queries.push(Query::query(name.clone(), kind));
    if manner.edns || manner.dnssec {
        let edns = message.edns.get_or_insert_with(Edns::new);
        edns.set_max_payload(EDNS_PAYLOAD_BYTES).set_dnssec_ok(manner.dnssec);
    }
    let bytes =
        message.to_vec().map_err(|error| Trouble::Silent(format!("cannot encode the query: {error}")))?;
    let within = |result: Result<io::Result<Message>, _>| match result {
        Err(_) => Err(Trouble::Silent("timed out".to_owned())),
        Ok(Err(error)) => Err(Trouble::Silent(error_text(&error))),
        Ok(Ok(response)) => Ok(response),
    };
    let mut response = within(timeout(manner.timeout, over_udp(server, &message, &bytes)).await)?;
    if response.metadata.truncation {
        response = within(timeout(manner.timeout, over_tcp(server, &message, &bytes)).await)?;
    }
    let code = response.metadata.response_code;
    if matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        Ok(response)
    } else {
        Err(Trouble::Refused(code))
    }
}

async fn over_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4_096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Some(received) = buffer.get(..length) else { continue };
        if let Ok(response) = Message::from_vec(received) {
            if is_answer_to(query, &response) {
                return Ok(response);
            }
        } else if received.starts_with(bytes.get(..2).unwrap_or(bytes)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "malformed response"));
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; usize::from(length)];
    stream.read_exact(&mut buffer).await?;
    let response =
        Message::from_vec(&buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    if is_answer_to(query, &response) {
        return Ok(response);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the response is to another question"))
}

/// Identifier, direction and question must be ours. Some servers leave out the question when they refuse.
fn is_answer_to(query: &Message, response: &Message) -> bool {
    if response.metadata.id != query.metadata.id || response.metadata.message_type != MessageType::Response {
        return false;
    }
    match (query.queries.first(), response.queries.first()) {
        (Some(ours), Some(theirs)) => {
            ours.query_type() == theirs.query_type() && ours.name() == theirs.name()
        }
        (_, None) => response.answers.is_empty() && response.metadata.response_code != ResponseCode::NoError,
        (None, Some(_)) => false,
    }
}

//! A name server for tests: zone text on loopback, UDP and TCP on one port.
//!
//! Lines are `name TYPE value`; `\DDD` in a name or a text stands for a byte. `SERVFAIL` and `REFUSED` in place of the type are what
//! the server does for that name, and `TIMEOUT` what it does when asked for records that the name has not; `TRUNCATE` makes its UDP answers empty with the TC bit; `NOCHASE` leaves its alias to the client. An AD bit is set
//! for names in zones that a line `zone SECURE` names, if the client sent the DO bit; `name INSECURE` is an exception. `zone AUTHORITY` makes positive answers
//! from that zone authoritative.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{self, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// A running server; it ends with the runtime.
pub(super) struct TestServer {
    #[allow(dead_code, reason = "the scenarios know it")]
    pub(super) address: SocketAddr,
    pub(super) udp_questions: Arc<AtomicUsize>,
    pub(super) tcp_questions: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<(RecordType, RData)>>,
    behaviours: HashMap<String, String>,
    secure: Vec<String>,
    insecure: Vec<String>,
    authority: Vec<String>,
}

impl TestServer {
    /// On a free port of 127.0.0.1.
    #[allow(dead_code, reason = "the scenarios want a certain port")]
    pub(super) async fn start(text: &str) -> TestServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        TestServer::serve(text, udp, tcp)
    }

    /// On a given address and port.
    #[allow(dead_code, reason = "the tests of this crate want a free port")]
    pub(super) async fn start_on(address: SocketAddr, text: &str) -> TestServer {
        let udp = UdpSocket::bind(address).await.unwrap();
        let tcp = TcpListener::bind(address).await.unwrap();
        TestServer::serve(text, udp, tcp)
    }

    fn serve(text: &str, udp: UdpSocket, tcp: TcpListener) -> TestServer {
        let zone = Arc::new(read_zone(text));
        let server = TestServer {
            address: udp.local_addr().unwrap(),
            udp_questions: Arc::default(),
            tcp_questions: Arc::default(),
        };
        tokio::spawn(serve_udp(udp, zone.clone(), server.udp_questions.clone()));
        tokio::spawn(serve_tcp(tcp, zone, server.tcp_questions.clone()));
        server
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Zone>, count: Arc<AtomicUsize>) {
    let mut buffer = [0; 2_048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        count.fetch_add(1, Ordering::SeqCst);
        if let Some(response) = zone.answer(&buffer[..length], true) {
            socket.send_to(&response, peer).await.unwrap();
        }
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Zone>, count: Arc<AtomicUsize>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let length = stream.read_u16().await.unwrap();
        let mut buffer = vec![0; length.into()];
        stream.read_exact(&mut buffer).await.unwrap();
        count.fetch_add(1, Ordering::SeqCst);
        if let Some(response) = zone.answer(&buffer, false) {
            stream.write_u16(u16::try_from(response.len()).unwrap()).await.unwrap();
            stream.write_all(&response).await.unwrap();
        }
    }
}

fn read_zone(text: &str) -> Zone {
    let mut zone = Zone::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(3, ' ');
        let (name, kind) = (parts.next().unwrap().to_ascii_lowercase(), parts.next().unwrap());
        let value = parts.next().unwrap_or_default();
        match kind {
            "SECURE" => zone.secure.push(name),
            "INSECURE" => zone.insecure.push(name),
            "AUTHORITY" => zone.authority.push(name),
            "SERVFAIL" | "REFUSED" | "TIMEOUT" | "TRUNCATE" | "NOCHASE" => {
                zone.behaviours.insert(name, kind.to_owned());
            }
            _ => zone.records.entry(name).or_default().push(read_record(kind, value)),
        }
    }
    zone
}

fn read_record(kind: &str, value: &str) -> (RecordType, RData) {
    let strings = || value.split('|').map(unescaped).collect::<Vec<_>>();
    match kind {
        "TXT" => {
            let strings = strings();
            (RecordType::TXT, RData::TXT(rdata::TXT::from_bytes(strings.iter().map(Vec::as_slice).collect())))
        }
        "SPF" => {
            let wire = strings()
                .iter()
                .flat_map(|s| [&[u8::try_from(s.len()).unwrap()], s.as_slice()].concat())
                .collect();
            (RecordType::from(99), RData::Unknown { code: RecordType::from(99), rdata: NULL::with(wire) })
        }
        // The library's own text parser puts names into lower case.
        "CNAME" => (RecordType::CNAME, RData::CNAME(rdata::CNAME(name(value)))),
        "PTR" => (RecordType::PTR, RData::PTR(rdata::PTR(name(value)))),
        "MX" => {
            let (preference, host) = value.split_once(' ').unwrap_or((value, ""));
            (RecordType::MX, RData::MX(rdata::MX::new(preference.parse().unwrap(), name(host))))
        }
        _ => {
            let kind: RecordType = kind.parse().unwrap();
            (kind, RData::try_from_str(kind, value).unwrap())
        }
    }
}

fn name(text: &str) -> Name {
    let labels: Vec<Vec<u8>> = text.split('.').filter(|label| !label.is_empty()).map(unescaped).collect();
    Name::from_labels(labels.iter().map(Vec::as_slice)).unwrap()
}

/// A name as the zone text has it, in lower case.
fn key(name: &Name) -> String {
    let label = |label: &[u8]| -> String {
        let byte =
            |b: &u8| if b.is_ascii_graphic() { char::from(*b).to_string() } else { format!("\\{b:03}") };
        label.to_ascii_lowercase().iter().map(byte).collect()
    };
    name.iter().map(label).collect::<Vec<_>>().join(".")
}

/// `\DDD` is a byte.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits =
            behind.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        match digits {
            Some(digits) => {
                out.push(std::str::from_utf8(digits).unwrap().parse().unwrap());
                rest = &behind[3..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    out
}

impl Zone {
    fn answer(&self, query: &[u8], udp: bool) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap().clone();
        let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        response.metadata.recursion_desired = true;
        response.metadata.recursion_available = true;
        let mut name = key(question.name());
        let wants_ad = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        response.metadata.authentic_data = wants_ad
            && !self.insecure.contains(&name)
            && self.secure.iter().any(|zone| name.ends_with(zone.as_str()));
        response.queries.push(question.clone());
        let behaviour = self.behaviours.get(&name).map(String::as_str);
        match behaviour {
            Some("TIMEOUT") if !self.has(&name, question.query_type()) => return None,
            Some("SERVFAIL") => response.metadata.response_code = ResponseCode::ServFail,
            Some("REFUSED") => response.metadata.response_code = ResponseCode::Refused,
            Some("TRUNCATE") if udp => response.metadata.truncation = true,
            _ => self.fill(&mut response, &mut name, question.query_type(), behaviour == Some("NOCHASE")),
        }
        if let (Some(zone), false) =
            (self.authority.iter().find(|z| name.ends_with(z.as_str())), response.answers.is_empty())
        {
            response.metadata.authoritative = true;
            let data = RData::NS(rdata::NS(self::name("ns.ex")));
            response.authorities.push(Record::from_rdata(self::name(zone), 60, data));
        }
        Some(response.to_vec().unwrap())
    }

    fn has(&self, name: &str, kind: RecordType) -> bool {
        let records = self.records.get(name).map(Vec::as_slice).unwrap_or_default();
        records.iter().any(|(known, _)| *known == kind || *known == RecordType::CNAME)
    }

    fn fill(&self, response: &mut Message, name: &mut String, kind: RecordType, no_chase: bool) {
        for _ in 0..20 {
            let owner = self::name(name);
            let Some(records) = self.records.get(name) else {
                let below = format!(".{name}");
                if !self.records.keys().any(|known| known.ends_with(&below)) {
                    response.metadata.response_code = ResponseCode::NXDomain;
                }
                break;
            };
            let wanted: Vec<_> = records.iter().filter(|(k, _)| *k == kind).collect();
            for (_, data) in &wanted {
                response.answers.push(Record::from_rdata(owner.clone(), 60, data.clone()));
            }
            let alias = records.iter().find(|(k, _)| *k == RecordType::CNAME && kind != RecordType::CNAME);
            let Some((_, RData::CNAME(target))) = alias else { break };
            response.answers.push(Record::from_rdata(owner, 60, RData::CNAME(target.clone())));
            if no_chase {
                return;
            }
            *name = key(&target.0);
        }
        if !response.answers.iter().any(|record| record.record_type() == kind) {
            let soa = "ns.ex. host.ex. 1 2 3 4 30";
            let data = RData::try_from_str(RecordType::SOA, soa).unwrap();
            response.authorities.push(Record::from_rdata(Name::from_ascii("ex.").unwrap(), 60, data));
        }
    }
}

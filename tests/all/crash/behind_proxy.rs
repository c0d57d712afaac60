//! What clients do to a plain session, done to one behind `hosts_proxy`: headers of both versions, good, spoilt, cut, slow or
//! endless. None ends the daemon, and none but a good one opens a session.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::hostile::{attack, from_eight_sides, is_unharmed, processes, trickle};
use super::stand::{Plan, Stand};
use super::{Chance, amount};

/// Where the proxy speaks from; other clients of the stand come from 127.0.0.1.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OPTIONS: &str = "hosts_proxy = 127.0.0.2\nproxy_protocol_timeout = 1s\nsmtp_receive_timeout = 2s\n";
/// The bytes at the start of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Two IPv4 addresses and their ports.
const ADDRESSES: &[u8] = &[192, 0, 2, 7, 127, 0, 0, 1, 0x30, 0x39, 0, 25];

fn dial(stand: &Stand) -> std::io::Result<TcpStream> {
    let SocketAddr::V4(server) = stand.address else { unreachable!("a stand listens on 127.0.0.1") };
    let stream = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(stream.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(PROXY, 0)))?;
    connect(stream.as_raw_fd(), &SockaddrIn::from(server))?;
    Ok(TcpStream::from(stream))
}

fn version1(chance: &mut Chance) -> Vec<u8> {
    const LINES: &[&str] = &[
        "PROXY TCP4 192.0.2.7 127.0.0.1 12345 25\r\n",
        "PROXY TCP6 2001:db8::7 ::1 12345 25\r\n",
        "PROXY UNKNOWN\r\n",
        "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
        "PROXY TCP4 2001:db8::7 ::1 12345 25\r\n",
        "PROXY TCP4 192.0.2.7 127.0.0.1 -1 99999999999999999999\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 127.0.0.1 12345 25\n",
        "proxy tcp4 192.0.2.7 127.0.0.1 12345 25\r\n",
    ];
    LINES[chance.below(LINES.len() as u64) as usize].as_bytes().to_vec()
}

/// Version, family and lengths are mostly true; those of the fields behind the addresses lie as often as not.
fn version2(chance: &mut Chance) -> Vec<u8> {
    let mut rest = match chance.below(4) {
        0 => Vec::new(),
        1 => vec![7; 36],
        _ => ADDRESSES.to_vec(),
    };
    let family = match rest.len() {
        0 => 0,
        36 => 0x21,
        _ => 0x11,
    };
    for _ in 0..chance.below(5) {
        let kind = [1, 2, 3, 4, 5, 0x20, 0x21, 0x30, 0xEE][chance.below(9) as usize];
        let value = vec![b'v'; chance.below(40) as usize];
        let told = match chance.below(4) {
            0 => chance.next() as u16,
            1 => value.len() as u16 + 1,
            _ => value.len() as u16,
        };
        rest.push(kind);
        rest.extend(told.to_be_bytes());
        rest.extend(value);
    }
    let told = match chance.below(6) {
        0 => chance.next() as u16,
        1 => u16::MAX,
        _ => rest.len() as u16,
    };
    let command = [0x20, 0x21, 0x21, 0x21, 0x2F, 0x11][chance.below(6) as usize];
    let family = if chance.below(5) == 0 { chance.next() as u8 } else { family };
    [SIGNATURE, &[command, family], &told.to_be_bytes(), &rest].concat()
}

fn header(chance: &mut Chance) -> Vec<u8> {
    let mut header = if chance.below(2) == 0 { version1(chance) } else { version2(chance) };
    let at = chance.below(header.len() as u64) as usize;
    match chance.below(8) {
        0 => header[at] ^= 1 << chance.below(8),
        1 => header.truncate(at),
        2 => drop(header.splice(at..at, std::iter::repeat_n(b'x', chance.below(70_000) as usize))),
        3 => header.clear(),
        _ => {}
    }
    header
}

/// One header, in pieces, and what a hostile client would say behind it.
fn talk(stand: &Stand, chance: &mut Chance) {
    let Ok(mut stream) = dial(stand) else { return };
    for piece in header(chance).chunks(1 + chance.below(300) as usize) {
        if stream.write_all(piece).is_err() {
            return;
        }
    }
    attack(stream, chance);
}

pub(super) fn any_header_and_random_input() {
    let mut stand = Stand::start(&Plan { main: OPTIONS, ..Plan::default() });
    let before = processes(&stand);
    from_eight_sides(800, amount(40, 1000), |chance| talk(&stand, chance));
    is_unharmed(&stand, &before);
    stand.stop();
}

/// Half a header, each piece of it slowly, an endless one: the client never gets to MAIL, and is gone in time. A good header
/// opens a session in which slowness ends as ever.
pub(super) fn bad_and_slow_headers_open_no_session() {
    let mut stand = Stand::start(&Plan { main: OPTIONS, ..Plan::default() });
    let good1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 25\r\n".to_vec();
    let good2 = [SIGNATURE, &[0x21, 0x11, 0, 12], ADDRESSES].concat();
    let lying = [SIGNATURE, &[0x21, 0x11, 0, 200], ADDRESSES].concat();
    let (line, signature) = (vec![b'x'; 4000], SIGNATURE.to_vec());
    let endless = [b"PROXY TCP4 ".as_slice(), &line].concat();
    let early = b"EHLO c.test\r\nMAIL FROM:<a@c.test>\r\n".to_vec();
    let bad =
        [Vec::new(), good1[..20].to_vec(), good2[..20].to_vec(), signature, lying, endless, line, early];
    std::thread::scope(|scope| {
        let stand = &stand;
        for header in bad {
            scope.spawn(move || {
                let (took, heard) = trickle(dial(stand).unwrap(), &header);
                assert!(took < Duration::from_secs(12), "{header:?} after {took:?}: {heard}");
                assert!(!heard.lines().any(|line| line.starts_with("250")), "{header:?}: {heard}");

                let mut stream = dial(stand).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(&header).unwrap();
                // The time for the header runs out while nothing more is sent.
                let mut heard = vec![0; 512];
                let count = stream.read(&mut heard).unwrap_or(0);
                heard.truncate(count);
                let _ = stream.write_all(b"MAIL FROM:<a@c.test>\r\n");
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = stream.read_to_end(&mut heard);
                let heard = String::from_utf8_lossy(&heard);
                assert!(!heard.lines().any(|line| line.starts_with("250")), "{header:?}: {heard}");
            });
        }
        for header in [good1, good2] {
            scope.spawn(move || {
                let (took, heard) =
                    trickle(dial(stand).unwrap(), &[header, b"EHLO c.test\r\n".to_vec()].concat());
                assert!(took < Duration::from_secs(12) && heard.contains("250 "), "after {took:?}: {heard}");
                assert!(heard.contains("421 "), "{heard}");
            });
        }
    });
    stand.stop();
}

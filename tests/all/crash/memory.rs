//! What a session costs: many are held, before DATA and within it, and the memory of the daemon is divided among them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use oxim_net::tls::client::{self, ClientPolicy, ClientStream};

use super::amount;
use super::stand::{Client, Plan, Stand};

/// Bytes for each session that waits after RCPT.
const BEFORE_DATA_BYTES_MAX: u64 = 64 << 10;
/// Bytes for each session that has sent a part of its message.
const WITHIN_DATA_BYTES_MAX: u64 = 256 << 10;

/// Bytes for 10,000 sessions that wait after EHLO, in the clear and under TLS.
const IDLE_BYTES_MAX: u64 = 250_000_000;
const IDLE_TLS_BYTES_MAX: u64 = 600_000_000;
/// As many as that.
const IDLE_SESSIONS: usize = 10_000;

/// Memory in use by the daemon and its children, in bytes; what they share is counted once.
fn resident(stand: &Stand) -> u64 {
    let pid = stand.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let mut all: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
    all.push(pid.to_string());
    let of_one = |pid: &String| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("0 kB");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    };
    all.iter().map(of_one).sum()
}

fn open(stand: &Stand) -> Client {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    for line in ["MAIL FROM:<sender@client.test>", "RCPT TO:<someone@mta.test>"] {
        assert!(client.command(line).unwrap().code < 400);
    }
    client
}

/// A session that has said as much as it may, except for recipients without end.
fn open_with_much(stand: &Stand) -> Client {
    let mut client = Client::connect(stand.address).unwrap();
    let name = |length: usize| "x".repeat(length);
    let recipient = format!("RCPT TO:<{}@mta.test> ORCPT=rfc822;{}", name(64), name(490));
    let mut lines = vec![
        format!("EHLO {}", name(255)),
        format!("MAIL FROM:<{}@client.test> ENVID={} AUTH={}", name(64), name(100), name(500)),
    ];
    lines.extend(std::iter::repeat_n(recipient, 10));
    lines.push(format!("NOOP {}", name(16_000)));
    for line in lines {
        assert!(client.command(&line).unwrap().code < 400, "{line}");
    }
    client
}

pub(super) fn sessions_are_small() {
    let count = amount(300, 1900);
    let main = "dsn_advertise_hosts = *\nacl_smtp_mailauth = accept\n";
    let mut stand =
        Stand::start(&Plan { connections: u32::try_from(count).unwrap() + 100, main, ..Plan::default() });
    // What is made once must not count.
    drop((0..20).map(|_| open(&stand)).collect::<Vec<_>>());
    let empty = resident(&stand);
    let much: Vec<Client> = (0..count / 2).map(|_| open_with_much(&stand)).collect();
    let most = resident(&stand).saturating_sub(empty) / much.len() as u64;
    assert!(most <= BEFORE_DATA_BYTES_MAX, "{most} bytes for each of {} wordy sessions", much.len());
    drop(much);
    let mut clients: Vec<Client> = (0..count).map(|_| open(&stand)).collect();
    let each = resident(&stand).saturating_sub(empty) / count as u64;
    assert!(each <= BEFORE_DATA_BYTES_MAX, "{each} bytes for each of {count} sessions before DATA");
    let line = [b"x".repeat(76), b"\r\n".to_vec()].concat();
    for client in &mut clients {
        assert!(client.command("DATA").unwrap().code < 400);
        client.write(b"Subject: long\r\n\r\n").unwrap();
        // A megabyte each: the body is on disk, whatever its size.
        for _ in 0..16 {
            client.write(&line.repeat(840)).unwrap();
        }
    }
    let within = resident(&stand).saturating_sub(empty) / count as u64;
    assert!(within <= WITHIN_DATA_BYTES_MAX, "{within} bytes for each of {count} sessions within DATA");
    eprintln!("{count} sessions: {each} bytes each before DATA ({most} if they say much), {within} within");
    drop(clients);
    assert!(stand.accepts_again(), "{}", stand.trouble());
    stand.stop();
}

/// A session under TLS that has said EHLO.
fn open_under_tls(stand: &Stand) -> ClientStream<TcpStream> {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    assert_eq!(client.command("STARTTLS").unwrap().code, 220);
    let (mut stream, _) = client::connect(client.into_stream(), None, &ClientPolicy::default()).unwrap();
    stream.write_all(b"EHLO client.test\r\n").unwrap();
    stream.flush().unwrap();
    let mut reply = Vec::new();
    while !reply.ends_with(b"250 HELP\r\n") {
        let mut part = [0; 512];
        let length = stream.read(&mut part).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&part[..length]);
    }
    stream
}

fn open_in_the_clear(stand: &Stand) -> TcpStream {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    client.into_stream()
}

/// Opens sessions, four at a time.
fn hold<T: Send>(stand: &Stand, count: usize, open: fn(&Stand) -> T) -> Vec<T> {
    std::thread::scope(|scope| {
        let some = || (0..count / 4).map(|_| open(stand)).collect::<Vec<T>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// As many descriptors as `count` connections need, if they are to be had.
fn may_have_connections(count: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let wanted = most.max(count + 1000);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).is_ok()
}

/// Holds sessions, and compares what all of them would cost with the limit.
fn idle_sessions_cost<T: Send>(main: &str, limit: u64, open: fn(&Stand) -> T) {
    let count = amount(400, IDLE_SESSIONS);
    if !may_have_connections(count as u64) {
        return super::skip(&format!("not enough descriptors for {count} connections"));
    }
    let connections = u32::try_from(count).unwrap() + 100;
    let mut stand = Stand::start(&Plan { connections, main, ..Plan::default() });
    // What is made once must not count.
    drop(hold(&stand, 80, open));
    let empty = resident(&stand);
    let held = hold(&stand, count, open);
    let all = resident(&stand);
    let each = all.saturating_sub(empty) / held.len() as u64;
    eprintln!("{} idle sessions: {} MB, {each} bytes each", held.len(), all / 1_000_000);
    assert!(each * IDLE_SESSIONS as u64 + empty <= limit, "{each} bytes for each session beside {empty}");
    drop(held);
    assert!(stand.accepts_again(), "{}", stand.trouble());
    stand.stop();
}

pub(super) fn idle_sessions_are_small() {
    idle_sessions_cost("", IDLE_BYTES_MAX, open_in_the_clear);
}

pub(super) fn idle_sessions_under_tls_are_small() {
    idle_sessions_cost("tls_advertise_hosts = *\n", IDLE_TLS_BYTES_MAX, open_under_tls);
}

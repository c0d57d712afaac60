//! The `dnslookup` router against a name server on the loopback interface; expected texts as observed with exim4.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oxim_net::dns::{Resolver, ResolverConfig};

use super::delivery_with;
use crate::route_test::{TestMode, TestResult};

const ZONE: &str = "
mx.ex MX 10 a.mx.ex
mx.ex MX 20 b.mx.ex
mx.ex MX 5 v6.mx.ex
a.mx.ex A 192.0.2.1
b.mx.ex A 192.0.2.2
v6.mx.ex AAAA 2001:db8::5
v6.mx.ex A 192.0.2.5
addr.ex A 192.0.2.9
null.ex MX 0 .
gone.ex MX 10 nohost.gone.ex
ip.ex MX 10 192.0.2.3
fail.ex SERVFAIL
halfgone.ex MX 10 nohost.x.ex
halfgone.ex MX 20 a.mx.ex
local.ex MX 10 me.local.ex
me.local.ex A 127.0.0.1
sec.ex MX 10 a.mx.ex
sec.ex MX 20 me.local.ex
sec.ex MX 30 b.mx.ex
mxc.ex MX 10 c.mxc.ex
c.mxc.ex CNAME a.mx.ex
_smtp._tcp.srv.ex SRV 1 0 2525 a.mx.ex
ign.ex MX 10 ign.a.ex
ign.a.ex A 192.0.2.77
ign2.ex MX 10 ign.a.ex
ign2.ex MX 20 a.mx.ex
wide.big.ex A 192.0.2.30
dup.ex MX 10 a.mx.ex
dup.ex MX 30 same.ex
same.ex A 192.0.2.1
";

const CONFIG: &str = "
begin routers
srv:
  driver = dnslookup
  domains = srv.ex
  check_srv = smtp
  transport = s
second:
  driver = dnslookup
  local_parts = sec
  check_secondary_mx
  transport = s
  no_more
pot:
  driver = dnslookup
  local_parts = pot
  pass_on_timeout
  transport = s
  no_more
wide:
  driver = dnslookup
  local_parts = wide
  widen_domains = small.ex : big.ex
  transport = s
  no_more
any:
  driver = dnslookup
  local_parts = !pot
  ignore_target_hosts = 192.0.2.77
  transport = s
  no_more
end:
  driver = accept
  transport = l
begin transports
s:
  driver = smtp
l:
  driver = appendfile
  file = /x
";

fn name(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap());
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// Type number and data of one line of the zone.
fn record(words: &[&str]) -> (u16, Vec<u8>) {
    let number = |at: usize| words[at].parse::<u16>().unwrap().to_be_bytes();
    match words[1] {
        "A" | "AAAA" => match words[2].parse().unwrap() {
            IpAddr::V4(ip) => (1, ip.octets().to_vec()),
            IpAddr::V6(ip) => (28, ip.octets().to_vec()),
        },
        "CNAME" => (5, name(words[2])),
        "MX" => (15, [number(2).to_vec(), name(words[3])].concat()),
        "SRV" => (33, [&number(2)[..], &number(3), &number(4), &name(words[5])].concat()),
        _ => (0, Vec::new()),
    }
}

fn answer(query: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let size = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + size]).to_lowercase());
        at += size + 1;
    }
    let question = &query[12..at + 5];
    let wanted = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let mut current = labels.join(".");
    let (mut found, mut code, mut count) = (Vec::new(), 3_u8, 0_u8);
    loop {
        let lines: Vec<Vec<&str>> = ZONE
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .filter(|words| words[0] == current)
            .collect();
        if lines.is_empty() {
            break;
        }
        code = if lines[0][1] == "SERVFAIL" { 2 } else { 0 };
        for words in &lines {
            let (kind, data) = record(words);
            if kind == wanted || kind == 5 {
                count += 1;
                found.extend_from_slice(&name(&current));
                found.extend_from_slice(&kind.to_be_bytes());
                found.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                found.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
                found.extend_from_slice(&data);
            }
        }
        match lines.iter().find(|words| words[1] == "CNAME") {
            Some(words) => current = words[2].to_owned(),
            None => break,
        }
    }
    let head = [query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    [&head, question, &found].concat()
}

struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0_u8; 1500];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((size, peer)) = socket.recv_from(&mut buffer) {
                    socket.send_to(&answer(&buffer[..size]), peer).unwrap();
                }
            }
        });
        Server { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn domains_lead_to_hosts_as_observed() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ResolverConfig {
        servers: Some(vec![server.address]),
        timeout: Some(Duration::from_secs(2)),
        attempts: Some(1),
        search: Some(Vec::new()),
        ..ResolverConfig::default()
    };
    let resolver = Resolver::new(config).blocking(runtime.handle().clone());
    let (delivery, mut context) = delivery_with(CONFIG, Some(resolver));
    let mut test = |address: &str| {
        let mut result = TestResult::new(true);
        delivery.test_addresses(&mut context, address.as_bytes(), TestMode::Route, false, &mut result);
        result.text
    };
    let hosts = |router: &str, lines: &[&str]| {
        let lines: String = lines.iter().map(|line| format!("  host {line}\n")).collect();
        format!("  router = {router}, transport = s\n{lines}")
    };
    let cases = [
        (
            "x@mx.ex",
            hosts(
                "any",
                &[
                    "v6.mx.ex [2001:db8::5] MX=5",
                    "v6.mx.ex [192.0.2.5]   MX=5",
                    "a.mx.ex  [192.0.2.1]   MX=10",
                    "b.mx.ex  [192.0.2.2]   MX=20",
                ],
            ),
        ),
        ("x@addr.ex", hosts("any", &["addr.ex [192.0.2.9]"])),
        (
            "x@halfgone.ex",
            hosts("any", &["nohost.x.ex [unknown]   MX=10 ** unusable **", "a.mx.ex     [192.0.2.1] MX=20"]),
        ),
        ("x@sec.ex", hosts("any", &["a.mx.ex [192.0.2.1] MX=10"])),
        ("sec@sec.ex", hosts("second", &["a.mx.ex [192.0.2.1] MX=10"])),
        ("x@mxc.ex", hosts("any", &["a.mx.ex [192.0.2.1] MX=10"])),
        ("x@srv.ex", hosts("srv", &["a.mx.ex [192.0.2.1] MX=1 port=2525"])),
        ("x@ign2.ex", hosts("any", &["a.mx.ex [192.0.2.1] MX=20"])),
        ("x@dup.ex", hosts("any", &["a.mx.ex [192.0.2.1] MX=10"])),
    ];
    for (address, expected) in cases {
        assert_eq!(test(address), format!("{address}\n{expected}"));
    }
    for (address, expected) in [
        ("x@null.ex", "is undeliverable: an MX or SRV record indicated no SMTP service"),
        ("x@gone.ex", "is undeliverable: all relevant MX records point to non-existent hosts"),
        (
            "x@ip.ex",
            "is undeliverable: all relevant MX records point to non-existent hosts or (invalidly) to IP addresses",
        ),
        ("x@ign.ex", "is undeliverable: all relevant MX records point to non-existent hosts"),
        ("x@fail.ex", "cannot be resolved at this time: host lookup did not complete"),
        ("x@nodomain.ex", "is undeliverable: Unrouteable address"),
        ("sec@mx.ex", "is undeliverable: Unrouteable address"),
        ("x@local.ex", "cannot be resolved at this time: lowest numbered MX record points to local host"),
    ] {
        assert_eq!(test(address), format!("{address} {expected}\n"));
    }
    assert_eq!(test("pot@fail.ex"), "pot@fail.ex\n  router = end, transport = l\n");
    let widened = test("wide@wide");
    assert_eq!(
        widened,
        "wide@wide.big.ex\n    <-- wide@wide\n  router = wide, transport = s\n  host wide.big.ex [192.0.2.30]\n"
    );
}

//! Any bytes as what a name server answers, through the `dnsdb` lookup: records, "not there" or a deferral, in bounded time.
//!
//! A name server of our own copies the question and lets the fuzzer write the rest of the packet.
#![no_main]

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use oxim_base::Text;
use oxim_lang::context::{Context, Services};
use oxim_lang::list::Surroundings;
use oxim_lang::lookup::{LookupType, find};
use oxim_net::dns::{BlockingResolver, Resolver, ResolverConfig};

const TYPES: [&str; 15] =
    ["a", "aaaa", "a+", "cname", "csa", "mx", "mxh", "ns", "ptr", "spf", "srv", "soa", "tlsa", "txt", "zns"];

/// What the server says next.
static PACKET: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Stage {
    resolver: BlockingResolver,
    _runtime: tokio::runtime::Runtime,
}

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, from)) = server.recv_from(&mut query) {
            let _ = server.send_to(&answer(&query[..length]), from);
        }
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ResolverConfig {
        servers: Some(vec![address]),
        timeout: Some(Duration::from_millis(50)),
        attempts: Some(1),
        ..ResolverConfig::default()
    };
    let resolver = Resolver::new(config).blocking(runtime.handle().clone());
    Stage { resolver, _runtime: runtime }
});

/// Id and question of the query; flags, counts and records of the fuzzer, but for the bits that say "answer" and "one question".
fn answer(query: &[u8]) -> Vec<u8> {
    let mut packet = PACKET.lock().unwrap().clone();
    packet.resize(packet.len().max(10), 0);
    let records = packet.split_off(10);
    let mut out = query[..2].to_vec();
    out.extend_from_slice(&packet);
    out[2] |= 0x80;
    out[2] &= !0x02;
    out[4..6].copy_from_slice(&[0, 1]);
    out.extend_from_slice(question(query));
    out.extend_from_slice(&records);
    out
}

/// Name, type and class behind the header.
fn question(query: &[u8]) -> &[u8] {
    let name = query[12..].iter().position(|b| *b == 0).unwrap();
    &query[12..12 + name + 5]
}

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, packet) = input;
    *PACKET.lock().unwrap() = packet.to_vec();
    let surroundings = Surroundings { resolver: Some(STAGE.resolver.clone()), ..Surroundings::default() };
    let services = Services::default();
    assert!(services.surroundings.set(Arc::new(surroundings)).is_ok());
    let mut context = Context { services: Arc::new(services), ..Context::default() };
    let kind = TYPES[usize::from(kind) % TYPES.len()];
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    // A name of its own each time, so that nothing is answered from memory.
    let query = Text::from(format!(">:,; {kind}=n{number:x}.ex"));
    let lookup = LookupType::parse("dnsdb").unwrap();
    if let Ok(Some(found)) = find(&mut context, &lookup, None, &query) {
        assert!(found.data.is_foreign());
    }
});

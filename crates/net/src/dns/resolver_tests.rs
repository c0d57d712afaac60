//! The resolver against a server of our own. Text forms are those that Exim 4.96 gives for the same zone.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::test_server::TestServer;
use super::super::{CsaSettings, Family, FieldStyle, HostLookupMethod, NameCheck, TextType};
use super::*;

const ZONE: &str = "
    m.ex MX 10 a.ex.
    m.ex MX 5 B.ex.
    nullmx.ex MX 0 .
    t.ex A 1.2.3.4
    six.ex AAAA 2001:db8::1
    six.ex A 1.1.1.1
    txt.ex TXT one|two
    txt.ex TXT v=spf1 a| -all
    spf.ex SPF v=spf1 |old
    soa.ex SOA ns.ex. host.ex. 1 2 3 4 5
    _25._tcp.t.ex TLSA 3 1 1 aabbccdd
    _s._tcp.ex SRV 1 2 3 t.ex.
    c.ex CNAME T.ex.
    chain.ex CNAME c.ex.
    lazy.ex CNAME t.ex.
    lazy.ex NOCHASE
    lazy2.ex CNAME lazy.ex.
    lazy2.ex NOCHASE
    loop.ex CNAME loop.ex.
    dangling.ex CNAME gone.ex.
    4.3.2.1.in-addr.arpa PTR T.ex.
    4.3.2.1.in-addr.arpa PTR six.ex.
    4.3.2.1.in-addr.arpa PTR gone.ex.
    ex NS ns1.ex.
    fail.ex SERVFAIL
    slow.ex TIMEOUT
    refused.ex REFUSED
    big.ex TXT x
    big.ex TRUNCATE
    _client._smtp.y.ex SRV 1 2 0 t.ex.
    _client._smtp.n.ex SRV 1 1 0 t.ex.
    _client._smtp.v2.ex SRV 2 2 0 t.ex.
    _client._smtp.p.co.ex SRV 1 2 1 t.ex.
    s.secure A 1.2.3.4
    secure SECURE
    h.own A 1.2.3.4
    own AUTHORITY
    host.local.ex A 9.9.9.9
";

async fn resolver() -> (Resolver, TestServer) {
    let server = TestServer::start(ZONE).await;
    let config = ResolverConfig {
        servers: Some(vec![server.address]),
        timeout: Some(Duration::from_millis(150)),
        attempts: Some(2),
        search: Some(vec!["local.ex".to_owned()]),
        hosts_file: "/nonexistent".into(),
        ..ResolverConfig::default()
    };
    (Resolver::new(config), server)
}

#[tokio::test]
async fn records_are_found_and_cached() {
    let (dns, server) = resolver().await;
    let mx = dns.mx("M.ex").await.found().unwrap();
    assert_eq!(mx.records[1], Mx { preference: 5, exchange: "B.ex".to_owned() });
    assert_eq!((mx.ttl_seconds, mx.secure), (60, false));
    assert_eq!(dns.mx("m.EX.").await.records().unwrap().len(), 2);
    assert_eq!(server.udp_questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn absences_differ_and_are_cached() {
    let (dns, server) = resolver().await;
    assert_eq!(dns.mx("t.ex").await, Lookup::NotThere(NotThere::NoData));
    assert_eq!(dns.a("nope.ex").await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(dns.a("nope.ex").await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(dns.a("a..b").await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(dns.a(&"x".repeat(64)).await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(server.udp_questions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn failures_are_to_be_asked_again() {
    let (dns, server) = resolver().await;
    assert_eq!(dns.a("fail.ex").await, Lookup::AskAgain("server failure".to_owned()));
    assert_eq!(server.udp_questions.load(Ordering::SeqCst), 1);
    let start = Instant::now();
    assert_eq!(dns.a("slow.ex").await, Lookup::AskAgain("timed out".to_owned()));
    assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(3));
    assert_eq!(server.udp_questions.load(Ordering::SeqCst), 3);
    assert!(matches!(dns.a("refused.ex").await, Lookup::AskAgain(_)));
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_fails() {
    let (_, good) = resolver().await;
    let bad = TestServer::start("t.ex SERVFAIL").await;
    let config =
        ResolverConfig { servers: Some(vec![bad.address, good.address]), ..ResolverConfig::default() };
    assert!(Resolver::new(config).a("t.ex").await.found().is_some());
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_by_tcp() {
    let (dns, server) = resolver().await;
    assert_eq!(dns.txt("big.ex").await.records().unwrap(), vec![b"x".to_vec()]);
    assert_eq!(server.tcp_questions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn aliases_are_followed() {
    let (dns, _server) = resolver().await;
    let answer = dns.a("chain.ex").await.found().unwrap();
    assert_eq!((answer.name.as_str(), answer.owner.as_str()), ("chain.ex", "T.ex"));
    assert_eq!(dns.a("lazy.ex").await.found().unwrap().owner, "t.ex");
    // Two open aliases are one more than dns_cname_loops = 1 allows.
    assert!(matches!(dns.a("lazy2.ex").await, Lookup::AskAgain(_)));
    assert!(matches!(dns.a("loop.ex").await, Lookup::AskAgain(_)));
    assert_eq!(dns.a("dangling.ex").await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(dns.cname("c.ex").await.records().unwrap(), vec!["T.ex"]);
}

#[tokio::test]
async fn the_ad_bit_is_given_only_when_asked_for() {
    let (dns, _server) = resolver().await;
    assert!(!dns.a("s.secure").await.found().unwrap().secure);
    assert!(dns.with_dnssec(true).a("s.secure").await.found().unwrap().secure);
    assert!(!dns.with_dnssec(true).a("t.ex").await.found().unwrap().secure);
    let own = dns.with_dnssec(true).a("h.own").await.found().unwrap();
    assert_eq!((own.secure, own.authority.as_deref()), (false, Some("own")));
    assert_eq!(dns.a("t.ex").await.found().unwrap().authority, None);
}

#[tokio::test]
async fn search_domains_are_used_on_request() {
    let (dns, _server) = resolver().await;
    assert_eq!(dns.a("host").await, Lookup::NotThere(NotThere::NoDomain));
    assert_eq!(dns.with_search(true, false).a("host").await.found().unwrap().name, "host.local.ex");
}

#[tokio::test]
async fn text_forms_are_those_of_dnsdb() {
    let (dns, _server) = resolver().await;
    let cases = [
        ("mx", "m.ex", FieldStyle::Unset, "10 a.ex\n5 B.ex"),
        ("mx", "nullmx.ex", FieldStyle::Unset, "0 "),
        ("mxh", "m.ex", FieldStyle::Unset, "a.ex\nB.ex"),
        ("txt", "txt.ex", FieldStyle::Unset, "one\nv=spf1 a"),
        ("txt", "txt.ex", FieldStyle::Joined, "onetwo\nv=spf1 a -all"),
        ("txt", "txt.ex", FieldStyle::Separated(b';'), "one;two\nv=spf1 a; -all"),
        ("spf", "spf.ex", FieldStyle::Unset, "v=spf1 old"),
        ("soa", "a.b.soa.ex", FieldStyle::Unset, "ns.ex"),
        ("soa", "soa.ex", FieldStyle::Separated(b';'), "ns.ex;host.ex;1;2;3;4;5"),
        ("csa", "y.ex", FieldStyle::Unset, "Y t.ex"),
        ("csa", "n.ex", FieldStyle::Unset, "N t.ex"),
        ("csa", "a.b.p.co.ex", FieldStyle::Unset, "X t.ex"),
        ("tlsa", "_25._tcp.t.ex", FieldStyle::Unset, "3 1 1 aabbccdd"),
        ("srv", "_s._tcp.ex", FieldStyle::Unset, "1 2 3 t.ex"),
        ("ptr", "1.2.3.4", FieldStyle::Unset, "T.ex\nsix.ex\ngone.ex"),
        ("zns", "a.b.c.d.ex", FieldStyle::Unset, "ns1.ex"),
        ("A+", "six.ex", FieldStyle::Unset, "2001:db8::1\n1.1.1.1"),
        ("a", "c.ex", FieldStyle::Unset, "1.2.3.4"),
    ];
    for (kind, key, style, expected) in cases {
        let records = dns.text(TextType::from_word(kind).unwrap(), key).await.records();
        let lines: Vec<_> = records.unwrap_or_default().iter().map(|record| record.join(style)).collect();
        assert_eq!(String::from_utf8(lines.join(&b'\n')).unwrap(), expected, "{kind}={key}");
    }
    assert_eq!(dns.csa("v2.ex", CsaSettings::default()).await, Lookup::NotThere(NotThere::NoData));
}

#[tokio::test]
async fn hosts_are_found_both_ways() {
    let (dns, _server) = resolver().await;
    let six = dns.addresses_of("six.ex", Family::Any).await.records().unwrap();
    assert_eq!(six.iter().map(ToString::to_string).collect::<Vec<_>>(), vec!["2001:db8::1", "1.1.1.1"]);
    assert_eq!(dns.addresses_of("t.ex", Family::V6Only).await, Lookup::NotThere(NotThere::NoData));
    assert_eq!(dns.addresses_of("192.0.2.1", Family::Any).await.records().unwrap().len(), 1);
    let address = "1.2.3.4".parse().unwrap();
    let names = dns.name_of(address, &[HostLookupMethod::ByDns]).await.records().unwrap();
    assert_eq!(names.first().unwrap(), "T.ex");
    assert_eq!(dns.check_name("T.ex", address).await, NameCheck::Matches { secure: false });
    assert_eq!(dns.check_name("six.ex", address).await, NameCheck::Differs);
    assert_eq!(dns.check_name("gone.ex", address).await, NameCheck::NoAddress);
    assert!(matches!(dns.check_name("fail.ex", address).await, NameCheck::AskAgain(_)));
}

#[tokio::test]
async fn the_hosts_file_comes_first() {
    let (_, server) = resolver().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "7.7.7.7 T.ex tee\n").unwrap();
    let config = ResolverConfig {
        servers: Some(vec![server.address]),
        hosts_file: file.path().to_owned(),
        ..ResolverConfig::default()
    };
    let dns = Resolver::new(config);
    let answer = dns.addresses_of("tee", Family::Any).await.found().unwrap();
    assert_eq!((answer.owner.as_str(), answer.records[0].to_string().as_str()), ("T.ex", "7.7.7.7"));
    assert_eq!(dns.a("t.ex").await.records().unwrap()[0].to_string(), "1.2.3.4");
    let names = dns.name_of("7.7.7.7".parse().unwrap(), &[HostLookupMethod::ByAddress]).await;
    assert_eq!(names.records().unwrap(), vec!["T.ex", "tee"]);
}

#[test]
fn worker_threads_may_wait() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (dns, _server) = runtime.block_on(resolver());
    let blocking = dns.blocking(runtime.handle().clone());
    assert_eq!(blocking.a("t.ex").records().unwrap().len(), 1);
    assert_eq!(blocking.a("t.ex").records().unwrap().len(), 1);
}

#[tokio::test]
async fn one_question_serves_all_who_ask_at_the_same_time() {
    let (dns, server) = resolver().await;
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let dns = dns.clone();
            tokio::spawn(async move { dns.a("t.ex").await.found().is_some() })
        })
        .collect();
    for task in asking {
        assert!(task.await.unwrap());
    }
    assert_eq!(server.udp_questions.load(Ordering::SeqCst), 1);
    assert!(dns.under_way().is_empty());
}

#[tokio::test]
async fn a_dead_server_delays_only_the_first_question() {
    let (_, good) = resolver().await;
    let dead = TestServer::start("t.ex TIMEOUT\nm.ex TIMEOUT").await;
    let dns = Resolver::new(ResolverConfig {
        servers: Some(vec![dead.address, good.address]),
        timeout: Some(Duration::from_millis(200)),
        ..ResolverConfig::default()
    });
    assert!(dns.a("t.ex").await.found().is_some());
    assert!(dns.mx("m.ex").await.found().is_some());
    assert_eq!(dead.udp_questions.load(Ordering::SeqCst), 1);
}

/// A response with an alias and records of most kinds.
fn rich_response() -> Vec<u8> {
    use hickory_proto::op::{MessageType, OpCode, Query};
    use hickory_proto::rr::Record;
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.queries.push(Query::query(encode("a.ex").unwrap(), RecordType::MX));
    let records = [
        ("a.ex", RecordType::CNAME, "b.ex."),
        ("b.ex", RecordType::MX, "10 m.ex."),
        ("b.ex", RecordType::TXT, "text"),
        ("b.ex", RecordType::SRV, "1 2 3 t.ex."),
        ("b.ex", RecordType::TLSA, "3 1 1 aabb"),
        ("b.ex", RecordType::SOA, "n.ex. h.ex. 1 2 3 4 5"),
    ];
    for (owner, kind, value) in records {
        let data = RData::try_from_str(kind, value).unwrap();
        message.answers.push(Record::from_rdata(encode(owner).unwrap(), 60, data));
    }
    message.to_vec().unwrap()
}

proptest::proptest! {
    #[test]
    fn spoilt_responses_do_not_panic(places in proptest::collection::vec((0_usize..300, 0_u8..=255), 0..4), cut in 0_usize..300) {
        let mut bytes = rich_response();
        for (at, byte) in places {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if cut < 200 {
            bytes.truncate(bytes.len().saturating_sub(cut / 8));
        }
        let Ok(message) = Message::from_vec(&bytes) else { return Ok(()) };
        for kind in [RecordType::MX, RecordType::TXT, RecordType::SOA, RecordType::CNAME] {
            let current = encode("a.ex").unwrap();
            let mut chase =
                Chase { current, kind, secure: true, ttl: TTL_SECONDS_MAX, aliases: 0, authority: None };
            if let Step::Found(records) = chase.read(&message) {
                for data in &records {
                    let _ = (as_mx(data), as_name(data), as_soa(data), as_srv(data), as_strings(data), as_tlsa(data));
                }
            }
        }
    }
}

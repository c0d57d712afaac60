//! Tests of the -H text: what exim4 4.96 wrote is read, what is written is read back, damage is an error.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use oxim_base::clock::Stamp;
use oxim_base::{Taint, Text};
use oxim_mail::dsn::{Notify, Return};
use oxim_mail::header::{Header, HeaderKind};
use oxim_mail::message_id::MessageId;
use proptest::prelude::*;

use super::{header_read, header_write};
use crate::message::{Message, Recipient, SenderHost, TlsRecord};

fn sample(name: &str) -> (Vec<u8>, Message) {
    let path = format!("{}/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).unwrap();
    let message = header_read::read(&text).unwrap();
    (text, message)
}

const SAMPLES: [&str; 6] =
    ["bounce-H", "changed-H", "dsn-auth-deferred-H", "queue-utf8-H", "rewritten-H", "tls-H"];

#[test]
fn what_exim_wrote_is_understood_altogether_and_comes_back() {
    for name in SAMPLES {
        let (text, message) = sample(name);
        assert_eq!(message.unknown, Vec::<Vec<u8>>::new(), "{name}");
        let written = header_write::write(&message).unwrap();
        assert_eq!(header_read::read(&written).unwrap(), message, "{name}");
        // Order and taint marks of the variables may differ, names and values may not.
        let lines = |text: &[u8]| -> Vec<String> {
            let text = String::from_utf8(text.to_vec()).unwrap();
            let unmarked =
                text.lines().map(|l| if l.starts_with("--(") { l } else { l.strip_prefix('-').unwrap_or(l) });
            let mut lines: Vec<String> =
                unmarked.map(|l| l.strip_prefix('-').unwrap_or(l).to_owned()).collect();
            lines.retain(|l| l != "tls_resumption A");
            // Any balanced tree will do.
            let in_tree = |l: &String| l.get(..3).is_some_and(|p| matches!(p, "YY " | "YN " | "NY " | "NN "));
            lines.iter_mut().filter(|l| in_tree(l)).for_each(|l| *l = l.split_off(3));
            // A parent without DSN parameters has two forms.
            lines.iter_mut().for_each(|l| *l = l.replace("  0,0  0,0#3", "  0,0#1"));
            lines.sort();
            lines
        };
        assert_eq!(lines(&written), lines(&text), "{name}");
    }
}

#[test]
fn fields_of_exims_files() {
    let (_, m) = sample("dsn-auth-deferred-H");
    assert_eq!(
        (m.login.as_slice(), m.uid, m.sender.as_slice()),
        (b"root".as_slice(), 0, b"s@rewritten.ex".as_slice())
    );
    assert_eq!(m.received, Stamp { seconds: 1_795_230_377, micros: 456_963 });
    assert_eq!(m.received_micros_taken, Some(434));
    let host = m.host.as_ref().unwrap();
    assert_eq!((host.address.to_string().as_str(), host.port, host.lookup_failed), ("127.0.0.9", 4444, true));
    assert_eq!(m.interface, Some("10.1.1.1:25".parse().unwrap()));
    assert_eq!(m.acl_m[b"_q".as_slice()], Text::with_taint("z''x", Taint::Quoted("pgsql")));
    assert_eq!(m.acl_c[b"_multi".as_slice()], Text::clean("line1\nline2\n"));
    assert_eq!(m.acl_c[b"0".as_slice()], Text::tainted("hello 127.0.0.9"));
    assert_eq!((m.dsn_ret, m.dsn_envid.as_deref()), (Some(Return::Headers), Some(b"abc+2Bx".as_slice())));
    assert_eq!(m.recipients[0].orcpt.as_deref(), Some(b"rfc822;or+2Big@x.ex".as_slice()));
    assert_eq!(m.recipients[0].dsn_notify, Notify { success: true, failure: true, ..Notify::default() });
    assert!(m.recipients[1].dsn_notify.never && m.recipients[2].dsn_notify.delay);
    assert_eq!(
        (m.recipients[4].address.as_slice(), m.recipients[4].parent),
        (b"child1@oracle.ex".as_slice(), Some(0))
    );
    assert!(m.is_done(b"ot@oracle.ex") && !m.first_delivery);
    let (_, m) = sample("tls-H");
    let tls = m.tls.as_ref().unwrap();
    assert_eq!((tls.sni.as_deref(), tls.resumption), (Some(b"sni.ex".as_slice()), 1));
    assert!(tls.peer_certificate.as_ref().unwrap().ends_with(b"\nAAAA\n-----END CERTIFICATE-----\n"));
    let kinds: String = m.headers.all().iter().map(|h| char::from(h.kind.letter())).collect();
    assert_eq!(kinds, "PBSRC T ");
    let (_, m) = sample("bounce-H");
    assert!(m.local_error && m.sender.is_empty() && m.host.is_none());
    let (_, m) = sample("changed-H");
    assert_eq!((m.manual_thaw, m.non_recipients.len(), m.recipients.len()), (true, 2, 4));
}

#[test]
fn older_and_unknown_forms() {
    let text = b"1xUbTj-0005Py-07-H\na b 1 2\n<>\n5 1\n-acl 3 2\nx\n\n-acl 12 1\ny\n-host_address 10.0.0.1.25\n-new_thing 7\n\
        --(weird)aclm 1 1\nz\n-N\n-frozen 9\nXX\n2\nq r@x\na@b e@f 3,0#1\n\n";
    let message = header_read::read(text).unwrap();
    assert_eq!(message.login, b"a b");
    assert_eq!(message.acl_c[b"3".as_slice()], Text::clean("x\n"));
    assert_eq!(message.acl_m[b"2".as_slice()], Text::clean("y"));
    assert_eq!(message.acl_m[b"1".as_slice()], Text::tainted("z"));
    assert_eq!(message.host.as_ref().unwrap().port, 25);
    assert_eq!(message.unknown, [b"-new_thing 7".to_vec()]);
    assert_eq!(message.recipients[0].address, b"q r@x");
    assert_eq!(message.recipients[1].errors_to.as_deref(), Some(b"e@f".as_slice()));
    assert!(message.dont_deliver && message.frozen == Some(9));
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let (text, whole) = sample("dsn-auth-deferred-H");
    for end in 0..text.len() {
        if let Ok(message) = header_read::read(&text[..end]) {
            assert!(message.headers.all().len() < whole.headers.all().len(), "cut at {end}");
        }
    }
    for at in 0..text.len() {
        for byte in [b'\n', b' ', b'-', b'9', 0xff] {
            let mut bad = text.clone();
            bad[at] = byte;
            let _ = header_read::read(&bad);
        }
    }
    let error = header_read::read(b"garbage\n").unwrap_err();
    assert_eq!(error.to_string(), "line 1: the name of the file");
    for bad in
        ["YN a\nXX\n0\n\n", "XX\n99999999999\n\n", "XX\n1\na  0,0  0,7#3\n\n", "-aclm x 5\nab\nXX\n0\n\n"]
    {
        let text = format!("1xUbTj-0005Py-07-H\nroot 0 0\n<>\n5 0\n{bad}");
        assert!(header_read::read(text.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn line_breaks_cannot_be_smuggled_in() {
    let mut message = Message::new(MessageId::parse(b"1xUbTj-0005Py-07").unwrap());
    message.helo_name = Some(b"x\n-frozen 1".to_vec());
    message.unknown.push(b"-y\n-frozen 1".to_vec());
    let read = header_read::read(&header_write::write(&message).unwrap()).unwrap();
    assert_eq!((read.frozen, read.helo_name.as_deref()), (None, Some(b"x -frozen 1".as_slice())));
    message.recipients.push(Recipient::new("a@b\n-frozen 1"));
    assert!(header_write::write(&message).is_err());
}

fn word() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0x21_u8..=0xff, 1..12)
}

fn optional() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(word())
}

fn text() -> impl Strategy<Value = Text> {
    let taint = prop_oneof![Just(Taint::Clean), Just(Taint::Tainted), Just(Taint::Quoted("pgsql"))];
    (prop::collection::vec(any::<u8>(), 0..20), taint)
        .prop_map(|(bytes, taint)| Text::with_taint(bytes, taint))
}

fn variables() -> impl Strategy<Value = BTreeMap<Vec<u8>, Text>> {
    prop::collection::btree_map(word(), text(), 0..4)
}

fn recipient() -> impl Strategy<Value = Recipient> {
    let notify = any::<(bool, bool, bool, bool)>().prop_map(|(never, success, failure, delay)| Notify {
        never,
        success,
        failure,
        delay,
    });
    (word(), optional(), prop::option::of(Just(0_usize)), notify, optional()).prop_map(
        |(address, errors_to, parent, dsn_notify, orcpt)| Recipient {
            address,
            errors_to,
            parent,
            dsn_notify,
            orcpt,
        },
    )
}

fn header() -> impl Strategy<Value = Header> {
    let kinds = prop::sample::select(b" BCFIPRST*".to_vec());
    (kinds, prop::collection::vec(any::<u8>(), 0..1200)).prop_map(|(letter, mut text)| {
        text.push(b'\n');
        Header { kind: HeaderKind::from_letter(letter).unwrap(), text }
    })
}

prop_compose! {
    fn any_message()(
        (login, sender, protocol, helo_name, ident, auth_id) in (word(), word(), optional(), optional(), optional(), optional()),
        (acl_c, acl_m) in (variables(), variables()),
        (flags, numbers) in (any::<[bool; 12]>(), any::<[u32; 6]>()),
        host in prop::option::of((any::<[u8; 4]>(), any::<u16>(), optional())),
        tls in prop::option::of((optional(), optional(), optional(), 0_u8..20)),
        non_recipients in prop::collection::btree_set(word(), 0..30),
        recipients in prop::collection::vec(recipient(), 1..6),
        headers in prop::collection::vec(header(), 0..5),
    ) -> Message {
        let mut m = Message::new(MessageId::parse(b"16VDhn-000000001bo-D342").unwrap());
        (m.login, m.sender, m.protocol, m.helo_name, m.ident, m.auth_id) = (login, sender, protocol, helo_name, ident, auth_id);
        (m.acl_c, m.acl_m, m.non_recipients, m.recipients) = (acl_c, acl_m, non_recipients, recipients);
        let [a, b, c, d, e, f, g, h, i, j, k, l] = flags;
        (m.is_local, m.local_error, m.sender_set_untrusted, m.allow_unqualified_recipient) = (a, b, c, d);
        (m.allow_unqualified_sender, m.dont_deliver, m.first_delivery, m.manual_thaw, m.smtputf8) = (e, f, g, h, i);
        m.frozen = j.then_some(i64::from(numbers[0]));
        m.dsn_ret = k.then_some(if l { Return::Full } else { Return::Headers });
        m.utf8_downconvert = l.then_some(if k { 1 } else { -1 });
        m.received = Stamp { seconds: i64::from(numbers[1]), micros: numbers[2] % 1_000_000 };
        m.received_micros_taken = Some(u64::from(numbers[3]));
        (m.body_lines, m.body_zeros, m.max_line) = (u64::from(numbers[4]), u64::from(numbers[5]), u64::from(numbers[0]));
        if let Some((address, port, name)) = host {
            let address = SocketAddr::from((address, port));
            m.interface = Some(address);
            m.host = Some(SenderHost { name, ..SenderHost::new(address.ip(), port) });
        }
        m.tls = tls.map(|(cipher, peer_dn, sni, resumption)| TlsRecord { cipher, peer_dn, sni, resumption, verified: true, ..TlsRecord::default() });
        m.unknown = vec![b"--strange thing".to_vec()];
        m.headers = headers.into_iter().collect();
        m
    }
}

proptest! {
    #[test]
    fn every_message_comes_back(message in any_message()) {
        let text = header_write::write(&message).unwrap();
        prop_assert_eq!(header_read::read(&text).unwrap(), message);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut text = b"1xUbTj-0005Py-07-H\nroot 0 0\n<>\n5 0\n".to_vec();
        text.extend_from_slice(&bytes);
        let _ = header_read::read(&text);
        let _ = header_read::read(&bytes);
    }
}

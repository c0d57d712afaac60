//! ACLs run in memory, without a session.

use std::time::Duration;

use super::*;
use crate::test_support::{Place, place};

fn scene(place: &Place) -> Scene {
    let mut scene = Scene::new(place.reception.context());
    scene.context.connection.host_address = Some("192.0.2.1".parse().unwrap());
    scene.context.message.sender = b"s@s.ex".to_vec();
    scene.context.address.local_part = Text::tainted("user");
    scene.context.address.domain = Text::tainted("test.ex");
    scene.subject = b"user@test.ex".to_vec();
    scene
}

/// A place whose RCPT ACL is this, with further ACLs below.
fn acl(text: &str) -> Place {
    place(&format!("acl_smtp_rcpt = check\nbegin acl\ncheck:\n{text}\n"))
}

fn run(place: &Place, scene: &mut Scene) -> Step {
    place.reception.acls.run(&place.reception, scene, Phase::Rcpt)
}

fn outcome(place: &Place, scene: &mut Scene) -> Outcome {
    match run(place, scene) {
        Step::Done(outcome) => outcome,
        Step::Delay { .. } => panic!("no delay was asked for"),
    }
}

fn text(text: Option<&Text>) -> String {
    text.map(Text::to_string_lossy).unwrap_or_default()
}

#[test]
fn a_delay_in_a_called_acl_goes_on_where_it_was() {
    let place = acl(
        "  warn acl = sub one\n  accept message = $acl_m_seen\nsub:\n  warn set acl_m_seen = $acl_arg1\n       \
                     delay = 90s\n       set acl_m_seen = $acl_m_seen then $acl_arg1\n  accept",
    );
    let mut scene = scene(&place);
    let Step::Delay { pause, flush, resume } = run(&place, &mut scene) else { panic!("no delay") };
    assert_eq!((pause, flush), (Duration::from_secs(90), true));
    assert_eq!(text(scene.context.message.acl_m.get(b"_seen".as_slice())), "one");
    let Step::Done(outcome) = place.reception.acls.resume(&place.reception, &mut scene, resume) else {
        panic!("a second delay")
    };
    assert_eq!(outcome.verdict, Verdict::Accept);
    assert_eq!(text(outcome.user_message.as_ref()), "one then one");
    assert!(scene.context.local.acl_arguments.is_empty());
}

#[test]
fn replies_are_flushed_before_a_callout_unless_told_otherwise() {
    let place = acl("  accept verify = recipient/callout");
    let mut with = scene(&place);
    let Step::Delay { pause, flush, resume } = run(&place, &mut with) else { panic!("no flush") };
    assert!(pause.is_zero() && flush);
    // No routers here: nothing is called, and the address fails.
    let step = place.reception.acls.resume(&place.reception, &mut with, resume);
    assert!(matches!(step, Step::Done(outcome) if outcome.verdict == Verdict::Deny));
    let mut without = scene(&place);
    without.connection.no_callout_flush = true;
    assert!(matches!(run(&place, &mut without), Step::Done(_)));
}

#[test]
fn the_texts_of_the_last_statement_are_those_of_the_implicit_deny() {
    let place = acl("  accept verify = recipient");
    let outcome = outcome(&place, &mut scene(&place));
    assert_eq!(outcome.verdict, Verdict::Deny);
    assert_eq!(text(outcome.user_message.as_ref()), "Unrouteable address");
    assert_eq!(text(outcome.log_message.as_ref()), "Unrouteable address");
}

#[test]
fn a_warning_is_logged_once_for_a_message() {
    let place = acl("  warn log_message = odd\n  warn log_message = odd\n       logwrite = each\n  accept");
    let mut scene = scene(&place);
    assert_eq!(outcome(&place, &mut scene).verdict, Verdict::Accept);
    assert_eq!(outcome(&place, &mut scene).verdict, Verdict::Accept);
    assert_eq!(place.main_log(), ["H=[192.0.2.1] Warning: odd", "each", "each"]);
}

#[test]
fn a_faulty_statement_defers_with_a_text_for_the_log_only() {
    let place = acl("  warn message = not for you\n       control = nonsense\n  accept");
    let outcome = outcome(&place, &mut scene(&place));
    assert_eq!((outcome.verdict, outcome.user_message), (Verdict::Defer, None));
    assert_eq!(text(outcome.log_message.as_ref()), "syntax error in \"control=nonsense\"");
}

#[test]
fn what_an_acl_calls_decides_whether_it_may_block() {
    let blocks = |text: &str| acl(text).reception.acls.may_block(Phase::Rcpt);
    assert!(!blocks("  accept acl = sub\nsub:\n  accept domains = a.example"));
    assert!(blocks("  accept acl = sub\nsub:\n  accept acl = subsub\nsubsub:\n  accept verify = helo"));
    assert!(blocks("  accept acl = check"));
    assert!(blocks("  accept acl = /etc/acl"));
}

#[test]
fn an_acl_in_an_expansion_shares_the_controls() {
    let place = acl(
        "  warn logwrite = ${acl{sub}{x}}\n  accept control = queue\nsub:\n  accept message = said $acl_arg1\n\
                     \x20        control = freeze\n         add_header = X-Sub: 1",
    );
    let host = Arc::new(crate::host::ReceptionHost::default());
    host.open(&place.reception);
    assert!(place.reception.services.host.set(host).is_ok());
    let mut scene = scene(&place);
    assert_eq!(outcome(&place, &mut scene).verdict, Verdict::Accept);
    assert_eq!(scene.message.freeze, Some(Freeze { tell: true }));
    assert_eq!(scene.message.queue, Some(QueueControl::Wait));
    assert_eq!(scene.message.headers_added.len(), 1);
    assert_eq!(place.main_log(), ["said x"]);
    assert_eq!(scene.subject, b"user@test.ex");
}

#[test]
fn what_can_never_work_is_found_without_running() {
    let place = place(
        "acl_smtp_connect = check\nacl_smtp_rcpt = nosuch\nbegin acl\ncheck:\n  accept domains = x\n  deny acl = none\n\
         other:\n  deny verify = nothing\n  deny control = freze\n  warn delay = 5 s\n  accept acl = check x\n",
    );
    let faults = place.reception.acls.check(&place.reception.config);
    let texts: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(
        texts[..2],
        ["unknown ACL verb \"nosuch\" in \"nosuch\"", "unknown ACL verb \"none\" in \"none\"",]
    );
    assert!(texts[2].contains("at start of ACL condition \"verify nothing\""), "{texts:?}");
    assert_eq!(
        texts[3..],
        [
            "syntax error in \"control=freze\"",
            "syntax error in argument for \"delay\" modifier: \"5 s\" is not a time value",
            "cannot test domains condition in connection ACL",
        ]
    );
}

#[test]
fn an_acl_that_calls_itself_comes_to_an_end() {
    let place = acl("  accept acl = check");
    let outcome = outcome(&place, &mut scene(&place));
    assert_eq!(outcome.verdict, Verdict::Defer);
    assert_eq!(text(outcome.log_message.as_ref()), "ACL nested too deep: possible loop");
}

#[test]
fn a_packet_is_sent() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = server.local_addr().unwrap().port();
    let place =
        acl(&format!("  accept udpsend = <; 127.0.0.1 ; {port} ;from $sender_host_address; $local_part"));
    assert!(place.reception.acls.may_block(Phase::Rcpt));
    assert_eq!(outcome(&place, &mut scene(&place)).verdict, Verdict::Accept);
    let mut buffer = [0; 100];
    let (length, _) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"from 192.0.2.1; user");
}

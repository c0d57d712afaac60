//! Local submissions, with header lines, spool facts and log lines as exim4 4.96 gives them to the same input.

use super::told::Told;
use super::*;
use crate::test_support::{Place, place, place_with};

fn submit(place: &Place, caller: Caller, request: &Request, text: &str) -> ExitStatus {
    receive(&place.reception, Arc::new(caller), request, text.as_bytes())
}

fn to(recipients: &[&str]) -> Request {
    Request { arguments: recipients.iter().map(|r| r.as_bytes().to_vec()).collect(), ..Request::default() }
}

/// The header lines without Received: and with fixed id and date.
fn headers(place: &Place, index: usize) -> String {
    let id = place.accepted.0.lock()[index].0.id();
    let all = place.headers(index).replace(id.as_str(), "ID");
    let (_, rest) = all.split_once("+0000\n").unwrap();
    let mut out = String::new();
    for line in rest.lines() {
        let line = match line.split_once("Date: ") {
            Some((before, _)) => format!("{before}Date: NOW"),
            None => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

#[test]
fn a_trusted_caller_gets_missing_lines_added() {
    let place = place_with("", "+received_sender +received_recipients");
    let text = "Subject: a\nTo: x, y@z.ex\nSender: foo@bar\nBcc: hidden@z.ex\n\nbody\n.\nmore\n";
    assert_eq!(submit(&place, Caller::made_up("tina", true), &to(&["a@b.ex"]), text), ExitStatus::OK);
    assert_eq!(
        headers(&place, 0),
        "Subject: a\n*To: x, y@z.ex\nTo: x@test.ex, y@z.ex\nSender: foo@bar\nBcc: hidden@z.ex\n\
         Message-Id: <EID@mx.test.ex>\nFrom: The tina <tina@test.ex>\nDate: NOW\n"
    );
    assert_eq!(place.body(0), "body\n");
    let line = place.main_log()[0].clone();
    assert!(line.contains(" <= tina@test.ex U=tina P=local S="), "{line}");
    assert!(line.ends_with(" from <tina@test.ex> for a@b.ex"), "{line}");
    let accepted = place.accepted.0.lock();
    let message = accepted[0].0.message();
    assert!(message.is_local && !message.sender_set_untrusted);
    assert_eq!(message.auth_id.as_deref(), Some(b"tina".as_slice()));
    assert_eq!(message.auth_sender.as_deref(), Some(b"tina@test.ex".as_slice()));
}

#[test]
fn an_untrusted_caller_is_named_as_sender() {
    let place = place("");
    let request = Request { sender: Some(b"foo@bar.ex".to_vec()), ..to(&["x@y.ex"]) };
    let text = "Subject: x\nFrom: other@z.ex\nSender: joe@z.ex\n\nb\n";
    assert_eq!(submit(&place, Caller::made_up("una", false), &request, text), ExitStatus::OK);
    assert_eq!(
        headers(&place, 0),
        "Subject: x\nFrom: other@z.ex\n*Sender: joe@z.ex\nMessage-Id: <EID@mx.test.ex>\n\
         Sender: The una <una@test.ex>\nDate: NOW\n"
    );
    assert_eq!(place.envelope(0), ["una@test.ex", "x@y.ex"]);
    let empty = Request { sender: Some(b"<>".to_vec()), ..to(&["x@y.ex"]) };
    submit(&place, Caller::made_up("una", false), &empty, "From: una\n\nb\n");
    assert_eq!(
        headers(&place, 1),
        "*From: una\nFrom: The una <una@test.ex>\nMessage-Id: <EID@mx.test.ex>\nDate: NOW\n"
    );
    assert_eq!(place.envelope(1), ["", "x@y.ex"]);
    assert!(place.accepted.0.lock()[1].0.message().sender_set_untrusted);
}

#[test]
fn a_trusted_caller_may_say_where_a_message_comes_from() {
    let place = place("");
    let given = Given {
        host_address: Some(("192.0.2.7".parse().unwrap(), 55)),
        host_name: Some(b"host.ex".to_vec()),
        protocol: Some(b"proto".to_vec()),
        ident: Some(b"ident".to_vec()),
        authenticator: Some(b"au".to_vec()),
        auth_id: Some(b"id".to_vec()),
        ..Given::default()
    };
    let request = Request { sender: Some(b"<>".to_vec()), given, ..to(&["b@c.ex"]) };
    submit(&place, Caller::made_up("tina", true), &request, "Subject: x\n\nb\n");
    assert_eq!(headers(&place, 0), "Subject: x\n");
    let line = place.main_log()[0].clone();
    assert!(line.contains(" <= <> H=host.ex [192.0.2.7] U=ident P=proto A=au:id S="), "{line}");
    let untrusted = Request { given: request.given.clone(), ..to(&["b@c.ex"]) };
    submit(&place, Caller::made_up("una", false), &untrusted, "From: una@test.ex\n\nb\n");
    let line = place.main_log()[1].clone();
    assert!(line.contains(" <= una@test.ex U=una P=local S="), "{line}");
}

#[test]
fn recipients_come_from_the_header() {
    let place = place("");
    let request = Request { extract: true, ignore_dots: true, ..to(&["x@test.ex"]) };
    let text = "To: x, y@z.ex\nBcc: hidden@z.ex\nReturn-path: <foo@x>\nDelivery-date: x\nEnvelope-to: x\nFrom: a@b\n\nb\n.\nc\n";
    submit(&place, Caller::made_up("tina", true), &request, text);
    assert_eq!(place.envelope(0), ["tina@test.ex", "y@z.ex", "hidden@z.ex"]);
    assert_eq!(
        headers(&place, 0),
        "*To: x, y@z.ex\nTo: x@test.ex, y@z.ex\n*Bcc: hidden@z.ex\n*Return-path: <foo@x>\n*Delivery-date: x\n\
         *Envelope-to: x\nFrom: a@b\nMessage-Id: <EID@mx.test.ex>\nDate: NOW\n"
    );
    assert_eq!(place.body(0), "b\n.\nc\n");
    let resent = Request { extract: true, ..Request::default() };
    submit(
        &place,
        Caller::made_up("tina", true),
        &resent,
        "Resent-To: x@y.ex\nTo: q@r.ex\nSubject: x\n\nb\n",
    );
    assert_eq!(
        headers(&place, 1),
        "Resent-Date: NOW\nResent-Message-Id: <EID@mx.test.ex>\nResent-To: x@y.ex\nTo: q@r.ex\nSubject: x\n\
         Resent-From: The tina <tina@test.ex>\n"
    );
}

#[test]
fn a_from_line_gives_the_sender_of_a_trusted_caller() {
    let place = place("");
    let text = "From foo@bar.ex Fri Jan  5 12:35 GMT 1996\nSubject: x\n\nb\n";
    submit(&place, Caller::made_up("tina", true), &to(&["b@c.ex"]), text);
    assert_eq!(place.envelope(0)[0], "foo@bar.ex");
    assert_eq!(headers(&place, 0), "Subject: x\nMessage-Id: <EID@mx.test.ex>\nFrom: foo@bar.ex\nDate: NOW\n");
    submit(&place, Caller::made_up("una", false), &to(&["b@c.ex"]), text);
    assert_eq!(place.envelope(1)[0], "una@test.ex");
}

#[test]
fn what_is_wrong_is_mailed_to_the_sender() {
    let place = place("acl_not_smtp = n\nbegin acl\nn:\n deny message = spam here\n");
    let caller = || Caller::made_up("tina", true);
    assert_eq!(submit(&place, caller(), &to(&["a@b@c"]), "Subject: x\n\nb\n"), ExitStatus::FAILED);
    // The complaint meets the same ACL, and can then only be printed.
    assert!(place.accepted.0.lock().is_empty());
    let log = place.main_log();
    assert!(log[0].ends_with(" F=<> rejected by non-SMTP ACL: spam here"), "{}", log[0]);
    let place = crate::test_support::place("");
    let quietly = Request { errors: Errors::MailQuietly, ..to(&["a@b@c"]) };
    assert_eq!(submit(&place, caller(), &quietly, "Subject: x\n\nb\n"), ExitStatus::OK);
    assert_eq!(place.envelope(0), ["", "tina@test.ex"]);
    assert!(headers(&place, 0).contains("Subject: Mail failure - malformed recipient address\n"));
    assert!(
        place.body(0).contains("\n  a@b@c  malformed address: @c may not follow a@b\n"),
        "{}",
        place.body(0)
    );
    assert!(place.body(0).ends_with("\n\nSubject: x\n\nb\n"));
    let extract = Request { extract: true, ..Request::default() };
    submit(&place, caller(), &extract, "To: a@b@c, ok@x.ex; \nTo: good@x.ex\n\nb\n");
    assert_eq!(place.envelope(2), ["tina@test.ex", "good@x.ex"]);
    submit(&place, caller(), &extract, "Subject: x\n\nb\n");
    assert!(headers(&place, 3).contains("Subject: Mail failure - no recipient addresses\n"));
    assert!(place.main_log().iter().any(|line| line.ends_with(" no recipients found in headers")));
    let printed = Request { errors: Errors::Print, ..to(&["a@b@c"]) };
    assert_eq!(submit(&place, caller(), &printed, "Subject: x\n\nb\n"), ExitStatus::FAILED);
    assert_eq!(place.accepted.0.lock().len(), 4);
}

#[test]
fn a_batch_goes_in_until_its_first_error() {
    let place = place("");
    let caller = Arc::new(Caller::made_up("tina", true));
    let good = "HELO x\nMAIL FROM:<a@b.ex>\nRCPT TO:<ok>\nDATA\nSubject: hi\n\n..body\n.\n";
    let given = Given::default();
    assert_eq!(
        batch::receive(&place.reception, &caller, &given, false, good.as_bytes(), &Told::Here),
        ExitStatus::OK
    );
    assert_eq!(place.envelope(0), ["a@b.ex", "ok@test.ex"]);
    assert_eq!(place.body(0), ".body\n");
    assert!(place.main_log()[0].contains(" <= a@b.ex U=tina P=local-bsmtp S="), "{}", place.main_log()[0]);
    let bad = format!("{good}MAIL FROM:<>\nRCPT TO:<malf\n");
    assert_eq!(
        batch::receive(&place.reception, &caller, &given, false, bad.as_bytes(), &Told::Here),
        ExitStatus(1)
    );
    for text in ["RCPT TO:<x@y>\n", "FOO\n", "MAIL FROM:<a@b>\nRCPT TO:<x@y>\nDATA\nno end\n"] {
        assert_eq!(
            batch::receive(&place.reception, &caller, &given, false, text.as_bytes(), &Told::Here),
            ExitStatus(2),
            "{text}"
        );
    }
    assert_eq!(place.accepted.0.lock().len(), 2);
}

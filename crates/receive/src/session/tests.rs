//! Sessions in memory, with replies and log lines as exim4 4.96 gives them to the same input.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::test_support::{Place, place, place_with, place_without_overrides};

/// Starts a session from 192.0.2.1; the test holds the client's end.
fn connect(place: &Place) -> DuplexStream {
    connect_among(place, None)
}

fn connect_among(place: &Place, crowd: Option<Crowd>) -> DuplexStream {
    let (client, server) = tokio::io::duplex(1 << 20);
    let reception = Arc::clone(&place.reception);
    let mut context = reception.context();
    set_endpoints(&mut context, "192.0.2.1:4000".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
    let mut session = Session::new(reception, Box::new(server), context, None);
    tokio::spawn(async move { session.run(crowd).await });
    client
}

/// Reads one reply; empty at the end of the connection.
async fn reply(client: &mut DuplexStream) -> String {
    let mut out = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            let read =
                tokio::time::timeout(Duration::from_secs(5), client.read(&mut byte)).await.unwrap().unwrap();
            if read == 0 {
                return String::from_utf8(out).unwrap();
            }
            line.push(byte[0]);
        }
        let is_last = line.get(3) != Some(&b'-');
        out.extend(line);
        if is_last {
            return String::from_utf8(out).unwrap().replace("\r\n", "\n").trim_end().to_owned();
        }
    }
}

/// Plays a script: what is sent, and the reply that is expected to it, `*` at its end for any continuation.
async fn play(client: &mut DuplexStream, script: &[(&str, &str)]) {
    for (sent, expected) in script {
        client.write_all(sent.as_bytes()).await.unwrap();
        let got = reply(client).await;
        match expected.strip_suffix('*') {
            Some(start) => assert!(got.starts_with(start), "{sent:?}: {got:?}"),
            None => assert_eq!(got, *expected, "{sent:?}"),
        }
    }
}

const ACLS: &str = "acl_smtp_rcpt = accept\n";
const GREETED: (&str, &str) = ("", "220 mx.test.ex ready");
const EHLO: (&str, &str) = (
    "EHLO client.ex\r\n",
    "250-mx.test.ex Hello client.ex [192.0.2.1]\n250-SIZE 52428800\n250-8BITMIME\n250-PIPELINING\n250-PIPECONNECT\n250-CHUNKING\n250-STARTTLS\n250-SMTPUTF8\n250 HELP",
);
const MAIL: (&str, &str) = ("MAIL FROM:<a@b.ex>\r\n", "250 OK");
const RCPT: (&str, &str) = ("RCPT TO:<x@y.ex>\r\n", "250 Accepted");
const DATA: (&str, &str) = ("DATA\r\n", "354 Enter message, ending with \".\" on a line by itself");

#[tokio::test]
async fn a_message_is_accepted_and_logged() {
    let place = place_with(ACLS, "+received_recipients +received_sender");
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            MAIL,
            RCPT,
            DATA,
            ("Subject: hi\r\nMessage-ID: <q@z>\r\n\r\n..dot\r\nbody\r\n.\r\n", "250 OK id=*"),
            ("QUIT\r\n", "221 mx.test.ex closing connection"),
            ("", ""),
        ],
    )
    .await;
    assert_eq!(place.envelope(0), ["a@b.ex", "x@y.ex"]);
    assert_eq!(place.body(0), ".dot\nbody\n");
    let headers = place.headers(0);
    assert!(headers.starts_with("Received: by mx.test.ex\n\tid "), "{headers}");
    assert!(headers.ends_with(" +0000\nSubject: hi\nMessage-ID: <q@z>\n"), "{headers}");
    let log = place.main_log();
    let size = headers.len() + 1 + place.body(0).len();
    let line = log[0].split_once(' ').unwrap().1;
    assert_eq!(
        line,
        format!("<= a@b.ex H=(client.ex) [192.0.2.1] P=esmtp S={size} id=q@z from <a@b.ex> for x@y.ex")
    );
    assert_eq!(place.accepted.0.lock()[0].1, crate::sink::Queueing::Immediate);
}

#[tokio::test]
async fn commands_out_of_order() {
    let place = place("smtp_max_synprot_errors = 20\nacl_smtp_rcpt = accept\n");
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            ("MAIL FROM:<a@b.ex>\r\n", "503 HELO or EHLO required"),
            ("RCPT TO:<x@y.ex>\r\n", "503 sender not yet given"),
            ("HELO\r\n", "501 Syntactically invalid HELO argument(s)"),
            ("HELO a_b\r\n", "501 Syntactically invalid HELO argument(s)"),
            EHLO,
            ("DATA\r\n", "503 valid RCPT command must precede DATA"),
            MAIL,
            ("MAIL FROM:<a@b.ex>\r\n", "503 sender already given"),
            ("DATA\r\n", "503 valid RCPT command must precede DATA"),
            ("RCPT TO:<>\r\n", "501 <>: missing or malformed local part"),
            ("RCPT TO:<unq>\r\n", "501 <unq>: recipient address must contain a domain"),
            ("RCPT TO: <a@b.ex\r\n", "501 <a@b.ex: '>' missing at end of address"),
            ("RCPT TO:<postmaster>\r\n", "250 Accepted"),
            ("RCPT FOO:<a@b>\r\n", "500 unrecognized command"),
            ("DATA foo\r\n", "501 unexpected argument data"),
            ("NOOP a\0b\r\n", "501 NUL characters are not allowed in SMTP commands"),
            ("EXPN x\r\n", "550 Administrative prohibition"),
            ("VRFY x@y\r\n", "252 Administrative prohibition"),
            ("AUTH PLAIN\r\n", "503 AUTH command used when not advertised"),
            ("RSET\r\n", "250 Reset OK"),
            ("RCPT TO:<x@y.ex>\r\n", "503 sender not yet given"),
        ],
    )
    .await;
}

#[tokio::test]
async fn too_many_errors_end_the_session() {
    let place = place_with(ACLS, "+smtp_syntax_error");
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            ("EXPN x\r\n", "550 Administrative prohibition"),
            ("AUTH PLAIN\r\n", "503 AUTH command used when not advertised"),
            ("DATA\r\n", "503 valid RCPT command must precede DATA"),
            ("TURN\r\n", "500 unrecognized command"),
            ("FOO\r\n", "500-unrecognized command\n500 Too many syntax or protocol errors"),
            ("", ""),
        ],
    )
    .await;
    let expected = "SMTP call from (client.ex) [192.0.2.1] dropped: too many syntax or protocol errors (last command was \"FOO\",  C=EHLO,EXPN,AUTH,DATA)";
    assert_eq!(place.main_log().last().unwrap(), expected);
    assert!(place.main_log().contains(
        &"SMTP syntax error in \"TURN\" H=(client.ex) [192.0.2.1] unrecognized command".to_owned()
    ));
}

#[tokio::test]
async fn too_many_unknown_or_idle_commands_end_the_session() {
    let place =
        place("smtp_max_synprot_errors = 20\nsmtp_max_unknown_commands = 2\nsmtp_accept_max_nonmail = 3\n");
    let mut client = connect(&place);
    let unknown = ("FOO\r\n", "500 unrecognized command");
    play(
        &mut client,
        &[GREETED, unknown, unknown, ("BAZ\r\n", "500 Too many unrecognized commands"), ("", "")],
    )
    .await;
    let mut client = connect(&place);
    let noop = ("NOOP\r\n", "250 OK");
    play(
        &mut client,
        &[GREETED, EHLO, noop, noop, noop, ("NOOP\r\n", "554 Too many nonmail commands"), ("", "")],
    )
    .await;
    let log = place.main_log();
    assert_eq!(
        log[0],
        "SMTP call from [192.0.2.1] dropped: too many unrecognized commands (last was \"BAZ\")"
    );
    assert_eq!(
        log[1],
        "SMTP call from (client.ex) [192.0.2.1] dropped: too many nonmail commands (last was \"NOOP\")"
    );
}

#[tokio::test]
async fn an_acl_refuses_defers_drops_and_discards() {
    let place = place(
        "acl_smtp_mail = accept\nacl_smtp_rcpt = ${if eq{$local_part}{denied}{d}{${if eq{$local_part}{wrong}{w}{${if eq{$local_part}{later}{l}{${if eq{$local_part}{dropped}{x}{s}}}}}}}}\n\
         begin acl\nd:\n deny message = go away\\nnow\n log_message = logged reason\nw:\n deny message = 254 5.1.1 custom code\n\
         l:\n defer\nx:\n drop\ns:\n discard\n",
    );
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            MAIL,
            ("RCPT TO:<denied@x.ex>\r\n", "550-go away\n550 now"),
            ("RCPT TO:<wrong@x.ex>\r\n", "550 custom code"),
            ("RCPT TO:<later@x.ex>\r\n", "451 Temporary local problem - please try later"),
            ("DATA\r\n", "503 Valid RCPT command must precede DATA"),
            ("RCPT TO:<any@x.ex>\r\n", "250 Accepted"),
            DATA,
            ("A: b\r\n\r\n.\r\n", "250 OK id=*"),
            MAIL,
            ("RCPT TO:<dropped@x.ex>\r\n", "550 Administrative prohibition"),
            ("", ""),
        ],
    )
    .await;
    let log = place.main_log();
    assert_eq!(log[0], "H=(client.ex) [192.0.2.1] F=<a@b.ex> rejected RCPT <denied@x.ex>: logged reason");
    assert_eq!(
        log[1],
        "configured error code starts with incorrect digit (expected 5) in \"254 5.1.1 custom code\""
    );
    assert_eq!(log[2], "H=(client.ex) [192.0.2.1] F=<a@b.ex> rejected RCPT <wrong@x.ex>: 550 custom code");
    assert_eq!(log[3], "H=(client.ex) [192.0.2.1] F=<a@b.ex> temporarily rejected RCPT <later@x.ex>");
    assert_eq!(log[4], "H=(client.ex) [192.0.2.1] F=<a@b.ex> RCPT <any@x.ex>: discarded by RCPT ACL");
    assert!(log[6].ends_with(" => blackhole (RCPT ACL discarded recipients)"), "{}", log[6]);
    assert!(log[7].ends_with(" Completed"));
    assert_eq!(log[8], "H=(client.ex) [192.0.2.1] F=<a@b.ex> rejected RCPT <dropped@x.ex>");
    assert!(place.accepted.0.lock().is_empty());
}

#[tokio::test]
async fn data_without_recipients_tells_why() {
    let place = place("acl_smtp_rcpt = deny\n");
    let mut client = connect(&place);
    play(&mut client, &[GREETED, EHLO]).await;
    client.write_all(b"MAIL FROM:<a@b.ex>\r\nRCPT TO:<denied@x.ex>\r\nDATA\r\n").await.unwrap();
    play(
        &mut client,
        &[
            ("", "250 OK"),
            ("", "550 Administrative prohibition"),
            ("", "503-All RCPT commands were rejected with this error:\n503-Administrative prohibition\n503 Valid RCPT command must precede DATA"),
        ],
    )
    .await;
}

#[tokio::test]
async fn clients_that_do_not_wait_are_refused() {
    let place = place("pipelining_connect_advertise_hosts =\nacl_smtp_rcpt = accept\n");
    let ehlo = ("EHLO client.ex\r\n", "250-mx.test.ex Hello*");
    let mut client = connect(&place);
    play(&mut client, &[GREETED, ("EHLO x\r\nNOOP\r\n", "554 SMTP synchronization error"), ("", "")]).await;
    let mut client = connect(&place);
    play(
        &mut client,
        &[GREETED, ehlo, ("RSET\r\nHELP\r\n", "250 Reset OK"), ("", "214-Commands supported:*")],
    )
    .await;
    let pipelined = "MAIL FROM:<a@b.ex>\r\nRCPT TO:<x@y.ex>\r\nDATA\r\nSubject: x\r\n\r\n";
    play(
        &mut client,
        &[(pipelined, "250 OK"), ("", "250 Accepted"), ("", "554 SMTP synchronization error"), ("", "")],
    )
    .await;
    assert_eq!(
        place.main_log().last().unwrap(),
        "SMTP protocol synchronization error (next input sent too soon: pipelining was advertised): rejected \"DATA\" H=(client.ex) [192.0.2.1] next input=\"Subject: x\\r\\n\\r\\n\""
    );
    let (mut early, server) = tokio::io::duplex(1024);
    early.write_all(b"EHLO x\r\n").await.unwrap();
    let reception = Arc::clone(&place.reception);
    let mut context = reception.context();
    set_endpoints(&mut context, "192.0.2.1:4000".parse().unwrap(), "192.0.2.9:25".parse().unwrap());
    Session::new(reception, Box::new(server), context, None).run(None).await;
    assert_eq!(reply(&mut early).await, "554 SMTP synchronization error");
    assert!(place.main_log().last().unwrap().contains("(input sent without waiting for greeting)"));
}

/// A part of a line must never count as a command or as an answer.
#[tokio::test]
async fn a_line_that_is_too_long_is_not_obeyed() {
    let place = place(&format!("acl_smtp_rcpt = accept\n{PLAINTEXT}"));
    let long = |start: &str, with: &str| format!("{start}{}\r\n", with.repeat(20_000 / with.len()));
    let mut client = connect(&place);
    play(&mut client, &[GREETED, ("EHLO client.ex\r\n", "250-*")]).await;
    // NUL u NUL secret, and much more.
    let credentials = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        [b"\0u\0secret".as_slice(), &[0; 20_000]].concat(),
    );
    play(
        &mut client,
        &[
            (long("NOOP ", "x").as_str(), "500 unrecognized command"),
            (long("MAIL FROM:<a@b.ex>", " ").as_str(), "500 unrecognized command"),
            ("AUTH PLAIN\r\n", "334 "),
            (format!("{credentials}\r\n").as_str(), "501 Invalid base64 data"),
            MAIL,
            RCPT,
            (long("BDAT 5 LAST", " ").as_str(), "500 unrecognized command"),
            ("", ""),
        ]
        .map(|(sent, expected)| (sent, expected.trim_end())),
    )
    .await;
    let mut client = connect(&place);
    play(&mut client, &[GREETED, ("EHLO client.ex\r\n", "250-*"), MAIL, RCPT]).await;
    let nul = "501 NUL characters are not allowed in SMTP commands";
    play(&mut client, &[("BDAT 5\0LAST\r\n", nul), ("", "")]).await;
}

#[tokio::test]
async fn nothing_is_smuggled_past_the_end_of_data() {
    let place = place(ACLS);
    for odd_end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r"] {
        let mut client = connect(&place);
        play(&mut client, &[GREETED, EHLO, MAIL, RCPT, DATA]).await;
        let text = format!(
            "A: b\r\n\r\nfirst{odd_end}MAIL FROM:<evil@x.ex>\r\nRCPT TO:<x@y.ex>\r\nDATA\r\nB: c\r\n\r\nsecond\r\n.\r\n"
        );
        play(&mut client, &[(&text, "250 OK id=*"), ("NOOP\r\n", "250 OK")]).await;
    }
    assert_eq!(place.accepted.0.lock().len(), 5);
    for index in 0..5 {
        assert_eq!(place.envelope(index)[0], "a@b.ex");
        assert!(place.body(index).contains("evil@x.ex"), "the rest must be body");
    }
}

#[tokio::test]
async fn chunks() {
    let place = place(ACLS);
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            MAIL,
            RCPT,
            ("BDAT 6\r\na: b\r\n", "250 6 byte chunk received"),
            ("BDAT 9\r\n\r\n.\r\n.\r\nc", "250 9 byte chunk received"),
            ("BDAT 0 LAST\r\n", "250- 0 byte chunk, total 15\n250 OK id=*"),
            ("BDAT 5\r\nxxxxx", "503 valid RCPT command must precede BDAT"),
            MAIL,
            RCPT,
            ("BDAT 6\r\na: b\r\n", "250 6 byte chunk received"),
            ("DATA\r\n", "503 only BDAT permissible after non-LAST BDAT"),
            ("BDAT 2 LAST\r\n\r\n", "503 only RSET accepted now"),
            ("RSET\r\n", "250 Reset OK"),
            MAIL,
        ],
    )
    .await;
    assert_eq!(place.body(0), ".\n.\nc\n");
    assert!(place.main_log()[0].contains(" P=esmtp K S="));
}

#[tokio::test]
async fn size_limits() {
    let place = place(
        "message_size_limit = 5k\nheader_maxsize = 2000\nheader_line_maxsize = 500\nacl_smtp_rcpt = accept\n",
    );
    let mut client = connect(&place);
    let big = format!("Subject: big\r\n\r\n{}\r\n.\r\n", "x".repeat(6000));
    let long_line = format!("A: {}\r\n\r\n.\r\n", "x".repeat(600));
    let long_header = format!("{}\r\n.\r\n", format!("A: {}\r\n", "x".repeat(300)).repeat(8));
    let ehlo = ("EHLO client.ex\r\n", "250-mx.test.ex Hello client.ex [192.0.2.1]\n250-SIZE 5120\n*");
    play(
        &mut client,
        &[
            GREETED,
            ehlo,
            ("MAIL FROM:<a@b.ex> SIZE=99999\r\n", "552 Message size exceeds maximum permitted"),
            MAIL,
            RCPT,
            DATA,
            (&big, "552 Message size exceeds maximum permitted"),
            MAIL,
            RCPT,
            DATA,
            (&long_line, "552 A message header line is too long"),
            MAIL,
            RCPT,
            DATA,
            (&long_header, "552 Message header is ridiculously long"),
            ("NOOP\r\n", "250 OK"),
        ],
    )
    .await;
    let log = place.main_log();
    assert_eq!(
        log[0],
        "rejected MAIL FROM:<a@b.ex> H=(client.ex) [192.0.2.1]: message too big: size=99999 max=5120"
    );
    assert!(
        log[1].contains(" rejected from <a@b.ex> H=(client.ex) [192.0.2.1]: message too big: read="),
        "{}",
        log[1]
    );
    assert_eq!(
        log[2],
        "overlong message header line received from (client.ex) [192.0.2.1] (more than 500 characters): message abandoned"
    );
    assert_eq!(
        log[3],
        "ridiculously long message header received from (client.ex) [192.0.2.1] (more than 2000 characters): message abandoned"
    );
}

#[tokio::test]
async fn many_recipients_and_messages() {
    let place = place("recipients_max = 2\nsmtp_accept_max_per_connection = 2\nacl_smtp_rcpt = accept\n");
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            MAIL,
            RCPT,
            RCPT,
            ("RCPT TO:<x@y.ex>\r\n", "452 too many recipients"),
            ("RCPT TO:<x@y.ex>\r\n", "452 too many recipients"),
            DATA,
            ("A: b\r\n\r\n.\r\n", "250 OK id=*"),
            MAIL,
            ("RSET\r\n", "250 Reset OK"),
            ("MAIL FROM:<a@b.ex>\r\n", "421 too many messages in this connection"),
            ("RCPT TO:<x@y.ex>\r\n", "503 sender not yet given"),
        ],
    )
    .await;
    let log = place.main_log();
    assert_eq!(
        log[0],
        "too many recipients: excess temporarily rejected: sender=<a@b.ex> H=(client.ex) [192.0.2.1]"
    );
    assert_eq!(
        log[2],
        "rejected MAIL command H=(client.ex) [192.0.2.1]: too many messages in one connection"
    );
}

#[tokio::test]
async fn connections_are_counted() {
    let place = place(
        "smtp_accept_max = 2\nsmtp_accept_max_per_host = 1\nsmtp_accept_reserve = 1\nsmtp_reserve_hosts = 192.0.2.200\n",
    );
    let mut client = connect_among(&place, Some(Crowd { total: 3, same_host: 1 }));
    play(&mut client, &[("", "421 Too many concurrent SMTP connections; please try again later."), ("", "")])
        .await;
    let mut client = connect_among(&place, Some(Crowd { total: 2, same_host: 2 }));
    play(
        &mut client,
        &[
            ("", "421 Too many concurrent SMTP connections from this IP address; please try again later."),
            ("", ""),
        ],
    )
    .await;
    let mut client = connect_among(&place, Some(Crowd { total: 2, same_host: 1 }));
    play(
        &mut client,
        &[("", "421 mx.test.ex: Too many concurrent SMTP connections; please try again later"), ("", "")],
    )
    .await;
    assert_eq!(
        place.main_log(),
        [
            "Connection from [192.0.2.1] refused: too many connections",
            "Connection from [192.0.2.1] refused: too many connections from that IP address",
            "temporarily refused connection from [192.0.2.1]: not in reserve list: connected=1 max=2 reserve=1",
        ]
    );
}

#[tokio::test]
async fn hosts_and_acls_refuse_connections() {
    let text = "host_reject_connection = 192.0.2.0/24\n";
    let rejecting = place(text);
    let mut client = connect(&rejecting);
    play(&mut client, &[("", "554 SMTP service not available"), ("", "")]).await;
    assert_eq!(rejecting.main_log(), ["refused connection from [192.0.2.1] (host_reject_connection)"]);
    let denying = place("acl_smtp_connect = c\nbegin acl\nc:\n deny message = bye mate\\nline2\n");
    let mut client = connect(&denying);
    play(&mut client, &[("", "550-bye mate\n550 line2"), ("", "")]).await;
    assert_eq!(denying.main_log(), ["H=[192.0.2.1] rejected connection in \"connect\" ACL: bye mate"]);
    let greeting = place("acl_smtp_connect = c\nbegin acl\nc:\n accept message = 220 hello mate\\nline2\n");
    let mut client = connect(&greeting);
    play(
        &mut client,
        &[("", "220-hello mate\n220 line2"), ("QUIT\r\n", "221 mx.test.ex closing connection")],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn silent_clients_are_dropped() {
    let place = place_with(ACLS, "+smtp_incomplete_transaction");
    let mut client = connect(&place);
    play(&mut client, &[GREETED, EHLO]).await;
    tokio::time::sleep(Duration::from_secs(301)).await;
    play(&mut client, &[("", "421 mx.test.ex: SMTP command timeout - closing connection"), ("", "")]).await;
    let mut client = connect(&place);
    play(&mut client, &[GREETED, EHLO, MAIL, RCPT, DATA]).await;
    client.write_all(b"abc").await.unwrap();
    tokio::time::sleep(Duration::from_secs(301)).await;
    play(&mut client, &[("", "421 mx.test.ex SMTP incoming data timeout - closing connection."), ("", "")])
        .await;
    assert_eq!(
        place.main_log(),
        [
            "SMTP command timeout on connection from (client.ex) [192.0.2.1]",
            "SMTP data timeout (message abandoned) on connection from (client.ex) [192.0.2.1] F=<a@b.ex>",
        ]
    );
}

#[tokio::test]
async fn lost_connections() {
    let place = place_with(
        "acl_smtp_rcpt = accept\nacl_smtp_notquit = n\nacl_smtp_quit = q\nbegin acl\nn:\n accept\nq:\n accept message = 250 see you\n",
        "+smtp_no_mail",
    );
    let mut client = connect(&place);
    play(&mut client, &[GREETED, EHLO, MAIL, RCPT, DATA]).await;
    client.write_all(b"abc\r\n\r\nfoo").await.unwrap();
    drop(client);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut client = connect(&place);
    play(&mut client, &[GREETED, ("QUIT\r\n", "221 see you"), ("", "")]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        place.main_log(),
        [
            "SMTP connection from (client.ex) [192.0.2.1] lost while reading message data",
            "no MAIL in SMTP connection from [192.0.2.1] D=0s C=QUIT",
        ]
    );
    assert!(place.accepted.0.lock().is_empty());
}

#[tokio::test]
async fn unqualified_addresses_are_completed_where_allowed() {
    let place = place(
        "sender_unqualified_hosts = *\nrecipient_unqualified_hosts = *\nqualify_recipient = rcpt.ex\nacl_smtp_rcpt = accept\n",
    );
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            EHLO,
            ("MAIL FROM:<a>\r\n", "250 OK"),
            ("RCPT TO:<b>\r\n", "250 Accepted"),
            DATA,
            ("From: x\r\nTo: y, z@q.ex\r\nCc: foo (comm)\r\n\r\n.\r\n", "250 OK id=*"),
        ],
    )
    .await;
    assert_eq!(place.envelope(0), ["a@test.ex", "b@rcpt.ex"]);
    let headers = place.headers(0);
    let (_, rest) = headers.split_once("+0000\n").unwrap();
    assert_eq!(
        rest,
        "*From: x\nFrom: x@test.ex\n*To: y, z@q.ex\nTo: y@rcpt.ex, z@q.ex\n*Cc: foo (comm)\nCc: foo@rcpt.ex (comm)\n"
    );
}

#[tokio::test]
async fn starttls_hides_what_was_said_before() {
    let place = place(ACLS);
    let mut client = connect(&place);
    play(&mut client, &[GREETED, EHLO, MAIL, ("STARTTLS\r\n", "220 TLS go ahead")]).await;
    client.write_all(b"this is no handshake\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        place.main_log()[0].starts_with("TLS error on connection from (client.ex) [192.0.2.1] "),
        "{:?}",
        place.main_log()
    );
}

#[test]
fn the_usual_configuration_needs_no_worker_threads() {
    let place = place_without_overrides("acl_smtp_rcpt = r\nbegin acl\nr:\n accept\n");
    let blocking = place.reception.blocking;
    assert!(
        !blocking.connect && !blocking.helo && !blocking.mail && !blocking.rcpt && !blocking.data,
        "{blocking:?}"
    );
}

#[tokio::test]
async fn the_default_texts_are_exims() {
    let place = place_without_overrides("acl_smtp_rcpt = accept\n");
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            ("", "220 mx.test.ex ESMTP Exim 4.96 *"),
            ("EHLO client.ex\r\n", "250-mx.test.ex Hello*"),
            MAIL,
            RCPT,
            DATA,
            ("A: b\r\n\r\n.\r\n", "250 OK id=*"),
        ],
    )
    .await;
    let id = place.accepted.0.lock()[0].0.id();
    let headers = place.headers(0);
    let (received, _) = headers.rsplit_once(";\n\t").unwrap();
    assert_eq!(
        received,
        format!(
            "Received: from [192.0.2.1] (helo=client.ex)\n\tby mx.test.ex with esmtp (Exim 4.96)\n\t\
             (envelope-from <a@b.ex>)\n\tid {id}\n\tfor x@y.ex"
        )
    );
}

#[test]
fn an_idle_session_is_small() {
    let place = place(ACLS);
    let (_, server) = tokio::io::duplex(64);
    let context = place.reception.context();
    let mut session = Session::new(Arc::clone(&place.reception), Box::new(server), context, None);
    let talk = std::mem::size_of::<Talk>();
    let future = session.run(None);
    let task = std::mem::size_of_val(&future);
    eprintln!("talk: {talk} bytes, task: {task} bytes");
    assert!(talk < 12 * 1024, "talk: {talk} bytes");
    assert!(task < 2 * 1024, "task: {task} bytes");
}

const PLAINTEXT: &str = "begin authenticators\npl:\n driver = plaintext\n public_name = PLAIN\n server_prompts = :\n \
    server_condition = ${if eq{$auth3}{secret}}\n server_set_id = $auth2\n";

#[tokio::test]
async fn authentication() {
    let place = place(&format!("acl_smtp_rcpt = accept\n{PLAINTEXT}"));
    let mut client = connect(&place);
    play(
        &mut client,
        &[
            GREETED,
            ("EHLO client.ex\r\n", "250-*"),
            ("AUTH FOO\r\n", "504 FOO authentication mechanism not supported"),
            ("AUTH PLAIN %%%\r\n", "501 Invalid base64 data"),
            ("AUTH PLAIN\r\n", "334 "),
        ]
        .map(|(sent, expected)| (sent, expected.trim_end())),
    )
    .await;
    play(
        &mut client,
        &[
            ("*\r\n", "501 Authentication cancelled"),
            // NUL u NUL wrong
            ("AUTH PLAIN AHUAd3Jvbmc=\r\n", "535 Incorrect authentication data"),
            MAIL,
            ("AUTH PLAIN AHUAc2VjcmV0\r\n", "503 not permitted in mail transaction"),
            ("RSET\r\n", "250 Reset OK"),
            // NUL u NUL secret
            ("AUTH PLAIN AHUAc2VjcmV0\r\n", "235 Authentication succeeded"),
            ("AUTH PLAIN AHUAc2VjcmV0\r\n", "503 already authenticated"),
            ("MAIL FROM:<a@b.ex> AUTH=foo@bar\r\n", "250 OK"),
            RCPT,
            DATA,
            ("A: b\r\n\r\n.\r\n", "250 OK id=*"),
        ],
    )
    .await;
    let log = place.main_log();
    assert_eq!(log[0], "pl authenticator failed for (client.ex) [192.0.2.1]: 501 Invalid base64 data");
    assert_eq!(log[1], "pl authenticator failed for (client.ex) [192.0.2.1]: 501 Authentication cancelled");
    assert_eq!(
        log[2],
        "pl authenticator failed for (client.ex) [192.0.2.1]: 535 Incorrect authentication data (set_id=u)"
    );
    assert!(log[3].contains(" P=esmtpa A=pl:u S="), "{}", log[3]);
    let accepted = place.accepted.0.lock();
    assert_eq!(accepted[0].0.message().auth_sender.as_deref(), Some(b"foo@bar".as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_under_tls_over_a_real_socket() {
    use std::io::{Read, Write};

    let place = place_with(&format!("acl_smtp_rcpt = accept\n{PLAINTEXT}"), "+tls_sni +smtp_connection");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reception = Arc::clone(&place.reception);
    let server = tokio::spawn(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let guard = reception.admission.enter(peer.ip());
        serve(Arc::clone(&reception), stream, peer, address, guard).await;
        reception.admission.open()
    });
    let client = tokio::task::spawn_blocking(move || {
        let mut plain = std::net::TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 4096];
        for sent in ["", "EHLO client.ex\r\n", "STARTTLS\r\n"] {
            plain.write_all(sent.as_bytes()).unwrap();
            let _ = plain.read(&mut buffer).unwrap();
        }
        let policy = oxim_net::tls::client::ClientPolicy::default();
        let (mut tls, _) = oxim_net::tls::client::connect(plain, Some("sni.ex"), &policy).unwrap();
        let mut replies = String::new();
        for sent in [
            "MAIL FROM:<a@b.ex>\r\n",
            "EHLO client.ex\r\n",
            "AUTH PLAIN AHUAc2VjcmV0\r\n",
            "MAIL FROM:<a@b.ex>\r\n",
            "RCPT TO:<x@y.ex>\r\n",
            "DATA\r\n",
            "A: b\r\n\r\n.\r\n",
            "QUIT\r\n",
        ] {
            tls.write_all(sent.as_bytes()).unwrap();
            tls.flush().unwrap();
            let read = tls.read(&mut buffer).unwrap();
            replies.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        replies
    });
    let replies = client.await.unwrap();
    assert!(
        replies.starts_with("503 HELO or EHLO required\r\n250-mx.test.ex Hello client.ex [127.0.0.1]\r\n"),
        "{replies}"
    );
    assert!(!replies.contains("STARTTLS") && replies.contains("250-AUTH PLAIN\r\n"), "{replies}");
    assert!(replies.ends_with("221 mx.test.ex closing connection\r\n"), "{replies}");
    assert_eq!(server.await.unwrap(), 0, "the place is given back");
    let log = place.main_log();
    assert_eq!(log[0], "SMTP connection from [127.0.0.1] (TCP/IP connection count = 1)");
    let line = log.iter().find(|line| line.contains(" <= ")).unwrap();
    assert!(
        line.contains(" P=esmtpsa X=TLS1.3:TLS_AES_") && line.contains(" CV=no SNI=sni.ex A=pl:u S="),
        "{line}"
    );
    assert_eq!(log.last().unwrap(), "SMTP connection from (client.ex) [127.0.0.1] closed by QUIT");
}

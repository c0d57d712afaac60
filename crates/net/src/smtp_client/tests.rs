//! Sessions with servers that follow a script. The texts of errors are those of Exim 4.96 with the same servers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;
use crate::tls::server::{ServerPolicy, ServerTls, accept};

const LIMIT: Duration = Duration::from_millis(400);

/// Sends the first line of the script at once, each other one when something has come in. `CLOSE` closes, `SLEEP` waits
/// for the client to give up. What came in is the result.
fn server(script: &[&'static str]) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = script.to_vec();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut buffer = [0; 65_536];
        for (index, line) in script.iter().enumerate() {
            if index > 0 {
                let length = stream.read(&mut buffer).unwrap_or(0);
                seen.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            match *line {
                "CLOSE" => return seen,
                "SLEEP" => break,
                line => stream.write_all(line.as_bytes()).unwrap(),
            }
        }
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 {
                break;
            }
            seen.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        seen
    });
    (address, thread)
}

fn dial(address: SocketAddr) -> Connection {
    Connection::connect(&ConnectTarget::tcp(address, Duration::from_secs(5))).unwrap()
}

/// A whole delivery, command by command or pipelined, up to the first refusal.
fn deliver(address: SocketAddr) -> Result<Vec<Reply>, SmtpError> {
    let mut connection = dial(address);
    let mut replies = vec![connection.read_banner(LIMIT)?];
    let ehlo = connection.ehlo("me.ex", LIMIT)?;
    if !ehlo.is_success() {
        connection.helo("me.ex", LIMIT)?;
    }
    let commands = [b"MAIL FROM:<a@me.ex>".as_slice(), b"RCPT TO:<b@x.ex>", b"DATA"];
    if connection.extensions().pipelining {
        for command in commands {
            connection.queue(command)?;
        }
        for _ in commands {
            replies.push(connection.read_reply(LIMIT)?);
        }
    } else {
        for command in commands {
            connection.queue(command)?;
            replies.push(connection.read_reply(LIMIT)?);
        }
    }
    if replies.last().is_some_and(Reply::is_intermediate) {
        let mut body = Some(b"Subject: t\n\n.dot\nlast".to_vec());
        connection.send_data(LIMIT, |piece| {
            piece.extend(body.take().unwrap_or_default());
            Ok(false)
        })?;
        replies.push(connection.read_reply(LIMIT)?);
    }
    connection.quit(LIMIT);
    Ok(replies)
}

#[test]
fn errors_have_the_words_of_exim() {
    let cases: &[(&[&'static str], &str)] = &[
        (&["CLOSE"], "Remote host closed connection in response to initial connection"),
        (&["hello\r\n"], "Malformed SMTP reply in response to initial connection: hello"),
        (
            &["220 x\r\n", "250 x\r\n", "2500 bad\r\n"],
            "Malformed SMTP reply in response to MAIL FROM:<a@me.ex>: 2500 bad",
        ),
        (
            &["220 x\r\n", "250 x\r\n", "CLOSE"],
            "Remote host closed connection in response to MAIL FROM:<a@me.ex>",
        ),
        (&["220 x\r\n", "250 x\r\n", "SLEEP"], "SMTP timeout after MAIL FROM:<a@me.ex>"),
        (&["SLEEP"], "SMTP timeout after initial connection"),
        (
            &["220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "SLEEP"],
            "SMTP timeout after pipelined MAIL FROM:<a@me.ex>",
        ),
        (
            &["220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "250 ok\r\nxx\r\n"],
            "Malformed SMTP reply in response to pipelined RCPT TO:<b@x.ex>: xx",
        ),
        (
            &["220 x\r\n", "250 x\r\n", "250 a\r\n", "250 b\r\n", "354 go\r\n", "CLOSE"],
            "Remote host closed connection in response to end of data",
        ),
        (
            &["220 x\r\n", "250 x\r\n", "250 a\r\n", "250 b\r\n", "354 go\r\n", "SLEEP"],
            "SMTP timeout after end of data (30 bytes written)",
        ),
        (
            &["220 x\r\n", "500 no\r\n", "CLOSE"],
            "Remote host closed connection in response to HELO me.ex (EHLO response was: 500 no)",
        ),
        (&["220 x\r\n", "250 x\r\n", "250 ok", "CLOSE"], "SMTP timeout after MAIL FROM:<a@me.ex>"),
    ];
    for (script, expected) in cases {
        let (address, thread) = server(script);
        assert_eq!(deliver(address).unwrap_err().to_string(), *expected, "{script:?}");
        thread.join().unwrap();
    }
}

#[test]
fn refusals_are_replies() {
    let (address, thread) =
        server(&["220 x\r\n", "250-x\r\n250 PIPELINING\r\n", "250 ok\r\n550-a\r\n550 b c\r\n554 none\r\n"]);
    let replies = deliver(address).unwrap();
    assert_eq!(replies[2].to_text(), b"550-a\n550 b c");
    assert!(replies[3].is_permanent());
    let seen = thread.join().unwrap();
    assert_eq!(seen[1], "MAIL FROM:<a@me.ex>\r\nRCPT TO:<b@x.ex>\r\nDATA\r\n");
}

#[test]
fn a_message_is_stuffed_and_ended() {
    let (address, thread) = server(&[
        "220 x\r\n",
        "250 x\r\n",
        "250 a\r\n",
        "250 b\r\n",
        "354 go\r\n",
        "250 taken\r\n",
        "221 bye\r\n",
    ]);
    assert_eq!(deliver(address).unwrap().len(), 5);
    let seen = thread.join().unwrap();
    assert_eq!(seen[4], "Subject: t\r\n\r\n..dot\r\nlast\r\n.\r\n");
    assert_eq!(seen[5], "QUIT\r\n");
}

#[test]
fn the_end_of_a_message_and_the_next_mail_leave_together() {
    let (address, thread) = server(&["220 x\r\n", "354 go\r\n", "250 taken\r\n250 ok\r\n", "250 more\r\n"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    connection.command("DATA", LIMIT).unwrap();
    let sent = connection
        .send_data(LIMIT, |piece| {
            piece.extend(b"x\n");
            Ok(false)
        })
        .unwrap();
    assert_eq!(sent, SentData { bytes: 6, line_bytes_max: 1 });
    connection.queue(b"MAIL FROM:<c@me.ex>").unwrap();
    assert_eq!(connection.read_reply(LIMIT).unwrap().lines, vec![b"taken".to_vec()]);
    assert_eq!(connection.read_reply(LIMIT).unwrap().lines, vec![b"ok".to_vec()]);
    assert!(connection.is_reusable());
    connection.queue_bdat(b"a\r\n", true, LIMIT).unwrap();
    assert!(connection.read_reply(LIMIT).unwrap().is_success());
    connection.quit(Duration::ZERO);
    let seen = thread.join().unwrap();
    assert_eq!(seen[1], "x\r\n.\r\nMAIL FROM:<c@me.ex>\r\n");
    assert_eq!(seen[2], "BDAT 3 LAST\r\na\r\n");
}

#[test]
fn a_large_message_is_sent_in_blocks_and_a_failing_source_never_completes() {
    let (address, thread) = server(&["220 x\r\n", "SLEEP"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    let mut left = 40;
    let result = connection.send_data(LIMIT, |piece| {
        piece.extend(std::iter::repeat_n(b"0123456789\n", 1_000).flatten());
        left -= 1;
        if left == 0 { Err(io::ErrorKind::NotFound.into()) } else { Ok(true) }
    });
    assert!(matches!(result, Err(SmtpError::LocalSource(_))));
    assert!(!connection.is_reusable());
    drop(connection);
    let seen = thread.join().unwrap().concat();
    assert!(seen.len() > 200_000 && !seen.contains("\r\n.\r\n"));
}

#[test]
fn line_breaks_in_commands_are_refused() {
    let (address, _thread) = server(&["220 x\r\n"]);
    let mut connection = dial(address);
    for bad in [b"RCPT TO:<a\r\nDATA>".as_slice(), b"MAIL FROM:<a\n>", b"NOOP \0", b"\r"] {
        assert!(matches!(connection.queue(bad), Err(SmtpError::LocalArgument { .. })));
    }
    assert_eq!(connection.awaited_replies(), 0);
}

#[test]
fn secrets_stay_out_of_errors() {
    let (address, _thread) = server(&["220 x\r\n", "CLOSE"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    connection.queue_secret(b"AUTH PLAIN c2VjcmV0", "AUTH PLAIN *").unwrap();
    let error = connection.read_reply(LIMIT).unwrap_err();
    assert_eq!(error.to_string(), "Remote host closed connection in response to AUTH PLAIN *");
}

#[test]
fn a_last_word_is_heard_though_the_connection_is_closed() {
    let (address, thread) = server(&["220 x\r\n", "421 too busy\r\n"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    assert_eq!(connection.command("NOOP", LIMIT).unwrap().code, 421);
    drop(connection);
    thread.join().unwrap();
}

#[test]
fn an_unused_connection_that_was_closed_is_not_reused() {
    let (address, thread) = server(&["220 x\r\n", "CLOSE"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    assert!(connection.is_reusable());
    connection.queue(b"NOOP").unwrap();
    connection.flush(LIMIT).unwrap();
    thread.join().unwrap();
    assert!(connection.read_reply(LIMIT).is_err());
    assert!(!connection.is_reusable());
}

#[test]
fn clear_text_behind_starttls_is_an_attack() {
    let (address, _thread) =
        server(&["220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n", "SLEEP"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    connection.ehlo("me.ex", LIMIT).unwrap();
    assert!(connection.extensions().starttls);
    let result = connection.starttls(None, &ClientPolicy::default(), LIMIT);
    assert!(matches!(result, Err(SmtpError::PeerInjected)));
    assert!(connection.command("MAIL FROM:<>", LIMIT).is_err());
}

#[test]
fn starttls_refused_or_failed() {
    let (address, _thread) = server(&["220 x\r\n", "454 no\r\n", "250 ok\r\n"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    assert!(matches!(connection.starttls(None, &ClientPolicy::default(), LIMIT), Ok(StartTls::Refused(_))));
    assert!(connection.command("NOOP", LIMIT).unwrap().is_success());
    let (address, _thread) = server(&["220 x\r\n", "220 go\r\n", "nonsense, not TLS at all\r\n"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    let result = connection.starttls(None, &ClientPolicy::default(), LIMIT);
    assert!(matches!(result, Err(SmtpError::Tls(TlsError::Handshake(_)))));
    let (address, _thread) = server(&["220 x\r\n", "220 go\r\n", "SLEEP"]);
    let mut connection = dial(address);
    connection.read_banner(LIMIT).unwrap();
    let result = connection.starttls(None, &ClientPolicy::default(), LIMIT);
    assert!(matches!(result, Err(SmtpError::Tls(TlsError::Timeout))));
}

#[test]
fn a_session_goes_on_inside_tls_and_forgets_what_was_offered_before() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let tls: Arc<ServerTls> = ServerTls::of(&ServerPolicy::default()).unwrap();
    let task = runtime.spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1_000];
        stream.write_all(b"220 x\r\n").await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n").await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"220 go\r\n").await.unwrap();
        let (mut stream, _) = accept(stream, &tls, Duration::from_secs(5)).await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"250-x\r\n250 SIZE 100\r\n").await.unwrap();
        stream.flush().await.unwrap();
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
    });
    let limit = Duration::from_secs(5);
    let mut connection = dial(address);
    connection.read_banner(limit).unwrap();
    connection.ehlo("me.ex", limit).unwrap();
    assert!(matches!(connection.starttls(None, &ClientPolicy::default(), limit), Ok(StartTls::Started(_))));
    assert!(!connection.extensions().pipelining);
    connection.ehlo("me.ex", limit).unwrap();
    assert_eq!(connection.extensions().size_bytes_max, Some(100));
    assert!(connection.tls_facts().is_some() && connection.is_reusable());
    connection.quit(Duration::ZERO);
    runtime.block_on(task).unwrap();
}

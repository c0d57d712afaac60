//! Deliveries to servers that follow a script; texts and numbers are those of Exim 4.96 with the same servers.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use oxim_lang::config::{self, Catalogue, Drivers, rows};
use oxim_lang::context::{Context, Services};
use oxim_mail::header::Header;
use oxim_mail::message_id::MessageId;
use oxim_spool::log::{Log, LogConfig};
use oxim_spool::message::{Body, Message};

use super::super::{Batch, HostHistory, HostKey, HostStatus, NoHistory, Outcome, Run, TRANSPORTS};
use crate::address::{Address, RouteHost};
use crate::agent::Identity;
use crate::authenticator::AUTHENTICATORS;
use crate::delivery::Delivery;

/// Listens on a port of its own.
struct Server {
    port: u16,
    thread: JoinHandle<Vec<String>>,
}

/// Plays a script for each connection: `<` is sent, `>` awaits a line, `. ` awaits data up to the dot.
fn server(scripts: &[&str]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scripts: Vec<String> = scripts.iter().map(|s| (*s).to_owned()).collect();
    let thread = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            play(&script, stream, &mut seen);
        }
        seen
    });
    Server { port, thread }
}

fn play(script: &str, mut stream: TcpStream, seen: &mut Vec<String>) {
    let mut input = BufReader::new(stream.try_clone().unwrap());
    for line in script.lines() {
        if let Some(text) = line.strip_prefix("< ") {
            let _ = stream.write_all(format!("{text}\r\n").as_bytes());
            continue;
        }
        loop {
            let mut got = String::new();
            if input.read_line(&mut got).unwrap_or(0) == 0 {
                seen.push("<closed>".to_owned());
                return;
            }
            let is_dot = got == ".\r\n";
            seen.push(got.trim_end().to_owned());
            if line != "." || is_dot {
                break;
            }
        }
    }
}

struct Scene {
    delivery: Delivery,
    context: Context,
    folder: tempfile::TempDir,
    message: Message,
    body: Body,
}

impl Scene {
    fn new(options: &str) -> Scene {
        Scene::with_authenticators(options, "")
    }

    fn with_authenticators(options: &str, authenticators: &str) -> Scene {
        let catalogue = Catalogue {
            transports: Drivers {
                generic: rows::TRANSPORT_GENERIC,
                drivers: TRANSPORTS.iter().map(|k| &k.row).collect(),
            },
            authenticators: Drivers {
                generic: rows::AUTH_GENERIC,
                drivers: AUTHENTICATORS.iter().map(|k| &k.row).collect(),
            },
            ..Catalogue::default()
        };
        let text = format!(
            "primary_hostname = me.ex\nbegin transports\nremote:\n  driver = smtp\n{options}\nbegin authenticators\n{authenticators}\n"
        );
        let config = Arc::new(config::read_bytes("/test", text.as_bytes(), &[], &catalogue).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let services =
            Arc::new(Services { spool_directory: folder.path().to_owned(), ..Services::default() });
        assert!(services.log.set(Arc::new(Log::new(LogConfig::new(folder.path())))).is_ok());
        let delivery =
            Delivery::build(Arc::clone(&config), Arc::clone(&services)).unwrap_or_else(|e| panic!("{e:?}"));
        let mut message = Message::new(MessageId::parse(b"1xUbQf-0004m8-18").unwrap());
        message.sender = b"a@s.ex".to_vec();
        message.headers.push_back(Header::new("Subject: hello\n"));
        message.body_lines = 1;
        Scene {
            delivery,
            context: Context::new(config, services),
            folder,
            message,
            body: Body::from(b".text\n".to_vec()),
        }
    }

    fn deliver_to(&mut self, recipients: &[&str], hosts: Vec<RouteHost>, history: &dyn HostHistory) -> Run {
        let addresses = recipients.iter().enumerate().map(|(index, text)| {
            let mut address = Address::recipient(*text, index);
            address.hosts = hosts.clone().into();
            address
        });
        let batch = Batch {
            is_shadow: false,
            handed_over: 0,
            addresses: addresses.collect(),
            message: Arc::new(self.message.clone()),
            body: self.body.clone(),
            return_path: self.message.sender.clone(),
            identity: Identity::current(),
            current_directory: None,
            is_forced: false,
            history,
            submitter: None,
        };
        let transport = self.delivery.transports.first().unwrap();
        transport.driver.deliver(transport, &self.delivery, &mut self.context, &batch)
    }

    fn deliver(&mut self, recipients: &[&str], port: u16) -> Run {
        self.deliver_to(recipients, vec![host(port)], &NoHistory)
    }

    fn close(&self) {
        self.delivery.transports.iter().for_each(|transport| transport.driver.close_idle());
    }

    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or(line).to_owned()).collect()
    }
}

fn host(port: u16) -> RouteHost {
    RouteHost {
        name: "mx.r.ex".to_owned(),
        address: Some([127, 0, 0, 1].into()),
        port: Some(port),
        ..RouteHost::default()
    }
}

/// `=> reply`, `** text` or `== (code) text`.
fn shown(run: &Run) -> Vec<String> {
    let line = |outcome: &Outcome| match outcome {
        Outcome::Delivered(done) => {
            format!("=> {}", String::from_utf8_lossy(done.confirmation.as_deref().unwrap_or_default()))
        }
        Outcome::Failed(error) => format!("** {}", error.text),
        Outcome::Deferred(error) => format!("== ({}) {}", error.code, error.text),
    };
    run.outcomes.iter().map(line).collect()
}

const PLAIN: &str = "< 220 mx ESMTP\n>\n< 250 mx\n";
const PIPED: &str = "< 220 mx ESMTP\n>\n< 250-mx\n< 250-SIZE 9999\n< 250 PIPELINING\n";
const REST: &str = ">\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n< 250 stored\n";

fn one(script: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let server = server(&[script]);
    let mut scene = Scene::new("  command_timeout = 1s\n  final_timeout = 1s");
    let run = scene.deliver(&["x@r.ex"], server.port);
    scene.close();
    (shown(&run), scene.log(), server.thread.join().unwrap())
}

#[test]
fn a_message_is_sent_with_stuffed_dots() {
    let (outcomes, log, seen) = one(&format!("{PLAIN}{REST}>\n"));
    assert_eq!(outcomes, ["=> 250 stored"]);
    assert_eq!(log, [""; 0]);
    let expected = [
        "EHLO me.ex",
        "MAIL FROM:<a@s.ex>",
        "RCPT TO:<x@r.ex>",
        "DATA",
        "Subject: hello",
        "",
        "..text",
        ".",
        "QUIT",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_envelope_is_pipelined_with_the_size() {
    let (outcomes, _, seen) =
        one(&format!("{PIPED}>\n>\n>\n< 250 ok\n< 250 ok\n< 354 go\n.\n< 250 stored\n"));
    assert_eq!(outcomes, ["=> 250 stored"]);
    // 22 bytes as stored, two lines, 1024.
    assert_eq!(seen.get(1).unwrap(), "MAIL FROM:<a@s.ex> SIZE=1048");
}

#[test]
fn refusals_have_their_numbers_and_words() {
    let after = "SMTP error from remote mail server after";
    for (script, outcome, logged) in [
        ("< 421 busy\n".to_owned(), format!("== (0) {after} initial connection: 421 busy"), true),
        ("< 554 away\n>\n".to_owned(), format!("** {after} initial connection: 554 away"), true),
        (
            "< 220 mx\n>\n< 550 no\n>\n< 550 no\n>\n".to_owned(),
            format!("** {after} HELO me.ex: 550 no"),
            true,
        ),
        (
            format!("{PLAIN}>\n< 450 later\n>\n"),
            format!("== (-45) {after} MAIL FROM:<a@s.ex>: 450 later"),
            true,
        ),
        (format!("{PLAIN}>\n< 550 no\n>\n"), format!("** {after} MAIL FROM:<a@s.ex>: 550 no"), false),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 450 grey\n>\n"),
            format!("== (-44) {after} RCPT TO:<x@r.ex>: 450 grey"),
            false,
        ),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 550 no\n>\n"),
            format!("** {after} RCPT TO:<x@r.ex>: 550 no"),
            false,
        ),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 250 ok\n>\n< 451 no\n>\n"),
            format!("== (-46) {after} DATA: 451 no"),
            true,
        ),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n< 452 full\n>\n"),
            format!("== (-46) {after} end of data: 452 full"),
            true,
        ),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n< 552 big\n>\n"),
            format!("** {after} end of data: 552 big"),
            false,
        ),
        (
            format!("{PIPED}>\n>\n>\n< 550 no\n< 503 x\n< 503 x\n>\n"),
            format!("** {after} pipelined MAIL FROM:<a@s.ex> SIZE=1048: 550 no"),
            false,
        ),
        (
            format!("{PIPED}>\n>\n>\n< 250 ok\n< 250 ok\n< 554 no\n>\n"),
            format!("** {after} pipelined DATA: 554 no"),
            false,
        ),
    ] {
        let (outcomes, log, _) = one(&script);
        assert_eq!(outcomes, [outcome.as_str()], "{script}");
        let text = outcome.trim_start_matches(|c: char| c != 'S');
        let expected: Vec<String> =
            if logged { vec![format!("H=mx.r.ex [127.0.0.1]: {text}")] } else { Vec::new() };
        assert_eq!(log, expected, "{script}");
    }
}

#[test]
fn lost_connections_and_timeouts() {
    let closed = "Remote host closed connection in response to";
    for (script, outcome, line) in [
        (
            String::new(),
            format!("== (-18) {closed} initial connection"),
            format!("{closed} initial connection"),
        ),
        ("< 220 mx\n>\n".to_owned(), format!("== (-18) {closed} EHLO me.ex"), format!("{closed} EHLO me.ex")),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n"),
            format!("== (-18) {closed} end of data"),
            format!("{closed} end of data"),
        ),
        (
            format!("{PIPED}>\n>\n>\n< 250 ok\n"),
            format!("== (-18) {closed} pipelined RCPT TO:<x@r.ex>"),
            format!("{closed} pipelined RCPT TO:<x@r.ex>"),
        ),
        (
            ">\n".to_owned(),
            "== (110) SMTP timeout after initial connection".to_owned(),
            "SMTP timeout after initial connection: Connection timed out".to_owned(),
        ),
        (
            format!("{PLAIN}>\n>\n"),
            "== (110) SMTP timeout after MAIL FROM:<a@s.ex>".to_owned(),
            "SMTP timeout after MAIL FROM:<a@s.ex>: Connection timed out".to_owned(),
        ),
        (
            format!("{PLAIN}>\n< 250 ok\n>\n>\n"),
            "== (110) SMTP timeout after RCPT TO:<x@r.ex>".to_owned(),
            String::new(),
        ),
        (
            "< 220 mx\n>\n< hello there\n>\n".to_owned(),
            "== (-19) Malformed SMTP reply in response to EHLO me.ex: hello there".to_owned(),
            "Malformed SMTP reply in response to EHLO me.ex: hello there".to_owned(),
        ),
    ] {
        let (outcomes, log, _) = one(&script);
        assert_eq!(outcomes, [outcome.as_str()], "{script}");
        let expected: Vec<String> =
            if line.is_empty() { Vec::new() } else { vec![format!("H=mx.r.ex [127.0.0.1]: {line}")] };
        assert_eq!(log, expected, "{script}");
    }
}

#[test]
fn an_empty_message_ends_a_pipeline_in_which_nobody_was_accepted() {
    let (outcomes, _, seen) =
        one(&format!("{PIPED}>\n>\n>\n< 250 ok\n< 550 no\n< 354 go\n>\n< 554 nobody\n>\n"));
    assert_eq!(outcomes, ["** SMTP error from remote mail server after RCPT TO:<x@r.ex>: 550 no"]);
    assert_eq!(seen.get(4..).unwrap(), [".", "QUIT"]);
}

#[test]
fn each_recipient_has_its_own_answer_and_the_rest_goes_to_the_next_host() {
    let first = server(&[&format!(
        "{PLAIN}>\n< 250 ok\n>\n< 550 no\n>\n< 250 ok\n>\n< 451 grey\n>\n< 354 go\n.\n< 250 first\n>\n"
    )]);
    let second = server(&[&format!("{PLAIN}>\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n< 250 second\n>\n")]);
    let mut scene = Scene::new("");
    let run = scene.deliver_to(
        &["x@r.ex", "y@r.ex", "z@r.ex"],
        vec![host(first.port), host(second.port)],
        &NoHistory,
    );
    scene.close();
    let after = "SMTP error from remote mail server after RCPT TO";
    assert_eq!(
        shown(&run),
        [format!("** {after}:<x@r.ex>: 550 no"), "=> 250 first".to_owned(), "=> 250 second".to_owned()]
    );
    assert_eq!(scene.log(), [format!("H=mx.r.ex [127.0.0.1]: {after}:<z@r.ex>: 451 grey")]);
    assert!(run.hosts.iter().all(|host| host.error.is_none()));
    assert!(first.thread.join().unwrap().contains(&"RCPT TO:<z@r.ex>".to_owned()));
    assert_eq!(second.thread.join().unwrap().get(2).unwrap(), "RCPT TO:<z@r.ex>");
}

#[test]
fn a_connection_carries_several_messages_and_a_dead_one_is_replaced() {
    let server = server(&[
        &format!(
            "{PIPED}>\n>\n>\n< 250 ok\n< 250 ok\n< 354 go\n.\n< 250 one\n>\n>\n>\n< 250 ok\n< 250 ok\n< 354 go\n.\n< 250 two\n"
        ),
        &format!("{PLAIN}{REST}>\n"),
    ]);
    let mut scene = Scene::new("");
    assert_eq!(shown(&scene.deliver(&["x@r.ex"], server.port)), ["=> 250 one"]);
    let run = scene.deliver(&["y@r.ex"], server.port);
    assert!(
        matches!(run.outcomes.first(), Some(Outcome::Delivered(done)) if done.host.as_ref().is_some_and(|host| host.is_continued))
    );
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(shown(&scene.deliver(&["z@r.ex"], server.port)), ["=> 250 stored"]);
    scene.close();
    let seen = server.thread.join().unwrap();
    assert_eq!(seen.iter().filter(|line| line.starts_with("EHLO")).count(), 2);
    assert_eq!(scene.log(), [""; 0]);
}

#[test]
fn connection_max_messages_ends_a_connection() {
    let script = format!("{PLAIN}{REST}>\n");
    let server = server(&[&script, &script]);
    let mut scene = Scene::new("  connection_max_messages = 1");
    scene.deliver(&["x@r.ex"], server.port);
    scene.deliver(&["y@r.ex"], server.port);
    assert_eq!(server.thread.join().unwrap().iter().filter(|line| *line == "QUIT").count(), 2);
}

#[test]
fn chunks_go_with_the_envelope() {
    let server = server(&[
        "< 220 mx\n>\n< 250-mx\n< 250-CHUNKING\n< 250 PIPELINING\n>\n>\n>\n< 250 ok\n< 250 ok\n>\n>\n>\n< 250 stored\n>\n",
    ]);
    let mut scene = Scene::new("");
    let run = scene.deliver(&["x@r.ex"], server.port);
    scene.close();
    assert_eq!(shown(&run), ["=> 250 stored"]);
    let seen = server.thread.join().unwrap();
    assert_eq!(seen.get(3..).unwrap(), ["BDAT 25 LAST", "Subject: hello", "", ".text", "QUIT"]);
}

#[test]
fn lmtp_answers_for_each_recipient() {
    let server = server(&[
        "< 220 mx\n>\n< 250-mx\n< 250 IGNOREQUOTA\n>\n< 250 ok\n>\n< 250 ok\n>\n< 250 ok\n>\n< 354 go\n.\n< 250 in\n< 452 full\n>\n",
    ]);
    let mut scene = Scene::new("  protocol = lmtp\n  lmtp_ignore_quota");
    let run = scene.deliver(&["x@r.ex", "y@r.ex"], server.port);
    scene.close();
    assert_eq!(shown(&run), ["=> 250 in", "== (0) LMTP error after DATA: 452 full"]);
    let seen = server.thread.join().unwrap();
    assert_eq!(seen.first().unwrap(), "LHLO me.ex");
    assert_eq!(seen.get(2).unwrap(), "RCPT TO:<x@r.ex> IGNOREQUOTA");
}

const PLAIN_CLIENT: &str = "plain:\n  driver = plaintext\n  public_name = PLAIN\n  client_send = ^user^secret\n  client_set_id = user\n";

#[test]
fn authentication() {
    let offer = "< 220 mx\n>\n< 250-mx\n< 250 AUTH PLAIN\n";
    for (options, script, outcome, log) in [
        ("hosts_try_auth = *", format!("{offer}>\n< 235 ok\n{REST}>\n"), "=> 250 stored", ""),
        (
            "hosts_try_auth = *",
            format!("{offer}>\n< 535 bad\n{REST}>\n"),
            "=> 250 stored",
            "plain authenticator failed H=mx.r.ex [127.0.0.1] 535 bad",
        ),
        (
            "hosts_require_auth = *",
            format!("{offer}>\n< 535 bad\n>\n"),
            "== (-42) authentication required but authentication attempt(s) failed",
            "plain authenticator failed H=mx.r.ex [127.0.0.1] 535 bad",
        ),
        (
            "hosts_require_auth = *",
            format!("{PLAIN}>\n"),
            "== (-42) authentication required but server did not advertise AUTH support",
            "",
        ),
        (
            "hosts_try_auth = *",
            format!("{offer}>\n< 454 no\n>\n"),
            "== (0) SMTP error from remote mail server after AUTH PLAIN ****************: 454 no",
            "H=mx.r.ex [127.0.0.1]: SMTP error from remote mail server after AUTH PLAIN ****************: 454 no",
        ),
    ] {
        let server = server(&[&script]);
        let mut scene = Scene::with_authenticators(&format!("  {options}"), PLAIN_CLIENT);
        let run = scene.deliver(&["x@r.ex"], server.port);
        scene.close();
        assert_eq!(shown(&run), [outcome], "{script}");
        assert_eq!(scene.log().join("\n"), log, "{script}");
        let _seen = server.thread.join().unwrap();
        if let (Some(Outcome::Delivered(done)), "") = (run.outcomes.first(), log) {
            assert_eq!(done.host.as_ref().unwrap().authenticator.as_deref(), Some("plain:user"));
        }
    }
}

#[test]
fn tls_that_must_be_and_is_not() {
    let offer = "< 220 mx\n>\n< 250-mx\n< 250 STARTTLS\n>\n";
    let after = "SMTP error from remote mail server after STARTTLS: 454 later";
    for (options, script, outcome) in [
        (
            "hosts_require_tls = *",
            format!("{PLAIN}>\n"),
            "== (-38) a TLS session is required, but the server did not offer TLS support".to_owned(),
        ),
        (
            "hosts_require_tls = *",
            format!("{offer}< 454 later\n>\n"),
            "== (-38) a TLS session is required, but an attempt to start TLS failed".to_owned(),
        ),
        ("no_tls_tempfail_tryclear", format!("{offer}< 454 later\n>\n"), format!("== (0) {after}")),
        ("", format!("{offer}< 454 later\n{REST}>\n"), "=> 250 stored".to_owned()),
        ("no_tls_tempfail_tryclear", format!("{offer}< 554 never\n{REST}>\n"), "=> 250 stored".to_owned()),
    ] {
        let server = server(&[&script]);
        let mut scene = Scene::new(&format!("  {options}"));
        let run = scene.deliver(&["x@r.ex"], server.port);
        scene.close();
        assert_eq!(shown(&run), [outcome], "{script}");
        let _seen = server.thread.join().unwrap();
    }
}

#[test]
fn a_broken_handshake_is_followed_by_clear_text() {
    let offer = "< 220 mx\n>\n< 250-mx\n< 250 STARTTLS\n";
    let server = server(&[&format!("{offer}>\n< 220 go\n"), &format!("{offer}{REST}>\n")]);
    let mut scene = Scene::new("");
    let run = scene.deliver(&["x@r.ex"], server.port);
    scene.close();
    assert_eq!(shown(&run), ["=> 250 stored"]);
    let log = scene.log().join("\n");
    assert!(log.starts_with("TLS session: (SSL_connect): "), "{log}");
    assert!(
        log.ends_with(": delivering unencrypted to H=mx.r.ex [127.0.0.1] (not in hosts_require_tls)"),
        "{log}"
    );
    let _seen = server.thread.join().unwrap();
}

struct Always(HostStatus);

impl HostHistory for Always {
    fn status(&self, _context: &mut Context, _host: &HostKey<'_>) -> HostStatus {
        self.0
    }
}

#[test]
fn hosts_that_are_not_due_are_not_tried() {
    let mut scene = Scene::new("");
    let run = scene.deliver_to(&["x@r.ex"], vec![host(1)], &Always(HostStatus::NotYet));
    assert_eq!(shown(&run), ["== (-54) retry time not reached for any host for 'r.ex'"]);
    let run = scene.deliver_to(&["x@r.ex"], vec![host(1)], &Always(HostStatus::GivenUp));
    assert_eq!(
        shown(&run),
        ["** all hosts for 'r.ex' have been failing for a long time (and retry time not reached)"]
    );
    assert!(run.hosts.is_empty());
}

#[test]
fn limits_on_the_number_of_hosts() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let many = |mx: &[u16]| mx.iter().map(|mx| RouteHost { mx: Some(*mx), ..host(port) }).collect::<Vec<_>>();
    let mut scene = Scene::new("  hosts_max_try = 2");
    let run = scene.deliver_to(&["x@r.ex"], many(&[1, 1, 1, 1]), &NoHistory);
    assert_eq!((run.hosts.len(), shown(&run)), (2, vec!["== (111) ".to_owned()]));
    // One host of the higher value is tried as well.
    let run = scene.deliver_to(&["x@r.ex"], many(&[1, 1, 1, 1, 5]), &NoHistory);
    assert_eq!(run.hosts.len(), 3);
    let mut scene = Scene::new("  hosts_max_try_hardlimit = 3\n  hosts_max_try = 9");
    assert_eq!(scene.deliver_to(&["x@r.ex"], many(&[1, 1, 1, 1, 5]), &NoHistory).hosts.len(), 3);
    assert_eq!(scene.log().first().unwrap(), "H=mx.r.ex [127.0.0.1] Connection refused");
}

#[test]
fn the_transports_own_hosts() {
    for (options, outcome) in [
        ("", "== (-1) remote transport called with no hosts set"),
        ("  hosts = ${if eq{a}{b}{x}}", "== (-1) remote transport has empty hosts setting"),
        ("  hosts = 127.0.0.1", "== (-50) remote transport found host 127.0.0.1 to be local"),
        (
            "  port = nosuchport\n  hosts = 192.0.2.1",
            "== (-1) TCP port \"nosuchport\" is not defined for remote transport",
        ),
        ("  hosts = none.r.ex", "== (-32) failed to lookup IP address for none.r.ex"),
    ] {
        let mut scene = Scene::new(options);
        let surroundings = oxim_lang::list::Surroundings::default();
        assert!(scene.context.services.surroundings.set(Arc::new(surroundings)).is_ok());
        assert_eq!(shown(&scene.deliver_to(&["x@r.ex"], Vec::new(), &NoHistory)), [outcome]);
    }
}

#[test]
fn a_large_body_is_streamed_from_its_file() {
    let mut file = tempfile::tempfile().unwrap();
    let line = [b"x".repeat(70), b"\n".to_vec()].concat();
    for _ in 0..20_000 {
        file.write_all(&line).unwrap();
    }
    let server = server(&[&format!("{PLAIN}{REST}>\n")]);
    let mut scene = Scene::new("");
    scene.body = Body::File { file: Arc::new(file), start: 0, len: 71 * 20_000 };
    assert_eq!(shown(&scene.deliver(&["x@r.ex"], server.port)), ["=> 250 stored"]);
    scene.close();
    assert_eq!(server.thread.join().unwrap().iter().filter(|l| l.len() == 70).count(), 20_000);
}

//! Addresses in UTF-8 through software that others wrote: Python's smtplib and swaks as clients, Postfix and exim4 as servers
//! in both roles. A Japanese, an Arabic and a Latin address with accents each go into a Maildir, through an alias, through a
//! forward file to the other server, and into a bounce.

use super::ground::{Ground, wait};
use super::oxim::{Oxim, identity, main_options};
use super::relay::PEER;

/// Whose addresses: the domain's first label, a user, an alias of him, one who forwards, nobody.
struct Script {
    domain: &'static str,
    user: &'static str,
    alias: &'static str,
    forwarder: &'static str,
    nobody: &'static str,
}

const SCRIPTS: &[Script] = &[
    Script { domain: "例え", user: "山田太郎", alias: "別名", forwarder: "転送", nobody: "不在" },
    Script {
        domain: "موقع", user: "محمد", alias: "اسم", forwarder: "تحويل", nobody: "غائب"
    },
    Script {
        domain: "münchen", user: "jürgen.núñez", alias: "añejo", forwarder: "zoë", nobody: "niemand.ø"
    },
];

/// Sends a message by smtplib: server, sender, recipient, subject.
const PYTHON: &str = r#"
import smtplib, sys
from email.message import EmailMessage
from email.policy import SMTPUTF8
host, port, sender, recipient, subject = sys.argv[1:]
message = EmailMessage(policy=SMTPUTF8)
message["From"], message["To"], message["Subject"] = sender, recipient, subject
message["Message-ID"] = "<%s@smtplib.test>" % subject.encode("punycode").decode().replace(" ", ".")
message.set_content("これは مرحبا grüße\n", cte="8bit")
client = smtplib.SMTP(host, int(port), "client.test", timeout=30)
assert client.send_message(message) == {}
client.quit()
"#;

fn configuration(ground: &Ground) -> String {
    let main = main_options(ground);
    let (user, group) = identity(ground);
    format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         dsn_advertise_hosts = *\nacl_smtp_rcpt = accept\nlog_selector = +received_recipients +sender_on_delivery -queue_run\n\
         domainlist ours = test.ex : 例え.test.ex : موقع.test.ex : münchen.test.ex\n\
         begin acl\nbegin routers\n\
         peer:\n  driver = manualroute\n  domains = *.peer.test.ex\n  route_list = * peer.test.ex::2626\n  self = send\n  transport = peer\n\
         alias:\n  driver = redirect\n  domains = +ours\n  data = ${{lookup{{$local_part@$domain}}lsearch{{/mnt/etc/aliases}}}}\n\
         forward:\n  driver = redirect\n  domains = +ours\n  local_parts = lsearch;/mnt/etc/forwarders\n  file = /mnt/etc/forward.$local_part_data\n\
         local:\n  driver = accept\n  domains = +ours\n  local_parts = lsearch;/mnt/etc/users\n  transport = maildir\n\
         begin transports\npeer:\n  driver = smtp\n\
         maildir:\n  driver = appendfile\n  directory = /mnt/mail/$local_part_data\n  create_directory\n  maildir_format\n  user = {user}\n  group = {group}\n\
         begin retry\n* * F,1h,1s\n"
    )
}

fn start(ground: &Ground) -> Oxim<'_> {
    ground.make_certificates();
    let mut files = [String::new(), String::new(), String::new()];
    for Script { domain, user, alias, forwarder, .. } in SCRIPTS {
        files[0].push_str(&format!("{user}: {user}\n"));
        files[1].push_str(&format!("{alias}@{domain}.test.ex: {user}@{domain}.test.ex\n"));
        files[2].push_str(&format!("{forwarder}: {forwarder}\n"));
        ground.write(&format!("etc/forward.{forwarder}"), format!("{user}@{domain}.peer.test.ex\n"));
    }
    for (name, text) in ["users", "aliases", "forwarders"].iter().zip(&files) {
        ground.write(&format!("etc/{name}"), text);
    }
    ground.write("send.py", PYTHON);
    Oxim::start(ground, &configuration(ground), &[])
}

fn send(ground: &Ground, server: &str, from: &str, to: &str, subject: &str) {
    let (host, port) = server.split_once(':').unwrap();
    ground.run(&["python3", "/mnt/send.py", host, port, from, to, subject], b"").good();
}

/// The message with this subject in a maildir; waits for it.
#[track_caller]
fn received(ground: &Ground, folder: &str, subject: &str) -> String {
    let line = format!("\nSubject: {subject}\n");
    let find = || {
        let all = ground.maildir(folder).into_iter().map(|m| String::from_utf8_lossy(&m).into_owned());
        all.into_iter().find(|text| text.contains(&line))
    };
    wait(&format!("{subject} in {folder}"), || find().is_some());
    find().unwrap()
}

/// What needs no other server: Maildir, alias, bounce, and both clients.
pub(super) fn clients(ground: &Ground) {
    let oxim = start(ground);
    for Script { domain, user, alias, nobody, .. } in SCRIPTS {
        let (here, folder) = (format!("{user}@{domain}.test.ex"), format!("mail/{user}"));
        let (by_alias, absent) = (format!("{alias}@{domain}.test.ex"), format!("{nobody}@{domain}.test.ex"));
        send(ground, "127.0.0.1:2525", &here, &here, &format!("direct {user}"));
        let text = received(ground, &folder, &format!("direct {user}"));
        for part in [" with utf8esmtp ", &format!("\nTo: {here}\n"), "\nこれは مرحبا grüße\n"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        oxim.line(&[" <= ", &here, " H=(client.test) [127.0.0.1] P=utf8esmtp ", &format!(" for {here}")]);
        oxim.line(&[&format!(" => {user} <{here}> F=<{here}> R=local T=maildir")]);

        send(ground, "127.0.0.1:2525", &here, &by_alias, &format!("alias {user}"));
        received(ground, &folder, &format!("alias {user}"));
        oxim.line(&[&format!(" => {user} <{by_alias}> F=<{here}> R=local T=maildir")]);

        send(ground, "127.0.0.1:2525", &here, &absent, &format!("bounce {user}"));
        let report = received(ground, &folder, "Mail delivery failed: returning message to sender");
        for part in [
            format!("\nX-Failed-Recipients: {absent}\n"),
            format!("\nTo: {here}\n"),
            format!("\n  {absent}\n"),
            "\nContent-type: message/global-delivery-status\n".to_owned(),
            format!("\nFinal-Recipient: utf-8;{absent}\n"),
            "\nContent-type: message/global\n".to_owned(),
            format!("\nSubject: bounce {user}\n"),
        ] {
            assert!(report.contains(&part), "no {part} in {report}");
        }
        by_swaks(ground, &here, &by_alias, user);
        received(ground, &folder, &format!("swaks {user}"));
    }
    valid_logs(ground);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

/// swaks knows no parameters of MAIL: they stand within what it takes for the address.
fn by_swaks(ground: &Ground, from: &str, to: &str, user: &str) {
    let from = format!("{from}> SMTPUTF8 ENVID=<");
    let header = format!("Subject: swaks {user}");
    let words = ["swaks", "--helo", "client.test", "--server", "127.0.0.1", "--port", "2525"];
    let more = ["--from", &from, "--to", to, "--header", &header, "--body", "grüße", "--tls"];
    ground.run(&[&words[..], &more].concat(), b"").good();
}

#[track_caller]
fn valid_logs(ground: &Ground) {
    let log = std::fs::read(ground.path("log/mainlog")).unwrap();
    assert!(std::str::from_utf8(&log).is_ok(), "{}", String::from_utf8_lossy(&log));
}

/// Through a forward file to the other server, which files it for alice, and from it to a user here. `mark` is what the other
/// server writes into its Received: header.
pub(super) fn both_ways(ground: &Ground, start_peer: impl FnOnce() -> u32, mark: &str) {
    let oxim = start(ground);
    let peer = start_peer();
    wait("the other server", || std::net::TcpStream::connect(PEER).is_ok());
    for Script { domain, user, forwarder, .. } in SCRIPTS {
        let (here, there) = (format!("{user}@{domain}.test.ex"), format!("{user}@{domain}.peer.test.ex"));
        let by_forward = format!("{forwarder}@{domain}.test.ex");
        send(ground, "127.0.0.1:2525", &here, &by_forward, &format!("forward {user}"));
        let text = received(ground, "home/alice/Maildir", &format!("forward {user}"));
        for part in [mark, " with utf8esmtp ", &format!("\nTo: {by_forward}\n")] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        oxim.line(&[&format!(
            " => {there} <{by_forward}> F=<{here}> R=peer T=peer H=peer.test.ex [127.0.0.1]"
        )]);

        send(ground, PEER, &there, &here, &format!("back {user}"));
        let text = received(ground, &format!("mail/{user}"), &format!("back {user}"));
        assert!(text.contains(" with utf8esmtps "), "{text}");
        oxim.line(&[&format!(" <= {there} H="), " P=utf8esmtps ", &format!(" for {here}")]);
    }
    valid_logs(ground);
    ground.stop(peer);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

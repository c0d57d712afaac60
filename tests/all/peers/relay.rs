//! What every other server must get from Oxim, and Oxim from it. The trials of one server say how it is started.

use super::ground::{Ground, wait};
use super::oxim::{
    Client, LOCAL_ROUTER, Oxim, assert_whole, difficult_message, local_transport, main_options, submit,
};

/// Where the other server listens.
pub(super) const PEER: &str = "127.0.0.1:2626";
/// Where Oxim does.
const OXIM: &str = "127.0.0.1:2525";
/// The other server's limit for messages.
pub(super) const PEER_BYTES_MAX: usize = 204_800;

/// A server that others wrote. It takes mail for users of peer.test.ex into `Maildir` below their homes, offers STARTTLS with
/// the certificate of the trial, and sends mail for other domains to Oxim.
pub(super) struct Server<'a> {
    /// Starts it; the process to end.
    pub(super) start: &'a dyn Fn() -> u32,
    /// Makes it try again now what it has deferred; nothing if it does so by itself.
    pub(super) retry: &'a dyn Fn(),
    /// Whether it offers STARTTLS when Oxim connects.
    pub(super) offers_tls: bool,
    /// What its answer to a user that it does not have contains.
    pub(super) unknown_user: &'a str,
    /// What it refuses a message above its limit after, and what its answer contains.
    pub(super) too_large: (&'a str, &'a str),
    /// The longest line that it takes.
    pub(super) line_bytes_max: usize,
    /// Parts of Oxim's arrival line for its messages.
    pub(super) arrival: &'a [&'a str],
}

impl Server<'_> {
    fn launch(&self) -> u32 {
        let pid = (self.start)();
        wait("the other server", || {
            std::net::TcpStream::connect(PEER).is_ok_and(|s| {
                s.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
                let mut byte = [0];
                std::io::Read::read(&mut &s, &mut byte).is_ok_and(|n| n == 1)
            })
        });
        pid
    }
}

fn box_of(user: &str) -> String {
    format!("home/{user}/Maildir")
}

fn sending_configuration(ground: &Ground, server: &Server<'_>) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let route = "  driver = manualroute\n  domains = peer.test.ex\n  route_list = * peer.test.ex::2626\n  self = send\n";
    let hosts = if server.offers_tls { "*" } else { "" };
    let smtp = format!(
        "  driver = smtp\n  hosts_require_tls = {hosts}\n  tls_verify_hosts = *\n  message_linelength_limit = 100K\n"
    );
    format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nlog_selector = +tls_cipher +tls_certificate_verified -queue_run +smtp_confirmation +outgoing_port\n\
         begin acl\nbegin routers\ndistrusting:\n{route}  condition = ${{if eq{{$h_X-Trust:}}{{no}}}}\n  transport = distrusting\n\
         peer:\n{route}  transport = peer\n{LOCAL_ROUTER}\
         begin transports\npeer:\n{smtp}  tls_verify_certificates = /mnt/tls/ca.pem\n\
         distrusting:\n{smtp}  tls_verify_certificates = /mnt/tls/other.pem\n{maildir}begin retry\n* * F,1h,1s\n"
    )
}

/// Oxim sends: recipients of which one is refused, bytes, long lines, verified and unverified TLS, SIZE, several messages over
/// one connection, a server that goes away and comes back.
pub(super) fn sends_to(ground: &Ground, server: &Server<'_>) {
    ground.make_certificates();
    let pid = server.launch();
    let oxim = Oxim::start(ground, &sending_configuration(ground, server), &["-q1s"]);

    let sent = difficult_message("several recipients");
    let recipients = ["alice@peer.test.ex", "nosuch@peer.test.ex", "bob@peer.test.ex"];
    submit(OXIM, "sender@test.ex", &recipients, &sent);
    let line = oxim.line(&[" => alice@peer.test.ex R=peer T=peer H=peer.test.ex [127.0.0.1]:2626 "]);
    assert_eq!(line.contains(" X=TLS1.3:"), server.offers_tls, "{line}");
    assert_eq!(line.contains(" CV=yes "), server.offers_tls, "{line}");
    assert!(line.contains(" C=\"250"), "{line}");
    oxim.line(&[" -> bob@peer.test.ex R=peer T=peer H=peer.test.ex [127.0.0.1]:2626 "]);
    oxim.line(&[" ** nosuch@peer.test.ex R=peer T=peer H=peer.test.ex [127.0.0.1]", server.unknown_user]);
    assert_whole(&ground.wait_for_mail(&box_of("alice"), 1)[0], &sent);
    assert_whole(&ground.wait_for_mail(&box_of("bob"), 1)[0], &sent);
    let report = ground.wait_for_mail("mail/sender", 1);
    let report = String::from_utf8_lossy(&report[0]).into_owned();
    assert!(report.contains("nosuch@peer.test.ex") && report.contains(server.unknown_user), "{report}");

    // The connection is kept: each message goes over it when the one before is done.
    for number in 2..=5 {
        submit(OXIM, "sender@test.ex", &["alice@peer.test.ex"], &difficult_message(&format!("no {number}")));
        ground.wait_for_mail(&box_of("alice"), number);
        oxim.wait_for_log(number + 1, " Completed");
    }
    let reused = oxim.log().matches("[127.0.0.1]:2626*").count();
    assert!(reused >= 3, "{reused} messages over a connection that was there");

    let mut long = difficult_message("long lines");
    long.extend_from_slice(&vec![b'y'; server.line_bytes_max]);
    long.push(b'\n');
    submit(OXIM, "sender@test.ex", &["bob@peer.test.ex"], &long);
    let mail = ground.wait_for_mail(&box_of("bob"), 2);
    let mail = mail.iter().find(|m| String::from_utf8_lossy(m).contains("\nSubject: long lines\n"));
    assert_whole(mail.unwrap(), &long);

    let mut large = difficult_message("large");
    while large.len() < PEER_BYTES_MAX + 1000 {
        large.extend_from_slice(b"0123456789012345678901234567890123456789\n");
    }
    submit(OXIM, "sender@test.ex", &["bob@peer.test.ex"], &large);
    oxim.line(&[" ** bob@peer.test.ex ", server.too_large.0, server.too_large.1]);
    ground.wait_for_mail("mail/sender", 2);

    if server.offers_tls {
        distrusts(ground, &oxim);
    }

    ground.stop(pid);
    let kept = ground.maildir(&box_of("alice")).len();
    let sent = difficult_message("patience");
    submit(OXIM, "sender@test.ex", &["alice@peer.test.ex"], &sent);
    oxim.line(&[" == alice@peer.test.ex R=peer T=peer defer (111): Connection refused"]);
    server.launch();
    let mail = ground.wait_for_mail(&box_of("alice"), kept + 1);
    assert!(mail.iter().any(|m| m.ends_with(&sent)));
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

/// A server whose certificate nobody vouches for gets nothing.
fn distrusts(ground: &Ground, oxim: &Oxim<'_>) {
    let mut message = b"X-Trust: no\n".to_vec();
    message.extend(difficult_message("distrusted"));
    submit(OXIM, "sender@test.ex", &["bob@peer.test.ex"], &message);
    let line = oxim.line(&[" == bob@peer.test.ex R=distrusting T=distrusting defer (-37) ", "TLS session"]);
    assert!(line.contains("certificate verif"), "{line}");
    assert_eq!(ground.maildir(&box_of("bob")).len(), 2);
    // What it goes on trying would put off the host for others.
    let id = line.split(' ').nth(2).unwrap();
    wait("its removal between two attempts", || {
        ground.run(&["/mnt/oxim", "-Mrm", id], b"").out.contains("has been removed")
    });
}

fn receiving_configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         log_selector = +tls_cipher +received_recipients\nacl_smtp_rcpt = rcpt\n\
         begin acl\nrcpt:\n  defer condition = ${{if exists{{/mnt/closed}}}}\n    message = come back later\n\
         \x20 deny local_parts = nobody\n    message = nobody lives here\n  accept domains = test.ex\n  deny message = relay not permitted\n\
         begin routers\n{LOCAL_ROUTER}begin transports\n{maildir}begin retry\n* * F,1h,1s\n"
    )
}

/// The other server sends: several recipients, one of them refused (its report comes to the sender, with our text), bytes
/// over TLS, and a message that it is told to bring again.
pub(super) fn receives_from(ground: &Ground, server: &Server<'_>) {
    ground.make_certificates();
    let oxim = Oxim::start(ground, &receiving_configuration(ground), &[]);
    server.launch();

    let sent = difficult_message("from a peer");
    submit(PEER, "bob@peer.test.ex", &["alice@test.ex", "nobody@test.ex", "sender@test.ex"], &sent);
    let line = oxim.line(&[" <= bob@peer.test.ex ", "id=from.a.peer@test.ex"]);
    for part in server.arrival {
        assert!(line.contains(part), "no {part} in {line}");
    }
    assert_whole(&ground.wait_for_mail("mail/alice", 1)[0], &sent);
    assert_whole(&ground.wait_for_mail("mail/sender", 1)[0], &sent);
    oxim.line(&["F=<bob@peer.test.ex> rejected RCPT <nobody@test.ex>: nobody lives here"]);
    let report = ground.wait_for_mail(&box_of("bob"), 1);
    let report = String::from_utf8_lossy(&report[0]).into_owned();
    assert!(report.contains("nobody lives here") && report.contains("nobody@test.ex"), "{report}");

    ground.write("closed", "");
    let sent = difficult_message("brought again");
    submit(PEER, "bob@peer.test.ex", &["alice@test.ex"], &sent);
    oxim.line(&["F=<bob@peer.test.ex> temporarily rejected RCPT <alice@test.ex>: come back later"]);
    std::fs::remove_file(ground.path("closed")).unwrap();
    wait("the second attempt", || {
        (server.retry)();
        oxim.log().contains("id=brought.again@test.ex")
    });
    let mail = ground.wait_for_mail("mail/alice", 2);
    assert!(mail.iter().any(|m| m.ends_with(&sent)));

    // Nobody relays through us.
    let mut client = Client::connect(OXIM);
    let replies = client.send("bob@peer.test.ex", &["someone@elsewhere.ex"], &sent);
    assert_eq!(replies, ["550 relay not permitted"]);
    drop(client);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

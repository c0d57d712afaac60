//! Dovecot's LMTP server behind the lmtp transport (Unix socket) and the smtp transport with `protocol = lmtp` (TCP).

use super::ground::{Ground, wait};
use super::oxim::{
    LOCAL_ROUTER, Oxim, assert_whole, difficult_message, local_transport, main_options, submit,
};

/// bob's box holds 3000 bytes; everybody else's any number.
fn start(ground: &Ground) -> u32 {
    ground.folder("dovecot", 0o755, "root");
    ground.folder("dovecot/mail", 0o777, "root");
    ground.write("dovecot/users", "alice@lmtp.test.ex:::::::\nbob@lmtp.test.ex:::::::userdb_quota_rule=*:bytes=3000\ncarol@lmtp.test.ex:::::::\n");
    let configuration = ground.write(
        "dovecot/dovecot.conf",
        "base_dir = /mnt/dovecot/run\nstate_dir = /mnt/dovecot/state\nlog_path = /mnt/log/dovecot.log\nprotocols = lmtp\nssl = no\n\
         mail_location = maildir:/mnt/dovecot/mail/%n\nmail_plugins = quota\nlmtp_save_to_detail_mailbox = no\n\
         default_internal_user = dovecot\ndefault_login_user = dovenull\n\
         passdb {\n  driver = static\n  args = nopassword=y\n}\n\
         userdb {\n  driver = passwd-file\n  args = username_format=%u /mnt/dovecot/users\n  default_fields = uid=alice gid=alice home=/mnt/dovecot/mail/%n\n}\n\
         plugin {\n  quota = count:box\n  quota_vsizes = yes\n}\n\
         service lmtp {\n  unix_listener /mnt/dovecot/lmtp {\n    mode = 0666\n  }\n  inet_listener lmtp {\n    address = 127.0.0.1\n    port = 2424\n  }\n}\n\
         service stats {\n  unix_listener stats-writer {\n    mode = 0666\n  }\n}\n",
    );
    let pid =
        ground.start("dovecot", &["/usr/sbin/dovecot", "-F", "-c", configuration.to_str().unwrap()], &[]);
    wait("dovecot", || {
        std::net::TcpStream::connect("127.0.0.1:2424").is_ok() && ground.path("dovecot/lmtp").exists()
    });
    pid
}

fn configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nlog_selector = +smtp_confirmation -queue_run\n\
         begin acl\nbegin routers\n\
         tcp:\n  driver = manualroute\n  domains = lmtp.test.ex\n  condition = ${{if eq{{$h_X-Way:}}{{tcp}}}}\n  route_list = * 127.0.0.1\n  self = send\n  transport = tcp\n\
         unix:\n  driver = accept\n  domains = lmtp.test.ex\n  transport = unix\n{LOCAL_ROUTER}\
         begin transports\nunix:\n  driver = lmtp\n  socket = /mnt/dovecot/lmtp\n  batch_max = 10\n  user = mail\n\
         tcp:\n  driver = smtp\n  protocol = lmtp\n  port = 2424\n  hosts_try_auth =\n{maildir}begin retry\n* * F,1h,1s\n"
    )
}

/// Each recipient has its own answer after the data: delivered, box full, no such user; and the server that comes back.
pub(super) fn next_hop(ground: &Ground) {
    let pid = start(ground);
    let oxim = Oxim::start(ground, &configuration(ground), &["-q1s"]);
    let recipients = ["alice@lmtp.test.ex", "bob@lmtp.test.ex", "nosuch@lmtp.test.ex", "carol@lmtp.test.ex"];
    for (number, way) in ["unix", "tcp"].into_iter().enumerate() {
        let mut sent = format!("X-Way: {way}\n").into_bytes();
        sent.extend(difficult_message(&format!("by {way}")));
        while sent.len() < 4000 {
            sent.extend_from_slice(b"a line that fills boxes\n");
        }
        submit("127.0.0.1:2525", "sender@test.ex", &recipients, &sent);
        let place = if way == "tcp" { " H=127.0.0.1 [127.0.0.1]" } else { "" };
        for name in ["alice", "carol"] {
            let way_part =
                format!("@lmtp.test.ex{} R={way} T={way}{place} ", if way == "unix" { ">" } else { "" });
            let answer = format!(" C=\"250 2.0.0 <{name}@lmtp.test.ex> ");
            let line = oxim.line(&[&way_part, &answer]);
            assert!(line.contains("Saved\""), "{line}");
            let mail = ground.wait_for_mail(&format!("dovecot/mail/{name}"), number + 1);
            let found =
                mail.iter().find(|m| String::from_utf8_lossy(m).contains(&format!("Subject: by {way}\n")));
            assert_whole(found.unwrap(), &sent);
        }
        let full = oxim.line(&[" ** bob@lmtp.test.ex ", &format!("R={way} T={way}")]);
        let after = if way == "tcp" { " LAST" } else { "end of data" };
        assert!(
            full.contains("LMTP error after ")
                && full.contains(&format!("{after}: 552 5.2.2 <bob@lmtp.test.ex> Quota exceeded")),
            "{full}"
        );
        let absent = oxim.line(&[" ** nosuch@lmtp.test.ex ", &format!("R={way} T={way}")]);
        assert!(absent.contains("RCPT TO:<nosuch@lmtp.test.ex>") && absent.contains("550 5.1.1"), "{absent}");
        let reports = ground.wait_for_mail("mail/sender", number + 1);
        let report =
            reports.iter().map(|r| String::from_utf8_lossy(r)).find(|r| r.contains(&format!("X-Way: {way}")));
        let report = report.expect("a report").into_owned();
        assert!(report.contains("bob@lmtp.test.ex") && report.contains("nosuch@lmtp.test.ex"), "{report}");
    }
    ground.stop(pid);
    for way in ["unix", "tcp"] {
        let mut sent = format!("X-Way: {way}\n").into_bytes();
        sent.extend(difficult_message(&format!("later by {way}")));
        submit("127.0.0.1:2525", "sender@test.ex", &["alice@lmtp.test.ex"], &sent);
        oxim.line(&[&format!(" == alice@lmtp.test.ex R={way} T={way} defer (")]);
    }
    start(ground);
    ground.wait_for_mail("dovecot/mail/alice", 4);
    oxim.wait_for_log(4, " Completed");
    oxim.stop();
    assert_eq!(ground.maildir("dovecot/mail/bob").len(), 0);
}

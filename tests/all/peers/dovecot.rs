//! Dovecot's LMTP server behind the lmtp transport (Unix socket) and the smtp transport with `protocol = lmtp` (TCP); and a
//! maildir whose quota file Oxim, Dovecot and maildrop keep together.

use super::ground::{Ground, shell, wait};
use super::oxim::{
    LOCAL_ROUTER, Oxim, assert_whole, difficult_message, local_transport, main_options, submit,
};

/// Boxes are counted by what is in them; bob's holds 3000 bytes, everybody else's any number.
const COUNTED: &str = "quota = count:box\n  quota_vsizes = yes";
/// Boxes are counted by their `maildirsize`, which also says what they may hold; the rule is for one that says nothing.
const BY_FILE: &str = "quota = maildir:box\n  quota_rule = ?:storage=1M";

fn start(ground: &Ground, quota: &str) -> u32 {
    ground.folder("dovecot", 0o755, "root");
    ground.folder("dovecot/mail", 0o777, "root");
    ground.write("dovecot/users", "alice@lmtp.test.ex:::::::\nbob@lmtp.test.ex:::::::userdb_quota_rule=*:bytes=3000\ncarol@lmtp.test.ex:::::::\n");
    let configuration = ground.write(
        "dovecot/dovecot.conf",
        format!("base_dir = /mnt/dovecot/run\nstate_dir = /mnt/dovecot/state\nlog_path = /mnt/log/dovecot.log\nprotocols = lmtp\nssl = no\n\
         mail_location = maildir:/mnt/dovecot/mail/%n\nmail_plugins = quota\nlmtp_save_to_detail_mailbox = no\n\
         default_internal_user = dovecot\ndefault_login_user = dovenull\n\
         passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
         userdb {{\n  driver = passwd-file\n  args = username_format=%u /mnt/dovecot/users\n  default_fields = uid=alice gid=alice home=/mnt/dovecot/mail/%n\n}}\n\
         plugin {{\n  {quota}\n}}\n\
         service lmtp {{\n  unix_listener /mnt/dovecot/lmtp {{\n    mode = 0666\n  }}\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = 2424\n  }}\n}}\n\
         service stats {{\n  unix_listener stats-writer {{\n    mode = 0666\n  }}\n}}\n"),
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
    let pid = start(ground, COUNTED);
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
    start(ground, COUNTED);
    ground.wait_for_mail("dovecot/mail/alice", 4);
    oxim.wait_for_log(4, " Completed");
    oxim.stop();
    assert_eq!(ground.maildir("dovecot/mail/bob").len(), 0);
}

/// What Dovecot says of alice's box: used and limit, in KiB and in messages.
fn quota_by_dovecot(ground: &Ground) -> [(u64, u64); 2] {
    let words = [
        "doveadm",
        "-c",
        "/mnt/dovecot/dovecot.conf",
        "-f",
        "tab",
        "quota",
        "get",
        "-u",
        "alice@lmtp.test.ex",
    ];
    let out = ground.run(&words, b"").good().out;
    let row = |kind: &str| {
        let line =
            out.lines().find(|l| l.split('\t').nth(1) == Some(kind)).unwrap_or_else(|| panic!("{out}"));
        let fields: Vec<&str> = line.split('\t').collect();
        (fields[2].parse().unwrap(), fields[3].parse().unwrap())
    };
    [row("STORAGE"), row("MESSAGE")]
}

/// The limits and the sums of alice's `maildirsize`.
fn quota_by_file(ground: &Ground) -> (String, i64, i64) {
    let text = ground.read("dovecot/mail/alice/maildirsize");
    let mut lines = text.lines();
    let limits = lines.next().unwrap_or_default().to_owned();
    let numbers = lines.map(|l| {
        let mut words = l.split_ascii_whitespace().map(|w| w.parse::<i64>().unwrap());
        (words.next().unwrap(), words.next().unwrap())
    });
    let (bytes, count) = numbers.fold((0, 0), |(b, c), (more_bytes, more)| (b + more_bytes, c + more));
    (limits, bytes, count)
}

/// The sizes of what is in alice's box.
fn in_box(ground: &Ground) -> (i64, i64) {
    let folders = ["new", "cur"].map(|name| ground.path("dovecot/mail/alice").join(name));
    let files = folders.iter().flat_map(|f| std::fs::read_dir(f).into_iter().flatten().flatten());
    let sizes = files.map(|f| i64::try_from(f.metadata().unwrap().len()).unwrap());
    sizes.fold((0, 0), |(bytes, count), size| (bytes + size, count + 1))
}

/// A Courier-style quota that Oxim writes: Dovecot shows it, Dovecot's and maildrop's deliveries and removals are added to
/// it, and each of the three stops where it is reached.
pub(super) fn quota(ground: &Ground) {
    let pid = start(ground, BY_FILE);
    let text = configuration(ground).replace(
        "unix:\n  driver = accept",
        "box:\n  driver = accept\n  domains = lmtp.test.ex\n  condition = ${if eq{$h_X-Way:}{file}}\n  transport = box\nunix:\n  driver = accept",
    );
    let transport = "begin transports\nbox:\n  driver = appendfile\n  directory = /mnt/dovecot/mail/alice\n  maildir_format\n  user = alice\n\
        \x20 quota = 20K\n  quota_filecount = 100\n  maildir_use_size_file\n  maildir_tag = ,S=$message_size\n";
    let oxim = Oxim::start(ground, &text.replace("begin transports\n", transport), &["-q1s"]);
    let message = |way: &str, lines: usize| {
        let mut sent = format!("X-Way: {way}\n").into_bytes();
        sent.extend(difficult_message(&format!("by {way}")));
        sent.extend("a line that fills boxes\n".repeat(lines).bytes());
        sent
    };
    let send = |way: &str, lines: usize| {
        submit("127.0.0.1:2525", "sender@test.ex", &["alice@lmtp.test.ex"], &message(way, lines));
    };
    let agree = |count: i64| {
        let (limits, bytes, messages) = quota_by_file(ground);
        assert_eq!(limits, "20480S,100C");
        assert_eq!((bytes, messages), in_box(ground));
        assert_eq!(messages, count);
        let [(kib, kib_max), (shown, count_max)] = quota_by_dovecot(ground);
        assert_eq!((kib_max, count_max), (20, 100));
        assert_eq!(
            (i64::try_from(kib).unwrap(), i64::try_from(shown).unwrap()),
            ((bytes + 1023) / 1024, count)
        );
    };

    send("file", 100);
    oxim.wait_for_log(1, " Completed");
    agree(1);
    send("unix", 100);
    oxim.wait_for_log(2, " Completed");
    agree(2);
    ground.write("home/alice/rules", "to \"/mnt/dovecot/mail/alice\"\n");
    shell("chmod 600 /mnt/home/alice/rules; chown alice /mnt/home/alice/rules");
    let drop = |lines: usize| {
        ground.run_as("alice", &["/usr/bin/maildrop", "/mnt/home/alice/rules"], &message("drop", lines))
    };
    drop(100).good();
    agree(3);
    send("file", 100);
    oxim.wait_for_log(3, " Completed");
    agree(4);

    // Four times 3.7 KiB are in it: 8 KiB more are too much for each of the three.
    drop(340).bad("quota");
    send("unix", 340);
    oxim.line(&[" ** alice@lmtp.test.ex ", "R=unix T=unix", "552 5.2.2 ", "Quota exceeded"]);
    send("file", 340);
    oxim.line(&[" == alice@lmtp.test.ex R=box T=box defer (-22): mailbox is full (MTA-imposed quota exceeded while writing to /mnt/dovecot/mail/alice)"]);
    agree(4);

    // Dovecot makes room, and what waits is delivered.
    let expunge = ["expunge", "-u", "alice@lmtp.test.ex", "mailbox", "INBOX", "1:2"];
    ground.run(&[&["doveadm", "-c", "/mnt/dovecot/dovecot.conf"], &expunge[..]].concat(), b"").good();
    oxim.wait_for_log(6, " Completed");
    agree(3);
    oxim.stop();
    ground.stop(pid);
}

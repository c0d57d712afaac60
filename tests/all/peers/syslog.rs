//! Logs by syslog: a listener on /dev/log, which in this trial's mount namespace is a folder of its own.

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};

use super::ground::{Ground, shell, wait};
use super::oxim::{LOCAL_ROUTER, Oxim, difficult_message, local_transport, main_options, submit};

/// Covers /dev by a folder that has the devices which programs need.
fn make_dev() {
    shell(
        "mkdir /mnt/dev; mount -t tmpfs -o mode=755 none /mnt/dev
        for name in null zero full random urandom tty; do touch /mnt/dev/$name; mount --bind /dev/$name /mnt/dev/$name; done
        ln -s /proc/self/fd /mnt/dev/fd; mkdir /mnt/dev/shm; chmod 1777 /mnt/dev/shm; mount --rbind /mnt/dev /dev",
    );
}

/// One entry for a line of two logs, without the process id of `+pid`.
const SINGLE: &str = "syslog_duplication = false\nsyslog_pid = false\nlog_selector = +pid\n";

/// What was received, an entry each.
type Received = Arc<Mutex<Vec<String>>>;

fn listen() -> Received {
    let _ = std::fs::remove_file("/dev/log");
    let socket = UnixDatagram::bind("/dev/log").unwrap();
    std::fs::set_permissions("/dev/log", std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let received = Received::default();
    let record = Arc::clone(&received);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text == "end" {
                return;
            }
            record.lock().unwrap().push(text);
        }
    });
    received
}

/// All entries of daemon and command line, with facility, severity and name; also after the syslog daemon came anew, and while
/// there is none.
pub(super) fn entries(ground: &Ground) {
    make_dev();
    let received = listen();
    let text = main_options(ground).replace("log_file_path = /mnt/log/%slog", "log_file_path = syslog");
    let maildir = local_transport(ground);
    let config = format!(
        "{text}tls_advertise_hosts =\nsyslog_facility = local3\nsyslog_processname = oxim-test\nsyslog_timestamp = false\nacl_smtp_rcpt = rcpt\n\
         begin acl\nrcpt:\n  deny local_parts = nobody\n    message = nobody lives here\n  accept\n\
         begin routers\n{LOCAL_ROUTER}begin transports\n{maildir}begin retry\n* * F,1h,1s\n"
    );
    let oxim = Oxim::start(ground, &config, &[]);
    let has = |received: &Received, parts: &[&str]| {
        received.lock().unwrap().iter().any(|entry| parts.iter().all(|part| entry.contains(part)))
    };
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("by syslog"));
    // local3 is 19: 8 * 19 + 6 (info), + 5 (notice), + 1 (alert).
    for (severity, text) in [
        ("<158>", "daemon started: pid="),
        ("<158>", " <= sender@test.ex H=(client.test)"),
        ("<158>", " Completed"),
    ] {
        wait(text, || has(&received, &[severity, " oxim-test[", "]: ", text]));
    }
    {
        let entries = received.lock().unwrap();
        let arrival = entries.iter().find(|e| e.contains(" <= ")).unwrap();
        let after = arrival.split("]: ").nth(1).unwrap();
        assert!(!after.starts_with("20"), "a time stamp of our own: {arrival}");
    }
    let mut client = super::oxim::Client::connect("127.0.0.1:2525");
    client.send("sender@test.ex", &["nobody@test.ex"], b"");
    wait("the refusal", || has(&received, &["<157>", "rejected RCPT <nobody@test.ex>: nobody lives here"]));
    // The command line logs there as well.
    ground
        .run(&["/mnt/oxim", "-odq", "-f", "sender@test.ex", "bob@test.ex"], b"Subject: local\n\ntext\n")
        .good();
    wait("the local message", || has(&received, &[" <= sender@test.ex U=", "P=local"]));
    // One copy of what goes to two logs, and no process id in its text.
    let refusals = |part: &str| {
        let entries = received.lock().unwrap();
        entries
            .iter()
            .filter(|e| e.contains("rejected RCPT") && e.contains(part))
            .cloned()
            .collect::<Vec<_>>()
    };
    let dialogue = |sender: &str| {
        format!("HELO c\r\nMAIL FROM:<{sender}@test.ex>\r\nRCPT TO:<nobody@test.ex>\r\nQUIT\r\n").into_bytes()
    };
    ground.run(&["/mnt/oxim", "-bs"], &dialogue("twice")).good();
    wait("both copies", || refusals("<twice@test.ex>").len() == 2);
    std::fs::write("/mnt/single.conf", format!("{SINGLE}{config}")).unwrap();
    ground.run(&["/mnt/oxim", "-C", "/mnt/single.conf", "-bs"], &dialogue("once")).good();
    wait("the one copy", || !refusals("<once@test.ex>").is_empty());
    let [entry] = refusals("<once@test.ex>").try_into().unwrap();
    assert!(entry.starts_with("<157>") && entry.contains("]: U=root"), "{entry}");
    // Without a syslog daemon mail goes on.
    UnixDatagram::unbound().unwrap().send_to(b"end", "/dev/log").unwrap();
    std::fs::remove_file("/dev/log").unwrap();
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("unheard"));
    ground.wait_for_mail("mail/alice", 2);
    let again = listen();
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("heard again"));
    wait("entries at the new syslog", || has(&again, &["id=heard.again@test.ex"]));
    oxim.stop();
    assert_eq!(ground.read("log/mainlog"), "");
}

//! The daemon as those see it who look after it: service managers, pid files, signals, log rotation, addresses to listen on.

use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::ground::{Ground, PATIENCE, wait};
use super::oxim::{
    Client, LOCAL_ROUTER, Oxim, assert_whole, difficult_message, local_transport, main_options, submit,
};

fn configuration(ground: &Ground, more: &str) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    format!(
        "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\n{more}begin acl\nbegin routers\n{LOCAL_ROUTER}begin transports\n{maildir}begin retry\n* * F,1h,1s\n"
    )
}

/// Replaces an option of the shared part.
fn with(text: &str, name: &str, value: &str) -> String {
    let line = |l: &str| {
        if l.starts_with(&format!("{name} =")) { format!("{name} = {value}\n") } else { format!("{l}\n") }
    };
    text.lines().map(line).collect()
}

/// Several addresses, ports of their own and common ones, both families, and wildcards of both on one port.
pub(super) fn ports_and_interfaces(ground: &Ground) {
    let text = configuration(
        ground,
        "log_selector = +incoming_interface +incoming_port\ndaemon_startup_retries = 0\n",
    );
    let several = with(&text, "local_interfaces", "<; 127.0.0.1 ; 127.0.0.2.2626 ; [::1]:2727 ; ::1.2525");
    let oxim = Oxim::start(ground, &with(&several, "daemon_smtp_ports", "2525 : 2587"), &[]);
    let open = ["127.0.0.1:2525", "127.0.0.1:2587", "127.0.0.2:2626", "[::1]:2727", "[::1]:2525"];
    let shut = ["127.0.0.2:2525", "127.0.0.1:2626", "[::1]:2587", "127.0.0.3:2525", "[::1]:2626"];
    for (number, address) in open.iter().enumerate() {
        submit(address, "sender@test.ex", &["alice@test.ex"], &difficult_message(&format!("door {number}")));
        let line = oxim.line(&[" <= ", &format!("id=door.{number}@")]);
        let (ip, port) = address.rsplit_once(':').unwrap();
        let ip = ip.trim_matches(['[', ']']);
        assert!(line.contains(&format!(" I=[{ip}]:{port} ")), "{line}");
    }
    for address in shut {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
    assert!(
        oxim.log().contains("listening for SMTP on [127.0.0.1]:{2525,2587} [127.0.0.2]:2626"),
        "{}",
        oxim.log()
    );
    oxim.stop();
    for address in open {
        assert!(TcpStream::connect(address).is_err(), "{address} after the end");
    }
    let oxim = Oxim::start(ground, &with(&text, "local_interfaces", ""), &[]);
    for address in ["127.0.0.1:2525", "127.9.9.9:2525", "[::1]:2525"] {
        submit(address, "sender@test.ex", &["bob@test.ex"], &difficult_message(address));
    }
    oxim.line(&[
        "listening for SMTP on port 2525 (IPv6 and IPv4) and for SMTPS on port 2465 (IPv6 and IPv4)",
    ]);
    ground.wait_for_mail("mail/bob", 3);
    // A second daemon on the same ports ends, and the first goes on.
    let second = ground.run(&["/mnt/oxim", "-bdf", "-odq", "-oP", "/mnt/second.pid"], b"");
    assert!(second.error.contains("Address already in use") && second.code() == 1, "{second:#?}");
    submit("127.0.0.1:2525", "sender@test.ex", &["bob@test.ex"], &difficult_message("still there"));
    oxim.stop();
    assert!(!ground.path("second.pid").exists());
}

/// systemd: `READY=1` when connections are accepted and not before, `STOPPING=1` at the end, nothing from other processes.
pub(super) fn notification(ground: &Ground) {
    let socket = UnixDatagram::bind(ground.path("notify")).unwrap();
    fs::set_permissions(ground.path("notify"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let receive = || {
        let mut bytes = [0; 1000];
        let count = socket.recv(&mut bytes).expect("a notification");
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    };
    ground.write(
        "etc/oxim.conf",
        configuration(ground, "daemon_startup_retries = 50\ndaemon_startup_sleep = 1s\n"),
    );
    ground.write("etc/boxes", "alice: alice\n");
    // The port is taken: the daemon waits for it, and is not ready.
    let taken = std::net::TcpListener::bind("127.0.0.1:2525").unwrap();
    let pid = ground.start("oxim", &["/mnt/oxim", "-bdf"], &[("NOTIFY_SOCKET", "/mnt/notify")]);
    wait("the port to be tried", || ground.read("log/mainlog").contains("waiting 1s before trying again"));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "ready without its port");
    socket.set_nonblocking(false).unwrap();
    drop(taken);
    let ready = receive();
    assert!(ready.lines().any(|l| l == "READY=1"), "{ready}");
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("notified"));
    ground.wait_for_mail("mail/alice", 1);
    ground.signal("TERM", pid);
    let stopping = receive();
    assert!(stopping.lines().any(|l| l == "STOPPING=1"), "{stopping}");
    assert!(ground.wait_for_end(pid).success());
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(socket.recv(&mut [0; 100]).is_err(), "one too many");
}

/// Opens sockets, passes them from descriptor 3 on as a service manager does, and becomes the daemon.
const ACTIVATOR: &str = r#"
import os, socket
sockets = [socket.create_server(("127.0.0.1", 2525)), socket.create_server(("::1", 2526), family=socket.AF_INET6)]
numbers = [os.dup2(s.fileno(), 20 + i) for i, s in enumerate(sockets)]
for i, number in enumerate(numbers): os.dup2(number, 3 + i, inheritable=True)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), str(len(sockets))
os.execv("/mnt/oxim", ["/mnt/oxim", "-bdf"])
"#;

/// systemd: passed sockets take the place of the configured ones, and serve on after a reload.
pub(super) fn socket_activation(ground: &Ground) {
    ground.write("activate.py", ACTIVATOR);
    ground
        .write("etc/oxim.conf", configuration(ground, "log_selector = +incoming_interface +incoming_port\n"));
    ground.write("etc/boxes", "alice: alice\n");
    let pid = ground.start("oxim", &["python3", "/mnt/activate.py"], &[]);
    // The sockets are there before the daemon is: who comes early is served.
    wait("the sockets", || TcpStream::connect("127.0.0.1:2525").is_ok());
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("passed"));
    submit("[::1]:2526", "sender@test.ex", &["alice@test.ex"], &difficult_message("passed too"));
    for address in ["127.0.0.1:2465", "[::1]:2525"] {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
    let log = || ground.read("log/mainlog");
    assert!(log().contains("listening for SMTP on [127.0.0.1]:2525 [::1]:2526\n"), "{}", log());
    ground.signal("HUP", pid);
    wait("the reload", || log().matches("daemon started").count() == 2);
    submit("[::1]:2526", "sender@test.ex", &["alice@test.ex"], &difficult_message("after the reload"));
    ground.wait_for_mail("mail/alice", 3);
    ground.stop(pid);
    assert_eq!(ground.read("log/paniclog"), "");
}

/// `-bd` comes back when the daemon listens; the pid file names it, survives a reload, and goes at its end.
pub(super) fn pid_file(ground: &Ground) {
    ground.write("etc/oxim.conf", configuration(ground, ""));
    ground.write("etc/boxes", "alice: alice\n");
    // What an earlier daemon has left does no harm.
    ground.write("oxim.pid", "99999999\n");
    ground.run(&["/mnt/oxim", "-bd", "-q1h"], b"").good();
    submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message("at once"));
    let pid = ground.read("oxim.pid").trim().parse::<u32>().unwrap();
    let command = || fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert!(String::from_utf8_lossy(&command()).contains("oxim"), "{pid}");
    let started = format!("daemon started: pid={pid}, -q1h, listening");
    assert!(ground.read("log/mainlog").contains(&started), "{}", ground.read("log/mainlog"));
    ground.signal("HUP", pid);
    wait("the reload", || ground.read("log/mainlog").matches(&started).count() == 2);
    assert_eq!(ground.read("oxim.pid").trim(), pid.to_string());
    // Another daemon with a file of its own.
    ground.run(&["/mnt/oxim", "-bd", "-oX", "2626", "-oP", "/mnt/other.pid"], b"").good();
    let other = ground.read("other.pid").trim().parse::<u32>().unwrap();
    assert_ne!(other, pid);
    ground.signal("TERM", other);
    wait("the other file to go", || !ground.path("other.pid").exists());
    assert_eq!(ground.read("oxim.pid").trim(), pid.to_string());
    ground.wait_for_mail("mail/alice", 1);
    ground.signal("TERM", pid);
    wait("the file to go", || !ground.path("oxim.pid").exists());
    wait("the daemon to end", || command().is_empty());
    // Killed, it leaves its file, and the next one takes it over.
    ground.run(&["/mnt/oxim", "-bd"], b"").good();
    let pid = ground.read("oxim.pid").trim().parse::<u32>().unwrap();
    ground.signal("KILL", pid);
    wait("the port to be free", || TcpStream::connect("127.0.0.1:2525").is_err());
    assert!(ground.path("oxim.pid").exists());
    ground.run(&["/mnt/oxim", "-bd"], b"").good();
    let next = ground.read("oxim.pid").trim().parse::<u32>().unwrap();
    assert_ne!(next, pid);
    ground.signal("TERM", next);
    wait("the file to go", || !ground.path("oxim.pid").exists());
}

/// SIGTERM with clients in every state: nothing acknowledged is lost, nobody waits for long, no new connections.
pub(super) fn termination_with_open_sessions(ground: &Ground) {
    let oxim = Oxim::start(ground, &configuration(ground, ""), &["-odq"]);
    let mut idle = Client::connect("127.0.0.1:2525");
    let mut in_envelope = Client::connect("127.0.0.1:2525");
    in_envelope.command("MAIL FROM:<sender@test.ex>");
    let mut in_data = Client::connect("127.0.0.1:2525");
    in_data.command("MAIL FROM:<sender@test.ex>");
    in_data.command("RCPT TO:<alice@test.ex>");
    in_data.command("DATA");
    in_data.write(b"Subject: half\r\n\r\nhalf of it");
    let mut done = Client::connect("127.0.0.1:2525");
    let sent = difficult_message("acknowledged");
    let replies = done.send("sender@test.ex", &["alice@test.ex"], &sent);
    assert!(replies[1].starts_with("250 OK"), "{replies:?}");
    let pid = oxim.pid;
    ground.signal("TERM", pid);
    for client in [&mut idle, &mut in_envelope, &mut in_data, &mut done] {
        // The end of the connection, with or without a word.
        let last = client.reply();
        assert!(last.is_empty() || last.starts_with("421"), "{last}");
    }
    assert!(ground.wait_for_end(pid).success());
    assert!(TcpStream::connect("127.0.0.1:2525").is_err());
    assert_eq!(ground.run(&["/mnt/oxim", "-bpc"], b"").good().out.trim(), "1");
    let oxim = Oxim::start_as_configured(ground, &["-q1s"], &[]);
    assert_whole(&ground.wait_for_mail("mail/alice", 1)[0], &sent);
    oxim.stop();
    assert_eq!(ground.read("log/paniclog"), "");
}

/// Sends until the connection ends; the subjects that were acknowledged.
fn send_until_the_end(sender: usize, has_ended: &AtomicBool) -> Result<Vec<String>, String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let subject = format!("load {sender}.{number}.");
        let sent = std::panic::catch_unwind(|| {
            let mut client = Client::connect("127.0.0.1:2525");
            let message = format!("Subject: {subject}\n\ntext\n");
            client.send("sender@test.ex", &["alice@test.ex"], message.as_bytes()).pop()
        });
        match sent {
            Ok(Some(reply)) if reply.starts_with("250 OK") => acknowledged.push(subject),
            _ if has_ended.load(Ordering::SeqCst) => break,
            other => return Err(format!("{subject} {other:?}")),
        }
    }
    Ok(acknowledged)
}

/// Reloads while senders send: nobody notices. SIGTERM while they do: all that was acknowledged is delivered, once.
pub(super) fn reloads_and_termination_under_load(ground: &Ground) {
    let oxim = Oxim::start(ground, &configuration(ground, "smtp_accept_max = 0\n"), &[]);
    let has_ended = AtomicBool::new(false);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let acknowledged: Vec<Result<Vec<String>, String>> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|number| (number, &has_ended))
            .map(|(n, e)| scope.spawn(move || send_until_the_end(n, e)))
            .collect();
        for round in 1..=4 {
            std::thread::sleep(Duration::from_millis(150));
            ground.signal("HUP", oxim.pid);
            oxim.wait_for_log(round + 1, "daemon started");
        }
        has_ended.store(true, Ordering::SeqCst);
        ground.signal("TERM", oxim.pid);
        senders.into_iter().map(|s| s.join().unwrap()).collect()
    });
    std::panic::set_hook(quiet);
    let acknowledged: Vec<String> = acknowledged.into_iter().flat_map(Result::unwrap).collect();
    assert!(ground.wait_for_end(oxim.pid).success());
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    let oxim = Oxim::start_as_configured(ground, &["-q1s"], &[]);
    wait("an empty queue", || ground.run(&["/mnt/oxim", "-bpc"], b"").out.trim() == "0");
    oxim.stop();
    let mail: Vec<u8> = ground.maildir("mail/alice").concat();
    let mail = String::from_utf8_lossy(&mail);
    for subject in acknowledged {
        assert_eq!(mail.matches(&format!("\nSubject: {subject}\n")).count(), 1, "{subject}");
    }
    assert_eq!(ground.read("log/paniclog"), "");
}

/// A reload that cannot be: the daemon serves on as it was, and main and panic log say what is wrong and where.
pub(super) fn faulty_reload_is_logged(ground: &Ground) {
    let good = configuration(ground, "smtp_banner = first\n");
    let oxim = Oxim::start(ground, &good, &[]);
    let faults = [
        ("smtp_banner = first\n", "no_such_option = 1\n", "no_such_option"),
        ("  driver = accept\n", "  driver = no_such_driver\n", "no_such_driver"),
        ("begin acl\n", "begin acl\nnew:\n  accept frobnicate = 1\n", "frobnicate"),
    ];
    for (number, (place, fault, word)) in faults.into_iter().enumerate() {
        ground.write("etc/oxim.conf", good.replacen(place, fault, 1));
        ground.signal("HUP", oxim.pid);
        oxim.wait_for_log(number + 1, "the new configuration is faulty, the old one stays: ");
        let log = oxim.log();
        let line = log.lines().rev().find(|l| l.contains("is faulty")).unwrap();
        assert!(line.contains(word) && line.contains("/etc/oxim/oxim.conf"), "{line}");
        assert!(ground.read("log/paniclog").contains(&line[20..]), "{line}");
        submit("127.0.0.1:2525", "sender@test.ex", &["alice@test.ex"], &difficult_message(word));
        ground.wait_for_mail("mail/alice", number + 1);
    }
    ground.write("etc/oxim.conf", good.replace("smtp_banner = first", "smtp_banner = second"));
    ground.signal("HUP", oxim.pid);
    wait("the new banner", || {
        let mut line = String::new();
        let stream = TcpStream::connect("127.0.0.1:2525").unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stream), &mut line).unwrap();
        line.contains("second")
    });
    oxim.stop();
}

/// The main log is renamed again and again while senders send and messages are delivered: each message has its arrival, its
/// delivery and its end in one of the files, no line is torn.
pub(super) fn rotation_of_a_delivering_log(ground: &Ground) {
    const SENDERS: usize = 4;
    const EACH: usize = 30;
    let oxim = Oxim::start(ground, &configuration(ground, "smtp_accept_queue_per_connection = 0\n"), &[]);
    let (log, rotated) = (ground.path("log/mainlog"), |n: usize| ground.path(&format!("log/mainlog.{n}")));
    let mut rounds = 0;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                scope.spawn(move || {
                    let mut client = Client::connect("127.0.0.1:2525");
                    for number in 0..EACH {
                        let text = format!("Subject: {sender} {number}\n\ntext\n");
                        let replies = client.send("sender@test.ex", &["alice@test.ex"], text.as_bytes());
                        assert!(replies[1].starts_with("250 OK"), "{replies:?}");
                        std::thread::sleep(Duration::from_millis(10));
                    }
                })
            })
            .collect();
        while senders.iter().any(|s| !s.is_finished()) {
            std::thread::sleep(Duration::from_millis(60));
            if log.exists() {
                rounds += 1;
                fs::rename(&log, rotated(rounds)).unwrap();
            }
        }
    });
    ground.wait_for_mail("mail/alice", SENDERS * EACH);
    oxim.stop();
    let read = |path: std::path::PathBuf| fs::read_to_string(path).unwrap_or_default();
    let all: String = (1..=rounds).map(rotated).chain([log]).map(read).collect();
    for line in all.lines() {
        assert!(line.len() > 20 && line.starts_with("20"), "torn: {line}");
    }
    for text in [" <= ", " => ", " Completed"] {
        assert_eq!(all.matches(text).count(), SENDERS * EACH, "{text}");
    }
    assert!(rounds >= 3, "{rounds}");
}

//! The program under test as a daemon, with the configurations that the trials share.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use super::ground::{Ground, PATIENCE, TOP, wait};

/// A running daemon.
pub(super) struct Oxim<'a> {
    ground: &'a Ground,
    pub(super) pid: u32,
}

/// Main options of every configuration. The daemon listens on 127.0.0.1 and ::1, ports 2525 and 2465 (TLS at once).
pub(super) fn main_options(ground: &Ground) -> String {
    let (user, group) = identity(ground);
    format!(
        "spool_directory = /mnt/spool\nlog_file_path = /mnt/log/%slog\npid_file_path = /mnt/oxim.pid\n\
         primary_hostname = mta.test.ex\nqualify_domain = test.ex\nkeep_environment =\ntimezone = UTC\n\
         exim_user = {user}\nexim_group = {group}\nnever_users =\ndns_servers = 127.0.0.1\n\
         local_interfaces = <; 127.0.0.1 ; ::1\ndaemon_smtp_ports = 2525 : 2465\ntls_on_connect_ports = 2465\n\
         host_lookup =\nrfc1413_query_timeout = 0s\nmessage_size_limit = 2M\n"
    )
}

/// The Exim user and group: of the system for root, else the caller's.
pub(super) fn identity(ground: &Ground) -> (String, String) {
    if ground.is_root {
        return ("mail".to_owned(), "mail".to_owned());
    }
    let name = |flag: &str| ground.run(&["id", flag], b"").good().out.trim().to_owned();
    (name("-un"), name("-gn"))
}

/// Mail of test.ex goes into maildirs below /mnt/mail.
pub(super) const LOCAL_ROUTER: &str =
    "local:\n  driver = accept\n  domains = test.ex : mta.test.ex\n  transport = maildir\n";

/// The transport of [`LOCAL_ROUTER`].
pub(super) fn local_transport(ground: &Ground) -> String {
    let (user, group) = identity(ground);
    format!(
        "maildir:\n  driver = appendfile\n  directory = /mnt/mail/${{lookup{{$local_part}}lsearch{{/mnt/etc/boxes}}}}\n  create_directory\n\
         \x20 maildir_format\n  user = {user}\n  group = {group}\n  return_path_add\n"
    )
}

impl<'a> Oxim<'a> {
    /// Writes the configuration and starts the daemon, as root where the tests run as root.
    pub(super) fn start(ground: &'a Ground, configuration: &str, words: &[&str]) -> Oxim<'a> {
        ground.write("etc/oxim.conf", configuration);
        ground.write(
            "etc/boxes",
            "alice: alice\nbob: bob\nroot: root\nsender: sender\npostmaster: postmaster\n",
        );
        Oxim::start_as_configured(ground, words, &[])
    }

    pub(super) fn start_as_configured(
        ground: &'a Ground,
        words: &[&str],
        variables: &[(&str, &str)],
    ) -> Oxim<'a> {
        let mut all = vec!["/mnt/oxim", "-bdf"];
        all.extend(words);
        let pid = ground.start("oxim", &all, variables);
        let oxim = Oxim { ground, pid };
        oxim.wait_until_ready();
        oxim
    }

    /// One that the trial has started itself.
    pub(super) fn already_started(ground: &'a Ground, pid: u32) -> Oxim<'a> {
        Oxim { ground, pid }
    }

    pub(super) fn wait_until_ready(&self) {
        let control = Path::new(TOP).join("spool/oxim-control");
        wait("the daemon", || TcpStream::connect("127.0.0.1:2525").is_ok() && control.exists());
    }

    /// What the main log has.
    pub(super) fn log(&self) -> String {
        self.ground.read("log/mainlog")
    }

    /// Waits until the main log has a text so often.
    #[track_caller]
    pub(super) fn wait_for_log(&self, count: usize, text: &str) {
        wait(&format!("{text} in the main log"), || self.log().matches(text).count() >= count);
    }

    /// The one line of the main log that has all these parts; waits for it.
    #[track_caller]
    pub(super) fn line(&self, parts: &[&str]) -> String {
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        wait(&format!("{parts:?} in the main log"), || self.log().lines().any(|l| has_all(&l)));
        self.log().lines().find(has_all).unwrap().to_owned()
    }

    pub(super) fn stop(self) {
        self.ground.stop(self.pid);
    }
}

/// A message with everything that a relay may spoil, line ends LF: 8-bit text, dots, "From " lines, a long line, blanks.
pub(super) fn difficult_message(subject: &str) -> Vec<u8> {
    let mut message = format!(
        "From: Sender <sender@test.ex>\nTo: alice@peer.test.ex\nSubject: {subject}\nDate: Mon, 02 Nov 2026 10:00:00 +0000\n\
         Message-ID: <{}@test.ex>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\
         X-Folded: one\n\ttwo\n   three\n\n",
        subject.replace(' ', ".")
    )
    .into_bytes();
    message.extend_from_slice("Grüße, 世界\n".as_bytes());
    message.extend_from_slice(b"\xe9 is no UTF-8\n.\n..\n.dot\nFrom here\n>From there\n \n\ttab \n");
    message.extend_from_slice(&[b'x'; 990]);
    message.extend_from_slice(b"\nline after\n\n\nlast line\n");
    message
}

/// Whether a delivered message ends with all that was sent, byte for byte.
pub(super) fn is_whole(delivered: &[u8], sent: &[u8]) -> bool {
    delivered.ends_with(sent)
}

/// Fails with both texts unless the delivered message ends with what was sent.
#[track_caller]
pub(super) fn assert_whole(delivered: &[u8], sent: &[u8]) {
    let text = String::from_utf8_lossy(delivered);
    assert!(is_whole(delivered, sent), "got {} bytes, sent {}:\n{text}", delivered.len(), sent.len());
}

/// A plain SMTP client of our own.
pub(super) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects and greets.
    pub(super) fn connect(address: &str) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Client { reader: BufReader::new(stream.try_clone().unwrap()), stream };
        client.reply();
        assert!(client.command("EHLO client.test").starts_with("250"));
        client
    }

    /// Sends a line; the last line of the reply.
    pub(super) fn command(&mut self, line: &str) -> String {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    /// The last line of the next reply; empty at the end of the connection.
    pub(super) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let _ = self.reader.read_line(&mut line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a message with LF line ends; the replies to RCPT, and that to the data.
    pub(super) fn send(&mut self, sender: &str, recipients: &[&str], message: &[u8]) -> Vec<String> {
        let reply = self.command(&format!("MAIL FROM:<{sender}>"));
        assert!(reply.starts_with("250"), "{reply}");
        let mut replies: Vec<String> =
            recipients.iter().map(|r| self.command(&format!("RCPT TO:<{r}>"))).collect();
        if replies.iter().all(|r| !r.starts_with('2')) {
            self.command("RSET");
            return replies;
        }
        assert!(self.command("DATA").starts_with("354"));
        let mut wire = Vec::new();
        for line in message.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line.strip_suffix(b"\n").unwrap());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        self.write(&wire);
        replies.push(self.reply());
        replies
    }
}

/// Sends one message to a server on a connection of its own; all recipients must be accepted.
#[track_caller]
pub(super) fn submit(address: &str, sender: &str, recipients: &[&str], message: &[u8]) {
    let replies = Client::connect(address).send(sender, recipients, message);
    assert!(replies.iter().all(|r| r.starts_with('2')), "{replies:?}");
}

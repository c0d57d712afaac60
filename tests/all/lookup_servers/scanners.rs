//! Scanners: clamd, spamd and rspamd of Debian's packages, each asked about a message that it knows and one that it does not,
//! then stopped, gone, and back again. Nothing may pass that was not scanned. Only root can be another user; others skip them.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Server, config, folder, free_port, give_away, is_root, program, unprivileged};
use crate::place;

/// Hands a message with this body in for one recipient.
fn submit(config: &Path, folder: &Path, body: &str) -> String {
    submit_to(config, folder, &["b@test.ex"], &message(body))
}

/// A whole message with this body.
pub(super) fn message(body: &str) -> String {
    format!(
        "From: a@s.ex\r\nTo: b@test.ex\r\nSubject: t\r\nMessage-ID: <1@s.ex>\r\n\
         Date: Sat, 21 Nov 2026 09:00:00 +0000\r\n\r\n{body}"
    )
}

/// Hands a message in over SMTP; gives the reply to its data, and the lines of the main log about it without time and id.
pub(super) fn submit_to(config: &Path, folder: &Path, recipients: &[&str], message: &str) -> String {
    let mut child = Command::new(place::oxim())
        .arg("-C")
        .arg(config)
        .args(["-bs", "-odq"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    write!(input, "HELO c.ex\r\nMAIL FROM:<a@s.ex>\r\n").unwrap();
    for recipient in recipients {
        write!(input, "RCPT TO:<{recipient}>\r\n").unwrap();
    }
    write!(input, "DATA\r\n{message}\r\n.\r\nQUIT\r\n").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let log = folder.join("log-main");
    let mut lines = std::fs::read_to_string(&log).unwrap_or_default();
    let _none = std::fs::remove_file(&log);
    lines.retain(|c| c != '\r');
    let replies: Vec<&str> = text.lines().collect();
    format!("{}\n{lines}", replies.get(replies.len().saturating_sub(2)).unwrap_or(&"nothing"))
}

fn configured(folder: &Path, options: &str, acl: &str) -> std::path::PathBuf {
    let path = folder.display();
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    give_away(&folder.join("spool"));
    config(
        folder,
        &format!(
            "primary_hostname = mx.test.ex\nspool_directory = {path}/spool\nlog_file_path = {path}/log-%s\n\
             exim_user = nobody\nexim_group = nogroup\nkeep_environment =\ntls_advertise_hosts =\n{options}\n\
             acl_smtp_rcpt = accept\nacl_smtp_data = data\nbegin acl\ndata:\n{acl}\n  accept\n"
        ),
    )
}

pub(super) fn has(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "{part} is not in {answer}");
    }
}

const DEFERRED: &str = "451 Temporary local problem - please try later";

pub(super) fn clamd() {
    let Some(clamd) = program("clamd").filter(|_| is_root()) else { return };
    let folder = folder();
    let folder = folder.path();
    let (port, socket) = (free_port(), folder.join("clamd.sock"));
    let database = folder.join("db");
    std::fs::create_dir(&database).unwrap();
    // Name, any kind of file, anywhere: the bytes of "unwelcome-content-7".
    std::fs::write(database.join("own.ndb"), "Own.Test.One:0:*:756e77656c636f6d652d636f6e74656e742d37\n")
        .unwrap();
    std::fs::write(
        folder.join("clamd.conf"),
        format!(
            "Foreground yes\nDatabaseDirectory {}\nTCPSocket {port}\nTCPAddr 127.0.0.1\nLocalSocket {}\nMaxThreads 2\n\
             StreamMaxLength 100K\nOfficialDatabaseOnly no\n",
            database.display(),
            socket.display()
        ),
    )
    .unwrap();
    give_away(folder);
    let start = || {
        let mut command = unprivileged(&clamd, folder);
        command.args(["-F", "-c"]).arg(folder.join("clamd.conf"));
        Server::start(command, port)
    };
    let server = start();
    let acl = "  deny malware = */tmo=3s\n    message = found $malware_name\n";
    let by_tcp = format!("av_scanner = clamd:127.0.0.1 {port}");
    let dead = free_port();
    let ways = [
        by_tcp.clone(),
        format!("av_scanner = clamd:127.0.0.1 {port}:local"),
        format!("av_scanner = clamd:{}", socket.display()),
        format!("av_scanner = clamd:127.0.0.1 {dead}:127.0.0.1 {port} retry=1s"),
    ];
    for way in &ways {
        let config = configured(folder, way, acl);
        has(&submit(&config, folder, "this is unwelcome-content-7 indeed"), &["550 found Own.Test.One"]);
        has(&submit(&config, folder, "this is welcome"), &["250 OK id="]);
    }
    let config = configured(folder, &by_tcp, acl);
    let long = format!("{}unwelcome-content-7", "0123456789\r\n".repeat(20_000));
    has(&submit(&config, folder, &long), &[DEFERRED, "malware acl condition: clamd"]);
    let passing = configured(folder, &by_tcp, "  deny malware = */tmo=1s/defer_ok\n    message = found");
    server.pause();
    has(&submit(&passing, folder, "unwelcome-content-7"), &["250 OK id=", "Connection timed out"]);
    let config =
        configured(folder, &by_tcp, "  deny malware = */tmo=1s\n    message = found $malware_name\n");
    has(&submit(&config, folder, "welcome"), &[DEFERRED, "Connection timed out"]);
    server.end("KILL");
    has(&submit(&config, folder, "welcome"), &[DEFERRED, "Connection refused", "all servers failed"]);
    let _server = start();
    let config = configured(folder, &by_tcp, acl);
    has(&submit(&config, folder, "unwelcome-content-7"), &["550 found Own.Test.One"]);
    assert_eq!(std::fs::read_dir(folder.join("spool/scan")).unwrap().count(), 0);
}

/// A scanner of several processes. Dropped, it is asked to end, and all of them are gone.
pub(super) struct Group(Server);

impl Group {
    pub(super) fn start(mut command: Command, port: u16) -> Group {
        Group(Server::start(std::mem::replace(command.process_group(0), Command::new("true")), port))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.child.id());
        let _gone = Command::new("kill").args(["-TERM", "--", &group]).status();
        let _gone = self.0.child.wait();
        let _gone = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    }
}

/// The string that every spam scanner must call spam.
pub(super) const GTUBE: &str = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X";
const SPAM_ACL: &str = "  warn spam = nobody:true\n    logwrite = score $spam_score_int action $spam_action $spam_bar\n  \
                        deny spam = nobody\n    message = spam $spam_score\n";

/// What holds for both: the message that it knows, another one; a scanner that hangs, is gone, and comes back.
fn spam_scanner(folder: &Path, options: &str, mut command: impl FnMut() -> Command, port: u16) {
    let mut start = || Group::start(command(), port);
    let server = start();
    let config = configured(folder, options, SPAM_ACL);
    has(&submit(&config, folder, GTUBE), &["550 spam ", " action reject ++++"]);
    let answer = submit(&config, folder, "Good morning,\r\nnothing to be seen here.");
    has(&answer, &["250 OK id=", " action no action"]);
    let names = std::fs::read_dir(folder.join("spool/input")).unwrap().flatten().map(|entry| entry.path());
    let header = names.filter(|path| path.display().to_string().ends_with("-H")).last().unwrap();
    has(&std::fs::read_to_string(header).unwrap(), &["\n-spam_score_int ", "\n-spam_bar "]);
    // Somebody listens, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let hanging = format!("spamd_address = 127.0.0.1 {port} tmo=1s");
    let variant = if options.contains("rspamd") { " variant=rspamd" } else { "" };
    let hanging = configured(folder, &format!("{hanging}{variant}"), SPAM_ACL);
    has(&submit(&hanging, folder, GTUBE), &[DEFERRED, "Connection timed out"]);
    drop(server);
    let config = configured(folder, options, SPAM_ACL);
    has(&submit(&config, folder, GTUBE), &[DEFERRED, "all spamd servers failed"]);
    let passing = configured(folder, options, "  deny spam = nobody/defer_ok");
    has(&submit(&passing, folder, GTUBE), &["250 OK id=", "all spamd servers failed"]);
    let server = start();
    let config = configured(folder, options, SPAM_ACL);
    has(&submit(&config, folder, GTUBE), &["550 spam "]);
    drop(server);
}

pub(super) fn spamd() {
    let Some(spamd) = program("spamd").filter(|_| is_root()) else { return };
    let folder = folder();
    let folder = folder.path();
    let (port, dead) = (free_port(), free_port());
    let command = || {
        let mut command = unprivileged(&spamd, folder);
        command.args(["--local", "--nouser-config", "--listen=127.0.0.1", "--max-children=1"]);
        command.args(["--syslog=stderr", &format!("--port={port}")]);
        command
    };
    let options = format!("spamd_address = 127.0.0.1 {dead} pri=9 : 127.0.0.1 {port} tmo=20s");
    spam_scanner(folder, &options, command, port);
}

/// An Rspamd with one worker and no module, below a folder.
pub(super) fn rspamd_configuration(folder: &Path, port: u16) -> String {
    let top = folder.display();
    format!(
        "options {{ pidfile = \"{top}/pid\"; filters = \"\"; tempdir = \"{top}\"; hs_cache_dir = \"{top}\";\n\
         dns {{ nameserver = [\"127.0.0.1:1\"]; timeout = 0.1s; retransmits = 0; }}\n\
         url_tld = \"{top}/tld\"; control_socket = \"{top}/control mode=0600\"; }}\n\
         logging {{ type = \"file\"; filename = \"{top}/log\"; level = \"warning\"; }}\n\
         worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; }}\n\
         actions {{ reject = 15; add_header = 6; greylist = 4; }}\n"
    )
}

pub(super) fn rspamd() {
    let Some(rspamd) = program("rspamd").filter(|_| is_root()) else { return };
    let folder = folder();
    let folder = folder.path();
    let port = free_port();
    std::fs::write(folder.join("rspamd.conf"), rspamd_configuration(folder, port)).unwrap();
    // The whole list of top-level domains takes long to compile.
    std::fs::write(folder.join("tld"), "ex\ncom\n").unwrap();
    give_away(folder);
    let command = || {
        let mut command = unprivileged(&rspamd, folder);
        command.args(["-f", "-c"]).arg(folder.join("rspamd.conf"));
        command
    };
    let options = format!("spamd_address = 127.0.0.1 {port} variant=rspamd tmo=20s");
    spam_scanner(folder, &options, command, port);
}

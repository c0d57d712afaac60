//! `make run`, as a newcomer meets it: what the script prints is enough to send a message and to find it, as root and as a user.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::place;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    let run = |as_user: bool| {
        move || {
            a_message_arrives(as_user);
            Ok(())
        }
    };
    vec![Trial::test("quickstart::as_started", run(false)), Trial::test("quickstart::as_a_user", run(true))]
}

/// The script while it runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(i32::MAX));
        let _ended = kill(pid, Signal::SIGTERM);
        let _status = self.0.wait();
    }
}

/// `as_user`: as nobody, which only root can become; others run the script as themselves both times.
fn a_message_arrives(as_user: bool) {
    let folder = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let is_root = nix::unistd::geteuid().is_root();
    let mut command = if as_user && is_root {
        // Where the tree lies nobody may be unable to look.
        let tree = folder.path().join("tree");
        for part in ["scripts", "examples"] {
            copy(&place::source().join(part), &tree.join(part));
        }
        copy_file(&place::oxim(), &tree.join("oxim"));
        std::os::unix::fs::chown(&tree, Some(65534), Some(65534)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(tree.join("scripts/quickstart")).env("OXIM_BINARY", tree.join("oxim")).current_dir(&tree);
        command.env("OXIM_QUICKSTART", tree.join("run"));
        command
    } else {
        let mut command = Command::new(place::source().join("scripts/quickstart"));
        command.env("OXIM_BINARY", place::oxim()).env("OXIM_QUICKSTART", folder.path().join("run"));
        command
    };
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut child = command.env("OXIM_PORT", free.to_string()).stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let _running = Running(child);
    let (mut port, mut maildir) = (None, None);
    for line in output.lines().map_while(Result::ok) {
        let after = |mark: &str| {
            line.split_once(mark).map(|(_, rest)| rest.split(['.', ' ']).next().unwrap().to_owned())
        };
        port = port.or_else(|| after("127.0.0.1 port ").and_then(|text| text.parse::<u16>().ok()));
        maildir = maildir.or_else(|| {
            Some(PathBuf::from(line.strip_prefix("and find it in ")?.split_once(". The log is")?.0))
        });
        if maildir.is_some() {
            break;
        }
    }
    send(port.expect("a port is told"));
    let maildir = maildir.expect("a folder is told");
    let text = in_time("the message to arrive", || only_file(&maildir));
    assert!(text.contains("\nIt works.\n") && text.contains("Envelope-to: anybody@localhost"), "{text}");
}

/// The message, as any client sends it.
fn send(port: u16) {
    let stream = in_time("the port to answer", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut client = stream;
    let commands = [
        "",
        "HELO client.example\r\n",
        "MAIL FROM:<you@example.org>\r\n",
        "RCPT TO:<anybody@localhost>\r\n",
        "DATA\r\n",
        "Subject: hello\r\n\r\nIt works.\r\n.\r\n",
        "QUIT\r\n",
    ];
    for command in commands {
        client.write_all(command.as_bytes()).unwrap();
        let mut reply = String::new();
        replies.read_line(&mut reply).unwrap();
        assert!(reply.starts_with(['2', '3']), "{command:?}: {reply}");
    }
}

fn only_file(folder: &Path) -> Option<String> {
    let entry = fs::read_dir(folder).ok()?.next()?.ok()?;
    Some(fs::read_to_string(entry.path()).unwrap())
}

fn in_time<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            copy_file(&entry.path(), &to)
        }
    }
}

/// A copy that everybody can read, and run if the original can be run.
fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
    let mode = fs::metadata(from).unwrap().permissions().mode();
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o444 | (mode & 0o100) >> 6)).unwrap();
}

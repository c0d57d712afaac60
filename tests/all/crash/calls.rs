//! One delivery of three recipients, killed at every system call that has an effect: nothing is lost, and what comes twice had
//! been taken, and had not been recorded yet.
//!
//! strace counts the calls of a delivery that is left alone; then there is a delivery for each of them, in which the process
//! that makes that call dies in it. The queue run that follows delivers the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::stand::{PATIENCE, own};
use super::{Chance, is_full, is_root, skip};
use crate::place;

/// Calls by which something becomes known to the disk, to another process, or to us.
const CALLS: &str = "write,writev,pwrite64,pwritev,sendto,sendmsg,recvfrom,recvmsg,read,connect,openat,openat2,rename,\
renameat,renameat2,unlink,unlinkat,link,linkat,mkdir,mkdirat,fsync,fdatasync,syncfs,ftruncate,fcntl,shutdown,execve,fchown,fchmod";
/// How many of them a sample dies in.
const SAMPLE: usize = 8;

/// Who gets the message, and how many may get it twice: one delivery goes on at a time, but for mailboxes, whose files are
/// given their names together.
struct Recipients {
    names: [&'static str; 3],
    twice_max: usize,
}

static MIXED: Recipients =
    Recipients { names: ["u1@local.test", "u2@far.test", "u3@far.test"], twice_max: 1 };
static LOCAL: Recipients =
    Recipients { names: ["u1@local.test", "u2@local.test", "u3@local.test"], twice_max: 3 };

/// A server that takes everything, and knows what it took.
struct Server {
    port: u16,
    taken: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let taken = Arc::new(Mutex::new(Vec::new()));
        let ledger = Arc::clone(&taken);
        // Ends with the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ledger = Arc::clone(&ledger);
                std::thread::spawn(move || drop(serve(stream, &ledger)));
            }
        });
        Server { port, taken }
    }
}

fn serve(stream: TcpStream, taken: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut out = stream.try_clone()?;
    let mut recipient = String::new();
    let mut is_data = false;
    out.write_all(b"220 far.test ESMTP\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if is_data {
            if line == "." {
                is_data = false;
                // What is answered counts as taken, whether the answer arrives or not.
                taken.lock().unwrap().push(recipient.clone());
                out.write_all(b"250 taken\r\n")?;
            }
            continue;
        }
        if let Some(rest) = line.strip_prefix("RCPT TO:<") {
            recipient = rest.split('>').next().unwrap_or_default().to_owned();
        }
        is_data = line == "DATA";
        let reply: &[u8] = if is_data { b"354 go\r\n" } else { b"250 ok\r\n" };
        out.write_all(reply)?;
    }
    Ok(())
}

/// A place to deliver in, and the server.
struct Ground {
    top: tempfile::TempDir,
    server: Server,
    recipients: &'static Recipients,
}

impl Ground {
    fn lay_out(recipients: &'static Recipients) -> Ground {
        let top = tempfile::Builder::new().prefix("oxim-calls").tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["spool", "log", "mail"] {
            let folder = top.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            own(&folder);
        }
        let server = Server::start();
        let (at, port) = (top.path().display(), server.port);
        let text = format!(
            "spool_directory = {at}/spool\nlog_file_path = {at}/log/%slog\nprimary_hostname = mta.test\nkeep_environment =\n\
             exim_user = mail\nexim_group = mail\nlocal_interfaces =\nremote_max_parallel = 1\n\
             begin routers\nfar:\n  driver = manualroute\n  domains = far.test\n  route_list = * 127.0.0.1\n  self = send\n\
             \x20 transport = far\nlocal:\n  driver = accept\n  local_parts = u1 : u2 : u3\n  transport = maildir\nbegin transports\nfar:\n  driver = smtp\n\
             \x20 port = {port}\n  max_rcpt = 1\n  hosts_try_chunking =\nmaildir:\n  driver = appendfile\n  directory = {at}/mail/$local_part_data\n  maildir_format\n\
             \x20 create_directory\n  user = mail\n  group = mail\nbegin retry\n* * F,1h,1s\n"
        );
        fs::write(top.path().join("exim.conf"), text).unwrap();
        Ground { top, server, recipients }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }

    fn oxim(&self, words: &[&str]) -> Command {
        let mut command = Command::new(place::oxim());
        command.arg("-C").arg(self.path("exim.conf")).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Puts the message into the queue, where nothing of an earlier one is left.
    fn submit(&self) -> String {
        self.server.taken.lock().unwrap().clear();
        fs::remove_dir_all(self.path("mail")).unwrap();
        fs::create_dir(self.path("mail")).unwrap();
        own(&self.path("mail"));
        let mut command = self.oxim(&["-odq", "-f", "a@s.test"]);
        let mut child = command.args(self.recipients.names).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"Subject: x\n\ntext\n").unwrap();
        assert!(child.wait().unwrap().success());
        let ids = self.names("-H");
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids[0].clone()
    }

    /// Files of the queue with such an end, without it.
    fn names(&self, end: &str) -> Vec<String> {
        let found = fs::read_dir(self.path("spool/input")).unwrap().flatten();
        found
            .filter_map(|e| e.file_name().to_str().and_then(|n| n.strip_suffix(end)).map(str::to_owned))
            .collect()
    }

    /// The delivery under strace, with a rule for it. What strace wrote is returned.
    fn deliver(&self, id: &str, rule: Option<&str>) -> String {
        let trace = self.path("trace");
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-s", "0", "-e", &format!("trace={CALLS}"), "-o"]).arg(&trace);
        if let Some(rule) = rule {
            command.arg(format!("--inject={rule}"));
        }
        command.arg(place::oxim()).arg("-C").arg(self.path("exim.conf")).args(["-Mc", id]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap();
        fs::read_to_string(trace).unwrap_or_default()
    }

    /// How often each recipient has the message.
    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let taken = self.server.taken.lock().unwrap().clone();
        let count = |name: &&'static str| match name.strip_suffix("@local.test") {
            Some(mailbox) => {
                let new = self.path(&format!("mail/{mailbox}/new"));
                fs::read_dir(new).map_or(0, |files| files.flatten().count())
            }
            None => taken.iter().filter(|taken| taken == name).count(),
        };
        self.recipients.names.iter().map(|name| (*name, count(name))).collect()
    }

    /// The recipients that the spool has as done.
    fn recorded(&self, id: &str) -> Vec<&'static str> {
        let read = |end: &str| fs::read_to_string(self.path(&format!("spool/input/{id}{end}")));
        let (header, done) = (read("-H"), read("-J").unwrap_or_default());
        let Ok(header) = header else { return self.recipients.names.to_vec() };
        // In -H, non-recipients stand in a tree before the recipients, with two letters and a space in front.
        let is_done = |name: &&&str| {
            done.lines().any(|line| line == **name)
                || header.lines().any(|line| line.get(3..) == Some(**name) && line.as_bytes()[2] == b' ')
        };
        self.recipients.names.iter().filter(is_done).copied().collect()
    }

    /// Queue runs until nothing is left.
    fn finish(&self) {
        let end = Instant::now() + PATIENCE;
        while !self.names("-H").is_empty() {
            assert!(Instant::now() < end, "the queue does not become empty: {}", self.log());
            self.oxim(&["-qff"]).status().unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log/mainlog")).unwrap_or_default()
    }

    /// One delivery that dies, and what must be true of it.
    fn die_at(&self, call: &str, number: usize) {
        let id = self.submit();
        self.deliver(&id, Some(&format!("{call}:signal=KILL:when={number}")));
        // An agent that was on its way goes on for a moment.
        settle(self.top.path());
        let (before, recorded) = (self.counts(), self.recorded(&id));
        self.finish();
        let place = format!("{call} {number}: {before:?}, recorded {recorded:?}, then {:?}", self.counts());
        let mut twice = 0;
        for (name, count) in self.counts() {
            assert!(count >= 1, "lost for {name} at {place}\n{}", self.log());
            assert!(count <= 2, "more than twice for {name} at {place}\n{}", self.log());
            if count == 2 {
                twice += 1;
                assert!(
                    before[name] == 1 && !recorded.contains(&name),
                    "twice for {name} at {place}\n{}",
                    self.log()
                );
            }
        }
        assert!(twice <= self.recipients.twice_max, "at {place}\n{}", self.log());
    }
}

/// Waits until no process has anything to do with a folder.
fn settle(folder: &Path) {
    let end = Instant::now() + PATIENCE;
    let text = folder.display().to_string();
    let is_at_work = || {
        fs::read_dir("/proc").unwrap().flatten().any(|process| {
            let of = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
            process.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())
                && String::from_utf8_lossy(&of("cmdline")).contains(&text)
        })
    };
    while is_at_work() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The calls of a trace from the first that names the message on: the name of each and its number among those of its process.
fn effects(trace: &str) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut all = Vec::new();
    for line in trace.lines().filter(|line| !line.contains("resumed>") && line.contains('(')) {
        let Some((process, rest)) = line.split_once(' ') else { continue };
        let call = rest.trim_start().split('(').next().unwrap_or_default().to_owned();
        let count = counts.entry((process.to_owned(), call.clone())).or_default();
        *count += 1;
        all.push((call, *count));
    }
    all.sort();
    all.dedup();
    all
}

pub(super) fn one_delivery_dies_everywhere() {
    dies_everywhere(&MIXED);
}

pub(super) fn mailboxes_of_one_user_die_everywhere() {
    dies_everywhere(&LOCAL);
}

fn dies_everywhere(recipients: &'static Recipients) {
    if !is_root() || !super::system(&["strace", "-V"]) {
        return skip("no root, or no strace");
    }
    let ground = Ground::lay_out(recipients);
    let id = ground.submit();
    let trace = ground.deliver(&id, None);
    assert!(ground.counts().values().all(|count| *count == 1), "{:?}\n{}", ground.counts(), ground.log());
    ground.finish();
    let mut all = effects(&trace);
    assert!(all.len() > 50, "{trace}");
    if !is_full() {
        let mut chance = Chance::new(77);
        // What the start of the program does is the same everywhere; a sample is of the calls that make a difference.
        all.retain(|(call, _)| !matches!(call.as_str(), "read" | "openat" | "fcntl" | "execve"));
        while all.len() > SAMPLE {
            let at = usize::try_from(chance.below(all.len() as u64)).unwrap();
            all.swap_remove(at);
        }
    }
    for (call, number) in all {
        ground.die_at(&call, number);
    }
}

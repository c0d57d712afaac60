//! The process inside the namespaces: plays cases to one program, each with an empty spool and empty logs, and tells what came
//! of them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::case::{ALIASES, Case, OTHERS, Step, Way};
use crate::scenario::pattern::Names;
use crate::scenario::stage::{USERS, lay, shell};
use crate::scenario::{Program, dns};

/// How long a program may be silent.
const PATIENCE: Duration = Duration::from_secs(8);
const PORT: &str = "127.0.0.1:2525";

/// What is done in one process.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) cases: Vec<Case>,
    pub(super) program: Program,
    pub(super) work: PathBuf,
}

/// Names of the outside world.
const ZONE: &str = "client.test.ex A 192.0.2.99\n99.2.0.192.in-addr.arpa PTR client.test.ex\n\
    localhost A 127.0.0.1\n1.0.0.127.in-addr.arpa PTR localhost\n\
    98.2.0.192.in-addr.arpa PTR other.test.ex\nother.test.ex A 192.0.2.1\n\
    96.2.0.192.in-addr.arpa SERVFAIL\nremote.ex MX 10 mail.remote.ex\nmail.remote.ex A 192.0.2.200\n\
    99.2.0.192.bl.ex A 127.0.0.2\n99.2.0.192.bl.ex TXT listed for a test\n";

/// Entry point of `--dialogues`.
pub(crate) fn main(order_file: &str) {
    let order: Order = serde_json::from_slice(&fs::read(order_file).unwrap()).unwrap();
    let (_, mut binary) = lay(&order.work, order.program);
    if order.program == Program::Oxim {
        // Ordinary users call it without a daemon that would take their messages. The file itself may be shared.
        let own = binary.with_extension("suid");
        fs::copy(&binary, &own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o4755)).unwrap();
        binary = own;
    }
    shell("ip addr add 192.0.2.99/32 dev lo; ip addr add 192.0.2.97/32 dev lo");
    dns::start(ZONE.to_owned());
    fs::write("/mnt/etc/aliases", ALIASES).unwrap();
    fs::write("/mnt/etc/others", OTHERS).unwrap();
    let outcomes: Vec<String> =
        order.cases.iter().map(|case| outcome(case, order.program, &binary)).collect();
    fs::write(order.work.join("outcomes.json"), serde_json::to_vec(&outcomes).unwrap()).unwrap();
}

/// What becomes of a case: what was answered, the logs, the spool.
fn outcome(case: &Case, program: Program, binary: &Path) -> String {
    for folder in ["/mnt/spool", "/mnt/log"] {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
        }
    }
    fs::write("/mnt/etc/exim4.conf", case.configuration(program == Program::Oxim)).unwrap();
    let mut text = match case.way {
        Way::Daemon => with_daemon(case, binary),
        Way::Pipes | Way::Input => with_pipes(case, binary),
    };
    for log in ["mainlog", "rejectlog", "paniclog"] {
        let lines = fs::read(Path::new("/mnt/log").join(log)).unwrap_or_default();
        text.push_str(&format!("[{log}]\n{}", shown(&lines)));
    }
    let mut names = Names::default();
    let text = without_sizes_of_complaints(&names.generalise(&text));
    let mut messages: Vec<String> =
        spooled().into_iter().map(|text| without_freezing_time(&names.generalise(&text))).collect();
    messages.sort();
    text + &messages.concat()
}

/// What is told to a sender whose message could not be taken differs in its words, so in its size.
fn without_sizes_of_complaints(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" S=") {
        Some((start, _)) if line.contains(" <= <> ") && line.contains("P=local") => {
            format!("{start} S=<size>\n")
        }
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn without_freezing_time(text: &str) -> String {
    let lines =
        text.split('\n').map(|line| if line.starts_with("-frozen ") { "-frozen <time>" } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// What a complaint says about itself; the copy in it has what its words are about.
fn without_words(header: &str) -> String {
    let told = ["-body_zerocount ", "-body_linecount ", "-max_received_linelength ", "References: "];
    let mut is_left_out = false;
    let kept = header.lines().filter(|line| {
        // A folded line goes with the one that it belongs to.
        is_left_out = told.iter().any(|part| line.contains(part)) || (is_left_out && line.starts_with('\t'));
        !is_left_out
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// Bytes as text: what is no UTF-8 is escaped.
fn shown(bytes: &[u8]) -> String {
    bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(&chunk.valid().replace("\r\n", "\n").replace('\r', "\\r").replace('\0', "\\0"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        text
    })
}

/// The messages in the spool, header file and data file of each together.
fn spooled() -> Vec<String> {
    let entries = fs::read_dir("/mnt/spool/input").into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path().to_string_lossy().into_owned());
    let messages = paths.filter_map(|path| path.strip_suffix("-H").map(str::to_owned));
    messages
        .map(|message| {
            let read = |end: &str| shown(&fs::read(message.clone() + end).unwrap_or_default());
            let (header, data) = (read("-H"), read("-D"));
            let is_complaint = header.contains("Auto-Submitted: auto-replied") && header.contains("\n<>\n");
            let text = if is_complaint { without_words(&header) } else { header + &data };
            // Two signs mark what is tainted, which only the reader's rights depend on.
            format!("[message]\n{}", text.replace("\n--", "\n-"))
        })
        .collect()
}

fn command(case: &Case, binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.args(&case.arguments).current_dir("/mnt").env_clear();
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TZ", "UTC").env("LC_ALL", "C");
    if let Some((_, id)) = USERS.iter().find(|(name, _)| case.user.as_deref() == Some(name)) {
        command.uid(*id).gid(*id);
    }
    command
}

fn with_pipes(case: &Case, binary: &Path) -> String {
    let mut command = command(case, binary);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let output = replies_of(child.stdout.take().unwrap());
    let errors = replies_of(child.stderr.take().unwrap());
    let mut said = play(case, input, &output);
    let mut complaints = Vec::new();
    if case.arguments.iter().all(|word| word != "-bh") {
        read_on(&errors, &mut complaints, usize::MAX);
    }
    said.push_str(&format!("[error]\n{}", shown(&complaints)));
    let status = await_end(&mut child);
    format!("{said}[exit {status}]\n")
}

/// The exit code, or what else became of the process.
fn await_end(child: &mut Child) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().map_or_else(|| status.to_string(), |code| code.to_string());
        }
        if Instant::now() > end {
            let _ = child.kill();
            return format!("none, {}", child.wait().unwrap());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn with_daemon(case: &Case, binary: &Path) -> String {
    let log = fs::File::create("/mnt/daemon.out").unwrap();
    let mut command = Command::new(binary);
    command.args(["-bdf", "-oX", "2525"]).current_dir("/mnt").env_clear().env("TZ", "UTC");
    let mut daemon =
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    let connection = loop {
        match TcpStream::connect(PORT) {
            Ok(connection) => break Some(connection),
            Err(_) if Instant::now() > end || daemon.try_wait().unwrap().is_some() => break None,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let said = match connection {
        Some(connection) => {
            let replies = replies_of(connection.try_clone().unwrap());
            play(case, Closing(connection), &replies)
        }
        None => "<no daemon>\n".to_owned(),
    };
    // The process of a session logs its end after its client has seen it.
    std::thread::sleep(Duration::from_millis(50));
    let _ = Command::new("kill").arg(daemon.id().to_string()).status();
    await_end(&mut daemon);
    said
}

/// A connection whose other side is told when nothing more will be said.
struct Closing(TcpStream);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Write);
    }
}

fn replies_of(mut source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = source.read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Says everything and gives back what was answered.
fn play(case: &Case, mut output: impl Write, input: &Receiver<Vec<u8>>) -> String {
    let mut said = Vec::new();
    let mut awaited = usize::from(case.way != Way::Input);
    for Step { bytes, replies, after } in &case.steps {
        if !read_on(input, &mut said, awaited) {
            break;
        }
        if !is_due(after, &said) {
            continue;
        }
        if output.write_all(bytes).and_then(|()| output.flush()).is_err() {
            break;
        }
        awaited = replies + ends_of_replies(&said);
    }
    if awaited < usize::MAX {
        read_on(input, &mut said, awaited);
    }
    drop(output);
    read_on(input, &mut said, usize::MAX);
    shown(&said)
}

/// Whether what a step waits for has come: nothing, a reply, or, for CHUNKING, the offer of it.
fn is_due(after: &str, said: &[u8]) -> bool {
    match after {
        "CHUNKING" => {
            let is_hello = |line: &&[u8]| line.windows(7).any(|part| part == b" Hello ");
            let greeted =
                lines(said).collect::<Vec<_>>().into_iter().rev().take_while(|line| !is_hello(line));
            greeted
                .into_iter()
                .any(|line| line.starts_with(b"250-CHUNKING") || line.starts_with(b"250 CHUNKING"))
        }
        _ => last_reply(said).starts_with(after.as_bytes()),
    }
}

fn lines(said: &[u8]) -> impl Iterator<Item = &[u8]> {
    said.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"))
}

fn is_end_of_reply(line: &&[u8]) -> bool {
    line.len() > 3 && line[..3].iter().all(u8::is_ascii_digit) && line[3] != b'-'
}

fn ends_of_replies(said: &[u8]) -> usize {
    lines(said).filter(is_end_of_reply).count()
}

fn last_reply(said: &[u8]) -> &[u8] {
    lines(said).filter(is_end_of_reply).last().unwrap_or_default()
}

/// Reads until so many replies have come in all; false if the other side has ended or fallen silent.
fn read_on(input: &Receiver<Vec<u8>>, said: &mut Vec<u8>, replies: usize) -> bool {
    while ends_of_replies(said) < replies {
        match input.recv_timeout(PATIENCE) {
            Ok(bytes) => said.extend(bytes),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {
                said.extend(b"<silence>\n");
                return false;
            }
        }
    }
    true
}

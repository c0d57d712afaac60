//! Very many messages that wait: the daemon starts at once, new mail is as fast as without them, and each costs less than a
//! kilobyte of memory.
//!
//! 2,000 in a sample, a million under `OXIM_PROOF=full` (eight gigabytes below the folder for temporary files, removed again);
//! `OXIM_CROWD` says another number, `OXIM_BINARY` another program, such as an optimised one.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use oxim_base::clock::Stamp;
use oxim_mail::message_id::{Form, Generator, MessageId};

use super::amount;
use super::stand::{Client, PATIENCE, Plan, Stand, own};
use crate::place;

/// Memory for one message, and what a daemon without any may take more on a bad day.
const BYTES_EACH_MAX: u64 = 1_000;
const BYTES_MORE: u64 = 24_000_000;

fn number() -> usize {
    let wanted = std::env::var("OXIM_CROWD").ok().and_then(|n| n.parse().ok());
    wanted.unwrap_or_else(|| amount(2_000, 1_000_000))
}

/// One message, by the program itself; then copies of its files with other ids and recipients.
fn fill(stand: &Stand, count: usize) {
    let mut child = Command::new(place::oxim())
        .arg("-C")
        .arg(stand.config())
        .args(["-odq", "-f", "a@s.test", "u0000000@far.test"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: x\n\nbody\n").unwrap();
    assert!(child.wait().unwrap().success());
    let input = stand.spool().join("input");
    let find = |end: &str| {
        let folders = fs::read_dir(&input).unwrap().flatten().filter(|e| e.file_name().len() == 1);
        let mut files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
        let file = files.find(|f| f.file_name().to_string_lossy().ends_with(end)).unwrap();
        (
            file.file_name().to_string_lossy().trim_end_matches(end).to_owned(),
            fs::read_to_string(file.path()).unwrap(),
        )
    };
    let ((id, header), (_, data)) = (find("-H"), find("-D"));
    // They have been tried before.
    let header = header.replace("-deliver_firsttime\n", "");
    let generator = Generator::new(std::process::id(), None, Form::Long);
    for number in 1..count {
        let new = generator.next(Stamp::now());
        let text =
            header.replace(&id, new.as_str()).replace("u0000000@far.test", &format!("u{number:07}@far.test"));
        put(&input, &new, "-D", &data.replace(&id, new.as_str()));
        put(&input, &new, "-H", &text);
    }
    assert!(super::system(&["chown", "-R", "mail:mail", input.to_str().unwrap()]) || !super::is_root());
}

fn put(input: &Path, id: &MessageId, end: &str, text: &str) {
    let folder = input.join(id.split_letter().to_string());
    let path = folder.join(format!("{id}{end}"));
    if fs::write(&path, text).is_err() {
        fs::create_dir_all(&folder).unwrap();
        own(&folder);
        fs::write(path, text).unwrap();
    }
}

/// Memory that the daemon's processes have for themselves.
fn memory(stand: &Stand) -> u64 {
    let group = stand.pid().to_string();
    let of = |process: &Path| -> Option<u64> {
        let status = fs::read_to_string(process.join("stat")).ok()?;
        let mut fields = status.rsplit_once(')')?.1.split_whitespace();
        (fields.nth(2)? == group).then_some(())?;
        let text = fs::read_to_string(process.join("status")).ok()?;
        let line = text.lines().find(|line| line.starts_with("RssAnon:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(|process| of(&process.path())).sum()
}

/// How long a message takes from its first command to the Maildir: the middle one of some.
fn time_of_new_mail(stand: &Stand) -> Duration {
    let mut times: Vec<Duration> = (0..15)
        .map(|_| {
            let before = delivered(stand);
            let began = Instant::now();
            let mut client = Client::connect(stand.address).unwrap();
            client.hello().unwrap();
            assert_eq!(client.send(b"Subject: new\r\n\r\nnew\r\n").unwrap().code, 250);
            let end = began + PATIENCE;
            while delivered(stand) == before {
                assert!(Instant::now() < end, "new mail waits: {}", stand.trouble());
                std::thread::sleep(Duration::from_millis(1));
            }
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn delivered(stand: &Stand) -> usize {
    fs::read_dir(stand.mail()).map_or(0, |files| files.flatten().count())
}

fn is_run_over(stand: &Stand) -> bool {
    fs::read_to_string(stand.log("mainlog")).is_ok_and(|log| log.contains("End queue run"))
}

pub(super) fn waiting_mail_does_not_slow_new_mail() {
    let count = number();
    let main = "split_spool_directory\nlog_selector = -retry_defer\n";
    let mut stand = Stand::start(&Plan { delivers: true, main, every: "1h", ..Plan::default() });
    let quiet = time_of_new_mail(&stand);
    let empty = memory(&stand);
    stand.stop();
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let routers = "begin routers\nfar:\n  driver = manualroute\n  domains = far.test\n  route_list = * 127.0.0.1\n  self = send\n  transport = far\n";
    let transports = format!("begin transports\nfar:\n  driver = smtp\n  port = {port}\n");
    let text = fs::read_to_string(stand.config()).unwrap();
    let text = text
        .replace("begin routers\n", routers)
        .replace("begin transports\n", &transports)
        .replace("* * F,1h,1s", "* * F,9d,5h");
    fs::write(stand.config(), text).unwrap();
    fill(&stand, count);
    fs::remove_file(stand.log("mainlog")).unwrap();
    let began = Instant::now();
    stand.launch();
    let start = began.elapsed();
    let busy = time_of_new_mail(&stand);
    let end = Instant::now() + PATIENCE + Duration::from_millis(u64::try_from(count).unwrap() * 5);
    while !is_run_over(&stand) {
        assert!(Instant::now() < end, "the queue run does not end: {}", stand.trouble());
        std::thread::sleep(Duration::from_millis(50));
    }
    let run = began.elapsed();
    assert!(
        !stand.trouble().contains("Format error"),
        "the copies are damaged: {}",
        stand.log("paniclog").display()
    );
    let later = time_of_new_mail(&stand);
    let each = memory(&stand).saturating_sub(empty) / u64::try_from(count).unwrap();
    let all = format!(
        "{count} messages: start {start:?}, whole queue run {run:?}, {each} bytes each; new mail {quiet:?} without them, {busy:?} in the queue run, {later:?} after it"
    );
    eprintln!("{all}");
    // How long a sample takes on a machine with other things to do says nothing.
    if super::is_full() {
        assert!(start < Duration::from_secs(5), "{all}");
        let most = quiet * 3 + Duration::from_millis(100);
        assert!(busy < most && later < most, "{all}");
    }
    assert!(
        each * u64::try_from(count).unwrap() < BYTES_EACH_MAX * u64::try_from(count).unwrap() + BYTES_MORE,
        "{all}"
    );
    stand.kill();
}

//! The clock is set, by a day and by ten years, there and back, while mail waits for a server that does not answer: it is not
//! tried more often, it does not bounce, and it goes when the server is there.
//!
//! libfaketime gives the daemon its clock; the clock that nobody can set is left alone.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use oxim_base::clock::{Stamp, Zone};

use super::stand::{Client, PATIENCE, Plan, Stand};
use super::{amount, skip};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
/// How long each time lasts.
const PAUSE: Duration = Duration::from_millis(2_500);

fn log(stand: &Stand) -> String {
    fs::read_to_string(stand.log("mainlog")).unwrap_or_default()
}

fn count(stand: &Stand, text: &str) -> usize {
    log(stand).matches(text).count()
}

/// How often the server was tried.
fn tries(stand: &Stand) -> usize {
    count(stand, "== someone@far.test R=far T=far defer (111)")
}

fn send(stand: &Stand, recipient: &str) {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    for line in ["MAIL FROM:<sender@client.test>", &format!("RCPT TO:<{recipient}>"), "DATA"] {
        assert!(client.command(line).unwrap().code < 400, "{line}");
    }
    client.write(b"Subject: x\r\n\r\nx\r\n.\r\n").unwrap();
    assert_eq!(client.reply().unwrap().code, 250);
}

fn wait(stand: &Stand, what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what}: {}\n{}", log(stand), stand.trouble());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Takes one message for good.
fn take_one(listener: &TcpListener) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = stream.try_clone().unwrap();
    let mut is_data = false;
    out.write_all(b"220 far.test ESMTP\r\n").unwrap();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { return };
        if is_data && line != "." {
            continue;
        }
        let is_over = is_data;
        is_data = line == "DATA";
        let reply: &[u8] = if is_data { b"354 go\r\n" } else { b"250 ok\r\n" };
        if out.write_all(reply).is_err() || is_over {
            return;
        }
    }
}

pub(super) fn a_day_and_ten_years() {
    if !Path::new(LIBRARY).exists() {
        return skip("no libfaketime");
    }
    const DAY: i64 = 86_400;
    let all = [[3_650 * DAY, 0], [-3_650 * DAY, 0], [DAY, 0], [-DAY, 0]];
    std::thread::scope(|scope| {
        for steps in all.iter().take(amount(2, 4)) {
            scope.spawn(move || a_step(steps));
        }
    });
}

fn a_step(steps: &[i64]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("faketime");
    fs::write(&file, "+0\n").unwrap();
    let preload = format!("LD_PRELOAD={LIBRARY}");
    let from = format!("FAKETIME_TIMESTAMP_FILE={}", file.display());
    let wrap =
        ["env", preload.as_str(), from.as_str(), "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let mut stand = Stand::start(&Plan { delivers: true, wrap: &wrap, ..Plan::default() });
    stand.stop();
    // A port where nobody answers yet.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let text = fs::read_to_string(stand.config()).unwrap();
    let routers = "begin routers\nfar:\n  driver = manualroute\n  domains = far.test\n  route_list = * 127.0.0.1\n  self = send\n  transport = far\n";
    let transports = format!(
        "begin transports\nfar:\n  driver = smtp\n  port = {}\n  hosts_try_chunking =\n",
        address.port()
    );
    let text = text
        // The worker is another process than the one that was started.
        .replace("keep_environment =\n", "keep_environment = LD_PRELOAD : ^FAKETIME\n")
        .replace("begin routers\n", routers)
        .replace("begin transports\n", &transports)
        .replace("* * F,1h,1s", "* * F,2h,3s");
    fs::write(stand.config(), text).unwrap();
    stand.launch();
    send(&stand, "someone@far.test");
    wait(&stand, "no first attempt", || count(&stand, "Connection refused") > 0);
    for step in steps {
        let before = tries(&stand);
        let began = Instant::now();
        set(&file, *step);
        // Mail that comes now has the date of now, or the daemon has not heard of it.
        send(&stand, "other@mta.test");
        let now = Stamp::from_seconds(Stamp::now().seconds + step);
        let day = now.strftime(Zone::Local, "%Y-%m-%d");
        let has_day = || log(&stand).lines().any(|line| line.contains(" <= ") && line.starts_with(&day));
        wait(&stand, "the clock is as it was", has_day);
        std::thread::sleep(PAUSE);
        wait(&stand, "no attempt since the clock was set", || tries(&stand) > before);
        let tries = tries(&stand) - before;
        // One every three seconds, and one more for each end of the time that was looked at.
        let most = usize::try_from(began.elapsed().as_secs() / 3).unwrap() + 2;
        assert!(tries <= most, "{tries} tries in {:?} after {step}: {}", began.elapsed(), log(&stand));
        assert!(!log(&stand).contains("**"), "bounced after {step}: {}", log(&stand));
    }
    let listener = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || take_one(&listener));
    wait(&stand, "never delivered", || count(&stand, "=> someone@far.test") == 1);
    server.join().unwrap();
    assert!(!log(&stand).contains("**"), "{}", log(&stand));
    stand.stop();
}

/// Gives the daemon another time: seconds from the true one.
fn set(file: &Path, seconds: i64) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{seconds:+}\n")).unwrap();
    fs::rename(new, file).unwrap();
}

//! The daemon's upkeep while it works: reloads with good and bad configurations, and log files renamed under load.

use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ledger::{Found, Ledger};
use super::stand::{Client, PATIENCE, Plan, Stand};

fn banner(stand: &Stand) -> String {
    Client::connect_for(stand.address, PATIENCE).unwrap().1.text
}

fn wait_until(what: &str, stand: &Stand, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what} does not come: {}", stand.trouble());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How often the daemon said in its log that it was told to reload.
fn reloads(stand: &Stand) -> usize {
    fs::read_to_string(stand.log("mainlog")).unwrap_or_default().matches("SIGHUP received").count()
}

pub(super) fn reload() {
    let mut stand = Stand::start(&Plan::default());
    stand.configure("smtp_banner = first\n");
    stand.hang_up();
    wait_until("the first banner", &stand, || banner(&stand).contains("first"));
    // A session that goes on over both reloads.
    let mut old = Client::connect(stand.address).unwrap();
    old.hello().unwrap();
    for broken in ["no_such_option = 1\n", "smtp_accept_max = many\n", "domainlist broken\n"] {
        let before = reloads(&stand);
        stand.configure(broken);
        stand.hang_up();
        wait_until("the log line", &stand, || reloads(&stand) > before);
        // The line comes before the file is read.
        std::thread::sleep(Duration::from_millis(100));
        assert!(banner(&stand).contains("first"), "{broken}: {}", banner(&stand));
    }
    fs::remove_file(stand.config()).unwrap();
    stand.hang_up();
    std::thread::sleep(Duration::from_millis(100));
    assert!(banner(&stand).contains("first"));
    stand.configure("smtp_banner = second\n");
    stand.hang_up();
    wait_until("the second banner", &stand, || banner(&stand).contains("second"));
    assert_eq!(old.send(b"Subject: over reloads\r\n\r\nagain\r\n").unwrap().code, 250);
    assert!(stand.accepts_again());
    stand.stop();
}

/// Neither if the reader finds the fault nor if it shows only when routers and ACLs are built.
pub(super) fn a_faulty_configuration_does_not_start() {
    let mut stand = Stand::start(&Plan::default());
    stand.stop();
    let good = fs::read_to_string(stand.config()).unwrap();
    let faults = [
        ("no_such_option\nbegin acl\n", "no_such_option"),
        ("begin acl\nnew:\n  accept frobnicate = 1\n", "frobnicate"),
    ];
    for (broken, fault) in faults {
        fs::write(stand.config(), good.replace("begin acl\n", broken)).unwrap();
        let output = std::process::Command::new("timeout")
            .args([
                "10",
                crate::place::oxim().to_str().unwrap(),
                "-C",
                stand.config().to_str().unwrap(),
                "-bdf",
            ])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(fault), "{said}");
    }
}

pub(super) fn log_rotation() {
    let stand = Mutex::new(Stand::start(&Plan::default()));
    let ledger = Ledger::default();
    let log = stand.lock().unwrap().log("mainlog");
    let rotated = |number: usize| log.with_extension(number.to_string());
    let rounds = super::amount(4, 40);
    ledger.storm(&stand, Duration::from_millis(5), || {
        for number in 1..=rounds {
            std::thread::sleep(Duration::from_millis(300));
            fs::rename(&log, rotated(number)).unwrap();
            let end = Instant::now() + PATIENCE;
            while !log.exists() {
                assert!(Instant::now() < end, "no new log file");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let mut stand = stand.into_inner().unwrap();
    stand.stop();
    let read = |path: std::path::PathBuf| fs::read_to_string(path).unwrap_or_default();
    let all: String = (1..=rounds).map(rotated).chain([log.clone()]).map(read).collect();
    assert!(all.ends_with('\n') && all.lines().all(|l| l.len() > 20), "a torn line");
    // Every message in the spool has its line; a client that was cut off may not have heard of its message.
    let stored = Found::in_spool(stand.spool()).whole.len();
    assert_eq!(all.lines().filter(|l| l.contains(" <= ")).count(), stored);
    assert!(stored >= ledger.acknowledged_count());
}

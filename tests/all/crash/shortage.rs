//! No space, no inodes, no descriptors: a temporary refusal, nothing lost, and recovery without a restart.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::ledger::{Found, Ledger, message};
use super::stand::{Client, PATIENCE, Plan, Reply, Stand, own};
use super::{Mounted, is_root, skip};

/// A small file system for a spool; `None` where it cannot be had.
fn with_small_disk(options: &str, run: impl FnOnce(&Path)) {
    if !is_root() {
        return skip("a small file system needs root");
    }
    let top = tempfile::Builder::new().prefix("oxim-shortage").tempdir().unwrap();
    let disk = top.path().join("disk");
    let Some(_mounted) = Mounted::mount(&disk, &["-t", "tmpfs", "-o", options, "tmpfs"]) else {
        return skip("tmpfs cannot be mounted here");
    };
    own(&disk);
    run(&disk);
}

/// Takes all the space that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// One numbered message over a connection of its own. No reply at all is a failure.
fn send(stand: &Stand, ledger: &Ledger, size: u64) -> Reply {
    let number = ledger.take();
    let (mut client, banner) = Client::connect_for(stand.address, PATIENCE).unwrap();
    if banner.code != 220 {
        return banner;
    }
    client.hello().unwrap();
    let reply = client.send(&message(number, size)).unwrap();
    ledger.note(number, &reply);
    reply
}

fn is_temporary(reply: &Reply) -> bool {
    matches!(reply.code, 421 | 451 | 452)
}

/// Sends until there is a temporary refusal.
fn send_until_refused(stand: &Stand, ledger: &Ledger, size: u64) -> Reply {
    for _ in 0..400 {
        let reply = send(stand, ledger, size);
        assert!(reply.code == 250 || is_temporary(&reply), "{reply:?}");
        if is_temporary(&reply) {
            return reply;
        }
        // The answer of the file system may be remembered for a moment.
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the shortage is not noticed");
}

fn all_is_there(mut stand: Stand, ledger: &Ledger) {
    stand.stop();
    ledger.compare(&ledger.acknowledged(), &Found::in_spool(stand.spool()), |_| false);
}

pub(super) fn full_disk() {
    with_small_disk("size=64m", |disk| {
        let stand =
            Stand::start(&Plan { spool: Some(disk), main: "check_spool_space = 0\n", ..Plan::default() });
        let ledger = Ledger::default();
        assert_eq!(send(&stand, &ledger, 2000).code, 250);
        let ballast = disk.join("ballast");
        fill(&ballast);
        let reply = send_until_refused(&stand, &ledger, 100_000);
        assert_eq!(reply.code, 452, "{reply:?}");
        // Nor does the next one bring it down.
        for _ in 0..20 {
            let reply = send(&stand, &ledger, 200_000);
            assert!(reply.code == 250 || is_temporary(&reply), "{reply:?}");
        }
        fs::remove_file(ballast).unwrap();
        assert!(stand.accepts_again(), "no recovery: {}", stand.trouble());
        assert_eq!(send(&stand, &ledger, 100_000).code, 250);
        all_is_there(stand, &ledger);
    });
}

/// `check_spool_space` refuses before the disk is full (manual chapter 14).
pub(super) fn spool_space_option() {
    with_small_disk("size=64m", |disk| {
        let stand =
            Stand::start(&Plan { spool: Some(disk), main: "check_spool_space = 30M\n", ..Plan::default() });
        let ledger = Ledger::default();
        assert_eq!(send(&stand, &ledger, 2000).code, 250);
        let ballast = disk.join("ballast");
        fs::write(&ballast, vec![0; 40 << 20]).unwrap();
        let reply = send_until_refused(&stand, &ledger, 1000);
        assert_eq!(reply.code, 452, "{reply:?}");
        fs::remove_file(ballast).unwrap();
        assert!(stand.accepts_again(), "no recovery: {}", stand.trouble());
        all_is_there(stand, &ledger);
    });
}

pub(super) fn full_inode_table() {
    with_small_disk("size=128m,nr_inodes=150", |disk| {
        let main = "check_spool_space = 0\ncheck_spool_inodes = 0\n";
        let stand = Stand::start(&Plan { spool: Some(disk), main, ..Plan::default() });
        let ledger = Ledger::default();
        assert_eq!(send(&stand, &ledger, 2000).code, 250);
        let files: Vec<PathBuf> = (0..200).map(|n| disk.join(format!("file{n}"))).collect();
        for file in &files {
            if fs::File::create(file).is_err() {
                break;
            }
        }
        // A large body needs a file at once; a small one only when it leaves the journal.
        send_until_refused(&stand, &ledger, 400_000);
        for _ in 0..20 {
            let reply = send(&stand, &ledger, 1000);
            assert!(reply.code == 250 || is_temporary(&reply), "{reply:?}");
        }
        for file in &files {
            let _ = fs::remove_file(file);
        }
        assert!(stand.accepts_again(), "no recovery: {}", stand.trouble());
        assert_eq!(send(&stand, &ledger, 400_000).code, 250);
        all_is_there(stand, &ledger);
    });
}

/// More connections than descriptors: those too many wait or are refused, and the rest works on.
pub(super) fn descriptors() {
    if !super::system(&["prlimit", "--version"]) {
        return skip("prlimit is missing");
    }
    let stand = Stand::start(&Plan { wrap: &["prlimit", "--nofile=80:80"], ..Plan::default() });
    let ledger = Ledger::default();
    assert_eq!(send(&stand, &ledger, 1000).code, 250);
    let patience = Duration::from_millis(20);
    // Those that get no banner in time are kept open too: they wait in the system's own queue.
    let held: Vec<_> = (0..120)
        .map(|_| {
            (
                std::net::TcpStream::connect_timeout(&stand.address, patience),
                std::thread::sleep(Duration::from_millis(1)),
            )
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    // A session that began before goes on or is refused for the time being; either way the daemon lives.
    drop(held);
    let end = Instant::now() + PATIENCE;
    assert!(stand.accepts_again() && Instant::now() < end, "no recovery: {}", stand.trouble());
    assert_eq!(send(&stand, &ledger, 400_000).code, 250);
    all_is_there(stand, &ledger);
}

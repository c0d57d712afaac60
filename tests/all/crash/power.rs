//! Power cuts: the spool is an ext4 file system in a file on XFS; a reflink copy of that file is the disk as it would be
//! if the power failed at that instant. The copy is mounted, replayed and compared with what had been acknowledged.
//!
//! The control run lets fsync do nothing; if it loses no mail, the method is blind.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::ledger::{Found, Ledger};
use super::stand::{PATIENCE, Plan, Stand, own};
use super::{Chance, Mounted, amount, is_full, is_root, skip, system};

/// Makes every call of the fsync family succeed without doing it.
const NO_FSYNC: &[&str] = &[
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "--seccomp-bpf",
    "-e",
    "trace=fsync,fdatasync,syncfs,sync_file_range",
    "-e",
    "inject=fsync,fdatasync,syncfs,sync_file_range:retval=0",
];

/// Where the file systems are.
struct Disks {
    top: tempfile::TempDir,
}

impl Disks {
    fn path(&self, name: &str) -> PathBuf {
        self.top.path().join(name)
    }
}

/// Makes a file of this size with a file system.
fn image(path: &Path, size: &str, make: &[&str]) -> bool {
    let path = path.to_str().unwrap();
    let mut words = make.to_vec();
    words.push(path);
    system(&["truncate", "-s", size, path]) && system(&words)
}

/// A copy of the disk at one instant, and what had been acknowledged before it.
struct Cut {
    image: PathBuf,
    acknowledged: BTreeSet<u64>,
}

/// Cuts the power again and again under load. The result is what was lost, by cut; `None` where this cannot be done.
fn cut(wrap: &[&str], cuts: usize, own_seed: u64) -> Option<Vec<usize>> {
    if !is_root() {
        skip("power cuts need root for loop devices");
        return None;
    }
    let disks = Disks { top: tempfile::Builder::new().prefix("oxim-power").tempdir().unwrap() };
    let (outer, disk) = (disks.path("outer.img"), disks.path("xfs/disk.img"));
    if !image(&outer, "2G", &["mkfs.xfs", "-q", "-m", "reflink=1"]) {
        skip("power cuts need mkfs.xfs");
        return None;
    }
    let (xfs, live, copy) = (disks.path("xfs"), disks.path("live"), disks.path("copy"));
    let Some(_xfs) = Mounted::mount(&xfs, &["-o", "loop", outer.to_str().unwrap()]) else {
        skip("power cuts need loop devices and XFS");
        return None;
    };
    if !image(&disk, "300M", &["mkfs.ext4", "-q"]) {
        skip("power cuts need mkfs.ext4");
        return None;
    }
    // The journal writes past the page cache, which lasts without fsync too; a file system that journals data has no such
    // writes, and the control run gets one.
    let options = if wrap.is_empty() { "loop" } else { "loop,data=journal" };
    let Some(_live) = Mounted::mount(&live, &["-o", options, disk.to_str().unwrap()]) else {
        skip("power cuts need loop devices and ext4");
        return None;
    };
    own(&live);
    let ledger = Ledger::default();
    let stand = Mutex::new(Stand::start(&Plan { spool: Some(&live), wrap, ..Plan::default() }));
    let mut chance = Chance::new(own_seed);
    let taken: Vec<Cut> = ledger.storm(&stand, Duration::from_millis(20), || {
        let take = |number| take_cut(&ledger, &disk, &xfs.join(format!("cut{number}.img")), &mut chance);
        (0..cuts).map(take).collect()
    });
    stand.into_inner().unwrap().stop();
    Some(taken.iter().map(|cut| lost_after(&ledger, cut, &copy)).collect())
}

fn take_cut(ledger: &Ledger, disk: &Path, image: &Path, chance: &mut Chance) -> Cut {
    let before = ledger.acknowledged_count();
    let end = Instant::now() + PATIENCE;
    while ledger.acknowledged_count() < before + 20 {
        assert!(Instant::now() < end, "no mail is accepted");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(chance.below(700)));
    let acknowledged = ledger.acknowledged();
    let (from, to) = (disk.to_str().unwrap(), image.to_str().unwrap());
    assert!(system(&["cp", "--reflink=always", from, to]), "no reflink copy");
    Cut { image: image.to_path_buf(), acknowledged }
}

/// Starts again from a cut; how many acknowledged messages are gone. Damage and repetition are failures at once.
fn lost_after(ledger: &Ledger, cut: &Cut, place: &Path) -> usize {
    let mounted = Mounted::mount(place, &["-o", "loop", cut.image.to_str().unwrap()]);
    assert!(mounted.is_some(), "the file system itself did not survive");
    let mut stand = Stand::start(&Plan { spool: Some(place), ..Plan::default() });
    stand.stop();
    let found = Found::in_spool(place);
    let (there, lost): (BTreeSet<u64>, BTreeSet<u64>) =
        cut.acknowledged.iter().partition(|n| found.whole.contains_key(n));
    ledger.compare(&there, &found, |_| false);
    drop(mounted);
    fs::remove_file(&cut.image).unwrap();
    lost.len()
}

pub(super) fn a_cut_loses_nothing() {
    let lost = cut(&[], amount(2, 50), 3);
    assert!(lost.iter().flatten().all(|count| *count == 0), "lost by cut: {lost:?}");
}

/// Without fsync mail must be lost, or this file proves nothing.
pub(super) fn without_fsync_mail_is_lost() {
    if !is_full() {
        return skip("the control run without fsync is made in full only");
    }
    if !system(&["strace", "-V"]) {
        return skip("the control run needs strace");
    }
    if let Some(lost) = cut(NO_FSYNC, 5, 4) {
        assert!(lost.iter().sum::<usize>() > 0, "nothing was lost without fsync: the method is blind");
    }
}

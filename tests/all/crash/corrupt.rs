//! Spool files and hints, cut at each length and with each byte changed: the message is set aside with a line in the log, or
//! read as it stands; all others go on, and nothing crashes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::stand::{Plan, Stand, own};
use super::{Chance, amount};
use crate::place;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Cut(usize),
    Flip(usize),
}

impl Damage {
    fn of(self, good: &[u8]) -> Vec<u8> {
        match self {
            Damage::Cut(length) => good[..length].to_vec(),
            Damage::Flip(at) => {
                let mut bad = good.to_vec();
                bad[at] ^= 0x15;
                bad
            }
        }
    }

    /// All of them, or a sample.
    fn all(length: usize, sample: usize, chance: &mut Chance) -> Vec<Damage> {
        let mut all: Vec<Damage> = (0..length).flat_map(|at| [Damage::Cut(at), Damage::Flip(at)]).collect();
        while all.len() > amount(sample, usize::MAX) {
            let at = usize::try_from(chance.below(all.len() as u64)).unwrap();
            all.swap_remove(at);
        }
        all
    }
}

fn oxim(stand: &Stand, words: &[&str]) -> Output {
    let output = Command::new(place::oxim())
        .arg("-C")
        .arg(stand.config())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code().is_some(), "{words:?} was killed: {errors}");
    assert!(!errors.contains("panicked"), "{words:?}: {errors}");
    output
}

fn submit(stand: &Stand, recipient: &str) {
    let mut child = Command::new(place::oxim())
        .arg("-C")
        .arg(stand.config())
        .args(["-odq", "-f", "a@s.test", recipient])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"Subject: x\n\nbody of the message\n").unwrap();
    assert!(child.wait().unwrap().success());
}

fn queued(stand: &Stand, end: &str) -> Vec<PathBuf> {
    let found = fs::read_dir(stand.spool().join("input")).unwrap().flatten().map(|e| e.path());
    found.filter(|p| p.to_str().unwrap().ends_with(end)).collect()
}

fn delivered(stand: &Stand) -> usize {
    fs::read_dir(stand.mail()).map_or(0, |files| files.flatten().count())
}

fn forget(stand: &Stand) {
    for file in fs::read_dir(stand.spool().join("input")).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            fs::remove_file(file.path()).unwrap();
        }
    }
    let _ = fs::remove_dir_all(stand.mail());
    fs::create_dir_all(stand.mail()).unwrap();
    own(&stand.mail());
    for name in ["mainlog", "paniclog"] {
        let _ = fs::remove_file(stand.log(name));
    }
}

/// A damaged file among the files of one message, with a second message that is in order.
fn try_one(stand: &Stand, good: &[(PathBuf, Vec<u8>)], which: &Path, damage: Damage) {
    forget(stand);
    for (path, bytes) in good {
        let text = if path == which { damage.of(bytes) } else { bytes.clone() };
        fs::write(path, text).unwrap();
        own(path);
    }
    let before = queued(stand, "-H");
    submit(stand, "good@mta.test");
    oxim(stand, &["-bp"]);
    oxim(stand, &["-q"]);
    oxim(stand, &["-q"]);
    let log = fs::read_to_string(stand.log("mainlog")).unwrap();
    let place = format!("{damage:?} of {}\n{log}", which.display());
    assert!(log.contains("good@mta.test> R=all"), "the other message does not go on: {place}");
    assert!(!stand.trouble().contains("panic;"), "{place}\n{}", stand.trouble());
    let id = which.file_stem().unwrap().to_str().unwrap();
    let id = &id[..id.len() - 2];
    if before.iter().any(|path| path.exists()) {
        // It waits: the log says why, or that its recipients do.
        assert!(log.contains(&format!("{id} ")), "nothing is said about it: {place}");
    } else {
        assert!(delivered(stand) >= 1 || log.contains("Completed"), "it has gone: {place}");
    }
}

pub(super) fn damaged_files_concern_one_message() {
    let mut stand = Stand::start(&Plan { delivers: true, ..Plan::default() });
    stand.stop();
    submit(&stand, "bad@mta.test");
    let mut good: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for end in ["-H", "-D"] {
        let path = queued(&stand, end).remove(0);
        let bytes = fs::read(&path).unwrap();
        good.push((path, bytes));
    }
    let mut chance = Chance::new(5);
    for (path, bytes) in &good {
        for damage in Damage::all(bytes.len(), 12, &mut chance) {
            try_one(&stand, &good, path, damage);
        }
    }
    // Without its end, the body is another one; without its first line, -D is nobody's.
    let (path, bytes) = &good[1];
    for (damage, is_told) in
        [(Damage::Cut(10), true), (Damage::Flip(2), true), (Damage::Cut(bytes.len() - 3), false)]
    {
        try_one(&stand, &good, path, damage);
        let log = fs::read_to_string(stand.log("mainlog")).unwrap();
        assert_eq!(log.contains("-D: size="), is_told, "{damage:?}\n{log}");
    }
}

pub(super) fn damaged_hints_are_set_aside() {
    let mut stand =
        Stand::start(&Plan { delivers: true, main: "acl_smtp_rcpt = accept\n", ..Plan::default() });
    stand.stop();
    let text = fs::read_to_string(stand.config()).unwrap();
    let routers = "begin routers\nlater:\n  driver = redirect\n  local_parts = later\n  allow_defer\n  data = :defer: not now\n";
    fs::write(stand.config(), text.replace("begin routers\n", routers)).unwrap();
    submit(&stand, "later@mta.test");
    oxim(&stand, &["-q"]);
    let hints = stand.spool().join("db/oxim-hints.sqlite");
    // What is in the log of the database belongs to it.
    let good: Vec<(PathBuf, Vec<u8>)> = ["", "-wal"]
        .iter()
        .map(|end| PathBuf::from(format!("{}{end}", hints.display())))
        .filter_map(|path| fs::read(&path).ok().map(|bytes| (path, bytes)))
        .collect();
    let mut chance = Chance::new(6);
    for (path, bytes) in &good {
        // The pages are alike: each byte of the head, then some of the rest.
        let count = amount(8, 1_000).min(bytes.len() * 2);
        for damage in (0..count).map(|number| {
            let at = if number < 200 && amount(0, 1) == 1 {
                number as u64
            } else {
                chance.below(bytes.len() as u64)
            };
            let at = usize::try_from(at).unwrap().min(bytes.len() - 1);
            if chance.below(2) == 0 { Damage::Cut(at) } else { Damage::Flip(at) }
        }) {
            for file in fs::read_dir(stand.spool().join("db")).unwrap().flatten() {
                fs::remove_file(file.path()).unwrap();
            }
            for (other, bytes) in &good {
                fs::write(other, if other == path { damage.of(bytes) } else { bytes.clone() }).unwrap();
                own(other);
            }
            let _ = fs::remove_file(stand.log("mainlog"));
            submit(&stand, "good@mta.test");
            oxim(&stand, &["-q"]);
            let log = fs::read_to_string(stand.log("mainlog")).unwrap();
            assert!(log.contains("good@mta.test> R=all"), "{damage:?} of {}\n{log}", path.display());
            assert!(log.contains("later@mta.test"), "{damage:?} of {}\n{log}", path.display());
        }
    }
}

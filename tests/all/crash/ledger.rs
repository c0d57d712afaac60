//! Numbered messages with checksums: who sends them, which were acknowledged, and which are there afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::Chance;
use super::stand::{Client, Reply, Stand};

/// How many clients send at once.
const SENDERS: u64 = 16;
/// A body of this size goes past the journal's own.
const LARGE: u64 = 400_000;

/// What the clients know. A number is sent once, whatever becomes of it.
#[derive(Default)]
pub(super) struct Ledger {
    next: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<u64>>,
    /// Replies of 500 and more, which nothing here deserves.
    refusals: Mutex<Vec<String>>,
}

impl Ledger {
    /// What was acknowledged up to now.
    pub(super) fn acknowledged(&self) -> BTreeSet<u64> {
        self.acknowledged.lock().unwrap().clone()
    }

    pub(super) fn acknowledged_count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Notes the reply to a message.
    pub(super) fn note(&self, number: u64, reply: &Reply) {
        if reply.code == 250 {
            self.acknowledged.lock().unwrap().insert(number);
        } else if reply.code >= 500 {
            self.refusals.lock().unwrap().push(reply.text.clone());
        }
    }

    /// The next number.
    pub(super) fn take(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends from many clients while `act` goes on.
    pub(super) fn storm<T>(&self, stand: &Mutex<Stand>, pause: Duration, act: impl FnOnce() -> T) -> T {
        self.stop.store(false, Ordering::SeqCst);
        let address = stand.lock().unwrap().address;
        std::thread::scope(|scope| {
            for sender in 0..SENDERS {
                scope.spawn(move || {
                    let mut chance = Chance::new(1000 + sender);
                    while !self.stop.load(Ordering::SeqCst) {
                        // A daemon that is down, or goes down, is what this is about.
                        let _ = self.session(address, &mut chance, pause);
                        std::thread::sleep(Duration::from_millis(5));
                    }
                });
            }
            // The senders must stop even if `act` fails, or the scope would wait for ever.
            let stop = StopAtEnd(&self.stop);
            let result = act();
            drop(stop);
            result
        })
    }

    fn session(
        &self,
        address: std::net::SocketAddr,
        chance: &mut Chance,
        pause: Duration,
    ) -> std::io::Result<()> {
        let mut client = Client::connect(address)?;
        client.hello()?;
        for _ in 0..chance.below(20) {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let size = if chance.below(40) == 0 { LARGE } else { chance.below(6000) };
            let number = self.take();
            let reply = client.send(&message(number, size))?;
            self.note(number, &reply);
            std::thread::sleep(pause);
        }
        client.command("QUIT").map(drop)
    }

    /// Compares with what is there: everything acknowledged, once unless `may_repeat` says so, and undamaged.
    pub(super) fn compare(
        &self,
        acknowledged: &BTreeSet<u64>,
        found: &Found,
        may_repeat: impl Fn(&[PathBuf]) -> bool,
    ) {
        let lost: Vec<u64> = acknowledged.iter().filter(|n| !found.whole.contains_key(n)).copied().collect();
        let repeated: Vec<_> = found.whole.values().filter(|p| p.len() > 1 && !may_repeat(p)).collect();
        let refusals = self.refusals.lock().unwrap();
        assert!(
            lost.is_empty() && found.damaged.is_empty() && repeated.is_empty() && refusals.is_empty(),
            "of {} acknowledged: lost {} {:?}; damaged {:?}; repeated {:?}; refused {:?}",
            acknowledged.len(),
            lost.len(),
            &lost[..lost.len().min(10)],
            &found.damaged[..found.damaged.len().min(10)],
            &repeated[..repeated.len().min(10)],
            &refusals[..refusals.len().min(5)],
        );
    }
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A message that tells its number and its checksum.
pub(super) fn message(number: u64, size: u64) -> Vec<u8> {
    let mut chance = Chance(number.wrapping_mul(0x2545_F491_4F6C_DD1D).max(1));
    let mut body = String::new();
    while (body.len() as u64) < size {
        body.push_str(&format!("{:016x} line of message {number} {:016x}\n", chance.next(), chance.next()));
    }
    let whole =
        format!("Subject: {number}\n\nnumber {number} sum {:016x}\n{body}", checksum(body.as_bytes()));
    whole.replace('\n', "\r\n").into_bytes()
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, b| (sum ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

/// The number of a body, and whether it is whole.
fn read_body(body: &[u8]) -> Option<(u64, bool)> {
    let end = body.iter().position(|b| *b == b'\n')?;
    let first = std::str::from_utf8(&body[..end]).ok()?;
    let words: Vec<&str> = first.split(' ').collect();
    let [_, number, _, sum] = words[..] else { return None };
    let is_whole = u64::from_str_radix(sum, 16).ok()? == checksum(&body[end + 1..]);
    Some((number.parse().ok()?, is_whole))
}

/// Messages by number, with their files.
#[derive(Default)]
pub(super) struct Found {
    pub(super) whole: BTreeMap<u64, Vec<PathBuf>>,
    damaged: Vec<PathBuf>,
}

impl Found {
    fn add(&mut self, path: PathBuf, body: &[u8]) {
        match read_body(body) {
            Some((number, true)) => self.whole.entry(number).or_default().push(path),
            Some((_, false)) => self.damaged.push(path),
            // Other messages of the trial.
            None if body.starts_with(b"again") => {}
            None => self.damaged.push(path),
        }
    }

    /// Messages in the files of a spool.
    pub(super) fn in_spool(spool: &Path) -> Found {
        let mut found = Found::default();
        for entry in fs::read_dir(spool.join("input")).into_iter().flatten().flatten() {
            let header = entry.path();
            let Some(stem) = header.to_str().unwrap().strip_suffix("-H") else { continue };
            let data = PathBuf::from(format!("{stem}-D"));
            let text = fs::read(&data).unwrap_or_default();
            let start = text.iter().position(|b| *b == b'\n').map_or(0, |p| p + 1);
            found.add(data, &text[start..]);
        }
        found
    }

    /// Messages in a Maildir.
    pub(super) fn in_maildir(new: &Path) -> Found {
        let mut found = Found::default();
        for entry in fs::read_dir(new).into_iter().flatten().flatten() {
            let text = fs::read(entry.path()).unwrap();
            let start = text.windows(2).position(|w| w == b"\n\n").map_or(0, |p| p + 2);
            found.add(entry.path(), &text[start..]);
        }
        found
    }
}

/// When the first of several copies was written.
pub(super) fn first_written(copies: &[PathBuf]) -> SystemTime {
    copies.iter().map(|p| fs::metadata(p).unwrap().modified().unwrap()).min().unwrap()
}

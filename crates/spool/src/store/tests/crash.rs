//! Kills a process at every named point and shows that nothing acknowledged is lost, and nothing done is undone.
//!
//! The test runs itself again as a child, with the point in the environment; the child writes down what it was told.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const POINTS: [&str; 17] = [
    "journal-write",
    "journal-written",
    "journal-synced",
    "large-data-lasts",
    "data-written",
    "data-synced",
    "header-written",
    "header-synced",
    "header-renamed",
    "header-replaced",
    "header-removed",
    "pair-lasts",
    "pair-synced",
    "done-written",
    "after-commits",
    "after-update",
    "none",
];

/// What the child was promised, a line each, written before anything else happens.
struct Ledger(std::fs::File);

impl Ledger {
    fn open(root: &Path) -> Ledger {
        Ledger(OpenOptions::new().create(true).append(true).open(root.join("ledger")).unwrap())
    }

    fn note(&mut self, what: &str, id: MessageId) {
        self.0.write_all(format!("{what} {id}\n").as_bytes()).unwrap();
    }
}

/// Not a test of its own: what the child does.
#[test]
fn crash_child() {
    let Ok(root) = std::env::var("OXIM_SPOOL_CRASH_ROOT") else { return };
    let root = Path::new(&root);
    let mut ledger = Ledger::open(root);
    let is_journal = std::env::var("OXIM_SPOOL_CRASH_MODE").unwrap() == "journal";
    let mut config = config(&root.join("spool"));
    config.move_out_after = Duration::from_secs(60);
    config.segment_bytes = 64 * 1024;
    let store = if is_journal { LocalStore::journal(config) } else { LocalStore::direct(config) }.unwrap();
    let accept = |ledger: &mut Ledger, body: &[u8]| {
        let claim = put(&store, body);
        ledger.note("accepted", claim.id());
        claim
    };
    for _ in 0..20 {
        drop(accept(&mut ledger, &[b'x'; 4000]));
    }
    drop(accept(&mut ledger, &[b'y'; 300_000]));
    fault::point("after-commits");
    let mut claim = accept(&mut ledger, b"z\n");
    store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
    ledger.note("done", claim.id());
    let changed = Message::clone(claim.message());
    store.update(&mut claim, &changed).unwrap();
    fault::point("after-update");
    store.record_done(&claim, &[b"c@d.ex".to_vec()]).unwrap();
    ledger.note("done-again", claim.id());
    store.update(&mut claim, &changed).unwrap();
    let finished = accept(&mut ledger, b"short-lived\n");
    ledger.note("finishing", finished.id());
    let (sender, receiver) = mpsc::channel();
    let id = finished.id();
    store.finish_then(finished, Box::new(move |outcome| sender.send(outcome).unwrap()));
    receiver.recv().unwrap().unwrap();
    ledger.note("finished", id);
    ledger.note("finishing", claim.id());
    store.finish(claim).unwrap();
    store.flush().unwrap();
    // As if the power had failed: no destructor runs.
    std::process::abort();
}

fn noted(root: &Path, what: &str) -> HashSet<String> {
    let ledger = std::fs::read_to_string(root.join("ledger")).unwrap_or_default();
    ledger.lines().filter_map(|l| l.strip_prefix(what)?.strip_prefix(' ')).map(str::to_owned).collect()
}

fn crash_at(point: &str, mode: &str) {
    let root = tempfile::tempdir().unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::crash_child", "--nocapture", "--test-threads=1"])
        .env("OXIM_SPOOL_CRASH_ROOT", root.path())
        .env("OXIM_SPOOL_CRASH_MODE", mode)
        .env("OXIM_SPOOL_FAULT", point)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "the child ends by abort");
    let spool = root.path().join("spool");
    let store = LocalStore::journal(config(&spool)).unwrap();
    let there: HashSet<String> = store.list(None).unwrap().iter().map(|e| e.id.to_string()).collect();
    let finishing = noted(root.path(), "finishing");
    for id in noted(root.path(), "accepted") {
        assert!(there.contains(&id) || finishing.contains(&id), "{id} lost at {point}, {mode}");
    }
    for id in noted(root.path(), "finished") {
        assert!(!there.contains(&id), "{id} came back at {point}, {mode}");
    }
    for id in &there {
        let id = MessageId::parse(id.as_bytes()).unwrap();
        let claim = store.claim(&id).unwrap_or_else(|e| panic!("{id} at {point}, {mode}: {e}"));
        assert!(
            matches!(claim.body().len(), 2 | 12 | 4_000 | 300_000),
            "{id} at {point}: {}",
            claim.body().len()
        );
        for (what, address) in [("done", b"a@b.ex".as_slice()), ("done-again", b"c@d.ex")] {
            let is_due = noted(root.path(), what).contains(id.as_str());
            assert!(
                !is_due || claim.message().is_done(address),
                "{what} of {id} forgotten at {point}, {mode}"
            );
        }
    }
    let journals = std::fs::read_dir(spool.join("input/.journal")).unwrap().count();
    assert_eq!(journals, 1, "only the new one is left, {point}, {mode}");
}

#[test]
fn nothing_acknowledged_is_lost_at_any_point() {
    for mode in ["journal", "direct"] {
        for point in POINTS {
            crash_at(point, mode);
        }
    }
}

/// The replay itself may be interrupted anywhere, and is done again.
#[test]
fn an_interrupted_replay_is_done_again() {
    for point in ["data-written", "data-synced", "header-written", "header-renamed"] {
        let root = tempfile::tempdir().unwrap();
        let run = |fault: &str| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "store::tests::crash::crash_child", "--nocapture"])
                .env("OXIM_SPOOL_CRASH_ROOT", root.path())
                .env("OXIM_SPOOL_CRASH_MODE", "journal")
                .env("OXIM_SPOOL_FAULT", fault)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
        };
        run("after-commits");
        let accepted = noted(root.path(), "accepted");
        assert_eq!(accepted.len(), 21);
        run(point);
        let store = LocalStore::journal(config(&root.path().join("spool"))).unwrap();
        let there: HashSet<String> = store.list(None).unwrap().iter().map(|e| e.id.to_string()).collect();
        assert!(accepted.is_subset(&there), "lost in a replay that ended at {point}");
    }
}

#[test]
fn a_torn_end_and_a_damaged_middle_lose_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let spool = root.path().join("spool");
    let mut ids = Vec::new();
    let store =
        LocalStore::journal(LocalConfig { move_out_after: Duration::from_secs(60), ..config(&spool) })
            .unwrap();
    for _ in 0..3 {
        ids.push(put(&store, &[b'x'; 4000]).id());
    }
    // The store's directory is copied as a crash would leave it.
    let live = std::fs::read_dir(spool.join("input/.journal")).unwrap().next().unwrap().unwrap().path();
    let dead = tempfile::tempdir().unwrap();
    let copy = dead.path().join("input/.journal/1-dead");
    std::fs::create_dir_all(&copy).unwrap();
    for name in ["lock", "00000001"] {
        std::fs::copy(live.join(name), copy.join(name)).unwrap();
    }
    let path = copy.join("00000001");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = memchr::memmem::find(&bytes, ids[1].as_bytes()).unwrap();
    bytes[middle + 2_000] ^= 1;
    let end = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes.truncate(end + 30);
    std::fs::write(&path, bytes).unwrap();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let lines = Arc::clone(&told);
    let mut config = LocalConfig::new(dead.path());
    config.report = Arc::new(move |text| lines.lock().push(text.to_owned()));
    let after = LocalStore::journal(config).unwrap();
    let there: Vec<MessageId> = after.list(None).unwrap().iter().map(|e| e.id).collect();
    assert_eq!(there, [ids[0], ids[2]]);
    assert_eq!(told.lock().len(), 1);
    assert!(told.lock()[0].contains("damaged from byte"), "{:?}", told.lock());
}

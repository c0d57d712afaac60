//! Tests of the local store: what lasts, who may hold it, what Exim makes of the files.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use oxim_base::clock::Stamp;
use oxim_mail::header::Header;
use oxim_mail::message_id::{Form, Generator, MessageId};

use super::*;
use crate::message::Recipient;

fn config(root: &Path) -> LocalConfig {
    let mut config = LocalConfig::new(root);
    config.report = Arc::new(|text| panic!("{text}"));
    config
}

fn generator() -> Generator {
    Generator::new(std::process::id(), None, Form::Long)
}

fn message(id: MessageId) -> Message {
    let mut message = Message::new(id);
    message.login = b"root".to_vec();
    message.sender = b"s@x.ex".to_vec();
    message.received = Stamp::now();
    message.protocol = Some(b"local".to_vec());
    message.recipients = vec![Recipient::new("a@b.ex"), Recipient::new("c@d.ex")];
    message.headers.push_back(Header::new("Subject: hi\n"));
    message.headers.push_back(Header::new("To: a@b.ex,\n c@d.ex\n"));
    message
}

fn put(store: &dyn Store, body: &[u8]) -> Claim {
    let id = generator().next(Stamp::now());
    let mut draft = store.begin(id).unwrap();
    for chunk in body.chunks(50_000) {
        draft.append(chunk).unwrap();
    }
    store.commit_blocking(message(id), draft).unwrap()
}

fn both(check: impl Fn(&Path, &LocalStore)) {
    for is_journal in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let store = if is_journal {
            LocalStore::journal(config(root.path()))
        } else {
            LocalStore::direct(config(root.path()))
        };
        check(root.path(), &store.unwrap());
    }
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root.join("input"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != ".journal")
        .collect();
    names.sort();
    names
}

#[test]
fn a_message_is_held_by_one_and_finished_without_a_trace() {
    both(|root, store| {
        let claim = put(store, b"body\n");
        let id = claim.id();
        assert!(matches!(store.claim(&id), Err(ClaimError::Busy)));
        drop(claim);
        let claim = store.claim(&id).unwrap();
        assert_eq!(claim.body().bytes().unwrap().as_ref(), b"body\n");
        assert_eq!(claim.message().recipients.len(), 2);
        store.message_log(&claim, "2026-11-21 03:00:00 Received from s@x.ex");
        store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
        let entry = &store.list(None).unwrap()[0];
        let details = entry.details().unwrap();
        assert_eq!((entry.id, details.size), (id, 12 + 20 + 1 + 5));
        assert_eq!(details.recipients().map(|(_, done)| done).collect::<Vec<_>>(), [true, false]);
        assert!(read_part_whole(store, &id, Part::Log).unwrap().ends_with(b"s@x.ex\n"));
        assert!(read_part_whole(store, &id, Part::Data).unwrap().ends_with(b"-D\nbody\n"));
        assert!(read_part_whole(store, &id, Part::Header).unwrap().starts_with(id.as_bytes()));
        drop(claim);
        let claim = store.claim(&id).unwrap();
        assert!(claim.message().is_done(b"a@b.ex"));
        let (sender, receiver) = mpsc::channel();
        store.finish_then(claim, Box::new(move |outcome| sender.send(outcome).unwrap()));
        receiver.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();
        assert!(matches!(store.claim(&id), Err(ClaimError::Gone)));
        assert!(store.list(None).unwrap().is_empty());
        assert_eq!(files(root), Vec::<String>::new());
        assert!(!root.join("msglog").join(id.to_string()).exists());
    });
}

#[test]
fn an_update_replaces_all_but_the_body_and_keeps_what_was_done() {
    both(|root, store| {
        let mut claim = put(store, b"body\n");
        let id = claim.id();
        store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
        let mut changed = Message::clone(claim.message());
        changed.first_delivery = false;
        changed.frozen = Some(1_795_230_475);
        store.update(&mut claim, &changed).unwrap();
        assert!(claim.message().is_done(b"a@b.ex"));
        assert_eq!(files(root), [format!("{id}-D"), format!("{id}-H")]);
        store.record_done(&claim, &[b"child@d.ex".to_vec()]).unwrap();
        assert_eq!(std::fs::read(root.join(format!("input/{id}-J"))).unwrap(), b"child@d.ex\n");
        drop(claim);
        let claim = admin::thaw(store, &id).unwrap();
        assert_eq!(claim.message().non_recipients.len(), 2);
        assert!(claim.message().manual_thaw && claim.message().frozen.is_none());
        assert_eq!(files(root), [format!("{id}-D"), format!("{id}-H")]);
        drop(claim);
        assert!(matches!(admin::thaw(store, &id), Err(admin::AdminError::NotFrozen)));
        let unknown = admin::mark_delivered(store, &id, &[b"x@y".to_vec()]);
        assert!(matches!(unknown, Err(admin::AdminError::NotARecipient(_))));
        drop(admin::set_queue(store, &id, b"slow").unwrap());
        assert!(root.join(format!("slow/input/{id}-H")).exists());
        assert_eq!(store.list(Some(b"slow")).unwrap().len(), 1);
        assert_eq!(store.list(Some(b"")).unwrap().len(), 0);
        assert_eq!(store.claim(&id).unwrap().message().queue_name, b"slow");
    });
}

#[test]
fn a_large_body_has_its_own_file_from_the_start() {
    both(|root, store| {
        let body: Vec<u8> = (0..700_000_u32).map(|n| if n % 70 == 69 { b'\n' } else { b'x' }).collect();
        let id = generator().next(Stamp::now());
        let mut draft = store.begin(id).unwrap();
        body.chunks(1000).for_each(|chunk| draft.append(chunk).unwrap());
        assert_eq!(draft.body().unwrap().bytes().unwrap(), body);
        assert_eq!(files(root), [format!("{id}-D")]);
        drop(draft);
        assert!(files(root).is_empty());
        let claim = put(store, &body);
        assert_eq!(claim.body().bytes().unwrap(), body);
        let id = claim.id();
        drop(claim);
        store.flush().unwrap();
        assert_eq!(files(root), [format!("{id}-D"), format!("{id}-H")]);
        let claim = store.claim(&id).unwrap();
        assert_eq!(claim.body().bytes().unwrap(), body);
        let (sender, receiver) = mpsc::channel();
        store.finish_then(claim, Box::new(move |outcome| sender.send(outcome).unwrap()));
        receiver.recv().unwrap().unwrap();
        assert!(files(root).is_empty());
    });
}

#[test]
fn a_broken_claim_is_refused_and_the_next_has_a_higher_epoch() {
    both(|_, store| {
        let mut old = put(store, b"b\n");
        assert!(store.break_claim(&old.id()));
        assert!(!store.break_claim(&old.id()));
        let new = store.claim(&old.id()).unwrap();
        assert!(new.epoch() > old.epoch());
        let addresses = [b"a@b.ex".to_vec()];
        assert!(matches!(store.record_done(&old, &addresses), Err(SpoolError::Stale)));
        let message = Message::clone(old.message());
        assert!(matches!(store.update(&mut old, &message), Err(SpoolError::Stale)));
        assert!(matches!(store.finish(old), Err(SpoolError::Stale)));
        store.record_done(&new, &addresses).unwrap();
        store.finish(new).unwrap();
    });
}

#[test]
fn what_grows_old_in_the_journal_becomes_files_and_the_claim_lives_on() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.move_out_after = Duration::from_millis(30);
    let store = LocalStore::journal(config).unwrap();
    let claim = put(&store, b"body\n");
    store.message_log(&claim, "line");
    assert!(files(root.path()).is_empty());
    let until = Instant::now() + Duration::from_secs(5);
    while !files(root.path()).iter().any(|f| f.ends_with("-H")) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let id = claim.id();
    assert_eq!(files(root.path()), [format!("{id}-D"), format!("{id}-H")]);
    let other = LocalStore::direct(LocalConfig::new(root.path())).unwrap();
    assert!(matches!(other.claim(&id), Err(ClaimError::Busy)));
    store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
    assert_eq!(read_part_whole(&store, &id, Part::Log).unwrap(), b"line\n");
    drop(claim);
    assert!(other.claim(&id).unwrap().message().is_done(b"a@b.ex"));
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.report = Arc::new(|_| ());
    let store = LocalStore::journal(config.clone()).unwrap();
    let kept = put(&store, b"kept\n").id();
    let failures = |errno| store.core_for_tests().journal.as_ref().unwrap().failures().push(errno);
    failures(nix::libc::ENOSPC);
    let id = generator().next(Stamp::now());
    let draft = store.begin(id).unwrap();
    assert!(matches!(store.commit_blocking(message(id), draft), Err(SpoolError::Full { .. })));
    assert!(matches!(store.claim(&id), Err(ClaimError::Gone)));
    failures(nix::libc::EIO);
    let claim = store.claim(&kept).unwrap();
    assert!(matches!(store.record_done(&claim, &[b"a@b.ex".to_vec()]), Err(SpoolError::Local { .. })));
    // Without waiting: written with the next batch that succeeds.
    failures(nix::libc::EIO);
    store.finish(claim).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let later = put(&store, b"later\n").id();
    store.flush().unwrap();
    assert_eq!(store.list(None).unwrap().iter().map(|e| e.id).collect::<Vec<_>>(), [later]);
    drop(store);
    let again = LocalStore::journal(config).unwrap();
    assert_eq!(again.list(None).unwrap().iter().map(|e| e.id).collect::<Vec<_>>(), [later]);
}

#[test]
fn with_too_much_alive_messages_go_straight_to_files() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.live_bytes_max = 1_000;
    config.move_out_after = Duration::from_secs(60);
    let store = LocalStore::journal(config).unwrap();
    let first = put(&store, &[b'x'; 2_000]);
    let second = put(&store, b"x\n");
    assert_eq!(files(root.path()), [format!("{}-D", second.id()), format!("{}-H", second.id())]);
    store.finish(first).unwrap();
    let third = put(&store, b"x\n");
    assert_eq!(files(root.path()).len(), 2);
    drop((second, third));
}

#[test]
fn a_corrupt_header_is_told_and_stays() {
    both(|root, store| {
        let claim = put(store, b"b\n");
        let id = claim.id();
        drop(claim);
        store.flush().unwrap();
        let path = root.join(format!("input/{id}-H"));
        std::fs::write(&path, "garbage\n").unwrap();
        let ClaimError::Corrupt(text) = store.claim(&id).unwrap_err() else { panic!("not corrupt") };
        assert!(text.starts_with("size=8"), "{text}");
        assert!(matches!(store.list(None).unwrap()[0].details(), Err(ClaimError::Corrupt(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"garbage\n");
    });
}

#[test]
fn split_places_and_old_ones_are_both_found() {
    let root = tempfile::tempdir().unwrap();
    let flat = LocalStore::direct(config(root.path())).unwrap();
    let first = put(&flat, b"1\n").id();
    let mut split = config(root.path());
    split.split_spool_directory = true;
    let split = LocalStore::direct(split).unwrap();
    let second = put(&split, b"2\n").id();
    assert!(root.path().join(format!("input/{}/{second}-H", second.split_letter())).exists());
    for store in [&flat, &split] {
        assert_eq!(store.list(None).unwrap().len(), 2);
        store.claim(&first).unwrap();
        store.claim(&second).unwrap();
    }
}

#[test]
fn threads_that_commit_and_finish_at_once_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    config.segment_bytes = 128 * 1024;
    config.move_out_after = Duration::from_millis(1);
    let store = LocalStore::journal(config.clone()).unwrap();
    let ids = generator();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..50 {
                    let id = ids.next(Stamp::now());
                    let mut draft = store.begin(id).unwrap();
                    draft.append(&[b'x'; 4096]).unwrap();
                    let mut claim = store.commit_blocking(message(id), draft).unwrap();
                    store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
                    if n % 3 == 0 {
                        let changed = Message::clone(claim.message());
                        store.update(&mut claim, &changed).unwrap();
                    }
                    store.finish(claim).unwrap();
                }
            });
        }
    });
    assert!(store.list(None).unwrap().is_empty());
    drop(store);
    assert!(LocalStore::journal(config).unwrap().list(None).unwrap().is_empty());
    assert!(files(root.path()).is_empty());
}

mod crash;
mod exim;

use crate::fault;

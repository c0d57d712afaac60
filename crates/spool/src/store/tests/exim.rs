//! Exim reads what is written here, the other way round, and each respects the other's lock.
//! Skipped, with a message, where there is no exim4 or this does not run as root.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;
use crate::Owner;

const EXIM: &str = "/usr/sbin/exim4";

struct Oracle {
    root: tempfile::TempDir,
    owner: Owner,
}

impl Oracle {
    fn new() -> Option<Oracle> {
        let user = nix::unistd::User::from_name("Debian-exim").ok().flatten();
        let is_root = rustix::process::geteuid().is_root();
        let Some(user) = user.filter(|_| is_root && Path::new(EXIM).exists()) else {
            eprintln!("skipped: needs {EXIM} and root");
            return None;
        };
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let oracle = Oracle { root, owner: Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() } };
        let spool = oracle.spool();
        std::fs::create_dir(&spool).unwrap();
        std::os::unix::fs::chown(&spool, Some(oracle.owner.uid), Some(oracle.owner.gid)).unwrap();
        let configuration = format!(
            "spool_directory = {0}\nlog_file_path = {0}/%slog\nprimary_hostname = oracle.ex\nkeep_environment =\n\
             begin routers\nr:\n  driver = redirect\n  data = :blackhole:\n",
            spool.display()
        );
        std::fs::write(oracle.root.path().join("exim.conf"), configuration).unwrap();
        Some(oracle)
    }

    fn spool(&self) -> PathBuf {
        self.root.path().join("spool")
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("timeout")
            .args(["20", EXIM, "-C"])
            .arg(self.root.path().join("exim.conf"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    fn store(&self) -> LocalStore {
        let mut config = config(&self.spool());
        config.owner = Some(self.owner);
        LocalStore::direct(config).unwrap()
    }
}

fn put_for_exim(store: &dyn Store) -> Claim {
    let id = Generator::new(std::process::id(), None, Form::Short).next(Stamp::now());
    let mut message = message(id);
    message.acl_m.insert(b"_x".to_vec(), oxim_base::Text::tainted("a\nb"));
    message.non_recipients.extend((0..9).map(|n| format!("n{n}@x").into_bytes()));
    message.recipients[1].orcpt = Some(b"rfc822;c@d.ex".to_vec());
    message.recipients[1].dsn_notify.success = true;
    let mut draft = store.begin(id).unwrap();
    draft.append(b"body\n").unwrap();
    store.commit_blocking(message, draft).unwrap()
}

#[test]
fn exim_reads_what_is_written_here_and_delivers_it() {
    let Some(oracle) = Oracle::new() else { return };
    let store = oracle.store();
    let mut claim = put_for_exim(&store);
    let id = claim.id().to_string();
    let locked = oracle.run(&["-Mrm", &id], b"");
    assert_eq!(locked, format!("Message {id} is locked\n"));
    store.record_done(&claim, &[b"a@b.ex".to_vec()]).unwrap();
    let again = Message::clone(claim.message());
    store.update(&mut claim, &again).unwrap();
    drop(claim);
    let listing = oracle.run(&["-bp"], b"");
    assert!(listing.contains(&format!("    38 {id} <s@x.ex>")), "{listing}");
    assert!(listing.contains("        D a@b.ex\n          c@d.ex\n"), "{listing}");
    let header = oracle.run(&["-Mvh", &id], b"");
    assert_eq!(
        header.as_bytes(),
        read_part_whole(&store, &MessageId::parse(id.as_bytes()).unwrap(), Part::Header).unwrap()
    );
    assert!(oracle.run(&["-Mf", &id], b"").contains("is now frozen"));
    let frozen = store.claim(&MessageId::parse(id.as_bytes()).unwrap()).unwrap();
    assert!(frozen.message().frozen.is_some());
    assert_eq!(frozen.message().acl_m[b"_x".as_slice()], oxim_base::Text::tainted("a\nb"));
    assert_eq!((frozen.message().non_recipients.len(), frozen.message().recipients.len()), (10, 2));
    drop(frozen);
    let delivered = oracle.run(&["-M", &id], b"");
    let log = std::fs::read_to_string(oracle.spool().join("mainlog")).unwrap();
    // The report of success that was asked for may be there.
    assert!(store.list(None).unwrap().iter().all(|e| e.id.as_str() != id), "{delivered} {log}");
}

#[test]
fn what_exim_received_is_claimed_and_changed_here() {
    let Some(oracle) = Oracle::new() else { return };
    oracle.run(&["-odq", "-f", "s@x.ex", "a@b.ex", "c@d.ex"], b"Subject: from exim\n\nline 1\nline 2\n");
    let store = oracle.store();
    let id = store.list(None).unwrap()[0].id;
    let claim = store.claim(&id).unwrap();
    assert_eq!(claim.body().bytes().unwrap().as_ref(), b"line 1\nline 2\n");
    assert!(claim.message().first_delivery && claim.message().unknown.is_empty());
    assert_eq!(claim.message().headers.find(b"subject").count(), 1);
    assert!(oracle.run(&["-Mf", id.as_str()], b"").contains("is locked"));
    drop(claim);
    // What a crashed delivery of Exim left behind.
    std::fs::write(oracle.spool().join(format!("input/{id}-J")), "a@b.ex\nhalf a line").unwrap();
    let claim = store.claim(&id).unwrap();
    assert!(claim.message().is_done(b"a@b.ex") && !claim.message().is_done(b"half a line"));
    assert!(!oracle.spool().join(format!("input/{id}-J")).exists());
    drop(claim);
    drop(admin::add_recipients(&store, &id, &[b"new@e.ex".to_vec()]).unwrap());
    let listing = oracle.run(&["-bp"], b"");
    assert!(listing.contains("        D a@b.ex\n          c@d.ex\n          new@e.ex\n"), "{listing}");
    let size = store.list(None).unwrap()[0].details().unwrap().size;
    assert!(listing.contains(&format!("{size:>6} {id} <s@x.ex>")), "{listing} {size}");
    store.finish(store.claim(&id).unwrap()).unwrap();
    assert_eq!(oracle.run(&["-bpc"], b""), "0\n");
}

//! The scene of a trial: its folder on /mnt, users, name server, certificates; programs that run there, and waiting.

use std::cell::RefCell;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::place;
use crate::scenario::dns;

/// The longest that anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// The trial's folder.
pub(super) const TOP: &str = "/mnt";

/// Users of the trials' own, with homes below /mnt/home.
const USERS: &[(&str, u32)] =
    &[("alice", 2001), ("bob", 2002), ("postfix", 2101), ("opensmtpd", 2103), ("opensmtpq", 2104)];
const GROUPS: &[(&str, u32)] = &[("postdrop", 2102)];

/// What the name server knows: `mta.test.ex` is Oxim, `peer.test.ex` the other server.
const ZONE: &str = "mta.test.ex A 127.0.0.1\nmta.test.ex AAAA ::1\npeer.test.ex A 127.0.0.1\n\
    test.ex MX 10 mta.test.ex\npeer.test.ex MX 10 peer.test.ex\nlocalhost A 127.0.0.1\n\
    1.0.0.127.in-addr.arpa PTR localhost\n";

/// Where a package lies that is unpacked, not installed.
fn unpacked(name: &str) -> PathBuf {
    crate::place::peers().join(name)
}

/// Whether a program (by path) or an unpacked package (by name) is there.
pub(super) fn is_installed(need: &str) -> bool {
    if need.starts_with('/') { Path::new(need).exists() } else { unpacked(need).join("complete").exists() }
}

/// The scene.
pub(super) struct Ground {
    pub(super) is_root: bool,
    started: RefCell<Vec<Child>>,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) status: ExitStatus,
    pub(super) out: String,
    pub(super) error: String,
}

impl Done {
    pub(super) fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// The command has succeeded, or the trial fails with what it said.
    #[track_caller]
    pub(super) fn good(self) -> Done {
        assert!(self.status.success(), "{self:#?}");
        self
    }

    /// The command has failed and said so.
    #[track_caller]
    pub(super) fn bad(self, text: &str) -> Done {
        assert!(!self.status.success(), "{self:#?}");
        self.says(text)
    }

    #[track_caller]
    pub(super) fn says(self, text: &str) -> Done {
        assert!(self.out.contains(text) || self.error.contains(text), "{text} in {self:#?}");
        self
    }
}

impl Ground {
    /// Lays the scene inside the namespaces.
    pub(super) fn set(work: &Path, needs: &[&str]) -> Ground {
        let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let (root, over) = (work.join("root"), work.join("over"));
        for folder in ["spool", "log", "mail", "home", "tls", "etc", "exim4"] {
            make_folder(&root.join(folder), 0o1777);
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["oxim", "exim4"] {
            make_folder(&over.join(folder), 0o755);
        }
        write_etc(&over);
        shell(&format!(
            "mount --bind {} {TOP}; mount -t overlay overlay -o lowerdir={}:/etc /etc
            chmod 755 {TOP}/etc {TOP}/exim4; mount --bind {TOP}/etc /etc/oxim; mount --bind {TOP}/exim4 /etc/exim4",
            root.display(),
            over.display()
        ));
        shell("ip link set lo up; hostname mta.test.ex; mount -t tmpfs none /run; chmod 755 /run");
        for package in needs.iter().filter(|need| !need.starts_with('/')) {
            let folder = unpacked(package);
            shell(&format!("mount -t overlay overlay -o lowerdir={}/usr:/usr /usr", folder.display()));
        }
        for (name, id) in USERS {
            let home = Path::new(TOP).join("home").join(name);
            make_folder(&home, 0o755);
            if is_root {
                std::os::unix::fs::chown(&home, Some(*id), Some(*id)).unwrap();
            }
        }
        // The program lies in a folder that only its owner may enter; every user must be able to run it.
        let copy = Path::new(TOP).join("oxim");
        if fs::hard_link(place::oxim(), &copy).is_err() {
            fs::copy(place::oxim(), &copy).unwrap();
        }
        dns::start(ZONE.to_owned());
        Ground { is_root, started: RefCell::default() }
    }

    /// Writes a file below the trial's folder, readable by all.
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// Makes a folder, owned by a user where that is possible.
    pub(super) fn folder(&self, name: &str, mode: u32, owner: &str) -> PathBuf {
        let path = self.path(name);
        make_folder(&path, mode);
        if self.is_root {
            shell(&format!("chown {owner} {}", path.display()));
        }
        path
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(TOP).join(name)
    }

    pub(super) fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, words: &[&str], input: &[u8]) -> Done {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{words:?}: {e}"));
        let (mut stdin, mut stdout, mut stderr) =
            (child.stdin.take().unwrap(), child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let _ = stdin.write_all(input);
            });
            let error = scope.spawn(move || text_of(&mut stderr));
            let out = text_of(&mut stdout);
            Done { out, error: error.join().unwrap(), status: child.wait().unwrap() }
        })
    }

    /// Runs a command as an ordinary user; without root that is the user who runs the tests.
    pub(super) fn run_as(&self, user: &str, words: &[&str], input: &[u8]) -> Done {
        let home = format!("HOME=/mnt/home/{user}");
        let mut all = vec!["env", home.as_str()];
        if self.is_root {
            all.extend(["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"]);
        }
        all.extend(words);
        self.run(&all, input)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "60"]).args(words).current_dir(TOP);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.env("HOME", "/mnt/home").env("TZ", "UTC");
        command
    }

    /// Starts a program that goes on; what it says is kept in `NAME.out`. It ends with the trial at the latest.
    pub(super) fn start(&self, name: &str, words: &[&str], variables: &[(&str, &str)]) -> u32 {
        let out = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("log/{name}.out")))
            .unwrap();
        let child = Command::new(words[0])
            .args(&words[1..])
            .current_dir(TOP)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|e| panic!("{words:?}: {e}"));
        let pid = child.id();
        self.started.borrow_mut().push(child);
        pid
    }

    pub(super) fn signal(&self, signal: &str, pid: u32) {
        shell(&format!("kill -{signal} {pid}"));
    }

    /// Waits for the end of what `start` has started.
    #[track_caller]
    pub(super) fn wait_for_end(&self, pid: u32) -> ExitStatus {
        let mut ended = None;
        wait("the end of a process", || {
            let mut started = self.started.borrow_mut();
            ended = started.iter_mut().find(|c| c.id() == pid).unwrap().try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Ends a program by SIGTERM.
    pub(super) fn stop(&self, pid: u32) {
        self.signal("TERM", pid);
        self.wait_for_end(pid);
    }

    /// Makes a certificate authority and a certificate of it for both servers, and an authority that nobody trusts.
    pub(super) fn make_certificates(&self) {
        let new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30";
        let authority = "-addext basicConstraints=critical,CA:TRUE";
        shell(&format!(
            "cd {TOP}/tls; exec 2>openssl.out
            for name in ca other; do {new} -subj /CN=$name {authority} -keyout $name.key -out $name.pem; done
            {new} -subj /CN=mta.test.ex -addext basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey ca.key \
            -addext subjectAltName=DNS:mta.test.ex,DNS:peer.test.ex -keyout server.key -out server.pem
            chmod 644 *.key"
        ));
    }

    /// Logs of all programs, for a trial that failed.
    pub(super) fn notes(&self) -> String {
        let mut names: Vec<PathBuf> =
            fs::read_dir(self.path("log")).unwrap().flatten().map(|e| e.path()).collect();
        names.sort();
        let mut notes = String::new();
        for name in names.iter().filter(|n| n.is_file()) {
            let text = fs::read(name).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let from = text.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            notes.push_str(&format!("[{}]\n{}\n", name.display(), &text[from..]));
        }
        notes
    }

    /// The messages of a maildir.
    pub(super) fn maildir(&self, folder: &str) -> Vec<Vec<u8>> {
        let entries = fs::read_dir(self.path(folder).join("new")).into_iter().flatten().flatten();
        let mut all: Vec<Vec<u8>> = entries.filter_map(|e| fs::read(e.path()).ok()).collect();
        all.sort();
        all
    }

    /// Waits until a maildir has so many messages.
    #[track_caller]
    pub(super) fn wait_for_mail(&self, folder: &str, count: usize) -> Vec<Vec<u8>> {
        wait(&format!("{count} messages in {folder}"), || self.maildir(folder).len() >= count);
        let all = self.maildir(folder);
        assert_eq!(all.len(), count, "{folder}");
        all
    }
}

/// Waits until something is so.
#[track_caller]
pub(super) fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

fn text_of(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn make_folder(path: &Path, mode: u32) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(super) fn shell(text: &str) {
    let status = Command::new("sh").args(["-ec", text]).status().unwrap();
    assert!(status.success(), "{text}");
}

/// The files that cover those of /etc.
fn write_etc(over: &Path) {
    let mut users = fs::read_to_string("/etc/passwd").unwrap();
    let mut groups = fs::read_to_string("/etc/group").unwrap();
    let own =
        |name: &str| USERS.iter().chain(GROUPS).any(|(known, _)| name.starts_with(&format!("{known}:")));
    users = users.lines().filter(|l| !own(l)).map(|l| format!("{l}\n")).collect();
    groups = groups.lines().filter(|l| !own(l)).map(|l| format!("{l}\n")).collect();
    for (name, id) in USERS {
        users.push_str(&format!("{name}:x:{id}:{id}:{name} of the tests:/mnt/home/{name}:/bin/sh\n"));
        groups.push_str(&format!("{name}:x:{id}:\n"));
    }
    for (name, id) in GROUPS {
        groups.push_str(&format!("{name}:x:{id}:\n"));
    }
    // A container may run us as somebody without a name.
    let own = fs::metadata("/proc/self").unwrap();
    let has_id = |table: &str, id: u32| table.lines().any(|l| l.split(':').nth(2) == Some(&id.to_string()));
    if !has_id(&users, own.uid()) {
        users.push_str(&format!("tester:x:{}:{}::/mnt/home/tester:/bin/sh\n", own.uid(), own.gid()));
    }
    if !has_id(&groups, own.gid()) {
        groups.push_str(&format!("tester:x:{}:\n", own.gid()));
    }
    for (name, text) in [
        ("passwd", users.as_str()),
        ("group", groups.as_str()),
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 mta.test.ex peer.test.ex\n"),
        ("mailname", "test.ex\n"),
        ("hostname", "mta.test.ex\n"),
    ] {
        fs::write(over.join(name), text).unwrap();
        fs::set_permissions(over.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

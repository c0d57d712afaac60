//! The process inside the namespaces: sets the scene, does what the scenario says, records what happened.
//!
//! The scenario's folder is mounted on /mnt, so every path is the same in each run; loopback and the name server are
//! its own; `resolv.conf` and `hosts` are covered by its own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::format::{Scenario, Section};
use super::{Program, brightmail, clients, dns, mail_server, ruled_server};
use crate::place;

const TOP: &str = "/mnt";
const PATIENCE: Duration = Duration::from_secs(20);
/// The companion programs: `$TOOLS/NAME` in a `sh` section is Exim's own or Oxim's.
const TOOLS: &[&str] = &[
    "exicyclog",
    "exigrep",
    "exim_checkaccess",
    "exim_dbmbuild",
    "exim_dumpdb",
    "exim_fixdb",
    "exim_id_update",
    "exim_lock",
    "exim_msgdate",
    "exim_tidydb",
    "eximstats",
    "exinext",
    "exipick",
    "exiqgrep",
    "exiqsumm",
    "exiwhat",
    "ocsp_fetch.pl",
    "oxim",
];

/// What the outer process wants.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    pub(crate) file: PathBuf,
    pub(crate) program: Program,
    pub(crate) work: PathBuf,
}

/// What happened, by section.
#[derive(Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Results {
    pub(crate) sections: HashMap<usize, BTreeMap<String, String>>,
    /// Logs that help to understand a failure.
    pub(crate) notes: String,
}

/// Entry point of `--stage`.
pub(crate) fn main(order_file: &str) {
    let order: Order = serde_json::from_slice(&fs::read(order_file).unwrap()).unwrap();
    let scenario = Scenario::read(&order.file).unwrap();
    let mut stage = Stage::set(&order, &scenario);
    for (index, section) in scenario.sections.iter().enumerate() {
        if let Some(result) = stage.act(section) {
            stage.results.sections.insert(index, result);
        }
    }
    stage.finish();
    fs::write(order.work.join("results.json"), serde_json::to_vec(&stage.results).unwrap()).unwrap();
}

struct Stage {
    program: Program,
    has_default_config: bool,
    binary: PathBuf,
    daemon: Option<Child>,
    servers: HashMap<String, clients::Seen>,
    results: Results,
}

pub(crate) fn shell(text: &str) {
    let status = Command::new("sh").args(["-ec", text]).status().unwrap();
    assert!(status.success(), "{text}");
}

impl Stage {
    fn set(order: &Order, scenario: &Scenario) -> Stage {
        let (has_default_config, binary) = lay(&order.work, order.program);
        if brightmail::is_for(&order.file) {
            brightmail::place_in(Path::new(TOP));
        }
        if order.program == Program::Oxim {
            fs::create_dir_all("/mnt/tools").unwrap();
            for name in TOOLS {
                std::os::unix::fs::symlink(&binary, Path::new("/mnt/tools").join(name)).unwrap();
            }
        }
        let mut zone = String::new();
        for section in &scenario.sections {
            match section.kind.as_str() {
                "dns" => zone.push_str(&section.body),
                "config" => write_config(section, order.program),
                "file" => write_file(section),
                "dir" => {
                    let mut words = section.argument.split(' ');
                    let path = inside(words.next().unwrap());
                    fs::create_dir_all(&path).unwrap();
                    fs::set_permissions(
                        &path,
                        fs::Permissions::from_mode(
                            words.next().map_or(0o1777, |m| u32::from_str_radix(m, 8).unwrap()),
                        ),
                    )
                    .unwrap();
                }
                _ => {}
            }
        }
        fs::set_permissions(TOP, fs::Permissions::from_mode(0o755)).unwrap();
        dns::start(zone);
        Stage {
            program: order.program,
            has_default_config,
            binary,
            daemon: None,
            servers: HashMap::new(),
            results: Results::default(),
        }
    }

    fn act(&mut self, section: &Section) -> Option<BTreeMap<String, String>> {
        let body = |text: String| Some(BTreeMap::from([("body".to_owned(), text)]));
        match section.kind.as_str() {
            "run" => Some(self.run(section, None)),
            "user-run" => Some(self.run(section, Some("daemon"))),
            "sh" => Some(output_of(
                Command::new("sh")
                    .args(["-c", &section.body])
                    .current_dir(TOP)
                    .env("EXIM", &self.binary)
                    .env("TOOLS", if self.program == Program::Oxim { "/mnt/tools" } else { "/usr/sbin" })
                    .env("TZ", "UTC"),
                None,
            )),
            "daemon" => {
                self.start_daemon(&section.argument);
                None
            }
            "stop" => {
                self.stop_daemon();
                None
            }
            "server" => {
                self.servers
                    .insert(section.argument.clone(), clients::serve(&section.argument, &section.body));
                None
            }
            "ruled-server" => {
                let mut words = section.argument.split(' ');
                let name = words.next().unwrap().to_owned();
                let addresses: Vec<&str> = words.collect();
                self.servers.insert(name, ruled_server::start(&addresses, &section.body));
                None
            }
            "mail-server" => {
                mail_server::start(Path::new(TOP), &section.argument);
                None
            }
            "client" => body(self.client(section)),
            "wait" => {
                self.wait(&section.argument);
                None
            }
            "expect" => {
                if section.argument.starts_with("server ") {
                    self.await_connections(section);
                }
                body(self.look_at(&section.argument))
            }
            _ => None,
        }
    }

    fn command(&self, arguments: &str, user: Option<&str>) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(user) = user {
            words.extend(
                ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"].map(str::to_owned),
            );
        }
        words.push(self.binary.display().to_string());
        if !self.has_default_config {
            words.extend(["-C".to_owned(), format!("{TOP}/etc/exim4.conf")]);
        }
        words.extend(split_words(arguments));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(TOP)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        command
    }

    fn run(&self, section: &Section, user: Option<&str>) -> BTreeMap<String, String> {
        output_of(&mut self.command(&section.argument, user), section.part("stdin"))
    }

    fn start_daemon(&mut self, arguments: &str) {
        let log = fs::File::create("/mnt/daemon.out").unwrap();
        let mut command = self.command(&format!("-bdf -oX 2525 {arguments}"), None);
        self.daemon =
            Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect("127.0.0.1:2525").is_err() {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(
                Instant::now() < end && ended.is_none(),
                "no daemon: {}",
                fs::read_to_string("/mnt/daemon.out").unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        // The ports are bound before the worker serves: what local users submit goes through its own socket.
        let control = Path::new("/mnt/spool/oxim-control");
        while self.program == Program::Oxim && !control.exists() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let end = Instant::now() + PATIENCE;
            while daemon.try_wait().unwrap().is_none() {
                if Instant::now() > end {
                    let _ = daemon.kill();
                    self.results.notes.push_str("the daemon did not end on SIGTERM\n");
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// `== client PORT` talks TCP; `== client -bs …` talks to the program's standard input and output.
    fn client(&self, section: &Section) -> String {
        if !section.argument.starts_with('-') {
            return clients::connect(&section.argument, &section.body);
        }
        let mut child = self
            .command(&section.argument, None)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let script = section.body.clone();
        let done = std::thread::scope(|scope| {
            let play = scope.spawn(|| {
                let text = clients::play(&script, &mut output, &mut input);
                drop(input);
                text
            });
            play.join().unwrap()
        });
        let _ = child.wait();
        done
    }

    /// Waits until a file holds a string: `mainlog Completed`, or `mainlog 3 Completed` for three times.
    fn wait(&mut self, argument: &str) {
        let (file, text) = argument.split_once(' ').unwrap();
        let (count, text) =
            match text.split_once(' ').and_then(|(n, t)| n.parse::<usize>().ok().map(|n| (n, t))) {
                Some(found) => found,
                None => (1, text),
            };
        let end = Instant::now() + PATIENCE;
        while self.look_at(file).matches(text).count() < count {
            if Instant::now() > end {
                self.results.notes.push_str(&format!("waited in vain for {argument}\n"));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The server notes the end of a connection a moment after its client has seen it.
    fn await_connections(&self, expected: &Section) {
        let ends = |text: &str| text.lines().filter(|line| *line == "====").count();
        let deadline = Instant::now() + Duration::from_secs(5);
        while ends(&self.look_at(&expected.argument)) < ends(&expected.body) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look_at(&self, what: &str) -> String {
        let (kind, argument) = what.split_once(' ').unwrap_or((what, ""));
        match kind {
            "mainlog" | "rejectlog" | "paniclog" => read(&Path::new(TOP).join("log").join(kind)),
            "file" => read(&inside(argument)),
            "files" => files(&inside(argument)),
            "maildir" => messages(&inside(argument).join("new")),
            "server" => self.servers.get(argument).map(|s| s.lock().unwrap().clone()).unwrap_or_default(),
            "queue" => {
                String::from_utf8_lossy(&self.command("-bpc", None).output().unwrap().stdout).into_owned()
            }
            other => panic!("nothing to look at: {other}"),
        }
    }

    fn finish(&mut self) {
        self.stop_daemon();
        for log in ["mainlog", "paniclog"] {
            self.results.notes.push_str(&format!("[{log}]\n{}", read(&Path::new(TOP).join("log").join(log))));
        }
        self.results.notes.push_str(&format!("[daemon]\n{}", read(Path::new("/mnt/daemon.out"))));
    }
}

/// Users of a scenario's own, with homes below `/mnt/home`, and their ids.
pub(crate) const USERS: &[(&str, u32)] = &[("alice", 2001), ("bob", 2002)];

/// Covers what the programs see of the machine by folders of this work folder: whether the configuration is at its default
/// place, and where the program is.
pub(crate) fn lay(work: &Path, program: Program) -> (bool, PathBuf) {
    let root = work.join("root");
    for folder in ["spool", "log", "mail"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o1777)).unwrap();
    }
    fs::write(work.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n").unwrap();
    fs::write(work.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n").unwrap();
    fs::write(work.join("mailname"), "test.ex\n").unwrap();
    let (root, folder) = (root.display(), work.display());
    shell(&format!(
        "mount --bind {root} {TOP}; mount --bind {folder}/resolv.conf /etc/resolv.conf; mount --bind {folder}/hosts /etc/hosts"
    ));
    shell("ip link set lo up; hostname host.test.ex");
    add_users(work);
    // The default place of the configuration: with -C, Exim gives up its privileges. Without root the place may not exist.
    fs::create_dir_all("/mnt/etc").unwrap();
    let is_root = fs::create_dir_all("/etc/exim4").is_ok();
    let has_default_config = is_root
        && Command::new("mount").args(["--bind", "/mnt/etc", "/etc/exim4"]).status().unwrap().success();
    // The program lies in a folder that only its owner may enter; every user must be able to run it.
    let binary = match program {
        Program::Exim => place::exim().unwrap(),
        Program::Oxim => {
            let copy = Path::new(TOP).join("oxim");
            if fs::hard_link(place::oxim(), &copy).is_err() {
                fs::copy(place::oxim(), &copy).unwrap();
            }
            copy
        }
    };
    (has_default_config, binary)
}

/// Makes the users known.
fn add_users(work: &Path) {
    let mut users = read(Path::new("/etc/passwd"));
    let mut groups = read(Path::new("/etc/group"));
    for (name, id) in USERS {
        users.push_str(&format!("{name}:x:{id}:{id}:{name} of the tests:/mnt/home/{name}:/bin/sh\n"));
        groups.push_str(&format!("{name}:x:{id}:\n"));
        let home = Path::new(TOP).join("home").join(name);
        fs::create_dir_all(&home).unwrap();
        let _ = std::os::unix::fs::chown(&home, Some(*id), Some(*id));
    }
    fs::write(work.join("passwd"), users).unwrap();
    fs::write(work.join("group"), groups).unwrap();
    let work = work.display();
    shell(&format!("mount --bind {work}/passwd /etc/passwd; mount --bind {work}/group /etc/group"));
}

fn inside(name: &str) -> PathBuf {
    Path::new(TOP).join(name)
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn files(directory: &Path) -> String {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.iter().map(|n| format!("{n}\n")).collect()
}

/// The messages of a maildir's folder, ordered by their text, since names tell time only.
fn messages(directory: &Path) -> String {
    let mut all: Vec<String> =
        fs::read_dir(directory).into_iter().flatten().flatten().map(|e| read(&e.path())).collect();
    all.sort();
    all.join("====\n")
}

/// Every scenario has these in front; a later setting in the scenario would be an error, so they are few.
const PREAMBLE: &str = "spool_directory = /mnt/spool\nlog_file_path = /mnt/log/%slog\npid_file_path = /mnt/daemon.pid\nprimary_hostname = host.test.ex\nkeep_environment =\ntimezone = UTC\n\
     received_header_text = Received: ${if def:sender_rcvhost{from $sender_rcvhost }}by $primary_hostname with $received_protocol id $message_exim_id${if def:received_for{ for $received_for}}\n\
     exim_user = Debian-exim\nexim_group = Debian-exim\n";

fn write_config(section: &Section, program: Program) {
    let name = if section.argument.is_empty() { "etc/exim4.conf" } else { &section.argument };
    let mut text = String::new();
    if section.argument.is_empty() && !section.body.starts_with("#bare") {
        text.push_str(PREAMBLE);
        if program == Program::Oxim {
            text.push_str("message_id_form = short\ndns_servers = 127.0.0.1\n");
            // exim4 4.96 does not offer LIMITS.
            if !section.body.contains("limits_advertise_hosts") {
                text.push_str("limits_advertise_hosts =\n");
            }
        }
        for option in [
            "spool_directory",
            "log_file_path",
            "received_header_text",
            "primary_hostname",
            "timezone",
            "keep_environment",
        ] {
            if section.body.lines().any(|l| l.trim_start().starts_with(option)) {
                text = text.lines().filter(|l| !l.starts_with(option)).map(|l| format!("{l}\n")).collect();
            }
        }
    }
    text.push_str(&section.body);
    fs::write(inside(name), text).unwrap();
    fs::set_permissions(inside(name), fs::Permissions::from_mode(0o644)).unwrap();
}

/// `== file NAME [MODE [OWNER]]`
fn write_file(section: &Section) {
    let mut words = section.argument.split(' ');
    let path = inside(words.next().unwrap());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &section.body).unwrap();
    let mode = words.next().map_or(0o644, |m| u32::from_str_radix(m, 8).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    if let Some(owner) = words.next() {
        shell(&format!("chown {owner} {}", path.display()));
    }
}

pub(crate) fn output_of(command: &mut Command, input: Option<&str>) -> BTreeMap<String, String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.unwrap_or("").to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        let _ = stderr.read_to_end(&mut text);
        text
    });
    let mut text = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut text).unwrap();
    let status = child.wait().unwrap();
    writer.join().unwrap();
    let mut result = BTreeMap::new();
    result.insert("output".to_owned(), String::from_utf8_lossy(&text).replace('\r', ""));
    result.insert("error".to_owned(), String::from_utf8_lossy(&errors.join().unwrap()).replace('\r', ""));
    let exit = match status.code() {
        Some(0) => String::new(),
        Some(code) => code.to_string(),
        None => format!("{status}"),
    };
    result.insert("exit".to_owned(), exit);
    result
}

/// Words of a command line: blanks part them, single quotes hold them together.
fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (word, tail) = match rest.strip_prefix('\'') {
            Some(quoted) => quoted.split_once('\'').unwrap(),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = tail.trim_start();
    }
    words
}

//! The process inside the namespaces of one comparison: a machine `host.test.ex` with users, aliases, a name server and an
//! outside world of its own. What it writes goes into the work folder; `/etc` is a copy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::four::{self, Four};
use super::mime::Part;
use super::{addresses, dialogue, message, mime, options};
use crate::place;
use crate::scenario::stage::{output_of, shell};
use crate::scenario::{Program, dns};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What is compared.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) enum Task {
    Addresses(Four),
    Options(Four),
    Dialogue(Four),
    Message(Four),
    Mime(Part),
}

impl Task {
    pub(super) fn name(&self) -> String {
        match self {
            Task::Addresses(four) => format!("addresses::{}", four.name()),
            Task::Options(four) => format!("options::{}", four.name()),
            Task::Dialogue(four) => format!("dialogue::{}", four.name()),
            Task::Message(four) => format!("message::{}", four.name()),
            Task::Mime(part) => format!("mime::{}", part.name),
        }
    }
}

/// What the outer process wants.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) program: Program,
    pub(crate) work: PathBuf,
}

/// Entry point of `--ground`.
pub(crate) fn main(order_file: &str) {
    let order: Order = serde_json::from_slice(&fs::read(order_file).unwrap()).unwrap();
    let mut ground = Ground::lay(&order);
    let record = match &order.task {
        Task::Addresses(four) => {
            four.write_config(&order.work);
            addresses::record(&ground)
        }
        Task::Options(four) => {
            four.write_config(&order.work);
            options::record(&ground)
        }
        Task::Dialogue(four) => {
            four.write_config(&order.work);
            dialogue::record(&ground)
        }
        Task::Message(four) => {
            four.write_config(&order.work);
            message::record(&mut ground)
        }
        Task::Mime(part) => mime::record(&mut ground, part),
    };
    ground.stop_daemon();
    fs::write(order.work.join("record.json"), serde_json::to_vec(&record).unwrap()).unwrap();
}

/// The machine on which one program runs.
pub(super) struct Ground {
    pub(super) program: Program,
    binary: PathBuf,
    daemon: Option<Child>,
}

impl Ground {
    fn lay(order: &Order) -> Ground {
        let work = order.work.display();
        shell("ip link set lo up; hostname host.test.ex; ip addr add 198.51.100.1/32 dev lo");
        // The outside world: reachable, and no address of this host.
        shell("ip route add local 192.0.2.0/24 dev lo");
        fs::set_permissions(&order.work, fs::Permissions::from_mode(0o755)).unwrap();
        shell(&format!(
            "cd {work}; mkdir top spool log mail run lib; cp -a /etc etc; rm -rf etc/exim4/exim4.conf etc/exim4/exim4.conf.localmacros etc/resolv.conf etc/hosts; \
             chown Debian-exim:Debian-exim spool log run lib; chmod 755 log; chown root:mail mail; chmod 3777 mail"
        ));
        // Only the addresses ask for a name that gets no answer; otherwise a busy machine must have its time.
        let seconds = if matches!(order.task, Task::Addresses(_)) { 2 } else { 20 };
        four::write_etc(&order.work.join("etc"), seconds);
        // /var/mail may be a link, /run/exim4 and the like may be missing.
        let mut mounts = String::new();
        for (own, place) in [
            ("top", "/mnt"),
            ("spool", "/var/spool/exim4"),
            ("log", "/var/log/exim4"),
            ("mail", "/var/mail"),
            ("run", "/run/exim4"),
            ("lib", "/var/lib/exim4"),
            ("etc", "/etc"),
        ] {
            mounts.push_str(&format!("mkdir -p {place}; mount --bind {work}/{own} {place}\n"));
        }
        shell(&mounts);
        four::write_homes();
        let binary = match order.program {
            Program::Exim => place::exim().unwrap(),
            Program::Oxim => {
                // The program lies in a folder that only its owner may enter; every user must be able to run it.
                let copy = Path::new("/mnt/oxim").to_path_buf();
                if fs::hard_link(place::oxim(), &copy).is_err() {
                    fs::copy(place::oxim(), &copy).unwrap();
                }
                copy
            }
        };
        dns::start(four::ZONE.to_owned());
        Ground { program: order.program, binary, daemon: None }
    }

    /// The program, called by root or another user, with an empty environment.
    pub(super) fn command(&self, user: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command
            .arg("--")
            .arg(&self.binary)
            .args(arguments)
            .current_dir("/")
            .env_clear()
            .env("TZ", "UTC")
            .env("LC_ALL", "C");
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Everything that a run says: standard output, standard error, exit code.
    pub(super) fn run(&self, user: Option<&str>, arguments: &[&str]) -> String {
        let asked = self.command(user, arguments);
        let mut command = Command::new("timeout");
        command.arg("60").arg(asked.get_program()).args(asked.get_args()).current_dir("/").env_clear();
        command.envs(asked.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = output_of(&mut command, None);
        format!("{}[error]\n{}[exit {}]", done["output"], done["error"], done["exit"])
    }

    /// Starts the daemon and waits until it answers on 127.0.0.1 port 25.
    pub(super) fn start_daemon(&mut self) {
        let log = fs::File::create("/mnt/daemon.out").unwrap();
        let mut command = self.command(None, &["-bdf", "-oX", "127.0.0.1"]);
        self.daemon =
            Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        let control = Path::new("/var/spool/exim4/oxim-control");
        let end = Instant::now() + PATIENCE;
        let mut answers = false;
        loop {
            answers = answers || std::net::TcpStream::connect("127.0.0.1:25").is_ok();
            if answers && (self.program == Program::Exim || control.exists()) {
                return;
            }
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            let said = || fs::read_to_string("/mnt/daemon.out").unwrap();
            assert!(Instant::now() < end && ended.is_none(), "no daemon: {}", said());
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
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// A file's bytes, each as the character of the same number; empty if there is none.
pub(super) fn bytes_of(path: &Path) -> String {
    fs::read(path).unwrap_or_default().into_iter().map(char::from).collect()
}

/// Waits for a condition; false after `PATIENCE`.
pub(super) fn wait_for(mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

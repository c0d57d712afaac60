//! Each kind of scanner, played by a script, with each way to fail: nobody is there, half an answer, silence, an answer without
//! end; then it is back. A message that was not scanned is put off, or passes where the condition says `defer_ok`, and the log
//! tells; it is never lost, and never passes otherwise.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

use super::{config, folder, give_away, is_root};
use crate::place;

/// How a scanner speaks.
struct Daemon {
    name: &'static str,
    /// The options; `SOCKET` is where it listens.
    options: &'static str,
    condition: &'static str,
    /// What is awaited, if anything is, and said before the last answer.
    before: &'static [(&'static str, &'static str)],
    /// The end of the last request; nothing: the end of the connection.
    request_end: &'static str,
    clean: &'static str,
    found: &'static str,
    /// An answer that breaks off.
    half: &'static str,
    /// What makes an answer without end.
    endless: &'static str,
}

const MALWARE: &str = "malware = */tmo=1s";
const SPAM: &str = "spam = nobody";
/// The scanner that is a command.
const COMMAND: &str = "cmdline";
/// A daemon about which nothing is said.
const PLAIN: Daemon = Daemon {
    name: "",
    options: "",
    condition: MALWARE,
    before: &[],
    request_end: "\n",
    clean: "",
    found: "",
    half: "",
    endless: "x",
};

const DAEMONS: &[Daemon] = &[
    Daemon {
        name: "avast",
        options: "av_scanner = avast:SOCKET",
        before: &[("", "220 DAEMON\r\n")],
        clean: "210 SCAN DATA\r\nSCAN /x\t[+]\r\n200 SCAN OK\r\n",
        found: "210 SCAN DATA\r\nSCAN /x\t[L]0.0\t0 Bad\r\n200 SCAN OK\r\n",
        half: "210 SCAN DATA\r\nSCAN /x\t[+]\r\n",
        endless: "SCAN /x\t[+]\r\n",
        ..PLAIN
    },
    Daemon {
        name: "aveserver",
        options: "av_scanner = aveserver:SOCKET",
        before: &[("", "200 ready\r\n")],
        clean: "220 done\r\n",
        found: "322-Bad /x\r\n220 done\r\n",
        half: "311 x\r\n22",
        endless: "311 x\r\n",
        ..PLAIN
    },
    Daemon {
        name: "clamd",
        options: "av_scanner = clamd:SOCKET",
        clean: "/x: OK\n",
        found: "/x: Bad FOUND\n",
        half: "/x: OK",
        ..PLAIN
    },
    // A command in the place of the socket.
    Daemon {
        name: COMMAND,
        options: "av_scanner = cmdline:SOCKET %s:VIRUS:is (.*)",
        clean: "echo all well",
        found: "echo VIRUS is Bad",
        half: "echo all; exit 1",
        endless: "yes all well",
        ..PLAIN
    },
    Daemon {
        name: "drweb",
        options: "av_scanner = drweb:SOCKET",
        request_end: "eml\0\0\0\0",
        clean: "\0\0\0\0\0\0\0\0",
        found: "\0\0\0\x20\0\0\0\x01\0\0\0\x12infected with Bad\0",
        half: "\0\0\0\0\0\0",
        ..PLAIN
    },
    Daemon {
        name: "f-prot6d",
        options: "av_scanner = f-prot6d:SOCKET",
        clean: "0 <clean> /x\n",
        found: "1 <infected: Bad> /x\n",
        half: "0 <cle",
        ..PLAIN
    },
    Daemon {
        name: "f-protd",
        options: "av_scanner = f-protd:SOCKET",
        request_end: "\0",
        clean: "HTTP/1.0 200 OK\r\n\r\n<summary code=\"0\">clean</summary>",
        found: "HTTP/1.0 200 OK\r\n\r\n<detected type=\"x\">\n<name>Bad</name>\n<summary code=\"11\">",
        half: "HTTP/1.0 200 OK\r\n\r\n<summary co",
        ..PLAIN
    },
    Daemon {
        name: "fsecure",
        options: "av_scanner = fsecure:SOCKET",
        before: &[("\n", "X\n"), ("\n", "X\n"), ("\n", "X\n"), ("\n", "X\n")],
        clean: "OK\tScan ok.\n",
        found: "INFECTED\t/x\tBad\tAVP\nOK\tScan ok.\n",
        half: "SCANNING\t/x\nO",
        endless: "SCANNING\t/x\n",
        ..PLAIN
    },
    Daemon {
        name: "kavdaemon",
        options: "av_scanner = kavdaemon:SOCKET",
        request_end: "\0",
        clean: "\0\0",
        found: "\x04\0",
        half: "\0",
        ..PLAIN
    },
    Daemon {
        name: "mksd",
        options: "av_scanner = mksd",
        clean: "OK /x\n",
        found: "VIR Bad /x\n",
        half: "OK",
        ..PLAIN
    },
    // An answer without its line end is an answer here: the protocol is the administrator's.
    Daemon {
        name: "sock",
        options: "av_scanner = sock:SOCKET: :VIRUS:is (.*)",
        clean: "all well\n",
        found: "VIRUS is Bad\n",
        ..PLAIN
    },
    Daemon {
        name: "sophie",
        options: "av_scanner = sophie:SOCKET",
        clean: "0\n",
        found: "1:Bad\n",
        half: "-",
        ..PLAIN
    },
    Daemon {
        name: "spamd",
        options: "spamd_address = SOCKET tmo=1s",
        condition: SPAM,
        request_end: "",
        clean: "SPAMD/1.1 0 EX_OK\r\nContent-length: 4\r\nSpam: False ; 1.0 / 5.0\r\n\r\ntext",
        found: "SPAMD/1.1 0 EX_OK\r\nContent-length: 4\r\nSpam: True ; 9.0 / 5.0\r\n\r\ntext",
        half: "SPAMD/1.1 0 EX_OK\r\nContent-length: 4\r\nSpam: False ; 1.0 / 5.0\r\n\r\nte",
        ..PLAIN
    },
    Daemon {
        name: "rspamd",
        options: "spamd_address = SOCKET tmo=1s variant=rspamd",
        condition: SPAM,
        request_end: "the end\n",
        clean: "RSPAMD/1.3 0 EX_OK\r\nMetric: default; False; 1.0 / 15.0 / 15.0\r\nAction: no action\r\n",
        found: "RSPAMD/1.3 0 EX_OK\r\nMetric: default; True; 20.0 / 15.0 / 15.0\r\nAction: reject\r\n",
        half: "RSPAMD/1.3 0 EX_OK\r\nMetric: default; False; 1.0 / 15.0 / 15.0\r\nAct",
        ..PLAIN
    },
];

/// What a scanner does with a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// Says that there is nothing, or something.
    Clean,
    Find,
    // The faults.
    BreakOff,
    Close,
    Hang,
    Chatter,
}

const FAULTS: [Does; 4] = [Does::BreakOff, Does::Close, Does::Hang, Does::Chatter];

impl Daemon {
    /// Takes one connection at the socket, or is a command there. Then nobody is there again.
    fn listen(&'static self, socket: &Path, does: Does) -> JoinHandle<()> {
        if self.name == COMMAND {
            let script = match does {
                Does::Clean => self.clean,
                Does::Find => self.found,
                Does::BreakOff => self.half,
                Does::Close => "kill -9 $$",
                Does::Hang => "sleep 30",
                Does::Chatter => self.endless,
            };
            std::fs::write(socket, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(socket, PermissionsExt::from_mode(0o755)).unwrap();
            return std::thread::spawn(|| ());
        }
        let listener = UnixListener::bind(socket).unwrap();
        std::fs::set_permissions(socket, PermissionsExt::from_mode(0o777)).unwrap();
        let socket = socket.to_owned();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            drop(listener);
            std::fs::remove_file(socket).unwrap();
            self.talk(&mut stream, does);
        })
    }

    /// The other side may go at any time.
    fn talk(&self, stream: &mut UnixStream, does: Does) {
        for (end, say) in self.before {
            if !end.is_empty() {
                await_end(stream, end);
            }
            let _gone = stream.write_all(say.as_bytes());
        }
        await_end(stream, self.request_end);
        let said = match does {
            Does::Clean => self.clean,
            Does::Find => self.found,
            Does::BreakOff => self.half,
            Does::Close => "",
            Does::Hang => {
                // Until the other side has given up: where it has ended its output before, no sign of that comes.
                while stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
                if self.request_end.is_empty() {
                    std::thread::sleep(std::time::Duration::from_millis(1500));
                }
                return;
            }
            Does::Chatter => {
                let block = self.endless.repeat(4096);
                while stream.write_all(block.as_bytes()).is_ok() {}
                return;
            }
        };
        let _gone = stream.write_all(said.as_bytes());
        if matches!(does, Does::Clean | Does::Find) {
            // What follows out of good manners.
            let _gone = stream.shutdown(std::net::Shutdown::Write);
            while stream.read(&mut [0; 512]).is_ok_and(|count| count > 0) {}
        }
    }
}

fn await_end(stream: &mut UnixStream, end: &str) {
    let (mut got, mut byte) = (Vec::new(), [0]);
    let is_all = |got: &[u8]| if end.is_empty() { false } else { got.ends_with(end.as_bytes()) };
    while !is_all(&got) && stream.read(&mut byte).is_ok_and(|count| count > 0) {
        got.push(byte[0]);
    }
}

/// A session in which messages are handed in.
struct Session {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    /// `private_run`: what stands in /run of its own, for a socket that cannot be put elsewhere.
    fn begin(config: &Path, private_run: Option<&Path>) -> Session {
        let mut command = match private_run {
            None => Command::new(place::oxim()),
            Some(folder) => {
                let mut command = Command::new("unshare");
                let script = format!(
                    "mount -t tmpfs none /run && ln -s {} /run/mksd && exec \"$@\"",
                    folder.display()
                );
                command.args(["--mount", "sh", "-c", &script, "sh"]).arg(place::oxim());
                command
            }
        };
        command.arg("-C").arg(config).args(["-bs", "-odq"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut session = Session { child, input, output };
        session.replies(1);
        session.say("HELO c.ex\r\n", 1);
        session
    }

    fn say(&mut self, text: &str, replies: usize) -> String {
        self.input.write_all(text.as_bytes()).unwrap();
        self.replies(replies)
    }

    /// The last of so many replies of one line.
    fn replies(&mut self, count: usize) -> String {
        let mut line = String::new();
        for _ in 0..count {
            line.clear();
            self.output.read_line(&mut line).unwrap();
        }
        line
    }

    /// The code of the answer to the data.
    fn submit(&mut self, sender: &str) -> String {
        self.say(&format!("MAIL FROM:<{sender}>\r\nRCPT TO:<b@test.ex>\r\n"), 2);
        self.say("DATA\r\n", 1);
        self.say("Subject: x\r\n\r\nthe end\r\n.\r\n", 1).chars().take(3).collect()
    }

    fn end(mut self) {
        self.say("QUIT\r\n", 1);
        assert!(self.child.wait().unwrap().success());
    }
}

fn configured(daemon: &Daemon, folder: &Path, socket: &Path) -> PathBuf {
    let path = folder.display();
    std::fs::create_dir(folder.join("spool")).unwrap();
    give_away(folder);
    let options = daemon.options.replace("SOCKET", &socket.display().to_string());
    let condition = daemon.condition;
    config(
        folder,
        &format!(
            "primary_hostname = mx.test.ex\nspool_directory = {path}/spool\nlog_file_path = {path}/log-%s\n\
             exim_user = nobody\nexim_group = nogroup\nkeep_environment =\ntls_advertise_hosts =\n{options}\n\
             smtp_accept_max_nonmail = 100\nacl_smtp_rcpt = accept\nacl_smtp_data = data\nbegin acl\ndata:\n\
             \x20 deny condition = ${{if eq{{$sender_address}}{{strict@s.ex}}}}\n    {condition}\n\
             \x20 deny condition = ${{if eq{{$sender_address}}{{lenient@s.ex}}}}\n    {condition}/defer_ok\n\
             \x20 accept\n"
        ),
    )
}

pub(super) fn all() {
    if !is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let trials = DAEMONS.iter().map(|daemon| std::thread::spawn(move || try_faults(daemon)));
    let trials: Vec<_> = trials.collect();
    let failed: Vec<String> = trials.into_iter().flat_map(|trial| trial.join().unwrap()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// All that went otherwise than it should.
fn try_faults(daemon: &'static Daemon) -> Vec<String> {
    let folder = folder();
    let folder = folder.path();
    let socket = folder.join("socket");
    let config = configured(daemon, folder, &socket);
    let mut session = Session::begin(&config, (daemon.name == "mksd").then_some(folder));
    let (mut wrong, mut accepted) = (Vec::new(), 0);
    let mut check = |session: &mut Session, sender: &str, does: Option<Does>, expected: &str| {
        let scanner = does.map(|does| daemon.listen(&socket, does));
        let code = session.submit(sender);
        scanner.map(JoinHandle::join).transpose().unwrap();
        let _command = std::fs::remove_file(&socket);
        accepted += usize::from(code == "250");
        if code != expected {
            wrong.push(format!("{} {does:?} {sender}: {code}, not {expected}", daemon.name));
        }
    };
    for (sender, unscanned) in [("strict@s.ex", "451"), ("lenient@s.ex", "250")] {
        check(&mut session, sender, Some(Does::Clean), "250");
        check(&mut session, sender, Some(Does::Find), "550");
        check(&mut session, sender, None, unscanned);
        for fault in FAULTS {
            check(&mut session, sender, Some(fault), unscanned);
        }
        check(&mut session, sender, Some(Does::Find), "550");
        check(&mut session, sender, Some(Does::Clean), "250");
    }
    session.end();
    let files = std::fs::read_dir(folder.join("spool/input")).unwrap().flatten();
    let spooled = files.filter(|file| file.file_name().to_string_lossy().ends_with("-H")).count();
    if spooled != accepted {
        wrong.push(format!("{}: {spooled} messages in the spool of {accepted} accepted", daemon.name));
    }
    // One line for each message that was not scanned, whether it has passed or not.
    let log = std::fs::read_to_string(folder.join("log-main")).unwrap();
    let told = log.lines().filter(|line| line.contains(" acl condition: ")).count();
    let unscanned = 2 * (1 + FAULTS.len());
    if told < unscanned {
        wrong.push(format!(
            "{}: {told} lines tell of {unscanned} messages without a scan\n{log}",
            daemon.name
        ));
    }
    if std::fs::read_dir(folder.join("spool/scan")).unwrap().next().is_some() {
        wrong.push(format!("{}: a copy is left in the spool", daemon.name));
    }
    wrong
}

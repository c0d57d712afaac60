//! A daemon in a private folder, and a client that talks to it.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place;

/// The longest that anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How a stand is set up.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Messages are delivered into a Maildir; otherwise they stay in the queue.
    pub(super) delivers: bool,
    /// More main options.
    pub(super) main: &'a str,
    /// The ACL section.
    pub(super) acl: &'a str,
    /// `smtp_accept_max`; 0 stands for 200.
    pub(super) connections: u32,
    /// The sections from the routers on, in place of those that deliver into a Maildir.
    pub(super) drivers: &'a str,
    /// The spool, if it is not in the stand's own folder.
    pub(super) spool: Option<&'a Path>,
    /// A program that starts the daemon, with its arguments.
    pub(super) wrap: &'a [&'a str],
    /// The time between queue runs; one second if it is empty.
    pub(super) every: &'a str,
}

/// The daemon, its folder and its port.
pub(super) struct Stand {
    top: tempfile::TempDir,
    spool: PathBuf,
    delivers: bool,
    connections: u32,
    acl_section: String,
    drivers: String,
    main: String,
    wrap: Vec<String>,
    every: String,
    pub(super) address: SocketAddr,
    daemon: Option<Child>,
}

impl Stand {
    /// Writes the configuration and starts the daemon.
    pub(super) fn start(plan: &Plan<'_>) -> Stand {
        let mut stand = Stand::lay_out(plan);
        stand.launch();
        stand
    }

    fn lay_out(plan: &Plan<'_>) -> Stand {
        let top = tempfile::Builder::new().prefix("oxim-crash").tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let spool = plan.spool.map_or_else(|| top.path().join("spool"), Path::to_path_buf);
        for folder in [&spool, &top.path().join("log"), &top.path().join("mail")] {
            fs::create_dir_all(folder).unwrap();
            own(folder);
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let stand = Stand {
            top,
            spool,
            delivers: plan.delivers,
            connections: if plan.connections == 0 { 200 } else { plan.connections },
            acl_section: plan.acl.to_owned(),
            drivers: plan.drivers.to_owned(),
            main: plan.main.to_owned(),
            wrap: plan.wrap.iter().map(|w| (*w).to_owned()).collect(),
            every: if plan.every.is_empty() { "1s" } else { plan.every }.to_owned(),
            address,
            daemon: None,
        };
        stand.configure("");
        stand
    }

    /// Writes the configuration, with more main options for this time.
    pub(super) fn configure(&self, more: &str) {
        let (top, spool, port) = (self.top.path().display(), self.spool.display(), self.address.port());
        let user = if super::is_root() {
            "exim_user = mail\nexim_group = mail\n".to_owned()
        } else {
            let name = |flag: &str| {
                let out = Command::new("id").arg(flag).output().unwrap();
                String::from_utf8(out.stdout).unwrap().trim().to_owned()
            };
            format!("exim_user = {}\nexim_group = {}\n", name("-un"), name("-gn"))
        };
        let queue = if self.delivers { "" } else { "queue_only\n" };
        let drivers = if self.drivers.is_empty() {
            format!(
                "begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\nmaildir:\n  driver = appendfile\n\
                 \x20 directory = {top}/mail\n  maildir_format\n  create_directory\n  user = {}\n  group = {}\nbegin retry\n* * F,1h,1s\n",
                user.lines().next().unwrap().rsplit(' ').next().unwrap(),
                user.lines().nth(1).unwrap().rsplit(' ').next().unwrap(),
            )
        } else {
            self.drivers.clone()
        };
        let text = format!(
            "spool_directory = {spool}\nlog_file_path = {top}/log/%slog\nprimary_hostname = mta.test\nkeep_environment =\n\
             local_interfaces = 127.0.0.1\ndaemon_smtp_ports = {port}\npid_file_path = {top}/daemon.pid\n{user}{queue}\
             smtp_accept_max = {}\nsmtp_connect_backlog = 200\nhost_lookup =\nrfc1413_query_timeout = 0s\n\
             smtp_accept_queue_per_connection = 0\nmessage_size_limit = 50M\n{}{more}\n\
             begin acl\n{}{drivers}",
            self.connections,
            self.main_options(),
            self.acl_section,
        );
        fs::write(self.config(), text).unwrap();
    }

    /// The main options of the plan, with those that it does not name.
    fn main_options(&self) -> String {
        let own = ["acl_smtp_rcpt = accept\n", "tls_advertise_hosts =\n"];
        let is_named = |line: &str| self.main.contains(line.split(' ').next().unwrap());
        own.into_iter().filter(|line| !is_named(line)).chain([self.main.as_str()]).collect()
    }

    /// The configuration file.
    pub(super) fn config(&self) -> PathBuf {
        self.top.path().join("exim.conf")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.top.path().join("log").join(name)
    }

    pub(super) fn mail(&self) -> PathBuf {
        self.top.path().join("mail/new")
    }

    pub(super) fn spool(&self) -> &Path {
        &self.spool
    }

    /// Starts the daemon and waits for its banner.
    pub(super) fn launch(&mut self) {
        self.wait_for_port();
        let errors =
            fs::File::options().create(true).append(true).open(self.top.path().join("errors")).unwrap();
        let mut words = self.wrap.clone();
        words.push(place::oxim().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("-C").arg(self.config()).arg("-bdf");
        if self.delivers {
            command.arg(format!("-q{}", self.every));
        }
        command.stdin(Stdio::null()).stdout(errors.try_clone().unwrap()).stderr(errors).process_group(0);
        self.daemon = Some(command.spawn().unwrap());
        let end = Instant::now() + PATIENCE;
        loop {
            if Client::connect(self.address).is_ok() {
                return;
            }
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "no daemon: {}", self.trouble());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A killed daemon's sockets close a moment after it.
    fn wait_for_port(&self) {
        let end = Instant::now() + PATIENCE;
        while TcpListener::bind(self.address).is_err() {
            assert!(Instant::now() < end, "port {} stays in use", self.address.port());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the daemon said about itself.
    pub(super) fn trouble(&self) -> String {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        format!("{}\n{}", read(self.top.path().join("errors")), read(self.log("paniclog")))
    }

    /// The process that was started.
    pub(super) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    fn signal(&self, signal: &str, target: &str) {
        system_quietly(&["kill", signal, "--", target]);
    }

    pub(super) fn hang_up(&self) {
        self.signal("-HUP", &self.pid().to_string());
    }

    /// Kills every process of the daemon at once.
    pub(super) fn kill(&mut self) {
        self.signal("-KILL", &format!("-{}", self.pid()));
        self.daemon.take().unwrap().wait().unwrap();
    }

    /// Ends the daemon as an administrator would; what is in its journal is written out.
    pub(super) fn stop(&mut self) {
        let group = format!("-{}", self.pid());
        // A wrapper must hear of it too, but passes nothing on.
        if self.wrap.is_empty() {
            self.signal("-TERM", &self.pid().to_string());
        } else {
            self.signal("-TERM", &group);
        }
        let mut daemon = self.daemon.take().unwrap();
        let end = Instant::now() + PATIENCE;
        while daemon.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                self.signal("-KILL", &group);
                daemon.wait().unwrap();
                panic!("the daemon did not end on SIGTERM: {}", self.trouble());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How many messages are in the queue, by the program's own count.
    pub(super) fn queue_count(&self) -> usize {
        let output = Command::new(place::oxim()).arg("-C").arg(self.config()).arg("-bpc").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().unwrap_or_else(|_| panic!("-bpc: {text}{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Whether a message is accepted within the time that anything may take.
    pub(super) fn accepts_again(&self) -> bool {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let sent = Client::connect(self.address).and_then(|mut c| {
                c.hello()?;
                c.send(b"Subject: again\r\n\r\nagain\r\n")
            });
            if sent.is_ok_and(|reply| reply.code == 250) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            self.kill();
        }
    }
}

fn system_quietly(words: &[&str]) {
    super::system(words);
}

/// Gives a folder to the user of the daemon.
pub(super) fn own(folder: &Path) {
    if super::is_root() {
        assert!(super::system(&["chown", "mail:mail", folder.to_str().unwrap()]));
    }
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    pub(super) text: String,
}

/// One connection.
pub(super) struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads a banner of success.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Client> {
        let (mut client, banner) = Client::connect_for(address, PATIENCE)?;
        if banner.code != 220 {
            client.write(b"QUIT\r\n")?;
            return Err(io::Error::other(format!("{banner:?}")));
        }
        Ok(client)
    }

    /// Connects and reads what comes first.
    pub(super) fn connect_for(address: SocketAddr, patience: Duration) -> io::Result<(Client, Reply)> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut client = Client { reader: BufReader::new(stream.try_clone()?), stream };
        let banner = client.reply()?;
        Ok((client, banner))
    }

    pub(super) fn hello(&mut self) -> io::Result<Reply> {
        self.command("EHLO client.test")
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(super) fn command(&mut self, line: &str) -> io::Result<Reply> {
        self.write(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    pub(super) fn reply(&mut self) -> io::Result<Reply> {
        let mut text = String::new();
        loop {
            let mut line = Vec::new();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            text.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = line.get(..3).and_then(|c| c.parse().ok()).unwrap_or(0);
                return Ok(Reply { code, text });
            }
        }
    }

    /// One message, dots already doubled; the reply is that of the step that ended it.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<Reply> {
        for line in ["MAIL FROM:<sender@client.test>", "RCPT TO:<someone@mta.test>", "DATA"] {
            let reply = self.command(line)?;
            if reply.code >= 400 {
                return Ok(reply);
            }
        }
        let mut whole = message.to_vec();
        whole.extend_from_slice(b".\r\n");
        self.write(&whole)?;
        self.reply()
    }

    /// The socket, for somebody who speaks another language. All that was sent must have been read.
    pub(super) fn into_stream(self) -> TcpStream {
        assert!(self.reader.buffer().is_empty());
        self.stream
    }

    /// Says nothing more, and reads all that comes.
    pub(super) fn finish(mut self) -> String {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut all = Vec::new();
        let _ = io::Read::read_to_end(&mut self.reader, &mut all);
        String::from_utf8_lossy(&all).into_owned()
    }
}

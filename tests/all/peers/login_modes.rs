//! Every mechanism of every client that is at hand, in the clear, after STARTTLS and with TLS at once: the right password, a
//! wrong one, an unknown user, exchanges that break off. PLAIN and LOGIN are offered under TLS only, as they should be.

use super::ground::{Done, Ground, wait};
use super::oxim::{Oxim, local_transport, main_options};

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Never,
    StartTls,
    AtOnce,
}

const MODES: [Mode; 3] = [Mode::Never, Mode::StartTls, Mode::AtOnce];

impl Mode {
    fn port(self) -> &'static str {
        if self == Mode::AtOnce { "2465" } else { "2525" }
    }
}

/// One attempt to log in and to send a message.
struct Attempt<'a> {
    mechanism: &'a str,
    mode: Mode,
    user: &'a str,
    password: &'a str,
    sender: &'a str,
}

/// A client with the mechanisms that it has.
struct Program {
    mechanisms: &'static [&'static str],
    run: fn(&Ground, &Attempt<'_>) -> Done,
    /// It sends nothing but ends after its login.
    only_logs_in: bool,
}

/// The name of the authenticator for a mechanism.
fn authenticator(mechanism: &str) -> String {
    mechanism.to_ascii_lowercase().replace('-', "")
}

fn is_offered(mechanism: &str, mode: Mode) -> bool {
    mode != Mode::Never || !matches!(mechanism, "PLAIN" | "LOGIN")
}

/// The user `alice` has the password `wonder`. Users may send. The realm is the host's name, because curl takes one for the other.
fn configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let encrypted = "  server_advertise_condition = ${if def:tls_in_cipher}\n";
    // A forced failure would be a reason to try again later for gsasl, and is a refusal for the others.
    let password = "  server_password = ${if eq{$auth1}{alice}{wonder}}\n  server_set_id = $auth1\n";
    let scram: String = ["SCRAM-SHA-1", "SCRAM-SHA-256"]
        .iter()
        .map(|mechanism| {
            let name = authenticator(mechanism);
            format!(
                "{name}:\n  driver = gsasl\n  public_name = {mechanism}\n{password}\
                 {name}plus:\n  driver = gsasl\n  public_name = {mechanism}-PLUS\n  server_channelbinding\n{encrypted}{password}"
            )
        })
        .collect();
    format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         log_selector = +smtp_no_mail\nacl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n  accept authenticated = *\n  deny message = log in first\n\
         begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}\
         begin retry\n* * F,1h,1m\nbegin authenticators\n\
         plain:\n  driver = plaintext\n  public_name = PLAIN\n{encrypted}  server_prompts = :\n  server_set_id = $auth2\n\
         \x20 server_condition = ${{if and{{{{eq{{$auth2}}{{alice}}}}{{eq{{$auth3}}{{wonder}}}}}}}}\n\
         login:\n  driver = plaintext\n  public_name = LOGIN\n{encrypted}  server_prompts = <| Username: | Password:\n  server_set_id = $auth1\n\
         \x20 server_condition = ${{if and{{{{eq{{$auth1}}{{alice}}}}{{eq{{$auth2}}{{wonder}}}}}}}}\n\
         crammd5:\n  driver = cram_md5\n  public_name = CRAM-MD5\n  server_secret = ${{if eq{{$auth1}}{{alice}}{{wonder}}fail}}\n  server_set_id = $auth1\n\
         digestmd5:\n  driver = gsasl\n  public_name = DIGEST-MD5\n  server_hostname = mta.test.ex\n  server_realm = mta.test.ex\n{password}\
         ntlm:\n  driver = spa\n  public_name = NTLM\n  server_password = ${{if eq{{$auth1}}{{alice}}{{wonder}}fail}}\n  server_set_id = $auth1\n{scram}"
    )
}

fn start(ground: &Ground) -> Oxim<'_> {
    ground.make_certificates();
    Oxim::start(ground, &configuration(ground), &[])
}

/// Every mechanism in every mode. What is refused is refused by the server where it offers the mechanism.
fn try_all(ground: &Ground, program: &Program) {
    let oxim = start(ground);
    for (mode, mechanism) in
        MODES.iter().flat_map(|mode| program.mechanisms.iter().map(|name| (*mode, *name)))
    {
        let name = authenticator(mechanism);
        let sender = format!("{name}.{mode:?}@test.ex").to_ascii_lowercase();
        let attempt = Attempt { mechanism, mode, user: "alice", password: "wonder", sender: &sender };
        let done = (program.run)(ground, &attempt);
        if !is_offered(mechanism, mode) {
            assert_ne!(done.code(), 0, "{mechanism} in the clear: {done:#?}");
            continue;
        }
        done.good();
        let line = if program.only_logs_in {
            let cipher = if mode == Mode::Never { " D=" } else { " X=TLS1.3:" };
            oxim.line(&["no MAIL in SMTP connection", &format!(" A={name}:alice{cipher}")])
        } else {
            let protocol = if mode == Mode::Never { "P=esmtpa " } else { "P=esmtpsa X=TLS1." };
            oxim.line(&[&format!(" <= {sender} "), protocol, &format!(" A={name}:alice ")])
        };
        assert_eq!(line.contains(" X=TLS"), mode != Mode::Never, "{line}");

        let (user, password) = if mode == Mode::AtOnce { ("mallory", "wonder") } else { ("alice", "guess") };
        let failed = format!("{name} authenticator failed for ");
        let before = oxim.log().matches(&failed).count();
        let done = (program.run)(ground, &Attempt { user, password, ..attempt });
        assert_ne!(done.code(), 0, "{mechanism} {mode:?} as {user}: {done:#?}");
        oxim.wait_for_log(before + 1, &failed);
        let line = oxim.log().lines().rfind(|line| line.contains(&failed)).unwrap().to_owned();
        assert!(line.ends_with(&format!("535 Incorrect authentication data (set_id={user})")), "{line}");
    }
    assert!(!oxim.log().contains("wonder") && !oxim.log().contains("guess"));
    oxim.stop();
}

/// swaks, with the Perl modules that give it DIGEST-MD5 and NTLM.
pub(super) fn swaks(ground: &Ground) {
    let run = |ground: &Ground, attempt: &Attempt<'_>| {
        let mut all = vec!["swaks", "--timeout", "20", "--helo", "client.test", "--to", "alice@test.ex"];
        all.extend(["--from", attempt.sender, "--server", "mta.test.ex", "--port", attempt.mode.port()]);
        all.extend(["--auth", attempt.mechanism, "--auth-user", attempt.user]);
        all.extend(["--auth-password", attempt.password]);
        match attempt.mode {
            Mode::Never => {}
            Mode::StartTls => all.push("--tls"),
            Mode::AtOnce => all.push("--tls-on-connect"),
        }
        ground.run(&all, b"")
    };
    let mechanisms = &["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM"];
    try_all(ground, &Program { mechanisms, run, only_logs_in: false });
}

/// curl, by smtp and smtps URLs.
pub(super) fn curl(ground: &Ground) {
    let run = |ground: &Ground, attempt: &Attempt<'_>| {
        let scheme = if attempt.mode == Mode::AtOnce { "smtps" } else { "smtp" };
        let url = format!("{scheme}://mta.test.ex:{}/client.test", attempt.mode.port());
        let user = format!("{}:{}", attempt.user, attempt.password);
        let option = format!("AUTH={}", attempt.mechanism);
        ground.write("message", "Subject: x\r\n\r\n");
        let mut all =
            vec!["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", "/mnt/tls/ca.pem"];
        all.extend(["--mail-from", attempt.sender, "--mail-rcpt", "alice@test.ex"]);
        all.extend(["--upload-file", "/mnt/message", &url, "--user", &user, "--login-options", &option]);
        if attempt.mode == Mode::StartTls {
            all.push("--ssl-reqd");
        }
        ground.run(&all, b"")
    };
    let mechanisms = &["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM"];
    try_all(ground, &Program { mechanisms, run, only_logs_in: false });
}

/// msmtp, as a user's mail program submits.
pub(super) fn msmtp(ground: &Ground) {
    let run = |ground: &Ground, attempt: &Attempt<'_>| {
        let on_or_off = |is_on: bool| if is_on { "on" } else { "off" };
        let words = [
            "--host=mta.test.ex".to_owned(),
            format!("--port={}", attempt.mode.port()),
            format!("--tls={}", on_or_off(attempt.mode != Mode::Never)),
            format!("--tls-starttls={}", on_or_off(attempt.mode == Mode::StartTls)),
            "--tls-trust-file=/mnt/tls/ca.pem".to_owned(),
            format!("--auth={}", attempt.mechanism.to_ascii_lowercase()),
            format!("--user={}", attempt.user),
            format!("--passwordeval=echo {}", attempt.password),
            format!("--from={}", attempt.sender),
            "--domain=client.test".to_owned(),
            "--timeout=20".to_owned(),
        ];
        let mut all = vec!["msmtp"];
        all.extend(words.iter().map(String::as_str));
        all.push("alice@test.ex");
        ground.run(&all, b"Subject: x\n\n")
    };
    let mechanisms = &["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256"];
    try_all(ground, &Program { mechanisms, run, only_logs_in: false });
}

/// gsasl(1) knows TLS only with channel binding, and none at once: this does the TLS, and gsasl believes that it speaks in the clear.
const TUNNEL: &str = r#"
import asyncio, ssl
def context(): return ssl.create_default_context(cafile="/mnt/tls/ca.pem")
async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data); await writer.drain()
    except OSError: pass
    writer.close()
async def starttls(reader, writer):
    far, to_far = await asyncio.open_connection("mta.test.ex", 2525)
    greeting = await far.readuntil(b"\r\n")
    to_far.write(b"EHLO client.test\r\n"); await far.readuntil(b"250 HELP\r\n")
    to_far.write(b"STARTTLS\r\n"); await far.readuntil(b"\r\n")
    await to_far.start_tls(context(), server_hostname="mta.test.ex")
    writer.write(greeting)
    await asyncio.gather(pump(reader, to_far), pump(far, writer))
async def at_once(reader, writer):
    far, to_far = await asyncio.open_connection("mta.test.ex", 2465, ssl=context())
    await asyncio.gather(pump(reader, to_far), pump(far, writer))
async def main():
    servers = [await asyncio.start_server(serve, "127.0.0.1", port) for serve, port in ((starttls, 2601), (at_once, 2602))]
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main())
"#;

/// gsasl(1): SCRAM without channel binding under TLS among others. With it: see `authentication::gsasl`.
pub(super) fn gsasl(ground: &Ground) {
    ground.write("tunnel.py", TUNNEL);
    let tunnel = ground.start("tunnel", &["python3", "/mnt/tunnel.py"], &[]);
    wait("the tunnel", || std::net::TcpListener::bind("127.0.0.1:2602").is_err());
    let run = |ground: &Ground, attempt: &Attempt<'_>| {
        let place = match attempt.mode {
            Mode::Never => "mta.test.ex:2525",
            Mode::StartTls => "127.0.0.1:2601",
            Mode::AtOnce => "127.0.0.1:2602",
        };
        let mut all = vec!["timeout", "20", "gsasl", "--smtp", "--connect", place, "--no-starttls"];
        all.extend(["--hostname", "mta.test.ex", "--mechanism", attempt.mechanism]);
        all.extend(["--authentication-id", attempt.user, "--password", attempt.password]);
        ground.run(&all, b"")
    };
    let mechanisms = &["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"];
    try_all(ground, &Program { mechanisms, run, only_logs_in: true });
    ground.stop(tunnel);
}

const EXCHANGES: &str = r#"
import base64, socket, ssl
context = ssl.create_default_context(cafile="/mnt/tls/ca.pem")
class Session:
    def __init__(self, mode):
        self.socket = socket.create_connection(("mta.test.ex", 2465 if mode == "at once" else 2525), 20)
        if mode == "at once": self.wrap()
        else: self.file = self.socket.makefile("rb")
        self.read(); self.say("EHLO client.test", "250")
        if mode == "starttls":
            self.say("STARTTLS", "220"); self.wrap(); self.say("EHLO client.test", "250")
    def wrap(self):
        self.socket = context.wrap_socket(self.socket, server_hostname="mta.test.ex")
        self.file = self.socket.makefile("rb")
    def read(self):
        while (line := self.file.readline().decode())[3:4] == "-": pass
        return line
    def say(self, line, code):
        self.socket.sendall(line.encode() + b"\r\n")
        reply = self.read()
        assert reply.startswith(code), (line[:80], reply)
def encoded(text): return base64.b64encode(text).decode()
alice = encoded(b"\0alice\0wonder")
long = encoded(b"\0alice\0wonder" + b"\0" * 20000)
anywhere = ["CRAM-MD5", "DIGEST-MD5", "NTLM", "SCRAM-SHA-1", "SCRAM-SHA-256"]
encrypted = ["PLAIN", "LOGIN", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"]
for mode in ["never", "starttls", "at once"]:
    for mechanism in anywhere + (encrypted if mode != "never" else []):
        session = Session(mode)
        # Given up; no base64; longer than any line; the same with the command; nothing; not what the mechanism wants.
        for answer in ("*", "%%%", long):
            session.say("AUTH " + mechanism, "334"); session.say(answer, "501")
        session.say("AUTH " + mechanism + " " + long, "500")
        session.say("RSET", "250")
        session = Session(mode)
        for initial in ("=", encoded(b"\0"), encoded(b"x" * 9000)):
            session.socket.sendall(("AUTH " + mechanism + " " + initial + "\r\n").encode())
            reply = session.read()
            while reply.startswith("334"):
                session.socket.sendall(encoded(b"nonsense").encode() + b"\r\n")
                reply = session.read()
            assert reply[:3] in ("501", "535"), (mode, mechanism, initial[:20], reply)
        session.say("MAIL FROM:<a@test.ex>", "250"); session.say("RCPT TO:<alice@test.ex>", "550")
    session = Session(mode)
    if mode == "never":
        for mechanism in encrypted: session.say("AUTH " + mechanism + " " + alice, "504")
        continue
    session.say("AUTH PLAIN " + alice, "235")
    session.say("AUTH PLAIN " + alice, "503")
    session.say("MAIL FROM:<a@test.ex>", "250"); session.say("RCPT TO:<alice@test.ex>", "250")
    session = Session(mode)
    session.say("AUTH LOGIN " + encoded(b"alice"), "334"); session.say(encoded(b"wonder"), "235")
    session = Session(mode)
    session.say("AUTH PLAIN", "334"); session.say(alice, "235")
"#;

/// Exchanges that no client makes: given up, without base64, too long, with initial responses of all kinds.
pub(super) fn exchanges(ground: &Ground) {
    let oxim = start(ground);
    ground.write("exchanges.py", EXCHANGES);
    ground.run(&["python3", "/mnt/exchanges.py"], b"").good();
    assert!(!oxim.log().contains("wonder"));
    oxim.stop();
}

//! AUTH beside software that others wrote: GNU SASL's gsasl(1) and curl as clients, exim4's NTLM on either side, Dovecot as the
//! server that judges.

use super::ground::{Done, Ground, wait};
use super::oxim::{Oxim, difficult_message, local_transport, main_options, submit};

/// The user `alice` has the password `wonder`, by each mechanism.
fn configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let password = "  server_password = ${if eq{$auth1}{alice}{wonder}}\n  server_set_id = $auth1\n";
    let mut authenticators = String::new();
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let name = mechanism.to_ascii_lowercase().replace('-', "");
        authenticators.push_str(&format!(
            "{name}:\n  driver = gsasl\n  public_name = {mechanism}\n  server_hostname = mta.test.ex\n{password}"
        ));
        if mechanism.starts_with("SCRAM") {
            authenticators.push_str(&format!(
                "{name}plus:\n  driver = gsasl\n  public_name = {mechanism}-PLUS\n  server_channelbinding\n{password}"
            ));
        }
    }
    for (mechanism, condition) in
        [("EXTERNAL", "${if eq{$auth1}{alice}}"), ("ANONYMOUS", "${if match{$auth1}{@}}")]
    {
        let name = mechanism.to_ascii_lowercase();
        authenticators.push_str(&format!(
            "{name}:\n  driver = gsasl\n  public_name = {mechanism}\n  server_condition = {condition}\n  server_set_id = $auth1\n"
        ));
    }
    authenticators.push_str(&format!("ntlm:\n  driver = spa\n  public_name = NTLM\n{password}"));
    format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         log_selector = +smtp_no_mail\nacl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n  accept authenticated = *\n  deny\n\
         begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}\
         begin retry\n* * F,1h,1m\nbegin authenticators\n{authenticators}"
    )
}

fn start(ground: &Ground) -> Oxim<'_> {
    ground.make_certificates();
    Oxim::start(ground, &configuration(ground), &[])
}

/// gsasl(1) begins TLS without a greeting, which no server need allow: this says EHLO in its place and then only passes bytes on.
const GREETER: &str = r#"
import socket, threading
listener = socket.create_server(("127.0.0.1", 2600), backlog=20)
def pump(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
    except OSError: pass
    for end in (source, target):
        try: end.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    client, _ = listener.accept()
    server = socket.create_connection(("127.0.0.1", 2525))
    greeting = server.recv(1000); server.sendall(b"EHLO client.test\r\n"); server.recv(4000)
    client.sendall(greeting)
    for pair in ((client, server), (server, client)): threading.Thread(target=pump, args=pair, daemon=True).start()
"#;

fn start_greeter(ground: &Ground) -> u32 {
    ground.write("greeter.py", GREETER);
    let pid = ground.start("greeter", &["python3", "/mnt/greeter.py"], &[]);
    wait("the greeter", || std::net::TcpStream::connect("127.0.0.1:2600").is_ok());
    pid
}

/// Under TLS, by way of the greeter.
const TLS: &[&str] = &["--connect", "mta.test.ex:2600", "--starttls", "--x509-ca-file", "/mnt/tls/ca.pem"];
const CLEAR: &[&str] = &["--connect", "mta.test.ex:2525", "--no-starttls"];

fn by_gsasl(ground: &Ground, mechanism: &str, user: &str, password: &str, words: &[&str]) -> Done {
    let mut all = vec!["timeout", "20", "gsasl", "--smtp"];
    all.extend(["--hostname", "mta.test.ex", "--mechanism", mechanism]);
    all.extend(["--authentication-id", user, "--password", password, "--anonymous-token", user]);
    if mechanism == "EXTERNAL" {
        all.extend(["--authorization-id", user]);
    }
    all.extend(words);
    ground.run(&all, b"")
}

/// gsasl(1): every mechanism in the clear and under TLS, the right password and a wrong one.
pub(super) fn gsasl(ground: &Ground) {
    let oxim = start(ground);
    let greeter = start_greeter(ground);
    let trials: &[(&str, &str, &str)] = &[
        ("PLAIN", "alice", "plain"),
        ("LOGIN", "alice", "login"),
        ("CRAM-MD5", "alice", "crammd5"),
        ("DIGEST-MD5", "alice", "digestmd5"),
        ("SCRAM-SHA-1", "alice", "scramsha1"),
        ("SCRAM-SHA-256", "alice", "scramsha256"),
        ("EXTERNAL", "alice", "external"),
        ("ANONYMOUS", "alice@test.ex", "anonymous"),
    ];
    for (mechanism, user, name) in trials {
        for (words, encrypted) in [(CLEAR, ""), (TLS, " X=TLS1.3:")] {
            // A client that could bind the channel must not do without: gsasl(1) itself gives up unless told that it cannot.
            let no_binding: &[&str] =
                if mechanism.starts_with("SCRAM") && words == TLS { &["--no-cb"] } else { &[] };
            by_gsasl(ground, mechanism, user, "wonder", &[words, no_binding].concat()).good();
            oxim.line(&["no MAIL in SMTP connection", &format!(" A={name}:{user}{encrypted}")]);
        }
        let (user, password) = match *mechanism {
            "EXTERNAL" | "ANONYMOUS" => ("mallory", ""),
            _ => (*user, "guess"),
        };
        let done = by_gsasl(ground, mechanism, user, password, CLEAR);
        assert_ne!(done.code(), 0, "{mechanism}");
        oxim.line(&[
            &format!("{name} authenticator failed for "),
            &format!("535 Incorrect authentication data (set_id={user})"),
        ]);
    }
    for mechanism in ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"] {
        by_gsasl(ground, mechanism, "alice", "wonder", TLS).good();
        let name = mechanism.to_ascii_lowercase().replace('-', "");
        oxim.line(&["no MAIL in SMTP connection", &format!(" A={name}:alice X=TLS1.3:")]);
    }
    ground.stop(greeter);
    assert!(!oxim.log().contains("wonder") && !oxim.log().contains("guess"));
    oxim.stop();
}

/// curl: the mechanisms that it does by itself.
pub(super) fn curl(ground: &Ground) {
    let oxim = start(ground);
    ground.write("message", difficult_message("curl"));
    let send = |mechanism: &str, user: &str| {
        let option = format!("AUTH={mechanism}");
        let mut all = vec![
            "curl",
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--crlf",
            "--cacert",
            "/mnt/tls/ca.pem",
        ];
        all.extend([
            "--mail-from",
            "sender@test.ex",
            "--mail-rcpt",
            "alice@test.ex",
            "--upload-file",
            "/mnt/message",
        ]);
        all.extend(["smtp://mta.test.ex:2525", "--ssl-reqd", "--user", user, "--login-options", &option]);
        ground.run(&all, b"")
    };
    for (mechanism, name) in [("NTLM", "ntlm"), ("PLAIN", "plain"), ("CRAM-MD5", "crammd5")] {
        send(mechanism, "alice:wonder").good();
        oxim.line(&[" <= ", "P=esmtpsa ", &format!(" A={name}:alice")]);
        assert_eq!(send(mechanism, "alice:guess").code(), 67, "{mechanism}");
        oxim.line(&[
            &format!("{name} authenticator failed for "),
            "535 Incorrect authentication data (set_id=alice)",
        ]);
    }
    oxim.stop();
}

/// exim4 and NTLM: its client to us, our client to it.
pub(super) fn ntlm_exim4(ground: &Ground) {
    ground.make_certificates();
    ground.folder("peer", 0o755, "Debian-exim");
    let spa = |user: &str| {
        format!(
            "begin authenticators\nspa:\n  driver = spa\n  public_name = NTLM\n  server_password = ${{if eq{{$auth1}}{{{user}}}{{wonder}}fail}}\n  server_set_id = $auth1\n\
             \x20 client_username = alice\n  client_password = wonder\n"
        )
    };
    ground.write(
        "exim4/exim4.conf",
        format!(
            "spool_directory = /mnt/peer/spool\nlog_file_path = /mnt/peer/%slog\npid_file_path = /mnt/peer/exim.pid\n\
             primary_hostname = peer.test.ex\nkeep_environment =\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = 2626\n\
             host_lookup =\nrfc1413_query_timeout = 0s\ntls_advertise_hosts =\nacl_smtp_rcpt = accept\n\
             begin routers\nhere:\n  driver = redirect\n  domains = peer.test.ex\n  data = :blackhole:\n\
             out:\n  driver = manualroute\n  route_list = * mta.test.ex::2525\n  self = send\n  transport = smtp\n\
             begin transports\nsmtp:\n  driver = smtp\n  hosts_require_auth = *\n  hosts_avoid_tls = *\nbegin retry\n* * F,1h,1s\n{}",
            spa("alice")
        ),
    );
    let exim = ground.start("exim4", &["/usr/sbin/exim4", "-bdf", "-q1s"], &[]);
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let oxim = Oxim::start(
        ground,
        &format!(
            "{main}tls_advertise_hosts =\nacl_smtp_rcpt = accept\nbegin acl\n\
             begin routers\nout:\n  driver = manualroute\n  domains = peer.test.ex\n  route_list = * 127.0.0.1::2626\n  self = send\n  transport = smtp\n\
             all:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}\
             smtp:\n  driver = smtp\n  hosts_require_auth = *\nbegin retry\n* * F,1h,1s\n{}",
            spa("alice")
        ),
        &["-q1s"],
    );
    wait("exim4", || std::net::TcpStream::connect("127.0.0.1:2626").is_ok());
    submit("127.0.0.1:2525", "sender@test.ex", &["x@peer.test.ex"], &difficult_message("to exim4"));
    oxim.line(&[" => x@peer.test.ex ", " A=spa "]);
    submit("127.0.0.1:2626", "sender@test.ex", &["alice@test.ex"], &difficult_message("from exim4"));
    oxim.line(&[" <= sender@test.ex ", "H=(peer.test.ex)", "P=esmtpa ", "A=spa:alice"]);
    ground.stop(exim);
    oxim.stop();
}

/// Dovecot judges: right and wrong passwords by each mechanism that it has, and Dovecot gone.
pub(super) fn dovecot(ground: &Ground) {
    ground.make_certificates();
    ground.folder("dovecot", 0o755, "root");
    ground.write("dovecot/users", "alice:{PLAIN}wonder:::::\n");
    let configuration = ground.write(
        "dovecot/dovecot.conf",
        "base_dir = /mnt/dovecot/run\nstate_dir = /mnt/dovecot/state\nlog_path = /mnt/log/dovecot.log\nprotocols = lmtp\nssl = no\n\
         default_internal_user = dovecot\ndefault_login_user = dovenull\nauth_failure_delay = 0\n\
         auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 anonymous\ndisable_plaintext_auth = no\n\
         passdb {\n  driver = passwd-file\n  args = scheme=PLAIN username_format=%u /mnt/dovecot/users\n}\n\
         userdb {\n  driver = static\n  args = uid=alice gid=alice home=/mnt\n}\n\
         service auth {\n  unix_listener /mnt/dovecot/auth {\n    mode = 0666\n  }\n}\n\
         service lmtp {\n  unix_listener /mnt/dovecot/lmtp {\n    mode = 0666\n  }\n}\n\
         service stats {\n  unix_listener stats-writer {\n    mode = 0666\n  }\n}\n",
    );
    let pid =
        ground.start("dovecot", &["/usr/sbin/dovecot", "-F", "-c", configuration.to_str().unwrap()], &[]);
    wait("dovecot", || ground.path("dovecot/auth").exists());
    let mut authenticators = String::new();
    let mechanisms = ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"];
    for mechanism in mechanisms {
        authenticators.push_str(&format!(
            "dovecot_{}:\n  driver = dovecot\n  public_name = {mechanism}\n  server_socket = /mnt/dovecot/auth\n  server_set_id = $auth1\n",
            mechanism.to_ascii_lowercase().replace('-', "")
        ));
    }
    let main = main_options(ground);
    let oxim = Oxim::start(
        ground,
        &format!(
            "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
             log_selector = +smtp_no_mail\nbegin authenticators\n{authenticators}"
        ),
        &[],
    );
    let greeter = start_greeter(ground);
    for mechanism in mechanisms {
        let name = format!("dovecot_{}", mechanism.to_ascii_lowercase().replace('-', ""));
        let (words, encrypted) =
            if mechanism.starts_with("SCRAM") { (CLEAR, "") } else { (TLS, " X=TLS1.3:") };
        by_gsasl(ground, mechanism, "alice", "wonder", words).good();
        oxim.line(&["no MAIL in SMTP connection", &format!(" A={name}:alice{encrypted}")]);
        assert_ne!(by_gsasl(ground, mechanism, "alice", "guess", CLEAR).code(), 0, "{mechanism}");
        oxim.line(&[&format!("{name} authenticator failed for "), "535 Incorrect authentication data"]);
    }
    ground.stop(pid);
    assert_ne!(by_gsasl(ground, "PLAIN", "alice", "wonder", TLS).code(), 0);
    oxim.line(&["dovecot_plain authenticator failed for ", "435 Unable to authenticate at present"]);
    ground.stop(greeter);
    oxim.stop();
}

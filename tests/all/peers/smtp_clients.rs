//! Clients that submit over SMTP: swaks, Python's smtplib, curl, msmtp. Each sends with every mechanism it has, in the clear
//! and under TLS; each is told when password, recipient or certificate is refused.

use super::ground::Ground;
use super::oxim::{Oxim, assert_whole, difficult_message, local_transport, main_options};

/// The user `alice` has the password `wonder`; everybody may send to test.ex, users also elsewhere; nobody is refused.
fn configuration(ground: &Ground) -> String {
    let (main, maildir) = (main_options(ground), local_transport(ground));
    let plain = "  driver = plaintext\n  server_advertise_condition = true\n";
    // Not offered to all, so that the other trials choose as they would without it.
    let scram = "  driver = gsasl\n  server_advertise_condition = ${if eq{$sender_helo_name}{scram.test}}\n\
                 \x20 server_password = ${if eq{$auth1}{alice}{wonder}}\n  server_set_id = $auth1\n";
    format!(
        "{main}tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
         log_selector = +tls_cipher +received_recipients +pipelining\nacl_smtp_rcpt = rcpt\n\
         begin acl\nrcpt:\n  deny local_parts = nobody\n    message = nobody lives here\n\
         \x20 accept authenticated = *\n  accept domains = test.ex\n  deny message = relay not permitted\n\
         begin routers\nall:\n  driver = accept\n  transport = maildir\nbegin transports\n{maildir}\
         begin retry\n* * F,1h,1m\nbegin authenticators\n\
         plain:\n{plain}  public_name = PLAIN\n  server_prompts = :\n  server_condition = ${{if and{{{{eq{{$auth2}}{{alice}}}}{{eq{{$auth3}}{{wonder}}}}}}}}\n  server_set_id = $auth2\n\
         login:\n{plain}  public_name = LOGIN\n  server_prompts = <| Username: | Password:\n  server_condition = ${{if and{{{{eq{{$auth1}}{{alice}}}}{{eq{{$auth2}}{{wonder}}}}}}}}\n  server_set_id = $auth1\n\
         cram:\n  driver = cram_md5\n  public_name = CRAM-MD5\n  server_secret = ${{if eq{{$auth1}}{{alice}}{{wonder}}fail}}\n  server_set_id = $auth1\n\
         scram1:\n{scram}  public_name = SCRAM-SHA-1\nscram256:\n{scram}  public_name = SCRAM-SHA-256\n"
    )
}

fn start(ground: &Ground) -> Oxim<'_> {
    ground.make_certificates();
    Oxim::start(ground, &configuration(ground), &[])
}

/// The arrival line of the message with this id, which must have these parts, and the message in alice's box.
#[track_caller]
fn arrived(ground: &Ground, oxim: &Oxim<'_>, subject: &str, sent: &[u8], parts: &[&str]) {
    let mut all = vec![" <= ", "@test.ex"];
    let id = format!("id={}@", subject.replace(' ', "."));
    all.push(&id);
    let line = oxim.line(&all);
    for part in parts {
        match part.strip_prefix('!') {
            Some(absent) => assert!(!line.contains(absent), "{absent} in {line}"),
            None => assert!(line.contains(part), "no {part} in {line}"),
        }
    }
    let message_id = line.split(' ').nth(2).unwrap().to_owned();
    oxim.wait_for_log(1, &format!("{message_id} Completed"));
    let subject = format!("\nSubject: {subject}\n");
    let mail = ground.maildir("mail/alice");
    let found: Vec<_> = mail.iter().filter(|m| String::from_utf8_lossy(m).contains(&subject)).collect();
    assert_eq!(found.len(), 1, "{subject}");
    assert_whole(found[0], sent);
}

/// swaks: the ways to log in, TLS begun and TLS at once, pipelining, IPv6.
pub(super) fn swaks(ground: &Ground) {
    let oxim = start(ground);
    let user = ["--auth-user", "alice", "--auth-password", "wonder"];
    let trials: &[(&str, &[&str], &[&str])] = &[
        ("plain", &[], &["P=esmtp ", "H=(client.test) [127.0.0.1]", "!X=", "!A="]),
        ("helo", &["--protocol", "SMTP"], &["P=smtp "]),
        ("tls", &["--tls"], &["P=esmtps ", "X=TLS1.3:TLS_AES_256_GCM_SHA384:256"]),
        ("tls12", &["--tls", "--tls-protocol", "tlsv1_2"], &["P=esmtps ", "X=TLS1.2:ECDHE-ECDSA-"]),
        ("verified", &["--tls-verify", "--tls", "--tls-ca-path", "/mnt/tls/ca.pem"], &["P=esmtps "]),
        ("smtps", &["--tls-on-connect", "--port", "2465"], &["P=esmtps ", "X=TLS1.3"]),
        ("auth plain", &["--auth", "PLAIN"], &["P=esmtpa ", "A=plain:alice"]),
        ("auth login", &["--auth", "LOGIN"], &["P=esmtpa ", "A=login:alice"]),
        ("auth cram", &["--auth", "CRAM-MD5"], &["P=esmtpa ", "A=cram:alice"]),
        ("auth tls", &["--auth", "CRAM-MD5", "--tls"], &["P=esmtpsa ", "A=cram:alice", "X=TLS"]),
        ("pipelined", &["--pipeline"], &["P=esmtp "]),
        ("pipelined tls", &["--pipeline", "--tls", "--auth", "PLAIN"], &["P=esmtpsa ", "A=plain:alice"]),
    ];
    for (name, words, parts) in trials {
        let sent = difficult_message(&format!("swaks {name}"));
        let mut all = vec!["--server", "127.0.0.1"];
        if !words.contains(&"--port") {
            all.extend(["--port", "2525"]);
        }
        all.extend(*words);
        if words.contains(&"--auth") {
            all.extend(user);
        }
        send_by_swaks(ground, &all, &sent).good();
        arrived(ground, &oxim, &format!("swaks {name}"), &sent, parts);
    }
    let sent = difficult_message("swaks six");
    send_by_swaks(ground, &["-6", "--server", "::1", "--port", "2525"], &sent).good();
    arrived(ground, &oxim, "swaks six", &sent, &["[::1]", "P=esmtp "]);
    oxim.stop();
}

fn send_by_swaks(ground: &Ground, words: &[&str], message: &[u8]) -> super::ground::Done {
    // It adds the last line end.
    ground.write("message", message.strip_suffix(b"\n").unwrap());
    let mut all = vec!["swaks", "--helo", "client.test", "--from", "sender@test.ex", "--to", "alice@test.ex"];
    all.extend(["--data", "@/mnt/message", "--suppress-data"]);
    all.extend(words);
    ground.run(&all, b"")
}

/// swaks: wrong passwords, refused recipients, a certificate of somebody else.
pub(super) fn swaks_is_refused(ground: &Ground) {
    let oxim = start(ground);
    let message = difficult_message("refused");
    let base = ["--server", "127.0.0.1", "--port", "2525"];
    let with = |words: &[&str]| send_by_swaks(ground, &[&base, words].concat(), &message);
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let words = ["--auth", mechanism, "--auth-user", "alice", "--auth-password", "guess"];
        with(&words).bad("535 Incorrect authentication data");
        let short = if mechanism == "CRAM-MD5" { "cram" } else { &mechanism.to_ascii_lowercase() };
        oxim.line(&[
            &format!("{short} authenticator failed for (client.test) [127.0.0.1]: 535"),
            "(set_id=alice)",
        ]);
    }
    with(&["--to", "nobody@test.ex"]).bad("550 nobody lives here");
    oxim.line(&["F=<sender@test.ex> rejected RCPT <nobody@test.ex>: nobody lives here"]);
    with(&["--to", "alice@elsewhere.ex", "--pipeline"]).bad("550 relay not permitted");
    with(&["--tls", "--tls-verify", "--tls-ca-path", "/mnt/tls/other.pem"]).bad("TLS startup failed");
    oxim.line(&["TLS error on connection from (client.test) [127.0.0.1]"]);
    assert!(!oxim.log().contains(" <= "), "{}", oxim.log());
    // The daemon is none the worse.
    let sent = difficult_message("swaks after all");
    send_by_swaks(ground, &base, &sent).good();
    arrived(ground, &oxim, "swaks after all", &sent, &["P=esmtp "]);
    oxim.stop();
}

const PYTHON: &str = r#"
import smtplib, ssl, sys
message = open("/mnt/message", "rb").read().replace(b"\n", b"\r\n")
def send(name, client, to=["alice@test.ex"], options=["body=8bitmime", "size=%d" % len(message)]):
    text = message.replace(b"Subject: NAME", b"Subject: python " + name.encode()).replace(b"<NAME@", b"<python." + name.encode() + b"@")
    refused = client.sendmail("sender@test.ex", to, text, options)
    client.quit()
    return refused
def connect(host="mta.test.ex", port=2525):
    return smtplib.SMTP(host, port, "client.test", timeout=30)
def trusting(name):
    return ssl.create_default_context(cafile="/mnt/tls/%s.pem" % name)
def fails(kind, code, action):
    try: action()
    except kind as error:
        got = getattr(error, "smtp_code", None)
        assert code is None or got == code or code in str(error), (code, error)
    else: sys.exit("no %s" % kind)

assert send("clear", connect("127.0.0.1")) == {}
assert send("six", connect("::1")) == {}
client = connect(); client.starttls(context=trusting("ca")); assert send("starttls", client) == {}
client = smtplib.SMTP_SSL("mta.test.ex", 2465, "client.test", context=trusting("ca")); assert send("smtps", client) == {}
for mechanism in ("auth_plain", "auth_login", "auth_cram_md5"):
    client = connect("127.0.0.1"); client.ehlo(); client.user, client.password = "alice", "wonder"
    code, text = client.auth(mechanism[5:].upper().replace("_", "-"), getattr(client, mechanism))
    assert code == 235, (code, text)
    assert send(mechanism, client, ["alice@test.ex", "alice@elsewhere.ex"]) == {}
client = connect(); client.starttls(context=trusting("ca")); client.login("alice", "wonder"); send("login", client)
# Some recipients are refused, then all.
assert list(send("some", connect("127.0.0.1"), ["nobody@test.ex", "alice@test.ex"])) == ["nobody@test.ex"]
def all_refused():
    client = connect("127.0.0.1")
    try: client.sendmail("sender@test.ex", ["nobody@test.ex", "x@elsewhere.ex"], message)
    except smtplib.SMTPRecipientsRefused as error:
        assert error.recipients["nobody@test.ex"] == (550, b"nobody lives here"), error.recipients
        assert error.recipients["x@elsewhere.ex"][0] == 550
        raise
fails(smtplib.SMTPRecipientsRefused, None, all_refused)
fails(smtplib.SMTPAuthenticationError, 535, lambda: connect("127.0.0.1").login("alice", "guess"))
fails(ssl.SSLCertVerificationError, "certificate verify failed", lambda: connect().starttls(context=trusting("other")))
fails(ssl.SSLCertVerificationError, "not valid for 'localhost'", lambda: smtplib.SMTP_SSL("localhost", 2465, context=trusting("ca")))
# Too large, by what is said and by what is sent.
large = b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 300000
fails(smtplib.SMTPSenderRefused, 552, lambda: connect("127.0.0.1").sendmail("sender@test.ex", "alice@test.ex", large))
def unsaid():
    client = connect("127.0.0.1"); client.ehlo(); client.mail("sender@test.ex"); client.rcpt("alice@test.ex")
    code, text = client.data(large)
    raise smtplib.SMTPDataError(code, text)
fails(smtplib.SMTPDataError, 552, unsaid)
# Several messages on one connection, one of them given up.
client = connect("127.0.0.1"); client.ehlo()
for name in ("first", "second"):
    client.mail("sender@test.ex"); client.rset()
    text = message.replace(b"Subject: NAME", b"Subject: python " + name.encode()).replace(b"<NAME@", b"<python." + name.encode() + b"@")
    assert client.sendmail("sender@test.ex", "alice@test.ex", text) == {}
assert client.vrfy("alice@test.ex")[0] == 252 and client.noop()[0] == 250
client.quit()
"#;

/// Python's smtplib: both kinds of TLS with verification, the mechanisms, refusals as its exceptions.
pub(super) fn python_smtplib(ground: &Ground) {
    let oxim = start(ground);
    ground.write("message", difficult_message("NAME"));
    ground.write("send.py", PYTHON);
    ground.run(&["python3", "/mnt/send.py"], b"").good();
    let trials: &[(&str, &[&str])] = &[
        ("clear", &["P=esmtp ", "[127.0.0.1]", "!X="]),
        ("six", &["P=esmtp ", "[::1]"]),
        ("starttls", &["P=esmtps ", "X=TLS1.3:"]),
        ("smtps", &["P=esmtps ", "X=TLS1.3:"]),
        ("auth_plain", &["P=esmtpa ", "A=plain:alice", "for alice@test.ex alice@elsewhere.ex"]),
        ("auth_login", &["A=login:alice"]),
        ("auth_cram_md5", &["A=cram:alice"]),
        ("login", &["P=esmtpsa ", ":alice", "X=TLS1.3:"]),
        ("some", &["for alice@test.ex"]),
        ("first", &["P=esmtp "]),
        ("second", &["P=esmtp "]),
    ];
    // Recipients elsewhere have boxes of the same name: two of these messages arrive twice.
    let twice = ["auth_plain", "auth_login", "auth_cram_md5"];
    for (name, parts) in trials {
        let subject = format!("python {name}");
        let sent = difficult_message(&subject);
        if twice.contains(name) {
            let line = oxim.line(&[" <= ", &format!("id=python.{name}@")]);
            assert!(parts.iter().all(|p| line.contains(p)), "{line}");
        } else {
            arrived(ground, &oxim, &subject, &sent, parts);
        }
    }
    oxim.wait_for_log(trials.len(), " Completed");
    assert_eq!(oxim.log().matches(" <= ").count(), trials.len());
    oxim.line(&["rejected MAIL FROM:<sender@test.ex>", "too big"]);
    oxim.stop();
}

/// curl: a file uploaded over smtp and smtps, with and without login; its exit codes tell what was refused.
pub(super) fn curl(ground: &Ground) {
    let oxim = start(ground);
    let trials: &[(&str, &[&str], &[&str])] = &[
        ("clear", &["smtp://127.0.0.1:2525/client.test"], &["P=esmtp ", "H=(client.test)", "!X="]),
        ("six", &["smtp://[::1]:2525"], &["[::1]"]),
        ("starttls", &["smtp://mta.test.ex:2525", "--ssl-reqd"], &["P=esmtps ", "X=TLS1.3"]),
        ("smtps", &["smtps://mta.test.ex:2465"], &["P=esmtps ", "X=TLS1.3"]),
        ("login", &["smtps://mta.test.ex:2465", "--user", "alice:wonder"], &["P=esmtpsa ", ":alice"]),
        (
            "plain",
            &["smtp://127.0.0.1:2525", "--user", "alice:wonder", "--login-options", "AUTH=PLAIN"],
            &["A=plain:alice"],
        ),
        (
            "initial",
            &[
                "smtp://127.0.0.1:2525",
                "--user",
                "alice:wonder",
                "--login-options",
                "AUTH=LOGIN",
                "--sasl-ir",
            ],
            &["A=login:alice"],
        ),
        (
            "cram",
            &["smtp://127.0.0.1:2525", "--user", "alice:wonder", "--login-options", "AUTH=CRAM-MD5"],
            &["A=cram:alice"],
        ),
    ];
    for (name, words, parts) in trials {
        let sent = difficult_message(&format!("curl {name}"));
        by_curl(ground, &sent, words, "alice@test.ex").good();
        arrived(ground, &oxim, &format!("curl {name}"), &sent, parts);
    }
    let message = difficult_message("refused");
    let code = |words: &[&str], to: &str| by_curl(ground, &message, words, to).code();
    // Login denied; recipient refused (it could not send); the peer's certificate is not trusted.
    assert_eq!(code(&["smtp://127.0.0.1:2525", "--user", "alice:guess"], "alice@test.ex"), 67);
    assert_eq!(code(&["smtp://127.0.0.1:2525"], "nobody@test.ex"), 55);
    assert_eq!(code(&["smtps://mta.test.ex:2465", "--cacert", "/mnt/tls/other.pem"], "alice@test.ex"), 60);
    assert_eq!(code(&["smtp://localhost:2525", "--ssl-reqd"], "alice@test.ex"), 60);
    assert_eq!(oxim.log().matches(" <= ").count(), trials.len());
    oxim.stop();
}

fn by_curl(ground: &Ground, message: &[u8], words: &[&str], to: &str) -> super::ground::Done {
    ground.write("message", message);
    let mut all = vec!["curl", "--silent", "--show-error", "--max-time", "30", "--crlf"];
    if !words.contains(&"--cacert") {
        all.extend(["--cacert", "/mnt/tls/ca.pem"]);
    }
    all.extend(["--mail-from", "sender@test.ex", "--mail-rcpt", to, "--upload-file", "/mnt/message"]);
    all.extend(words);
    ground.run(&all, b"")
}

/// msmtp: accounts of a configuration file.
pub(super) fn msmtp(ground: &Ground) {
    let oxim = start(ground);
    let account = |name: &str, lines: &str| format!("account {name}\n{}\n", lines.replace("; ", "\n"));
    let tls = "tls on; tls_trust_file /mnt/tls/ca.pem";
    let user = "auth on; user alice; password wonder";
    let accounts = [
        account("clear", "host 127.0.0.1"),
        account("starttls", &format!("host mta.test.ex; {tls}; tls_starttls on")),
        account("smtps", &format!("host mta.test.ex; port 2465; {tls}; tls_starttls off; {user}")),
        account("plain", &format!("host mta.test.ex; {tls}; {user}; auth plain")),
        account("login", "host 127.0.0.1; auth login; user alice; password wonder"),
        account("cram", "host 127.0.0.1; auth cram-md5; user alice; password wonder"),
        account("scram1", "host 127.0.0.1; domain scram.test; auth scram-sha-1; user alice; password wonder"),
        account(
            "scram256",
            &format!("host mta.test.ex; {tls}; domain scram.test; {user}; auth scram-sha-256"),
        ),
        account(
            "scramguess",
            "host 127.0.0.1; domain scram.test; auth scram-sha-256; user alice; password x",
        ),
        account("guess", &format!("host mta.test.ex; {tls}; auth plain; user alice; password guess")),
        account("untrusted", "host mta.test.ex; tls on; tls_trust_file /mnt/tls/other.pem"),
    ];
    let text =
        format!("defaults\nport 2525\ndomain client.test\nfrom sender@test.ex\n\n{}", accounts.join("\n"));
    let file = ground.write("msmtprc", text);
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let send = |account: &str, to: &str, message: &[u8]| {
        ground.run(&["msmtp", "-C", "/mnt/msmtprc", "-a", account, to], message)
    };
    let trials: &[(&str, &[&str])] = &[
        ("clear", &["P=esmtp ", "!X="]),
        ("starttls", &["P=esmtps ", "X=TLS1.3"]),
        ("smtps", &["P=esmtpsa ", ":alice", "X=TLS1.3"]),
        ("plain", &["P=esmtpsa ", "A=plain:alice"]),
        ("login", &["P=esmtpa ", "A=login:alice"]),
        ("cram", &["P=esmtpa ", "A=cram:alice"]),
        ("scram1", &["P=esmtpa ", "A=scram1:alice"]),
        ("scram256", &["P=esmtpsa ", "A=scram256:alice"]),
    ];
    for (name, parts) in trials {
        let sent = difficult_message(&format!("msmtp {name}"));
        send(name, "alice@test.ex", &sent).good();
        arrived(ground, &oxim, &format!("msmtp {name}"), &sent, parts);
    }
    let message = difficult_message("refused");
    send("guess", "alice@test.ex", &message).bad("535 Incorrect authentication data");
    send("scramguess", "alice@test.ex", &message).bad("535 Incorrect authentication data");
    send("clear", "nobody@test.ex", &message).bad("550 nobody lives here");
    send("untrusted", "alice@test.ex", &message).bad("TLS certificate verification failed");
    assert_eq!(oxim.log().matches(" <= ").count(), trials.len());
    oxim.stop();
}

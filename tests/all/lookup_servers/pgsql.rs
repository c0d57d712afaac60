//! PostgreSQL: the server of Debian's package `postgresql`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Server, Talk, check, check_both, config, folder, free_port, give_away, is_root, unprivileged};

/// Where Debian puts `initdb` and `postgres`.
fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions.flatten().map(|entry| entry.path().join("bin")).find(|path| path.join("initdb").is_file())
}

fn start(binaries: &Path, folder: &Path, port: u16) -> Server {
    let mut command = unprivileged(&binaries.join("postgres"), folder);
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off"]);
    Server::start(command, port)
}

fn prepare(binaries: &Path, folder: &Path) -> bool {
    std::fs::write(folder.join("password"), "p w\n").unwrap();
    give_away(folder);
    let mut command: Command = unprivileged(&binaries.join("initdb"), folder);
    command.arg("-D").arg(folder.join("data")).args(["-U", "post", "--auth=scram-sha-256", "-E", "UTF8"]);
    command.args(["--no-locale", "-N"]).arg(format!("--pwfile={}", folder.join("password").display()));
    command.status().unwrap().success()
}

pub(super) fn lookups() {
    let Some(binaries) = binaries() else {
        eprintln!("skipped: postgresql is not installed");
        return;
    };
    let folder = folder();
    let folder = folder.path();
    assert!(prepare(&binaries, folder));
    let (port, dead) = (free_port(), free_port());
    let server = start(&binaries, folder, port);
    let config = config(
        folder,
        &format!(
            "hide pgsql_servers = 127.0.0.1::{dead}/postgres/post/p w : 127.0.0.1::{port}/postgres/post/p w : \
             ({}/.s.PGSQL.{port})/postgres/post/p w\n",
            folder.display()
        ),
    );
    // It takes connections before it takes logins.
    let mut talk = Talk::begin(&config);
    let until = std::time::Instant::now() + super::PATIENCE;
    while talk.ask("${lookup pgsql{select 'ready'}}") != "ready" {
        assert!(std::time::Instant::now() < until, "not ready");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    questions(folder, &config, port);
    trouble(&binaries, folder, port, server, talk);
}

/// The example of Exim's documentation of events, as it is printed: a row for each of a thousand deliveries.
pub(super) fn events() {
    let Some(binaries) = binaries().filter(|_| is_root()) else {
        eprintln!("skipped: postgresql is not installed, or this is not root");
        return;
    };
    let folder = folder();
    let folder = folder.path();
    assert!(prepare(&binaries, folder));
    let port = free_port();
    let _server = start(&binaries, folder, port);
    std::fs::create_dir(folder.join("spool")).unwrap();
    give_away(&folder.join("spool"));
    let path = folder.display();
    let example = r"  event_action = ${if eq {msg:delivery}{$event_name} \
{${lookup pgsql {SELECT * FROM record_Delivery( \
    '${quote_pgsql:$sender_address_domain}',\
    '${quote_pgsql:${lc:$sender_address_local_part}}', \
    '${quote_pgsql:$domain}', \
    '${quote_pgsql:${lc:$local_part}}', \
    '${quote_pgsql:$host_address}', \
    '${quote_pgsql:${lc:$host}}', \
    '${quote_pgsql:$message_exim_id}')}} \
} {}}
";
    let config = config(
        folder,
        &format!(
            "primary_hostname = mx.test.ex\nspool_directory = {path}/spool\nlog_file_path = {path}/log-%s\n\
             exim_user = nobody\nexim_group = nogroup\nkeep_environment =\ntls_advertise_hosts =\n\
             never_users =\nhide pgsql_servers = 127.0.0.1::{port}/postgres/post/p w\n\
             acl_smtp_rcpt = accept\nbegin routers\nall:\n  driver = accept\n  transport = box\n\
             begin transports\nbox:\n  driver = appendfile\n  file = {path}/box\n  user = nobody\n{example}"
        ),
    );
    let mut talk = Talk::begin(&config);
    let until = std::time::Instant::now() + super::PATIENCE;
    while talk.ask("${lookup pgsql{select 'ready'}}") != "ready" {
        assert!(std::time::Instant::now() < until, "not ready");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    talk.ask(
        "${lookup pgsql{create table d(sd text, sl text, rd text, rl text, ip text, fqdn text, id text)}}",
    );
    talk.ask(
        "${lookup pgsql{create function record_Delivery(text,text,text,text,text,text,text) returns void as \
         'insert into d values (\\$1,\\$2,\\$3,\\$4,\\$5,\\$6,\\$7)' language sql}}",
    );
    thousand(&config);
    let rows = "${lookup pgsql{select count(*), count(distinct rl), count(distinct id), min(sd), max(sl), min(rd), max(ip) || max(fqdn), min(length(id)) from d}}";
    let expected = "count=1000 count=1000 count=10 min=s.ex max=o'brien min=test.ex ?column?=\"\" min=23 ";
    assert_eq!(talk.ask(rows), expected, "{}", std::fs::read_to_string(folder.join("log-main")).unwrap());
}

/// Ten messages of a hundred recipients.
fn thousand(config: &Path) {
    let mut child = Command::new(crate::place::oxim())
        .arg("-C")
        .arg(config)
        .args(["-bs", "-odi"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut script = String::from("HELO c.ex\r\n");
    for message in 0..10 {
        script.push_str("MAIL FROM:<O'Brien@s.ex>\r\n");
        for recipient in 0..100 {
            script.push_str(&format!("RCPT TO:<R{message}x{recipient}@test.ex>\r\n"));
        }
        script.push_str("DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n");
    }
    script.push_str("QUIT\r\n");
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

fn questions(folder: &Path, config: &Path, port: u16) {
    check(
        config,
        &[
            ("${lookup pgsql{create table t(a int, b text)}{<$value>}{none}}", "<>"),
            ("${lookup pgsql{insert into t values (1,'x y'),(2,null),(3,'q\"r')}{<$value>}{none}}", "<3>"),
            ("${lookup pgsql{}{found}{none}}", "none"),
        ],
    );
    let socket = folder.join(format!(".s.PGSQL.{port}"));
    let by_socket = format!("${{lookup pgsql,servers=({}){{select 7}}}}", socket.display());
    check(config, &[(&by_socket, "7")]);
    check_both(
        config,
        &[
            (
                "${lookup pgsql{select * from t order by a}{<$value>}{none}}",
                "<a=1 b=\"x y\" \na=2 b=\"\" \na=3 b=q\"r >",
            ),
            ("${lookup pgsql{select b from t where a<3 order by a}{<$value>}{none}}", "<x y\n>"),
            ("${lookup pgsql{select b from t where a=9}{<$value>}{none}}", "none"),
            ("${lookup pgsql{update t set b='z' where a>7}{<$value>}{none}}", "<0>"),
            ("${lookup pgsql{select 1; select 2}}", "2"),
            ("${lookup pgsql{select '${quote_pgsql:x'); drop table t; --}' as x}}", "x'); drop table t; --"),
            ("${lookup pgsql{select count(*) from t}}", "3"),
            (
                "${lookup pgsql,servers=no.such.server{select 1}}",
                "Failed: lookup of \"select 1\" gave DEFER: PostgreSQL server \"no.such.server\" not found in pgsql_servers",
            ),
            (
                "${lookup pgsql{servers=; select 1}}",
                "Failed: lookup of \"servers=; select 1\" gave DEFER: \"servers=\" defines no servers in \"servers=; select 1\"",
            ),
            (
                "${lookup pgsql{servers a; select 1}}",
                "Failed: lookup of \"servers a; select 1\" gave DEFER: missing = after \"servers\" in PostgreSQL lookup",
            ),
            (
                "${lookup pgsql{servers=a select 1}}",
                "Failed: lookup of \"servers=a select 1\" gave DEFER: missing ; after \"servers=\" in PostgreSQL lookup",
            ),
        ],
    );
    let wrong = format!("${{lookup pgsql,servers=127.0.0.1::{port}/postgres/post/bad{{select 1}}}}");
    let refused = format!(
        "Failed: lookup of \"select 1\" gave DEFER: PGSQL connection failed: connection to server at \"127.0.0.1\", port {port} failed: FATAL:  password authentication failed for user \"post\""
    );
    let socket_wrong =
        format!("${{lookup pgsql,servers=({})/postgres/post/bad{{select 1}}}}", socket.display());
    check_both(config, &[(&wrong, &refused)]);
    let refused = format!(
        "Failed: lookup of \"select 1\" gave DEFER: PGSQL connection failed: connection to server on socket \"{}\" failed: FATAL:  password authentication failed for user \"post\"",
        socket.display()
    );
    check(
        config,
        &[
            (&socket_wrong, &refused),
            (
                "${lookup pgsql{select bad}{x}{y}}",
                "Failed: lookup of \"select bad\" gave DEFER: PGSQL: query failed: ERROR:  column \"bad\" does not exist",
            ),
        ],
    );
}

/// Servers that hang and die: a deferral each time, and a good answer as soon as they are back.
fn trouble(binaries: &Path, folder: &Path, port: u16, server: Server, mut talk: Talk) {
    let hanging = talk.ask("${lookup pgsql,timeout=1s{select pg_sleep(60)}{found}{none}}");
    assert!(hanging.ends_with(": timed out"), "{hanging}");
    server.pause();
    let paused = talk.ask("${lookup pgsql,timeout=1s{select 1}{found}{none}}");
    assert!(paused.starts_with("Failed: ") && paused.contains("gave DEFER"), "{paused}");
    server.signal("CONT");
    assert_eq!(talk.ask("${lookup pgsql{select 2}{<$value>}{none}}"), "<2>");
    talk.send("${lookup pgsql{select pg_sleep(60)}{found}{none}}");
    // It is killed while it works on the query, or before: no answer is found either way.
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.end("INT");
    let died = talk.answer();
    assert!(died.contains("gave DEFER: PGSQL") && !died.contains("p w"), "{died}");
    let gone = talk.ask("${lookup pgsql{select 3}{found}{none}}");
    assert!(gone.contains("gave DEFER: PGSQL connection failed"), "{gone}");
    let _server = start(binaries, folder, port);
    let until = std::time::Instant::now() + super::PATIENCE;
    while talk.ask("${lookup pgsql{select 4}{<$value>}{none}}") != "<4>" {
        assert!(std::time::Instant::now() < until, "no recovery");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

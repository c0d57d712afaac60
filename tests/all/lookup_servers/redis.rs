//! Redis: the server of Debian's package `redis-server`. The examples are those of Exim's own documentation of the lookup.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Server, Talk, check, config, folder, free_port, program, unprivileged};

fn start(program: &Path, folder: &Path, port: u16, more: &[&str]) -> Server {
    let mut command = unprivileged(program, folder);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
    command.args(more);
    Server::start(command, port)
}

/// A certificate for 127.0.0.1, if there is a program that makes one.
fn certificate(folder: &Path) -> bool {
    let Some(openssl) = program("openssl") else { return false };
    let mut command = Command::new(openssl);
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    command.args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1"]);
    command.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
    let made = command.status().is_ok_and(|status| status.success());
    super::give_away(folder);
    made
}

pub(super) fn lookups() {
    let Some(redis) = program("redis-server") else { return };
    let folder = folder();
    let folder = folder.path();
    let (port, dead, tls) = (free_port(), free_port(), free_port());
    let socket = folder.join("sock").display().to_string();
    let mut more = vec!["--unixsocket", &socket];
    let tls_port = tls.to_string();
    let has_tls = certificate(folder);
    if has_tls {
        more.extend(["--tls-port", &tls_port, "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]);
        more.extend(["--tls-auth-clients", "no", "--tls-ca-cert-file", "cert.pem"]);
    }
    let server = start(&redis, folder, port, &more);
    let config = config(
        folder,
        &format!(
            "SPAMMER_SET = SET SPAMMER v1\nhide redis_servers = 127.0.0.1:{port}//\n\
             hostlist relay_from_ips = <\\n ${{lookup redis{{SMEMBERS relay_from_ips}}}}\n\
             domainlist virtual_domains = ${{lookup redis {{HGET $domain domain}}}}\n"
        ),
    );
    examples(&config, port, dead, &socket);
    documented(&config);
    passwords(&config, port);
    if has_tls {
        encrypted(&config, folder, tls);
    }
    trouble(&redis, folder, &config, port, server);
}

fn examples(config: &Path, port: u16, dead: u16, socket: &str) {
    let error =
        |query: &str, text: &str| format!("Failed: lookup of \"{query}\" gave DEFER: REDIS: {text}\n");
    let unknown = error(
        "BADCMD x",
        "lookup result failed: ERR unknown command 'BADCMD', with args beginning with: 'x' ",
    );
    let wrong_type = error(
        "LPUSH k1 x",
        "lookup result failed: WRONGTYPE Operation against a key holding the wrong kind of value",
    );
    let db3 = format!("${{lookup redis,servers=127.0.0.1::{port}/3/{{GET k1}}}}");
    let set_db3 = format!("${{lookup redis,servers=127.0.0.1::{port}/3/{{SET k1 db3}}}}");
    let no_db = format!("${{lookup redis,servers=127.0.0.1::{port}/99/{{GET k1}}}}");
    let by_socket = format!("${{lookup redis,servers=({socket})//{{GET k1}}}}");
    let second = format!("${{lookup redis,servers=127.0.0.1::{dead}//:127.0.0.1::{port}//{{GET k1}}}}");
    let lost = format!("${{lookup redis,servers=127.0.0.1::{dead}//{{GET k1}}{{found}}{{none}}}}");
    let refused = format!(
        "Failed: lookup of \"GET k1\" gave DEFER: REDIS connection failed: server 127.0.0.1:{dead}: Connection refused"
    );
    check(
        config,
        &[
            ("${lookup redis{SET k1 v1}}", "OK"),
            ("${lookup redis{SET k\\\\ 2 ${quote_redis:v 2}}}", "OK"),
            ("${lookup redis{RPUSH list1 one two ${quote_redis:three four}}}", "true"),
            ("${lookup redis{HSET h f1 v1 f2 v2}}", "true"),
            ("${lookup redis{SADD set1 a}}", "true"),
            (&set_db3, "OK"),
            ("${lookup redis{EVAL return\\\\ redis.call('set','empty','') 0}}", "OK"),
            ("${lookup redis{GET k1}}", "v1"),
            ("${lookup redis{   get   k1   }}", "v1"),
            ("${lookup redis{GET nokey}{found<$value>}{notfound}}", "notfound"),
            ("${lookup redis{GET empty}{found<$value>}{notfound}}", "found<>"),
            ("${lookup redis{GET ${quote_redis:k 2}}}", "v 2"),
            ("${lookup redis{LRANGE list1 0 -1}}", "one\ntwo\nthree four"),
            ("${lookup redis{LRANGE nolist 0 -1}{found}{notfound}}", "notfound"),
            ("${lookup redis{HGETALL h}}", "f1\nv1\nf2\nv2"),
            ("${lookup redis{HMGET h f1 nof f2}}", "v1\n\nv2"),
            ("${if eq{${lookup redis{SET k3 v3}}}{OK}{y}{n}}", "y"),
            ("${lookup redis{SISMEMBER set1 a}}", "true"),
            ("${lookup redis{SISMEMBER set1 zz}}", "false"),
            ("${lookup redis,raw{STRLEN k1}}", "2"),
            ("${lookup redis{BADCMD x}{y}{n}}", &unknown),
            ("${lookup redis{LPUSH k1 x}}", &wrong_type),
            (&db3, "db3"),
            (&by_socket, "v1"),
            (&second, "v1"),
            (&lost, &refused),
            (
                &no_db,
                "Failed: lookup of \"GET k1\" gave DEFER: REDIS Selecting database=99 failed: ERR DB index is out of range",
            ),
            ("${lookup redis{INCR num}}${lookup redis{INCR num}}${lookup redis,raw{INCR num}}", "truetrue2"),
            ("${lookup redis{}{found}{none}}", "none"),
        ],
    );
}

/// The examples of the documentation, with a value where it has a place for one.
fn documented(config: &Path) {
    // Macros of the file are for admin users.
    let set = if super::is_root() { "SPAMMER_SET" } else { "SET SPAMMER v1" };
    let set = format!("${{if eq{{${{lookup redis{{{set}}}}}}}{{OK}}{{true}}}}");
    check(
        config,
        &[
            ("${lookup redis{SADD relay_from_ips 192.168.0.0/24 10.0.0.0/8}}", "true"),
            ("${if match_ip{10.1.2.3}{+relay_from_ips}{in}{out}}", "in"),
            ("${if match_ip{192.168.7.1}{+relay_from_ips}{in}{out}}", "out"),
            ("${lookup redis{HSET virtual.example domain virtual.example}}", "true"),
            (&set, "true"),
            ("${lookup redis{GET SPAMMER}}", "v1"),
        ],
    );
    let mut command = Command::new(crate::place::oxim());
    command.arg("-C").arg(config).args(["-be", "${lookup redis{HGET virtual.example domain}}"]);
    assert_eq!(command.output().unwrap().stdout, b"virtual.example\n");
}

fn passwords(config: &Path, port: u16) {
    let with = |password: &str, command: &str| {
        format!("${{lookup redis,servers=127.0.0.1::{port}//{password}{{{command}}}{{<$value>}}{{none}}}}")
    };
    let wrong = "Failed: lookup of \"GET k1\" gave DEFER: REDIS Authentication failed: WRONGPASS invalid username-password pair or user is disabled.";
    let without = "Failed: lookup of \"GET k1\" gave DEFER: REDIS: lookup result failed: NOAUTH Authentication required.\n";
    check(
        config,
        &[
            ("${lookup redis{ACL SETUSER mail on >mailpw ~* +get}}", "OK"),
            (&with("mail::mailpw", "GET k1"), "<v1>"),
            (&with("mail::bad", "GET k1"), wrong),
            ("${lookup redis{CONFIG SET requirepass pw}}", "OK"),
            (&with("pw", "GET k1"), "<v1>"),
            (&with("bad", "GET k1"), wrong),
        ],
    );
    check(config, &[("${lookup redis{GET k1}{found}{none}}", without)]);
    let unset = format!("${{lookup redis,servers=127.0.0.1::{port}//pw{{ACL SETUSER default nopass}}}}");
    check(config, &[(&unset, "OK"), ("${lookup redis{GET k1}}", "v1")]);
}

fn encrypted(config: &Path, folder: &Path, port: u16) {
    let ca = folder.join("cert.pem").display().to_string();
    let trusted = format!("${{lookup redis,tls_ca={ca},servers=rediss://127.0.0.1::{port}//{{GET k1}}}}");
    check(config, &[(&trusted, "v1")]);
    let unknown =
        format!("${{lookup redis,servers=rediss://127.0.0.1::{port}//{{GET k1}}{{found}}{{none}}}}");
    let answer = super::answers(&crate::place::oxim(), config, &[&unknown]).remove(0);
    assert!(
        answer.contains("gave DEFER: REDIS connection failed") && answer.contains("certificate"),
        "{answer}"
    );
}

fn trouble(program: &Path, folder: &Path, config: &Path, port: u16, server: Server) {
    let mut talk = Talk::begin(config);
    assert_eq!(talk.ask("${lookup redis,cache=no{GET k1}}"), "v1");
    server.pause();
    let paused = talk.ask("${lookup redis,timeout=1s{GET k1}{found}{none}}");
    assert!(paused.ends_with("gave DEFER: REDIS: query failed: timed out"), "{paused}");
    assert_eq!(talk.answer(), "");
    server.signal("CONT");
    assert_eq!(talk.ask("${lookup redis,cache=no{GET k1}}"), "v1");
    talk.send("${lookup redis{BLPOP nothing 60}{found}{none}}");
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.end("KILL");
    let died = talk.answer();
    assert!(died.contains("gave DEFER: REDIS"), "{died}");
    let _server = start(program, folder, port, &[]);
    let until = std::time::Instant::now() + super::PATIENCE;
    while talk.ask("${lookup redis,cache=no{SET k1 v2}}") != "OK" {
        assert!(std::time::Instant::now() < until, "no recovery");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Two nodes that share the slots: a key of the other one is found by way of `MOVED`.
pub(super) fn cluster() {
    let Some((redis, cli)) = program("redis-server").zip(program("redis-cli")) else { return };
    let folder = folder();
    let folder = folder.path();
    let ports = [free_port(), free_port()];
    let buses = [free_port().to_string(), free_port().to_string()];
    let mut servers = Vec::new();
    for (index, (port, bus)) in ports.iter().zip(&buses).enumerate() {
        let nodes = format!("nodes{index}.conf");
        let more = ["--cluster-enabled", "yes", "--cluster-config-file", &nodes, "--cluster-port", bus];
        servers.push(start(&redis, folder, *port, &more));
    }
    let run = |port: u16, words: &[&str]| {
        let mut command = Command::new(&cli);
        command.args(["-p", &port.to_string()]).args(words).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
    };
    assert_eq!(run(ports[0], &["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]), "OK");
    assert_eq!(run(ports[1], &["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]), "OK");
    assert_eq!(run(ports[0], &["CLUSTER", "MEET", "127.0.0.1", &ports[1].to_string(), &buses[1]]), "OK");
    let until = std::time::Instant::now() + super::PATIENCE;
    while ports.iter().any(|port| !run(*port, &["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
        assert!(std::time::Instant::now() < until, "the nodes do not come together");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let config = config(folder, &format!("redis_servers = 127.0.0.1::{}//\n", ports[0]));
    // Slots 12182 and 5061.
    check(
        &config,
        &[
            ("${lookup redis{SET foo there}}", "OK"),
            ("${lookup redis{SET bar here}}", "OK"),
            ("${lookup redis{GET foo}}", "there"),
            ("${lookup redis{GET bar}}", "here"),
        ],
    );
    assert!(run(ports[0], &["GET", "foo"]).starts_with("MOVED 12182 "));
}

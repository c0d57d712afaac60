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

/// A server that goes on, but cannot do what it is asked: a user's rights, memory that is full, a replica that takes no
/// writes, a command that takes too long. Each defers, and is over when its cause is.
pub(super) fn refusals() {
    let Some(redis) = program("redis-server") else { return };
    let folder = folder();
    let folder = folder.path();
    let port = free_port();
    let _server = start(&redis, folder, port, &["--maxmemory-policy", "noeviction"]);
    let config = config(folder, &format!("redis_servers = 127.0.0.1::{port}//\n"));
    let mut talk = Talk::begin(&config);
    let mut expect = |expression: &str, expected: &str| {
        let answer = talk.ask(expression);
        assert!(answer.contains(expected), "{expression}: {answer}");
        // What ends in a line end of the server's is followed by an empty line.
        if answer.contains("lookup result failed") || answer.contains("query failed") {
            assert_eq!(talk.answer(), "");
        }
    };
    // Rights: one command on some keys.
    let as_reader = |command: &str| {
        format!("${{lookup redis,cache=no,servers=127.0.0.1::{port}//reader::pw{{{command}}}}}")
    };
    expect("${lookup redis{ACL SETUSER reader on >pw ~mail:* +get}}", "OK");
    expect("${lookup redis{SET mail:a 1}}", "OK");
    expect("${lookup redis{SET other:a 1}}", "OK");
    expect(&as_reader("GET mail:a"), "1");
    expect(&as_reader("GET other:a"), "gave DEFER: REDIS: lookup result failed: NOPERM ");
    expect(&as_reader("SET mail:a 2"), "gave DEFER: REDIS: lookup result failed: NOPERM ");
    expect("${lookup redis,raw{ACL DELUSER reader}}", "1");
    // The connection of a user who is gone is not of use any more; a new one is refused.
    expect(&as_reader("GET mail:a"), "gave DEFER: REDIS");
    expect("${lookup redis,cache=no{ACL SETUSER reader on >pw ~mail:* +get}}", "OK");
    expect(&as_reader("GET mail:a"), "1");
    // Full.
    expect("${lookup redis{CONFIG SET maxmemory 1}}", "OK");
    expect("${lookup redis,cache=no{SET more x}}", "gave DEFER: REDIS: lookup result failed: OOM ");
    expect("${lookup redis,cache=no{GET mail:a}}", "1");
    expect("${lookup redis{CONFIG SET maxmemory 0}}", "OK");
    expect("${lookup redis,cache=no{SET more x}}", "OK");
    // Read-only between one command and the next of a connection.
    expect(&format!("${{lookup redis{{REPLICAOF 127.0.0.1 {}}}}}", free_port()), "OK");
    expect("${lookup redis,cache=no{SET more y}}", "gave DEFER: REDIS: lookup result failed: READONLY ");
    expect("${lookup redis,cache=no{GET more}}", "x");
    expect("${lookup redis{REPLICAOF NO ONE}}", "OK");
    expect("${lookup redis,cache=no{SET more z}}", "OK");
    // Slow, within the limit and beyond it.
    expect("${lookup redis,timeout=5s{BLPOP nothing 0.2}{found}{none}}", "none");
    expect(
        "${lookup redis,timeout=1s{BLPOP nothing 30}{found}{none}}",
        "gave DEFER: REDIS: query failed: timed out",
    );
    expect("${lookup redis,cache=no{GET more}}", "z");
}

/// Three nodes that share the slots: a key of another one is found by way of `MOVED`, one that is on its way by `ASK`; of a node
/// that has died, only its own keys defer, until it is back.
pub(super) fn cluster() {
    let Some((redis, cli)) = program("redis-server").zip(program("redis-cli")) else { return };
    let folder = folder();
    let folder = folder.path();
    let ports = [free_port(), free_port(), free_port()];
    let buses = [free_port().to_string(), free_port().to_string(), free_port().to_string()];
    let launch = |index: usize| {
        let nodes = format!("nodes{index}.conf");
        let mut more = vec!["--cluster-enabled", "yes", "--cluster-config-file", &nodes];
        more.extend(["--cluster-port", &buses[index], "--cluster-require-full-coverage", "no"]);
        more.extend(["--cluster-node-timeout", "1000"]);
        start(&redis, folder, ports[index], &more)
    };
    let mut servers: Vec<Option<Server>> = (0..3).map(|index| Some(launch(index))).collect();
    let run = |port: u16, words: &[&str]| {
        let mut command = Command::new(&cli);
        command.args(["-p", &port.to_string()]).args(words).stdin(Stdio::null());
        String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
    };
    for (port, [first, last]) in ports.iter().zip([["0", "5460"], ["5461", "10922"], ["10923", "16383"]]) {
        assert_eq!(run(*port, &["CLUSTER", "ADDSLOTSRANGE", first, last]), "OK");
    }
    for index in [1, 2] {
        let port = ports[index].to_string();
        assert_eq!(run(ports[0], &["CLUSTER", "MEET", "127.0.0.1", &port, &buses[index]]), "OK");
    }
    let until = std::time::Instant::now() + super::PATIENCE;
    let is_whole = |port: &u16| {
        let info = run(*port, &["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    };
    while !ports.iter().all(is_whole) {
        assert!(std::time::Instant::now() < until, "the nodes do not come together");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let config = config(folder, &format!("redis_servers = 127.0.0.1::{}//\n", ports[0]));
    // Slots 12182, 5061 and 9189.
    check(
        &config,
        &[
            ("${lookup redis{SET foo third}}", "OK"),
            ("${lookup redis{SET bar first}}", "OK"),
            ("${lookup redis{SET key1 second}}", "OK"),
            ("${lookup redis{GET foo}}", "third"),
            ("${lookup redis{GET bar}}", "first"),
            ("${lookup redis{GET key1}}", "second"),
        ],
    );
    assert!(run(ports[0], &["GET", "foo"]).starts_with("MOVED 12182 "));
    assert!(run(ports[0], &["GET", "key1"]).starts_with("MOVED "));

    // The slot of foo moves to the first node; what it does not hold yet is asked for there.
    let node = |port: u16| run(port, &["CLUSTER", "MYID"]);
    let (from, to) = (node(ports[2]), node(ports[0]));
    assert_eq!(run(ports[0], &["CLUSTER", "SETSLOT", "12182", "IMPORTING", &from]), "OK");
    assert_eq!(run(ports[2], &["CLUSTER", "SETSLOT", "12182", "MIGRATING", &to]), "OK");
    assert!(run(ports[2], &["GET", "{foo}new"]).starts_with("ASK 12182 "));
    let at_third = format!("${{lookup redis,cache=no,servers=127.0.0.1::{}//{{", ports[2]);
    let (set, get) =
        (format!("{at_third}SET {{foo\\}}new there}}}}"), format!("{at_third}GET {{foo\\}}new}}}}"));
    let (set, get) = (set.replace("{foo", "\\{foo"), get.replace("{foo", "\\{foo"));
    check(&config, &[(&set, "OK"), (&get, "there"), ("${lookup redis{GET foo}}", "third")]);
    for port in [ports[0], ports[2]] {
        assert_eq!(run(port, &["CLUSTER", "SETSLOT", "12182", "STABLE"]), "OK");
    }

    let mut talk = Talk::begin(&config);
    let ask = "${lookup redis,cache=no,timeout=2s{GET key1}}";
    assert_eq!(talk.ask(ask), "second");
    servers[1].take().unwrap().end("KILL");
    let died = talk.ask(ask);
    assert!(died.contains("gave DEFER: REDIS"), "{died}");
    if died.contains("query failed") || died.contains("lookup result failed") {
        assert_eq!(talk.answer(), "");
    }
    drop(talk);
    check(&config, &[("${lookup redis{GET foo}}", "third"), ("${lookup redis{GET bar}}", "first")]);
    servers[1] = Some(launch(1));
    let until = std::time::Instant::now() + super::PATIENCE;
    while !ports.iter().all(is_whole) {
        assert!(std::time::Instant::now() < until, "the node does not come back");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // It kept nothing on disk: what it has is new.
    check(&config, &[("${lookup redis{SET key1 again}}", "OK"), ("${lookup redis{GET key1}}", "again")]);
}

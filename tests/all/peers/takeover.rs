//! A spool changes hands: what one program has queued, in every state that a message can have, the other goes on with, in both
//! directions.
//!
//! One program makes the messages. The spool is copied, and both programs do the same with a spool each: they list it, run the
//! queue, are let in where deliveries were put off, and run it again. Listings and all that was delivered must be the same, byte
//! for byte, since ids, times and variables come from the spool: so every message is delivered once, to those who were left.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;

use super::ground::{Ground, shell, wait};
use super::oxim::difficult_message;

/// A program that works on a spool.
#[derive(Clone, Copy, PartialEq)]
enum Program {
    Exim,
    Oxim,
}

impl Program {
    fn path(self) -> &'static str {
        match self {
            Program::Exim => "/usr/sbin/exim4",
            Program::Oxim => "/mnt/oxim",
        }
    }

    fn other(self) -> Program {
        if self == Program::Exim { Program::Oxim } else { Program::Exim }
    }
}

/// Where a spool lies, and who works on it.
struct Stand<'a> {
    ground: &'a Ground,
    program: Program,
    /// The folder below /mnt for spool, logs and what was delivered.
    name: &'static str,
}

/// What every delivery writes in front of the message: all that travels in the -H file and can be asked for.
const FACTS: &str = "id=$message_exim_id to=$local_part@$domain from=<$sender_address> queue=$queue_name\\n\
    proto=$received_protocol host=$sender_host_address:$sender_host_port helo=$sender_helo_name ident=$sender_ident\\n\
    auth=$sender_host_authenticated/$authenticated_id/$authenticated_sender local=$received_ip_address:${if def:received_ip_address{$received_port}}\\n\
    caller=$originator_uid/$originator_gid lines=$body_linecount zeros=$body_zerocount size=$message_body_size\\n\
    time=$received_time tls=$tls_in_cipher/$tls_in_ver/$tls_in_sni/$tls_in_certificate_verified/$tls_in_peerdn\\n\
    cert=${if def:tls_in_peercert{${certextract{subject}{$tls_in_peercert}}}}\\n\
    c=<$acl_c_one> c2=<$acl_c2> m=<$acl_m_said> m1=<$acl_m1> utf8=$message_smtputf8\\n";

const END: &str = "[end of message]\n";

impl<'a> Stand<'a> {
    fn new(ground: &'a Ground, program: Program, name: &'static str, options: &str) -> Stand<'a> {
        ground.folder(&format!("{name}/spool"), 0o750, "Debian-exim:Debian-exim");
        ground.folder(&format!("{name}/log"), 0o755, "Debian-exim:Debian-exim");
        ground.folder(&format!("{name}/out"), 0o777, "root");
        let stand = Stand { ground, program, name };
        stand.configure(options);
        stand
    }

    fn configure(&self, options: &str) {
        let name = self.name;
        let own = if self.program == Program::Oxim {
            "message_id_form = short\ndns_servers = 127.0.0.1\n"
        } else {
            ""
        };
        self.ground.write(
            &format!("{name}.conf"),
            format!(
                "spool_directory = /mnt/{name}/spool\nlog_file_path = /mnt/{name}/log/%slog\npid_file_path = /mnt/{name}/pid\n\
                 primary_hostname = mta.test.ex\nqualify_domain = test.ex\nkeep_environment =\ntimezone = UTC\nnever_users =\n\
                 host_lookup =\nrfc1413_query_timeout = 0s\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = 2525\n\
                 smtputf8_advertise_hosts = *\nchunking_advertise_hosts = *\ndsn_advertise_hosts = *\nmessage_logs\n\
                 tls_advertise_hosts = *\ntls_certificate = /mnt/tls/server.pem\ntls_privatekey = /mnt/tls/server.key\n\
                 tls_verify_certificates = /mnt/tls/ca.pem\ntls_try_verify_hosts = *\nqueue_only\nqueue_only_override = false\n\
                 hold_domains = ${{if exists{{/mnt/open}}{{}}{{held.test.ex}}}}\ndelay_warning =\nallow_utf8_domains\n\
                 smtp_accept_max_per_connection = 1000\nsmtp_enforce_sync = false\nignore_bounce_errors_after = 10w\n\
                 acl_smtp_connect = connect\nacl_smtp_rcpt = rcpt\nacl_smtp_data = data\nacl_not_smtp = local\n{own}{options}\n\
                 begin acl\nconnect:\n  accept set acl_c_one = one\\n  two\\n\\tthree\n        set acl_c2 = \n\
                 rcpt:\n  warn  local_parts = frozen\n        control = freeze\n\
                 \x20 warn  local_parts = elsewhere\n        queue = other\n\
                 \x20 accept set acl_m_said = $acl_m_said($local_part)\n        set acl_m1 = $sender_address\n\
                 data:\n  warn  add_header = X-Added: by an ACL\n        remove_header = X-Removed\n  accept\n\
                 local:\n  accept set acl_m_said = said at home\n        add_header = X-Local: here\n\
                 begin routers\n\
                 list:\n  driver = redirect\n  local_parts = list\n  data = first@test.ex, later.one@test.ex, later.two@test.ex\n\
                 \x20 one_time\n  errors_to = owner@test.ex\n\
                 own:\n  driver = redirect\n  local_parts = own\n  data = own@test.ex, later@test.ex\n\
                 copy:\n  driver = accept\n  local_parts = own\n  unseen\n  transport = box\n\
                 later:\n  driver = redirect\n  local_parts = ^later\n  condition = ${{if exists{{/mnt/open}}{{no}}{{yes}}}}\n\
                 \x20 allow_defer\n  data = :defer: not yet\n\
                 bad:\n  driver = redirect\n  local_parts = bad\n  allow_fail\n  data = :fail: never\n\
                 box:\n  driver = accept\n  transport = box\n\
                 begin transports\n\
                 box:\n  driver = appendfile\n  file = /mnt/{name}/out/box\n  user = mail\n  use_lockfile = false\n\
                 \x20 return_path_add\n  envelope_to_add\n  check_string =\n  escape_string =\n\
                 \x20 message_prefix = \"{FACTS}\"\n  message_suffix = \"[end of message]\\n\"\n\
                 begin retry\n* * F,1h,1s\n\
                 begin rewrite\nrewritten@test.ex fresh@test.ex Fh\n\
                 begin authenticators\nplain:\n  driver = plaintext\n  public_name = PLAIN\n  server_set_id = $auth2\n\
                 \x20 server_condition = ${{if eq{{$auth3}}{{secret}}}}\n  server_prompts = :\n"
            ),
        );
    }

    fn path(&self, name: &str) -> String {
        format!("/mnt/{}/{name}", self.name)
    }

    /// Runs the program; its exit code is the caller's matter.
    fn run(&self, words: &[&str], input: &[u8]) -> String {
        let configuration = format!("/mnt/{}.conf", self.name);
        let mut all = vec![self.program.path(), "-C", &configuration];
        all.extend(words);
        let done = self.ground.run(&all, input);
        format!("{}{}", done.out, done.error)
    }

    /// Queues a message from a local program.
    fn submit(&self, sender: &str, recipients: &[&str], subject: &str) {
        let mut words = vec!["-i", "-odq", "-f", sender];
        words.extend(recipients);
        let said = self.run(&words, &message(subject));
        assert!(said.is_empty(), "{subject}: {said}");
    }

    /// An SMTP session of a client elsewhere. What it says comes in one piece.
    fn session(&self, host: &str, lines: &[u8]) {
        let said = self.run(&["-bs", "-oMa", host, "-oMt", "ident"], lines);
        assert!(said.contains("221 ") && !said.contains("\n5"), "{said}");
    }

    /// The id of the message with this subject.
    fn id(&self, subject: &str) -> String {
        let found = self.ground.run(
            &[
                "grep",
                "-rlx",
                &format!("[0-9]*[* ] *Subject: {subject}"),
                &self.path("spool"),
                "--include=*-H",
            ],
            b"",
        );
        let name = found.good().out.trim().rsplit('/').next().unwrap().to_owned();
        name.trim_end_matches("-H").to_owned()
    }

    /// The listing, an entry for each message, without ages.
    fn listing(&self, queue: &str) -> Vec<String> {
        let words = ["-bp".to_owned(), format!("-qG{queue}")];
        let words: Vec<&str> =
            words.iter().map(String::as_str).take(if queue.is_empty() { 1 } else { 2 }).collect();
        let text = self.run(&words, b"");
        text.split("\n\n")
            .filter_map(|entry| entry.trim_start_matches('\n').get(3..))
            .map(str::to_owned)
            .collect()
    }

    /// All deliveries, by their text. Those of reports made here, whose ids and dates are new, are in the second part.
    fn delivered(&self) -> (Vec<String>, Vec<String>) {
        let text = fs::read(self.path("out/box")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut all: Vec<String> =
            text.split(END).filter(|part| !part.is_empty()).map(str::to_owned).collect();
        all.sort();
        all.into_iter().partition(|part| !part.contains("\nAuto-Submitted: auto-"))
    }

    fn messages_left(&self) -> String {
        self.ground
            .run(&["sh", "-c", &format!("cd {} && find . -name '*-[HDJ]' | sort", self.path("spool"))], b"")
            .good()
            .out
    }
}

fn message(subject: &str) -> Vec<u8> {
    difficult_message(subject)
}

/// A message for an SMTP session: dots stuffed, lines ended by CR LF.
fn data(subject: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in message(subject).split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn transaction(mail: &str, recipients: &[&str], subject: &str) -> Vec<u8> {
    let mut out = format!("MAIL FROM:{mail}\r\n").into_bytes();
    for recipient in recipients {
        out.extend_from_slice(format!("RCPT TO:{recipient}\r\n").as_bytes());
    }
    out.extend_from_slice(b"DATA\r\n");
    out.extend_from_slice(&data(subject));
    out.extend_from_slice(b".\r\n");
    out
}

fn over_smtp(transactions: &[Vec<u8>]) -> Vec<u8> {
    [b"EHLO client.test.ex\r\n".to_vec(), transactions.concat(), b"QUIT\r\n".to_vec()].concat()
}

/// A state: its name, which is the subject of its message, how that is made, and how many deliveries are left of it when
/// everything is let in.
struct State {
    name: &'static str,
    make: fn(&Stand<'_>, &'static str),
    deliveries: usize,
}

const STATES: &[State] = &[
    State {
        name: "queued",
        deliveries: 3,
        make: |a, s| a.submit("a@s.ex", &["one@test.ex", "two@test.ex", "\"a b\"@test.ex"], s),
    },
    State { name: "empty sender", deliveries: 1, make: |a, s| a.submit("<>", &["one@test.ex"], s) },
    State {
        name: "not to be delivered",
        deliveries: 0,
        make: |a, s| {
            a.run(&["-N", "-odq", "-f", "a@s.ex", "one@test.ex"], &message(s));
        },
    },
    State {
        name: "frozen by hand",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex", "two@test.ex"], s);
            a.run(&["-Mf", &a.id(s)], b"");
        },
    },
    State {
        name: "frozen by an ACL",
        deliveries: 1,
        make: |a, s| {
            a.session("192.0.2.1.1234", &over_smtp(&[transaction("<a@s.ex>", &["<frozen@test.ex>"], s)]));
        },
    },
    State {
        name: "thawed",
        deliveries: 1,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex"], s);
            a.run(&["-Mf", &a.id(s)], b"");
            a.run(&["-Mt", &a.id(s)], b"");
        },
    },
    State {
        name: "partly delivered",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex", "later@test.ex", "two@test.ex", "later.b@test.ex"], s);
            a.run(&["-M", &a.id(s)], b"");
        },
    },
    State {
        name: "partly delivered and frozen",
        deliveries: 1,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex", "later@test.ex"], s);
            a.run(&["-M", &a.id(s)], b"");
            a.run(&["-Mf", &a.id(s)], b"");
        },
    },
    State {
        name: "with a journal",
        deliveries: 1,
        make: |a, s| {
            a.submit("a@s.ex", &["One@test.ex", "two@test.ex", "three@test.ex"], s);
            let id = a.id(s);
            let found =
                a.ground.run(&["find", &a.path("spool"), "-name", &format!("{id}-H")], b"").good().out;
            let journal = found.trim().replace("-H", "-J");
            fs::write(&journal, "One@test.ex\nthree@test.ex\n").unwrap();
            shell(&format!("chown Debian-exim:Debian-exim {journal}; chmod 640 {journal}"));
        },
    },
    State {
        name: "one-time list",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["list@test.ex"], s);
            a.run(&["-M", &a.id(s)], b"");
        },
    },
    State {
        name: "list that names itself",
        deliveries: 1,
        make: |a, s| {
            a.submit("a@s.ex", &["own@test.ex"], s);
            a.run(&["-M", &a.id(s)], b"");
        },
    },
    State {
        name: "changed by commands",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex", "two@test.ex"], s);
            let id = a.id(s);
            a.run(&["-Mar", &id, "three@test.ex"], b"");
            a.run(&["-Mes", &id, "other@s.ex"], b"");
            a.run(&["-Mmd", &id, "one@test.ex"], b"");
        },
    },
    State {
        name: "held domain",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["one@held.test.ex", "two@held.test.ex", "one@test.ex"], s);
            a.run(&["-Mc", &a.id(s)], b"");
        },
    },
    State {
        name: "moved to a named queue",
        deliveries: 2,
        make: |a, s| {
            a.submit("a@s.ex", &["one@test.ex", "later@test.ex"], s);
            a.run(&["-MG", "other", &a.id(s)], b"");
        },
    },
    State {
        name: "named queue by an ACL",
        deliveries: 2,
        make: |a, s| {
            a.session(
                "192.0.2.1.1234",
                &over_smtp(&[transaction("<a@s.ex>", &["<elsewhere@test.ex>", "<one@test.ex>"], s)]),
            );
        },
    },
    State {
        name: "over SMTP, with ACL variables",
        deliveries: 2,
        make: |a, s| {
            a.session(
                "2001:db8::1.4321",
                &over_smtp(&[transaction("<a@s.ex>", &["<one@test.ex>", "<Two@Test.ex>"], s)]),
            );
        },
    },
    State {
        name: "DSN parameters",
        deliveries: 2,
        make: |a, s| {
            let mail = "<dsn@s.ex> RET=HDRS ENVID=env+2Bid";
            let recipients = [
                "<one@test.ex> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;orig+2Bone@x.ex",
                "<later@test.ex> NOTIFY=NEVER",
            ];
            a.session("192.0.2.1.1234", &over_smtp(&[transaction(mail, &recipients, s)]));
        },
    },
    State { name: "to be refused", deliveries: 0, make: |a, s| a.submit("bounce@s.ex", &["bad@test.ex"], s) },
    State {
        name: "UTF-8 addresses",
        deliveries: 1,
        make: |a, s| {
            a.session(
                "192.0.2.1.1234",
                &over_smtp(&[transaction("<grüße@s.ex> SMTPUTF8", &["<世界@test.ex>"], s)]),
            );
        },
    },
    State {
        name: "BDAT with NUL bytes",
        deliveries: 1,
        make: |a, s| {
            let body = [
                format!("Subject: {s}\r\nFrom: a@s.ex\r\n\r\n.\r\nzeros: ").as_bytes(),
                b"\0\0 \xff\r\nend\r\n",
            ]
            .concat();
            let head = format!(
                "EHLO c.test.ex\r\nMAIL FROM:<a@s.ex>\r\nRCPT TO:<one@test.ex>\r\nBDAT {} LAST\r\n",
                body.len()
            );
            a.session("192.0.2.1.1234", &[head.as_bytes(), &body, b"QUIT\r\n"].concat());
        },
    },
    State {
        name: "rewritten header",
        deliveries: 1,
        make: |a, s| {
            let text =
                format!("From: rewritten@test.ex\nSubject: {s}\nX-Removed: yes\nBcc: x@test.ex\n\nbody\n");
            a.run(&["-odq", "-f", "a@s.ex", "one@test.ex"], text.as_bytes());
        },
    },
    State {
        name: "no body",
        deliveries: 1,
        make: |a, s| {
            a.run(&["-odq", "-f", "a@s.ex", "one@test.ex"], format!("Subject: {s}\n\n").as_bytes());
        },
    },
    State {
        name: "large",
        deliveries: 1,
        make: |a, s| {
            let text =
                [format!("Subject: {s}\n\n").into_bytes(), b"A line of a large message.\n".repeat(30_000)]
                    .concat();
            a.run(&["-odq", "-f", "a@s.ex", "one@test.ex"], &text);
        },
    },
    State { name: "TLS and AUTH", deliveries: 1, make: with_tls },
];

/// Over the port of a daemon, by a client with a certificate; with messages behind it that the daemon has only just taken when it
/// is stopped.
fn with_tls(a: &Stand<'_>, subject: &'static str) {
    let configuration = format!("/mnt/{}.conf", a.name);
    let pid = a.ground.start(a.name, &[a.program.path(), "-C", &configuration, "-bdf"], &[]);
    wait("the daemon", || TcpStream::connect("127.0.0.1:2525").is_ok());
    let body = format!("@/mnt/{}.message", a.name);
    a.ground.write(&format!("{}.message", a.name), message(subject));
    let words = [
        "swaks",
        "--server",
        "127.0.0.1:2525",
        "--ehlo",
        "swaks.test.ex",
        "--from",
        "a@s.ex",
        "--to",
        "one@test.ex",
        "--tls",
        "--tls-cert",
        "/mnt/tls/server.pem",
        "--tls-key",
        "/mnt/tls/server.key",
        "--tls-sni",
        "mta.test.ex",
        "--auth",
        "PLAIN",
        "--auth-user",
        "somebody",
        "--auth-password",
        "secret",
        "--data",
        &body,
        "--hide-all",
    ];
    a.ground.run(&words, b"").good();
    burst(JUST_TAKEN);
    a.ground.stop(pid);
}

/// How many messages are taken just before the daemon is stopped.
const JUST_TAKEN: usize = 12;

/// Sends messages in one session, as fast as they are taken.
fn burst(count: usize) {
    let mut stream = TcpStream::connect("127.0.0.1:2525").unwrap();
    stream.set_read_timeout(Some(super::ground::PATIENCE)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut answer = |wanted: &str| {
        for line in answers.by_ref() {
            let line = line.unwrap();
            assert!(line.starts_with(wanted), "{line}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
        panic!("the connection is gone");
    };
    answer("220");
    stream.write_all(b"EHLO burst.test.ex\r\n").unwrap();
    answer("250");
    for number in 0..count {
        stream.write_all(b"MAIL FROM:<b@s.ex>\r\nRCPT TO:<one@test.ex>\r\nDATA\r\n").unwrap();
        answer("250");
        answer("250");
        answer("354");
        stream.write_all(format!("Subject: burst {number}\r\n\r\nbody\r\n.\r\n").as_bytes()).unwrap();
        answer("250");
    }
}

fn compare(what: &str, by: [&Stand<'_>; 2], all: [Vec<String>; 2]) {
    let count = |list: &[String]| {
        let mut map: BTreeMap<String, usize> = BTreeMap::new();
        for text in list {
            *map.entry(text.clone()).or_default() += 1;
        }
        map
    };
    let [one, two] = [count(&all[0]), count(&all[1])];
    let only = |map: &BTreeMap<String, usize>, other: &BTreeMap<String, usize>| {
        let texts = map.keys().filter(|text| !other.contains_key(*text));
        texts.map(|text| format!("--- {}\n", text.chars().take(700).collect::<String>())).collect::<String>()
    };
    for (text, times) in &one {
        let there = two.get(text).copied().unwrap_or(0);
        assert!(
            there == *times,
            "{what}: {} has it {times} times, {} {there} times:\n{text}\nonly one has\n{}only the other has\n{}",
            by[0].name,
            by[1].name,
            only(&one, &two),
            only(&two, &one)
        );
    }
    for text in two.keys() {
        assert!(one.contains_key(text), "{what}, which only {} has:\n{text}", by[1].name);
    }
}

/// The lines of a report that come from the message it is about.
fn of_report(text: &str) -> String {
    let names =
        ["Original-Envelope-Id:", "Original-Recipient:", "Final-Recipient:", "Action:", "Status:", "id="];
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))) {
        // The id of the report itself is new.
        lines.push(line.split_once(" to=").map_or(line, |(_, rest)| rest).to_owned());
    }
    lines.join("\n")
}

fn changes_hands(ground: &Ground, maker: Program, options: [&str; 2]) {
    ground.make_certificates();
    let a = Stand::new(ground, maker, "maker", options[0]);
    for state in STATES {
        (state.make)(&a, state.name);
    }
    // Only what is queued changes hands.
    let b = Stand::new(ground, maker.other(), "taker", options[1]);
    shell("rm -rf /mnt/taker/spool; cp -a /mnt/maker/spool /mnt/taker/spool; rm -f /mnt/maker/out/box");
    assert!(!b.messages_left().is_empty());

    let list = |what: &str| {
        for queue in ["", "other"] {
            compare(&format!("{what}, queue <{queue}>"), [&a, &b], [a.listing(queue), b.listing(queue)]);
        }
    };
    list("an entry of the listing");
    let count = a.run(&["-bpc"], b"");
    assert!(count.trim().parse::<usize>().unwrap() >= STATES.len() - 4 + JUST_TAKEN, "{count}");
    assert_eq!(count, b.run(&["-bpc"], b""));

    // An ordinary queue run: what is frozen, held or put off stays.
    for stand in [&a, &b] {
        stand.run(&["-q"], b"");
    }
    // Reports that were made meanwhile have ids of their own.
    let left = |stand: &Stand<'_>| {
        let entries = stand.listing("").into_iter().chain(stand.listing("other"));
        entries.filter(|entry| !entry.contains(" <>")).collect::<Vec<_>>()
    };
    compare("after a queue run, an entry of the listing", [&a, &b], [left(&a), left(&b)]);
    assert!(left(&b).len() == 10, "{:#?}", left(&b));
    fs::write("/mnt/open", "").unwrap();
    for stand in [&a, &b] {
        stand.run(&["-qff"], b"");
        stand.run(&["-qffGother"], b"");
        // Reports that were made on the way.
        stand.run(&["-qff"], b"");
    }
    let ((one, reports), (two, reports_two)) = (a.delivered(), b.delivered());
    for state in STATES {
        let subject = format!("\nSubject: {}\n", state.name);
        assert_eq!(
            two.iter().filter(|text| text.contains(&subject)).count(),
            state.deliveries,
            "{}",
            state.name
        );
    }
    compare("a delivery", [&a, &b], [one, two]);
    assert!(reports_two.len() >= 2, "{reports_two:?}");
    let facts = |reports: Vec<String>| reports.iter().map(|text| of_report(text)).collect::<Vec<_>>();
    compare("a report", [&a, &b], [facts(reports), facts(reports_two)]);
    for stand in [&a, &b] {
        assert_eq!(stand.messages_left(), "", "{}", stand.name);
        let logs = format!("find {} -path '*/msglog*' -type f", stand.path("spool"));
        assert_eq!(ground.run(&["sh", "-c", &logs], b"").out, "", "{}", stand.name);
        let panic_log = ground.read(&format!("{}/log/paniclog", stand.name));
        // That exim4 has a configuration of our own is all that may worry it.
        let complaint = panic_log.lines().find(|line| !line.ends_with("lost privilege for using -C option"));
        assert_eq!(complaint, None, "{}", stand.name);
    }
}

pub(super) fn from_exim(ground: &Ground) {
    changes_hands(ground, Program::Exim, ["", ""]);
}

pub(super) fn from_exim_split(ground: &Ground) {
    changes_hands(ground, Program::Exim, ["split_spool_directory", "split_spool_directory"]);
}

pub(super) fn from_exim_split_no_more(ground: &Ground) {
    changes_hands(ground, Program::Exim, ["split_spool_directory", ""]);
}

pub(super) fn to_exim(ground: &Ground) {
    changes_hands(ground, Program::Oxim, ["", ""]);
}

pub(super) fn to_exim_split(ground: &Ground) {
    changes_hands(ground, Program::Oxim, ["split_spool_directory", "split_spool_directory"]);
}

/// A -D file with the line ends of the network (`spool_wireformat`) is delivered with those of the system.
pub(super) fn wire_format(ground: &Ground) {
    ground.make_certificates();
    let a = Stand::new(ground, Program::Exim, "maker", "spool_wireformat");
    let text = b"Subject: wire\r\nFrom: a@s.ex\r\n\r\n.\r\ntext: \xff\r\n\r\nend\r\n";
    let head =
        format!("EHLO c.ex\r\nMAIL FROM:<a@s.ex>\r\nRCPT TO:<one@test.ex>\r\nBDAT {} LAST\r\n", text.len());
    a.session("192.0.2.1.1234", &[head.as_bytes(), text, b"QUIT\r\n"].concat());
    let files = ground.run(&["sh", "-c", "cat /mnt/maker/spool/input/*-H"], b"").good().out;
    assert!(
        files.contains("\n-spool_file_wireformat\n"),
        "exim4 has not used it: then this trial says nothing"
    );
    let b = Stand::new(ground, Program::Oxim, "taker", "");
    shell("rm -rf /mnt/taker/spool; mv /mnt/maker/spool /mnt/taker/spool");
    b.run(&["-qff"], b"");
    let box_of_all = fs::read(b.path("out/box")).unwrap();
    let wanted = [b"\n\n.\ntext: \xff\n\nend\n".as_slice(), END.as_bytes()].concat();
    assert!(box_of_all.ends_with(&wanted), "{}", String::from_utf8_lossy(&box_of_all));
    assert_eq!(b.messages_left(), "");
}

/// Ids of the long form, which Exim 4.96 does not see, are given back as short ones, though many are of one moment.
pub(super) fn long_ids(ground: &Ground) {
    const COUNT: usize = 100;
    ground.make_certificates();
    Stand::new(ground, Program::Oxim, "maker", "message_id_form = long");
    let text = ground.read("maker.conf").replace("message_id_form = short\n", "");
    ground.write("maker.conf", text);
    let pid = ground.start("maker", &["/mnt/oxim", "-C", "/mnt/maker.conf", "-bdf"], &[]);
    wait("the daemon", || TcpStream::connect("127.0.0.1:2525").is_ok());
    burst(COUNT);
    let running = ground.run(&["ln", "-s", "/mnt/oxim", "/mnt/exim_id_update"], b"").good();
    drop(running);
    ground.run(&["/mnt/exim_id_update", "-d", "/mnt/maker/spool"], b"").bad("a daemon is running");
    ground.stop(pid);
    let b = Stand::new(ground, Program::Exim, "taker", "");
    shell("rm -rf /mnt/taker/spool; mv /mnt/maker/spool /mnt/taker/spool");
    assert_eq!(b.run(&["-bpc"], b"").trim(), "0", "exim4 knows long ids: then this trial says nothing");
    ground.run(&["/mnt/exim_id_update", "-d", "/mnt/taker/spool"], b"").good();
    assert_eq!(b.run(&["-bpc"], b"").trim(), COUNT.to_string());
    b.run(&["-q"], b"");
    let (delivered, _) = b.delivered();
    assert_eq!(delivered.len(), COUNT);
    for number in 0..COUNT {
        let subject = format!("\nSubject: burst {number}\n");
        assert_eq!(delivered.iter().filter(|text| text.contains(&subject)).count(), 1, "burst {number}");
    }
    assert_eq!(b.messages_left(), "");
}

/// While one program delivers a message, the other leaves it alone.
pub(super) fn one_at_a_time(ground: &Ground) {
    ground.make_certificates();
    for (holder, name) in [(Program::Exim, "maker"), (Program::Oxim, "taker")] {
        let a = Stand::new(ground, holder, name, "");
        let text = ground.read(&format!("{name}.conf"));
        // The delivery goes on until the file is there.
        let pipe = format!(
            "slow:\n  driver = pipe\n  command = /bin/sh -c \"echo x >> /mnt/{name}/out/begun; until test -e /mnt/{name}/out/go; do sleep 0.05; done\"\n\
             \x20 user = mail\n  return_output = false\nbegin retry\n"
        );
        let text =
            text.replace("begin retry\n", &pipe).replace("  transport = box\n", "  transport = slow\n");
        ground.write(&format!("{name}.conf"), &text);
        a.submit("a@s.ex", &["one@test.ex"], "slow");
        let id = a.id("slow");
        let configuration = format!("/mnt/{name}.conf");
        let pid =
            ground.start(&format!("{name}-holder"), &[holder.path(), "-C", &configuration, "-M", &id], &[]);
        let begun = Path::new("/mnt").join(name).join("out/begun");
        wait("the delivery", || begun.exists());
        let other = ground.write(
            &format!("{name}-other.conf"),
            text.replace("message_id_form = short\ndns_servers = 127.0.0.1\n", ""),
        );
        let other = other.to_str().unwrap();
        let path = holder.other().path();
        for words in [["-M", id.as_str()].as_slice(), &["-qff"], &["-Mrm", &id]] {
            let mut all = vec![path, "-C", other];
            all.extend(words);
            ground.run(&all, b"");
        }
        assert_eq!(fs::read_to_string(&begun).unwrap(), "x\n", "{name}");
        assert!(a.messages_left().contains(&format!("{id}-H")), "{}", a.messages_left());
        fs::write(Path::new("/mnt").join(name).join("out/go"), "").unwrap();
        ground.wait_for_end(pid);
        wait("the end of the message", || a.messages_left().is_empty());
        assert_eq!(fs::read_to_string(&begun).unwrap(), "x\n", "{name}");
    }
}

//! PRDR between Oxim and exim4, each as the server of the other's client: for each mixture of answers, by DATA and by BDAT, the logs
//! of both sides are what they are when exim4 speaks with itself.

use std::collections::BTreeMap;

use super::ground::{Ground, wait};

const OXIM: &str = "/mnt/oxim";
const EXIM: &str = "/usr/sbin/exim4";

/// Recipients of one message, and its subject. What becomes of each is in its name.
const MESSAGES: &[(&str, &str)] = &[
    ("good1 good2", "all are accepted"),
    ("bad1 bad2", "all are refused"),
    ("good1 bad1 def1 code1 msg1 disc1 good2", "each is another case"),
    ("good1 def1", "one waits"),
    ("good1 good2", "no"),
    ("good1 good2", "later"),
    ("good1", "one alone"),
    ("good1 norcpt", "one is left after RCPT"),
    ("drop1 good1", "drop is a refusal"),
    // What the server says in the end of these, Oxim says otherwise (docs/differences.md); the client's log shows it.
    ("def1 def2", "all wait"),
    ("bad1 def1", "nobody is left"),
    ("disc1 disc2", "all are discarded"),
];

const SERVER: &str = "prdr_enable\ndaemon_smtp_ports = 2626\nlocal_interfaces = 127.0.0.1\nqueue_only\n\
    acl_smtp_rcpt = rcpt\nacl_smtp_data_prdr = prdr\nacl_smtp_data = data\nbegin acl\n\
    rcpt:\n  deny local_parts = norcpt\n  accept\n\
    prdr:\n  deny local_parts = ^bad\n  defer local_parts = ^def\n  discard local_parts = ^disc\n\
    \x20 deny local_parts = ^code\n    message = 554 5.7.1 go away\n\
    \x20 deny local_parts = ^msg\n    message = no thanks $local_part\n    log_message = not for $local_part\n\
    \x20 drop local_parts = ^drop\n  accept\n\
    data:\n  deny condition = ${if eq{$h_subject:}{no}}\n    message = not this\n\
    \x20 defer condition = ${if eq{$h_subject:}{later}}\n    message = not now\n  accept\n";

/// One message a connection: none takes along another that waits.
const CLIENT: &str = "begin routers\nout:\n  driver = manualroute\n  route_list = * 127.0.0.1\n  self = send\n\
    \x20 transport = ${if eq{$domain}{data.ex}{data}{bdat}}\n\
    begin transports\ndata:\n  driver = smtp\n  port = 2626\n  connection_max_messages = 1\n  hosts_try_chunking =\n\
    bdat:\n  driver = smtp\n  port = 2626\n  connection_max_messages = 1\nbegin retry\n* * F,1h,10m\n";

/// With these nothing is added that differs in length.
const HEADER: &str = "From: a@s.ex\nMessage-Id: <1@s.ex>\nDate: Sat, 21 Nov 2026 09:00:00 +0000\n";

/// The main logs of one pair, what varies taken out.
struct Logs {
    server: String,
    client: String,
}

pub(super) fn with_exim4(ground: &Ground) {
    let mut found = BTreeMap::new();
    for server in [EXIM, OXIM] {
        for client in [EXIM, OXIM] {
            found.insert((server, client), talk(ground, server, client));
        }
    }
    let of = |server, client| &found[&(server, client)];
    for known in [EXIM, OXIM] {
        same(&format!("our server to {known}"), &of(OXIM, known).server, &of(EXIM, known).server);
        same(&format!("our client at {known}"), &of(known, OXIM).client, &of(known, EXIM).client);
    }
    let logs = of(EXIM, EXIM);
    for (side, text) in [
        (&logs.server, "P=esmtp PRDR id=1@s.ex\n"),
        (&logs.server, "P=esmtp PRDR K id=1@s.ex\n"),
        (&logs.client, " PRDR C=\""),
        (&logs.client, " PRDR K C=\""),
        (&logs.client, "PRDR error after DATA: 554 5.7.1 go away"),
    ] {
        assert!(side.contains(text), "{text} is not in\n{side}");
    }
    let ours = &of(OXIM, EXIM).client;
    assert!(ours.contains("end of data: 450 "), "all that wait get 450:\n{ours}");
}

/// Two logs are the same, line by line.
#[track_caller]
fn same(what: &str, ours: &str, theirs: &str) {
    let end = std::iter::repeat("the end");
    let differ = ours.lines().chain(end.clone()).zip(theirs.lines().chain(end));
    let differ = differ.take_while(|both| *both != ("the end", "the end")).find(|(our, their)| our != their);
    assert_eq!(differ, None, "{what}:\n{ours}");
}

fn talk(ground: &Ground, server: &str, client: &str) -> Logs {
    let side = |role: &str, options: &str| {
        let (home, log) = (format!("prdr/{role}"), format!("prdr/{role}/mainlog"));
        let _old = std::fs::remove_dir_all(ground.path(&home));
        for folder in [home.clone(), format!("{home}/spool")] {
            ground.folder(&folder, 0o755, "Debian-exim");
        }
        let text = format!(
            "spool_directory = /mnt/prdr/{role}/spool\nlog_file_path = /mnt/prdr/{role}/%slog\npid_file_path = /mnt/prdr/{role}/pid\n\
             primary_hostname = {role}.test.ex\nkeep_environment =\nexim_user = Debian-exim\nexim_group = Debian-exim\n\
             host_lookup =\nrfc1413_query_timeout = 0s\ntls_advertise_hosts =\nhosts_connection_nolog = *\ntimezone = UTC\n\
             received_header_text = Received: here\n{options}"
        );
        let config = ground.write(&format!("prdr/{role}.conf"), text);
        (config.display().to_string(), log)
    };
    let (serving, server_log) = side("server", SERVER);
    let (sending, client_log) = side("client", CLIENT);
    // exim4 keeps its privilege with the configuration in its default place only.
    ground.write("exim4/exim4.conf", std::fs::read(&sending).unwrap());
    let sending = if client == EXIM { vec![client] } else { vec![client, "-C", &sending] };
    let daemon = ground.start("prdr", &[server, "-C", &serving, "-bdf"], &[]);
    wait("the server", || std::net::TcpStream::connect("127.0.0.1:2626").is_ok());
    for domain in ["data.ex", "bdat.ex"] {
        for (recipients, subject) in MESSAGES {
            let recipients: Vec<String> =
                recipients.split(' ').map(|name| format!("{name}@{domain}")).collect();
            let mut words = sending.clone();
            words.extend(["-odf", "-f", "<>"]);
            words.extend(recipients.iter().map(String::as_str));
            ground.run(&words, format!("{HEADER}Subject: {subject}\n\ntext\n").as_bytes());
        }
    }
    ground.stop(daemon);
    Logs { server: plain(&ground.read(&server_log)), client: plain(&ground.read(&client_log)) }
}

/// A log without times, ids and sizes, and without the daemon's own lines.
fn plain(log: &str) -> String {
    let lines = log.lines().filter(|line| !line.contains("exim 4") && !line.contains("daemon"));
    let lines = lines.map(|line| {
        let words = line.split(' ').skip(2);
        let varies = |word: &&str| word.starts_with("S=") || word.starts_with("id=E");
        let words: Vec<String> = words.filter(|word| !varies(word)).map(without_ids).collect();
        format!("{}\n", words.join(" "))
    });
    lines.collect()
}

/// A word in which `ID` stands for each message id.
fn without_ids(word: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut out = String::new();
    let mut rest = word;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (part, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        let lengths: Vec<usize> = part.split('-').map(str::len).collect();
        out.push_str(before);
        out.push_str(if matches!(lengths[..], [6, 6, 2] | [6, 11, 4]) { "ID" } else { part });
        rest = after;
    }
    out + rest
}

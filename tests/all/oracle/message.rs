//! Both programs as daemons on each configuration: one message comes by SMTP, one from a local user, and what is logged,
//! delivered and sent on is compared.

use std::path::Path;

use pcre2::bytes::Regex;

use super::Record;
use super::ground::{Ground, bytes_of, wait_for};
use super::sink;
use crate::scenario::clients;
use crate::scenario::pattern::Names;
use crate::scenario::stage::output_of;

const DIALOGUE: &str = "<
> EHLO client.test.ex
<
> MAIL FROM:<carol@host.test.ex>
<
> RCPT TO:<alice@host.test.ex>
<
> RCPT TO:<someone@remote.ex>
<
> RCPT TO:<unknown@host.test.ex>
<
> RCPT TO:<|cat@host.test.ex>
<
> RCPT TO:<postmaster@host.test.ex>
<
> DATA
<
> From: carol@local.ex
> To: alice@host.test.ex,
>  someone@remote.ex
> Subject: from the network
>
> one line
> ..a dot
> From the start
> .
<
> QUIT
<
";

const SUBMITTED: &str = "To: sales, away
Bcc: hidden@host.test.ex
Subject: from a user

body
.
not the end
";

pub(super) fn record(ground: &mut Ground) -> Record {
    let mut record = Record::new();
    let remote = sink::start("192.0.2.10:25");
    let smart = sink::start("192.0.2.30:25");
    ground.start_daemon();
    let mut names = Names::default();
    // Ids differ in length, so sizes do.
    let sizes = Regex::new(r"(?<=\bS=|\bSIZE=)\d+").unwrap();
    let mut general = |text: &str| {
        // Oxim's daemon may go on with a connection that another message had: neither order nor reuse is compared.
        let text = names.generalise(text).replace("]* C=", "] C=");
        let mut out = String::new();
        let mut last = 0;
        for found in sizes.find_iter(text.as_bytes()) {
            let found = found.unwrap();
            out.push_str(&text[last..found.start()]);
            out.push_str("<size>");
            last = found.end();
        }
        out + &text[last..]
    };
    record.insert("text 1 dialogue".to_owned(), general(&clients::connect("25", DIALOGUE)));
    wait_for(|| is_done(1));
    let done = output_of(
        &mut ground.command(Some("carol"), &["-i", "-odi", "sales", "away", "drop"]),
        Some(SUBMITTED),
    );
    record.insert(
        "text 2 submission".to_owned(),
        format!("{}{}{}", done["output"], done["error"], done["exit"]),
    );
    wait_for(|| is_done(2));
    record.insert("text 3 mainlog".to_owned(), by_message(&general(&log("mainlog"))));
    record.insert("text 4 rejectlog".to_owned(), general(&log("rejectlog")));
    record.insert("text 5 paniclog".to_owned(), general(&log("paniclog")));
    for user in ["alice", "bob", "carol", "mail", "root"] {
        let text = bytes_of(&Path::new("/var/mail").join(user));
        record.insert(format!("text 6 mailbox {user}"), general(&text));
    }
    for (name, seen) in [("remote", remote), ("smart", smart)] {
        let mut all: Vec<String> = seen
            .lock()
            .unwrap()
            .iter()
            .map(|t| {
                format!(
                    "{}\n{}",
                    t.commands
                        .iter()
                        .filter(|c| !c.starts_with("EHLO"))
                        .cloned()
                        .collect::<Vec<_>>()
                        .join("\n"),
                    t.data.iter().copied().map(char::from).collect::<String>()
                )
            })
            .map(|t| general(&t))
            .collect();
        all.sort();
        record.insert(format!("text 7 sent to {name}"), all.join("====\n").replace('\r', "<CR>"));
    }
    record.insert("note daemon".to_owned(), bytes_of(Path::new("/mnt/daemon.out")));
    record
}

/// Whether that many messages came from people, and nothing waits: neither they nor the reports about them.
fn is_done(messages: usize) -> bool {
    let log = log("mainlog");
    let (came, reports) = (log.matches(" <= ").count(), log.matches(" <= <> ").count());
    came - reports >= messages && came == log.matches(" Completed").count()
}

fn log(name: &str) -> String {
    bytes_of(&Path::new("/var/log/exim4").join(name))
}

/// The lines of one message stay in order, but two messages may be dealt with at the same time: the lines are grouped by
/// message, and what each process says when it starts is left out.
fn by_message(log: &str) -> String {
    let mut lines: Vec<(String, usize, &str)> = log
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.contains(" daemon started"))
        .filter(|(_, line)| {
            !line.contains("purging the environment") && !line.contains("use keep_environment")
        })
        .map(|(index, line)| {
            let id = line.split(' ').find(|w| w.starts_with("<id")).unwrap_or("").to_owned();
            (id, index, line)
        })
        .collect();
    lines.sort();
    lines.iter().map(|(_, _, line)| format!("{line}\n")).collect()
}

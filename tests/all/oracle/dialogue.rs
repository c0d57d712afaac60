//! What SMTP clients are told on each configuration: `-bh` with the addresses of `addresses.rs` as recipients and as
//! senders, from a stranger and from localhost.

use super::ground::Ground;
use super::options::TEXT;
use super::{Record, addresses};
use crate::scenario::pattern::Names;
use crate::scenario::stage::output_of;

const CLIENTS: &[&str] = &["192.0.2.99", "127.0.0.1"];

/// Commands that ask for other things than an address.
const COMMANDS: &[&str] = &[
    "HELO",
    "HELO client.test.ex",
    "HELO under_score.ex",
    "EHLO [192.0.2.99]",
    "EHLO client.test.ex",
    "NOOP",
    "NOOP something",
    "HELP",
    "VRFY alice",
    "VRFY nobody.here@host.test.ex",
    "EXPN sales",
    "ETRN #x",
    "AUTH PLAIN",
    "AUTH",
    "STARTTLS now",
    "TURN",
    "X-NONSENSE",
    "RCPT TO:<alice@host.test.ex>",
    "DATA",
    "BDAT",
    "BDAT 0 LAST",
    "RSET",
    "MAIL FROM:<>",
    "MAIL FROM:<someone@remote.ex>",
    "RSET",
    "MAIL FROM:<someone@remote.ex> SIZE=1000",
    "RSET",
    "MAIL FROM:<someone@remote.ex> SIZE=1000000000",
    "MAIL FROM:<someone@remote.ex> SIZE=x",
    "MAIL FROM:<someone@remote.ex> BODY=8BITMIME",
    "RSET",
    "MAIL FROM:<someone@remote.ex> BODY=nonsense",
    "MAIL FROM:<someone@remote.ex> AUTH=<>",
    "RSET",
    "MAIL FROM:<someone@remote.ex> RET=HDRS ENVID=x",
    "MAIL FROM:<someone@remote.ex> NONSENSE=1",
    "MAIL FROM someone@remote.ex",
    "MAIL FROM: someone@remote.ex",
    "RSET",
    "MAIL from:<someone@remote.ex>",
    "DATA",
    "RCPT TO:<alice@host.test.ex> NOTIFY=NEVER",
    "RCPT TO:alice@host.test.ex",
    "RCPT TO",
    "RCPT TO:",
    "RCPT TO:<>",
    "RCPT TO:<postmaster>",
];

pub(super) fn record(ground: &Ground) -> Record {
    let mut record = Record::new();
    let plain: Vec<&str> = addresses::ADDRESSES.iter().copied().filter(|a| is_for_smtp(a)).collect();
    for client in CLIENTS {
        let recipients: Vec<String> = plain.iter().map(|a| format!("RCPT TO:<{a}>")).collect();
        let senders: Vec<String> = plain
            .iter()
            .flat_map(|a| {
                [format!("MAIL FROM:<{a}>"), "RCPT TO:<alice@host.test.ex>".to_owned(), "RSET".to_owned()]
            })
            .collect();
        let commands: Vec<String> = COMMANDS.iter().map(|c| (*c).to_owned()).collect();
        for (number, some) in commands.chunks(12).enumerate() {
            record.insert(format!("{TEXT}{client} commands {number}"), ask(ground, client, &[], some));
        }
        // Few at once: a client that is refused too often is no longer heard.
        for some in recipients.chunks(8) {
            let name = some.first().unwrap();
            record.insert(
                format!("{client} {name}"),
                ask(ground, client, &["MAIL FROM:<someone@remote.ex>"], some),
            );
        }
        for some in senders.chunks(9) {
            let name = some.first().unwrap();
            record.insert(format!("{client} {name}"), ask(ground, client, &[], some));
        }
    }
    record
}

fn is_for_smtp(address: &str) -> bool {
    !address.contains(['<', ',']) && !address.contains("timeout") && !address.trim().is_empty()
}

/// The dialogue: each command with its replies. `-bh` answers in the order of the commands.
fn ask(ground: &Ground, client: &str, first: &[&str], commands: &[String]) -> String {
    let mut script = "HELO client.test.ex\r\n".to_owned();
    for command in first.iter().copied().chain(commands.iter().map(String::as_str)) {
        script.push_str(command);
        script.push_str("\r\n");
    }
    script.push_str("QUIT\r\n");
    let done = output_of(&mut ground.command(None, &["-bh", client]), Some(&script));
    Names::default().generalise(&format!("{}\n{}", done["output"], done["exit"]))
}

//! What may differ: by narrow rows, each with its reason.

use super::replaced;

/// What is meant to differ: a part of the outcome, and what is compared in its place.
struct Difference {
    /// Why, or the line of `docs/differences.md` that says so.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
    pattern: &'static str,
    place: &'static str,
}

static DIFFERENCES: &[Difference] = &[
    Difference {
        reason: "the sender is told why a message is too big",
        pattern: r"(?m)^    message is too big .*\n",
        place: "",
    },
    Difference {
        reason: "`P=` is the return path that went with the message, also where a shadow transport had another",
        pattern: r"(?m) P=<[^>]*>(?=.* ST=)",
        place: "",
    },
    Difference {
        reason: "no return path went with a message that is too big; exim4 shows that of the delivery before",
        pattern: r"(?m) P=<[^>]*>(?=.*: message is too big)",
        place: "",
    },
    Difference {
        reason: "the status in a bounce is the server's own; exim4 always has 5.0.0 (docs/features/dsn.md)",
        pattern: r"(?m)^Status: \K[45]\.\d+\.\d+",
        place: "5.0.0",
    },
    Difference {
        reason: "the size of a bounce follows from that",
        pattern: r"(?m)^> MAIL FROM:<> SIZE=\K\d+",
        place: "<size>",
    },
    Difference {
        reason: "the name of a hitching post holds the time and the process",
        pattern: r"(?m)\.lock\.host\.test\.ex\.\K[0-9a-f]+\.[0-9a-f]+",
        place: "<unique>",
    },
    Difference {
        reason: "to `-bt` of exim4, addresses whose domains differ in case are two; in a delivery they are one",
        pattern: r"(?m)^\S+@\S*[A-Z]\S*\K   \[duplicate, would not be delivered\]",
        place: "",
    },
    Difference {
        reason: "Oxim names the mailbox that is full, exim4 the temporary file that it will not write",
        pattern: r"quota exceeded while writing to \K\S+(?=\))",
        place: "<mailbox>",
    },
    Difference {
        reason: "a caller whose dialogue was cut short is told so by the exit code; exim4 ends with 0",
        pattern: r"(?m)^500 Too many unrecognized commands\nexit \K[01]$",
        place: "<code>",
    },
    Difference {
        reason: "what is thrown away behind an `unseen` router: exim4 tells the last outcome, Oxim each",
        pattern: r"(?m)^mail to \S+ is discarded\n",
        place: "",
    },
    Difference {
        reason: "what `restrict_to_path` refuses: exim4 shows the command's arguments too",
        pattern: "\"/\" found in \"\\K[^\"]*(?=\" .command for)",
        place: "<command>",
    },
    Difference {
        reason: "the number of a refusal to deliver to oneself: exim4 keeps that of a router that declined before",
        pattern: r"(?m)(?:defer \(|^  R:\S+ )\K-32(?=.* the local host$)",
        place: "-1",
    },
    Difference {
        reason: "exim4's exinext takes a port behind a name for an address",
        pattern: r"(?m)^Transport: \S+?\K(?: \[\d+\]:|:\d+ )<id\d+>(?= error)",
        place: " <message>",
    },
    Difference {
        reason: "exim4's exinext asks `expr` about what is no number",
        pattern: r"(?m)^expr: syntax error: .*\n",
        place: "",
    },
    Difference {
        reason: "exim4 names the host before, that it said goodbye to without a complaint",
        pattern: r"(?m) H=\S+ \[[^]]*\](?=: authentication required but server did not advertise AUTH support)",
        place: "",
    },
    Difference {
        reason: "where a server says nothing to RCPT, exim4 goes on to the next without a word",
        pattern: r"(?m)^<time> <id\d+> H=\S+ \[[^]]*\](?::\d+)?: SMTP timeout after RCPT TO:.*\n",
        place: "",
    },
    Difference {
        reason: "and names the host to the recipient in hand only",
        pattern: r"Connection timed out\K H=\S+ \[[^]]*\](?::\d+)?(?=: SMTP timeout after RCPT TO:)",
        place: "",
    },
    Difference {
        reason: "exim4 counts what it wrote to the server before, where nothing was written yet",
        pattern: r"SMTP timeout after (?!end of data).*?\K \(\d+ bytes written\)",
        place: "",
    },
    Difference {
        reason: "to exim4, what follows upon a connection with pipelining is pipelined too",
        pattern: r"closed connection in response to \Kpipelined (?=initial connection)",
        place: "",
    },
];

/// What exim4 says when it is at its end.
const CRASHES: &[&str] = &[
    "bad internal_store_malloc request",
    "SIGSEGV (",
    "failed to read delivery status for ",
    // Its tools, run by root, make files that the deliveries behind them cannot open.
    "failed to open DB file /mnt/spool/db/retry: Permission denied",
];

/// exim4 tests addresses without root's rights, and cannot become the user whose file a router is to read.
const CANNOT_VERIFY: &str = "failure to transfer data from subprocess";

/// Lines that differ and no row explains: `-` only exim4's, `+` only Oxim's.
pub(super) fn unmeant(exim: &str, oxim: &str) -> Vec<String> {
    if CRASHES.iter().any(|crash| exim.contains(crash)) {
        return Vec::new();
    }
    let compared = |outcome: &str| {
        let outcome =
            DIFFERENCES.iter().fold(outcome.to_owned(), |text, row| replaced(&text, row.pattern, row.place));
        let outcome = without_wish_for_success(&with_one_connection(&outcome));
        if exim.contains(CANNOT_VERIFY) { without_verification(&outcome) } else { outcome }
    };
    crate::oracle::line_differences(&compared(exim), &compared(oxim))
        .into_iter()
        .filter(|(kind, _)| *kind != ' ')
        .map(|(kind, line)| format!("{kind} {line}\n"))
        .collect()
}

/// Recipients in the spool as if none wanted to hear of success: who has heard is not told again, and exim4 keeps the wish.
fn without_wish_for_success(outcome: &str) -> String {
    const SUCCESS: u32 = 4;
    let without = |line: &str| -> Option<String> {
        let (address, rest) = line.split_once("  0,")?;
        let wishes: u32 = rest.strip_suffix("  0,-1#3")?.parse().ok()?;
        Some(match wishes & !SUCCESS {
            0 => address.to_owned(),
            others => format!("{address}  0,{others}  0,-1#3"),
        })
    };
    let lines: Vec<String> =
        outcome.lines().map(|line| without(line).unwrap_or_else(|| line.to_owned())).collect();
    lines.join("\n")
}

fn without_verification(outcome: &str) -> String {
    replaced(outcome, r"(?ms)^\[-bv .*?(?=^\[-odi)", "")
}

/// A connection to the server that was just left counts as the same one: Oxim keeps it for what the message still has to send,
/// and exim4 makes another.
fn with_one_connection(outcome: &str) -> String {
    let outcome = replaced(outcome, r"(?m)^<time> .* H=\S+ \[[^]]*\](?::\d+)?\K\*", "");
    let mut lines: Vec<&str> = Vec::new();
    let mut place = None;
    let mut after_quit = false;
    let mut coming = outcome.lines().peekable();
    while let Some(line) = coming.next() {
        if line.starts_with("connection to ") {
            let is_same = place == Some(line) && after_quit;
            place = Some(line);
            if is_same && lines.ends_with(&["> QUIT", "===="]) {
                lines.truncate(lines.len() - 2);
                let is_greeting =
                    |line: &&str| ["> EHLO", "> HELO", "> LHLO"].iter().any(|verb| line.starts_with(verb));
                while coming.next_if(is_greeting).is_some() {}
                continue;
            }
        }
        after_quit = line == "====";
        lines.push(line);
    }
    lines.join("\n")
}

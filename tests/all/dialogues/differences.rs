//! Differences between the programs that are known and right, each as narrow as what both show.

use super::case::{Case, Section, Way};

/// Lines that stand beside each other and differ: those that only exim4 has, and those that only Oxim has.
pub(super) struct Hunk<'a> {
    /// The heading under which they stand: `[mainlog]`, `[message]` …; empty for replies.
    pub(super) part: &'a str,
    pub(super) exim: Vec<&'a str>,
    pub(super) oxim: Vec<&'a str>,
}

/// A difference that is meant.
pub(super) struct Difference {
    pub(super) name: &'static str,
    /// Why, and the page that says so.
    #[allow(dead_code, reason = "for the reader")]
    reason: &'static str,
    applies: fn(&Case, &Hunk<'_>) -> bool,
}

/// All of them.
pub(super) static DIFFERENCES: &[Difference] = &[
    Difference {
        name: "tls_resumption",
        reason: "exim4 built with GnuTLS writes it of messages without TLS; nothing reads it",
        applies: |_, hunk| hunk.oxim.is_empty() && hunk.exim == ["-tls_resumption A"],
    },
    Difference {
        name: "notes about rewritten envelopes",
        reason: "X-rewrote-… lines are not written (differences.md)",
        applies: |_, hunk| {
            hunk.oxim.is_empty()
                && hunk.part == "[message]"
                && hunk.exim.iter().all(|line| line.contains("* X-rewrote-"))
        },
    },
    Difference {
        name: "refused without a text",
        reason: "exim4 logs NULL (smtp-server.md)",
        applies: |_, hunk| {
            let denied = |line: &&str| {
                let known = [": NULL", ": no verified certificate"];
                let start = known.iter().find_map(|text| line.strip_suffix(text)).unwrap_or(line);
                start.ends_with(" rejected by non-SMTP ACL").then(|| start.to_owned())
            };
            hunk.exim.iter().all(|line| denied(line).is_some())
                && hunk.exim.iter().map(denied).eq(hunk.oxim.iter().map(denied))
        },
    },
    Difference {
        name: "no recipients in headers",
        reason: "exim4 has the id twice, and tells the panic log (local-submission.md)",
        applies: |_, hunk| {
            let is_told = |line: &&str| {
                [" no recipients found in headers", " bad addresses found in headers"]
                    .iter()
                    .any(|told| line.ends_with(told))
            };
            hunk.exim.iter().chain(&hunk.oxim).all(is_told)
        },
    },
    Difference {
        name: "line of a batched transaction",
        reason: "exim4 tells the line before it (local-submission.md)",
        applies: |case, hunk| {
            let start = |line: &&str| line.split("ransaction started in line ").next().map(str::len);
            let is_told =
                |lines: &[&str]| lines.iter().all(|line| start(line).is_some_and(|at| at < line.len()));
            case.arguments.first().is_some_and(|word| word == "-bS")
                && hunk.exim.len() == hunk.oxim.len()
                && is_told(&hunk.exim)
                && is_told(&hunk.oxim)
        },
    },
    Difference {
        name: "all RCPT commands, again",
        reason: "exim4 does not say it after a second DATA, since its first reply has lost its line end by then",
        applies: |_, hunk| {
            let says = |line: &&str| *line == "503-All RCPT commands were rejected with this error:";
            hunk.exim.is_empty()
                && hunk.oxim.first().is_some_and(says)
                && hunk.oxim[1..].iter().all(|line| line.starts_with("503-"))
        },
    },
    Difference {
        name: "exit code of a dialogue that is cut short",
        reason: "1, but 0 if an ACL does it; exim4 has 0 after too many unknown commands, and 1 if a DATA ACL drops",
        applies: |case, hunk| {
            let is_exit = |lines: &[&str]| matches!(lines, ["[exit 0]" | "[exit 1]"]);
            case.way == Way::Pipes && is_exit(&hunk.exim) && is_exit(&hunk.oxim)
        },
    },
    Difference {
        name: "a banner that cannot be expanded",
        reason: "exim4 goes on and says so to each command, and nothing under -bh (differences.md)",
        applies: |case, hunk| {
            let is_part = |line: &&str| {
                line.starts_with("[exit ") || *line == "421 Unexpected failure, please try later"
            };
            case.text().contains("smtp_banner = ") && hunk.exim.iter().chain(&hunk.oxim).all(is_part)
        },
    },
    Difference {
        name: "a tab in a command",
        reason: "is shown as \\t like any other control character (differences.md)",
        applies: |_, hunk| {
            let shown = hunk.exim.iter().map(|line| line.replace('\t', "\\t"));
            hunk.exim.iter().all(|line| line.contains('\t'))
                && shown.eq(hunk.oxim.iter().map(|line| line.to_string()))
        },
    },
    Difference {
        name: "a name that is looked for again",
        reason: "exim4 asks once more for a name that it has not found, and logs it again",
        applies: |_, hunk| {
            hunk.oxim.is_empty()
                && hunk.exim.iter().all(|line| line.contains(" no host name found for IP address "))
        },
    },
    Difference {
        name: "a submission that speaks for a host",
        reason: "-local is for messages that come from no host (local-submission.md)",
        applies: |case, hunk| {
            case.arguments.iter().any(|word| word == "-oMa")
                && hunk.oxim.is_empty()
                && hunk.exim == ["-local", "-tls_resumption A"]
        },
    },
    Difference {
        name: "an error within ${acl",
        reason: "exim4 tells only which ACL had it (acl.md)",
        applies: |_, hunk| {
            hunk.exim.len() == hunk.oxim.len()
                && hunk.exim.iter().all(|line| line.contains(": ERROR from acl \""))
        },
    },
    Difference {
        name: "the total of chunks",
        reason: "exim4 adds the line end that it puts there itself (smtp-server.md)",
        applies: |_, hunk| {
            let is_total = |line: &&str| line.starts_with("250- ") && line.contains(" byte chunk, total ");
            hunk.exim.len() == hunk.oxim.len() && hunk.exim.iter().chain(&hunk.oxim).all(is_total)
        },
    },
    Difference {
        name: "PIPECONNECT after a message",
        reason: "exim4 forgets with the message that it has offered it",
        applies: |_, hunk| hunk.exim.is_empty() && hunk.oxim == ["250-PIPECONNECT"],
    },
    Difference {
        name: "PIPECONNECT without smtp_enforce_sync",
        reason: "it is offered to clients that are to wait (smtp-server.md)",
        applies: |case, hunk| {
            hunk.oxim.is_empty()
                && hunk.exim == ["250-PIPECONNECT"]
                && case.has_line("smtp_enforce_sync = false")
        },
    },
    Difference {
        name: "header lines that a rule leaves as they are",
        reason: "exim4 keeps the old one beside a new one that is the same",
        applies: |case, hunk| {
            let is_old = |line: &&str| line.starts_with("* ") || line.get(3..5) == Some("* ");
            case.config.iter().any(|(section, _)| *section == Section::Rewrite)
                && hunk.oxim.is_empty()
                && hunk.exim.iter().all(is_old)
        },
    },
    Difference {
        name: "ORCPT without NOTIFY",
        reason: "exim4 forgets it (dsn.md)",
        applies: |_, hunk| {
            let address = |line: &&str| line.split(" rfc822;").next().unwrap_or_default().to_owned();
            hunk.part == "[message]"
                && hunk.oxim.iter().any(|line| line.ends_with(",0  0,-1#3"))
                && hunk.exim.iter().map(address).eq(hunk.oxim.iter().map(address))
        },
    },
    Difference {
        name: "a line end within a log line",
        reason: "one line is one line",
        applies: |_, hunk| hunk.exim.len() > hunk.oxim.len() && hunk.exim.concat() == hunk.oxim.concat(),
    },
    Difference {
        name: "a HELO name that was refused",
        reason: "is forgotten; exim4 goes on showing it in its log",
        applies: |_, hunk| {
            let forgotten = |line: &&str| match line.find(" (") {
                Some(at) => format!(
                    "{}{}",
                    &line[..at],
                    line[at..].find(") ").map_or("", |end| &line[at + end + 1..])
                ),
                None => line.to_string(),
            };
            hunk.exim.iter().map(forgotten).eq(hunk.oxim.iter().map(|line| line.to_string()))
        },
    },
    Difference {
        name: "frozen before it is read",
        reason: "control = freeze counts in acl_not_smtp_start too, as the manual says; exim4 forgets it",
        applies: |case, hunk| {
            let is_told = |line: &&str| line.ends_with(" frozen by ACL") || *line == "-frozen <time>";
            case.has_line("acl_not_smtp_start = not_smtp_start")
                && hunk.oxim.iter().all(is_told)
                && hunk.exim.iter().all(|line| *line == "-tls_resumption A")
        },
    },
    Difference {
        name: "the body in Received",
        reason: "$message_body is known when received_header_text is expanded; exim4 has not read it yet",
        applies: |case, hunk| {
            let has_body = |(section, line): &(Section, String)| {
                *section == Section::Main
                    && line.starts_with("received_header_text")
                    && line.contains("$message_body")
            };
            case.config.iter().any(has_body) && hunk.exim.len() == hunk.oxim.len()
        },
    },
    Difference {
        name: "a fault of a message that nobody would be told of",
        reason: "is told on standard error too (local-submission.md)",
        applies: |case, hunk| {
            let is_told = |line: &&str| line.ends_with(" found in headers");
            case.arguments.iter().any(|word| word == "<>")
                && hunk.part == "[error]"
                && matches!(hunk.oxim.as_slice(), [line] if line.starts_with("exim: "))
                && hunk.exim.iter().all(is_told)
        },
    },
    Difference {
        name: "a complaint over message_size_limit",
        reason: "is mailed all the same (local-submission.md)",
        applies: |case, hunk| {
            let is_limited = |(section, line): &(Section, String)| {
                *section == Section::Main && line.starts_with("message_size_limit")
            };
            let is_complaint = |line: &&str| *line == "-localerror" || line.contains(" <= <> R=");
            let is_refusal = |line: &&str| line.contains(": message too big: read=") || *line == "[exit 2]";
            case.way == Way::Input
                && case.config.iter().any(is_limited)
                && (hunk.exim.iter().any(is_refusal) || hunk.oxim.iter().any(is_complaint))
        },
    },
    Difference {
        name: "a host name that is known by now",
        reason: "is shown; exim4 shows the client as it was described before (smtp-server.md)",
        applies: |_, hunk| {
            let described = |line: &&str| line.replace("localhost ", "").replace("(client.test.ex) ", "");
            hunk.oxim.iter().any(|line| line.contains("localhost "))
                && hunk.exim.iter().all(|line| !line.contains("localhost "))
                && hunk.exim.iter().map(described).eq(hunk.oxim.iter().map(described))
        },
    },
    Difference {
        name: "the start of a connection that -oMa describes",
        reason: "is logged with that host, as everything after it (smtp-server.md)",
        applies: |case, hunk| {
            case.arguments.iter().any(|word| word == "-oMa")
                && hunk.exim.len() == hunk.oxim.len()
                && hunk.exim.iter().all(|line| line.contains(" SMTP connection from root"))
                && hunk.oxim.iter().all(|line| line.contains(" SMTP connection from "))
        },
    },
    Difference {
        name: "header lines added before a refusal",
        reason: "stand in the reject log; exim4 has not added them yet (local-submission.md)",
        applies: |case, hunk| {
            case.has_line("acl_not_smtp = not_smtp")
                && hunk.part == "[rejectlog]"
                && hunk.exim.is_empty()
                && hunk.oxim.iter().all(|line| line.starts_with("  X-"))
        },
    },
    Difference {
        name: "a blank at the end of a batched command",
        reason: "is shown with the command (local-submission.md)",
        applies: |case, hunk| {
            case.arguments.first().is_some_and(|word| word == "-bS")
                && hunk.exim.iter().copied().eq(hunk.oxim.iter().map(|line| line.trim_end()))
        },
    },
    Difference {
        name: "-oMas in a second message",
        reason: "holds for the whole session; exim4 forgets it with the first message (local-submission.md)",
        applies: |case, hunk| {
            case.arguments.iter().any(|word| word == "-oMas")
                && hunk.exim.is_empty()
                && matches!(hunk.oxim.as_slice(), [line] if line.starts_with("-auth_sender "))
        },
    },
    Difference {
        name: "the case of a refused HELO name",
        reason: "is as it was said (smtp-server.md)",
        applies: |_, hunk| {
            hunk.exim.iter().all(|line| line.contains(" rejected EHLO or HELO "))
                && hunk.exim.len() == hunk.oxim.len()
                && hunk.exim.iter().zip(&hunk.oxim).all(|(exim, oxim)| exim.eq_ignore_ascii_case(oxim))
        },
    },
    Difference {
        name: "addresses that are not rewritten",
        reason: "exim4 tells of lists that are no addresses (differences.md)",
        applies: |_, hunk| {
            hunk.oxim.is_empty()
                && hunk.part == "[mainlog]"
                && hunk.exim.first().is_some_and(|line| line.contains(" rewrite: "))
        },
    },
    Difference {
        name: "the length of a header line with a carriage return in it",
        reason: "exim4 counts the line end that it makes of it",
        applies: |_, hunk| {
            let length = |lines: &[&str]| match lines {
                [line] => line.strip_prefix("-max_received_linelength ")?.parse::<usize>().ok(),
                _ => None,
            };
            length(&hunk.oxim).is_some_and(|known| length(&hunk.exim) == known.checked_add(1))
        },
    },
];

/// The row that covers a hunk.
pub(super) fn class(case: &Case, hunk: &Hunk<'_>) -> Option<&'static str> {
    DIFFERENCES.iter().find(|row| (row.applies)(case, hunk)).map(|row| row.name)
}

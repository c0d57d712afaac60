//! Draws Sieve scripts, and cases in which users have them.

use super::case::{Block, Case};
use super::draw::some;
use super::{filter, options};
use crate::generator::random::Random;

const EXTENSIONS: &[&str] = &[
    "fileinto",
    "envelope",
    "copy",
    "enotify",
    "subaddress",
    "vacation",
    "encoded-character",
    "comparator-i;ascii-numeric",
];

const FAULTS: &[&str] = &[
    "require \"nonsense\";",
    "nonsense;",
    "keep",
    "if true keep;",
    "redirect;",
    "fileinto 3;",
    "redirect \"unqualified\";",
    "redirect \"a@b.ex\", \"c@d.ex\";",
    "if header \"subject\" { keep; }",
    "if size 10 { keep; }",
    "if not { keep; }",
    "elsif true { keep; }",
    "}",
    "discard \"x\";",
    "stop",
    "if header :nonsense \"subject\" \"x\" { keep; }",
    "vacation :days 5 :subject;",
    "keep; \"unended",
    "/* never ended",
];

const FOLDERS: &[&str] = &[
    "folder",
    "inbox",
    "INBOX",
    "/mnt/mail/sieved",
    "sub/folder",
    "with blank",
    "..",
    "a..b",
    "",
    "${hex:66 6f}o",
    "folder/",
];

const ADDRESSES: &[&str] = &[
    "bob@test.ex",
    "carol@mx.ex",
    "alice@test.ex",
    "rcpt550@mx.ex",
    "rcpt450@a.ex",
    "gone@test.ex",
    "x@@y",
    "bob@other.ex",
    "",
];

const HEADERS: &[&str] =
    &["subject", "from", "To", "x-one", "x-none", "x-two", "list-id", "a:b", "", "received"];

const KEYS: &[&str] = &[
    "a subject",
    "subject",
    "*sub*",
    "?? *",
    "alice@test.ex",
    "test.ex",
    "alice",
    "sender",
    "ONE",
    "one",
    "12",
    "*",
    "",
    "a\\\\*",
    "${hex:6f6e65}",
    "J\u{fc}rgen subject",
    "suffix",
];

/// The lines of a script.
pub(super) fn script(random: &mut Random) -> Vec<String> {
    let mut lines = vec!["# Sieve filter".to_owned()];
    let names: Vec<&str> = EXTENSIONS.iter().copied().filter(|_| random.percent(88)).collect();
    let listed: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    if !listed.is_empty() {
        lines.push(format!("require [{}];", listed.join(", ")));
    }
    for _ in 0..1 + random.below(5) {
        action(random, 2, &mut lines);
    }
    if random.percent(15) {
        lines.push(random.pick(FAULTS).to_owned());
        action(random, 1, &mut lines);
    }
    lines
}

fn string(random: &mut Random, choices: &[&str]) -> String {
    let text = random.pick(choices);
    if random.percent(6) {
        return format!("text:\n{text}\n.\n");
    }
    format!("\"{}\"", text.replace('"', "\\\""))
}

fn strings(random: &mut Random, choices: &[&str]) -> String {
    if random.percent(65) {
        return string(random, choices);
    }
    let listed: Vec<String> = (0..1 + random.below(3)).map(|_| string(random, choices)).collect();
    format!("[{}]", listed.join(", "))
}

fn action(random: &mut Random, depth: usize, lines: &mut Vec<String>) {
    let line = match random.below(20) {
        0..=1 => "keep;".to_owned(),
        2 => "discard;".to_owned(),
        3 => "stop;".to_owned(),
        4..=6 => format!("redirect {}{};", random.pick(&["", "", ":copy "]), string(random, ADDRESSES)),
        7..=9 => format!("fileinto {}{};", random.pick(&["", "", ":copy "]), string(random, FOLDERS)),
        10..=11 => vacation(random),
        12 => notify(random),
        13 => random.pick(&["# a comment", "/* a\ncomment */", ""]).to_owned(),
        _ if depth > 0 => return conditional(random, depth, lines),
        _ => "keep;".to_owned(),
    };
    lines.push(line);
}

fn vacation(random: &mut Random) -> String {
    let tags = some(
        random,
        25,
        &[
            ":days 3",
            ":days 0",
            ":days 400",
            ":subject \"Away\"",
            ":subject \"caf\u{e9} away\"",
            ":from \"alice@test.ex\"",
            ":from \"Someone <a@b.ex>\"",
            ":addresses [\"sales@test.ex\", \"a.b@c.ex\"]",
            ":addresses \"bob@test.ex\"",
            ":handle \"h1\"",
            ":mime",
        ],
        4,
    );
    let reason = random.pick(&[
        "\"I am away.\"",
        "text:\nLong\n..dotted\n.\n",
        "\"Content-Type: text/plain\n\nin MIME\"",
        "\"\"",
        "\"caf\u{e9}\"",
    ]);
    format!("vacation {} {reason};", tags.join(" "))
}

fn notify(random: &mut Random) -> String {
    let tags = some(
        random,
        30,
        &[
            ":importance \"1\"",
            ":importance \"4\"",
            ":from \"alice@test.ex\"",
            ":from \"x@@y\"",
            ":message \"You have mail\"",
            ":options \"x\"",
        ],
        3,
    );
    let method = random.pick(&[
        "mailto:bob@test.ex",
        "mailto:carol@mx.ex?subject=told&body=a%20text",
        "mailto:bob@test.ex?cc=alice@other.ex&X-Own=1",
        "mailto:?to=bob@test.ex",
        "mailto:x@@y",
        "xmpp:bob@test.ex",
        "mailto:bob@test.ex?from=else@a.ex",
    ]);
    format!("notify {} \"{method}\";", tags.join(" "))
}

fn conditional(random: &mut Random, depth: usize, lines: &mut Vec<String>) {
    lines.push(format!("if {} {{", test(random, 2)));
    for _ in 0..random.below(3) {
        action(random, depth - 1, lines);
    }
    if random.percent(25) {
        lines.push(format!("}} elsif {} {{", test(random, 1)));
        action(random, depth - 1, lines);
    }
    if random.percent(35) {
        lines.push("} else {".to_owned());
        action(random, depth - 1, lines);
    }
    lines.push("}".to_owned());
}

fn test(random: &mut Random, depth: usize) -> String {
    match random.below(if depth > 0 { 14 } else { 10 }) {
        0..=2 => {
            format!("header {} {} {}", matching(random), strings(random, HEADERS), strings(random, KEYS))
        }
        3..=4 => {
            let part = random.pick(&["", ":localpart", ":domain", ":all", ":user", ":detail"]);
            let headers = &["from", "to", "cc", "reply-to", "FROM", "subject", "x-one"];
            format!(
                "address {part} {} {} {}",
                matching(random),
                strings(random, headers),
                strings(random, KEYS)
            )
        }
        5..=6 => {
            let part = random.pick(&["", ":localpart", ":domain", ":all", ":user", ":detail"]);
            let parts = &["from", "to", "FROM", "auth"];
            format!(
                "envelope {part} {} {} {}",
                matching(random),
                strings(random, parts),
                strings(random, KEYS)
            )
        }
        7 => format!("exists {}", strings(random, HEADERS)),
        8 => random.pick(&["size :over 100", "size :under 1K", "size :over 1M", "true", "false"]).to_owned(),
        9 => random
            .pick(&[
                "valid_notify_method \"mailto:a@b.ex\"",
                "valid_notify_method [\"mailto:a@b.ex\", \"sms:1\"]",
                "true",
                "notify_method_capability \"mailto:a@b.ex\" \"Online\" [\"maybe\"]",
            ])
            .to_owned(),
        10..=11 => format!("not {}", test(random, depth - 1)),
        12 => format!("allof ({}, {})", test(random, depth - 1), test(random, depth - 1)),
        _ => format!("anyof ({}, {})", test(random, depth - 1), test(random, depth - 1)),
    }
}

fn matching(random: &mut Random) -> String {
    let how = random.pick(&["", ":is", ":contains", ":matches", ":contains", ":matches"]);
    let comparator = random.pick(&[
        "",
        "",
        "",
        ":comparator \"i;octet\"",
        ":comparator \"i;ascii-casemap\"",
        ":comparator \"i;ascii-numeric\"",
        ":comparator \"en;ascii-casemap\"",
    ]);
    format!("{how} {comparator}")
}

/// Options of the router that reads the scripts.
const ROUTER: &[&str] = &[
    "sieve_subaddress = ${sg{$local_part_suffix}{^[-+]}{}}",
    "sieve_useraddress = $local_part",
    "forbid_sieve_filter",
    "forbid_exim_filter",
    "forbid_file",
    "forbid_filter_reply",
    "forbid_blackhole",
    "skip_syntax_errors",
    "skip_syntax_errors\n  syntax_errors_to = bob@other.ex",
    "check_ancestor",
    "one_time",
    "hide_child_in_errmsg",
    "unseen",
    "errors_to = bob@other.ex",
    "user = mail",
    "rewrite = false",
    "qualify_domain = other.ex",
    "allow_fail",
    "filter_prepend_home = false",
];

/// A case in which users have Sieve scripts.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = filter::surroundings(random);
    let mut own = filter::OF_USERS.map(str::to_owned).to_vec();
    let transports =
        ["pipe_transport = address_pipe", "reply_transport = address_reply", "file_transport = sieved"];
    own.extend(transports.map(str::to_owned));
    own.extend(some(
        random,
        80,
        &["sieve_vacation_directory = $home/.vacation", "sieve_enotify_mailto_owner = $local_part@$domain"],
        2,
    ));
    own.extend(some(random, 7, ROUTER, 4));
    case.routers.insert(1, Block { name: "filters".to_owned(), driver: "redirect", options: own });
    let mut folders = vec![
        "file = ${if eq{$address_file}{inbox}{/mnt/mail/in.$local_part_data}{${if match{$address_file}{^/}{$address_file}{$home/$address_file}}}}".to_owned(),
    ];
    folders.extend(
        options::transport(random, "sieved", "appendfile")
            .into_iter()
            .filter(|option| !option.starts_with("user")),
    );
    case.transports.push(Block { name: "sieved".to_owned(), driver: "appendfile", options: folders });
    for user in ["alice", "bob"] {
        if user == "alice" || random.percent(40) {
            case.scripts.push((format!("home/{user}/.fwd 644 {user}"), script(random)));
        }
    }
    filter::tests(random, &mut case);
    case
}

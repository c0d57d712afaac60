//! Draws Exim filters, and cases in which users have them.

use super::case::{Block, Case, ZONE};
use super::draw::{self, some};
use super::options;
use crate::generator::random::Random;

/// Whose filter is drawn: only the system's may change header lines and have `fail`, `freeze` and `defer` unasked.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Owner {
    User,
    System,
}

const ADDRESSES: &[&str] = &[
    "bob@test.ex",
    "alice@test.ex",
    "bob",
    "carol@mx.ex",
    "fine@a.ex",
    "rcpt550@mx.ex",
    "rcpt450@a.ex",
    "gone@test.ex",
    "later@test.ex",
    "team@test.ex",
    "unknown@nothing.ex",
    "$local_part@other.ex",
    "\"$local_part_prefix$local_part@lists.ex\"",
    "\"Carol C <carol@mx.ex>\"",
    "\"carol@mx.ex (comment)\"",
    "$reply_address",
    "$sender_address",
    "\"a, b@test.ex\"",
    "x@@y",
    "\"\"",
    "\"\\\"a b\\\"@test.ex\"",
    "${if eq{$local_part}{alice}{bob}{dave}}",
    "|/mnt/keep",
    "/mnt/mail/by-deliver",
];

const ERRORS_TO: &[&str] =
    &["alice@test.ex", "bob@test.ex", "\"\"", "$local_part@$domain", "unknown@test.ex", "x@@y"];

const FILES: &[&str] = &[
    "/mnt/mail/saved",
    "/mnt/mail/saved2",
    "/mnt/mail/folder/",
    "$home/saved",
    "relative",
    "sub/relative",
    "maildir/",
    "\"/mnt/mail/with blank\"",
    "/mnt/mail/$n1",
    "/mnt/mail/$h_x-one:",
    "/mnt/mail/$1",
    "/dev/null",
    "/mnt/nowhere/saved",
    "inbox",
    "\"\"",
    "/mnt/mail/${lc:SAVED}",
    "/mnt/mail/$local_part",
];

const COMMANDS: &[&str] = &[
    "\"/mnt/keep filter\"",
    "\"/mnt/keep $local_part $n1\"",
    "\"/mnt/keep \\\"$h_subject:\\\" 'single $domain'\"",
    "\"/mnt/keep fails says\"",
    "\"/mnt/keep later\"",
    "\"/mnt/keep $1\"",
    "\"/mnt/nosuch\"",
    "\"keep relative\"",
    "/mnt/keep",
    "\"$home/keep\"",
    "\"/mnt/keep $sender_address $h_x-two:\"",
    "\"\"",
    "\"|/mnt/keep bar\"",
    "\"/mnt/keep $pipe_addresses\"",
    "\"/mnt/keep ${bad\"",
    "\"/mnt/keep ${if eq{a}{b}{x}fail}\"",
];

/// Words after `mail` and `vacation`.
const MAIL: &[&str] = &[
    "to bob@test.ex",
    "to \"Bob B <bob@test.ex>, carol@mx.ex\"",
    "to \"\"",
    "to $sender_address",
    "cc alice@test.ex",
    "bcc \"carol@mx.ex, fine@a.ex\"",
    "from alice@test.ex",
    "from \"Someone Else <else@other.ex>\"",
    "reply_to bob@other.ex",
    "subject \"Re: $h_subject:\"",
    "subject plain",
    "extra_headers \"X-Extra: 1\\nX-More: 2\\n folded\"",
    "extra_headers broken",
    "text \"Hello $local_part\\nyour $h_subject: has come\\n\"",
    "text short",
    "text \"\"",
    "file /mnt/list",
    "expand file /mnt/answer",
    "file /mnt/nolist",
    "return message",
    "log /mnt/mail/replies",
    "once $home/.once",
    "once_repeat 5d4h",
    "once_repeat 1",
    "once_repeat 5x",
];

const TEXTS: &[&str] = &[
    "\"\"",
    "plain",
    "\"two words\"",
    "\"$local_part at $domain, home $home\"",
    "\"$h_subject: $rh_subject: $bh_subject:\"",
    "\"$n0 $n1 $n2 $sn1 $1 $2\"",
    "\"$thisaddress $reply_address\"",
    "\"line\\nnext\\ttab\\x41\\101\"",
    "\"$sender_address $return_path $original_local_part@$original_domain\"",
    "\"$message_size $message_body_size $body_linecount\"",
    "\"$message_body | $message_body_end\"",
    "\"$recipients $recipients_count\"",
    "${bad",
    "${if eq{a}{b}{x}fail}",
    "\"${lookup{$local_part}lsearch{/mnt/users}{$value}{none}}\"",
    "\"${readfile{/mnt/list}{,}}\"",
    "\"${run{/bin/echo ran}}\"",
    "\"$address_data $r_one $local_part_suffix\"",
    "\"$h_to: $h_cc:\"",
    "$tod_zone",
    "\"caf\u{e9} \\\"quoted\\\" \\\\\"",
];

const LEFT: &[&str] = &[
    "$h_subject:",
    "$h_from:",
    "\"$h_to:, $h_cc:\"",
    "$sender_address",
    "$local_part",
    "$domain",
    "$message_body",
    "$h_x-one:",
    "$n1",
    "$message_headers",
    "\"${lc:$h_subject:}\"",
    "abc",
    "\"\"",
    "$1",
    "$thisaddress",
    "$local_part_suffix",
    "${bad",
];

const RIGHT: &[&str] = &[
    "subject",
    "SUBJECT",
    "\"a subject\"",
    "alice",
    "\"one\"",
    "test.ex",
    "sender@out.ex",
    "@",
    "\"\"",
    "^(a)\\\\s(s)",
    "\"^(.*)@\"",
    "\\N^([a-z]+)\\N",
    "\"\\\\N(l)i(n)e\\\\N\"",
    "(",
    "$local_part",
    "abc",
];

const STRING_TESTS: &[&str] = &[
    "is",
    "is not",
    "contains",
    "does not contain",
    "begins",
    "does not begin",
    "ends",
    "does not end",
    "matches",
    "does not match",
    "IS",
    "CONTAINS",
    "BEGINS",
    "MATCHES",
    "does not CONTAIN",
    "ENDS",
    "is like",
];

const NUMBERS: &[&str] = &[
    "$message_size",
    "$n1",
    "$n2",
    "3",
    "0",
    "1K",
    "1M",
    "-1",
    "$sn1",
    "x",
    "\"\"",
    "$body_linecount",
    "08",
];

const SIMPLE: &[&str] = &[
    "personal",
    "personal alias bob@test.ex",
    "personal alias x@y.ex alias sales@test.ex",
    "error_message",
    "delivered",
    "first_delivery",
    "manually_thawed",
    "not personal",
    "not delivered",
    "not first_delivery",
    "true",
];

const LISTS: &[&str] = &[
    "$h_to:",
    "\"$h_to:,$h_cc:\"",
    "$h_from:",
    "\"a@b.ex, Carol <carol@mx.ex>\"",
    "\"\"",
    "\"group: a@b.ex, c@d.ex;\"",
    "x@@y",
];

/// The lines of a filter.
pub(super) fn script(random: &mut Random, owner: Owner) -> Vec<String> {
    let mut lines = vec!["# Exim filter".to_owned()];
    if random.percent(50) {
        lines.push("if error_message then finish endif".to_owned());
    }
    for _ in 0..1 + random.below(6) {
        command(random, owner, 2, &mut lines);
    }
    // A fault in one filter of six is enough.
    if random.percent(16) {
        lines.push(random.pick(FAULTS).to_owned());
    }
    lines
}

const FAULTS: &[&str] = &[
    "endif",
    "deliver",
    "if then finish endif",
    "if personal finish endif",
    "nonsense",
    "save",
    "mail to",
    "vacation nothing",
    "add x to n1",
    "add 1 to n10",
    "add 1",
    "logfile",
    "headers charset",
    "headers add \"X-A: b\"",
    "fail text",
    "deliver \"unended",
    "if personal then",
    "seen logwrite x",
    "unseen mail text x",
    "noerror finish",
    "else",
    "save /mnt/mail/x 9999",
    "if (personal then finish endif",
    "if foranyaddress $h_to: personal then finish endif",
];

fn command(random: &mut Random, owner: Owner, depth: usize, lines: &mut Vec<String>) {
    let simple = match random.below(if owner == Owner::System { 26 } else { 22 }) {
        0..=3 => {
            let mut line = format!("{}deliver {}", prefix(random), random.pick(ADDRESSES));
            if random.percent(15) {
                line.push_str(&format!(" errors_to {}", random.pick(ERRORS_TO)));
            }
            line
        }
        4..=6 => {
            let mode = random.pick(&["", "", "", " 640", " 0666", " 8"]);
            format!("{}save {}{mode}", prefix(random), random.pick(FILES))
        }
        7..=8 => format!("{}pipe {}", prefix(random), random.pick(COMMANDS)),
        9..=10 => {
            let words = draw::lines(random, 5, MAIL);
            let name = if random.percent(70) { "mail" } else { "vacation" };
            // Most answers have a text.
            let text = if random.percent(70) { " text \"An answer\\n\"" } else { "" };
            format!("{}{name} {}{text}", random.pick(&["", "", "", "seen ", "noerror "]), words.join(" "))
        }
        11 => format!(
            "logfile {}{}",
            random.pick(&["/mnt/mail/log", "$home/log", "relative", "/mnt/mail/log2"]),
            random.pick(&["", "", " 0644"])
        ),
        12..=13 => format!("logwrite {}", random.pick(TEXTS)),
        14 => format!("testprint {}", random.pick(TEXTS)),
        15 => format!(
            "add {} to {}",
            random.pick(&["1", "-2", "$n1", "10", "1K"]),
            random.pick(&["n0", "n1", "n2", "n9"])
        ),
        16 => random
            .pick(&[
                "finish",
                "seen finish",
                "unseen finish",
                "headers charset \"UTF-8\"",
                "headers charset nonsense",
            ])
            .to_owned(),
        17 if owner == Owner::System || random.percent(40) => {
            let name = random.pick(&["fail", "freeze", "defer"]);
            let text = random.pick(&[
                "",
                " text \"no $h_subject:\"",
                " \"<<short>>long words\"",
                " text plain",
                " text \"${bad\"",
                " text \"a\\nb\"",
            ]);
            format!("{name}{text}")
        }
        22..=25 => headers(random),
        _ if depth > 0 => return conditional(random, owner, depth, lines),
        _ => format!("testprint {}", random.pick(TEXTS)),
    };
    lines.push(simple);
}

fn prefix(random: &mut Random) -> &'static str {
    random.pick(&["", "", "", "unseen ", "unseen ", "noerror ", "seen ", "unseen noerror "])
}

/// What only system filters may do to header lines.
fn headers(random: &mut Random) -> String {
    let add = &[
        "\"X-Added: $h_subject:\"",
        "\"X-Added: $n1\\nX-Second: two\\n folded\"",
        "\"Old-Subject: $h_subject:\"",
        "\"Subject: changed (was $h_old-subject:)\"",
        "\"\"",
        "\"   X-Blank: yes\"",
        "${if eq{a}{b}{x}fail}",
        "\"no header\"",
        "\"To: more@test.ex\"",
        "${bad",
    ];
    let remove = &[
        "Subject",
        "X-One:X-Two",
        "\"X-One : subject\"",
        "Received",
        "X-Added",
        "x-*",
        "\"\"",
        "From",
        "nothing",
    ];
    if random.percent(60) {
        format!("headers add {}", random.pick(add))
    } else {
        format!("headers remove {}", random.pick(remove))
    }
}

fn conditional(random: &mut Random, owner: Owner, depth: usize, lines: &mut Vec<String>) {
    lines.push(format!("if {} then", condition(random, 2)));
    for _ in 0..random.below(3) {
        command(random, owner, depth - 1, lines);
    }
    if random.percent(30) {
        lines.push(format!("elif {}\nthen", condition(random, 1)));
        command(random, owner, depth - 1, lines);
    }
    if random.percent(40) {
        lines.push("else".to_owned());
        command(random, owner, depth - 1, lines);
    }
    lines.push("endif".to_owned());
}

fn condition(random: &mut Random, depth: usize) -> String {
    match random.below(if depth > 0 { 14 } else { 9 }) {
        0..=4 => format!("{} {} {}", random.pick(LEFT), random.pick(STRING_TESTS), random.pick(RIGHT)),
        5 => {
            let test = random.pick(&["is above", "is below", "is not above", "is not below", "above"]);
            format!("{} {test} {}", random.pick(NUMBERS), random.pick(NUMBERS))
        }
        6..=8 => random.pick(SIMPLE).to_owned(),
        9 => format!("({})", condition(random, depth - 1)),
        10 => format!("not ({})", condition(random, depth - 1)),
        11 => format!("{} and {}", condition(random, depth - 1), condition(random, depth - 1)),
        12 => format!("{} or {}", condition(random, depth - 1), condition(random, depth - 1)),
        _ => {
            let inner = if random.percent(60) {
                format!("$thisaddress {} {}", random.pick(STRING_TESTS), random.pick(RIGHT))
            } else {
                condition(random, depth - 1)
            };
            format!("foranyaddress {} ({inner})", random.pick(LISTS))
        }
    }
}

/// Header lines that filters look at.
pub(super) const HEADERS: &[&str] = &[
    "From: sender@out.ex",
    "From: Someone <alice@test.ex>",
    "From: owner-list@out.ex",
    "To: alice@test.ex",
    "To: alice, bob@test.ex",
    "To: Undisclosed recipients:;",
    "Cc: sales@test.ex, Bob (B) <bob@other.ex>",
    "Subject: a subject",
    "Subject: =?utf-8?q?J=C3=BCrgen?= subject",
    "X-One: one",
    "X-Two: two\n folded",
    "Reply-To: replies@mx.ex",
    "Auto-Submitted: no",
    "Precedence: bulk",
    "List-Id: <list.out.ex>",
    "Message-Id: <drawn@case.ex>",
    "References: <one@case.ex> <two@case.ex>",
    "Return-Path: <back@out.ex>",
];

pub(super) const SENDERS: &[&str] = &[
    "sender@out.ex",
    "sender@out.ex",
    "sender@out.ex",
    "alice@test.ex",
    "bob@other.ex",
    "<>",
    "Someone@Mx.Ex",
];

/// Options of the router that reads users' filters.
const ROUTER: &[&str] = &[
    "allow_fail",
    "allow_freeze",
    "allow_defer",
    "forbid_filter_logwrite",
    "forbid_filter_lookup",
    "forbid_filter_readfile",
    "forbid_filter_run",
    "forbid_filter_reply",
    "forbid_filter_existstest",
    "forbid_exim_filter",
    "forbid_sieve_filter",
    "forbid_file",
    "forbid_pipe",
    "forbid_blackhole",
    "filter_prepend_home = false",
    "skip_syntax_errors",
    "skip_syntax_errors\n  syntax_errors_to = bob@other.ex",
    "skip_syntax_errors\n  syntax_errors_to = bob@other.ex\n  syntax_errors_text = Mend it, $local_part",
    "hide_child_in_errmsg",
    "check_ancestor",
    "one_time",
    "repeat_use = false",
    "rewrite = false",
    "qualify_domain = other.ex",
    "qualify_preserve_domain",
    "unseen",
    "errors_to = bob@other.ex",
    "errors_to = \"\"",
    "headers_add = X-Filtered: $local_part",
    "headers_remove = X-One",
    "user = mail",
    "router_home_directory = /mnt/home/bob",
    "transport_home_directory = /mnt/mail",
    "no_more",
    "pass_on_timeout",
    "address_data = data of $local_part",
    "set = r_one = $local_part.x",
    "caseful_local_part",
    "modemask = 0",
];

/// What makes a router one for scripts of users.
pub(super) const OF_USERS: [&str; 6] = [
    "check_local_user",
    "file = $home/.fwd",
    "allow_filter",
    "no_verify",
    "local_part_suffix = -* : +*",
    "local_part_suffix_optional",
];

/// The router for filters of users.
pub(super) fn router(random: &mut Random) -> Block {
    let mut own = OF_USERS.map(str::to_owned).to_vec();
    own.extend(some(random, 95, options::FILE_TRANSPORTS, 4));
    own.extend(some(random, 6, ROUTER, 5));
    Block { name: "filters".to_owned(), driver: "redirect", options: own }
}

/// Routers and transports that deliver what filters set up; files; what the message is.
pub(super) fn surroundings(random: &mut Random) -> Case {
    let mut case = Case { fixed: draw::FIXED, ..Case::default() };
    case.files = draw::FILES
        .iter()
        .filter(|(name, _)| !name.starts_with("home/"))
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    case.files
        .push(("answer".to_owned(), "Dear $h_from:,\n${if eq{$local_part}{alice}{away}{here}}\n".to_owned()));
    case.zone = ZONE.lines().map(str::to_owned).collect();
    let block = |name: &str, driver, options: &[&str]| Block {
        name: name.to_owned(),
        driver,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    let aliases = "data = ${lookup{$local_part}lsearch{/mnt/aliases}}";
    case.routers = vec![
        block("remote", "dnslookup", &["domains = ! +local_domains", "transport = tsmtp", "no_more"]),
        block(
            "aliases",
            "redirect",
            &[aliases, "domains = test.ex", "allow_fail", "allow_defer", "user = mail"],
        ),
        block("local", "accept", &["local_parts = alice : bob : carol : dave", "transport = tbox"]),
    ];
    case.transports = draw::transports(random);
    // Known to differ: a blank at the end of a line; SIZE under a negative `size_addition`.
    for block in &mut case.transports {
        block
            .options
            .retain(|option| !option.starts_with("headers_add = X-Env") && option != "size_addition = -1");
    }
    let sender = random.pick(SENDERS).to_owned();
    case.submission = ["-odi", "-f", &sender].map(str::to_owned).to_vec();
    case.header = draw::lines(random, 6, HEADERS);
    case.body = draw::lines(random, 5, draw::BODY);
    case.retry = vec!["* * F,2h,15m; G,16h,1h,1.5".to_owned()];
    case
}

/// A case in which users have filters.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = surroundings(random);
    case.routers.insert(1, router(random));
    for user in ["alice", "bob"] {
        if user == "alice" || random.percent(40) {
            case.scripts.push((format!("home/{user}/.fwd 644 {user}"), script(random, Owner::User)));
        }
    }
    tests(random, &mut case);
    case
}

/// Recipients who have filters, and what is done with the filters and the message.
pub(super) fn tests(random: &mut Random, case: &mut Case) {
    case.recipients.push("alice@test.ex".to_owned());
    for recipient in ["bob@test.ex", "alice-suffix@test.ex", "bob@other.ex", "carol@mx.ex", "sales@test.ex"] {
        if random.percent(15) {
            case.recipients.push(recipient.to_owned());
        }
    }
    case.tested = case.recipients.clone();
    case.before.push("tried -bf home/alice/.fwd -f s@out.ex -bfl alice -bfd test.ex <message".to_owned());
    if random.percent(30) {
        let envelope = random.pick(&[
            "",
            "-bfs -suffix",
            "-f '<>'",
            "-bfp pre- -bfl bob",
            "-f alice@test.ex -bfl alice",
        ]);
        case.before.push(format!("tried -bf home/alice/.fwd {envelope} <message"));
    }
    case.steps = vec!["tried -qff".to_owned()];
    if random.percent(30) {
        case.steps.push("tried -odi -f other@out.ex alice@test.ex <message".to_owned());
    }
}

//! Draws a case.

use super::case::{Block, Case, ZONE};
use super::options;
use crate::generator::random::Random;

/// Files that routers and transports read. `keep` is what pipes run: it writes down what it got, and ends as its arguments say.
pub(super) const FILES: &[(&str, &str)] = &[
    (
        "aliases",
        "postmaster: alice\nsales: alice, bob\nteam: sales, carol@mx.ex\nloop1: loop2\nloop2: loop1\nself: self, bob\nme: \\alice\n\
         both: alice@test.ex, alice@other.ex\ngone: :fail: gone away\nlater: :defer: come back\ndrop: :blackhole:\nnobody: :unknown:\n\
         filed: /mnt/mail/filed\npiped: \"|/mnt/keep alias $local_part\"\nmixed: bob, /mnt/mail/mixed, \"|/mnt/keep mixed\", dave@a.ex\n\
         incl: :include:/mnt/list\nbad: x@@y\nempty:\nout: rcpt450@mx.ex, fine@mx.ex, rcpt550@a.ex\n\
         deep: deep1\ndeep1: deep2\ndeep2: deep3@other.ex\nquoted: \"a b\"@test.ex\nafter: :fail:550 5.7.1 not here\n*: bob\n",
    ),
    ("users", "alice: one\nbob: two three\nsales: four\ncarol: five\n"),
    ("domains", "test.ex: local\nother.ex: more\nlists.ex: lists\n"),
    (
        "routes",
        "mx.ex: 192.0.2.2\na.ex: 192.0.2.9:192.0.2.1\nsub.a.ex: h1.mx.ex byname\nlists.ex: none.half.ex\n*: 192.0.2.3 bydns\n",
    ),
    ("list", "# members\nalice@test.ex\nbob@other.ex\n\"Carol C\" <carol@mx.ex>\n\ndave (comment)\n"),
    ("there", ""),
    (
        "keep 755",
        "#!/bin/sh\n{ echo \"$*\"; env | grep -v '^PWD=\\|^_=\\|^MESSAGE_ID=\\|^SHLVL=\\|^OLDPWD=' | LC_ALL=C sort; pwd; id -un; cat; echo '-----'; } >> /mnt/mail/kept 2>&1\n\
         case \"$*\" in *says*) echo said; echo complained >&2;; esac\n\
         case \"$*\" in *fails*) exit 3;; *later*) exit 75;; *nosuch*) exit 127;; *dies*) kill -9 $$;; esac\nexit 0\n",
    ),
    ("home/alice/.fwd 644 alice", "bob@other.ex, \\alice\n"),
    ("home/bob/.fwd 644 bob", "# nothing\n|/mnt/keep bob\n/mnt/mail/of.bob\n"),
];

const LOCAL_PARTS: &[&str] = &[
    "alice",
    "bob",
    "carol",
    "sales",
    "team",
    "loop1",
    "self",
    "me",
    "both",
    "gone",
    "later",
    "drop",
    "nobody",
    "filed",
    "piped",
    "mixed",
    "incl",
    "bad",
    "empty",
    "out",
    "deep",
    "quoted",
    "after",
    "postmaster",
    "unknown",
    "real-alice",
    "real-bob",
    "alice-list",
    "bob+box",
    "owner-sales",
    "Alice",
    "BOB",
    "\"a b\"",
    "\"al\\\"ice\"",
    "o'brien",
    "a/b",
    "x=y",
    "a.b",
    "rcpt450",
    "rcpt550",
    "rcpt421",
    "rcptdrop",
    "data450",
    "data550",
    "datadrop",
    "dot450",
    "dot550",
    "dotdrop",
    "\"|pipe\"",
    "a|b",
    "$x",
    "real-alice-list",
    "user%mx.ex",
    "a+b+c",
    "-dash",
    "fails",
    "later-says",
];

const LOCAL_DOMAINS: &[&str] =
    &["test.ex", "test.ex", "test.ex", "other.ex", "lists.ex", "Test.EX", "host.test.ex"];

const REMOTE_DOMAINS: &[&str] = &[
    "mx.ex",
    "mx.ex",
    "a.ex",
    "sub.a.ex",
    "null.ex",
    "self.ex",
    "low.ex",
    "servfail.ex",
    "half.ex",
    "none.ex",
    "cname.ex",
    "dead.ex",
    "fallen.ex",
    "busy.ex",
    "busymx.ex",
    "rude.ex",
    "rudemx.ex",
    "old.ex",
    "txt.ex",
    "srv.ex",
    "nothing.ex",
    "wide",
    "[192.0.2.1]",
    "[127.0.0.1]",
    "[192.0.2.9]",
    "MX.Ex",
];

/// A drawn case.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = Case { fixed: FIXED, main: main_options(random), ..Case::default() };
    case.files = FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    case.zone = ZONE.lines().map(str::to_owned).collect();
    let count = 3 + random.below(6);
    let names: Vec<String> = (0..count).map(|index| format!("r{index}")).collect();
    for index in 0..count {
        case.routers.push(router(random, &names, index));
    }
    if random.percent(60) {
        case.routers.push(Block {
            name: "rest".to_owned(),
            driver: "accept",
            options: vec![format!("transport = {}", random.pick(&["tbox", "tdir", "tpipe"]))],
        });
    }
    case.transports = transports(random);
    case.retry = lines(random, 3, RETRY);
    if random.percent(75) {
        case.retry.push("* * F,2h,15m; G,16h,1h,1.5".to_owned());
    }
    if random.percent(25) {
        case.rewrite = lines(random, 3, REWRITE);
    }
    for _ in 0..4 + random.below(5) {
        case.tested.push(address(random));
    }
    let sender = random.pick(SENDERS).to_owned();
    case.submission = ["-odi", "-f", &sender].map(str::to_owned).to_vec();
    for _ in 0..1 + random.below(5) {
        let known = case.tested.get(random.below(12)).cloned();
        let recipient = known.unwrap_or_else(|| address(random));
        // The same address a second time is left out when a message comes in; exim4 does so when it delivers.
        if !case.recipients.contains(&recipient) {
            case.recipients.push(recipient);
        }
    }
    case.header = lines(random, 4, HEADERS);
    case.body = lines(random, 5, BODY);
    case.steps = vec!["tried -qff".to_owned()];
    case
}

/// Some of the lines, each at most once, in a drawn order.
pub(super) fn lines(random: &mut Random, most: usize, choices: &[&str]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for _ in 0..random.below(most + 1) {
        let line = random.pick(choices).to_owned();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

fn address(random: &mut Random) -> String {
    let local_part =
        if random.percent(75) { random.pick(&LOCAL_PARTS[..35]) } else { random.pick(LOCAL_PARTS) };
    match random.below(20) {
        0..=10 => format!("{local_part}@{}", random.pick(LOCAL_DOMAINS)),
        11 => local_part.to_owned(),
        12..=16 => format!("{}@{}", random.pick(&LOCAL_PARTS[30..]), random.pick(REMOTE_DOMAINS)),
        _ => format!("{local_part}@{}", random.pick(REMOTE_DOMAINS)),
    }
}

pub(super) const SENDERS: &[&str] = &[
    "sender@out.ex",
    "sender@out.ex",
    "sender@out.ex",
    "alice@test.ex",
    "bob@other.ex",
    "<>",
    "mail450@a.ex",
    "mail550@mx.ex",
    "unknown@test.ex",
    "Someone@Mx.Ex",
    "\"a b\"@test.ex",
    "gone@test.ex",
];

pub(super) const RETRY: &[&str] = &[
    "mx.ex * F,1h,5m",
    "*@a.ex refused F,1h,1s",
    "a.ex * F,1h,10m; G,5h,1h,2",
    "test.ex * ",
    "* rcpt_4xx F,30m,5m",
    "* quota F,10m,10m",
    "*.ex timeout F,2h,1h",
    "alice@test.ex * F,1h,7m",
    "\"lsearch;/mnt/domains\" * H,4h,10m,2",
    "* refused_A F,20m,5m",
    "* data_4xx F,1h,3m",
    "*@test.ex * senders=sender@out.ex F,1h,20m",
    "192.0.2.9 * F,2h,30m",
];

pub(super) const REWRITE: &[&str] = &[
    "*@other.ex $1@test.ex",
    "bob@test.ex robert@test.ex Ttfrc",
    "*@a.ex $1@mx.ex Ttq",
    "alice@test.ex alice.a@test.ex Ffrs",
    "*@lists.ex ${lookup{$1}lsearch{/mnt/users}{$1-known@test.ex}fail} Tt",
    "*@*.ex $0 hq",
    "sender@out.ex \"Sender S <sender@test.ex>\" Ffrsw",
    "sales@test.ex bob@other.ex EcR",
];

pub(super) const HEADERS: &[&str] = &[
    "From: sender@out.ex",
    "From: Someone <alice@test.ex>",
    "To: alice, bob@test.ex",
    "To: \"A, B\" <sales@test.ex>,\n carol@mx.ex",
    "Cc: bob@other.ex (Bob)",
    "Bcc: team@test.ex",
    "Subject: a subject",
    "Subject: =?utf-8?q?J=C3=BCrgen?=",
    "X-One: one",
    "X-Two: two\n folded",
    "Reply-To: alice@test.ex",
    "Auto-Submitted: auto-generated",
    "Precedence: bulk",
    "Return-Path: <x@y.ex>",
    "Errors-To: owner@lists.ex",
    "Message-Id: <drawn@case.ex>",
    "Date: Mon, 1 Jan 2024 00:00:00 +0000",
    "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000",
];

pub(super) const BODY: &[&str] = &[
    "a line",
    "From the beginning",
    ".",
    "..two dots",
    ">From quoted",
    "",
    "a much longer line that goes on and on, with words and more words, to the end of what anybody reads: 1234567890",
    "caf\u{e9}",
    "  blanks  ",
];

pub(super) const FIXED: &[&str] = &[
    "domainlist local_domains = test.ex : other.ex : lists.ex : host.test.ex",
    "qualify_domain = test.ex",
    "remote_max_parallel = 1",
    "queue_run_in_order",
    "disable_ipv6",
    "never_users =",
    "tls_advertise_hosts =",
];

fn main_options(random: &mut Random) -> Vec<String> {
    let mut options = Vec::new();
    let selectors = "log_selector = +received_recipients +sender_on_delivery +return_path_on_delivery +smtp_confirmation +subject";
    options.push(
        random
            .pick(&[
                selectors,
                "log_selector = +address_rewrite +deliver_size",
                "log_selector = +unknown_in_list",
                "log_selector = -host_lookup_failed",
            ])
            .to_owned(),
    );
    options.extend(some(
        random,
        6,
        &[
            "allow_domain_literals",
            "percent_hack_domains = test.ex",
            "hold_domains = other.ex",
            "queue_domains = lists.ex",
            "queue_smtp_domains = a.ex",
            "ignore_bounce_errors_after = 0s",
            "bounce_return_body = false",
            "bounce_return_size_limit = 200",
            "delay_warning =",
            "errors_copy = *@test.ex copy@other.ex",
            "errors_reply_to = postmaster@test.ex",
            "freeze_tell = bob@test.ex",
            "qualify_recipient = other.ex",
            "return_path_remove = false",
            "envelope_to_remove = false",
            "untrusted_set_sender = *",
            "local_from_check = false",
            "split_spool_directory = false",
            "retry_interval_max = 10m",
            "received_headers_max = 1",
            "print_topbitchars",
            "message_body_visible = 20",
            "message_body_newlines",
            "hosts_treat_as_local = h1.mx.ex",
            "remote_sort_domains = a.ex : mx.ex",
            "add_environment = FOO=bar",
            "unknown_login = ghost",
            "dns_again_means_nonexist = servfail.ex",
            "dns_check_names_pattern =",
            "strip_excess_angle_brackets",
            "strip_trailing_dot",
            "allow_utf8_domains = false",
            "bounce_message_text = We are sorry.",
            "message_logs = false",
            "syslog_timestamp = true",
            "trusted_users = mail",
            "prdr_enable = false",
        ],
        3,
    ));
    options
}

/// Each of the choices so many times in a hundred, `most` at most.
pub(super) fn some(random: &mut Random, chance: usize, choices: &[&str], most: usize) -> Vec<String> {
    let mut chosen: Vec<String> = Vec::new();
    for choice in choices {
        let name = choice.split(' ').next().unwrap_or("");
        if chosen.len() < most
            && random.percent(chance)
            && !chosen.iter().any(|c| c.split(' ').next() == Some(name))
        {
            chosen.push((*choice).to_owned());
        }
    }
    chosen
}

const LOCAL_TRANSPORTS: &[&str] = &["tbox", "tdir", "tpipe", "tstore", "tbox", "tdir", "tlmtp"];
const REMOTE_TRANSPORTS: &[&str] = &["tsmtp", "tsmtp", "tsmtp", "tlmtpnet"];

fn router(random: &mut Random, names: &[String], index: usize) -> Block {
    let (driver, mut own): (&'static str, Vec<String>) = match random.below(20) {
        0..=3 => ("accept", vec![format!("transport = {}", random.pick(LOCAL_TRANSPORTS))]),
        4 => {
            ("accept", vec!["transport = treply".to_owned(), "senders = ! :".to_owned(), "unseen".to_owned()])
        }
        5..=8 => ("redirect", options::redirect(random, "data", options::REDIRECTIONS)),
        9..=10 => ("redirect", options::redirect(random, "data", options::ALIASES)),
        11 => {
            let mut own = options::redirect(random, "file", options::FILES);
            own.push("check_local_user".to_owned());
            ("redirect", own)
        }
        12..=15 => ("manualroute", options::manualroute(random)),
        16..=18 => ("dnslookup", options::dnslookup(random)),
        _ => ("ipliteral", vec!["transport = tsmtp".to_owned()]),
    };
    if matches!(driver, "manualroute" | "dnslookup") && !own.iter().any(|o| o.starts_with("transport")) {
        own.push(format!("transport = {}", random.pick(REMOTE_TRANSPORTS)));
    }
    for option in options::generic(random, driver, names, index) {
        let name = option.split(' ').next().unwrap_or("").to_owned();
        if !own.iter().any(|o| o.split(' ').next() == Some(name.as_str())) {
            own.push(option);
        }
    }
    // Bounces of bounces, for ever.
    if own.iter().any(|o| o.contains("errors_to")) {
        own.retain(|o| !o.starts_with("senders"));
        own.push("senders = ! :".to_owned());
    }
    // A router that takes everything leaves nothing to the others.
    let is_choosy = own.iter().any(|o| ["domains", "local_parts"].iter().any(|name| o.starts_with(name)));
    if !is_choosy && matches!(driver, "accept" | "redirect") && index + 2 < names.len() {
        own.push(random.pick(options::LOCAL_PARTS).to_owned());
    }
    Block { name: names[index].clone(), driver, options: own }
}

pub(super) fn transports(random: &mut Random) -> Vec<Block> {
    let mut blocks = Vec::new();
    let fixed: &[(&str, &'static str, &[&str])] = &[
        ("tbox", "appendfile", &[]),
        ("tdir", "appendfile", &["directory = /mnt/mail/dir", "maildir_format"]),
        ("tstore", "appendfile", &["directory = /mnt/mail/store", "mailstore_format"]),
        ("tpipe", "pipe", &[]),
        ("treply", "autoreply", &["to = $sender_address"]),
        ("tsmtp", "smtp", &["port = 2526", "hosts_try_fastopen ="]),
        ("tlmtpnet", "smtp", &["port = 2526", "protocol = lmtp", "hosts_try_fastopen ="]),
        ("tlmtp", "lmtp", &["socket = /mnt/lmtp.sock"]),
        ("shadow", "appendfile", &["file = /mnt/mail/shadow", "user = mail"]),
        ("address_file", "appendfile", &[]),
        ("address_directory", "appendfile", &["maildir_format"]),
        ("address_pipe", "pipe", &[]),
        ("address_reply", "autoreply", &[]),
    ];
    for (name, driver, options) in fixed {
        let mut all: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        for option in options::transport(random, name, driver) {
            let word = option.split(' ').next().unwrap_or("");
            // In a batch behind redirections exim4 forgets the recipients.
            if *name == "address_pipe" && matches!(word, "batch_max" | "use_bsmtp") {
                continue;
            }
            if !all.iter().any(|o| o.split(' ').next() == Some(word)) {
                all.push(option);
            }
        }
        blocks.push(Block { name: (*name).to_owned(), driver, options: all });
    }
    blocks
}

//! Draws cases about what senders are told: delivery status notifications, bounces, warnings, and messages that freeze.

use super::case::{Block, Case};
use super::draw::{self, some};
use super::filter;
use crate::generator::random::Random;

const MAIN: &[&str] = &[
    "bounce_message_file = /mnt/bounce",
    "warn_message_file = /mnt/warn",
    "bounce_message_file = /mnt/nobounce",
    "warn_message_file = /mnt/nowarn",
    "bounce_message_text = We are sorry.\\nVery much.",
    "bounce_return_body = false",
    "bounce_return_size_limit = 2K",
    "bounce_return_linesize_limit = 60",
    "errors_copy = *@test.ex copy@other.ex",
    "errors_copy = alice@* copy@other.ex, second@mx.ex : *@out.ex third@test.ex",
    "errors_copy = !bob@test.ex $sender_address_local_part-copy@test.ex",
    "errors_reply_to = postmaster@test.ex",
    "errors_reply_to = \"Post Master <postmaster@test.ex>\"",
    "dsn_from = Mail System <system@$qualify_domain>",
    "freeze_tell = bob@test.ex",
    "freeze_tell = bob@test.ex : carol@mx.ex",
    "ignore_bounce_errors_after = 0s",
    "ignore_bounce_errors_after = 1h",
    "timeout_frozen_after = 1h",
    "timeout_frozen_after = 0s",
    "auto_thaw = 1h",
    "move_frozen_messages",
    "message_logs = false",
    "delay_warning = 1h",
    "delay_warning = 30m:2h:5h",
    "delay_warning =",
    "delay_warning_condition = yes",
    "delay_warning_condition = ${if eq{$h_subject:}{a subject}{no}{yes}}",
    "delay_warning_condition = ${bad",
    "log_selector = +return_path_on_delivery +subject +smtp_confirmation",
    "log_selector = +sender_on_delivery +received_recipients +queue_time",
    "qualify_recipient = other.ex",
    "return_path_remove = false",
    "retry_data_expire = 1h",
    "bounce_sender_authentication = bouncer@test.ex",
    "dsn_advertise_hosts = 192.0.2.1",
    "untrusted_set_sender = *",
];

/// Header lines in a file with texts: with an empty one among them exim4 does not find the recipient.
const TEXT_HEADERS: &[&str] = &[
    "Subject: Told $bounce_recipient",
    "Subject: Late by $warn_message_delay",
    "X-Of: $message_exim_id from $sender_address",
    "X-If: ${if eq{$sender_address}{$bounce_recipient}\n  {yours}{another's}}",
];

/// Lines of a file with texts.
const TEXTS: &[&str] = &[
    "****",
    "****",
    "****",
    "****",
    "  ${if eq{$sender_address}{$bounce_recipient}{: yours}{: another's}}",
    "For $warn_message_recipients",
    "Your message $h_subject: of $h_date:",
    "Up to $bounce_return_size_limit",
    "${if eq{$sender_address}{alice@test.ex}\n  {dear}{sir}}",
    "plain words",
    "",
    "$bad_variable",
    "${if eq{a}{b}{c}fail}",
    " ****",
    "**** ",
    "caf\u{e9}",
];

/// Parameters of RCPT, by whether failures and delays are told: exim4 asks only the first of several recipients.
const PARAMETERS: &[&[&str]] = &[
    &[
        "",
        "",
        " NOTIFY=FAILURE,DELAY",
        " NOTIFY=SUCCESS,FAILURE,DELAY",
        " NOTIFY=FAILURE,SUCCESS,DELAY ORCPT=rfc822;plus+2Bsign@orig.ex",
        " NOTIFY=DELAY,FAILURE ORCPT=rfc822;x+3Dy@orig.ex",
        " NOTIFY=NEVER,SUCCESS",
        " NOTIFY=",
        " NOTIFY=SOMETIMES",
        " ORCPT=nonsense",
    ],
    &[" NOTIFY=FAILURE", " NOTIFY=SUCCESS,FAILURE", " NOTIFY=FAILURE,SUCCESS ORCPT=rfc822;first@orig.ex"],
    &[" NOTIFY=NEVER", " NOTIFY=SUCCESS", " NOTIFY=SUCCESS ORCPT=rfc822;first@orig.ex"],
    &[" NOTIFY=DELAY", " NOTIFY=success,delay", " NOTIFY=DELAY ORCPT=rfc822;first@orig.ex"],
];

const ENVELOPES: &[&str] = &[
    "",
    "",
    "",
    " RET=HDRS",
    " RET=FULL",
    " RET=HDRS ENVID=env+2Bid",
    " ENVID=QQ314159",
    " RET=hdrs",
    " RET=NONE",
    " SIZE=100 RET=FULL",
];

const RECIPIENTS: &[&str] = &[
    "alice@test.ex",
    "bob@test.ex",
    "sales@test.ex",
    "team@test.ex",
    "gone@test.ex",
    "later@test.ex",
    "unknown@test.ex",
    "drop@test.ex",
    "filed@test.ex",
    "piped@test.ex",
    "mixed@test.ex",
    "out@test.ex",
    "errors@test.ex",
    "quota@test.ex",
    "fails@test.ex",
    "laterpipe@test.ex",
    "fine@mx.ex",
    "second@mx.ex",
    "rcpt450@mx.ex",
    "rcpt550@mx.ex",
    "rcpt550@a.ex",
    "dot550@mx.ex",
    "dot450@a.ex",
    "data450@mx.ex",
    "datadrop@a.ex",
    "fine@a.ex",
    "fine@dead.ex",
    "fine@busy.ex",
    "fine@rude.ex",
    "fine@old.ex",
    "lmtp@lists.ex",
    "rcpt550@lists.ex",
    "fine@servfail.ex",
    "fine@nothing.ex",
    "fine@null.ex",
    "list@other.ex",
];

const STEPS: &[&str] = &[
    "age 3700; tried -q",
    "age 9000; tried -q",
    "age 90000; tried -q",
    "age 500000; tried -q",
    "age 3700; tried -qf",
    "age 90000; tried -qf",
    "tried -qff",
    "tried -q",
    "tried -Mg $(ids)",
    "tried -Mt $(ids); age 4000; tried -q",
    "tried -Mf $(ids); age 4000; tried -q",
    "tried -Mmd $(ids) fine@a.ex",
    "tried -Mes $(ids) bob@test.ex; tried -qff",
    "printf '. mx 250 kept now\\nRCPT mx 250 good\\n' >rules; age 4000; tried -q",
];

/// What a server offers that knows DSN.
const WITH_DSN: &str = "250-server\\n250-DSN\\n250-SIZE 100000\\n250 PIPELINING";

const RETRY: &[&str] = &[
    "* * F,2h,15m; G,16h,1h,1.5",
    "* * F,1h,15m",
    "*",
    "a.ex * F,5m,1m",
    "mx.ex rcpt_4xx F,2h,10m",
    "* quota F,1h,10m",
    "* * F,4d,1h",
];

/// A case about reports.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = filter::surroundings(random);
    case.main.push("acl_smtp_rcpt = accept".to_owned());
    if random.percent(85) {
        case.main.push("dsn_advertise_hosts = *".to_owned());
    }
    case.main.extend(some(random, 12, MAIN, 6));
    for file in ["bounce", "warn"] {
        let mut lines = draw::lines(random, 3, TEXT_HEADERS);
        lines.push("****".to_owned());
        // A line of stars counts as often as it is drawn.
        lines.extend((0..random.below(10)).map(|_| random.pick(TEXTS).to_owned()));
        case.scripts.push((format!("{file} 644"), lines));
    }
    routers(random, &mut case);
    case.retry = draw::lines(random, 2, RETRY);
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "lmtp.sock"] {
        if random.percent(40) {
            let verb = if address == "lmtp.sock" { "LHLO" } else { "EHLO" };
            case.replies.push(format!("{verb} {address} {WITH_DSN}"));
        }
    }
    let wishes = PARAMETERS[random.below(PARAMETERS.len())];
    let mut recipients: Vec<(&str, &str)> = Vec::new();
    for _ in 0..1 + random.below(5) {
        let (parameters, address) = (random.pick(wishes), random.pick(RECIPIENTS));
        if !recipients.contains(&(address, parameters)) {
            recipients.push((address, parameters));
        }
    }
    let sender = random.pick(&[
        "sender@out.ex",
        "sender@out.ex",
        "alice@test.ex",
        "bob@other.ex",
        "fine@a.ex",
        "unknown@test.ex",
        "",
    ]);
    // Of a message that nobody sent, exim4 reports successes to nobody, and freezes what is never to be told.
    let has_wishes = !sender.is_empty();
    case.recipients = recipients
        .into_iter()
        .map(|(address, parameters)| format!("<{address}>{}", if has_wishes { parameters } else { "" }))
        .collect();
    let envelope = random.pick(ENVELOPES);
    let mode = random.pick(&["-bs", "-bs", "-bS"]);
    case.dialogue.push("EHLO client.ex".to_owned());
    case.dialogue.push(format!("MAIL FROM:<{sender}>{envelope}"));
    case.submission = ["-odi", mode].map(str::to_owned).to_vec();
    if random.percent(30) {
        case.body.extend(
            (0..12).map(|line| format!("line {line} of a body that goes on for longer than most bodies do")),
        );
    }
    case.steps = (0..random.below(4)).map(|_| random.pick(STEPS).to_owned()).collect();
    case
}

/// Ways to fail, and routers whose options change what is told.
fn routers(random: &mut Random, case: &mut Case) {
    let block = |name: &str, driver, options: &[&str]| Block {
        name: name.to_owned(),
        driver,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    case.routers.insert(0, block("lmtp", "accept", &["domains = lists.ex", "transport = tlmtp"]));
    let files = ["file_transport = address_file", "pipe_transport = address_pipe"];
    case.routers[2].options.extend(files.map(str::to_owned));
    let list = [
        "domains = other.ex",
        "local_parts = list",
        "data = fine@mx.ex, rcpt550@a.ex, bob",
        "errors_to = list-owner@test.ex",
    ];
    case.routers.push(block("list", "redirect", &list));
    case.routers.push(block(
        "errors",
        "redirect",
        &["local_parts = errors", "data = rcpt550@mx.ex", "errors_to = bob@test.ex"],
    ));
    case.routers.push(block("quota", "accept", &["local_parts = quota", "transport = full"]));
    case.routers.push(block("fails", "accept", &["local_parts = fails", "transport = fails"]));
    case.routers.push(block("laterpipe", "accept", &["local_parts = laterpipe", "transport = waits"]));
    case.routers.push(block(
        "copies",
        "accept",
        &["local_parts = copy : third : second : list-owner", "transport = copies"],
    ));
    let mailbox = ["file = /mnt/mail/full", "quota = 10", "user = mail"];
    case.transports.push(block("full", "appendfile", &mailbox));
    case.transports.push(block("copies", "appendfile", &["file = /mnt/mail/copies", "user = mail"]));
    let output = random.pick(&["return_output", "return_fail_output", "log_output", "ignore_status"]);
    case.transports.push(block("fails", "pipe", &["command = /mnt/keep fails says", "user = mail", output]));
    case.transports.push(block("waits", "pipe", &["command = /mnt/keep later says", "user = mail", output]));
    for router in &mut case.routers {
        let more = [
            "dsn_lasthop",
            "errors_to = bob@other.ex",
            "errors_to = \"\"",
            "errors_to = ${if eq{$local_part}{fine}{alice@test.ex}fail}",
            "headers_add = X-Router: yes",
            "hide_child_in_errmsg",
            "one_time",
        ];
        let more = if router.driver == "redirect" { &more[..] } else { &more[..5] };
        for option in some(random, 5, more, 2) {
            let name = option.split(' ').next();
            if !router.options.iter().any(|set| set.split(' ').next() == name) {
                router.options.push(option);
            }
        }
    }
}

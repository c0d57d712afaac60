//! Draws cases about what is tried again, and when: servers that fail in every way, retry rules, and queue runs.

use super::case::{Block, Case};
use super::draw::{self, some};
use super::filter;
use crate::generator::random::Random;

/// Servers of one domain each: of one that has just failed, exim4 makes nothing before the message's other addresses went there too.
/// Replies are given by the beginning of an address.
const OWN_SERVERS: &[&str] = &[
    "sub.a.ex A 192.0.2.31",
    "half.ex MX 20 h1.half.ex",
    "h1.half.ex A 192.0.2.11",
    "cname.ex CNAME own.cname.ex",
    "own.cname.ex A 192.0.2.32",
    "fallen.ex MX 20 h1.fallen.ex",
    "h1.fallen.ex A 192.0.2.12",
    "busymx.ex MX 20 h2.busymx.ex",
    "h2.busymx.ex A 192.0.2.21",
    "rudemx.ex MX 20 h2.rudemx.ex",
    "h2.rudemx.ex A 192.0.2.22",
];

/// Faults of servers, of those that the message meets.
const REPLIES: &[&str] = &[
    "greeting 192.0.2.1 451 4.7.1 not now",
    "greeting 192.0.2.1 554 5.7.1 never",
    "greeting 192.0.2.2 close",
    "greeting 192.0.2.1 silence",
    "greeting 192.0.2.3 421 too busy",
    "EHLO 192.0.2.1 450 later",
    "EHLO 192.0.2.2 550 who",
    "EHLO 192.0.2.3 close",
    "EHLO 192.0.2.1 421 4.3.2 down",
    "MAIL 192.0.2.1 451 4.1.8 later",
    "MAIL 192.0.2.1 550 5.1.8 no",
    "MAIL 192.0.2.2 close",
    "MAIL 192.0.2.3 452 4.3.1 no room",
    "MAIL 192.0.2.2 silence",
    "RCPT first 451 4.2.2 first line\\n451 4.2.2 second",
    "RCPT first 550 5.1.1 unknown",
    "RCPT @mx.ex 452 4.5.3 too many",
    "RCPT 192.0.2.1 421 4.3.0 enough",
    "RCPT 192.0.2.3 silence",
    "RCPT 192.0.2.2 close",
    "RCPT second 250 2.1.5 fine",
    "DATA 192.0.2.1 451 4.3.0 later",
    "DATA 192.0.2.1 554 5.3.0 no",
    "DATA 192.0.2.2 close",
    "DATA 192.0.2.3 421 4.3.2 bye",
    ". 192.0.2.1 451 4.6.0 later",
    ". 192.0.2.1 554-5.6.0 no\\n554 5.6.0 spam",
    ". 192.0.2.2 close",
    ". 192.0.2.3 421 4.3.2 bye",
    ". 192.0.2.1 silence",
    "QUIT 192.0.2.1 close",
    "QUIT 192.0.2.2 500 what",
];

const RETRY: &[&str] = &[
    "mx.ex * F,1h,5m",
    "a.ex * F,1h,10m; G,5h,1h,2",
    "a.ex *",
    "*@mx.ex refused F,1h,1m",
    "* rcpt_4xx F,30m,5m",
    "* rcpt_45x F,40m,6m",
    "* mail_4xx F,1h,7m",
    "* data_4xx F,1h,3m",
    "* lost_connection F,2h,2m",
    "* timeout F,2h,4m",
    "* timeout_A F,2h,4m",
    "* refused_MX F,20m,5m",
    "* refused_A F,20m,6m",
    "* timeout_connect F,1h,8m",
    "* quota F,10m,10m",
    "* quota_1d F,10m,11m",
    "192.0.2.1 * F,2h,30m",
    "192.0.2.0/24 * F,3h,40m",
    "h1.mx.ex * F,50m,9m",
    "first@mx.ex * F,1h,12m",
    "first@* rcpt_452 F,1h,13m",
    "* * senders=: F,1h,20m",
    "*@test.ex * senders=*@out.ex F,1h,20m",
    "* tls_required F,1h,1m",
    "* auth_failed F,1h,1m",
    "^.*mx\\\\.ex * H,4h,10m,2",
    "\"lsearch;/mnt/domains\" * H,4h,10m,2",
    "* lookup F,1h,14m",
    "* response_4xx F,1h,15m",
];

const RECIPIENTS: &[&str] = &[
    "first@mx.ex",
    "second@mx.ex",
    "third@mx.ex",
    "first@a.ex",
    "second@a.ex",
    "fine@sub.a.ex",
    "fine@fallen.ex",
    "fine@dead.ex",
    "fine@busymx.ex",
    "fine@rudemx.ex",
    "fine@rude.ex",
    "fine@old.ex",
    "fine@servfail.ex",
    "fine@half.ex",
    "fine@cname.ex",
    "rcpt450@mx.ex",
    "rcpt550@a.ex",
    "data450@a.ex",
    "dotdrop@mx.ex",
    "fine@lists.ex",
    "dot450@lists.ex",
    "full@test.ex",
    "waits@test.ex",
    "later@test.ex",
    "alice@test.ex",
    "out@test.ex",
];

const STEPS: &[&str] = &[
    "tried -q",
    "tried -q",
    "tried -qf",
    "tried -qff",
    "tried -M $(ids)",
    "tried -R mx.ex",
    "tried -Rf first",
    "tried -Rff a.ex",
    "tried -S out.ex",
    "tried -Sr '^sender'",
    "tried -ql",
    "age 400; tried -q",
    "age 1300; tried -q",
    "age 4000; tried -q",
    "age 100000; tried -q",
    "age 700000; tried -q",
    "forget_since 8000 4000 0; tried -q",
    "forget_since 90000 4000 600; tried -q",
    "forget_since 700000 600000 500000; tried -q",
    "tried -odi -f other@out.ex first@mx.ex third@mx.ex <message",
    "tried -odi -f sender@out.ex second@a.ex new@test.ex <message",
    "tried -odq -f '<>' first@a.ex fine@dead.ex <message; tried -q",
    "printf 'RCPT first 250 yes\\n' >rules; tried -qf",
    "printf 'greeting 192 220 well\\nMAIL @ 250 well\\nRCPT @ 250 well\\nDATA @ 354 well\\n. @ 250 well\\n' >rules; tried -qf",
    "printf 'RCPT @ 550 no more\\n' >rules; age 4000; tried -q",
    "$TOOLS/exinext mx.ex; $TOOLS/exinext first@mx.ex; $TOOLS/exinext full@test.ex",
    "$TOOLS/exinext dead.ex; $TOOLS/exinext $(ids)",
    "$TOOLS/exim_tidydb -t 1h /mnt/spool retry",
    "$EXIM -brt mx.ex; $EXIM -brt a.ex refused; $EXIM -brt first@mx.ex; $EXIM -brt test.ex quota_2d; $EXIM -brt h1.mx.ex a.ex timeout",
];

const MAIN: &[&str] = &[
    "retry_interval_max = 10m",
    "retry_interval_max = 1h",
    "retry_data_expire = 2h",
    "remote_sort_domains = a.ex : mx.ex",
    "hold_domains = a.ex",
    "queue_domains = mx.ex",
    "queue_smtp_domains = mx.ex",
    "delay_warning =",
    "delay_warning = 1h",
    "smtp_return_error_details",
    "log_selector = +retry_defer +smtp_confirmation +outgoing_port",
    "log_selector = -retry_defer -skip_delivery",
    "log_selector = +queue_time_overall",
    "message_logs = false",
    "ignore_bounce_errors_after = 0s",
    "split_spool_directory = false",
    "dns_again_means_nonexist = servfail.ex",
    "dns_retry = 0",
    "dns_retrans = 1s",
];

/// Options of the transport to other servers.
const SMTP: &[&str] = &[
    "connection_max_messages = 1",
    "fallback_hosts = 192.0.2.2",
    "hosts_max_try = 1",
    "hosts_max_try_hardlimit = 2",
    "delay_after_cutoff = false",
    "retry_include_ip_address = false",
    "retry_include_ip_address = ${if eq{$host}{a.ex}{no}{yes}}",
    "address_retry_include_sender = false",
    "hosts_avoid_pipelining = *",
    "hosts_avoid_esmtp = *",
    "serialize_hosts = *",
    "retry_use_local_part",
    "message_linelength_limit = 20",
    "hosts_require_tls = 192.0.2.1",
    "hosts_require_auth = 192.0.2.2",
];

/// Whether two lines of the zone say the same thing of one name: all but the last word.
fn is_about(one: &str, other: &str) -> bool {
    let subject = |line: &str| line.rsplit_once(' ').map(|(subject, _)| subject.to_owned());
    subject(one) == subject(other)
}

/// A case about retries.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = filter::surroundings(random);
    case.main = some(random, 6, MAIN, 4);
    // Oxim's queue runs always have an order.
    case.main.push("queue_run_in_order".to_owned());
    case.zone.retain(|line| !OWN_SERVERS.iter().any(|own| is_about(own, line)));
    case.zone.extend(OWN_SERVERS.iter().map(|line| (*line).to_owned()));
    let block = |name: &str, driver, options: &[&str]| Block {
        name: name.to_owned(),
        driver,
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    case.routers.insert(0, block("lmtp", "accept", &["domains = lists.ex", "transport = tlmtp"]));
    case.routers.insert(1, block("full", "accept", &["local_parts = full", "transport = full"]));
    case.routers.insert(2, block("waits", "accept", &["local_parts = waits", "transport = waits"]));
    case.transports.retain(|block| block.name != "tsmtp");
    let times = [
        "port = 2526",
        "hosts_try_fastopen =",
        "command_timeout = 1s",
        "final_timeout = 1s",
        "connect_timeout = 1s",
    ];
    let mut remote = block("tsmtp", "smtp", &times);
    remote.options.extend(some(random, 6, SMTP, 3));
    case.transports.push(remote);
    case.transports.push(block(
        "full",
        "appendfile",
        &["file = /mnt/mail/full", "quota = 10", "user = mail"],
    ));
    case.transports.push(block("waits", "pipe", &["command = /mnt/keep later says", "user = mail"]));
    case.replies = draw::lines(random, 4, REPLIES);
    case.retry = draw::lines(random, 3, RETRY);
    if random.percent(80) {
        case.retry.push(
            random
                .pick(&["* * F,2h,15m; G,16h,1h,1.5; F,4d,6h", "* * F,1h,15m", "* * H,6h,20m,2", "*"])
                .to_owned(),
        );
    }
    for _ in 0..1 + random.below(4) {
        let recipient = random.pick(RECIPIENTS).to_owned();
        if !case.recipients.contains(&recipient) {
            case.recipients.push(recipient);
        }
    }
    let mode = random.pick(&["-odi", "-odi", "-odi", "-odq", "-odqs"]);
    case.submission = [mode, "-f", random.pick(filter::SENDERS)].map(str::to_owned).to_vec();
    case.steps = (0..1 + random.below(4)).map(|_| random.pick(STEPS).to_owned()).collect();
    case
}

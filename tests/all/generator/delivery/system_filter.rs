//! Draws cases with a system filter.

use super::case::Case;
use super::draw::{self, some};
use super::filter::{self, Owner};
use crate::generator::random::Random;

const OPTIONS: &[&str] = &[
    "system_filter_file_transport = address_file",
    "system_filter_pipe_transport = address_pipe",
    "system_filter_directory_transport = address_directory",
    "system_filter_reply_transport = address_reply",
];

/// Fewer have these: then the options of the transports' own count.
const USERS: &[&str] =
    &["system_filter_user = mail", "system_filter_user = alice\nsystem_filter_group = mail"];

const MAIN: &[&str] = &[
    "freeze_tell = bob@test.ex",
    "errors_copy = *@test.ex copy@other.ex",
    "ignore_bounce_errors_after = 0s",
    "timeout_frozen_after = 1h",
    "auto_thaw = 1h",
    "log_selector = +received_recipients +return_path_on_delivery +all_parents",
    "log_selector = +sender_on_delivery +deliver_size +address_rewrite",
    "move_frozen_messages",
    "message_body_visible = 20",
    "message_body_newlines",
    "headers_charset = utf-8",
    "print_topbitchars",
    "qualify_recipient = other.ex",
    "bounce_return_body = false",
    "message_logs = false",
];

/// What is done with a message that waits.
const STEPS: &[&str] = &[
    "tried -q",
    "tried -qf",
    "tried -qff",
    "tried -M $(ids)",
    "tried -Mt $(ids)",
    "tried -Mf $(ids)",
    "tried -Mg $(ids)",
    "tried -Mar $(ids) added@mx.ex",
    "age 7200; tried -q",
    "rm -f system; tried -qff",
];

/// A case with a system filter.
pub(super) fn case(random: &mut Random) -> Case {
    let mut case = filter::surroundings(random);
    case.main = vec!["system_filter = /mnt/system".to_owned()];
    case.main.extend(some(random, 85, OPTIONS, 4));
    if random.percent(60) {
        case.main.push(random.pick(USERS).to_owned());
    }
    case.main.extend(some(random, 8, MAIN, 3));
    case.scripts.push(("system 644".to_owned(), filter::script(random, Owner::System)));
    if random.percent(25) {
        case.routers.insert(1, filter::router(random));
        case.scripts.push(("home/alice/.fwd 644 alice".to_owned(), filter::script(random, Owner::User)));
    }
    for recipient in [
        "alice@test.ex",
        "bob@other.ex",
        "fine@mx.ex",
        "rcpt450@a.ex",
        "rcpt550@mx.ex",
        "team@test.ex",
        "unknown@test.ex",
    ] {
        if random.percent(30) || case.recipients.is_empty() {
            case.recipients.push(recipient.to_owned());
        }
    }
    if random.percent(12) {
        case.rewrite = draw::lines(random, 2, draw::REWRITE);
    }
    case.before.push("tried -bF system -f s@out.ex <message".to_owned());
    if random.percent(30) {
        let envelope = random.pick(&["-bf home/alice/.fwd -bfl alice", "-f '<>'", "-bfl bob -bfd other.ex"]);
        case.before.push(format!("tried -bF system {envelope} <message"));
    }
    case.steps = (0..1 + random.below(3)).map(|_| random.pick(STEPS).to_owned()).collect();
    case
}

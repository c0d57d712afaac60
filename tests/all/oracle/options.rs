//! What `-bP` prints: each line of each listing is a case. Names that Oxim has and exim4 has not are no difference.

use super::Record;
use super::ground::Ground;

/// Cases whose text is compared line by line, in both directions.
pub(super) const TEXT: &str = "text ";

/// A listing as cases: `WHAT NAME`. The heading of a driver (`name transport:`) goes in front of its options.
fn cases(what: &str, text: &str, record: &mut Record) {
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|n| !n.contains('=')) {
            heading = format!("{name} ");
            record.insert(format!("{what} {heading}"), String::new());
            continue;
        }
        let name = line.split(" =").next().unwrap_or(line);
        let name = name.strip_prefix("no_").or_else(|| name.strip_prefix("not_")).unwrap_or(name);
        let case = format!("{what} {heading}{name}");
        // A named list or a macro may come twice: all its lines count.
        let before = record.remove(&case).map(|b| format!("{b}\n")).unwrap_or_default();
        record.insert(case, format!("{before}{line}"));
    }
}

fn names(ground: &Ground, list: &str) -> Vec<String> {
    let text = ground.run(None, &["-bP", list]);
    text.lines().take_while(|l| *l != "[error]").map(str::to_owned).collect()
}

pub(super) fn record(ground: &Ground) -> Record {
    let mut record = Record::new();
    let main = ground.run(None, &["-bP"]);
    cases("main", &main, &mut record);
    record.insert("main by a user".to_owned(), unlike(&main, &ground.run(Some("daemon"), &["-bP"])));
    for list in ["routers", "transports", "authenticators"] {
        cases(list, &ground.run(None, &["-bP", list]), &mut record);
    }
    for kind in ["router", "transport", "authenticator"] {
        let list = format!("{kind}_list");
        record.insert(list.clone(), ground.run(None, &["-bP", &list]));
        let all = ground.run(None, &["-bP", &format!("{kind}s")]);
        for name in names(ground, &list) {
            let alone = ground.run(None, &["-bP", kind, &name]);
            record.insert(format!("{kind} {name}"), unlike(&all, &alone));
        }
    }
    for name in names(ground, "macro_list") {
        record.insert(format!("macro_list {name}"), String::new());
    }
    // What a macro of the configuration itself stands for; those that come with the program are told by `macro_list`.
    cases("macros", &own_macros(&ground.run(None, &["-bP", "macros"])), &mut record);
    for name in ["config", "config_file", "configure_file", "environment"] {
        record.insert(format!("{TEXT}{name}"), ground.run(None, &["-bP", name]));
    }
    // Each option alone, as a script would ask for it: the output must be the line of the full list.
    let options: Vec<&str> = main
        .lines()
        .take_while(|l| *l != "[error]")
        .map(|l| l.split(" =").next().unwrap_or(l))
        .map(|l| l.strip_prefix("no_").unwrap_or(l))
        .collect();
    let mut strange = String::new();
    for some in options.chunks(20) {
        let words: Vec<&str> = std::iter::once("-bP").chain(some.iter().copied()).collect();
        strange.push_str(&unlike(&main, &ground.run(None, &words)));
    }
    record.insert("alone".to_owned(), strange);
    for words in ODD {
        record.insert(words.join(" "), ground.run(None, words));
        let by_user = format!("{} by a user", words.join(" "));
        record.insert(by_user, ground.run(Some("daemon"), words));
    }
    record
}

/// The lines that are not in the full list.
fn unlike(list: &str, part: &str) -> String {
    part.lines().filter(|line| !list.lines().any(|l| l == *line)).map(|l| format!("{l}\n")).collect()
}

fn own_macros(text: &str) -> String {
    text.lines().filter(|l| !l.starts_with('_')).map(|l| format!("{l}\n")).collect()
}

/// Names in other forms, names that are no options, and what is kept from users.
const ODD: &[&[&str]] = &[
    &["-bP", "no_such_option"],
    &["-bP", "qualify_domain", "no_such_option", "primary_hostname"],
    &["-bP", "no_queue_only"],
    &["-bP", "not_queue_only"],
    &["-bP", "QUALIFY_DOMAIN"],
    &["-bP", "+local_domains"],
    &["-bP", "+no_such_list"],
    &["-bP", "domainlist", "local_domains"],
    &["-bP", "hostlist", "relay_from_hosts"],
    &["-bP", "hostlist", "no_such_list"],
    &["-bP", "addresslist", "no_such_list"],
    &["-bP", "localpartlist", "no_such_list"],
    &["-bP", "router", "no_such_router"],
    &["-bP", "transport", "no_such_transport"],
    &["-bP", "authenticator", "no_such_authenticator"],
    &["-bP", "macro", "NO_SUCH_MACRO"],
    &["-bP", "macro", "MAIN_LOCAL_DOMAINS"],
    &["-bP", "macro", "ETC_MAILNAME"],
    &["-bP", "macro", "_HAVE_TLS"],
    &["-bP", "router"],
    &["-bP", "transport"],
    &["-bP", ""],
    &["-n", "-bP", "qualify_domain"],
    &["-n", "-bP", "queue_only"],
    &["-n", "-bP", "domainlist", "local_domains"],
    &["-n", "-bP", "router_list"],
    &["-bP", "exim_user", "never_users", "log_selector", "acl_smtp_rcpt"],
];

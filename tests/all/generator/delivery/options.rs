//! Options of routers and transports, as they are drawn.

use super::draw::some;
use crate::generator::random::Random;

/// What `data` of a redirect router says.
pub(super) const REDIRECTIONS: &[&str] = &[
    "bob@test.ex",
    "alice, bob@other.ex",
    "alice@test.ex, carol@mx.ex",
    "$local_part@other.ex",
    "${quote_local_part:$local_part}@other.ex",
    "\\\\$local_part",
    ":blackhole:",
    ":fail: no $local_part here",
    ":fail:",
    ":fail:550 5.7.1 refused",
    ":defer: later $local_part",
    ":unknown:",
    "/mnt/mail/file",
    "/mnt/mail/folder/",
    "/mnt/mail/of.$local_part",
    "|/mnt/keep redirect",
    "\"\\\"|/mnt/keep redirect $local_part\\\"\"",
    "|/mnt/keep fails says",
    "|/mnt/keep later says",
    ":include:/mnt/list",
    ":include:/mnt/nolist",
    "/dev/null",
    "# only a comment\\nbob",
    ", ,",
    "",
    "x@@y",
    "bob, x@@y, alice",
    "<alice@test.ex>",
    "Alice Doe <alice@test.ex>, bob (comment)",
    "loop1@test.ex",
    "${if eq{$local_part}{alice}{bob}fail}",
    "${if eq{$domain}{test.ex}{$local_part@other.ex}{$local_part@test.ex}}",
    "alice, :fail: both",
    "\"\\\"a b\\\"@test.ex, $local_part_prefix$local_part$local_part_suffix@lists.ex\"",
    "fine@mx.ex, rcpt550@mx.ex, rcpt450@mx.ex",
    "bob\\n/mnt/mail/file\\n|/mnt/keep pipe",
    "@mx.ex:bob@a.ex",
    "alice@test.ex, ALICE@test.ex, alice@TEST.EX",
];

/// Lookups in the file of aliases.
pub(super) const ALIASES: &[&str] = &[
    "${lookup{$local_part}lsearch{/mnt/aliases}}",
    "${lookup{$local_part}lsearch{/mnt/aliases}{$value}}",
    "${lookup{$local_part}lsearch*{/mnt/aliases}}",
    "${lookup{${lc:$local_part}}lsearch{/mnt/aliases}{$value}fail}",
];

/// What `file` of a redirect router says.
pub(super) const FILES: &[&str] = &["$home/.fwd", "/mnt/home/${local_part_data}/.fwd", "/mnt/list"];

pub(super) const FILE_TRANSPORTS: &[&str] = &[
    "file_transport = address_file",
    "pipe_transport = address_pipe",
    "directory_transport = address_directory",
    "reply_transport = address_reply",
];

/// The private options of a redirect router.
pub(super) fn redirect(random: &mut Random, source: &str, choices: &[&str]) -> Vec<String> {
    let mut options = vec![format!("{source} = {}", random.pick(choices))];
    options.extend(some(random, 90, FILE_TRANSPORTS, 4));
    options.extend(some(random, 50, &["allow_defer", "allow_fail"], 2));
    options.extend(some(
        random,
        8,
        &[
            "one_time",
            "repeat_use = false",
            "check_ancestor",
            "no_check_ancestor",
            "skip_syntax_errors",
            "syntax_errors_to = bob@test.ex",
            "forbid_file",
            "forbid_pipe",
            "forbid_include",
            "forbid_blackhole",
            "forbid_smtp_code",
            "hide_child_in_errmsg",
            "include_directory = /mnt",
            "qualify_domain = other.ex",
            "qualify_preserve_domain",
            "sieve_subaddress = x",
            "modemask = 0",
            "owners = mail",
            "check_owner",
            "check_group",
            "ignore_enotdir",
            "rewrite = false",
        ],
        3,
    ));
    if random.percent(40) {
        options.push("user = mail".to_owned());
    }
    options
}

/// The private options of a manualroute router.
pub(super) fn manualroute(random: &mut Random) -> Vec<String> {
    const LISTS: &[&str] = &[
        "route_list = * 192.0.2.1",
        "route_list = * 192.0.2.9:192.0.2.2",
        "route_list = mx.ex 192.0.2.2 ; a.ex 192.0.2.1 byname",
        "route_list = *.ex h1.mx.ex:h2.mx.ex bydns",
        "route_list = * mx.ex/MX",
        "route_list = * dead.ex:h1.mx.ex",
        "route_list = * 192.0.2.4:192.0.2.5:192.0.2.3",
        "route_list = * 127.0.0.1",
        "route_list = a.ex 192.0.2.1:127.0.0.1:192.0.2.2",
        "route_list = mx.ex \"192.0.2.1::2526\"",
        "route_list = * \"<+ 192.0.2.1 + 192.0.2.2\"",
        "route_list = !mx.ex:* 192.0.2.3",
        "route_list = a.ex : mx.ex",
        "route_list = * none.half.ex",
        "route_list = * servfail.ex",
        "route_list = *.ex $1.mx.ex",
        "route_list = +local_domains 192.0.2.6 ; * 192.0.2.3 tlmtpnet",
        "route_list = lsearch;/mnt/domains $value.h ; * 192.0.2.1",
        "route_list = ^[ab].*ex$ 192.0.2.1 tsmtp byname",
        "route_list = mx.ex",
        "route_list = * h1.mx.ex:+:h2.mx.ex",
        "route_list = * 192.0.2.1 nosuch",
        "route_data = ${lookup{$domain}lsearch{/mnt/routes}}",
        "route_data = ${lookup{$domain}lsearch*{/mnt/routes}}",
        "route_data = ${lookup{$domain}partial-lsearch{/mnt/routes}{$value}fail}",
        "route_data = <; 192.0.2.9 ; 192.0.2.2",
        "route_data = $address_data",
        "route_data = \"\"",
        "route_data = h1.mx.ex:h2.mx.ex byname",
    ];
    let mut options = vec![random.pick(LISTS).to_owned()];
    options.extend(some(
        random,
        8,
        &[
            "host_find_failed = decline",
            "host_find_failed = pass",
            "host_find_failed = fail",
            "host_find_failed = ignore",
            "host_find_failed = freeze",
            "host_all_ignored = decline",
            "host_all_ignored = fail",
            "hosts_randomize = false",
            "pass_on_timeout",
        ],
        2,
    ));
    if random.percent(15) {
        let local = random.pick(&["tbox", "tpipe"]);
        options.push(format!("transport = {local}"));
    }
    options
}

/// The private options of a dnslookup router.
pub(super) fn dnslookup(random: &mut Random) -> Vec<String> {
    some(
        random,
        9,
        &[
            "check_secondary_mx",
            "check_srv = smtp",
            "mx_domains = mx.ex : a.ex",
            "mx_fail_domains = half.ex",
            "srv_fail_domains = *",
            "pass_on_timeout",
            "fail_defer_domains = *",
            "rewrite_headers = false",
            "same_domain_copy_routing",
            "widen_domains = \"ex:wide.ex\"",
            "qualify_single = false",
            "search_parents",
            "ignore_target_hosts = 192.0.2.9",
            "ipv4_only = *",
        ],
        3,
    )
}

/// Settings of `local_parts`.
pub(super) const LOCAL_PARTS: &[&str] = &[
    "local_parts = alice : bob : sales",
    "local_parts = lsearch;/mnt/users",
    "local_parts = lsearch;/mnt/aliases",
    "local_parts = ^[abc]",
    "local_parts = ! postmaster : ! *list : *",
    "local_parts = *",
    "local_parts = lsearch*;/mnt/aliases",
    "local_parts = Alice",
];

/// Groups of generic options of routers, one of each at most: how many routers in a hundred have one, local and remote.
const GENERIC: &[(usize, usize, &[&str])] = &[
    (
        45,
        0,
        &[
            "domains = +local_domains",
            "domains = test.ex",
            "domains = other.ex : lists.ex",
            "domains = lsearch;/mnt/domains",
            "domains = ! lists.ex",
            "domains = @",
            "domains = ^.*t\\\\.ex",
            "domains = $domain",
            "domains = ${if eq{$local_part}{alice}{*}{!*}}",
        ],
    ),
    (
        0,
        60,
        &[
            "domains = ! +local_domains",
            "domains = !test.ex",
            "domains = *.ex",
            "domains = mx.ex : a.ex",
            "domains = ! +local_domains",
        ],
    ),
    (30, 8, LOCAL_PARTS),
    (
        8,
        8,
        &[
            "senders = *@out.ex",
            "senders = ! :",
            "senders = : *@test.ex",
            "senders = lsearch;/mnt/users",
            "senders = ! *@test.ex",
            "senders = ^s",
        ],
    ),
    (
        14,
        14,
        &[
            "condition = ${if eq{$local_part}{alice}}",
            "condition = ${if match{$local_part}{^.*o}}",
            "condition = ${if def:h_subject:}",
            "condition = yes",
            "condition = 0",
            "condition = maybe",
            "condition = ${if def:address_data}",
            "condition = ${if !def:parent_domain}",
            "condition = ${if eq{$r_one}{}}",
            "condition = ${if eq{$local_part}{bob}{yes}fail}",
            "condition = ${if >{$message_size}{400}}",
            "condition = ${if inlist{$domain}{test.ex:mx.ex}}",
            "condition = ${if bool_lax{$local_part_data}}",
            "condition = ${if eq{$sender_address_domain}{out.ex}}",
            "condition = ${if def:local_part_prefix}",
        ],
    ),
    (
        12,
        12,
        &[
            "address_data = data of $local_part",
            "address_data = ${lookup{$local_part}lsearch{/mnt/users}{$value}fail}",
            "address_data = ${lookup{$local_part}lsearch{/mnt/users}{$value}{none}}",
            "address_data = 192.0.2.2",
            "address_data = \"\"",
            "address_data = $address_data+",
            "address_data = ${extract{a}{$local_part}",
        ],
    ),
    (
        10,
        10,
        &[
            "set = r_one = $local_part",
            "set = r_one = 1 : r_two = $r_one",
            "set = r_one = ${lookup{$local_part}lsearch{/mnt/users}{$value}fail}",
            "set = <; r_one = a:b ; r_two = $r_one.x",
        ],
    ),
    (12, 12, &["local_part_prefix = real-", "local_part_prefix = real- : owner-", "local_part_prefix = *-"]),
    (12, 12, &["local_part_suffix = -list", "local_part_suffix = -* : +*", "local_part_suffix = +*"]),
    (8, 8, &["local_part_prefix_optional", "local_part_suffix_optional"]),
    (10, 10, &["check_local_user"]),
    (4, 4, &["caseful_local_part"]),
    (
        6,
        6,
        &[
            "require_files = /mnt/there",
            "require_files = !/mnt/there",
            "require_files = /mnt/home/$local_part_data/.fwd",
            "require_files = alice : /mnt/there",
            "require_files = +/mnt/there",
            "require_files = $home/.fwd",
            "require_files = mail,mail:/mnt/spool/input/x : /mnt/there",
        ],
    ),
    (14, 14, &["unseen", "unseen", "unseen = ${if eq{$local_part}{alice}{yes}{no}}", "unseen = false"]),
    (10, 10, &["more = false", "more = ${if eq{$domain}{test.ex}{no}{yes}}", "no_more", "more = perhaps"]),
    (8, 8, &["fail_verify", "fail_verify_sender", "fail_verify_recipient"]),
    (
        8,
        8,
        &[
            "verify = false",
            "verify_sender = false",
            "verify_recipient = false",
            "verify_only",
            "address_test = false",
        ],
    ),
    (
        8,
        8,
        &[
            "cannot_route_message = cannot route $local_part",
            "cannot_route_message = ${if eq{$domain}{test.ex}{no such user}fail}",
            "cannot_route_message = ${bad",
        ],
    ),
    (
        3,
        20,
        &[
            "self = send",
            "self = pass",
            "self = reroute: $local_part@mx.ex",
            "self = fail",
            "self = defer",
            "self = reroute: rewrite: other.ex",
            "self = reroute: other.ex",
        ],
    ),
    (
        10,
        10,
        &[
            "errors_to = bob@test.ex",
            "errors_to = \"\"",
            "errors_to = owner-$local_part@lists.ex",
            "errors_to = unknown@nothing.ex",
            "errors_to = ${if eq{$domain}{test.ex}{carol@test.ex}fail}",
        ],
    ),
    (
        12,
        12,
        &[
            "headers_add = X-Router: $local_part at $domain",
            "headers_add = X-Data: $address_data\\nX-R: $r_one",
            "headers_add = <; X-A: a:b ; X-B: b",
            "headers_add = X-Prefix: $local_part_prefix/$local_part_suffix/$local_part_prefix_v/$local_part_suffix_v",
            "headers_add = ${if eq{$local_part}{alice}{X-Alice: yes}fail}",
            "headers_add = X-Lpd: $local_part_data of $domain_data",
            "headers_add = X-Parent: $parent_local_part of $original_local_part@$original_domain",
            "headers_add = Subject: second",
        ],
    ),
    (
        8,
        8,
        &[
            "headers_remove = X-One",
            "headers_remove = subject : x-two",
            "headers_remove = X-*",
            "headers_remove = ${if eq{$local_part}{bob}{From}fail}",
        ],
    ),
    (
        1,
        8,
        &[
            "ignore_target_hosts = 192.0.2.1",
            "ignore_target_hosts = 192.0.2.0/24",
            "ignore_target_hosts = 127.0.0.1 : 192.0.2.9",
        ],
    ),
    (1, 8, &["fallback_hosts = 192.0.2.3", "fallback_hosts = 192.0.2.9 : h2.mx.ex"]),
    (8, 8, &["user = alice", "user = mail", "user = $local_part", "user = bob\n  group = mail"]),
    (
        3,
        3,
        &[
            "transport_home_directory = /mnt/mail",
            "transport_current_directory = /mnt/mail",
            "router_home_directory = /mnt/home/bob",
            "initgroups",
        ],
    ),
    (
        3,
        3,
        &[
            "retry_use_local_part",
            "log_as_local",
            "no_log_as_local",
            "no_retry_use_local_part",
            "dsn_lasthop",
            "disable_logging",
        ],
    ),
];

/// Generic options of a router.
pub(super) fn generic(random: &mut Random, driver: &str, names: &[String], index: usize) -> Vec<String> {
    let is_remote = matches!(driver, "manualroute" | "dnslookup" | "ipliteral");
    let mut options = Vec::new();
    for (local, remote, choices) in GENERIC {
        if random.percent(if is_remote { *remote } else { *local }) {
            options.push(random.pick(choices).to_owned());
        }
    }
    if index + 1 < names.len() && random.percent(8) {
        options.push(format!("pass_router = {}", names[index + 1 + random.below(names.len() - index - 1)]));
    }
    if driver == "redirect" && random.percent(8) {
        options.push(format!("redirect_router = {}", names[random.below(names.len())]));
    }
    options
}

/// Generic options of transports.
const TRANSPORT: &[&str] = &[
    "return_path_add",
    "envelope_to_add",
    "delivery_date_add",
    "body_only",
    "headers_only",
    "headers_add = X-Transport: $local_part of $domain by $transport_name",
    "headers_add = X-Env: $recipients $address_data $return_path $home",
    "headers_remove = X-One : Subject",
    "headers_remove = received",
    "headers_rewrite = *@test.ex $1@rewritten.ex",
    "rcpt_include_affixes",
    "message_size_limit = 300",
    "message_size_limit = ${if eq{$local_part}{alice}{10}{0}}",
    "return_path = bounces@test.ex",
    "return_path = ${if eq{$local_part}{bob}{}fail}",
    "retry_use_local_part",
    "disable_logging",
    "transport_filter = /bin/sed s/line/LINE/",
];

/// Those of local transports alone.
const LOCAL_TRANSPORT: &[&str] = &[
    "shadow_transport = shadow",
    "shadow_transport = shadow\n  shadow_condition = ${if eq{$local_part}{alice}{yes}}",
    "home_directory = /mnt/home/alice",
    "current_directory = /mnt/mail",
];

/// Private options of a transport.
const APPENDFILE: &[&str] = &[
    "batch_max = 5",
    "check_string = \"From \"\n  escape_string = \">\"",
    "message_prefix = \"PREFIX $return_path\\n\"",
    "message_prefix = \"\"",
    "message_suffix = \"SUFFIX\\n\"",
    "use_crlf",
    "use_bsmtp",
    "quota = 700",
    "quota = ${if eq{$local_part}{alice}{100}{0}}",
    "mode = 0640",
    "mode = 0666",
    "create_file = belowhome\n  home_directory = /mnt/mail",
    "create_file = inhome\n  home_directory = /mnt/mail",
    "create_directory = false",
    "directory_mode = 0750",
    "use_lockfile = false",
    "maildir_tag = :2,S",
    "maildir_use_size_file",
    "quota_is_inclusive = false",
    "quota_warn_threshold = 50%\n  quota_warn_message = \"To: carol@mx.ex\\nSubject: full\\n\\nfull\\n\"",
    "allow_fifo",
    "allow_symlink",
    "check_owner = false",
    "mailbox_filecount = 3",
    "batch_id = ${lc:$domain}",
];

/// Private options of a transport.
const PIPE: &[&str] = &[
    "batch_max = 5",
    "batch_max = 5\n  use_bsmtp",
    "return_output",
    "return_fail_output",
    "log_output",
    "log_fail_output",
    "log_defer_output",
    "ignore_status",
    "temp_errors = 3",
    "temp_errors = *",
    "freeze_exec_fail",
    "freeze_signal",
    "check_string = \"From \"\n  escape_string = \">\"",
    "message_prefix = \"PREFIX\\n\"",
    "message_suffix = \"SUFFIX\\n\"",
    "use_shell",
    "environment = A=b:C=$local_part_data",
    "path = /mnt:/usr/bin",
    "allow_commands = /mnt/keep",
    "restrict_to_path",
    "max_output = 3",
    "umask = 077",
    "use_crlf",
    "timeout_defer",
    "batch_id = x",
];

/// Private options of a transport.
const AUTOREPLY: &[&str] = &[
    "subject = Re: $h_subject:",
    "text = Answer to $local_part\\n",
    "from = bob@test.ex",
    "cc = carol@mx.ex",
    "bcc = alice@other.ex",
    "reply_to = owner@lists.ex",
    "headers = X-Auto: yes",
    "return_message",
    "file = /mnt/list",
    "file = /mnt/list\n  file_expand",
    "file = /mnt/nolist",
    "file = /mnt/nolist\n  file_optional",
    "never_mail = sender@out.ex",
    "mode = 0600",
    "log = /mnt/mail/replies",
];

/// Private options of a transport.
const SMTP: &[&str] = &[
    "max_rcpt = 1",
    "max_rcpt = 2",
    "multi_domain = false",
    "connection_max_messages = 1",
    "hosts = 192.0.2.3",
    "hosts = 192.0.2.9:192.0.2.1",
    "hosts = 192.0.2.3\n  hosts_override",
    "fallback_hosts = 192.0.2.2",
    "helo_data = drawn.ex",
    "hosts_max_try = 1",
    "allow_localhost",
    "delay_after_cutoff = false",
    "retry_include_ip_address = false",
    "address_retry_include_sender = false",
    "size_addition = 100",
    "final_timeout = 10s",
    "hosts_avoid_pipelining = *",
    "hosts_avoid_esmtp = *",
    "interface = 192.0.2.7",
    "lmtp_ignore_quota",
    "gethostbyname",
    "dns_search_parents = false",
    "authenticated_sender = auth@test.ex",
    "authenticated_sender = auth@test.ex\n  authenticated_sender_force",
    "serialize_hosts = *",
    "hosts_randomize = false",
    "keepalive = false",
];

/// Private options of a transport.
const LMTP: &[&str] = &["batch_max = 5", "ignore_quota", "timeout = 10s", "batch_id = ${lc:$domain}"];

/// What `command` of a pipe says.
const COMMANDS: &[&str] = &[
    "/mnt/keep arg $local_part",
    "/mnt/keep $pipe_addresses",
    "/mnt/keep says 'two words' \"three $domain\"",
    "/mnt/keep fails says",
    "/mnt/keep later says",
    "/mnt/keep dies",
    "/mnt/nosuch",
    "/mnt/keep $local_part_data",
    "/mnt/keep $address_data",
    "/mnt/keep $sender_address",
    "keep relative",
];

/// What `file` of an appendfile transport says.
const MAILBOXES: &[&str] = &[
    "/mnt/mail/box",
    "/mnt/mail/box",
    "/mnt/mail/box",
    "/mnt/mail/box",
    "/mnt/mail/box",
    "/mnt/mail/box",
    "/mnt/mail/$local_part",
    "/mnt/mail/${lookup{$local_part}lsearch{/mnt/users}{$local_part_data}{other}}",
    "/mnt/mail/new/deeper/box",
    "$home/box",
    "relative",
];

/// Options of a transport, generic and private.
pub(super) fn transport(random: &mut Random, name: &str, driver: &str) -> Vec<String> {
    let mut options = Vec::new();
    if driver != "smtp" && random.percent(85) {
        options.push(random.pick(&["user = mail", "user = alice"]).to_owned());
    }
    let has_more = driver != "smtp" && name != "shadow";
    let generic = if has_more { [TRANSPORT, LOCAL_TRANSPORT].concat() } else { TRANSPORT.to_vec() };
    options.extend(some(random, 5, &generic, 4));
    let own = match driver {
        "appendfile" => APPENDFILE,
        "pipe" => PIPE,
        "autoreply" => AUTOREPLY,
        "smtp" => SMTP,
        _ => LMTP,
    };
    options.extend(some(random, 5, own, 3));
    match name {
        "tpipe" => options.push(format!("command = {}", random.pick(COMMANDS))),
        "tbox" => options.insert(0, format!("file = {}", random.pick(MAILBOXES))),
        _ => {}
    }
    options
}

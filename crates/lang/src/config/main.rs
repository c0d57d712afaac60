//! The main section in typed fields, and the defaults that depend on the machine (manual chapter 14).
//!
//! A field has the name of its option. Times are `Duration`, sizes and counts `i64`, fixed-point numbers thousandths,
//! users and groups numbers. What is expanded is a [`Template`]; lists and plain texts are as written. An `Option` is
//! None when the option is unset and has no default; set to nothing it is an empty text.
//! Options that are not built have no field: they are refused, or listed as having no effect.

use std::time::Duration;

use nix::unistd::{Group, User, getegid, geteuid, gethostname};

use super::builtin::LOG_SELECTORS;
use super::error::ConfigError;
use super::options::{Options, Value};
use crate::expand::Template;

/// Largest `localhost_number`.
const LOCALHOST_NUMBER_MAX: u64 = 16;

/// Users under whom the program runs if `exim_user` says nothing, the first that exists.
const OWN_USERS: &[&str] = &["Debian-exim", "exim", "mail"];

/// The version of Exim whose configuration language and behaviour are kept.
pub const EXIM_VERSION: &str = "4.96";

/// A type that an option's value can be taken as.
trait Field {
    fn of(options: &Options, name: &str) -> Self;
}

impl Field for bool {
    fn of(options: &Options, name: &str) -> bool {
        options.bool(name)
    }
}

impl Field for i64 {
    fn of(options: &Options, name: &str) -> i64 {
        options.int(name)
    }
}

impl Field for u32 {
    fn of(options: &Options, name: &str) -> u32 {
        options.id(name).unwrap_or_default()
    }
}

impl Field for Option<i64> {
    fn of(options: &Options, name: &str) -> Option<i64> {
        Some(options.fixed(name)).filter(|number| *number >= 0)
    }
}

impl Field for Duration {
    fn of(options: &Options, name: &str) -> Duration {
        options.time(name)
    }
}

impl Field for Vec<Duration> {
    fn of(options: &Options, name: &str) -> Vec<Duration> {
        options.times(name)
    }
}

impl Field for Vec<u32> {
    fn of(options: &Options, name: &str) -> Vec<u32> {
        options.ids(name).unwrap_or_default()
    }
}

impl Field for String {
    fn of(options: &Options, name: &str) -> String {
        options.string(name).unwrap_or_default().to_owned()
    }
}

impl Field for Option<String> {
    fn of(options: &Options, name: &str) -> Option<String> {
        options.string(name).map(str::to_owned)
    }
}

impl Field for Template {
    fn of(options: &Options, name: &str) -> Template {
        options.template(name).unwrap_or_else(|| Template::compile(""))
    }
}

impl Field for Option<Template> {
    fn of(options: &Options, name: &str) -> Option<Template> {
        options.template(name)
    }
}

macro_rules! main_fields {
    ($($name:ident: $kind:ty,)*) => {
        /// The main section.
        #[derive(Clone, Debug)]
        pub struct Main {
            $(#[doc = concat!("`", stringify!($name), "`, as docs/options.md describes it.")] pub $name: $kind,)*
        }

        impl Main {
            /// Takes every field from its option; [`compute`] has been called.
            #[must_use]
            pub fn new(options: &Options) -> Main {
                Main { $($name: Field::of(options, stringify!($name)),)* }
            }
        }

        #[cfg(test)]
        const FIELD_NAMES: &[&str] = &[$(stringify!($name),)*];
    };
}

main_fields! {
    accept_8bitmime: bool,
    acl_not_smtp: Option<Template>,
    acl_not_smtp_start: Option<Template>,
    acl_smtp_auth: Option<Template>,
    acl_smtp_connect: Option<Template>,
    acl_smtp_data: Option<Template>,
    acl_smtp_dkim: Option<Template>,
    acl_smtp_etrn: Option<Template>,
    acl_smtp_expn: Option<Template>,
    acl_smtp_helo: Option<Template>,
    acl_smtp_mail: Option<Template>,
    acl_smtp_mailauth: Option<Template>,
    acl_smtp_notquit: Option<Template>,
    acl_smtp_predata: Option<Template>,
    acl_smtp_quit: Option<Template>,
    acl_smtp_rcpt: Option<Template>,
    acl_smtp_starttls: Option<Template>,
    acl_smtp_vrfy: Option<Template>,
    acl_smtp_wellknown: Option<Template>,
    add_environment: Option<String>,
    admin_groups: Vec<u32>,
    allow_domain_literals: bool,
    allow_mx_to_ip: bool,
    allow_utf8_domains: bool,
    auth_advertise_hosts: String,
    auto_thaw: Duration,
    bounce_message_file: Option<Template>,
    bounce_message_text: Option<String>,
    bounce_return_body: bool,
    bounce_return_linesize_limit: i64,
    bounce_return_message: bool,
    bounce_return_size_limit: i64,
    bounce_sender_authentication: Option<String>,
    check_log_inodes: i64,
    check_log_space: i64,
    check_rfc2047_length: bool,
    check_spool_inodes: i64,
    check_spool_space: i64,
    chunking_advertise_hosts: String,
    commandline_checks_require_admin: bool,
    daemon_smtp_ports: String,
    daemon_startup_retries: i64,
    daemon_startup_sleep: Duration,
    delay_warning: Vec<Duration>,
    delay_warning_condition: Option<Template>,
    deliver_drop_privilege: bool,
    deliver_queue_load_max: Option<i64>,
    delivery_date_remove: bool,
    disable_fsync: bool,
    disable_ipv6: bool,
    dkim_verify_hashes: String,
    dkim_verify_keytypes: String,
    dkim_verify_min_keysizes: String,
    dkim_verify_minimal: bool,
    dkim_verify_signers: Template,
    dmarc_apply_pct: bool,
    dmarc_forensic_sender: Option<Template>,
    dmarc_history_file: Option<Template>,
    dmarc_lookup: String,
    dmarc_tld_file: Option<Template>,
    dns_again_means_nonexist: Option<String>,
    dns_check_names_pattern: String,
    dns_cname_loops: i64,
    dns_csa_search_limit: i64,
    dns_csa_use_reverse: bool,
    dns_dnssec_ok: i64,
    dns_ipv4_lookup: Option<String>,
    dns_retrans: Duration,
    dns_retry: i64,
    dns_servers: Option<String>,
    dns_trust_aa: Option<String>,
    dns_use_edns0: i64,
    dnssec_trust_anchors: Option<String>,
    dnssec_validate: bool,
    dsn_advertise_hosts: Option<String>,
    dsn_from: Template,
    envelope_to_remove: bool,
    errors_copy: Option<String>,
    errors_reply_to: Option<String>,
    event_action: Option<Template>,
    exim_group: u32,
    exim_path: String,
    exim_user: u32,
    extra_local_interfaces: Option<String>,
    extract_addresses_remove_arguments: bool,
    finduser_retries: i64,
    freeze_tell: Option<String>,
    gecos_name: Option<Template>,
    gecos_pattern: Option<String>,
    header_line_maxsize: i64,
    header_maxsize: i64,
    headers_charset: String,
    helo_accept_junk_hosts: Option<String>,
    helo_allow_chars: Option<String>,
    helo_lookup_domains: String,
    helo_try_verify_hosts: Option<String>,
    helo_verify_hosts: Option<String>,
    hold_domains: Option<String>,
    host_lookup: Option<String>,
    host_lookup_order: String,
    host_reject_connection: Option<String>,
    hosts_connection_nolog: Option<String>,
    hosts_require_helo: String,
    hosts_treat_as_local: Option<String>,
    hosts_xclient: Option<String>,
    ignore_bounce_errors_after: Duration,
    ignore_fromline_hosts: Option<String>,
    ignore_fromline_local: bool,
    keep_environment: Option<String>,
    keep_malformed: Duration,
    limits_advertise_hosts: String,
    local_from_check: bool,
    local_from_prefix: Option<String>,
    local_from_suffix: Option<String>,
    local_interfaces: String,
    local_sender_retain: bool,
    localhost_number: Option<Template>,
    log_file_path: Template,
    log_ports: String,
    log_selector: Option<String>,
    log_timezone: bool,
    max_username_length: i64,
    message_body_newlines: bool,
    message_body_visible: i64,
    message_id_form: String,
    message_id_header_domain: Option<Template>,
    message_id_header_text: Option<Template>,
    message_logs: bool,
    message_size_limit: Template,
    move_frozen_messages: bool,
    mua_wrapper: bool,
    never_users: Vec<u32>,
    openssl_options: Option<String>,
    percent_hack_domains: Option<String>,
    pid_file_path: Template,
    pipelining_advertise_hosts: String,
    pipelining_connect_advertise_hosts: String,
    preserve_message_logs: bool,
    primary_hostname: String,
    print_topbitchars: bool,
    process_log_path: Template,
    prod_requires_admin: bool,
    proxy_counts_clients: bool,
    proxy_protocol_timeout: Duration,
    qualify_domain: String,
    qualify_recipient: String,
    queue_domains: Option<String>,
    queue_fast_ramp: bool,
    queue_list_requires_admin: bool,
    queue_only: bool,
    queue_only_file: Option<String>,
    queue_only_load: Option<i64>,
    queue_only_load_latch: bool,
    queue_only_override: bool,
    queue_run_in_order: bool,
    queue_run_max: Template,
    queue_smtp_domains: Option<String>,
    receive_timeout: Duration,
    received_header_text: Template,
    received_headers_max: i64,
    recipient_unqualified_hosts: Option<String>,
    recipients_max: Template,
    recipients_max_reject: bool,
    remote_max_parallel: i64,
    remote_sort_domains: Option<String>,
    retry_data_expire: Duration,
    retry_interval_max: Duration,
    return_path_remove: bool,
    rfc1413_hosts: String,
    rfc1413_query_timeout: Duration,
    sender_unqualified_hosts: Option<String>,
    slow_lookup_log: i64,
    smtp_accept_keepalive: bool,
    smtp_accept_max: i64,
    smtp_accept_max_nonmail: i64,
    smtp_accept_max_nonmail_hosts: String,
    smtp_accept_max_per_connection: Template,
    smtp_accept_max_per_host: Option<Template>,
    smtp_accept_queue: i64,
    smtp_accept_queue_per_connection: i64,
    smtp_accept_reserve: i64,
    smtp_active_hostname: Option<Template>,
    smtp_backlog_monitor: i64,
    smtp_banner: Template,
    smtp_check_spool_space: bool,
    smtp_connect_backlog: i64,
    smtp_enforce_sync: bool,
    smtp_load_reserve: Option<i64>,
    smtp_max_synprot_errors: i64,
    smtp_max_unknown_commands: i64,
    smtp_ratelimit_hosts: Option<String>,
    smtp_ratelimit_mail: Option<String>,
    smtp_ratelimit_rcpt: Option<String>,
    smtp_receive_timeout: Template,
    smtp_reserve_hosts: Option<String>,
    smtp_return_error_details: bool,
    spf_guess: String,
    spf_smtp_comment_template: Template,
    split_spool_directory: bool,
    spool_directory: Template,
    spool_wireformat: bool,
    srs_config: Option<String>,
    srs_hashlength: i64,
    srs_hashmin: i64,
    srs_maxage: i64,
    srs_secrets: Option<String>,
    srs_usehash: bool,
    srs_usetimestamp: bool,
    strict_acl_vars: bool,
    strip_excess_angle_brackets: bool,
    strip_trailing_dot: bool,
    syslog_duplication: bool,
    syslog_facility: Option<String>,
    syslog_pid: bool,
    syslog_processname: String,
    syslog_timestamp: bool,
    tcp_nodelay: bool,
    timeout_frozen_after: Duration,
    timezone: Option<String>,
    tls_advertise_hosts: String,
    tls_certificate: Option<Template>,
    tls_crl: Option<Template>,
    tls_ocsp_fetch_interval: Duration,
    tls_ocsp_fetch_names: Option<String>,
    tls_on_connect_ports: Option<String>,
    tls_privatekey: Option<Template>,
    tls_require_ciphers: Option<Template>,
    tls_resumption_hosts: Option<String>,
    tls_try_verify_hosts: Option<String>,
    tls_verify_certificates: Template,
    tls_verify_hosts: Option<String>,
    trusted_groups: Vec<u32>,
    trusted_users: Vec<u32>,
    unknown_login: Option<Template>,
    unknown_username: Option<String>,
    untrusted_set_sender: Option<String>,
    uucp_from_pattern: String,
    uucp_from_sender: Template,
    warn_message_file: Option<Template>,
    wellknown_advertise_hosts: Option<String>,
    write_rejectlog: bool,
}

/// This host's name: that of the system, made complete from /etc/hosts if it has no dot.
fn host_name() -> String {
    let name = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.is_empty() {
        return "localhost".to_owned();
    }
    if name.contains('.') {
        return name;
    }
    std::fs::read_to_string("/etc/hosts").ok().and_then(|hosts| complete_name(&hosts, &name)).unwrap_or(name)
}

/// The first name in the line of a hosts file that holds `name`.
fn complete_name(hosts: &str, name: &str) -> Option<String> {
    hosts.lines().find_map(|line| {
        let line = line.split_once('#').map_or(line, |(data, _)| data);
        let mut words = line.split_whitespace().skip(1);
        let first = words.next()?;
        let names_it = first.eq_ignore_ascii_case(name) || words.any(|word| word.eq_ignore_ascii_case(name));
        names_it.then(|| first.to_owned())
    })
}

/// Works out the defaults that depend on the machine or on other options.
pub fn compute(options: &mut Options) {
    let put = |options: &mut Options, name: &str, value: Value| {
        if options.setting(name).is_none()
            && let Some(row) = options.row(name)
        {
            options.put(row, value, None);
        }
    };
    put(options, "exim_version", Value::Text(EXIM_VERSION.to_owned()));
    if options.setting("primary_hostname").is_none() {
        put(options, "primary_hostname", Value::Text(host_name()));
    }
    let copy =
        |options: &Options, name: &str| Value::Text(options.string(name).unwrap_or_default().to_owned());
    let primary = copy(options, "primary_hostname");
    put(options, "qualify_domain", primary);
    let domain = copy(options, "qualify_domain");
    put(options, "qualify_recipient", domain);
    if options.setting("exim_user").is_some() && options.setting("exim_group").is_some() {
        return;
    }
    let own = OWN_USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    let (uid, gid) = own.map_or_else(
        || (geteuid().as_raw(), getegid().as_raw()),
        |user| {
            let group = Group::from_name(&user.name).ok().flatten();
            (user.uid.as_raw(), group.map_or(user.gid.as_raw(), |group| group.gid.as_raw()))
        },
    );
    put(options, "exim_user", Value::Id(uid));
    put(options, "exim_group", Value::Id(gid));
}

/// Checks of the main section that come after its last line; errors without a line, as in Exim.
#[must_use]
pub fn check(options: &Options) -> Vec<ConfigError> {
    if let Some(text) = options.string("openssl_options")
        && let Err(word) = oxim_net::tls::openssl_options::parse(text)
    {
        return vec![ConfigError::new(format!("openssl_options parse error: {word}"))];
    }
    let mut errors = Vec::new();
    let mut fail = |option: &str, message: String| {
        let help = options.location(option).map(|place| format!("{option} is set in {place}"));
        errors.push(ConfigError::new(message).helped(help));
    };
    if let Some(message) = options.string("log_selector").and_then(selector_error) {
        fail("log_selector", message);
    }
    match options.string("dmarc_lookup") {
        Some("publicsuffix" | "treewalk") | None => {}
        Some(other) => {
            fail("dmarc_lookup", format!("dmarc_lookup must be publicsuffix or treewalk: \"{other}\""));
        }
    }
    if let Some(facility) = options.string("syslog_facility").filter(|facility| !facility.is_empty())
        && !is_facility(facility)
    {
        fail("syslog_facility", format!("failed to interpret syslog_facility \"{facility}\""));
    }
    if let Some(number) = options.string("localhost_number").filter(|number| !number.contains('$')) {
        match number.trim().parse::<i64>().map(i64::unsigned_abs) {
            Err(_) => fail("localhost_number", format!("localhost_number value is not a number: {number}")),
            Ok(number) if number > LOCALHOST_NUMBER_MAX => {
                let limit = LOCALHOST_NUMBER_MAX;
                let message = format!("localhost_number is greater than the maximum allowed value ({limit})");
                fail("localhost_number", message);
            }
            Ok(_) => {}
        }
    }
    errors
}

fn selector_error(text: &str) -> Option<String> {
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some(tail) = rest.strip_prefix(['+', '-']) else {
            // The old form, a single number, is the only thing without a sign that Exim knows.
            return Some(format!("malformed log_selector setting: + or - expected but found \"{rest}\""));
        };
        let length = tail.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, after) = tail.split_at_checked(length).unwrap_or((tail, ""));
        if !LOG_SELECTORS.contains(&name) {
            let sign = if rest.starts_with('+') { '+' } else { '-' };
            return Some(format!("unknown log_selector setting: {sign}{name}"));
        }
        rest = after.trim_start();
    }
    None
}

fn is_facility(text: &str) -> bool {
    let name = text.strip_prefix("log_").or_else(|| text.strip_prefix("LOG_")).unwrap_or(text);
    let known = ["mail", "user", "news", "uucp", "daemon"];
    let local = |name: &str| {
        name.strip_prefix("local").is_some_and(|n| matches!(n, "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7"))
    };
    known.iter().any(|word| word.eq_ignore_ascii_case(name)) || local(&name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::main_options::MAIN;
    use crate::config::options::{OptionKind, Status};

    #[test]
    fn fields_are_options_that_work() {
        let works = |name: &&str| {
            MAIN.iter().any(|row| {
                row.name == *name && row.status == Status::Works && !matches!(row.kind, OptionKind::Alias(_))
            })
        };
        let others: Vec<&&str> = FIELD_NAMES.iter().filter(|name| !works(name)).collect();
        assert!(others.is_empty(), "{others:?}");
        assert!(FIELD_NAMES.is_sorted());
    }

    #[test]
    fn names_from_a_hosts_file() {
        let hosts = "127.0.0.1 localhost\n# x vm\n10.0.0.1\tvm.example.org vm # the host\n";
        assert_eq!(complete_name(hosts, "vm").as_deref(), Some("vm.example.org"));
        assert_eq!(complete_name(hosts, "other"), None);
    }

    #[test]
    fn log_selectors() {
        assert_eq!(selector_error("+all -skip_delivery +tls_sni"), None);
        assert_eq!(selector_error("+foo").unwrap(), "unknown log_selector setting: +foo");
        assert_eq!(
            selector_error("foo +bar").unwrap(),
            "malformed log_selector setting: + or - expected but found \"foo +bar\""
        );
    }
}

//! The main options that reception reads, in the form in which it uses them: lists compiled, sizes as numbers.
//!
//! Built once per configuration. Manual chapter 14.

use std::time::Duration;

use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_lang::list::{List, ListKind};
use oxim_mail::address::AddressSyntax;
use oxim_net::dns::{CsaSettings, HostLookupMethod};

use crate::dcc::DccOptions;
use crate::host_rule::HostRule;
use crate::rate_limit::RateLimit;

/// Options that are host lists.
#[derive(Debug)]
pub struct HostRules {
    /// `host_reject_connection`.
    pub reject_connection: HostRule,
    /// `host_lookup`.
    pub lookup: HostRule,
    /// `hosts_connection_nolog`.
    pub connection_nolog: HostRule,
    /// `hosts_proxy`.
    pub proxy: HostRule,
    /// `hosts_require_helo`.
    pub require_helo: HostRule,
    /// `helo_accept_junk_hosts`.
    pub helo_accept_junk: HostRule,
    /// `helo_verify_hosts`.
    pub helo_verify: HostRule,
    /// `helo_try_verify_hosts`.
    pub helo_try_verify: HostRule,
    /// `sender_unqualified_hosts`.
    pub sender_unqualified: HostRule,
    /// `recipient_unqualified_hosts`.
    pub recipient_unqualified: HostRule,
    /// `ignore_fromline_hosts`.
    pub ignore_fromline: HostRule,
    /// `smtp_accept_max_nonmail_hosts`.
    pub max_nonmail: HostRule,
    /// `smtp_reserve_hosts`.
    pub reserve: HostRule,
    /// `pipelining_advertise_hosts`.
    pub pipelining: HostRule,
    /// `pipelining_connect_advertise_hosts`.
    pub pipelining_connect: HostRule,
    /// `chunking_advertise_hosts`.
    pub chunking: HostRule,
    /// `dsn_advertise_hosts`.
    pub dsn: HostRule,
    /// `smtputf8_advertise_hosts`.
    pub smtputf8: HostRule,
    /// `tls_advertise_hosts`.
    pub tls: HostRule,
    /// `auth_advertise_hosts`.
    pub auth: HostRule,
    /// `smtp_ratelimit_hosts`.
    pub ratelimit: HostRule,
    /// `hosts_xclient`.
    pub xclient: HostRule,
    /// `limits_advertise_hosts`.
    pub limits: HostRule,
    /// `wellknown_advertise_hosts`.
    pub wellknown: HostRule,
    /// `rfc1413_hosts`.
    pub ident: HostRule,
}

impl HostRules {
    fn build(config: &Config) -> HostRules {
        let rule = |name| HostRule::build(config, name);
        HostRules {
            reject_connection: rule("host_reject_connection"),
            lookup: rule("host_lookup"),
            connection_nolog: rule("hosts_connection_nolog"),
            proxy: rule("hosts_proxy"),
            require_helo: rule("hosts_require_helo"),
            helo_accept_junk: rule("helo_accept_junk_hosts"),
            helo_verify: rule("helo_verify_hosts"),
            helo_try_verify: rule("helo_try_verify_hosts"),
            sender_unqualified: rule("sender_unqualified_hosts"),
            recipient_unqualified: rule("recipient_unqualified_hosts"),
            ignore_fromline: rule("ignore_fromline_hosts"),
            max_nonmail: rule("smtp_accept_max_nonmail_hosts"),
            reserve: rule("smtp_reserve_hosts"),
            pipelining: rule("pipelining_advertise_hosts"),
            pipelining_connect: rule("pipelining_connect_advertise_hosts"),
            chunking: rule("chunking_advertise_hosts"),
            dsn: rule("dsn_advertise_hosts"),
            smtputf8: rule("smtputf8_advertise_hosts"),
            tls: rule("tls_advertise_hosts"),
            auth: rule("auth_advertise_hosts"),
            ratelimit: rule("smtp_ratelimit_hosts"),
            xclient: rule("hosts_xclient"),
            limits: rule("limits_advertise_hosts"),
            wellknown: rule("wellknown_advertise_hosts"),
            ident: rule("rfc1413_hosts"),
        }
    }

    /// Whether the lists that are matched when a client connects may wait for DNS.
    #[must_use]
    pub fn connect_may_block(&self) -> bool {
        let rules = [
            &self.reject_connection,
            &self.connection_nolog,
            &self.sender_unqualified,
            &self.recipient_unqualified,
            &self.pipelining_connect,
            &self.reserve,
            &self.require_helo,
            &self.ratelimit,
            &self.max_nonmail,
            &self.ignore_fromline,
            &self.ident,
        ];
        // host_lookup asks the DNS whenever it matches.
        !self.lookup.is_unset() || rules.iter().any(|rule| rule.may_block())
    }

    /// Whether the lists that are matched at HELO or EHLO may wait for DNS.
    #[must_use]
    pub fn helo_may_block(&self) -> bool {
        let rules = [
            &self.helo_accept_junk,
            &self.pipelining,
            &self.chunking,
            &self.dsn,
            &self.smtputf8,
            &self.tls,
            &self.auth,
            &self.xclient,
            &self.limits,
            &self.wellknown,
        ];
        !self.helo_verify.is_unset()
            || !self.helo_try_verify.is_unset()
            || rules.iter().any(|rule| rule.may_block())
    }
}

/// A number that an option gives, perhaps by an expansion for each use.
#[derive(Debug)]
pub enum Count {
    /// The same for all.
    Fixed(u32),
    /// To be expanded.
    Expanded(Template),
}

impl Count {
    fn build(config: &Config, name: &str) -> Count {
        let template = config.main_options.template(name).unwrap_or_else(|| Template::compile("0"));
        match template.constant().and_then(|text| text.trimmed().as_str()?.parse().ok()) {
            Some(count) => Count::Fixed(count),
            None => Count::Expanded(template),
        }
    }

    /// Whether finding the number may wait.
    #[must_use]
    pub fn may_block(&self) -> bool {
        matches!(self, Count::Expanded(template) if template.may_block())
    }

    /// The number for this client; 0 stands for no limit.
    ///
    /// # Errors
    /// The expansion fails, or gives no number: the text for the log.
    pub fn value(&self, context: &mut Context) -> Result<u32, String> {
        let template = match self {
            Count::Fixed(count) => return Ok(*count),
            Count::Expanded(template) => template,
        };
        let text = match template.expand(context) {
            Ok(text) => text.trimmed(),
            Err(error) if error.is_forced() => return Ok(0),
            Err(error) => return Err(format!("expansion of \"{}\" failed: {error}", template.source())),
        };
        let number = text.as_str().filter(|text| !text.is_empty()).map(str::parse::<u32>);
        match number {
            None => Ok(0),
            Some(Ok(count)) => Ok(count),
            Some(Err(_)) => Err(format!("\"{}\" gives no number: {text}", template.source())),
        }
    }
}

/// `helo_lookup_domains`: HELO names that make us look up the client's name.
#[derive(Debug)]
pub struct HeloLookup {
    list: List,
    is_default: bool,
}

impl HeloLookup {
    fn of(text: &str) -> HeloLookup {
        let is_default = text.split(':').map(str::trim).eq(["@", "@[]"]);
        HeloLookup { list: List::compile(ListKind::Domain, text), is_default }
    }

    /// Whether a name can be on the list at all. The default has only our own name and addresses, which nobody honest says.
    #[must_use]
    pub fn may_match(&self, name: &[u8], primary_hostname: &str) -> bool {
        !self.is_default || name.starts_with(b"[") || name.eq_ignore_ascii_case(primary_hostname.as_bytes())
    }

    /// The list.
    #[must_use]
    pub fn list(&self) -> &List {
        &self.list
    }
}

/// Limits on sessions and messages.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `smtp_accept_max`; 0: none.
    pub accept_max: u32,
    /// `smtp_accept_reserve`.
    pub accept_reserve: u32,
    /// `smtp_accept_queue`; 0: none.
    pub accept_queue: u32,
    /// `smtp_accept_queue_per_connection`; 0: none.
    pub accept_queue_per_connection: u32,
    /// `smtp_accept_max_nonmail`.
    pub nonmail_max: u32,
    /// `smtp_max_synprot_errors`.
    pub synprot_errors_max: u32,
    /// `smtp_max_unknown_commands`.
    pub unknown_commands_max: u32,
    /// `recipients_max_reject`.
    pub recipients_max_reject: bool,
    /// `header_maxsize`, in bytes.
    pub header_bytes_max: usize,
    /// `header_line_maxsize`, in bytes; 0: none.
    pub header_line_bytes_max: usize,
    /// `receive_timeout`; None: for ever.
    pub receive_timeout: Option<Duration>,
    /// `smtp_load_reserve`, in thousandths; None: no check.
    pub load_reserve: Option<i64>,
    /// `queue_only_load`, in thousandths; None: no check.
    pub queue_only_load: Option<i64>,
    /// `queue_only_load_latch`.
    pub queue_only_load_latch: bool,
    /// `check_spool_space`, in KiB.
    pub spool_space: i64,
    /// `check_spool_inodes`.
    pub spool_inodes: i64,
    /// `check_log_space`, in KiB.
    pub log_space: i64,
    /// `check_log_inodes`.
    pub log_inodes: i64,
    /// `smtp_check_spool_space`.
    pub check_space_for_size: bool,
}

/// What reception does to header lines and addresses.
#[derive(Debug)]
pub struct Fixups {
    /// `local_from_check`.
    pub local_from_check: bool,
    /// `local_sender_retain`.
    pub local_sender_retain: bool,
    /// `local_from_prefix`, patterns.
    pub local_from_prefix: Vec<String>,
    /// `local_from_suffix`, patterns.
    pub local_from_suffix: Vec<String>,
    /// `return_path_remove`.
    pub return_path_remove: bool,
    /// `delivery_date_remove`.
    pub delivery_date_remove: bool,
    /// `envelope_to_remove`.
    pub envelope_to_remove: bool,
    /// `received_header_text`.
    pub received_header_text: Template,
    /// `message_id_header_domain`.
    pub message_id_domain: Option<Template>,
    /// `message_id_header_text`.
    pub message_id_text: Option<Template>,
    /// `headers_charset`.
    pub headers_charset: String,
    /// `extract_addresses_remove_arguments`.
    pub extract_remove_arguments: bool,
}

/// All options of reception.
#[derive(Debug)]
pub struct Settings {
    /// `primary_hostname`.
    pub primary_hostname: String,
    /// `qualify_domain`.
    pub qualify_domain: Vec<u8>,
    /// `qualify_recipient`.
    pub qualify_recipient: Vec<u8>,
    /// `smtp_active_hostname`.
    pub active_hostname: Option<Template>,
    /// `smtp_banner`.
    pub banner: Template,
    /// `message_size_limit`.
    pub message_size_limit: Template,
    /// `smtp_receive_timeout`.
    pub smtp_receive_timeout: Template,
    /// `smtp_accept_max_per_connection`; 0: none.
    pub messages_max: Count,
    /// `recipients_max`; 0: none.
    pub recipients_max: Count,
    /// `rfc1413_query_timeout`; None: nobody is asked.
    pub ident_timeout: Option<Duration>,
    /// `smtp_return_error_details`.
    pub return_error_details: bool,
    /// `dns_csa_search_limit`, `dns_csa_use_reverse`.
    pub csa: CsaSettings,
    /// `smtp_ratelimit_mail`.
    pub ratelimit_mail: Option<RateLimit>,
    /// `smtp_ratelimit_rcpt`.
    pub ratelimit_rcpt: Option<RateLimit>,
    /// `helo_lookup_domains`.
    pub helo_lookup_domains: HeloLookup,
    /// `smtp_accept_max_per_host`.
    pub max_per_host: Option<Template>,
    /// `smtp_etrn_serialize`.
    pub etrn_serialize: bool,
    /// `smtp_etrn_command`, word by word, each to be expanded on its own. The error is for the log.
    pub etrn_command: Option<Result<Vec<Template>, String>>,
    /// `helo_allow_chars`.
    pub helo_allow_chars: Vec<u8>,
    /// `smtp_enforce_sync`.
    pub enforce_sync: bool,
    /// `accept_8bitmime`.
    pub accept_8bitmime: bool,
    /// DCC.
    pub dcc: DccOptions,
    /// `av_scanner` as it is.
    pub av_scanner_text: String,
    /// `av_scanner`, if it is to be expanded.
    pub av_scanner: Option<Template>,
    /// `spamd_address` as it is.
    pub spamd_address: String,
    /// `spamd_address`, if it is to be expanded.
    pub spamd_template: Option<Template>,
    /// `prdr_enable`.
    pub prdr: bool,
    /// `ignore_fromline_local`.
    pub ignore_fromline_local: bool,
    /// `uucp_from_pattern`.
    pub uucp_from_pattern: String,
    /// `uucp_from_sender`.
    pub uucp_from_sender: Template,
    /// `host_lookup_order`.
    pub host_lookup_order: Vec<HostLookupMethod>,
    /// `hosts_treat_as_local`.
    pub hosts_treat_as_local: Option<String>,
    /// `queue_only`.
    pub queue_only: bool,
    /// `queue_only_override`.
    pub queue_only_override: bool,
    /// `queue_only_file`: files whose existence means queueing.
    pub queue_only_files: Vec<String>,
    /// `spool_directory`.
    pub spool_directory: String,
    /// The directory of the log files; empty if there are only lines to syslog.
    pub log_directory: String,
    /// The syntax of addresses, by `allow_domain_literals` and its kin.
    pub address_syntax: AddressSyntax,
    /// The host lists.
    pub hosts: HostRules,
    /// The limits.
    pub limits: Limits,
    /// Which DKIM signatures count.
    pub dkim: oxim_mailauth::dkim::verify::Policy,
    /// Header lines.
    pub fixups: Fixups,
}

impl Settings {
    /// Reads the options. The context is a fresh one, for `spool_directory`.
    #[must_use]
    pub fn build(config: &Config, context: &mut Context) -> Settings {
        let options = &config.main_options;
        let text = |name: &str| options.string(name).unwrap_or_default().to_owned();
        let template = |name: &str| options.template(name).unwrap_or_else(|| Template::compile(""));
        // These are strings unless they begin with a dollar sign.
        let dollar =
            |name: &str| Some(text(name)).filter(|t| t.starts_with('$')).map(|t| Template::compile(&t));
        let filled = |name: &str| options.template(name).filter(|t| !t.source().trim().is_empty());
        let qualify_domain = config.main.qualify_domain.clone().into_bytes();
        let qualify_recipient = match options.string("qualify_recipient") {
            Some(domain) if !domain.is_empty() => domain.as_bytes().to_vec(),
            Some(_) | None => qualify_domain.clone(),
        };
        Settings {
            dkim: crate::signatures::policy(config),
            primary_hostname: config.main.primary_hostname.clone(),
            qualify_domain,
            qualify_recipient,
            active_hostname: filled("smtp_active_hostname"),
            banner: template("smtp_banner"),
            message_size_limit: template("message_size_limit"),
            smtp_receive_timeout: template("smtp_receive_timeout"),
            messages_max: Count::build(config, "smtp_accept_max_per_connection"),
            recipients_max: Count::build(config, "recipients_max"),
            ident_timeout: Some(options.time("rfc1413_query_timeout")).filter(|time| !time.is_zero()),
            return_error_details: options.bool("smtp_return_error_details"),
            csa: CsaSettings {
                search_limit: usize::try_from(options.int("dns_csa_search_limit")).unwrap_or(0),
                use_reverse: options.bool("dns_csa_use_reverse"),
            },
            ratelimit_mail: options.string("smtp_ratelimit_mail").and_then(RateLimit::parse),
            ratelimit_rcpt: options.string("smtp_ratelimit_rcpt").and_then(RateLimit::parse),
            helo_lookup_domains: HeloLookup::of(&text("helo_lookup_domains")),
            max_per_host: filled("smtp_accept_max_per_host"),
            etrn_serialize: options.bool("smtp_etrn_serialize"),
            etrn_command: options.string("smtp_etrn_command").filter(|line| !line.is_empty()).map(|line| {
                oxim_deliver::transport::pipe::split_command(line)
                    .map(|words| words.iter().map(|word| Template::compile(word)).collect())
            }),
            helo_allow_chars: text("helo_allow_chars").into_bytes(),
            enforce_sync: options.bool("smtp_enforce_sync"),
            accept_8bitmime: options.bool("accept_8bitmime"),
            av_scanner: dollar("av_scanner"),
            av_scanner_text: text("av_scanner"),
            spamd_template: dollar("spamd_address"),
            spamd_address: text("spamd_address"),
            dcc: DccOptions {
                address: text("dccifd_address"),
                words: text("dccifd_options"),
                timeout: options.time("dccifd_timeout"),
                direct_add_header: options.bool("dcc_direct_add_header"),
            },
            prdr: options.bool("prdr_enable"),
            ignore_fromline_local: options.bool("ignore_fromline_local"),
            uucp_from_pattern: text("uucp_from_pattern"),
            uucp_from_sender: template("uucp_from_sender"),
            host_lookup_order: crate::host_name::methods(&words(&text("host_lookup_order"))),
            hosts_treat_as_local: options.string("hosts_treat_as_local").map(str::to_owned),
            queue_only: options.bool("queue_only"),
            queue_only_override: options.bool("queue_only_override"),
            queue_only_files: words(&text("queue_only_file")),
            spool_directory: config
                .main
                .spool_directory
                .expand(context)
                .unwrap_or_default()
                .to_string_lossy(),
            log_directory: log_directory(config, context),
            address_syntax: AddressSyntax {
                allow_domain_literals: options.bool("allow_domain_literals"),
                allow_utf8_domains: options.bool("allow_utf8_domains"),
                strip_excess_angle_brackets: options.bool("strip_excess_angle_brackets"),
                strip_trailing_dot: options.bool("strip_trailing_dot"),
                ..AddressSyntax::default()
            },
            hosts: HostRules::build(config),
            limits: limits(config),
            fixups: fixups(config),
        }
    }
}

/// Where the main log is, from `log_file_path`.
fn log_directory(config: &Config, context: &mut Context) -> String {
    let expand = |template: &Template, context: &mut Context| {
        template.expand(context).unwrap_or_default().to_string_lossy()
    };
    let items = words(&expand(&config.main.log_file_path, context));
    let path = items.iter().find(|item| item.starts_with('/')).map(|item| item.replace("%s", "main"));
    match path.as_deref().and_then(|path| path.rsplit_once('/')) {
        Some((directory, _)) => format!("{directory}/"),
        None if items.iter().any(|item| item == "syslog") => String::new(),
        None => format!("{}/log", expand(&config.main.spool_directory, context)),
    }
}

fn limits(config: &Config) -> Limits {
    let options = &config.main_options;
    let count = |name: &str| u32::try_from(options.int(name)).unwrap_or(0);
    let size = |name: &str| usize::try_from(options.int(name)).unwrap_or(0);
    let time = |name: &str| Some(options.time(name)).filter(|t| !t.is_zero());
    let load = |name: &str| Some(options.fixed(name)).filter(|value| *value >= 0);
    Limits {
        accept_max: count("smtp_accept_max"),
        accept_reserve: count("smtp_accept_reserve"),
        accept_queue: count("smtp_accept_queue"),
        accept_queue_per_connection: count("smtp_accept_queue_per_connection"),
        nonmail_max: count("smtp_accept_max_nonmail"),
        synprot_errors_max: count("smtp_max_synprot_errors"),
        unknown_commands_max: count("smtp_max_unknown_commands"),
        recipients_max_reject: options.bool("recipients_max_reject"),
        header_bytes_max: size("header_maxsize"),
        header_line_bytes_max: size("header_line_maxsize"),
        receive_timeout: time("receive_timeout"),
        load_reserve: load("smtp_load_reserve"),
        queue_only_load: load("queue_only_load"),
        queue_only_load_latch: options.bool("queue_only_load_latch"),
        spool_space: options.int("check_spool_space") / 1024,
        spool_inodes: options.int("check_spool_inodes"),
        log_space: options.int("check_log_space") / 1024,
        log_inodes: options.int("check_log_inodes"),
        check_space_for_size: options.bool("smtp_check_spool_space"),
    }
}

fn fixups(config: &Config) -> Fixups {
    let options = &config.main_options;
    let text = |name: &str| options.string(name).unwrap_or_default().to_owned();
    let filled = |name: &str| options.template(name).filter(|t| !t.source().trim().is_empty());
    Fixups {
        local_from_check: options.bool("local_from_check"),
        local_sender_retain: options.bool("local_sender_retain"),
        local_from_prefix: words(&text("local_from_prefix")),
        local_from_suffix: words(&text("local_from_suffix")),
        return_path_remove: options.bool("return_path_remove"),
        delivery_date_remove: options.bool("delivery_date_remove"),
        envelope_to_remove: options.bool("envelope_to_remove"),
        received_header_text: options
            .template("received_header_text")
            .unwrap_or_else(|| Template::compile("")),
        message_id_domain: filled("message_id_header_domain"),
        message_id_text: filled("message_id_header_text"),
        headers_charset: text("headers_charset"),
        extract_remove_arguments: options.bool("extract_addresses_remove_arguments"),
    }
}

/// The items of a colon-separated list that is not expanded.
fn words(list: &str) -> Vec<String> {
    oxim_lang::list::split(list.as_bytes()).map(|item| String::from_utf8_lossy(&item).into_owned()).collect()
}

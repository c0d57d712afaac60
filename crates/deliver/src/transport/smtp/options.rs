//! The options of the smtp transport, read once (manual section 30.4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oxim_lang::config::{ConfigError, Instance, Options, Switch};
use oxim_lang::expand::Template;
use oxim_lang::list::{List, ListKind};

use super::mta_sts::Wish;
use crate::address::RouteHost;
use crate::router::host_item;

/// SMTP, or one of its relatives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SMTP, with STARTTLS where offered.
    Smtp,
    /// SMTP with TLS from the first byte.
    Smtps,
    /// LMTP (RFC 2033).
    Lmtp,
}

/// Which certificates must be good, and what belongs to TLS.
pub(super) struct TlsOptions {
    pub(super) avoid: Option<List>,
    pub(super) avoid_in_verification: Option<List>,
    pub(super) require: Option<List>,
    pub(super) verify: Option<List>,
    pub(super) try_verify: Option<List>,
    pub(super) verify_names: Option<List>,
    pub(super) tempfail_tryclear: bool,
    pub(super) certificate: Option<Template>,
    pub(super) private_key: Option<Template>,
    pub(super) verify_certificates: Option<Template>,
    pub(super) ciphers: Option<Template>,
    pub(super) sni: Option<Template>,
    pub(super) try_dane: Option<List>,
    pub(super) require_dane: Option<List>,
    pub(super) dane_ciphers: Option<Template>,
    pub(super) request_ocsp: Option<List>,
    /// `hosts_request_ocsp` was left as it is: where the TLSA records vouch for the server's own certificate, nothing is asked.
    pub(super) requests_ocsp_by_default: bool,
    pub(super) require_ocsp: Option<List>,
    pub(super) crl: Option<Template>,
    pub(super) alpn: Option<Template>,
    pub(super) require_alpn: Option<List>,
    pub(super) resumption: Option<List>,
    /// `mta_sts`; unset if it is `none` whatever happens.
    pub(super) mta_sts: Option<Template>,
    pub(super) try_mta_sts: Option<List>,
}

impl TlsOptions {
    fn build(options: &Options, mta_sts: Option<Template>) -> TlsOptions {
        let hosts = |name: &str| options.string(name).map(|text| List::compile(ListKind::Host, text));
        TlsOptions {
            avoid: hosts("hosts_avoid_tls"),
            avoid_in_verification: hosts("hosts_verify_avoid_tls"),
            require: hosts("hosts_require_tls"),
            verify: hosts("tls_verify_hosts"),
            try_verify: hosts("tls_try_verify_hosts"),
            verify_names: hosts("tls_verify_cert_hostnames"),
            tempfail_tryclear: options.bool("tls_tempfail_tryclear"),
            certificate: options.template("tls_certificate"),
            private_key: options.template("tls_privatekey"),
            verify_certificates: options.template("tls_verify_certificates"),
            ciphers: options.template("tls_require_ciphers"),
            sni: options.template("tls_sni"),
            try_dane: hosts("hosts_try_dane"),
            require_dane: hosts("hosts_require_dane"),
            dane_ciphers: options.template("dane_require_tls_ciphers"),
            request_ocsp: hosts("hosts_request_ocsp"),
            requests_ocsp_by_default: options.string("hosts_request_ocsp") == Some("*"),
            require_ocsp: hosts("hosts_require_ocsp"),
            crl: options.template("tls_crl"),
            alpn: options.template("tls_alpn"),
            require_alpn: hosts("hosts_require_alpn"),
            resumption: hosts("tls_resumption_hosts"),
            mta_sts,
            try_mta_sts: hosts("hosts_try_mta_sts"),
        }
    }
}

/// What is signed, and how (manual section 58.2).
pub(super) struct DkimOptions {
    pub(super) domain: Option<Template>,
    pub(super) selector: Option<Template>,
    pub(super) private_key: Option<Template>,
    pub(super) canon: Option<Template>,
    pub(super) hash: Option<Template>,
    pub(super) identity: Option<Template>,
    pub(super) headers: Option<Template>,
    pub(super) strict: Option<Template>,
    pub(super) timestamps: Option<Template>,
}

/// How long each step may take.
pub(super) struct Timeouts {
    pub(super) connect: Duration,
    pub(super) command: Duration,
    pub(super) data: Duration,
    pub(super) end: Duration,
}

/// The driver.
pub struct Smtp {
    /// Tells instances apart in the pool of connections.
    pub(super) number: u64,
    pub(super) protocol: Protocol,
    /// No option has one session in the clear for one host and another for the next.
    pub(super) treats_hosts_alike: bool,
    pub(super) port: Template,
    /// `port` is not set, so that a line for ATRN goes to that service's.
    pub(super) has_default_port: bool,
    pub(super) hosts: Option<Template>,
    pub(super) hosts_override: bool,
    pub(super) fallback_hosts: Vec<RouteHost>,
    pub(super) randomizes: bool,
    pub(super) allow_localhost: bool,
    pub(super) by_name: bool,
    pub(super) qualify_single: bool,
    pub(super) search_parents: bool,
    pub(super) dnssec_request: Option<List>,
    pub(super) dnssec_require: Option<List>,
    pub(super) hosts_max_try: usize,
    pub(super) hosts_hard_limit: usize,
    pub(super) delay_after_cutoff: bool,
    pub(super) retry_by_address: Switch,
    pub(super) retry_by_sender: bool,
    pub(super) serialize: Option<List>,
    pub(super) dscp: Option<Template>,
    pub(super) interface: Option<Template>,
    pub(super) socks_proxy: Option<Template>,
    pub(super) keepalive: bool,
    pub(super) helo_data: Template,
    pub(super) host_name_extract: Option<Template>,
    pub(super) timeouts: Timeouts,
    pub(super) recipients_max: usize,
    pub(super) messages_max: usize,
    pub(super) multi_domain: Switch,
    pub(super) size_addition: i64,
    pub(super) line_bytes_max: u64,
    pub(super) ignore_quota: bool,
    pub(super) avoid_esmtp: Option<List>,
    pub(super) avoid_pipelining: Option<List>,
    pub(super) pipe_connect: Option<List>,
    pub(super) try_chunking: Option<List>,
    pub(super) try_prdr: Option<List>,
    pub(super) require_auth: Option<List>,
    pub(super) try_auth: Option<List>,
    pub(super) authenticated_sender: Option<Template>,
    pub(super) authenticated_sender_force: bool,
    pub(super) utf8_downconvert: Option<Template>,
    pub(super) tls: TlsOptions,
    pub(super) dkim: DkimOptions,
    pub(super) arc_sign: Option<Template>,
}

static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Lists of hosts that decide about a session in the clear.
const ABOUT_SESSIONS: [&str; 8] = [
    "hosts_avoid_esmtp",
    "hosts_avoid_pipelining",
    "hosts_pipe_connect",
    "hosts_require_auth",
    "hosts_require_tls",
    "hosts_try_auth",
    "hosts_try_chunking",
    "hosts_try_prdr",
];

fn treats_hosts_alike(options: &Options) -> bool {
    let is_for_all_or_none = |name: &&str| matches!(options.string(name).unwrap_or_default(), "" | "*");
    ABOUT_SESSIONS.iter().all(is_for_all_or_none) && options.template("dscp").is_none()
}

impl Smtp {
    pub(super) fn build(instance: &Instance) -> Result<Smtp, Vec<ConfigError>> {
        let options = &instance.options;
        let fail = |text: &str| vec![ConfigError::about(format!("{} transport", instance.name), text)];
        let (protocol, default_port) = match options.string("protocol").unwrap_or("smtp") {
            "smtp" => (Protocol::Smtp, "smtp"),
            "smtps" | "submissions" => (Protocol::Smtps, "smtps"),
            "lmtp" => (Protocol::Lmtp, "lmtp"),
            other => {
                return Err(fail(&format!(
                    "protocol \"{other}\" is not known: smtp, smtps, submissions or lmtp"
                )));
            }
        };
        let hosts = |name: &str| options.string(name).map(|text| List::compile(ListKind::Host, text));
        let domains = |name: &str| options.string(name).map(|text| List::compile(ListKind::Domain, text));
        let count = |name: &str| usize::try_from(options.int(name)).unwrap_or(0);
        let timeouts = Timeouts {
            connect: options.time("connect_timeout"),
            command: options.time("command_timeout"),
            data: options.time("data_timeout"),
            end: options.time("final_timeout"),
        };
        if timeouts.command.is_zero() || timeouts.data.is_zero() || timeouts.end.is_zero() {
            return Err(fail("command, data, or final timeout value is zero"));
        }
        if options.string("dkim_hash") == Some("sha1") {
            return Err(fail("dkim_hash = sha1: SHA-1 must not be used for signing (RFC 8301)"));
        }
        let mta_sts = options.template("mta_sts").filter(|_| protocol != Protocol::Lmtp);
        let mta_sts = match mta_sts.as_ref().and_then(|template| template.constant()) {
            Some(word) => match Wish::of(word.as_bytes()) {
                Some(Wish::None) => None,
                Some(_) => mta_sts,
                None => return Err(fail("mta_sts is neither enforce, testing nor none")),
            },
            None => mta_sts,
        };
        Ok(Smtp {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            protocol,
            treats_hosts_alike: treats_hosts_alike(options),
            port: match options.template("port") {
                Some(port) if options.is_set("port") => port,
                _ => Template::literal(default_port),
            },
            has_default_port: protocol == Protocol::Smtp && !options.is_set("port"),
            hosts: options.template("hosts"),
            hosts_override: options.bool("hosts_override"),
            fallback_hosts: host_item::list(options.string("fallback_hosts").unwrap_or_default().as_bytes())
                .hosts,
            randomizes: options.bool("hosts_randomize"),
            allow_localhost: options.bool("allow_localhost"),
            by_name: options.bool("gethostbyname"),
            qualify_single: options.bool("dns_qualify_single"),
            search_parents: options.bool("dns_search_parents"),
            dnssec_request: domains("dnssec_request_domains"),
            dnssec_require: domains("dnssec_require_domains"),
            hosts_max_try: count("hosts_max_try"),
            hosts_hard_limit: count("hosts_max_try_hardlimit"),
            delay_after_cutoff: options.bool("delay_after_cutoff"),
            retry_by_address: options.switch("retry_include_ip_address"),
            retry_by_sender: options.bool("address_retry_include_sender"),
            serialize: hosts("serialize_hosts"),
            dscp: options.template("dscp"),
            interface: options.template("interface"),
            socks_proxy: options.template("socks_proxy"),
            keepalive: options.bool("keepalive"),
            helo_data: options
                .template("helo_data")
                .unwrap_or_else(|| Template::compile("$primary_hostname")),
            host_name_extract: options.template("host_name_extract"),
            timeouts,
            recipients_max: count("max_rcpt"),
            messages_max: count("connection_max_messages"),
            multi_domain: options.switch("multi_domain"),
            size_addition: options.int("size_addition"),
            line_bytes_max: u64::try_from(options.int("message_linelength_limit")).unwrap_or(0),
            ignore_quota: options.bool("lmtp_ignore_quota"),
            avoid_esmtp: hosts("hosts_avoid_esmtp"),
            avoid_pipelining: hosts("hosts_avoid_pipelining"),
            pipe_connect: hosts("hosts_pipe_connect"),
            try_chunking: hosts("hosts_try_chunking"),
            try_prdr: hosts("hosts_try_prdr"),
            require_auth: hosts("hosts_require_auth"),
            try_auth: hosts("hosts_try_auth"),
            authenticated_sender: options.template("authenticated_sender"),
            authenticated_sender_force: options.bool("authenticated_sender_force"),
            utf8_downconvert: options.template("utf8_downconvert"),
            tls: TlsOptions::build(options, mta_sts),
            arc_sign: options.template("arc_sign"),
            dkim: DkimOptions {
                domain: options.template("dkim_domain"),
                selector: options.template("dkim_selector"),
                private_key: options.template("dkim_private_key"),
                canon: options.template("dkim_canon"),
                hash: options.template("dkim_hash"),
                identity: options.template("dkim_identity"),
                headers: options.template("dkim_sign_headers"),
                strict: options.template("dkim_strict"),
                timestamps: options.template("dkim_timestamps"),
            },
        })
    }
}

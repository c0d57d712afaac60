//! Predefined macros: `_HAVE_*`, `_DRIVER_*`, `_ACL_*`, `_EXP_*`, `_LOG_*`, `_OPT_*` and `_CRYPTO_*` (manual section
//! 6.9), and `_RESUME_DECODE` (section 43.12).
//!
//! They exist to be asked by `.ifdef`, so a macro is there exactly when what it names works: an option that is refused
//! as not implemented has none. They are not kept in a table, but recognised in the option and driver tables.

use std::sync::OnceLock;

use oxim_mailauth::dkim::sign::{OVERSIGN_HEADERS, SIGN_HEADERS};

use crate::expand::{self, Kind};
use crate::lookup::{LOOKUPS, Style};

use super::main_options::MAIN;
use super::options::{Catalogue, Drivers, OptionKind, OptionRow, Status};

/// Facilities that are there, as the words after `_HAVE_`. One line each, added with the feature.
static FACILITIES: &[&str] = &[
    "ARC",
    "BRIGHTMAIL",
    "CONTENT_SCANNING",
    "CRYPTEQ",
    "DANE",
    "DCC",
    "DKIM",
    "DMARC",
    "DNSSEC",
    "ESMTP_LIMITS",
    "EVENT",
    "I18N",
    "ICONV",
    "IPV6",
    "MALWARE_AVAST",
    "MALWARE_AVE",
    "MALWARE_CLAMD",
    "MALWARE_CMDLINE",
    "MALWARE_DRWEB",
    "MALWARE_FPROT6D",
    "MALWARE_FPROTD",
    "MALWARE_FSECURE",
    "MALWARE_KAV",
    "MALWARE_MKSD",
    "MALWARE_SOCK",
    "MALWARE_SOPHIE",
    "MOVE_FROZEN_MESSAGES",
    "NATIVE_SRS",
    "OCSP",
    "OPENSSL",
    "PAM",
    "PERL",
    "PIPE_CONNECT",
    "PRDR",
    "PROXY",
    "SOCKS",
    "SPF",
    "SRS",
    "TLS",
    "TLS1_3",
    "TLS_ALPN",
    "TLS_OCSP",
    "TLS_OCSP_LIST",
    "TLS_RESUME",
    "TRANSPORT_APPEND_MAILDIR",
    "TRANSPORT_APPEND_MAILSTORE",
    "TRANSPORT_APPEND_MBX",
    "WELLKNOWN",
    "XCLIENT",
];

/// Names after `_CRYPTO_`.
static CRYPTO: &[&str] = &["HASH_SHA3", "SIGN_ED25519"];

/// Names that `log_selector` takes.
pub static LOG_SELECTORS: &[&str] = &[
    "8bitmime",
    "acl_warn_skipped",
    "address_rewrite",
    "all",
    "all_parents",
    "arguments",
    "connection_id",
    "connection_reject",
    "delay_delivery",
    "deliver_time",
    "delivery_size",
    "dkim",
    "dkim_verbose",
    "dmarc",
    "dmarc_verbose",
    "dnslist_defer",
    "dnssec",
    "etrn",
    "host_lookup_failed",
    "ident_timeout",
    "incoming_interface",
    "incoming_port",
    "lost_incoming_connection",
    "millisec",
    "msg_id",
    "msg_id_created",
    "outgoing_interface",
    "outgoing_port",
    "pid",
    "pipelining",
    "protocol_detail",
    "proxy",
    "queue_run",
    "queue_time",
    "queue_time_exclusive",
    "queue_time_overall",
    "receive_time",
    "received_recipients",
    "received_sender",
    "rejected_header",
    "rejected_headers",
    "retry_defer",
    "return_path_on_delivery",
    "sender_on_delivery",
    "sender_verify_fail",
    "size_reject",
    "skip_delivery",
    "smtp_confirmation",
    "smtp_connection",
    "smtp_incomplete_transaction",
    "smtp_mailauth",
    "smtp_no_mail",
    "smtp_protocol_error",
    "smtp_syntax_error",
    "spf",
    "spf_verbose",
    "subject",
    "tls_certificate_verified",
    "tls_cipher",
    "tls_on_connect",
    "tls_peerdn",
    "tls_resumption",
    "tls_sni",
    "unknown_in_list",
];

/// Predefined macros with a value of their own.
fn texts() -> [(&'static str, &'static str); 3] {
    [
        ("DKIM_SIGN_HEADERS", SIGN_HEADERS),
        ("DKIM_OVERSIGN_HEADERS", OVERSIGN_HEADERS),
        ("RESUME_DECODE", resume_decode()),
    ]
}

/// Every other predefined macro has this value.
const VALUE: &str = "y";

/// What predefined macros are made from.
#[derive(Clone, Debug)]
pub struct Builtins {
    classes: Vec<(&'static str, &'static str, Drivers)>,
    acl_conditions: Vec<&'static str>,
    acl_modifiers: Vec<&'static str>,
    is_empty: bool,
}

impl Builtins {
    /// Those of this program with these drivers.
    #[must_use]
    pub fn new(catalogue: &Catalogue) -> Builtins {
        Builtins {
            classes: vec![
                ("AUTHENTICATORS_", "AUTHENTICATOR_", catalogue.authenticators.clone()),
                ("TRANSPORTS_", "TRANSPORT_", catalogue.transports.clone()),
                ("ROUTERS_", "ROUTER_", catalogue.routers.clone()),
            ],
            acl_conditions: catalogue.acl_conditions.clone(),
            acl_modifiers: catalogue.acl_modifiers.clone(),
            is_empty: false,
        }
    }

    /// No predefined macros at all.
    #[must_use]
    pub fn none() -> Builtins {
        Builtins {
            classes: Vec::new(),
            acl_conditions: Vec::new(),
            acl_modifiers: Vec::new(),
            is_empty: true,
        }
    }

    /// The longest predefined macro with which `text` begins: its length and value.
    #[must_use]
    pub fn at_start(&self, text: &str) -> Option<(usize, &'static str)> {
        let token = text.strip_prefix('_')?;
        if self.is_empty || !token.as_bytes().first().is_some_and(u8::is_ascii_uppercase) {
            return None;
        }
        if let Some((name, value)) = texts().iter().find(|(name, _)| token.starts_with(name)) {
            return Some((name.len().saturating_add(1), value));
        }
        let length = if let Some(rest) = token.strip_prefix("HAVE_LOOKUP_") {
            longest(rest, lookups())
        } else if let Some(rest) = token.strip_prefix("HAVE_") {
            longest(rest, FACILITIES.iter().copied())
        } else if let Some(rest) = token.strip_prefix("CRYPTO_") {
            longest(rest, CRYPTO.iter().copied())
        } else if let Some(rest) = token.strip_prefix("ACL_COND_") {
            longest(rest, self.acl_conditions.iter().copied())
        } else if let Some(rest) = token.strip_prefix("ACL_MOD_") {
            longest(rest, self.acl_modifiers.iter().copied())
        } else if let Some(rest) = token.strip_prefix("LOG_") {
            longest(rest, LOG_SELECTORS.iter().copied())
        } else if let Some(rest) = token.strip_prefix("OPT_MAIN_") {
            longest(rest, working(MAIN))
        } else if let Some(rest) = token.strip_prefix("OPT_") {
            self.option(rest)
        } else if let Some(rest) = token.strip_prefix("EXP_") {
            EXPANSIONS
                .iter()
                .find_map(|(prefix, kind)| longest(rest.strip_prefix(prefix)?, expand::names(*kind)))
        } else {
            self.driver(token.strip_prefix("DRIVER_")?)
        }?;
        let tail = token.len().saturating_sub(length.rest);
        Some((tail.saturating_add(length.matched).saturating_add(1), VALUE))
    }

    fn option(&self, text: &str) -> Option<Match> {
        self.classes.iter().find_map(|(generic, private, drivers)| {
            if let Some(rest) = text.strip_prefix(generic) {
                return longest(rest, working(drivers.generic));
            }
            let rest = text.strip_prefix(private)?;
            drivers
                .drivers
                .iter()
                .filter_map(|driver| {
                    let rest = strip_upper(rest, driver.name)?.strip_prefix('_')?;
                    longest(rest, working(driver.options))
                })
                .min_by_key(|found| found.rest.saturating_sub(found.matched))
        })
    }

    fn driver(&self, text: &str) -> Option<Match> {
        self.classes.iter().find_map(|(_, private, drivers)| {
            longest(text.strip_prefix(private)?, drivers.drivers.iter().map(|driver| driver.name))
        })
    }

    /// All names and values, for `-bP macros`: a name comes before those it begins with.
    #[must_use]
    pub fn all(&self) -> Vec<(String, &'static str)> {
        let mut names: Vec<String> = Vec::new();
        if self.is_empty {
            return Vec::new();
        }
        let mut add = |prefix: &str, words: &mut dyn Iterator<Item = &'static str>| {
            let mut group: Vec<String> =
                words.map(|word| format!("_{prefix}{}", word.to_ascii_uppercase())).collect();
            group.sort_unstable_by(|a, b| b.cmp(a));
            names.extend(group);
        };
        add("HAVE_", &mut FACILITIES.iter().copied());
        add("HAVE_LOOKUP_", &mut lookups());
        add("CRYPTO_", &mut CRYPTO.iter().copied());
        add("ACL_COND_", &mut self.acl_conditions.iter().copied());
        add("ACL_MOD_", &mut self.acl_modifiers.iter().copied());
        add("LOG_", &mut LOG_SELECTORS.iter().copied());
        for (prefix, kind) in EXPANSIONS {
            add(&format!("EXP_{prefix}"), &mut expand::names(kind));
        }
        for (generic, private, drivers) in &self.classes {
            for driver in drivers.drivers.iter().rev() {
                let prefix = format!("OPT_{private}{}_", driver.name.to_ascii_uppercase());
                add(&prefix, &mut working(driver.options));
                add(&format!("DRIVER_{private}"), &mut std::iter::once(driver.name));
            }
            add(&format!("OPT_{generic}"), &mut working(drivers.generic));
        }
        add("OPT_MAIN_", &mut working(MAIN));
        let texts = texts().into_iter().map(|(name, value)| (format!("_{name}"), value));
        names.into_iter().map(|name| (name, VALUE)).chain(texts).collect()
    }
}

/// The lookup types that are built; the two that share a driver in Exim with another have no macro there.
fn lookups() -> impl Iterator<Item = &'static str> {
    LOOKUPS.iter().filter(|kind| !matches!(kind.style, Style::Unavailable { .. })).map(|kind| kind.name)
}

/// The elements 1 to 30, for `${listextract{$tls_in_resumption}{_RESUME_DECODE}}`: what each bit says.
fn resume_decode() -> &'static str {
    const SUPPORTED: usize = 1;
    static TEXT: OnceLock<String> = OnceLock::new();
    let bits = [(2, "ticket wanted"), (4, "session offered"), (8, "ticket given"), (16, "session resumed")];
    TEXT.get_or_init(|| {
        let element = |number: usize| {
            let set = bits.iter().filter(|(bit, _)| number & bit != 0).map(|(_, words)| *words);
            let words: Vec<&str> = set.collect();
            if words.is_empty() && number == SUPPORTED {
                "nothing wanted or offered".into()
            } else {
                words.join(", ")
            }
        };
        (1..=31).map(element).collect::<Vec<String>>().join(" : ")
    })
}

/// What can be expanded, as macros have it.
const EXPANSIONS: [(&str, Kind); 4] =
    [("ITEM_", Kind::Item), ("OP_", Kind::Operator), ("COND_", Kind::Condition), ("VAR_", Kind::Variable)];

struct Match {
    matched: usize,
    rest: usize,
}

fn strip_upper<'a>(text: &'a str, lower: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(lower.len())?;
    (head.eq_ignore_ascii_case(lower) && !head.bytes().any(|byte| byte.is_ascii_lowercase())).then_some(tail)
}

fn longest(text: &str, words: impl Iterator<Item = &'static str>) -> Option<Match> {
    words
        .filter(|word| strip_upper(text, word).is_some())
        .map(str::len)
        .max()
        .map(|matched| Match { matched, rest: text.len() })
}

/// The names of a table's options that are carried out; those of other status must not look available.
fn working(rows: &'static [OptionRow]) -> impl Iterator<Item = &'static str> {
    rows.iter().filter(|row| is_offered(row)).map(|row| row.name)
}

fn is_offered(row: &OptionRow) -> bool {
    matches!(row.kind, OptionKind::Alias(_) | OptionKind::Both(..)) || row.status != Status::NotYet
}

#[cfg(test)]
mod tests {
    use super::super::tests::catalogue;
    use super::*;

    #[test]
    fn recognised_where_they_stand() {
        let builtins = Builtins::new(&catalogue());
        assert_eq!(builtins.at_start("_HAVE_TLS1_3 x"), Some((12, "y")));
        assert_eq!(builtins.at_start("_HAVE_TLSX"), Some((9, "y")));
        assert_eq!(builtins.at_start("_HAVE_NOTHING"), None);
        assert_eq!(builtins.at_start("_have_tls"), None);
        assert_eq!(builtins.at_start("_OPT_MAIN_QUEUE_ONLY_FILE"), Some((25, "y")));
        assert_eq!(builtins.at_start("_OPT_MAIN_LOCAL_SCAN_PATH"), None);
        assert_eq!(builtins.at_start("_OPT_ROUTERS_VERIFY_ONLY"), Some((24, "y")));
        assert_eq!(builtins.at_start("_OPT_TRANSPORT_SMTP_PORT"), Some((24, "y")));
        assert_eq!(builtins.at_start("_DRIVER_ROUTER_ACCEPT"), Some((21, "y")));
        assert_eq!(builtins.at_start("_DRIVER_ROUTER_IPLOOKUP"), None);
        assert_eq!(builtins.at_start("_EXP_ITEM_LOOKUP"), Some((16, "y")));
        assert_eq!(builtins.at_start("_EXP_OP_BASE64D"), Some((15, "y")));
        assert_eq!(builtins.at_start("_EXP_COND_EXISTS"), Some((16, "y")));
        assert_eq!(builtins.at_start("_EXP_VAR_LOCAL_PART_DATA"), Some((24, "y")));
        assert_eq!(builtins.at_start("_EXP_ITEM_DLFUNC"), None);
        assert_eq!(builtins.at_start("_HAVE_LOOKUP_LSEARCH"), Some((20, "y")));
        assert_eq!(builtins.at_start("_HAVE_LOOKUP_NIS"), None);
        assert_eq!(builtins.at_start("_ACL_COND_HOSTS"), Some((15, "y")));
        assert_eq!(builtins.at_start("_ACL_COND_SPAM"), None);
        assert_eq!(builtins.at_start("_ACL_MOD_SET"), Some((12, "y")));
        assert_eq!(builtins.at_start("_CRYPTO_HASH_SHA3"), Some((17, "y")));
    }

    #[test]
    fn the_number_of_a_resumption_has_its_element() {
        let elements: Vec<&str> = resume_decode().split(" : ").collect();
        assert_eq!(elements.len(), 31);
        assert_eq!(elements[0], "nothing wanted or offered");
        assert_eq!(elements[0x16], "ticket wanted, session offered, session resumed");
        assert!(elements.iter().all(|e| !e.is_empty()));
    }

    #[test]
    fn every_listed_macro_is_recognised_whole() {
        let builtins = Builtins::new(&catalogue());
        for (name, value) in builtins.all() {
            assert_eq!(builtins.at_start(&name), Some((name.len(), value)), "{name}");
        }
    }
}

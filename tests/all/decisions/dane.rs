//! DANE (RFC 7672): the DNSSEC status of MX, address and TLSA records, what the records say, the certificate, and the options.

use super::certificates::{Certificates, Shown};
use super::{Row, Table, VERIFIED_BY};

/// The answer about the MX records of the recipient's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mx {
    Secure,
    Insecure,
    /// There are none: mail goes to the domain itself.
    Absent,
    ServFail,
    Timeout,
}

impl Mx {
    pub(super) const ALL: [Mx; 5] = [Mx::Secure, Mx::Insecure, Mx::Absent, Mx::ServFail, Mx::Timeout];

    pub(super) fn word(self) -> &'static str {
        match self {
            Mx::Secure => "secure_mx",
            Mx::Insecure => "insecure_mx",
            Mx::Absent => "no_mx",
            Mx::ServFail => "servfail_of_mx",
            Mx::Timeout => "timeout_of_mx",
        }
    }
}

/// The answer about the addresses of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Secure,
    Insecure,
    ServFail,
    Timeout,
}

const ADDRESSES: [Address; 4] = [Address::Secure, Address::Insecure, Address::ServFail, Address::Timeout];

/// The answer about the TLSA records of host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tlsa {
    NoName,
    NoData,
    ServFail,
    Timeout,
    Insecure(Says),
    Secure(Says),
}

/// What the records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// The servers' key is theirs.
    Ee,
    /// The authority's key is what their chain leads to.
    Ta,
    /// Records that nothing fits or that have no meaning in mail, and the right one of DANE-EE.
    Mixed,
    /// The right keys, with usages that have no meaning in mail.
    Pkix,
    /// Digests that are too short.
    Short,
}

const ALL_TLSA: [Tlsa; 13] = [
    Tlsa::NoName,
    Tlsa::NoData,
    Tlsa::ServFail,
    Tlsa::Timeout,
    Tlsa::Insecure(Says::Ee),
    Tlsa::Insecure(Says::Ta),
    Tlsa::Insecure(Says::Pkix),
    Tlsa::Secure(Says::Ee),
    Tlsa::Secure(Says::Ta),
    Tlsa::Secure(Says::Mixed),
    Tlsa::Secure(Says::Pkix),
    Tlsa::Secure(Says::Short),
    Tlsa::Insecure(Says::Short),
];

/// The options of the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    /// `hosts_try_dane` is empty.
    Off,
    Try,
    Require,
    /// `hosts_try_dane`, with `dane_require_tls_ciphers` that the servers do not have.
    Ciphers,
}

const OPTIONS: [Options; 4] = [Options::Off, Options::Try, Options::Require, Options::Ciphers];

/// One combination.
#[derive(Clone, Copy, Debug)]
struct Case {
    mx: Mx,
    address: Address,
    tlsa: Tlsa,
    shown: Shown,
    options: Options,
}

impl Case {
    fn is_found(self) -> bool {
        !matches!(self.mx, Mx::ServFail | Mx::Timeout)
            && !matches!(self.address, Address::ServFail | Address::Timeout)
    }

    /// Whether the way to the host is secured, so that TLSA records may be believed (RFC 7672 section 2.2.1).
    fn is_secured(self) -> bool {
        self.mx != Mx::Insecure && self.address == Address::Secure
    }

    /// Whether the TLSA lookup comes to nothing for now.
    fn is_disturbed(self) -> bool {
        self.options != Options::Off
            && self.is_secured()
            && matches!(self.tlsa, Tlsa::ServFail | Tlsa::Timeout)
    }

    /// Whether this one is run for all that differ from it only in what comes too late to matter.
    fn stands_for_others(self) -> bool {
        let has_first_records = self.tlsa == ALL_TLSA[0];
        if !self.is_found() {
            return has_first_records && self.shown == Shown::Good;
        }
        if self.is_disturbed() {
            return self.shown == Shown::Good;
        }
        self.is_secured() || matches!(self.shown, Shown::Good | Shown::Stranger)
    }

    /// What must be done.
    fn action(self) -> &'static str {
        const MISFIT: &str = "== (-37) no certificate matches a TLSA record";
        if !self.is_found() {
            return "== (-1) host lookup did not complete";
        }
        let opportunistic = self.shown.by_authorities();
        if self.options == Options::Off {
            return opportunistic;
        }
        let is_required = self.options == Options::Require;
        if !self.is_secured() {
            return if is_required { "== (-36) DANE error: HOST lookup not DNSSEC" } else { opportunistic };
        }
        let says = match self.tlsa {
            Tlsa::ServFail | Tlsa::Timeout => return "== (-36) DANE error: tlsa lookup DEFER",
            Tlsa::NoName | Tlsa::NoData | Tlsa::Insecure(_) if is_required => {
                return "== (-36) DANE error: tlsa lookup FAIL";
            }
            Tlsa::NoName | Tlsa::NoData | Tlsa::Insecure(_) => return opportunistic,
            Tlsa::Secure(says) => says,
        };
        let is_usable = !matches!(says, Says::Pkix | Says::Short);
        if !is_usable && is_required {
            return "== (-36) DANE error: No usable TLSA records";
        }
        // From here on TLS is due, come what may.
        if self.shown == Shown::NoTls {
            return "== (-38) a TLS session is required, but the server did not offer TLS support";
        }
        if !is_usable {
            return opportunistic;
        }
        if self.options == Options::Ciphers {
            return "== (-37) (SSL_connect): received fatal alert: HandshakeFailure";
        }
        match (says, self.shown) {
            (_, Shown::Stranger) => MISFIT,
            // The key is right: names, dates and signers do not matter (section 3.1.1).
            (Says::Ee | Says::Mixed, _) | (_, Shown::Good) => "=> CV=dane",
            (_, Shown::Expired) => "== (-37) certificate has expired",
            (_, Shown::OtherName) => "== (-37) certificate name mismatch",
            (_, Shown::SelfSigned | Shown::NoTls) => MISFIT,
        }
    }
}

const CONFIG: &str = "\
recipients_max = 0
remote_max_parallel = 20
dns_retrans = 1s
dns_retry = 1
begin routers
out:
  driver = dnslookup
  self = send
  transport = ${if inlist{${extract{-2}{.}{$local_part}}}{off:try:require:ciphers}{$value}}
begin transports
off:
  driver = smtp
  COMMON
  hosts_try_dane =
try:
  driver = smtp
  COMMON
  hosts_try_dane = *
require:
  driver = smtp
  COMMON
  hosts_require_dane = *
ciphers:
  driver = smtp
  COMMON
  dane_require_tls_ciphers = ECDHE-RSA-AES256-GCM-SHA384
begin retry
* * F,1h,10m
";

const COMMON: &str = "port = ${extract{-1}{.}{$local_part}}
  tls_verify_certificates = /mnt/ca.pem
  tls_verify_hosts = :
  tls_try_verify_hosts = *";

/// Servers for `Options::Ciphers` have version 1.2 only: the ciphers of 1.3 are always offered.
const OLD_VERSION: usize = 10;

fn port(shown: Shown, options: Options) -> usize {
    let is_old = options == Options::Ciphers;
    2501 + Shown::ALL.iter().position(|other| *other == shown).unwrap() + if is_old { OLD_VERSION } else { 0 }
}

/// All rows of one kind of MX record.
pub(super) fn table(mx: Mx, is_full: bool) -> Table {
    let mut table =
        Table { config: CONFIG.replace("COMMON", COMMON), deliveries: VERIFIED_BY, ..Table::default() };
    table.zone.push_str(".sec.ex SECURE\n");
    for shown in Shown::ALL {
        let hosts = ["*.sec.ex".to_owned(), "*.ins.ex".to_owned()];
        table.certificates.show(shown.word(), shown, &hosts);
        for (options, version) in [(Options::Try, "any"), (Options::Ciphers, "1.2")] {
            let has_tls = shown != Shown::NoTls;
            let tls = if has_tls { format!(" {version} {}.pem", shown.word()) } else { String::new() };
            table.servers.push_str(&format!("== mail-server {}{tls}\n", port(shown, options)));
        }
    }
    let mut number = 0;
    for address in ADDRESSES {
        for tlsa in ALL_TLSA {
            for shown in Shown::ALL {
                for options in OPTIONS {
                    let case = Case { mx, address, tlsa, shown, options };
                    // Without MX records the lookup of the address is the only one, and its failure that of the MX lookup.
                    let is_possible =
                        mx != Mx::Absent || matches!(address, Address::Secure | Address::Insecure);
                    if is_possible && (is_full || case.stands_for_others()) {
                        number += 1;
                        table.add(number, case);
                    }
                }
            }
        }
    }
    table
}

impl Says {
    /// The records, without their name.
    fn records(self, certificates: &Certificates) -> Vec<String> {
        let (key, authority) = (certificates.key_digest(false), certificates.key_digest(true));
        match self {
            Says::Ee => vec![format!("3 1 1 {key}")],
            Says::Ta => vec![format!("2 1 1 {authority}")],
            Says::Mixed => vec![
                format!("1 1 1 {key}"),
                format!("3 1 1 {}", "00".repeat(32)),
                format!("3 1 2 {key}"),
                format!("3 1 1 {key}"),
            ],
            Says::Pkix => vec![format!("1 1 1 {key}"), format!("0 1 1 {authority}")],
            Says::Short => vec![format!("3 1 1 {}", &key[..62])],
        }
    }
}

impl Table {
    fn add(&mut self, number: usize, case: Case) {
        let host_zone = if case.address == Address::Insecure { "ins.ex" } else { "sec.ex" };
        let domain_zone = match case.mx {
            Mx::Absent => host_zone,
            Mx::Insecure => "ins.ex",
            Mx::Secure | Mx::ServFail | Mx::Timeout => "sec.ex",
        };
        let domain = format!("r{number}.{domain_zone}");
        let host = if case.mx == Mx::Absent { domain.clone() } else { format!("r{number}h1.{host_zone}") };
        let port = port(case.shown, case.options);
        let name = format!("_{port}._tcp.{host}");
        let (status, says) = match case.tlsa {
            Tlsa::NoName => (None, None),
            Tlsa::NoData => (Some("TXT nothing"), None),
            Tlsa::ServFail => (Some("SERVFAIL"), None),
            Tlsa::Timeout => (Some("TIMEOUT"), None),
            Tlsa::Insecure(says) => (Some("INSECURE"), Some(says)),
            Tlsa::Secure(says) => (Some("SECURE"), Some(says)),
        };
        let mx = match case.mx {
            Mx::Secure | Mx::Insecure => Some(format!("{domain} MX 10 {host}")),
            Mx::Absent => None,
            Mx::ServFail => Some(format!("{domain} SERVFAIL")),
            Mx::Timeout => Some(format!("{domain} TIMEOUT")),
        };
        let address = match case.address {
            Address::Secure | Address::Insecure => "A 127.0.0.1",
            Address::ServFail => "SERVFAIL",
            Address::Timeout => "TIMEOUT",
        };
        let mut lines: Vec<String> = mx.into_iter().collect();
        lines.push(format!("{host} {address}"));
        lines.extend(status.map(|status| format!("{name} {status}")));
        let records = says.map(|says| says.records(&self.certificates)).unwrap_or_default();
        lines.extend(records.iter().map(|record| format!("{name} TLSA {record}")));
        self.zone.push_str(&(lines.join("\n") + "\n"));
        let words = format!("{:?}-{:?}-{:?}", case.address, case.tlsa, case.shown);
        let words: String = words.chars().filter(|c| !matches!(c, '(' | ')')).collect();
        let recipient = format!("{words}.{:?}.{port}@{domain}", case.options).to_ascii_lowercase();
        self.rows.push(Row { recipient, action: case.action().to_owned() });
    }
}

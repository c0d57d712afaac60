//! OCSP of servers: the staple, the version of TLS, what DANE makes of the certificate, and the options.

use super::certificates::Shown;
use super::{Row, Table};

/// What the server staples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Staple {
    /// By the authority itself.
    Good,
    /// By a signer whom the authority lets sign.
    Delegated,
    /// By one who has a certificate of the authority, but not for this.
    NotDelegated,
    /// By an authority of the same name.
    WrongIssuer,
    Revoked,
    Unknown,
    Expired,
    NotYetValid,
    Missing,
    /// No OCSP response at all.
    Garbage,
}

const STAPLES: [Staple; 10] = [
    Staple::Good,
    Staple::Delegated,
    Staple::NotDelegated,
    Staple::WrongIssuer,
    Staple::Revoked,
    Staple::Unknown,
    Staple::Expired,
    Staple::NotYetValid,
    Staple::Missing,
    Staple::Garbage,
];

const VERSIONS: [&str; 2] = ["1.2", "1.3"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dane {
    No,
    Ta,
    Ee,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    /// `hosts_request_ocsp` is empty.
    Off,
    Default,
    /// The expression that is said to be the default.
    Printed,
    /// `hosts_request_ocsp = *`, which is the default too.
    Star,
    /// `hosts_request_ocsp = *.ex`.
    Asked,
    /// `hosts_require_ocsp = *`.
    Require,
    /// The same with `hosts_require_tls = *`.
    RequireTls,
}

const OPTIONS: [Options; 7] = [
    Options::Off,
    Options::Default,
    Options::Printed,
    Options::Star,
    Options::Asked,
    Options::Require,
    Options::RequireTls,
];

/// What must be done; for a delivery, what `$tls_out_ocsp` is.
fn action(staple: Staple, dane: Dane, options: Options) -> &'static str {
    let is_asked = match options {
        Options::Off => false,
        // The owner of a key in the DNS takes it out there; there may be no authority to ask.
        Options::Default | Options::Printed | Options::Star => dane != Dane::Ee,
        Options::Asked | Options::Require | Options::RequireTls => true,
    };
    if !is_asked {
        return "=> ocsp=0";
    }
    let is_required = matches!(options, Options::Require | Options::RequireTls);
    match staple {
        Staple::Good | Staple::Delegated => "=> ocsp=4",
        Staple::Garbage => ended(dane, options),
        Staple::Missing if !is_required => "=> ocsp=1",
        Staple::Missing
        | Staple::NotDelegated
        | Staple::WrongIssuer
        | Staple::Revoked
        | Staple::Unknown
        | Staple::Expired
        | Staple::NotYetValid => {
            if is_required {
                ended(dane, options)
            } else {
                "=> ocsp=3"
            }
        }
    }
}

/// There is no such session. Where nothing else wants TLS there is one without, as after any handshake that fails.
fn ended(dane: Dane, options: Options) -> &'static str {
    if dane == Dane::No && options != Options::RequireTls {
        "=> ocsp=0 in the clear"
    } else {
        "== (-37) (certificate status check failed)"
    }
}

const CONFIG: &str = r"recipients_max = 0
remote_max_parallel = 4
begin acl
said:
  accept logwrite = SAID $acl_arg1 => ocsp=$acl_arg2${if def:tls_out_cipher {}{ in the clear}}
begin routers
out:
  driver = dnslookup
  self = send
  transport = ${if inlist{${extract{-2}{.}{$local_part}}}{off:default:printed:star:asked:require:requiretls}{$value}}
begin transports
off:
  driver = smtp
  COMMON
  hosts_request_ocsp =
default:
  driver = smtp
  COMMON
printed:
  driver = smtp
  COMMON
  hosts_request_ocsp = ${if or { {= {0}{$tls_out_tlsa_usage}} \
                                 {= {4}{$tls_out_tlsa_usage}} } \
                           {*}{}}
star:
  driver = smtp
  COMMON
  hosts_request_ocsp = *
asked:
  driver = smtp
  COMMON
  hosts_request_ocsp = *.ex
require:
  driver = smtp
  COMMON
  hosts_require_ocsp = *
requiretls:
  driver = smtp
  COMMON
  hosts_require_ocsp = *
  hosts_require_tls = *
begin retry
* * F,1h,10m
";

const COMMON: &str = "port = ${extract{-1}{.}{$local_part}}
  tls_verify_certificates = /mnt/ca.pem
  tls_verify_hosts = :
  tls_try_verify_hosts = *
  event_action = ${if eq{msg:delivery}{$event_name}{${acl{said}{$local_part@$domain}{$tls_out_ocsp}}}}";

/// OpenSSL is the responder. The certificates are some years old: the clock may be put back.
const MAKE_STAPLES: &str = r#"== sh
chmod 644 *.pem; cat ca.key >> ca.pem
openssl ocsp -issuer ca.pem -cert good.pem -no_nonce -reqout request
serial=$(openssl x509 -in good.pem -noout -serial | cut -d= -f2)
line() { printf "$1\t991231235959Z\t$2\t$3\tunknown\t/CN=mx\n"; }
line V '' $serial > index; line R 260101000000Z $serial > index.revoked; line V '' 7FFF > index.unknown
staple() { openssl ocsp -index index$2 -CA ca.pem -rsigner $3.pem -rkey $3.pem -reqin request -respout $1.der -ndays 2 2>/dev/null; }
at() { LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 FAKETIME=$1 openssl ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.pem -reqin request -respout $2.der -ndays 2 2>/dev/null; }
staple good '' ca; staple delegated '' signer; staple notdelegated '' nosigner; staple wrongissuer '' other
staple revoked .revoked ca; staple unknown .unknown ca; at -10d expired; at +10d notyetvalid; echo garbage > garbage.der
ls *.der | wc -l
-- output
9
"#;

/// All rows.
pub(super) fn table() -> Table {
    let mut table = Table {
        config: CONFIG.replace("COMMON", COMMON),
        deliveries: r"-e 's/.* SAID (.*)/\1/; t said'",
        servers: MAKE_STAPLES.to_owned(),
        zone: ".sec.ex SECURE\n".to_owned(),
        ..Table::default()
    };
    let hosts = ["*.sec.ex".to_owned(), "*.ins.ex".to_owned()];
    table.certificates.show("good", Shown::Good, &hosts);
    table.certificates.signer("signer", true);
    table.certificates.signer("nosigner", false);
    table.certificates.other_authority("other");
    let (key, authority) = (table.certificates.key_digest(false), table.certificates.key_digest(true));
    let (mut port, mut number) = (2600, 0);
    for staple in STAPLES {
        let word = format!("{staple:?}").to_ascii_lowercase();
        let file = if staple == Staple::Missing { String::new() } else { format!(" {word}.der") };
        for version in VERSIONS {
            port += 1;
            table.servers.push_str(&format!("== mail-server {port} {version} good.pem{file}\n"));
            for dane in [Dane::No, Dane::Ta, Dane::Ee] {
                for options in OPTIONS {
                    number += 1;
                    let zone = if dane == Dane::No { "ins.ex" } else { "sec.ex" };
                    let host = format!("r{number}.{zone}");
                    table.zone.push_str(&format!("{host} A 127.0.0.1\n"));
                    let record = match dane {
                        Dane::No => None,
                        Dane::Ta => Some(format!("2 1 1 {authority}")),
                        Dane::Ee => Some(format!("3 1 1 {key}")),
                    };
                    if let Some(record) = record {
                        table.zone.push_str(&format!("_{port}._tcp.{host} TLSA {record}\n"));
                    }
                    let version = version.replace('.', "");
                    let recipient = format!("{word}-tls{version}-{dane:?}.{options:?}.{port}@{host}");
                    let action = action(staple, dane, options).to_owned();
                    table.rows.push(Row { recipient: recipient.to_ascii_lowercase(), action });
                }
            }
        }
    }
    table
}

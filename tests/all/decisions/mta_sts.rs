//! MTA-STS beside DANE (RFC 8461 section 2): the policy, the TLSA records, the certificate, and the options.

use super::certificates::Shown;
use super::{Row, Table, VERIFIED_BY};

/// The policy of the recipient's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Absent,
    Enforce,
    /// It is enforced, and names other hosts.
    EnforceOthers,
    /// It is being tested, and names other hosts.
    TestOthers,
    /// Its mode is `none`.
    None,
}

const POLICIES: [Policy; 5] =
    [Policy::Absent, Policy::Enforce, Policy::EnforceOthers, Policy::TestOthers, Policy::None];

impl Policy {
    /// Mode, and the hosts that it names.
    fn text(self) -> Option<(&'static str, &'static str)> {
        match self {
            Policy::Absent => None,
            Policy::Enforce => Some(("enforce", "*.sec.ex")),
            Policy::EnforceOthers => Some(("enforce", "mx.other.ex")),
            Policy::TestOthers => Some(("testing", "mx.other.ex")),
            Policy::None => Some(("none", "mx.other.ex")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tlsa {
    Absent,
    ServFail,
    Insecure,
    Fits,
    Unusable,
}

const ALL_TLSA: [Tlsa; 5] = [Tlsa::Absent, Tlsa::ServFail, Tlsa::Insecure, Tlsa::Fits, Tlsa::Unusable];

/// What must be done.
fn action(policy: Policy, tlsa: Tlsa, shown: Shown, requires_dane: bool) -> &'static str {
    const NO_TLS: &str = "== (-38) a TLS session is required, but the server did not offer TLS support";
    match tlsa {
        Tlsa::ServFail => return "== (-36) DANE error: tlsa lookup DEFER",
        Tlsa::Absent | Tlsa::Insecure if requires_dane => return "== (-36) DANE error: tlsa lookup FAIL",
        Tlsa::Unusable if requires_dane => return "== (-36) DANE error: No usable TLSA records",
        // Where there is DANE the policy has no say.
        Tlsa::Fits => {
            return match shown {
                Shown::Good => "=> CV=dane",
                Shown::NoTls => NO_TLS,
                Shown::Stranger | Shown::Expired | Shown::OtherName | Shown::SelfSigned => {
                    "== (-37) no certificate matches a TLSA record"
                }
            };
        }
        Tlsa::Absent | Tlsa::Insecure | Tlsa::Unusable => {}
    }
    match (policy, shown) {
        (Policy::EnforceOthers, _) => "== (-91) MTA-STS policy of HOST does not name HOST",
        (Policy::Enforce, Shown::NoTls) => NO_TLS,
        (Policy::Enforce, Shown::Good) => "=> CV=sts",
        (Policy::Enforce, _) => "== (-37) unable to get local issuer certificate",
        (_, Shown::NoTls) if tlsa == Tlsa::Unusable => NO_TLS,
        (_, Shown::NoTls) => "=> in the clear",
        (Policy::Absent | Policy::TestOthers | Policy::None, _) => "=> CV=no",
    }
}

const CONFIG: &str = "\
recipients_max = 0
remote_max_parallel = 8
begin routers
out:
  driver = dnslookup
  self = send
  transport = ${if inlist{${extract{-2}{.}{$local_part}}}{try:require}{$value}}
begin transports
try:
  driver = smtp
  COMMON
require:
  driver = smtp
  COMMON
  hosts_require_dane = *
begin retry
* * F,1h,10m
";

const COMMON: &str = "port = ${extract{-1}{.}{$local_part}}
  tls_verify_certificates = /mnt/ca.pem
  tls_verify_hosts = :
  tls_try_verify_hosts = :
  mta_sts = enforce";

/// All rows.
pub(super) fn table() -> Table {
    let mut table = Table {
        config: CONFIG.replace("COMMON", COMMON),
        deliveries: VERIFIED_BY,
        zone: ".sec.ex SECURE\n".to_owned(),
        servers: "== sh\nchmod 644 *.pem\n".to_owned(),
        ..Table::default()
    };
    for (at, (mode, hosts)) in POLICIES.iter().filter_map(|policy| policy.text()).enumerate() {
        table.servers.push_str(&web_server(at, mode, hosts));
    }
    table
        .servers
        .push_str("for i in $(seq 500); do test $(ss -ltn | grep -c :443) = 4 && break; sleep 0.01; done\n");
    let shown_ones = [Shown::Good, Shown::Stranger, Shown::NoTls];
    for (port, shown) in (2501..).zip(shown_ones) {
        table.certificates.show(shown.word(), shown, &["*.sec.ex".to_owned()]);
        let tls = if shown == Shown::NoTls { String::new() } else { format!(" any {}.pem", shown.word()) };
        table.servers.push_str(&format!("== mail-server {port}{tls}\n"));
    }
    let key = table.certificates.key_digest(false);
    let mut webs = Vec::new();
    for policy in POLICIES {
        for tlsa in ALL_TLSA {
            for (port, shown) in (2501..).zip(shown_ones) {
                for requires_dane in [false, true] {
                    let number = table.rows.len();
                    let (domain, host) = (format!("r{number}.sec.ex"), format!("r{number}h1.sec.ex"));
                    let mut lines = vec![format!("{domain} MX 10 {host}"), format!("{host} A 127.0.0.1")];
                    if policy != Policy::Absent {
                        let place = 10
                            + POLICIES
                                .iter()
                                .filter(|p| p.text().is_some())
                                .position(|p| *p == policy)
                                .unwrap();
                        lines.push(format!("_mta-sts.{domain} TXT v=STSv1; id=1;"));
                        lines.push(format!("mta-sts.{domain} A 127.0.0.{place}"));
                        webs.push(format!("mta-sts.{domain}"));
                    }
                    let name = format!("_{port}._tcp.{host}");
                    match tlsa {
                        Tlsa::Absent => {}
                        Tlsa::ServFail => lines.push(format!("{name} SERVFAIL")),
                        Tlsa::Insecure => {
                            lines.extend([format!("{name} INSECURE"), format!("{name} TLSA 3 1 1 {key}")]);
                        }
                        Tlsa::Fits => lines.push(format!("{name} TLSA 3 1 1 {key}")),
                        Tlsa::Unusable => lines.push(format!("{name} TLSA 1 1 1 {key}")),
                    }
                    table.zone.push_str(&(lines.join("\n") + "\n"));
                    let option = if requires_dane { "require" } else { "try" };
                    let words = format!("{policy:?}-{tlsa:?}-{shown:?}.{option}.{port}@{domain}");
                    table.rows.push(Row {
                        recipient: words.to_ascii_lowercase(),
                        action: action(policy, tlsa, shown, requires_dane).to_owned(),
                    });
                }
            }
        }
    }
    table.certificates.show("web", Shown::Good, &webs);
    table
}

/// Lines of a shell that serve one policy to all domains.
fn web_server(at: usize, mode: &str, hosts: &str) -> String {
    format!(
        "mkdir -p {mode}{at}/.well-known; cd {mode}{at}
printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\nversion: STSv1\\r\\nmode: {mode}\\r\\nmx: {hosts}\\r\\nmax_age: 604800\\r\\n' > .well-known/mta-sts.txt
openssl s_server -quiet -HTTP -accept 127.0.0.{}:443 -cert ../web.pem -key ../web.pem > ../web{at}.out 2>&1 & cd ..
",
        10 + at
    )
}

//! Tests of reading as a whole, and the catalogue that tests of this crate read configurations with.

use super::*;

static ACCEPT: DriverRow = DriverRow { name: "accept", options: rows::ROUTER_ACCEPT };
static DNSLOOKUP: DriverRow = DriverRow { name: "dnslookup", options: rows::ROUTER_DNSLOOKUP };
static IPLITERAL: DriverRow = DriverRow { name: "ipliteral", options: rows::ROUTER_IPLITERAL };
static MANUALROUTE: DriverRow = DriverRow { name: "manualroute", options: rows::ROUTER_MANUALROUTE };
static REDIRECT: DriverRow = DriverRow { name: "redirect", options: rows::ROUTER_REDIRECT };
static APPENDFILE: DriverRow = DriverRow { name: "appendfile", options: rows::TRANSPORT_APPENDFILE };
static AUTOREPLY: DriverRow = DriverRow { name: "autoreply", options: rows::TRANSPORT_AUTOREPLY };
static LMTP: DriverRow = DriverRow { name: "lmtp", options: rows::TRANSPORT_LMTP };
static PIPE: DriverRow = DriverRow { name: "pipe", options: rows::TRANSPORT_PIPE };
static SMTP: DriverRow = DriverRow { name: "smtp", options: rows::TRANSPORT_SMTP };
static PLAINTEXT: DriverRow = DriverRow { name: "plaintext", options: rows::AUTH_PLAINTEXT };
static CRAM_MD5: DriverRow = DriverRow { name: "cram_md5", options: rows::AUTH_CRAM_MD5 };

/// The drivers of the first release.
pub(crate) fn catalogue() -> Catalogue {
    Catalogue {
        routers: Drivers {
            generic: rows::ROUTER_GENERIC,
            drivers: vec![&ACCEPT, &DNSLOOKUP, &IPLITERAL, &MANUALROUTE, &REDIRECT],
        },
        transports: Drivers {
            generic: rows::TRANSPORT_GENERIC,
            drivers: vec![&APPENDFILE, &AUTOREPLY, &LMTP, &PIPE, &SMTP],
        },
        authenticators: Drivers { generic: rows::AUTH_GENERIC, drivers: vec![&CRAM_MD5, &PLAINTEXT] },
    }
}

fn read_text(text: &str) -> Result<Config, Vec<ConfigError>> {
    read_bytes("/c", text.as_bytes(), &[], &catalogue())
}

#[test]
fn a_small_file() {
    let config = read_text(
        "A = x.example\nqualify_domain = A\nno_message_logs\nauto_thaw = 90m\nhide pgsql_servers =\n\
         domainlist local = @ : \\\n  # comment\n  A\n\nbegin acl\nmain: accept hosts = :\n  deny\n\
         begin routers\nr:\n driver = redirect\n allow_fail\n data = \"a\\tb\"\n condition = 1\n condition = 2\n\
         begin transports\nt:\n driver = smtp\n user = root\nbegin retry\n* * F,2h,1m\n",
    )
    .unwrap();
    assert_eq!(config.main.qualify_domain, "x.example");
    assert_eq!(config.main.qualify_recipient, "x.example");
    assert!(!config.main.message_logs);
    assert_eq!(config.main.auto_thaw.as_secs(), 5400);
    assert_eq!(config.lists.get(ListKind::Domain, "local").unwrap().source, "@ : x.example");
    let acl = &config.acls[0];
    assert_eq!(
        (acl.name.as_str(), acl.lines.len(), acl.lines[0].text.as_str()),
        ("main", 2, "accept hosts = :")
    );
    let router = &config.routers[0];
    assert_eq!(router.options.string("data"), Some("a\tb"));
    assert!(router.options.bool("allow_fail") && !router.options.bool("allow_defer"));
    assert_eq!(router.options.string("condition"), Some("${if and{{bool_lax{1}}{bool_lax{2}}}}"));
    assert_eq!(config.transports[0].options.id("user"), Some(0));
    assert_eq!(config.retry[0].text, "* * F,2h,1m");
    assert_eq!(config.retry[0].location.line, 25);
}

//! LDAP: the server of Debian's package `slapd`.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Server, Talk, check, check_both, config, folder, free_port, give_away, program, unprivileged};

const ENTRIES: &str = "dn: o=base
objectClass: organization
o: base
description: a,b

dn: uid=fred,o=base
objectClass: inetOrgPerson
uid: fred
cn: Fred
cn: Fred, the second
sn: Fl\"in\\t
mail: fred@example.com
userPassword: pw1
description:: bGluZTEKbGluZTI=

dn: uid=bob,o=base
objectClass: inetOrgPerson
uid: bob
cn: Bob (*)
sn: B
mail: bob@example.com
mail: bob2@example.com
userPassword: pw2
";

fn settings(folder: &Path, has_tls: bool, tls_more: &str) -> String {
    let tls = if has_tls { "TLSCertificateFile cert.pem\nTLSCertificateKeyFile key.pem\n" } else { "" };
    format!(
        "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n{tls}{tls_more}\
         database mdb\nsuffix \"o=base\"\nrootdn \"cn=admin,o=base\"\nrootpw secret\ndirectory {}\n\
         access to attrs=userPassword by anonymous auth by * none\naccess to * by * read\n",
        folder.join("db").display()
    )
}

fn certificate(folder: &Path) -> bool {
    let Some(openssl) = program("openssl") else { return false };
    let mut command = Command::new(openssl);
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem"]);
    command.args(["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.status().is_ok_and(|status| status.success())
}

/// Another one beside it, with the same entries, which talks to clients with a certificate only.
fn start_strict(slapd: &Path, folder: &Path, port: u16, tls: u16) -> Server {
    let more = "TLSCACertificateFile cert.pem\nTLSVerifyClient demand\n";
    std::fs::write(folder.join("strict.conf"), settings(folder, true, more)).unwrap();
    let mut command = unprivileged(slapd, folder);
    command.args(["-d", "0", "-f", "strict.conf", "-h"]);
    command.arg(format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls}/"));
    Server::start(command, port)
}

fn start(slapd: &Path, folder: &Path, port: u16, tls: u16) -> Server {
    let socket = folder.join("sock").display().to_string().replace('/', "%2F");
    let mut command = unprivileged(slapd, folder);
    command.args(["-d", "0", "-f", "slapd.conf", "-h"]);
    command.arg(format!("ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls}/ ldapi://{socket}"));
    Server::start(command, port)
}

pub(super) fn lookups() {
    let Some((slapd, slapadd)) = program("slapd").zip(program("slapadd")) else { return };
    let folder = folder();
    let folder = folder.path();
    let has_tls = certificate(folder);
    std::fs::write(folder.join("slapd.conf"), settings(folder, has_tls, "")).unwrap();
    std::fs::write(folder.join("entries"), ENTRIES).unwrap();
    std::fs::create_dir(folder.join("db")).unwrap();
    give_away(folder);
    let mut command = unprivileged(&slapadd, folder);
    assert!(command.args(["-f", "slapd.conf", "-l", "entries"]).status().unwrap().success());
    let (port, dead, tls) = (free_port(), free_port(), free_port());
    let server = start(&slapd, folder, port, tls);
    let config = config(folder, &format!("ldap_default_servers = 127.0.0.1::{dead} : 127.0.0.1::{port}\n"));
    searches(&config);
    servers(&config, folder, port, dead);
    binds(&config, port);
    versions(folder, port);
    if has_tls {
        encrypted(folder, port, tls);
        with_certificate(&slapd, folder);
    }
    trouble(&slapd, folder, port, tls, server);
}

fn searches(config: &Path) {
    let several = "Failed: lookup of \"ldap:///o=base?cn?sub?(uid=*)\" gave DEFER: LDAP search: more than one entry (2) was returned (filter not specific enough?)";
    check_both(
        config,
        &[
            (
                "${lookup ldap{ldap:///o=base?cn?sub?(uid=fred)}{<$value> $ldap_dn}{none}}",
                "<Fred,Fred,, the second> uid=fred,o=base",
            ),
            (
                "${lookup ldap{ldap:///o=base?cn,mail?sub?(uid=fred)}{<$value>}{none}}",
                "<cn=\"Fred,Fred,, the second\" mail=\"fred@example.com\">",
            ),
            (
                "${lookup ldap{ldap:///uid=fred,o=base?cn,description,sn}{<$value>}{none}}",
                "<cn=\"Fred,Fred,, the second\" sn=\"Fl\\\"in\\\\t\" description=\"line1\\nline2\">",
            ),
            (
                "${lookup ldap{ldap:///o=base??sub?(uid=bob)}{<$value>}{none}}",
                "<objectClass=\"inetOrgPerson\" uid=\"bob\" cn=\"Bob (*)\" sn=\"B\" mail=\"bob@example.com,bob2@example.com\">",
            ),
            ("${lookup ldap{ldap:///o=base?cn?sub?(uid=*)}{found}{none}}", several),
            (
                "${lookup ldapm{ldap:///o=base?mail?sub?(uid=*)}{<$value>}{none}}",
                "<fred@example.com\nbob@example.com,bob2@example.com>",
            ),
            ("${lookup ldapdn{ldap:///o=base?cn?sub?(uid=bob)}{<$value>}{none}}", "<uid=bob,o=base>"),
            ("${lookup ldap{ldap:///o=base?cn?sub?(uid=no)}{found}{none}}", "none"),
            ("${lookup ldap{ldap:///o=nobase?cn?sub?(uid=no)}{found}{none}}", "none"),
            ("${lookup ldap{ldap:///badbase?cn}{found}{none}}", "none"),
            ("${lookup ldap{ldap:///o=base?telephoneNumber?sub?(uid=fred)}{found}{none}}", "none"),
            ("${lookup ldapm{size=1 ldap:///o=base?mail?sub?(uid=*)}{<$value>}{none}}", "<fred@example.com>"),
            (
                "${lookup ldapdn{ldap:///o=base?cn?sub?(|(cn=Bo*x*)(&(uid>=zz)(!(uid=x))))}{$value}{none}}",
                "none",
            ),
            (
                "${lookup ldapdn{ldap:///o=base?cn?sub?(cn=${quote_ldap:Bob (*)})}{$value}{none}}",
                "uid=bob,o=base",
            ),
            ("${lookup ldapdn{ldap:///o=base?cn?sub?(cn=${quote_ldap:*)(uid=*})}{$value}{none}}", "none"),
            ("${lookup ldap{ldap:///uid=${quote_ldap_dn:bob,x},o=base?cn}{found}{none}}", "none"),
        ],
    );
}

fn servers(config: &Path, folder: &Path, port: u16, dead: u16) {
    let socket = folder.join("sock").display().to_string();
    let query = "o=base?cn?sub?(uid=bob)";
    let named = format!("${{lookup ldap{{servers=127.0.0.1::{dead}:127.0.0.1::{port} ldap:///{query}}}}}");
    let by_socket = format!("${{lookup ldap{{ldapi://{}/{query}}}}}", socket.replace('/', "%2F"));
    let by_path = format!("${{lookup ldap{{servers={socket} ldap:///{query}}}}}");
    let in_url = format!("${{lookup ldap{{ldap://127.0.0.1:{port}/{query}}}}}");
    check_both(
        config,
        &[(&named, "Bob (*)"), (&by_socket, "Bob (*)"), (&by_path, "Bob (*)"), (&in_url, "Bob (*)")],
    );
    let lost = format!("${{lookup ldap{{ldap://127.0.0.1:{dead}/{query}}}{{found}}{{none}}}}");
    let refused = format!(
        "Failed: lookup of \"ldap://127.0.0.1:{dead}/{query}\" gave DEFER: failed to bind the LDAP connection to server 127.0.0.1:{dead} - ldap_bind() returned -1 (Connection refused)"
    );
    check(config, &[(&lost, &refused)]);
}

fn binds(config: &Path, port: u16) {
    let denied = format!(
        "failed to bind the LDAP connection to server 127.0.0.1:{port} - LDAP error 49: Invalid credentials"
    );
    check_both(
        config,
        &[
            ("${lookup ldap{user=\"uid=fred,o=base\" pass=\"pw1\" ldap:///o=base?sn?sub?(uid=bob)}}", "B"),
            ("${if ldapauth{user=\"uid=fred,o=base\" pass=pw1 ldap:///}{yes}{no}}", "yes"),
            (
                "${if ldapauth{user=\"uid=${quote_ldap_dn:fred},o=base\" pass=${quote:pw2} ldap:///}{yes}{no}}",
                "no",
            ),
            ("${if ldapauth{user=\"uid=nobody,o=base\" pass=pw2 ldap:///}{yes}{no}}", "no"),
            ("${if ldapauth{user=\"uid=fred,o=base\" pass= ldap:///}{yes}{no}}", "no"),
            (
                "${if ldapauth{ldap:///}{yes}{no}}",
                "Failed: ldapauth lookups must specify the username and password",
            ),
        ],
    );
    let shown =
        format!("Failed: lookup of \"user=uid=fred,o=base pass=*** ldap:///o=base\" gave DEFER: {denied}");
    check(config, &[("${lookup ldap{user=uid=fred,o=base pass=bad ldap:///o=base}}", &shown)]);
}

fn encrypted(folder: &Path, port: u16, tls: u16) {
    let good = folder.join("cert.pem").display().to_string();
    let of = |url_port: u16, scheme: &str| {
        format!(
            "${{lookup ldap{{{scheme}://127.0.0.1:{url_port}/o=base?cn?sub?(uid=bob)}}{{$value}}{{none}}}}"
        )
    };
    let (plain, encrypted) = (of(port, "ldap"), of(tls, "ldaps"));
    let trusting = config(folder, &format!("ldap_ca_cert_file = {good}\nldap_require_cert = demand\n"));
    check(&trusting, &[(&encrypted, "Bob (*)")]);
    let starting = config(folder, &format!("ldap_ca_cert_file = {good}\nldap_start_tls\n"));
    check(&starting, &[(&plain, "Bob (*)")]);
    let careless = config(folder, "ldap_require_cert = never\n");
    check(&careless, &[(&encrypted, "Bob (*)")]);
    let strict = config(folder, "ldap_require_cert = demand\nldap_start_tls\n");
    for expression in [&plain, &encrypted] {
        let answer = super::answers(&crate::place::oxim(), &strict, &[expression]).remove(0);
        assert!(answer.contains("gave DEFER: failed to bind") && answer.contains("certificate"), "{answer}");
    }
}

/// `ldap_version`: the server takes version 3 alone.
fn versions(folder: &Path, port: u16) {
    let query = format!("ldap://127.0.0.1:{port}/o=base?cn?sub?(uid=bob)");
    let ask = format!("${{lookup ldap{{{query}}}}}");
    let refused = format!(
        "Failed: lookup of \"{query}\" gave DEFER: failed to bind the LDAP connection to server 127.0.0.1:{port} - LDAP error 2: Protocol error"
    );
    check_both(&config(folder, "ldap_version = 3\n"), &[(&ask, "Bob (*)")]);
    check_both(&config(folder, "ldap_version = 2\n"), &[(&ask, &refused)]);
}

/// `ldap_ca_cert_dir`, `ldap_cert_file`, `ldap_cert_key` and `ldap_cipher_suite`.
fn with_certificate(slapd: &Path, folder: &Path) {
    let (port, tls) = (free_port(), free_port());
    let _server = start_strict(slapd, folder, port, tls);
    let authorities = folder.join("authorities");
    std::fs::create_dir(&authorities).unwrap();
    std::fs::copy(folder.join("cert.pem"), authorities.join("one.pem")).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let trust = format!("ldap_require_cert = demand\nldap_ca_cert_dir = {}\n", path("authorities"));
    let key = format!("ldap_cert_file = {}\nldap_cert_key = {}\n", path("cert.pem"), path("key.pem"));
    let ask = format!("${{lookup ldap{{ldaps://127.0.0.1:{tls}/o=base?cn?sub?(uid=bob)}}}}");
    check(&config(folder, &format!("{trust}{key}")), &[(&ask, "Bob (*)")]);
    check(
        &config(folder, &format!("{trust}{key}ldap_cipher_suite = ECDHE-RSA-AES128-GCM-SHA256\n")),
        &[(&ask, "Bob (*)")],
    );
    for (settings, reason) in [
        (trust.clone(), "the server closed the connection"),
        (format!("ldap_require_cert = demand\n{key}"), "certificate"),
        (format!("{trust}{key}ldap_cipher_suite = !ALL\n"), "cipher"),
    ] {
        let config = config(folder, &settings);
        let answer = super::answers(&crate::place::oxim(), &config, &[&ask]).remove(0);
        assert!(
            answer.contains("gave DEFER: failed to bind") && answer.contains(reason),
            "{settings}{answer}"
        );
    }
}

fn trouble(slapd: &Path, folder: &Path, port: u16, tls: u16, server: Server) {
    let config = config(folder, &format!("ldap_default_servers = 127.0.0.1::{port}\n"));
    let mut talk = Talk::begin(&config);
    let ask = "${lookup ldap,cache=no{ldap:///o=base?cn?sub?(uid=bob)}{$value}{none}}";
    assert_eq!(talk.ask(ask), "Bob (*)");
    server.pause();
    let paused = talk.ask("${lookup ldap,cache=no{nettime=1 ldap:///o=base?cn?sub?(uid=bob)}{$value}{none}}");
    assert!(paused.contains("gave DEFER") && paused.ends_with("timed out"), "{paused}");
    server.signal("CONT");
    assert_eq!(talk.ask(ask), "Bob (*)");
    server.end("KILL");
    let gone = talk.ask(ask);
    assert!(gone.contains("gave DEFER: failed to bind"), "{gone}");
    let _server = start(slapd, folder, port, tls);
    assert_eq!(talk.ask(ask), "Bob (*)");
}

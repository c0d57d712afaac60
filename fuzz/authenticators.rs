//! A server's authenticators, one for each mechanism, that let in only who knows the secret.

use oxim_deliver::authenticator::AUTHENTICATORS;
use oxim_lang::config::{Catalogue, Drivers, rows};

/// What no fuzzer finds by chance.
const SECRET: &str = "yP3-9kQw7ZrT0vLm";

/// Its SHA-256. The fuzzer watches what is compared, and would find the secret itself in a condition.
const SECRET_HASH: &str = "977366CD3557DF14DD4160B1C1570BC3821D7E2843862E881405EDA2ABE5DF88";

/// The drivers that the configuration may name.
pub fn catalogue() -> Catalogue {
    let drivers = AUTHENTICATORS.iter().map(|kind| &kind.row).collect();
    let authenticators = Drivers { generic: rows::AUTH_GENERIC, drivers };
    Catalogue { authenticators, ..Catalogue::default() }
}

/// The section of the configuration.
pub fn section() -> String {
    let mut text = "begin authenticators\n".to_owned();
    let mut add = |name: &str, rest: &str| text.push_str(&format!("{name}:\n{rest}\n"));
    add("plain", &format!("driver = plaintext\npublic_name = PLAIN\nserver_prompts = :\nserver_condition = ${{if eq{{${{sha256:$auth3}}}}{{{SECRET_HASH}}}}}\nserver_set_id = $auth2"));
    add("login", &format!("driver = plaintext\npublic_name = LOGIN\nserver_prompts = <| User: | Password:\nserver_condition = ${{if eq{{${{sha256:$auth2}}}}{{{SECRET_HASH}}}}}\nserver_set_id = $auth1"));
    add("cram", &format!("driver = cram_md5\npublic_name = CRAM-MD5\nserver_secret = {SECRET}\nserver_set_id = $auth1"));
    add("ntlm", &format!("driver = spa\npublic_name = NTLM\nserver_password = {SECRET}\nserver_set_id = $auth1"));
    add("external", &format!("driver = external\npublic_name = EXTERNAL\nserver_param2 = ${{if eq{{${{sha256:$auth1}}}}{{{SECRET_HASH}}}}}\nserver_condition = ${{if eq{{${{sha256:$auth1}}}}{{{SECRET_HASH}}}}}\nserver_set_id = $auth1"));
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let name = mechanism.to_ascii_lowercase().replace('-', "_");
        add(
            &format!("gsasl_{name}"),
            &format!("driver = gsasl\npublic_name = GSASL-{mechanism}\nserver_mech = {mechanism}\nserver_realm = test.ex\nserver_hostname = mx.test.ex\nserver_service = smtp\nserver_password = {SECRET}\nserver_set_id = $auth1"),
        );
    }
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256"] {
        let name = mechanism.to_ascii_lowercase().replace('-', "_");
        add(
            &format!("{name}_plus"),
            &format!("driver = gsasl\npublic_name = {mechanism}-PLUS\nserver_channelbinding\nserver_password = {SECRET}\nserver_set_id = $auth1"),
        );
    }
    text
}

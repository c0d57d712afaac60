//! Verdicts for each recipient by a real Rspamd: settings by opt-in string, actions and symbols, rules; gone, and back again.
//!
//! Only root can be another user; others skip it.

use std::path::Path;
use std::process::Command;

use super::scanners::{GTUBE, Group, has, message, rspamd_configuration, submit_to};
use super::{config, folder, free_port, give_away, is_root, program, unprivileged};
use crate::place;

/// Settings of Rspamd: with `lenient` nothing is too bad; with `strict` everything is marked.
const SETTINGS: &str = "settings {\n  lenient { id = \"lenient\"; apply { actions { reject = 9000; add_header = 8000; greylist = 7000; } } }\n\
                        strict { id = \"strict\"; apply { actions { add_header = -100; greylist = -200; } } }\n}\n";

const ENGINE: &str = "timeout = \"20s\"\non_failure = \"defer\"\n[settings]\nloose = \"lenient\"\ntight = \"strict\"\n\
                      [actions]\n\"add header\" = \"alternate: X-Tight: yes\"\n[rules]\n5 = \"GTUBE\"\n8 = \"action:add header\"\n";

const CONFIG: &str = "bmi_optin = ${extract{$local_part}{a= b=loose c=tight}}\n";

fn configured(folder: &Path) -> std::path::PathBuf {
    let path = folder.display();
    std::fs::create_dir_all(folder.join("spool")).unwrap();
    give_away(&folder.join("spool"));
    config(
        folder,
        &format!(
            "primary_hostname = mx.test.ex\nspool_directory = {path}/spool\nlog_file_path = {path}/log-%s\n\
             exim_user = nobody\nexim_group = nogroup\nkeep_environment =\ntls_advertise_hosts =\n\
             bmi_config_file = {path}/verdicts.toml\nacl_smtp_rcpt = rcpt\nbegin acl\nrcpt:\n  accept {CONFIG}    control = bmi_run\n\
             begin routers\n\
             fired:\n  driver = redirect\n  bmi_rule = 5\n  local_parts = b\n  data = :blackhole:\n\
             nowhere:\n  driver = redirect\n  bmi_dont_deliver\n  data = :blackhole:\n\
             elsewhere:\n  driver = redirect\n  bmi_deliver_alternate\n  condition = ${{if eq{{$bmi_alt_location}}{{X-Tight: yes}}}}\n  data = :blackhole:\n\
             local:\n  driver = accept\n  transport = local\nbegin transports\n\
             local:\n  driver = appendfile\n  file = {path}/spool/box\n  user = nobody\n"
        ),
    )
}

/// Delivers what waits; gives the lines of the log about deliveries.
fn deliver(config: &Path, folder: &Path) -> String {
    let ran = Command::new(place::oxim()).arg("-C").arg(config).arg("-qff").output().unwrap();
    let log = std::fs::read_to_string(folder.join("log-main")).unwrap_or_default();
    let _none = std::fs::remove_file(folder.join("log-main"));
    format!("{log}{}", String::from_utf8_lossy(&ran.stderr))
}

pub(super) fn rspamd() {
    let Some(rspamd) = program("rspamd").filter(|_| is_root()) else { return };
    let folder = folder();
    let folder = folder.path();
    let port = free_port();
    let modules = "modules { path = \"/usr/share/rspamd/plugins/settings.lua\"; }\n";
    let text = format!("{}{modules}{SETTINGS}", rspamd_configuration(folder, port));
    std::fs::write(folder.join("rspamd.conf"), text).unwrap();
    std::fs::write(folder.join("tld"), "ex\ncom\n").unwrap();
    let engine = format!("engine = \"rspamd\"\nservers = [\"127.0.0.1:{port}\"]\n{ENGINE}");
    std::fs::write(folder.join("verdicts.toml"), engine).unwrap();
    give_away(folder);
    let command = || {
        let mut command = unprivileged(&rspamd, folder);
        command.args(["-f", "-c"]).arg(folder.join("rspamd.conf"));
        command
    };
    let start = || Group::start(command(), port);
    let config = configured(folder);
    let everybody = ["a@test.ex", "b@test.ex", "c@test.ex"];
    let server = start();
    has(&submit_to(&config, folder, &everybody, &message(GTUBE)), &["250 OK id="]);
    let log = deliver(&config, folder);
    // Without settings GTUBE is rejected, as by all others; the rule is known to routers whatever the action was.
    has(&log, &["=> :blackhole: <a@test.ex> R=nowhere", "=> :blackhole: <b@test.ex> R=fired"]);
    has(&submit_to(&config, folder, &everybody, &message("Good morning.")), &["250 OK id="]);
    let log = deliver(&config, folder);
    has(
        &log,
        &["=> a <a@test.ex> R=local", "=> b <b@test.ex> R=local", "=> :blackhole: <c@test.ex> R=elsewhere"],
    );
    drop(server);
    let refused = submit_to(&config, folder, &everybody, &message("Good morning."));
    has(&refused, &["451 Temporary local problem", "Connection refused"]);
    let _server = start();
    has(&submit_to(&config, folder, &everybody, &message("Good morning.")), &["250 OK id="]);
}

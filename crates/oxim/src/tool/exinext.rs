//! `exinext`: when an address, a domain, a local part or a message is tried again (manual section 54.10).
//!
//! The address is routed by this program as `-bt`; what the hints know of its hosts is shown, and every record that names what was asked for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use oxim_base::clock::Zone;
use oxim_deliver::retry::RetryRecord;
use oxim_mail::message_id::MessageId;
use oxim_spool::hints::Database;

use super::hints::{open_in, reason, time};
use super::{Call, configuration, say};

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let mut words = call.words.iter();
    let (mut config, mut options) = (None, Vec::new());
    let mut wanted = None;
    while let Some(word) = words.next() {
        match word.as_slice() {
            b"-C" => config = words.next().cloned(),
            other if other.starts_with(b"-C") => config = other.get(2..).map(<[u8]>::to_vec),
            b"-D" => options.extend(words.next().map(|value| [b"-D", value.as_slice()].concat())),
            other if other.starts_with(b"-D") => options.push(other.to_vec()),
            _ => {
                // The first one counts.
                wanted.get_or_insert(word.clone());
            }
        }
    }
    let Some(wanted) = wanted.filter(|w| !w.is_empty()) else {
        say!("Usage: exinext <address>|<domain>|<local-part>");
        return 1;
    };
    let wanted = String::from_utf8_lossy(&wanted).into_owned();
    let program = match configuration(config.as_deref()) {
        Ok(program) => program,
        Err(code) => return code,
    };
    let hosts = if MessageId::parse(wanted.as_bytes()).is_some() {
        Vec::new()
    } else {
        let address = address(&wanted, &program.config.main.qualify_recipient);
        if let Some(file) = config {
            options.extend([b"-C".to_vec(), file]);
        }
        match hosts(call, &options, &address) {
            Ok(hosts) => hosts,
            Err(text) => return call.fail(1, text),
        }
    };
    if hosts.is_empty() && wanted.contains(['@', '.']) {
        say!("No remote hosts found for {wanted}");
    }
    let shown = match records(&program.services.spool_directory, &wanted, &hosts) {
        Ok(shown) => shown,
        Err(text) => return call.fail(1, text),
    };
    if shown.is_empty() {
        say!("No retry data found for {wanted}");
    }
    shown.iter().for_each(say);
    0
}

/// What is routed: a domain needs a local part, and the other way round.
fn address(wanted: &str, domain: &str) -> String {
    if wanted.contains('@') {
        wanted.to_owned()
    } else if wanted.contains('.') {
        format!("User@{wanted}")
    } else {
        format!("{wanted}@{domain}")
    }
}

/// The names and addresses of the hosts that an address goes to, as the keys of their records begin.
fn hosts(call: &Call, options: &[Vec<u8>], address: &str) -> Result<Vec<String>, String> {
    let mut command = call.exim();
    command.args(options.iter().map(|o| OsStr::from_bytes(o))).args(["-bt", address]);
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("the address cannot be routed: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut hosts = Vec::new();
    for line in text.lines() {
        if let Some(host) = line.trim_start().strip_prefix("host ") {
            let mut words = host.split_whitespace();
            if let (Some(name), Some(ip)) = (words.next(), words.find(|w| w.starts_with('['))) {
                hosts.push(format!("{name}:{}", ip.trim_matches(['[', ']'])));
            }
        } else if line.contains(" cannot be resolved at this time") || line.contains(" is undeliverable") {
            say!("{line}");
        }
    }
    Ok(hosts)
}

/// What the hints say, by key.
fn records(spool: &std::path::Path, wanted: &str, hosts: &[String]) -> Result<Vec<String>, String> {
    // Without hints nothing waits.
    if !spool.join("db/oxim-hints.sqlite").exists() {
        return Ok(Vec::new());
    }
    let hints = open_in(spool)?;
    let all = hints.scan(&Database::Retry, b"", usize::MAX).map_err(|error| error.to_string())?;
    let mut shown = Vec::new();
    for (key, hint) in all {
        let key = String::from_utf8_lossy(&key).into_owned();
        let Some(record) = RetryRecord::decode(&hint.value) else { continue };
        if concerns(&key, &record, wanted, hosts) {
            shown.push(text(&key, &record, Zone::Local));
        }
    }
    Ok(shown)
}

fn concerns(key: &str, record: &RetryRecord, wanted: &str, hosts: &[String]) -> bool {
    let by_host = key.strip_prefix("T:").is_some_and(|name| {
        hosts.iter().any(|host| {
            name.strip_prefix(host.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    });
    let wanted = wanted.to_lowercase();
    by_host || key.to_lowercase().contains(&wanted) || reason(record).to_lowercase().contains(&wanted)
}

/// A record in exinext's words.
fn text(key: &str, record: &RetryRecord, zone: Zone) -> String {
    let (kind, name) = key.split_at_checked(2).unwrap_or(("", key));
    let what = if kind == "R:" { format!("Route: {name}") } else { format!("Transport: {}", host(name)) };
    let cutoff = if record.expired { "  past final cutoff time\n" } else { "" };
    format!(
        "{what} error {}: {}\n  first failed: {}\n  last tried:   {}\n  next try at:  {}\n{cutoff}",
        record.errno,
        reason(record),
        time(record.first_failed, zone),
        time(record.last_try, zone),
        time(record.next_try, zone),
    )
}

/// `name:ip:port` as `name [ip]:port`, with the message behind it if it is about one; an address as it is.
fn host(key: &str) -> String {
    let (key, message) = match key.rsplit_once(':') {
        Some((rest, id)) if MessageId::parse(id.as_bytes()).is_some() => (rest, format!(" {id}")),
        _ => (key, String::new()),
    };
    let Some((name, rest)) = key.split_once(':') else { return format!("{key}{message}") };
    let (ip, port) = match rest.rsplit_once(':') {
        Some((ip, port)) if ip.parse::<std::net::IpAddr>().is_ok() && port.parse::<u16>().is_ok() => {
            (ip, format!(":{port}"))
        }
        _ => (rest, String::new()),
    };
    if ip.parse::<std::net::IpAddr>().is_ok() {
        format!("{name} [{ip}]{port}{message}")
    } else {
        format!("{key}{message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_hosts() {
        for (key, shown) in [
            ("mx.ex:1.2.3.4", "mx.ex [1.2.3.4]"),
            ("mx.ex:1.2.3.4:2525", "mx.ex [1.2.3.4]:2525"),
            ("mx.ex:2001:db8::1", "mx.ex [2001:db8::1]"),
            ("mx.ex:1.2.3.4:1xUh6V-0007qv-19", "mx.ex [1.2.3.4] 1xUh6V-0007qv-19"),
            ("bob@ok.ex", "bob@ok.ex"),
        ] {
            assert_eq!(host(key), shown);
        }
    }

    #[test]
    fn records_are_found_by_host_and_by_name() {
        let record = RetryRecord { text: "refused".to_owned(), ..RetryRecord::default() };
        let hosts = ["mx.ex:1.2.3.4".to_owned()];
        assert!(concerns("T:mx.ex:1.2.3.4:25", &record, "a@b.ex", &hosts));
        assert!(!concerns("T:mx.ex:1.2.3.44", &record, "a@b.ex", &hosts));
        assert!(concerns("R:b.ex", &record, "B.ex", &[]));
        assert!(!concerns("R:b.ex", &record, "a@b.ex", &[]));
        assert_eq!(address("b.ex", "d"), "User@b.ex");
        assert_eq!(address("loc", "d"), "loc@d");
    }
}

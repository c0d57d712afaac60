//! Oxim beside software that others wrote: clients that send through it, servers that it sends to and that send to it, and
//! the system that looks after its daemon.
//!
//! Each trial is a process in namespaces of its own (mount, network, host name, process ids), so that ports, paths and users
//! are always the same, and all that it started ends with it. `ground` sets the scene. A program that is not installed is
//! said on standard error, and the trial passes; for root it is a failure, since `scripts/test-packages` installs them all.

mod authentication;
mod daemon;
mod dante;
mod dnssec;
mod dovecot;
mod exim4;
mod ground;
mod international;
mod ldap;
mod login_modes;
mod mail_programs;
mod mailbox_programs;
mod opensmtpd;
mod oxim;
mod postfix;
mod prdr;
mod proxies;
mod relay;
mod smtp_clients;
mod spf_suites;
mod syslog;
mod takeover;
mod tls_survey;

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use ground::Ground;

/// The longest that a trial may take, in seconds.
const TRIAL_SECONDS_MAX: &str = "150";

/// A trial and what it needs.
struct Peer {
    name: &'static str,
    /// Programs that must be there: a path, or a folder of target/peers.
    needs: &'static [&'static str],
    needs_root: bool,
    run: fn(&Ground),
}

const fn anyone(name: &'static str, needs: &'static [&'static str], run: fn(&Ground)) -> Peer {
    Peer { name, needs, needs_root: false, run }
}

const fn root(name: &'static str, needs: &'static [&'static str], run: fn(&Ground)) -> Peer {
    Peer { name, needs, needs_root: true, run }
}

const PEERS: &[Peer] = &[
    anyone("clients::swaks", &["/usr/bin/swaks"], smtp_clients::swaks),
    anyone("clients::swaks_is_refused", &["/usr/bin/swaks"], smtp_clients::swaks_is_refused),
    anyone("clients::python_smtplib", &["/usr/bin/python3"], smtp_clients::python_smtplib),
    anyone("clients::international", &["/usr/bin/swaks", "/usr/bin/python3"], international::clients),
    anyone("clients::curl", &["/usr/bin/curl"], smtp_clients::curl),
    anyone("clients::msmtp", &["/usr/bin/msmtp"], smtp_clients::msmtp),
    anyone("authentication::gsasl", &["/usr/bin/gsasl"], authentication::gsasl),
    anyone("authentication::curl", &["/usr/bin/curl"], authentication::curl),
    root("authentication::ntlm_exim4", &["/usr/sbin/exim4"], authentication::ntlm_exim4),
    root("authentication::dovecot", &["/usr/sbin/dovecot", "/usr/bin/gsasl"], authentication::dovecot),
    anyone("login_modes::swaks", &["/usr/bin/swaks", "/usr/share/perl5/Authen/SASL.pm"], login_modes::swaks),
    anyone("login_modes::curl", &["/usr/bin/curl"], login_modes::curl),
    anyone("login_modes::msmtp", &["/usr/bin/msmtp"], login_modes::msmtp),
    anyone("login_modes::gsasl", &["/usr/bin/gsasl", "/usr/bin/python3"], login_modes::gsasl),
    anyone("login_modes::exchanges", &["/usr/bin/python3"], login_modes::exchanges),
    anyone("ldap::conditions", &["/usr/sbin/slapd"], ldap::conditions),
    anyone("tls::testssl", &["/usr/bin/testssl"], tls_survey::testssl),
    anyone("clients::mailx", &["/usr/bin/bsd-mailx"], mail_programs::mailx),
    anyone("clients::git_send_email", &["/usr/lib/git-core/git-send-email"], mail_programs::git_send_email),
    root("next_hop::exim4", &["/usr/sbin/exim4"], exim4::next_hop),
    root("sends_to_us::exim4", &["/usr/sbin/exim4"], exim4::sends_to_us),
    root("prdr::exim4", &["/usr/sbin/exim4"], prdr::with_exim4),
    root("next_hop::postfix", &["postfix"], postfix::next_hop),
    root("sends_to_us::postfix", &["postfix"], postfix::sends_to_us),
    root("international::exim4", &["/usr/sbin/exim4", "/usr/bin/python3"], exim4::international),
    root("international::postfix", &["postfix", "/usr/bin/python3"], postfix::international),
    root("next_hop::opensmtpd", &["opensmtpd"], opensmtpd::next_hop),
    root("sends_to_us::opensmtpd", &["opensmtpd"], opensmtpd::sends_to_us),
    root("proxies::dante", &["/usr/sbin/danted"], dante::proxies),
    anyone("proxies::haproxy", &["/usr/sbin/haproxy", "/usr/bin/swaks"], proxies::haproxy),
    anyone(
        "proxies::nginx",
        &["/usr/lib/nginx/modules/ngx_mail_module.so", "/usr/bin/swaks"],
        proxies::nginx,
    ),
    root(
        "dns::signed_zones",
        &["/usr/sbin/nsd", "/usr/sbin/unbound", "/usr/bin/ldns-signzone"],
        dnssec::signed_zones,
    ),
    root("next_hop::dovecot_lmtp", &["/usr/lib/dovecot/lmtp"], dovecot::next_hop),
    root("mailbox::procmail", &["/usr/bin/procmail"], mailbox_programs::procmail),
    root("mailbox::maildrop", &["/usr/bin/maildrop"], mailbox_programs::maildrop),
    root("mailbox::quota_read_by_others", &["/usr/bin/maildrop", "/usr/bin/doveadm"], dovecot::quota),
    anyone("spf::suites", &[], spf_suites::through_the_acl),
    root("takeover::from_exim", &["/usr/sbin/exim4", "/usr/bin/swaks"], takeover::from_exim),
    root("takeover::from_exim_split", &["/usr/sbin/exim4", "/usr/bin/swaks"], takeover::from_exim_split),
    root(
        "takeover::from_exim_split_no_more",
        &["/usr/sbin/exim4", "/usr/bin/swaks"],
        takeover::from_exim_split_no_more,
    ),
    root("takeover::to_exim", &["/usr/sbin/exim4", "/usr/bin/swaks"], takeover::to_exim),
    root("takeover::to_exim_split", &["/usr/sbin/exim4", "/usr/bin/swaks"], takeover::to_exim_split),
    root("takeover::wire_format", &["/usr/sbin/exim4"], takeover::wire_format),
    root("takeover::long_ids", &["/usr/sbin/exim4"], takeover::long_ids),
    root("takeover::one_at_a_time", &["/usr/sbin/exim4"], takeover::one_at_a_time),
    anyone("daemon::ports_and_interfaces", &[], daemon::ports_and_interfaces),
    anyone("daemon::notification", &[], daemon::notification),
    anyone("daemon::socket_activation", &["/usr/bin/python3"], daemon::socket_activation),
    anyone("daemon::pid_file", &[], daemon::pid_file),
    anyone("daemon::termination_with_open_sessions", &[], daemon::termination_with_open_sessions),
    anyone("daemon::reloads_and_termination_under_load", &[], daemon::reloads_and_termination_under_load),
    anyone("daemon::faulty_reload_is_logged", &[], daemon::faulty_reload_is_logged),
    anyone("daemon::rotation_of_a_delivering_log", &[], daemon::rotation_of_a_delivering_log),
    anyone("daemon::syslog", &[], syslog::entries),
];

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    PEERS.iter().map(|peer| crate::again::trial(format!("peers::{}", peer.name), move || run(peer))).collect()
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

fn run(peer: &Peer) -> Result<(), Failed> {
    if peer.needs_root && !is_root() {
        eprintln!("skipped: peers::{} needs root", peer.name);
        return Ok(());
    }
    if let Some(absent) = peer.needs.iter().find(|need| !ground::is_installed(need)) {
        let why = format!("{absent} is not installed");
        if is_root() {
            return Err(format!("{why}: run scripts/test-packages").into());
        }
        eprintln!("skipped: peers::{}: {why}", peer.name);
        return Ok(());
    }
    if !is_root() && !has_namespaces() {
        eprintln!("skipped: peers::{}: this user may not make namespaces", peer.name);
        return Ok(());
    }
    let work = tempfile::Builder::new().prefix("oxim-peers").tempdir()?;
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", TRIAL_SECONDS_MAX])
        .args(namespaces())
        .arg(std::env::current_exe()?)
        .args(["--peer", peer.name])
        .arg(work.path());
    command.env("RUST_BACKTRACE", "0");
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)).into())
}

/// The command that makes the namespaces of a trial.
fn namespaces() -> Vec<&'static str> {
    let mut words = vec!["unshare", "--mount", "--net", "--uts", "--ipc", "--propagation", "private"];
    words.extend(["--pid", "--fork", "--kill-child", "--mount-proc"]);
    if !is_root() {
        words.extend(["--user", "--map-current-user", "--keep-caps"]);
    }
    words.push("--");
    words
}

/// Some systems do not let ordinary users have any.
fn has_namespaces() -> bool {
    let words = namespaces();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["mount", "-t", "overlay", "overlay", "-o", "lowerdir=/etc:/usr", "/mnt"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// Entry point of `--peer NAME FOLDER`, inside the namespaces.
pub(crate) fn main(name: &str, folder: &str) {
    let peer = PEERS.iter().find(|peer| peer.name == name).unwrap();
    let ground = Ground::set(folder.as_ref(), peer.needs);
    let run = std::panic::AssertUnwindSafe(|| (peer.run)(&ground));
    if std::panic::catch_unwind(run).is_err() {
        eprintln!("{}", ground.notes());
        std::process::exit(1);
    }
}

//! What a DMARC check leaves behind: the log line, the history for aggregate reports, the report of a failure.
//!
//! The history has the format of OpenDMARC 1.4, so that `opendmarc-import` reads it. Failure reports are those of RFC 6591
//! and RFC 9991. Failure modes: what cannot be written or sent is logged, and never holds the message up.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;

use oxim_base::clock::Stamp;
use oxim_deliver::submission::Submission;
use oxim_lang::context::Context;
use oxim_lang::dmarc::DmarcFacts;
use oxim_lang::sender_policy::AuthDns;
use oxim_mail::address::{self, AddressSyntax};
use oxim_mailauth::arc::verify::State;
use oxim_mailauth::dkim::verify::Status;
use oxim_mailauth::dmarc::record::{Alignment, Policy, mailbox};
use oxim_mailauth::dmarc::{Checked, Found, Outcome, takes_reports};

use crate::acl::Run;
use crate::local::submitter;
use crate::log_line::printable;
use crate::reception::Reception;
use crate::talk::Talk;

/// ` DMARC` for the arrival line of a message that is accepted; with `+dmarc_verbose`, its status.
#[must_use]
pub fn arrival_field(reception: &Reception, talk: &Talk) -> String {
    let Some(facts) = talk.scene.context.message.dmarc.as_deref() else { return String::new() };
    if reception.wants.dmarc_verbose {
        return format!(" DMARC={}", facts.word());
    }
    let is_good = facts.word() == "accept";
    if reception.wants.dmarc && is_good { " DMARC".to_owned() } else { String::new() }
}

/// Logs a result, writes it into the history, and sends reports if they are wanted. Nothing if there is no record.
pub(crate) fn follow_up(run: &mut Run<'_>) {
    let Some(facts) = run.scene.context.message.dmarc.clone() else { return };
    let Some((checked, found)) = facts.checked.as_ref().and_then(|c| Some((c, c.found.as_ref()?))) else {
        return;
    };
    let spf_domain = spf_domain(&run.scene.context, &facts);
    run.log_main(&format!(
        "DMARC results: spf_domain={} dmarc_domain={} spf_align={} dkim_align={} enforcement='{}'",
        printable(spf_domain.as_bytes()),
        printable(facts.used_domain.as_bytes()),
        yes_or_no(checked.is_spf_aligned),
        yes_or_no(checked.is_dkim_aligned),
        facts.text()
    ));
    if run.is_host_checking() {
        return;
    }
    write_history(run, &facts, checked, found, &spf_domain);
    let is_refusal = matches!(checked.outcome, Outcome::Fail(Policy::Reject | Policy::Quarantine));
    if is_refusal && run.scene.message.dmarc_enable_forensic {
        send_reports(run, &facts, checked, found);
    }
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// The domain that SPF is about: that of the sender; of the empty sender, the HELO name.
fn spf_domain(context: &Context, facts: &DmarcFacts) -> String {
    if let Some(domain) = &facts.spf_domain {
        return domain.clone();
    }
    let (_, domain) = address::split_at_domain(&context.message.sender);
    let domain = domain.or(context.connection.helo_name.as_deref()).unwrap_or_default();
    String::from_utf8_lossy(domain).into_owned()
}

/// OpenDMARC's numbers of authentication results.
mod result {
    pub(super) const PASS: u8 = 0;
    pub(super) const SOFT_FAIL: u8 = 2;
    pub(super) const NEUTRAL: u8 = 3;
    pub(super) const TEMP_ERROR: u8 = 4;
    pub(super) const PERM_ERROR: u8 = 5;
    pub(super) const NONE: u8 = 6;
    pub(super) const FAIL: u8 = 7;
    pub(super) const UNKNOWN: u8 = 11;
}

fn spf_code(word: &str, is_guessed: bool) -> u8 {
    match word {
        _ if is_guessed => result::NONE,
        "pass" => result::PASS,
        "softfail" => result::SOFT_FAIL,
        "neutral" => result::NEUTRAL,
        "temperror" => result::TEMP_ERROR,
        "permerror" => result::PERM_ERROR,
        "fail" => result::FAIL,
        _ => result::NONE,
    }
}

fn dkim_code(status: Status, is_good: bool) -> u8 {
    match status {
        _ if is_good => result::PASS,
        Status::Pass | Status::BodyHash | Status::Wrong | Status::ShortKey | Status::NotAllowed => {
            result::FAIL
        }
        Status::NotVerified => result::NONE,
        Status::KeyLater => result::TEMP_ERROR,
        Status::NoKey | Status::KeyRecord | Status::KeyData => result::PERM_ERROR,
        Status::Version | Status::Syntax => result::UNKNOWN,
    }
}

fn policy_letter(policy: Option<Policy>) -> u8 {
    match policy {
        Option::None => 0,
        Some(Policy::None) => b'n',
        Some(Policy::Quarantine) => b'q',
        Some(Policy::Reject) => b'r',
    }
}

fn alignment_letter(alignment: Alignment) -> u8 {
    match alignment {
        Alignment::Relaxed => b'r',
        Alignment::Strict => b's',
    }
}

/// OpenDMARC's numbers of the result and of what is done about it.
fn outcome_codes(outcome: Outcome) -> (u8, u8) {
    match outcome {
        Outcome::NoRecord => (14, 2),
        Outcome::Accept => (15, 2),
        Outcome::Fail(Policy::Reject) => (16, 0),
        Outcome::Fail(Policy::Quarantine) => (17, 4),
        Outcome::Fail(Policy::None) => (18, 2),
        Outcome::TempError => (18, 3),
    }
}

/// A word of a line: what would end it is replaced.
fn word(text: &str) -> String {
    let word: String =
        text.chars().map(|c| if c.is_whitespace() || c.is_control() { '?' } else { c }).collect();
    word
}

/// The block of a message in the history.
fn history_block(
    context: &Context,
    facts: &DmarcFacts,
    checked: &Checked,
    found: &Found,
    spf_domain: &str,
    now: i64,
) -> String {
    let id = context.message.id.map(|id| id.to_string()).unwrap_or_default();
    let host = &context.config.main.primary_hostname;
    let client = context.connection.host_address.map(|ip| ip.to_string()).unwrap_or_default();
    let from = word(&facts.from_domain.to_string_lossy());
    let mut out = format!(
        "job {id}\nreporter {host}\nreceived {now}\nipaddr {client}\nfrom {from}\nmfrom {}\n",
        word(spf_domain)
    );
    if let Some(spf) = context.message.spf.as_deref() {
        let _ = writeln!(out, "spf {}", spf_code(spf.result, spf.is_guessed));
    }
    let results = context.message.dkim.as_deref().map(|dkim| dkim.results.as_slice()).unwrap_or_default();
    for one in results.iter().filter(|one| !one.checked.signature.domain.is_empty()) {
        let text = |bytes: &[u8]| word(&String::from_utf8_lossy(bytes));
        let signature = &one.checked.signature;
        let code = dkim_code(one.checked.status, one.is_good());
        let _ = writeln!(out, "dkim {} {} {code}", text(&signature.domain), text(&signature.selector));
    }
    let record = &found.record;
    let (policy, action) = outcome_codes(checked.outcome);
    let _ = writeln!(out, "pdomain {}\npolicy {policy}", word(&found.domain));
    if record.rua.is_empty() {
        out.push_str("rua -\n");
    }
    for uri in &record.rua {
        let _ = writeln!(out, "rua {}", word(&String::from_utf8_lossy(uri)));
    }
    let align = |is: bool| if is { 4 } else { 5 };
    let _ = write!(
        out,
        "pct {}\nadkim {}\naspf {}\np {}\nsp {}\nalign_dkim {}\nalign_spf {}\naction {action}\n{}",
        record.percent,
        alignment_letter(record.dkim),
        alignment_letter(record.spf),
        policy_letter(Some(record.policy)),
        policy_letter(record.of_subdomains),
        align(checked.is_dkim_aligned),
        align(checked.is_spf_aligned),
        arc_lines(context),
    );
    out
}

/// What ARC has to say in the history; OpenDMARC's tools want it of every message.
fn arc_lines(context: &Context) -> String {
    let facts = &context.message.arc;
    // Whether a chain made up for a failure: 1, it was not asked.
    let Some(checked) = &facts.checked else {
        return format!("arc {}\narc_policy 1 json:[]\n", result::NONE);
    };
    let code = match checked.state {
        State::None => result::NONE,
        State::Fail => result::FAIL,
        State::Pass => result::PASS,
    };
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let plain = |text: &[u8]| {
        let text: Vec<u8> = text.iter().copied().filter(is_plain).collect();
        String::from_utf8_lossy(&text).into_owned()
    };
    let stations = checked.stations.iter().enumerate().map(|(index, station)| {
        let (domain, selector) = (plain(&station.domain), plain(&station.selector));
        format!("{{\"i\":{},\"d\":\"{domain}\",\"s\":\"{selector}\"}}", index.saturating_add(1))
    });
    format!("arc {code}\narc_policy 1 json:[{}]\n", stations.collect::<Vec<_>>().join(","))
}

fn write_history(run: &mut Run<'_>, facts: &DmarcFacts, checked: &Checked, found: &Found, spf_domain: &str) {
    let config = std::sync::Arc::clone(&run.scene.context.config);
    let Some(template) = &config.main.dmarc_history_file else { return };
    let name = match run.expand(template) {
        Ok(name) if name.is_empty() => return,
        Ok(name) => name.to_string_lossy(),
        Err(error) => {
            run.log_panic(&format!("failed to expand dmarc_history_file: {error}"));
            return;
        }
    };
    let now = Stamp::now().seconds;
    let block = history_block(&run.scene.context, facts, checked, found, spf_domain, now);
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(&name);
    let Ok(mut file) = file else {
        run.log_panic(&format!("failure to create DMARC history file: {name}"));
        return;
    };
    // One write: blocks of several sessions must not mix.
    if file.write_all(block.as_bytes()).is_err() {
        run.log_panic(&format!("failure to write to DMARC history file: {name}"));
    }
}

fn send_reports(run: &mut Run<'_>, facts: &DmarcFacts, checked: &Checked, found: &Found) {
    let (Some(reception), Some(resolver)) = (run.reception.own.upgrade(), run.reception.resolver.clone())
    else {
        return;
    };
    let (from, sender) = match sender_of_reports(run) {
        Ok(sender) => sender,
        Err(text) => {
            run.log_panic(&text);
            return;
        }
    };
    for uri in found.record.ruf.iter().take(REPORTS_MAX) {
        let Some((to, limit)) = mailbox(uri) else { continue };
        let (_, domain) = address::split_at_domain(&to);
        let domain = String::from_utf8_lossy(domain.unwrap_or_default()).to_ascii_lowercase();
        if !takes_reports(&AuthDns(&resolver), &found.domain, &domain) {
            run.log_main(&format!(
                "DMARC: no report to {}: its domain does not ask for those about {}",
                printable(&to),
                found.domain
            ));
            continue;
        }
        let text = report(&run.scene.context, facts, checked, &from, &to);
        if limit.is_some_and(|limit| limit < text.len() as u64) {
            continue;
        }
        let about = run.scene.context.message.id;
        let submission = Submission {
            sender: sender.clone(),
            recipients: vec![to.clone()],
            text,
            about,
            ..Submission::default()
        };
        if let Err(error) = submitter::submit(&reception, submission) {
            run.log_panic(&format!("failure to send DMARC forensic report to {}: {error}", printable(&to)));
        }
    }
}

/// How many addresses of a record get a report.
const REPORTS_MAX: usize = 10;

/// The From: line of reports and their envelope sender.
fn sender_of_reports(run: &mut Run<'_>) -> Result<(String, Vec<u8>), String> {
    let config = std::sync::Arc::clone(&run.scene.context.config);
    let default = || (format!("do-not-reply@{}", config.main.primary_hostname), Vec::new());
    let Some(template) = &config.main.dmarc_forensic_sender else { return Ok(default()) };
    let text = run.expand(template).map_err(|e| format!("failed to expand dmarc_forensic_sender: {e}"))?;
    let text = text.to_string_lossy();
    if text.trim().is_empty() {
        return Ok(default());
    }
    let parsed = address::parse(text.as_bytes(), &AddressSyntax::default())
        .map_err(|error| format!("dmarc_forensic_sender is no address: \"{text}\": {error}"))?;
    if text.bytes().any(|b| b == b'\n' || b == b'\r') {
        return Err(format!("dmarc_forensic_sender has a line end in it: {text:?}"));
    }
    Ok((text.trim().to_owned(), parsed.address))
}

/// A report of one failure.
fn report(context: &Context, facts: &DmarcFacts, checked: &Checked, from: &str, to: &[u8]) -> Vec<u8> {
    let domain = printable(facts.from_domain.as_bytes());
    let client = context.connection.host_address.map(|ip| ip.to_string()).unwrap_or_default();
    let date = Stamp::now().rfc5322(context.services.zone);
    let id = context.message.id.map(|id| id.to_string()).unwrap_or_default();
    let boundary = format!("=_dmarc-{id}");
    let host = &context.config.main.primary_hostname;
    let (spf, dkim) = (yes_or_no(checked.is_spf_aligned), yes_or_no(checked.is_dkim_aligned));
    let to = printable(to);
    let mut out = format!(
        "Auto-Submitted: auto-generated\nFrom: {from}\nTo: {to}\n\
        Subject: DMARC Forensic Report for {domain} from IP {client}\nMIME-Version: 1.0\n\
        Content-Type: multipart/report; report-type=feedback-report;\n boundary=\"{boundary}\"\n\n\
        --{boundary}\nContent-Type: text/plain; charset=utf-8\n\n\
        A message with an address of {domain} in its From: line came to {host}.\n\
        Neither SPF nor DKIM shows that it is from there, and the DMARC policy\n\
        of the domain was applied to it. Its header lines are attached.\n\n\
        Sender Domain: {domain}\nSender IP Address: {client}\nReceived Date: {date}\n\
        SPF Alignment: {spf}\nDKIM Alignment: {dkim}\nDMARC Results: {}\n\n",
        facts.text()
    );
    let sender = printable(&context.message.sender);
    let _ = write!(
        out,
        "--{boundary}\nContent-Type: message/feedback-report\n\n\
        Feedback-Type: auth-failure\nUser-Agent: Oxim/{}\nVersion: 1\nOriginal-Mail-From: <{sender}>\n\
        Arrival-Date: {date}\nSource-IP: {client}\nReported-Domain: {domain}\nAuth-Failure: dmarc\n\
        Identity-Alignment: spf, dkim\nAuthentication-Results: {host}; {}\n\n\
        --{boundary}\nContent-Type: text/rfc822-headers\n\n",
        env!("CARGO_PKG_VERSION"),
        printable(&facts.authentication_result()),
    );
    let mut out = out.into_bytes();
    for header in context.message.headers.iter_live() {
        out.extend_from_slice(&header.text);
    }
    out.extend_from_slice(format!("\n--{boundary}--\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_history() {
        assert_eq!((spf_code("pass", false), spf_code("pass", true), spf_code("none", false)), (0, 6, 6));
        assert_eq!((dkim_code(Status::Pass, true), dkim_code(Status::NoKey, false)), (0, 5));
        assert_eq!(dkim_code(Status::Pass, false), 7);
        assert_eq!(outcome_codes(Outcome::Fail(Policy::Quarantine)), (17, 4));
        assert_eq!((policy_letter(None), policy_letter(Some(Policy::Reject))), (0, 114));
        assert_eq!(word("a b\nc"), "a?b?c");
    }
}

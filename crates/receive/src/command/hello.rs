//! HELO and EHLO.
//!
//! The syntax check is waived for `helo_accept_junk_hosts`; `helo_verify_hosts` and `helo_try_verify_hosts` compare the name
//! with the calling host; then the HELO ACL runs. A greeting that succeeds resets the transaction. RFC 5321 section 4.1.1.1.

use std::sync::Arc;

use oxim_base::Text;
use oxim_lang::list::Subject;
use oxim_mail::smtp::command::helo_name_is_valid;

use super::Talk;
use crate::acl::{Outcome, Phase, Verdict};
use crate::host_name;
use crate::log_line;
use crate::reception::Reception;
use crate::refusal;
use crate::reply::Reply;
use crate::talk::{Offers, Progress};

pub(super) fn run(
    reception: &Arc<Reception>,
    talk: &mut Talk,
    argument: &[u8],
    is_extended: bool,
) -> Progress {
    let word = if is_extended { "EHLO" } else { "HELO" };
    // Even if it fails: the parameters of MAIL are taken as the client means them.
    talk.is_extended = is_extended;
    let hosts = &reception.settings.hosts;
    let is_valid = helo_name_is_valid(argument, &reception.settings.helo_allow_chars);
    // No list of hosts has a local caller.
    let may_be_junk = !talk.is_local() && hosts.helo_accept_junk.matches(&mut talk.scene.context);
    if !is_valid && !may_be_junk {
        return invalid(reception, talk, argument, word);
    }
    let connection = &mut talk.scene.context.connection;
    connection.helo_name = Some(argument.to_vec());
    connection.helo_verified = false;
    connection.helo_verify_failed = false;
    if !talk.is_local() {
        look_up_liar(reception, talk);
        if let Some(refusal) = verify(reception, talk, word) {
            return refusal;
        }
    }
    let then = move |reception: &Arc<Reception>, talk: &mut Talk, outcome: Outcome| {
        after_acl(reception, talk, &outcome, is_extended)
    };
    Progress::Acl(Phase::Helo, Box::new(then))
}

/// A name that is none. After too many errors the connection is closed without any further reply.
fn invalid(reception: &Arc<Reception>, talk: &mut Talk, argument: &[u8], word: &str) -> Progress {
    let shown =
        if argument.is_empty() { "(no argument given)".to_owned() } else { log_line::printable(argument) };
    let client = log_line::client(reception, talk, false);
    let line = format!("rejected {word} from {client}: syntactically invalid argument(s): {shown}");
    reception.logs.main_and_reject(&line);
    let reply = Reply::new(501, format!("Syntactically invalid {word} argument(s)"));
    talk.counts.errors = talk.counts.errors.saturating_add(1);
    if talk.counts.errors <= reception.settings.limits.synprot_errors_max {
        return Progress::Reply(reply);
    }
    let command = log_line::printable(&talk.scene.context.connection.smtp_command);
    let client = log_line::client(reception, talk, false);
    let line = format!(
        "SMTP call from {client} dropped: too many syntax or protocol errors (last command was \"{command}\",  C={})",
        talk.history_text()
    );
    reception.logs.main_and_reject(&line);
    Progress::Reply(reply.closing())
}

/// `helo_lookup_domains`: who says our name, or another that is listed, is looked up.
fn look_up_liar(reception: &Reception, talk: &mut Talk) {
    let settings = &reception.settings;
    let context = &mut talk.scene.context;
    let name = Text::tainted(context.connection.helo_name.clone().unwrap_or_default());
    if !settings.helo_lookup_domains.may_match(name.as_bytes(), &settings.primary_hostname) {
        return;
    }
    let list = settings.helo_lookup_domains.list();
    if list.matches(context, &Subject::Domain(&name)).is_ok_and(|found| found.is_yes()) {
        host_name::look_up(reception, context);
    }
}

/// Compares the name with the calling host if a list says so; a reply means that the host must be refused.
fn verify(reception: &Arc<Reception>, talk: &mut Talk, word: &str) -> Option<Progress> {
    let hosts = &reception.settings.hosts;
    let must = hosts.helo_verify.matches(&mut talk.scene.context);
    let try_only = !must && hosts.helo_try_verify.matches(&mut talk.scene.context);
    if !must && !try_only {
        return None;
    }
    // The log has the client as it was known before.
    let client = log_line::client(reception, talk, false);
    let verified = host_name::verify_helo(reception, &mut talk.scene.context);
    let connection = &mut talk.scene.context.connection;
    connection.helo_verified = verified == host_name::Helo::Verified;
    connection.helo_verify_failed = !connection.helo_verified;
    if connection.helo_verified || try_only {
        return None;
    }
    let name = log_line::printable(connection.helo_name.as_deref().unwrap_or_default());
    let (code, temporarily, text) = match verified {
        host_name::Helo::Unknown => {
            (451, "temporarily ", "Temporary local problem - please try later".to_owned())
        }
        host_name::Helo::Verified | host_name::Helo::Wrong => {
            (550, "", format!("{word} argument does not match calling host"))
        }
    };
    reception.logs.main_and_reject(&format!("{temporarily}rejected \"{word} {name}\" from {client}"));
    talk.scene.context.connection.helo_name = None;
    Some(Progress::Reply(Reply::new(code, text)))
}

fn after_acl(reception: &Arc<Reception>, talk: &mut Talk, outcome: &Outcome, is_extended: bool) -> Progress {
    if !matches!(outcome.verdict, Verdict::Accept | Verdict::Discard) {
        let name = talk.scene.context.connection.helo_name.clone().unwrap_or_default();
        let what = format!(" {}", log_line::printable(&name));
        let reply = refusal::refuse(reception, talk, Phase::Helo, &what, outcome);
        talk.scene.context.connection.helo_name = None;
        return Progress::Reply(reply);
    }
    talk.reset();
    talk.greeted = true;
    talk.has_greeted_in_tls = talk.is_encrypted;
    let greeting = greeting(reception, talk, outcome);
    talk.offers = Offers { early_pipelining: talk.offers.early_pipelining, ..Offers::default() };
    let mut text = greeting;
    if is_extended {
        offer(reception, talk, &mut text);
    }
    let connection = &mut talk.scene.context.connection;
    connection.protocol = Vec::new();
    let protocol = talk.protocol();
    talk.scene.context.connection.protocol = protocol;
    Progress::Reply(Reply::new(250, text))
}

/// The first line: the ACL's message, or our name and the client's.
fn greeting(reception: &Reception, talk: &Talk, outcome: &Outcome) -> Vec<u8> {
    if let Some(text) = &outcome.user_message {
        let reply = refusal::accepted(reception, 250, "", outcome);
        if let Some(end) = memchr::memchr(b'\n', &reply.text) {
            let shown = text.to_string_lossy().replace('\n', "\\n");
            reception.logs.panic(&format!(
                "EHLO/HELO response must not contain newlines: message truncated: 250 {shown}"
            ));
            return reply.text.get(..end).unwrap_or_default().to_vec();
        }
        return reply.text.into_owned();
    }
    let connection = &talk.scene.context.connection;
    let mut out = format!("{} Hello ", talk.active_hostname(reception)).into_bytes();
    if let Some(ident) = &connection.ident {
        out.extend_from_slice(ident);
        out.extend_from_slice(b" at ");
    }
    let name = connection.host_name.as_ref().or(connection.helo_name.as_ref());
    out.extend_from_slice(name.map(Vec::as_slice).unwrap_or_default());
    if let Some(address) = connection.host_address {
        out.extend_from_slice(format!(" [{address}]").as_bytes());
    }
    out
}

/// The extensions, in Exim's order.
fn offer(reception: &Arc<Reception>, talk: &mut Talk, text: &mut Vec<u8>) {
    let settings = &reception.settings;
    let hosts = &settings.hosts;
    let mut line = |word: &str| {
        text.push(b'\n');
        text.extend_from_slice(word.as_bytes());
    };
    if talk.size_limit > 0 {
        line(&format!("SIZE {}", talk.size_limit));
    } else {
        line("SIZE");
    }
    if hosts.limits.matches(&mut talk.scene.context)
        && let Some(limits) = limits(reception, talk)
    {
        line(&limits);
    }
    if settings.accept_8bitmime {
        line("8BITMIME");
    }
    if hosts.dsn.matches(&mut talk.scene.context) {
        talk.offers.parameters.dsn = true;
        line("DSN");
    }
    let is_customer = talk.scene.context.turnaround.is_some();
    if !is_customer && reception.acls.is_offered(Phase::Atrn, &mut talk.scene.context) {
        talk.offers.atrn = true;
        line("ATRN");
    }
    for (phase, word) in [(Phase::Etrn, "ETRN"), (Phase::Vrfy, "VRFY"), (Phase::Expn, "EXPN")] {
        if reception.acls.is_set(phase) {
            line(word);
        }
    }
    if !talk.scene.connection.no_pipelining && hosts.pipelining.matches(&mut talk.scene.context) {
        talk.offers.pipelining = true;
        line("PIPELINING");
        if talk.offers.early_pipelining {
            line("PIPECONNECT");
        }
    }
    if let Some(mechanisms) = super::auth::advertise(reception, talk) {
        talk.offers.auth = true;
        line(&format!("AUTH {mechanisms}"));
    }
    if hosts.chunking.matches(&mut talk.scene.context) {
        talk.offers.chunking = true;
        line("CHUNKING");
    }
    if !talk.is_encrypted && reception.tls.is_some() && hosts.tls.matches(&mut talk.scene.context) {
        talk.offers.tls = true;
        line("STARTTLS");
    }
    if talk.speaks_for_others || hosts.xclient.matches(&mut talk.scene.context) {
        talk.offers.xclient = true;
        line(&format!("XCLIENT {}", super::xclient::ATTRIBUTES));
    }
    if settings.prdr {
        talk.offers.parameters.prdr = true;
        line("PRDR");
    }
    if settings.accept_8bitmime && hosts.smtputf8.matches(&mut talk.scene.context) {
        talk.offers.parameters.smtputf8 = true;
        line("SMTPUTF8");
    }
    if reception.acls.is_set(Phase::Wellknown) && hosts.wellknown.matches(&mut talk.scene.context) {
        line("WELLKNOWN");
    }
    line("HELP");
}

/// The line of LIMITS (RFC 9422): what ends a session is told beforehand. None: there is no limit.
fn limits(reception: &Reception, talk: &mut Talk) -> Option<String> {
    let settings = &reception.settings;
    let mut text = "LIMITS".to_owned();
    for (word, count) in [("MAILMAX", &settings.messages_max), ("RCPTMAX", &settings.recipients_max)] {
        match count.value(&mut talk.scene.context) {
            Ok(0) => {}
            Ok(count) => text.push_str(&format!(" {word}={count}")),
            Err(reason) => reception.logs.panic(&format!("LIMITS: {reason}")),
        }
    }
    (text.len() > "LIMITS".len()).then_some(text)
}

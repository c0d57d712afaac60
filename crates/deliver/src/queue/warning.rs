//! Reports about messages that are not delivered yet: delay warnings, freeze notices, quota warnings.

use std::fmt::Write as _;

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::context::Context;
use oxim_spool::message::Message;

use crate::bounce::{Letterhead, boundary, references};
use crate::delivery::Delivery;
use crate::report_text::ReportTexts;
use crate::router::SyntaxNotice;
use crate::settle::Deferral;
use crate::submission::{Submission, Submitter};

/// Warns the sender if one of the times of `delay_warning` has passed since the last warning.
///
/// `message.warnings_sent` is raised; the caller writes the message back.
pub(super) fn send_if_due(
    delivery: &Delivery,
    submitter: &dyn Submitter,
    context: &mut Context,
    message: &mut Message,
    deferred: &[Deferral],
) {
    let main = &delivery.config.main;
    let age = delivery.clock_steps.age(message).as_secs();
    let (due, passed) =
        warnings_due(&main.delay_warning.iter().map(std::time::Duration::as_secs).collect::<Vec<_>>(), age);
    if due <= message.warnings_sent || message.sender.is_empty() || deferred.is_empty() {
        return;
    }
    let target_of =
        |d: &Deferral| d.address.propagated.errors_to.clone().unwrap_or_else(|| message.sender.clone());
    let is_told = |d: &&Deferral| !d.address.is_nobodys_error() && d.address.dsn.wants_delay();
    let told: Vec<&Deferral> = deferred.iter().filter(is_told).collect();
    if told.is_empty() || !condition_holds(delivery, context, message, deferred) {
        return;
    }
    let mut targets: Vec<Vec<u8>> = told.iter().map(|d| target_of(d)).collect();
    targets.sort();
    targets.dedup();
    let letterhead = Letterhead::new(delivery, context);
    let delay = delay_text(passed, age);
    context.delivery.warn_message_delay = Some(delay.clone());
    context.delivery.warn_message_recipients = Some(targets.join(&b", "[..]));
    let texts =
        ReportTexts::read(delivery, context, delivery.config.main.warn_message_file.as_ref(), "warning");
    let text = compose(&letterhead, &delivery.config, message, &targets, &told, &delay, &texts);
    let submission =
        Submission { sender: Vec::new(), recipients: targets, text, about: Some(message.id), caller: None };
    match submitter.submit(submission) {
        Ok(_) => message.warnings_sent = due,
        Err(error) => {
            delivery.services.log().panic(format!("{} failed to send a delay warning: {error}", message.id))
        }
    }
}

/// How many of the times have passed, and the last that has; after the last of the list, its interval to the one before it is
/// repeated.
fn warnings_due(times: &[u64], age: u64) -> (u32, u64) {
    let passed = times.iter().filter(|t| **t <= age).count();
    let mut count = u32::try_from(passed).unwrap_or(u32::MAX);
    let mut last = passed.checked_sub(1).and_then(|at| times.get(at)).copied().unwrap_or(0);
    let before = times.len().checked_sub(2).and_then(|at| times.get(at)).copied().unwrap_or(0);
    let interval = last.saturating_sub(before);
    if passed == times.len() && interval > 0 {
        let more = age.saturating_sub(last) / interval;
        count = count.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        last = last.saturating_add(more.saturating_mul(interval));
    }
    (count, last)
}

/// `delay_warning_condition`: a forced failure, nothing, 0, no and false forbid the warning, and so does what is wrong with it.
fn condition_holds(
    delivery: &Delivery,
    context: &mut Context,
    message: &Message,
    deferred: &[Deferral],
) -> bool {
    let Some(template) = &delivery.config.main.delay_warning_condition else { return true };
    let saved = std::mem::replace(&mut context.address.domain, common_domain(deferred));
    let expanded = template.expand(context);
    context.address.domain = saved;
    match expanded {
        Ok(text) => {
            let word = text.trimmed();
            !(word.is_empty() || word == "0" || word.eq_ignore_case(b"no") || word.eq_ignore_case(b"false"))
        }
        Err(error) if error.is_forced() => false,
        Err(error) => {
            delivery.services.log().both(format!(
                "{} failed to expand condition \"{}\" for delay_warning option: {error}",
                message.id,
                template.source()
            ));
            false
        }
    }
}

/// The domain of all, or nothing.
fn common_domain(deferred: &[Deferral]) -> Text {
    let mut domains = deferred.iter().map(|d| &d.address.domain);
    let first = domains.next();
    if domains.all(|domain| Some(domain) == first) {
        Text::tainted(first.map(Vec::as_slice).unwrap_or_default())
    } else {
        Text::default()
    }
}

fn header_value(message: &Message, name: &[u8]) -> Option<String> {
    message.headers.find(name).next().map(|h| String::from_utf8_lossy(h.body()).trim().to_owned())
}

/// The time that has passed, in hours once the message is older than two.
fn delay_text(seconds: u64, age: u64) -> String {
    if age < 120 * 60 { format!("{} minutes", seconds / 60) } else { format!("{} hours", seconds / 3600) }
}

fn compose(
    letterhead: &Letterhead,
    config: &Config,
    message: &Message,
    targets: &[Vec<u8>],
    told: &[&Deferral],
    delay: &str,
    texts: &ReportTexts,
) -> Vec<u8> {
    let boundary = boundary(message);
    let mut out = String::new();
    head(
        &mut out,
        letterhead,
        message,
        &targets.iter().map(|t| String::from_utf8_lossy(t)).collect::<Vec<_>>().join(", "),
    );
    let _ = writeln!(
        out,
        "Content-Type: multipart/report; report-type=delivery-status; boundary={boundary}\nMIME-Version: 1.0"
    );
    match texts.item(0) {
        Some(lines) => out.push_str(lines),
        None => {
            let _ = writeln!(out, "Subject: Warning: message {} delayed {delay}", message.id);
        }
    }
    out.push('\n');
    let _ = writeln!(out, "--{boundary}\nContent-type: {}\n", crate::bounce::text_type(message));
    match texts.item(1) {
        Some(lines) => {
            out.push_str(lines);
            out.push('\n');
        }
        None => opening(&mut out, config, message, targets, told.len(), delay),
    }
    for deferral in told.iter().rev() {
        crate::bounce::list(&mut out, message, &deferral.address, &deferral.error, "Delay reason: ");
    }
    match texts.item(2) {
        Some(lines) => {
            out.push('\n');
            out.push_str(lines);
            out.push('\n');
        }
        None => out.push_str(CLOSING),
    }
    let _ = writeln!(
        out,
        "--{boundary}\nContent-type: {}\n\nReporting-MTA: dns; {}",
        crate::bounce::status_type(message),
        letterhead.host
    );
    if let Some(id) = &message.dsn_envid {
        let _ = writeln!(out, "Original-Envelope-ID: {}", String::from_utf8_lossy(id));
    }
    out.push('\n');
    for deferral in told.iter().rev() {
        if let Some(orcpt) = &deferral.address.dsn.orcpt {
            let _ = writeln!(out, "Original-Recipient: {}", String::from_utf8_lossy(orcpt));
        }
        let address = deferral.address.top().text();
        let kind = crate::bounce::address_type(message.smtputf8, &address);
        let _ = writeln!(out, "Action: delayed\nFinal-Recipient: {kind};{address}\nStatus: 4.0.0");
        crate::bounce::remote_fields(&mut out, &deferral.error);
        out.push('\n');
    }
    let _ = writeln!(out, "--{boundary}\nContent-type: {}\n", crate::bounce::header_type(message));
    let mut text = out.into_bytes();
    text.extend_from_slice(b"Return-path: <");
    text.extend_from_slice(&message.sender);
    text.extend_from_slice(b">\n");
    for header in message.headers.iter_live() {
        text.extend_from_slice(&header.text);
    }
    text.extend_from_slice(format!("\n\n--{boundary}--\n").as_bytes());
    text
}

/// How a warning ends.
const CLOSING: &str = "\nNo action is required on your part. Delivery attempts will continue for\nsome time, and this warning may be repeated at intervals if the message\n\
         remains undelivered. Eventually the mail delivery software will give up,\nand when that happens, the message will be returned to you.\n\n";

/// What stands before the list of addresses.
fn opening(
    out: &mut String,
    config: &Config,
    message: &Message,
    targets: &[Vec<u8>],
    count: usize,
    delay: &str,
) {
    let is_own = targets == [message.sender.clone()];
    let whose = if is_own {
        "that you sent ".to_owned()
    } else {
        format!("sent by\n\n  <{}>\n\n", String::from_utf8_lossy(&message.sender))
    };
    let _ = write!(
        out,
        "This message was created automatically by mail delivery software.\nA message {whose}has not yet been delivered to one or more of its\nrecipients after more than {delay} on the queue on {}.\n\n",
        config.main.primary_hostname
    );
    let _ = writeln!(out, "The message identifier is:     {}", message.id);
    if let Some(subject) = header_value(message, b"Subject") {
        let _ = writeln!(out, "The subject of the message is: {subject}");
    }
    if let Some(date) = header_value(message, b"Date") {
        let _ = writeln!(out, "The date of the message is:    {date}");
    }
    out.push_str(if count == 1 {
        "\nThe address to which the message has not yet been delivered is:\n\n"
    } else {
        "\nThe addresses to which the message has not yet been delivered are:\n\n"
    });
}

/// The lines that every report begins with.
fn head(out: &mut String, letterhead: &Letterhead, message: &Message, to: &str) {
    if let Some(reply_to) = &letterhead.reply_to {
        let _ = writeln!(out, "Reply-To: {reply_to}");
    }
    let _ = writeln!(out, "Auto-Submitted: auto-replied\nFrom: {}\nTo: {to}", letterhead.from);
    if let Some(references) = references(message) {
        let _ = writeln!(out, "References: {references}");
    }
}

/// Tells the postmaster that a message has been frozen (`freeze_tell`).
pub(super) fn frozen_notice(
    letterhead: &Letterhead,
    message: &Message,
    cause: &str,
    recipients: &str,
    waiting: &[(String, String)],
) -> Submission {
    let mut out = String::new();
    head(&mut out, letterhead, message, recipients);
    let _ = writeln!(out, "Subject: Message frozen\n");
    let _ = writeln!(
        out,
        "Message {} has been frozen{cause}.\nThe sender is <{}>.\n",
        message.id,
        String::from_utf8_lossy(&message.sender)
    );
    let _ = writeln!(out, "The following address(es) have yet to be delivered:");
    for (address, why) in waiting {
        let _ = writeln!(out, "  {address}: {why}");
    }
    let recipients =
        recipients.split(',').map(|r| r.trim().as_bytes().to_vec()).filter(|r| !r.is_empty()).collect();
    Submission {
        sender: Vec::new(),
        recipients,
        text: out.into_bytes(),
        about: Some(message.id),
        caller: None,
    }
}

/// The text of `quota_warn_message` as a message: its `To:` line names the recipients.
pub(super) fn quota_warning(letterhead: &Letterhead, message: &Message, text: &[u8]) -> Submission {
    let header_end = text.windows(2).position(|w| w == b"\n\n").unwrap_or(text.len());
    let header = text.get(..header_end).unwrap_or_default();
    let has = |name: &[u8]| {
        header
            .split(|b| *b == b'\n')
            .any(|l| l.get(..name.len()).is_some_and(|n| n.eq_ignore_ascii_case(name)))
    };
    let mut out = b"Auto-Submitted: auto-replied\n".to_vec();
    if !has(b"from:") {
        out.extend_from_slice(format!("From: {}\n", letterhead.from).as_bytes());
    }
    if let Some(reply_to) = letterhead.reply_to.as_ref().filter(|_| !has(b"reply-to:")) {
        out.extend_from_slice(format!("Reply-To: {reply_to}\n").as_bytes());
    }
    out.extend_from_slice(text);
    let to =
        header.split(|b| *b == b'\n').find(|l| l.get(..3).is_some_and(|n| n.eq_ignore_ascii_case(b"to:")));
    let recipients = to.and_then(|l| l.get(3..)).map(|list| {
        list.split(|b| *b == b',').map(|a| a.trim_ascii().to_vec()).filter(|a| !a.is_empty()).collect()
    });
    Submission {
        sender: Vec::new(),
        recipients: recipients.unwrap_or_default(),
        text: out,
        about: Some(message.id),
        caller: None,
    }
}

/// Tells whom `syntax_errors_to` names what was left out of a redirection list.
pub(super) fn syntax_notice(letterhead: &Letterhead, message: &Message, notice: &SyntaxNotice) -> Submission {
    let mut out = String::new();
    head(&mut out, letterhead, message, &String::from_utf8_lossy(&notice.to));
    let _ = writeln!(out, "Subject: error(s) in forwarding or filtering\n");
    if let Some(text) = &notice.text {
        let _ = writeln!(out, "{}\n", String::from_utf8_lossy(text));
    }
    let _ = writeln!(out, "The {} router encountered the following error(s):\n", notice.router);
    for error in &notice.errors {
        let _ = if error.item.is_empty() {
            // A filter's fault.
            writeln!(out, "  {}\n", error.message)
        } else {
            writeln!(out, "  {} in the address\n  \"{}\"\n", error.message, error.item)
        };
    }
    out.push_str(if notice.has_others {
        "Other addresses were processed normally.\n"
    } else {
        "No valid addresses were generated.\n"
    });
    Submission {
        sender: Vec::new(),
        recipients: vec![notice.to.clone()],
        text: out.into_bytes(),
        about: Some(message.id),
        // Exim sends it while it routes, as root.
        caller: Some((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_at_their_times_and_then_at_the_last_interval() {
        let times = [100, 300];
        assert_eq!(warnings_due(&times, 99), (0, 0));
        assert_eq!(warnings_due(&times, 100), (1, 100));
        assert_eq!(warnings_due(&times, 300), (2, 300));
        assert_eq!(warnings_due(&times, 499), (2, 300));
        assert_eq!(warnings_due(&times, 500), (3, 500));
        assert_eq!(warnings_due(&[100], 10_050), (100, 10_000));
        assert_eq!(warnings_due(&[], 10_000), (0, 0));
    }

    #[test]
    fn delays_in_minutes_then_hours() {
        assert_eq!(delay_text(59, 59), "0 minutes");
        assert_eq!(delay_text(7_100, 7_100), "118 minutes");
        assert_eq!(delay_text(86_400, 90_000), "24 hours");
    }
}

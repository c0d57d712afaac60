//! Success reports: what a sender who said NOTIFY=SUCCESS is told (RFC 3461 section 5.2, RFC 3464; manual options `dsn_lasthop`
//! and `dsn_advertise_hosts`).
//!
//! One report for each delivery attempt, with all addresses that the attempt delivered to a mailbox, to a server that does not
//! take over DSN, or redirected. Exim calls all of them delivered; so does this.

use std::fmt::Write as _;

use oxim_spool::message::Message;

use crate::address::Address;
use crate::bounce::{Letterhead, address_type, boundary, header_type, references, status_type, text_type};
use crate::submission::Submission;

/// One address that the sender is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// The address, as the sender wrote it.
    address: String,
    /// ORCPT.
    original: Option<String>,
    /// The server that took it.
    host: Option<String>,
    /// `dsn_lasthop` of the router.
    is_last_hop: bool,
    /// The recipient of the message that it is.
    pub recipient: usize,
}

impl Success {
    /// What there is to tell of an address, if the sender asked for it. `host` is the server that took the message.
    #[must_use]
    pub fn of(address: &Address, host: Option<&str>) -> Option<Success> {
        let dsn = &address.dsn;
        dsn.success.then(|| Success {
            address: address.top().text().into_owned(),
            original: dsn.orcpt.as_ref().map(|orcpt| String::from_utf8_lossy(orcpt).into_owned()),
            host: host.map(str::to_owned),
            is_last_hop: dsn.last_hop,
            recipient: address.recipient,
        })
    }

    /// The words for people.
    fn how(&self) -> &'static str {
        match (self.is_last_hop, &self.host) {
            (true, _) => "relayed via non DSN router",
            (false, Some(_)) => "relayed to non-DSN-aware mailer",
            (false, None) => "relayed via non \"Remote SMTP\" router",
        }
    }

    fn fields(&self, out: &mut String, is_international: bool) {
        if let Some(original) = &self.original {
            let _ = writeln!(out, "Original-Recipient: {original}");
        }
        let kind = address_type(is_international, &self.address);
        let _ = writeln!(out, "Action: delivered\nFinal-Recipient: {kind};{}\nStatus: 2.0.0", self.address);
        match &self.host {
            Some(host) => {
                let _ = writeln!(out, "Remote-MTA: dns; {host}\nDiagnostic-Code: smtp; 250 Ok");
            }
            None => {
                let kind = if self.is_last_hop { "DSN" } else { "SMTP" };
                let _ = writeln!(out, "Diagnostic-Code: X-Exim; relayed via non {kind} router");
            }
        }
        out.push('\n');
    }
}

/// Makes the report.
#[must_use]
pub fn compose(head: &Letterhead, message: &Message, successes: &[Success]) -> Submission {
    let boundary = boundary(message);
    let mut out = String::new();
    if let Some(reply_to) = &head.reply_to {
        let _ = writeln!(out, "Reply-To: {reply_to}");
    }
    let to = String::from_utf8_lossy(&message.sender);
    let _ = writeln!(
        out,
        "From: {}\nAuto-Submitted: auto-generated\nTo: {to}\nSubject: Delivery Status Notification",
        head.from
    );
    if let Some(references) = references(message) {
        let _ = writeln!(out, "References: {references}");
    }
    let _ = writeln!(
        out,
        "Content-Type: multipart/report; report-type=delivery-status; boundary={boundary}\nMIME-Version: 1.0\n"
    );
    let _ = writeln!(out, "--{boundary}\nContent-type: {}\n", text_type(message));
    out.push_str(
        "This message was created automatically by mail delivery software.\n ----- The following addresses had successful delivery notifications -----\n",
    );
    for success in successes {
        let _ = writeln!(out, "<{}> ({})\n", success.address, success.how());
    }
    let _ = writeln!(
        out,
        "--{boundary}\nContent-type: {}\n\nReporting-MTA: dns; {}",
        status_type(message),
        head.host
    );
    if let Some(id) = &message.dsn_envid {
        let _ = writeln!(out, "Original-Envelope-ID: {}", String::from_utf8_lossy(id));
    }
    out.push('\n');
    for success in successes {
        success.fields(&mut out, message.smtputf8);
    }
    let _ = writeln!(out, "--{boundary}\nContent-type: {}\n", header_type(message));
    let mut text = out.into_bytes();
    text.extend_from_slice(b"Return-path: <");
    text.extend_from_slice(&message.sender);
    text.extend_from_slice(b">\n");
    for header in message.headers.iter_live() {
        text.extend_from_slice(&header.text);
    }
    text.extend_from_slice(format!("\n\n--{boundary}--\n").as_bytes());
    Submission {
        sender: Vec::new(),
        recipients: vec![message.sender.clone()],
        text,
        about: Some(message.id),
        caller: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last_hop: bool) -> Address {
        let mut address = Address::recipient("Bob@t.ex", 0);
        address.dsn.success = true;
        address.dsn.last_hop = last_hop;
        address
    }

    #[test]
    fn only_who_asked_is_told_and_how_says_where_the_message_went() {
        assert_eq!(Success::of(&Address::recipient("a@b", 0), None), None);
        let how = |last_hop, host| Success::of(&address(last_hop), host).unwrap().how();
        assert_eq!(how(false, None), "relayed via non \"Remote SMTP\" router");
        assert_eq!(how(false, Some("mx")), "relayed to non-DSN-aware mailer");
        assert_eq!(how(true, Some("mx")), "relayed via non DSN router");
    }

    #[test]
    fn fields_name_the_server_if_there_was_one() {
        let mut out = String::new();
        Success::of(&address(false), Some("mx.ex")).unwrap().fields(&mut out, true);
        assert_eq!(
            out,
            "Action: delivered\nFinal-Recipient: rfc822;Bob@t.ex\nStatus: 2.0.0\nRemote-MTA: dns; mx.ex\nDiagnostic-Code: smtp; 250 Ok\n\n"
        );
    }
}

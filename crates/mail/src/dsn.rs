//! Delivery status notifications: what a client may ask for (RFC 3461) and the report that is sent (RFC 3464).
//!
//! Failure: values of parameters that are malformed parse to None.

use std::fmt;

/// `NOTIFY=`: when a recipient's sender wants to hear. No flag at all means the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// Never; excludes the others.
    pub never: bool,
    /// On success.
    pub success: bool,
    /// On failure.
    pub failure: bool,
    /// On delay.
    pub delay: bool,
}

impl Notify {
    /// Reads the value; None if a word is unknown, or NEVER is not alone.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Notify> {
        if value.eq_ignore_ascii_case(b"NEVER") {
            return Some(Notify { never: true, ..Notify::default() });
        }
        let mut notify = Notify::default();
        // Exim takes a comma at the end.
        for word in value.strip_suffix(b",").unwrap_or(value).split(|b| *b == b',') {
            match word.to_ascii_uppercase().as_slice() {
                b"SUCCESS" => notify.success = true,
                b"FAILURE" => notify.failure = true,
                b"DELAY" => notify.delay = true,
                _ => return None,
            }
        }
        Some(notify)
    }

    /// No wish was stated.
    #[must_use]
    pub fn is_default(self) -> bool {
        self == Notify::default()
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.never, "NEVER"),
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let given: Vec<&str> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        f.write_str(&given.join(","))
    }
}

/// `RET=`: how much of a message comes back with a failure report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Return {
    /// FULL: all of it.
    Full,
    /// HDRS: its header.
    Headers,
}

impl Return {
    /// Reads the value.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Return> {
        if value.eq_ignore_ascii_case(b"FULL") {
            Some(Return::Full)
        } else if value.eq_ignore_ascii_case(b"HDRS") {
            Some(Return::Headers)
        } else {
            None
        }
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Return::Full => "FULL",
            Return::Headers => "HDRS",
        }
    }
}

/// Encodes as xtext (RFC 3461 section 4): what is not printing ASCII, and `+` and `=`, as `+XX`.
#[must_use]
pub fn xtext_encode(text: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_graphic() && byte != b'+' && byte != b'=' {
            out.push(byte);
        } else {
            out.extend([b'+', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// Decodes xtext; hexadecimal digits in either case. None if a `+` lacks its digits or a character may not be there.
#[must_use]
pub fn xtext_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let mut digit = || {
                    bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
                };
                let (high, low) = (digit()?, digit()?);
                out.push(high << 4 | low);
            }
            b'!'..=b'~' if byte != b'=' => out.push(byte),
            _ => return None,
        }
    }
    Some(out)
}

/// What happened to a recipient (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It will not be delivered.
    Failed,
    /// It is being tried still.
    Delayed,
    /// It was delivered.
    Delivered,
    /// It was passed to a system that sends no reports.
    Relayed,
    /// It was delivered to several addresses.
    Expanded,
}

impl Action {
    /// The word in the Action field.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }
}

/// The fields about one recipient.
#[derive(Clone, Debug)]
pub struct RecipientReport<'a> {
    /// Original-Recipient: the ORCPT value, type and address.
    pub original_recipient: Option<&'a [u8]>,
    /// Final-Recipient: the address, without type.
    pub final_recipient: &'a [u8],
    /// Action.
    pub action: Action,
    /// Status, such as `5.0.0`.
    pub status: &'a str,
    /// Remote-MTA: the host that answered.
    pub remote_mta: Option<&'a [u8]>,
    /// Diagnostic-Code: the SMTP reply of that host.
    pub smtp_reply: Option<&'a [u8]>,
    /// Will-Retry-Until: an RFC 5322 date.
    pub will_retry_until: Option<&'a str>,
}

/// The text of a message/delivery-status part: first the message, then each recipient after an empty line.
#[derive(Clone, Debug, Default)]
pub struct StatusReport {
    text: Vec<u8>,
}

impl StatusReport {
    /// Begins a report of the host `reporting_mta` on a message with this ENVID (still in xtext) and arrival date.
    #[must_use]
    pub fn new(reporting_mta: &[u8], envelope_id: Option<&[u8]>, arrival_date: Option<&str>) -> StatusReport {
        let mut report = StatusReport::default();
        report.field("Reporting-MTA: dns; ", reporting_mta);
        if let Some(id) = envelope_id {
            let decoded = xtext_decode(id).unwrap_or_else(|| id.to_vec());
            report.field("Original-Envelope-ID: ", &decoded);
        }
        if let Some(date) = arrival_date {
            report.field("Arrival-Date: ", date.as_bytes());
        }
        report.text.push(b'\n');
        report
    }

    /// Adds a recipient.
    pub fn recipient(&mut self, recipient: &RecipientReport<'_>) {
        if let Some(original) = recipient.original_recipient {
            let decoded = xtext_decode(original).unwrap_or_else(|| original.to_vec());
            self.field("Original-Recipient: ", &decoded);
        }
        self.field("Action: ", recipient.action.as_str().as_bytes());
        self.field("Final-Recipient: rfc822;", recipient.final_recipient);
        self.field("Status: ", recipient.status.as_bytes());
        if let Some(host) = recipient.remote_mta {
            self.field("Remote-MTA: dns; ", host);
        }
        if let Some(reply) = recipient.smtp_reply {
            self.field("Diagnostic-Code: smtp; ", reply);
        }
        if let Some(date) = recipient.will_retry_until {
            self.field("Will-Retry-Until: ", date.as_bytes());
        }
        self.text.push(b'\n');
    }

    /// The text so far, with LF line endings.
    #[must_use]
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }

    /// A field on one line: control characters become spaces, so that no value can begin a field of its own.
    fn field(&mut self, name: &str, value: &[u8]) {
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend(value.iter().map(|&b| if b.is_ascii_control() { b' ' } else { b }));
        self.text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        let encoded = xtext_encode(&all);
        assert!(encoded.is_ascii() && !encoded.contains(&b'='));
        assert_eq!(xtext_decode(&encoded), Some(all));
        assert_eq!(xtext_decode(b"a+2bb"), Some(b"a+b".to_vec()));
        for bad in ["a+", "a+2", "a+zz", "a b", "a=b", "\u{e9}"] {
            assert_eq!(xtext_decode(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_report_has_the_fields_of_exims_in_its_order() {
        let mut report = StatusReport::new(b"h.ex", Some(b"ab+20c"), None);
        report.recipient(&RecipientReport {
            original_recipient: Some(b"rfc822;orig@x"),
            final_recipient: b"nobody@h.ex",
            action: Action::Failed,
            status: "5.0.0",
            remote_mta: None,
            smtp_reply: Some(b"550 no\nX-Evil: y"),
            will_retry_until: None,
        });
        assert_eq!(
            String::from_utf8(report.into_text()).unwrap(),
            "Reporting-MTA: dns; h.ex\nOriginal-Envelope-ID: ab c\n\nOriginal-Recipient: rfc822;orig@x\n\
             Action: failed\nFinal-Recipient: rfc822;nobody@h.ex\nStatus: 5.0.0\n\
             Diagnostic-Code: smtp; 550 no X-Evil: y\n\n"
        );
    }
}

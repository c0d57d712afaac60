//! log_selector: which optional entries and fields are logged (manual section 53.15).

use std::fmt;

macro_rules! selectors {
    ($($constant:ident, $name:literal, $default:literal, $doc:literal;)*) => {
        /// One name of log_selector.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Selector {
            $(#[doc = $doc] $constant,)*
        }

        /// All names, with whether they are on by default, and what they do.
        pub static SELECTORS: &[(Selector, &str, bool, &str)] =
            &[$((Selector::$constant, $name, $default, $doc),)*];
    };
}

selectors! {
    EightBitMime, "8bitmime", false, "Received 8BITMIME status.";
    AclWarnSkipped, "acl_warn_skipped", true, "Skipped warn statement in an ACL.";
    AddressRewrite, "address_rewrite", false, "Address rewriting.";
    AllParents, "all_parents", false, "All parents in => lines.";
    Arguments, "arguments", false, "Command line arguments.";
    ConnectionId, "connection_id", false, "Connection identifier, Ci= (since 4.97).";
    ConnectionReject, "connection_reject", true, "Connection rejections.";
    DelayDelivery, "delay_delivery", true, "Immediate delivery delayed.";
    DeliverTime, "deliver_time", false, "Time taken to attempt delivery, DT=.";
    DeliverySize, "delivery_size", false, "Message size in => lines, S=.";
    Dkim, "dkim", true, "DKIM verified domain on <= lines.";
    DkimVerbose, "dkim_verbose", false, "A line per DKIM signature with its full result.";
    Dmarc, "dmarc", false, "DMARC pass marker on <= lines (newer than 4.96).";
    DmarcVerbose, "dmarc_verbose", false, "DMARC status on <= lines (newer than 4.96).";
    DnslistDefer, "dnslist_defer", true, "Defers of DNS list lookups.";
    Dnssec, "dnssec", false, "Lookups secured by DNSSEC, DS.";
    Etrn, "etrn", true, "ETRN commands.";
    HostLookupFailed, "host_lookup_failed", true, "Failed host look-ups.";
    IdentTimeout, "ident_timeout", false, "Timeouts of ident connections.";
    IncomingInterface, "incoming_interface", false, "Local interface on <= and => lines, I=.";
    IncomingPort, "incoming_port", false, "Remote port on <= lines.";
    LostIncomingConnection, "lost_incoming_connection", true, "Connections lost or timed out.";
    Millisec, "millisec", false, "Milliseconds in time stamps and intervals.";
    MsgId, "msg_id", true, "Message-ID on <= lines, id=.";
    MsgIdCreated, "msg_id_created", false, "Message-ID on <= lines where one was made, id*=.";
    OutgoingInterface, "outgoing_interface", false, "Local interface on => lines, I=.";
    OutgoingPort, "outgoing_port", false, "Remote port on => lines.";
    Pid, "pid", false, "Process id in every line.";
    Pipelining, "pipelining", false, "Use of PIPELINING, L.";
    Proxy, "proxy", false, "Proxy address on <= and => lines, PRX=.";
    QueueRun, "queue_run", true, "Start and end of queue runs.";
    QueueTime, "queue_time", false, "Time on the queue for one recipient, QT=.";
    QueueTimeExclusive, "queue_time_exclusive", false, "Queue times without the time of reception.";
    QueueTimeOverall, "queue_time_overall", false, "Time on the queue for the whole message.";
    ReceiveTime, "receive_time", false, "Time taken to receive the message, RT=.";
    ReceivedRecipients, "received_recipients", false, "Recipients on <= lines.";
    ReceivedSender, "received_sender", false, "Sender on <= lines.";
    RejectedHeader, "rejected_header", true, "Header contents in the reject log.";
    RetryDefer, "retry_defer", true, "\"retry time not reached\".";
    ReturnPathOnDelivery, "return_path_on_delivery", false, "Return path on => and ** lines, P=.";
    SenderOnDelivery, "sender_on_delivery", false, "Sender on => lines, F=.";
    SenderVerifyFail, "sender_verify_fail", true, "Failures of sender verification.";
    SizeReject, "size_reject", true, "Rejections because a message is too big.";
    SkipDelivery, "skip_delivery", true, "Deliveries skipped in a queue run.";
    SmtpConfirmation, "smtp_confirmation", true, "SMTP confirmation on => lines, C=.";
    SmtpConnection, "smtp_connection", false, "Incoming SMTP connections.";
    SmtpIncompleteTransaction, "smtp_incomplete_transaction", false, "Incomplete SMTP transactions.";
    SmtpMailauth, "smtp_mailauth", false, "AUTH argument of MAIL commands.";
    SmtpNoMail, "smtp_no_mail", false, "Sessions without MAIL commands.";
    SmtpProtocolError, "smtp_protocol_error", false, "SMTP protocol errors.";
    SmtpSyntaxError, "smtp_syntax_error", false, "SMTP syntax errors.";
    Spf, "spf", false, "SPF pass marker on <= lines (newer than 4.96).";
    SpfVerbose, "spf_verbose", false, "SPF result on <= lines (newer than 4.96).";
    Subject, "subject", false, "Contents of Subject: on <= lines, T=.";
    TlsCertificateVerified, "tls_certificate_verified", true, "Certificate verification status, CV=.";
    TlsCipher, "tls_cipher", true, "TLS cipher suite, X=.";
    TlsOnConnect, "tls_on_connect", false, "TLS-on-connect marker (newer than 4.96).";
    TlsPeerdn, "tls_peerdn", false, "Distinguished name of the TLS peer, DN=.";
    TlsResumption, "tls_resumption", false, "Asterisk on the cipher field for resumed sessions.";
    TlsSni, "tls_sni", false, "TLS server name indication on <= lines, SNI=.";
    UnknownInList, "unknown_in_list", false, "DNS lookups that failed in list matches.";
}

impl Selector {
    fn bit(self) -> u128 {
        1_u128.checked_shl(u32::from(self as u8)).unwrap_or(0)
    }
}

/// A set of selectors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogSelectors(u128);

/// Why log_selector cannot be read, in Exim's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorError {
    /// There is no such name; with its sign.
    Unknown(String),
    /// Neither `+` nor `-` where one belongs; the rest of the option.
    Malformed(String),
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SelectorError::Unknown(word) => write!(f, "unknown log_selector setting: {word}"),
            SelectorError::Malformed(rest) => {
                write!(f, "malformed log_selector setting: + or - expected but found \"{rest}\"")
            }
        }
    }
}

impl std::error::Error for SelectorError {}

impl Default for LogSelectors {
    fn default() -> LogSelectors {
        let on = SELECTORS.iter().filter(|(_, _, default, _)| *default);
        LogSelectors(on.fold(0, |bits, (selector, ..)| bits | selector.bit()))
    }
}

impl fmt::Debug for LogSelectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(SELECTORS.iter().filter(|s| self.has(s.0)).map(|s| s.1)).finish()
    }
}

impl LogSelectors {
    /// Whether this one is on.
    #[must_use]
    pub fn has(self, selector: Selector) -> bool {
        self.0 & selector.bit() != 0
    }

    /// The same set with one switched on or off.
    #[must_use]
    pub fn with(self, selector: Selector, is_on: bool) -> LogSelectors {
        LogSelectors(if is_on { self.0 | selector.bit() } else { self.0 & !selector.bit() })
    }

    /// Reads the option, from the defaults on: names with signs, `all` among them.
    ///
    /// # Errors
    /// The first word that is unknown or has no sign.
    pub fn parse(option: &str) -> Result<LogSelectors, SelectorError> {
        let mut set = LogSelectors::default();
        let mut rest = option.trim_start();
        while !rest.is_empty() {
            let (sign, tail) = match rest.split_at_checked(1) {
                Some((sign @ ("+" | "-"), tail)) => (sign, tail.trim_start()),
                Some(_) | None => return Err(SelectorError::Malformed(rest.to_owned())),
            };
            let end = tail.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(tail.len());
            let (word, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
            let is_on = sign == "+";
            if word == "all" {
                set = SELECTORS.iter().fold(set, |set, (selector, ..)| set.with(*selector, is_on));
            } else {
                let found = SELECTORS.iter().find(|(_, name, ..)| *name == word);
                let (selector, ..) = found.ok_or_else(|| SelectorError::Unknown(format!("{sign}{word}")))?;
                set = set.with(*selector, is_on);
            }
            rest = after.trim_start();
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_change_the_defaults_in_order() {
        let set = LogSelectors::parse("+all -pid").unwrap();
        assert!(set.has(Selector::UnknownInList) && !set.has(Selector::Pid));
        let set = LogSelectors::parse("-all +pid").unwrap();
        assert_eq!(SELECTORS.iter().filter(|s| set.has(s.0)).map(|s| s.1).collect::<Vec<_>>(), ["pid"]);
        let set = LogSelectors::parse("+pid-millisec -size_reject").unwrap();
        assert!(set.has(Selector::Pid) && !set.has(Selector::SizeReject) && set.has(Selector::MsgId));
        assert_eq!(LogSelectors::parse("").unwrap(), LogSelectors::default());
    }

    #[test]
    fn errors_are_exims() {
        let text = |option| LogSelectors::parse(option).unwrap_err().to_string();
        assert_eq!(text("+foo"), "unknown log_selector setting: +foo");
        assert_eq!(text("+all -foo"), "unknown log_selector setting: -foo");
        assert_eq!(text("pid"), "malformed log_selector setting: + or - expected but found \"pid\"");
    }

    #[test]
    fn each_name_has_a_bit_of_its_own() {
        let mut names: Vec<&str> = SELECTORS.iter().map(|s| s.1).collect();
        names.dedup();
        assert_eq!(names.len(), SELECTORS.len());
        let all = SELECTORS.iter().fold(0_u128, |bits, s| bits | s.0.bit());
        assert_eq!(usize::try_from(all.count_ones()).unwrap(), SELECTORS.len());
    }
}

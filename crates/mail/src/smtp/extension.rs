//! What a server offers in its answer to EHLO (RFC 5321 section 4.1.1.1 and the RFCs of each extension).
//!
//! Unknown keywords are passed over, as are parameters that make no sense. Nothing fails.

use super::command::decimal;
use super::reply::Reply;

/// Most AUTH mechanisms of one server that are kept.
const MECHANISMS_MAX: usize = 64;

/// The extensions of a server, or of a server as far as it is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE: offered at all.
    pub size: bool,
    /// SIZE: the limit in bytes, if one above 0 was stated.
    pub size_bytes_max: Option<u64>,
    /// 8BITMIME.
    pub eight_bit_mime: bool,
    /// PIPELINING.
    pub pipelining: bool,
    /// CHUNKING.
    pub chunking: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// AUTH: the mechanisms in capitals, in order. Also from the old form `AUTH=`.
    pub auth: Vec<String>,
    /// DSN.
    pub dsn: bool,
    /// PRDR.
    pub prdr: bool,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// X_PIPE_CONNECT or PIPECONNECT: early pipelining.
    pub pipe_connect: bool,
    /// ENHANCEDSTATUSCODES.
    pub enhanced_status_codes: bool,
    /// IGNOREQUOTA of LMTP.
    pub ignore_quota: bool,
    /// ATRN.
    pub atrn: bool,
    /// LIMITS (RFC 9422).
    pub limits: Limits,
}

/// The values of LIMITS; None if not stated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// MAILMAX: messages on a connection.
    pub mail_max: Option<u32>,
    /// RCPTMAX: recipients of a message.
    pub rcpt_max: Option<u32>,
    /// RCPTDOMAINMAX: domains among the recipients of a message.
    pub rcpt_domain_max: Option<u32>,
}

impl Extensions {
    /// Reads the answer to EHLO or LHLO. The first line is a greeting and says nothing.
    #[must_use]
    pub fn parse(reply: &Reply) -> Extensions {
        let mut found = Extensions::default();
        for line in reply.lines.iter().skip(1) {
            let text = String::from_utf8_lossy(line).to_ascii_uppercase();
            let mut words = text.split_ascii_whitespace();
            if let Some(keyword) = words.next() {
                found.take(keyword, words);
            }
        }
        found
    }

    fn take<'a>(&mut self, keyword: &'a str, words: impl Iterator<Item = &'a str>) {
        if let Some(first) = keyword.strip_prefix("AUTH=") {
            return self.mechanisms(Some(first).into_iter().filter(|w| !w.is_empty()).chain(words));
        }
        match keyword {
            "AUTH" => self.mechanisms(words),
            "SIZE" => self.size_limit(words),
            "LIMITS" => self.limits(words),
            "8BITMIME" => self.eight_bit_mime = true,
            "PIPELINING" => self.pipelining = true,
            "CHUNKING" => self.chunking = true,
            "STARTTLS" => self.starttls = true,
            "DSN" => self.dsn = true,
            "PRDR" => self.prdr = true,
            "SMTPUTF8" => self.smtputf8 = true,
            "X_PIPE_CONNECT" | "PIPECONNECT" => self.pipe_connect = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status_codes = true,
            "IGNOREQUOTA" => self.ignore_quota = true,
            "ATRN" => self.atrn = true,
            _ => {}
        }
    }

    fn mechanisms<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            if self.auth.len() < MECHANISMS_MAX && !self.auth.iter().any(|known| known == word) {
                self.auth.push(word.to_owned());
            }
        }
    }

    fn size_limit<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) {
        self.size = true;
        self.size_bytes_max = words.next().and_then(|w| decimal(w.as_bytes())).filter(|n| *n > 0);
    }

    fn limits<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let number = decimal(value.as_bytes()).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
            match name {
                "MAILMAX" => self.limits.mail_max = number,
                "RCPTMAX" => self.limits.rcpt_max = number,
                "RCPTDOMAINMAX" => self.limits.rcpt_domain_max = number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let reply = Reply::new(
            250,
            "DSN.ex Hello\nSIZE 52428800\n8bitmime\nAUTH PLAIN Login\nAUTH=LOGIN CRAM-MD5\nCHUNKING\nPRDR\n\
             LIMITS MAILMAX=10 rcptmax=x RCPTDOMAINMAX=1 FOO=1\nX-UNKNOWN\n\nHELP",
        );
        let found = Extensions::parse(&reply);
        assert_eq!((found.size, found.size_bytes_max), (true, Some(52_428_800)));
        assert!(found.eight_bit_mime && found.chunking && found.prdr);
        assert!(!found.dsn && !found.starttls && !found.pipelining);
        assert_eq!(found.auth, ["PLAIN", "LOGIN", "CRAM-MD5"]);
        assert_eq!(found.limits, Limits { mail_max: Some(10), rcpt_max: None, rcpt_domain_max: Some(1) });
    }

    #[test]
    fn a_size_without_limit() {
        for text in ["h\nSIZE", "h\nSIZE 0", "h\nSIZE x"] {
            let found = Extensions::parse(&Reply::new(250, text));
            assert_eq!((found.size, found.size_bytes_max), (true, None));
        }
    }
}

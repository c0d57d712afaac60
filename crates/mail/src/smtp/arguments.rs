//! The parameters of MAIL and RCPT (RFC 5321 section 4.1.2, RFC 3461, 1870, 6152, 4954, 6531 and PRDR).
//!
//! They are taken off the right end, one by one, as Exim does; the first word that is no parameter of an extension
//! that was offered stays, and with everything before it is the address, so that a bad word shows up in the error
//! of the address parser. Failure: an `ArgumentError`, whose text is the 501 reply.

use std::fmt;

use oxim_base::limits::{AUTH_PARAMETER_BYTES_MAX, ENVID_BYTES_MAX, ORCPT_BYTES_MAX};

use super::command::decimal;
use crate::dsn::{Notify, Return, xtext_decode};

/// Which extensions the EHLO answer offered; parameters of others are no parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// DSN (`dsn_advertise_hosts`): NOTIFY, ORCPT; RET and ENVID, which mean nothing without it.
    pub dsn: bool,
    /// PRDR (`prdr_enable`).
    pub prdr: bool,
    /// 8BITMIME (`accept_8bitmime`); BODY means nothing without it.
    pub eight_bit: bool,
    /// SMTPUTF8 (`smtputf8_advertise_hosts`).
    pub smtputf8: bool,
}

/// Value of BODY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

/// What follows MAIL FROM:.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailArguments {
    /// The address, as written.
    pub path: Vec<u8>,
    /// SIZE, in bytes; a value that is too large to hold is `u64::MAX`, one that is no number is 0.
    pub size: Option<u64>,
    /// BODY.
    pub body: Option<Body>,
    /// AUTH, decoded from xtext; `<>` is kept as it is.
    pub auth: Option<Vec<u8>>,
    /// RET.
    pub ret: Option<Return>,
    /// ENVID, still in xtext.
    pub envid: Option<Vec<u8>>,
    /// PRDR was asked for.
    pub prdr: bool,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
}

/// What follows RCPT TO:.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptArguments {
    /// The address, as written.
    pub path: Vec<u8>,
    /// NOTIFY; None if it was not given, or without a value.
    pub notify: Option<Notify>,
    /// ORCPT, type and address, still in xtext.
    pub orcpt: Option<Vec<u8>>,
}

/// A parameter with a bad value. The text is the 501 reply without its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentError {
    /// BODY is neither 7BIT nor 8BITMIME.
    PeerBody,
    /// AUTH is not valid xtext.
    PeerAuth,
    /// RET is neither FULL nor HDRS.
    PeerRet,
    /// NOTIFY has an unknown word, or NEVER with others.
    PeerNotify,
    /// SMTPUTF8 without having been offered.
    PeerSmtputf8,
    /// A parameter is there twice.
    PeerTwice(&'static str),
    /// A parameter is longer than its RFC allows.
    PeerTooLong(&'static str),
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ArgumentError::PeerBody => f.write_str("invalid data for BODY"),
            ArgumentError::PeerAuth => f.write_str("invalid data for AUTH"),
            ArgumentError::PeerRet => f.write_str("Value for RET is invalid"),
            ArgumentError::PeerNotify => f.write_str("Invalid value for NOTIFY parameter"),
            ArgumentError::PeerSmtputf8 => f.write_str("SMTPUTF8 used when not advertised"),
            ArgumentError::PeerTwice(name) => write!(f, "{name} can be specified once only"),
            ArgumentError::PeerTooLong(name) => write!(f, "{name} is too long"),
        }
    }
}

impl std::error::Error for ArgumentError {}

/// A word at the right end that may be a parameter.
struct Parameter<'a> {
    before: &'a [u8],
    name: &'a [u8],
    /// None without `=`.
    value: Option<&'a [u8]>,
}

impl<'a> Parameter<'a> {
    /// The last word of the text, if something stands before it.
    fn last(text: &'a [u8]) -> Option<Parameter<'a>> {
        let text = text.trim_ascii_end();
        let at = text.iter().rposition(u8::is_ascii_whitespace)?;
        let before = text.get(..at)?.trim_ascii_end();
        let word = text.get(at.saturating_add(1)..)?;
        let (name, value) = match memchr::memchr(b'=', word) {
            Some(at) => (word.get(..at)?, Some(word.get(at.saturating_add(1)..)?)),
            None => (word, None),
        };
        // A second "=" or a quote cannot be part of a value: the word may lie within a quoted local part.
        let odd = value.is_some_and(|v| v.iter().any(|b| matches!(b, b'=' | b'"')));
        (!odd && !before.is_empty() && !name.is_empty()).then_some(Parameter { before, name, value })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    fn text(&self) -> &'a [u8] {
        self.value.unwrap_or_default()
    }
}

/// Takes the argument of MAIL FROM: apart.
///
/// # Errors
/// A parameter of an offered extension with a bad value.
pub fn mail_arguments(argument: &[u8], offered: &Offered) -> Result<MailArguments, ArgumentError> {
    let mut found = MailArguments::default();
    let mut rest = argument.trim_ascii();
    while let Some(parameter) = Parameter::last(rest) {
        if !found.take(&parameter, offered)? {
            break;
        }
        rest = parameter.before;
    }
    found.path = rest.to_vec();
    Ok(found)
}

impl MailArguments {
    /// Whether the word was a parameter.
    fn take(&mut self, parameter: &Parameter<'_>, offered: &Offered) -> Result<bool, ArgumentError> {
        let text = parameter.text();
        if parameter.is("SIZE") {
            self.size = Some(size(text));
        } else if !offered.eight_bit && parameter.is("BODY") {
            // Nothing is promised, and nothing done with it.
        } else if parameter.is("BODY") {
            self.body = match text {
                b"" if parameter.value.is_some() => self.body,
                _ if text.eq_ignore_ascii_case(b"8BITMIME") => Some(Body::EightBitMime),
                _ if text.eq_ignore_ascii_case(b"7BIT") => Some(Body::SevenBit),
                _ => return Err(ArgumentError::PeerBody),
            };
        } else if parameter.is("AUTH") {
            within(AUTH_PARAMETER_BYTES_MAX, "AUTH", text)?;
            let decoded = if text == b"<>" { Some(text.to_vec()) } else { xtext_decode(text) };
            self.auth = Some(decoded.ok_or(ArgumentError::PeerAuth)?);
        } else if !offered.dsn && (parameter.is("RET") || parameter.is("ENVID")) {
            // Nothing is promised, and nothing done with it.
        } else if parameter.is("RET") {
            if self.ret.is_some() {
                return Err(ArgumentError::PeerTwice("RET"));
            }
            if parameter.value != Some(b"") {
                self.ret = Some(Return::parse(text).ok_or(ArgumentError::PeerRet)?);
            }
        } else if parameter.is("ENVID") {
            if self.envid.is_some() {
                return Err(ArgumentError::PeerTwice("ENVID"));
            }
            within(ENVID_BYTES_MAX, "ENVID", text)?;
            self.envid = Some(text.to_vec());
        } else if parameter.is("PRDR") {
            // A server that does not offer it must answer once only; it says nothing about the word.
            self.prdr = offered.prdr;
        } else if parameter.is("SMTPUTF8") && parameter.value.is_none() {
            if !offered.smtputf8 {
                return Err(ArgumentError::PeerSmtputf8);
            }
            self.smtputf8 = true;
        } else {
            return Ok(false);
        }
        Ok(true)
    }
}

/// Refuses what is longer than a session should have to remember.
fn within(bytes_max: usize, name: &'static str, text: &[u8]) -> Result<(), ArgumentError> {
    if text.len() <= bytes_max { Ok(()) } else { Err(ArgumentError::PeerTooLong(name)) }
}

/// Leading digits as a number. A sign or too many digits make it too large, so that the message is refused.
fn size(text: &[u8]) -> u64 {
    if text.first() == Some(&b'-') {
        return u64::MAX;
    }
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    match text.get(..digits) {
        None | Some([]) => 0,
        Some(digits) => decimal(digits).unwrap_or(u64::MAX),
    }
}

/// Takes the argument of RCPT TO: apart.
///
/// # Errors
/// A parameter of an offered extension with a bad value.
pub fn rcpt_arguments(argument: &[u8], offered: &Offered) -> Result<RcptArguments, ArgumentError> {
    let mut found = RcptArguments::default();
    let mut rest = argument.trim_ascii();
    while let Some(parameter) = Parameter::last(rest).filter(|_| offered.dsn) {
        if parameter.is("NOTIFY") {
            if found.notify.is_some() {
                return Err(ArgumentError::PeerTwice("NOTIFY"));
            }
            if parameter.value != Some(b"") {
                found.notify = Some(Notify::parse(parameter.text()).ok_or(ArgumentError::PeerNotify)?);
            }
        } else if parameter.is("ORCPT") {
            if found.orcpt.is_some() {
                return Err(ArgumentError::PeerTwice("ORCPT"));
            }
            within(ORCPT_BYTES_MAX, "ORCPT", parameter.text())?;
            found.orcpt = Some(parameter.text().to_vec());
        } else {
            break;
        }
        rest = parameter.before;
    }
    found.path = rest.to_vec();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offered = Offered { dsn: true, prdr: true, eight_bit: true, smtputf8: true };

    fn mail(argument: &str) -> Result<MailArguments, String> {
        mail_arguments(argument.as_bytes(), &ALL).map_err(|e| e.to_string())
    }

    fn rcpt(argument: &str) -> Result<RcptArguments, String> {
        rcpt_arguments(argument.as_bytes(), &ALL).map_err(|e| e.to_string())
    }

    #[test]
    fn sizes_as_observed() {
        for (argument, size) in [
            ("<a@b> SIZE=100", Some(100)),
            ("<a@b> SIZE=abc", Some(0)),
            ("<a@b> SIZE=", Some(0)),
            ("<a@b> size", Some(0)),
            ("<a@b> SIZE=12abc", Some(12)),
            ("<a@b> SIZE=-1", Some(u64::MAX)),
            ("<a@b> SIZE=99999999999999999999", Some(u64::MAX)),
            ("<a@b>", None),
        ] {
            let found = mail(argument).unwrap();
            assert_eq!((found.size, found.path.as_slice()), (size, b"<a@b>".as_slice()), "{argument}");
        }
    }

    #[test]
    fn unknown_words_stay_with_the_address() {
        for (argument, path) in [
            ("<a@b> SIZE=1 FOO=bar BODY=7BIT", "<a@b> SIZE=1 FOO=bar"),
            ("<a@b>SIZE=100", "<a@b>SIZE=100"),
            ("SIZE=10", "SIZE=10"),
            ("<\"x SIZE=1\"@b>", "<\"x SIZE=1\"@b>"),
            ("<\"x y\"@b> SIZE=1", "<\"x y\"@b>"),
            ("<a@b> AUTH=a=b", "<a@b> AUTH=a=b"),
            ("<a@b> SMTPUTF8=x", "<a@b> SMTPUTF8=x"),
            ("<x@y>  SIZE=10\tBODY=7BIT", "<x@y>"),
            ("<a b@c>", "<a b@c>"),
        ] {
            assert_eq!(mail(argument).unwrap().path, path.as_bytes(), "{argument}");
        }
        let offered = Offered::default();
        assert_eq!(mail_arguments(b"<a@b> RET=x ENVID=y BODY=z", &offered).unwrap().path, b"<a@b>");
        assert_eq!(mail_arguments(b"<a@b> SMTPUTF8", &offered), Err(ArgumentError::PeerSmtputf8));
        assert_eq!(rcpt_arguments(b"<a@b> NOTIFY=NEVER", &offered).unwrap().path, b"<a@b> NOTIFY=NEVER");
    }

    #[test]
    fn values_and_their_errors_as_observed() {
        for (argument, error) in [
            ("<a@b> BODY=BINARYMIME", "invalid data for BODY"),
            ("<a@b> BODY", "invalid data for BODY"),
            ("<a@b> AUTH=a+ZZ", "invalid data for AUTH"),
            ("<a@b> RET=X", "Value for RET is invalid"),
            ("<a@b> RET", "Value for RET is invalid"),
            ("<a@b> RET=FULL RET=FULL", "RET can be specified once only"),
            ("<a@b> ENVID=a ENVID=b", "ENVID can be specified once only"),
        ] {
            assert_eq!(mail(argument).unwrap_err(), error, "{argument}");
        }
        let found = mail("<a@b> BODY=8bitmime AUTH=x+40y RET=hdrs ENVID=a+2 PRDR=x SMTPUTF8").unwrap();
        assert_eq!((found.body, found.auth), (Some(Body::EightBitMime), Some(b"x@y".to_vec())));
        assert_eq!((found.ret, found.envid), (Some(Return::Headers), Some(b"a+2".to_vec())));
        assert!(found.prdr && found.smtputf8);
        assert_eq!(mail("<a@b> AUTH=<>").unwrap().auth, Some(b"<>".to_vec()));
        assert_eq!(
            mail("<a@b> BODY= RET=").unwrap(),
            MailArguments { path: b"<a@b>".to_vec(), ..Default::default() }
        );
    }

    #[test]
    fn values_have_the_lengths_of_their_rfcs() {
        let of = |name: &str, length: usize| format!("<a@b> {name}={}", "x".repeat(length));
        for (name, most) in [("ENVID", 100), ("AUTH", 500)] {
            assert!(mail(&of(name, most)).is_ok(), "{name}");
            assert_eq!(mail(&of(name, most + 1)).unwrap_err(), format!("{name} is too long"));
        }
        assert!(rcpt(&of("ORCPT", 500)).is_ok());
        assert_eq!(rcpt(&of("ORCPT", 501)).unwrap_err(), "ORCPT is too long");
    }

    #[test]
    fn recipients_as_observed() {
        for (argument, error) in [
            ("<a@b> NOTIFY=NEVER,FAILURE", "Invalid value for NOTIFY parameter"),
            ("<a@b> NOTIFY=BAD", "Invalid value for NOTIFY parameter"),
            ("<a@b> NOTIFY", "Invalid value for NOTIFY parameter"),
            ("<a@b> NOTIFY=,", "Invalid value for NOTIFY parameter"),
            ("<a@b> notify=success NOTIFY=DELAY", "NOTIFY can be specified once only"),
            ("<a@b> ORCPT=a;b ORCPT=a;c", "ORCPT can be specified once only"),
        ] {
            assert_eq!(rcpt(argument).unwrap_err(), error, "{argument}");
        }
        let found = rcpt("<a@b>  NOTIFY=SUCCESS,   ORCPT=rfc822;x").unwrap();
        assert_eq!(found.notify.map(|n| n.to_string()), Some("SUCCESS".to_owned()));
        assert_eq!((found.orcpt, found.path), (Some(b"rfc822;x".to_vec()), b"<a@b>".to_vec()));
        assert_eq!(rcpt("<a@b> NOTIFY=").unwrap().notify, None);
        assert_eq!(rcpt("<a@b.c> FOO=BAR").unwrap().path, b"<a@b.c> FOO=BAR");
    }
}

//! One SMTP command line, taken apart as far as its verb goes (RFC 5321 section 4.1, manual chapter 49).
//!
//! As tolerant as Exim and no more: verbs in any case, white space at the end of the line and after the colon of
//! MAIL FROM: and RCPT TO:, none before the verb or the colon. Failure: a verb used with a wrong argument gives a
//! `CommandError`, which knows its reply; an unknown verb is `Command::Unknown`, which the caller counts.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use oxim_base::limits::HELO_NAME_BYTES_MAX;

/// A command. Arguments borrow from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// HELO, with its argument, perhaps empty or malformed: see `helo_name_is_valid`.
    Helo(&'a [u8]),
    /// EHLO, likewise.
    Ehlo(&'a [u8]),
    /// LHLO of LMTP, likewise.
    Lhlo(&'a [u8]),
    /// MAIL FROM: with what follows, parameters included; never empty. See `smtp::arguments`.
    Mail(&'a [u8]),
    /// RCPT TO: likewise.
    Rcpt(&'a [u8]),
    /// DATA.
    Data,
    /// BDAT with the size of the chunk.
    Bdat {
        /// Bytes that follow the line.
        size: u64,
        /// It is the last chunk of the message.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, whatever follows it.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY with its argument, perhaps empty.
    Vrfy(&'a [u8]),
    /// EXPN likewise.
    Expn(&'a [u8]),
    /// HELP likewise.
    Help(&'a [u8]),
    /// ETRN likewise.
    Etrn(&'a [u8]),
    /// STARTTLS.
    StartTls,
    /// AUTH.
    Auth {
        /// Name of the mechanism, perhaps empty.
        mechanism: &'a [u8],
        /// The initial response, still in base64.
        initial: Option<&'a [u8]>,
    },
    /// XCLIENT with its argument, perhaps empty.
    Xclient(&'a [u8]),
    /// ATRN likewise.
    Atrn(&'a [u8]),
    /// WELLKNOWN likewise.
    Wellknown(&'a [u8]),
    /// Nothing that we know.
    Unknown,
}

/// A known verb with an argument that it cannot have. The text is the reply without its code, which is 501.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// DATA, QUIT, RSET or STARTTLS with an argument, or BDAT with more than it takes.
    PeerUnexpectedArgument,
    /// MAIL FROM: without anything after it.
    PeerMailWithoutAddress,
    /// RCPT TO: likewise.
    PeerRcptWithoutAddress,
    /// BDAT without a number.
    PeerBdatWithoutSize,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommandError::PeerUnexpectedArgument => "unexpected argument data",
            CommandError::PeerMailWithoutAddress => "MAIL must have an address operand",
            CommandError::PeerRcptWithoutAddress => "RCPT must have an address operand",
            CommandError::PeerBdatWithoutSize => "missing size for BDAT command",
        })
    }
}

impl std::error::Error for CommandError {}

/// How the argument of a verb is read.
#[derive(Clone, Copy)]
enum Shape {
    /// Anything, the empty string included.
    Any(for<'a> fn(&'a [u8]) -> Command<'a>),
    /// None.
    Bare(Command<'static>),
    Bdat,
    Auth,
}

/// Verbs that a space or the end of the line follows. MAIL and RCPT are apart: a colon belongs to them.
const VERBS: &[(&[u8], Shape)] = &[
    (b"EHLO", Shape::Any(|a| Command::Ehlo(a))),
    (b"HELO", Shape::Any(|a| Command::Helo(a))),
    (b"LHLO", Shape::Any(|a| Command::Lhlo(a))),
    (b"DATA", Shape::Bare(Command::Data)),
    (b"BDAT", Shape::Bdat),
    (b"RSET", Shape::Bare(Command::Rset)),
    (b"NOOP", Shape::Any(|_| Command::Noop)),
    (b"QUIT", Shape::Bare(Command::Quit)),
    (b"AUTH", Shape::Auth),
    (b"STARTTLS", Shape::Bare(Command::StartTls)),
    (b"VRFY", Shape::Any(|a| Command::Vrfy(a))),
    (b"EXPN", Shape::Any(|a| Command::Expn(a))),
    (b"HELP", Shape::Any(|a| Command::Help(a))),
    (b"ETRN", Shape::Any(|a| Command::Etrn(a))),
    (b"XCLIENT", Shape::Any(|a| Command::Xclient(a))),
    (b"ATRN", Shape::Any(|a| Command::Atrn(a))),
    (b"WELLKNOWN", Shape::Any(|a| Command::Wellknown(a))),
];

/// Reads one command line, without its line ending.
///
/// # Errors
/// A known verb whose argument it cannot have: a 501 reply with the text of the error.
pub fn parse(line: &[u8]) -> Result<Command<'_>, CommandError> {
    let line = line.trim_ascii_end();
    if let Some(rest) = after_prefix(line, b"MAIL FROM:") {
        let rest = rest.trim_ascii();
        return if rest.is_empty() {
            Err(CommandError::PeerMailWithoutAddress)
        } else {
            Ok(Command::Mail(rest))
        };
    }
    if let Some(rest) = after_prefix(line, b"RCPT TO:") {
        let rest = rest.trim_ascii();
        return if rest.is_empty() {
            Err(CommandError::PeerRcptWithoutAddress)
        } else {
            Ok(Command::Rcpt(rest))
        };
    }
    let length = memchr::memchr(b' ', line).unwrap_or(line.len());
    let (verb, rest) = line.split_at_checked(length).unwrap_or((line, &[]));
    let argument = rest.trim_ascii();
    let Some((_, shape)) = VERBS.iter().find(|(name, _)| verb.eq_ignore_ascii_case(name)) else {
        return Ok(Command::Unknown);
    };
    match shape {
        Shape::Any(make) => Ok(make(argument)),
        Shape::Bare(command) if argument.is_empty() => Ok(*command),
        Shape::Bare(_) => Err(CommandError::PeerUnexpectedArgument),
        Shape::Bdat => bdat(argument),
        Shape::Auth => Ok(auth(argument)),
    }
}

/// What follows a prefix that is matched without regard to case.
fn after_prefix<'a>(line: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn auth(argument: &[u8]) -> Command<'_> {
    let length = argument.iter().position(u8::is_ascii_whitespace).unwrap_or(argument.len());
    let (mechanism, rest) = argument.split_at_checked(length).unwrap_or((argument, &[]));
    let initial = rest.trim_ascii();
    Command::Auth { mechanism, initial: (!initial.is_empty()).then_some(initial) }
}

/// `size [LAST]` and nothing else: bytes that follow a misread size would be taken for commands.
fn bdat(argument: &[u8]) -> Result<Command<'_>, CommandError> {
    let mut words = argument.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let digits = words.next().filter(|w| w.first().is_some_and(u8::is_ascii_digit));
    let digits = digits.ok_or(CommandError::PeerBdatWithoutSize)?;
    let size = decimal(digits).ok_or(CommandError::PeerUnexpectedArgument)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(CommandError::PeerUnexpectedArgument),
    };
    if words.next().is_some() {
        return Err(CommandError::PeerUnexpectedArgument);
    }
    Ok(Command::Bdat { size, last })
}

/// A number of decimal digits only; None if there is another character or it does not fit.
pub(crate) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| byte.wrapping_sub(b'0'))?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Whether the argument of HELO or EHLO is well formed: letters, digits, dots and hyphens, and the characters of
/// `helo_allow_chars`, as many as a domain may have, or an IP address in brackets.
#[must_use]
pub fn helo_name_is_valid(name: &[u8], allow_chars: &[u8]) -> bool {
    if let Some(inside) = name.strip_prefix(b"[").and_then(|n| n.strip_suffix(b"]")) {
        let text = std::str::from_utf8(inside).unwrap_or_default();
        let tagged = text.get(..5).is_some_and(|t| t.eq_ignore_ascii_case("IPv6:"));
        let address = if tagged { text.get(5..).unwrap_or_default() } else { text };
        return address.parse::<Ipv6Addr>().is_ok() || (!tagged && address.parse::<Ipv4Addr>().is_ok());
    }
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-') || allow_chars.contains(b);
    !name.is_empty() && name.len() <= HELO_NAME_BYTES_MAX && name.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_observed() {
        let parsed = |line: &'static str| parse(line.as_bytes());
        assert_eq!(parsed("RCPT TO: <a@b.c>"), Ok(Command::Rcpt(b"<a@b.c>")));
        assert_eq!(parsed("rcpt to:<a@b.c>  "), Ok(Command::Rcpt(b"<a@b.c>")));
        assert_eq!(parsed("MAIL FROM:\t<a@b> SIZE=1"), Ok(Command::Mail(b"<a@b> SIZE=1")));
        assert_eq!(parsed("MAIL FROM:"), Err(CommandError::PeerMailWithoutAddress));
        assert_eq!(parsed("RCPT TO:  "), Err(CommandError::PeerRcptWithoutAddress));
        for unknown in [
            "RCPT TO : <a@b>",
            "RCPT TO<a@b>",
            "RCPT",
            "RCPTTO:<a@b>",
            "RCPT  TO:<a@b>",
            "RCPT\tTO:<a@b>",
            "MAIL",
            "MAIL FROM",
            "  NOOP",
            "NOOPX",
            "",
            "HELO\ta",
            "HELOa",
            "QUITX",
            "NOOP\tx",
            "\u{fc}",
        ] {
            assert_eq!(parse(unknown.as_bytes()), Ok(Command::Unknown), "{unknown}");
        }
        for extra in ["RSET foo", "DATA foo", "STARTTLS x", "QUIT now"] {
            assert_eq!(parse(extra.as_bytes()), Err(CommandError::PeerUnexpectedArgument), "{extra}");
        }
        assert_eq!(parsed("NOOP foo"), Ok(Command::Noop));
        assert_eq!(parsed("HELO  a  "), Ok(Command::Helo(b"a")));
        assert_eq!(parsed("VRFY"), Ok(Command::Vrfy(b"")));
        assert_eq!(parsed("AUTH  x"), Ok(Command::Auth { mechanism: b"x", initial: None }));
        assert_eq!(
            parsed("auth PLAIN  ab== "),
            Ok(Command::Auth { mechanism: b"PLAIN", initial: Some(b"ab==") })
        );
    }

    #[test]
    fn chunk_sizes_are_exact_or_refused() {
        let parsed = |line: &'static str| parse(line.as_bytes());
        assert_eq!(parsed("BDAT 5"), Ok(Command::Bdat { size: 5, last: false }));
        assert_eq!(parsed("bdat 0  last "), Ok(Command::Bdat { size: 0, last: true }));
        for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT +5"] {
            assert_eq!(parse(line.as_bytes()), Err(CommandError::PeerBdatWithoutSize), "{line}");
        }
        for line in ["BDAT 5x", "BDAT 5 x", "BDAT 3 lastx", "BDAT 5 LAST x", "BDAT 18446744073709551616"] {
            assert_eq!(parse(line.as_bytes()), Err(CommandError::PeerUnexpectedArgument), "{line}");
        }
    }

    #[test]
    fn helo_names_as_observed() {
        for good in ["a.b.", "[1.2.3.4]", "[IPv6:::1]", "[::1]", "1.2.3.4", "-a", "a-", "a..b", ".a"] {
            assert!(helo_name_is_valid(good.as_bytes(), b""), "{good}");
        }
        for bad in ["", "a b", "a_b", "[1.2.3]", "::1", "a!b", "ü", "[x]", "[]", "["] {
            assert!(!helo_name_is_valid(bad.as_bytes(), b""), "{bad}");
        }
        assert!(helo_name_is_valid(b"a_b", b"_"));
        assert!(helo_name_is_valid(&[b'a'; 255], b"") && !helo_name_is_valid(&[b'a'; 256], b""));
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read(line in "(MAIL FROM:|RCPT TO:|BDAT |AUTH |HELO |QUIT)?[ -~\t]{0,40}") {
            if let Ok(Command::Mail(rest) | Command::Rcpt(rest)) = parse(line.as_bytes()) {
                proptest::prop_assert!(!rest.is_empty() && rest == rest.trim_ascii());
            }
        }
    }
}

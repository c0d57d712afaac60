//! SMTP replies: written by our server, read by our client (RFC 5321 section 4.2, RFC 3463).
//!
//! Reading is line by line and as tolerant as Exim (a bare LF ends a line). Failure: `ReplyError`, when a server sends
//! what is no reply or more than the limits; the connection cannot be used any more then.

use std::fmt;

use oxim_base::limits::{SMTP_REPLY_BYTES_MAX, SMTP_REPLY_LINE_BYTES_MAX};

/// A reply: a code of three digits and at least one line of text, without code and line endings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// The text, line by line.
    pub lines: Vec<Vec<u8>>,
}

/// An enhanced status code such as `5.7.1` (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// Up to three digits.
    pub subject: u16,
    /// Up to three digits.
    pub detail: u16,
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

impl EnhancedCode {
    /// Reads the code at the front of a text, with a space or the end behind it; what follows comes with it.
    #[must_use]
    pub fn take(text: &[u8]) -> Option<(EnhancedCode, &[u8])> {
        let length = text.iter().position(|b| *b == b' ').unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(length)?;
        let mut parts = word.split(|b| *b == b'.').map(|part| {
            let digits = (1..=3).contains(&part.len());
            let number = super::command::decimal(part).filter(|_| digits)?;
            u16::try_from(number).ok()
        });
        let (class, subject, detail) = (parts.next()??, parts.next()??, parts.next()??);
        if parts.next().is_some() || !matches!(class, 2 | 4 | 5) {
            return None;
        }
        let class = u8::try_from(class).ok()?;
        Some((EnhancedCode { class, subject, detail }, rest.strip_prefix(b" ").unwrap_or(rest)))
    }
}

impl Reply {
    /// A reply of one line, or of as many as the text has.
    #[must_use]
    pub fn new(code: u16, text: impl AsRef<[u8]>) -> Reply {
        let text = text.as_ref();
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let lines =
            text.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l).to_vec()).collect();
        Reply { code, lines }
    }

    /// A reply whose text a postmaster wrote, perhaps with a code of its own: `551 5.7.1 text` (manual, `message`).
    ///
    /// A code counts if a space follows it. If its first digit is not that of `default_code`, it is dropped with an
    /// enhanced code behind it, `false` comes back, and the caller should log
    /// `configured error code starts with incorrect digit`.
    #[must_use]
    pub fn from_message(default_code: u16, message: &[u8]) -> (Reply, bool) {
        let digits = message.split_at_checked(3).and_then(|(head, tail)| {
            let code = super::command::decimal(head)?;
            Some((u16::try_from(code).ok()?, tail.strip_prefix(b" ")?))
        });
        match digits {
            Some((code, text)) if code / 100 == default_code / 100 => (Reply::new(code, text), true),
            Some((_, text)) => {
                let text = EnhancedCode::take(text).map_or(text, |(_, rest)| rest);
                (Reply::new(default_code, text), false)
            }
            None => (Reply::new(default_code, message), true),
        }
    }

    /// 2yz.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code / 100 == 2
    }

    /// 3yz.
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// 4yz: ask again later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.code / 100 == 4
    }

    /// 5yz.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced code at the front of the first line.
    #[must_use]
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        EnhancedCode::take(self.lines.first()?).map(|(code, _)| code)
    }

    /// What goes over the wire: each line with its code and CR LF. Control characters in the text become spaces.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.lines.iter().map(|l| l.len().saturating_add(6)).sum());
        let last = self.lines.len().saturating_sub(1);
        let empty = [Vec::new()];
        let lines = if self.lines.is_empty() { empty.as_slice() } else { self.lines.as_slice() };
        for (index, line) in lines.iter().enumerate() {
            out.extend_from_slice(format!("{:03}", self.code).as_bytes());
            out.push(if index < last { b'-' } else { b' ' });
            out.extend(line.iter().map(|&b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
        out
    }

    /// The reply with codes and LF between its lines, as log lines and bounces quote it: `550-one\n550 two`.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = self.to_bytes();
        text.retain(|b| *b != b'\r');
        text.pop();
        text
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_text()))
    }
}

/// A server sent what is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The line does not begin with a code and a space or hyphen.
    PeerNoCode {
        /// The line, cut to a reasonable length.
        line: Vec<u8>,
    },
    /// The code changed within a reply.
    PeerCodeChanged {
        /// Code of the first line.
        first: u16,
        /// Code of this line.
        then: u16,
    },
    /// A line or the whole is over its limit (`oxim_base::limits`).
    PeerTooLong,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::PeerNoCode { line } => {
                write!(f, "malformed SMTP reply: {}", String::from_utf8_lossy(line))
            }
            ReplyError::PeerCodeChanged { first, then } => {
                write!(f, "malformed SMTP reply: code {first} is followed by {then}")
            }
            ReplyError::PeerTooLong => f.write_str("SMTP reply is too long"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Puts a reply together from bytes as they arrive.
#[derive(Debug, Default)]
pub struct ReplyReader {
    line: Vec<u8>,
    code: Option<u16>,
    lines: Vec<Vec<u8>>,
    total: usize,
}

impl ReplyReader {
    /// A reader before the first byte of a reply.
    #[must_use]
    pub fn new() -> ReplyReader {
        ReplyReader::default()
    }

    /// Whether part of a reply has arrived.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.total > 0
    }

    /// Takes input up to the end of one reply at most. Returns how much was used, and the reply when it is complete;
    /// input after that belongs to the next one.
    ///
    /// # Errors
    /// The input is no reply. The reader is of no use afterwards.
    pub fn feed(&mut self, input: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        let mut at = 0_usize;
        while let Some(rest) = input.get(at..).filter(|r| !r.is_empty()) {
            let end = memchr::memchr(b'\n', rest);
            let length = end.map_or(rest.len(), |n| n.saturating_add(1));
            at = at.saturating_add(length);
            self.total = self.total.saturating_add(length);
            if self.total > SMTP_REPLY_BYTES_MAX
                || self.line.len().saturating_add(length) > SMTP_REPLY_LINE_BYTES_MAX
            {
                return Err(ReplyError::PeerTooLong);
            }
            self.line.extend_from_slice(rest.get(..length).unwrap_or_default());
            if end.is_some()
                && let Some(reply) = self.end_of_line()?
            {
                return Ok((at, Some(reply)));
            }
        }
        Ok((at, None))
    }

    fn end_of_line(&mut self) -> Result<Option<Reply>, ReplyError> {
        let mut line = std::mem::take(&mut self.line);
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let (code, goes_on, text) = split_line(text)
            .ok_or_else(|| ReplyError::PeerNoCode { line: text.iter().copied().take(256).collect() })?;
        let first = *self.code.get_or_insert(code);
        if first != code {
            return Err(ReplyError::PeerCodeChanged { first, then: code });
        }
        self.lines.push(text.to_vec());
        line.clear();
        self.line = line;
        if goes_on {
            return Ok(None);
        }
        self.code = None;
        self.total = 0;
        Ok(Some(Reply { code, lines: std::mem::take(&mut self.lines) }))
    }
}

/// Code, whether more lines follow, and text. A code alone on its line ends a reply too. A code that SMTP does not have is one:
/// it is neither success nor a refusal for good, and to EHLO it says that HELO is to be tried.
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let code = u16::try_from(super::command::decimal(digits)?).ok()?;
    match rest.split_first() {
        None => Some((code, false, rest)),
        Some((b' ', text)) => Some((code, false, text)),
        Some((b'-', text)) => Some((code, true, text)),
        Some(_) => None,
    }
}

/// Reads a whole reply that is in memory.
///
/// # Errors
/// As `ReplyReader::feed`; an incomplete reply is `PeerNoCode`.
pub fn parse(bytes: &[u8]) -> Result<Reply, ReplyError> {
    let (_, reply) = ReplyReader::new().feed(bytes)?;
    reply.ok_or_else(|| ReplyError::PeerNoCode { line: bytes.iter().copied().take(256).collect() })
}

/// Length of a leading extended code with its following space; 0 if there is none.
#[must_use]
pub fn extended_code_length(text: &[u8]) -> usize {
    let mut at = 0_usize;
    for (index, digits_max) in [1_usize, 3, 3].into_iter().enumerate() {
        let rest = text.get(at..).unwrap_or_default();
        let digits = rest.iter().take(digits_max).take_while(|b| b.is_ascii_digit()).count();
        let end = if index == 2 { b' ' } else { b'.' };
        if digits == 0 || rest.get(digits) != Some(&end) {
            return 0;
        }
        at = at.saturating_add(digits).saturating_add(1);
    }
    at
}

/// A text with a code of its own at the start, as `message` modifiers may have: the code, and where the rest begins.
#[must_use]
pub fn leading_code(text: &[u8]) -> Option<(u16, usize)> {
    let digits: [u8; 3] = text.get(..3)?.try_into().ok()?;
    if !digits.iter().all(u8::is_ascii_digit) || !text.get(3)?.is_ascii_whitespace() {
        return None;
    }
    let code = digits
        .iter()
        .fold(0_u16, |sum, d| sum.saturating_mul(10).saturating_add(u16::from(d.wrapping_sub(b'0'))));
    Some((code, 4))
}

/// As [`leading_code`], but the rest begins after an extended code too, if there is one.
#[must_use]
pub fn after_codes(text: &[u8]) -> &[u8] {
    let Some((_, at)) = leading_code(text) else { return text };
    let rest = text.get(at..).unwrap_or_default();
    rest.get(extended_code_length(rest)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        let reply = Reply::new(250, "one\ntwo\n\nfour");
        assert_eq!(reply.to_bytes(), b"250-one\r\n250-two\r\n250-\r\n250 four\r\n");
        assert_eq!(parse(&reply.to_bytes()), Ok(reply.clone()));
        assert_eq!(reply.to_text(), b"250-one\n250-two\n250-\n250 four");
        assert_eq!(Reply { code: 250, lines: vec![] }.to_bytes(), b"250 \r\n");
        let odd = Reply { code: 550, lines: vec![b"a\r\n250 b".to_vec()] };
        assert_eq!(odd.to_bytes(), b"550 a  250 b\r\n");
    }

    #[test]
    fn replies_arrive_in_any_pieces() {
        let wire = b"250-h.ex\r\n250-SIZE 5\n250 HELP\r\n354\r\n";
        for split in 0..wire.len() {
            let mut reader = ReplyReader::new();
            let mut replies = Vec::new();
            for piece in [&wire[..split], &wire[split..]] {
                let mut at = 0;
                while at < piece.len() {
                    let (used, reply) = reader.feed(&piece[at..]).unwrap();
                    at += used;
                    replies.extend(reply);
                }
            }
            assert_eq!(replies, [Reply::new(250, "h.ex\nSIZE 5\nHELP"), Reply::new(354, "")]);
        }
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for wire in ["hello\r\n", "25\r\n", "2500 x\r\n", "250_x\r\n", "\r\n", "+50 x\r\n"] {
            assert!(matches!(parse(wire.as_bytes()), Err(ReplyError::PeerNoCode { .. })), "{wire}");
        }
        assert_eq!(parse(b"099 x\r\n").unwrap().to_string(), "099 x");
        assert_eq!(parse(b"250-a\r\n550 b\r\n"), Err(ReplyError::PeerCodeChanged { first: 250, then: 550 }));
        assert_eq!(parse(&[b'2'; SMTP_REPLY_LINE_BYTES_MAX + 1]), Err(ReplyError::PeerTooLong));
        let many = b"250-0123456789\r\n".repeat(SMTP_REPLY_BYTES_MAX / 16 + 1);
        assert_eq!(parse(&many), Err(ReplyError::PeerTooLong));
    }

    #[test]
    fn messages_of_the_postmaster_as_observed() {
        for (message, expected, good) in [
            ("551 no", "551 no", true),
            ("451 no", "550 no", false),
            ("551 5.7.1 no", "551 5.7.1 no", true),
            ("5.7.1 no", "550 5.7.1 no", true),
            ("551 4.7.1 no", "551 4.7.1 no", true),
            ("551-no", "550 551-no", true),
            ("551no", "550 551no", true),
            ("551", "550 551", true),
            ("551 ", "551 ", true),
            ("551  no", "551  no", true),
            ("451 5.7.1 no", "550 no", false),
            ("551 a\nb", "551-a\n551 b", true),
        ] {
            let (reply, same) = Reply::from_message(550, message.as_bytes());
            assert_eq!((reply.to_string().as_str(), same), (expected, good), "{message}");
        }
    }

    #[test]
    fn enhanced_codes() {
        let code = Reply::new(550, "5.7.12 no").enhanced().unwrap();
        assert_eq!(code.to_string(), "5.7.12");
        for bad in ["5.7 no", "5.7.1.1 x", "3.1.1 x", "5.1111.1 x", "5..1 x", "no"] {
            assert_eq!(Reply::new(550, bad).enhanced(), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(wire in proptest::collection::vec(proptest::sample::select(b"2505- \r\nx".to_vec()), 0..60)) {
            let _ = parse(&wire);
        }
    }
}

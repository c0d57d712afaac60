//! Bytes with a mark that says whether they came from outside.
//!
//! Mail is bytes, not Unicode, so `Text` holds bytes. The mark follows a value through every join and cut:
//! a file name, a command or a query that is built from a tainted value is refused where it would be used.

use std::borrow::Cow;
use std::fmt;

use crate::bytes::Bytes;

/// Where a value came from, as far as its use in file names, commands and queries is concerned.
///
/// Manual chapter 9, "expansion of tainted data".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Taint {
    /// Written by the postmaster, or given by a lookup that the manual lists as untainting.
    #[default]
    Clean,
    /// Came from outside, then went through the quoting operator of the named lookup type, and is fit for that.
    Quoted(&'static str),
    /// Came from outside.
    Tainted,
}

impl Taint {
    /// The mark of a value that is put together from two others.
    ///
    /// Clean text does not spoil a quoted value; two different quotings, or anything tainted, do.
    #[must_use]
    pub fn join(self, other: Taint) -> Taint {
        match (self, other) {
            (Taint::Clean, x) | (x, Taint::Clean) => x,
            (Taint::Quoted(a), Taint::Quoted(b)) if a == b => self,
            (Taint::Quoted(_) | Taint::Tainted, Taint::Quoted(_) | Taint::Tainted) => Taint::Tainted,
        }
    }

    /// Whether any of the value came from outside, quoted or not.
    #[must_use]
    pub fn is_foreign(self) -> bool {
        self != Taint::Clean
    }
}

/// A byte string with its taint.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text {
    bytes: Bytes,
    taint: Taint,
}

impl Text {
    /// The empty clean text.
    #[must_use]
    pub const fn new() -> Self {
        Text { bytes: Bytes::new(), taint: Taint::Clean }
    }

    /// Text that the postmaster or this program wrote.
    pub fn clean(bytes: impl Into<Bytes>) -> Self {
        Text { bytes: bytes.into(), taint: Taint::Clean }
    }

    /// Text that came from outside.
    pub fn tainted(bytes: impl Into<Bytes>) -> Self {
        Text { bytes: bytes.into(), taint: Taint::Tainted }
    }

    /// Text with a given mark.
    pub fn with_taint(bytes: impl Into<Bytes>, taint: Taint) -> Self {
        Text { bytes: bytes.into(), taint }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The bytes, given away.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_vec()
    }

    /// The mark.
    #[must_use]
    pub fn taint(&self) -> Taint {
        self.taint
    }

    /// Whether any of it came from outside.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.taint.is_foreign()
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The text for a log line or an error message: see [`shown`].
    #[must_use]
    pub fn to_string_lossy(&self) -> String {
        shown(self.as_bytes()).into_owned()
    }

    /// The text as UTF-8, if it is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }

    /// The bytes, to be changed in their place: what comes of them keeps the mark.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut_slice()
    }

    /// Adds another text at the end; the marks join.
    pub fn push(&mut self, other: &Text) {
        self.push_bytes(other.as_bytes(), other.taint);
    }

    /// Adds bytes that the postmaster or this program wrote.
    pub fn push_clean(&mut self, bytes: &[u8]) {
        self.bytes.push(bytes);
    }

    /// Adds bytes with a mark of their own.
    pub fn push_bytes(&mut self, bytes: &[u8], taint: Taint) {
        if !bytes.is_empty() {
            self.taint = self.taint.join(taint);
        }
        self.bytes.push(bytes);
    }

    /// Adds a number with a mark of its own.
    pub fn push_number(&mut self, number: i64, taint: Taint) {
        // The longest has 19 digits and a sign.
        let mut digits = [0_u8; 20];
        let mut start = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            start = start.saturating_sub(1);
            if let (Some(place), Ok(digit)) = (digits.get_mut(start), u8::try_from(rest % 10)) {
                *place = b'0'.saturating_add(digit);
            }
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.push_bytes(b"-", taint);
        }
        self.push_bytes(digits.get(start..).unwrap_or_default(), taint);
    }

    /// A text of other bytes that were made from this one, so with its mark.
    #[must_use]
    pub fn derive(&self, bytes: impl Into<Bytes>) -> Text {
        Text { bytes: bytes.into(), taint: self.taint }
    }

    /// The same bytes under another mark. Only quoting operators and untainting lookups may use this.
    #[must_use]
    pub fn retaint(self, taint: Taint) -> Text {
        Text { bytes: self.bytes, taint }
    }

    /// The part between two byte offsets (clamped to the text), with the same mark.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> Text {
        let end = end.min(self.as_bytes().len());
        let start = start.min(end);
        Text { bytes: self.as_bytes().get(start..end).unwrap_or_default().into(), taint: self.taint }
    }

    /// Without ASCII white space at both ends.
    #[must_use]
    pub fn trimmed(&self) -> Text {
        Text { bytes: self.as_bytes().trim_ascii().into(), taint: self.taint }
    }

    /// Whether the bytes are equal to a given string, without regard to ASCII case.
    #[must_use]
    pub fn eq_ignore_case(&self, other: &[u8]) -> bool {
        self.as_bytes().eq_ignore_ascii_case(other)
    }
}

impl From<&str> for Text {
    /// Clean: string literals are ours.
    fn from(value: &str) -> Self {
        Text::clean(value.as_bytes())
    }
}

impl From<String> for Text {
    /// Clean: made by this program.
    fn from(value: String) -> Self {
        Text::clean(value.into_bytes())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Bytes as a log or an error message shows them: UTF-8 as it is, any other byte as `\xHH`. Nothing is lost, and a log is
/// always UTF-8.
#[must_use]
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    use fmt::Write as _;
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len().saturating_add(16));
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
    Cow::Owned(out)
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.as_bytes()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))?;
        match self.taint {
            Taint::Clean => Ok(()),
            Taint::Quoted(lookup) => write!(f, "(quoted:{lookup})"),
            Taint::Tainted => f.write_str("(tainted)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf8_is_shown_byte_by_byte() {
        assert_eq!(shown("grüße".as_bytes()), "grüße");
        assert_eq!(shown(b"a\xffb\xc3"), "a\\xFFb\\xC3");
        assert_eq!(Text::tainted(b"\xe9t\xe9".to_vec()).to_string(), "\\xE9t\\xE9");
    }

    #[test]
    fn joining_keeps_the_worse_mark() {
        assert_eq!(Taint::Clean.join(Taint::Tainted), Taint::Tainted);
        assert_eq!(Taint::Clean.join(Taint::Quoted("pgsql")), Taint::Quoted("pgsql"));
        assert_eq!(Taint::Quoted("pgsql").join(Taint::Quoted("mysql")), Taint::Tainted);
        assert_eq!(Taint::Quoted("pgsql").join(Taint::Tainted), Taint::Tainted);
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, -1, 1_024, i64::MAX, i64::MIN] {
            let mut text = Text::from("<");
            text.push_number(number, Taint::Tainted);
            assert_eq!(text, format!("<{number}").as_str());
            assert!(text.is_foreign());
        }
    }

    #[test]
    fn an_empty_tainted_part_spoils_nothing() {
        let mut text = Text::from("a");
        text.push(&Text::tainted(""));
        assert!(!text.is_foreign());
        text.push(&Text::tainted("b"));
        assert!(text.is_foreign());
    }
}

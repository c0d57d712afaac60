//! Encoded words in header lines (RFC 2047): `${rfc2047:}`, `${rfc2047d:}`, `$header_name:`.
//!
//! Encoding never fails. Decoding leaves alone what is not a well-formed encoded word; a charset that is not
//! known, or bytes that are not of it, fail or stay as bytes, as the caller says (Exim fails in `${rfc2047d:}`
//! and keeps bytes in `$header_`).
//!
//! Differences on purpose: encoded words that we write are never longer than 75 characters and never end within a
//! UTF-8 character (the observed program's first word can do both); a language tag (`utf-8*en`) is passed over.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Longest encoded word, in bytes (RFC 2047 section 2).
pub const ENCODED_WORD_BYTES_MAX: usize = 75;

/// Longest encoded word that is recognised when lengths are not checked. "Any length" would let a text of many
/// beginnings and one end cost its square.
const UNCHECKED_WORD_BYTES_MAX: usize = 16 * 1024;

/// Encodes a text, if it needs it, as words of the Q encoding with a space between each two.
///
/// Unchanged: text of printing ASCII and spaces without the characters that the manual lists. `charset` names the
/// charset that the bytes are in (`headers_charset`).
#[must_use]
pub fn encode(text: &[u8], charset: &[u8]) -> Vec<u8> {
    if text.iter().all(|&b| b == b' ' || is_plain(b)) {
        return text.to_vec();
    }
    let overhead = charset.len().saturating_add(7);
    // A name so long that no character fits beside it is not a charset; it must not stop progress.
    let room = ENCODED_WORD_BYTES_MAX.saturating_sub(overhead).max(12);
    let is_utf8 = charset.eq_ignore_ascii_case(b"utf-8");
    let mut out = Vec::with_capacity(text.len().saturating_mul(2).saturating_add(overhead));
    let mut word = Vec::with_capacity(room);
    let mut rest = text;
    while !rest.is_empty() {
        let width = if is_utf8 { character_width(rest) } else { 1 };
        let (character, tail) = rest.split_at_checked(width).unwrap_or((rest, &[]));
        let mut encoded = Vec::with_capacity(12);
        character.iter().for_each(|&b| push_q(&mut encoded, b));
        if word.len().saturating_add(encoded.len()) > room {
            push_word(&mut out, charset, &word);
            word.clear();
        }
        word.extend_from_slice(&encoded);
        rest = tail;
    }
    push_word(&mut out, charset, &word);
    out
}

fn push_word(out: &mut Vec<u8>, charset: &[u8], word: &[u8]) {
    if !out.is_empty() {
        out.push(b' ');
    }
    for part in [b"=?".as_slice(), charset, b"?Q?", word, b"?="] {
        out.extend_from_slice(part);
    }
}

/// Characters that need no encoding (manual section 11.6, `rfc2047`).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"?=()<>@,;:\\\".[]_".contains(&byte)
}

fn push_q(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    if byte == b' ' {
        out.push(b'_');
    } else if is_plain(byte) {
        out.push(byte);
    } else {
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
        out.extend([b'=', digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Bytes of the UTF-8 character at the front; 1 for what is none.
fn character_width(text: &[u8]) -> usize {
    let width = match text.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) | None => 1,
    };
    let whole = text.get(..width).is_some_and(|c| std::str::from_utf8(c).is_ok());
    if whole { width } else { 1 }
}

/// What to do with a word whose charset cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// Keep the decoded bytes, untranslated.
    KeepBytes,
    /// Give up on the whole text.
    Fail,
}

/// A charset that cannot be translated from or to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Charset of the word.
    pub from: Vec<u8>,
    /// Charset that was wanted.
    pub to: Vec<u8>,
    /// The charset is known, but the bytes are not of it.
    pub bad_bytes: bool,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (String::from_utf8_lossy(&self.from), String::from_utf8_lossy(&self.to));
        if self.bad_bytes {
            return write!(f, "iconv() failed to convert from {from} to {to}: invalid sequence");
        }
        write!(f, "iconv_open(\"{to}\", \"{from}\") failed: Invalid argument (maybe unsupported conversion)")
    }
}

impl std::error::Error for DecodeError {}

/// Decodes the encoded words of a text; white space between two of them goes, binary zeros become `?`.
///
/// `target` is the charset to translate to, None for no translation. With `check_length`, words over 75 characters
/// are not recognised (option `check_rfc2047_length`).
///
/// # Errors
/// With `Undecodable::Fail`, the first charset that could not be translated.
pub fn decode(
    text: &[u8],
    target: Option<&[u8]>,
    check_length: bool,
    undecodable: Undecodable,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    let mut after_word = false;
    while let Some(at) = memchr::memmem::find(rest, b"=?") {
        let (before, here) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let Some((word, length)) = EncodedWord::read(here, check_length) else {
            // Past "=" only: "=?=?..." may hold a word that begins at the second "=".
            let past = at.saturating_add(1);
            out.extend_from_slice(rest.get(..past).unwrap_or(rest));
            rest = rest.get(past..).unwrap_or_default();
            after_word = false;
            continue;
        };
        if !(after_word && before.iter().all(u8::is_ascii_whitespace)) {
            out.extend_from_slice(before);
        }
        append_translated(&mut out, &word, target, undecodable)?;
        after_word = true;
        rest = here.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Ok(out)
}

fn append_translated(
    out: &mut Vec<u8>,
    word: &EncodedWord<'_>,
    target: Option<&[u8]>,
    undecodable: Undecodable,
) -> Result<(), DecodeError> {
    let clean = |bytes: &[u8]| bytes.iter().map(|&b| if b == 0 { b'?' } else { b }).collect::<Vec<u8>>();
    let Some(target) = target else {
        out.extend(clean(&word.content));
        return Ok(());
    };
    match translate(&word.content, word.charset, target) {
        Ok(bytes) => out.extend(clean(&bytes)),
        Err(error) if undecodable == Undecodable::Fail && !error.bad_bytes => return Err(error),
        Err(_) => out.extend(clean(&word.content)),
    }
    Ok(())
}

/// Translates bytes from one charset to another. Equal or empty names copy.
///
/// # Errors
/// An unknown charset, or bytes that are not of it, or characters that the target does not have.
pub fn translate(bytes: &[u8], from: &[u8], to: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let error = |bad_bytes: bool| DecodeError { from: from.to_vec(), to: to.to_vec(), bad_bytes };
    if from.is_empty() || from.eq_ignore_ascii_case(to) {
        return Ok(bytes.to_vec());
    }
    let text: String = match charset(from).ok_or_else(|| error(false))? {
        Charset::Ascii if !bytes.is_ascii() => return Err(error(true)),
        Charset::Ascii | Charset::Latin1 => bytes.iter().copied().map(char::from).collect(),
        Charset::Other(encoding) => {
            let decoded = encoding.decode_without_bom_handling_and_without_replacement(bytes);
            decoded.ok_or_else(|| error(true))?.into_owned()
        }
    };
    match charset(to).ok_or_else(|| error(false))? {
        Charset::Ascii if !text.is_ascii() => Err(error(true)),
        Charset::Ascii => Ok(text.into_bytes()),
        Charset::Latin1 => {
            text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| error(true))).collect()
        }
        Charset::Other(encoding) => {
            let (encoded, used, unmappable) = encoding.encode(&text);
            // The encoder falls back to UTF-8 for charsets that it only decodes.
            if used != encoding {
                return Err(error(false));
            }
            if unmappable { Err(error(true)) } else { Ok(encoded.into_owned()) }
        }
    }
}

enum Charset {
    Ascii,
    /// True ISO-8859-1; the table of encoding_rs follows the web, where the name means windows-1252.
    Latin1,
    Other(&'static encoding_rs::Encoding),
}

fn charset(name: &[u8]) -> Option<Charset> {
    let is = |names: &[&[u8]]| names.iter().any(|n| name.eq_ignore_ascii_case(n));
    if is(&[b"us-ascii", b"ascii", b"ansi_x3.4-1968", b"iso646-us"]) {
        return Some(Charset::Ascii);
    }
    if is(&[b"iso-8859-1", b"iso8859-1", b"iso_8859-1", b"latin1", b"l1", b"cp819"]) {
        return Some(Charset::Latin1);
    }
    encoding_rs::Encoding::for_label_no_replacement(name).map(Charset::Other)
}

/// One decoded word.
struct EncodedWord<'a> {
    charset: &'a [u8],
    content: Vec<u8>,
}

impl<'a> EncodedWord<'a> {
    /// Reads the encoded word at the front of `text`, if there is one; its length comes with it.
    fn read(text: &'a [u8], check_length: bool) -> Option<(EncodedWord<'a>, usize)> {
        let inside = text.get(2..)?;
        let charset_length = memchr::memchr(b'?', inside)?;
        let (charset, rest) = inside.split_at_checked(charset_length)?;
        if !charset.iter().all(|b| b.is_ascii_graphic() && *b != b'=') {
            return None;
        }
        let (encoding, rest) = match rest {
            [b'?', encoding, b'?', rest @ ..] => (*encoding, rest),
            _ => return None,
        };
        let limit = if check_length { ENCODED_WORD_BYTES_MAX } else { UNCHECKED_WORD_BYTES_MAX };
        let window = rest.get(..limit).unwrap_or(rest);
        let content_length = memchr::memmem::find(window, b"?=")?;
        let content = rest.get(..content_length)?;
        let length = charset_length.checked_add(content_length)?.checked_add(7)?;
        if length > limit {
            return None;
        }
        let content = match encoding {
            b'q' | b'Q' => decode_q(content)?,
            b'b' | b'B' => decode_b(content)?,
            _ => return None,
        };
        let language = memchr::memchr(b'*', charset).unwrap_or(charset.len());
        Some((EncodedWord { charset: charset.get(..language)?, content }, length))
    }
}

fn decode_q(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'_' => out.push(b' '),
            b'=' => {
                let mut digit = || {
                    bytes.next().and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
                };
                let (high, low) = (digit()?, digit()?);
                out.push(high << 4 | low);
            }
            0..=b' ' | 0x7f => return None,
            _ => out.push(byte),
        }
    }
    Some(out)
}

fn decode_b(text: &[u8]) -> Option<Vec<u8>> {
    let packed: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    BASE64.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> String {
        let result = decode(text.as_bytes(), Some(b"UTF-8"), true, Undecodable::Fail);
        result.map_or_else(|e| format!("! {e}"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn encoding_as_observed() {
        for (text, expected) in [
            ("abc", "abc"),
            ("a b", "a b"),
            ("", ""),
            ("ab=c", "=?UTF-8?Q?ab=3Dc?="),
            ("a b =", "=?UTF-8?Q?a_b_=3D?="),
            ("abcdé", "=?UTF-8?Q?abcd=C3=A9?="),
            ("a b_cé?=.", "=?UTF-8?Q?a_b=5Fc=C3=A9=3F=3D=2E?="),
            ("a\nb", "=?UTF-8?Q?a=0Ab?="),
            ("\u{7f}", "=?UTF-8?Q?=7F?="),
            ("\"a\",(b)<c>@d;é", "=?UTF-8?Q?=22a=22=2C=28b=29=3Cc=3E=40d=3B=C3=A9?="),
        ] {
            assert_eq!(String::from_utf8(encode(text.as_bytes(), b"UTF-8")).unwrap(), expected);
        }
    }

    #[test]
    fn decoding_as_observed() {
        for (text, expected) in [
            ("=?utf-8?q?a=C3=A9_b?=", "aé b"),
            ("=?iso-8859-1?q?a=E9_b?=", "aé b"),
            ("=?iso-8859-1?b?6Q==?= =?iso-8859-1?q?x?= y =?iso-8859-1?q?z?=", "éx y z"),
            ("=?iso-8859-1?b?6Q?= x", "=?iso-8859-1?b?6Q?= x"),
            ("=?iso-8859-1?b?6*Q=?= x", "=?iso-8859-1?b?6*Q=?= x"),
            (
                "=?xx-bad?q?a=E9?= x",
                "! iconv_open(\"UTF-8\", \"xx-bad\") failed: Invalid argument (maybe unsupported conversion)",
            ),
            ("=?iso-8859-1?x?a=E9?= x", "=?iso-8859-1?x?a=E9?= x"),
            ("=?iso-8859-1?q?a=ZZ?= x", "=?iso-8859-1?q?a=ZZ?= x"),
            ("=?iso-8859-1?q?a=?= x", "=?iso-8859-1?q?a=?= x"),
            ("=?iso-8859-1?q?a b?= x", "=?iso-8859-1?q?a b?= x"),
            ("=?iso-8859-1?q?a=00b?= x", "a?b x"),
            ("a=?iso-8859-1?q?b?=c", "abc"),
            ("=?utf-8?q?=C3?= =?utf-8?q?=A9?= x", "é x"),
            ("=?utf-8?b?w?= =?utf-8?b?w6k=?= x", "=?utf-8?b?w?= é x"),
            ("=?utf-8?q??= x", " x"),
            ("=?utf-8?q?a?b?= x", "a?b x"),
            ("=?utf-8?q?a =?utf-8?q?b?=", "=?utf-8?q?a b"),
            ("=?utf-8?q?a?=\n =?utf-8?q?b?=", "ab"),
            ("=?utf-8?b?YWJj ZGVm?=", "abcdef"),
            ("=?utf-8?b?YWJj=ZGVm?=", "=?utf-8?b?YWJj=ZGVm?="),
            ("=?gb2312?b?xOO6ww==?=", "你好"),
            ("=?iso-2022-jp?b?GyRCJDMbKEI=?=", "こ"),
            ("=?koi8-r?q?=C1?=", "а"),
            ("=?windows-1252?q?=80=81?=", "€\u{81}"),
            ("=?iso-8859-1?q?=80?=", "\u{80}"),
            ("=?iso-8859-1*en?q?b=E9?=c", "béc"),
            ("=??q?b?=", "b"),
        ] {
            assert_eq!(decoded(text), expected, "{text}");
        }
        let kept = decode(b"=?us-ascii?q?a=E9?=", Some(b"UTF-8"), true, Undecodable::Fail);
        assert_eq!(kept, Ok(b"a\xe9".to_vec()));
    }

    #[test]
    fn long_words_are_seen_only_on_demand() {
        let word = format!("=?utf-8?q?{}?=", "a".repeat(80));
        assert_eq!(decoded(&word), word);
        let all = decode(word.as_bytes(), None, false, Undecodable::Fail);
        assert_eq!(all, Ok(vec![b'a'; 80]));
    }

    #[test]
    fn other_targets() {
        let latin = decode("=?utf-8?q?=C3=A9?=".as_bytes(), Some(b"ISO-8859-1"), true, Undecodable::Fail);
        assert_eq!(latin, Ok(b"\xe9".to_vec()));
        assert!(translate("€".as_bytes(), b"utf-8", b"iso-8859-1").is_err());
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text in "\\PC{0,80}") {
            let encoded = encode(text.as_bytes(), b"UTF-8");
            for word in encoded.split(|b| *b == b' ').filter(|w| w.starts_with(b"=?")) {
                proptest::prop_assert!(word.len() <= ENCODED_WORD_BYTES_MAX);
            }
            let back = decode(&encoded, Some(b"UTF-8"), true, Undecodable::Fail);
            proptest::prop_assert_eq!(back, Ok(text.into_bytes()));
        }

        #[test]
        fn decoding_never_panics(text in proptest::collection::vec(proptest::sample::select(b"=?qbQB utf-8=A_\n\0\xe9*".to_vec()), 0..40)) {
            let _ = decode(&text, Some(b"UTF-8"), true, Undecodable::KeepBytes);
        }
    }
}

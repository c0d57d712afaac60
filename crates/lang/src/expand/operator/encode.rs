//! Operators that write bytes or numbers in another form.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use oxim_base::Text;

use super::hash::lower_hex;
use super::{OperatorRow, operator};
use crate::expand::ExpandError;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Base 64 as Exim reads it: padding must be there, left-over bits may be anything.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "base32",
        "A decimal number in base 32; nothing for zero.",
        &[("${base32:1000}", "7i"), ("${base32:0}", "")],
        |_, _, s| {
            let number = decimal(&s, "base32")?;
            Ok(s.derive(digits(number, BASE32)))
        },
    ),
    &operator("base32d", "A base 32 number in decimal.", &[("${base32d:7i}", "1000")], |_, _, s| {
        undo(&s, "base32d", 32, BASE32)
    }),
    &operator(
        "base62",
        "A decimal number in base 62, six characters.",
        &[("${base62:1000000}", "004C92")],
        |_, _, s| {
            // Six characters, whatever the number: the higher digits are cut off.
            let number = decimal(&s, "base62")? % 62_u64.pow(6);
            let text = digits(number, BASE62);
            let mut padded = vec![b'0'; 6_usize.saturating_sub(text.len())];
            padded.extend_from_slice(&text);
            Ok(s.derive(padded))
        },
    ),
    &operator("base62d", "A base 62 number in decimal.", &[("${base62d:004C92}", "1000000")], |_, _, s| {
        undo(&s, "base62d", 62, BASE62)
    }),
    &operator("base64", "The bytes in base 64.", &[("${base64:hello}", "aGVsbG8=")], |_, _, s| {
        Ok(s.derive(STANDARD.encode(s.as_bytes())))
    }),
    &operator(
        "base64d",
        "The bytes that a base 64 text stands for.",
        &[("${base64d:aGVs bG8=}", "hello")],
        |_, _, s| {
            let compact: Vec<u8> =
                s.as_bytes().iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            let bytes = LENIENT_BASE64.decode(compact);
            let bytes = bytes
                .map_err(|_| failed(format!("string \"{s}\" is not well-formed for \"base64d\" operator")))?;
            Ok(s.derive(bytes))
        },
    ),
    &operator(
        "escape",
        "Non-printing characters as escape sequences.",
        &[("${escape:a\\x01\\n\\xe9}", "a\\001\\n\\351")],
        |c, _, s| Ok(s.derive(escaped(s.as_bytes(), c.config.main.print_topbitchars))),
    ),
    &operator(
        "escape8bit",
        "Bytes above 127, backslash and DEL as octal escapes.",
        &[("${escape8bit:\\xe9\\\\b}", "\\351\\134b")],
        |_, _, s| {
            Ok(s.derive(
                s.as_bytes()
                    .iter()
                    .flat_map(|b| octal_if(*b, *b >= 0x7f || *b == b'\\'))
                    .collect::<Vec<u8>>(),
            ))
        },
    ),
    &operator("hex2b64", "A hexadecimal text in base 64.", &[("${hex2b64:616263}", "YWJj")], |_, _, s| {
        hex_to_base64(&s)
    }),
    &operator(
        "hexquote",
        "Bytes other than 33 to 126 as `\\xNN`.",
        &[("${hexquote:a b}", "a\\x20b")],
        |_, _, s| {
            let quote = |b: &u8| {
                if (33..=126).contains(b) { vec![*b] } else { [b"\\x", lower_hex(&[*b]).as_slice()].concat() }
            };
            Ok(s.derive(s.as_bytes().iter().flat_map(quote).collect::<Vec<u8>>()))
        },
    ),
    &operator(
        "rxquote",
        "A backslash before everything but letters and digits.",
        &[("${rxquote:a.b*c_d-1}", "a\\.b\\*c\\_d\\-1")],
        |_, _, s| {
            let quote = |b: &u8| if b.is_ascii_alphanumeric() { vec![*b] } else { vec![b'\\', *b] };
            Ok(s.derive(s.as_bytes().iter().flat_map(quote).collect::<Vec<u8>>()))
        },
    ),
    &operator("str2b64", "Old name of base64.", &[("${str2b64:abc}", "YWJj")], |_, _, s| {
        Ok(s.derive(STANDARD.encode(s.as_bytes())))
    }),
    &operator(
        "xtextd",
        "The text that an xtext (RFC 3461) stands for.",
        &[("${xtextd:a+2Bb}", "a+b")],
        |_, _, s| xtext_decoded(&s),
    ),
];

fn failed(message: String) -> ExpandError {
    ExpandError::Failed(message)
}

/// A number of 64 bits as strtoull() reads it: a sign may stand in front, and a negative one counts from the end.
fn decimal(text: &Text, name: &str) -> Result<u64, ExpandError> {
    let complaint =
        || failed(format!("argument for {name} operator is \"{text}\", which is not a decimal number"));
    let shown = text.as_str().ok_or_else(complaint)?;
    let unsigned = shown.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let (negative, digits) = match unsigned.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, unsigned.strip_prefix('+').unwrap_or(unsigned)),
    };
    if shown.is_empty() {
        return Ok(0);
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(complaint());
    }
    let Ok(number) = digits.parse::<u64>() else { return Ok(u64::MAX) };
    Ok(if negative { number.wrapping_neg() } else { number })
}

fn digits(mut number: u64, alphabet: &[u8]) -> Vec<u8> {
    let base = alphabet.len() as u64;
    let mut out = Vec::new();
    while number > 0 {
        out.extend(alphabet.get(usize::try_from(number % base).unwrap_or(0)));
        number /= base;
    }
    out.reverse();
    out
}

fn undo(text: &Text, name: &str, base: u64, alphabet: &[u8]) -> Result<Text, ExpandError> {
    let mut number = 0_u64;
    for byte in text.as_bytes() {
        let digit = alphabet.iter().position(|a| a == byte).ok_or_else(|| {
            failed(format!("argument for {name} operator is \"{text}\", which is not a base {base} number"))
        })?;
        number = number.wrapping_mul(base).wrapping_add(digit as u64);
    }
    // Shown signed, as observed.
    Ok(text.derive(i64::from_ne_bytes(number.to_ne_bytes()).to_string()))
}

fn octal_if(byte: u8, escape: bool) -> Vec<u8> {
    if escape { format!("\\{byte:03o}").into_bytes() } else { vec![byte] }
}

/// Non-printing bytes as escape sequences, tabs excepted; bytes above 127 print under `print_topbitchars`.
pub(crate) fn escaped(bytes: &[u8], top_bit_prints: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0b => out.extend_from_slice(b"\\v"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\t' | 0x20..=0x7e => out.push(*byte),
            0x80.. if top_bit_prints => out.push(*byte),
            other => out.extend(octal_if(*other, true)),
        }
    }
    out
}

fn hex_to_base64(text: &Text) -> Result<Text, ExpandError> {
    let nibbles: Option<Vec<u8>> = text.as_bytes().iter().map(|b| hex_value(*b)).collect();
    let nibbles = nibbles.ok_or_else(|| failed(format!("\"{text}\" is not a hex string")))?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(failed(format!("\"{text}\" contains an odd number of characters")));
    }
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| (high << 4) | low).collect();
    Ok(text.derive(STANDARD.encode(bytes)))
}

fn hex_value(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

fn xtext_decoded(text: &Text) -> Result<Text, ExpandError> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => {
                let high = bytes.next().and_then(|b| hex_value(*b));
                let low = bytes.next().and_then(|b| hex_value(*b));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(failed(format!("\"{text}\" is not well-formed for \"xtextd\" operator")));
                };
                out.push((high << 4) | low);
            }
            33..=126 if *byte != b'=' => out.push(*byte),
            _ => return Err(failed(format!("\"{text}\" is not well-formed for \"xtextd\" operator"))),
        }
    }
    Ok(text.derive(out))
}

//! Numbers as Exim reads them in conditions: decimal, an optional sign, `K`, `M` or `G`, white space around.

/// Reads a signed decimal number; empty text is zero.
///
/// # Errors
/// It is no number: Exim's text.
pub fn parse(text: &str) -> Result<i64, String> {
    let text = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let trimmed = text;
    if trimmed.is_empty() {
        return Ok(0);
    }
    let (negative, digits_on) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let length = digits_on.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = digits_on.split_at_checked(length).unwrap_or_default();
    if digits.is_empty() {
        return Err(format!("integer expected but \"{text}\" found"));
    }
    let (factor, rest) = multiplier(rest);
    if !rest.bytes().all(|b| b.is_ascii_whitespace() || b == 0x0b) {
        return Err(format!("invalid integer \"{text}\""));
    }
    let too_large = || format!("absolute value of integer \"{text}\" is too large (overflow)");
    let magnitude: u64 = digits.parse().map_err(|_| too_large())?;
    let value = i128::from(magnitude) * i128::from(factor);
    i64::try_from(if negative { -value } else { value }).map_err(|_| too_large())
}

/// The factor of a letter at the start of the text, and what follows it.
pub(crate) fn multiplier(text: &str) -> (i64, &str) {
    let factor = match text.bytes().next() {
        Some(b'k' | b'K') => 1_024,
        Some(b'm' | b'M') => 1_024 * 1_024,
        Some(b'g' | b'G') => 1_024 * 1_024 * 1_024,
        _ => return (1, text),
    };
    (factor, text.get(1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_have_exims_forms_and_errors() {
        for (text, value) in [
            ("", 0),
            ("  ", 0),
            ("010", 10),
            (" 1k", 1024),
            ("1023 ", 1023),
            ("-1", -1),
            ("+1", 1),
            ("1g", 1 << 30),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        for (text, message) in [
            ("a", "integer expected but \"a\" found"),
            ("-", "integer expected but \"-\" found"),
            ("--1", "integer expected but \"--1\" found"),
            ("1023x", "invalid integer \"1023x\""),
            ("0x10", "invalid integer \"0x10\""),
            ("1 K", "invalid integer \"1 K\""),
            (
                "9223372036854775808",
                "absolute value of integer \"9223372036854775808\" is too large (overflow)",
            ),
            ("9007199254740992K", "absolute value of integer \"9007199254740992K\" is too large (overflow)"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }
}

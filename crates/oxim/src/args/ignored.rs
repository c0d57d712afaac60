//! Options that Exim itself takes and ignores, for the sake of programs that call `sendmail`.

use super::{ArgumentError, Cursor};

/// Options without effect in Exim too (manual chapter 5): the whole text behind the hyphen, or its beginning.
const WHOLE: &[&[u8]] = &[b"m", b"x", b"U", b"Ac", b"Am", b"om", b"n0"];
const BEGINNING: &[&[u8]] = &[b"B"];
/// Options whose value is ignored too: in the same word or the next.
const WITH_VALUE: &[&[u8]] = &[b"O", b"h", b"X"];

pub(super) fn is_ignored(body: &[u8]) -> bool {
    WHOLE.contains(&body) || BEGINNING.iter().chain(WITH_VALUE).any(|start| body.starts_with(start))
}

/// Takes the value of an ignored option.
pub(super) fn skip_value(cursor: &mut Cursor, word: &[u8], body: &[u8]) -> Result<(), ArgumentError> {
    if WITH_VALUE.contains(&body) {
        cursor.expected("string", word)?;
    }
    Ok(())
}

//! Operators that quote a string for a place where it will stand.

use oxim_mail::address::quote_local_part;

use super::{Arguments, OperatorRow, operator};
use crate::expand::ExpandError;
use crate::lookup;

pub(super) static ROWS: &[&OperatorRow] = &[
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "quote",
            "In double quotes, unless there are only letters, digits, `_`, `.` and `-`; `quote_<lookup type>` quotes for a query.",
            &[("${quote:ab\"*\"cd}", "\"ab\\\"*\\\"cd\""), ("${quote:}", "\"\"")],
            |_, kind, s| match kind {
                None => Ok(s.derive(quoted(s.as_bytes()))),
                Some(kind) => lookup::quote(kind, &s).map_err(ExpandError::Failed),
            },
        )
    },
    &operator(
        "quote_local_part",
        "In double quotes if a local part would need them.",
        &[("${quote_local_part:a b}", "\"a b\""), ("${quote_local_part:a+b}", "a+b")],
        |_, _, s| Ok(s.derive(quote_local_part(s.as_bytes()))),
    ),
];

fn quoted(bytes: &[u8]) -> Vec<u8> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return bytes.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in bytes {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            other => out.push(*other),
        }
    }
    out.push(b'"');
    out
}

//! Operators on addresses and header texts.

use oxim_base::Text;
use oxim_mail::address::{AddressSyntax, ParsedAddress, address_list, parse};

use super::{OperatorRow, operator};
use crate::expand::ExpandError;

/// Addresses in expansions may have what any header line may have.
const SYNTAX: AddressSyntax = AddressSyntax {
    allow_domain_literals: true,
    allow_utf8_domains: false,
    strip_excess_angle_brackets: false,
    strip_trailing_dot: false,
    allow_empty: false,
    smtp_utf8: false,
};

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "address",
        "The address in a header text; nothing if there is not exactly one.",
        &[("${address:Foo <a@b.c>}", "a@b.c"), ("${address:a b}", "")],
        |_, _, s| Ok(one(&s).map_or_else(|| s.derive(Vec::new()), |a| s.derive(a.address))),
    ),
    &operator(
        "addresses",
        "The addresses in a header text, as a list; `>` and a character in front change the separator.",
        &[("${addresses:>& Chief <ceo@up.stairs>, sec@base.ment (dogsbody)}", "ceo@up.stairs&sec@base.ment")],
        |_, _, s| all(&s),
    ),
    &operator(
        "domain",
        "The domain of an address.",
        &[("${domain:Foo <a@B.c>}", "B.c"), ("${domain:foo}", "")],
        |_, _, s| Ok(s.derive(one(&s).and_then(|a| a.domain().map(<[u8]>::to_vec)).unwrap_or_default())),
    ),
    &operator(
        "local_part",
        "The local part of an address, as written.",
        &[("${local_part:\"x y\"@b.c}", "\"x y\"")],
        |_, _, s| Ok(s.derive(one(&s).map(|a| a.local_part().to_vec()).unwrap_or_default())),
    ),
];

fn one(text: &Text) -> Option<ParsedAddress> {
    parse(text.as_bytes(), &SYNTAX).ok()
}

fn all(text: &Text) -> Result<Text, ExpandError> {
    let mut separator = b':';
    let mut rest = text.as_bytes().trim_ascii_start();
    if let Some((b'>', after)) = rest.split_first() {
        let Some((given, after)) = after.split_first() else {
            return Err(ExpandError::Failed(format!(
                "output separator missing in expanding ${{addresses:{text}}}"
            )));
        };
        separator = *given;
        rest = after;
    }
    let mut out = Vec::new();
    for item in address_list(rest) {
        let Ok(parsed) = item.parse(&SYNTAX) else { continue };
        if !out.is_empty() {
            out.push(separator);
        }
        for byte in parsed.address {
            out.push(byte);
            if byte == separator {
                out.push(byte);
            }
        }
    }
    Ok(text.derive(out))
}

//! Operators between character sets: encoded words, A-labels. Manual sections 11.6 and 60.1.

use std::fmt::Write as _;

use oxim_base::Text;
use oxim_mail::idna;
use oxim_mail::rfc2047::{self, Undecodable};

use super::{OperatorRow, operator};
use crate::expand::ExpandError;

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "rfc2047",
        "As encoded words (RFC 2047), if that is needed.",
        &[("${rfc2047:a=b}", "=?UTF-8?Q?a=3Db?="), ("${rfc2047:abc}", "abc")],
        |context, _, s| Ok(s.derive(rfc2047::encode(s.as_bytes(), context.headers_charset().as_bytes()))),
    ),
    &operator(
        "rfc2047d",
        "Encoded words decoded.",
        &[("${rfc2047d:=?iso-8859-1?q?caf=E9?=}", "café")],
        |context, _, s| {
            let check = context.config.main.check_rfc2047_length;
            let decoded = rfc2047::decode(
                s.as_bytes(),
                Some(context.headers_charset().as_bytes()),
                check,
                Undecodable::KeepBytes,
            );
            decoded.map(|bytes| s.derive(bytes)).map_err(|error| ExpandError::Failed(error.to_string()))
        },
    ),
    &operator(
        "utf8_domain_from_alabel",
        "A domain in UTF-8.",
        &[("${utf8_domain_from_alabel:xn--bcher-kva.example}", "bücher.example")],
        |_, _, s| {
            idna::to_unicode(s.as_bytes())
                .map(|bytes| s.derive(bytes))
                .map_err(|e| failed("alabel", &s, "utf8", &e))
        },
    ),
    &operator(
        "utf8_domain_to_alabel",
        "A domain with A-labels.",
        &[("${utf8_domain_to_alabel:bücher.example}", "xn--bcher-kva.example")],
        |_, _, s| {
            idna::to_ascii(s.as_bytes())
                .map(|bytes| s.derive(bytes))
                .map_err(|e| failed("utf8", &s, "alabel", &e))
        },
    ),
    &operator(
        "utf8_localpart_from_alabel",
        "A local part in UTF-8.",
        &[("${utf8_localpart_from_alabel:xn--b-eha}", "bü")],
        |_, _, s| {
            idna::local_part_to_unicode(s.as_bytes())
                .map(|bytes| s.derive(bytes))
                .map_err(|e| failed("alabel", &s, "utf8", &e))
        },
    ),
    &operator(
        "utf8_localpart_to_alabel",
        "A local part in ASCII.",
        &[("${utf8_localpart_to_alabel:Bü.x}", "xn--B.x-hoa"), ("${utf8_localpart_to_alabel:abc}", "abc")],
        |_, _, s| {
            idna::local_part_to_ascii(s.as_bytes())
                .map(|bytes| s.derive(bytes))
                .map_err(|e| failed("utf8", &s, "alabel", &e))
        },
    ),
];

fn failed(from: &str, text: &Text, to: &str, error: &idna::IdnaError) -> ExpandError {
    let mut shown = String::new();
    for byte in text.as_bytes() {
        match byte {
            b' '..=b'~' => shown.push(char::from(*byte)),
            other => {
                let _ = write!(shown, "\\{other:03o}");
            }
        }
    }
    ExpandError::Failed(format!("error converting {from} ({shown}) to {to}: {error}"))
}

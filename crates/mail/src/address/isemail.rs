//! The addresses of the suite "isemail", read from the folder that `OXIM_CONFORMANCE` names, against the address parser.
//! Without the folder the test says so and does nothing.
//!
//! The suite gives each address a diagnosis. An address should be taken unless its category is an error; where the parser
//! thinks otherwise, `DIFFERENCES` has the reason, and a row that explains nothing is a failure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::*;

/// What the suite and the parser differ in: the diagnosis, whether the parser takes such addresses, and why.
const DIFFERENCES: &[(&str, bool, &str)] = &[
    ("ISEMAIL_ERR_DOT_START", true, "dots anywhere in a local part are mail that exists; Exim takes them"),
    ("ISEMAIL_ERR_DOT_END", true, "as above"),
    ("ISEMAIL_ERR_CONSECUTIVEDOTS", true, "as above"),
    (
        "ISEMAIL_ERR_EXPECTING_ATEXT",
        true,
        "a backslash quotes the next character outside quotes too, as RFC 821 had it; white space around is no part of the address",
    ),
    ("ISEMAIL_ERR_DOMAINHYPHENEND", true, "that a label ends in a hyphen is for the DNS to judge"),
    ("ISEMAIL_ERR_UNCLOSEDCOMMENT", true, "a comment goes on to the end of the text"),
    ("ISEMAIL_ERR_BACKSLASHEND", true, "as above"),
    (
        "ISEMAIL_ERR_FWS_CRLF_X2",
        true,
        "white space and line ends around and between the parts are dropped, however many",
    ),
    ("ISEMAIL_ERR_FWS_CRLF_END", true, "as above"),
    ("ISEMAIL_ERR_CR_NO_LF", true, "a bare CR is dropped: none is left in what was parsed"),
    ("ISEMAIL_ERR_EXPECTING_QTEXT", true, "a line end within quotes is dropped"),
    ("ISEMAIL_ERR_EXPECTING_CTEXT", true, "a comment is dropped whole"),
    ("ISEMAIL_ERR_EXPECTING_QPAIR", true, "bytes over 127 may stand in quoted local parts (RFC 6531)"),
    ("ISEMAIL_DEPREC_QP", false, "no address holds a binary zero"),
    ("ISEMAIL_RFC5322_TOOLONG", false, "the domain is longer than the DNS has room for"),
    ("ISEMAIL_RFC5322_DOMAIN_TOOLONG", false, "as above"),
    ("ISEMAIL_RFC5322_DOMAIN", false, "a domain of letters, digits, hyphens and underscores only"),
    ("ISEMAIL_RFC5322_DOMAINLITERAL", false, "a domain literal is an IP address"),
    ("ISEMAIL_RFC5322_DOMLIT_OBSDTEXT", false, "as above"),
];

struct Case {
    address: Vec<u8>,
    category: String,
    diagnosis: String,
}

fn field(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value.to_owned())
}

/// XML's escapes; characters from U+2400 on stand for control characters.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, behind) = after.split_once(';').unwrap();
        out.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let number = number.strip_prefix('#').unwrap();
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(code.unwrap()).unwrap()
            }
        });
        rest = behind;
    }
    out.push_str(rest);
    let plain = out.chars().map(|c| match u32::from(c) {
        code @ 0x2400..=0x241f => char::from_u32(code - 0x2400).unwrap(),
        _ => c,
    });
    plain.collect::<String>().into_bytes()
}

fn cases(file: &str) -> Vec<Case> {
    let root = std::env::var_os("OXIM_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(root.join("isemail").join(file)) else {
        eprintln!("skipped: {} has no isemail/{file}", root.display());
        return Vec::new();
    };
    let case = |part: &str| Case {
        address: unescaped(&field(part, "address").unwrap_or_default()),
        category: field(part, "category").unwrap(),
        diagnosis: field(part, "diagnosis").unwrap(),
    };
    text.split("<test id=").skip(1).map(case).collect()
}

#[test]
fn addresses_of_isemail() {
    let syntax = AddressSyntax { allow_domain_literals: true, allow_empty: true, ..AddressSyntax::default() };
    let mut unexplained = Vec::new();
    let mut needed = BTreeSet::new();
    let mut taken: BTreeMap<bool, usize> = BTreeMap::new();
    let all: Vec<Case> = ["tests.xml", "tests-original.xml"].into_iter().flat_map(cases).collect();
    for case in &all {
        let parsed = parse(&case.address, &syntax);
        let is_taken = parsed.as_ref().is_ok_and(|p| p.domain().is_some());
        *taken.entry(is_taken).or_default() += 1;
        if is_taken != (case.category != "ISEMAIL_ERR") {
            let row = DIFFERENCES
                .iter()
                .position(|(diagnosis, takes, _)| *diagnosis == case.diagnosis && *takes == is_taken);
            match row {
                Some(row) => drop(needed.insert(row)),
                None => unexplained.push(format!(
                    "{} {is_taken} {:?} {:?}",
                    case.diagnosis,
                    String::from_utf8_lossy(&case.address),
                    parsed.map(|p| String::from_utf8_lossy(&p.address).into_owned())
                )),
            }
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    if !all.is_empty() {
        assert!(all.len() > 400 && taken[&true] > 100 && taken[&false] > 100, "{taken:?}");
        assert_eq!(needed.len(), DIFFERENCES.len(), "a row of DIFFERENCES explains nothing");
        // What was dropped is not there any more: nothing can be smuggled in an address.
        let canonical = all.iter().filter_map(|case| parse(&case.address, &syntax).ok());
        assert!(canonical.into_iter().all(|p| !p.address.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))));
    }
}

//! The lookups `psl` and `regdom`: public suffix and registered domain of a domain, by a file in the form of the Public Suffix
//! List (Debian: `/usr/share/publicsuffix/public_suffix_list.dat`; <https://publicsuffix.org/list/>).
//!
//! A key that is itself a rule is not matched by that rule: the shorter ones are tried. The result has the form of the key:
//! U-labels if there are some in it.

use std::sync::Arc;

use oxim_mail::idna;
use oxim_mailauth::dmarc::suffix::Rules;

use super::files::{self, FileError};
use super::{KeyedFile, LookupKind, LookupType, Style};
use crate::context::Context;

/// The row of `psl`.
pub(super) static PSL: LookupKind = LookupKind {
    name: "psl",
    style: Style::KeyedFile(open),
    doc: "public suffix of a domain, by a file in the form of the Public Suffix List",
};

/// The row of `regdom`.
pub(super) static REGDOM: LookupKind = LookupKind {
    name: "regdom",
    style: Style::KeyedFile(open),
    doc: "registered domain of a domain (public suffix and one label), by the same file",
};

/// The rules of a file.
struct List(Rules);

fn open(path: &[u8]) -> Result<Arc<dyn KeyedFile>, String> {
    let name = String::from_utf8_lossy(path).into_owned();
    let opened = files::parsed("psl", path, |opened| Ok(List(Rules::parse(&opened.read()?))));
    let list = opened.map_err(|error| match error {
        FileError::Io(e) => format!("failed to open {name} for public suffix lookup: {}", files::reason(&e)),
        FileError::NotRegular => format!("{name} is not a regular file (psl lookup)"),
        FileError::TooLarge => format!("{name} is too large (psl lookup)"),
    })?;
    Ok(list)
}

impl KeyedFile for List {
    fn find(&self, _: &mut Context, key: &[u8], lookup: &LookupType) -> Result<Option<Vec<u8>>, String> {
        let Ok(ascii) = idna::to_ascii(key) else { return Ok(None) };
        let ascii = ascii.to_ascii_lowercase();
        let labels: Vec<&[u8]> = ascii.split(|b| *b == b'.').collect();
        let more = usize::from(lookup.kind.name == "regdom");
        let Some(wanted) = self.0.suffix_labels(&labels, false).map(|n| n.saturating_add(more)) else {
            return Ok(None);
        };
        let Some(start) = labels.len().checked_sub(wanted) else { return Ok(None) };
        let result = labels.get(start..).unwrap_or_default().join(&b'.');
        if key.is_ascii() {
            return Ok(Some(result));
        }
        Ok(Some(idna::to_unicode(&result).unwrap_or(result)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        "// comment\naero\naerobatic.aero\n*.ck\n!www.ck\n\u{7f51}\u{7edc}.cn trailing words\ncn\n";

    fn look(kind: &str, key: &str) -> String {
        let list = List(Rules::parse(RULES.as_bytes()));
        let lookup = LookupType::parse(kind).unwrap();
        let found = list.find(&mut Context::default(), key.as_bytes(), &lookup).unwrap();
        found.map_or(String::new(), |data| String::from_utf8(data).unwrap())
    }

    #[test]
    fn suffixes_and_registered_domains() {
        for (key, suffix, domain) in [
            ("aero", "", ""),
            ("aerobatic.aero", "aero", "aerobatic.aero"),
            ("Bill.Aerobatic.aero", "aerobatic.aero", "bill.aerobatic.aero"),
            ("x.bill.aerobatic.aero", "aerobatic.aero", "bill.aerobatic.aero"),
            ("w3.ck", "w3.ck", ""),
            ("www.ck", "ck", "www.ck"),
            ("foo.www.ck", "ck", "www.ck"),
            ("a.b.\u{7f51}\u{7edc}.cn", "\u{7f51}\u{7edc}.cn", "b.\u{7f51}\u{7edc}.cn"),
            ("b.xn--io0a7i.cn", "xn--io0a7i.cn", "b.xn--io0a7i.cn"),
            ("no.example", "", ""),
        ] {
            assert_eq!(look("psl", key), suffix, "psl {key}");
            assert_eq!(look("regdom", key), domain, "regdom {key}");
        }
    }
}

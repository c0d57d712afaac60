//! The suites that others wrote: UTS 46 (IdnaTestV2), IDNA2008 (that of libidn2) and punycode, read from the folder that
//! `OXIM_CONFORMANCE` names. Without it the tests say so and do nothing.

use std::path::PathBuf;

use super::*;

fn read(file: &str) -> Option<String> {
    let root = std::env::var_os("OXIM_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let text = std::fs::read_to_string(root.join("idna").join(file)).ok();
    if text.is_none() {
        eprintln!("skipped: {} has no idna/{file}", root.display());
    }
    text
}

/// `\\uXXXX` and `\\x{XXXX}` as characters; None for a surrogate, which no UTF-8 can hold.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let (digits, behind) = match after.strip_prefix("x{") {
            Some(after) => after.split_once('}')?,
            None => after.strip_prefix('u')?.split_at_checked(4)?,
        };
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

fn fields(line: &str) -> Vec<&str> {
    line.split_once('#').map_or(line, |(row, _)| row).split(';').map(str::trim).collect()
}

/// Lengths and empty labels are not ours to judge; what is left of a status decides.
fn is_refused(status: &str) -> bool {
    status
        .trim_matches(['[', ']'])
        .split([',', ' '])
        .any(|code| !matches!(code, "" | "A4_1" | "A4_2" | "X4_2" | "V4_2"))
}

/// Characters of which the suites think otherwise than the Unicode of today: (first, last, why).
const CHANGED: &[(char, char, &str)] = &[
    ('\u{10A0}', '\u{10C5}', "Georgian capitals have small letters by now"),
    ('\u{04C0}', '\u{04C0}', "so has the palochka"),
    ('\u{115F}', '\u{1160}', "fillers are ignored by now"),
    ('\u{1D173}', '\u{1D17A}', "so are the controls of musical notation"),
    ('\u{18B00}', '\u{18CFF}', "assigned since 13.0"),
    ('\u{323B0}', '\u{3347F}', "assigned since 17.0"),
    ('\u{3D000}', '\u{3FC3F}', "assigned since 18.0"),
];

/// A row that is refused for characters alone, some of which are in [`CHANGED`].
fn is_changed(source: &str, status: &str) -> bool {
    let codes = status.trim_matches(['[', ']']).split([',', ' ']);
    let of_characters = |code: &str| matches!(code, "" | "P1" | "V6" | "V7" | "A4_2");
    codes.into_iter().all(of_characters)
        && source.chars().any(|c| CHANGED.iter().any(|(first, last, _)| (*first..=*last).contains(&c)))
}

#[test]
fn uts46() {
    let Some(text) = read("IdnaTestV2.txt") else { return };
    let (mut count, mut failures) = (0, Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let row = fields(line);
        let or = |field: usize, other: &str| {
            let text = row.get(field).copied().unwrap_or_default();
            if text.is_empty() { other.to_owned() } else { text.to_owned() }
        };
        let (unicode_status, source) = (or(2, ""), unescaped(row[0]));
        let Some(source) = source.filter(|s| !s.is_ascii()) else { continue };
        let expected = or(3, &or(1, row[0]));
        let status = or(4, &unicode_status);
        count += 1;
        let found = mapped(&source);
        let is_too_long = found.as_ref().is_err_and(|e| e.why.starts_with("domain label longer"));
        let good = match &found {
            _ if is_refused(&status) => found.is_err() || is_changed(&source, &status),
            Err(_) => is_too_long && status.contains("A4_2"),
            Ok(ascii) => unescaped(&expected).is_some_and(|e| e == *ascii),
        };
        if !good {
            failures.push(format!("{line}: {found:?}"));
        }
    }
    assert!(count > 4000, "{count}");
    assert!(
        failures.is_empty(),
        "{} of {count}: {:#?}",
        failures.len(),
        failures.get(..failures.len().min(40))
    );
}

/// Every row the other way. Sources that are ASCII already stay as they are when they are converted to ASCII, whatever the
/// suite says of them: an ASCII domain is asked for as it stands.
///
/// What differs, with its reason: labels are judged one by one, so a right-to-left label does not make a digit at the front of
/// its neighbour an error (B1 and the like, with more than one label); labels that are not A-labels are not judged at all;
/// hyphens in the third and fourth place are nobody's harm in what is shown.
#[test]
fn uts46_to_unicode() {
    let Some(text) = read("IdnaTestV2.txt") else { return };
    let (mut count, mut surrogates, mut failures) = (0, 0, Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let row = fields(line);
        let or = |field: usize, other: &str| match row.get(field).copied().unwrap_or_default() {
            "" => other.to_owned(),
            "\"\"" => String::new(),
            text => text.to_owned(),
        };
        let quoted = if row[0] == "\"\"" { "" } else { row[0] };
        let status = or(2, "");
        let ascii = or(3, &or(1, quoted));
        let (Some(source), Some(unicode), Some(ascii)) =
            (unescaped(quoted), unescaped(&or(1, quoted)), unescaped(&ascii))
        else {
            surrogates += 1;
            continue;
        };
        count += 1;
        if source.is_ascii() {
            assert_eq!(to_ascii(source.as_bytes()), Ok(source.clone().into_bytes()), "{line}");
        }
        let found = to_unicode(ascii.as_bytes());
        let good = if is_refused(&status) || is_refused(&or(4, &status)) {
            found.is_err() || is_left_alone(&ascii, &status) || is_changed(&unicode, &status)
        } else {
            found == Ok(unicode.clone().into_bytes())
        };
        if !good {
            failures.push(format!("{line}: {found:?}"));
        }
    }
    assert!(count > 6000 && surrogates < 100, "{count} rows, {surrogates} that no UTF-8 can hold");
    assert!(
        failures.is_empty(),
        "{} of {count}: {:#?}",
        failures.len(),
        failures.get(..failures.len().min(40))
    );
}

/// The rows that `uts46_to_unicode` excepts.
fn is_left_alone(ascii: &str, status: &str) -> bool {
    let mut codes = status.trim_matches(['[', ']']).split([',', ' ']);
    let has_other = |label: &str| !label.starts_with("xn--");
    codes
        .all(|code| matches!(code, "" | "V2" | "V3" | "X4_2") || code.starts_with('B') && ascii.contains('.'))
        || ascii.split('.').all(has_other)
}

#[test]
fn idna2008() {
    let Some(text) = read("libidn2-IdnaTest.txt") else { return };
    let (mut count, mut failures) = (0, Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        let row = fields(line);
        if row[0] == "T" {
            continue;
        }
        let Some(source) = unescaped(row[1]).filter(|s| !s.is_ascii()) else { continue };
        let first = |texts: [&str; 3]| texts.into_iter().find(|t| !t.is_empty()).unwrap_or("").to_owned();
        let expected = first([row[3], row[2], row[1]]);
        let is_outside_2008 = row.get(4).is_some_and(|mark| matches!(*mark, "NV8" | "XV8"));
        count += 1;
        let found = to_ascii(source.as_bytes());
        let good = if is_outside_2008 || expected.starts_with('[') && is_refused(&expected) {
            found.is_err() || is_changed(&source, &expected)
        } else if expected.starts_with('[') {
            true
        } else {
            found.as_ref().ok().map(Vec::as_slice) == unescaped(&expected).as_deref().map(str::as_bytes)
        };
        if !good {
            failures.push(format!("{line}: {found:?}"));
        }
    }
    assert!(count > 3000, "{count}");
    assert!(
        failures.is_empty(),
        "{} of {count}: {:#?}",
        failures.len(),
        failures.get(..failures.len().min(40))
    );
}

#[test]
fn punycode() {
    let Some(text) = read("punycode_tests.json") else { return };
    let mut count = 0;
    // The rows are flat objects, a member a line.
    let mut decoded = None;
    for line in text.lines().map(str::trim) {
        let value = |name: &str| {
            let text = line.strip_prefix(name)?.strip_prefix(": \"")?;
            let text = text.strip_suffix(',').unwrap_or(text).strip_suffix('"')?;
            let units: Vec<u16> = json(text);
            String::from_utf16(&units).ok()
        };
        if let Some(text) = value("\"decoded\"") {
            decoded = Some(text);
        } else if let (Some(encoded), Some(decoded)) = (value("\"encoded\""), decoded.take()) {
            count += 1;
            let found = local_part_to_unicode(format!("xn--{encoded}").as_bytes());
            assert_eq!(found, Ok(decoded.clone().into_bytes()));
            if !decoded.is_ascii() {
                let found = local_part_to_ascii(decoded.as_bytes()).unwrap();
                assert!(found.eq_ignore_ascii_case(format!("xn--{encoded}").as_bytes()), "{decoded}");
            }
        }
    }
    assert!(count >= 20, "{count}");
    let Some(text) = read("bad_punycode_tests.json") else { return };
    let bad =
        text.lines().find_map(|l| l.trim().strip_prefix("\"decoded\": \"")).unwrap().trim_end_matches('"');
    // Too long for punycode, or at least never a panic.
    let _ = local_part_to_ascii(bad.as_bytes());
}

/// The text of a JSON string, as UTF-16.
fn json(text: &str) -> Vec<u16> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend(before.encode_utf16());
        if let Some(after) = after.strip_prefix('u') {
            let (digits, behind) = after.split_at(4);
            out.push(u16::from_str_radix(digits, 16).unwrap());
            rest = behind;
        } else {
            let (letter, behind) = after.split_at(1);
            out.extend(letter.encode_utf16());
            rest = behind;
        }
    }
    out.extend(rest.encode_utf16());
    out
}

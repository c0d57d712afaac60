//! `oxim tlsa FILE [USAGE SELECTOR MATCHING]`: the TLSA record to publish for a certificate (RFC 6698), `3 1 2` by default.
//!
//! For usages 0 and 2 the authority counts: a record for each certificate of the file after the first, or for the only one.

use std::fmt::Write as _;
use std::path::PathBuf;

use oxim_net::tls::{certificates_of_file, dane};

/// Prints the records. Exit code 0, 1 if the file cannot be used, 2 for wrong arguments.
pub(crate) fn run(words: &[Vec<u8>]) -> u8 {
    let Some((file, [usage, selector, matching])) = arguments(words) else {
        complain!("usage: oxim tlsa FILE [USAGE SELECTOR MATCHING]");
        return 2;
    };
    let certificates = match certificates_of_file(&file) {
        Ok(certificates) => certificates,
        Err(error) => {
            complain!("{error}");
            return 1;
        }
    };
    let is_about_leaf = matches!(usage, 1 | 3) || certificates.len() == 1;
    let chosen = if is_about_leaf { certificates.get(..1) } else { certificates.get(1..) };
    for certificate in chosen.unwrap_or_default() {
        let Some(data) = dane::association(certificate, selector, matching) else {
            complain!("no public key in a certificate of {}", file.display());
            return 1;
        };
        let mut hex = String::with_capacity(data.len().saturating_mul(2));
        for byte in data {
            let _ = write!(hex, "{byte:02x}");
        }
        say!("TLSA {usage} {selector} {matching} {hex}");
    }
    0
}

/// The file and the three numbers, if they are numbers of RFC 6698.
fn arguments(words: &[Vec<u8>]) -> Option<(PathBuf, [u8; 3])> {
    use std::os::unix::ffi::OsStrExt;
    let (file, numbers) = words.split_first()?;
    let file = PathBuf::from(std::ffi::OsStr::from_bytes(file));
    if numbers.is_empty() {
        return Some((file, [3, 1, 2]));
    }
    let number = |at: usize, most: u8| -> Option<u8> {
        let number = std::str::from_utf8(numbers.get(at)?).ok()?.parse().ok()?;
        (number <= most).then_some(number)
    };
    let all = [number(0, 3)?, number(1, 1)?, number(2, 2)?];
    (numbers.len() == 3).then_some((file, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(line: &str) -> Option<[u8; 3]> {
        let words: Vec<Vec<u8>> = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        arguments(&words).map(|(_, numbers)| numbers)
    }

    #[test]
    fn numbers_are_those_of_the_rfc() {
        assert_eq!(numbers("f"), Some([3, 1, 2]));
        assert_eq!(numbers("f 2 0 1"), Some([2, 0, 1]));
        for wrong in ["", "f 3", "f 3 1", "f 4 1 1", "f 3 2 1", "f 3 1 3", "f 3 1 1 1", "f x 1 1"] {
            assert_eq!(numbers(wrong), None, "{wrong}");
        }
    }
}

//! Operators that compute digests and hashes, and the two old hashing functions that items use as well.

use md5::Md5;
use oxim_base::Text;
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use super::{Arguments, OperatorRow, Word, operator};
use crate::expand::ExpandError;

/// The characters that `${hash}` gives.
const HASH_LETTERS: &[u8; 62] = b"abcdefghijklmnopqrtsuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// The weights of `${nhash}`, used round and round.
const WEIGHTS: [u64; 29] = [
    113, 109, 107, 103, 101, 97, 89, 83, 79, 73, 71, 67, 61, 59, 53, 47, 43, 41, 37, 31, 29, 23, 19, 17, 13,
    11, 7, 5, 3,
];

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "md5",
        "The MD5 digest in lower-case hexadecimal.",
        &[("${md5:abc}", "900150983cd24fb0d6963f7d28e17f72")],
        |_, _, s| Ok(s.derive(lower_hex(&Md5::digest(s.as_bytes())))),
    ),
    &operator(
        "sha1",
        "The SHA-1 digest in upper-case hexadecimal.",
        &[("${sha1:abc}", "A9993E364706816ABA3E25717850C26C9CD0D89D")],
        |_, _, s| Ok(s.derive(upper_hex(&Sha1::digest(s.as_bytes())))),
    ),
    &operator(
        "sha256",
        "The SHA-256 digest in upper-case hexadecimal.",
        &[("${sha256:abc}", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD")],
        |_, _, s| Ok(s.derive(upper_hex(&Sha256::digest(s.as_bytes())))),
    ),
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "sha2",
            "A SHA-2 digest in upper-case hexadecimal; `_256`, `_384` or `_512` after the name gives its length.",
            &[
                ("${sha2:abc}", "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"),
                (
                    "${sha2_384:abc}",
                    "CB00753F45A35E8BB5A03D699AC65007272C32AB0EDED1631A8B605A43FF5BED8086072BA1E7CC2358BAECA134C825A7",
                ),
            ],
            |_, length, s| sha2_digest(length, &s),
        )
    },
    &OperatorRow {
        arguments: Arguments::Word,
        ..operator(
            "sha3",
            "A SHA-3 digest in upper-case hexadecimal; `_224`, `_256`, `_384` or `_512` gives its length.",
            &[
                ("${sha3:abc}", "3A985DA74FE225B2045C172D6BD390BD855F086E3E9D525B46BFE24511431532"),
                ("${sha3_224:abc}", "E642824C3F8CF24AD09234EE7D3C766FC9A3A5168D0C94AD73B46FDF"),
            ],
            |_, length, s| sha3_digest(length, &s),
        )
    },
    &OperatorRow {
        alias: Some("h"),
        arguments: Arguments::Numbers,
        ..operator(
            "hash",
            "An old textual hash: `hash_<length>_<letters>`.",
            &[("${hash_3:monty}", "jmg"), ("${hash_4_62:monty python}", "fbWx"), ("${h_5:monty}", "monty")],
            |_, numbers, s| {
                let (length, letters) = unsigned_pair(numbers);
                text_hash(&s, length.unwrap_or(0), letters)
            },
        )
    },
    &OperatorRow {
        arguments: Arguments::Numbers,
        ..operator(
            "nhash",
            "An old numeric hash: `nhash_<n>` or `nhash_<n>_<m>`.",
            &[
                ("${nhash_8_64:supercalifragilisticexpialidocious}", "6/33"),
                ("${nhash_8:supercalifragilisticexpialidocious}", "1"),
            ],
            |_, numbers, s| {
                let (n, m) = unsigned_pair(numbers);
                numeric_hash(&s, n.unwrap_or(0), m)
            },
        )
    },
];

fn upper_hex(bytes: &[u8]) -> Vec<u8> {
    hex(bytes, b"0123456789ABCDEF")
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn lower_hex(bytes: &[u8]) -> Vec<u8> {
    hex(bytes, b"0123456789abcdef")
}

fn hex(bytes: &[u8], digits: &[u8; 16]) -> Vec<u8> {
    let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn sha2_digest(length: Word<'_>, text: &Text) -> Result<Text, ExpandError> {
    let digest = match length {
        None | Some("256") => Sha256::digest(text.as_bytes()).to_vec(),
        Some("384") => Sha384::digest(text.as_bytes()).to_vec(),
        Some("512") => Sha512::digest(text.as_bytes()).to_vec(),
        Some(_) => return Err(ExpandError::Failed("unrecognised sha2 variant".to_owned())),
    };
    Ok(text.derive(upper_hex(&digest)))
}

fn sha3_digest(length: Word<'_>, text: &Text) -> Result<Text, ExpandError> {
    let digest = match length {
        Some("224") => Sha3_224::digest(text.as_bytes()).to_vec(),
        None | Some("256") => Sha3_256::digest(text.as_bytes()).to_vec(),
        Some("384") => Sha3_384::digest(text.as_bytes()).to_vec(),
        Some("512") => Sha3_512::digest(text.as_bytes()).to_vec(),
        Some(_) => return Err(ExpandError::Failed("unrecognised sha3 variant".to_owned())),
    };
    Ok(text.derive(upper_hex(&digest)))
}

/// The two numbers after an operator's name; what is not there is None.
pub(super) fn unsigned_pair(numbers: Word<'_>) -> (Option<u64>, Option<u64>) {
    let (first, second) =
        numbers.unwrap_or_default().split_once('_').unwrap_or((numbers.unwrap_or_default(), ""));
    let read = |digits: &str| (!digits.is_empty()).then(|| wrapped_number(digits));
    (read(first), read(second))
}

/// Digits as Exim counts them, in 32 bits.
fn wrapped_number(digits: &str) -> u64 {
    let digits = digits.bytes().map(|digit| u32::from(digit.wrapping_sub(b'0')));
    digits.fold(0_u32, |sum, digit| sum.wrapping_mul(10).wrapping_add(digit)).into()
}

/// `${hash`: letters that depend on the whole text; shorter texts stay as they are.
pub(crate) fn text_hash(text: &Text, length: u64, letters: Option<u64>) -> Result<Text, ExpandError> {
    let count = letters.unwrap_or(26);
    if count > HASH_LETTERS.len() as u64 {
        return Err(ExpandError::Failed(format!("hash count \"{count}\" too big")));
    }
    let Some(length) = usize::try_from(length).ok().filter(|l| *l < text.len()) else {
        return Ok(text.clone());
    };
    if length == 0 || count == 0 {
        return Ok(text.derive(Vec::new()));
    }
    let (start, rest) = text.as_bytes().split_at_checked(length).unwrap_or_default();
    let mut state = start.to_vec();
    for (index, byte) in rest.iter().enumerate() {
        let position = index.wrapping_add(length);
        let turn = u32::try_from(usize::from(*byte).wrapping_add(position) & 7).unwrap_or(0);
        if let Some(cell) = state.get_mut(position % length) {
            *cell ^= byte.rotate_left(turn);
        }
    }
    let letter =
        |cell: &u8| HASH_LETTERS.get(usize::try_from(u64::from(*cell) % count).unwrap_or(0)).copied();
    Ok(text.derive(state.iter().filter_map(letter).collect::<Vec<u8>>()))
}

/// `${nhash`: a number below `n`, or two numbers below `n` and `m`.
pub(crate) fn numeric_hash(text: &Text, n: u64, m: Option<u64>) -> Result<Text, ExpandError> {
    let size = m.map_or(Some(n), |m| n.checked_mul(m)).unwrap_or(u64::MAX);
    if size == 0 {
        return Err(ExpandError::Failed(
            "\"0\" is not a positive number (in \"nhash\" expansion)".to_owned(),
        ));
    }
    let weighted = text.as_bytes().iter().zip(WEIGHTS.iter().cycle());
    let total =
        weighted.fold(0_u64, |sum, (byte, weight)| sum.wrapping_add(u64::from(*byte).wrapping_mul(*weight)));
    let rest = total % size;
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let mut result = Text::new();
    match m {
        None => result.push_number(number(rest), text.taint()),
        Some(m) => {
            result.push_number(number(rest / m), text.taint());
            result.push_bytes(b"/", text.taint());
            result.push_number(number(rest % m), text.taint());
        }
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_hashes_are_those_of_exim() {
        let long =
            Text::from("the quick brown fox jumps over the lazy dog, and then it does it again; 0123456789");
        assert_eq!(text_hash(&long, 10, Some(62)).unwrap(), "wU0f5La0oF");
        assert_eq!(numeric_hash(&long, 100_000, None).unwrap(), "18316");
        let bytes = Text::tainted(b"\xe9\xe8\xff\xfe\xfd");
        assert_eq!(text_hash(&bytes, 3, None).unwrap().as_bytes(), b"usv");
        assert_eq!(numeric_hash(&bytes, 1_000, None).unwrap().as_bytes(), b"617");
        assert!(numeric_hash(&bytes, 0, None).is_err());
    }
}

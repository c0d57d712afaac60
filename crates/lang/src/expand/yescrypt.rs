//! Password hashes that cost memory, as crypt(5) describes them: yescrypt (`$y$`), which Debian makes, and scrypt (`$7$`).
//!
//! A setting that is malformed equals no password. One that would take more than a limit of memory or work is an error:
//! it must not look like a wrong password.

use oxim_base::limits::{PASSWORD_MEMORY_BYTES_MAX, PASSWORD_WORK_BYTES_MAX};
use yescrypt::{Mode, Params};

const YESCRYPT: &str = "$y$";
const SCRYPT: &str = "$7$";
/// The digits of settings and hashes, each for six bits, the lowest first.
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bytes of a hash.
const HASH_BYTES: usize = 32;
/// Most bytes of a salt.
const SALT_BYTES_MAX: usize = 64;
/// Digits of a number in a setting of scrypt.
const SCRYPT_NUMBER_DIGITS: usize = 5;

/// Whether the text says that it is such a hash.
pub(crate) fn is_hash(hash: &str) -> bool {
    hash.starts_with(YESCRYPT) || hash.starts_with(SCRYPT)
}

/// Equality whose duration does not tell where the difference is.
pub(crate) fn same(first: &[u8], second: &[u8]) -> bool {
    first.len() == second.len() && first.iter().zip(second).fold(0_u8, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// What a hash was made with.
struct Setting {
    params: Params,
    salt: Vec<u8>,
    /// Memory that it goes through.
    work_bytes: u64,
    /// The digits after the last dollar.
    digest: Vec<u8>,
}

/// Whether the hash is that of the password.
pub(crate) fn equal(plain: &[u8], hash: &str) -> Result<bool, String> {
    let setting = hash.strip_prefix(YESCRYPT).map_or_else(|| scrypt(hash), yescrypt);
    let Some(setting) = setting else { return Ok(false) };
    let params = setting.params;
    let memory = u64::from(params.r()).saturating_mul(params.n()).saturating_mul(128);
    if memory > PASSWORD_MEMORY_BYTES_MAX || setting.work_bytes > PASSWORD_WORK_BYTES_MAX {
        return Err("the hash of the password takes too much memory or time".to_owned());
    }
    let mut digest = [0_u8; HASH_BYTES];
    let made = std::panic::catch_unwind(move || {
        ::yescrypt::yescrypt(plain, &setting.salt, &params, &mut digest).map(|()| digest)
    });
    Ok(made.ok().and_then(Result::ok).is_some_and(|digest| same(&digits(&digest), &setting.digest)))
}

/// `PARAMETERS$SALT$HASH`.
fn yescrypt(text: &str) -> Option<Setting> {
    let mut fields = text.split('$');
    let (parameters, salt, digest) = (fields.next()?, fields.next()?, fields.next()?);
    let params: Params = parameters.parse().ok()?;
    let salt = bytes(salt).filter(|salt| salt.len() <= SALT_BYTES_MAX)?;
    // How often memory is gone through is the fourth field or the fifth; what it cannot exceed is enough here.
    let times = parameters.bytes().rev().take(2).filter_map(value).max().unwrap_or(0);
    let times = if parameters.len() > 4 { u64::from(times).saturating_add(2) } else { 2 };
    let work_bytes = work(params.n(), params.r(), params.p(), times);
    (fields.next().is_none()).then(|| Setting { params, salt, work_bytes, digest: digest.into() })
}

/// `$7$`, a digit for the logarithm of N, five for r, five for p, the salt as it is, `$`, the hash.
fn scrypt(text: &str) -> Option<Setting> {
    let text = text.strip_prefix(SCRYPT)?;
    let (settings, rest) = text.split_at_checked(1 + 2 * SCRYPT_NUMBER_DIGITS)?;
    let (salt, digest) = rest.rsplit_once('$')?;
    let values: Vec<u8> = settings.bytes().map(value).collect::<Option<_>>()?;
    let (logarithm, numbers) = values.split_first()?;
    let (r, p) = numbers.split_at_checked(SCRYPT_NUMBER_DIGITS)?;
    let n = 1_u64.checked_shl(u32::from(*logarithm)).filter(|n| *n > 1)?;
    let params = Params::new(Mode::Classic, n, number(r), number(p)).ok()?;
    let work_bytes = work(n, params.r(), params.p(), 2);
    Some(Setting { params, salt: salt.into(), work_bytes, digest: digest.into() })
}

fn work(n: u64, r: u32, p: u32, times: u64) -> u64 {
    n.saturating_mul(u64::from(r)).saturating_mul(u64::from(p)).saturating_mul(128).saturating_mul(times)
}

/// What a digit stands for.
fn value(digit: u8) -> Option<u8> {
    DIGITS.iter().position(|d| *d == digit).and_then(|place| u8::try_from(place).ok())
}

/// A number from its digits' values, the lowest first.
fn number(values: &[u8]) -> u32 {
    values.iter().rev().fold(0_u32, |sum, value| sum.wrapping_mul(64).wrapping_add(u32::from(*value)))
}

/// The bytes that digits stand for, three of four; None if they stand for none.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for group in digits.as_bytes().chunks(4) {
        let values: Vec<u8> = group.iter().copied().map(value).collect::<Option<_>>()?;
        let count = group.len().checked_sub(1).filter(|count| *count > 0)?;
        let [a, b, c, rest] = number(&values).to_le_bytes();
        // Bits that make no whole byte must be zero.
        let part = [a, b, c, rest];
        if part.iter().skip(count).any(|byte| *byte != 0) {
            return None;
        }
        out.extend(part.iter().take(count));
    }
    Some(out)
}

/// The digits of bytes.
fn digits(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in bytes.chunks(3) {
        let mut rest = group.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
        for _ in 0..=group.len() {
            out.extend(DIGITS.get(usize::try_from(rest & 63).unwrap_or(0)));
            rest >>= 6;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // The hashes are what libxcrypt makes of them.
    #[test]
    fn the_hashes_of_debian() {
        for hash in [
            "$y$j9T$abcdefghijklmnopqrstu.$wrbk7Ed0UFtYpIUGqzPPvUchu4F7I6f8k4tmmb8P5aA",
            "$y$j75$saltsalt$IKUycTGsp/26fViG1D3x4Zq3aZro94uxR9TF8Hv.lE7",
            "$y$j75$$QG43XrHNr6sN3ENLqF0MdNB33HPbw4zt6w2vwa5oJ63",
            "$y$.75$saltsalt$TQsLzw/KLjKPDbm6g.eT7/3Q1QLN9Qg5uvfVtj9zb27",
            "$y$/75$saltsalt$elmmMwOMeCjEuIYp4HQwobIC0gNd9Xqsa8pYkYAKQ88",
            "$y$j85./$saltsalt$v8sG3YP6ZyhMxVyJz3mRu5XebvSLZEBDVuGs4nY3TO6",
            "$7$BU..../....salt$pxs7WtfbWnJlVSCn6Qw8tMROc/fVLmIsgobMU7S4Ru/",
        ] {
            assert_eq!(equal(b"test", hash), Ok(true), "{hash}");
            assert_eq!(equal(b"tesT", hash), Ok(false), "{hash}");
        }
    }

    #[test]
    fn what_is_no_hash_equals_nothing() {
        for hash in [
            "$y$",
            "$y$j75",
            "$y$j75$saltsalt",
            "$y$j75$salts!lt$IKUy",
            "$y$j75$salts$IKUy",
            "$y$zzz$salt$x",
            "$y$j/.5$saltsalt$x",
            "$7$",
            "$7$zz",
            "$7$BU..../....salt",
            "$7$.U..../....salt$x",
            "$7$é$é",
        ] {
            assert_eq!(equal(b"test", hash), Ok(false), "{hash}");
        }
    }

    #[test]
    fn one_that_costs_too_much_is_an_error() {
        assert!(equal(b"test", "$y$jTT$saltsalt$x").is_err());
        assert!(equal(b"test", "$7$SU..../....salt$x").is_err());
        assert!(equal(b"test", "$7$BU....zzzzzsalt$x").is_err());
    }
}

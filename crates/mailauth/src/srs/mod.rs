//! Sender rewriting (SRS): a forwarder puts its own domain into the return path, so that SPF holds, and finds the way
//! back for bounces by what it wrote into the local part.
//!
//! Two generations write different hashes: [`native`] is what `${srs_encode}` and `inbound_srs` speak, [`classic`] what
//! the older options of the redirect router and the libraries of other programs (Mail::SRS, postsrsd) speak. Each reads
//! its own only.

pub mod classic;
pub mod native;

/// Days are counted from 1970, modulo 1024.
const DAYS_MASK: i64 = 0x3ff;
/// Seconds of a day.
const SECONDS_PER_DAY: i64 = 86_400;

/// The day of a time in seconds since 1970.
#[must_use]
pub fn day_of(seconds: i64) -> i64 {
    seconds.div_euclid(SECONDS_PER_DAY)
}

//! What the hints remember of a failing host or address, and what follows from it (manual sections 32.7 to 32.11).

use super::Cause;
use super::rule::{Algorithm, Parameter, Rule};

/// A record of the retry hints. Times are seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetryRecord {
    /// The first of the failures without success between them.
    pub first_failed: i64,
    /// The last attempt.
    pub last_try: i64,
    /// No attempt before this.
    pub next_try: i64,
    /// The last cutoff of the rule was past at the last attempt.
    pub expired: bool,
    /// The error number of the last failure.
    pub errno: i32,
    /// What goes with it ([`Cause::from_code`]).
    pub more_errno: i32,
    /// The text of the last failure.
    pub text: String,
}

/// Whether an attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Try now.
    Now,
    /// Too early: defer with [`super::NOT_REACHED`].
    NotYet,
    /// Too early, and it has been failing for so long that the address fails without an attempt, if this is so for
    /// all hosts: [`super::NOT_REACHED_AFTER_LONG_FAILURE`].
    GivenUp,
}

/// A failure, and what is needed to write it down.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The error number.
    pub errno: i32,
    /// What goes with it.
    pub more_errno: i32,
    /// The text.
    pub text: &'a str,
    /// Now.
    pub now: i64,
    /// When the message was received.
    pub received: i64,
    /// `retry_interval_max`, in seconds.
    pub interval_max: u64,
}

fn seconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn between(earlier: i64, later: i64) -> u64 {
    u64::try_from(later.saturating_sub(earlier)).unwrap_or(0)
}

/// What of a text is remembered.
const TEXT_BYTES_MAX: usize = 150;

fn beginning(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

impl RetryRecord {
    /// The record with its times as a clock tells them that was set meanwhile.
    #[must_use]
    pub fn carried(mut self, carry: impl Fn(i64) -> i64) -> RetryRecord {
        // All by the same amount: what lies ahead was planned by the clock of then.
        let by = carry(self.last_try).saturating_sub(self.last_try);
        self.first_failed = carry(self.first_failed);
        self.last_try = self.last_try.saturating_add(by);
        self.next_try = self.next_try.saturating_add(by);
        self
    }

    /// Whether the time has come. A last attempt in the future is one of a clock that was set back since: it says nothing.
    fn is_time(&self, now: i64) -> bool {
        now >= self.next_try || now < self.last_try
    }

    /// Whether the record is too old to be believed (`retry_data_expire`, in seconds).
    #[must_use]
    pub fn is_stale(&self, now: i64, data_expire: u64) -> bool {
        between(self.last_try, now) > data_expire
    }

    /// Whether a local address or a routing may be tried in a queue run. `ultimate`: the last cutoff of the rule that
    /// applies; a message that has been here for longer is tried whatever the time.
    #[must_use]
    pub fn due(&self, now: i64, received: i64, ultimate: Option<u64>) -> Due {
        let overdue = ultimate.is_some_and(|cutoff| between(received, now) > cutoff);
        if self.is_time(now) || self.expired || overdue { Due::Now } else { Due::NotYet }
    }

    /// Whether a host may be tried. With `delay_after_cutoff` an expired host waits for its time and is given up until
    /// then; without, it is tried once more unless it has been tried since the message arrived.
    #[must_use]
    pub fn host_due(&self, now: i64, received: i64, ultimate: Option<u64>, delay_after_cutoff: bool) -> Due {
        let overdue = ultimate.is_some_and(|cutoff| between(received, now) > cutoff);
        match (self.is_time(now), self.expired) {
            (true, _) => Due::Now,
            (false, true) if !delay_after_cutoff && self.last_try <= received => Due::Now,
            (false, true) => Due::GivenUp,
            (false, false) if overdue => Due::Now,
            (false, false) => Due::NotYet,
        }
    }

    /// The record after one more failure under a rule. `random` gives a number below its argument.
    ///
    /// A rule without parameters, and none at all, expire at once.
    #[must_use]
    pub fn after_failure(
        previous: Option<&RetryRecord>,
        rule: Option<&Rule>,
        failure: &Failure<'_>,
        random: impl FnOnce(u64) -> u64,
    ) -> RetryRecord {
        let now = failure.now;
        let mut first_failed = previous.map_or(now, |record| record.first_failed.min(now));
        if Cause::from_code(failure.errno, failure.more_errno).is_about_message() {
            first_failed = first_failed.min(failure.received);
        }
        let mut record = RetryRecord {
            first_failed,
            last_try: now,
            next_try: now,
            expired: true,
            errno: failure.errno,
            more_errno: failure.more_errno,
            text: beginning(failure.text).to_owned(),
        };
        let Some((rule, last)) = rule.and_then(|rule| Some((rule, rule.parameters().last()?))) else {
            return record;
        };
        let current = rule.parameter_at(between(first_failed, now));
        record.expired = current.is_none();
        let gap = next_gap(current.unwrap_or(last), previous, now, random);
        record.next_try = now.saturating_add(seconds(gap.min(failure.interval_max)));
        record
    }

    /// Whether the address is given up after this failure: its clock has passed the last cutoff, or the message has been
    /// here for longer than that. In the second case the record is not to be written, so that other messages for the
    /// address are tried at once.
    #[must_use]
    pub fn is_timed_out(&self, rule: Option<&Rule>, received: i64) -> bool {
        self.expired || self.is_overdue(rule, received)
    }

    /// Whether the message has been here for longer than the last cutoff of the rule.
    #[must_use]
    pub fn is_overdue(&self, rule: Option<&Rule>, received: i64) -> bool {
        rule.is_none_or(|rule| between(received, self.last_try) > rule.ultimate_cutoff())
    }

    /// The bytes for the hints database.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        format!(
            "1 {} {} {} {} {} {} {}",
            self.first_failed,
            self.last_try,
            self.next_try,
            u8::from(self.expired),
            self.errno,
            self.more_errno,
            self.text
        )
        .into_bytes()
    }

    /// Reads what [`RetryRecord::encode`] wrote; None for anything else: hints are hints.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<RetryRecord> {
        let text = String::from_utf8_lossy(bytes);
        let mut fields = text.splitn(8, ' ');
        if fields.next()? != "1" {
            return None;
        }
        Some(RetryRecord {
            first_failed: fields.next()?.parse().ok()?,
            last_try: fields.next()?.parse().ok()?,
            next_try: fields.next()?.parse().ok()?,
            expired: fields.next()? == "1",
            errno: fields.next()?.parse().ok()?,
            more_errno: fields.next()?.parse().ok()?,
            text: fields.next()?.to_owned(),
        })
    }
}

/// Seconds until the next attempt.
fn next_gap(
    parameter: &Parameter,
    previous: Option<&RetryRecord>,
    now: i64,
    random: impl FnOnce(u64) -> u64,
) -> u64 {
    let first = parameter.interval;
    // What was planned, not what a forced attempt in between made of it, nor a queue run that came late.
    let last = previous
        .map_or(0, |record| between(record.last_try, record.next_try).min(between(record.last_try, now)));
    match parameter.algorithm {
        Algorithm::Fixed => first,
        Algorithm::Geometric(factor) => grow(first, last, factor),
        Algorithm::Random(factor) => {
            let maximum = last.saturating_mul(factor).checked_div(1000).unwrap_or(0).max(first);
            first.saturating_add(random(maximum.saturating_sub(first).saturating_add(1)))
        }
    }
}

/// The first of `first`, `first`·f, `first`·f²… that is greater than the last interval.
fn grow(first: u64, last: u64, factor: u64) -> u64 {
    let mut gap = first;
    // A factor of one never grows.
    while gap <= last && factor > 1000 {
        let next = gap.saturating_mul(factor) / 1000;
        if next <= gap {
            break;
        }
        gap = next;
    }
    gap
}

//! The older way to slow clients down within one connection: `smtp_ratelimit_mail`, `smtp_ratelimit_rcpt`.
//!
//! Four values: a threshold, the first delay, the factor by which it grows, the longest delay. Manual chapter 14.

use std::time::Duration;

/// One of the two options.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    threshold: u32,
    first: Duration,
    factor: f64,
    longest: Duration,
}

impl RateLimit {
    /// Reads `2,0.5s,1.05,4m`. None if it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<RateLimit> {
        let mut fields = text.split(',').map(str::trim);
        let limit = RateLimit {
            threshold: fields.next()?.parse().ok()?,
            first: duration(fields.next()?)?,
            factor: fields.next()?.parse::<f64>().ok().filter(|f| f.is_finite() && *f >= 0.0)?,
            longest: duration(fields.next()?)?,
        };
        fields.next().is_none().then_some(limit)
    }

    /// The delay before the `count`th command is obeyed.
    #[must_use]
    pub fn delay(&self, count: u32) -> Duration {
        let Some(over) = count.checked_sub(self.threshold).filter(|over| *over > 0) else {
            return Duration::ZERO;
        };
        let steps = i32::try_from(over.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.first.as_secs_f64() * self.factor.powi(steps);
        if seconds.is_finite() && seconds < self.longest.as_secs_f64() {
            Duration::from_secs_f64(seconds)
        } else {
            self.longest
        }
    }
}

/// An interval whose numbers may have decimals.
fn duration(text: &str) -> Option<Duration> {
    if let Some(seconds) = oxim_base::clock::parse_interval(text) {
        return Some(Duration::from_secs(seconds));
    }
    let (number, unit) = match text.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(number) => (number, text.get(number.len()..)?),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit() {
        let limit = RateLimit::parse("2,0.5s,2,3s").unwrap();
        let delays: Vec<u128> = (1..7).map(|count| limit.delay(count).as_millis()).collect();
        assert_eq!(delays, [0, 0, 500, 1000, 2000, 3000]);
        assert_eq!(RateLimit::parse("4,0.25s,1.015,4m").unwrap().delay(5).as_millis(), 250);
        for bad in ["", "1,2s,3", "x,1s,1,1s", "1,1s,1,1s,1", "1,-1s,1,1s"] {
            assert_eq!(RateLimit::parse(bad), None, "{bad}");
        }
    }
}

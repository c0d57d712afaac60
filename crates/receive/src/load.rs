//! The load average, for `smtp_load_reserve` and `queue_only_load`. Read at most once a second; unreadable counts as zero.

use crate::each_second::EachSecond;

/// The load average of the last minute.
#[derive(Debug, Default)]
pub struct Load(EachSecond<i64>);

impl Load {
    /// In thousandths.
    #[must_use]
    pub fn thousandths(&self) -> i64 {
        self.0.get(|| parse(&std::fs::read_to_string("/proc/loadavg").unwrap_or_default()).unwrap_or(0))
    }
}

fn parse(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_whitespace().next()?.split_once('.')?;
    let fraction: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_of_the_first_figure() {
        assert_eq!(parse("1.25 0.09 0.09 1/100 5"), Some(1250));
        assert_eq!(parse(""), None);
    }
}

//! `local_part_prefix` and `local_part_suffix`: what a router takes off a local part (manual chapter 15).

/// One prefix or suffix, with or without a wildcard on its outer side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affix {
    text: Vec<u8>,
    is_wild: bool,
}

/// An affix that was found: how long it is, and how long the part that the wildcard matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes of the whole affix.
    pub length: usize,
    /// Bytes that the wildcard stands for; `None` for an affix without one.
    pub wild_length: Option<usize>,
}

impl Affix {
    /// A prefix as configured: `real-`, `*-`.
    #[must_use]
    pub fn prefix(text: &[u8]) -> Affix {
        match text {
            [b'*', rest @ ..] => Affix { text: rest.to_vec(), is_wild: true },
            _ => Affix { text: text.to_vec(), is_wild: false },
        }
    }

    /// A suffix as configured: `-request`, `+*`.
    #[must_use]
    pub fn suffix(text: &[u8]) -> Affix {
        match text {
            [rest @ .., b'*'] => Affix { text: rest.to_vec(), is_wild: true },
            _ => Affix { text: text.to_vec(), is_wild: false },
        }
    }

    /// Where this prefix ends in a local part. A wildcard takes as much as it can.
    #[must_use]
    pub fn cut_prefix(&self, local_part: &[u8]) -> Option<Cut> {
        let size = self.text.len();
        if !self.is_wild {
            let front = local_part.get(..size)?;
            return front.eq_ignore_ascii_case(&self.text).then_some(Cut { length: size, wild_length: None });
        }
        let last = local_part.len().checked_sub(size)?;
        (0..=last).rev().find_map(|at| {
            let found = local_part.get(at..at.checked_add(size)?)?.eq_ignore_ascii_case(&self.text);
            found.then(|| Cut { length: at.saturating_add(size), wild_length: Some(at) })
        })
    }

    /// Where this suffix begins in a local part. A wildcard takes as much as it can.
    #[must_use]
    pub fn cut_suffix(&self, local_part: &[u8]) -> Option<Cut> {
        let size = self.text.len();
        if !self.is_wild {
            let start = local_part.len().checked_sub(size)?;
            let back = local_part.get(start..)?;
            return back.eq_ignore_ascii_case(&self.text).then_some(Cut { length: size, wild_length: None });
        }
        let last = local_part.len().checked_sub(size)?;
        (0..=last).find_map(|at| {
            let end = at.checked_add(size)?;
            let found = local_part.get(at..end)?.eq_ignore_ascii_case(&self.text);
            let length = local_part.len().saturating_sub(at);
            found.then(|| Cut { length, wild_length: Some(local_part.len().saturating_sub(end)) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_affix_matches_without_regard_to_case() {
        let real = Affix::prefix(b"real-");
        assert_eq!(real.cut_prefix(b"Real-bob"), Some(Cut { length: 5, wild_length: None }));
        assert_eq!(real.cut_prefix(b"rea"), None);
        let request = Affix::suffix(b"-request");
        assert_eq!(request.cut_suffix(b"list-request"), Some(Cut { length: 8, wild_length: None }));
        assert_eq!(request.cut_suffix(b"list"), None);
    }

    #[test]
    fn a_wildcard_takes_the_longest_part() {
        let prefix = Affix::prefix(b"*--");
        assert_eq!(prefix.cut_prefix(b"x--y--bob"), Some(Cut { length: 6, wild_length: Some(4) }));
        let suffix = Affix::suffix(b"+*");
        assert_eq!(suffix.cut_suffix(b"bob+a+b"), Some(Cut { length: 4, wild_length: Some(3) }));
        assert_eq!(suffix.cut_suffix(b"bob"), None);
    }
}

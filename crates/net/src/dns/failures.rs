//! Questions that were not answered with records, for whoever wants to hear of them (the event `dns:fail`).
//!
//! Who asks for language code waits on its thread until the answer is there ([`super::BlockingResolver`]), so what has failed
//! is noted on that thread, and belongs to the work that runs there until it is taken. Noting is switched on by
//! [`super::Watch::notes_failures`].

use std::cell::RefCell;
use std::fmt;

use hickory_proto::rr::RecordType;

use super::NotThere;

/// Failures that are noted and not taken, on one thread. The others are forgotten.
const NOTED_MAX: usize = 100;

thread_local! {
    static NOTED: RefCell<Vec<Failure>> = const { RefCell::new(Vec::new()) };
}

/// One question without records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why: `None` if no server could say.
    absence: Option<NotThere>,
    name: String,
    kind: RecordType,
}

/// As `$event_data` has it: reason, name with doubled colons, type.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.absence {
            Some(NotThere::NoDomain) => "DNS_NOMATCH",
            Some(NotThere::NoData) => "DNS_NODATA",
            None => "DNS_AGAIN",
        };
        write!(f, "{reason}:{}:{}", self.name.replace(':', "::"), self.kind)
    }
}

pub(super) fn note(absence: Option<NotThere>, name: &str, kind: RecordType) {
    NOTED.with_borrow_mut(|noted| {
        if noted.len() < NOTED_MAX {
            noted.push(Failure { absence, name: name.to_owned(), kind });
        }
    });
}

/// What has failed on this thread since this was called last.
#[must_use]
pub fn take() -> Vec<Failure> {
    NOTED.take()
}

/// Forgets what has been noted on this thread: work for somebody else begins, or nobody is to hear of it.
pub fn forget() {
    NOTED.set(Vec::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_once() {
        note(Some(NotThere::NoDomain), "a.ex", RecordType::MX);
        note(Some(NotThere::NoData), "1::2.ex", RecordType::A);
        note(None, "b.ex", RecordType::TXT);
        let told: Vec<String> = take().iter().map(Failure::to_string).collect();
        assert_eq!(told, ["DNS_NOMATCH:a.ex:MX", "DNS_NODATA:1::::2.ex:A", "DNS_AGAIN:b.ex:TXT"]);
        assert!(take().is_empty());
        (0..2 * NOTED_MAX).for_each(|_| note(None, "c.ex", RecordType::A));
        assert_eq!(take().len(), NOTED_MAX);
    }
}

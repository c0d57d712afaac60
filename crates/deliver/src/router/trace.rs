//! What the routers made of addresses, step by step, for those who ask why: `oxim explain`.
//!
//! Collected for the calling thread only, and only while [`collect`] runs; else a step costs one look at a thread's own cell.

use std::cell::RefCell;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traced {
    /// An address enters at the first router, or where its parent left.
    Address(String),
    /// A router was not asked.
    Skipped {
        /// Its name.
        router: String,
        /// The precondition that was not met.
        reason: String,
    },
    /// A router was asked.
    Asked {
        /// Its name.
        router: String,
        /// What it said.
        verdict: String,
    },
    /// A precondition could not be tested.
    Deferred {
        /// The router's name.
        router: String,
        /// Why.
        reason: String,
    },
    /// No router is left.
    NoMore,
}

thread_local! {
    static STEPS: RefCell<Option<Vec<Traced>>> = const { RefCell::new(None) };
}

/// Runs `work`, and returns with its result the steps of all routing that it did in this thread.
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Vec<Traced>) {
    STEPS.with(|steps| *steps.borrow_mut() = Some(Vec::new()));
    let result = work();
    let steps = STEPS.with(|steps| steps.borrow_mut().take());
    (result, steps.unwrap_or_default())
}

/// Adds a step, if somebody collects.
pub(crate) fn note(step: impl FnOnce() -> Traced) {
    STEPS.with(|steps| {
        if let Some(steps) = steps.borrow_mut().as_mut() {
            steps.push(step());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_collected_only_when_asked_for() {
        note(|| panic!("nobody asked"));
        let (answer, steps) = collect(|| {
            note(|| Traced::NoMore);
            7
        });
        assert_eq!((answer, steps), (7, vec![Traced::NoMore]));
        note(|| panic!("nobody asks any more"));
    }
}

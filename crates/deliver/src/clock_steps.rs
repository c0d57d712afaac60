//! Steps of the machine's clock, and what became of times that were written down before them.
//!
//! Retry times and the age of a message are wall-clock times. When the clock is set by an hour or ten years, they would all be
//! wrong at once: everything is due, and every message is older than its last retry time and bounces. So the wall clock is
//! compared with the one that nobody can set; a step is remembered, in the hints too, and times from
//! before it are carried over it. A process that did not see the step (the machine was off) knows nothing, as Exim.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use oxim_base::clock::Stamp;
use oxim_spool::hints::{Database, Hints};
use oxim_spool::message::Message;
use parking_lot::Mutex;

/// A smaller step is no trouble for retry times, and may be a slow correction.
const STEP_SECONDS_MIN: i64 = 600;
/// More steps than this are not remembered; the oldest are forgotten first.
const STEPS_MAX: usize = 32;
const KEY: &[u8] = b"clock-steps";

/// Where the clock stood when it was set, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    before: i64,
    by: i64,
}

#[derive(Default)]
struct State {
    /// Wall clock less the other one, when they were compared last.
    offset: Option<i64>,
    steps: Vec<Step>,
}

/// What is known of the steps.
#[derive(Default)]
pub struct ClockSteps {
    state: Mutex<State>,
}

impl ClockSteps {
    /// Those that the hints know.
    #[must_use]
    pub fn load(hints: Option<&Arc<Hints>>) -> ClockSteps {
        let known = hints.and_then(|hints| hints.get(&Database::Misc, KEY).ok().flatten());
        let steps = known.map(|hint| decode(&hint.value)).unwrap_or_default();
        ClockSteps { state: Mutex::new(State { offset: None, steps }) }
    }

    /// Compares the clocks. A step that was found is put into the hints.
    pub fn notice(&self, hints: Option<&Arc<Hints>>) {
        let steps = {
            let mut state = self.state.lock();
            if !state.notice(Stamp::now().seconds, since_start()) {
                return;
            }
            state.steps.clone()
        };
        if let Some(hints) = hints {
            // It is known here in any case.
            let _ = hints.put(&Database::Misc, KEY, &encode(&steps), Stamp::now());
        }
    }

    /// A time that was written down, as today's clock would have told it.
    #[must_use]
    pub fn carried(&self, then: i64) -> i64 {
        carry(&self.state.lock().steps, then)
    }

    /// For how long a message has been here.
    #[must_use]
    pub fn age(&self, message: &Message) -> std::time::Duration {
        self.since(message.received)
    }

    /// How long ago something was.
    #[must_use]
    pub fn since(&self, then: Stamp) -> std::time::Duration {
        Stamp::now().since(Stamp { seconds: self.carried(then.seconds), micros: then.micros })
    }
}

impl State {
    /// Compares the clocks; true for a step.
    fn notice(&mut self, wall: i64, machine: i64) -> bool {
        let offset = wall.saturating_sub(machine);
        let by = offset.saturating_sub(self.offset.unwrap_or(offset));
        if by.saturating_abs() < STEP_SECONDS_MIN {
            // Slow corrections add up; they are no step.
            self.offset = Some(offset);
            return false;
        }
        self.offset = Some(offset);
        self.steps.push(Step { before: wall.saturating_sub(by), by });
        let surplus = self.steps.len().saturating_sub(STEPS_MAX);
        self.steps.drain(..surplus);
        true
    }
}

/// Only what was added is taken away again: a time from between two steps may be taken for too young, never for too old.
fn carry(steps: &[Step], then: i64) -> i64 {
    let total = steps
        .iter()
        .filter(|step| then <= step.before)
        .fold(0_i64, |total, step| total.saturating_add(step.by).max(0));
    then.saturating_add(total)
}

/// Seconds by a clock that nobody sets. It stands while the machine sleeps: then nobody could try anything, so that this
/// counts as a step too.
fn since_start() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_secs()).unwrap_or(i64::MAX)
}

fn encode(steps: &[Step]) -> Vec<u8> {
    steps.iter().map(|step| format!("{} {}\n", step.before, step.by)).collect::<String>().into_bytes()
}

fn decode(bytes: &[u8]) -> Vec<Step> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(before, by)| Some(Step { before: before.parse().ok()?, by: by.parse().ok()? }))
        .take(STEPS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn a_step_is_seen_and_a_drift_is_not() {
        let mut state = State::default();
        assert!(!state.notice(1_000_000, 10));
        assert!(!state.notice(1_000_400, 110));
        assert!(state.notice(1_000_500 + DAY, 210));
        assert_eq!(state.steps, [Step { before: 1_000_500, by: DAY }]);
        assert!(state.notice(1_000_600, 310));
        assert_eq!(state.steps[1], Step { before: 1_000_600 + DAY, by: -DAY });
        assert_eq!(decode(&encode(&state.steps)), state.steps);
        assert_eq!(decode(b"x\n1 y\n\xff 2"), []);
    }

    #[test]
    fn times_from_before_are_carried_and_nothing_grows_too_old() {
        let there = Step { before: 1_000, by: DAY };
        let back = Step { before: 1_500 + DAY, by: -DAY };
        assert_eq!(carry(&[there], 900), 900 + DAY);
        assert_eq!(carry(&[there], 1_100 + DAY), 1_100 + DAY);
        assert_eq!(carry(&[there, back], 900), 900);
        // Written after the clock had been set back: its number is one of before.
        assert_eq!(carry(&[there, back], 1_200), 1_200);
        assert_eq!(carry(&[Step { before: 1_000, by: -DAY }], 900), 900);
    }
}

//! The queue: one attempt on one message (`attempt`), a pass over all messages (`run`), and the daemon's scheduler
//! (`scheduler`), which knows when each message is due.

pub mod attempt;
mod local_runs;
mod one_time;
mod remote_runs;
pub mod run;
pub mod scheduler;
mod shadow;
mod slots;
mod system_filter;
mod unreadable;
pub mod waiting;
mod warning;
mod wrapper;

pub(crate) use attempt::are_others_under_way;
pub use attempt::{AttemptOptions, Ended, attempt, attempt_over};
pub(crate) use local_runs::{BYPASSED, enter, identity, leave, saved_path};
pub use unreadable::unreadable;

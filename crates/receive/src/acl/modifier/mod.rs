//! The table of ACL modifiers (manual section 44.21). Those that the interpreter obeys itself have their rows here.

pub(crate) mod add_header;
pub(crate) mod bmi_optin;
pub(crate) mod control;
pub(crate) mod go_on;
pub(crate) mod logwrite;
pub(crate) mod queue;
pub(crate) mod remove_header;
pub(crate) mod set;
pub(crate) mod udpsend;

use super::Phase;
use super::clause::{ClauseRow, Kind};
use super::phase::phases;

/// `delay`: leaves the thread, so the interpreter obeys it.
static DELAY: ClauseRow = ClauseRow {
    name: "delay",
    doc: "Waits; replies that are ready are sent first.",
    forbidden: phases(&[Phase::NotQuit]),
    is_expanded: true,
    kind: Kind::Delay,
};

/// `endpass`: not a clause with an argument.
static ENDPASS: ClauseRow = ClauseRow {
    name: "endpass",
    doc: "Conditions that follow and fail deny access.",
    forbidden: 0,
    is_expanded: false,
    kind: Kind::Endpass,
};

/// `log_message`: expanded when the statement has been decided.
static LOG_MESSAGE: ClauseRow = ClauseRow {
    name: "log_message",
    doc: "The text for the log when the statement decides.",
    forbidden: 0,
    is_expanded: false,
    kind: Kind::LogMessage,
};

/// `log_reject_target`: lasts to the end of the run.
static LOG_REJECT_TARGET: ClauseRow = ClauseRow {
    name: "log_reject_target",
    doc: "The logs to which a refusal goes: `main`, `reject`, `panic`.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::LogRejectTarget,
};

/// `message`: expanded when the statement has been decided.
static MESSAGE: ClauseRow = ClauseRow {
    name: "message",
    doc: "The text for the client when the statement decides, perhaps with its own code.",
    forbidden: 0,
    is_expanded: false,
    kind: Kind::Message,
};

/// All modifiers.
pub(crate) static ROWS: &[&ClauseRow] = &[
    &add_header::ROW,
    &bmi_optin::ROW,
    &go_on::ROW,
    &control::ROW,
    &DELAY,
    &ENDPASS,
    &LOG_MESSAGE,
    &LOG_REJECT_TARGET,
    &logwrite::ROW,
    &MESSAGE,
    &queue::ROW,
    &remove_header::ROW,
    &set::ROW,
    &udpsend::ROW,
];

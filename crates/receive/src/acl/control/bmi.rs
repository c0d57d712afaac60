//! `control = bmi_run`: has Brightmail look at the message. Not built yet.

use super::{ControlRow, MESSAGE_ONLY};

/// `bmi_run`.
pub(super) static ROW: ControlRow = ControlRow {
    name: "bmi_run",
    doc: "Has Brightmail look at the message.",
    forbidden: MESSAGE_ONLY,
    has_options: false,
    apply: None,
};

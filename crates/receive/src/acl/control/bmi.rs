//! `control = bmi_run`: has the message scanned at the end of its reception, for verdicts that routers ask for.

use super::ControlRow;

/// `bmi_run`.
pub(super) static ROW: ControlRow = ControlRow {
    name: "bmi_run",
    doc: "Has Brightmail look at the message.",
    forbidden: 0,
    has_options: false,
    apply: Some(|run, _| {
        run.scene.message.bmi.is_wanted = true;
        Ok(())
    }),
};

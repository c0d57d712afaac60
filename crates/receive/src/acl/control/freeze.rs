//! `control = freeze`, `control = freeze/no_tell`.

use oxim_base::Text;

use super::super::Freeze;
use super::super::run::Run;
use super::{ControlRow, Fault, MESSAGE_ONLY};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "freeze",
    doc: "Freezes the message; `/no_tell` keeps `freeze_tell` quiet.",
    forbidden: MESSAGE_ONLY,
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, options: &Text) -> Result<(), Fault> {
    let tell = match options.as_bytes() {
        b"" => true,
        b"/no_tell" => false,
        _ => return Err(Fault::Syntax),
    };
    // Nobody is told only if no freeze of this message wants it.
    let told = run.scene.message.freeze.is_some_and(|freeze| freeze.tell);
    run.scene.message.freeze = Some(Freeze { tell: tell || told });
    Ok(())
}

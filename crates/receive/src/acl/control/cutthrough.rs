//! `control = cutthrough_delivery`: the message goes on to the next host before the client has its answer. In the RCPT ACL,
//! for the first recipient; later ones go with it. In another ACL it is passed over. Option `defer=spool` or `defer=pass`.

use oxim_base::Text;

use super::super::run::Run;
use super::super::{CutThrough, Phase};
use super::{ControlRow, Fault, options};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "cutthrough_delivery",
    doc: "Delivers while the message arrives; `/defer=pass` tells the client what the next host puts off.",
    forbidden: 0,
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    let mut passes_deferral = false;
    for option in options(text) {
        match option.as_bytes() {
            b"defer=pass" => passes_deferral = true,
            b"defer=spool" => passes_deferral = false,
            _ => return Err(Fault::Syntax),
        }
    }
    // Asked for at a later recipient it is passed over, as in Exim.
    if run.phase == Phase::Rcpt && run.scene.context.message.rcpt_count <= 1 {
        run.scene.message.cut_through = Some(CutThrough { passes_deferral });
    }
    Ok(())
}

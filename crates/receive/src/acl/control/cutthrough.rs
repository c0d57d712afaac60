//! `control = cutthrough_delivery`: the message goes on to the next host before the client has its answer. In the RCPT ACL,
//! for the first recipient; later ones go with it. Option `defer=spool` or `defer=pass`.

use oxim_base::Text;

use super::super::run::Run;
use super::super::{CutThrough, Phase};
use super::{ControlRow, Fault, all_but, options};

/// The row.
pub(super) static ROW: ControlRow = ControlRow {
    name: "cutthrough_delivery",
    doc: "Delivers while the message arrives; `/defer=pass` tells the client what the next host puts off.",
    forbidden: all_but(&[Phase::Rcpt]),
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
    if run.scene.context.message.rcpt_count <= 1 {
        run.scene.message.cut_through = Some(CutThrough { passes_deferral });
    }
    Ok(())
}

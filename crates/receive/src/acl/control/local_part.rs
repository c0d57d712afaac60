//! `control = caseful_local_part`, `control = caselower_local_part`: the case of `$local_part` in the RCPT ACL.

use oxim_base::Text;
use oxim_mail::address;

use super::super::Phase;
use super::super::run::Run;
use super::{ControlRow, Fault, Phases, all_but};

const FORBIDDEN: Phases = all_but(&[Phase::Rcpt]);

/// `caseful_local_part`.
pub(super) static CASEFUL: ControlRow = ControlRow {
    name: "caseful_local_part",
    doc: "Shows `$local_part` in its own case.",
    forbidden: FORBIDDEN,
    has_options: false,
    apply: Some(|run, _| show(run, true)),
};

/// `caselower_local_part`.
pub(super) static CASELOWER: ControlRow = ControlRow {
    name: "caselower_local_part",
    doc: "Shows `$local_part` in lower case again.",
    forbidden: FORBIDDEN,
    has_options: false,
    apply: Some(|run, _| show(run, false)),
};

fn show(run: &mut Run<'_>, caseful: bool) -> Result<(), Fault> {
    let (local_part, _) = address::split_at_domain(&run.scene.subject);
    let mut local_part = address::unquote_local_part(local_part);
    if !caseful {
        local_part.make_ascii_lowercase();
    }
    run.scene.context.address.local_part = Text::tainted(local_part);
    run.scene.message.caseful_local_part = caseful;
    Ok(())
}

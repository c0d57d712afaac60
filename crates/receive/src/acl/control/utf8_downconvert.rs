//! `control = utf8_downconvert/value`: whether the envelope of an international message goes out in A-label form (manual
//! section 60.1). What follows a good value is passed over, as in Exim.

use oxim_base::Text;

use super::super::Phase;
use super::super::run::Run;
use super::{ControlRow, Fault, all_but};

/// Its name.
pub(super) const NAME: &str = "utf8_downconvert";
/// What the log says of a value that is none.
pub(super) const BAD_VALUE: &str = "bad option value for control=utf8_downconvert";

/// `utf8_downconvert`.
pub(super) static ROW: ControlRow = ControlRow {
    name: NAME,
    doc: "Has the envelope sent in A-labels: `1` always, `-1` to servers without SMTPUTF8, `0` never.",
    forbidden: all_but(&[Phase::Rcpt, Phase::Vrfy]),
    has_options: true,
    apply: Some(apply),
};

fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    run.scene.message.utf8_downconvert = match text.as_bytes() {
        b"" | [b'/', b'1', ..] => Some(1),
        [b'/', b'0', ..] => Some(0),
        [b'/', b'-', b'1', ..] => Some(-1),
        _ => return Err(Fault::Syntax),
    };
    Ok(())
}

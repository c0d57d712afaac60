//! The `bmi_optin` modifier: the features that the recipient in hand has opted in to, for the scan of the message.
//!
//! It belongs into the RCPT ACL: the value goes to the recipient that is accepted next. A value of one character or less is
//! none. Manual: docs/features/bmi.md.

use oxim_base::Text;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::phase::phases;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "bmi_optin",
    doc: "What the recipient has opted in to, for Brightmail.",
    forbidden: phases(&[
        Phase::Auth,
        Phase::Connect,
        Phase::Helo,
        Phase::Data,
        Phase::Mime,
        Phase::Prdr,
        Phase::Etrn,
        Phase::Expn,
        Phase::MailAuth,
        Phase::Mail,
        Phase::StartTls,
        Phase::Vrfy,
        Phase::Predata,
        Phase::NotSmtpStart,
        Phase::Atrn,
        Phase::Wellknown,
    ]),
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(OptIn))
}

#[derive(Debug)]
struct OptIn;

impl Modifier for OptIn {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let text = argument.as_bytes();
        run.scene.message.bmi.opt_in = (text.len() > 1).then(|| text.to_vec());
        Ok(())
    }
}

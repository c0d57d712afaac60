//! The `remove_header` modifier: header lines that the message loses if it is accepted. Manual section 44.25.

use oxim_base::Text;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::phase::all_but;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "remove_header",
    doc: "Names header lines that are to be removed.",
    forbidden: all_but(&[
        Phase::Mail,
        Phase::Rcpt,
        Phase::Predata,
        Phase::Data,
        Phase::Prdr,
        Phase::Mime,
        Phase::NotSmtp,
        Phase::NotSmtpMime,
        Phase::NotSmtpStart,
    ]),
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(Remove))
}

#[derive(Debug)]
struct Remove;

impl Modifier for Remove {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let removed = &mut run.scene.message.headers_removed;
        for name in oxim_lang::list::split(argument.as_bytes()) {
            if !name.is_empty() && !removed.iter().any(|old| old.eq_ignore_ascii_case(&name)) {
                removed.push(name.into_owned());
            }
        }
        Ok(())
    }
}

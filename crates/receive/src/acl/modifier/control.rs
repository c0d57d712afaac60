//! The `control` modifier: the controls themselves are in `acl/control/`. Manual section 44.22.

use oxim_base::Text;

use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::control;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "control",
    doc: "Changes how the connection or the message is dealt with.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    if let Some(constant) = argument.template.constant()
        && let Some(refusal) = control::refusal(constant)
    {
        return Err(refusal);
    }
    Ok(Box::new(Control))
}

#[derive(Debug)]
struct Control;

impl Modifier for Control {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        control::apply(run, argument)
    }
}

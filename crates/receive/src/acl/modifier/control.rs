//! The `control` modifier: the controls themselves are in `acl/control/`. Manual section 44.22.

use oxim_base::Text;

use super::super::clause::{Argument, ClauseRow, Kind, Modifier, Tested};
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
    let constant = argument.template.constant();
    let may_block = constant.is_none_or(control::may_block);
    Ok(Box::new(Control { may_block }))
}

#[derive(Debug)]
struct Control {
    may_block: bool,
}

impl Modifier for Control {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        self.act(run, argument).map_err(|tested| tested.log.unwrap_or_default().to_string_lossy())
    }

    fn act(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), Tested> {
        control::apply(run, argument)
    }

    fn may_block(&self) -> bool {
        self.may_block
    }
}

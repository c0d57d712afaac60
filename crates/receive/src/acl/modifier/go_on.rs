//! The `continue` modifier: only the side effects of its expansion matter. Manual section 44.21.

use oxim_base::Text;

use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "continue",
    doc: "Expands its argument and goes on.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(GoOn))
}

#[derive(Debug)]
struct GoOn;

impl Modifier for GoOn {
    fn apply(&self, _: &mut Run<'_>, _: &Text) -> Result<(), String> {
        Ok(())
    }
}

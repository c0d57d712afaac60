//! The `queue` modifier: the message goes to a named queue; an empty name is the default one. Manual section 44.21.

use oxim_base::Text;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::phase::phases;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "queue",
    doc: "Puts the message on a named queue.",
    forbidden: phases(&[Phase::NotSmtp, Phase::Prdr, Phase::Data]),
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    Ok(Box::new(Queue))
}

#[derive(Debug)]
struct Queue;

impl Modifier for Queue {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let name = argument.as_bytes();
        // It becomes the name of a directory. A name that begins with a dot is ours to refuse, not Exim's.
        if name.contains(&b'/') || name.starts_with(b".") {
            return Err(format!("Directory separator not permitted in queue name: '{argument}'"));
        }
        if argument.is_foreign() {
            return Err(format!("Tainted name '{argument}' for queue not permitted"));
        }
        run.scene.context.message.queue_name = name.to_vec();
        Ok(())
    }
}

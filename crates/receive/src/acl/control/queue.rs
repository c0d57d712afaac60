//! `control = queue`, `control = queue_only`: no delivery before a queue run.

use oxim_base::Text;

use super::super::QueueControl;
use super::super::run::Run;
use super::{ControlRow, Fault, MESSAGE_ONLY, options};

/// `queue`.
pub(super) static QUEUE: ControlRow = ControlRow {
    name: "queue",
    doc: "Leaves the message to a queue run; with `/first_pass_route` it is routed at once.",
    forbidden: MESSAGE_ONLY,
    has_options: true,
    apply: Some(apply),
};

/// `queue_only`, the old name.
pub(super) static QUEUE_ONLY: ControlRow = ControlRow { name: "queue_only", ..QUEUE };

/// Exim passes over options that it does not know, here.
fn apply(run: &mut Run<'_>, text: &Text) -> Result<(), Fault> {
    let routes = options(text).any(|option| option.as_bytes() == b"first_pass_route");
    run.scene.message.queue = Some(if routes { QueueControl::FirstPassRoute } else { QueueControl::Wait });
    Ok(())
}

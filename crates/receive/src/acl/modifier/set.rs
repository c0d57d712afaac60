//! The `set` modifier: gives a value to `$acl_c…` (kept for the connection) or `$acl_m…` (kept for the message).
//! Manual sections 44.19 and 44.21.

use oxim_base::Text;

use super::super::clause::{Argument, ClauseRow, Kind, Modifier};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "set",
    doc: "Gives a value to an ACL variable.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Modifier(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Modifier>, String> {
    let (scope, key) = argument.variable.split_at_checked(1).unwrap_or_default();
    Ok(Box::new(Set { is_message: scope == "m", key: key.as_bytes().to_vec() }))
}

#[derive(Debug)]
struct Set {
    is_message: bool,
    key: Vec<u8>,
}

impl Modifier for Set {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        let context = &mut run.scene.context;
        let variables =
            if self.is_message { &mut context.message.acl_m } else { &mut context.connection.acl_c };
        variables.insert(self.key.clone(), argument.clone());
        Ok(())
    }
}

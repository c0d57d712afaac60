//! The `set` modifier: gives a value to `$acl_c…` (kept for the connection) or `$acl_m…` (kept for the message), and in the
//! DKIM ACL to `$dkim_verify_status` and `$dkim_verify_reason`. Manual sections 44.19, 44.21 and 58.3.

use oxim_base::Text;

use super::super::Phase;
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
    if argument.variable.starts_with("dkim_") {
        return Ok(Box::new(SetDkim { is_status: argument.variable == "dkim_verify_status" }));
    }
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

/// What the DKIM ACL makes of a signature.
#[derive(Debug)]
struct SetDkim {
    is_status: bool,
}

impl Modifier for SetDkim {
    fn apply(&self, run: &mut Run<'_>, argument: &Text) -> Result<(), String> {
        if run.phase != Phase::Dkim {
            return Err(format!("cannot set dkim_verify_status or _reason in {} ACL", run.phase.acl_name()));
        }
        let facts = run.scene.context.message.dkim.get_or_insert_default();
        let place = if self.is_status { &mut facts.status } else { &mut facts.reason };
        *place = argument.clone();
        Ok(())
    }
}

//! The `acl` condition, and the call that it shares with the `${acl` item.

use oxim_base::Text;

use super::{Condition, ConditionRow};
use crate::config::Status;
use crate::context::Context;
use crate::expand::{Body, ExpandError, Fault, Parser};
use crate::host::{AclOutcome, AclVerdict};

/// How many arguments an ACL may have, its name included.
pub(crate) const ACL_STRINGS_MAX: usize = 10;

pub(super) static ROWS: &[&ConditionRow] = &[&ConditionRow {
    name: "acl",
    status: Status::Works,
    doc: "The named ACL accepts; its message is in `$value`.",
    examples: &[],
    may_block: true,
    sets_captures: false,
    parse,
}];

struct Acl {
    strings: Vec<Body>,
}

fn parse(parser: &mut Parser<'_>) -> Result<Box<dyn Condition>, Fault> {
    let problem = "too few arguments or bracketing error for acl";
    if !parser.space_eat(b'{') {
        return parser.fault("missing { after \"acl\"");
    }
    let mut strings = Vec::new();
    while strings.len() < ACL_STRINGS_MAX && parser.space_eat(b'{') {
        strings.push(parser.body()?);
    }
    if strings.is_empty() || !parser.space_eat(b'}') {
        return parser.fault(problem);
    }
    Ok(Box::new(Acl { strings }))
}

impl Condition for Acl {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let (name, verdict) = run(context, &self.strings)?;
        let holds = match verdict.outcome {
            AclOutcome::Accept => true,
            AclOutcome::Deny => false,
            AclOutcome::Defer | AclOutcome::Discard | AclOutcome::Drop | AclOutcome::Error(_) => {
                return Err(failure(&name, &verdict.outcome));
            }
        };
        context.local.value = Some(verdict.message.unwrap_or_default());
        Ok(holds)
    }
}

/// Expands name and arguments, and runs the ACL.
pub(crate) fn run(context: &mut Context, strings: &[Body]) -> Result<(Text, AclVerdict), ExpandError> {
    let mut texts = Vec::with_capacity(strings.len());
    for body in strings {
        texts.push(body.expand(context)?);
    }
    let mut texts = texts.into_iter();
    let name = texts.next().unwrap_or_default();
    if name.is_foreign() {
        return Err(ExpandError::Failed(format!("attempt to use tainted ACL text \"{name}\"")));
    }
    let services = context.services.clone();
    let Some(host) = services.host.get() else {
        return Err(ExpandError::Failed(format!("ERROR from acl \"{name}\"")));
    };
    let verdict = host.run_acl(context, name.as_bytes(), texts.collect());
    Ok((name, verdict))
}

/// What the expansion says about an ACL that neither accepts nor denies.
pub(crate) fn failure(name: &Text, outcome: &AclOutcome) -> ExpandError {
    // The text of an ACL may have several lines.
    let name = name.to_string_lossy();
    let name = name.lines().next().unwrap_or_default();
    let word = match outcome {
        AclOutcome::Accept => "ACCEPT",
        AclOutcome::Deny => "DENY",
        AclOutcome::Defer => return ExpandError::Forced(format!("DEFER from acl \"{name}\"")),
        AclOutcome::Discard => "DISCARD",
        AclOutcome::Drop => "DROP",
        AclOutcome::Error(_) => "ERROR",
    };
    ExpandError::Failed(format!("{word} from acl \"{name}\""))
}

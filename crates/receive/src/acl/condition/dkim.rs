//! The `dkim_signers` and `dkim_status` conditions: who has signed, and whether the signature is good. Manual section 58.3.
//!
//! They are about the signature in hand, and so for the DKIM ACL alone.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;

const FORBIDDEN: Phases = all_but(&[Phase::Dkim]);

/// The row of `dkim_signers`.
pub(crate) static SIGNERS_ROW: ClauseRow = ClauseRow {
    name: "dkim_signers",
    doc: "The signer is in the list.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile_signers),
};

/// The row of `dkim_status`.
pub(crate) static STATUS_ROW: ClauseRow = ClauseRow {
    name: "dkim_status",
    doc: "The signature verified as the list says.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile_status),
};

fn compile_signers(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Signature { list: super::list(ListKind::String, argument), is_status: false }))
}

fn compile_status(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Signature { list: super::list(ListKind::String, argument), is_status: true }))
}

#[derive(Debug)]
struct Signature {
    list: List,
    is_status: bool,
}

impl Condition for Signature {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let facts = run.scene.context.message.dkim.as_deref();
        let subject = match facts {
            None => Text::new(),
            Some(facts) if self.is_status => facts.status.clone(),
            Some(facts) => Text::tainted(facts.current_signer.clone()),
        };
        super::answer(run, &self.list, &Subject::String { text: &subject, caseful: false })
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

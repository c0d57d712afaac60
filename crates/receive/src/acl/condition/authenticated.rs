//! The `authenticated` condition: the client has authenticated, by one of the listed authenticators. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, phases};
use super::super::run::Run;

const FORBIDDEN: Phases = phases(&[Phase::NotSmtp, Phase::NotSmtpStart, Phase::Connect, Phase::Helo]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "authenticated",
    doc: "The client has authenticated, and the authenticator's name is in the list.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::String, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let Some(name) = run.scene.context.connection.authenticator.clone() else { return Tested::of(false) };
        let name = Text::clean(name);
        super::answer(run, &self.list, &Subject::String { text: &name, caseful: false })
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

//! The `senders` condition: the envelope sender is in an address list. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};

use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::NO_SENDER;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "senders",
    doc: "The sender is in the address list; what it matched is in `$sender_data`. `:` stands for bounces.",
    forbidden: NO_SENDER,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::Address, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let address = Text::tainted(run.scene.context.message.sender.clone());
        let subject = Subject::Address { address: &address, caseful: false, captures: false };
        match run.matches(&self.list, &subject) {
            Ok(found) => {
                let is_found = found.is_some();
                run.scene.context.address.sender_data = found.flatten();
                Tested::of(is_found)
            }
            Err(tested) => tested,
        }
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

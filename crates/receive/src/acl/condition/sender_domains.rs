//! The `sender_domains` condition: the domain of the envelope sender is in a domain list. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};

use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::NO_SENDER;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "sender_domains",
    doc: "The domain of the sender is in the list.",
    forbidden: NO_SENDER,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::Domain, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let sender = &run.scene.context.message.sender;
        let (_, domain) = oxim_mail::address::split_at_domain(sender);
        let domain = Text::tainted(domain.unwrap_or_default().to_ascii_lowercase());
        super::answer(run, &self.list, &Subject::Domain(&domain))
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

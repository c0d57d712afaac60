//! The `local_parts` condition: the local part of the recipient in hand is in a list. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind, Subject};

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;

const FORBIDDEN: Phases = all_but(&[Phase::Rcpt, Phase::Vrfy, Phase::Prdr]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "local_parts",
    doc: "The recipient's local part is in the list; what it matched is in `$local_part_data`.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::LocalPart, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let subject = run.scene.subject.clone();
        let (local_part, _) = oxim_mail::address::split_at_domain(&subject);
        let local_part = Text::tainted(oxim_mail::address::unquote_local_part(local_part));
        let subject = Subject::LocalPart { text: &local_part, caseful: false };
        match run.matches(&self.list, &subject) {
            Ok(found) => {
                let is_found = found.is_some();
                run.scene.context.address.local_part_data = found.flatten();
                Tested::of(is_found)
            }
            Err(tested) => tested,
        }
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

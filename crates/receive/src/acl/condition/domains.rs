//! The `domains` condition: the domain of the recipient in hand is in a domain list. Manual section 44.26.

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
    name: "domains",
    doc: "The recipient's domain is in the list; what it matched is in `$domain_data`.",
    forbidden: FORBIDDEN,
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
        let domain = run.scene.context.address.domain.clone();
        let subject = Subject::Domain(&domain);
        match run.matches(&self.list, &subject) {
            Ok(found) => {
                let is_found = found.is_some();
                run.scene.context.address.domain_data = found.flatten();
                Tested::of(is_found)
            }
            Err(tested) => tested,
        }
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

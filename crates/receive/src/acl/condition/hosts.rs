//! The `hosts` condition: the calling host is in a host list. Manual section 44.26.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::{HostName, List, ListKind, Subject};

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, phases};
use super::super::run::Run;

const FORBIDDEN: Phases = phases(&[Phase::NotSmtp, Phase::NotSmtpStart]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "hosts",
    doc: "The client is in the host list; what a lookup gave is in `$host_data`.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Wanted { list: super::list(ListKind::Host, argument) }))
}

#[derive(Debug)]
struct Wanted {
    list: List,
}

impl Condition for Wanted {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let subject =
            Subject::Host { address: run.scene.context.connection.host_address, name: HostName::Caller };
        match run.matches(&self.list, &subject) {
            Ok(found) => {
                let is_found = found.is_some();
                run.scene.context.address.host_data = found.flatten();
                Tested::of(is_found)
            }
            Err(tested) => tested,
        }
    }

    fn may_block(&self, config: &Config) -> bool {
        self.list.may_block_in(config)
    }
}

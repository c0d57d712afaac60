//! The `atrn_domains` condition: mail for one of the domains waits. It also fixes the domains of the line that ATRN turns around.
//!
//! Only in the ATRN ACL. The queue is the one that a `queue` modifier before it has chosen. A list that comes from the client
//! is refused: it must be looked up, or compared with what the client may have. RFC 2645.

use oxim_base::Text;
use oxim_deliver::turned_line::has_recipient_in;
use oxim_lang::config::Config;
use oxim_lang::list::{List, ListKind};

use super::super::Phase;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::all_but;
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "atrn_domains",
    doc: "Mail for one of these domains waits; ATRN is to deliver it.",
    forbidden: all_but(&[Phase::Atrn]),
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Waiting))
}

#[derive(Debug)]
struct Waiting;

impl Condition for Waiting {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        if argument.is_foreign() {
            run.log_panic(&format!("attempt to used tainted value '{argument}' for atrn_domains"));
            return Tested::faulty("internal configuration error");
        }
        let text = argument.to_string_lossy();
        let domains = List::compile(ListKind::Domain, &text);
        let store = &run.reception.store;
        let entries = match store.list(Some(&run.scene.context.message.queue_name)) {
            Ok(entries) => entries,
            Err(error) => {
                run.log_panic(&format!("atrn_domains: the spool cannot be listed: {error}"));
                return Tested::plain(Answer::Later);
            }
        };
        let context = &mut run.scene.context;
        let waits = entries.iter().any(|entry| {
            entry.details().is_ok_and(|details| has_recipient_in(context, &details.message, &domains))
        });
        run.scene.connection.atrn_domains = Some(text);
        Tested::of(waits)
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

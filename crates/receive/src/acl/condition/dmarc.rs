//! The `dmarc_status` condition: the DMARC result is in a list. Sets `$dmarc_…`. Manual section 58.6.
//!
//! The check is made by the first of these conditions for a message. Failure modes: what cannot be checked is logged and
//! has the status `none`; a DNS failure is the status `temperror`.

use std::hash::{BuildHasher, Hasher, RandomState};

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::dmarc::{self, DmarcFacts};
use oxim_lang::list::{List, ListKind, Subject};
use oxim_lang::sender_policy::AuthDns;

use super::super::Phase;
use super::super::clause::{Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use crate::signatures::NoDns;

const FORBIDDEN: Phases = all_but(&[Phase::Data]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "dmarc_status",
    doc: "The DMARC result is in the list.",
    forbidden: FORBIDDEN,
    is_expanded: false,
    kind: Kind::Condition(compile),
};

fn compile(argument: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Dmarc { list: super::list(ListKind::String, argument) }))
}

#[derive(Debug)]
struct Dmarc {
    list: List,
}

impl Condition for Dmarc {
    fn test(&self, run: &mut Run<'_>, _: &Text) -> Tested {
        let controls = &run.scene.message;
        let is_off = controls.dmarc_disable_verify || controls.dkim_disable_verify;
        if run.scene.context.message.dmarc.is_none() {
            if is_off {
                run.scene.context.message.dmarc = Some(Box::default());
            } else {
                check(run);
            }
        }
        let word = match run.scene.context.message.dmarc.as_deref() {
            Some(facts) if !is_off => facts.word(),
            Some(_) | None => "off",
        };
        run.trace(|| format!("DMARC status is {word}"));
        let subject = Text::from(word);
        super::answer(run, &self.list, &Subject::String { text: &subject, caseful: false })
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

fn check(run: &mut Run<'_>) {
    // Whose share of the messages this one belongs to.
    let draw = run.reception.config.main.dmarc_apply_pct.then(|| {
        let number = RandomState::new().build_hasher().finish();
        u8::try_from(number % 100).unwrap_or_default()
    });
    let resolver = run.reception.resolver.clone();
    let result = run.lending(|context| match &resolver {
        Some(resolver) => dmarc::check(context, &AuthDns(resolver), draw),
        None => dmarc::check(context, &NoDns, draw),
    });
    if let Err(error) = result {
        run.log_panic(&error.to_string());
    }
    let facts: Option<&DmarcFacts> = run.scene.context.message.dmarc.as_deref();
    if facts.is_some_and(|facts| facts.checked.is_some()) && run.scene.context.message.sender.is_empty() {
        let helo = run.scene.context.connection.helo_name.as_deref().map(crate::log_line::printable);
        run.log_main(&format!("DMARC using synthesized SPF sender domain = {}", helo.unwrap_or_default()));
    }
    crate::dmarc::follow_up(run);
}

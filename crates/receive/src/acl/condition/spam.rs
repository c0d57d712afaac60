//! The `spam` condition: SpamAssassin or Rspamd gives the message a score over its threshold. Sets `$spam_…`.
//!
//! The argument is a user name, perhaps with `:true` (the condition is then always true) and `/defer_ok`; an empty one, `0`
//! and `false` ask nobody. The answer is kept for the user name and the message, unless `spamd_address` has variables.
//! Failure modes: without an answer the condition defers, or under `defer_ok` is false. Manual sections 45.2 and 45.3.

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::content::SpamFacts;
use oxim_lang::list::split_at;

use super::super::Phase;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::phase::{Phases, all_but};
use super::super::run::Run;
use crate::scan;
use crate::scan::spam::{self, Silence};

const FORBIDDEN: Phases = all_but(&[Phase::Data, Phase::Prdr, Phase::Dkim, Phase::NotSmtp]);

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "spam",
    doc: "SpamAssassin or Rspamd calls the message spam.",
    forbidden: FORBIDDEN,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(Spam))
}

#[derive(Debug)]
struct Spam;

impl Condition for Spam {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        let Some((user, always, defer_ok)) = words(argument) else { return Tested::of(false) };
        match find_out(run, &user) {
            Ok(is_spam) => Tested::of(is_spam || always),
            Err(Silence(text)) => {
                run.log_panic(&format!("spam acl condition: {text}"));
                if defer_ok { Tested::of(false) } else { Tested::plain(Answer::Later) }
            }
        }
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

/// User name, whether the condition is true anyway, and whether a deferral is to be a "no". None: nobody is asked.
fn words(argument: &Text) -> Option<(Vec<u8>, bool, bool)> {
    let items: Vec<_> = split_at(argument.as_bytes(), b'/').collect();
    let first = items.first().map(AsRef::as_ref).unwrap_or_default();
    let (user, always) = first.strip_suffix(b":true").map_or((first, false), |user| (user, true));
    if matches!(user, b"" | b"0") || user.eq_ignore_ascii_case(b"false") {
        return None;
    }
    let defer_ok = items.iter().skip(1).any(|item| item.eq_ignore_ascii_case(b"defer_ok"));
    Some((user.to_vec(), always, defer_ok))
}

fn find_out(run: &mut Run<'_>, user: &[u8]) -> Result<bool, Silence> {
    let template = run.reception.settings.spamd_template.clone();
    let list = match &template {
        Some(template) => run.expand(template).map_err(|error| {
            Silence(format!("spamd_address starts with $, but expansion failed: {error}"))
        })?,
        None => {
            let known = run.scene.message.scan.spam.clone();
            if let Some((_, is_spam, facts)) = known.filter(|(known, ..)| known == user) {
                show(run, facts);
                return Ok(is_spam);
            }
            Text::clean(run.reception.settings.spamd_address.as_bytes())
        }
    };
    if list.is_foreign() {
        return Err(Silence(format!("tainted spamd_address '{list}'")));
    }
    let mut notes = Vec::new();
    let servers = spam::servers(&list.to_string_lossy(), run.reception.services.zone, &mut notes);
    let copy = scan::copy(run).map_err(Silence)?;
    let resolver = run.reception.resolver.as_ref();
    let asked = spam::ask(&servers, &run.scene.context, &copy, user, resolver, &mut notes);
    for note in notes {
        run.log_main(&format!("spam acl condition: {note}"));
    }
    let (answer, address) = asked?;
    run.scene.context.local.callout_address = Some(address);
    if template.is_none() {
        run.scene.message.scan.spam = Some((user.to_vec(), answer.is_spam, answer.facts.clone()));
    }
    show(run, answer.facts);
    Ok(answer.is_spam)
}

fn show(run: &mut Run<'_>, facts: SpamFacts) {
    run.scene.context.message.content.spam = Some(Box::new(facts));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let of = |text: &str| words(&Text::from(text.to_owned()));
        assert_eq!(of("joe"), Some((b"joe".to_vec(), false, false)));
        assert_eq!(of("joe:true / DEFER_OK"), Some((b"joe".to_vec(), true, true)));
        for text in ["", "0", "False", "false/defer_ok", ":true"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}

//! Shadow transports: a copy of what a local transport has delivered (manual chapter 24, `shadow_transport`).
//!
//! What becomes of the copy changes nothing but the log line of the delivery: `ST=name`, with the error in parentheses.

use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::expand::ExpandError;
use oxim_spool::store::Claim;

use super::{AttemptOptions, local_runs};
use crate::address::Address;
use crate::settle::Settlement;
use crate::transport::{DeliveryError, Outcome, Run, Transport};

/// Runs the shadow of a transport for the addresses that were delivered, and notes in their outcomes what came of it.
pub(super) fn run(
    settlement: &Settlement<'_>,
    context: &mut Context,
    claim: &Claim,
    transport: &Transport,
    addresses: &[Address],
    run: &mut Run,
    options: AttemptOptions,
) {
    let Some(name) = &transport.generic.shadow_transport else { return };
    let is_delivered = |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_));
    let delivered: Vec<Address> = addresses
        .iter()
        .zip(&run.outcomes)
        .filter(|(_, outcome)| is_delivered(outcome))
        .map(|(address, _)| address.clone())
        .collect();
    let Some(first) = delivered.first() else { return };
    let log = settlement.delivery.services.log();
    let Some(shadow) = settlement.delivery.transports.iter().find(|t| t.name == *name) else {
        log.both(format!("{} shadow transport \"{name}\" not found", claim.id()));
        return;
    };
    match is_wanted(context, transport) {
        Ok(true) => {}
        Ok(false) => return,
        Err(text) => {
            log.both(format!("{} {text}", claim.id()));
            return;
        }
    }
    local_runs::enter(context, shadow, first, delivered.iter().skip(1));
    let outcomes = match local_runs::prepare_batch(settlement, context, claim, shadow, &delivered, options) {
        Ok(mut batch) if !settlement.dont_deliver => {
            batch.is_shadow = true;
            shadow.driver.deliver(shadow, settlement.delivery, context, &batch).outcomes
        }
        Ok(_) => return,
        Err(error) => vec![Outcome::Deferred(error); delivered.len()],
    };
    let concerned = run.outcomes.iter_mut().filter(|outcome| is_delivered(outcome));
    for (outcome, of_shadow) in concerned.zip(outcomes) {
        if let Outcome::Delivered(done) = outcome {
            done.shadow = Some(shown(name, &of_shadow));
        }
    }
}

/// `shadow_condition`.
fn is_wanted(context: &mut Context, transport: &Transport) -> Result<bool, String> {
    let Some(condition) = &transport.generic.shadow_condition else { return Ok(true) };
    match condition.expand(context) {
        Ok(text) => Ok(is_true(&text)),
        Err(ExpandError::Forced(_)) => Ok(false),
        Err(error) => {
            let source = condition.source();
            Err(format!("failed to expand condition \"{source}\" for {} transport: {error}", transport.name))
        }
    }
}

fn is_true(text: &Text) -> bool {
    let word = text.trimmed();
    !(word.is_empty() || word == "0" || word.eq_ignore_case(b"no") || word.eq_ignore_case(b"false"))
}

fn shown(name: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Delivered(_) => name.to_owned(),
        Outcome::Failed(error) | Outcome::Deferred(error) => format!("{name} ({})", reason(error)),
    }
}

fn reason(error: &DeliveryError) -> String {
    let system = (error.code > 0).then(|| oxim_base::errno::errno_text(error.code));
    match (system, error.text.is_empty()) {
        (Some(system), false) => format!("{system}: {}", error.text),
        (Some(system), true) => system,
        (None, false) => error.text.clone(),
        (None, true) => "unknown error".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_says_of_a_shadow() {
        let with = |code, text: &str| shown("copy", &Outcome::Deferred(DeliveryError::new(code, text)));
        assert_eq!(shown("copy", &Outcome::Delivered(Default::default())), "copy");
        assert_eq!(with(2, "opening x"), "copy (No such file or directory: opening x)");
        assert_eq!(with(0, "status 3"), "copy (status 3)");
        assert_eq!(with(0, ""), "copy (unknown error)");
    }
}

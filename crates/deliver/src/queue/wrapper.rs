//! `mua_wrapper`: one attempt in the place of a queue, all recipients or none (manual chapter 52).
//!
//! The caller waits and hears one word. What cannot go to one server in one transaction fails, and so does what must wait.

use oxim_base::errno::error_text;

use crate::plan::Group;
use crate::settle::Settlement;
use crate::transport::{Outcome, Run};

/// Why the message cannot go in one transaction, as far as routing can tell: the text for the caller. The log has it by then.
pub(super) fn objection(settlement: &Settlement<'_>, local: &[Group], remote: &[Group]) -> Option<String> {
    let log = |line: String| {
        settlement.delivery.services.log().main(format!("{} ** {line}", settlement.claim.id()));
    };
    // The first recipient was routed last.
    if let Some(address) = local.first().and_then(|group| group.addresses.first()) {
        log(format!("{} routing yielded a local delivery", address.text()));
        return Some(format!("routing {} yielded a local delivery", address.text()));
    }
    let tally = settlement.tally.lock();
    if let Some(waiting) = tally.deferred.last() {
        let address = waiting.address.text();
        log(format!("{address} routing yielded a deferred delivery"));
        let line = format!("routing {address} yielded a deferred delivery");
        // That the system filter froze the message says nothing about the address.
        let reason = if tally.freeze.is_some() { "" } else { &waiting.error.text };
        return Some(with_reason(line, reason));
    }
    if let Some(failure) = tally.failed.last() {
        let line = format!("routing {} yielded a failed delivery", failure.address.text());
        return Some(with_reason(line, &failure.error.text));
    }
    if remote.len() > 1 {
        log("mua_wrapper is set but recipients cannot all be delivered in one transaction".to_owned());
        return Some("delivery to smarthost failed (configuration problem)".to_owned());
    }
    None
}

fn with_reason(line: String, reason: &str) -> String {
    if reason.is_empty() { line } else { format!("{line}: {reason}") }
}

/// Nothing waits: what the server put off has failed. The line about a deferral has the system's words; now the text has them.
pub(super) fn make_final(run: &mut Run) {
    for outcome in &mut run.outcomes {
        if let Outcome::Deferred(error) = outcome {
            let mut error = std::mem::take(error);
            if error.text.is_empty() && error.code > 0 {
                error.text = error_text(&std::io::Error::from_raw_os_error(error.code));
            }
            *outcome = Outcome::Failed(error);
        }
    }
}

/// The text for the caller, if the delivery has failed.
pub(super) fn complaint(settlement: &Settlement<'_>) -> Option<String> {
    let tally = settlement.tally.lock();
    let failure = tally.failed.last()?;
    Some(format!("Delivery failed: {}", settlement.lines.error(&failure.error)))
}

//! A queue run: one pass over the messages, oldest first, each attempted if it is due and selected (manual chapter 5, `-q`).

use std::sync::Arc;

use oxim_lang::context::Context;
use oxim_mail::message_id::MessageId;
use oxim_spool::log::Selector;
use oxim_spool::message::Message;
use oxim_spool::store::{ClaimError, QueueEntry, Store};

use super::attempt::{AttemptOptions, Ended, attempt_over};
use crate::delivery::Delivery;
use crate::submission::Submitter;
use crate::turned_line::Turn;

/// A text that an address must hold (`-R`, `-S`).
#[derive(Clone, Debug)]
pub enum Selection {
    /// A string, without regard to case.
    Text(Vec<u8>),
    /// A regular expression.
    Pattern(pcre2::bytes::Regex),
}

impl Selection {
    /// A selection from the command line.
    ///
    /// # Errors
    /// A faulty regular expression.
    pub fn new(text: &[u8], is_regex: bool) -> Result<Selection, String> {
        if !is_regex {
            return Ok(Selection::Text(text.to_ascii_lowercase()));
        }
        let pattern = String::from_utf8_lossy(text);
        pcre2::bytes::RegexBuilder::new()
            .caseless(true)
            .build(&pattern)
            .map(Selection::Pattern)
            .map_err(|e| format!("regular expression error: {e}"))
    }

    fn matches(&self, address: &[u8]) -> bool {
        match self {
            Selection::Text(text) => memchr::memmem::find(&address.to_ascii_lowercase(), text).is_some(),
            Selection::Pattern(regex) => regex.is_match(address).unwrap_or(false),
        }
    }
}

/// Which messages a run takes and how.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// How each attempt is made.
    pub attempt: AttemptOptions,
    /// `-qq`: first all are routed and the local deliveries made, then the remote ones.
    pub two_stage: bool,
    /// Only messages that were never tried.
    pub first_only: bool,
    /// The queue; empty for the default one.
    pub queue_name: Vec<u8>,
    /// First message of the range.
    pub start: Option<Vec<u8>>,
    /// Last message of the range.
    pub stop: Option<Vec<u8>>,
    /// Some recipient that is not done must match.
    pub recipient: Option<Selection>,
    /// The sender must match.
    pub sender: Option<Selection>,
    /// What the log line of the run shows of it, such as ` -qf`.
    pub label: String,
    /// The line that ATRN has turned around, for a run over it.
    pub turn: Option<Arc<Turn>>,
}

impl RunOptions {
    /// Whether a message is one of the run's.
    #[must_use]
    pub fn selects(&self, message: &Message) -> bool {
        let sender = self.sender.as_ref().is_none_or(|s| s.matches(&message.sender));
        let recipient = self.recipient.as_ref().is_none_or(|s| {
            message.recipients.iter().any(|r| !message.is_done(&r.address) && s.matches(&r.address))
        });
        sender && recipient && (!self.first_only || message.first_delivery)
    }

    fn is_in_range(&self, entry: &QueueEntry) -> bool {
        let id = entry.id;
        let id = id.as_str().as_bytes();
        self.start.as_deref().is_none_or(|s| id >= s) && self.stop.as_deref().is_none_or(|s| id <= s)
    }
}

/// Makes the pass. `after` is told how each attempt ended.
pub fn run(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    options: &RunOptions,
    mut after: impl FnMut(MessageId, Ended),
) {
    let log = delivery.services.log();
    let named = if options.queue_name.is_empty() {
        String::new()
    } else {
        format!(" '{}'", String::from_utf8_lossy(&options.queue_name))
    };
    let wants_lines = log.selectors().has(Selector::QueueRun);
    let pid = std::process::id();
    if wants_lines {
        log.main(format!("Start{named} queue run: pid={pid}{}", options.label));
    }
    let run = Run { delivery, store, submitter };
    if options.two_stage {
        let routing = RunOptions {
            attempt: AttemptOptions { local_only: true, first_pass: true, ..options.attempt },
            ..options.clone()
        };
        run.pass(&routing, &mut after);
    }
    run.pass(options, &mut after);
    if wants_lines {
        log.main(format!("End{named} queue run: pid={pid}{}", options.label));
    }
}

/// A run, as its passes see it.
struct Run<'a> {
    delivery: &'a Arc<Delivery>,
    store: &'a dyn Store,
    submitter: &'a dyn Submitter,
}

impl Run<'_> {
    /// All messages once, or until the load is too high.
    fn pass(&self, options: &RunOptions, after: &mut dyn FnMut(MessageId, Ended)) {
        let log = self.delivery.services.log();
        let entries = match self.store.list(Some(&options.queue_name)) {
            Ok(entries) => entries,
            Err(error) => {
                log.panic(format!("queue run: the spool cannot be listed: {error}"));
                return;
            }
        };
        // The first message that is selected by an address is forced: what it deletes of retry times lets the others go.
        let mut forces = options.recipient.is_some() || options.sender.is_some();
        for entry in entries.iter().filter(|e| options.is_in_range(e)) {
            // A forced run is wanted now, whatever else goes on.
            if let Some(reason) = overload(self.delivery).filter(|_| !options.attempt.force) {
                log.main(format!("Abandon queue run: pid={} ({reason})", std::process::id()));
                break;
            }
            if options.turn.as_ref().is_some_and(|turn| !turn.is_open()) {
                break;
            }
            let how = AttemptOptions { force: options.attempt.force || forces, ..options.attempt };
            let ended = attempt_entry(self.delivery, self.store, self.submitter, options, how, &entry.id);
            if let Some(ended) = ended {
                forces = false;
                after(entry.id, ended);
            }
            if options.attempt.first_pass && self.delivery.config.main.queue_fast_ramp {
                self.delivery.waiting.ramp(RAMP_MESSAGES);
            }
            if options.turn.is_none() {
                deliver_ready(self.delivery, self.store, self.submitter, &mut *after);
            }
        }
    }
}

/// `queue_fast_ramp`: so many messages for one server do not wait for the second pass.
const RAMP_MESSAGES: usize = 10;

/// Tries what waited for a server that has just taken a message, over the connection that is open.
pub fn deliver_ready(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    mut after: impl FnMut(MessageId, Ended),
) {
    while let Some(id) = delivery.waiting.next_ready(delivery.services.hints.get()) {
        let how = AttemptOptions::default();
        if let Some(ended) = attempt_entry(delivery, store, submitter, &RunOptions::default(), how, &id) {
            after(id, ended);
        }
    }
}

/// The load and its limit, when the load is above `deliver_queue_load_max`. A load that cannot be read is no load.
fn overload(delivery: &Delivery) -> Option<String> {
    let max = delivery.config.main.deliver_queue_load_max?;
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = text.split(' ').next()?.parse().ok()?;
    let max = i32::try_from(max).map_or(f64::MAX, |thousandths| f64::from(thousandths) / 1000.0);
    (load > max).then(|| format!("load {load:.2}, max {max:.2}"))
}

/// Attempts one message of a run, if it is selected and nobody else has it.
fn attempt_entry(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    options: &RunOptions,
    how: AttemptOptions,
    id: &MessageId,
) -> Option<Ended> {
    let claim = match store.claim(id) {
        Ok(claim) => claim,
        Err(ClaimError::Busy | ClaimError::Gone | ClaimError::NoHeader) => return None,
        Err(error) => {
            super::unreadable(delivery, store, id, &error);
            return None;
        }
    };
    let message = Arc::clone(claim.message());
    if !options.selects(&message) {
        return None;
    }
    if let Some(turn) = &options.turn {
        let mut context = Context::new(Arc::clone(&delivery.config), Arc::clone(&delivery.services));
        let mut waiting = message.recipients.iter().filter(|r| !message.is_done(&r.address));
        if !waiting.any(|recipient| turn.wants(&mut context, &recipient.address)) {
            return None;
        }
    }
    let how = AttemptOptions { queue_running: true, ..how };
    Some(attempt_over(delivery, store, submitter, claim, how, options.turn.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selections_match_anywhere_and_in_any_case() {
        assert!(Selection::new(b"Bob", false).unwrap().matches(b"x-bOB@test.ex"));
        assert!(!Selection::new(b"bob", false).unwrap().matches(b"alice@test.ex"));
        assert!(Selection::new(b"^a.*ex$", true).unwrap().matches(b"Alice@test.ex"));
        assert!(Selection::new(b"(", true).is_err());
    }
}

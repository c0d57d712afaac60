//! The end of an attempt: bounces, reports of success, warnings, freezing, and what the spool keeps.

use std::collections::HashSet;
use std::sync::Arc;

use oxim_base::clock::Stamp;
use oxim_lang::context::Context;
use oxim_spool::log::Selector;
use oxim_spool::message::Message;

use super::{Attempt, Ended, errors_copy, finish};
use crate::address::Address;
use crate::bounce::{self, Failure, Letterhead};
use crate::queue::{one_time, warning};
use crate::report_text::ReportTexts;
use crate::settle::Tally;
use crate::submission::Submission;
use crate::success_report;

/// What came of telling somebody of failures.
enum Reported {
    Done,
    Freeze(String),
    NotNow,
}

impl Attempt<'_> {
    /// After all runs: bounces, warnings, freezing, and what the spool keeps.
    pub(super) fn conclude(
        mut self,
        context: &mut Context,
        message: &Arc<Message>,
        mut tally: Tally,
    ) -> Ended {
        for warning in std::mem::take(&mut tally.warnings) {
            let letterhead = crate::bounce::Letterhead::new(self.delivery, context);
            self.submit_report(warning::quota_warning(&letterhead, message, &warning));
        }
        self.report_successes(context, message, &tally);
        let done = self.report_failures(context, message, &mut tally);
        if tally.deferred.is_empty() && tally.freeze.is_none() {
            let selectors = self.delivery.services.log().selectors();
            let suffix = if selectors.has(Selector::QueueTimeOverall) {
                let taken = Stamp::now().since(message.received);
                format!(" QT={}", oxim_base::clock::short_interval(taken, selectors.has(Selector::Millisec)))
            } else {
                String::new()
            };
            self.main_line(&format!("Completed{suffix}"));
            crate::event::completed(context);
            return finish(self.store, self.claim);
        }
        let mut changed = Message::clone(message);
        changed.first_delivery &= self.is_unfiltered;
        changed.non_recipients.extend(tally.done.iter().cloned());
        changed.non_recipients.extend(done);
        forget_told(&mut changed, &tally);
        let added = one_time::keep_children(&mut changed, &tally);
        mark_finished_parents(&mut changed, message, &tally, &added);
        if self.thawed {
            changed.frozen = None;
            changed.manual_thaw |= self.options.force_frozen;
        }
        let frozen = tally.freeze.is_some();
        if let Some(reason) = tally.freeze.clone() {
            changed.frozen = Some(Stamp::now().seconds);
            self.freeze_notice(context, message, &reason, &tally);
        } else {
            warning::send_if_due(self.delivery, self.submitter, context, &mut changed, &tally.deferred);
        }
        // Most messages of a queue run only wait: their files are as they were.
        let is_new = changed != **self.claim.message();
        if is_new && let Err(error) = self.store.update(&mut self.claim, &changed) {
            self.delivery
                .services
                .log()
                .panic(format!("{} failed to write the message back to the spool: {error}", message.id));
            return Ended::Untouched;
        }
        if frozen {
            if self.delivery.config.main.move_frozen_messages {
                self.set_aside();
            }
            Ended::Frozen
        } else {
            Ended::Deferred { due: Stamp::from_seconds(tally.due.unwrap_or(0)) }
        }
    }

    /// `move_frozen_messages`: nothing looks at it any more.
    pub(super) fn set_aside(self) {
        let (log, id) = (self.delivery.services.log(), self.claim.id());
        match self.store.set_aside(self.claim) {
            Ok(()) => log.main(format!("{id} moved from input, msglog to Finput, Fmsglog")),
            Err(error) => log.both(format!("{id} {error}")),
        }
    }

    /// The postmaster is told first, as the log line says that it is done.
    fn freeze_notice(&self, context: &mut Context, message: &Message, reason: &str, tally: &Tally) {
        // Why a transport or a router froze it stands with the address.
        let cause = match reason {
            "delivery error message" => " (delivery error message)".to_owned(),
            reason if reason.starts_with("by the system filter") => format!(" {reason}"),
            _ => String::new(),
        };
        let tell = self.delivery.config.main.freeze_tell.clone();
        if let Some(recipients) = tell.filter(|_| !message.local_error) {
            let failed = tally.frozen_failures.iter().map(|f| (&f.address, &f.error));
            let deferred = tally.deferred.iter().map(|d| (&d.address, &d.error));
            // Exim names the last first.
            let waiting: Vec<(String, String)> = failed
                .chain(deferred.rev())
                .map(|(address, error)| (address.text().into_owned(), error.text.clone()))
                .collect();
            let submission = warning::frozen_notice(
                &Letterhead::new(self.delivery, context),
                message,
                &cause,
                &recipients,
                &waiting,
            );
            if let Err(error) = self.submitter.submit(submission) {
                self.delivery
                    .services
                    .log()
                    .panic(format!("{} failed to send a freeze notice: {error}", message.id));
            }
        }
        let line = format!("Frozen{cause}");
        self.main_line(&line);
        self.message_mark(&format!("*** {line}"));
    }

    /// A report that is worth a line in the log if it cannot be sent, but no second try.
    pub(super) fn submit_report(&self, submission: Submission) {
        if submission.recipients.is_empty() {
            return;
        }
        if let Err(error) = self.submitter.submit(submission) {
            self.main_line(&format!("failed to send a report: {error}"));
        }
    }

    /// Tells the sender of deliveries that RFC 3461 wants to be told.
    fn report_successes(&self, context: &mut Context, message: &Message, tally: &Tally) {
        if tally.successes.is_empty() || message.sender.is_empty() {
            return;
        }
        let head = Letterhead::new(self.delivery, context);
        self.submit_report(success_report::compose(&head, message, &tally.successes));
    }

    /// Sends the bounces. The result is what is done with by that; failures whose report could not be sent become deferrals.
    fn report_failures(&self, context: &mut Context, message: &Message, tally: &mut Tally) -> Vec<Vec<u8>> {
        let mut done = Vec::new();
        let failed = std::mem::take(&mut tally.failed);
        let mut rest: Vec<Failure> = failed.into_iter().rev().collect();
        while let Some(first) = rest.first() {
            let target = errors_to(message, &first.address);
            let (now, later): (Vec<Failure>, Vec<Failure>) =
                rest.into_iter().partition(|f| errors_to(message, &f.address) == target);
            rest = later;
            let (ignored, now): (Vec<Failure>, Vec<Failure>) = now.into_iter().partition(|failure| {
                failure.address.is_nobodys_error()
                    || target.is_empty() && self.is_dropped_without_sender(message, failure)
            });
            for failure in &ignored {
                self.error_ignored(&failure.address);
            }
            done.extend(self.recorded(message, ignored));
            for failure in now.iter().filter(|f| !f.address.dsn.wants_failure()) {
                let address = failure.address.text();
                self.main_line(&format!(
                    "{address}: error ignored: RFC 3461 DSN, failure notify not requested"
                ));
            }
            let told: Vec<&Failure> = now.iter().filter(|f| f.address.dsn.wants_failure()).collect();
            let outcome = match (&*target, told.is_empty()) {
                (_, true) => Reported::Done,
                (b"", false) if self.options.give_up => Reported::Done,
                (b"", false) => Reported::Freeze("delivery error message".to_owned()),
                (target, false) => self.send_bounce(context, message, target, &told),
            };
            match outcome {
                Reported::Done => done.extend(self.recorded(message, now)),
                Reported::Freeze(reason) => {
                    tally.freeze = Some(reason);
                    tally.frozen_failures.extend(now);
                }
                Reported::NotNow => tally.deferred.extend(
                    now.into_iter().map(|f| crate::settle::Deferral { address: f.address, error: f.error }),
                ),
            }
        }
        done
    }

    /// Failures that are done with, so that nobody is told of them twice.
    fn recorded(&self, message: &Message, failures: Vec<Failure>) -> Vec<Vec<u8>> {
        let unique: Vec<Vec<u8>> = failures.into_iter().map(|f| f.address.unique).collect();
        if !unique.is_empty() && self.store.record_done(&self.claim, &unique).is_err() {
            self.delivery
                .services
                .log()
                .panic(format!("{} failed to record failures: a second bounce is possible", message.id));
        }
        unique
    }

    /// The log says that nobody is told of a failure.
    fn error_ignored(&self, address: &Address) {
        self.main_line(&format!("{}: error ignored", address.text_with_parent()));
    }

    fn send_bounce(
        &self,
        context: &mut Context,
        message: &Message,
        target: &[u8],
        told: &[&Failure],
    ) -> Reported {
        context.delivery.bounce_recipient = Some(target.to_vec());
        let file = self.delivery.config.main.bounce_message_file.as_ref();
        let texts = ReportTexts::read(self.delivery, context, file, "error");
        let mut submission = bounce::compose(
            &Letterhead::new(self.delivery, context),
            &self.delivery.config,
            message,
            self.claim.body(),
            target,
            told,
            &texts,
        );
        submission.recipients.extend(errors_copy::recipients(self.delivery, context, target));
        match self.submitter.submit(submission) {
            Ok(_) => Reported::Done,
            Err(error) => {
                self.main_line(&format!("failed to send a bounce message to {}: {error}", lossy(target)));
                Reported::NotNow
            }
        }
    }

    /// Nobody can be told that a bounce failed: it is kept, frozen, until `ignore_bounce_errors_after`. What has been tried for
    /// as long as the rules allow is not kept any longer, nor what a router says nobody is to hear of.
    fn is_dropped_without_sender(&self, message: &Message, failure: &Failure) -> bool {
        if self.options.give_up || !failure.address.dsn.wants_failure() {
            return false;
        }
        let limit = self.delivery.config.main.ignore_bounce_errors_after;
        failure.error.is_timed_out
            || failure.address.propagated.errors_to.is_some()
            || self.delivery.clock_steps.age(message) >= limit
    }
}

/// Where failures of an address are told: `errors_to` of its router, else the sender.
fn errors_to(message: &Message, address: &Address) -> Vec<u8> {
    address.propagated.errors_to.clone().unwrap_or_else(|| message.sender.clone())
}

/// What was reported is not reported again when the message is tried again.
fn forget_told(changed: &mut Message, tally: &Tally) {
    for success in &tally.successes {
        if let Some(recipient) = changed.recipients.get_mut(success.recipient) {
            recipient.dsn_notify.success = false;
        }
    }
}

/// A recipient is done when nothing that came of it waits any more, but for what has become a recipient itself. Exim's tools
/// look for it as it was written, its routers for the unique form.
fn mark_finished_parents(changed: &mut Message, message: &Message, tally: &Tally, added: &HashSet<usize>) {
    let deferred = tally.deferred.iter().enumerate().filter(|(place, _)| !added.contains(place));
    let deferred = deferred.map(|(_, deferral)| &deferral.address);
    let kept: Vec<&Address> = deferred.chain(tally.frozen_failures.iter().map(|f| &f.address)).collect();
    let waiting: HashSet<usize> = kept.iter().map(|address| address.recipient).collect();
    let sharing: HashSet<&[u8]> =
        kept.iter().flat_map(|address| &address.shares_with).map(Vec::as_slice).collect();
    for (index, recipient) in message.recipients.iter().enumerate() {
        if !waiting.contains(&index) && !sharing.contains(recipient.address.as_slice()) {
            changed.non_recipients.insert(recipient.address.clone());
            changed.non_recipients.insert(crate::address::unique_form(&recipient.address));
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    oxim_base::text::shown(bytes).into_owned()
}

//! The only place that says what became of an address: in the logs, in the spool, in the retry hints.
//!
//! Order for a delivered address: the outcome is recorded in the spool, then the `=>` line is written. After a crash
//! between the two the log lacks a line; the other way round a message would be delivered twice.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use oxim_lang::context::Context;
use oxim_mail::message_id::MessageId;
use oxim_spool::log::Log;
use oxim_spool::message::Message;
use oxim_spool::store::{Claim, Store};
use parking_lot::Mutex;

use crate::address::Address;
use crate::bounce::Failure;
use crate::delivery::Delivery;
use crate::event::{self, Event};
use crate::log_line::{Lines, RunLines};
use crate::retry_hints;
use crate::submission::Submitter;
use crate::success_report::Success;
use crate::transport::{Delivered, DeliveryError, HostResult, Outcome, Run, error_code};

/// What most lines about a delivery take.
const LINE_BYTES: usize = 256;

/// A deferred address and why.
pub struct Deferral {
    /// The address.
    pub address: Address,
    /// Why.
    pub error: DeliveryError,
}

/// What one attempt came to, collected while runs go on in parallel.
#[derive(Default)]
pub struct Tally {
    /// Addresses that failed, in the order in which they failed.
    pub failed: Vec<Failure>,
    /// Failures that nobody could be told of, so that the message is frozen.
    pub frozen_failures: Vec<Failure>,
    /// Addresses that must wait.
    pub deferred: Vec<Deferral>,
    /// Addresses that had to wait, and whose retry time is over: they fail when all else is done. Those of a run whose servers
    /// are to blame stand together.
    pub timed_out: Vec<Vec<Deferral>>,
    /// The keys under which this attempt has written down that addresses must wait.
    pub retry_keys: HashSet<Vec<u8>>,
    /// Unique forms of the addresses that are done.
    pub done: Vec<Vec<u8>>,
    /// How many were delivered.
    pub delivered: usize,
    /// The message is to be frozen, for this reason.
    pub freeze: Option<String>,
    /// Quota warnings to send.
    pub warnings: Vec<Vec<u8>>,
    /// What success reports have to tell.
    pub successes: Vec<Success>,
    /// When the first of the addresses that wait is due, seconds since 1970.
    pub due: Option<i64>,
}

/// Writes down outcomes for one message.
pub struct Settlement<'a> {
    /// Everything that is configured.
    pub delivery: &'a Delivery,
    /// The store that holds the message.
    pub store: &'a dyn Store,
    /// The claim under which the message is delivered.
    pub claim: &'a Claim,
    /// How lines look.
    pub lines: Lines<'a>,
    /// What the attempt came to so far.
    pub tally: &'a Mutex<Tally>,
    /// The door for messages that transports make.
    pub submitter: &'a dyn Submitter,
    /// `-N`: nothing was really delivered.
    pub dont_deliver: bool,
    /// The message as routing has changed it: header lines with another domain.
    pub changed: OnceLock<Arc<Message>>,
}

/// A run of a transport that is over.
pub struct Finished {
    /// The addresses that it was for.
    pub addresses: Vec<Address>,
    /// What it came to.
    pub run: Run,
    /// How long it took.
    pub took: Duration,
    /// The envelope sender that it went with.
    pub return_path: Vec<u8>,
}

impl Finished {
    fn succeeded(&self) -> impl Iterator<Item = &Address> {
        let all = self.addresses.iter().zip(&self.run.outcomes);
        all.filter(|(_, outcome)| matches!(outcome, Outcome::Delivered(_))).map(|(address, _)| address)
    }
}

/// Lines of the main log about a message that follow each other.
struct Unwritten<'a> {
    log: &'a Log,
    id: MessageId,
    lines: Vec<String>,
}

impl Unwritten<'_> {
    fn add(&mut self, mark: &str, push: impl FnOnce(&mut String)) {
        let mut line = String::with_capacity(LINE_BYTES);
        for part in [self.id.as_str(), " ", mark, " "] {
            line.push_str(part);
        }
        push(&mut line);
        self.lines.push(line);
    }

    fn write(&mut self) {
        self.log.main_all(&self.lines);
        self.lines.clear();
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        self.write();
    }
}

impl Settlement<'_> {
    fn log(&self) -> &Log {
        self.delivery.services.log()
    }

    /// Whether a line about the address is to be kept out of the log: `disable_logging` of its transport, and that of its
    /// router as long as no transport has failed.
    fn is_silent(&self, address: &Address, has_failed: bool) -> bool {
        let router = address.router.and_then(|id| self.delivery.router(id));
        let transport = address.transport.and_then(|id| self.delivery.transport(id));
        let is_routers_matter = transport.is_none() || !has_failed;
        transport.is_some_and(|t| t.generic.disable_logging)
            || is_routers_matter && router.is_some_and(|r| r.generic.disable_logging)
    }

    fn main_line(&self, text: &str) {
        self.log().main(format!("{} {text}", self.claim.id()));
    }

    /// The message as transports send it.
    #[must_use]
    pub fn message(&self) -> &Arc<Message> {
        self.changed.get().unwrap_or_else(|| self.claim.message())
    }

    /// A line of the message's own log.
    pub fn message_line(&self, text: &str) {
        self.message_lines(std::iter::once(text), String::push_str);
    }

    /// Several lines of the message's own log, written at once; `push` adds the text of one.
    fn message_lines<T>(&self, items: impl Iterator<Item = T>, push: impl Fn(&mut String, T)) {
        if !self.delivery.config.main.message_logs {
            return;
        }
        let now = self.log().stamp();
        let mut lines = String::new();
        for item in items {
            if !lines.is_empty() {
                lines.push('\n');
            }
            lines.push_str(&now);
            lines.push(' ');
            let start = lines.len();
            push(&mut lines, item);
            if lines.get(start..).is_some_and(|text| text.contains('\n')) {
                let text = lines.split_off(start);
                lines.push_str(&text.replace('\n', "\\n"));
            }
        }
        if !lines.is_empty() {
            self.store.message_log(self.claim, &lines);
        }
    }

    /// Settles a whole run of a transport.
    pub fn run(
        &self,
        context: &mut Context,
        transport: &str,
        addresses: Vec<Address>,
        run: Run,
        took: Duration,
        return_path: &[u8],
    ) {
        let finished = Finished { addresses, run, took, return_path: return_path.to_vec() };
        self.runs(context, transport, vec![finished]);
    }

    /// Settles runs of a transport that ended together.
    pub fn runs(&self, context: &mut Context, transport: &str, mut finished: Vec<Finished>) {
        // Of whom nothing was said, that one waits: the answers may come from another process.
        for Finished { addresses, run, .. } in &mut finished {
            let text = "unexpected answer from the delivery agent";
            let missing = || Outcome::Deferred(DeliveryError::new(error_code::AGENT_LOST, text));
            run.outcomes.resize_with(addresses.len(), missing);
        }
        let delivered: Vec<Vec<u8>> = finished
            .iter()
            .flat_map(Finished::succeeded)
            .map(|address| address.done_mark(transport).into_owned())
            .collect();
        if !delivered.is_empty() && !self.dont_deliver {
            self.record(&delivered);
        }
        self.tally.lock().done.extend(delivered);
        let mut unwritten = Unwritten { log: self.log(), id: self.claim.id(), lines: Vec::new() };
        for finished in finished {
            self.tell(context, transport, finished, &mut unwritten);
        }
    }

    /// Says what came of a run whose deliveries are recorded.
    fn tell(
        &self,
        context: &mut Context,
        transport: &str,
        mut finished: Finished,
        unwritten: &mut Unwritten<'_>,
    ) {
        let hosts = retry_hints::note_hosts(
            self.delivery,
            context,
            self.claim.message(),
            &finished.run.hosts,
            finished.addresses.first(),
        );
        self.is_due(hosts.due);
        let still_waiting = self.note_refusals(context, &finished);
        let is_about_hosts = !finished.run.hosts.is_empty();
        let of_hosts = finished.run.hosts.iter().filter_map(|host| host.line.as_deref());
        self.message_lines(of_hosts, String::push_str);
        for outcome in &finished.run.outcomes {
            if let Outcome::Failed(error) | Outcome::Deferred(error) = outcome
                && error.is_about_address
                && let Some(host) = &error.host
            {
                self.message_line(&self.lines.host_trouble(host, &error.text));
            }
        }
        self.message_lines(finished.succeeded(), |line, address| {
            for part in [&address.text(), ": ", transport, " transport succeeded"] {
                line.push_str(part);
            }
        });
        if let Some(other) = finished.run.handed_to {
            finished.addresses.iter_mut().for_each(|address| address.transport = Some(other));
        }
        self.forget_troubles(context, finished.succeeded());
        let Finished { addresses, run, took, return_path } = finished;
        let return_path = return_path.as_slice();
        let mut timed_out = Vec::new();
        let mut lines = RunLines::new(self.dont_deliver, took, return_path);
        for (index, (address, outcome)) in addresses.into_iter().zip(run.outcomes).enumerate() {
            if !matches!(outcome, Outcome::Delivered(_)) {
                unwritten.write();
            }
            match outcome {
                Outcome::Delivered(done) => {
                    let mark = lines.mark();
                    if !self.is_silent(&address, false) {
                        unwritten.add(mark, |line| {
                            self.lines.delivered(line, &address, &done, &mut lines);
                        });
                    }
                    if event::listener(self.delivery, &address).is_some() {
                        unwritten.write();
                        event::delivered(self.delivery, context, &address, &done);
                    }
                    self.delivered(&address, &done);
                }
                Outcome::Failed(error) => self.failed_by(context, address, error, Some(return_path)),
                Outcome::Deferred(error) if is_about_hosts && !error.is_about_address => {
                    let is_over = hosts.is_over && !still_waiting.contains(&index);
                    timed_out.extend(self.wait_or_give_up(address, error, is_over));
                }
                Outcome::Deferred(error) if error.code == error_code::HOSTS_NOT_DUE => {
                    self.waits(address, error)
                }
                Outcome::Deferred(error) => self.deferred(context, address, error),
            }
        }
        self.fails_at_last(timed_out);
    }

    /// Writes down what servers have said against recipients that wait for another reason in the end. Returns those for whom it
    /// is not over.
    fn note_refusals(&self, context: &mut Context, finished: &Finished) -> Vec<usize> {
        let Finished { addresses, run, .. } = finished;
        let mut waiting = Vec::new();
        for (index, refusal) in &run.refusals {
            let (Some(address), Some(Outcome::Deferred(error))) =
                (addresses.get(*index), run.outcomes.get(*index))
            else {
                continue;
            };
            if !error.is_about_address && !self.note_deferral(context, address, refusal) {
                waiting.push(*index);
            }
        }
        waiting
    }

    /// Writes down that an address must wait. Returns whether it has waited for as long as the rules allow.
    fn note_deferral(&self, context: &mut Context, address: &Address, error: &DeliveryError) -> bool {
        let key = retry_hints::deferral_key(self.delivery, address, error);
        let message = self.claim.message();
        let noted = retry_hints::note_deferral(self.delivery, context, message, address, &key, error);
        self.tally.lock().retry_keys.insert(key);
        self.is_due(noted.due);
        noted.is_over
    }

    /// Something that waits is due then.
    pub fn is_due(&self, time: Option<i64>) {
        if time.is_some() {
            let mut tally = self.tally.lock();
            tally.due = retry_hints::earlier(tally.due, time);
        }
    }

    /// Enters the message in the lists of the servers that it waits for, and tells which servers answer again.
    pub fn wait_lists(&self, transport: &str, addresses: &[Address], run: &Run) {
        if self.dont_deliver {
            return;
        }
        let (waiting, hints) = (&self.delivery.waiting, self.delivery.services.hints.get());
        let blames_server = |host: &HostResult| host.error.is_some() && !host.is_about_message;
        let was_tried = run.hosts.iter().any(blames_server);
        // A message with a trouble of its own, as one that cannot be signed, does not wait for a server.
        let waits = |outcome: &Outcome| match outcome {
            Outcome::Deferred(error) => {
                !error.is_about_address && (was_tried || error.code == error_code::HOSTS_NOT_DUE)
            }
            Outcome::Delivered(_) | Outcome::Failed(_) => false,
        };
        if run.outcomes.iter().any(waits) {
            self.enter_wait_lists(transport, addresses);
            for host in run.hosts.iter().filter(|host| blames_server(host)) {
                waiting.enter(hints, transport, &host.name, self.claim.id());
            }
        }
        // A server that took nothing, or lost the connection on the way, does not answer again.
        if !run.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Delivered(_))) {
            return;
        }
        for host in run.hosts.iter().filter(|host| host.error.is_none()) {
            waiting.reached(hints, transport, &host.name, self.claim.id());
        }
    }

    /// Enters the message in the lists of all servers that these addresses were routed to.
    pub fn enter_wait_lists(&self, transport: &str, addresses: &[Address]) {
        for host in addresses.first().into_iter().flat_map(|address| &*address.hosts) {
            let hints = self.delivery.services.hints.get();
            self.delivery.waiting.enter(hints, transport, &host.name, self.claim.id());
        }
    }

    /// The store is told before the log, and before any other message can be sent about it.
    fn record(&self, unique: &[Vec<u8>]) {
        if let Err(error) = self.store.record_done(self.claim, unique) {
            self.log().panic(format!(
                "{} failed to record a delivery: {error}; a duplicate is possible",
                self.claim.id()
            ));
        }
    }

    /// `msg:fail:delivery`, or without a transport `msg:fail:internal`: before the line about it.
    fn failed_event(&self, context: &mut Context, address: &Address, error: &DeliveryError) {
        if address.transport.is_none() {
            event::of_failed_address(self.delivery, context, address, error.text.as_bytes());
            return;
        }
        let Some(transport) = event::listener(self.delivery, address) else { return };
        let data = if event::tells_confirmation(transport) { error.text.as_bytes() } else { &[] };
        let event = Event::new("msg:fail:delivery", data);
        event::of_address(self.delivery, context, transport, address, error.host.as_deref(), event);
    }

    fn forget_troubles<'a>(&self, context: &Context, addresses: impl Iterator<Item = &'a Address>) {
        let is_of_this_attempt = |key: &[u8]| self.tally.lock().retry_keys.contains(key);
        retry_hints::forget_addresses(self.delivery, context, addresses, is_of_this_attempt);
    }

    fn delivered(&self, address: &Address, done: &Delivered) {
        let mut tally = self.tally.lock();
        tally.delivered += 1;
        if !done.is_dsn_relayed && !self.dont_deliver {
            tally.successes.extend(Success::of(address, done.host.as_deref().map(|host| host.name.as_str())));
        }
        tally.warnings.extend(done.quota_warning.clone());
    }

    /// An address that was replaced by others.
    pub fn redirected(&self, address: &Address) {
        self.tally.lock().successes.extend(Success::of(address, None));
    }

    /// An address that ended without delivery or failure: `:blackhole:`.
    pub fn discarded(&self, address: Address) {
        let router = address
            .router
            .and_then(|id| self.delivery.router(id))
            .map(|r| r.name.clone())
            .unwrap_or_default();
        let what = if address.is_filtered_out { "discarded" } else { ":blackhole:" };
        self.main_line(&format!("=> {what} <{}> R={router}", address.text()));
        self.record(std::slice::from_ref(&address.unique));
        let mut tally = self.tally.lock();
        tally.delivered += 1;
        tally.successes.extend(Success::of(&address, None));
        tally.done.push(address.unique);
    }

    /// Recipients in whose place the system filter has set up other deliveries, or none.
    pub fn ignored(&self, addresses: Vec<Address>) {
        let unique: Vec<Vec<u8>> = addresses.into_iter().map(|address| address.unique).collect();
        self.record(&unique);
        self.tally.lock().done.extend(unique);
    }

    /// A recipient that waits because the whole message does: a line about that stands in the log already.
    pub fn keeps(&self, address: Address, error: DeliveryError) {
        self.tally.lock().deferred.push(Deferral { address, error });
    }

    /// The message is frozen, whatever becomes of its addresses.
    pub fn freeze(&self, reason: String) {
        self.tally.lock().freeze = Some(reason);
    }

    /// Recipients that fail together: one line in the log, written already, stands for all.
    pub fn failed_silently(&self, addresses: Vec<Address>, text: &str) {
        let mut tally = self.tally.lock();
        for address in addresses {
            let error = DeliveryError { text: text.to_owned(), ..DeliveryError::default() };
            tally.failed.push(Failure { address, error });
        }
    }

    /// An address that can never be delivered.
    pub fn failed(&self, context: &mut Context, address: Address, error: DeliveryError) {
        self.failed_by(context, address, error, None);
    }

    /// The same; `return_path` is what a transport went with, if one was run.
    fn failed_by(
        &self,
        context: &mut Context,
        address: Address,
        error: DeliveryError,
        return_path: Option<&[u8]>,
    ) {
        self.forget_troubles(context, std::iter::once(&address));
        self.failed_event(context, &address, &error);
        let return_path = return_path.filter(|_| error.code != error_code::MESSAGE_TOO_BIG);
        let text = self.lines.failed(&address, &error, return_path);
        if !self.is_silent(&address, true) {
            self.main_line(&format!("** {text}"));
        }
        let is_unrouted = address.router.is_none() && address.transport.is_none();
        self.message_line(&if is_unrouted { format!("routing failed for {text}") } else { text });
        self.tally.lock().failed.push(Failure { address, error });
    }

    /// An address that is given up without being tried: the line about it is the message's own.
    pub fn cancelled(&self, context: &mut Context, address: Address, error: DeliveryError) {
        self.failed_event(context, &address, &error);
        self.tally.lock().failed.push(Failure { address, error });
    }

    /// An address that must wait; if its retry time is over, it fails.
    pub fn deferred(&self, context: &mut Context, address: Address, error: DeliveryError) {
        let is_over = self.note_deferral(context, &address, &error);
        let timed_out = self.wait_or_give_up(address, error, is_over);
        self.fails_at_last(Vec::from_iter(timed_out));
    }

    /// An address that is left to a queue run, as asked for: it was not tried, and no retry time comes of it.
    pub fn postponed(&self, address: Address, error: DeliveryError) {
        let _waits = self.wait_or_give_up(address, error, false);
    }

    fn fails_at_last(&self, timed_out: Vec<Deferral>) {
        if !timed_out.is_empty() {
            self.tally.lock().timed_out.push(timed_out);
        }
    }

    /// Logs a deferral. The address waits, or it is handed back as its retry time is over.
    fn wait_or_give_up(&self, address: Address, error: DeliveryError, is_over: bool) -> Option<Deferral> {
        let text = self.lines.deferred(&address, &error);
        if self.is_silent(&address, true) {
        } else if error.is_for_panic_log {
            self.log().both(format!("{} == {text}", self.claim.id()));
        } else {
            self.main_line(&format!("== {text}"));
        }
        self.message_line(&text);
        if is_over {
            return Some(Deferral { address, error });
        }
        let mut tally = self.tally.lock();
        if error.freeze {
            tally.freeze = Some(error.text.clone());
        }
        tally.deferred.push(Deferral { address, error });
        None
    }

    /// After all runs: what has waited for as long as the rules allow fails. The last goes first, as with Exim; bounces, which
    /// name the last failure first, keep the order of these lines for what stands together.
    pub fn give_up_timed_out(&self, context: &mut Context) {
        let timed_out = std::mem::take(&mut self.tally.lock().timed_out);
        for together in timed_out.into_iter().rev() {
            let given_up = together.into_iter().rev().map(|deferral| self.given_up(context, deferral));
            let given_up: Vec<Failure> = given_up.collect();
            self.tally.lock().failed.extend(given_up.into_iter().rev());
        }
    }

    /// A deferral that has become a failure, with its lines in the logs.
    fn given_up(&self, context: &mut Context, deferral: Deferral) -> Failure {
        const REASON: &str = "retry timeout exceeded";
        let Deferral { address, mut error } = deferral;
        error.is_timed_out = true;
        // What the sender may hear of the last attempt stands before it.
        let cause = error.bounce_text.take().or_else(|| error.smtp_reply.as_ref().map(|_| error.text.into()));
        error.bounce_text = Some(cause.map_or(REASON.into(), |cause| format!("{cause}: {REASON}").into()));
        if let Some(reply) = error.smtp_reply.take() {
            error.smtp_reply = Some([&*reply, format!(": {REASON}").as_bytes()].concat().into());
        }
        error.text = REASON.to_owned();
        self.failed_event(context, &address, &error);
        let line = format!("{}: {REASON}", address.text_with_parent());
        self.main_line(&format!("** {line}"));
        self.message_line(&line);
        Failure { address, error }
    }

    /// A deferral that is not logged and not counted: the retry time has not come.
    pub fn waits(&self, address: Address, error: DeliveryError) {
        if matches!(error.code, error_code::RETRY_TIME | error_code::LOCAL_RETRY_TIME) {
            self.is_due(retry_hints::due(self.delivery, &address));
        }
        let text = self.lines.deferred(&address, &error);
        if self.lines.selectors.has(oxim_spool::log::Selector::RetryDefer) {
            self.main_line(&format!("== {text}"));
        }
        self.tally.lock().deferred.push(Deferral { address, error });
    }
}

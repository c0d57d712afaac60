//! One delivery attempt on one message: route, plan, deliver, settle, report.
//!
//! Runs on a worker thread and may block. Whatever happens, the claim ends as removal, as an updated message, or as a
//! message that nothing was done to.

mod conclude;
mod errors_copy;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use oxim_base::clock::Stamp;
use oxim_base::debug;
use oxim_lang::context::Context;
use oxim_lang::list::{List, ListKind, Subject};
use oxim_mail::header::HeaderKind;
use oxim_spool::message::{Message, NotifyFlags};
use oxim_spool::store::{Claim, Store};
use parking_lot::Mutex;

use crate::address::{Address, DsnRequest};
use crate::bounce::Letterhead;
use crate::delivery::Delivery;
use crate::log_line::Lines;
use crate::plan;
use crate::queue::system_filter::{self, Filtered, Verdict};
use crate::queue::{local_runs, remote_runs, warning, wrapper};
use crate::retry_hints;
use crate::router::{Decided, DomainChange, Problem, Purpose, RouteRequest};
use crate::settle::{Settlement, Tally};
use crate::submission::Submitter;
use crate::transport::{DeliveryError, error_code};
use crate::turned_line::Turn;

/// How an attempt is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttemptOptions {
    /// Retry times are not looked at (`-M`, `-qf`).
    pub force: bool,
    /// Frozen messages are delivered too, and thawed (`-M`, `-qff`).
    pub force_frozen: bool,
    /// All addresses fail (`-Mg`).
    pub give_up: bool,
    /// Remote addresses wait (`-ql`, `-odqs`).
    pub local_only: bool,
    /// Nothing is said of addresses that wait for the second pass of a run (`-qq`).
    pub first_pass: bool,
    /// A queue runner makes it: `$queue_running`.
    pub queue_running: bool,
    /// Transports only pretend, now and in all later attempts on the message (`-N`).
    pub dont_deliver: bool,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The message is gone.
    Finished,
    /// It is tried again; not before this time as far as retry rules say.
    Deferred {
        /// Earliest time at which an address is due; 0 if none has a retry time.
        due: Stamp,
    },
    /// It is frozen.
    Frozen,
    /// Nothing could be done now: the spool did not allow it.
    Untouched,
}

/// Makes one attempt.
pub fn attempt(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    claim: Claim,
    options: AttemptOptions,
) -> Ended {
    attempt_over(delivery, store, submitter, claim, options, None)
}

/// As [`attempt`]; with a line that ATRN has turned around only for the recipients whose mail goes over it. The others wait.
pub fn attempt_over(
    delivery: &Arc<Delivery>,
    store: &dyn Store,
    submitter: &dyn Submitter,
    mut claim: Claim,
    options: AttemptOptions,
    turn: Option<Arc<Turn>>,
) -> Ended {
    if options.dont_deliver && !claim.message().dont_deliver && !never_deliver(delivery, store, &mut claim) {
        return Ended::Untouched;
    }
    let mut attempt = Attempt {
        delivery,
        store,
        submitter,
        claim,
        options,
        turn,
        thawed: false,
        is_over: false,
        is_unfiltered: false,
    };
    match attempt.check_frozen() {
        Frozen::StaysSo => return Ended::Frozen,
        Frozen::GoesAside => {
            attempt.set_aside();
            return Ended::Frozen;
        }
        Frozen::IsCancelled => {
            attempt.options.give_up = true;
            attempt.is_over = true;
        }
        Frozen::No => {}
    }
    let _counted = UnderWay::begin();
    // What an earlier message asked in vain on this thread is no event of this one.
    oxim_net::dns::failures::forget();
    attempt.deliver()
}

/// Attempts that are being made in this process.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// One of them, until it is dropped.
struct UnderWay;

impl UnderWay {
    fn begin() -> UnderWay {
        UNDER_WAY.fetch_add(1, Ordering::Relaxed);
        UnderWay
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether other messages are being delivered beside the one in hand.
pub(crate) fn are_others_under_way() -> bool {
    UNDER_WAY.load(Ordering::Relaxed) > 1
}

/// Marks a message for `-N`. False if that cannot be remembered: then it is left alone.
fn never_deliver(delivery: &Delivery, store: &dyn Store, claim: &mut Claim) -> bool {
    let mut message = Message::clone(claim.message());
    message.dont_deliver = true;
    match store.update(claim, &message) {
        Ok(()) => true,
        Err(error) => {
            delivery.services.log().both(format!("{} {error}", claim.id()));
            false
        }
    }
}

enum Frozen {
    No,
    StaysSo,
    GoesAside,
    IsCancelled,
}

struct Attempt<'a> {
    delivery: &'a Arc<Delivery>,
    store: &'a dyn Store,
    submitter: &'a dyn Submitter,
    claim: Claim,
    options: AttemptOptions,
    turn: Option<Arc<Turn>>,
    thawed: bool,
    /// It was frozen for too long.
    is_over: bool,
    /// The system filter has an error: nothing was tried, so this was no first delivery yet.
    is_unfiltered: bool,
}

impl Attempt<'_> {
    fn main_line(&self, text: &str) {
        self.delivery.services.log().main(format!("{} {text}", self.claim.id()));
    }

    fn message_line(&self, text: &str) {
        if self.delivery.config.main.message_logs {
            let now = self.delivery.services.log().stamp();
            self.store.message_log(&self.claim, &format!("{now} {text}"));
        }
    }

    /// A line of the message's own log that has no time.
    fn message_mark(&self, text: &str) {
        if self.delivery.config.main.message_logs {
            self.store.message_log(&self.claim, text);
        }
    }

    /// Frozen messages wait, unless they are forced, their time has come (`auto_thaw`), or it is over
    /// (`timeout_frozen_after`, `ignore_bounce_errors_after`).
    fn check_frozen(&mut self) -> Frozen {
        let message = Arc::clone(self.claim.message());
        let Some(since) = message.frozen else { return Frozen::No };
        let main = &self.delivery.config.main;
        self.delivery.clock_steps.notice(self.delivery.services.hints.get());
        let age = |from: i64| self.delivery.clock_steps.since(Stamp::from_seconds(from));
        if self.options.give_up {
            return Frozen::No;
        }
        if !main.timeout_frozen_after.is_zero() && age(message.received.seconds) >= main.timeout_frozen_after
        {
            self.main_line("cancelled by timeout_frozen_after");
            return Frozen::IsCancelled;
        }
        if message.sender.is_empty()
            && !main.ignore_bounce_errors_after.is_zero()
            && age(message.received.seconds) >= main.ignore_bounce_errors_after
        {
            self.main_line("Unfrozen by errmsg timer");
            self.thawed = true;
            return Frozen::No;
        }
        if self.options.force_frozen {
            self.main_line("Unfrozen by forced delivery");
            self.message_line("Unfrozen by forced delivery");
            self.thawed = true;
            return Frozen::No;
        }
        if !main.auto_thaw.is_zero() && age(since) >= main.auto_thaw && !message.manual_thaw {
            self.main_line("Unfrozen by auto-thaw");
            self.message_line("Unfrozen by auto-thaw");
            self.thawed = true;
            return Frozen::No;
        }
        if self.delivery.config.main.move_frozen_messages {
            return Frozen::GoesAside;
        }
        if self.delivery.services.log().selectors().has(oxim_spool::log::Selector::SkipDelivery) {
            self.main_line("Message is frozen");
        }
        Frozen::StaysSo
    }

    fn context(&self) -> Context {
        let mut context =
            Context::new(Arc::clone(&self.delivery.config), Arc::clone(&self.delivery.services));
        crate::scope::enter_message(&mut context, self.claim.message(), self.claim.body());
        context.message.bmi = self.delivery.bmi.verdicts(self.claim.message(), &mut |line| {
            self.delivery.services.log().panic(format!("{} {line}", self.claim.id()));
        });
        context.message.queue_running = self.options.queue_running;
        context.delivery.return_path = Some(context.message.sender.clone());
        context.turnaround = self.turn.as_ref().map(|turn| turn.role());
        context.message.manually_thawed |= self.thawed && self.options.force_frozen;
        context
    }

    /// What the system filter has to say. Header lines that it changed are those of the message from now on.
    fn system_filter(&mut self, context: &mut Context) -> Result<Option<Filtered>, String> {
        let message = Arc::clone(self.claim.message());
        if self.options.give_up {
            return Ok(None);
        }
        let filtered = system_filter::run(self.delivery, context, &message)?;
        if filtered.as_ref().is_some_and(|filtered| filtered.headers_changed) {
            let mut changed = Message::clone(&message);
            changed.headers = context.message.headers.clone();
            self.store.update(&mut self.claim, &changed).map_err(|error| error.to_string())?;
        }
        Ok(filtered)
    }

    /// Takes the recipients' share of what the system filter decided. The result is what is left to route.
    fn obey(
        &self,
        settlement: &Settlement<'_>,
        filtered: Result<Option<Filtered>, String>,
        recipients: Vec<Address>,
    ) -> Vec<Address> {
        let wait = |recipients: Vec<Address>, text: &str| {
            for address in recipients {
                let code = error_code::HELD;
                let text = text.to_owned();
                settlement.keeps(address, DeliveryError { code, text, ..DeliveryError::default() });
            }
        };
        let filtered = match filtered {
            Ok(Some(filtered)) => filtered,
            Ok(None) => return recipients,
            Err(text) => {
                let line = format!("{} Error in system filter: {text}", self.claim.id());
                self.delivery.services.log().both(line);
                wait(recipients, "error in system filter");
                return Vec::new();
            }
        };
        let mut rest = filtered.addresses;
        match filtered.verdict {
            Verdict::GoesOn => {
                rest.splice(0..0, recipients);
            }
            Verdict::Replaced => {
                let line = if rest.is_empty() {
                    "=> discarded (system filter)"
                } else {
                    "original recipients ignored (system filter)"
                };
                self.main_line(line);
                settlement.ignored(recipients);
            }
            Verdict::Waits => {
                self.main_line("Delivery deferred by system filter");
                // Exim sets up nothing either, whatever the manual says: it comes with the next run of the filter.
                rest.clear();
                wait(recipients, "deferred by system filter");
            }
            Verdict::Freezes(reason) => {
                let colon = if reason.is_empty() { "" } else { ": " };
                settlement.freeze(format!("by the system filter{colon}{reason}"));
                wait(recipients, "frozen by system filter");
            }
            Verdict::Fails(log, told) => {
                let colon = if log.is_empty() { "" } else { ": " };
                self.main_line(&format!("cancelled by system filter{colon}{log}"));
                settlement.failed_silently(recipients, &told);
            }
        }
        rest
    }

    /// The recipients that this attempt is about.
    fn of_turn(
        &self,
        settlement: &Settlement<'_>,
        context: &mut Context,
        recipients: Vec<Address>,
    ) -> Vec<Address> {
        let Some(turn) = &self.turn else { return recipients };
        let (wanted, others): (Vec<Address>, Vec<Address>) =
            recipients.into_iter().partition(|address| turn.wants(context, &address.address));
        for address in others {
            settlement.keeps(address, DeliveryError::new(error_code::HELD, "not asked for by ATRN"));
        }
        wanted
    }

    fn deliver(mut self) -> Ended {
        let mut context = self.context();
        let filtered = self.system_filter(&mut context);
        self.is_unfiltered = filtered.is_err();
        let message = Arc::clone(self.claim.message());
        debug::line(debug::DELIVER | debug::VERBOSE, || {
            let run = if self.options.queue_running {
                format!(" (queue run pid {})", std::process::id())
            } else {
                String::new()
            };
            format!("delivering {}{run}", message.id)
        });
        let tally = Mutex::new(Tally::default());
        let selectors = self.delivery.services.log().selectors();
        let settlement = Settlement {
            delivery: self.delivery,
            store: self.store,
            claim: &self.claim,
            lines: Lines {
                delivery: self.delivery,
                selectors,
                sender: &message.sender,
                received: message.received,
                queue_name: &message.queue_name,
                size: message.size_with(self.claim.body().len()),
            },
            tally: &tally,
            submitter: self.submitter,
            dont_deliver: message.dont_deliver,
            changed: OnceLock::new(),
        };
        let recipients = self.of_turn(&settlement, &mut context, pending(&message));
        let addresses = self.obey(&settlement, filtered, recipients);
        if self.options.give_up {
            let reason = if self.is_over { "" } else { "delivery cancelled by administrator" };
            give_up(&settlement, &mut context, addresses, reason);
        } else if self.is_looping(&message) {
            for address in addresses {
                let text = "Too many \"Received\" headers - suspected mail loop".to_owned();
                let error = DeliveryError { text, bounce_text: Some("".into()), ..DeliveryError::default() };
                settlement.failed(&mut context, address, error);
            }
            if self.is_for_caller() {
                self.deliver_for_caller(&settlement, &mut context, &[], Vec::new());
            }
        } else {
            self.route_and_deliver(&settlement, &mut context, addresses);
        }
        settlement.give_up_timed_out(&mut context);
        let message = Arc::clone(settlement.message());
        // A caller who waits has been told: nothing stays, and nobody is written to.
        let tally = if self.is_for_caller() { Tally::default() } else { tally.into_inner() };
        self.conclude(&mut context, &message, tally)
    }

    fn route_and_deliver(
        &self,
        settlement: &Settlement<'_>,
        context: &mut Context,
        mut addresses: Vec<Address>,
    ) {
        let message = self.claim.message();
        let is_done = |unique: &[u8]| message.is_done(unique);
        let force = self.options.force;
        let hold = |context: &mut Context, address: &Address| {
            if force {
                None
            } else {
                retry_hints::domain_hold(self.delivery, context, address)
                    .or_else(|| retry_hints::routing_hold(self.delivery, context, address))
            }
        };
        let turns_around =
            self.delivery.config.main.queue_domains.is_some() && !context.message.queue_running && !force;
        let request =
            RouteRequest { purpose: Purpose::Deliver, is_done: &is_done, hold: &hold, turns_around };
        // Exim routes the last recipient first, and delivers in the order of the envelope; the log shows both.
        addresses.reverse();
        let routed = self.delivery.route_all(context, addresses, &request);
        self.change_domains(settlement, context, &routed.domain_changes);
        for notice in &routed.notices {
            let head = Letterhead::new(self.delivery, context);
            self.submit_report(warning::syntax_notice(&head, message, notice));
        }
        let mut redirected = routed.redirected.into_iter().peekable();
        let mut ready = Vec::with_capacity(routed.decided.len());
        for (place, decided) in routed.decided.into_iter().enumerate() {
            while let Some((_, address)) = redirected.next_if(|(before, _)| *before <= place) {
                settlement.redirected(&address);
            }
            match decided {
                Decided::Deliver(address) => ready.push(self.with_batch_id(context, address)),
                Decided::Discarded(address) => settlement.discarded(address),
                Decided::Failed(address, problem) => settlement.failed(context, address, error_of(problem)),
                Decided::Deferred(address, problem)
                    if matches!(
                        problem.code,
                        error_code::RETRY_TIME | error_code::HELD | error_code::QUEUED_DOMAIN
                    ) =>
                {
                    settlement.waits(address, error_of(problem))
                }
                Decided::Deferred(address, problem) => {
                    let mut error = error_of(problem);
                    // Without its transport it is no matter of time.
                    error.is_unremembered |= address.refusal.is_some();
                    if address.router.is_none() && error.code == error_code::NO_SUCH_TRANSPORT {
                        // A delivery of the system filter: the postmaster is at fault.
                        error.code = error_code::UNKNOWN;
                        error.is_for_panic_log = true;
                    }
                    settlement.deferred(context, address, error)
                }
            }
        }
        redirected.for_each(|(_, address)| settlement.redirected(&address));
        let ready = ready.into_iter().rev();
        let (local, remote) = plan::plan(ready, &self.delivery.transports, self.is_for_caller());
        if self.is_for_caller() {
            self.deliver_for_caller(settlement, context, &local, remote);
            return;
        }
        local_runs::run(settlement, context, &self.claim, local, self.options);
        if self.options.local_only && !remote.is_empty() {
            for group in &remote {
                if let Some(transport) = self.delivery.transports.get(group.transport) {
                    settlement.enter_wait_lists(&transport.name, &group.addresses);
                }
            }
            for address in remote.into_iter().flat_map(|g| g.addresses) {
                if self.options.first_pass {
                    settlement.keeps(address, waits_for_queue_run());
                } else if self.options.queue_running {
                    let text = "remote deliveries suppressed";
                    settlement.waits(address, DeliveryError::new(error_code::LOCAL_ONLY, text));
                } else {
                    let text = "SMTP delivery explicitly queued";
                    settlement.postponed(address, DeliveryError::new(0, text));
                }
            }
            return;
        }
        let mut remote = self.without_queued_domains(settlement, context, remote);
        if let Some(order) = &self.delivery.config.main.remote_sort_domains {
            sort_by_domain(context, order, &mut remote);
        }
        remote_runs::run(settlement, context, &self.claim, remote, self.options);
    }

    /// `mua_wrapper`: a caller waits for the one attempt.
    fn is_for_caller(&self) -> bool {
        self.delivery.config.main.mua_wrapper
    }

    /// Makes the one attempt, and tells the caller if it fails.
    fn deliver_for_caller(
        &self,
        settlement: &Settlement<'_>,
        context: &mut Context,
        local: &[plan::Group],
        remote: Vec<plan::Group>,
    ) {
        let complaint = wrapper::objection(settlement, local, &remote).or_else(|| {
            remote_runs::run(settlement, context, &self.claim, remote, self.options);
            wrapper::complaint(settlement)
        });
        if let Some(complaint) = complaint {
            self.submitter.tell_caller(&complaint);
        }
    }

    /// Domains that routing has completed are completed in the message's header lines too, from now on.
    fn change_domains(&self, settlement: &Settlement<'_>, context: &mut Context, changes: &[DomainChange]) {
        let Some(headers) = self.delivery.with_changed_domains(&self.claim.message().headers, changes) else {
            return;
        };
        context.message.headers = headers.clone();
        let message = Message { headers, ..Message::clone(self.claim.message()) };
        // Nobody else sets it: one attempt routes once.
        let _ = settlement.changed.set(Arc::new(message));
    }

    /// More `Received:` lines than `received_headers_max`: the message goes round in circles.
    fn is_looping(&self, message: &Message) -> bool {
        let count = message.headers.of_kind(HeaderKind::Received).count();
        let max = self.delivery.config.main.received_headers_max;
        i64::try_from(count).is_ok_and(|count| count > max)
    }

    /// Takes out the addresses of `queue_smtp_domains`, which wait for a queue run.
    fn without_queued_domains(
        &self,
        settlement: &Settlement<'_>,
        context: &mut Context,
        remote: Vec<plan::Group>,
    ) -> Vec<plan::Group> {
        let Some(text) = &self.delivery.config.main.queue_smtp_domains else { return remote };
        if self.options.queue_running || self.options.force {
            return remote;
        }
        let list = List::compile(ListKind::Domain, text);
        let mut kept = Vec::with_capacity(remote.len());
        for mut group in remote {
            let (waits, goes): (Vec<Address>, Vec<Address>) =
                group.addresses.into_iter().partition(|a| is_in_list(context, &list, a));
            for address in waits {
                settlement.postponed(address, waits_for_queue_run());
            }
            if !goes.is_empty() {
                group.addresses = goes;
                kept.push(group);
            }
        }
        kept
    }

    fn with_batch_id(&self, context: &mut Context, address: Address) -> plan::Routed {
        let transport = address.transport.and_then(|id| self.delivery.transport(id));
        let may_batch = transport.filter(|t| t.driver.addresses_max() > 1);
        let batch_id = match may_batch.and_then(|t| t.driver.batch_id().map(|template| (t, template))) {
            None => plan::BatchId::Unset,
            Some((transport, template)) => {
                crate::router::scope::enter(context, &address);
                match template.expand(context) {
                    Ok(id) => plan::BatchId::Is(id.into_bytes()),
                    Err(error) => {
                        let (id, name, whose) = (self.claim.id(), &transport.name, address.text());
                        self.delivery.services.log().both(format!(
                            "{id} Failed to expand batch_id option in {name} transport ({whose}): {error}"
                        ));
                        plan::BatchId::Failed
                    }
                }
            }
        };
        let mixes_domains = transport.is_some_and(|transport| {
            transport.driver.takes_domains()
                && transport.driver.multi_domain().is_none_or(|switch| {
                    local_runs::enter(context, transport, &address, std::iter::empty());
                    let is_on = switch.is_on(context);
                    local_runs::leave(context);
                    // In doubt each domain for itself.
                    is_on.unwrap_or(false)
                })
        });
        plan::Routed { address, batch_id, mixes_domains }
    }
}

/// A remote delivery that is left to a queue run.
fn waits_for_queue_run() -> DeliveryError {
    let text = "first-pass only routing due to -odqs, queue_smtp_domains or control=queue".to_owned();
    DeliveryError { code: error_code::UNKNOWN, text, ..DeliveryError::default() }
}

/// A list that cannot be evaluated now holds nothing: the mail is sent rather than kept.
fn is_in_list(context: &mut Context, list: &List, address: &Address) -> bool {
    let domain = address.domain_text();
    list.matches(context, &Subject::Domain(&domain)).is_ok_and(|m| m.is_yes())
}

/// The order of `remote_sort_domains`: by the first item that a group's domain matches; the others come last.
fn sort_by_domain(context: &mut Context, order: &str, groups: &mut [plan::Group]) {
    let items: Vec<List> = oxim_lang::list::split(order.as_bytes())
        .map(|item| List::compile(ListKind::Domain, &String::from_utf8_lossy(&item)))
        .collect();
    groups.sort_by_cached_key(|group| {
        let first = group.addresses.first();
        first
            .and_then(|address| items.iter().position(|item| is_in_list(context, item, address)))
            .unwrap_or(items.len())
    });
}

/// A problem of routing as settlement wants it.
fn error_of(problem: Problem) -> DeliveryError {
    DeliveryError {
        code: problem.code,
        // It stands in one line of the log, and in one of a hint.
        text: problem.message.as_deref().unwrap_or_default().replace('\n', "\\n"),
        bounce_text: problem
            .user_message
            .or(problem.message.filter(|_| problem.is_for_client))
            .map(Into::into),
        freeze: problem.freeze,
        retry_key: problem.retry_key.map(Vec::into_boxed_slice),
        ..DeliveryError::default()
    }
}

fn finish(store: &dyn Store, claim: Claim) -> Ended {
    match store.finish(claim) {
        Ok(()) => Ended::Finished,
        Err(_) => Ended::Untouched,
    }
}

/// The recipients that are still to be dealt with. Exim works its list from the end.
fn pending(message: &Message) -> Vec<Address> {
    let all = message.recipients.iter().enumerate().filter(|(_, r)| !message.is_done(&r.address));
    let addresses = all.map(|(index, recipient)| {
        let mut address = Address::recipient(recipient.address.clone(), index);
        let parent = recipient.parent.and_then(|at| Some((at, message.recipients.get(at)?)));
        address.parent = parent.map(|(at, parent)| Arc::new(Address::recipient(parent.address.clone(), at)));
        if recipient.errors_to.is_some() {
            address.propagated.errors_to.clone_from(&recipient.errors_to);
        }
        address.dsn = dsn_request(recipient.dsn_notify, recipient.orcpt.clone());
        address
    });
    let mut pending = Vec::with_capacity(message.recipients.len());
    pending.extend(addresses.filter(|address| !message.is_done(&address.unique)));
    pending
}

fn dsn_request(notify: NotifyFlags, orcpt: Option<Vec<u8>>) -> DsnRequest {
    DsnRequest {
        notify_given: notify != NotifyFlags::default(),
        never: notify.never,
        success: notify.success,
        failure: notify.failure,
        delay: notify.delay,
        orcpt,
        last_hop: false,
    }
}

fn give_up(settlement: &Settlement<'_>, context: &mut Context, addresses: Vec<Address>, reason: &str) {
    for address in addresses {
        settlement.cancelled(context, address, DeliveryError::new(error_code::UNKNOWN, reason));
    }
}

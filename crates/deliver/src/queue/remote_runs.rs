//! The remote deliveries of one message: several at once, up to `remote_max_parallel`.
//!
//! One thread begins. Others join it when that takes long, which means that somebody else is waited for: servers nearby take a list of
//! fifty domains before the threads for it would have been made. Where the processors are busy it means little, and they join slowly:
//! many threads for servers that answer at once only open more connections.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use oxim_lang::context::Context;
use oxim_spool::store::Claim;
use parking_lot::{Condvar, Mutex};

use super::{AttemptOptions, local_runs, slots, wrapper};
use crate::agent::Identity;
use crate::plan::Group;
use crate::retry_hints::Hosts;
use crate::settle::Settlement;
use crate::transport::{Batch, Delivered, Outcome, Run};

/// How long one thread works alone on a message.
const ALONE_FOR: Duration = Duration::from_millis(10);
/// How long it takes until one more joins while the processors are busy, and the longest time until more are looked for when there
/// were none.
const SLOWLY: Duration = Duration::from_millis(250);
/// Threads that have joined others, in all messages together.
const JOINED_MAX: usize = 256;

static PROCESSORS: LazyLock<u32> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1)));

static JOINED: AtomicUsize = AtomicUsize::new(0);

/// The right to be one thread more; given back when dropped.
struct Joined;

impl Joined {
    fn take() -> Option<Joined> {
        JOINED
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < JOINED_MAX).then_some(taken + 1)
            })
            .ok()
            .map(|_| Joined)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        JOINED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A moment, and how much processor time this process had used until then.
struct Effort {
    since: Instant,
    used: Duration,
}

impl Effort {
    fn now() -> Effort {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike as _;
        let used = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
            usage.user_time().num_microseconds().saturating_add(usage.system_time().num_microseconds())
        });
        let used = Duration::from_micros(u64::try_from(used).unwrap_or(0));
        Effort { since: Instant::now(), used }
    }

    /// Whether this process has used half of the processors or more since then.
    fn has_been_great(&self) -> bool {
        let now = Effort::now();
        let available = now.since.duration_since(self.since).saturating_mul(*PROCESSORS);
        now.used.saturating_sub(self.used) >= available / 2
    }
}

/// Groups that nobody has taken yet, in order.
struct Open {
    groups: Mutex<std::vec::IntoIter<Group>>,
    /// None is left to be taken.
    empty: Condvar,
}

impl Open {
    fn next(&self) -> Option<Group> {
        let mut groups = self.groups.lock();
        let group = groups.next();
        if groups.len() == 0 {
            self.empty.notify_all();
        }
        group
    }

    /// True when all are taken.
    fn are_taken_within(&self, time: Duration) -> bool {
        let mut groups = self.groups.lock();
        if groups.len() > 0 {
            self.empty.wait_for(&mut groups, time);
        }
        groups.len() == 0
    }
}

pub(super) fn run(
    settlement: &Settlement<'_>,
    context: &mut Context,
    claim: &Claim,
    groups: Vec<Group>,
    options: AttemptOptions,
) {
    let parallel = usize::try_from(settlement.delivery.config.main.remote_max_parallel)
        .unwrap_or(1)
        .clamp(1, groups.len().max(1));
    if parallel <= 1 {
        for group in groups {
            run_group(settlement, context, claim, group, options);
        }
        return;
    }
    let open = Open { groups: Mutex::new(groups.into_iter()), empty: Condvar::new() };
    let work = &|mut context: Context| {
        while let Some(group) = open.next() {
            run_group(settlement, &mut context, claim, group, options);
        }
    };
    std::thread::scope(|scope| {
        let begin = |joined: Option<Joined>| {
            let context = context.clone();
            let thread = std::thread::Builder::new().name("delivery".to_owned());
            let begun = thread.spawn_scoped(scope, move || {
                work(context);
                drop(joined);
            });
            begun.is_ok()
        };
        if !begin(None) {
            // No thread to be had: this one does it all.
            return work(context.clone());
        }
        let (mut threads, mut pause) = (1, ALONE_FOR);
        while threads < parallel {
            let effort = Effort::now();
            if open.are_taken_within(pause) {
                break;
            }
            let (before, is_busy) = (threads, effort.has_been_great());
            let wanted = match is_busy {
                false => parallel,
                true if pause < SLOWLY => threads,
                true => threads + 1,
            };
            while threads < wanted
                && let Some(joined) = Joined::take()
                && begin(Some(joined))
            {
                threads += 1;
            }
            pause = match (is_busy, threads == before) {
                (true, _) => SLOWLY,
                (false, true) => pause.saturating_mul(2).min(SLOWLY),
                (false, false) => ALONE_FOR,
            };
        }
    });
}

fn run_group(
    settlement: &Settlement<'_>,
    context: &mut Context,
    claim: &Claim,
    group: Group,
    options: AttemptOptions,
) {
    let Some(transport) = settlement.delivery.transports.get(group.transport) else { return };
    let mut addresses = group.addresses;
    let Some(first) = addresses.first().cloned() else { return };
    local_runs::enter(context, transport, &first, addresses.iter().skip(1));
    let _slot = match slots::take(settlement.delivery, context, transport, &first) {
        Ok(slot) => slot,
        Err(error) => {
            local_runs::leave(context);
            addresses.into_iter().for_each(|address| settlement.waits(address, error.clone()));
            return;
        }
    };
    let began = Instant::now();
    let prepared = local_runs::return_path(settlement, context, transport, claim, &addresses)
        .and_then(|path| local_runs::check_size(context, transport, claim).map(|()| path));
    let (run, return_path) = match prepared {
        Ok(return_path) => {
            let history = Hosts {
                delivery: settlement.delivery,
                message: claim.message(),
                address: &first,
                is_forced: options.force,
                due: AtomicI64::new(0),
            };
            let batch = Batch {
                addresses,
                message: Arc::clone(settlement.message()),
                body: claim.body().clone(),
                return_path,
                identity: Identity::current(),
                current_directory: None,
                is_forced: options.force,
                history: &history,
                submitter: Some(settlement.submitter),
                is_shadow: false,
                handed_over: 0,
            };
            let mut run = if settlement.dont_deliver {
                Run::all(&batch, &Outcome::Delivered(Delivered::default()))
            } else {
                transport.driver.deliver(transport, settlement.delivery, context, &batch)
            };
            crate::event::dns_failures_in(context, transport);
            if settlement.delivery.config.main.mua_wrapper {
                wrapper::make_final(&mut run);
            }
            settlement.is_due(Some(history.due.load(Ordering::Relaxed)).filter(|time| *time > 0));
            addresses = batch.addresses;
            (run, batch.return_path)
        }
        Err(error) => {
            let is_final = error.code == crate::transport::error_code::MESSAGE_TOO_BIG;
            let outcome = if is_final { Outcome::Failed(error) } else { Outcome::Deferred(error) };
            (Run::of(vec![outcome; addresses.len()]), Vec::new())
        }
    };
    local_runs::leave(context);
    settlement.wait_lists(&transport.name, &addresses, &run);
    settlement.run(context, &transport.name, addresses, run, began.elapsed(), &return_path);
}

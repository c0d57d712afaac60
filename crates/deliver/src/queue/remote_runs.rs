//! The remote deliveries of one message: several at once, up to `remote_max_parallel`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Instant;

use oxim_lang::context::Context;
use oxim_spool::store::Claim;
use parking_lot::Mutex;

use super::{AttemptOptions, local_runs, slots, wrapper};
use crate::agent::Identity;
use crate::plan::Group;
use crate::retry_hints::Hosts;
use crate::settle::Settlement;
use crate::transport::{Batch, Delivered, Outcome, Run};

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
    let next = AtomicUsize::new(0);
    let groups: Vec<Mutex<Option<Group>>> = groups.into_iter().map(|g| Mutex::new(Some(g))).collect();
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            let mut context = context.clone();
            let (next, groups) = (&next, &groups);
            scope.spawn(move || {
                while let Some(slot) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(group) = slot.lock().take() {
                        run_group(settlement, &mut context, claim, group, options);
                    }
                }
            });
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
    let addresses = group.addresses;
    let Some(first) = addresses.first() else { return };
    local_runs::enter(context, transport, first, addresses.len());
    let _slot = match slots::take(settlement.delivery, context, transport, first) {
        Ok(slot) => slot,
        Err(error) => {
            local_runs::leave(context);
            addresses.into_iter().for_each(|address| settlement.waits(address, error.clone()));
            return;
        }
    };
    let began = Instant::now();
    let prepared = local_runs::return_path(context, transport, claim, &addresses)
        .and_then(|path| local_runs::check_size(context, transport, claim).map(|()| path));
    let (run, return_path) = match prepared {
        Ok(return_path) => {
            let history = Hosts {
                delivery: settlement.delivery,
                message: claim.message(),
                address: first,
                is_forced: options.force,
                due: AtomicI64::new(0),
            };
            let batch = Batch {
                addresses: addresses.clone(),
                message: Arc::clone(settlement.message()),
                body: claim.body().clone(),
                return_path,
                identity: Identity::current(),
                current_directory: None,
                is_forced: options.force,
                history: &history,
                submitter: Some(settlement.submitter),
                is_shadow: false,
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
            (run, batch.return_path)
        }
        Err(error) => {
            let is_final = error.code == crate::transport::error_code::MESSAGE_TOO_BIG;
            let outcome = if is_final { Outcome::Failed(error) } else { Outcome::Deferred(error) };
            (Run { outcomes: vec![outcome; addresses.len()], hosts: Vec::new() }, Vec::new())
        }
    };
    local_runs::leave(context);
    settlement.wait_lists(&transport.name, &addresses, &run);
    settlement.run(context, &transport.name, addresses, run, began.elapsed(), &return_path);
}

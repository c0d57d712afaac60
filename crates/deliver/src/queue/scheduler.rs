//! The daemon's queue: accepted messages go straight to delivery threads, deferred ones wait for a queue run.
//!
//! Threads are made as they are needed, up to a limit, and go when they have nothing to do. What cannot be started at
//! once waits in memory, in order; when too much waits, the claims are given back and the next queue run finds the
//! messages in the spool. Nothing here can lose a message: the store has it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use oxim_base::clock::Stamp;
use oxim_mail::message_id::MessageId;
use oxim_spool::store::{Claim, Store};
use parking_lot::{Condvar, Mutex};

use super::attempt::{AttemptOptions, Ended, attempt};
use super::run::{self, RunOptions};
use crate::delivery::Delivery;
use crate::submission::Submitter;

/// How many deliveries go on at once. Most of their time is waiting for somebody else.
const THREADS_MAX: usize = 64;
/// A thread that had nothing to do for so long ends.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// How many messages wait in memory for a thread. Beyond it they wait on disk.
const BACKLOG_MAX: usize = 10_000;
/// How many messages the due table holds; beyond it a queue run asks the spool.
const DUE_MAX: usize = 1_000_000;

/// The queue of a running daemon.
pub struct Scheduler {
    delivery: Mutex<Arc<Delivery>>,
    store: Arc<dyn Store>,
    submitter: Mutex<Arc<dyn Submitter>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    backlog: VecDeque<(Claim, AttemptOptions)>,
    threads: usize,
    idle: usize,
    running: usize,
    runs: usize,
    is_closing: bool,
    due: HashMap<MessageId, Stamp>,
    in_hand: BTreeSet<MessageId>,
}

impl Scheduler {
    /// An empty queue. Messages that are in the spool already are found by the first queue run.
    #[must_use]
    pub fn new(
        delivery: Arc<Delivery>,
        store: Arc<dyn Store>,
        submitter: Arc<dyn Submitter>,
    ) -> Arc<Scheduler> {
        Arc::new(Scheduler {
            delivery: Mutex::new(delivery),
            store,
            submitter: Mutex::new(submitter),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Deliveries that start from now on use another configuration.
    pub fn set_delivery(&self, delivery: Arc<Delivery>, submitter: Arc<dyn Submitter>) {
        *self.delivery.lock() = delivery;
        *self.submitter.lock() = submitter;
    }

    /// Starts a delivery as soon as a thread is free.
    pub fn deliver(self: &Arc<Self>, claim: Claim, options: AttemptOptions) {
        let mut state = self.state.lock();
        if state.is_closing || state.backlog.len() >= BACKLOG_MAX {
            // Dropping the claim leaves the message to the next queue run.
            drop(state);
            drop(claim);
            return;
        }
        state.backlog.push_back((claim, options));
        if state.idle > 0 {
            self.changed.notify_one();
        } else if state.threads < THREADS_MAX {
            state.threads += 1;
            drop(state);
            self.start_thread();
        }
    }

    fn start_thread(self: &Arc<Self>) {
        let me = Arc::clone(self);
        let started = std::thread::Builder::new().name("delivery".to_owned()).spawn(move || me.work());
        if started.is_err() {
            // No thread to be had: another one takes the message when it is free.
            self.state.lock().threads -= 1;
        }
    }

    fn work(self: Arc<Self>) {
        let mut state = self.state.lock();
        loop {
            if let Some((claim, options)) = state.backlog.pop_front() {
                state.running += 1;
                let id = claim.id();
                state.in_hand.insert(id);
                drop(state);
                let ended = self.attempt(claim, options);
                state = self.state.lock();
                state.running -= 1;
                state.in_hand.remove(&id);
                note(&mut state, id, ended);
                if state.is_closing {
                    self.changed.notify_all();
                }
                continue;
            }
            if state.is_closing {
                break;
            }
            state.idle += 1;
            let timed_out = self.changed.wait_for(&mut state, IDLE_FOR).timed_out();
            state.idle -= 1;
            if timed_out && state.backlog.is_empty() {
                break;
            }
        }
        state.threads -= 1;
        self.changed.notify_all();
    }

    /// A panic in one delivery ends that delivery; the message stays.
    fn attempt(&self, claim: Claim, options: AttemptOptions) -> Ended {
        let delivery = Arc::clone(&self.delivery.lock());
        let submitter = Arc::clone(&self.submitter.lock());
        let id = claim.id();
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            attempt(&delivery, &*self.store, &*submitter, claim, options)
        }));
        made.unwrap_or_else(|_| {
            delivery
                .services
                .log()
                .panic(format!("{id} the delivery attempt ended in a panic; the message stays on the queue"));
            Ended::Untouched
        })
    }

    /// Makes a pass over the queue on this thread. Returns without doing anything when as many passes as `queue_run_max` allows go on.
    pub fn run(&self, options: &RunOptions, most: usize) {
        {
            let mut state = self.state.lock();
            if state.is_closing || state.runs >= most.max(1) {
                return;
            }
            state.runs += 1;
        }
        let delivery = Arc::clone(&self.delivery.lock());
        let submitter = Arc::clone(&self.submitter.lock());
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run::run(&delivery, &*self.store, &*submitter, options, |entry, ended| {
                note(&mut self.state.lock(), entry.id, ended)
            });
        }));
        if made.is_err() {
            delivery.services.log().panic("a queue run ended in a panic");
        }
        let mut state = self.state.lock();
        state.runs -= 1;
        self.changed.notify_all();
    }

    /// How many messages wait or are being delivered, as far as this process knows.
    #[must_use]
    pub fn busy(&self) -> usize {
        let state = self.state.lock();
        state.backlog.len() + state.running + state.runs
    }

    /// The messages that are being delivered, and how many queue runs go on.
    #[must_use]
    pub fn in_hand(&self) -> (Vec<MessageId>, usize) {
        let state = self.state.lock();
        (state.in_hand.iter().copied().collect(), state.runs)
    }

    /// Takes no more work, and waits until what goes on has ended, or the time is over.
    pub fn close(&self, patience: Duration) {
        let mut state = self.state.lock();
        state.is_closing = true;
        state.backlog.clear();
        self.changed.notify_all();
        let end = std::time::Instant::now() + patience;
        while (state.running > 0 || state.runs > 0) && std::time::Instant::now() < end {
            self.changed.wait_until(&mut state, end);
        }
    }

    /// When a message is due, if it is known to wait.
    #[must_use]
    pub fn due(&self, id: &MessageId) -> Option<Stamp> {
        self.state.lock().due.get(id).copied()
    }
}

fn note(state: &mut State, id: MessageId, ended: Ended) {
    match ended {
        Ended::Deferred { due } if state.due.len() < DUE_MAX => {
            state.due.insert(id, due);
        }
        Ended::Deferred { .. } => {}
        Ended::Finished | Ended::Frozen | Ended::Untouched => {
            state.due.remove(&id);
        }
    }
}

//! The daemon's queue: accepted messages go straight to delivery threads, deferred ones wait for a queue run.
//!
//! Threads are made as they are needed, up to a limit, and go when they have nothing to do. What cannot be started at
//! once waits in memory, in order; when too much waits, the claims are given back and the next queue run finds the
//! messages in the spool. Nothing here can lose a message: the store has it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxim_base::clock::Stamp;
use oxim_mail::message_id::MessageId;
use oxim_spool::store::{Claim, ClaimError, Store};
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
/// How often the clock is looked at while nothing is due.
const CLOCK_CHECK: Duration = Duration::from_secs(30);
/// How many messages the due table holds; beyond it a queue run asks the spool.
const DUE_MAX: usize = 1_000_000;

/// The queue of a running daemon.
pub struct Scheduler {
    delivery: Mutex<Arc<Delivery>>,
    store: Arc<dyn Store>,
    submitter: Mutex<Arc<dyn Submitter>>,
    state: Mutex<State>,
    changed: Condvar,
    due_changed: Condvar,
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
    timetable: Timetable,
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
            due_changed: Condvar::new(),
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
                self.deliver_ready();
                state = self.state.lock();
                state.running -= 1;
                state.in_hand.remove(&id);
                if note(&mut state, id, ended) {
                    self.due_changed.notify_one();
                }
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

    /// Goes on with what waited for a server that has just taken a message.
    fn deliver_ready(&self) {
        let delivery = Arc::clone(&self.delivery.lock());
        let submitter = Arc::clone(&self.submitter.lock());
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            run::deliver_ready(&delivery, &*self.store, &*submitter, |id, ended| {
                self.note(id, ended);
            });
        }));
        if made.is_err() {
            delivery.services.log().panic("a delivery ended in a panic; its message stays on the queue");
        }
    }

    fn note(&self, id: MessageId, ended: Ended) {
        if note(&mut self.state.lock(), id, ended) {
            self.due_changed.notify_one();
        }
    }

    /// Tries each message when its retry time comes, whatever the queue runs do. Ends when the scheduler is closed.
    pub fn watch_due(self: &Arc<Self>) -> std::io::Result<()> {
        self.state.lock().timetable.is_kept = true;
        let me = Arc::clone(self);
        std::thread::Builder::new().name("due".to_owned()).spawn(move || me.start_due()).map(drop)
    }

    fn start_due(self: Arc<Self>) {
        let mut state = self.state.lock();
        while !state.is_closing {
            let next = state.timetable.next();
            let wait = match next {
                Some((time, id)) if time <= Instant::now() => {
                    if state.backlog.len() < BACKLOG_MAX / 2 {
                        state.timetable.take(&(time, id));
                        drop(state);
                        self.start(id);
                        state = self.state.lock();
                        continue;
                    }
                    Duration::from_secs(1)
                }
                Some((time, _)) => time.saturating_duration_since(Instant::now()).min(CLOCK_CHECK),
                None => CLOCK_CHECK,
            };
            self.due_changed.wait_for(&mut state, wait);
            let delivery = Arc::clone(&self.delivery.lock());
            delivery.clock_steps.notice(delivery.services.hints.get());
        }
    }

    /// Starts the attempt on a message whose time has come.
    fn start(self: &Arc<Self>, id: MessageId) {
        match self.store.claim(&id) {
            Ok(claim) => {
                self.deliver(claim, AttemptOptions { queue_running: true, ..AttemptOptions::default() })
            }
            // Somebody is at it, or it is gone.
            Err(ClaimError::Busy | ClaimError::Gone | ClaimError::NoHeader) => {}
            Err(error) => {
                let delivery = Arc::clone(&self.delivery.lock());
                super::unreadable(&delivery, &*self.store, &id, &error);
            }
        }
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
            run::run(&delivery, &*self.store, &*submitter, options, |id, ended| {
                self.note(id, ended);
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
        self.due_changed.notify_all();
        let end = Instant::now() + patience;
        while (state.running > 0 || state.runs > 0) && Instant::now() < end {
            self.changed.wait_until(&mut state, end);
        }
    }

    /// When a message is due, if it is known to wait.
    #[must_use]
    pub fn due(&self, id: &MessageId) -> Option<Stamp> {
        self.state.lock().due.get(id).copied()
    }
}

/// When which message is due, by a clock that nobody sets.
#[derive(Default)]
struct Timetable {
    /// The daemon makes queue runs, so that it may try messages by itself.
    is_kept: bool,
    times: BTreeSet<(Instant, MessageId)>,
}

impl Timetable {
    fn next(&self) -> Option<(Instant, MessageId)> {
        self.times.first().copied()
    }

    fn take(&mut self, entry: &(Instant, MessageId)) {
        self.times.remove(entry);
    }

    /// Enters a message; true if it is the first now. One that is there twice is looked at twice.
    fn enter(&mut self, id: MessageId, due: Stamp) -> bool {
        let wait = u64::try_from(due.seconds.saturating_sub(Stamp::now().seconds)).unwrap_or(0);
        if !self.is_kept || wait == 0 || self.times.len() >= DUE_MAX {
            return false;
        }
        // A second later than the time, which has whole seconds.
        let Some(time) = Instant::now().checked_add(Duration::from_secs(wait.saturating_add(1))) else {
            return false;
        };
        self.times.insert((time, id));
        self.next() == Some((time, id))
    }
}

/// Remembers how an attempt ended; true if there is a new first in the timetable.
fn note(state: &mut State, id: MessageId, ended: Ended) -> bool {
    match ended {
        Ended::Deferred { due } if state.due.len() < DUE_MAX => {
            if state.due.insert(id, due) == Some(due) {
                // It is there already.
                return false;
            }
            state.timetable.enter(id, due)
        }
        Ended::Deferred { .. } => false,
        Ended::Finished | Ended::Frozen | Ended::Untouched => {
            state.due.remove(&id);
            false
        }
    }
}

//! Threads that do what would keep others waiting: syncing large bodies, writing files when the journal is full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

/// Work to be done once, elsewhere.
pub(super) type Task = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    is_closing: bool,
}

/// The work that waits.
#[derive(Default)]
pub(super) struct Tasks {
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl Tasks {
    /// Starts so many threads.
    pub(super) fn start(self: &Arc<Tasks>, threads: usize) -> std::io::Result<Vec<JoinHandle<()>>> {
        let start = |number| {
            let tasks = Arc::clone(self);
            std::thread::Builder::new().name(format!("spool-sync-{number}")).spawn(move || tasks.run())
        };
        (0..threads).map(start).collect()
    }

    /// Adds a task; after `close`, it runs at once.
    pub(super) fn add(&self, task: Task) {
        let mut queue = self.queue.lock();
        if queue.is_closing {
            drop(queue);
            task();
            return;
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.wake.notify_one();
    }

    /// Lets the threads end once everything is done.
    pub(super) fn close(&self) {
        self.queue.lock().is_closing = true;
        self.wake.notify_all();
    }

    fn run(&self) {
        loop {
            let mut queue = self.queue.lock();
            let task = loop {
                if let Some(task) = queue.tasks.pop_front() {
                    break task;
                }
                if queue.is_closing {
                    return;
                }
                self.wake.wait(&mut queue);
            };
            drop(queue);
            task();
        }
    }
}

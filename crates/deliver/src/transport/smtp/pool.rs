//! Connections that wait a few seconds for the next message to the same server.
//!
//! One pool for the process. A connection is taken by whoever has the same transport, address and port, if the facts
//! that a message may change (HELO name, interface, TLS settings) are the same. Nothing else is ever put on it.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::session::Session;

/// How long a connection waits.
const IDLE_FOR: Duration = Duration::from_secs(3);
/// Connections that wait for one server.
const IDLE_PER_SERVER_MAX: usize = 20;
/// Connections that wait in all.
const IDLE_MAX: usize = 200;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The transport instance.
    pub(super) transport: u64,
    /// The server.
    pub(super) server: SocketAddr,
}

struct Idle {
    place: Place,
    since: Instant,
    session: Session,
}

#[derive(Default)]
struct Pool {
    idle: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Idle>,
    has_reaper: bool,
}

static POOL: LazyLock<Pool> = LazyLock::new(Pool::default);

/// Our end of the connection to the server that was used last.
pub(super) fn local_address(place: &Place) -> Option<Option<SocketAddr>> {
    let state = POOL.idle.lock();
    state.waiting.iter().rfind(|idle| idle.place == *place).map(|idle| idle.session.local)
}

/// A connection to the server that `fits`, the one used last first. Dead ones are dropped on the way.
pub(super) fn take(place: &Place, mut fits: impl FnMut(&Session) -> bool) -> Option<Session> {
    loop {
        let mut state = POOL.idle.lock();
        let at = state.waiting.iter().rposition(|idle| idle.place == *place && fits(&idle.session))?;
        let mut found = state.waiting.remove(at);
        drop(state);
        if found.since.elapsed() < IDLE_FOR && found.session.is_reusable() {
            found.session.is_continued = true;
            return Some(found.session);
        }
    }
}

/// Keeps a connection for the next message.
pub(super) fn keep(place: Place, session: Session) {
    let mut state = POOL.idle.lock();
    let same = state.waiting.iter().filter(|idle| idle.place == place).count();
    let mut surplus = None;
    if same >= IDLE_PER_SERVER_MAX || state.waiting.len() >= IDLE_MAX {
        surplus = Some(session);
    } else {
        state.waiting.push(Idle { place, since: Instant::now(), session });
    }
    let needs_reaper = !state.has_reaper && !state.waiting.is_empty();
    if needs_reaper {
        state.has_reaper =
            std::thread::Builder::new().name("idle-connections".to_owned()).spawn(reap).is_ok();
    }
    drop(state);
    if let Some(session) = surplus {
        session.quit();
    }
}

/// Says QUIT on all connections that wait: at the end of a program or of a queue run.
pub fn close_idle_connections() {
    close(|_| true);
}

/// Says QUIT on the connections of one transport instance.
pub(super) fn close_of(transport: u64) {
    close(|place| place.transport == transport);
}

fn close(mut concerned: impl FnMut(&Place) -> bool) {
    let closing: Vec<Idle> = POOL.idle.lock().waiting.extract_if(.., |idle| concerned(&idle.place)).collect();
    POOL.changed.notify_all();
    for idle in closing {
        idle.session.quit();
    }
}

/// Ends connections that nobody wanted in time; ends itself when there are none.
fn reap() {
    let mut state = POOL.idle.lock();
    loop {
        let Some(oldest) = state.waiting.iter().map(|idle| idle.since).min() else {
            state.has_reaper = false;
            return;
        };
        POOL.changed.wait_until(&mut state, oldest + IDLE_FOR);
        let over: Vec<Idle> = state.waiting.extract_if(.., |idle| idle.since.elapsed() >= IDLE_FOR).collect();
        if !over.is_empty() {
            parking_lot::MutexGuard::unlocked(&mut state, || {
                over.into_iter().for_each(|idle| idle.session.quit())
            });
        }
    }
}

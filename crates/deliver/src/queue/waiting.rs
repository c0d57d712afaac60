//! Wait lists: which messages wait for which server, so that one that answers again gets all of them at once, over the
//! connection that is open (manual section 47.1).
//!
//! A remote delivery that is deferred enters its message for each of its servers; one that works hands out the list of its
//! server, and whoever made the delivery goes on with these messages before anything else. The lists are hints
//! (`wait-TRANSPORT`, a key for each message): an entry of a message that is gone costs one look, a list that is lost costs
//! nothing but the next queue run.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oxim_base::clock::Stamp;
use oxim_mail::message_id::MessageId;
use oxim_spool::hints::{Database, Hints};
use parking_lot::Mutex;

/// Entries that are kept in memory, all servers together. Beyond it messages wait for the queue run.
const ENTRIES_MAX: usize = 2_000_000;
/// Entries of one server that are taken over from the hints of before.
const TAKEN_OVER_MAX: usize = 10_000;

/// A transport and the name of a server.
type Server = (Arc<str>, Arc<str>);

#[derive(Default)]
struct State {
    lists: HashMap<Server, BTreeSet<MessageId>>,
    count: usize,
    /// Servers whose lists in the hints have been read.
    read: HashSet<Server>,
    /// The hints had no lists when they were looked at first.
    is_fresh: Option<bool>,
    /// What is to be tried next, and because of which server.
    ready: VecDeque<(Server, MessageId)>,
}

/// The lists of this process.
#[derive(Default)]
pub struct WaitLists {
    state: Mutex<State>,
    /// How many are ready, so that looking costs nothing where there is nothing.
    ready: AtomicUsize,
}

fn key(host: &str, id: &MessageId) -> Vec<u8> {
    format!("{host} {id}").into_bytes()
}

fn database(server: &Server) -> Database {
    Database::Wait(server.0.to_string())
}

impl WaitLists {
    /// A message waits for a server.
    pub fn enter(&self, hints: Option<&Arc<Hints>>, transport: &str, host: &str, id: MessageId) {
        let server: Server = (Arc::from(transport), Arc::from(host));
        let mut state = self.state.lock();
        self.put_back(&mut state, &server);
        if state.count >= ENTRIES_MAX || !state.lists.entry(server.clone()).or_default().insert(id) {
            return;
        }
        state.count += 1;
        drop(state);
        if let Some(hints) = hints {
            // Only the hint is lost.
            let _ = hints.put(&database(&server), &key(host, &id), b"", Stamp::now());
        }
    }

    /// A server has failed again: what was to be tried because of it waits as before.
    fn put_back(&self, state: &mut State, server: &Server) {
        if state.ready.is_empty() {
            return;
        }
        let (back, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut state.ready).into_iter().partition(|(of, _)| of == server);
        state.ready = rest;
        state.count += back.len();
        state.lists.entry(server.clone()).or_default().extend(back.into_iter().map(|(_, id)| id));
        self.ready.store(state.ready.len(), Ordering::Relaxed);
    }

    /// A server took a message: all others that wait for it are ready. What is left of this one has its retry time.
    pub fn reached(&self, hints: Option<&Arc<Hints>>, transport: &str, host: &str, by: MessageId) {
        let server: Server = (Arc::from(transport), Arc::from(host));
        let mut state = self.state.lock();
        if let Some(hints) = hints {
            take_over(&mut state, hints, &server);
        }
        let Some(mut list) = state.lists.remove(&server) else { return };
        state.count = state.count.saturating_sub(list.len());
        if let (true, Some(hints)) = (list.remove(&by), hints) {
            // An entry that stays costs one look.
            let _ = hints.delete(&database(&server), &key(host, &by));
        }
        state.ready.extend(list.into_iter().map(|id| (server.clone(), id)));
        self.ready.store(state.ready.len(), Ordering::Relaxed);
    }

    /// Whether another message than this one waits for a server.
    pub fn expects(&self, hints: Option<&Arc<Hints>>, transport: &str, host: &str, but: MessageId) -> bool {
        let server: Server = (Arc::from(transport), Arc::from(host));
        let mut state = self.state.lock();
        if let Some(hints) = hints {
            take_over(&mut state, hints, &server);
        }
        let is_ready = state.ready.iter().any(|(of, id)| *of == server && *id != but);
        is_ready || state.lists.get(&server).is_some_and(|list| list.iter().any(|id| *id != but))
    }

    /// The next message to try because its server answers again.
    pub fn next_ready(&self, hints: Option<&Arc<Hints>>) -> Option<MessageId> {
        if self.ready.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state.lock();
        let (server, id) = state.ready.pop_front()?;
        self.ready.store(state.ready.len(), Ordering::Relaxed);
        drop(state);
        if let Some(hints) = hints {
            // An entry that stays costs one look.
            let _ = hints.delete(&database(&server), &key(&server.1, &id));
        }
        Some(id)
    }

    /// Whether so many messages wait for one server; then its list is handed out (`queue_fast_ramp`).
    pub fn ramp(&self, threshold: usize) {
        let mut state = self.state.lock();
        let full: Vec<Server> = state
            .lists
            .iter()
            .filter(|(_, list)| list.len() >= threshold)
            .map(|(server, _)| server.clone())
            .collect();
        for server in full {
            let list = state.lists.remove(&server).unwrap_or_default();
            state.count = state.count.saturating_sub(list.len());
            state.ready.extend(list.into_iter().map(|id| (server.clone(), id)));
        }
        self.ready.store(state.ready.len(), Ordering::Relaxed);
    }
}

/// Adds what an earlier process, or one beside this, has entered.
fn take_over(state: &mut State, hints: &Hints, server: &Server) {
    let is_fresh = *state.is_fresh.get_or_insert_with(|| {
        hints.databases().is_ok_and(|all| !all.iter().any(|database| matches!(database, Database::Wait(_))))
    });
    if is_fresh || !state.read.insert(server.clone()) {
        return;
    }
    let prefix = format!("{} ", server.1);
    let known = hints.scan(&database(server), prefix.as_bytes(), TAKEN_OVER_MAX).unwrap_or_default();
    let ids: Vec<MessageId> =
        known.iter().filter_map(|(key, _)| key.get(prefix.len()..)).filter_map(MessageId::parse).collect();
    if ids.is_empty() {
        return;
    }
    let list = state.lists.entry(server.clone()).or_default();
    let before = list.len();
    list.extend(ids);
    state.count = state.count.saturating_add(list.len().saturating_sub(before));
}

#[cfg(test)]
mod tests {
    use oxim_mail::message_id::{Form, Generator};
    use oxim_spool::hints::HintsConfig;

    use super::*;

    fn ids(count: usize) -> Vec<MessageId> {
        let generator = Generator::new(1, None, Form::Long);
        (0..count).map(|_| generator.next(Stamp::now())).collect()
    }

    #[test]
    fn one_success_hands_out_the_list_of_its_server_and_a_failure_takes_it_back() {
        let lists = WaitLists::default();
        let ids = ids(4);
        for id in &ids[..3] {
            lists.enter(None, "smtp", "a.ex", *id);
            lists.enter(None, "smtp", "a.ex", *id);
        }
        lists.enter(None, "smtp", "b.ex", ids[3]);
        assert_eq!(lists.next_ready(None), None);
        lists.reached(None, "lmtp", "a.ex", ids[3]);
        assert_eq!(lists.next_ready(None), None);
        assert!(lists.expects(None, "smtp", "a.ex", ids[0]) && !lists.expects(None, "smtp", "b.ex", ids[3]));
        lists.reached(None, "smtp", "a.ex", ids[3]);
        assert!(lists.expects(None, "smtp", "a.ex", ids[0]) && !lists.expects(None, "lmtp", "a.ex", ids[0]));
        assert_eq!(lists.next_ready(None), Some(ids[0]));
        // It has failed again.
        lists.enter(None, "smtp", "a.ex", ids[0]);
        assert_eq!(lists.next_ready(None), None);
        lists.reached(None, "smtp", "a.ex", ids[3]);
        let all: Vec<_> = std::iter::from_fn(|| lists.next_ready(None)).collect();
        assert_eq!(all, ids[..3]);
        assert_eq!(lists.state.lock().count, 1);
    }

    #[test]
    fn a_message_does_not_wait_for_itself() {
        let lists = WaitLists::default();
        let ids = ids(2);
        for id in &ids {
            lists.enter(None, "smtp", "a.ex", *id);
        }
        lists.reached(None, "smtp", "a.ex", ids[0]);
        assert_eq!((lists.next_ready(None), lists.next_ready(None)), (Some(ids[1]), None));
        assert_eq!(lists.state.lock().count, 0);
    }

    #[test]
    fn many_for_one_server_are_handed_out_without_waiting_for_the_rest() {
        let lists = WaitLists::default();
        for id in ids(3) {
            lists.enter(None, "smtp", "a.ex", id);
        }
        lists.ramp(4);
        assert_eq!(lists.next_ready(None), None);
        lists.ramp(3);
        assert_eq!(std::iter::from_fn(|| lists.next_ready(None)).count(), 3);
    }

    #[test]
    fn the_lists_outlive_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let config = HintsConfig {
                spool_directory: folder.path().to_owned(),
                owner: None,
                cache: false,
                report: Arc::new(|text| panic!("{text}")),
            };
            Arc::new(Hints::open(config).unwrap())
        };
        let ids = ids(2);
        let (id, other) = (ids[0], ids[1]);
        WaitLists::default().enter(Some(&open()), "smtp", "a.ex", id);
        let hints = open();
        let lists = WaitLists::default();
        lists.reached(Some(&hints), "smtp", "a.ex", other);
        assert_eq!(lists.next_ready(Some(&hints)), Some(id));
        assert!(hints.scan(&Database::Wait("smtp".into()), b"", 10).unwrap().is_empty());
    }
}

//! Connections that are kept for the next lookup.
//!
//! Bounded: so many connections to one server (the next lookup waits for one, and defers when its time is up), and none that
//! has been idle for a minute. A connection is used again only if nothing has come from the server since; so one that was
//! closed by a restart is noticed before a query is lost on it. A lookup that fails on the way drops its connection.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use oxim_base::limits::{LOOKUP_IDLE_TIME, LOOKUP_SERVER_REST_TIME};
use parking_lot::{Condvar, Mutex};

use super::wire::Wire;

/// A connection to a server, logged in.
pub(crate) trait Client: Send {
    /// The wire below.
    fn wire(&self) -> &Wire;
}

/// Connections of one kind, by server. The key holds all that the login depends on, and is shown nowhere.
pub(crate) struct Pool<C> {
    /// Most connections to one server.
    most: usize,
    servers: Mutex<Servers<C>>,
    changed: Condvar,
}

/// How often idle connections are looked through for those that have been idle for too long.
const SWEEP_TIME: Duration = Duration::from_secs(1);

struct Servers<C> {
    by_key: HashMap<Vec<u8>, Server<C>>,
    swept: Instant,
}

impl<C> Servers<C> {
    fn of(&mut self, key: &[u8]) -> &mut Server<C> {
        self.by_key.entry(key.to_vec()).or_insert_with(|| Server { idle: Vec::new(), open: 0, lost: None })
    }
}

struct Server<C> {
    idle: Vec<(C, Instant)>,
    open: usize,
    /// When it was last found to be out of reach.
    lost: Option<Instant>,
}

/// A connection that is lent. Dropped, it is closed; [`Lent::keep`] gives it back.
pub(crate) struct Lent<'a, C: Client> {
    pool: &'a Pool<C>,
    key: Vec<u8>,
    client: Option<C>,
}

impl<C: Client> Pool<C> {
    pub(crate) fn new(most: usize) -> Pool<C> {
        let servers = Servers { by_key: HashMap::new(), swept: Instant::now() };
        Pool { most, servers: Mutex::new(servers), changed: Condvar::new() }
    }

    /// A connection to a server: an idle one, or a new one.
    pub(crate) fn lend(
        &self,
        key: &[u8],
        patience: Duration,
        connect: impl FnOnce() -> Result<C, String>,
    ) -> Result<Lent<'_, C>, String> {
        let mut lent = Lent { pool: self, key: key.to_vec(), client: self.idle_or_place(key, patience)? };
        if lent.client.is_none() {
            let connected = connect();
            self.note(key, connected.is_err());
            lent.client = Some(connected?);
        }
        Ok(lent)
    }

    /// An idle connection, or None when a new one may be made; it is counted then.
    fn idle_or_place(&self, key: &[u8], patience: Duration) -> Result<Option<C>, String> {
        let until = Instant::now().checked_add(patience);
        let mut servers = self.servers.lock();
        let now = Instant::now();
        if now.duration_since(servers.swept) >= SWEEP_TIME {
            servers.swept = now;
            sweep(&mut servers.by_key);
        }
        loop {
            let server = servers.of(key);
            if let Some((client, _)) = server.idle.pop() {
                // Others must not wait while the kernel is asked.
                drop(servers);
                if client.wire().is_quiet() {
                    return Ok(Some(client));
                }
                drop(client);
                servers = self.servers.lock();
                let server = servers.of(key);
                server.open = server.open.saturating_sub(1);
                continue;
            }
            if server.open < self.most {
                server.open = server.open.saturating_add(1);
                return Ok(None);
            }
            let waited = until.map(|until| self.changed.wait_until(&mut servers, until));
            if waited.is_none_or(|waited| waited.timed_out()) {
                return Err("all connections are in use".to_owned());
            }
        }
    }

    fn note(&self, key: &[u8], is_lost: bool) {
        if let Some(server) = self.servers.lock().by_key.get_mut(key) {
            server.lost = is_lost.then(Instant::now);
        }
    }

    /// Whether a server could not be reached a short time ago: others are asked before it.
    pub(crate) fn is_resting(&self, key: &[u8]) -> bool {
        let servers = self.servers.lock();
        let lost = servers.by_key.get(key).and_then(|server| server.lost);
        lost.is_some_and(|lost| lost.elapsed() < LOOKUP_SERVER_REST_TIME)
    }
}

/// Closes what has been idle for too long, and forgets servers of which there is nothing to say.
fn sweep<C>(servers: &mut HashMap<Vec<u8>, Server<C>>) {
    servers.retain(|_, server| {
        let before = server.idle.len();
        server.idle.retain(|(_, since)| since.elapsed() < LOOKUP_IDLE_TIME);
        server.open = server.open.saturating_sub(before.saturating_sub(server.idle.len()));
        server.open > 0 || server.lost.is_some_and(|lost| lost.elapsed() < LOOKUP_SERVER_REST_TIME)
    });
}

impl<C: Client> Lent<'_, C> {
    /// The connection.
    pub(crate) fn client(&mut self) -> Result<&mut C, String> {
        self.client.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    /// Gives it back for the next lookup.
    pub(crate) fn keep(mut self) {
        if let Some(client) = self.client.take() {
            let mut servers = self.pool.servers.lock();
            if let Some(server) = servers.by_key.get_mut(&self.key) {
                server.idle.push((client, Instant::now()));
                // What Drop will take away.
                server.open = server.open.saturating_add(1);
            }
        }
    }
}

impl<C: Client> Drop for Lent<'_, C> {
    fn drop(&mut self) {
        if let Some(server) = self.pool.servers.lock().by_key.get_mut(&self.key) {
            server.open = server.open.saturating_sub(1);
        }
        self.pool.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oxim_net::socket::Socket;
    use std::os::unix::net::UnixStream;

    struct Plain(Wire);

    impl Client for Plain {
        fn wire(&self) -> &Wire {
            &self.0
        }
    }

    fn connected() -> (Plain, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Plain(Wire::over(Socket::from_unix(ours), Duration::from_secs(1))), theirs)
    }

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_connection_that_was_kept_is_used_again_until_the_server_ends_it() {
        let pool = Pool::new(2);
        let (client, server) = connected();
        pool.lend(b"a", SHORT, || Ok(client)).unwrap().keep();
        pool.lend(b"a", SHORT, || Err("not a second one".to_owned())).unwrap().keep();
        drop(server);
        let (client, _server) = connected();
        let mut made = false;
        pool.lend(b"a", SHORT, || {
            made = true;
            Ok(client)
        })
        .unwrap()
        .keep();
        assert!(made);
        assert_eq!(pool.servers.lock().by_key.get(&b"a"[..]).unwrap().open, 1);
    }

    #[test]
    fn the_number_is_bounded_and_a_dropped_one_makes_room() {
        let pool = Pool::new(2);
        let mut servers = Vec::new();
        let mut lent = Vec::new();
        for _ in 0..2 {
            let (client, server) = connected();
            servers.push(server);
            lent.push(pool.lend(b"a", SHORT, || Ok(client)).unwrap());
        }
        let full = pool.lend(b"a", SHORT, || Ok(connected().0)).err().unwrap();
        assert_eq!(full, "all connections are in use");
        drop(lent.pop());
        let (client, _server) = connected();
        assert!(pool.lend(b"a", SHORT, || Ok(client)).is_ok());
    }

    #[test]
    fn a_server_out_of_reach_rests_and_comes_back() {
        let pool = Pool::new(2);
        assert!(pool.lend(b"a", SHORT, || Err("refused".to_owned())).is_err());
        assert!(pool.is_resting(b"a"));
        let (client, _server) = connected();
        pool.lend(b"a", SHORT, || Ok(client)).unwrap().keep();
        assert!(!pool.is_resting(b"a"));
    }
}

//! Who may connect now: the counts behind `smtp_accept_max`, `smtp_accept_max_per_host` and `smtp_accept_reserve`.
//!
//! The daemon asks [`Admission::enter`] for each connection and gives the [`Guard`] to the session; when the session drops it,
//! the place is free again. Manual chapter 14, and section 49.3.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Connections that are open.
#[derive(Debug, Default)]
pub struct Admission {
    total: AtomicU32,
    by_host: Mutex<HashMap<IpAddr, u32>>,
}

/// One open connection. Dropping it gives the place back.
#[derive(Debug)]
pub struct Guard {
    admission: Arc<Admission>,
    host: IpAddr,
    total: u32,
    same_host: u32,
}

impl Admission {
    /// Counts a connection. Whether it may stay is for the session to say, which knows the options and the reply.
    #[must_use]
    pub fn enter(self: &Arc<Self>, host: IpAddr) -> Guard {
        let total = self.total.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut hosts = self.by_host.lock();
        let same_host = hosts.entry(host).or_insert(0);
        *same_host = same_host.saturating_add(1);
        Guard { admission: Arc::clone(self), host, total, same_host: *same_host }
    }

    /// The hosts that are connected, in order, each with the number of its connections.
    #[must_use]
    pub fn hosts(&self) -> Vec<(IpAddr, u32)> {
        let mut hosts: Vec<(IpAddr, u32)> = self.by_host.lock().iter().map(|(ip, n)| (*ip, *n)).collect();
        hosts.sort_unstable();
        hosts
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> u32 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Guard {
    /// Open connections when this one came, itself included.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Open connections from the same host when this one came, itself included.
    #[must_use]
    pub fn same_host(&self) -> u32 {
        self.same_host
    }
}

impl Guard {
    /// Counts the connection for another host from now on: for the client that a proxy speaks for.
    pub(crate) fn belong_to(&mut self, host: IpAddr) {
        let mut hosts = self.admission.by_host.lock();
        leave(&mut hosts, self.host);
        let same_host = hosts.entry(host).or_insert(0);
        *same_host = same_host.saturating_add(1);
        (self.host, self.same_host) = (host, *same_host);
    }
}

fn leave(hosts: &mut HashMap<IpAddr, u32>, host: IpAddr) {
    if let Some(count) = hosts.get_mut(&host) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            hosts.remove(&host);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.admission.total.fetch_sub(1, Ordering::Relaxed);
        leave(&mut self.admission.by_host.lock(), self.host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let admission = Arc::new(Admission::default());
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let b: IpAddr = "192.0.2.2".parse().unwrap();
        let first = admission.enter(a);
        let second = admission.enter(a);
        let third = admission.enter(b);
        assert_eq!((first.total(), first.same_host()), (1, 1));
        assert_eq!((second.total(), second.same_host()), (2, 2));
        assert_eq!((third.total(), third.same_host()), (3, 1));
        assert_eq!(admission.hosts(), [(a, 2), (b, 1)]);
        let mut fourth = admission.enter(b);
        fourth.belong_to(a);
        assert_eq!(fourth.same_host(), 3);
        assert_eq!(admission.hosts(), [(a, 3), (b, 1)]);
        drop((first, second, third, fourth));
        assert_eq!(admission.open(), 0);
        assert!(admission.by_host.lock().is_empty());
    }
}

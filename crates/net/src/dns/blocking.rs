//! The resolver for code on worker threads.
//!
//! Each call blocks the calling thread until the answer is there. It must not be called from async code (tokio panics
//! then), and the runtime must have a thread that drives I/O: a multi-thread runtime, or a `current_thread` one that
//! another thread is inside of.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{
    CsaAnswer, CsaSettings, Family, HostLookupMethod, Lookup, Mx, NameCheck, Resolver, Soa, Srv, TextRecord,
    TextType, Tlsa,
};

/// [`Resolver`], with methods that wait. See there for what each gives.
#[derive(Clone)]
pub struct BlockingResolver {
    resolver: Resolver,
    runtime: Handle,
}

macro_rules! waiting {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $($(#[$doc])* pub fn $name(&self, $($argument: $kind),*) -> $result {
            self.wait(self.resolver.$name($($argument),*))
        })*
    };
}

impl BlockingResolver {
    pub(super) fn new(resolver: Resolver, runtime: Handle) -> Self {
        BlockingResolver { resolver, runtime }
    }

    /// The async resolver.
    #[must_use]
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// See [`Resolver::with_dnssec`].
    #[must_use]
    pub fn with_dnssec(&self, wanted: bool) -> Self {
        BlockingResolver { resolver: self.resolver.with_dnssec(wanted), runtime: self.runtime.clone() }
    }

    /// See [`Resolver::with_timeout`].
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        BlockingResolver { resolver: self.resolver.with_timeout(timeout), runtime: self.runtime.clone() }
    }

    /// See [`Resolver::with_attempts`].
    #[must_use]
    pub fn with_attempts(&self, attempts: usize) -> Self {
        BlockingResolver { resolver: self.resolver.with_attempts(attempts), runtime: self.runtime.clone() }
    }

    /// See [`Resolver::with_search`].
    #[must_use]
    pub fn with_search(&self, qualify_single: bool, search_parents: bool) -> Self {
        BlockingResolver {
            resolver: self.resolver.with_search(qualify_single, search_parents),
            runtime: self.runtime.clone(),
        }
    }

    waiting! {
        /// See [`Resolver::a`].
        a(name: &str) -> Lookup<Vec<Ipv4Addr>>;
        /// See [`Resolver::aaaa`].
        aaaa(name: &str) -> Lookup<Vec<Ipv6Addr>>;
        /// See [`Resolver::mx`].
        mx(name: &str) -> Lookup<Vec<Mx>>;
        /// See [`Resolver::srv`].
        srv(name: &str) -> Lookup<Vec<Srv>>;
        /// See [`Resolver::txt`].
        txt(name: &str) -> Lookup<Vec<Vec<u8>>>;
        /// See [`Resolver::ptr`].
        ptr(name: &str) -> Lookup<Vec<String>>;
        /// See [`Resolver::ns`].
        ns(name: &str) -> Lookup<Vec<String>>;
        /// See [`Resolver::cname`].
        cname(name: &str) -> Lookup<Vec<String>>;
        /// See [`Resolver::soa`].
        soa(name: &str) -> Lookup<Vec<Soa>>;
        /// See [`Resolver::tlsa`].
        tlsa(name: &str) -> Lookup<Vec<Tlsa>>;
        /// See [`Resolver::csa`].
        csa(key: &str, settings: CsaSettings) -> Lookup<Vec<CsaAnswer>>;
        /// See [`Resolver::text`].
        text(kind: TextType, key: &str) -> Lookup<Vec<TextRecord>>;
        /// See [`Resolver::addresses_of`].
        addresses_of(name: &str, family: Family) -> Lookup<Vec<IpAddr>>;
        /// See [`Resolver::addresses_by_dns`].
        addresses_by_dns(name: &str, family: Family) -> Lookup<Vec<IpAddr>>;
        /// See [`Resolver::name_of`].
        name_of(address: IpAddr, order: &[HostLookupMethod]) -> Lookup<Vec<String>>;
        /// See [`Resolver::check_name`].
        check_name(name: &str, address: IpAddr) -> NameCheck;
    }

    /// A cached answer is ready at the first poll, so the runtime is entered only for real questions.
    fn wait<T>(&self, question: impl Future<Output = T>) -> T {
        let mut question = std::pin::pin!(question);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _entered = self.runtime.enter();
        if let std::task::Poll::Ready(answer) = question.as_mut().poll(&mut context) {
            return answer;
        }
        self.runtime.block_on(question)
    }
}

//! All addresses of a message through the routers, and their children, until each is decided.
//!
//! Manual sections 3.11, 3.13 and 22.7 (duplicates). For a delivery there are rounds, as in Exim: first all recipients,
//! then all children they have, then theirs; of equal addresses the last one is delivered to. Tests show children
//! where their parent stood.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use oxim_base::Text;
use oxim_base::debug;
use oxim_base::limits::REDIRECTED_ADDRESSES_MAX;
use oxim_lang::context::Context;
use oxim_lang::list::{List, ListKind, Subject};
use oxim_mail::address::quote_local_part;

use super::redirect::list::SyntaxError;
use super::walk::{Step, walk};
use super::{Problem, Purpose, error_code, scope};
use crate::address::{Address, AddressKind, Refusal};
use crate::delivery::Delivery;

/// What became of one address.
#[derive(Clone, Debug)]
pub enum Decided {
    /// It goes to its transport (or to `/dev/null`, see [`Address::is_bypassed`]).
    Deliver(Address),
    /// It is thrown away: `=> :blackhole:`.
    Discarded(Address),
    /// It fails.
    Failed(Address, Problem),
    /// It waits.
    Deferred(Address, Problem),
}

impl Decided {
    /// The address.
    #[must_use]
    pub fn address(&self) -> &Address {
        match self {
            Decided::Deliver(address)
            | Decided::Discarded(address)
            | Decided::Failed(address, _)
            | Decided::Deferred(address, _) => address,
        }
    }

    fn address_mut(&mut self) -> &mut Address {
        match self {
            Decided::Deliver(address)
            | Decided::Discarded(address)
            | Decided::Failed(address, _)
            | Decided::Deferred(address, _) => address,
        }
    }
}

/// A domain that a router put in the place of another: header lines of the message are to follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DomainChange {
    /// The domain as it was.
    pub from: Vec<u8>,
    /// The domain as it is.
    pub to: Vec<u8>,
}

/// Somebody is to be told about a faulty redirection list (`syntax_errors_to`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxNotice {
    /// Whom.
    pub to: Vec<u8>,
    /// What stands at the head of the message (`syntax_errors_text`).
    pub text: Option<Vec<u8>>,
    /// The router.
    pub router: String,
    /// The address that was redirected.
    pub address: Vec<u8>,
    /// What was left out.
    pub errors: Vec<SyntaxError>,
    /// Whether anything else was there.
    pub has_others: bool,
}

/// Notices that routing collects.
pub type Notices = Vec<SyntaxNotice>;

/// The outcome of routing.
#[derive(Clone, Debug, Default)]
pub struct Routed {
    /// What became of each address, in order.
    pub decided: Vec<Decided>,
    /// Domains that were replaced, each pair once.
    pub domain_changes: Vec<DomainChange>,
    /// Messages to be sent about faulty lists.
    pub notices: Notices,
    /// Addresses that became others and whose sender wants to know (`NOTIFY=SUCCESS`), each with the number of addresses that
    /// were decided before it.
    pub redirected: Vec<(usize, Arc<Address>)>,
}

/// How to route.
pub struct RouteRequest<'a> {
    /// Why.
    pub purpose: Purpose,
    /// Whether an address, in its unique form, was delivered or failed in an earlier attempt.
    pub is_done: &'a dyn Fn(&[u8]) -> bool,
    /// Whether an address has to wait before it is routed at all (retry times, `hold_domains`, `queue_domains`).
    pub hold: &'a dyn Fn(&mut Context, &Address) -> Option<Problem>,
    /// Each round begins at the other end. Exim's list is turned around when it takes out what `queue_domains` holds back.
    pub turns_around: bool,
}

impl RouteRequest<'_> {
    /// A request in which nothing was done before and nothing has to wait.
    #[must_use]
    pub fn new(purpose: Purpose) -> RouteRequest<'static> {
        RouteRequest { purpose, is_done: &|_| false, hold: &|_, _| None, turns_around: false }
    }
}

/// Routing that addresses of the same domain share.
struct DomainRoute {
    /// The first of them, as it was routed.
    first: Address,
    /// Routers that decide by the domain alone have done it: for others of the domain they would say the same.
    is_certain: bool,
    /// `same_domain_copy_routing` wants it.
    is_wanted: bool,
}

/// How deep addresses that filters make beside their decisions are followed at once.
const BESIDE_DEPTH_MAX: usize = 8;

struct Worklist<'a> {
    delivery: &'a Delivery,
    request: &'a RouteRequest<'a>,
    queue: VecDeque<Address>,
    next_round: VecDeque<Address>,
    /// How many filters' addresses are being decided beside others.
    depth: usize,
    seen: HashSet<Vec<u8>>,
    made: HashMap<usize, usize>,
    by_domain: HashMap<Vec<u8>, DomainRoute>,
    routed: Routed,
}

impl Delivery {
    /// Routes addresses and whatever they are redirected to. May block. The address and delivery scopes of the context
    /// are as before afterwards.
    pub fn route_all(
        &self,
        context: &mut Context,
        addresses: Vec<Address>,
        request: &RouteRequest<'_>,
    ) -> Routed {
        let scope = context.address.clone();
        let routed = Routed { decided: Vec::with_capacity(addresses.len()), ..Routed::default() };
        let mut work = Worklist {
            delivery: self,
            request,
            queue: addresses.into(),
            next_round: VecDeque::new(),
            depth: 0,
            seen: HashSet::new(),
            made: HashMap::new(),
            by_domain: HashMap::new(),
            routed,
        };
        if request.turns_around {
            work.queue.make_contiguous().reverse();
        }
        loop {
            while let Some(address) = work.queue.pop_front() {
                work.one(context, address);
            }
            if work.next_round.is_empty() {
                break;
            }
            // Pipes, files and replies need no routing: Exim has them aside before it begins with the others.
            let round = std::mem::take(&mut work.next_round);
            let (mut others, special): (Vec<_>, Vec<_>) =
                round.into_iter().partition(|address| address.kind == AddressKind::Mail);
            if request.turns_around {
                others.reverse();
            }
            work.queue = special.into_iter().rev().chain(others).collect();
        }
        context.address = scope;
        work.routed
    }
}

/// The address behind a percent sign in the local part, in the domains of `percent_hack_domains`: `a%b@c` is `a@b`.
pub(crate) fn percent_hack(context: &mut Context, address: &Address) -> Option<Address> {
    let text = context.config.main.percent_hack_domains.clone()?;
    let (mut local_part, mut domain) = hacked(context, &text, &address.local_part, &address.domain)?;
    while let Some(inner) = hacked(context, &text, &local_part, &domain) {
        (local_part, domain) = inner;
    }
    let mut inner = quote_local_part(&local_part);
    inner.push(b'@');
    inner.extend_from_slice(&domain);
    Some(Address::child(&Arc::new(address.clone()), inner))
}

/// The two halves of the address in a local part, if the domain is in the list and there is a percent sign.
pub fn hacked(
    context: &mut Context,
    domains: &str,
    local_part: &[u8],
    domain: &[u8],
) -> Option<(Vec<u8>, Vec<u8>)> {
    let at = memchr::memrchr(b'%', local_part)?;
    let subject = Text::tainted(domain.to_ascii_lowercase());
    let list = List::compile(ListKind::Domain, domains);
    if !list.matches(context, &Subject::Domain(&subject)).is_ok_and(|found| found.is_yes()) {
        return None;
    }
    let (inner, rest) = local_part.split_at_checked(at)?;
    Some((inner.to_vec(), rest.get(1..).unwrap_or_default().to_vec()))
}

impl Worklist<'_> {
    fn is_for_delivery(&self) -> bool {
        self.request.purpose == Purpose::Deliver
    }

    fn one(&mut self, context: &mut Context, mut address: Address) {
        if (self.request.is_done)(&address.unique) {
            debug::line(debug::DELIVER, || format!("{} was delivered before: discarded", address.text()));
            return;
        }
        if address.kind != AddressKind::Mail {
            self.special(address);
            return;
        }
        if let Some(child) = percent_hack(context, &address) {
            return self.one(context, child);
        }
        if let Some(problem) = (self.request.hold)(context, &address) {
            self.routed.decided.push(Decided::Deferred(address, problem));
            return;
        }
        if self.route_as_domain(&mut address) {
            self.deliver(address);
            return;
        }
        let is_unmarked = is_unmarked(&address);
        let walked = walk(self.delivery, context, address, self.request.purpose, &mut self.routed.notices);
        if !walked.beside.is_empty() {
            self.beside(context, walked.beside);
        }
        match walked.step {
            Step::Deliver(address) => {
                let is_certain = walked.is_by_domain && is_unmarked && walked.unseen_copy.is_none();
                self.remember_domain(&address, is_certain);
                self.deliver(address);
            }
            Step::Discard(address) => self.routed.decided.push(Decided::Discarded(address)),
            Step::Fail(address, problem) => self.routed.decided.push(Decided::Failed(address, problem)),
            Step::Defer(address, problem) => self.routed.decided.push(Decided::Deferred(address, problem)),
            Step::Children(children, change) => {
                if let Some(change) = change
                    && !self.routed.domain_changes.contains(&change)
                {
                    self.routed.domain_changes.push(change);
                }
                self.note_redirected(&children);
                self.add_children(context, children);
            }
        }
        if let Some(copy) = walked.unseen_copy {
            self.add(copy);
        }
    }

    /// What a filter made beside its decision is decided before it. Where such filters follow each other far, their
    /// addresses wait for the next round, so that the stack is not used up.
    fn beside(&mut self, context: &mut Context, children: Vec<Address>) {
        let (addresses, special): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| child.kind == AddressKind::Mail);
        let goes_on = self.depth < BESIDE_DEPTH_MAX;
        self.depth = self.depth.saturating_add(1);
        for mut child in special.into_iter().chain(addresses.into_iter().rev()) {
            self.delivery.rewrite_child(context, &mut child);
            if goes_on { self.one(context, child) } else { self.add(child) }
        }
        self.depth = self.depth.saturating_sub(1);
    }

    /// A redirection ends what RFC 3461 asks for the parent: that is reported now. The same address in another domain is none.
    fn note_redirected(&mut self, children: &[Address]) {
        let Some(child) = children.first().filter(|child| !child.dsn.success) else { return };
        if let Some(parent) = child.parent.as_ref().filter(|parent| parent.dsn.success) {
            self.routed.redirected.push((self.routed.decided.len(), Arc::clone(parent)));
        }
    }

    fn add_children(&mut self, context: &mut Context, children: Vec<Address>) {
        let Some(first) = children.first() else { return };
        let made = self.made.entry(first.recipient).or_default();
        *made = made.saturating_add(children.len());
        if *made > REDIRECTED_ADDRESSES_MAX {
            let parent = first.parent.as_deref().unwrap_or(first).clone();
            let text =
                format!("more than {REDIRECTED_ADDRESSES_MAX} addresses made from {}", parent.top().text());
            self.routed.decided.push(Decided::Deferred(parent, Problem::new(error_code::BAD_REDIRECT, text)));
            return;
        }
        for mut child in children.into_iter().rev() {
            self.delivery.rewrite_child(context, &mut child);
            self.add(child);
        }
    }

    fn add(&mut self, address: Address) {
        if self.is_for_delivery() {
            self.next_round.push_back(address);
        } else {
            self.queue.push_front(address);
        }
    }

    /// A pipe, file or reply: routed already, unless it is refused.
    fn special(&mut self, address: Address) {
        if !self.is_for_delivery() {
            self.routed.decided.push(Decided::Deliver(address));
            return;
        }
        let Some(refusal) = &address.refusal else { return self.deliver(address) };
        if !self.seen.insert(address.unique.clone()) {
            // One complaint will do. The recipient waits with the equal one.
            self.share(&address);
            return;
        }
        match refusal {
            Refusal::Forbidden { .. } => {
                let text = match address.kind {
                    AddressKind::Pipe => "delivery to pipe forbidden",
                    AddressKind::Reply => "autoreply forbidden",
                    AddressKind::File | AddressKind::Directory | AddressKind::Mail => {
                        "delivery to file forbidden"
                    }
                };
                let problem = Problem::new(error_code::UNKNOWN, text.to_owned());
                self.routed.decided.push(Decided::Failed(address, problem));
            }
            Refusal::Setup(text) => {
                let problem = Problem::new(error_code::BAD_TRANSPORT, text.clone());
                self.routed.decided.push(Decided::Deferred(address, problem));
            }
        }
    }

    fn deliver(&mut self, mut address: Address) {
        // The delivery of an `unseen` router has a name of its own, known only now.
        if (self.request.is_done)(&address.unique) {
            debug::line(debug::DELIVER, || "\"unseen\" delivery previously done - discarded".to_owned());
            return;
        }
        let transport = address.transport.map(|id| self.delivery.transport_name(id));
        // Without a mark it is the unique form, which has been asked for.
        if let Some(Cow::Owned(mark)) = transport.map(|name| address.done_mark(name))
            && (self.request.is_done)(&mark)
        {
            debug::line(debug::DELIVER, || format!("{} was delivered before: discarded", address.text()));
            return;
        }
        if self.is_for_delivery() && !self.seen.insert(address.unique.clone()) {
            debug::line(debug::DELIVER, || format!("{} is a duplicate address: discarded", address.text()));
            self.replace_equal(&mut address);
        }
        self.routed.decided.push(Decided::Deliver(address));
    }

    /// The equal address that was to be delivered to gives way; its recipient shares in this delivery.
    fn replace_equal(&mut self, address: &mut Address) {
        let is_equal = |d: &Decided| matches!(d, Decided::Deliver(other) if other.unique == address.unique);
        let Some(place) = self.routed.decided.iter().position(is_equal) else { return };
        let Decided::Deliver(mut earlier) = self.routed.decided.remove(place) else { return };
        for (before, _) in self.routed.redirected.iter_mut().filter(|(before, _)| *before > place) {
            *before = before.saturating_sub(1);
        }
        address.shares_with = std::mem::take(&mut earlier.shares_with);
        address.share_with(&earlier);
    }

    /// The recipient of an address shares in what has been decided about an equal one.
    fn share(&mut self, address: &Address) {
        let mut decided = self.routed.decided.iter_mut();
        let equal = decided.find(|decided| decided.address().unique == address.unique);
        if let Some(equal) = equal {
            equal.address_mut().share_with(address);
        }
    }

    /// `is_certain`: all that was asked was the domain.
    fn remember_domain(&mut self, address: &Address, is_certain: bool) {
        let router = address.router.and_then(|id| self.delivery.router(id));
        let Some((router, transport)) = router.zip(address.transport) else { return };
        let is_certain = is_certain && !address.is_randomized && router.by_domain.keeps_order(&address.hosts);
        let is_wanted = router.driver.copies_routing_by_domain()
            && address.propagated.headers_add.is_empty()
            && address.propagated.headers_remove.is_empty();
        if self.is_for_delivery()
            && (is_certain || is_wanted)
            && address.parent.is_none()
            && !self.delivery.is_local_transport(transport)
        {
            let route = DomainRoute { first: address.clone(), is_certain, is_wanted };
            self.by_domain.insert(address.domain.clone(), route);
        }
    }

    /// Gives an address the routing of its domain, if that is known.
    fn route_as_domain(&self, address: &mut Address) -> bool {
        let Some(route) = self.by_domain.get(&address.domain) else { return false };
        let is_certain = route.is_certain && is_unmarked(address);
        if address.start.is_some() || !is_certain && !route.is_wanted {
            return false;
        }
        let first = &route.first;
        address.hosts = Arc::clone(&first.hosts);
        address.router = first.router;
        address.transport = first.transport;
        address.fallback_hosts = Arc::clone(&first.fallback_hosts);
        address.is_randomized = first.is_randomized;
        if is_certain {
            // As if the routers had seen it.
            address.is_offered = true;
            address.is_caseful = first.is_caseful;
            if first.is_caseful {
                address.routed_local_part.clone_from(&address.local_part);
            }
            address.propagated.clone_from(&first.propagated);
            address.unusable_hosts = Arc::clone(&first.unusable_hosts);
            address.self_hostname.clone_from(&first.self_hostname);
            address.is_logged_as_local = first.is_logged_as_local;
            address.dsn.last_hop |= first.dsn.last_hop;
        } else if address.propagated.errors_to != first.propagated.errors_to {
            address.propagated.errors_to.clone_from(&first.propagated.errors_to);
        }
        debug::line(debug::ROUTE, || format!("Routing for {} copied from its domain", address.text()));
        true
    }
}

/// Whether it begins with the routers as any recipient of its domain does.
fn is_unmarked(address: &Address) -> bool {
    address.parent.is_none() && address.start.is_none() && !address.is_ours && address.propagated.is_empty()
}

impl Routed {
    /// The addresses that go to transports.
    pub fn deliveries(&self) -> impl Iterator<Item = &Address> {
        self.decided.iter().filter_map(|decided| match decided {
            Decided::Deliver(address) => Some(address),
            Decided::Discarded(_) | Decided::Failed(..) | Decided::Deferred(..) => None,
        })
    }
}

/// Makes an address the one in hand after routing: what transports do before they expand anything.
pub fn enter(context: &mut Context, address: &Address) {
    scope::enter(context, address);
}

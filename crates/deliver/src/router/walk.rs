//! One address through the routers, from its start until one decides. Manual sections 3.10 and 3.12.

use std::sync::Arc;

use oxim_base::debug;
use oxim_lang::context::Context;
use oxim_lang::expand::ExpandError;
use oxim_lang::list::LogKind;

use super::precondition::{self, Outcome};
use super::trace::{self, Traced};
use super::worklist::{DomainChange, Notices};
use super::{Declined, Problem, Purpose, Router, Run, Verdict, error_code, generic, scope, write_log};
use crate::address::{Address, RouterId, unique_form};
use crate::delivery::Delivery;
use oxim_base::limits::REDIRECT_DEPTH_MAX;

/// What the routers made of an address.
#[derive(Debug)]
pub enum Step {
    /// It goes to its transport.
    Deliver(Address),
    /// It became others. The flag says that it only changed its domain.
    Children(Vec<Address>, Option<DomainChange>),
    /// It is thrown away.
    Discard(Address),
    /// It fails.
    Fail(Address, Problem),
    /// It waits.
    Defer(Address, Problem),
}

/// A step, and the copy of the address that goes on behind an `unseen` router.
#[derive(Debug)]
pub struct Walked {
    /// The decision.
    pub step: Step,
    /// The copy, with the router it goes on at.
    pub unseen_copy: Option<Address>,
    /// Addresses that filters made beside the decision: `unseen` deliveries, and those before a `fail`.
    pub beside: Vec<Address>,
    /// All routers that were asked decide by the domain alone.
    pub is_by_domain: bool,
}

impl From<Step> for Walked {
    fn from(step: Step) -> Self {
        Walked { step, unseen_copy: None, beside: Vec::new(), is_by_domain: false }
    }
}

/// Where to go after a router.
enum Next {
    Router(usize),
    Decided(Box<Walked>),
    NoMore,
}

fn decided(step: Step) -> Next {
    Next::Decided(Box::new(step.into()))
}

struct Walk<'a> {
    delivery: &'a Delivery,
    context: &'a mut Context,
    purpose: Purpose,
    notices: &'a mut Notices,
    /// What filters made beside a decision.
    beside: Vec<Address>,
    /// What the last router that declined had to say.
    declined: Option<Declined>,
    /// The routers asked so far decide by the domain alone.
    is_by_domain: bool,
}

/// Takes an address through the routers.
pub fn walk(
    delivery: &Delivery,
    context: &mut Context,
    mut address: Address,
    purpose: Purpose,
    notices: &mut Notices,
) -> Walked {
    debug::line(debug::ROUTE, || format!(">>>>>>>>>>>>>>>>>>>>>>>>\nrouting {}", address.text()));
    trace::note(|| Traced::Address(address.text().into_owned()));
    address.is_offered = true;
    // What a list of one router matched is for that router and its transport, not for the next one or for children: there it would
    // be the untainted name of somebody else.
    address.propagated.forget_matches();
    let outer_name = context.delivery.router_name.take();
    let outer_path = context.delivery.return_path.take();
    let outer_mode = std::mem::replace(&mut context.delivery.verify_mode, purpose.verify_mode());
    let outer_captures = std::mem::take(&mut context.local.captures);
    let (beside, declined, is_by_domain) = (Vec::new(), None, true);
    let mut walk = Walk { delivery, context, purpose, notices, beside, declined, is_by_domain };
    let mut place = address.start.take().map_or(0, |id| id.0);
    let mut last = None;
    let mut walked = loop {
        let Some(router) = delivery.routers.get(place) else {
            break walk.unrouteable(address, last);
        };
        last = Some(router);
        let next = walk.ask(router, &mut address);
        crate::event::dns_failures(walk.context);
        match next {
            Next::Router(next) => place = next,
            Next::NoMore => break walk.unrouteable(address, last),
            Next::Decided(walked) => break *walked,
        }
    };
    walked.beside = std::mem::take(&mut walk.beside);
    walked.is_by_domain = walk.is_by_domain;
    context.local.captures = outer_captures;
    context.delivery.router_name = outer_name;
    context.delivery.return_path = outer_path;
    context.delivery.verify_mode = outer_mode;
    walked
}

impl Walk<'_> {
    /// Offers the address to one router.
    fn ask(&mut self, router: &Router, address: &mut Address) -> Next {
        debug::line(debug::ROUTE, || format!("--------> {} router <--------", router.name));
        // $0, $1… of one router's lists are not the next one's.
        self.context.local.captures.clear();
        self.context.delivery.router_name = Some(router.name.clone());
        let return_path = address.propagated.errors_to.as_ref().unwrap_or(&self.context.message.sender);
        self.context.delivery.return_path = Some(return_path.clone());
        match self.round_again(router, address) {
            Rounds::First => {}
            Rounds::Skip => {
                self.is_by_domain = false;
                return skipped(router, &format!("previously routed {}", address.text()));
            }
            Rounds::TooMany => {
                let line = format!("routing loop for {}", address.text());
                write_log(self.context, self.purpose, LogKind::Panic, &line);
                let problem = Problem { code: error_code::UNKNOWN, ..Problem::default() };
                return self.defer(router, address, problem);
            }
        }
        let mut work = address.clone();
        work.router = Some(router.id);
        let mut run = Run {
            delivery: self.delivery,
            router,
            context: self.context,
            purpose: self.purpose,
            local_user: None,
            router_home: None,
            notices: self.notices,
            beside: &mut self.beside,
        };
        let outcome = precondition::test(&mut run, &mut work);
        self.is_by_domain &= match outcome {
            Outcome::OtherDomain => router.by_domain.chooses,
            Outcome::Met | Outcome::Skip(_) | Outcome::Defer(_) => router.by_domain.decides,
        };
        match outcome {
            Outcome::Met => {}
            Outcome::OtherDomain => return skipped(router, "domains mismatch"),
            Outcome::Skip(reason) => return skipped(router, &reason),
            Outcome::Defer(problem) => {
                trace::note(|| Traced::Deferred {
                    router: router.name.clone(),
                    reason: problem.text().to_owned(),
                });
                return self.defer(router, &work, problem);
            }
        }
        let is_set = set_data(&mut run, &mut work);
        if address.propagated.variables != work.propagated.variables {
            address.propagated.variables.clone_from(&work.propagated.variables);
        }
        let verdict = match is_set {
            Ok(true) => {
                debug::line(debug::ROUTE, || format!("calling {} router", router.name));
                if address.propagated.address_data != work.propagated.address_data {
                    address.propagated.address_data.clone_from(&work.propagated.address_data);
                }
                router.driver.route(&mut run, &mut work)
            }
            Ok(false) => Verdict::Decline(None),
            Err(problem) => Verdict::Defer(problem),
        };
        self.settle(router, address, work, verdict)
    }

    fn settle(&mut self, router: &Router, address: &mut Address, work: Address, verdict: Verdict) -> Next {
        debug::line(debug::ROUTE, || format!("{} router: {verdict:?} for {}", router.name, address.text()));
        trace::note(|| Traced::Asked {
            router: router.name.clone(),
            verdict: self.in_words(&verdict, &work),
        });
        let next = router.id.0.saturating_add(1);
        let step = match verdict {
            Verdict::Decline(text) => {
                if text.is_some() {
                    self.declined = text;
                }
                return match generic::switch(&router.generic.more, "more", true, self.context, &router.name) {
                    Ok(true) => Next::Router(next),
                    Ok(false) => {
                        debug::line(debug::ROUTE, || {
                            "\"more\" is false: skipping remaining routers".to_owned()
                        });
                        Next::NoMore
                    }
                    Err(problem) => self.defer(router, &work, problem),
                };
            }
            Verdict::Pass(text) => {
                address.self_hostname = work.self_hostname;
                if self.fails_verification(router) {
                    return verify_failure(router, address);
                }
                if text.is_some() {
                    self.declined = text;
                }
                return Next::Router(router.generic.pass_router.map_or(next, |id| id.0));
            }
            Verdict::Defer(problem) => return self.defer(router, &work, problem),
            // The log says what a router has failed has gone to no transport.
            Verdict::Fail(problem) => Step::Fail(Address { transport: None, ..work }, problem),
            Verdict::Discard => Step::Discard(work),
            Verdict::FilteredOut => {
                let mut work = work;
                work.is_filtered_out = true;
                Step::Discard(work)
            }
            Verdict::Deliver => Step::Deliver(work),
            Verdict::Redirect(children) => Step::Children(children, None),
            // The address anew: the router itself has not taken it.
            Verdict::Reroute { domain, rewrite_headers } => {
                return self.unseen(router, address, reroute(work, domain, rewrite_headers));
            }
        };
        let is_taken = matches!(step, Step::Deliver(_) | Step::Children(..) | Step::Discard(_));
        if is_taken && self.fails_verification(router) {
            return verify_failure(router, address);
        }
        self.unseen(router, address, step)
    }

    /// What a router has said, for `trace`.
    fn in_words(&self, verdict: &Verdict, work: &Address) -> String {
        match verdict {
            Verdict::Decline(None) => "declined".to_owned(),
            Verdict::Decline(Some(declined)) => format!("declined: {}", declined.text),
            Verdict::Pass(_) => "passed it on".to_owned(),
            Verdict::Defer(problem) => format!("deferred: {}", problem.text()),
            Verdict::Fail(problem) => format!("failed: {}", problem.text()),
            Verdict::Discard => "discarded".to_owned(),
            Verdict::FilteredOut => "discarded by a filter".to_owned(),
            Verdict::Deliver => match work.transport {
                Some(id) => format!("accepted: transport {}", self.delivery.transport_name(id)),
                None => "accepted".to_owned(),
            },
            Verdict::Redirect(children) if children.is_empty() => "redirected to nobody".to_owned(),
            Verdict::Redirect(children) => {
                let all: Vec<String> = children.iter().map(|child| child.text().into_owned()).collect();
                format!("redirected to {}", all.join(", "))
            }
            Verdict::Reroute { domain, .. } => {
                format!("domain changed to {}", String::from_utf8_lossy(domain))
            }
        }
    }

    fn fails_verification(&self, router: &Router) -> bool {
        match self.purpose {
            Purpose::VerifySender => router.generic.fail_verify_sender,
            Purpose::VerifyRecipient => router.generic.fail_verify_recipient,
            Purpose::Deliver | Purpose::Test | Purpose::Expn => false,
        }
    }

    /// Behind an `unseen` router the address is the parent of two: the one that was routed, and a copy that goes on.
    fn unseen(&mut self, router: &Router, address: &Address, step: Step) -> Next {
        match generic::switch(&router.generic.unseen, "unseen", false, self.context, &router.name) {
            // Behind the last router there is nothing to go on to.
            Ok(wanted) if !wanted || self.delivery.routers.len() <= router.id.0.saturating_add(1) => {
                return decided(step);
            }
            Ok(_) => {}
            Err(problem) => return self.defer(router, address, problem),
        }
        let mut parent = address.clone();
        parent.router = Some(router.id);
        let parent = Arc::new(parent);
        let mut copy = Address::child(&parent, address.address.clone());
        copy.propagated.headers_add.clear();
        copy.propagated.headers_remove.clear();
        copy.is_unseen_copy = true;
        copy.dsn = address.dsn.clone();
        copy.start = Some(RouterId(router.id.0.saturating_add(1)));
        copy.self_hostname.clone_from(&address.self_hostname);
        let step = match step {
            Step::Deliver(mut routed) => {
                routed.unique.push(b'/');
                routed.unique.extend_from_slice(router.name.as_bytes());
                routed.parent = Some(parent);
                // The address itself goes on: its fate is what the sender is told of.
                routed.dsn.success = false;
                Step::Deliver(routed)
            }
            // Not even this failure stops the copy.
            Step::Children(..) | Step::Discard(_) | Step::Fail(..) | Step::Defer(..) => step,
        };
        Next::Decided(Box::new(Walked { unseen_copy: Some(copy), ..step.into() }))
    }

    fn defer(&self, router: &Router, address: &Address, mut problem: Problem) -> Next {
        let mut address = address.clone();
        address.router = Some(router.id);
        address.transport = None;
        let mut key = b"R:".to_vec();
        if router.generic.retry_use_local_part {
            key.extend_from_slice(&address.routed_local_part);
            key.push(b'@');
        }
        key.extend_from_slice(&address.domain);
        problem.retry_key = Some(key);
        decided(Step::Defer(address, problem))
    }

    /// Whether an ancestor went through this router already, so that the address would go round in a circle.
    fn round_again(&self, router: &Router, address: &Address) -> Rounds {
        let mut rounds = 0_usize;
        for ancestor in address.ancestors().filter(|a| a.router == Some(router.id)) {
            let same = if router.generic.caseful_local_part {
                unique_form(&ancestor.address) == unique_form(&address.address)
            } else {
                ancestor.address.eq_ignore_ascii_case(&address.address)
            };
            if same || !router.generic.repeat_use {
                return Rounds::Skip;
            }
            rounds = rounds.saturating_add(1);
        }
        if rounds > REDIRECT_DEPTH_MAX { Rounds::TooMany } else { Rounds::First }
    }

    /// No router wanted it.
    fn unrouteable(&mut self, mut address: Address, last: Option<&Router>) -> Walked {
        debug::line(debug::ROUTE, || "no more routers".to_owned());
        trace::note(|| Traced::NoMore);
        address.router = None;
        address.transport = None;
        // What a router found out goes before the postmaster's text, and stays between it and the log.
        let (message, user_message) = match self.declined.take() {
            Some(declined) => (declined.text, declined.told),
            None => {
                let told = last.and_then(|router| self.cannot_route_message(router, &address));
                let text = told.unwrap_or_else(|| "Unrouteable address".to_owned());
                (text.clone(), Some(text))
            }
        };
        let problem = Problem { user_message, ..Problem::new(error_code::UNKNOWN, message) };
        Step::Fail(address, problem).into()
    }

    fn cannot_route_message(&mut self, router: &Router, address: &Address) -> Option<String> {
        let template = router.generic.cannot_route_message.as_ref()?;
        if !router.generic.caseful_local_part {
            let mut lower = address.clone();
            lower.routed_local_part = address.local_part.to_ascii_lowercase();
            scope::enter(self.context, &lower);
        } else {
            scope::enter(self.context, address);
        }
        match template.expand(self.context) {
            Ok(text) => Some(text.to_string_lossy()),
            Err(ExpandError::Forced(_)) => None,
            Err(error) => {
                let line =
                    format!("failed to expand cannot_route_message in {} router: {error}", router.name);
                write_log(self.context, self.purpose, LogKind::Panic, &line);
                None
            }
        }
    }
}

/// A precondition of a router is not met: the next one is asked.
fn skipped(router: &Router, reason: &str) -> Next {
    debug::line(debug::ROUTE, || format!("{} router skipped: {reason}", router.name));
    trace::note(|| Traced::Skipped { router: router.name.clone(), reason: reason.to_owned() });
    Next::Router(router.id.0.saturating_add(1))
}

enum Rounds {
    First,
    Skip,
    TooMany,
}

/// `set` and `address_data`. False: a forced failure, the router declines.
fn set_data(run: &mut Run<'_>, address: &mut Address) -> Result<bool, Problem> {
    let generic = &run.router.generic;
    for (name, template) in &generic.variables {
        match template.expand(run.context) {
            Ok(value) => {
                run.context.address.router_variables.insert(name.clone(), value.clone());
                address.propagated.variables.insert(name.clone(), value);
            }
            // What was set before it stays set.
            Err(ExpandError::Forced(_)) => return Ok(false),
            Err(error) => return Err(failed(run, template.source_bytes(), &error)),
        }
    }
    let Some(template) = &generic.address_data else {
        return Ok(true);
    };
    match template.expand(run.context) {
        Ok(value) => {
            run.context.address.address_data = Some(value.clone());
            address.propagated.address_data = Some(value);
            Ok(true)
        }
        Err(ExpandError::Forced(_)) => Ok(false),
        Err(error) => Err(failed(run, template.source_bytes(), &error)),
    }
}

fn failed(run: &Run<'_>, source: &[u8], error: &ExpandError) -> Problem {
    let source = String::from_utf8_lossy(source);
    let text = format!("expansion of \"{source}\" failed in {} router: {error}", run.router.name);
    Problem::new(error_code::UNKNOWN, text)
}

/// The same local part in another domain.
/// `fail_verify`.
fn verify_failure(router: &Router, address: &Address) -> Next {
    let text = format!("{} router forced verify failure", router.name);
    let address = Address { router: Some(router.id), ..address.clone() };
    decided(Step::Fail(address, Problem::new(error_code::UNKNOWN, text)))
}

fn reroute(address: Address, domain: Vec<u8>, rewrite_headers: bool) -> Step {
    let local = match crate::address::domain_start(&address.address) {
        Some(start) => address.address.get(..start).unwrap_or_default().to_vec(),
        None => [address.address.as_slice(), b"@"].concat(),
    };
    let old = address.domain.clone();
    let text = [local.as_slice(), &domain].concat();
    let request = address.dsn.clone();
    let child = Address { dsn: request, ..Address::child(&Arc::new(address), text) };
    let change = rewrite_headers.then_some(DomainChange { from: old, to: domain });
    Step::Children(vec![child], change)
}

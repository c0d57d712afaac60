//! Whether an address is good, without delivering to it: `verify = sender`, `verify = recipient`, `-bv`.
//!
//! The routers are asked in verify mode. A redirection to one address goes on with that address; one to several, or to
//! a pipe or file, is good as it is. Manual sections 3.9 and 44.31 and following.

use oxim_lang::context::Context;
use oxim_mail::address::parse;

use crate::address::{Address, AddressKind, domain_start};
use crate::delivery::Delivery;
use crate::rewrite::Place;
use crate::router::walk::{Step, walk};
use crate::router::worklist::percent_hack;
use crate::router::{Problem, Purpose};

/// How to verify.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// The address is a sender: `verify_sender`, `$verify_mode` S, and no sender while the routers run.
    pub is_sender: bool,
    /// Any redirection is good enough (`success_on_redirect`).
    pub success_on_redirect: bool,
}

/// What verification found.
#[derive(Clone, Debug)]
pub enum Verified {
    /// The address is good.
    Accepted(Box<Acceptance>),
    /// It is not. The address is the one that failed: a child, perhaps.
    Refused(Box<Address>, Problem),
    /// It cannot be found out now.
    Deferred(Box<Address>, Problem),
}

/// A good address.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The address as it was routed in the end, with transport and hosts for a callout.
    pub address: Address,
    /// It was redirected on the way; `$address_data` of the ACL comes from the last one.
    pub was_redirected: bool,
}

impl Delivery {
    /// Verifies an address that has a domain, as it is once the rules of the envelope have rewritten it. May block. The
    /// context's address and delivery scopes are as before afterwards; `$address_data` and kin are for the caller to take
    /// from the acceptance.
    pub fn verify(&self, context: &mut Context, address: &[u8], options: VerifyOptions) -> Verified {
        let place = if options.is_sender { Place::EnvelopeFrom } else { Place::EnvelopeTo };
        let rewritten = self.rewrite.address(context, place, address, &self.rewrite_settings);
        self.verify_rewritten(context, &rewritten, options)
    }

    /// As [`verify`](Self::verify), for an address that needs no rewriting.
    pub(crate) fn verify_rewritten(
        &self,
        context: &mut Context,
        address: &[u8],
        options: VerifyOptions,
    ) -> Verified {
        let purpose = if options.is_sender { Purpose::VerifySender } else { Purpose::VerifyRecipient };
        let scope = context.address.clone();
        let sender = context.message.sender.clone();
        if options.is_sender {
            context.message.sender.clear();
        }
        let verified = self.verify_chain(context, Address::recipient(address, 0), purpose, options);
        context.message.sender = sender;
        context.address = scope;
        verified
    }

    fn verify_chain(
        &self,
        context: &mut Context,
        mut address: Address,
        purpose: Purpose,
        options: VerifyOptions,
    ) -> Verified {
        let mut notices = Vec::new();
        let mut was_redirected = false;
        loop {
            if let Some(inner) = percent_hack(context, &address) {
                address = inner;
            }
            let walked = walk(self, context, address, purpose, &mut notices);
            // What goes on behind an `unseen` router is the address proper; the copy that it keeps is not in question.
            if let (Some(copy), Step::Deliver(_) | Step::Children(..)) = (walked.unseen_copy, &walked.step) {
                address = copy;
                continue;
            }
            match walked.step {
                Step::Deliver(address) | Step::Discard(address) => {
                    return Verified::Accepted(Box::new(Acceptance { address, was_redirected }));
                }
                Step::Fail(address, problem) => return Verified::Refused(Box::new(address), problem),
                Step::Defer(address, problem) => return Verified::Deferred(Box::new(address), problem),
                Step::Children(mut children, _) => {
                    was_redirected = true;
                    let Some(mut child) = children.pop() else {
                        let problem = Problem::default();
                        return Verified::Deferred(Box::new(Address::recipient(Vec::new(), 0)), problem);
                    };
                    if !children.is_empty() || child.kind != AddressKind::Mail || options.success_on_redirect
                    {
                        let address = child.parent.as_deref().unwrap_or(&child).clone();
                        return Verified::Accepted(Box::new(Acceptance { address, was_redirected }));
                    }
                    self.rewrite_child(context, &mut child);
                    address = child;
                }
            }
        }
    }

    /// The address to which bounces go, of what `errors_to` says: qualified, rewritten, and verified. `None` if it is not good.
    /// While it is looked at, there is no sender.
    #[must_use]
    pub fn good_errors_address(&self, context: &mut Context, wanted: &[u8]) -> Option<Vec<u8>> {
        let qualified = match domain_start(wanted) {
            Some(_) => wanted.to_vec(),
            None => [wanted, b"@", &self.settings.qualify_recipient].concat(),
        };
        parse(&qualified, &self.settings.syntax).ok().filter(|found| found.address == qualified)?;
        let delivery = context.delivery.clone();
        let sender = std::mem::take(&mut context.message.sender);
        let rewritten = self.rewrite.address(context, Place::EnvelopeTo, &qualified, &self.rewrite_settings);
        let verified = self.verify_rewritten(context, &rewritten, VerifyOptions::default());
        context.message.sender = sender;
        context.delivery = delivery;
        matches!(verified, Verified::Accepted(_)).then_some(rewritten)
    }
}

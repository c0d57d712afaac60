//! `one_time` of redirect routers: what a list gave is kept in the message, and the list is not read again (manual section 22.8).
//!
//! An address that came from such a router and waits becomes a recipient, with the top address as its parent; that one is then
//! done. Only the address that the router made is kept: what other routers made of it since is made again.

use std::collections::HashSet;

use oxim_spool::message::{Message, Recipient};

use crate::address::{Address, unique_form};
use crate::settle::Tally;

/// Adds the recipients to the message as it will be kept. The result says which deferrals are cared for by that.
pub(super) fn keep_children(changed: &mut Message, tally: &Tally) -> HashSet<usize> {
    let mut cared_for = HashSet::new();
    for (place, deferral) in tally.deferred.iter().enumerate() {
        let Some(address) = one_time_address(&deferral.address) else { continue };
        cared_for.insert(place);
        let is_there = |r: &Recipient| unique_form(&r.address) == unique_form(&address.address);
        if changed.recipients.iter().any(is_there) {
            continue;
        }
        let top =
            changed.recipients.get(address.recipient).and_then(|r| r.parent).unwrap_or(address.recipient);
        changed.recipients.push(Recipient {
            address: address.address.clone(),
            errors_to: address.propagated.errors_to.clone(),
            parent: Some(top),
            ..Recipient::default()
        });
    }
    cared_for
}

/// The address itself or its nearest ancestor that a `one_time` router made.
fn one_time_address(address: &Address) -> Option<&Address> {
    std::iter::once(address).chain(address.ancestors()).find(|a| a.is_one_time)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_nearest_address_that_a_one_time_router_made_is_kept() {
        let list = Arc::new(Address::recipient("list@t.ex", 0));
        let mut member = Address::child(&list, "member@t.ex");
        member.is_one_time = true;
        let moved = Address::child(&Arc::new(member), "moved@t.ex");
        assert_eq!(one_time_address(&moved).map(|a| a.address.as_slice()), Some(b"member@t.ex".as_slice()));
        assert!(one_time_address(&list).is_none());
    }
}

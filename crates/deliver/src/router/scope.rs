//! Puts an address where expansions see it: `$local_part`, `$domain`, `$address_data` and their kin.

use oxim_base::Text;
use oxim_lang::context::{AddressScope, Context};

use crate::address::{Address, AddressKind};

/// What the variables read for an address, after routing as well as during it.
#[must_use]
pub fn of(address: &Address) -> AddressScope {
    let tainted = |bytes: &Vec<u8>| Text::tainted(bytes.clone());
    let top = address.top();
    // A pipe or file has its parent's local part and domain; its own parent is that one.
    let parent = match address.kind {
        AddressKind::Mail => address.parent.as_deref(),
        AddressKind::Pipe | AddressKind::File | AddressKind::Directory | AddressKind::Reply => {
            address.parent.as_deref()
        }
    };
    AddressScope {
        local_part: address.local_part_text(),
        domain: address.domain_text(),
        local_part_data: address.propagated.local_part_data.clone(),
        domain_data: address.propagated.domain_data.clone(),
        original_local_part: top.local_part_text(),
        original_domain: top.domain_text(),
        parent_local_part: parent.map(Address::local_part_text).unwrap_or_default(),
        parent_domain: parent.map(Address::domain_text).unwrap_or_default(),
        local_part_prefix: address.prefix.as_ref().map(tainted),
        local_part_prefix_v: address.prefix_v.as_ref().map(tainted),
        local_part_suffix: address.suffix.as_ref().map(tainted),
        local_part_suffix_v: address.suffix_v.as_ref().map(tainted),
        address_data: address.propagated.address_data.clone(),
        router_variables: address.propagated.variables.clone(),
        // `router_home_directory` is for the router: a transport has the home of the account (manual section 23.3).
        home: home_of(address).or_else(|| address.router_home.clone()),
        local_user_uid: address.local_user.as_ref().map(|u| u.uid),
        local_user_gid: address.local_user.as_ref().map(|u| u.gid),
        self_hostname: address.self_hostname.as_ref().map(|name| Text::tainted(name.as_bytes())),
        ..AddressScope::default()
    }
}

fn home_of(address: &Address) -> Option<Text> {
    address.local_user.as_ref().map(|user| Text::clean(user.home.as_bytes()))
}

/// Makes an address the one in hand. What does not belong to an address (`$sender_address_data`, filter counters)
/// stays as it is.
pub fn enter(context: &mut Context, address: &Address) {
    let old = std::mem::replace(&mut context.address, of(address));
    context.address.sender_address_data = old.sender_address_data;
    context.address.sender_data = old.sender_data;
    context.address.recipient_data = old.recipient_data;
    context.address.host_data = old.host_data;
    context.address.counters = old.counters;
    context.address.this_address = old.this_address;
    if let Some(verdicts) = &context.message.bmi {
        context.address.bmi = verdicts.about(original(context, address)).cloned();
    }
}

/// The recipient in the envelope that it all began with, before `one_time` redirections too.
fn original<'a>(context: &'a Context, address: &'a Address) -> &'a [u8] {
    let recipients = &context.message.recipients;
    let parent_of = |place: usize| recipients.get(place).and_then(|recipient| recipient.parent);
    let top = address.top();
    let Some(first) = parent_of(top.recipient) else { return &top.address };
    let last = std::iter::successors(Some(first), |place| parent_of(*place)).take(recipients.len()).last();
    last.and_then(|place| recipients.get(place)).map_or(&top.address, |recipient| &recipient.address)
}

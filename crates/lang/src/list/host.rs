//! Items of host lists: addresses at once, names by DNS when an item needs them (manual sections 10.11 to 10.19).

use std::net::IpAddr;

use oxim_base::Text;
use oxim_net::dns::Lookup;

use super::item::{HostKey, Item, LookupItem, MALFORMED_ADDRESS, Pattern};
use super::network::{key_text, masked};
use super::walk::{self, Step};
use super::{Defer, HostName, surroundings};
use crate::context::{Context, HostLookup};
use crate::lookup;

/// What an item means that needs a name where there are only addresses.
const NO_NAMES: &str = "cannot match host name in match_ip list";

/// Matches one item against a host.
pub(super) fn step(
    context: &mut Context,
    item: &Item,
    address: Option<IpAddr>,
    name: HostName<'_>,
    in_file: bool,
) -> Result<Step, Defer> {
    // The value of a match in a file is the line; other items have none, but for patterns of names and lookups.
    let hit = || Step::Hit(in_file.then(|| item.text.clone()));
    let address = address.map(|a| a.to_canonical());
    let here = |context: &Context| address.is_some_and(|a| surroundings::is_local_address(context, a));
    match (&item.pattern, address) {
        (Pattern::Faulty(text), _) => Err(Defer::Config(text.clone())),
        (Pattern::Empty, _) => Ok(if address.is_none() { hit() } else { Step::Miss }),
        (Pattern::Anything, _) => Ok(hit()),
        (Pattern::Network(network), Some(address)) => {
            Ok(if network.contains(address) { hit() } else { Step::Miss })
        }
        (Pattern::LocalAddress, _) => Ok(if here(context) { hit() } else { Step::Miss }),
        (Pattern::HostLookup { key, item }, _) => by_lookup(context, *key, item, address, name),
        (Pattern::EndsWith(_) | Pattern::Regex(_), _) => by_name(context, item, address, name),
        (Pattern::Literal, Some(address)) => {
            let host = item.text.to_string_lossy();
            Ok(by_address_of(context, &host, address, name)?.map_hit(&hit))
        }
        (Pattern::LocalName, Some(address)) => {
            let host = surroundings::primary_hostname(context);
            Ok(by_address_of(context, &host, address, name)?.map_hit(&hit))
        }
        (Pattern::MalformedAddress, Some(_)) => Ok(Step::Unknown(MALFORMED_ADDRESS.to_owned())),
        // Without an address nothing that looks at one can match; the rest belongs to other kinds of list.
        (
            Pattern::Network(_)
            | Pattern::MalformedAddress
            | Pattern::Literal
            | Pattern::LocalName
            | Pattern::Named(_)
            | Pattern::File
            | Pattern::Switch(_)
            | Pattern::Mx { .. }
            | Pattern::Lookup(_)
            | Pattern::Address { .. }
            | Pattern::DomainOnly(_)
            | Pattern::LocalPartsOf(_),
            _,
        ) => Ok(Step::Miss),
    }
}

impl Step {
    fn map_hit(self, hit: &impl Fn() -> Step) -> Step {
        if matches!(self, Step::Hit(_)) { hit() } else { self }
    }
}

/// A plain name: its addresses are looked up and compared.
fn by_address_of(
    context: &mut Context,
    host: &str,
    address: IpAddr,
    name: HostName<'_>,
) -> Result<Step, Defer> {
    if matches!(name, HostName::None) {
        return Ok(Step::Unknown(NO_NAMES.to_owned()));
    }
    let found = match surroundings::resolver(context) {
        Ok(resolver) => resolver.addresses_of(host, surroundings::family(context)),
        Err(reason) => Lookup::AskAgain(reason),
    };
    Ok(match found {
        Lookup::Found(answer) => {
            walk::trace(context, || {
                let addresses: Vec<String> = answer.records.iter().map(|a| format!("address={a}")).collect();
                format!("name={host} {}", addresses.join(" "))
            });
            if answer.records.iter().any(|a| a.to_canonical() == address) {
                Step::Hit(None)
            } else {
                Step::Miss
            }
        }
        Lookup::AskAgain(reason) if !surroundings::again_means_nonexist(context, host)? => {
            walk::trace(context, || format!("name={host} {reason}"));
            Step::Unanswered(format!("DNS lookup of \"{host}\" deferred"))
        }
        Lookup::NotThere(_) | Lookup::AskAgain(_) => {
            let caller = context.connection.full_host();
            let during = if caller.is_empty() {
                String::new()
            } else {
                format!(" (during SMTP connection from {caller})")
            };
            surroundings::log_main(context, &format!("no IP address found for host {host}{during}"));
            Step::Unknown(format!("failed to find IP address for {host}"))
        }
    })
}

/// What is known of a host's names.
enum Names {
    /// These; there may be none to look at (`match_ip`, no host).
    These(Vec<String>),
    /// There is no name.
    Unknown(String),
    /// It could not be found out.
    Unanswered(String),
}

fn names(context: &mut Context, item: &Item, address: Option<IpAddr>, name: HostName<'_>) -> Names {
    match name {
        HostName::Known(name) => return Names::These(vec![name.to_owned()]),
        HostName::None if address.is_some() => return Names::Unknown(NO_NAMES.to_owned()),
        HostName::None | HostName::Caller => {}
    }
    let Some(address) = address else {
        return Names::These(Vec::new());
    };
    if context.connection.host_name.is_none() {
        walk::trace(context, || format!("sender host name required, to match against {}", item.text));
        if matches!(context.connection.host_lookup, HostLookup::NotTried | HostLookup::Deferred)
            && let Some(host) = context.services.host.get().cloned()
        {
            host.look_up_host_name(context);
        }
    }
    match (&context.connection.host_name, context.connection.host_lookup) {
        (Some(name), _) => {
            let all = std::iter::once(name).chain(&context.connection.host_aliases);
            Names::These(all.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        }
        (None, HostLookup::Deferred) => Names::Unanswered(format!("host name lookup for {address} deferred")),
        (None, _) => Names::Unknown(format!("failed to find host name for {address}")),
    }
}

fn by_name(
    context: &mut Context,
    item: &Item,
    address: Option<IpAddr>,
    name: HostName<'_>,
) -> Result<Step, Defer> {
    let names = match names(context, item, address, name) {
        Names::These(names) => names,
        Names::Unknown(why) => return Ok(Step::Unknown(why)),
        Names::Unanswered(why) => return Ok(Step::Unanswered(why)),
    };
    for name in names {
        if super::domain::hit(context, item, &Text::tainted(name), false)?.is_some() {
            return Ok(Step::Hit(Some(item.text.clone())));
        }
    }
    Ok(Step::Miss)
}

/// The keys under which a host is looked up: one, or one for each of its names.
fn keys(key: HostKey, item: &LookupItem, address: IpAddr) -> String {
    // Only here are colons not the end of a key.
    let separator = if matches!(item.lookup.kind.name, "iplsearch" | "nmh") { ':' } else { '.' };
    match key {
        HostKey::Network(bits) => {
            let width = if address.is_ipv4() { 32 } else { 128 };
            format!("{}/{bits}", key_text(masked(address, bits.min(width)), separator))
        }
        HostKey::Name | HostKey::Address => key_text(address, separator),
    }
}

fn by_lookup(
    context: &mut Context,
    key: HostKey,
    item: &LookupItem,
    address: Option<IpAddr>,
    name: HostName<'_>,
) -> Result<Step, Defer> {
    if !item.lookup.kind.is_single_key() {
        // No query is asked about no host, even if it could be answered.
        return if address.is_some() { one_lookup(context, item, None) } else { Ok(Step::Miss) };
    }
    // `match_ip` has no names: the address is the key, with or without `net-`.
    if key != HostKey::Name || matches!(name, HostName::None) {
        return match address {
            Some(address) => one_lookup(context, item, Some(keys(key, item, address))),
            None => Ok(Step::Miss),
        };
    }
    let shown = Item {
        negated: false,
        text: Text::clean(format!("{};{}", item.lookup.kind.name, item.source)),
        pattern: Pattern::Literal,
    };
    let names = match names(context, &shown, address, name) {
        Names::These(names) => names,
        Names::Unknown(why) => return Ok(Step::Unknown(why)),
        Names::Unanswered(why) => return Ok(Step::Unanswered(why)),
    };
    for name in names {
        let step = one_lookup(context, item, Some(name.to_ascii_lowercase()))?;
        if matches!(step, Step::Hit(_)) {
            return Ok(step);
        }
    }
    Ok(Step::Miss)
}

fn one_lookup(context: &mut Context, item: &LookupItem, key: Option<String>) -> Result<Step, Defer> {
    let key = key.map(Text::tainted);
    let found = lookup::find(context, &item.lookup, key.as_ref(), &item.source)?;
    Ok(found.map_or(Step::Miss, |found| Step::Hit(Some(found.data))))
}

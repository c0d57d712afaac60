//! The name of the calling host: PTR records or the system's hosts data, confirmed by looking the name up again.
//!
//! `host_lookup_order` gives the methods; a name counts only if one of its addresses is the client's. Three answers: found,
//! there is none, could not be found out now. Options `host_lookup`, `helo_verify_hosts`; variables `$sender_host_name`,
//! `$host_lookup_failed`, `$host_lookup_deferred`. Manual chapter 14.

use std::net::IpAddr;

use oxim_lang::context::{Context, HostLookup};
use oxim_net::dns::{BlockingResolver, HostLookupMethod, Lookup, NameCheck};

use crate::reception::Reception;

/// Names tried for one address at most: a reverse zone may hold any number.
const NAMES_MAX: usize = 20;

/// What comparing a HELO name with the host gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helo {
    /// The name belongs to the host.
    Verified,
    /// It does not.
    Wrong,
    /// It could not be found out now.
    Unknown,
}

/// Finds the client's name, unless that has been tried, and stores it with the outcome. May block.
pub fn look_up(reception: &Reception, context: &mut Context) {
    let Some(address) = context.connection.host_address else { return };
    if context.connection.host_lookup != HostLookup::NotTried || context.connection.host_name.is_some() {
        return;
    }
    let Some(resolver) = &reception.resolver else {
        context.connection.host_lookup = HostLookup::Failed;
        return;
    };
    let found = search(resolver, &reception.settings.host_lookup_order, address);
    let connection = &mut context.connection;
    match found {
        Found::Names { mut names, secure } => {
            connection.host_lookup = HostLookup::Found;
            connection.host_name = Some(names.remove(0).into_bytes());
            connection.host_aliases = names.into_iter().map(String::into_bytes).collect();
            connection.host_dnssec = secure;
        }
        Found::None { reverse } => {
            connection.host_lookup = HostLookup::Failed;
            connection.host_lookup_message = match reverse.first() {
                Some(name) => format!("{address} does not match any IP address for {name}"),
                None => "failed to find host name from IP address".to_owned(),
            };
            // A name that does not lead back is not worth a line: Exim writes none.
            if reception.wants.host_lookup_failed && reverse.is_empty() {
                reception.logs.main(&format!("no host name found for IP address {address}"));
            }
        }
        Found::Later => connection.host_lookup = HostLookup::Deferred,
    }
}

enum Found {
    /// Confirmed names, the first one first; at least one.
    Names { names: Vec<String>, secure: bool },
    /// Nothing, or names that do not lead back.
    None { reverse: Vec<String> },
    /// Some answer is missing.
    Later,
}

fn search(resolver: &BlockingResolver, order: &[HostLookupMethod], address: IpAddr) -> Found {
    let (names, reverse_secure) = match resolver.name_of(address, order) {
        Lookup::Found(answer) => (answer.records, answer.secure),
        Lookup::NotThere(_) => return Found::None { reverse: Vec::new() },
        Lookup::AskAgain(_) => return Found::Later,
    };
    let mut is_deferred = false;
    let mut secure = reverse_secure;
    let (mut confirmed, mut reverse) = (Vec::new(), Vec::new());
    for name in names.into_iter().take(NAMES_MAX) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        match resolver.check_name(&name, address) {
            NameCheck::Matches { secure: forward_secure } => {
                secure &= forward_secure;
                confirmed.push(name);
            }
            NameCheck::Differs | NameCheck::NoAddress => reverse.push(name),
            NameCheck::AskAgain(_) => is_deferred = true,
        }
    }
    match (confirmed.is_empty(), is_deferred) {
        (false, _) => Found::Names { names: confirmed, secure },
        (true, true) => Found::Later,
        (true, false) => Found::None { reverse },
    }
}

/// The words of `host_lookup_order`; others have no meaning.
#[must_use]
pub fn methods(words: &[String]) -> Vec<HostLookupMethod> {
    let method = |word: &String| match word.as_str() {
        "bydns" => Some(HostLookupMethod::ByDns),
        "byaddr" => Some(HostLookupMethod::ByAddress),
        _ => None,
    };
    words.iter().filter_map(method).collect()
}

/// Compares the HELO name with the client: the address in brackets, its name, or a name that leads to its address.
#[must_use]
pub fn verify_helo(reception: &Reception, context: &mut Context) -> Helo {
    let Some(address) = context.connection.host_address else { return Helo::Verified };
    let Some(helo) = context.connection.helo_name.clone() else { return Helo::Wrong };
    if let Some(literal) = helo.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")) {
        let text = String::from_utf8_lossy(literal).into_owned();
        let text = text.strip_prefix("IPv6:").unwrap_or(&text).to_owned();
        return if text.parse() == Ok(address) { Helo::Verified } else { Helo::Wrong };
    }
    look_up(reception, context);
    let connection = &context.connection;
    let mut names = connection.host_name.iter().chain(&connection.host_aliases);
    if names.any(|name| name.eq_ignore_ascii_case(&helo)) {
        return Helo::Verified;
    }
    let Some(resolver) = &reception.resolver else { return Helo::Wrong };
    match resolver.check_name(&String::from_utf8_lossy(&helo), address) {
        NameCheck::Matches { .. } => Helo::Verified,
        NameCheck::Differs | NameCheck::NoAddress => Helo::Wrong,
        NameCheck::AskAgain(_) => Helo::Unknown,
    }
}

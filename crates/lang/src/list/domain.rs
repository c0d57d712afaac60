//! Items of domain lists and local part lists (manual sections 10.9 and 10.22).

use std::borrow::Cow;

use oxim_base::Text;

use super::item::{Item, Pattern};
use super::walk::Step;
use super::{Defer, mx, surroundings};
use crate::context::Context;
use crate::lookup;

/// Matches one item against a domain (`caseful` false) or a local part; a match sets `$0`, `$1`….
pub(super) fn step(context: &mut Context, item: &Item, subject: &Text, caseful: bool) -> Result<Step, Defer> {
    // A regular expression says itself whether case counts, and sees the subject as it is.
    let subject = if caseful || matches!(item.pattern, Pattern::Regex(_)) || is_lower(subject) {
        Cow::Borrowed(subject)
    } else {
        Cow::Owned(subject.derive(subject.as_bytes().to_ascii_lowercase()))
    };
    match hit(context, item, &subject, caseful)? {
        None => Ok(Step::Miss),
        Some(Hit { data, wild }) => {
            context.local.captures = captures(&subject, wild);
            Ok(Step::Hit(data))
        }
    }
}

fn is_lower(text: &Text) -> bool {
    !text.as_bytes().iter().any(u8::is_ascii_uppercase)
}

/// `$0`, which is the whole subject even if a regular expression matched a part of it, and what follows.
fn captures(subject: &Text, wild: Wild) -> Vec<Text> {
    let rest = match wild {
        Wild::None => Vec::new(),
        Wild::Parts(parts) => parts,
        Wild::Groups(groups) => groups.into_iter().skip(1).collect(),
    };
    std::iter::once(subject.clone()).chain(rest).collect()
}

/// The variable parts of a match.
pub(super) enum Wild {
    /// There are none.
    None,
    /// For `$1`, `$2`.
    Parts(Vec<Text>),
    /// All groups of a regular expression, `$0` first.
    Groups(Vec<Text>),
}

/// A match: its value and its variable parts.
pub(super) struct Hit {
    pub(super) data: Option<Text>,
    pub(super) wild: Wild,
}

/// Whether the item fits. For the domain part of an address too.
pub(super) fn hit(
    context: &mut Context,
    item: &Item,
    subject: &Text,
    caseful: bool,
) -> Result<Option<Hit>, Defer> {
    let plain = |fits: bool, data: Text| Ok(fits.then_some(Hit { data: Some(data), wild: Wild::None }));
    match &item.pattern {
        Pattern::Literal => plain(same(subject.as_bytes(), item.text.as_bytes(), caseful), item.text.clone()),
        Pattern::EndsWith(end) => Ok(before_end(subject, end, caseful)
            .map(|wild| Hit { data: Some(item.text.clone()), wild: Wild::Parts(vec![wild]) })),
        Pattern::Regex(regex) => {
            let groups = regex.captures(subject, caseful).map_err(Defer::Config)?;
            Ok(groups.map(|groups| Hit { data: Some(item.text.clone()), wild: Wild::Groups(groups) }))
        }
        Pattern::Lookup(lookup) => {
            let key = lookup.lookup.kind.is_single_key().then_some(subject);
            let found = lookup::find(context, &lookup.lookup, key, &lookup.source)?;
            Ok(found.map(|found| Hit {
                data: Some(found.data),
                wild: found.parts.map_or(Wild::None, |(wild, fixed)| {
                    Wild::Parts(vec![subject.derive(wild), subject.derive(fixed)])
                }),
            }))
        }
        Pattern::LocalName => {
            let name = surroundings::primary_hostname(context);
            plain(subject.eq_ignore_case(name.as_bytes()), Text::clean(name))
        }
        Pattern::LocalAddress => {
            let literal = subject.as_str().and_then(|s| s.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
            let local = literal.is_some_and(|address| surroundings::is_local_address(context, address));
            plain(local, item.text.clone())
        }
        Pattern::Mx { rank, ignore } => {
            plain(mx::points_here(context, subject, *rank, ignore.as_deref())?, item.text.clone())
        }
        // These belong to other kinds of list, and the walk takes the rest before it comes here.
        Pattern::Empty
        | Pattern::Anything
        | Pattern::Named(_)
        | Pattern::File
        | Pattern::Switch(_)
        | Pattern::HostLookup { .. }
        | Pattern::Network(_)
        | Pattern::MalformedAddress
        | Pattern::Address { .. }
        | Pattern::DomainOnly(_)
        | Pattern::LocalPartsOf(_) => Ok(None),
        Pattern::Faulty(text) => Err(Defer::Config(text.clone())),
    }
}

/// Whether two texts are equal.
pub(super) fn same(a: &[u8], b: &[u8], caseful: bool) -> bool {
    if caseful { a == b } else { a.eq_ignore_ascii_case(b) }
}

/// What stands before the given end.
pub(super) fn before_end(subject: &Text, end: &[u8], caseful: bool) -> Option<Text> {
    let length = subject.len().checked_sub(end.len())?;
    let tail = subject.as_bytes().get(length..)?;
    same(tail, end, caseful).then(|| subject.slice(0, length))
}

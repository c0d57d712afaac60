//! Items of address lists (manual sections 10.20 and 10.21).

use oxim_base::Text;

use super::domain::{self, Wild, before_end, same};
use super::item::{Item, Items, LocalPattern, LookupItem, Pattern};
use super::walk::{self, Step};
use super::{Defer, ListKind, named, surroundings};
use crate::context::Context;
use crate::lookup;

/// How long a chain of `>key` items may get. Exim's figure.
const CHAIN_MAX: usize = 50;

/// An address to match.
pub(super) struct Subject<'a> {
    /// `local@domain`, or empty.
    pub(super) address: &'a Text,
    /// Whether the case of the local part counts.
    pub(super) caseful: bool,
    /// Whether `$0`, `$1`… are set.
    pub(super) captures: bool,
}

impl Subject<'_> {
    /// Where the domain begins; the `@` is before it.
    fn at(&self) -> Option<usize> {
        memchr::memrchr(b'@', self.address.as_bytes())
    }

    /// The address as it is compared: the domain in lower case, and the local part unless case counts.
    fn folded(&self) -> Text {
        let bytes = self.address.as_bytes();
        let kept = if self.caseful { self.at().unwrap_or(bytes.len()) } else { 0 };
        let (front, back) = bytes.split_at_checked(kept).unwrap_or((b"", bytes));
        self.address.derive([front, &back.to_ascii_lowercase()].concat())
    }
}

/// Matches one item against an address.
pub(super) fn step(
    context: &mut Context,
    item: &Item,
    subject: &Subject<'_>,
    nesting: usize,
    in_file: bool,
) -> Result<Step, Defer> {
    let matched = match &item.pattern {
        Pattern::Empty => subject.address.is_empty().then_some((None, Wild::None)),
        Pattern::Regex(regex) => {
            let folded = if subject.captures { subject.address.clone() } else { subject.folded() };
            let groups = regex.captures(&folded, subject.caseful).map_err(Defer::Config)?;
            groups.map(|groups| (None, Wild::Groups(groups)))
        }
        Pattern::Lookup(lookup) => whole_address(context, item, lookup, subject)?,
        Pattern::LocalPartsOf(lookup) => local_parts_of(context, &item.text, lookup, subject)?,
        Pattern::Address { local, domain } => by_parts(context, item, local, domain, subject, nesting)?,
        Pattern::DomainOnly(domain) => {
            by_parts(context, item, &LocalPattern::EndsWith(Vec::new()), domain, subject, nesting)?
                .map(|(data, wild)| (data, domain_only_parts(wild)))
        }
        Pattern::Faulty(text) => return Err(Defer::Config(text.clone())),
        Pattern::Anything
        | Pattern::Named(_)
        | Pattern::File
        | Pattern::Switch(_)
        | Pattern::LocalName
        | Pattern::LocalAddress
        | Pattern::Mx { .. }
        | Pattern::EndsWith(_)
        | Pattern::Literal
        | Pattern::HostLookup { .. }
        | Pattern::Network(_)
        | Pattern::MalformedAddress => None,
    };
    let Some((data, wild)) = matched else {
        return Ok(Step::Miss);
    };
    if subject.captures {
        let rest = match wild {
            Wild::None => Vec::new(),
            Wild::Parts(parts) => parts,
            Wild::Groups(groups) => groups.into_iter().skip(1).collect(),
        };
        context.local.captures = std::iter::once(subject.address.clone()).chain(rest).collect();
    }
    // The value of a match in a file is the line.
    let from_lookup = matches!(item.pattern, Pattern::Lookup(_) | Pattern::LocalPartsOf(_));
    Ok(Step::Hit(if in_file && !from_lookup { Some(item.text.clone()) } else { data }))
}

type Matched = Option<(Option<Text>, Wild)>;

/// `*@` in front of a pattern without local part gives no `$1`.
fn domain_only_parts(wild: Wild) -> Wild {
    match wild {
        Wild::Parts(parts) => Wild::Parts(parts.into_iter().skip(1).collect()),
        Wild::None | Wild::Groups(_) => wild,
    }
}

/// A lookup of the complete address. A single key cannot be empty.
fn whole_address(
    context: &mut Context,
    item: &Item,
    lookup: &LookupItem,
    subject: &Subject<'_>,
) -> Result<Matched, Defer> {
    let mut kind = lookup.lookup.clone();
    if kind.partial.take().is_some() {
        surroundings::log_panic(
            context,
            &format!(
                "partial matching is not applicable to whole-address lookups: ignored \"partial-\" in \"{}\"",
                item.text
            ),
        );
    }
    let single = kind.kind.is_single_key();
    if single && subject.address.is_empty() {
        return Ok(None);
    }
    let key = subject.folded();
    let found = lookup::find(context, &kind, single.then_some(&key), &lookup.source)?;
    Ok(found.map(|found| (Some(found.data), Wild::None)))
}

/// Local part and domain, each with its own pattern. An empty address has neither.
fn by_parts(
    context: &mut Context,
    item: &Item,
    local: &LocalPattern,
    domain: &Item,
    subject: &Subject<'_>,
    nesting: usize,
) -> Result<Matched, Defer> {
    if subject.address.is_empty() {
        return Ok(None);
    }
    let Some(at) = subject.at() else {
        surroundings::log_panic(
            context,
            &format!(
                "no @ found in the subject of an address list match: subject=\"{}\" pattern=\"{}\"",
                subject.address, item.text
            ),
        );
        return Ok(None);
    };
    let subject_local = subject.address.slice(0, at);
    let mut parts = Vec::new();
    match local {
        LocalPattern::EndsWith(end) => match before_end(&subject_local, end, subject.caseful) {
            Some(wild) => parts.push(wild),
            None => return Ok(None),
        },
        LocalPattern::Literal(text) => {
            if !same(subject_local.as_bytes(), text, subject.caseful) {
                return Ok(None);
            }
        }
    }
    let subject_domain = subject.address.slice(at.saturating_add(1), subject.address.len());
    let lower = subject_domain.derive(subject_domain.as_bytes().to_ascii_lowercase());
    let captures = std::mem::take(&mut context.local.captures);
    let hit = domain_part(context, domain, &lower, nesting);
    context.local.captures = captures;
    let Some((data, wild)) = hit? else {
        return Ok(None);
    };
    walk::trace(context, || format!("{lower} in \"{}\"? yes (matched \"{}\")", domain.text, domain.text));
    match wild {
        Wild::None => {}
        Wild::Parts(more) => parts.extend(more),
        Wild::Groups(groups) => parts.extend(groups.into_iter().skip(1)),
    }
    let front = match (&item.pattern, local) {
        (Pattern::DomainOnly(_), _) => Vec::new(),
        (_, LocalPattern::EndsWith(end)) => [b"*", end.as_slice()].concat(),
        (_, LocalPattern::Literal(text)) => text.clone(),
    };
    let data = data.map(|data| {
        let mut whole = item.text.derive([front.as_slice(), b"@"].concat());
        whole.push(&data);
        whole
    });
    Ok(Some((data, Wild::Parts(parts))))
}

/// The domain part: `+name` is a named domain list, all else an item of a domain list.
fn domain_part(
    context: &mut Context,
    domain: &Item,
    subject: &Text,
    nesting: usize,
) -> Result<Matched, Defer> {
    if let Pattern::Named(name) = &domain.pattern {
        let result =
            named::matches(context, ListKind::Domain, name, &super::Subject::Domain(subject), nesting)?;
        let parts = context.local.captures.iter().skip(1).cloned().collect();
        return Ok(match result {
            super::Match::Yes { data } => Some((data, Wild::Parts(parts))),
            super::Match::No => None,
        });
    }
    Ok(domain::hit(context, domain, subject, false)?.map(|hit| (hit.data, hit.wild)))
}

/// `@@lookup`: the domain is looked up and gives a list of local parts, which may lead on to another key.
fn local_parts_of(
    context: &mut Context,
    pattern: &Text,
    item: &LookupItem,
    subject: &Subject<'_>,
) -> Result<Matched, Defer> {
    let Some(at) = subject.at() else {
        return Ok(None);
    };
    let local = subject.address.slice(0, at);
    let domain = subject.address.slice(at.saturating_add(1), subject.address.len());
    let mut key = domain.derive(domain.as_bytes().to_ascii_lowercase());
    let single = item.lookup.kind.is_single_key();
    for _ in 0..CHAIN_MAX {
        let found = lookup::find(context, &item.lookup, single.then_some(&key), &item.source)?;
        let Some(found) = found else { return Ok(None) };
        let (list, next) = if single { split_chain(&found.data) } else { (found.data, None) };
        let items = Items::parse(ListKind::LocalPart, &list);
        let inner = super::Subject::LocalPart { text: &local, caseful: subject.caseful };
        let captures = context.local.captures.clone();
        let decided = walk::Walk { items: &items, subject: &inner, label: None, nesting: 0, in_file: false }
            .run_chain(context, next.is_none());
        context.local.captures = captures;
        match (decided?, next) {
            (Some(super::Match::Yes { data }), _) => return Ok(Some((data, Wild::None))),
            (Some(super::Match::No), _) | (None, None) => return Ok(None),
            (None, Some(next)) => key = next,
        }
    }
    Err(Defer::Config(format!("Loop detected in lookup of local part of {} in {pattern}", subject.address)))
}

/// The list, and the key that a last item `>key` leads to.
fn split_chain(data: &Text) -> (Text, Option<Text>) {
    let bytes = data.as_bytes();
    let last = memchr::memrchr(b':', bytes).map_or(0, |at| at.saturating_add(1));
    let item = bytes.get(last..).unwrap_or_default().trim_ascii();
    match item.strip_prefix(b">") {
        Some(key) => (data.slice(0, last), Some(data.derive(key.trim_ascii()))),
        None => (data.clone(), None),
    }
}

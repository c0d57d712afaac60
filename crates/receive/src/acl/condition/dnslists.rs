//! The `dnslists` condition: the client, or a key that is given, is on a DNS list. Manual sections 44.27 to 44.37.
//!
//! An item is `domain`, or `text-domain,domain`, then perhaps a comparison (`=`, `&`, `==`, `=&`, each perhaps with `!` before
//! it) and addresses, then perhaps a slash and a list of keys. Sets `$dnslist_domain`, `$dnslist_matched`, `$dnslist_value`,
//! `$dnslist_text`. Answers are remembered by the resolver for their time to live.
//! Failure modes: a list that does not answer is one on which the key is not, unless `+include_unknown` or `+defer_unknown`
//! stands before it; either way a line in the main log says so.

use std::net::{IpAddr, Ipv4Addr};

use oxim_base::Text;
use oxim_lang::config::Config;
use oxim_lang::list::split;
use oxim_net::dns::{BlockingResolver, Lookup, reverse_labels};

use super::super::Phase;
use super::super::clause::{Answer, Argument, ClauseRow, Condition, Kind, Tested};
use super::super::run::Run;

/// The row.
pub(crate) static ROW: ClauseRow = ClauseRow {
    name: "dnslists",
    doc: "The client's address, or a given key, is on a DNS list.",
    forbidden: 0,
    is_expanded: true,
    kind: Kind::Condition(compile),
};

fn compile(_: &Argument<'_>) -> Result<Box<dyn Condition>, String> {
    Ok(Box::new(DnsLists))
}

#[derive(Debug)]
struct DnsLists;

/// What a list that does not answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unknown {
    Include,
    Exclude,
    Defer,
}

/// How addresses of the answer are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Comparison {
    is_negated: bool,
    is_mask: bool,
    /// All addresses of the answer must match, not one.
    all: bool,
}

/// One item of the list.
#[derive(Debug, PartialEq, Eq)]
struct Item<'a> {
    /// Where the text is looked up, and the address again without comparison, if it is another domain.
    text_domain: &'a str,
    domain: &'a str,
    comparison: Option<(Comparison, &'a str)>,
    keys: Option<&'a str>,
}

impl Condition for DnsLists {
    fn test(&self, run: &mut Run<'_>, argument: &Text) -> Tested {
        forget(run);
        let mut unknown = Unknown::Exclude;
        for word in split(argument.as_bytes()) {
            let word = String::from_utf8_lossy(&word).into_owned();
            run.trace(|| format!("dnslists check: {word}"));
            match word.as_str() {
                "+include_unknown" => unknown = Unknown::Include,
                "+exclude_unknown" => unknown = Unknown::Exclude,
                "+defer_unknown" => unknown = Unknown::Defer,
                word if word.starts_with('+') => {
                    run.log_panic(&format!("unknown item in dnslist (ignored): {word}"));
                }
                word => {
                    let tested = check(run, &Item::parse(word), unknown);
                    if tested.answer != Answer::No {
                        return tested;
                    }
                }
            }
        }
        Tested::of(false)
    }

    fn may_block(&self, _: &Config) -> bool {
        true
    }
}

fn forget(run: &mut Run<'_>) {
    let local = &mut run.scene.context.local;
    local.dnslist_domain = None;
    local.dnslist_matched = None;
    local.dnslist_value = None;
    local.dnslist_text = None;
}

impl<'a> Item<'a> {
    fn parse(word: &'a str) -> Item<'a> {
        let (head, keys) = match word.split_once('/') {
            Some((head, keys)) => (head, Some(keys)),
            None => (word, None),
        };
        let at = head.find(['!', '=', '&']).unwrap_or(head.len());
        let (domains, operator) = head.split_at_checked(at).unwrap_or((head, ""));
        let (text_domain, domain) = match domains.split_once(',') {
            Some((text_domain, domain)) => (text_domain.trim(), domain.trim()),
            None => (domains.trim(), domains.trim()),
        };
        Item { text_domain, domain, comparison: Comparison::parse(operator), keys }
    }
}

impl Comparison {
    fn parse(text: &str) -> Option<(Comparison, &str)> {
        if text.is_empty() {
            return None;
        }
        let (is_negated, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let shapes = [("==", false, true), ("=&", true, true), ("=", false, false), ("&", true, false)];
        let found = shapes.iter().find_map(|(sign, is_mask, all)| {
            let rest = text.strip_prefix(sign)?;
            Some((Comparison { is_negated, is_mask: *is_mask, all: *all }, rest))
        });
        // An exclamation mark with nothing after it compares with nothing.
        found.or(Some((Comparison { is_negated, is_mask: false, all: false }, text)))
    }

    fn accepts(self, found: &[Ipv4Addr], wanted: &str) -> bool {
        let wanted: Vec<u32> = wanted
            .split(',')
            .filter_map(|text| text.trim().parse::<Ipv4Addr>().ok())
            .map(u32::from)
            .collect();
        let matches = |address: &Ipv4Addr| {
            let address = u32::from(*address);
            wanted.iter().any(|want| if self.is_mask { address & want == *want } else { address == *want })
        };
        let holds = if self.all { found.iter().all(matches) } else { found.iter().any(matches) };
        holds != self.is_negated
    }

    fn sign(self) -> &'static str {
        match (self.is_mask, self.all) {
            (false, false) => "=",
            (true, false) => "&",
            (false, true) => "==",
            (true, true) => "=&",
        }
    }

    /// Why addresses were not accepted, for debug output.
    fn refusal(self) -> &'static str {
        match (self.is_negated, self.all) {
            (false, false) => "was no match",
            (false, true) => "was an IP address that did not match",
            (true, false) => "was an exclude match",
            (true, true) => "were no IP addresses that did not match",
        }
    }
}

/// Looks an item up, for its keys or for the client.
fn check(run: &mut Run<'_>, item: &Item<'_>, unknown: Unknown) -> Tested {
    let Some(keys) = item.keys else {
        let Some(address) = run.scene.context.connection.host_address else {
            if matches!(run.phase, Phase::NotSmtp | Phase::NotSmtpStart | Phase::NotSmtpMime) {
                let place = run.phase.acl_name();
                return Tested::faulty(format!("cannot test auto-keyed dnslists condition in {place} ACL"));
            }
            // A local process that speaks SMTP is on no list.
            return Tested::of(false);
        };
        return Tested::plain(look_up(run, item, &address.to_string(), unknown));
    };
    let mut is_deferred = false;
    for key in split(keys.as_bytes()) {
        match look_up(run, item, &String::from_utf8_lossy(&key), unknown) {
            Answer::Yes => return Tested::of(true),
            Answer::Later => is_deferred = true,
            Answer::No | Answer::Faulty => {}
        }
    }
    Tested::plain(if is_deferred { Answer::Later } else { Answer::No })
}

/// Looks one key up.
fn look_up(run: &mut Run<'_>, item: &Item<'_>, key: &str, unknown: Unknown) -> Answer {
    let Some(resolver) = run.reception.resolver.clone() else { return not_answered(run, item, key, unknown) };
    let reversed = match key.parse::<IpAddr>() {
        Ok(address) => reverse_labels(address),
        Err(_) => key.to_owned(),
    };
    let name = format!("{reversed}.{}", item.domain);
    let found = match resolver.a(&name) {
        Lookup::Found(answer) => answer.records,
        Lookup::NotThere(_) => {
            run.trace(|| format!("DNS lookup for {name} failed"));
            run.trace(|| format!("=> that means {key} is not listed at {}", item.domain));
            return Answer::No;
        }
        Lookup::AskAgain(_) => return not_answered(run, item, key, unknown),
    };
    let value = found.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    run.trace(|| format!("DNS lookup for {name} succeeded (yielding {value})"));
    let Some(found) = within_loopback(run, &found, key, item.domain) else { return Answer::No };
    if let Some((comparison, wanted)) = item.comparison
        && !comparison.accepts(&found, wanted)
    {
        run.trace(|| "=> but we are not accepting this block class because".to_owned());
        run.trace(|| format!("=> there {} for {}{wanted}", comparison.refusal(), comparison.sign()));
        return Answer::No;
    }
    if item.text_domain != item.domain {
        let first =
            Item { text_domain: item.text_domain, domain: item.text_domain, comparison: None, keys: None };
        return look_up(run, &first, key, unknown);
    }
    run.trace(|| format!("=> that means {key} is listed at {}", item.domain));
    remember(run, item, key, Some(Text::tainted(value)), text_of(&resolver, &name));
    Answer::Yes
}

fn remember(run: &mut Run<'_>, item: &Item<'_>, key: &str, value: Option<Text>, text: Option<Text>) {
    let local = &mut run.scene.context.local;
    local.dnslist_domain = Some(Text::tainted(item.text_domain));
    local.dnslist_matched = Some(Text::tainted(key));
    local.dnslist_value = value;
    local.dnslist_text = text;
}

fn text_of(resolver: &BlockingResolver, name: &str) -> Option<Text> {
    let records = resolver.txt(name).records()?;
    records.into_iter().next().map(Text::tainted)
}

/// The addresses in 127.0.0.0/8: others mean that the list is not run as one any more. None if there are none.
fn within_loopback(run: &Run<'_>, found: &[Ipv4Addr], key: &str, domain: &str) -> Option<Vec<Ipv4Addr>> {
    let (good, bad): (Vec<Ipv4Addr>, Vec<Ipv4Addr>) = found.iter().partition(|address| address.is_loopback());
    for address in bad {
        run.log_main(&format!(
            "DNS list lookup for {key} at {domain} returned {address}; not in 127.0/8 and discarded"
        ));
    }
    (!good.is_empty()).then_some(good)
}

fn not_answered(run: &mut Run<'_>, item: &Item<'_>, key: &str, unknown: Unknown) -> Answer {
    let reversed = key.parse::<IpAddr>().map_or_else(|_| key.to_owned(), reverse_labels);
    let (answer, outcome) = match unknown {
        Unknown::Include => (Answer::Yes, "assumed in list"),
        Unknown::Exclude => (Answer::No, "assumed not in list"),
        Unknown::Defer => (Answer::Later, "returned DEFER"),
    };
    let domain = item.domain;
    run.log_main(&format!("DNS list lookup defer (probably timeout) for {reversed}.{domain}: {outcome}"));
    if answer == Answer::Yes {
        run.trace(|| format!("=> that means {key} is listed at {domain}"));
        remember(run, item, key, None, None);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(text: &str, found: &[&str]) -> bool {
        let item = Item::parse(text);
        let (comparison, wanted) = item.comparison.unwrap();
        let found: Vec<Ipv4Addr> = found.iter().map(|a| a.parse().unwrap()).collect();
        comparison.accepts(&found, wanted)
    }

    #[test]
    fn an_item_has_domains_a_comparison_and_keys() {
        let item = Item::parse("text.ex,list.ex!=&0.0.0.1,0.0.0.2/<;a;b");
        assert_eq!((item.text_domain, item.domain, item.keys), ("text.ex", "list.ex", Some("<;a;b")));
        assert_eq!(
            item.comparison,
            Some((Comparison { is_negated: true, is_mask: true, all: true }, "0.0.0.1,0.0.0.2"))
        );
        let plain = Item::parse("list.ex");
        assert_eq!((plain.domain, plain.comparison, plain.keys), ("list.ex", None, None));
    }

    #[test]
    fn comparisons_are_those_of_the_manual() {
        let two = ["127.0.0.1", "127.0.0.2"];
        assert!(compared("a.b.c=127.0.0.1", &two));
        assert!(!compared("a.b.c==127.0.0.1", &two));
        assert!(compared("a.b.c==127.0.0.1,127.0.0.2", &two));
        assert!(!compared("a.b.c!&0.0.0.1", &two));
        assert!(compared("a.b.c!=&0.0.0.1", &two));
        assert!(!compared("a.b.c!=&0.0.0.1,0.0.0.2", &two));
        assert!(compared("a.b.c&0.0.0.3", &["127.0.0.7"]));
        assert!(!compared("a.b.c&0.0.0.3", &["127.0.0.5"]));
        assert!(compared("a.b.c!=127.0.0.2,127.0.0.3", &["127.0.0.4"]));
    }
}

//! What `eximstats` counts, line by line. A message is known from its arrival to its `Completed`; lines of others that came
//! before the log begins count as far as they can.

use std::collections::{BTreeMap, HashMap};

use oxim_mail::message_id::MessageId;

use super::super::log_line::LogLine;
use super::options::{By, Options};

/// One line of a list of the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub messages: u64,
    pub addresses: u64,
    pub bytes: u64,
}

/// What is known of a message.
#[derive(Default)]
struct Going {
    size: u64,
    since: Option<i64>,
    /// Host and address as relays show them. None: it is from here.
    from: Option<String>,
    is_remote: bool,
    is_delayed: bool,
    is_failed: bool,
}

/// Times on the queue: how many within each limit, and beyond the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub within: Vec<u64>,
    pub beyond: u64,
}

impl Times {
    fn add(&mut self, limits: &[i64], seconds: i64) {
        match limits.iter().position(|limit| seconds < *limit) {
            Some(place) => {
                self.within.resize(limits.len(), 0);
                if let Some(count) = self.within.get_mut(place) {
                    *count = count.saturating_add(1);
                }
            }
            None => self.beyond = self.beyond.saturating_add(1),
        }
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.within.iter().sum::<u64>().saturating_add(self.beyond)
    }
}

/// Everything.
pub(super) struct Counts<'a> {
    pub options: &'a Options,
    pub first: String,
    pub last: String,
    pub received: Share,
    pub delivered: Share,
    pub delayed: u64,
    pub failed: u64,
    pub transports: BTreeMap<String, Share>,
    /// By what part of the day.
    pub received_at: Vec<u64>,
    pub delivered_at: Vec<u64>,
    pub times: Times,
    pub remote_times: Times,
    pub relays: BTreeMap<(String, String), u64>,
    pub hidden_relays: u64,
    pub senders: BTreeMap<By, BTreeMap<String, Share>>,
    pub local_senders: BTreeMap<String, Share>,
    pub destinations: BTreeMap<By, BTreeMap<String, Share>>,
    pub local_destinations: BTreeMap<String, Share>,
    pub rejections: BTreeMap<String, u64>,
    pub rejected_ips: BTreeMap<String, u64>,
    pub temporary: BTreeMap<String, u64>,
    pub temporary_ips: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub patterns: Vec<u64>,
    going: HashMap<MessageId, Going>,
}

fn one_more<K: Ord>(map: &mut BTreeMap<K, u64>, key: K) {
    let count = map.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn add(share: &mut Share, addresses: u64, bytes: u64) {
    share.messages = share.messages.saturating_add(1);
    share.addresses = share.addresses.saturating_add(addresses);
    share.bytes = share.bytes.saturating_add(bytes);
}

impl<'a> Counts<'a> {
    /// Nothing yet.
    pub(super) fn new(options: &'a Options) -> Counts<'a> {
        let parts = usize::try_from(options.parts.max(1)).unwrap_or(1).saturating_mul(24);
        Counts {
            options,
            first: String::new(),
            last: String::new(),
            received: Share::default(),
            delivered: Share::default(),
            delayed: 0,
            failed: 0,
            transports: BTreeMap::new(),
            received_at: vec![0; parts],
            delivered_at: vec![0; parts],
            times: Times::default(),
            remote_times: Times::default(),
            relays: BTreeMap::new(),
            hidden_relays: 0,
            senders: BTreeMap::new(),
            local_senders: BTreeMap::new(),
            destinations: BTreeMap::new(),
            local_destinations: BTreeMap::new(),
            rejections: BTreeMap::new(),
            rejected_ips: BTreeMap::new(),
            temporary: BTreeMap::new(),
            temporary_ips: BTreeMap::new(),
            errors: BTreeMap::new(),
            patterns: vec![0; options.patterns.len()],
            going: HashMap::new(),
        }
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &str) {
        for (count, (_, pattern)) in self.patterns.iter_mut().zip(&self.options.patterns) {
            if pattern.is_match(line.as_bytes()).unwrap_or(false) {
                *count = count.saturating_add(1);
            }
        }
        let Some(read) = LogLine::read(line) else { return };
        let transport = field(read.text, "T");
        let is_hidden = |name: &str| {
            let pattern = self.options.hidden_transports.as_ref();
            pattern.is_some_and(|pattern| pattern.is_match(name.as_bytes()).unwrap_or(false))
        };
        if transport.is_some_and(is_hidden) {
            return;
        }
        let (flag, rest) = read.text.split_at_checked(3).unwrap_or((read.text, ""));
        match (read.id, flag) {
            (Some(id), "<= ") => self.arrival(id, &read, rest),
            (Some(id), "=> ") => self.delivery(id, &read, rest),
            (Some(_), "-> ") => self.further_address(rest),
            (Some(id), "== ") => self.delay(id),
            (Some(id), "** ") => {
                self.mark(&read);
                let going = self.going.entry(id).or_default();
                if !std::mem::replace(&mut going.is_failed, true) {
                    self.failed = self.failed.saturating_add(1);
                }
                one_more(&mut self.errors, rest.to_owned());
            }
            (Some(id), _) if read.text == "Completed" || read.text.starts_with("Completed ") => {
                self.completed(id, &read);
            }
            _ => self.refusal(&read),
        }
    }

    /// Counts the first delay of a message.
    fn delay(&mut self, id: MessageId) {
        let going = self.going.entry(id).or_default();
        if !std::mem::replace(&mut going.is_delayed, true) {
            self.delayed = self.delayed.saturating_add(1);
        }
    }

    /// Lines that count tell what time the report is about.
    fn mark(&mut self, read: &LogLine<'_>) {
        let Some(time) = read.time else { return };
        if self.first.is_empty() || time < self.first.as_str() {
            time.clone_into(&mut self.first);
        }
        if time > self.last.as_str() {
            time.clone_into(&mut self.last);
        }
    }

    fn part_of_day(&self, read: &LogLine<'_>) -> Option<usize> {
        let number = |from: usize, to: usize| read.time?.get(from..to)?.parse::<usize>().ok();
        let parts = usize::try_from(self.options.parts.max(1)).ok()?;
        number(11, 13)?.checked_mul(parts)?.checked_add(number(14, 16)?.checked_mul(parts)? / 60)
    }

    fn arrival(&mut self, id: MessageId, read: &LogLine<'_>, rest: &str) {
        self.mark(read);
        let sender = rest.split(' ').next().unwrap_or_default();
        let size = field(rest, "S").and_then(|size| size.parse().ok()).unwrap_or(0);
        let host = host(rest);
        add(&mut self.received, 0, size);
        if let Some(count) = self.part_of_day(read).and_then(|part| self.received_at.get_mut(part)) {
            *count = count.saturating_add(1);
        }
        for by in &self.options.by {
            let name = name_of(*by, host.as_ref(), sender);
            add(self.senders.entry(*by).or_default().entry(name).or_default(), 0, size);
        }
        if host.is_none() {
            let user = field(rest, "U").unwrap_or(sender).to_owned();
            add(self.local_senders.entry(user).or_default(), 0, size);
        }
        let from = host.map(|host| format!("{}[{}] {sender}", host.name, host.ip));
        self.going.insert(id, Going { size, since: read.seconds(), from, ..Going::default() });
    }

    fn delivery(&mut self, id: MessageId, read: &LogLine<'_>, rest: &str) {
        self.mark(read);
        let (address, original) = addresses(rest);
        let host = host(rest);
        let size = self.going.get(&id).map_or(0, |going| going.size);
        add(&mut self.delivered, 1, size);
        if let Some(count) = self.part_of_day(read).and_then(|part| self.delivered_at.get_mut(part)) {
            *count = count.saturating_add(1);
        }
        let transport = field(rest, "T").unwrap_or(":blackhole:").to_owned();
        add(self.transports.entry(transport).or_default(), 1, size);
        for by in &self.options.by {
            let name = name_of(*by, host.as_ref(), address);
            add(self.destinations.entry(*by).or_default().entry(name).or_default(), 1, size);
        }
        if host.is_none() || self.options.remote_users {
            let is_file = address.starts_with(['|', '/']);
            let name = match original {
                Some(original) if is_file || self.options.originals => format!("{address} <{original}>"),
                _ => address.to_owned(),
            };
            add(self.local_destinations.entry(name).or_default(), 1, size);
        }
        let Some(host) = host else { return };
        let going = self.going.entry(id).or_default();
        going.is_remote = true;
        // What was aliased or forwarded here is not relayed.
        if let Some(from) = going.from.clone().filter(|_| original.is_none()) {
            let to = format!("{}[{}] {address}", host.name, host.ip);
            let shown = format!("H={from} => H={to}");
            let hides =
                |pattern: &oxim_lang::regex::Regex| pattern.is_match(shown.as_bytes()).unwrap_or(false);
            if self.options.hidden_relays.as_ref().is_some_and(hides) {
                self.hidden_relays = self.hidden_relays.saturating_add(1);
            } else {
                one_more(&mut self.relays, (from, to));
            }
        }
    }

    /// An address that went along with the one before.
    fn further_address(&mut self, rest: &str) {
        self.delivered.addresses = self.delivered.addresses.saturating_add(1);
        let (address, _) = addresses(rest);
        let host = host(rest);
        for by in &self.options.by {
            // Addresses of their own have lines of their own.
            if matches!(by, By::Host | By::Domain) {
                let name = name_of(*by, host.as_ref(), address);
                let share = self.destinations.entry(*by).or_default().entry(name).or_default();
                share.addresses = share.addresses.saturating_add(1);
            }
        }
    }

    fn completed(&mut self, id: MessageId, read: &LogLine<'_>) {
        let Some(going) = self.going.remove(&id) else { return };
        if let Some((since, now)) = going.since.zip(read.seconds()) {
            let seconds = now.saturating_sub(since);
            self.times.add(&self.options.limits, seconds);
            if going.is_remote {
                self.remote_times.add(&self.options.limits, seconds);
            }
        }
    }

    fn refusal(&mut self, read: &LogLine<'_>) {
        let Some((reason, is_temporary)) = reason(read.text) else { return };
        self.mark(read);
        let ip = ip(read.text).map_or_else(|| "local".to_owned(), |ip| format!("[{ip}]"));
        if is_temporary {
            one_more(&mut self.temporary, reason);
            one_more(&mut self.temporary_ips, ip);
        } else {
            one_more(&mut self.rejections, reason);
            one_more(&mut self.rejected_ips, ip);
        }
    }

    /// How many different ones are in lists of senders or destinations.
    pub(super) fn different(lists: &BTreeMap<By, BTreeMap<String, Share>>, by: By) -> usize {
        lists.get(&by).map_or(0, BTreeMap::len)
    }

    /// All deferred or failed rejections.
    pub(super) fn sum(map: &BTreeMap<String, u64>) -> u64 {
        map.values().sum()
    }

    /// The hosts that were refused.
    pub(super) fn hosts(map: &BTreeMap<String, u64>) -> usize {
        map.len()
    }

    /// Relays that are shown.
    pub(super) fn shown_relays(&self) -> u64 {
        self.relays.values().sum()
    }
}

/// A host of a line.
struct Host {
    name: String,
    ip: String,
}

/// The value of `NAME=value`.
fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// What stands in the first brackets.
fn ip(text: &str) -> Option<&str> {
    text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(ip, _)| ip)
}

/// `H=name (helo) [ip]`: the name, or what was said in its place.
fn host(text: &str) -> Option<Host> {
    let (_, rest) = text.split_once(" H=")?;
    let name = rest.split(' ').next().unwrap_or_default();
    Some(Host { name: name.to_owned(), ip: ip(rest).unwrap_or_default().to_owned() })
}

/// The address of a delivery, and the one that it was made of.
fn addresses(rest: &str) -> (&str, Option<&str>) {
    let (address, tail) = rest.split_once(' ').unwrap_or((rest, ""));
    let original = tail.strip_prefix('<').and_then(|t| t.split_once('>')).map(|(original, _)| original);
    (address, original)
}

fn name_of(by: By, host: Option<&Host>, address: &str) -> String {
    match (by, host) {
        (By::Host, None) => "local".to_owned(),
        (By::Host, Some(host)) => host.name.clone(),
        (By::Domain, None) => "localdomain".to_owned(),
        (By::Domain, Some(host)) => {
            host.name.split_once('.').map_or_else(|| host.name.clone(), |(_, domain)| domain.to_owned())
        }
        (By::Email, _) => address.to_owned(),
        // A local part alone, as of a local delivery, has none.
        (By::Edomain, _) if address == "<>" => address.to_owned(),
        (By::Edomain, _) => address.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned(),
    }
}

/// Why somebody was refused, and whether only for now. None: the line is about something else.
fn reason(text: &str) -> Option<(String, bool)> {
    let short = |text: &str| text.split(':').next().unwrap_or_default().trim().to_owned();
    if let Some((_, rest)) = text.split_once("temporarily rejected ") {
        let (what, why) = rest.split_once(": ").unwrap_or((rest, "no reason"));
        let command = what.split(' ').next().unwrap_or_default();
        return Some((format!("Temporarily rejected {command}: {}", short(why)), true));
    }
    let fixed = if text.contains("SMTP protocol synchronization error") {
        Some("SMTP protocol synchronization error".to_owned())
    } else if text.starts_with("refused connection from") {
        Some("Refused connection (tcp wrappers)".to_owned())
    } else if let Some((_, why)) = text.split_once("] dropped: ") {
        Some(format!("Dropped: {}", short(why.split(" (").next().unwrap_or(why))))
    } else if text.starts_with("Connection from ") {
        text.split_once("] refused: ").map(|(_, why)| format!("Connection refused: {}", short(why)))
    } else if text.starts_with("rejected HELO from") || text.starts_with("rejected EHLO from") {
        Some("Rejected HELO/EHLO: syntactically invalid argument".to_owned())
    } else {
        None
    };
    if let Some(reason) = fixed {
        return Some((reason, false));
    }
    let (_, rest) = text.split_once("rejected ")?;
    let known = [("RCPT <", "RCPT"), ("MAIL <", "MAIL"), ("EHLO or HELO ", "EHLO")];
    let reason = match (known.iter().find(|(start, _)| rest.starts_with(start)), rest.split_once(": ")) {
        (Some((_, command)), Some((_, why))) => format!("Rejected {command}: {}", short(why)),
        (None, Some(("after DATA", why))) => {
            let why = short(why);
            let mut letters = why.chars();
            letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
        }
        _ => "Unknown".to_owned(),
    };
    Some((reason, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_exims() {
        for (line, expected) in [
            (
                "H=x [1.2.3.4] F=<x@y> rejected RCPT <b@t>: relay not permitted",
                "Rejected RCPT: relay not permitted",
            ),
            ("H=x [1.2.3.4] rejected RCPT <b@t>: in dnsbl: see http://x", "Rejected RCPT: in dnsbl"),
            ("H=x [1.2.3.4] rejected after DATA: spam detected", "Spam detected"),
            ("H=x [1.2.3.4] rejected EHLO or HELO foo: bad helo", "Rejected EHLO: bad helo"),
            ("SMTP call from [1.2.3.4] dropped: too many errors (last)", "Dropped: too many errors"),
            (
                "Connection from [1.2.3.4] refused: too many connections",
                "Connection refused: too many connections",
            ),
            ("H=x [1.2.3.4] rejected RCPT <b@t>", "Unknown"),
        ] {
            assert_eq!(reason(line), Some((expected.to_owned(), false)), "{line}");
        }
        let greylisted = reason("H=x [1.2.3.4] temporarily rejected RCPT <b@t>: greylisted");
        assert_eq!(greylisted, Some(("Temporarily rejected RCPT: greylisted".to_owned(), true)));
        assert_eq!(reason("H=h Warning: something"), None);
    }
}

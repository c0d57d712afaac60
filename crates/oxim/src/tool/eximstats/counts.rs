//! What `eximstats` counts, line by line. A message is known from its arrival to its `Completed`; lines of others that came
//! before the log begins count as far as they can.

use std::collections::{BTreeMap, HashMap};

use oxim_base::clock::{Stamp, Zone};
use oxim_mail::message_id::MessageId;

use super::super::log_line::{LogLine, seconds_of};
use super::options::{By, Options};
use super::reasons::{self, Refusal};

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
    has_arrived: bool,
    size: u64,
    since: Option<i64>,
    /// Host and address as relays show them. None: it is from here.
    from: Option<String>,
    protocol: String,
    is_remote: bool,
    is_delayed: bool,
    is_failed: bool,
}

/// Times of messages: how many within each limit, and beyond the last.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    pub within: Vec<u64>,
    pub beyond: u64,
}

impl Times {
    /// So many more that took this long.
    pub(super) fn add(&mut self, limits: &[i64], seconds: i64, number: u64) {
        match limits.iter().position(|limit| seconds < *limit) {
            Some(place) => {
                self.within.resize(limits.len(), 0);
                if let Some(count) = self.within.get_mut(place) {
                    *count = count.saturating_add(number);
                }
            }
            None => self.beyond = self.beyond.saturating_add(number),
        }
    }

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.within.iter().sum::<u64>().saturating_add(self.beyond)
    }
}

/// How often a pattern has matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// What the caller calls it.
    pub name: String,
    /// All in all.
    pub total: u64,
    /// By what part of the day.
    pub at: Vec<u64>,
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
    /// `-show_dt`.
    pub delivery_times: Times,
    pub remote_delivery_times: Times,
    /// `-show_rt`: of all, and by protocol.
    pub receipt_times: Times,
    pub receipt_times_by: BTreeMap<String, Times>,
    pub relays: BTreeMap<(String, String), u64>,
    pub hidden_relays: u64,
    pub senders: BTreeMap<By, BTreeMap<String, Share>>,
    pub local_senders: BTreeMap<String, Share>,
    pub destinations: BTreeMap<By, BTreeMap<String, Share>>,
    pub local_destinations: BTreeMap<String, Share>,
    pub local_domains: BTreeMap<String, Share>,
    pub rejections: BTreeMap<String, u64>,
    pub rejected_ips: BTreeMap<String, u64>,
    pub temporary: BTreeMap<String, u64>,
    pub temporary_ips: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub patterns: Vec<Pattern>,
    /// How many different senders, destinations and refused clients there were by merged reports, whose lists may be cut off.
    pub told_senders: BTreeMap<By, u64>,
    pub told_destinations: BTreeMap<By, u64>,
    pub told_rejected: Option<u64>,
    pub told_temporary: Option<u64>,
    going: HashMap<MessageId, Going>,
}

fn one_more<K: Ord>(map: &mut BTreeMap<K, u64>, key: K) {
    let count = map.entry(key).or_default();
    *count = count.saturating_add(1);
}

/// Counts the first event of its kind of a message whose arrival is known.
fn first_time(count: &mut u64, was: Option<&mut bool>) {
    if was.is_some_and(|was| !std::mem::replace(was, true)) {
        *count = count.saturating_add(1);
    }
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
            delivery_times: Times::default(),
            remote_delivery_times: Times::default(),
            receipt_times: Times::default(),
            receipt_times_by: BTreeMap::new(),
            relays: BTreeMap::new(),
            hidden_relays: 0,
            senders: BTreeMap::new(),
            local_senders: BTreeMap::new(),
            destinations: BTreeMap::new(),
            local_destinations: BTreeMap::new(),
            local_domains: BTreeMap::new(),
            rejections: BTreeMap::new(),
            rejected_ips: BTreeMap::new(),
            temporary: BTreeMap::new(),
            temporary_ips: BTreeMap::new(),
            errors: BTreeMap::new(),
            patterns: options
                .patterns
                .iter()
                .map(|(name, _)| Pattern { name: name.clone(), total: 0, at: vec![0; parts] })
                .collect(),
            told_senders: BTreeMap::new(),
            told_destinations: BTreeMap::new(),
            told_rejected: None,
            told_temporary: None,
            going: HashMap::new(),
        }
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &str) {
        let read = LogLine::read(line);
        let part = read.as_ref().and_then(|read| self.part_of_day(read));
        for (count, (_, pattern)) in self.patterns.iter_mut().zip(&self.options.patterns) {
            if pattern.is_match(line.as_bytes()).unwrap_or(false) {
                count.total = count.total.saturating_add(1);
                if let Some(count) = part.and_then(|part| count.at.get_mut(part)) {
                    *count = count.saturating_add(1);
                }
            }
        }
        let Some(read) = read else { return };
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
            (Some(_), "-> ") => {
                self.mark(&read);
                self.further_address(rest);
            }
            (Some(id), "== ") => {
                self.mark(&read);
                let going = self.going.get_mut(&id).filter(|going| going.has_arrived);
                first_time(&mut self.delayed, going.map(|going| &mut going.is_delayed));
            }
            (Some(id), "** ") => {
                self.mark(&read);
                let going = self.going.get_mut(&id).filter(|going| going.has_arrived);
                first_time(&mut self.failed, going.map(|going| &mut going.is_failed));
                one_more(&mut self.errors, rest.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
            }
            (Some(id), _) if read.text == "Completed" || read.text.starts_with("Completed ") => {
                self.mark(&read);
                self.completed(id, &read);
            }
            _ => self.refusal(&read),
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
        let protocol = field(rest, "P").unwrap_or_default().to_owned();
        let since = read.seconds();
        let going = Going { has_arrived: true, size, since, from, protocol, ..Going::default() };
        self.going.insert(id, going);
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
        let transport = field(rest, "T");
        if transport.is_none() {
            self.count_refusal(reasons::of_discarded(rest));
        }
        add(self.transports.entry(transport.unwrap_or(":blackhole:").to_owned()).or_default(), 1, size);
        // Of a command with arguments these lists have the first word.
        let first_word = address.split(' ').next().unwrap_or_default();
        for by in &self.options.by {
            let name = name_of(*by, host.as_ref(), first_word);
            add(self.destinations.entry(*by).or_default().entry(name).or_default(), 1, size);
        }
        if if host.is_none() { self.options.local } else { self.options.remote_users } {
            let is_file = address.starts_with(['|', '/']);
            let name = match original {
                Some(original) if is_file || self.options.originals => format!("{address} <{original}>"),
                _ => address.to_owned(),
            };
            if let Some((_, domain)) = name.strip_suffix('>').and_then(|name| name.rsplit_once('@')) {
                add(self.local_domains.entry(domain.to_owned()).or_default(), 1, size);
            }
            add(self.local_destinations.entry(name).or_default(), 1, size);
        }
        let going = self.going.entry(id).or_default();
        going.is_remote |= host.is_some();
        if let Some((limits, seconds)) =
            self.options.delivery_limits.as_ref().zip(field(rest, "DT").and_then(seconds))
        {
            self.delivery_times.add(limits, seconds, 1);
            if going.is_remote {
                self.remote_delivery_times.add(limits, seconds, 1);
            }
        }
        let Some(host) = host else { return };
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
                // It follows the line that made the entry.
                if let Some(share) = self.destinations.entry(*by).or_default().get_mut(&name) {
                    share.addresses = share.addresses.saturating_add(1);
                }
            }
        }
    }

    fn completed(&mut self, id: MessageId, read: &LogLine<'_>) {
        let going = self.going.remove(&id).unwrap_or_default();
        // Of what came before the log begins, the id tells when.
        let since = if going.has_arrived { going.since } else { arrived(id, read) };
        let Some((since, now)) = since.zip(read.seconds()) else { return };
        let stayed = now.saturating_sub(since);
        self.times.add(&self.options.limits, stayed, 1);
        if going.is_remote {
            self.remote_times.add(&self.options.limits, stayed, 1);
        }
        // What the queue time has beyond the time since the arrival line was spent before that.
        let queued = field(read.text, "QT").and_then(seconds);
        let limits = self.options.receipt_limits.as_ref().filter(|_| going.has_arrived);
        if let Some((limits, queued)) = limits.zip(queued) {
            let took = queued.saturating_sub(stayed);
            self.receipt_times.add(limits, took, 1);
            self.receipt_times_by.entry(going.protocol).or_default().add(limits, took, 1);
        }
    }

    fn refusal(&mut self, read: &LogLine<'_>) {
        // Exim's tool takes shorter lines for no such thing.
        const SHORTEST: usize = 37;
        if let Some(refusal) = reasons::refusal(read.text).filter(|_| read.whole.len() >= SHORTEST) {
            self.mark(read);
            self.count_refusal(refusal);
        }
    }

    fn count_refusal(&mut self, refusal: Refusal) {
        if refusal.is_temporary {
            one_more(&mut self.temporary, refusal.reason);
            one_more(&mut self.temporary_ips, refusal.ip);
        } else {
            one_more(&mut self.rejections, refusal.reason);
            one_more(&mut self.rejected_ips, refusal.ip);
        }
    }

    /// How many different senders there are.
    pub(super) fn different_senders(&self, by: By) -> u64 {
        different(&self.senders, &self.told_senders, by)
    }

    /// How many different destinations there are.
    pub(super) fn different_destinations(&self, by: By) -> u64 {
        different(&self.destinations, &self.told_destinations, by)
    }

    /// The rows about refusals: their name, how many, of how many clients.
    pub(super) fn refusals(&self) -> Vec<(&'static str, u64, u64)> {
        let row = |name, reasons: &BTreeMap<String, u64>, ips: &BTreeMap<String, u64>, told: Option<u64>| {
            let hosts = told.unwrap_or_else(|| size(ips));
            (!reasons.is_empty()).then(|| (name, Counts::sum(reasons), hosts))
        };
        [
            row("Rejects", &self.rejections, &self.rejected_ips, self.told_rejected),
            row("Temp Rejects", &self.temporary, &self.temporary_ips, self.told_temporary),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// All deferred or failed rejections.
    pub(super) fn sum(map: &BTreeMap<String, u64>) -> u64 {
        map.values().sum()
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

/// `H=name (helo) [ip]`: the name, or what was said in its place.
fn host(text: &str) -> Option<Host> {
    let (_, rest) = text.split_once(" H=")?;
    let name = rest.split(' ').next().unwrap_or_default();
    Some(Host { name: name.to_owned(), ip: reasons::in_brackets(rest).unwrap_or_default().to_owned() })
}

/// The address of a delivery, and the one that it was made of, behind which an address (a command of a pipe) may have blanks.
fn addresses(rest: &str) -> (&str, Option<&str>) {
    let whole = rest.split_once(" R=").map_or(rest, |(whole, _)| whole);
    let made_of = whole.split_once(" <").and_then(|(address, tail)| Some((address, tail.split_once('>')?.0)));
    match made_of {
        Some((address, original)) => (address, Some(original)),
        None => (rest.split(' ').next().unwrap_or_default(), None),
    }
}

/// When a message arrived, by its id, in the zone of a line.
fn arrived(id: MessageId, read: &LogLine<'_>) -> Option<i64> {
    match read.offset() {
        Some(offset) => id.seconds().checked_add(offset),
        None => seconds_of(&Stamp { seconds: id.seconds(), micros: 0 }.log(Zone::Local)),
    }
}

fn name_of(by: By, host: Option<&Host>, address: &str) -> String {
    match (by, host) {
        (By::Host, None) => "local".to_owned(),
        (By::Host, Some(host)) => host.name.clone(),
        (By::Domain, None) => "localdomain".to_owned(),
        (By::Domain, Some(host)) => domain_of(&host.name),
        (By::Email, _) => address.to_owned(),
        // A local part alone, as of a local delivery, has none.
        (By::Edomain, _) if address == "<>" => address.to_owned(),
        (By::Edomain, _) => address.rsplit_once('@').map_or("", |(_, domain)| domain).to_owned(),
    }
}

/// What is behind the first label of a host's name, if that is more than a top-level domain.
fn domain_of(host: &str) -> String {
    if host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok() {
        return host.to_owned();
    }
    match host.split_once('.') {
        Some((_, domain)) if !domain.contains('.') => "localdomain".to_owned(),
        // Exim's tool leaves this of a name that a client has claimed.
        Some((_, domain)) if host.starts_with('(') => format!("(.{domain}"),
        Some((_, domain)) => domain.to_owned(),
        None => "localdomain".to_owned(),
    }
}

fn different(lists: &BTreeMap<By, BTreeMap<String, Share>>, told: &BTreeMap<By, u64>, by: By) -> u64 {
    told.get(&by).copied().unwrap_or_else(|| lists.get(&by).map_or(0, size))
}

fn size<K, V>(map: &BTreeMap<K, V>) -> u64 {
    u64::try_from(map.len()).unwrap_or(u64::MAX)
}

/// The whole seconds of `2m10s` or `0.5s`.
pub(super) fn seconds(text: &str) -> Option<i64> {
    let mut sum = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let number: i64 = number.split('.').next()?.parse().ok()?;
        let (unit, tail) = tail.split_at_checked(1)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.checked_mul(unit)?)?;
        rest = tail;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_of_hosts_are_those_of_exims_tool() {
        for (host, domain) in [
            ("mail.x.co.uk", "x.co.uk"),
            ("b.ex", "localdomain"),
            ("(helo.ex)", "localdomain"),
            ("(mail.helo.ex)", "(.helo.ex)"),
            ("localhost", "localdomain"),
            ("10.1.2.3", "10.1.2.3"),
            ("[10.1.2.3]", "[10.1.2.3]"),
        ] {
            assert_eq!(domain_of(host), domain, "{host}");
        }
    }

    #[test]
    fn times_are_read() {
        assert_eq!(["5s", "0.9s", "2m10s", "1h", "1d2h"].map(seconds), [5, 0, 130, 3600, 93_600].map(Some));
        assert_eq!(["", "5", "s", "5x"].map(seconds), [Some(0), None, None, None]);
    }
}

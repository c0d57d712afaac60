//! `-merge`: reads reports that were made before, as text or HTML, and adds them up.
//!
//! A report says less than its log: volumes are rounded, and lists end somewhere. What a line of a report does not fit is left
//! out. Only what the reports show can be shown.

use std::collections::{BTreeMap, HashSet};

use super::counts::{Counts, Pattern, Share, Times, seconds};
use super::options::By;

/// The part of a report that a line is in.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Begin,
    GrandTotal,
    Patterns,
    Transports,
    /// Of received messages, of deliveries, or of a pattern.
    Histogram(String),
    /// Its title.
    Times(String),
    Relays,
    /// What it is about.
    Top(String),
    Errors,
    Other,
}

impl Part {
    fn of(title: &str) -> Part {
        let is_histogram = title.ends_with(')') && title.contains(" (each dot is ");
        match title {
            "Grand total summary" => Part::GrandTotal,
            "User Specified Patterns" => Part::Patterns,
            "Deliveries by transport" | "Deliveries by Transport" => Part::Transports,
            "Relayed messages" => Part::Relays,
            "List of errors" => Part::Errors,
            _ if is_histogram => match title.rsplit_once(" per ") {
                Some((what, _)) => Part::Histogram(what.to_owned()),
                None => Part::Other,
            },
            _ if title.contains(" times: ") || title.starts_with("Time spent on the queue: ") => {
                Part::Times(title.to_owned())
            }
            _ => match title.strip_prefix("Top ").and_then(|rest| rest.rsplit_once(" by ")) {
                // `Top 50 sending hosts`, `Top sending host`.
                Some((what, _)) => match what.split_once(' ') {
                    Some((number, what)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                        Part::Top(what.strip_suffix('s').unwrap_or(what).to_owned())
                    }
                    _ => Part::Top(what.to_owned()),
                },
                None => Part::Other,
            },
        }
    }
}

/// Reads one report into the counts.
pub(super) struct Reader<'c, 'o> {
    counts: &'c mut Counts<'o>,
    part: Part,
    /// The line before, which may be a title.
    before: String,
    /// The heads of the columns of the table in hand.
    columns: Vec<String>,
    /// What lists have shown already, in the other order.
    seen: HashSet<(String, String)>,
    /// The hour of a histogram that parts of it follow.
    hour: usize,
    /// The sender's side of a relay whose other side follows.
    relay: Option<(u64, String)>,
    /// An error that further lines belong to.
    error: Option<(u64, String)>,
}

impl<'c, 'o> Reader<'c, 'o> {
    /// For one report.
    pub(super) fn new(counts: &'c mut Counts<'o>) -> Self {
        Reader {
            counts,
            part: Part::Begin,
            before: String::new(),
            columns: Vec::new(),
            seen: HashSet::new(),
            hour: 0,
            relay: None,
            error: None,
        }
    }

    /// Takes a line.
    pub(super) fn line(&mut self, line: &str) {
        let title = heading(line);
        let text = title.as_deref().unwrap_or(line);
        if let Some((first, last)) =
            text.strip_prefix("Exim statistics from ").and_then(|t| t.split_once(" to "))
        {
            return self.span(first, last);
        }
        let is_rule = line.len() > 2 && line.bytes().all(|b| b == b'-');
        let title = title.or_else(|| is_rule.then(|| std::mem::take(&mut self.before)));
        if let Some(title) = title {
            self.end_of_error();
            self.part = Part::of(title.trim_end());
            self.columns.clear();
            return;
        }
        self.before.clear();
        self.before.push_str(line);
        match self.part.clone() {
            Part::Begin | Part::Other => {}
            Part::GrandTotal => self.grand_total(line),
            Part::Patterns => self.pattern(line),
            Part::Transports => self.transport(line),
            Part::Histogram(what) => self.histogram(&what, line),
            Part::Times(title) => self.times(&title, line),
            Part::Relays => self.relay(line),
            Part::Top(what) => self.top(&what, line),
            Part::Errors => self.error(line),
        }
    }

    /// The report is read.
    pub(super) fn end(mut self) {
        self.end_of_error();
    }

    fn span(&mut self, first: &str, last: &str) {
        if first.starts_with('9') {
            return;
        }
        let counts = &mut self.counts;
        if counts.first.is_empty() || first < counts.first.as_str() {
            first.clone_into(&mut counts.first);
        }
        if last > counts.last.as_str() {
            last.clone_into(&mut counts.last);
        }
    }

    fn grand_total(&mut self, line: &str) {
        let cells = cells(line).unwrap_or_else(|| fixed(line, &[18, 10, 11, 10, 10, 9, 9, 9]));
        let Some((name, rest)) = cells.split_first() else { return };
        if name == "TOTAL" {
            let is_by = |text: &&String| By::ALL.iter().any(|by| by.heading() == **text);
            self.columns = rest.iter().filter(is_by).cloned().collect();
            return;
        }
        let number = |at: usize| {
            rest.get(at).and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let share =
            Share { messages: number(1), addresses: number(2), bytes: rest.first().map_or(0, |t| bytes(t)) };
        let by: Vec<(By, u64)> = self
            .columns
            .iter()
            .enumerate()
            .filter_map(|(at, head)| {
                let by = By::ALL.into_iter().find(|by| by.heading() == *head)?;
                Some((by, number(at.saturating_add(3))))
            })
            .collect();
        let hosts = by.iter().find(|(by, _)| *by == By::Host).map_or(0, |(_, hosts)| *hosts);
        let counts = &mut self.counts;
        match name.as_str() {
            "Received" => {
                join(&mut counts.received, share);
                // `3 27.3%` at the end of a line of text, cells of their own in a page.
                let tail: Vec<u64> = line_numbers(line, self.columns.len());
                counts.delayed = counts.delayed.saturating_add(tail.first().copied().unwrap_or(0));
                counts.failed = counts.failed.saturating_add(tail.get(1).copied().unwrap_or(0));
                by.iter().for_each(|(by, number)| more(&mut counts.told_senders, *by, *number));
            }
            "Delivered" => {
                join(&mut counts.delivered, share);
                by.iter().for_each(|(by, number)| more(&mut counts.told_destinations, *by, *number));
            }
            "Rejects" => {
                counts.told_rejected = counts.told_rejected.or(Some(0)).map(|n| n.saturating_add(hosts))
            }
            "Temp Rejects" => {
                counts.told_temporary = counts.told_temporary.or(Some(0)).map(|n| n.saturating_add(hosts));
            }
            _ => {}
        }
    }

    fn pattern(&mut self, line: &str) {
        let Some((name, [total])) = named_first(line) else { return };
        if let Ok(total) = total.parse::<u64>()
            && let Some(pattern) = self.pattern_named(&name)
        {
            pattern.total = pattern.total.saturating_add(total);
        }
    }

    /// The pattern of that name, which is new in the first report that has it.
    fn pattern_named(&mut self, name: &str) -> Option<&mut Pattern> {
        let patterns = &mut self.counts.patterns;
        let place = patterns.iter().position(|pattern| pattern.name == name).unwrap_or(patterns.len());
        if place == patterns.len() {
            let at = vec![0; self.counts.received_at.len()];
            patterns.push(Pattern { name: name.to_owned(), total: 0, at });
        }
        patterns.get_mut(place)
    }

    fn transport(&mut self, line: &str) {
        let Some((name, [volume, messages])) = named_first(line) else { return };
        let Ok(messages) = messages.parse() else { return };
        let share = Share { messages, addresses: messages, bytes: bytes(&volume) };
        join(self.counts.transports.entry(name).or_default(), share);
    }

    fn histogram(&mut self, what: &str, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(label), Some(Ok(number))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            return;
        };
        let two = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok());
        // `00-01`, `00:00`, `:30`.
        let minute = match label.split_once(':') {
            Some((hour, minute)) => {
                self.hour = two(Some(hour)).unwrap_or(self.hour);
                two(Some(minute))
            }
            None => {
                let Some(hour) = two(label.get(..2)) else { return };
                self.hour = hour;
                Some(0)
            }
        };
        let parts = usize::try_from(self.counts.options.parts.max(1)).unwrap_or(1);
        let Some(place) =
            minute.and_then(|m| self.hour.checked_mul(parts)?.checked_add(m.checked_mul(parts)? / 60))
        else {
            return;
        };
        let values = match what {
            "Messages received" => Some(&mut self.counts.received_at),
            "Deliveries" => Some(&mut self.counts.delivered_at),
            name => self.pattern_named(name).map(|pattern| &mut pattern.at),
        };
        if let Some(value) = values.and_then(|values| values.get_mut(place)) {
            *value = value.saturating_add(number);
        }
    }

    fn times(&mut self, title: &str, line: &str) {
        let line = cells(line).map_or_else(|| line.to_owned(), |cells| cells.join(" "));
        let mut words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_over = words.first() == Some(&"Over");
        words.retain(|word| *word != "Under" && *word != "Over");
        let &[limit, number, ..] = words.as_slice() else { return };
        let (Some(limit), Ok(number)) = (seconds(limit), number.parse::<u64>()) else { return };
        let options = self.counts.options;
        let is_remote = title.ends_with("at least one remote delivery");
        let (limits, times): (&[i64], &mut Times) = match (title.split(' ').next(), is_remote) {
            (Some("Delivery"), false) => {
                (options.delivery_limits.as_deref().unwrap_or_default(), &mut self.counts.delivery_times)
            }
            (Some("Delivery"), true) => (
                options.delivery_limits.as_deref().unwrap_or_default(),
                &mut self.counts.remote_delivery_times,
            ),
            (Some("Receipt"), _) => {
                let what = title.strip_prefix("Receipt times: ").unwrap_or_default();
                let times = match what.strip_suffix(" messages") {
                    Some("all") | None => &mut self.counts.receipt_times,
                    Some(protocol) => self.counts.receipt_times_by.entry(protocol.to_owned()).or_default(),
                };
                (options.receipt_limits.as_deref().unwrap_or_default(), times)
            }
            (_, true) => (options.limits.as_slice(), &mut self.counts.remote_times),
            (_, false) => (options.limits.as_slice(), &mut self.counts.times),
        };
        // Under a limit is a second less; over one is that much at least.
        times.add(limits, if is_over { limit } else { limit.saturating_sub(1) }, number);
    }

    fn relay(&mut self, line: &str) {
        if let Some((_, rest)) = line.split_once("(plus ") {
            let hidden = rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
            self.counts.hidden_relays = self.counts.hidden_relays.saturating_add(hidden);
            return;
        }
        if let Some((to, (number, from))) = line.trim_start().strip_prefix("=> ").zip(self.relay.take()) {
            return self.relayed(from, to.to_owned(), number);
        }
        if let Some(cells) = cells(line) {
            if let [number, from, to] = cells.as_slice()
                && let Ok(number) = number.parse()
            {
                self.relayed(from.clone(), to.clone(), number);
            }
            return;
        }
        let number =
            line.trim_start().split_once(' ').map(|(number, from)| (number.parse::<u64>(), from.trim_end()));
        if let Some((Ok(number), from)) = number {
            self.relay = Some((number, from.to_owned()));
        }
    }

    fn relayed(&mut self, from: String, to: String, number: u64) {
        let count = self.counts.relays.entry((from, to)).or_default();
        *count = count.saturating_add(number);
    }

    fn top(&mut self, what: &str, line: &str) {
        let is_head = line.trim_start().starts_with("Messages") || line.contains("<th ");
        if is_head {
            let has = |head: &str| line.contains(head);
            self.columns = ["Messages", "Addresses", "Bytes", "Average"]
                .into_iter()
                .filter(|head| has(head))
                .map(str::to_owned)
                .collect();
            return;
        }
        let Some((numbers, name)) = named_last(line, self.columns.len()) else { return };
        let value = |head: &str| {
            let at = self.columns.iter().position(|column| column == head)?;
            numbers.get(at).map(|text| bytes(text))
        };
        let share = Share {
            messages: value("Messages").unwrap_or(0),
            addresses: value("Addresses").unwrap_or(0),
            bytes: value("Bytes").unwrap_or(0),
        };
        // The list by volume has what the one by number has, or more.
        if share.messages == 0 || !self.seen.insert((what.to_owned(), name.clone())) {
            return;
        }
        self.listed(what, name, share);
    }

    fn listed(&mut self, what: &str, name: String, share: Share) {
        let counts = &mut self.counts;
        let by = |word: &str| By::ALL.into_iter().find(|by| by.word() == word);
        let simple = match what {
            "mail rejection reason" => Some(&mut counts.rejections),
            "mail temporary rejection reason" => Some(&mut counts.temporary),
            "rejected ip" => Some(&mut counts.rejected_ips),
            "temporarily rejected ip" => Some(&mut counts.temporary_ips),
            _ => None,
        };
        if let Some(list) = simple {
            let count = list.entry(name).or_default();
            *count = count.saturating_add(share.messages);
            return;
        }
        let list = match what {
            "local sender" => &mut counts.local_senders,
            "local destination" => &mut counts.local_destinations,
            "local domain destination" => &mut counts.local_domains,
            _ => {
                if let Some(by) = what.strip_prefix("sending ").and_then(by) {
                    counts.senders.entry(by).or_default()
                } else if let Some(by) = what.strip_suffix(" destination").and_then(by) {
                    counts.destinations.entry(by).or_default()
                } else {
                    return;
                }
            }
        };
        join(list.entry(name).or_default(), share);
    }

    fn error(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("\t    ") {
            if let Some((_, text)) = &mut self.error {
                text.push(' ');
                text.push_str(rest);
            }
            return;
        }
        self.end_of_error();
        let item = match line.strip_prefix("<li>") {
            Some(item) => item.split_once(" - ").map(|(number, text)| (number, plain(text))),
            None => line.trim_start().split_once(' ').map(|(number, text)| (number, text.to_owned())),
        };
        if let Some((number, text)) = item
            && let Ok(number) = number.parse()
        {
            self.error = Some((number, text));
        }
    }

    fn end_of_error(&mut self) {
        if let Some((number, text)) = self.error.take() {
            let count = self.counts.errors.entry(text).or_default();
            *count = count.saturating_add(number);
        }
    }
}

/// The title in a heading of a page.
fn heading(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<h1>").or_else(|| line.split_once("<h2>"))?;
    rest.split_once("</h").map(|(title, _)| plain(title))
}

/// Text out of a page.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">")
}

/// The cells of a row of a page. None: the line is none.
fn cells(line: &str) -> Option<Vec<String>> {
    let row = line.strip_prefix("<tr>")?;
    let cells = row.split("<t").skip(1).filter_map(|cell| {
        let (_, text) = cell.split_once('>')?;
        let text = text.split_once("</t").map_or(text, |(text, _)| text);
        Some(plain(text.trim()))
    });
    Some(cells.collect())
}

/// The columns of a line of text, by their widths.
fn fixed(line: &str, widths: &[usize]) -> Vec<String> {
    let mut rest = line;
    let mut cells = Vec::new();
    for width in widths {
        let (cell, tail) = rest.split_at_checked((*width).min(rest.len())).unwrap_or((rest, ""));
        cells.push(cell.trim().to_owned());
        rest = tail;
    }
    cells
}

/// A name and the numbers behind it.
fn named_first<const N: usize>(line: &str) -> Option<(String, [String; N])> {
    let mut cells = match cells(line) {
        Some(cells) => cells,
        None => {
            // Columns are filled up with blanks.
            let mut words = Vec::new();
            let mut rest = line.trim_end();
            for _ in 0..N {
                let (before, word) = rest.rsplit_once(' ')?;
                words.push(word);
                rest = before.trim_end();
            }
            words.push(rest.trim_start());
            words.into_iter().rev().map(str::to_owned).collect()
        }
    };
    if cells.len() != N.checked_add(1)? {
        return None;
    }
    let name = cells.remove(0);
    cells.try_into().ok().map(|numbers| (name, numbers))
}

/// So many numbers, and a name behind them.
fn named_last(line: &str, columns: usize) -> Option<(Vec<String>, String)> {
    if let Some(mut cells) = cells(line) {
        let name = cells.pop()?;
        return (cells.len() == columns).then_some((cells, name));
    }
    let mut rest = line;
    let mut numbers = Vec::new();
    for _ in 0..columns {
        let (word, tail) = rest.trim_start().split_once(' ')?;
        numbers.push(word.to_owned());
        rest = tail;
    }
    // Two more blanks stand before the name, which may itself be empty.
    Some((numbers, rest.strip_prefix("  ").unwrap_or(rest).to_owned()))
}

/// How many were delayed and failed: numbers with a share behind them.
fn line_numbers(line: &str, by: usize) -> Vec<u64> {
    if let Some(cells) = cells(line) {
        let at = by.saturating_add(4);
        return [at, at.saturating_add(2)]
            .into_iter()
            .filter_map(|at| cells.get(at).and_then(|cell| cell.parse().ok()))
            .collect();
    }
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words
        .windows(2)
        .filter_map(|pair| match pair {
            [number, share] if share.ends_with('%') => number.parse().ok(),
            _ => None,
        })
        .collect()
}

/// The bytes of `10MB`.
fn bytes(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end).unwrap_or((text, ""));
    let unit = match unit {
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 1,
    };
    number.parse::<u64>().unwrap_or(0).saturating_mul(unit)
}

fn join(share: &mut Share, more: Share) {
    share.messages = share.messages.saturating_add(more.messages);
    share.addresses = share.addresses.saturating_add(more.addresses);
    share.bytes = share.bytes.saturating_add(more.bytes);
}

fn more(map: &mut BTreeMap<By, u64>, by: By, number: u64) {
    let count = map.entry(by).or_default();
    *count = count.saturating_add(number);
}

#[cfg(test)]
mod tests {
    use super::super::options::Options;
    use super::super::{html, report};
    use super::*;

    const LOG: &str = "2026-11-20 00:10:01 1xUh6V-0007qv-18 <= a@s.ex H=m.s.ex [10.0.0.1] P=esmtp S=1234
2026-11-20 00:10:02 1xUh6V-0007qv-18 => b <b@t.ex> R=l T=box DT=2s
2026-11-20 00:10:03 1xUh6V-0007qv-18 == c@f.ex R=d T=smtp defer (111): refused
2026-11-20 01:10:03 1xUh6V-0007qv-18 => c@f.ex R=d T=smtp H=x.f.ex [10.1.1.1] DT=70s
2026-11-20 01:10:03 1xUh6V-0007qv-18 Completed QT=1h2s
2026-11-20 01:20:00 1xUh6V-0007qv-19 <= <> U=mail P=local S=90000
2026-11-20 01:20:01 1xUh6V-0007qv-19 ** x@f.ex R=d T=smtp H=x.f.ex [10.1.1.1]: SMTP error from remote mail server after RCPT TO:<x@f.ex>: 550 no
2026-11-20 02:20:01 H=(x) [10.0.0.9] rejected RCPT <b@t.ex>: no <user>
2026-11-20 02:20:01 H=(x) [10.0.0.9] temporarily rejected RCPT <b@t.ex>: later
";

    fn options(extra: &str) -> Options {
        let words = format!("-show_rt1,60 -show_dt1,60 -byhost -byemail -pattern Refused /rejected/ {extra}");
        Options::read(&words.split(' ').map(|w| w.as_bytes().to_vec()).collect::<Vec<_>>()).unwrap().unwrap()
    }

    #[test]
    fn a_merged_report_is_the_report_itself_whatever_its_form() {
        let asked = options("log");
        let mut counts = Counts::new(&asked);
        LOG.lines().for_each(|line| counts.line(line));
        let (text, page) = (report::report(&counts), html::report(&counts));
        for source in [&text, &page] {
            let asked = options("-merge report");
            let mut merged = Counts::new(&asked);
            let mut reader = Reader::new(&mut merged);
            source.lines().for_each(|line| reader.line(line));
            reader.end();
            assert_eq!(report::report(&merged), text);
            assert_eq!(html::report(&merged), page);
        }
    }

    #[test]
    fn what_is_no_report_counts_nothing() {
        let asked = options("-merge report");
        let mut counts = Counts::new(&asked);
        let mut reader = Reader::new(&mut counts);
        [
            "---",
            "Top",
            "-----",
            "x",
            "<tr>",
            "<h2>Top 50 xs by volume</h2>",
            "<tr><td>1</td>",
            "Top 3 s by b",
            "---",
            "  ",
        ]
        .iter()
        .for_each(|line| reader.line(line));
        reader.end();
        assert!(counts.last.is_empty());
    }
}

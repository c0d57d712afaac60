//! The report of `eximstats` as text, and the pieces that the one in HTML shares.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::counts::{Counts, Share, Times};
use super::options::{By, Options};

/// One list of the greatest.
pub(super) struct Top<'c> {
    /// `sending host`, `mail rejection reason`…
    pub what: String,
    /// `count` or `volume`.
    pub order: &'static str,
    /// Name and numbers, in order.
    pub rows: Vec<(&'c str, Share)>,
    /// Which columns there are.
    pub columns: Columns,
}

/// The columns of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// Messages only.
    Messages,
    /// Messages and volume.
    Volume,
    /// Messages, addresses and volume.
    Addresses,
}

impl Top<'_> {
    /// `Top 50 sending hosts by message count`.
    pub(super) fn title(&self, options: &Options) -> String {
        if options.top == 1 { format!("Top {} by {}", self.what, self.by()) } else { self.entry(options) }
    }

    /// The same in the list of contents, where one is several too.
    pub(super) fn entry(&self, options: &Options) -> String {
        format!("Top {} {}s by {}", options.top, self.what, self.by())
    }

    fn by(&self) -> &'static str {
        if self.order == "count" { "message count" } else { "volume" }
    }

    /// `Sending host`.
    pub(super) fn head(&self) -> String {
        let mut letters = self.what.chars();
        letters.next().map(|c| c.to_uppercase().chain(letters).collect()).unwrap_or_default()
    }
}

/// No list.
static EMPTY: BTreeMap<String, Share> = BTreeMap::new();

/// All lists of the greatest, in order.
pub(super) fn tops<'c>(counts: &'c Counts<'_>) -> Vec<Top<'c>> {
    let options = counts.options;
    if options.top == 0 {
        return Vec::new();
    }
    let mut all = Vec::new();
    all.extend(plain("mail rejection reason", &counts.rejections));
    all.extend(plain("mail temporary rejection reason", &counts.temporary));
    for by in &options.by {
        let list = counts.senders.get(by).unwrap_or(&EMPTY);
        all.extend(both(&format!("sending {}", by.word()), list, Columns::Volume));
    }
    if options.local && !counts.local_senders.is_empty() {
        all.extend(both("local sender", &counts.local_senders, Columns::Volume));
    }
    for by in &options.by {
        let list = counts.destinations.get(by).unwrap_or(&EMPTY);
        let columns = if list.is_empty() { Columns::Volume } else { Columns::Addresses };
        all.extend(both(&format!("{} destination", by.word()), list, columns));
    }
    if (options.local || options.remote_users) && !counts.local_destinations.is_empty() {
        all.extend(both("local destination", &counts.local_destinations, Columns::Addresses));
    }
    if options.local_domains && !counts.local_domains.is_empty() {
        all.extend(both("local domain destination", &counts.local_domains, Columns::Addresses));
    }
    all.extend(plain("rejected ip", &counts.rejected_ips));
    all.extend(plain("temporarily rejected ip", &counts.temporary_ips));
    for top in &mut all {
        top.rows.truncate(options.top);
    }
    all
}

fn plain<'c>(what: &str, list: &'c BTreeMap<String, u64>) -> Option<Top<'c>> {
    if list.is_empty() {
        return None;
    }
    let mut rows: Vec<(&str, Share)> = list
        .iter()
        .map(|(name, count)| (name.as_str(), Share { messages: *count, ..Share::default() }))
        .collect();
    rows.sort_by_key(|(_, share)| std::cmp::Reverse(share.messages));
    Some(Top { what: what.to_owned(), order: "count", rows, columns: Columns::Messages })
}

/// By count, and by volume. What is equal stays in the order of the names.
fn both<'c>(what: &str, list: &'c BTreeMap<String, Share>, columns: Columns) -> [Top<'c>; 2] {
    let rows: Vec<(&str, Share)> = list.iter().map(|(name, share)| (name.as_str(), *share)).collect();
    let mut by_count = rows.clone();
    by_count.sort_by_key(|(_, share)| std::cmp::Reverse((share.messages, share.bytes)));
    let mut by_volume = rows;
    by_volume.sort_by_key(|(_, share)| std::cmp::Reverse((share.bytes, share.messages)));
    let top = |order, rows| Top { what: what.to_owned(), order, rows, columns };
    [top("count", by_count), top("volume", by_volume)]
}

/// A volume as so many of a unit: bytes, KB, MB or GB.
fn rounded(options: &Options, bytes: u64) -> (u64, u64, &'static str) {
    let (unit, name) = match bytes {
        _ if !options.rounded => (1, ""),
        0..=9_999 => (1, ""),
        10_000..=9_999_999 => (1 << 10, "KB"),
        10_000_000..=10_737_418_240 => (1 << 20, "MB"),
        _ => (1 << 30, "GB"),
    };
    (bytes.saturating_add(unit / 2) / unit, unit, name)
}

/// A volume in bytes, KB, MB or GB.
pub(super) fn volume(options: &Options, bytes: u64) -> String {
    let (number, _, name) = rounded(options, bytes);
    format!("{number}{name}")
}

/// Bytes for each message, of the volume as it is shown.
pub(super) fn average(options: &Options, share: &Share) -> u64 {
    let (number, unit, _) = rounded(options, share.bytes);
    number.saturating_mul(unit).checked_div(share.messages).unwrap_or(0)
}

/// `25.0%` of what there is.
pub(super) fn percent(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    let share = if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
    format!("{share:4.1}%")
}

/// The lines of a histogram, and how many each dot stands for.
pub(super) fn histogram(parts: u32, values: &[u64]) -> (u64, String) {
    let scale = values.iter().max().copied().unwrap_or(0).div_ceil(50).max(1);
    let mut out = String::new();
    let parts = usize::try_from(parts.max(1)).unwrap_or(1);
    for (index, value) in values.iter().enumerate() {
        let (hour, part) = (index / parts, index % parts);
        let label = match (parts, part) {
            (1, _) => format!("{hour:02}-{:02}", hour.saturating_add(1)),
            (_, 0) => format!("{hour:02}:00"),
            _ => format!("  :{:02}", part.saturating_mul(60) / parts),
        };
        let dots = ".".repeat(usize::try_from(value / scale).unwrap_or(0));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{label} {value:6} {dots}");
    }
    (scale, out)
}

/// `hour`, or `30 minutes`.
pub(super) fn interval(parts: u32) -> String {
    match 60_u32.checked_div(parts) {
        Some(60) | None => "hour".to_owned(),
        Some(1) => "minute".to_owned(),
        Some(minutes) => format!("{minutes} minutes"),
    }
}

/// The rows of times: `Under` or `Over`, the limit, how many, their share, and that of all so far.
pub(super) fn time_rows(limits: &[i64], times: &Times) -> Vec<(&'static str, String, u64, String, String)> {
    let total = times.total();
    let mut sum = 0_u64;
    let mut rows = Vec::new();
    let mut limits =
        limits.iter().map(|limit| oxim_base::clock::interval(u64::try_from(*limit).unwrap_or(0)));
    let mut last = String::new();
    for (count, limit) in times.within.iter().zip(limits.by_ref()) {
        last.clone_from(&limit);
        sum = sum.saturating_add(*count);
        if *count > 0 {
            let word = if rows.is_empty() { "Under" } else { "" };
            rows.push((word, limit, *count, percent(*count, total), percent(sum, total)));
        }
    }
    if times.beyond > 0 {
        let limit = limits.next_back().unwrap_or(last);
        rows.push(("Over", limit, times.beyond, percent(times.beyond, total), percent(total, total)));
    }
    rows
}

fn titled(out: &mut String, title: &str) {
    let _ = writeln!(out, "{title}\n{}", "-".repeat(title.len()));
}

/// The title of a histogram, and its lines.
pub(super) fn histogram_of(options: &Options, what: &str, one: &str, values: &[u64]) -> (String, String) {
    let (scale, lines) = histogram(options.parts, values);
    let each = match (one, scale) {
        ("delivery", 2..) => "deliveries".to_owned(),
        (one, 2..) => format!("{one}s"),
        (one, _) => one.to_owned(),
    };
    (format!("{what} per {} (each dot is {scale} {each})", interval(options.parts)), lines)
}

fn histogram_lines(out: &mut String, options: &Options, what: &str, one: &str, values: &[u64]) {
    let (title, lines) = histogram_of(options, what, one, values);
    titled(out, &title);
    let _ = writeln!(out, "\n{lines}");
}

/// All lists of times, with their titles and limits.
pub(super) fn times<'c>(counts: &'c Counts<'_>) -> Vec<(String, &'c [i64], &'c Times)> {
    let options = counts.options;
    let (all, remote) = ("all messages", "messages with at least one remote delivery");
    let mut lists = Vec::new();
    if !options.limits.is_empty() {
        for (what, times) in [(all, &counts.times), (remote, &counts.remote_times)] {
            lists.push((format!("Time spent on the queue: {what}"), options.limits.as_slice(), times));
        }
    }
    if let Some(limits) = &options.delivery_limits {
        for (what, times) in [(all, &counts.delivery_times), (remote, &counts.remote_delivery_times)] {
            lists.push((format!("Delivery times: {what}"), limits.as_slice(), times));
        }
    }
    if let Some(limits) = &options.receipt_limits {
        lists.push((format!("Receipt times: {all}"), limits.as_slice(), &counts.receipt_times));
        for (protocol, times) in &counts.receipt_times_by {
            lists.push((format!("Receipt times: {protocol} messages"), limits.as_slice(), times));
        }
    }
    lists
}

/// The whole report.
pub(super) fn report(counts: &Counts<'_>) -> String {
    let options = counts.options;
    let mut out = String::new();
    let (first, last) = span(counts);
    let _ = writeln!(out, "\nExim statistics from {first} to {last}\n");
    grand_total(&mut out, counts);
    if !counts.patterns.is_empty() {
        titled(&mut out, "User Specified Patterns");
        let _ = writeln!(out, "                       Total");
        for pattern in &counts.patterns {
            let _ = writeln!(out, "  {:18}{:8}", pattern.name, pattern.total);
        }
        out.push('\n');
        for pattern in counts.patterns.iter().filter(|_| options.parts > 0) {
            histogram_lines(&mut out, options, &pattern.name, "occurence", &pattern.at);
        }
    }
    if options.transports {
        titled(&mut out, "Deliveries by transport");
        out.push_str("                      Volume    Messages\n");
        for (name, share) in &counts.transports {
            let _ = writeln!(out, "  {name:18}  {:>6}{:12}", volume(options, share.bytes), share.messages);
        }
        out.push('\n');
    }
    if options.parts > 0 {
        histogram_lines(&mut out, options, "Messages received", "message", &counts.received_at);
        histogram_lines(&mut out, options, "Deliveries", "delivery", &counts.delivered_at);
    }
    for (title, limits, times) in times(counts) {
        titled(&mut out, &title);
        out.push('\n');
        for (word, limit, count, share, sum) in time_rows(limits, times) {
            let _ = writeln!(out, "{word:5} {limit:>4} {count:8} {share:>6}  {sum:>6}");
        }
        out.push('\n');
    }
    if options.relays {
        relays(&mut out, counts);
    }
    for top in tops(counts) {
        titled(&mut out, &top.title(options));
        out.push_str(&top_lines(options, &top));
        out.push('\n');
    }
    if options.errors && !counts.errors.is_empty() {
        errors(&mut out, counts);
    }
    out
}

/// From when to when.
pub(super) fn span<'c>(counts: &'c Counts<'_>) -> (&'c str, &'c str) {
    if counts.last.is_empty() {
        ("9999-99-99 99:99:99", "0000-00-00 00:00:00")
    } else {
        (&counts.first, &counts.last)
    }
}

fn grand_total(out: &mut String, counts: &Counts<'_>) {
    let options = counts.options;
    titled(out, "Grand total summary");
    let width = 57_usize.saturating_add(options.by.len().saturating_mul(9));
    let _ = writeln!(out, "{:width$}At least one address", "");
    let mut columns = |name: &str, cells: [String; 3], by: &dyn Fn(By) -> String, tail: String| {
        let [volume, messages, addresses] = cells;
        let _ = write!(out, "  {name:16}{volume:>10}{messages:>11}{addresses:>10} ");
        for each in &options.by {
            let _ = write!(out, "{:>9}", by(*each));
        }
        let _ = writeln!(out, "{tail}");
    };
    let texts = |a: &str, b: &str, c: &str| [a.to_owned(), b.to_owned(), c.to_owned()];
    columns(
        "TOTAL",
        texts("Volume", "Messages", "Addresses"),
        &By::heading,
        "      Delayed       Failed".to_owned(),
    );
    let received = counts.received.messages;
    let tail = format!(
        "  {:6} {} {:6} {}",
        counts.delayed,
        percent(counts.delayed, received),
        counts.failed,
        percent(counts.failed, received)
    );
    let numbers = |share: &Share, addresses: String| {
        [volume(options, share.bytes), share.messages.to_string(), addresses]
    };
    columns(
        "Received",
        numbers(&counts.received, String::new()),
        &|by| counts.different_senders(by).to_string(),
        tail,
    );
    columns(
        "Delivered",
        numbers(&counts.delivered, counts.delivered.addresses.to_string()),
        &|by| counts.different_destinations(by).to_string(),
        String::new(),
    );
    for (name, messages, hosts) in counts.refusals() {
        let cells = [String::new(), messages.to_string(), String::new()];
        let hosts = |by: By| if by == By::Host { hosts.to_string() } else { String::new() };
        columns(name, cells, &hosts, String::new());
    }
    out.push('\n');
}

fn relays(out: &mut String, counts: &Counts<'_>) {
    if counts.relays.is_empty() && counts.hidden_relays == 0 {
        titled(out, "No relayed messages");
        out.push('\n');
        return;
    }
    titled(out, "Relayed messages");
    out.push('\n');
    for ((from, to), count) in &counts.relays {
        let _ = writeln!(out, "{count:7} {from} \n      => {to}");
    }
    let shown = counts.shown_relays();
    let _ = writeln!(
        out,
        "{}Total: {shown} (plus {} unshown)\n",
        if shown > 0 { "\n" } else { "" },
        counts.hidden_relays
    );
}

fn top_lines(options: &Options, top: &Top<'_>) -> String {
    let mut out = format!("{:>10}", "Messages");
    if top.columns == Columns::Addresses {
        let _ = write!(out, "{:>11}", "Addresses");
    }
    if top.columns != Columns::Messages {
        let _ = write!(out, "{:>11}{:>11}", "Bytes", "Average");
    }
    let _ = writeln!(out, "   {}", top.head());
    for (name, share) in &top.rows {
        let _ = write!(out, "{:10}", share.messages);
        if top.columns == Columns::Addresses {
            let _ = write!(out, "{:11}", share.addresses);
        }
        if top.columns != Columns::Messages {
            let average = volume(options, average(options, share));
            let _ = write!(out, "{:>11}{average:>11}", volume(options, share.bytes));
        }
        let _ = writeln!(out, "   {name}");
    }
    out
}

fn errors(out: &mut String, counts: &Counts<'_>) {
    titled(out, "List of errors");
    out.push('\n');
    for (text, count) in &counts.errors {
        let _ = writeln!(out, "{count:5} {}\n", broken(text));
    }
    titled(out, &format!("Errors encountered: {}", Counts::sum(&counts.errors)));
}

/// A long text in several lines: each but the last ends with the first word that reaches a width of 50 bytes.
fn broken(text: &str) -> String {
    const WIDTH: usize = 50;
    const LONGEST: usize = 66;
    let mut out = String::new();
    let mut rest = text;
    while rest.len() > LONGEST
        && let Some((at, _)) = rest.match_indices(' ').find(|(at, _)| *at >= WIDTH)
        && let Some((line, tail)) = rest.split_at_checked(at)
    {
        let _ = write!(out, "{line}\n\t    ");
        rest = tail.trim_ascii_start();
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(words: &[&str], log: &str) -> String {
        let words: Vec<Vec<u8>> = words.iter().map(|w| w.as_bytes().to_vec()).collect();
        let options = Options::read(&words).unwrap().unwrap();
        let mut counts = Counts::new(&options);
        log.lines().for_each(|line| counts.line(line));
        report(&counts)
    }

    #[test]
    fn a_small_log_is_counted() {
        let log = "2026-11-20 00:10:01 1xUh6V-0007qv-18 <= a@s.ex H=m.s.ex [10.0.0.1] P=esmtp S=1234
2026-11-20 00:10:02 1xUh6V-0007qv-18 => b <b@t.ex> R=l T=box
2026-11-20 00:10:03 1xUh6V-0007qv-18 == c@f.ex R=d T=smtp defer (111): refused
2026-11-20 01:10:03 1xUh6V-0007qv-18 => c@f.ex R=d T=smtp H=x.f.ex [10.1.1.1]
2026-11-20 01:10:03 1xUh6V-0007qv-18 Completed
";
        let text = counted(&["-h0"], log);
        assert!(
            text.contains(
                "  Received              1234          1                   1       1 100.0%      0  0.0%\n"
            ),
            "{text}"
        );
        assert!(text.contains("  box                   1234           1\n"), "{text}");
        assert!(text.contains("Under   3h        1 100.0%  100.0%\n"), "{text}");
        assert!(
            text.contains("      1 m.s.ex[10.0.0.1] a@s.ex \n      => x.f.ex[10.1.1.1] c@f.ex\n"),
            "{text}"
        );
        assert!(counted(&["-h0", "-nt/smtp/"], log).contains("No relayed messages"));
    }
}

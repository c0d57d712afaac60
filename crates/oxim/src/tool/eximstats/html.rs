//! The report of `eximstats` as a page of HTML.

use std::fmt::Write as _;

use super::counts::{Counts, Times};
use super::options::{By, Options};
use super::report::{Columns, Top, average, histogram, interval, percent, span, time_rows, tops, volume};

/// Text as it may stand in a page.
fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A row of cells, the first one to the left.
fn row(out: &mut String, first: &str, cells: &[String]) {
    let _ = write!(out, "<tr><td>{}</td>", safe(first));
    for cell in cells {
        let _ = write!(out, "<td align=\"right\">{}</td>", safe(cell));
    }
    out.push_str("</tr>\n");
}

/// The whole page.
pub(super) fn report(counts: &Counts<'_>) -> String {
    let options = counts.options;
    let (first, last) = span(counts);
    let title = format!("Exim statistics from {first} to {last}");
    let mut parts: Vec<(String, String)> = vec![("Grand total summary".to_owned(), grand_total(counts))];
    if !options.patterns.is_empty() {
        let mut table = "<table border=1>\n<tr><th>&nbsp;</th><th>Total</th></tr>\n".to_owned();
        for ((name, _), count) in options.patterns.iter().zip(&counts.patterns) {
            row(&mut table, name, &[count.to_string()]);
        }
        parts.push(("User Specified Patterns".to_owned(), table + "</table>\n"));
    }
    if options.transports {
        parts.push(("Deliveries by Transport".to_owned(), transports(counts)));
    }
    if options.parts > 0 {
        for (what, one, values) in [
            ("Messages received", "message", &counts.received_at),
            ("Deliveries", "delivery", &counts.delivered_at),
        ] {
            let (scale, lines) = histogram(options.parts, values);
            let title = format!("{what} per {} (each dot is {scale} {one})", interval(options.parts));
            parts.push((title, format!("<pre>\n{lines}\n</pre>\n")));
        }
    }
    if !options.limits.is_empty() {
        let title = "Time spent on the queue: all messages".to_owned();
        parts.push((title, times(options, &counts.times)));
        let title = "Time spent on the queue: messages with at least one remote delivery".to_owned();
        parts.push((title, times(options, &counts.remote_times)));
    }
    if options.relays {
        parts.push(("Relayed messages".to_owned(), relays(counts)));
    }
    parts.extend(tops(counts).iter().map(|top| (top.title(options), list(options, top))));
    if options.errors && !counts.errors.is_empty() {
        parts.push(("List of errors".to_owned(), errors(counts)));
    }
    page(&title, &parts)
}

fn page(title: &str, parts: &[(String, String)]) -> String {
    let mut out = format!(
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<ul>\n"
    );
    for (number, (title, _)) in parts.iter().enumerate() {
        let _ = writeln!(out, "<li><a href=\"#part{number}\">{}</a>", safe(title));
    }
    out.push_str("</ul>\n");
    for (number, (title, text)) in parts.iter().enumerate() {
        let _ = writeln!(out, "<hr><h2 id=\"part{number}\">{}</h2>\n{text}", safe(title));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn grand_total(counts: &Counts<'_>) -> String {
    let options = counts.options;
    let mut out =
        "<table border=1>\n<tr><th>TOTAL</th><th>Volume</th><th>Messages</th><th>Addresses</th>".to_owned();
    for by in &options.by {
        let _ = write!(out, "<th>Different {}s</th>", by.word());
    }
    out.push_str("<th>Delayed</th><th>Failed</th></tr>\n");
    let received = counts.received.messages;
    let mut cells = vec![volume(options, counts.received.bytes), received.to_string(), String::new()];
    cells.extend(options.by.iter().map(|by| Counts::different(&counts.senders, *by).to_string()));
    cells.push(format!("{} ({})", counts.delayed, percent(counts.delayed, received).trim()));
    cells.push(format!("{} ({})", counts.failed, percent(counts.failed, received).trim()));
    row(&mut out, "Received", &cells);
    let delivered = &counts.delivered;
    let mut cells = vec![
        volume(options, delivered.bytes),
        delivered.messages.to_string(),
        delivered.addresses.to_string(),
    ];
    cells.extend(options.by.iter().map(|by| Counts::different(&counts.destinations, *by).to_string()));
    row(&mut out, "Delivered", &cells);
    for (name, reasons, ips) in [
        ("Rejects", &counts.rejections, &counts.rejected_ips),
        ("Temp Rejects", &counts.temporary, &counts.temporary_ips),
    ] {
        if !reasons.is_empty() {
            let mut cells = vec![String::new(), Counts::sum(reasons).to_string(), String::new()];
            let is_host = options.by.first() == Some(&By::Host);
            cells.push(if is_host { Counts::hosts(ips).to_string() } else { String::new() });
            row(&mut out, name, &cells);
        }
    }
    out + "</table>\n"
}

fn transports(counts: &Counts<'_>) -> String {
    let mut out = "<table border=1>\n<tr><th>&nbsp;</th><th>Volume</th><th>Messages</th></tr>\n".to_owned();
    for (name, share) in &counts.transports {
        row(&mut out, name, &[volume(counts.options, share.bytes), share.messages.to_string()]);
    }
    out + "</table>\n"
}

fn times(options: &Options, times: &Times) -> String {
    let mut out =
        "<table border=1>\n<tr><th>Time</th><th>Messages</th><th>Percentage</th><th>Cumulative Percentage</th></tr>\n"
            .to_owned();
    for (word, limit, count, share, sum) in time_rows(options, times) {
        row(&mut out, format!("{word} {limit}").trim(), &[count.to_string(), share, sum]);
    }
    out + "</table>\n"
}

fn relays(counts: &Counts<'_>) -> String {
    let mut out = "<table border=1>\n<tr><th>Count</th><th>From</th><th>To</th></tr>\n".to_owned();
    for ((from, to), count) in &counts.relays {
        let _ = writeln!(
            out,
            "<tr><td align=\"right\">{count}</td><td>{}</td><td>{}</td></tr>",
            safe(from),
            safe(to)
        );
    }
    let total = counts.shown_relays();
    let _ = write!(out, "</table>\n<p>\nTotal: {total} (plus {} unshown)\n", counts.hidden_relays);
    out
}

fn list(options: &Options, top: &Top<'_>) -> String {
    let mut out = "<table border=1>\n<tr><th>".to_owned() + &top.head() + "</th><th>Messages</th>";
    if top.columns == Columns::Addresses {
        out.push_str("<th>Addresses</th>");
    }
    if top.columns != Columns::Messages {
        out.push_str("<th>Bytes</th><th>Average</th>");
    }
    out.push_str("</tr>\n");
    for (name, share) in &top.rows {
        let mut cells = vec![share.messages.to_string()];
        if top.columns == Columns::Addresses {
            cells.push(share.addresses.to_string());
        }
        if top.columns != Columns::Messages {
            cells.extend([volume(options, share.bytes), volume(options, average(share))]);
        }
        row(&mut out, name, &cells);
    }
    out + "</table>\n"
}

fn errors(counts: &Counts<'_>) -> String {
    let mut out = "<ul>\n".to_owned();
    for (text, count) in &counts.errors {
        let _ = writeln!(out, "<li>{count} - {}", safe(text));
    }
    let _ = write!(out, "</ul>\n<p>\nErrors encountered: {}\n", Counts::sum(&counts.errors));
    out
}

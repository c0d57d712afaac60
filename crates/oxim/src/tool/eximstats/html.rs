//! The report of `eximstats` as a page of HTML, the one that Exim's tool makes: programs read it, `-merge` among them.

use std::fmt::Write as _;

use super::counts::{Counts, Times};
use super::options::By;
use super::report::{
    Columns, Top, average, histogram_of, interval, percent, span, time_rows, times, tops, volume,
};

/// Text as it stands in tables.
fn safe(text: &str) -> String {
    text.replace('<', "&lt;").replace('>', "&gt;")
}

/// A cell to the right.
fn cell(text: &str) -> String {
    format!("<td align=\"right\">{text}</td>")
}

fn cells(texts: &[String]) -> String {
    texts.iter().map(|text| cell(text)).collect()
}

/// A volume in a cell: Exim's tool pads it where it rounds it.
fn volume_cell(counts: &Counts<'_>, bytes: u64) -> String {
    let text = volume(counts.options, bytes);
    if counts.options.rounded { format!("{text:>6}") } else { text }
}

/// The head of a part.
fn part(out: &mut String, anchor: &str, title: &str) {
    let _ = writeln!(out, "<hr><a name=\"{anchor}\"></a><h2>{title}</h2>");
}

/// The whole page.
pub(super) fn report(counts: &Counts<'_>) -> String {
    let options = counts.options;
    let (first, last) = span(counts);
    let title = format!("Exim statistics from {first} to {last}");
    let mut out = format!(
        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\n<html>\n<head>\n\
         <meta http-equiv=\"Content-Type\" content=\"text/html; charset=iso-8859-15\">\n<title>{title}</title>\n</head>\n\
         <body bgcolor=\"white\">\n<h1>{title}</h1>\n"
    );
    let tops = tops(counts);
    contents(&mut out, counts, &tops);
    grand_total(&mut out, counts);
    if !counts.patterns.is_empty() {
        patterns(&mut out, counts);
    }
    if options.transports {
        transports(&mut out, counts);
    }
    if options.parts > 0 {
        histogram(&mut out, counts, "Messages received", "message", &counts.received_at);
        histogram(&mut out, counts, "Deliveries", "delivery", &counts.delivered_at);
    }
    for (title, limits, list) in times(counts) {
        time_table(&mut out, &title, limits, list);
    }
    if options.relays {
        relays(&mut out, counts);
    }
    for top in &tops {
        list(&mut out, counts, top);
    }
    if options.errors && !counts.errors.is_empty() {
        errors(&mut out, counts);
    }
    out.push_str("</body>\n</html>\n");
    out
}

/// The anchor of a list of times.
fn anchor_of_times(title: &str) -> String {
    title.replace(':', "")
}

fn anchor_of_list(top: &Top<'_>) -> String {
    format!("{} {}", top.head(), top.order)
}

/// What is below.
fn contents(out: &mut String, counts: &Counts<'_>, tops: &[Top<'_>]) {
    let options = counts.options;
    let mut lines = vec![("Grandtotal".to_owned(), "Grand total summary".to_owned())];
    let mut add = |anchor: &str, title: String| lines.push((anchor.to_owned(), title));
    if !counts.patterns.is_empty() {
        add("Patterns", "User Specified Patterns".to_owned());
    }
    if options.transports {
        add("Transport", "Deliveries by Transport".to_owned());
    }
    if options.parts > 0 {
        for what in ["Messages received", "Deliveries"] {
            add(what, format!("{what} per {}", interval(1)));
        }
    }
    for (title, ..) in times(counts) {
        match title.strip_prefix("Receipt times: ") {
            None => add(&anchor_of_times(&title), title),
            Some("all messages") => add(&anchor_of_times(&title), "Receipt times".to_owned()),
            Some(_) => {}
        }
    }
    if options.relays {
        add("Relayed messages", "Relayed messages".to_owned());
    }
    for top in tops.iter().filter(|top| top.what != "mail temporary rejection reason") {
        add(&anchor_of_list(top), top.entry(options));
    }
    if options.errors && !counts.errors.is_empty() {
        add("errors", "List of errors".to_owned());
    }
    out.push_str("<ul>\n");
    for (anchor, title) in lines {
        let _ = writeln!(out, "<li><a href=\"#{anchor}\">{title}</a>");
    }
    out.push_str("</ul>\n<hr>\n");
}

fn grand_total(out: &mut String, counts: &Counts<'_>) {
    let by = &counts.options.by;
    out.push_str("<a name=\"Grandtotal\"></a>\n<h2>Grand total summary</h2>\n<table border=1>\n");
    let heads: String = by.iter().map(|by| format!("<th>{}</th>", by.heading())).collect();
    let _ = writeln!(
        out,
        "<tr><th>TOTAL</th><th>Volume</th><th>Messages</th><th>Addresses</th>{heads}\
         <th colspan=2>At least one addr<br>Delayed</th><th colspan=2>At least one addr<br>Failed</th>"
    );
    let mut row = |name: &str, texts: &[String]| {
        let _ = writeln!(out, "<tr><td>{name}</td>{}", cells(texts));
    };
    let received = counts.received.messages;
    let mut texts = vec![volume_cell(counts, counts.received.bytes), received.to_string(), String::new()];
    texts.extend(by.iter().map(|by| counts.different_senders(*by).to_string()));
    for number in [counts.delayed, counts.failed] {
        texts.extend([number.to_string(), percent(number, received)]);
    }
    row("Received", &texts);
    let delivered = &counts.delivered;
    let mut texts = vec![
        volume_cell(counts, delivered.bytes),
        delivered.messages.to_string(),
        delivered.addresses.to_string(),
    ];
    texts.extend(by.iter().map(|by| counts.different_destinations(*by).to_string()));
    row("Delivered", &texts);
    for (name, messages, hosts) in counts.refusals() {
        let mut texts = vec![String::new(), messages.to_string(), String::new()];
        texts.extend(by.iter().map(|by| if *by == By::Host { hosts.to_string() } else { String::new() }));
        row(name, &texts);
    }
    out.push_str("</table>\n");
}

fn patterns(out: &mut String, counts: &Counts<'_>) {
    part(out, "Patterns", "User Specified Patterns");
    out.push_str(
        "<table border=0 width=\"100%\">\n<tr><td>\n<table border=1>\n<tr><th>&nbsp;</th><th>Total</th>\n",
    );
    for pattern in &counts.patterns {
        let _ = writeln!(out, "<tr><td>{}</td>{}", pattern.name, cell(&pattern.total.to_string()));
    }
    out.push_str("</table>\n\n");
    for pattern in counts.patterns.iter().filter(|_| counts.options.parts > 0) {
        histogram(out, counts, &pattern.name, "occurence", &pattern.at);
    }
}

fn transports(out: &mut String, counts: &Counts<'_>) {
    part(out, "Transport", "Deliveries by Transport");
    out.push_str("<table border=0 width=\"100%\"><tr><td><table border=1>\n<tr><th>&nbsp;</th><th>Volume</th><th>Messages</th>\n");
    for (name, share) in &counts.transports {
        let numbers = [volume_cell(counts, share.bytes), share.messages.to_string()];
        let _ = writeln!(out, "<tr><td>{name}</td>{}", cells(&numbers));
    }
    out.push_str("</tr></table></td><td></td><td></td></tr></table>\n\n");
}

fn histogram(out: &mut String, counts: &Counts<'_>, what: &str, one: &str, values: &[u64]) {
    let (title, lines) = histogram_of(counts.options, what, one, values);
    part(out, what, &title);
    let _ = writeln!(
        out,
        "<table border=0 width=\"100%\">\n<tr><td><pre>\n{lines}\n</pre>\n</td><td>\n</td></tr></table>"
    );
}

fn time_table(out: &mut String, title: &str, limits: &[i64], times: &Times) {
    part(out, &anchor_of_times(title), title);
    out.push_str(
        "<table border=0 width=\"100%\"><tr><td><table border=1>\n\
         <tr><th>Time</th><th>Messages</th><th>Percentage</th><th>Cumulative Percentage</th>\n",
    );
    for (word, limit, count, share, sum) in time_rows(limits, times) {
        let texts =
            [format!("{word:5} {limit}"), count.to_string(), format!("{share:>6}"), format!("{sum:>6}")];
        let _ = writeln!(out, "<tr>{}", cells(&texts));
    }
    out.push_str("</table></td><td></td></tr></table>\n\n");
}

fn relays(out: &mut String, counts: &Counts<'_>) {
    part(out, "Relayed messages", "Relayed messages");
    if counts.relays.is_empty() && counts.hidden_relays == 0 {
        out.push_str("No relayed messages\n\n");
        return;
    }
    out.push_str("<table border=1>\n<tr><th>Count</th><th>From</th><th>To</th>\n");
    for ((from, to), count) in &counts.relays {
        let _ =
            writeln!(out, "<tr>{}<td>{} </td><td>{}</td>", cell(&count.to_string()), safe(from), safe(to));
    }
    let shown = counts.shown_relays();
    let gap = if shown > 0 { "\n" } else { "" };
    let _ = writeln!(out, "</table>\n<p>\n{gap}Total: {shown} (plus {} unshown)\n", counts.hidden_relays);
}

fn list(out: &mut String, counts: &Counts<'_>, top: &Top<'_>) {
    let options = counts.options;
    let side = if top.what.starts_with("local ") { "left" } else { "right" };
    part(out, &anchor_of_list(top), &top.title(options));
    out.push_str("<table border=0 width=\"100%\">\n<tr><td>\n<table border=1>\n<tr>");
    let heads: &[&str] = match top.columns {
        Columns::Messages => &["Messages"],
        Columns::Volume => &["Messages", "Bytes", "Average"],
        Columns::Addresses => &["Messages", "Addresses", "Bytes", "Average"],
    };
    for head in heads {
        let _ = write!(out, "<th align=\"right\">{head}</th>");
    }
    let _ = writeln!(out, "<th align=\"{side}\" nowrap>{}</th></tr>", top.head());
    for (name, share) in &top.rows {
        let mut texts = vec![share.messages.to_string()];
        if top.columns == Columns::Addresses {
            texts.push(share.addresses.to_string());
        }
        if top.columns != Columns::Messages {
            texts.extend([volume_cell(counts, share.bytes), volume_cell(counts, average(options, share))]);
        }
        let _ = writeln!(out, "<tr>{}<td align=\"{side}\" nowrap>{}</td></tr>", cells(&texts), safe(name));
    }
    out.push_str("</table>\n</td><td>\n</td><td>\n</td></tr></table>\n\n");
}

fn errors(out: &mut String, counts: &Counts<'_>) {
    part(out, "errors", "List of errors");
    out.push_str("<ul><li><b>Count - Error</b>\n");
    for (text, count) in &counts.errors {
        let _ = writeln!(out, "<li>{count} - {}", safe(text));
    }
    let _ = writeln!(out, "</ul>\n<p>\nErrors encountered: {}", Counts::sum(&counts.errors));
}

//! `exiqsumm`: sums up a listing of the queue, from standard input or files, by domain (manual section 54.3).
//!
//! What counts alike is in the order of its name. A file that cannot be read is told, and left out.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use oxim_base::errno::error_text;

use super::listing::{self, Listed};
use super::{Call, say};

/// What is known of one domain.
struct Sum {
    count: u64,
    tenths: u64,
    oldest: String,
    newest: String,
}

/// What parts the messages of one domain.
#[derive(Clone, Copy, Default)]
struct Parts {
    by_age: bool,
    by_count: bool,
    bounces: bool,
    frozen: bool,
    senders: bool,
}

/// Does it.
pub(super) fn run(call: &Call) -> u8 {
    let mut parts = Parts::default();
    let mut words = call.words.iter();
    let mut files = Vec::new();
    for word in words.by_ref() {
        match word.as_slice() {
            b"-a" => parts.by_age = true,
            b"-c" => parts.by_count = true,
            b"-b" => parts.bounces = true,
            b"-f" => parts.frozen = true,
            b"-s" => parts.senders = true,
            // Exim's lets other options pass.
            other if other.starts_with(b"-") && other.len() > 1 => {}
            _ => files.push(word),
        }
    }
    let mut text = Vec::new();
    if files.is_empty()
        && let Err(error) = std::io::stdin().lock().read_to_end(&mut text)
    {
        return call.fail(1, error);
    }
    for file in files {
        match std::fs::read(std::ffi::OsStr::from_bytes(file)) {
            Ok(bytes) => text.extend(bytes),
            Err(error) => {
                call.fail(0, format_args!("{}: {}", String::from_utf8_lossy(file), error_text(&error)));
            }
        }
    }
    say(summary(&listing::read(&String::from_utf8_lossy(&text)), parts));
    0
}

fn summary(all: &[Listed], parts: Parts) -> String {
    let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
    let mut total = None;
    for listed in all {
        // Recipients that are done are marked; addresses without a domain belong nowhere.
        for recipient in listed.recipients.iter().filter(|r| !r.starts_with("D ")) {
            if let Some((_, domain)) = recipient.rsplit_once('@') {
                let name = name(listed, &domain.trim_end_matches('>').to_lowercase(), parts);
                let sum = sums.remove(&name);
                sums.insert(name, with(sum, listed));
                total = Some(with(total, listed));
            }
        }
    }
    let mut rows: Vec<(&String, &Sum)> = sums.iter().collect();
    if parts.by_age {
        rows.sort_by_key(|(_, sum)| std::cmp::Reverse(age(&sum.oldest)));
    } else if parts.by_count {
        rows.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.count));
    }
    let mut out =
        "\nCount  Volume  Oldest  Newest  Domain\n-----  ------  ------  ------  ------\n\n".to_owned();
    for (name, sum) in rows {
        out.push_str(&row(sum, name));
    }
    out.push_str("---------------------------------------------------------------\n");
    let none = Sum { count: 0, tenths: 0, oldest: "0m".to_owned(), newest: "0000d".to_owned() };
    out.push_str(&row(total.as_ref().unwrap_or(&none), "TOTAL"));
    out.push('\n');
    out
}

fn name(listed: &Listed, domain: &str, parts: Parts) -> String {
    let mut name = domain.to_owned();
    let address = listed.sender.split('>').next().unwrap_or_default().trim_start_matches('<');
    if parts.senders {
        let sender = address.rsplit_once('@').map_or("<>", |(_, domain)| domain).to_lowercase();
        name = format!("{sender} > {domain}");
    }
    if parts.bounces && address.is_empty() {
        name.push_str(" (b)");
    }
    if parts.frozen && listed.is_frozen {
        name.push_str(" (f)");
    }
    name
}

fn age(text: &str) -> u64 {
    listing::seconds_of_age(text).unwrap_or(0)
}

fn with(sum: Option<Sum>, listed: &Listed) -> Sum {
    let tenths = listing::tenths_of_size(&listed.size);
    let Some(mut sum) = sum else {
        return Sum { count: 1, tenths, oldest: listed.age.clone(), newest: listed.age.clone() };
    };
    sum.count = sum.count.saturating_add(1);
    sum.tenths = sum.tenths.saturating_add(tenths);
    if age(&listed.age) > age(&sum.oldest) {
        sum.oldest.clone_from(&listed.age);
    }
    if age(&listed.age) < age(&sum.newest) {
        sum.newest.clone_from(&listed.age);
    }
    sum
}

fn row(sum: &Sum, name: &str) -> String {
    format!("{:5}  {:>6}  {:>6}  {:>6}  {name}\n", sum.count, volume(sum.tenths / 10), sum.oldest, sum.newest)
}

fn volume(bytes: u64) -> String {
    match bytes {
        0..=9_999 => bytes.to_string(),
        10_000..=9_999_999 => format!("{}KB", bytes.saturating_add(512) / 1_024),
        _ => format!("{}MB", bytes.saturating_add(524_288) / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_exims() {
        let shown: Vec<String> = ["9999", "10000", "27K", "9315K", "9999K", "9.8M"]
            .map(|s| volume(listing::tenths_of_size(s) / 10))
            .into();
        assert_eq!(shown, ["9999", "10KB", "27KB", "9315KB", "10MB", "10MB"]);
    }

    #[test]
    fn an_empty_queue_has_a_total() {
        assert!(summary(&[], Parts::default()).ends_with("    0       0      0m   0000d  TOTAL\n\n"));
    }
}

//! Reads a listing of the queue (`exim -bp`) back into messages. Lines that do not fit are handed to the caller as they are.

use oxim_mail::message_id::MessageId;

/// A message of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// The age, such as ` 3h`, without blanks.
    pub age: String,
    /// The size, such as `2.5K`; empty if there is none.
    pub size: String,
    /// The id.
    pub id: MessageId,
    /// The sender in angle brackets, and what follows it but the mark of a frozen message.
    pub sender: String,
    /// It is frozen.
    pub is_frozen: bool,
    /// The recipients, those that are done with `D ` in front.
    pub recipients: Vec<String>,
}

/// One line.
enum Line {
    Head(Listed),
    Recipient(String),
    Empty,
}

fn line(text: &str) -> Line {
    if text.trim().is_empty() {
        return Line::Empty;
    }
    match head(text) {
        Some(listed) => Line::Head(listed),
        None => Line::Recipient(text.trim().to_owned()),
    }
}

fn head(text: &str) -> Option<Listed> {
    let mut words = text.split_whitespace();
    let age = words.next().filter(|age| seconds_of_age(age).is_some())?;
    let (mut size, mut id) = ("", words.next()?);
    if MessageId::parse(id.as_bytes()).is_none() {
        (size, id) = (id, words.next()?);
    }
    let id = MessageId::parse(id.as_bytes())?;
    let tail = text.split_once(id.as_str())?.1.trim();
    let (sender, is_frozen) = match tail.strip_suffix("*** frozen ***") {
        Some(sender) => (sender.trim_end(), true),
        None => (tail, false),
    };
    Some(Listed {
        age: age.to_owned(),
        size: size.to_owned(),
        id,
        sender: sender.to_owned(),
        is_frozen,
        recipients: Vec::new(),
    })
}

/// The messages of a listing, in its order.
pub(super) fn read(text: &str) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    let mut is_open = false;
    for text in text.lines() {
        match line(text) {
            Line::Head(listed) => {
                all.push(listed);
                is_open = true;
            }
            Line::Empty => is_open = false,
            Line::Recipient(recipient) => {
                if let Some(last) = all.last_mut().filter(|_| is_open) {
                    last.recipients.push(recipient);
                }
            }
        }
    }
    all
}

/// How many seconds `90m`, `3h`, `4d` are. None if it is no age.
pub(super) fn seconds_of_age(age: &str) -> Option<u64> {
    let (number, unit) = age.split_at_checked(age.len().checked_sub(1)?)?;
    let unit = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// How many tenths of a byte `2.5K`, `10M`, `300` are about; 0 if it is no size.
pub(super) fn tenths_of_size(size: &str) -> u64 {
    let (number, factor) = match (size.strip_suffix('K'), size.strip_suffix('M')) {
        (Some(number), _) => (number, 1_024),
        (_, Some(number)) => (number, 1_048_576),
        _ => (size, 1),
    };
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let (whole, tenth) = (whole.parse::<u64>().unwrap_or(0), tenth.parse::<u64>().unwrap_or(0));
    whole.saturating_mul(10).saturating_add(tenth).saturating_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_back() {
        let text = " 0m   222 1xUh6V-0007qv-18 <> *** frozen ***\n          y@d.ex\n        D z@d.ex\n\n           1xUh8k-0002tG-0P \n    *** spool format error: x ***\n\n10d  2.5M 16VDhn-000000001bo-D342 <a@b> (user)\n          \"a b\"@x\n 2h       1xUh6V-0007qv-19 <c@d>\n";
        let all = read(text);
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].is_frozen, all[0].sender.as_str()), (true, "<>"));
        assert_eq!(all[0].recipients, ["y@d.ex", "D z@d.ex"]);
        assert_eq!((all[1].sender.as_str(), all[1].size.as_str()), ("<a@b> (user)", "2.5M"));
        assert_eq!((all[2].age.as_str(), all[2].size.as_str()), ("2h", ""));
        assert_eq!(["2.5M", "5.6K", "7", ""].map(tenths_of_size), [26_214_400, 57_344, 70, 0]);
        assert_eq!(seconds_of_age("3d"), Some(259_200));
        assert_eq!(seconds_of_age("3w"), None);
    }
}

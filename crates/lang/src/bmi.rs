//! What Brightmail, or what stands in its place, has said of a message: its verdicts, by recipient.
//!
//! The verdicts travel with the message as texts; `oxim_deliver::bmi` reads them, once for each attempt at delivery. Here is
//! what routers and variables see. Manual: docs/features/bmi.md.

use std::collections::HashMap;
use std::sync::Arc;

/// Where a verdict sends the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// To the recipient, as any message.
    #[default]
    Default,
    /// Nowhere.
    Nowhere,
    /// Elsewhere: the text of `$bmi_alt_location`.
    Elsewhere(Vec<u8>),
}

/// One verdict, about one or more recipients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Its text in base 64: `$bmi_base64_verdict`.
    pub text: Vec<u8>,
    /// The text for the tracker: `$bmi_base64_tracker_verdict`.
    pub tracker: Vec<u8>,
    /// The addresses that it is about, as they were in RCPT.
    pub recipients: Vec<Vec<u8>>,
    /// Where it sends the message.
    pub destination: Destination,
    /// The rules that fired, of those that routers ask for.
    pub rules: Vec<u32>,
}

/// The verdicts of a message.
#[derive(Debug, Default)]
pub struct Verdicts {
    by_recipient: HashMap<Vec<u8>, Arc<Verdict>>,
    /// Why they could not be read now, if addresses are to wait until they can be.
    pub trouble: Option<String>,
}

impl Verdicts {
    /// Puts them in order: the first verdict about a recipient is the one that counts.
    #[must_use]
    pub fn new(verdicts: Vec<Verdict>) -> Verdicts {
        let mut by_recipient = HashMap::new();
        for verdict in verdicts {
            let verdict = Arc::new(verdict);
            for recipient in &verdict.recipients {
                by_recipient.entry(recipient.to_ascii_lowercase()).or_insert_with(|| Arc::clone(&verdict));
            }
        }
        Verdicts { by_recipient, trouble: None }
    }

    /// No verdicts, because they could not be read now.
    #[must_use]
    pub fn unreadable(why: String) -> Verdicts {
        Verdicts { trouble: Some(why), ..Verdicts::default() }
    }

    /// The verdict about a recipient of the envelope, in whatever case.
    #[must_use]
    pub fn about(&self, address: &[u8]) -> Option<&Arc<Verdict>> {
        self.by_recipient.get(&address.to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_verdict_about_a_recipient_counts() {
        let verdict = |text: &str, recipients: &[&str]| Verdict {
            text: text.into(),
            recipients: recipients.iter().map(|r| r.as_bytes().to_vec()).collect(),
            ..Verdict::default()
        };
        let verdicts =
            Verdicts::new(vec![verdict("one", &["a@x.ex", "B@X.ex"]), verdict("two", &["A@x.ex", "c@x.ex"])]);
        let text = |address: &str| verdicts.about(address.as_bytes()).map(|v| v.text.clone());
        assert_eq!(text("A@X.EX").as_deref(), Some(&b"one"[..]));
        assert_eq!(text("b@x.ex").as_deref(), Some(&b"one"[..]));
        assert_eq!(text("c@x.ex").as_deref(), Some(&b"two"[..]));
        assert_eq!(text("d@x.ex"), None);
    }
}

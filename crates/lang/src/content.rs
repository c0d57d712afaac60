//! What content scanning has found out about a message: `$mime_…`, `$malware_name`, `$spam_…` (manual chapter 45).
//!
//! All of it belongs to the message. The scores are kept in the spool, so that deliveries see them.

use oxim_mail::mime::part::PartHeader;
use oxim_mail::mime::transfer::Anomaly;

/// Everything that is known of the content.
#[derive(Clone, Debug, Default)]
pub struct ContentFacts {
    /// The MIME part in hand.
    pub part: Option<Box<PartFacts>>,
    /// `$mime_part_count` when no part is in hand; None: no parts were looked at.
    pub part_count: Option<i64>,
    /// `$malware_name`.
    pub malware_name: Option<Vec<u8>>,
    /// Whether the last virus scan could not be done: `$av_failed`.
    pub av_failed: bool,
    /// What the last `spam` condition found.
    pub spam: Option<Box<SpamFacts>>,
}

impl ContentFacts {
    /// What the spool has kept.
    #[must_use]
    pub fn of(spooled: &oxim_spool::message::Message) -> ContentFacts {
        let spam = spooled.spam_score.is_some() || spooled.spam_bar.is_some();
        let spam = spam.then(|| {
            Box::new(SpamFacts {
                score: spooled.spam_score.clone().unwrap_or_default(),
                score_int: spooled.spam_score_int.clone().unwrap_or_default(),
                bar: spooled.spam_bar.clone().unwrap_or_default(),
                ..SpamFacts::default()
            })
        });
        ContentFacts { spam, ..ContentFacts::default() }
    }
}

/// One MIME part.
#[derive(Clone, Debug, Default)]
pub struct PartFacts {
    /// What its header says.
    pub header: PartHeader,
    /// `$mime_part_count`: the number of the part in its message, from 0.
    pub number: i64,
    /// `$mime_is_coverletter`.
    pub is_cover_letter: bool,
    /// `$mime_is_rfc822`: it is part of an attached message.
    pub is_rfc822: bool,
    /// `$mime_decoded_filename`, once it has been decoded.
    pub decoded_filename: Option<Vec<u8>>,
    /// `$mime_content_size`, in kilobytes, once it has been decoded.
    pub size_kilobytes: u64,
    /// What was wrong with its encoding.
    pub anomaly: Anomaly,
}

/// What SpamAssassin or Rspamd said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpamFacts {
    /// `$spam_score`: `3.4`.
    pub score: Vec<u8>,
    /// `$spam_score_int`: `34`.
    pub score_int: Vec<u8>,
    /// `$spam_bar`: `+++`.
    pub bar: Vec<u8>,
    /// `$spam_report`.
    pub report: Vec<u8>,
    /// `$spam_action`.
    pub action: Vec<u8>,
}

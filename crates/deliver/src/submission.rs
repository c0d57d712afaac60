//! Messages that this program writes itself: bounces, delay warnings, automatic replies, quota warnings.
//!
//! They enter the queue by the same door as a local submission, so they get ids, `Received:` lines, ACLs and log lines
//! like any other. That door is in the crate to the right; it is handed in when the program starts.

use oxim_mail::message_id::MessageId;

/// A message to submit.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// Envelope sender; empty for all that must never be answered.
    pub sender: Vec<u8>,
    /// Envelope recipients.
    pub recipients: Vec<Vec<u8>>,
    /// Header and body, LF line ends.
    pub text: Vec<u8>,
    /// The message that it is about: `R=` in the log.
    pub about: Option<MessageId>,
    /// The user and group in whose name it is sent (automatic replies); `None`: this program's own.
    pub caller: Option<(u32, u32)>,
}

/// Takes submissions.
pub trait Submitter: Send + Sync {
    /// Puts the message on the queue. It is durable when this returns.
    ///
    /// # Errors
    /// Why it could not be taken; the caller tries again at the next delivery attempt.
    fn submit(&self, submission: Submission) -> Result<(), String>;

    /// `mua_wrapper`: tells the caller, who waits, why the message was not delivered.
    fn tell_caller(&self, complaint: &str) {
        let _ = complaint;
    }
}

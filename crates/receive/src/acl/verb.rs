//! The seven verbs (manual section 44.18).

use super::phase::{Phases, phases};
use super::{Phase, Verdict};

/// What a statement does with the outcome of its conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Ends the ACL with "yes" if all conditions hold.
    Accept,
    /// Ends it with "later".
    Defer,
    /// Ends it with "no".
    Deny,
    /// Ends it with "yes, and throw it away".
    Discard,
    /// Ends it with "no", and the connection too.
    Drop,
    /// Ends it with "no" unless all conditions hold.
    Require,
    /// Never ends it.
    Warn,
}

const DISCARDING: Phases = phases(&[
    Phase::Rcpt,
    Phase::Mail,
    Phase::Data,
    Phase::Mime,
    Phase::Dkim,
    Phase::Prdr,
    Phase::NotSmtp,
    Phase::NotSmtpMime,
]);

impl Verb {
    /// The verb of a name. Case counts.
    pub(crate) fn parse(word: &str) -> Option<Verb> {
        Some(match word {
            "accept" => Verb::Accept,
            "defer" => Verb::Defer,
            "deny" => Verb::Deny,
            "discard" => Verb::Discard,
            "drop" => Verb::Drop,
            "require" => Verb::Require,
            "warn" => Verb::Warn,
            _ => return None,
        })
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verb::Accept => "accept",
            Verb::Defer => "defer",
            Verb::Deny => "deny",
            Verb::Discard => "discard",
            Verb::Drop => "drop",
            Verb::Require => "require",
            Verb::Warn => "warn",
        }
    }

    /// How the ACL ends when all conditions hold, and the word for it in debug output; None: it goes on.
    pub(crate) const fn verdict(self) -> Option<(Verdict, &'static str)> {
        match self {
            Verb::Accept => Some((Verdict::Accept, "ACCEPT")),
            Verb::Defer => Some((Verdict::Defer, "DEFER")),
            Verb::Deny => Some((Verdict::Deny, "DENY")),
            Verb::Discard => Some((Verdict::Discard, "DISCARD")),
            Verb::Drop => Some((Verdict::Drop, "DROP")),
            Verb::Require | Verb::Warn => None,
        }
    }

    /// Whether `endpass` may stand in its statement, and a nested `discard` is passed on.
    pub(crate) const fn is_affirmative(self) -> bool {
        matches!(self, Verb::Accept | Verb::Discard)
    }

    /// Whether the verb may decide in a phase.
    pub(crate) const fn is_allowed(self, phase: Phase) -> bool {
        !matches!(self, Verb::Discard) || DISCARDING & phase.bit() != 0
    }
}

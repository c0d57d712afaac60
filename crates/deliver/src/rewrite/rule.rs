//! One rewriting rule: pattern, replacement, flags (manual sections 31.4 to 31.10).

use std::fmt;

use oxim_lang::expand::Template;
use oxim_lang::list::{List, ListKind};

use crate::retry::field;

/// What is wrong with a rule; the text is Exim's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError(pub String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RuleError {}

/// Where a rule stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the rewrite section.
    Main,
    /// In `headers_rewrite` of a transport, where the envelope and SMTP time are out of reach.
    Transport,
}

/// Where an address stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The envelope sender.
    EnvelopeFrom,
    /// An envelope recipient.
    EnvelopeTo,
    /// Sender:
    Sender,
    /// From:
    From,
    /// To:
    To,
    /// Cc:
    Cc,
    /// Bcc:
    Bcc,
    /// Reply-To:
    ReplyTo,
}

impl Place {
    pub(super) fn is_header(self) -> bool {
        !matches!(self, Place::EnvelopeFrom | Place::EnvelopeTo)
    }

    /// As log lines name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Place::EnvelopeFrom => "env-from",
            Place::EnvelopeTo => "env-to",
            Place::Sender => "sender:",
            Place::From => "from:",
            Place::To => "to:",
            Place::Cc => "cc:",
            Place::Bcc => "bcc:",
            Place::ReplyTo => "reply-to:",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Place::EnvelopeFrom => 1,
            Place::EnvelopeTo => 2,
            Place::Sender => 4,
            Place::From => 8,
            Place::To => 16,
            Place::Cc => 32,
            Place::Bcc => 64,
            Place::ReplyTo => 128,
        }
    }
}

const ENVELOPE: u8 = Place::EnvelopeFrom.bit() | Place::EnvelopeTo.bit();
const HEADERS: u8 = !ENVELOPE;

/// The flags of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    places: u8,
    /// `S`.
    pub(super) smtp: bool,
    /// `q`.
    pub(super) stop: bool,
    /// `Q`.
    pub(super) qualify: bool,
    /// `R`.
    pub(super) repeat: bool,
    /// `w`.
    pub(super) whole: bool,
}

impl Flags {
    fn parse(text: &str, scope: Scope) -> Result<Flags, RuleError> {
        let mut flags = Flags::default();
        for letter in text.chars().filter(|c| !c.is_ascii_whitespace()) {
            match (letter, scope) {
                ('E', Scope::Main) => flags.places |= ENVELOPE,
                ('F', Scope::Main) => flags.places |= Place::EnvelopeFrom.bit(),
                ('T', Scope::Main) => flags.places |= Place::EnvelopeTo.bit(),
                ('S', Scope::Main) => flags.smtp = true,
                ('b', _) => flags.places |= Place::Bcc.bit(),
                ('c', _) => flags.places |= Place::Cc.bit(),
                ('f', _) => flags.places |= Place::From.bit(),
                ('h', _) => flags.places |= HEADERS,
                ('r', _) => flags.places |= Place::ReplyTo.bit(),
                ('s', _) => flags.places |= Place::Sender.bit(),
                ('t', _) => flags.places |= Place::To.bit(),
                ('q', _) => flags.stop = true,
                ('Q', _) => flags.qualify = true,
                ('R', _) => flags.repeat = true,
                ('w', _) => flags.whole = true,
                _ => {
                    return Err(RuleError(format!(
                        "unknown rewrite flag character '{letter}' (could be missing quotes round replacement item)"
                    )));
                }
            }
        }
        if flags.places == 0 && !flags.smtp {
            flags.places = if scope == Scope::Main { ENVELOPE | HEADERS } else { HEADERS };
        }
        Ok(flags)
    }

    /// Whether the rule is for a place.
    #[must_use]
    pub fn admits(self, place: Place) -> bool {
        self.places & place.bit() != 0
    }
}

/// A rewriting rule.
#[derive(Debug)]
pub struct Rule {
    pub(super) pattern: List,
    pub(super) pattern_text: String,
    /// None: `*`, the address is not rewritten by this rule or later ones.
    pub(super) replacement: Option<Template>,
    pub(super) replacement_text: String,
    pub(super) flags: Flags,
}

impl Rule {
    /// Parses a rule.
    ///
    /// # Errors
    /// The first fault, in Exim's words.
    pub fn parse(line: &str, scope: Scope) -> Result<Rule, RuleError> {
        let (pattern_text, rest) = field(line);
        if rest.trim_start().is_empty() {
            return Err(RuleError("missing rewrite replacement string".to_owned()));
        }
        let (replacement_text, rest) = field(rest);
        let flags = Flags::parse(rest, scope)?;
        let is_regex = pattern_text.starts_with('^') || pattern_text.starts_with("\\N^");
        if flags.smtp && !is_regex {
            return Err(RuleError("rewrite rule has the S flag but is not a regular expression".to_owned()));
        }
        Ok(Rule {
            pattern: List::single_expanded(ListKind::Address, &pattern_text),
            pattern_text,
            replacement: (replacement_text != "*").then(|| Template::compile(&replacement_text)),
            replacement_text,
            flags,
        })
    }
}

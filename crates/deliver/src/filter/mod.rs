//! Filter files: what a user's or the postmaster's rules make of a message. Exim's filter language and Sieve.
//!
//! A file is parsed once ([`Filter::parse`]) and evaluated for each message. Neither step does I/O: evaluation yields
//! [`Deed`]s, header changes and log lines, which the router or the delivery attempt carries out.
//! Failure modes: a faulty Exim filter yields an error text and nothing is delivered; a faulty Sieve script keeps the
//! message in the inbox. Manual: "Exim's interfaces to mail filtering", chapters 22 and 47 of the specification,
//! RFC 5228 and the extensions that `-bI:sieve` lists.

pub mod cache;
pub mod exim;
pub mod rights;
pub mod sieve;

use oxim_base::Text;
use oxim_lang::restrict::Forbidden;

/// Which language a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `# Exim filter`.
    Exim,
    /// `# Sieve filter`.
    Sieve,
}

impl Kind {
    /// The language that the first line names; `None` for a list of addresses. White space and case do not matter.
    #[must_use]
    pub fn of(data: &[u8]) -> Option<Kind> {
        let rest = data.trim_ascii_start().strip_prefix(b"#")?.trim_ascii_start();
        let second = |word: &[u8]| {
            let (head, rest) = rest.split_at_checked(word.len())?;
            let rest = head.eq_ignore_ascii_case(word).then(|| rest.trim_ascii_start())?;
            rest.get(..6).filter(|next| next.eq_ignore_ascii_case(b"filter"))
        };
        if second(b"exim").is_some() {
            Some(Kind::Exim)
        } else if second(b"sieve").is_some() {
            Some(Kind::Sieve)
        } else {
            None
        }
    }

    /// The name as messages show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Exim => "Exim",
            Kind::Sieve => "Sieve",
        }
    }
}

/// A parsed filter.
#[derive(Debug)]
pub enum Filter {
    /// Exim's language.
    Exim(exim::Program),
    /// Sieve.
    Sieve(sieve::Script),
}

/// What an autoreply transport is to send for `mail`, `vacation` or `notify`. Empty fields are not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The To: field.
    pub to: Vec<u8>,
    /// The Cc: field.
    pub cc: Vec<u8>,
    /// Further recipients.
    pub bcc: Vec<u8>,
    /// The From: field.
    pub from: Vec<u8>,
    /// The Reply-To: field.
    pub reply_to: Vec<u8>,
    /// The Subject: field.
    pub subject: Vec<u8>,
    /// Further header lines.
    pub headers: Vec<u8>,
    /// The beginning of the body.
    pub text: Vec<u8>,
    /// A file that follows the text.
    pub file: Vec<u8>,
    /// The lines of the file are expanded.
    pub expands_file: bool,
    /// A log file.
    pub log: Vec<u8>,
    /// The name under which it is remembered who had a reply.
    pub once: Vec<u8>,
    /// Seconds after which somebody gets another reply; 0 is never.
    pub once_repeat: u64,
    /// The answered message is added.
    pub returns_message: bool,
}

/// One delivery that a filter sets up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// To a mail address.
    Mail {
        /// Without comments; with a domain unless `is_unqualified`.
        address: Vec<u8>,
        /// It has no domain yet.
        is_unqualified: bool,
        /// Where errors go.
        errors_to: Option<Vec<u8>>,
    },
    /// To a file, or a directory if the path ends in a slash.
    Save {
        /// The path; may be relative.
        path: Text,
        /// The mode that the file gets.
        mode: Option<u32>,
    },
    /// To a command, whose words are expanded when it is run.
    Pipe(Vec<u8>),
    /// A new message.
    Reply(Box<Reply>),
}

/// A delivery and how it is treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What is done.
    pub deed: Deed,
    /// `noerror`: nobody is told of failures.
    pub ignores_errors: bool,
    /// `$0` and its kin where the command stands: commands of pipes are expanded with them.
    pub captures: Vec<Text>,
    /// `$thisaddress` there.
    pub this_address: Option<Text>,
    /// What expansions that are made at the delivery may not do; `None`: the postmaster's own filter.
    pub forbidden: Option<Forbidden>,
}

impl Made {
    /// The mode that `save` gives.
    #[must_use]
    pub fn mode(&self) -> Option<u32> {
        match &self.deed {
            Deed::Save { mode, .. } => *mode,
            Deed::Mail { .. } | Deed::Pipe(_) | Deed::Reply(_) => None,
        }
    }

    /// The reply, if it is one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match &self.deed {
            Deed::Reply(reply) => Some(reply),
            Deed::Mail { .. } | Deed::Pipe(_) | Deed::Save { .. } => None,
        }
    }
}

/// How a filter ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// At its end, by `finish` or by `stop`.
    #[default]
    Normal,
    /// `fail`, with its text.
    Fail(String),
    /// `defer`, with its text.
    Defer(String),
    /// `freeze`, with its text.
    Freeze(String),
    /// Something is wrong in it; the text says what.
    Error(String),
}

/// A line for a filter's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The file.
    pub path: Text,
    /// Its mode, if it has to be made.
    pub mode: u32,
    /// What is written, with its line end.
    pub text: Vec<u8>,
}

/// What a filter came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Deliveries, in order.
    pub made: Vec<Made>,
    /// Whether the message is dealt with: no further router sees the address.
    pub is_significant: bool,
    /// How it ended.
    pub end: End,
    /// What is to be logged, in order.
    pub log: Vec<LogEntry>,
    /// What a test shows on standard output.
    pub shown: Vec<u8>,
    /// The header lines of the message were changed.
    pub headers_changed: bool,
}

impl Filter {
    /// Parses a file.
    #[must_use]
    pub fn parse(kind: Kind, data: &[u8]) -> Filter {
        match kind {
            Kind::Exim => Filter::Exim(exim::Program::parse(data)),
            Kind::Sieve => Filter::Sieve(sieve::Script::parse(data)),
        }
    }
}

/// The text with what cannot be printed written as escapes, as tests and log lines show it. Tabs stay.
#[must_use]
pub fn printing(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            11 => out.extend_from_slice(b"\\v"),
            b'\t' | b' '..=b'~' => out.push(*byte),
            other => out.extend_from_slice(format!("\\{other:03o}").as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_told_by_their_first_line() {
        for (data, kind) in [
            ("# Exim filter\nsave x", Some(Kind::Exim)),
            (" \n#Exim filter <<== do not edit", Some(Kind::Exim)),
            ("#EXIMfilter", Some(Kind::Exim)),
            ("#   sieve  FILTER\nkeep;", Some(Kind::Sieve)),
            ("#Sievefilter\nkeep;", Some(Kind::Sieve)),
            ("# a comment\nbob", None),
            ("# exim filt", None),
            ("bob", None),
        ] {
            assert_eq!(Kind::of(data.as_bytes()), kind, "{data:?}");
        }
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(printing(b"a\x01\n\t\xe9~"), b"a\\001\\n\t\\351~");
    }
}

//! Sieve (RFC 5228) with the extensions that Exim has: copy (RFC 3894), encoded-character, enotify with mailto (RFC
//! 5435, 5436), envelope, fileinto, subaddress (RFC 5233), vacation (RFC 5230), `comparator-i;ascii-numeric` (RFC 4790).
//!
//! Exim executes a script while it reads it. A fault therefore counts only when execution comes to its place, executed
//! blocks or not; what was done before stays done, and the message is kept in the inbox as well. [`Script`] has the
//! commands up to the first fault, and the fault.

mod compare;
pub mod evaluate;
mod lexer;
mod notify;
mod parse;
pub mod tree;
mod vacation;

pub use evaluate::Rules;

/// The extensions, as `-bI:sieve` lists them.
pub static EXTENSIONS: [&str; 8] = [
    "comparator-i;ascii-numeric",
    "copy",
    "encoded-character",
    "enotify",
    "envelope",
    "fileinto",
    "subaddress",
    "vacation",
];

/// What is wrong with a script, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exim's words.
    pub message: String,
    /// The line that reading had come to.
    pub line: usize,
}

/// A parsed script.
#[derive(Debug)]
pub struct Script {
    block: tree::Block,
    /// Where enotify is required: that is a fault where it is not enabled.
    enotify_line: Option<usize>,
}

impl Script {
    /// Parses a script, up to its first fault.
    #[must_use]
    pub fn parse(data: &[u8]) -> Script {
        let (block, enotify_line) = parse::script(data);
        Script { block, enotify_line }
    }
}

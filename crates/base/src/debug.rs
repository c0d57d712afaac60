//! The `-d` debug selectors (manual section 5.2) and the lines they let through to standard error.
//!
//! Selectors are process-wide: they are set once, from the command line, before any work begins.

use std::sync::atomic::{AtomicU64, Ordering};

/// One debug selector: its name on the command line and its bit.
pub struct Selector {
    /// The word after `-d+`.
    pub name: &'static str,
    /// Its bit in the mask.
    pub bit: u64,
    /// What it shows, for the documentation.
    pub doc: &'static str,
}

macro_rules! selectors {
    ($($bit:expr, $constant:ident, $name:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $constant: u64 = 1 << $bit;)*
        /// All selectors, in the order of the manual.
        pub static SELECTORS: &[Selector] = &[$(Selector { name: $name, bit: $constant, doc: $doc },)*];
    };
}

selectors! {
    0, ACL, "acl", "ACL interpretation.";
    1, AUTH, "auth", "Authenticators.";
    2, DELIVER, "deliver", "General delivery logic.";
    3, DNS, "dns", "DNS lookups.";
    4, DNSBL, "dnsbl", "DNS black list code.";
    5, EXEC, "exec", "Arguments for executed programs.";
    6, EXPAND, "expand", "Detailed debugging for string expansions.";
    7, FILTER, "filter", "Filter handling.";
    8, HINTS_LOOKUP, "hints_lookup", "Hints data lookups.";
    9, HOST_LOOKUP, "host_lookup", "All types of name to address lookup.";
    10, IDENT, "ident", "Ident lookups.";
    11, INTERFACE, "interface", "Lists of local interfaces.";
    12, LISTS, "lists", "Matching things in lists.";
    13, LOAD, "load", "System load checks.";
    14, LOCAL_SCAN, "local_scan", "Local scan.";
    15, LOOKUP, "lookup", "General lookup code and all lookups.";
    16, MEMORY, "memory", "Memory handling.";
    17, NOUTF8, "noutf8", "Use plain characters for tree drawing.";
    18, PID, "pid", "Add the process id to debug lines.";
    19, PROCESS_INFO, "process_info", "Setting info for the process log.";
    20, QUEUE_RUN, "queue_run", "Queue runs.";
    21, RECEIVE, "receive", "General message reception logic.";
    22, RESOLVER, "resolver", "DNS resolver output.";
    23, RETRY, "retry", "Retry handling.";
    24, REWRITE, "rewrite", "Address rewriting.";
    25, ROUTE, "route", "Address routing.";
    26, TIMESTAMP, "timestamp", "Add a timestamp to debug lines.";
    27, TLS, "tls", "TLS logic.";
    28, TRANSPORT, "transport", "Transports.";
    29, UID, "uid", "Changes of uid and gid.";
    30, VERIFY, "verify", "Address verification logic.";
}

/// What `-d` without further words switches on.
pub const DEFAULT: u64 = ALL
    & !(EXPAND
        | FILTER
        | INTERFACE
        | LOAD
        | LOCAL_SCAN
        | MEMORY
        | PID
        | RESOLVER
        | TIMESTAMP
        | NOUTF8
        | LISTS);
/// What `-v` switches on: only the lines that every debugging start shows.
pub const VERBOSE: u64 = 1 << 62;
/// Everything.
pub const ALL: u64 = (1 << 31) - 1;

static MASK: AtomicU64 = AtomicU64::new(0);

/// Sets the selectors of this process.
pub fn set(mask: u64) {
    MASK.store(mask, Ordering::Relaxed);
}

/// The selectors of this process.
#[must_use]
pub fn mask() -> u64 {
    MASK.load(Ordering::Relaxed)
}

/// Whether a selector is on.
#[must_use]
pub fn enabled(bit: u64) -> bool {
    mask() & bit != 0
}

/// Writes a line to standard error if the selector is on. The closure is not called otherwise.
pub fn line(bit: u64, text: impl FnOnce() -> String) {
    if enabled(bit) {
        eprintln!("{}", text());
    }
}

/// Reads what follows `-d`: empty, or a sequence of `+name` and `-name`. The error is the unknown word.
///
/// # Errors
/// The text from the first unknown selector on.
pub fn parse(text: &str) -> Result<u64, String> {
    let mut mask = DEFAULT;
    let mut rest = text;
    while !rest.is_empty() {
        let (add, tail) = match rest.split_at_checked(1) {
            Some(("+", tail)) => (true, tail),
            Some(("-", tail)) => (false, tail),
            _ => return Err(rest.to_owned()),
        };
        let end = tail.find(['+', '-']).unwrap_or(tail.len());
        let (word, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
        let bit = match word {
            "all" => ALL,
            _ => SELECTORS.iter().find(|s| s.name == word).map(|s| s.bit).ok_or_else(|| rest.to_owned())?,
        };
        mask = if add { mask | bit } else { mask & !bit };
        rest = after;
    }
    Ok(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_add_and_take_away() {
        assert_eq!(parse(""), Ok(DEFAULT));
        assert_eq!(parse("-all+acl").map(|m| m & ALL), Ok(ACL));
        assert_eq!(parse("+expand").map(|m| m & EXPAND), Ok(EXPAND));
        assert!(parse("+nonsense").is_err());
    }
}

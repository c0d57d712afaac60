//! The `-d` debug selectors (manual section 5.2) and the lines they let through to standard error.
//!
//! Selectors are process-wide: they are set once, from the command line, before any work begins. Beside them, one connection
//! can have a [`Tap`] of its own (`control = debug`); it is set for the thread that works for the connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

/// Whether a selector is on, for the process or for the connection that this thread works for.
#[must_use]
pub fn enabled(bit: u64) -> bool {
    mask() & bit != 0 || tapped(bit).is_some()
}

/// Writes a line to standard error, and to the tap, if the selector is on there. The closure is not called otherwise.
pub fn line(bit: u64, text: impl FnOnce() -> String) {
    let is_shown = mask() & bit != 0;
    let tap = tapped(bit);
    if !is_shown && tap.is_none() {
        return;
    }
    let text = text();
    if is_shown {
        eprintln!("{text}");
    }
    if let Some(tap) = tap {
        tap.line(&text);
    }
}

/// Where the lines of one connection go, beside those of the process.
pub trait Tap: Send + Sync + std::fmt::Debug {
    /// The selectors.
    fn mask(&self) -> u64;
    /// Takes a line, without its end.
    fn line(&self, text: &str);
    /// Something was written to the panic log.
    fn panicked(&self);
}

/// Whether there has ever been a tap: as long as there has not, nobody looks for one.
static ANY_TAP: AtomicBool = AtomicBool::new(false);

thread_local! {
    static TAP: RefCell<Option<Arc<dyn Tap>>> = const { RefCell::new(None) };
}

/// Sets the tap of this thread, or takes it away; gives back what was there.
pub fn set_tap(tap: Option<Arc<dyn Tap>>) -> Option<Arc<dyn Tap>> {
    if tap.is_some() {
        ANY_TAP.store(true, Ordering::Relaxed);
    } else if !ANY_TAP.load(Ordering::Relaxed) {
        return None;
    }
    TAP.with(|place| place.replace(tap))
}

/// Tells the tap of this thread that something was written to the panic log.
pub fn panicked() {
    if let Some(tap) = current_tap() {
        tap.panicked();
    }
}

fn current_tap() -> Option<Arc<dyn Tap>> {
    if !ANY_TAP.load(Ordering::Relaxed) {
        return None;
    }
    TAP.with(|place| place.borrow().clone())
}

fn tapped(bit: u64) -> Option<Arc<dyn Tap>> {
    current_tap().filter(|tap| tap.mask() & bit != 0)
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

    #[derive(Debug, Default)]
    struct Lines(std::sync::Mutex<Vec<String>>);

    impl Tap for Lines {
        fn mask(&self) -> u64 {
            ACL
        }

        fn line(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }

        fn panicked(&self) {}
    }

    #[test]
    fn a_tap_gets_the_lines_of_its_thread() {
        let lines = Arc::new(Lines::default());
        assert!(set_tap(Some(Arc::clone(&lines) as Arc<dyn Tap>)).is_none());
        line(ACL, || "one".to_owned());
        line(DNS, || "two".to_owned());
        std::thread::spawn(|| line(ACL, || "three".to_owned())).join().unwrap();
        assert!(set_tap(None).is_some());
        line(ACL, || "four".to_owned());
        assert_eq!(*lines.0.lock().unwrap(), ["one"]);
    }

    #[test]
    fn words_add_and_take_away() {
        assert_eq!(parse(""), Ok(DEFAULT));
        assert_eq!(parse("-all+acl").map(|m| m & ALL), Ok(ACL));
        assert_eq!(parse("+expand").map(|m| m & EXPAND), Ok(EXPAND));
        assert!(parse("+nonsense").is_err());
    }
}

//! Regular expressions as Exim has them: PCRE2 without options, on bytes, captures to `$0`, `$1`….
//!
//! Each match is bounded by PCRE2's match and depth limits, which are set at the front of the pattern, because the
//! binding has no call for them. Where just-in-time compilation is possible it is used; its stack is bounded too.
//! Failure modes: a pattern that does not compile ([`RegexError::Pattern`]), a match that takes too many steps
//! ([`RegexError::Match`]). A pattern that is not UTF-8 has its high bytes written as `\xhh`, which is the same except
//! between `\Q` and `\E`. Manual chapter 8.

use std::sync::{Arc, LazyLock};

use oxim_base::Text;
use oxim_base::limits::{REGEX_DEPTH_MAX, REGEX_MATCH_STEPS_MAX};
use parking_lot::Mutex;
use pcre2::bytes::CaptureLocations;
use quick_cache::sync;

/// Room for the stack of just-in-time compiled matches, in bytes.
const JIT_STACK_BYTES_MAX: usize = 1024 * 1024;
/// How many patterns that come out of expansions one process remembers.
const CACHED_PATTERNS_MAX: usize = 2_000;

/// How many sets of groups one pattern keeps for the next match.
const SPARE_GROUPS_MAX: usize = 8;

/// A compiled pattern.
pub struct Regex {
    inner: pcre2::bytes::Regex,
    /// Room for groups comes with a stack for just-in-time compiled matches, which costs more to make than most matches.
    spare: Mutex<Vec<CaptureLocations>>,
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

/// Why a pattern could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegexError {
    /// The postmaster's pattern is wrong: what PCRE2 says, at which byte.
    Pattern {
        /// PCRE2's words.
        message: String,
        /// Byte offset in the pattern.
        offset: usize,
    },
    /// The match itself failed: a limit was reached.
    Match(String),
}

impl RegexError {
    /// Exim's text about a pattern that does not compile or run.
    #[must_use]
    pub fn describe(&self, pattern: &[u8]) -> String {
        let pattern = String::from_utf8_lossy(pattern);
        match self {
            RegexError::Pattern { message, offset } => {
                format!("regular expression error in \"{pattern}\": {message} at offset {offset}")
            }
            RegexError::Match(message) => format!("regular expression \"{pattern}\": {message}"),
        }
    }
}

impl Regex {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`RegexError::Pattern`].
    pub fn compile(pattern: &[u8], caseless: bool) -> Result<Regex, RegexError> {
        let limits = format!("(*LIMIT_MATCH={REGEX_MATCH_STEPS_MAX})(*LIMIT_DEPTH={REGEX_DEPTH_MAX})");
        let source = limits.clone() + &pattern_text(pattern);
        let inner = pcre2::bytes::RegexBuilder::new()
            .caseless(caseless)
            .jit_if_available(true)
            .max_jit_stack_size(Some(JIT_STACK_BYTES_MAX))
            .build(&source)
            .map_err(|error| compile_error(&error, limits.len()))?;
        Ok(Regex { inner, spare: Mutex::default() })
    }

    /// Whether the pattern matches anywhere in the subject.
    ///
    /// # Errors
    /// [`RegexError::Match`] when a limit is reached.
    pub fn is_match(&self, subject: &[u8]) -> Result<bool, RegexError> {
        self.inner.is_match(subject).map_err(|e| RegexError::Match(e.to_string()))
    }

    /// The captures of the first match, `$0` first, with the subject's taint; groups that took no part are empty.
    ///
    /// # Errors
    /// [`RegexError::Match`] when a limit is reached.
    pub fn captures(&self, subject: &Text) -> Result<Option<Vec<Text>>, RegexError> {
        self.find_with(subject.as_bytes(), 0, |start, end| subject.slice(start, end))
    }

    /// Byte ranges of the groups of the first match at or after an offset.
    ///
    /// # Errors
    /// [`RegexError::Match`] when a limit is reached.
    pub fn find_at(&self, subject: &[u8], start: usize) -> Result<Option<Vec<(usize, usize)>>, RegexError> {
        self.find_with(subject, start, |start, end| (start, end))
    }

    /// The groups of the first match at or after an offset, each made of where it begins and ends.
    fn find_with<T>(
        &self,
        subject: &[u8],
        start: usize,
        group: impl Fn(usize, usize) -> T,
    ) -> Result<Option<Vec<T>>, RegexError> {
        if start > subject.len() {
            return Ok(None);
        }
        let spare = self.spare.lock().pop();
        let mut locations = spare.unwrap_or_else(|| self.inner.capture_locations());
        let found = self.inner.captures_read_at(&mut locations, subject, start);
        let groups = match found {
            Ok(Some(_)) => {
                let places = (0..locations.len()).map(|i| locations.get(i).unwrap_or((0, 0)));
                Some(places.map(|(start, end)| group(start, end)).collect())
            }
            Ok(None) => None,
            Err(error) => return Err(RegexError::Match(error.to_string())),
        };
        let mut spare = self.spare.lock();
        if spare.len() < SPARE_GROUPS_MAX {
            spare.push(locations);
        }
        drop(spare);
        Ok(groups)
    }
}

/// The groups of a match as texts that carry the subject's taint.
#[must_use]
pub fn texts(subject: &Text, groups: &[(usize, usize)]) -> Vec<Text> {
    groups.iter().map(|(start, end)| subject.slice(*start, *end)).collect()
}

fn compile_error(error: &pcre2::Error, prefix: usize) -> RegexError {
    let text = error.to_string();
    let message = text.splitn(3, ": ").last().unwrap_or_default().to_owned();
    RegexError::Pattern { message, offset: error.offset().unwrap_or(0).saturating_sub(prefix) }
}

/// The pattern as a string: PCRE2 works on bytes here, so UTF-8 sequences stay what they are.
fn pattern_text(pattern: &[u8]) -> String {
    match std::str::from_utf8(pattern) {
        Ok(text) => text.to_owned(),
        Err(_) => pattern
            .iter()
            .map(|b| if b.is_ascii() { char::from(*b).to_string() } else { format!("\\x{b:02x}") })
            .collect(),
    }
}

/// Compiled patterns by text, bounded; shared by all threads.
pub struct Cache {
    entries: sync::Cache<(Vec<u8>, bool), Arc<Regex>>,
}

impl Default for Cache {
    fn default() -> Self {
        Cache { entries: sync::Cache::new(CACHED_PATTERNS_MAX) }
    }
}

impl Cache {
    /// The compiled form of a pattern, compiled now if it is not there yet.
    ///
    /// # Errors
    /// [`RegexError::Pattern`]; failures are not remembered.
    pub fn get(&self, pattern: &[u8], caseless: bool) -> Result<Arc<Regex>, RegexError> {
        self.entries.get_or_insert_with(&(pattern.to_vec(), caseless), || {
            Regex::compile(pattern, caseless).map(Arc::new)
        })
    }
}

/// The compiled form of a pattern of the configuration. One that stands there often is compiled once.
///
/// # Errors
/// [`RegexError::Pattern`]; failures are not remembered.
pub fn shared(pattern: &[u8], caseless: bool) -> Result<Arc<Regex>, RegexError> {
    static SHARED: LazyLock<Cache> = LazyLock::new(Cache::default);
    SHARED.get(pattern, caseless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_carry_the_taint_of_the_subject() {
        let regex = Regex::compile(b"^(a)(x)?(b)", false).unwrap();
        let groups = regex.captures(&Text::tainted("abc")).unwrap().unwrap();
        let shown: Vec<String> = groups.iter().map(Text::to_string_lossy).collect();
        assert_eq!(shown, ["ab", "a", "", "b"]);
        assert!(groups.iter().all(Text::is_foreign));
    }

    #[test]
    fn a_faulty_pattern_says_where() {
        let error = Regex::compile(b"a(b", false).unwrap_err();
        assert_eq!(
            error.describe(b"a(b"),
            "regular expression error in \"a(b\": missing closing parenthesis at offset 3"
        );
    }

    #[test]
    fn a_runaway_match_is_an_error_and_not_a_hang() {
        let regex = Regex::compile(b"^(a+)+(b+)+\\1\\2$", false).unwrap();
        let subject = vec![b'a'; 4000];
        assert!(regex.is_match(&subject).is_err() || !regex.is_match(&subject).unwrap());
        let bad = Regex::compile(b"(x+x+)+y", false).unwrap();
        assert!(matches!(bad.is_match(&[b'x'; 60]), Err(RegexError::Match(_)) | Ok(false)));
    }

    #[test]
    fn high_bytes_match_as_bytes() {
        let regex = Regex::compile(b"^\xff.$", false).unwrap();
        assert!(regex.is_match(b"\xffa").unwrap());
        let utf8 = Regex::compile("ä".as_bytes(), false).unwrap();
        assert!(utf8.is_match("xäx".as_bytes()).unwrap());
    }

    #[test]
    fn the_cache_gives_the_same_pattern_back() {
        let cache = Cache::default();
        let first = cache.get(b"a", true).unwrap();
        let second = cache.get(b"a", true).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.is_match(b"A").unwrap());
        assert!(cache.get(b"(", false).is_err());
    }
}

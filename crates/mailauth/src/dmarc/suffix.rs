//! Public suffixes: which names are registries, so that the name below one is an organization's (RFC 7489 section 3.2;
//! <https://publicsuffix.org/list/>).
//!
//! Rules come from a file in the form of the Public Suffix List, or are those that are built in. Nothing in a file is an
//! error: a line that is no rule matches no name.

use std::collections::HashMap;

use oxim_mail::idna;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The name is a suffix.
    Plain,
    /// Each name one label longer is a suffix.
    Wild,
    /// The name is not a suffix, though a wild rule says so.
    Exception,
}

/// The rules of a file by name, in A-labels; a name may have a plain and a wild one.
#[derive(Debug, Default)]
pub struct Rules(HashMap<Vec<u8>, Vec<Rule>>);

impl Rules {
    /// Reads a file: a rule on each line, ended by white space; `//` begins a comment.
    #[must_use]
    pub fn parse(text: &[u8]) -> Rules {
        let mut rules: HashMap<Vec<u8>, Vec<Rule>> = HashMap::new();
        for line in text.split(|b| *b == b'\n') {
            let line = line.trim_ascii_start();
            let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
            let line = line.get(..end).unwrap_or_default();
            if line.is_empty() || line.starts_with(b"//") {
                continue;
            }
            let (rule, name) = match line {
                [b'!', name @ ..] => (Rule::Exception, name),
                [b'*', b'.', name @ ..] => (Rule::Wild, name),
                name => (Rule::Plain, name),
            };
            // A rule that cannot be a domain matches none.
            if let Ok(name) = idna::to_ascii(name) {
                rules.entry(name.to_ascii_lowercase()).or_default().push(rule);
            }
        }
        Rules(rules)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, name: &[u8], rule: Rule) -> bool {
        self.0.get(name).is_some_and(|rules| rules.contains(&rule))
    }

    /// How many labels of a domain (lower case), counted from its end, are its public suffix. None: no rule fits.
    /// `of_itself`: whether a plain rule matches the name that it is.
    #[must_use]
    pub fn suffix_labels(&self, labels: &[&[u8]], of_itself: bool) -> Option<usize> {
        let count = labels.len();
        // From the longest name on: the rule with most labels counts.
        for start in 0..count {
            let name = labels.get(start..).unwrap_or_default().join(&b'.');
            let length = count.saturating_sub(start);
            if self.has(&name, Rule::Exception) {
                return Some(length.saturating_sub(1));
            }
            let parent = labels.get(start.saturating_add(1)..).unwrap_or_default().join(&b'.');
            if !parent.is_empty() && self.has(&parent, Rule::Wild) {
                return Some(length);
            }
            if (of_itself || start > 0) && self.has(&name, Rule::Plain) {
                return Some(length);
            }
        }
        None
    }
}

/// Where the rules are.
#[derive(Clone, Debug)]
pub enum Suffixes {
    /// In the program.
    BuiltIn,
    /// In a file that has been read.
    File(std::sync::Arc<Rules>),
}

impl Suffixes {
    /// The organizational domain of a domain in A-labels and lower case: its public suffix and one label more. A domain
    /// that is a public suffix is its own.
    #[must_use]
    pub fn organizational_domain<'a>(&self, domain: &'a str) -> &'a str {
        match self {
            Suffixes::BuiltIn => psl::domain_str(domain).unwrap_or(domain),
            Suffixes::File(rules) => {
                let labels: Vec<&[u8]> = domain.as_bytes().split(|b| *b == b'.').collect();
                // A top-level domain that nobody lists is a registry too.
                let suffix = rules.suffix_labels(&labels, true).unwrap_or(1);
                last_labels(domain, suffix.saturating_add(1))
            }
        }
    }
}

/// The last labels of a domain; the domain if it has no more.
#[must_use]
pub fn last_labels(domain: &str, count: usize) -> &str {
    let Some(nth) = count.checked_sub(1) else { return "" };
    match memchr::memrchr_iter(b'.', domain.as_bytes()).nth(nth) {
        Some(at) => domain.get(at.saturating_add(1)..).unwrap_or(domain),
        None => domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str =
        "// comment\nuk\nco.uk\n*.ck\n!www.ck\n\u{7f51}\u{7edc}.cn words\ncn\nex\n\n!\n*.\n..\n";

    #[test]
    fn organizations_are_one_label_below_their_registry() {
        let file = Suffixes::File(Rules::parse(RULES.as_bytes()).into());
        for (domain, wanted) in [
            ("a.b.aaa.co.uk", "aaa.co.uk"),
            ("aaa.co.uk", "aaa.co.uk"),
            ("co.uk", "co.uk"),
            ("uk", "uk"),
            ("x.y.z.ck", "y.z.ck"),
            ("a.www.ck", "www.ck"),
            ("a.b.xn--io0a7i.cn", "b.xn--io0a7i.cn"),
            ("a.b.unlisted", "b.unlisted"),
            ("", ""),
            (".", ""),
        ] {
            assert_eq!(file.organizational_domain(domain), wanted, "{domain}");
        }
        for (domain, wanted) in [
            ("a.b.bbc.co.uk", "bbc.co.uk"),
            ("co.uk", "co.uk"),
            ("mail.example.com", "example.com"),
            ("a.s.ex", "s.ex"),
            ("", ""),
        ] {
            assert_eq!(Suffixes::BuiltIn.organizational_domain(domain), wanted, "{domain}");
        }
    }

    #[test]
    fn last_labels_are_counted_from_the_end() {
        assert_eq!(last_labels("a.b.c", 2), "b.c");
        assert_eq!(last_labels("a.b.c", 9), "a.b.c");
        assert_eq!(last_labels("a.b.c", 0), "");
    }
}

//! Named patterns in expected lines: `<id1>` is a message id, the same one wherever it stands.
//!
//! A name is a kind and a number; without a number each place stands for itself. Kinds: id, time, millis, date, inboxdate, pid,
//! size, port, number, boundary, epoch, version, secs, any, word.

use std::collections::HashMap;

use pcre2::bytes::{Regex, RegexBuilder};

const ID: &str = "[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{11}-[0-9A-Za-z]{4}|[0-9A-Za-z]{6}-[0-9A-Za-z]{2})";
const TIME: &str = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: [-+]\d{4})?";
const MILLIS: &str = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}(?: [-+]\d{4})?";
const DATE: &str = r"[A-Z][a-z]{2}, [ \d]\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [-+]\d{4}";
const INBOX_DATE: &str = r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}";

const BOUNDARY: &str = r"\d{10}-eximdsn-\d+";

fn kind_pattern(name: &str) -> Option<&'static str> {
    Some(match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "id" => ID,
        "time" => TIME,
        "millis" => MILLIS,
        "date" => DATE,
        "inboxdate" => INBOX_DATE,
        "pid" | "size" | "port" | "number" => r"\d+",
        "boundary" => BOUNDARY,
        "epoch" => r"\d{10}(?:\.\d+)?",
        "version" => r"4\.\d\d",
        "secs" => r"\d+(?:\.\d+)?s",
        "word" => r"\S+",
        "any" => ".*",
        _ => return None,
    })
}

/// What numbered names stand for, over a whole scenario.
#[derive(Default)]
pub(crate) struct Bindings {
    values: HashMap<String, Vec<u8>>,
}

impl Bindings {
    /// Whether a line is what was expected; numbered names are bound on the way.
    pub(crate) fn matches(&mut self, expected: &str, actual: &[u8]) -> bool {
        if expected.as_bytes() == actual {
            return true;
        }
        let mut pattern = String::from("(*ANYCRLF)^");
        let mut captures: Vec<String> = Vec::new();
        let mut rest = expected;
        while let Some(start) = rest.find('<') {
            let (before, tail) = rest.split_at(start);
            pattern.push_str(&quote(before.as_bytes()));
            let end = tail.find('>');
            let name = end.map(|e| &tail[1..e]);
            match name.and_then(|n| kind_pattern(n).map(|p| (n, p))) {
                Some((name, kind)) => {
                    if let Some(value) = self.values.get(name) {
                        pattern.push_str(&quote(value));
                    } else if name.ends_with(|c: char| c.is_ascii_digit()) {
                        match captures.iter().position(|c| c == name) {
                            Some(index) => pattern.push_str(&format!("\\g{{{}}}", index + 1)),
                            None => {
                                pattern.push_str(&format!("({kind})"));
                                captures.push(name.to_owned());
                            }
                        }
                    } else {
                        pattern.push_str(&format!("(?:{kind})"));
                    }
                    rest = &tail[end.unwrap() + 1..];
                }
                None => {
                    pattern.push('<');
                    rest = &tail[1..];
                }
            }
        }
        pattern.push_str(&quote(rest.as_bytes()));
        pattern.push_str("\\z");
        let regex = RegexBuilder::new().dotall(true).build(&pattern).unwrap();
        let Some(found) = regex.captures(actual).unwrap() else { return false };
        for (index, name) in captures.into_iter().enumerate() {
            self.values.insert(name, found.get(index + 1).unwrap().as_bytes().to_vec());
        }
        true
    }
}

fn quote(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(*b).to_string() } else { format!("\\x{b:02x}") })
        .collect()
}

/// Turns what happened into expectations: ids and times become names.
#[derive(Default)]
pub(crate) struct Names {
    given: HashMap<Vec<u8>, String>,
}

impl Names {
    /// Takes over the names that expectations which still hold have bound.
    pub(crate) fn learn(&mut self, bindings: &Bindings) {
        for (name, value) in &bindings.values {
            if name.starts_with("id") || name.starts_with("boundary") {
                self.given.insert(value.clone(), name.clone());
            }
        }
    }

    /// The name of a value, a new one at its first appearance.
    fn name(&mut self, kind: &str, found: &[u8]) -> String {
        if let Some(name) = self.given.get(found) {
            return format!("<{name}>");
        }
        let number = (1..).find(|n| !self.given.values().any(|g| *g == format!("{kind}{n}"))).unwrap();
        self.given.insert(found.to_vec(), format!("{kind}{number}"));
        format!("<{kind}{number}>")
    }

    pub(crate) fn generalise(&mut self, text: &str) -> String {
        let text = self.replace(text, BOUNDARY, |names, found| names.name("boundary", found));
        let text = self.replace(&text, ID, |names, found| names.name("id", found));
        // A bounce's boundary varies in length.
        let text = self.replace(&text, r"<= <> R=.* S=\K\d+", |_, _| "<size>".into());
        let text = self.replace(&text, r"(?m)^\d{10}(?= \d+$)", |_, _| "<epoch>".into());
        let text = self.replace(&text, r"(?<=-received_time_usec \.)\d+", |_, _| "<number>".into());
        let text = self.replace(&text, r"(?<=-received_time_complete )\d+\.\d+", |_, _| "<epoch>".into());
        let text = self.replace(&text, r"(?<=\]:)[3-6]\d{4}", |_, _| "<port>".into());
        let text = self.replace(&text, r"(?<=\]\.)[3-6]\d{4}", |_, _| "<port>".into());
        let text = self.replace(&text, MILLIS, |_, _| "<millis>".into());
        let text = self.replace(&text, TIME, |_, _| "<time>".into());
        let text = self.replace(&text, r"(?m)^<time> \[\K\d+(?=\])", |_, _| "<pid>".into());
        let text = self.replace(&text, DATE, |_, _| "<date>".into());
        let text = self.replace(&text, INBOX_DATE, |_, _| "<inboxdate>".into());
        let text = self.replace(&text, r"(?<=pid=)\d+", |_, _| "<pid>".into());
        let text = self.replace(&text, r"(?<=[DQR]T=)\d+(?:\.\d+)?s", |_, _| "<secs>".into());
        self.replace(&text, r"(?<=[Ee]xim )4\.\d\d", |_, _| "<version>".into())
    }

    fn replace(&mut self, text: &str, pattern: &str, name: impl Fn(&mut Names, &[u8]) -> String) -> String {
        let regex = Regex::new(pattern).unwrap();
        let mut out = String::new();
        let mut last = 0;
        for found in regex.find_iter(text.as_bytes()) {
            let found = found.unwrap();
            out.push_str(&text[last..found.start()]);
            out.push_str(&name(self, found.as_bytes()));
            last = found.end();
        }
        out.push_str(&text[last..]);
        out
    }
}

//! The `dnsdb` lookup: records of the DNS as text (manual sections 9.10 to 9.13).
//!
//! The query is `>separator,field-separator modifiers, type=name:name…`. Several names, and the two halves of `A+`, are
//! separate questions; what an unanswered one means is chosen by `defer_strict`, `defer_lax` (the default) or
//! `defer_never`. The result comes from outside and is tainted. `$lookup_dnssec_authenticated` is set.

use std::net::Ipv6Addr;
use std::time::Duration;

use oxim_base::Text;
use oxim_base::clock::parse_interval_with_units;
use oxim_net::dns::{BlockingResolver, FieldStyle, Lookup, TextType};

use super::{LookupError, LookupKind, LookupType, Style};
use crate::context::Context;
use crate::list::{split, surroundings};

/// The row.
pub(super) static DNSDB: LookupKind = LookupKind {
    name: "dnsdb",
    style: Style::Query(find),
    doc: "DNS records: [>separators] [modifiers,] type=name:name",
};

/// What a question without an answer means for the whole lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnDefer {
    Strict,
    Lax,
    Never,
}

/// What is asked of DNSSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dnssec {
    Strict,
    Lax,
    Never,
}

#[derive(Debug, PartialEq, Eq)]
struct Query<'a> {
    separator: u8,
    fields: FieldStyle,
    on_defer: OnDefer,
    dnssec: Dnssec,
    timeout: Option<Duration>,
    attempts: Option<usize>,
    kind: TextType,
    names: &'a [u8],
}

fn strip<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl<'a> Query<'a> {
    fn parse(text: &'a [u8]) -> Result<Query<'a>, &'static str> {
        let mut query = Query {
            separator: b'\n',
            fields: FieldStyle::Unset,
            on_defer: OnDefer::Lax,
            dnssec: Dnssec::Lax,
            timeout: None,
            attempts: None,
            kind: TextType::Txt,
            names: b"",
        };
        let mut rest = query.separators(text.trim_ascii_start()).trim_ascii_start();
        while let Some(after) = query.modifier(rest)? {
            rest = after.trim_ascii_start();
            rest = rest.strip_prefix(b",").ok_or("dnsdb modifier syntax error")?.trim_ascii_start();
        }
        if let Some(equals) = memchr::memchr(b'=', rest) {
            let (word, names) = rest.split_at_checked(equals).unwrap_or((rest, b""));
            let word = std::str::from_utf8(word.trim_ascii()).unwrap_or_default();
            query.kind = TextType::from_word(word).ok_or("unsupported DNS record type")?;
            rest = names.strip_prefix(b"=").unwrap_or(names);
        }
        query.names = rest.trim_ascii_start();
        Ok(query)
    }

    /// `>x`, `>x,y`, `>x;`, `>x;y`.
    fn separators(&mut self, text: &'a [u8]) -> &'a [u8] {
        let [b'>', separator, rest @ ..] = text else {
            return text;
        };
        self.separator = *separator;
        match rest {
            [b',', field, rest @ ..] => {
                self.fields = FieldStyle::Separated(*field);
                rest
            }
            [b';', rest @ ..] => {
                self.fields = FieldStyle::Joined;
                rest
            }
            _ => rest,
        }
    }

    /// Takes one modifier off the front, without the comma behind it.
    fn modifier(&mut self, text: &'a [u8]) -> Result<Option<&'a [u8]>, &'static str> {
        if let Some(rest) = strip(text, b"defer_") {
            let words =
                [(&b"strict"[..], OnDefer::Strict), (b"lax", OnDefer::Lax), (b"never", OnDefer::Never)];
            let (value, rest) = one_of(rest, &words).ok_or("unsupported dnsdb defer behaviour")?;
            self.on_defer = value;
            return Ok(Some(rest));
        }
        if let Some(rest) = strip(text, b"dnssec_") {
            let words = [(&b"strict"[..], Dnssec::Strict), (b"lax", Dnssec::Lax), (b"never", Dnssec::Never)];
            let (value, rest) = one_of(rest, &words).ok_or("unsupported dnsdb dnssec behaviour")?;
            self.dnssec = value;
            return Ok(Some(rest));
        }
        if let Some(rest) = strip(text, b"retrans_") {
            let (word, after) = word(rest, |b| b.is_ascii_alphanumeric());
            // The time ends at the comma, and nowhere else.
            let seconds = parse_interval_with_units(word)
                .filter(|s| *s > 0 && after.first() == Some(&b','))
                .ok_or("unsupported dnsdb timeout value")?;
            self.timeout = Some(Duration::from_secs(seconds));
            return Ok(Some(after));
        }
        if let Some(rest) = strip(text, b"retry_") {
            let (word, after) = word(rest, |b| b.is_ascii_digit());
            self.attempts = Some(word.parse().map_err(|_| "dnsdb modifier syntax error")?);
            return Ok(Some(after));
        }
        Ok(None)
    }

    /// The names: one IPv6 address for PTR is not taken apart at its colons.
    fn keys(&self) -> Vec<String> {
        let text = String::from_utf8_lossy(self.names.trim_ascii()).into_owned();
        if self.kind == TextType::Ptr && text.parse::<Ipv6Addr>().is_ok() {
            return vec![text];
        }
        let items = split(self.names);
        items
            .map(|item| String::from_utf8_lossy(&item).into_owned())
            .filter(|item| !item.is_empty())
            .collect()
    }

    fn resolver(&self, resolver: &BlockingResolver) -> BlockingResolver {
        let mut resolver = resolver.with_dnssec(self.dnssec != Dnssec::Never);
        if let Some(timeout) = self.timeout {
            resolver = resolver.with_timeout(timeout);
        }
        if let Some(attempts) = self.attempts {
            resolver = resolver.with_attempts(attempts);
        }
        resolver
    }

    /// The answer to one question; a strict one that is not authenticated counts as unanswered.
    fn ask(&self, resolver: &BlockingResolver, kind: TextType, key: &str, out: &mut Answers) {
        match resolver.text(kind, key) {
            Lookup::Found(answer) if !answer.secure && self.dnssec == Dnssec::Strict => {
                out.deferred.get_or_insert(format!("{key}: the answer is not authenticated by DNSSEC"));
            }
            Lookup::Found(answer) => {
                out.secure &= answer.secure;
                out.records.extend(answer.records.iter().map(|record| record.join(self.fields)));
            }
            Lookup::NotThere(_) => {}
            Lookup::AskAgain(reason) => {
                out.deferred.get_or_insert(format!("{key}: {reason}"));
            }
        }
    }
}

struct Answers {
    records: Vec<Vec<u8>>,
    secure: bool,
    deferred: Option<String>,
}

fn one_of<'a, T: Copy>(text: &'a [u8], words: &[(&[u8], T)]) -> Option<(T, &'a [u8])> {
    words.iter().find_map(|(word, value)| Some((*value, strip(text, word)?)))
}

fn word(text: &[u8], belongs: impl Fn(&u8) -> bool) -> (&str, &[u8]) {
    let length = text.iter().take_while(|b| belongs(b)).count();
    let (word, rest) = text.split_at_checked(length).unwrap_or((text, b""));
    (std::str::from_utf8(word).unwrap_or_default(), rest)
}

fn find(context: &mut Context, text: &Text, _: &LookupType) -> Result<Option<Text>, LookupError> {
    let query = Query::parse(text.as_bytes()).map_err(|e| LookupError::Defer(e.to_owned()))?;
    let resolver = surroundings::resolver(context).map_err(LookupError::Defer)?;
    let resolver = query.resolver(&resolver);
    let mut answers = Answers { records: Vec::new(), secure: true, deferred: None };
    let is_asked = |key: &String| query.kind == TextType::Ptr || surroundings::is_good_name(context, key);
    for key in query.keys().into_iter().filter(is_asked) {
        for kind in query.kind.parts() {
            query.ask(&resolver, *kind, &key, &mut answers);
        }
    }
    context.local.lookup_dnssec = match query.dnssec {
        Dnssec::Never => "",
        Dnssec::Strict | Dnssec::Lax if answers.records.is_empty() => "",
        Dnssec::Strict | Dnssec::Lax if answers.secure => "yes",
        Dnssec::Strict | Dnssec::Lax => "no",
    };
    match (answers.deferred, query.on_defer) {
        (Some(reason), OnDefer::Strict) => return Err(LookupError::Defer(reason)),
        (Some(reason), OnDefer::Lax) if answers.records.is_empty() => return Err(LookupError::Defer(reason)),
        _ => {}
    }
    // Records that show nothing, such as the host of a null MX, are not found.
    let text = answers.records.join(&query.separator);
    Ok((!text.is_empty()).then(|| Text::tainted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let query =
            Query::parse(b">:,; defer_never, dnssec_strict , retrans_5s,retry_2, soa = a.b:c.d").unwrap();
        assert_eq!(query.separator, b':');
        assert_eq!(query.fields, FieldStyle::Separated(b';'));
        assert_eq!(query.on_defer, OnDefer::Never);
        assert_eq!(query.dnssec, Dnssec::Strict);
        assert_eq!(query.timeout, Some(Duration::from_secs(5)));
        assert_eq!(query.attempts, Some(2));
        assert_eq!(query.kind, TextType::Soa);
        assert_eq!(query.keys(), ["a.b", "c.d"]);
        let query = Query::parse(b">\n; txt=a").unwrap();
        assert_eq!((query.fields, query.keys()), (FieldStyle::Joined, vec!["a".to_owned()]));
        assert_eq!(Query::parse(b"a.example").unwrap().kind, TextType::Txt);
    }

    #[test]
    fn an_ipv6_address_is_one_key_for_ptr_only() {
        assert_eq!(Query::parse(b"ptr=2001:db8::1").unwrap().keys(), ["2001:db8::1"]);
        assert_eq!(Query::parse(b"ptr=<; ::1 ; 192.0.2.1").unwrap().keys(), ["::1", "192.0.2.1"]);
        assert_eq!(Query::parse(b"a=x:y").unwrap().keys(), ["x", "y"]);
    }

    #[test]
    fn errors_are_those_of_the_observed_program() {
        for (text, error) in [
            ("bad=foo", "unsupported DNS record type"),
            ("defer_foo,a=x", "unsupported dnsdb defer behaviour"),
            ("dnssec_foo,a=x", "unsupported dnsdb dnssec behaviour"),
            ("retrans_x,a=x", "unsupported dnsdb timeout value"),
            ("retry_x,a=x", "dnsdb modifier syntax error"),
            ("defer_strict a=x", "dnsdb modifier syntax error"),
            ("foo,a=x", "unsupported DNS record type"),
            (">:,a=x", "unsupported DNS record type"),
        ] {
            assert_eq!(Query::parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }
}

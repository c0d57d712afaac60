//! Long and non-ASCII parameters of MIME header lines (RFC 2231): `name*0=`, `name*1*=`, `name*=utf-8''%C3%A9`.
//!
//! Nothing fails: a continuation without a beginning, or a bad percent code, is taken as plain text.

/// A parameter after continuations are joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in lower case, without asterisks.
    pub name: Vec<u8>,
    /// Its value, percent codes decoded, in the bytes of its charset.
    pub text: Vec<u8>,
    /// The charset, if one was stated.
    pub charset: Option<Vec<u8>>,
}

/// Most parts of one parameter that are joined; more are dropped.
const PARTS_MAX: usize = 100;

/// Joins raw name-value pairs (names in lower case) into parameters. The first of two with the same name counts.
#[must_use]
pub fn join(raw: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Parameter> {
    let mut parts: Vec<Part> = raw.into_iter().map(Part::new).collect();
    // Stable: of several parts with the same number the first is taken.
    parts.sort_by_key(|part| part.number);
    let mut found: Vec<(Parameter, usize)> = Vec::new();
    for part in parts {
        match found.iter_mut().find(|(p, _)| p.name == part.name) {
            Some((parameter, next)) if part.number == Some(*next) && *next < PARTS_MAX => {
                parameter.text.extend_from_slice(&part.decoded().0);
                *next = next.saturating_add(1);
            }
            Some(_) => {}
            None => {
                let (text, charset) = part.decoded();
                // A parameter without a number is whole: no part can follow it.
                let next = part.number.map_or(PARTS_MAX, |n| n.saturating_add(1));
                found.push((Parameter { name: part.name, text, charset }, next));
            }
        }
    }
    found.into_iter().map(|(parameter, _)| parameter).collect()
}

struct Part {
    name: Vec<u8>,
    number: Option<usize>,
    encoded: bool,
    value: Vec<u8>,
}

impl Part {
    fn new((name, value): (Vec<u8>, Vec<u8>)) -> Part {
        let (bare, encoded) = name.strip_suffix(b"*").map_or((name.as_slice(), false), |n| (n, true));
        let number = memchr::memrchr(b'*', bare).and_then(|at| {
            let digits = std::str::from_utf8(bare.get(at.saturating_add(1)..)?).ok()?;
            Some((at, digits.parse().ok().filter(|_| digits.len() <= 3)?))
        });
        match number {
            Some((at, number)) => Part {
                name: bare.get(..at).unwrap_or_default().to_vec(),
                number: Some(number),
                encoded,
                value,
            },
            None => Part { name: bare.to_vec(), number: None, encoded, value },
        }
    }

    fn decoded(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        if !self.encoded {
            return (self.value.clone(), None);
        }
        // Only the first part states charset and language.
        let mut fields = self.value.splitn(3, |b| *b == b'\'');
        match (fields.next(), fields.next(), fields.next()) {
            (Some(charset), Some(_), Some(text)) if self.number.unwrap_or(0) == 0 => {
                (percent_decode(text), (!charset.is_empty()).then(|| charset.to_vec()))
            }
            _ => (percent_decode(&self.value), None),
        }
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..2).filter(|d| byte == b'%' && d.iter().all(u8::is_ascii_hexdigit));
        let code =
            digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match code {
            Some(code) => {
                out.push(code);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(raw: &[(&str, &str)]) -> Vec<Parameter> {
        join(raw.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect())
    }

    #[test]
    fn parts_are_joined_in_order() {
        let found = joined(&[
            ("t*1", "b%20"),
            ("t*0*", "utf-8'en'a%C3%A9"),
            ("t*2*", "%63%zz"),
            ("u", "x"),
            ("u", "y"),
        ]);
        assert_eq!(found.len(), 2);
        let t = found.iter().find(|p| p.name == b"t").unwrap();
        assert_eq!(
            (t.text.as_slice(), t.charset.as_deref()),
            ("aéb%20c%zz".as_bytes(), Some(b"utf-8".as_slice()))
        );
        assert_eq!(found.iter().find(|p| p.name == b"u").unwrap().text, b"x");
    }

    #[test]
    fn a_missing_part_ends_the_value() {
        assert_eq!(joined(&[("t*0", "a"), ("t*2", "c")])[0].text, b"a");
    }
}

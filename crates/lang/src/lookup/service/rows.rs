//! Rows of a table as text (manual section 9.21): a single field as it is, several as `name=value` pairs; a newline between rows.

use oxim_base::Text;

use super::sql::Outcome;
use crate::lookup::Answer;

/// Collects rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    text: Vec<u8>,
    count: usize,
}

impl Rows {
    /// Adds a row: names and values of its fields.
    pub(crate) fn push<'a>(&mut self, fields: &[(&'a [u8], &'a [u8])]) {
        if self.count > 0 {
            self.text.push(b'\n');
        }
        self.count = self.count.saturating_add(1);
        if let [(_, value)] = fields {
            self.text.extend_from_slice(value);
            return;
        }
        for (name, value) in fields {
            append_field(&mut self.text, name, value);
        }
    }

    /// The text; None if there was no row.
    pub(crate) fn into_text(self) -> Option<Vec<u8>> {
        (self.count > 0).then_some(self.text)
    }

    /// How long the text is by now.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// `name=value `, the value in quotes if it is empty, holds white space or begins with a quote.
pub(crate) fn append_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.push(b'=');
    let needs_quotes = value.is_empty()
        || value.starts_with(b"\"")
        || value.iter().any(|b| b.is_ascii_whitespace() || *b == 0x0b);
    if needs_quotes {
        out.push(b'"');
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    } else {
        out.extend_from_slice(value);
    }
    out.push(b' ');
}

/// What NULL means in the only field of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Null {
    /// An empty value (PostgreSQL).
    Empty,
    /// Nothing: rows with it do not count as long as no other has come (MySQL).
    Nothing,
}

/// What a query has given, as an answer of the lookup.
pub(crate) fn answer(outcome: Outcome, null: Null) -> Answer {
    match outcome {
        Outcome::Done(changed) => Answer::Changed(Some(Text::clean(changed))),
        Outcome::Rows(names, table) => {
            let mut rows = Rows::default();
            for row in &table {
                if null == Null::Nothing && rows.count == 0 && matches!(row.as_slice(), [None]) {
                    continue;
                }
                let values = row.iter().map(|value| value.as_deref().unwrap_or_default());
                let fields: Vec<(&[u8], &[u8])> = names.iter().map(Vec::as_slice).zip(values).collect();
                rows.push(&fields);
            }
            rows.into_text().map_or(Answer::NotThere, |text| Answer::Found(Text::clean(text)))
        }
    }
}

/// Whether a statement is of a kind after which the session is as it was, so that the next lookup may use it.
pub(crate) fn leaves_no_trace(query: &[u8]) -> bool {
    let word: Vec<u8> = query
        .trim_ascii_start()
        .iter()
        .take_while(|b| b.is_ascii_alphabetic())
        .map(u8::to_ascii_lowercase)
        .collect();
    let query = query.trim_ascii_end();
    let one_statement = !query.strip_suffix(b";").unwrap_or(query).contains(&b';');
    one_statement
        && matches!(word.as_slice(), b"select" | b"insert" | b"update" | b"delete" | b"replace" | b"with")
}

/// Backslashes before double quotes and backslashes, `\n` and kin for control characters; a single quote as given.
pub(crate) fn quoted_for_sql(text: &[u8], single_quote: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0x08 => out.extend_from_slice(b"\\b"),
            b'\'' => out.extend_from_slice(single_quote),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            other => out.push(*other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values observed with Exim 4.96 and SQLite.
    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let mut rows = Rows::default();
        assert_eq!(Rows::default().into_text(), None);
        rows.push(&[(b"a", b"1"), (b"b", b"")]);
        rows.push(&[(b"a", b"x y"), (b"b c", b"q\"r")]);
        assert_eq!(rows.into_text().unwrap(), b"a=1 b=\"\" \na=\"x y\" b c=q\"r ");
        let mut rows = Rows::default();
        rows.push(&[(b"a", b"")]);
        rows.push(&[(b"a", b"x y")]);
        assert_eq!(rows.into_text().unwrap(), b"\nx y");
    }
}

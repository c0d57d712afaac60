//! The `testdb` lookup: answers made to order, for tests of a configuration (manual section 9.4).
//!
//! The query `fail` finds nothing and `defer` cannot be answered now, so that what a configuration does then can be seen without
//! a broken server. `nocache` and `nocache,TEXT` give an answer that is not remembered; any other query is its own answer.

use oxim_base::Text;

use super::{Answer, LookupError, LookupKind, LookupType, Service, Style};
use crate::context::Context;

/// The row.
pub(super) static TESTDB: LookupKind = LookupKind {
    name: "testdb",
    style: Style::Service(Service { mark: "testdb", quote, needs_quoting: false, has_words: false, ask }),
    doc: "for tests: `fail` finds nothing, `defer` defers, any other query gives itself",
};

fn quote(text: &[u8], word: Option<&str>) -> Option<Vec<u8>> {
    word.is_none().then(|| text.to_vec())
}

fn ask(_: &mut Context, query: &Text, _: &LookupType) -> Result<Answer, LookupError> {
    let bytes = query.as_bytes();
    match bytes {
        b"fail" => Ok(Answer::NotThere),
        b"defer" => Err(LookupError::Defer("testdb: asked to defer".to_owned())),
        b"nocache" => Ok(Answer::Passing(Some(query.clone()))),
        _ if bytes.starts_with(b"nocache,") => Ok(Answer::Passing(Some(query.clone()))),
        _ => Ok(Answer::Found(query.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_made_to_order() {
        let lookup = LookupType::parse("testdb").unwrap();
        let look = |query: Text| {
            crate::lookup::find(&mut Context::default(), &lookup, None, &query)
                .map(|found| found.map(|found| found.data))
        };
        let found = look(Text::tainted("a b")).unwrap().unwrap();
        assert_eq!((found.as_bytes(), found.is_foreign()), (&b"a b"[..], true));
        assert_eq!(look(Text::from("nocache")), Ok(Some(Text::from("nocache"))));
        assert_eq!(look(Text::from("fail")), Ok(None));
        assert!(matches!(look(Text::from("defer")), Err(LookupError::Defer(_))));
    }
}

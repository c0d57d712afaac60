//! `${lookup`: what a file or a database knows. The lookup types are in [`crate::lookup`].

use oxim_base::Text;

use super::{Item, ItemRow, row};
use crate::context::Context;
use crate::expand::yes_no::Branches;
use crate::expand::{Body, ExpandError, Fault, Parser};
use crate::lookup::{self, LookupError, LookupType};
use crate::restrict;

pub(super) static ROWS: &[&ItemRow] = &[&ItemRow {
    may_block: true,
    ..row(
        "lookup",
        "What a lookup finds, in `$value`.",
        &[
            ("${lookup{root}lsearch{/etc/passwd}{${extract{2}{:}{$value}}}{none}}", "0"),
            ("${lookup{no such user}lsearch{/etc/passwd}{$value}{none}}", "none"),
        ],
        lookup_item,
    )
}];

struct Lookup {
    kind: LookupType,
    key: Option<Body>,
    source: Body,
    branches: Branches,
}

fn lookup_item(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let key = if parser.space_eat(b'{') { Some(parser.body()?) } else { None };
    parser.space();
    if !parser.peek().is_some_and(|b| b.is_ascii_alphabetic()) {
        return parser.fault("missing lookup type");
    }
    let name = parser.word(|b| b != b'{' && !b.is_ascii_whitespace()).to_owned();
    parser.space();
    let kind = match LookupType::parse(&name) {
        Ok(kind) => kind,
        Err(message) => return parser.fault(message),
    };
    let single = kind.kind.is_single_key();
    let word = kind.kind.name;
    match (&key, single) {
        (None, true) => return parser.fault(format!("missing {{key}} for single-key \"{word}\" lookup")),
        (Some(_), false) => {
            return parser.fault(format!(
                "a single key was given for lookup type \"{word}\", which is not a single-key lookup type"
            ));
        }
        _ => {}
    }
    if !parser.eat(b'{') {
        return parser.fault("missing '{' for lookup file-or-query arg");
    }
    let source = if single { parser.file_name()? } else { parser.body()? };
    Ok(Box::new(Lookup { kind, key, source, branches: Branches::parse(parser, "lookup")? }))
}

impl Item for Lookup {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        restrict::check(context, |f| f.lookup, "lookup expansions are not permitted")?;
        let key = match &self.key {
            Some(body) => Some(body.expand(context)?),
            None => None,
        };
        let source = self.source.expand_guarded(context, |part| lookup::guarded(self.kind.kind, part))?;
        let found =
            lookup::find(context, &self.kind, key.as_ref(), &source).map_err(|error| match error {
                LookupError::Failed(text) => ExpandError::Failed(text),
                LookupError::Defer(text) => {
                    let high = context.config.main.print_topbitchars;
                    let what = key.as_ref().map_or_else(
                        || lookup::service::without_secrets(self.kind.kind.name, &source),
                        |key| printing(key.as_bytes(), high),
                    );
                    ExpandError::Defer(format!("lookup of \"{what}\" gave DEFER: {text}"))
                }
            })?;
        let Some(found) = found else {
            return self.branches.append_value(context, out, None);
        };
        let Some((wild, fixed)) = found.parts else {
            return self.branches.append_value(context, out, Some(found.data));
        };
        // After partial matching $1 and $2 are the wild and the fixed part of the key; $0 stays what it was.
        let taint = key.as_ref().map(Text::taint).unwrap_or_default();
        let zero = context.local.captures.first().cloned().unwrap_or_default();
        let captures = vec![zero, Text::with_taint(wild, taint), Text::with_taint(fixed, taint)];
        let saved = std::mem::replace(&mut context.local.captures, captures);
        let result = self.branches.append_value(context, out, Some(found.data));
        context.local.captures = saved;
        result
    }
}

/// The text with what cannot be printed as escapes; bytes above 127 as they are if `high`.
fn printing(text: &[u8], high: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0b => out.extend_from_slice(b"\\v"),
            0x0c => out.extend_from_slice(b"\\f"),
            b' '..=b'~' => out.push(*byte),
            128.. if high => out.push(*byte),
            other => out.extend_from_slice(format!("\\{other:03o}").as_bytes()),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

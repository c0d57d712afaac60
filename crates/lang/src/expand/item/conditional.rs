//! `${if`: one of two strings, by a condition.

use oxim_base::Text;

use super::{Item, ItemRow};
use crate::config::Status;
use crate::context::Context;
use crate::expand::condition::Test;
use crate::expand::yes_no::Branches;
use crate::expand::{ExpandError, Fault, Parser};

/// `${if <condition> {<string1>}{<string2>}}`.
pub(super) static IF: ItemRow = ItemRow {
    name: "if",
    status: Status::Works,
    doc: "The first string if the condition is true, else the second; without strings `true` or nothing.",
    examples: &[
        ("${if eq{a}{a}{yes}{no}}", "yes"),
        ("${if eq{a}{b}}", ""),
        ("${if !eq{a}{b}}", "true"),
        ("${if match{abc}{^(a)(b)}{${if match{z}{z}{$0}}-$1}}$1", "z-a"),
    ],
    may_block: false,
    parse,
};

struct If {
    test: Test,
    branches: Branches,
}

fn parse(parser: &mut Parser<'_>) -> Result<Box<dyn Item>, Fault> {
    let test = parser.condition()?;
    Ok(Box::new(If { test, branches: Branches::parse(parser, "if")? }))
}

impl Item for If {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        // A condition may set $0... and $value for the yes string; both are restored afterwards.
        let captures = if self.test.sets_captures() { Some(context.local.captures.clone()) } else { None };
        let value = context.local.value.clone();
        let result = match self.test.holds(context) {
            Ok(outcome) => self.branches.append(context, out, outcome, |_| Text::from("true")),
            Err(error) => Err(error),
        };
        if let Some(captures) = captures {
            context.local.captures = captures;
        }
        context.local.value = value;
        result
    }
}

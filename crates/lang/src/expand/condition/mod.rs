//! The table of conditions of `${if`, and of the places that take one. Manual sections 11.7 and 11.8.

use std::sync::OnceLock;

use super::names::ByName;
use super::{Body, ExpandError, Fault, Parser};
use crate::config::Status;
use crate::context::Context;

pub(crate) mod acl;
pub(crate) mod compare;
mod lists;
mod logic;
mod radius;
mod secret;
mod service;
pub(crate) mod simple;
mod srs;

pub use service::saslauthd_accepts;
pub use simple::lax_bool;

/// One kind of condition.
pub struct ConditionRow {
    /// The word or symbol.
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Expressions with what they give in an empty context.
    pub examples: &'static [(&'static str, &'static str)],
    /// Whether it is built; the others are refused where they stand.
    pub status: Status,
    /// Whether it may wait for a file, a process or the network.
    pub may_block: bool,
    /// Whether it may set `$0`….
    pub sets_captures: bool,
    /// Reads its arguments, after the name.
    pub(crate) parse: fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>,
}

impl ConditionRow {
    /// Whether it is built.
    #[must_use]
    pub fn is_built(&self) -> bool {
        self.status == Status::Works
    }
}

/// A compiled condition.
pub(crate) trait Condition: Send + Sync {
    /// Whether it holds.
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError>;
    /// Whether it, or a condition inside it, may set `$0`….
    fn sets_captures(&self) -> bool {
        false
    }
}

/// A condition with its negation.
pub(crate) struct Test {
    negate: bool,
    sets_captures: bool,
    condition: Box<dyn Condition>,
}

impl Test {
    /// Whether the condition, negated or not, holds.
    pub(crate) fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        Ok(self.condition.holds(context)? != self.negate)
    }

    /// Whether it may set `$0`….
    pub(crate) fn sets_captures(&self) -> bool {
        self.sets_captures || self.condition.sets_captures()
    }
}

/// All conditions.
pub static CONDITIONS: &[&[&ConditionRow]] = &[
    acl::ROWS,
    compare::ROWS,
    lists::ROWS,
    logic::ROWS,
    secret::ROWS,
    service::ROWS,
    simple::ROWS,
    srs::ROWS,
];

/// The row of a condition.
#[must_use]
pub fn find(name: &str) -> Option<&'static ConditionRow> {
    static BY_NAME: OnceLock<ByName<&'static ConditionRow>> = OnceLock::new();
    let by_name =
        BY_NAME.get_or_init(|| CONDITIONS.iter().copied().flatten().map(|row| (row.name, *row)).collect());
    by_name.get(name).copied()
}

/// Reads a condition with its leading exclamation marks.
pub(crate) fn parse(parser: &mut Parser<'_>) -> Result<Test, Fault> {
    let mut negate = false;
    while parser.space_eat(b'!') {
        negate = !negate;
    }
    let rest = parser.rest();
    let name = match parser.peek() {
        Some(b'=' | b'<' | b'>') => symbol(parser),
        _ => parser.word(|b| b.is_ascii_alphanumeric() || b == b'_'),
    };
    if name.is_empty() {
        let start: String = String::from_utf8_lossy(rest).chars().take(16).collect();
        return parser.fault(format!("condition name expected, but found \"{start}\""));
    }
    let Some(row) = find(name) else {
        let text = format!("unknown condition \"{name}\"");
        return parser.fault(parser.misplaced_brace().map_or(text, str::to_owned));
    };
    parser.note_blocking(row.may_block);
    Ok(Test { negate, sets_captures: row.sets_captures, condition: (row.parse)(parser)? })
}

fn symbol<'a>(parser: &mut Parser<'a>) -> &'a str {
    let length = if parser.rest().get(1) == Some(&b'=') { 2 } else { 1 };
    let symbol = parser.rest().get(..length).unwrap_or_default();
    parser.advance(length);
    std::str::from_utf8(symbol).unwrap_or_default()
}

/// Reads the strings in braces of a condition that has a fixed number of them.
pub(crate) fn strings(parser: &mut Parser<'_>, name: &str, count: usize) -> Result<Vec<Body>, Fault> {
    let mut bodies = Vec::with_capacity(count);
    while bodies.len() < count {
        if !parser.space_eat(b'{') {
            let text = match bodies.len() {
                0 => format!("missing {{ after \"{name}\""),
                _ => return parser.fault(format!("missing 2nd string in {{}} after \"{name}\"")),
            };
            return parser.fault(parser.misplaced_brace().map_or(text, str::to_owned));
        }
        bodies.push(parser.body()?);
    }
    Ok(bodies)
}

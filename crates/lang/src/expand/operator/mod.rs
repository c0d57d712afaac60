//! The table of expansion operators, `${name:string}` and `${name_arguments:string}`. Manual section 11.6.

use std::sync::OnceLock;

use oxim_base::Text;

use super::names::ByName;
use super::{Body, ExpandError};
use crate::context::Context;

mod arithmetic;
mod encode;
pub(crate) mod hash;
mod international;
pub(crate) mod ip;
mod list;
mod mail;
mod quote;
pub(crate) mod text;
mod time;
pub(crate) use time::stat_text;

/// What follows an operator's name after an underscore.
pub(crate) type Word<'a> = Option<&'a str>;
type Examples = &'static [(&'static str, &'static str)];
type Apply = fn(&mut Context, Word<'_>, Text) -> Result<Text, ExpandError>;

/// What may follow an operator's name after an underscore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing; what is there is ignored, as Exim does.
    None,
    /// One or two numbers, separated by an underscore; they must be there.
    Numbers,
    /// A word that the operator judges itself.
    Word,
}

/// One operator.
pub struct OperatorRow {
    /// The word before the underscore or colon.
    pub name: &'static str,
    /// Another word for it.
    pub alias: Option<&'static str>,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Expressions with what they give in an empty context.
    pub examples: &'static [(&'static str, &'static str)],
    /// What may follow the name.
    pub arguments: Arguments,
    /// Whether it may wait for a file or the network.
    pub may_block: bool,
    /// Applies it to an expanded string; the second argument is what followed the name.
    pub(crate) apply: Apply,
}

/// A row for an operator that takes nothing after its name and does not block.
const fn operator(name: &'static str, doc: &'static str, examples: Examples, apply: Apply) -> OperatorRow {
    OperatorRow { name, alias: None, doc, examples, arguments: Arguments::None, may_block: false, apply }
}

impl OperatorRow {
    /// Whether the arguments have their right form. The error is Exim's text.
    pub(crate) fn check(&self, name: &str, arguments: Option<&str>) -> Result<(), String> {
        if self.arguments != Arguments::Numbers {
            return Ok(());
        }
        let Some(arguments) = arguments else {
            return Err(format!("missing values after {name}"));
        };
        // Only substr may count from the end; length has one number.
        let start = arguments.strip_prefix('-').filter(|_| self.name == "substr").unwrap_or(arguments);
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let right = match start.split_once('_') {
            None => digits(start),
            Some((first, second)) => {
                let given = !first.is_empty() && !second.is_empty();
                self.name != "length" && given && digits(first) && digits(second)
            }
        };
        if right {
            return Ok(());
        }
        Err(format!("non-digit after underscore in \"{name}\""))
    }

    /// Expands the operand and applies the operator.
    pub(crate) fn run(
        &self,
        context: &mut Context,
        arguments: Option<&str>,
        operand: &Body,
    ) -> Result<Text, ExpandError> {
        let input = operand.expand(context)?;
        (self.apply)(context, arguments, input)
    }
}

/// All operators.
pub static OPERATORS: &[&[&OperatorRow]] = &[
    arithmetic::ROWS,
    encode::ROWS,
    hash::ROWS,
    international::ROWS,
    ip::ROWS,
    list::ROWS,
    mail::ROWS,
    quote::ROWS,
    text::ROWS,
    time::ROWS,
];

/// The row of an operator by the text before the colon, and what follows its name.
#[must_use]
pub fn find(text: &str) -> Option<(&'static OperatorRow, Option<&str>)> {
    static BY_NAME: OnceLock<ByName<&'static OperatorRow>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let rows = OPERATORS.iter().copied().flatten();
        rows.flat_map(|row| std::iter::once(row.name).chain(row.alias).map(move |name| (name, *row)))
            .collect()
    });
    if let Some(row) = by_name.get(text) {
        return Some((row, None));
    }
    let (name, arguments) = text.split_once('_')?;
    by_name.get(name).map(|row| (*row, Some(arguments)))
}

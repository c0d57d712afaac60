//! String expansion: `$name`, `${item...}`, `${operator:...}`, and the conditions of `${if`. Manual chapter 11.
//!
//! A string is compiled once, to a tree ([`Template`]), and evaluated many times against a [`Context`]. What data holds
//! is never parsed: only `${expand:}` (and a replacement of `${sg}` that stands in the configuration) expands a second
//! time. Items, operators, conditions and variables are rows of four tables, one file or row each; the row carries the
//! documentation and examples that run as tests.
//!
//! Failure modes: a faulty template fails when it is expanded, with Exim's text (and tells at once, through
//! [`Template::syntax_error`]); `fail` in place of a second string fails in a way that callers treat apart
//! ([`ExpandError::Forced`]); a service that gives no answer now is [`ExpandError::Defer`].

pub mod condition;
pub(crate) mod elements;
pub mod integer;
pub mod item;
mod json;
pub(crate) mod names;
pub mod operator;
mod parse;
pub mod suggestion;
#[cfg(test)]
mod tests;
mod tree;
pub mod variable;
mod yes_no;
mod yescrypt;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use oxim_base::Text;
use serde::{Deserialize, Serialize};

use crate::context::Context;
pub(crate) use item::authresults::{comment as authresults_comment, value as authresults_value};
pub use item::{PerlSlot, SocketAnswers, SocketOptions, end_idle_perl, own_environment, start_perl};
pub(crate) use item::{ask_socket, run_command};
pub(crate) use operator::stat_text;
pub(crate) use parse::{Fault, Parser};
pub(crate) use tree::Body;

/// Why an expansion gave no text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExpandError {
    /// The configuration asked for failure (`fail`, an ACL that defers); many options treat this as "unset".
    Forced(String),
    /// Something is wrong; the text is Exim's message.
    Failed(String),
    /// A lookup could not be completed now: ask again later.
    Defer(String),
}

impl ExpandError {
    /// The message, of whichever kind.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            ExpandError::Forced(text) | ExpandError::Failed(text) | ExpandError::Defer(text) => text,
        }
    }

    /// Whether the configuration asked for the failure.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        matches!(self, ExpandError::Forced(_))
    }

    /// Whether it may work later.
    #[must_use]
    pub fn is_defer(&self) -> bool {
        matches!(self, ExpandError::Defer(_))
    }
}

impl fmt::Display for ExpandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for ExpandError {}

/// What is wrong with the syntax of a template, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Exim's text.
    pub message: String,
    /// The bytes of the source from the faulty place to its end.
    pub span: Range<usize>,
}

/// A variable that comes from outside, in the name of a file: whoever evaluates it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedName {
    /// Its name.
    pub variable: String,
    /// Where the name of the file begins in the source.
    pub position: usize,
}

/// A string of the configuration, compiled.
///
/// Cloning is cheap. Equality is equality of the sources.
#[derive(Clone)]
pub struct Template(Arc<Compiled>);

struct Compiled {
    source: Vec<u8>,
    body: Body,
    fault: Option<SyntaxError>,
    constant: Option<Text>,
    may_block: bool,
    refused_names: Vec<RefusedName>,
}

impl Template {
    /// Compiles a string. Never fails: a faulty one fails when it is expanded, with Exim's text.
    #[must_use]
    pub fn compile(source: &str) -> Template {
        Template::compile_bytes(source.as_bytes())
    }

    /// Compiles bytes that need not be UTF-8.
    #[must_use]
    pub fn compile_bytes(source: &[u8]) -> Template {
        let mut parser = Parser::new(source);
        let (body, fault) = parser.whole();
        let fault = fault.map(|f| SyntaxError { message: f.message, span: f.position..source.len() });
        let constant = if fault.is_none() { body.constant() } else { None };
        Template(Arc::new(Compiled {
            source: source.to_vec(),
            body,
            fault,
            constant,
            may_block: parser.may_block(),
            refused_names: parser.into_refused_names(),
        }))
    }

    /// A template that gives exactly this text, whatever it holds: for values that are not expanded.
    #[must_use]
    pub fn literal(text: &str) -> Template {
        let constant = Text::from(text);
        Template(Arc::new(Compiled {
            source: text.as_bytes().to_vec(),
            body: Body::literal(text.as_bytes()),
            fault: None,
            constant: Some(constant),
            may_block: false,
            refused_names: Vec::new(),
        }))
    }

    /// Variables from outside in names of files within the string, for `oxim check`.
    #[must_use]
    pub fn refused_names(&self) -> &[RefusedName] {
        &self.0.refused_names
    }

    /// The variables from outside that stand in the string itself, outside of items and operators.
    #[must_use]
    pub fn foreign_variables(&self) -> Vec<&'static str> {
        self.0.body.foreign_variables().collect()
    }

    /// What is wrong with the syntax, if anything is.
    #[must_use]
    pub fn syntax_error(&self) -> Option<&SyntaxError> {
        self.0.fault.as_ref()
    }

    /// The string as it was given. Bytes that are not UTF-8 make this empty; see [`Template::source_bytes`].
    #[must_use]
    pub fn source(&self) -> &str {
        std::str::from_utf8(&self.0.source).unwrap_or_default()
    }

    /// The string as it was given.
    #[must_use]
    pub fn source_bytes(&self) -> &[u8] {
        &self.0.source
    }

    /// The result, if it is always the same.
    #[must_use]
    pub fn constant(&self) -> Option<&Text> {
        self.0.constant.as_ref()
    }

    /// Whether evaluation may wait for a file, a process, a database or the network: then it must run on a worker
    /// thread.
    #[must_use]
    pub fn may_block(&self) -> bool {
        self.0.may_block
    }

    /// Evaluates.
    ///
    /// # Errors
    /// See [`ExpandError`]. Whatever happens, `$item`, `$value` and the captures are as they were before.
    pub fn expand(&self, context: &mut Context) -> Result<Text, ExpandError> {
        if let Some(constant) = &self.0.constant {
            return Ok(constant.clone());
        }
        let mut out = Text::new();
        self.0.body.append(context, &mut out)?;
        match &self.0.fault {
            Some(fault) => Err(ExpandError::Failed(fault.message.clone())),
            None => Ok(out),
        }
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", String::from_utf8_lossy(&self.0.source))
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Template {}

/// What can stand in an expansion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `${item...}`.
    Item,
    /// `${operator:...}`.
    Operator,
    /// A condition with a name.
    Condition,
    /// `$variable`.
    Variable,
}

/// The names of a kind that are built, for the predefined macros `_EXP_ITEM_LOOKUP`, `_EXP_OP_LC`, `_EXP_COND_EXISTS`,
/// `_EXP_VAR_DOMAIN`.
pub fn names(kind: Kind) -> Box<dyn Iterator<Item = &'static str>> {
    let word = |name: &&'static str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match kind {
        Kind::Item => {
            let rows = item::ITEMS.iter().copied().flatten();
            Box::new(rows.filter(|row| row.is_built()).map(|row| row.name))
        }
        Kind::Operator => Box::new(operator::OPERATORS.iter().copied().flatten().map(|row| row.name)),
        Kind::Condition => {
            let rows = condition::CONDITIONS.iter().copied().flatten();
            Box::new(rows.filter(|row| row.is_built()).map(|row| row.name).filter(word))
        }
        Kind::Variable => {
            let rows = variable::VARIABLES.iter().copied().flatten();
            Box::new(rows.filter(|row| row.is_implemented() && !row.family).map(|row| row.name))
        }
    }
}

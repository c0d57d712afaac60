//! The compiled form of a string, and its evaluation.
//!
//! Nesting is bounded twice: the parser refuses strings that nest too deep, and evaluation counts how deep items,
//! lists, lookups and ACLs have called each other ([`enter`]).

use oxim_base::Text;
use oxim_base::limits::{EXPANSION_BYTES_MAX, EXPANSION_NESTING_MAX};

use super::ExpandError;
use super::item::Item;
use super::operator::OperatorRow;
use super::variable::{HeaderReference, VariableReference};
use crate::context::Context;

/// A string with its literal parts and its references.
#[derive(Default)]
pub(crate) struct Body {
    nodes: Vec<Node>,
}

/// One part of a string.
pub(crate) enum Node {
    /// Bytes of the configuration.
    Literal(Vec<u8>),
    /// `$name`.
    Variable(VariableReference),
    /// `$0`, `$1`….
    Capture(usize),
    /// `$h_name:` and its kin.
    Header(HeaderReference),
    /// `${operator:...}`.
    Operator {
        /// Its row.
        row: &'static OperatorRow,
        /// What follows the name after an underscore.
        arguments: Option<Box<str>>,
        /// The string it works on.
        operand: Body,
    },
    /// `${item...}`.
    Item(Box<dyn Item>),
}

impl Body {
    /// A string of literal bytes.
    pub(crate) fn literal(bytes: &[u8]) -> Body {
        Body { nodes: vec![Node::Literal(bytes.to_vec())] }
    }

    /// Adds a part; literal parts grow together.
    pub(crate) fn push(&mut self, node: Node) {
        match (self.nodes.last_mut(), node) {
            (Some(Node::Literal(last)), Node::Literal(more)) => last.extend_from_slice(&more),
            (_, node) => self.nodes.push(node),
        }
    }

    /// Adds literal bytes.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        match self.nodes.last_mut() {
            Some(Node::Literal(last)) => last.extend_from_slice(bytes),
            _ => self.nodes.push(Node::Literal(bytes.to_vec())),
        }
    }

    /// Adds one literal byte.
    pub(crate) fn push_byte(&mut self, byte: u8) {
        match self.nodes.last_mut() {
            Some(Node::Literal(last)) => last.push(byte),
            _ => self.nodes.push(Node::Literal(vec![byte])),
        }
    }

    /// The text, if it is the same for every context.
    pub(crate) fn constant(&self) -> Option<Text> {
        match self.nodes.as_slice() {
            [] => Some(Text::new()),
            [Node::Literal(bytes)] => Some(Text::clean(bytes.clone())),
            _ => None,
        }
    }

    /// The variables from outside that stand here, not inside items and operators.
    pub(crate) fn foreign_variables(&self) -> impl Iterator<Item = &'static str> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Variable(reference) => reference.foreign_name(),
            Node::Literal(_) | Node::Capture(_) | Node::Header(_) | Node::Operator { .. } | Node::Item(_) => {
                None
            }
        })
    }

    /// Evaluates to a new text.
    pub(crate) fn expand(&self, context: &mut Context) -> Result<Text, ExpandError> {
        let mut out = Text::new();
        self.append(context, &mut out)?;
        Ok(out)
    }

    /// Evaluates to a new text in which each part that is not clean has gone through a function.
    pub(crate) fn expand_guarded(
        &self,
        context: &mut Context,
        guard: impl Fn(Text) -> Text,
    ) -> Result<Text, ExpandError> {
        let mut out = Text::new();
        for node in &self.nodes {
            if let Node::Literal(bytes) = node {
                out.push_clean(bytes);
                continue;
            }
            let mut part = Text::new();
            node.append(context, &mut part)?;
            out.push(&if part.is_foreign() { guard(part) } else { part });
        }
        if out.len() > EXPANSION_BYTES_MAX {
            return Err(ExpandError::Failed("the result of the expansion is too long".to_owned()));
        }
        Ok(out)
    }

    /// Evaluates to a text in UTF-8 form, for words and numbers; invalid bytes become replacement characters.
    pub(crate) fn expand_word(&self, context: &mut Context) -> Result<String, ExpandError> {
        Ok(self.expand(context)?.to_string_lossy())
    }

    /// Evaluates and adds the result to a text.
    pub(crate) fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        for node in &self.nodes {
            node.append(context, out)?;
        }
        if out.len() > EXPANSION_BYTES_MAX {
            return Err(ExpandError::Failed("the result of the expansion is too long".to_owned()));
        }
        Ok(())
    }
}

impl Node {
    fn append(&self, context: &mut Context, out: &mut Text) -> Result<(), ExpandError> {
        match self {
            Node::Literal(bytes) => out.push_clean(bytes),
            Node::Variable(reference) => reference.append(context, out)?,
            Node::Header(reference) => reference.append(context, out),
            Node::Capture(number) => {
                if let Some(text) = context.local.captures.get(*number) {
                    out.push(text);
                }
            }
            Node::Operator { row, arguments, operand } => {
                let result = enter(context, |context| row.run(context, arguments.as_deref(), operand))?;
                out.push(&result);
            }
            Node::Item(item) => enter(context, |context| item.append(context, out))?,
        }
        Ok(())
    }
}

/// Runs a nested evaluation, unless evaluations are nested too deep already.
pub(crate) fn enter<T>(
    context: &mut Context,
    work: impl FnOnce(&mut Context) -> Result<T, ExpandError>,
) -> Result<T, ExpandError> {
    if context.local.depth >= EXPANSION_NESTING_MAX {
        return Err(ExpandError::Failed("expansions are nested too deep".to_owned()));
    }
    context.local.depth = context.local.depth.saturating_add(1);
    let result = work(context);
    context.local.depth = context.local.depth.saturating_sub(1);
    result
}

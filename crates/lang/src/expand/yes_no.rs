//! The `{string}{string}` at the end of conditional items, or `{string} fail`, or nothing. Manual section 11.4.

use oxim_base::Text;

use super::{Body, ExpandError, Fault, Parser};
use crate::context::Context;

/// What an item gives when it succeeds and when it does not.
pub(crate) struct Branches {
    item: &'static str,
    yes: Option<Body>,
    no: No,
}

enum No {
    Nothing,
    String(Body),
    Fail,
}

impl Branches {
    /// Reads the branches and the closing brace of an item.
    pub(crate) fn parse(parser: &mut Parser<'_>, item: &'static str) -> Result<Branches, Fault> {
        parser.space();
        if parser.eat(b'}') {
            return Ok(Branches { item, yes: None, no: No::Nothing });
        }
        if !parser.eat(b'{') {
            return Err(problem(parser, "'yes' part did not start with '{'"));
        }
        let yes = Some(parser.body()?);
        parser.space();
        let no = match parser.peek() {
            Some(b'{') => {
                parser.advance(1);
                No::String(parser.body()?)
            }
            Some(b'}') => No::Nothing,
            None | Some(_) => {
                if parser.word(|b| b.is_ascii_alphanumeric() || b == b'_') != "fail" {
                    return parser.fault(format!("syntax error in \"{item}\" item - \"fail\" expected"));
                }
                if !parser.space_eat(b'}') {
                    return Err(problem(parser, "did not close with '}' after forcedfail"));
                }
                return Ok(Branches { item, yes, no: No::Fail });
            }
        };
        if !parser.space_eat(b'}') {
            return Err(problem(parser, "did not close with '}'"));
        }
        Ok(Branches { item, yes, no })
    }

    /// Adds the branch that applies. Without a yes string, success gives `bare`.
    pub(crate) fn append(
        &self,
        context: &mut Context,
        out: &mut Text,
        success: bool,
        bare: impl FnOnce(&Context) -> Text,
    ) -> Result<(), ExpandError> {
        match (success, &self.yes, &self.no) {
            (true, Some(body), _) | (false, _, No::String(body)) => body.append(context, out),
            (true, None, _) => {
                out.push(&bare(context));
                Ok(())
            }
            (false, _, No::Nothing) => Ok(()),
            (false, _, No::Fail) => Err(forced(self.item)),
        }
    }

    /// Adds the branch that applies to a value that was found or not; `$value` is set meanwhile, and is what a missing
    /// yes string stands for.
    pub(crate) fn append_value(
        &self,
        context: &mut Context,
        out: &mut Text,
        value: Option<Text>,
    ) -> Result<(), ExpandError> {
        let otherwise = match &self.no {
            No::Nothing => Otherwise::Nothing,
            No::String(body) => Otherwise::String(body),
            No::Fail => Otherwise::Fail,
        };
        append_value(context, out, self.item, value, self.yes.as_ref(), otherwise)
    }
}

/// What stands for the second string.
pub(crate) enum Otherwise<'a> {
    /// Nothing.
    Nothing,
    /// A string.
    String(&'a Body),
    /// The word `fail`.
    Fail,
}

/// Adds the string that applies to a value that was found or not, with `$value` set meanwhile.
pub(crate) fn append_value(
    context: &mut Context,
    out: &mut Text,
    item: &str,
    value: Option<Text>,
    yes: Option<&Body>,
    otherwise: Otherwise<'_>,
) -> Result<(), ExpandError> {
    let Some(value) = value else {
        return match otherwise {
            Otherwise::Nothing => Ok(()),
            Otherwise::String(body) => body.append(context, out),
            Otherwise::Fail => Err(forced(item)),
        };
    };
    let Some(yes) = yes else {
        out.push(&value);
        return Ok(());
    };
    let saved = context.local.value.replace(value);
    let result = yes.append(context, out);
    context.local.value = saved;
    result
}

fn forced(item: &str) -> ExpandError {
    ExpandError::Forced(format!("\"{item}\" failed and \"fail\" requested"))
}

fn problem(parser: &Parser<'_>, place: &str) -> Fault {
    let rest = String::from_utf8_lossy(parser.rest());
    let text = format!(
        "curly-bracket problem in conditional yes/no parsing: {place}\n remaining string is '{rest}'"
    );
    let message = parser.misplaced_brace().map_or(text, str::to_owned);
    parser.fault::<()>(message).expect_err("fault() gives an error")
}

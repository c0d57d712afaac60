//! Conditions that compare two strings, as numbers or as text.

use std::cmp::Ordering;

use oxim_base::Text;
use oxim_base::text::shown;

use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::{Body, ExpandError, Fault, Parser, integer};

/// The comparison of numbers and of strings.
pub(super) static ROWS: &[&ConditionRow] = &[
    &number("=", "Numbers are equal.", &[("${if ={010}{10}{y}{n}}", "y")], |p| {
        numeric(p, "=", Ordering::is_eq)
    }),
    &number("==", "Numbers are equal.", &[("${if =={1}{1}{y}{n}}", "y")], |p| {
        numeric(p, "==", Ordering::is_eq)
    }),
    &number(">", "The first number is greater.", &[("${if >{2}{1}{y}{n}}", "y")], |p| {
        numeric(p, ">", Ordering::is_gt)
    }),
    &number(">=", "The first number is greater or equal.", &[("${if >={1k}{1024}{y}{n}}", "y")], |p| {
        numeric(p, ">=", Ordering::is_ge)
    }),
    &number("<", "The first number is less.", &[("${if <{}{1}{y}{n}}", "y")], |p| {
        numeric(p, "<", Ordering::is_lt)
    }),
    &number("<=", "The first number is less or equal.", &[("${if <={1}{1}{y}{n}}", "y")], |p| {
        numeric(p, "<=", Ordering::is_le)
    }),
    &text("eq", "The strings are the same.", &[("${if eq{a}{A}{y}{n}}", "n")], |p| {
        lexical(p, "eq", false, Ordering::is_eq)
    }),
    &text("eqi", "The strings are the same but for case.", &[("${if eqi{a}{A}{y}{n}}", "y")], |p| {
        lexical(p, "eqi", true, Ordering::is_eq)
    }),
    &text("ge", "The first string does not sort before the second.", &[("${if ge{b}{a}{y}{n}}", "y")], |p| {
        lexical(p, "ge", false, Ordering::is_ge)
    }),
    &text("gei", "As ge, without regard to case.", &[("${if gei{B}{a}{y}{n}}", "y")], |p| {
        lexical(p, "gei", true, Ordering::is_ge)
    }),
    &text("gt", "The first string sorts after the second.", &[("${if gt{b}{a}{y}{n}}", "y")], |p| {
        lexical(p, "gt", false, Ordering::is_gt)
    }),
    &text("gti", "As gt, without regard to case.", &[("${if gti{B}{a}{y}{n}}", "y")], |p| {
        lexical(p, "gti", true, Ordering::is_gt)
    }),
    &text("le", "The first string does not sort after the second.", &[("${if le{b}{a}{y}{n}}", "n")], |p| {
        lexical(p, "le", false, Ordering::is_le)
    }),
    &text("lei", "As le, without regard to case.", &[("${if lei{B}{a}{y}{n}}", "n")], |p| {
        lexical(p, "lei", true, Ordering::is_le)
    }),
    &text("lt", "The first string sorts before the second.", &[("${if lt{b}{a}{y}{n}}", "n")], |p| {
        lexical(p, "lt", false, Ordering::is_lt)
    }),
    &text("lti", "As lt, without regard to case.", &[("${if lti{B}{a}{y}{n}}", "n")], |p| {
        lexical(p, "lti", true, Ordering::is_lt)
    }),
];

type Examples = &'static [(&'static str, &'static str)];
type Parse = fn(&mut Parser<'_>) -> Result<Box<dyn Condition>, Fault>;

const fn number(name: &'static str, doc: &'static str, examples: Examples, parse: Parse) -> ConditionRow {
    ConditionRow { name, doc, examples, status: Status::Works, may_block: false, sets_captures: false, parse }
}

const fn text(name: &'static str, doc: &'static str, examples: Examples, parse: Parse) -> ConditionRow {
    number(name, doc, examples, parse)
}

struct Numeric {
    operands: Vec<Operand>,
    accept: fn(Ordering) -> bool,
}

/// A string that is read as a number.
enum Operand {
    /// It always is this one.
    Constant(i64),
    String(Body),
}

impl Operand {
    fn new(string: Body) -> Operand {
        let number = string.constant().and_then(|text| read_number(&text).ok());
        number.map_or(Operand::String(string), Operand::Constant)
    }

    fn value(&self, context: &mut Context) -> Result<i64, ExpandError> {
        match self {
            Operand::Constant(number) => Ok(*number),
            Operand::String(string) => read_number(&string.expand(context)?),
        }
    }
}

fn read_number(text: &Text) -> Result<i64, ExpandError> {
    integer::parse(&shown(text.as_bytes())).map_err(ExpandError::Failed)
}

fn numeric(
    parser: &mut Parser<'_>,
    name: &str,
    accept: fn(Ordering) -> bool,
) -> Result<Box<dyn Condition>, Fault> {
    let operands = strings(parser, name, 2)?.into_iter().map(Operand::new).collect();
    Ok(Box::new(Numeric { operands, accept }))
}

impl Condition for Numeric {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let mut numbers = [0_i64; 2];
        for (number, operand) in numbers.iter_mut().zip(&self.operands) {
            *number = operand.value(context)?;
        }
        let [first, second] = numbers;
        Ok((self.accept)(first.cmp(&second)))
    }
}

struct Lexical {
    strings: Vec<Body>,
    caseless: bool,
    accept: fn(Ordering) -> bool,
}

fn lexical(
    parser: &mut Parser<'_>,
    name: &str,
    caseless: bool,
    accept: fn(Ordering) -> bool,
) -> Result<Box<dyn Condition>, Fault> {
    Ok(Box::new(Lexical { strings: strings(parser, name, 2)?, caseless, accept }))
}

impl Condition for Lexical {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let mut texts = [Text::new(), Text::new()];
        for (text, body) in texts.iter_mut().zip(&self.strings) {
            body.append(context, text)?;
        }
        let [first, second] = &texts;
        Ok((self.accept)(order(first.as_bytes(), second.as_bytes(), self.caseless)))
    }
}

/// How two strings sort in the C locale.
pub(crate) fn order(first: &[u8], second: &[u8], caseless: bool) -> Ordering {
    if caseless {
        first.iter().map(u8::to_ascii_lowercase).cmp(second.iter().map(u8::to_ascii_lowercase))
    } else {
        first.cmp(second)
    }
}

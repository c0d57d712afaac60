//! `${eval:}` and `${eval10:}`: integer arithmetic with C's operators and priorities.
//!
//! As observed: sums that overflow are errors, products and shifts wrap, numbers that are too large are the largest.

use oxim_base::Text;
use oxim_base::limits::EXPANSION_NESTING_MAX;

use super::{OperatorRow, operator};
use crate::expand::{ExpandError, integer};

pub(super) static ROWS: &[&OperatorRow] = &[
    &operator(
        "eval",
        "Integer arithmetic; numbers may be octal or hexadecimal.",
        &[
            ("${eval:1+2*3}", "7"),
            ("${eval:(1+2)*3}", "9"),
            ("${eval:2+42%5}", "4"),
            ("${eval:~255&0x1234}", "4608"),
            ("${eval:0xc<<1}", "24"),
            ("${eval:1K}", "1024"),
        ],
        |_, _, s| calculate(&s, false),
    ),
    &operator(
        "eval10",
        "Integer arithmetic; all numbers are decimal.",
        &[("${eval10:010}", "10")],
        |_, _, s| calculate(&s, true),
    ),
];

fn calculate(text: &Text, decimal: bool) -> Result<Text, ExpandError> {
    let source = oxim_base::text::shown(text.as_bytes());
    let mut reader = Reader { source: &source, position: 0, decimal, depth: 0 };
    let result = reader.level(0).and_then(|value| {
        reader.space();
        if reader.rest().is_empty() { Ok(value) } else { Err("expecting operator") }
    });
    match result {
        Ok(value) => {
            let mut result = Text::new();
            result.push_number(value, text.taint());
            Ok(result)
        }
        Err(message) => {
            let done = source.get(..reader.position).unwrap_or_default();
            Err(ExpandError::Failed(format!(
                "error in expression evaluation: {message} (after processing \"{done}\")"
            )))
        }
    }
}

struct Reader<'a> {
    source: &'a str,
    position: usize,
    decimal: bool,
    depth: usize,
}

/// The binary operators, loosest first.
const LEVELS: [&[&str]; 6] = [&["|"], &["^"], &["&"], &["<<", ">>"], &["+", "-"], &["*", "/", "%"]];

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.source.get(self.position..).unwrap_or_default()
    }

    fn advance(&mut self, bytes: usize) {
        self.position = self.position.saturating_add(bytes);
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.advance(rest.len().saturating_sub(rest.trim_ascii_start().len()));
    }

    fn level(&mut self, level: usize) -> Result<i64, &'static str> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary();
        };
        let deeper = level.saturating_add(1);
        let mut value = self.level(deeper)?;
        loop {
            self.space();
            let Some(operator) = operators.iter().find(|o| self.rest().starts_with(**o)) else {
                return Ok(value);
            };
            self.advance(operator.len());
            let right = self.level(deeper)?;
            value = apply(operator, value, right)?;
        }
    }

    fn unary(&mut self) -> Result<i64, &'static str> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > EXPANSION_NESTING_MAX {
            return Err("too many levels");
        }
        self.space();
        let value = match self.rest().bytes().next() {
            Some(b'-') => {
                self.advance(1);
                self.unary()?.wrapping_neg()
            }
            Some(b'+') => {
                self.advance(1);
                self.unary()?
            }
            Some(b'~') => {
                self.advance(1);
                !self.unary()?
            }
            Some(b'(') => {
                self.advance(1);
                let value = self.level(0)?;
                self.space();
                if !self.rest().starts_with(')') {
                    return Err("expecting closing parenthesis");
                }
                self.advance(1);
                value
            }
            Some(b'0'..=b'9') => self.number(),
            _ => return Err("expecting number or opening parenthesis"),
        };
        self.depth = self.depth.saturating_sub(1);
        Ok(value)
    }

    fn number(&mut self) -> i64 {
        let rest = self.rest();
        let (radix, prefix) = match rest.as_bytes() {
            _ if self.decimal => (10, 0),
            [b'0', b'x' | b'X', ..] => (16, 2),
            [b'0', ..] => (8, 0),
            _ => (10, 0),
        };
        let digits = rest.get(prefix..).unwrap_or_default();
        let count = digits.bytes().take_while(|b| char::from(*b).is_digit(radix)).count();
        let digits = digits.get(..count).unwrap_or_default();
        let value = match i64::from_str_radix(digits, radix) {
            Ok(value) => value,
            Err(_) if digits.is_empty() => 0,
            Err(_) => i64::MAX,
        };
        self.advance(prefix.saturating_add(count));
        let (factor, after) = integer::multiplier(self.rest());
        let taken = self.rest().len().saturating_sub(after.len());
        self.advance(taken);
        value.wrapping_mul(factor)
    }
}

fn apply(operator: &str, left: i64, right: i64) -> Result<i64, &'static str> {
    // A shift by more than the width takes the count modulo 64, as the machine does.
    let count = u32::try_from(right & 63).unwrap_or(0);
    Ok(match operator {
        "|" => left | right,
        "^" => left ^ right,
        "&" => left & right,
        "<<" => left.wrapping_shl(count),
        ">>" => left.wrapping_shr(count),
        "+" => left.checked_add(right).ok_or("overflow in sum")?,
        "-" => left.checked_sub(right).ok_or("overflow in difference")?,
        "*" => left.wrapping_mul(right),
        "/" if right == 0 => return Err("divide by zero"),
        "/" => left.saturating_div(right),
        _ if right == 0 => return Err("modulo by zero"),
        _ => left.wrapping_rem(right),
    })
}

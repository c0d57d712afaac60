//! `$dcc_…`: what the `dcc` condition has found out about the message.

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};

pub(super) static ROWS: &[VariableRow] = &[
    row("dcc_header", Scope::Message, Tainted, "The header line of DCC, with its newline.", |c, _| {
        c.message.dcc.as_deref().map_or(Value::Empty, |facts| Value::Bytes(&facts.header))
    }),
    row("dcc_result", Scope::Message, Clean, "What DCC says: A, R, G or T.", |c, _| {
        c.message.dcc.as_deref().map_or(Value::Empty, |facts| Value::Bytes(facts.result.as_bytes()))
    }),
];

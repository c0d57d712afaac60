//! `$atrn_…`: the part in a line that ATRN has turned around.

use oxim_base::Taint::Clean;

use super::{Scope, Value, VariableRow, row};
use crate::context::Turnaround;

pub(super) static ROWS: &[VariableRow] = &[
    row(
        "atrn_host",
        Scope::Process,
        Clean,
        "The customer's end of a line that ATRN has turned around: [address]:port.",
        |c, _| match c.turnaround {
            Some(Turnaround::Provider(customer)) => {
                Value::Made(format!("[{}]:{}", customer.ip(), customer.port()).into_bytes())
            }
            Some(Turnaround::Customer) | None => Value::Empty,
        },
    ),
    row(
        "atrn_mode",
        Scope::Process,
        Clean,
        "P in deliveries over a line that ATRN has turned around, C for the customer, else empty.",
        |c, _| match c.turnaround {
            Some(Turnaround::Provider(_)) => Value::Bytes(b"P"),
            Some(Turnaround::Customer) => Value::Bytes(b"C"),
            None => Value::Empty,
        },
    ),
];

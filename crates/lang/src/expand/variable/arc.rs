//! `$arc_…`: what `verify = arc` has found.

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};

pub(super) static ROWS: &[VariableRow] = &[
    row("arc_domains", Scope::Message, Tainted, "The domains of the ARC seals, oldest first.", |c, _| {
        Value::Made(c.message.arc.domains())
    }),
    row(
        "arc_oldest_pass",
        Scope::Message,
        Clean,
        "The lowest ARC instance that is still as it was.",
        |c, _| {
            let checked = c.message.arc.checked.as_ref();
            Value::Number(
                checked.and_then(|checked| i64::try_from(checked.oldest_pass).ok()).unwrap_or_default(),
            )
        },
    ),
    row("arc_state", Scope::Message, Clean, "What is said of the ARC chain: none, fail or pass.", |c, _| {
        match &c.message.arc.checked {
            Some(checked) => Value::Bytes(checked.state.word().as_bytes()),
            None => Value::Empty,
        }
    }),
    row("arc_state_reason", Scope::Message, Tainted, "Why the ARC chain does not hold.", |c, _| {
        match &c.message.arc.checked {
            Some(checked) => Value::Bytes(checked.reason.as_bytes()),
            None => Value::Empty,
        }
    }),
];

//! `$spf_…`: what the last `spf` or `spf_guess` condition found.

use oxim_base::Taint::{Clean, Tainted};
use oxim_base::Text;

use super::{Scope, Value, VariableRow, row};
use crate::context::Context;
use crate::sender_policy::SpfFacts;

fn text(context: &Context, part: fn(&SpfFacts) -> &Text) -> Value<'_> {
    context.message.spf.as_deref().map_or(Value::Empty, |facts| Value::Text(part(facts)))
}

fn word(context: &Context, part: fn(&SpfFacts) -> &'static str) -> Value<'_> {
    context.message.spf.as_deref().map_or(Value::Empty, |facts| Value::Bytes(part(facts).as_bytes()))
}

pub(super) static ROWS: &[VariableRow] = &[
    row("spf_header_comment", Scope::Message, Tainted, "Why the SPF result is what it is.", |c, _| {
        text(c, |facts| &facts.header_comment)
    }),
    row("spf_received", Scope::Message, Tainted, "A whole Received-SPF: header line.", |c, _| {
        text(c, |facts| &facts.received)
    }),
    row("spf_result", Scope::Message, Clean, "The SPF result, a word of RFC 7208.", |c, _| {
        word(c, |facts| facts.result)
    }),
    row(
        "spf_result_guessed",
        Scope::Message,
        Clean,
        "Whether the result is a best guess: yes or no.",
        |c, _| match c.message.spf.as_deref() {
            Some(facts) if facts.is_guessed => Value::Bytes(b"yes"),
            Some(_) | None => Value::Bytes(b"no"),
        },
    ),
    row("spf_smtp_comment", Scope::Message, Tainted, "A text for the client that is refused.", |c, _| {
        text(c, |facts| &facts.smtp_comment)
    }),
    row("spf_used_domain", Scope::Message, Tainted, "The domain whose record was used.", |c, _| {
        text(c, |facts| &facts.used_domain)
    }),
];

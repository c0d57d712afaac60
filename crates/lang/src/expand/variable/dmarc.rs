//! `$dmarc_…`: what the first `dmarc_status` condition of the message has found.

use oxim_base::Taint::{Clean, Tainted};
use oxim_mailauth::dmarc::Checked;

use super::{Scope, Value, VariableRow, row};
use crate::context::Context;
use crate::dmarc::DmarcFacts;

fn facts(context: &Context) -> Option<&DmarcFacts> {
    context.message.dmarc.as_deref()
}

fn alignment(context: &Context, part: fn(&Checked) -> bool) -> Value<'_> {
    let is_aligned = facts(context).and_then(|facts| facts.checked.as_ref()).is_some_and(part);
    Value::Bytes(if is_aligned { b"yes" } else { b"no" })
}

pub(super) static ROWS: &[VariableRow] = &[
    row(
        "dmarc_alignment_dkim",
        Scope::Message,
        Clean,
        "Whether a good signature is aligned: yes or no.",
        |c, _| alignment(c, |checked| checked.is_dkim_aligned),
    ),
    row(
        "dmarc_alignment_spf",
        Scope::Message,
        Clean,
        "Whether SPF passed for an aligned domain: yes or no.",
        |c, _| alignment(c, |checked| checked.is_spf_aligned),
    ),
    row(
        "dmarc_ar_header",
        Scope::Message,
        Tainted,
        "An Authentication-Results: line of the DMARC result.",
        |c, _| {
            let Some(facts) = facts(c) else { return Value::Empty };
            let host = c.config.main.primary_hostname.as_bytes();
            Value::Made([b"Authentication-Results: ", host, b"; ", &facts.authentication_result()].concat())
        },
    ),
    row("dmarc_domain_policy", Scope::Message, Clean, "The policy in the DMARC record.", |c, _| {
        facts(c).map_or(Value::Empty, |facts| Value::Bytes(facts.domain_policy().as_bytes()))
    }),
    row("dmarc_pct", Scope::Message, Clean, "The tag pct of the DMARC record.", |c, _| {
        let found = facts(c).and_then(|facts| facts.checked.as_ref()?.found.as_ref());
        found.map_or(Value::Empty, |found| Value::Number(found.record.percent.into()))
    }),
    row("dmarc_status", Scope::Message, Clean, "The DMARC result in a word.", |c, _| {
        Value::Bytes(facts(c).map_or("none", DmarcFacts::word).as_bytes())
    }),
    row("dmarc_status_text", Scope::Message, Clean, "The DMARC result in some words.", |c, _| {
        facts(c).map_or(Value::Empty, |facts| Value::Bytes(facts.text().as_bytes()))
    }),
    row("dmarc_used_domain", Scope::Message, Tainted, "The domain whose DMARC record was used.", |c, _| {
        facts(c).map_or(Value::Empty, |facts| Value::Text(&facts.used_domain))
    }),
];

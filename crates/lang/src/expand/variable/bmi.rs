//! `$bmi_…`: what the verdict says that belongs to the recipient in hand. Without one, the message is to be delivered.

use oxim_base::Taint::{Clean, Tainted};

use super::{Scope, Value, VariableRow, row};
use crate::bmi::Destination;

pub(super) static ROWS: &[VariableRow] = &[
    row(
        "bmi_alt_location",
        Scope::Address,
        Tainted,
        "Where Brightmail wants the message instead.",
        |c, _| match c.address.bmi.as_deref().map(|verdict| &verdict.destination) {
            Some(Destination::Elsewhere(place)) => Value::Bytes(place),
            Some(Destination::Default | Destination::Nowhere) | None => Value::Empty,
        },
    ),
    row(
        "bmi_base64_tracker_verdict",
        Scope::Address,
        Tainted,
        "The rules that fired, in base 64.",
        |c, _| c.address.bmi.as_deref().map_or(Value::Empty, |verdict| Value::Bytes(&verdict.tracker)),
    ),
    row("bmi_base64_verdict", Scope::Address, Tainted, "The verdict of Brightmail, in base 64.", |c, _| {
        c.address.bmi.as_deref().map_or(Value::Empty, |verdict| Value::Bytes(&verdict.text))
    }),
    row("bmi_deliver", Scope::Address, Clean, "1, or 0 if Brightmail wants no delivery.", |c, _| {
        let destination = c.address.bmi.as_deref().map(|verdict| &verdict.destination);
        Value::Number(i64::from(destination != Some(&Destination::Nowhere)))
    }),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::bmi::{Destination, Verdict};
    use crate::context::Context;
    use crate::expand::Template;

    #[test]
    fn the_table_of_verdicts() {
        let shown = |verdict: Option<Verdict>| {
            let mut context = Context::default();
            context.address.bmi = verdict.map(Arc::new);
            let text = "$bmi_deliver <$bmi_alt_location> <$bmi_base64_verdict> <$bmi_base64_tracker_verdict>";
            Template::compile(text).expand(&mut context).unwrap().to_string_lossy()
        };
        let verdict = |destination| Verdict {
            text: b"dg==".to_vec(),
            tracker: b"dA==".to_vec(),
            destination,
            ..Verdict::default()
        };
        assert_eq!(shown(None), "1 <> <> <>");
        assert_eq!(shown(Some(verdict(Destination::Default))), "1 <> <dg==> <dA==>");
        assert_eq!(shown(Some(verdict(Destination::Nowhere))), "0 <> <dg==> <dA==>");
        let elsewhere = Destination::Elsewhere(b"X-Spam: yes".to_vec());
        assert_eq!(shown(Some(verdict(elsewhere))), "1 <X-Spam: yes> <dg==> <dA==>");
    }
}

//! `inbound_srs`: a local part that `${srs_encode}` has made. Manual section 11.7; `oxim_mailauth::srs`.

use oxim_base::Text;
use oxim_base::clock::Stamp;
use oxim_mailauth::srs;

use super::{Condition, ConditionRow, strings};
use crate::config::Status;
use crate::context::Context;
use crate::expand::{Body, ExpandError};

pub(super) static ROWS: &[&ConditionRow] = &[&ConditionRow {
    name: "inbound_srs",
    doc: "The local part leads back to a sender, who is then in `$srs_recipient`: local part, secret.",
    examples: &[("${if inbound_srs{SRS0=xxxx=jk=src.ex=Bob}{}{$srs_recipient}{no}}", "bob@src.ex")],
    status: Status::Works,
    may_block: false,
    sets_captures: false,
    parse: |p| Ok(Box::new(InboundSrs { strings: strings(p, "inbound_srs", 2)? })),
}];

struct InboundSrs {
    strings: Vec<Body>,
}

impl Condition for InboundSrs {
    fn holds(&self, context: &mut Context) -> Result<bool, ExpandError> {
        let mut texts = [Text::new(), Text::new()];
        for (text, body) in texts.iter_mut().zip(&self.strings) {
            body.append(context, text)?;
        }
        let [local_part, secret] = &texts;
        let day = srs::day_of(Stamp::now().seconds);
        let Some(decoded) = srs::native::decode(local_part.as_bytes(), secret.as_bytes(), day) else {
            return Ok(false);
        };
        // Set even if the hash is wrong, as Exim has it: the condition decides.
        context.address.srs_recipient = Some(Text::tainted(decoded.address));
        Ok(decoded.is_valid)
    }
}

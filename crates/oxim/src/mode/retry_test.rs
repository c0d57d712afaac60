//! `-brt`: shows the retry rule that an address, a domain or a host would get, for a message of the sender of `-f` (manual section 5.3
//! and chapter 32).

use oxim_base::Text;
use oxim_deliver::delivery::Delivery;
use oxim_deliver::retry::{Cause, Key};
use oxim_lang::context::Context;

use crate::assemble::Program;

/// Finds the rule for `ADDRESS|DOMAIN [DOMAIN] [ERROR]`. Everything is said on standard output, as Exim does.
pub(crate) fn run(program: &Program, delivery: &Delivery, context: &mut Context) -> u8 {
    let words: Vec<String> =
        program.line.arguments.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
    match find(program, &words, delivery, context) {
        Ok(text) => {
            say!("{text}");
            0
        }
        Err(text) => {
            say!("{text}");
            1
        }
    }
}

fn find(
    program: &Program,
    words: &[String],
    delivery: &Delivery,
    context: &mut Context,
) -> Result<String, String> {
    let (first, rest) = words.split_first().ok_or("-brt needs a domain or address argument")?;
    if !first.contains(['@', '.']) {
        say!(
            "Warning: \"{first}\" contains no '@' and no '.' characters. It is being \ntreated as a one-component domain, not as a local part.\n"
        );
    }
    let (second, error) = match rest {
        [word, rest @ ..] if word.contains('.') => (Some(word), rest.first()),
        rest => (None, rest.first()),
    };
    let cause = match error {
        Some(name) => Cause::from_name(name)?,
        None => Cause::Other,
    };
    // Rules for certain senders are for a sender that is named.
    let sender = program.line.origin.sender.as_ref();
    let sender = sender.map(|_| Text::tainted(context.message.sender.clone()));
    let sender = sender.as_ref();
    let key = match second {
        Some(domain) => Key { address: domain, host: Some(first), sender },
        None => Key { address: first, host: None, sender },
    };
    match delivery.retry.find(context, &key, cause) {
        Ok(Some(rule)) => Ok(rule.show()),
        Ok(None) => Ok("No retry information found".to_owned()),
        Err(defer) => Err(format!("the retry rules could not be searched: {}", defer)),
    }
}

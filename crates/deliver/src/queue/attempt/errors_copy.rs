//! `errors_copy`: who else gets a bounce (manual section 14.23).
//!
//! An item is a pattern for the bounce's recipient and, after white space, a list of addresses. The first pattern that matches
//! counts. An address that is none is logged and left out: whoever a bounce is for must not go without it for that.

use oxim_base::Text;
use oxim_base::text::shown;
use oxim_lang::context::Context;
use oxim_lang::expand::Template;
use oxim_lang::list::{List, ListKind, Subject, split};
use oxim_lang::lookup::dequote;
use oxim_mail::address::{AddressError, address_list};

use crate::delivery::Delivery;
use crate::scope;

/// The recipients of copies of a bounce to `target`.
pub(super) fn recipients(delivery: &Delivery, context: &mut Context, target: &[u8]) -> Vec<Vec<u8>> {
    let Some(list) = &delivery.config.main.errors_copy else { return Vec::new() };
    let saved = context.address.clone();
    scope::enter_address(context, target);
    let copies = copies(delivery, context, list.as_bytes(), target);
    context.address = saved;
    copies
}

fn copies(delivery: &Delivery, context: &mut Context, list: &[u8], target: &[u8]) -> Vec<Vec<u8>> {
    let subject_text = Text::tainted(target);
    let subject = Subject::Address { address: &subject_text, caseful: false, captures: true };
    for item in split(list) {
        let (pattern, addresses) = parts(&item);
        let pattern = List::compile(ListKind::Address, &String::from_utf8_lossy(&pattern));
        if !pattern.matches(context, &subject).is_ok_and(|m| m.is_yes()) {
            continue;
        }
        let expanded = Template::compile(String::from_utf8_lossy(addresses).trim()).expand(context);
        return match expanded {
            Ok(addresses) => parsed(delivery, addresses.as_bytes()),
            Err(error) => {
                complain(delivery, &error.to_string());
                Vec::new()
            }
        };
    }
    Vec::new()
}

/// The pattern, which may stand in quotes, and what follows it.
fn parts(item: &[u8]) -> (Vec<u8>, &[u8]) {
    let item = item.trim_ascii_start();
    if item.starts_with(b"\"") {
        let (pattern, end) = dequote(item);
        return (pattern, item.get(end..).unwrap_or_default());
    }
    let end = item.iter().position(u8::is_ascii_whitespace).unwrap_or(item.len());
    let (pattern, addresses) = item.split_at(end);
    (pattern.to_vec(), addresses)
}

fn parsed(delivery: &Delivery, addresses: &[u8]) -> Vec<Vec<u8>> {
    address_list(addresses)
        .filter_map(|item| match item.parse(&delivery.settings.syntax) {
            Ok(parsed) => Some(parsed.address),
            Err(AddressError::Empty) => None,
            Err(error) => {
                complain(delivery, &format!("\"{}\": {error}", shown(item.raw.trim_ascii())));
                None
            }
        })
        .collect()
}

fn complain(delivery: &Delivery, what: &str) {
    delivery.services.log().both(format!("no copy of a bounce: errors_copy: {what}"));
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn a_pattern_ends_with_white_space_or_its_quote() {
        assert_eq!(parts(b" a@b.ex  c@d.ex, e@f.ex"), (b"a@b.ex".to_vec(), &b"  c@d.ex, e@f.ex"[..]));
        assert_eq!(parts(b"\"^a b@\" c@d.ex"), (b"^a b@".to_vec(), &b" c@d.ex"[..]));
        assert_eq!(parts(b"a@b.ex"), (b"a@b.ex".to_vec(), &b""[..]));
    }
}

//! The `personal` condition: mail from a person to this user. Manual "Exim's interfaces", section 3.29; also what
//! Sieve's vacation (RFC 5230 section 4.5) asks before it answers.

use oxim_lang::context::Context;
use oxim_mail::address::{AddressSyntax, address_list};

/// Who sends mail that no person wrote.
const ROBOTS: [&[u8]; 6] = [b"server@", b"daemon@", b"root@", b"listserv@", b"majordomo@", b"-request@"];
/// What mailing lists put in.
const LIST_LINES: [&[u8]; 7] = [
    b"List-Id",
    b"List-Help",
    b"List-Subscribe",
    b"List-Unsubscribe",
    b"List-Post",
    b"List-Owner",
    b"List-Archive",
];

/// Whether bytes are in others, case aside.
pub(crate) fn contains_caseless(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// The addresses in all lines of a name.
fn addresses(context: &Context, name: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for header in context.message.headers.find(name) {
        let items = address_list(header.body());
        found.extend(items.filter_map(|item| item.parse(&AddressSyntax::default()).ok()).map(|a| a.address));
    }
    found
}

/// Whether the message was written by a person and names one of these addresses in one of the lines.
pub(crate) fn is_personal(context: &Context, own: &[Vec<u8>], lines: &[&[u8]]) -> bool {
    let headers = &context.message.headers;
    let is_own = |address: &Vec<u8>| own.iter().any(|o| o.eq_ignore_ascii_case(address));
    let is_robot = |address: &Vec<u8>| {
        ROBOTS.iter().any(|robot| contains_caseless(address, robot))
            || address.get(..6).is_some_and(|head| head.eq_ignore_ascii_case(b"owner-"))
    };
    let is_list = LIST_LINES.iter().any(|name| headers.contains(name));
    let is_automatic =
        headers.find(b"Auto-Submitted").any(|h| !h.body().trim_ascii().eq_ignore_ascii_case(b"no"));
    let is_bulk = headers
        .find(b"Precedence")
        .any(|h| [&b"bulk"[..], b"list", b"junk"].iter().any(|word| contains_caseless(h.body(), word)));
    !context.message.sender.is_empty()
        && !is_list
        && !is_automatic
        && !is_bulk
        && lines.iter().any(|name| addresses(context, name).iter().any(is_own))
        && !addresses(context, b"From").iter().any(|a| is_own(a) || is_robot(a))
}

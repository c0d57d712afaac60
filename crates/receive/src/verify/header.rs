//! Verifies header lines: their syntax, their names, a sender that exists, and that no recipient is hidden.
//! Manual section 44.26.

use oxim_base::Text;
use oxim_mail::address::{AddressError, AddressSyntax, address_list, split_at_domain};
use oxim_mail::header::{Header, HeaderKind};

use super::Options;
use super::address::{Role, check};
use crate::acl::{Answer, Run, Tested};
use crate::log_line;

/// Header lines whose addresses are looked at for syntax.
const ADDRESS_NAMES: [&[u8]; 12] = [
    b"from",
    b"reply-to",
    b"sender",
    b"to",
    b"cc",
    b"bcc",
    b"resent-from",
    b"resent-reply-to",
    b"resent-sender",
    b"resent-to",
    b"resent-cc",
    b"resent-bcc",
];

fn is_one_of(header: &Header, names: &[&[u8]]) -> bool {
    header.is_live() && names.iter().any(|name| header.name().eq_ignore_ascii_case(name))
}

/// Tells the client what the log is told, if `smtp_return_error_details` says so.
pub(super) fn detailed(run: &mut Run<'_>, test: impl FnOnce(&mut Run<'_>) -> Tested) -> Tested {
    let mut tested = test(run);
    if run.reception.settings.return_error_details && tested.answer == Answer::No && tested.user.is_none() {
        tested.user = tested.log.as_ref().map(|why| Text::tainted(format!("Rejected after DATA: {why}")));
    }
    tested
}

/// `verify = header_syntax`.
pub(super) fn syntax(run: &mut Run<'_>) -> Tested {
    let is_local = run.scene.context.connection.host_address.is_none();
    let hosts = &run.reception.settings.hosts;
    let mut may_lack_domain = |is_sender: bool| {
        let rule = if is_sender { &hosts.sender_unqualified } else { &hosts.recipient_unqualified };
        is_local || rule.matches(&mut run.scene.context)
    };
    let bare_senders = may_lack_domain(true);
    let bare_recipients = may_lack_domain(false);
    for header in run.scene.context.message.headers.all() {
        if !is_one_of(header, &ADDRESS_NAMES) {
            continue;
        }
        let is_sender = matches!(header.kind, HeaderKind::From | HeaderKind::ReplyTo | HeaderKind::Sender);
        let may_be_bare = if is_sender { bare_senders } else { bare_recipients };
        if let Some(why) = fault(run, header, may_be_bare) {
            let tested = Tested::logged(Answer::No, why.clone());
            run.scene.context.local.acl_verify_message = Some(Text::tainted(why));
            return tested;
        }
    }
    Tested::of(true)
}

/// The first faulty address of a header line, as the log tells it.
fn fault(run: &Run<'_>, header: &Header, may_be_bare: bool) -> Option<String> {
    let syntax = address_syntax(run);
    let body = header.unfolded();
    for item in address_list(&body) {
        let why = match item.parse(&syntax) {
            Ok(parsed) if parsed.domain().is_some() || may_be_bare || parsed.address.is_empty() => continue,
            Ok(_) => "unqualified address not permitted".to_owned(),
            // Exim parses the header with its line end, and shows it.
            Err(AddressError::Trailing { mut rest, before })
                if item.start.saturating_add(item.raw.len()) >= body.len() =>
            {
                rest.extend_from_slice(b"\\n");
                AddressError::Trailing { rest, before }.to_string()
            }
            Err(error) => error.to_string(),
        };
        let name = String::from_utf8_lossy(header.name()).into_owned();
        let raw = log_line::printable(item.raw.trim_ascii());
        return Some(format!("{why}: failing address in \"{name}:\" header is: {raw}"));
    }
    None
}

/// `verify = header_names_ascii`: names of printable ASCII characters only.
pub(super) fn names_ascii(run: &mut Run<'_>) -> Tested {
    for header in run.scene.context.message.headers.all() {
        let name = header.name();
        if header.is_live() && !name.iter().all(u8::is_ascii_graphic) {
            let why = format!("Invalid character in header \"{}\" found", log_line::address(name));
            return Tested::logged(Answer::No, why);
        }
    }
    Tested::of(true)
}

/// `verify = not_blind`: every recipient stands in To: or Cc:.
pub(super) fn not_blind(run: &mut Run<'_>, case_insensitive: bool) -> Tested {
    let syntax = address_syntax(run);
    let mut named: Vec<Vec<u8>> = Vec::new();
    for header in run.scene.context.message.headers.all() {
        if !is_one_of(header, &[b"to", b"cc", b"resent-to", b"resent-cc"]) {
            continue;
        }
        let body = header.unfolded();
        named.extend(address_list(&body).filter_map(|item| Some(item.parse(&syntax).ok()?.address)));
    }
    let is_named =
        |recipient: &[u8]| named.iter().any(|address| is_same(address, recipient, case_insensitive));
    let recipients = &run.scene.context.message.recipients;
    if recipients.iter().all(|recipient| is_named(&recipient.address)) {
        return Tested::of(true);
    }
    Tested::logged(Answer::No, "bcc recipient detected")
}

fn is_same(one: &[u8], other: &[u8], case_insensitive: bool) -> bool {
    let (one_local, one_domain) = split_at_domain(one);
    let (other_local, other_domain) = split_at_domain(other);
    let domains = one_domain.unwrap_or_default().eq_ignore_ascii_case(other_domain.unwrap_or_default());
    let locals =
        if case_insensitive { one_local.eq_ignore_ascii_case(other_local) } else { one_local == other_local };
    domains && locals
}

/// `verify = header_sender`: an address of Sender:, Reply-To: or From: verifies as a sender.
pub(super) fn sender(run: &mut Run<'_>, options: &Options) -> Tested {
    let syntax = address_syntax(run);
    let mut candidates = Vec::new();
    for wanted in [b"sender".as_slice(), b"reply-to", b"from"] {
        for header in run.scene.context.message.headers.find(wanted) {
            let name = String::from_utf8_lossy(header.name()).into_owned();
            let body = header.unfolded();
            for item in address_list(&body) {
                match item.parse(&syntax) {
                    Ok(parsed) => candidates.push((name.clone(), parsed.address)),
                    Err(AddressError::Empty) => {}
                    Err(error) => {
                        let raw = log_line::printable(item.raw.trim_ascii());
                        let why = format!(
                            "syntax error in '{name}:' header when scanning for sender: {error} in \"{raw}\""
                        );
                        return Tested::logged(Answer::No, why);
                    }
                }
            }
        }
    }
    let mut answer = Answer::No;
    let mut last = None;
    for (name, address) in candidates {
        run.trace(|| format!("verifying {name}: header address {}", String::from_utf8_lossy(&address)));
        let checked = check(run, &address, Role::HeaderSender, options);
        match checked.answer {
            Answer::Yes => return Tested::of(true),
            Answer::Later => answer = Answer::Later,
            Answer::No | Answer::Faulty => {}
        }
        let why = checked.user.or(checked.log);
        last = Some((name, address, why));
    }
    let mut tested = Tested::logged(
        answer,
        if answer == Answer::Later {
            "all attempts to verify a sender in a header line deferred"
        } else {
            "there is no valid sender in any header line"
        },
    );
    if let (true, Some((name, address, why))) = (run.reception.settings.return_error_details, last) {
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        let address = String::from_utf8_lossy(&address);
        tested.user = Some(Text::tainted(format!(
            "Rejected after DATA: could not verify \"{name}:\" header address\n{address}{why}"
        )));
    }
    tested
}

/// What addresses in the header may look like: those of an international message may be in UTF-8.
fn address_syntax(run: &Run<'_>) -> AddressSyntax {
    AddressSyntax { smtp_utf8: run.scene.context.message.smtputf8, ..run.reception.settings.address_syntax }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_compared_without_case_and_local_parts_as_asked() {
        assert!(is_same(b"a@B.example", b"a@b.EXAMPLE", false));
        assert!(!is_same(b"A@b.example", b"a@b.example", false));
        assert!(is_same(b"A@b.example", b"a@b.example", true));
    }
}

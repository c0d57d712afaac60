//! `${authresults`: a whole Authentication-Results: line of what is known about the client and its message. Manual
//! section 11.5; RFC 8601.

use oxim_base::Text;

use super::{ItemRow, row};
use crate::context::{Connection, Context, HostLookup};

pub(super) static ROWS: &[&ItemRow] = &[&row(
    "authresults",
    "An Authentication-Results: header line in the name of this system.",
    &[("${authresults {mx.ex}}", "Authentication-Results: mx.ex")],
    |p| {
        super::strings::fixed(p, "authresults", 1, 1, |context, texts| match texts {
            [system] => Ok(line(context, system)),
            _ => Ok(Text::new()),
        })
    },
)];

fn line(context: &Context, system: &Text) -> Text {
    let mut parts = vec![[b"Authentication-Results: ", system.as_bytes()].concat()];
    parts.extend(reverse_lookup(&context.connection));
    parts.extend(authentication(context));
    parts.extend(sender_policy(context));
    if let Some(facts) = &context.message.dkim {
        parts.extend(facts.results.iter().map(crate::signatures::DkimResult::authentication_result));
    }
    parts.extend(context.message.dmarc.as_deref().map(crate::dmarc::DmarcFacts::authentication_result));
    parts.extend(context.message.arc.authentication_result(context.connection.host_address));
    let is_own = parts.len() == 1;
    let out = parts.join(b";\n\t".as_slice());
    if is_own { Text::with_taint(out, system.taint()) } else { Text::tainted(out) }
}

/// A value as RFC 8601 wants it: as it is if it is a word, an address or a domain, else in quotes.
pub(crate) fn value(bytes: &[u8]) -> Vec<u8> {
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`{|}~@".contains(b) || *b >= 0x80;
    if !bytes.is_empty() && bytes.iter().all(is_plain) || bytes == b"<>" {
        return bytes.to_vec();
    }
    let mut out = vec![b'"'];
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            byte if byte.is_ascii_control() => out.push(b'?'),
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
    out
}

/// A comment without what would end it.
pub(crate) fn comment(bytes: &[u8]) -> Vec<u8> {
    let is_bad = |b: u8| b.is_ascii_control() || matches!(b, b'(' | b')' | b'\\');
    let inner = bytes.iter().map(|b| if is_bad(*b) { b'?' } else { *b });
    [b'('].into_iter().chain(inner).chain([b')']).collect()
}

/// `iprev`: whether the client's name and address agree; nothing if that was not asked.
fn reverse_lookup(connection: &Connection) -> Option<Vec<u8>> {
    let address = connection.host_address?;
    let result: Vec<u8> = match (&connection.host_name, connection.host_lookup) {
        (Some(name), _) => [b"pass ".as_slice(), &comment(name)].concat(),
        (None, HostLookup::Failed) => b"fail".to_vec(),
        (None, HostLookup::Deferred) => b"temperror".to_vec(),
        (None, HostLookup::NotTried | HostLookup::Found) => return None,
    };
    Some([b"iprev=", result.as_slice(), format!(" smtp.remote-ip={address}").as_bytes()].concat())
}

/// `auth`, with the name of the mechanism.
fn authentication(context: &Context) -> Option<Vec<u8>> {
    let connection = &context.connection;
    let authenticator = connection.authenticator.as_deref()?;
    let instance = context.config.authenticators.iter().find(|one| one.name.as_bytes() == authenticator);
    let name =
        instance.and_then(|one| one.options.string("public_name")).map_or(authenticator, str::as_bytes);
    let id = connection.auth_id.as_deref().unwrap_or_default();
    let id = if id.is_empty() { Vec::new() } else { [b" smtp.auth=".as_slice(), &value(id)].concat() };
    Some([b"auth=pass ".as_slice(), &comment(name), &id].concat())
}

fn sender_policy(context: &Context) -> Option<Vec<u8>> {
    let facts = context.message.spf.as_deref()?;
    let guess = if facts.is_guessed { " (best guess record for domain)" } else { "" };
    let (_, domain) = oxim_mail::address::split_at_domain(&context.message.sender);
    let (name, value) = match domain {
        Some(domain) => ("mailfrom", domain),
        None => match context.connection.helo_name.as_deref() {
            Some(helo) => ("helo", helo),
            None => ("mailfrom", b"<>".as_slice()),
        },
    };
    Some(
        [
            b"spf=",
            facts.result.as_bytes(),
            guess.as_bytes(),
            b" smtp.",
            name.as_bytes(),
            b"=",
            &self::value(value),
        ]
        .concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_break_the_line() {
        let shown = |text: &str| String::from_utf8(value(text.as_bytes())).unwrap();
        assert_eq!(shown("a.b@x-y.ex"), "a.b@x-y.ex");
        assert_eq!(shown("<>"), "<>");
        assert_eq!(shown("[10.1.1.1]"), "\"[10.1.1.1]\"");
        assert_eq!(shown("a; dkim=pass\n"), "\"a; dkim=pass?\"");
        assert_eq!(shown("a\"b\\"), "\"a\\\"b\\\\\"");
        assert_eq!(shown(""), "\"\"");
        assert_eq!(comment(b"a) dkim=pass ("), b"(a? dkim=pass ?)");
    }
}

//! `notify` with `mailto:` URIs (RFC 5435, RFC 5436, RFC 6068).

use oxim_mail::address::{AddressSyntax, address_list, parse};

use super::evaluate::Rules;
use super::tree::Notify;
use super::vacation::{encoded_subject, quoted_printable};
use crate::filter::Reply;

/// Fields that a URI must not set: they would make the notification look like something else.
const FORBIDDEN_FIELDS: [&[u8]; 8] = [
    b"auto-submitted",
    b"received",
    b"message-id",
    b"date",
    b"from",
    b"sender",
    b"resent-from",
    b"return-path",
];

/// A `mailto:` URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mailto {
    pub(super) to: Vec<Vec<u8>>,
    pub(super) subject: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) headers: Vec<u8>,
}

impl Mailto {
    /// Reads a URI.
    pub(super) fn parse(uri: &[u8]) -> Result<Mailto, &'static str> {
        const BAD: &str = "Syntactically invalid URI";
        let (scheme, rest) = uri.split_at_checked(7).ok_or("unknown method")?;
        if !scheme.eq_ignore_ascii_case(b"mailto:") {
            return Err("unknown method");
        }
        let mut mailto = Mailto::default();
        let (path, query) = match memchr::memchr(b'?', rest) {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at.saturating_add(1)..)),
            None => (rest, None),
        };
        for address in path.split(|byte| *byte == b',').filter(|part| !part.is_empty()) {
            mailto.add_recipients(&unescape(address).ok_or(BAD)?)?;
        }
        for field in query.unwrap_or_default().split(|byte| *byte == b'&').filter(|f| !f.is_empty()) {
            let at = memchr::memchr(b'=', field).ok_or(BAD)?;
            let name = unescape(field.get(..at).unwrap_or_default()).ok_or(BAD)?.to_ascii_lowercase();
            let value = unescape(field.get(at.saturating_add(1)..).unwrap_or_default()).ok_or(BAD)?;
            mailto.field(&name, value)?;
        }
        Ok(mailto)
    }

    fn add_recipients(&mut self, list: &[u8]) -> Result<(), &'static str> {
        for item in address_list(list) {
            let parsed = item.parse(&AddressSyntax::default()).map_err(|_| "Syntactically invalid URI")?;
            if parsed.domain().is_none() {
                return Err("Syntactically invalid URI");
            }
            self.to.push(parsed.address);
        }
        Ok(())
    }

    fn field(&mut self, name: &[u8], value: Vec<u8>) -> Result<(), &'static str> {
        let is_plain = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
        match name {
            b"to" | b"cc" | b"bcc" => self.add_recipients(&value)?,
            b"body" => self.body = value,
            _ if value.iter().any(|b| matches!(b, b'\n' | b'\r' | 0)) => {
                return Err("Syntactically invalid URI");
            }
            b"subject" => self.subject = value,
            _ if FORBIDDEN_FIELDS.contains(&name) || !is_plain => {}
            _ => {
                for part in [name, b": ", &value, b"\n"] {
                    self.headers.extend_from_slice(part);
                }
            }
        }
        Ok(())
    }
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            out.push(*first);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(out)
}

/// The message that a notification is; `None` if it has no recipient.
pub(super) fn reply(notify: &Notify, rules: &Rules, subject_of_message: &[u8]) -> Option<Reply> {
    let mailto = Mailto::parse(&notify.method).ok().filter(|mailto| !mailto.to.is_empty())?;
    let owner = rules.enotify_owner.as_deref().unwrap_or_default();
    let from = notify.from.as_deref().filter(|from| parse(from, &AddressSyntax::default()).is_ok());
    let subject = match (&notify.message, mailto.subject.is_empty()) {
        (Some(message), _) => encoded_subject(message),
        (None, false) => encoded_subject(&mailto.subject),
        (None, true) => subject_of_message.to_vec(),
    };
    let mut headers = b"Auto-Submitted: auto-notified; owner-email=\"".to_vec();
    headers.extend(owner.iter().filter(|b| !matches!(b, b'"' | b'\\' | b'\n')));
    headers.extend_from_slice(b"\"\n");
    headers.extend_from_slice(&mailto.headers);
    if let Some(importance) = notify.importance {
        headers.extend_from_slice(
            format!(
                "Importance: {}\n",
                ["high", "normal", "low"].get(usize::from(importance).saturating_sub(1)).unwrap_or(&"normal")
            )
            .as_bytes(),
        );
    }
    headers.extend_from_slice(
        b"MIME-Version: 1.0\nContent-Type: text/plain;\n\tcharset=\"utf-8\"\nContent-Transfer-Encoding: quoted-printable",
    );
    Some(Reply {
        to: mailto.to.join(&b", "[..]),
        from: from.unwrap_or(owner).to_vec(),
        subject,
        headers,
        text: quoted_printable(&mailto.body),
        ..Reply::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris() {
        let read = Mailto::parse(b"mailto:a@b.c,d@e.f?subject=S%20x&body=B%0Ay&cc=c@c.c&X-Foo=bar").unwrap();
        assert_eq!(read.to, [b"a@b.c".to_vec(), b"d@e.f".to_vec(), b"c@c.c".to_vec()]);
        assert_eq!((read.subject, read.body), (b"S x".to_vec(), b"B\ny".to_vec()));
        assert_eq!(read.headers, b"x-foo: bar\n");
        assert!(Mailto::parse(b"mailto:").is_ok());
        for bad in
            ["foo:x", "mailto:a", "mailto:%4", "mailto:a@b.c?subject", "mailto:a@b.c?subject=x%0AFrom:y"]
        {
            assert!(Mailto::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let quiet = Mailto::parse(b"mailto:a@b.c?from=x@y.z&auto-submitted=no").unwrap();
        assert!(quiet.headers.is_empty());
    }
}

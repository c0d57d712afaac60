//! LDAP queries: settings in front, then a URL (manual sections 9.15 to 9.18; RFC 4516), and the filter in it (RFC 4515).

use oxim_base::limits::LOOKUP_NESTING_MAX;

use super::ber;

/// How a server is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear, or STARTTLS.
    #[default]
    Plain,
    /// TLS from the start.
    Tls,
    /// A Unix socket.
    Socket,
}

/// A query, taken apart.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// `USER`, without URL quoting.
    pub user: Option<Vec<u8>>,
    /// `PASS`.
    pub password: Option<Vec<u8>>,
    /// `SERVERS`.
    pub servers: Option<String>,
    /// `SIZE`: entries at most; 0 for no limit.
    pub size: u32,
    /// `TIME`: seconds for the server; 0 for no limit.
    pub time: u32,
    /// `NETTIME`: seconds for us; 0 for the default.
    pub network_time: u32,
    /// `DEREFERENCE`, as LDAP counts: never, searching, finding, always.
    pub dereference: u32,
    /// `REFERRALS=nofollow`.
    pub ignores_referrals: bool,
    /// What the URL begins with.
    pub scheme: Scheme,
    /// Host and port, or a path; empty if the URL names none.
    pub server: String,
    /// Where the search begins.
    pub base: Vec<u8>,
    /// Attributes wanted; empty for all.
    pub attributes: Vec<String>,
    /// 0 base, 1 one level, 2 the whole tree below.
    pub scope: u32,
    /// The filter, encoded.
    pub filter: Vec<u8>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ldap query at {:?} from {:?}", self.server, String::from_utf8_lossy(&self.base))
    }
}

/// Takes `%XX` back; a percent sign without two digits stays.
#[must_use]
pub fn without_percents(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let decoded =
            digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u8::from_str_radix(d, 16).ok());
        match decoded {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// A value up to white space, or in double quotes with backslashes; and what follows it.
fn value(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end).unwrap_or((text, b""));
        return (value.to_vec(), rest);
    };
    let mut out = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return (out, quoted.get(index.saturating_add(1)..).unwrap_or_default()),
            b'\\' => {
                let escaped = bytes.next().map_or(b'\\', |(_, b)| *b);
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                });
            }
            other => out.push(*other),
        }
    }
    (out, b"")
}

const MALFORMED: &str = "malformed parameter setting precedes LDAP URL";

impl Query {
    /// Takes a query apart.
    ///
    /// # Errors
    /// Exim's text for a fault.
    pub fn parse(text: &[u8]) -> Result<Query, String> {
        let mut query = Query::default();
        let mut rest = text.trim_ascii_start();
        while !rest.get(..4).is_some_and(|front| front.eq_ignore_ascii_case(b"ldap")) {
            let length = rest.iter().take_while(|b| b.is_ascii_alphabetic()).count();
            let (name, after) = rest.split_at_checked(length).ok_or(MALFORMED)?;
            let after = after.strip_prefix(b"=").filter(|_| length > 0).ok_or(MALFORMED)?;
            let (value, after) = value(after);
            query.set(&String::from_utf8_lossy(name).to_ascii_lowercase(), value)?;
            rest = after.trim_ascii_start();
        }
        query.url(&String::from_utf8_lossy(rest))?;
        Ok(query)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), String> {
        let text = || String::from_utf8_lossy(&value).into_owned();
        // Exim takes what is no number for 0.
        let number = || text().parse().unwrap_or(0);
        match name {
            "user" => self.user = Some(without_percents(&value)),
            "pass" => self.password = Some(value),
            "servers" => self.servers = Some(text()),
            "size" => self.size = number(),
            "time" => self.time = number(),
            "nettime" | "connect" => self.network_time = number(),
            "dereference" => {
                let words = ["never", "searching", "finding", "always"];
                let at = words.iter().position(|word| word.eq_ignore_ascii_case(&text()));
                let at = at.ok_or_else(|| {
                    "LDAP option DEREFERENCE is not \"never\", \"searching\", \"finding\" or \"always\""
                        .to_owned()
                })?;
                self.dereference = u32::try_from(at).unwrap_or(0);
            }
            "referrals" => match text().to_ascii_lowercase().as_str() {
                "follow" => self.ignores_referrals = false,
                "nofollow" => self.ignores_referrals = true,
                _ => return Err("LDAP option REFERRALS is not \"follow\" or \"nofollow\"".to_owned()),
            },
            other => return Err(format!("unknown parameter \"{other}=\" precedes LDAP URL")),
        }
        Ok(())
    }

    /// Reads `scheme://server/base?attributes?scope?filter`.
    ///
    /// # Errors
    /// Exim's text, or that of the library it uses.
    pub fn url(&mut self, url: &str) -> Result<(), String> {
        let schemes = [("ldap://", Scheme::Plain), ("ldaps://", Scheme::Tls), ("ldapi://", Scheme::Socket)];
        let is_front = |front: &str| url.get(..front.len()).is_some_and(|f| f.eq_ignore_ascii_case(front));
        let Some((front, scheme)) = schemes.into_iter().find(|(front, _)| is_front(front)) else {
            let start: String = url.chars().take(16).collect();
            return Err(format!(
                "LDAP URL does not start with \"ldap://\", \"ldaps://\", or \"ldapi://\" (it starts with \"{start}...\")"
            ));
        };
        let fault = |number: u32| format!("ldap_url_parse: (error {number}) parsing \"{url}\"\n");
        let rest = url.get(front.len()..).unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (server, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let decoded = |text: &str| String::from_utf8_lossy(&without_percents(text.as_bytes())).into_owned();
        self.scheme = scheme;
        self.server = decoded(server);
        let mut parts = rest.strip_prefix('/').unwrap_or(rest).split('?');
        self.base = without_percents(parts.next().unwrap_or_default().as_bytes());
        let attributes = parts.next().unwrap_or_default().split(',').filter(|a| !a.is_empty());
        self.attributes = attributes.map(decoded).collect();
        self.scope = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "" | "base" => 0,
            "one" | "onelevel" => 1,
            "sub" | "subtree" => 2,
            _ => return Err(fault(8)),
        };
        let filter = without_percents(parts.next().unwrap_or_default().as_bytes());
        let filter = if filter.is_empty() { b"(objectClass=*)".to_vec() } else { filter };
        self.filter = encode_filter(&filter).ok_or("ldap_search failed: -7, Bad search filter")?;
        Ok(())
    }
}

/// The query with what stands behind `pass=` left out.
#[must_use]
pub fn without_password(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let is_setting =
        |at: &usize| lower.get(..*at).is_some_and(|front| front.is_empty() || front.ends_with(' '));
    let Some(start) = lower.match_indices("pass=").map(|(at, _)| at).find(is_setting) else {
        return text.to_owned();
    };
    let start = start.saturating_add(5);
    let rest = text.get(start..).unwrap_or_default();
    let (_, after) = value(rest.as_bytes());
    format!("{}***{}", text.get(..start).unwrap_or_default(), String::from_utf8_lossy(after))
}

/// A filter in its encoded form. None: it is malformed.
#[must_use]
pub fn encode_filter(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    // A filter may lack its outer parentheses.
    let owned;
    let text = if text.starts_with(b"(") {
        text
    } else {
        owned = [b"(", text, b")"].concat();
        &owned
    };
    let (encoded, rest) = filter(text, 0)?;
    rest.is_empty().then_some(encoded)
}

/// One filter in parentheses, and what follows it.
fn filter(text: &[u8], nesting: usize) -> Option<(Vec<u8>, &[u8])> {
    if nesting > LOOKUP_NESTING_MAX {
        return None;
    }
    let inner = text.trim_ascii_start().strip_prefix(b"(")?.trim_ascii_start();
    let (tag, rest) = match inner.first()? {
        b'&' => (0xa0, inner.get(1..)?),
        b'|' => (0xa1, inner.get(1..)?),
        b'!' => (0xa2, inner.get(1..)?),
        _ => {
            let end = memchr::memchr(b')', inner)?;
            return Some((comparison(inner.get(..end)?)?, inner.get(end.saturating_add(1)..)?));
        }
    };
    let mut content = Vec::new();
    let mut rest = rest.trim_ascii_start();
    let mut count = 0_usize;
    while rest.first() == Some(&b'(') {
        let (encoded, after) = filter(rest, nesting.saturating_add(1))?;
        content.extend_from_slice(&encoded);
        count = count.saturating_add(1);
        rest = after.trim_ascii_start();
    }
    let rest = rest.strip_prefix(b")")?;
    (tag != 0xa2 || count == 1).then(|| (ber::element(tag, &content), rest))
}

/// `attribute=value` and its relations.
fn comparison(text: &[u8]) -> Option<Vec<u8>> {
    let equals = memchr::memchr(b'=', text)?;
    let (left, value) = (text.get(..equals)?, text.get(equals.saturating_add(1)..)?);
    let pair = |tag: u8, attribute: &[u8]| {
        let attribute = attribute_name(attribute)?;
        let content = [ber::element(ber::OCTETS, attribute), ber::element(ber::OCTETS, &unescaped(value)?)];
        Some(ber::element(tag, &content.concat()))
    };
    match left.split_last()? {
        (b'>', attribute) => return pair(0xa5, attribute),
        (b'<', attribute) => return pair(0xa6, attribute),
        (b'~', attribute) => return pair(0xa8, attribute),
        (b':', front) => return extensible(front, value),
        _ => {}
    }
    if value == b"*" {
        return Some(ber::element(0x87, attribute_name(left)?));
    }
    if !value.contains(&b'*') {
        return pair(0xa3, left);
    }
    let pieces: Vec<&[u8]> = value.split(|b| *b == b'*').collect();
    let last = pieces.len().saturating_sub(1);
    let mut content = Vec::new();
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| !piece.is_empty()) {
        let tag = match index {
            0 => 0x80,
            i if i == last => 0x82,
            _ => 0x81,
        };
        content.extend_from_slice(&ber::element(tag, &unescaped(piece)?));
    }
    if content.is_empty() {
        return None;
    }
    let attribute = ber::element(ber::OCTETS, attribute_name(left)?);
    Some(ber::element(0xa4, &[attribute, ber::element(ber::SEQUENCE, &content)].concat()))
}

/// `attribute:dn:rule:=value`, each part but the value may be missing.
fn extensible(front: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut parts = front.split(|b| *b == b':');
    let attribute = parts.next()?;
    let mut rest: Vec<&[u8]> = parts.collect();
    let names_dn = rest.first().is_some_and(|word| word.eq_ignore_ascii_case(b"dn"));
    if names_dn {
        rest.remove(0);
    }
    let rule = match rest.as_slice() {
        [] => None,
        [rule] => Some(*rule),
        _ => return None,
    };
    if attribute.is_empty() && rule.is_none() {
        return None;
    }
    let mut content = Vec::new();
    if let Some(rule) = rule {
        content.extend_from_slice(&ber::element(0x81, rule));
    }
    if !attribute.is_empty() {
        content.extend_from_slice(&ber::element(0x82, attribute_name(attribute)?));
    }
    content.extend_from_slice(&ber::element(0x83, &unescaped(value)?));
    if names_dn {
        content.extend_from_slice(&ber::element(0x84, &[0xff]));
    }
    Some(ber::element(0xa9, &content))
}

fn attribute_name(text: &[u8]) -> Option<&[u8]> {
    let text = text.trim_ascii();
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_');
    (!text.is_empty() && text.iter().all(fits)).then_some(text)
}

/// A value of a filter: `\XX` stands for a byte.
fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first == b'\\' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Query::parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn queries_are_taken_apart() {
        let query = Query::parse(
            br#"user="cn=manager,o=University%20of X" pass=a\b Size=3 referrals=nofollow dereference=always ldaps://h:1/o=a%20b,c=UK?sn,cn?sub?(cn=foo)"#,
        )
        .unwrap();
        assert_eq!(query.user.unwrap(), b"cn=manager,o=University of X");
        assert_eq!(query.password.unwrap(), b"a\\b");
        assert_eq!((query.size, query.dereference, query.ignores_referrals), (3, 3, true));
        assert_eq!((query.scheme, query.server.as_str()), (Scheme::Tls, "h:1"));
        assert_eq!((query.base.as_slice(), query.scope), (&b"o=a b,c=UK"[..], 2));
        assert_eq!(query.attributes, ["sn", "cn"]);
        assert_eq!(Query::parse(b"ldapi://%2Ftmp%2Fx.sock/").unwrap().server, "/tmp/x.sock");
    }

    /// Observed with Exim 4.96.
    #[test]
    fn faults_are_told_as_exim_does() {
        assert_eq!(fault("hello"), MALFORMED);
        assert_eq!(fault("user=x pass=y"), MALFORMED);
        assert_eq!(fault("foo=x ldap:///"), "unknown parameter \"foo=\" precedes LDAP URL");
        assert_eq!(fault("referrals=x ldap:///"), "LDAP option REFERRALS is not \"follow\" or \"nofollow\"");
        assert_eq!(
            fault("ldap://127.0.0.1:1/o=x?cn?foo?(a=b)"),
            "ldap_url_parse: (error 8) parsing \"ldap://127.0.0.1:1/o=x?cn?foo?(a=b)\"\n"
        );
        assert_eq!(
            fault("ldapx://127.0.0.1:1/"),
            "LDAP URL does not start with \"ldap://\", \"ldaps://\", or \"ldapi://\" (it starts with \"ldapx://127.0.0....\")"
        );
    }

    #[test]
    fn filters_are_encoded() {
        let equal = b"\xa3\x06\x04\x01a\x04\x01b";
        assert_eq!(encode_filter(b"(a=b)").unwrap(), equal);
        assert_eq!(encode_filter(b"a=b").unwrap(), equal);
        assert_eq!(encode_filter(b"(!(a=b))").unwrap(), [b"\xa2\x08", &equal[..]].concat());
        assert_eq!(encode_filter(b"(&(a=b)(a=b))").unwrap(), [b"\xa0\x10", &equal[..], equal].concat());
        assert_eq!(encode_filter(b"(a=*)").unwrap(), b"\x87\x01a");
        assert_eq!(
            encode_filter(b"(a=x*y*z)").unwrap(),
            b"\xa4\x0e\x04\x01a\x30\x09\x80\x01x\x81\x01y\x82\x01z"
        );
        assert_eq!(encode_filter(b"(a=\\2a)").unwrap(), b"\xa3\x06\x04\x01a\x04\x01*");
        assert_eq!(encode_filter(b"(a>=1)").unwrap()[0], 0xa5);
        assert_eq!(encode_filter(b"(a:dn:2.4:=1)").unwrap()[0], 0xa9);
        for bad in ["(a=b", "(a)", "(!(a=b)(c=d))", "(a=\\zz)", "()", "(a=b))", "(=b)", "(a=**)"] {
            assert_eq!(encode_filter(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(encode_filter("(!".repeat(1000).as_bytes()), None);
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("user=a pass=secret ldap:///x"), "user=a pass=*** ldap:///x");
        assert_eq!(without_password("PASS=\"se cret\" ldap:///x"), "PASS=*** ldap:///x");
        assert_eq!(without_password("ldap:///x?a?b?(pass=x)"), "ldap:///x?a?b?(pass=x)");
    }
}

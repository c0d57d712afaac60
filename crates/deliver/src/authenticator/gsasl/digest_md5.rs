//! DIGEST-MD5, the messages and the arithmetic of both sides (RFC 2831), with `qop=auth` and `charset=utf-8` only.
//!
//! Nothing here talks or expands: the driver does. Failure mode of reading: `None`, whatever is wrong.

use md5::{Digest, Md5};

/// Longest message of the other side: RFC 2831 has 2048 and 4096.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect()
}

/// `name=value` pairs with commas, values perhaps in quotes.
fn directives(text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    if text.len() > MESSAGE_BYTES_MAX || text.contains(&0) {
        return None;
    }
    let mut list = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    loop {
        while bytes.next_if(|byte| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n')).is_some() {}
        if bytes.peek().is_none() {
            return Some(list);
        }
        let mut name = String::new();
        while let Some(byte) = bytes.next_if(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        if name.is_empty() || bytes.next() != Some(b'=') {
            return None;
        }
        let mut value = Vec::new();
        if bytes.next_if_eq(&b'"').is_some() {
            loop {
                match bytes.next()? {
                    b'"' => break,
                    b'\\' => value.push(bytes.next()?),
                    other => value.push(other),
                }
            }
        } else {
            while let Some(byte) = bytes.next_if(|byte| *byte != b',') {
                value.push(byte);
            }
        }
        list.push((name, value.trim_ascii().to_vec()));
    }
}

/// The one value of a name; several are an error, none is empty.
fn one(list: &[(String, Vec<u8>)], name: &str) -> Option<Vec<u8>> {
    let mut found = list.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone());
    let first = found.next().unwrap_or_default();
    found.next().is_none().then_some(first)
}

fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
    out
}

/// The server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChallenge {
    /// Realms to choose from; empty ones are not sent.
    pub realms: Vec<Vec<u8>>,
    /// Something fresh.
    pub nonce: Vec<u8>,
}

impl ServerChallenge {
    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for realm in self.realms.iter().filter(|realm| !realm.is_empty()) {
            out.extend([b"realm=".as_slice(), &quoted(realm), b","].concat());
        }
        out.extend([b"nonce=".as_slice(), &quoted(&self.nonce)].concat());
        out.extend_from_slice(b",qop=\"auth\",charset=utf-8,algorithm=md5-sess");
        out
    }

    /// Reads it.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<ServerChallenge> {
        let list = directives(text)?;
        let nonce = one(&list, "nonce")?;
        let qop = one(&list, "qop")?;
        let knows_auth = qop.is_empty()
            || qop.split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"auth"));
        if nonce.is_empty() || !knows_auth || !one(&list, "algorithm")?.eq_ignore_ascii_case(b"md5-sess") {
            return None;
        }
        let realms =
            list.iter().filter(|(name, _)| name == "realm").map(|(_, value)| value.clone()).collect();
        Some(ServerChallenge { realms, nonce })
    }
}

/// The client's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResponse {
    /// Who it is.
    pub user: Vec<u8>,
    /// Whom it wants to act as; empty if as itself.
    pub authorization: Vec<u8>,
    /// Where that user is known.
    pub realm: Vec<u8>,
    /// What the server gave.
    pub nonce: Vec<u8>,
    /// Something fresh of the client's.
    pub own_nonce: Vec<u8>,
    /// Service and host.
    pub uri: Vec<u8>,
    /// The proof: 32 hexadecimal digits.
    pub response: Vec<u8>,
}

impl ClientResponse {
    /// Reads it.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<ClientResponse> {
        let list = directives(text)?;
        let qop = one(&list, "qop")?;
        let is_ours = (qop.is_empty() || qop.eq_ignore_ascii_case(b"auth"))
            && one(&list, "nc")? == b"00000001"
            && one(&list, "charset").is_some();
        let read = ClientResponse {
            user: one(&list, "username")?,
            authorization: one(&list, "authzid")?,
            realm: one(&list, "realm")?,
            nonce: one(&list, "nonce")?,
            own_nonce: one(&list, "cnonce")?,
            uri: one(&list, "digest-uri")?,
            response: one(&list, "response")?.to_ascii_lowercase(),
        };
        let is_proof = read.response.len() == 32 && read.response.iter().all(u8::is_ascii_hexdigit);
        let is_whole = !read.user.is_empty() && !read.own_nonce.is_empty() && is_proof;
        (is_ours && is_whole).then_some(read)
    }

    /// Writes it.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut parts = vec![
            b"charset=utf-8".to_vec(),
            [b"username=".as_slice(), &quoted(&self.user)].concat(),
            [b"nonce=".as_slice(), &quoted(&self.nonce)].concat(),
            b"nc=00000001".to_vec(),
            [b"cnonce=".as_slice(), &quoted(&self.own_nonce)].concat(),
            [b"digest-uri=".as_slice(), &quoted(&self.uri)].concat(),
            [b"response=".as_slice(), &self.response].concat(),
            b"qop=auth".to_vec(),
        ];
        if !self.realm.is_empty() {
            parts.push([b"realm=".as_slice(), &quoted(&self.realm)].concat());
        }
        if !self.authorization.is_empty() {
            parts.push([b"authzid=".as_slice(), &quoted(&self.authorization)].concat());
        }
        parts.join(&b',')
    }

    /// Whether it answers this challenge: the same nonce, and a realm that was offered, if one was.
    #[must_use]
    pub fn answers(&self, challenge: &ServerChallenge) -> bool {
        self.nonce == challenge.nonce
            && (challenge.realms.iter().all(Vec::is_empty) || challenge.realms.contains(&self.realm))
    }

    /// Whether it was meant for this service on this host; else somebody between may have passed on another server's challenge.
    #[must_use]
    pub fn is_for(&self, service: &str, host: &[u8]) -> bool {
        let mut parts = self.uri.split(|byte| *byte == b'/');
        let is_service = parts.next().is_some_and(|word| word.eq_ignore_ascii_case(service.as_bytes()));
        is_service && parts.next().is_some_and(|word| word.eq_ignore_ascii_case(host))
    }

    /// The proofs of client and server under a password, in hexadecimal.
    #[must_use]
    pub fn proofs(&self, password: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let secret = [latin1(&self.user), latin1(&self.realm), latin1(password)].join(&b':');
        let secret = Md5::digest(secret);
        let mut a1 = [secret.as_slice(), b":", &self.nonce, b":", &self.own_nonce].concat();
        if !self.authorization.is_empty() {
            a1 = [a1.as_slice(), b":", &self.authorization].concat();
        }
        let a1 = hex(&Md5::digest(a1));
        let proof = |verb: &[u8]| {
            let a2 = hex(&Md5::digest([verb, b":", &self.uri].concat()));
            let parts = [a1.as_slice(), &self.nonce, b"00000001", &self.own_nonce, b"auth", &a2];
            hex(&Md5::digest(parts.join(&b':')))
        };
        (proof(b"AUTHENTICATE"), proof(b""))
    }
}

/// RFC 2831 section 2.1.2.1: what can be said in ISO 8859-1 is digested in it.
fn latin1(text: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(text) else { return text.to_vec() };
    let narrow: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    narrow.unwrap_or_else(|| text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 2831 section 4, with the service imap.
    const CHALLENGE: &[u8] =
        br#"realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8"#;
    const RESPONSE: &[u8] = br#"charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth"#;

    #[test]
    fn the_example_of_the_rfc() {
        let challenge = ServerChallenge::read(CHALLENGE).unwrap();
        let response = ClientResponse::read(RESPONSE).unwrap();
        assert!(response.answers(&challenge));
        assert!(response.is_for("imap", b"Elwood.innosoft.com") && !response.is_for("imap", b"other"));
        let (client, server) = response.proofs(b"secret");
        assert_eq!(client, response.response);
        assert_eq!(server, b"ea40f60335c427b5527b84dbabcdfffd");
        assert_eq!(ClientResponse::read(&response.write()), Some(response));
        assert_eq!(ServerChallenge::read(&challenge.write()), Some(challenge));
    }

    #[test]
    fn odd_messages_are_refused() {
        for bad in [
            "",
            "nonce=\"x",
            "nonce",
            "=x",
            "nonce=x,algorithm=md5",
            "nonce=x,qop=\"auth-conf\",algorithm=md5-sess",
            "nonce=a,nonce=b,algorithm=md5-sess",
        ] {
            assert_eq!(ServerChallenge::read(bad.as_bytes()), None, "{bad}");
        }
        let text = String::from_utf8(RESPONSE.to_vec()).unwrap();
        for (from, to) in [
            ("nc=00000001", "nc=00000002"),
            ("qop=auth", "qop=auth-int"),
            ("d388", "38"),
            ("username=\"chris\"", "username=\"\""),
        ] {
            assert_eq!(ClientResponse::read(text.replace(from, to).as_bytes()), None, "{to}");
        }
        for (realms, nonce, fits) in [
            (vec![], "OA6MG9tEQGm2hh", true),
            (vec![b"other".to_vec()], "OA6MG9tEQGm2hh", false),
            (vec![], "other", false),
        ] {
            let other = ServerChallenge { realms, nonce: nonce.as_bytes().to_vec() };
            assert_eq!(ClientResponse::read(RESPONSE).unwrap().answers(&other), fits);
        }
    }

    #[test]
    fn quotes_are_escaped() {
        let challenge = ServerChallenge { realms: vec![b"a\"b\\c".to_vec()], nonce: b"n".to_vec() };
        assert_eq!(ServerChallenge::read(&challenge.write()), Some(challenge));
        assert_eq!(latin1("é".as_bytes()), [0xe9]);
        assert_eq!(latin1("€".as_bytes()), "€".as_bytes());
    }
}

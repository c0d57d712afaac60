//! A signature: the tags of a DKIM-Signature: line (RFC 6376 section 3.5).

use super::tags::{base64, number, tags, without_space};
use super::{Canon, Hash, KeyType};

/// Why a line is no usable signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// It is not version 1.
    Version,
    /// A tag is missing, or its value is not understood.
    Tag,
}

/// A signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// `a=`, as written, without white space.
    pub algorithm: Vec<u8>,
    /// The key type and hash in it, if both are known.
    pub method: Option<(KeyType, Hash)>,
    /// `c=`, for header lines; an unknown word is taken for `simple`.
    pub header_canon: Canon,
    /// `c=`, for the body.
    pub body_canon: Canon,
    /// `d=`, as written.
    pub domain: Vec<u8>,
    /// `s=`.
    pub selector: Vec<u8>,
    /// `i=`, if given.
    pub identity: Option<Vec<u8>>,
    /// `l=`.
    pub body_length: Option<u64>,
    /// `t=`.
    pub created: Option<u64>,
    /// `x=`.
    pub expires: Option<u64>,
    /// `h=`, without white space.
    pub header_names: Vec<u8>,
    /// `z=`, as written.
    pub copied_headers: Vec<u8>,
    /// `bh=`.
    pub body_hash: Vec<u8>,
    /// `b=`.
    pub signature: Vec<u8>,
    /// Why it cannot be used.
    pub fault: Option<SignatureFault>,
    has_other_query: bool,
}

impl Signature {
    /// Reads the value of the header line.
    #[must_use]
    pub fn parse(value: &[u8]) -> Signature {
        let mut found = Signature::default();
        let mut has_version = false;
        for tag in tags(value) {
            let Some(tag) = tag else {
                found.refuse(SignatureFault::Tag);
                continue;
            };
            if tag.name == b"v" {
                has_version = true;
                if tag.value != b"1" {
                    found.refuse(SignatureFault::Version);
                }
            } else {
                found.take(tag.name, tag.value);
            }
        }
        let is_complete = has_version
            && [&found.domain, &found.selector, &found.header_names, &found.signature]
                .iter()
                .all(|part| !part.is_empty())
            && found.method.is_some()
            && found.has_own_identity()
            && !found.has_other_query;
        if !is_complete {
            found.refuse(SignatureFault::Tag);
        }
        found
    }

    fn refuse(&mut self, fault: SignatureFault) {
        self.fault.get_or_insert(fault);
    }

    fn take(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"a" => {
                self.algorithm = without_space(value);
                self.method = method(&self.algorithm);
            }
            b"b" => self.signature = base64(value).unwrap_or_default(),
            b"bh" => self.body_hash = base64(value).unwrap_or_default(),
            b"c" => {
                let value = without_space(value);
                let mut words = value.split(|b| *b == b'/');
                self.header_canon = words.next().and_then(Canon::from_word).unwrap_or_default();
                self.body_canon = words.next().and_then(Canon::from_word).unwrap_or_default();
            }
            b"d" => self.domain = without_space(value),
            b"s" => self.selector = without_space(value),
            b"i" => self.identity = Some(without_space(value)),
            b"l" => self.number(value, |found, number| found.body_length = Some(number)),
            b"t" => self.number(value, |found, number| found.created = Some(number)),
            b"x" => self.number(value, |found, number| found.expires = Some(number)),
            b"h" => self.header_names = without_space(value),
            b"z" => self.copied_headers = without_space(value),
            b"q" => {
                self.has_other_query = !value.split(|b| *b == b':').any(|way| way.trim_ascii() == b"dns/txt")
            }
            _ => {}
        }
    }

    fn number(&mut self, value: &[u8], put: fn(&mut Signature, u64)) {
        match number(value) {
            Some(number) => put(self, number),
            None => self.refuse(SignatureFault::Tag),
        }
    }

    /// The names of the signed header lines.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.header_names.split(|b| *b == b':').filter(|name| !name.is_empty())
    }

    /// Where its key is: `selector._domainkey.domain`. None if that is no name for the DNS.
    #[must_use]
    pub fn key_name(&self) -> Option<String> {
        key_name(&self.selector, &self.domain)
    }

    /// The domain of the identity; that of the signature if none is given.
    #[must_use]
    pub fn identity_domain(&self) -> &[u8] {
        let Some(identity) = &self.identity else { return &self.domain };
        let at = identity.iter().rposition(|b| *b == b'@').map_or(0, |at| at.saturating_add(1));
        identity.get(at..).unwrap_or_default()
    }

    /// Whether the domain of the identity is that of the signature or below it.
    #[must_use]
    pub fn has_own_identity(&self) -> bool {
        let of_identity = self.identity_domain().to_ascii_lowercase();
        match of_identity.strip_suffix(self.domain.to_ascii_lowercase().as_slice()) {
            Some(rest) => rest.is_empty() || rest.ends_with(b"."),
            None => false,
        }
    }
}

/// The name in the DNS of the key of a selector and domain.
pub(crate) fn key_name(selector: &[u8], domain: &[u8]) -> Option<String> {
    let name = [selector, b"._domainkey.", domain].concat();
    let is_name = name.len() <= 253
        && name.split(|b| *b == b'.').all(|label| !label.is_empty() && label.len() <= 63)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if is_name { String::from_utf8(name).ok() } else { None }
}

/// The key type and hash of `a=`.
pub(crate) fn method(algorithm: &[u8]) -> Option<(KeyType, Hash)> {
    let at = memchr::memchr(b'-', algorithm)?;
    let (key, hash) = algorithm.split_at_checked(at)?;
    Some((KeyType::from_word(key)?, Hash::from_word(hash.strip_prefix(b"-")?)?))
}

/// A signature's line with an empty `b=`, as it was when it was signed (RFC 6376 section 3.5).
#[must_use]
pub fn without_signature(line: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len());
    let start = memchr::memchr(b':', line).map_or(line.len(), |at| at.saturating_add(1));
    let (name, value) = line.split_at_checked(start).unwrap_or((line, b""));
    out.extend_from_slice(name);
    for (index, item) in value.split(|b| *b == b';').enumerate() {
        if index > 0 {
            out.push(b';');
        }
        let equals = memchr::memchr(b'=', item);
        match equals.and_then(|at| item.split_at_checked(at)) {
            Some((tag, _)) if tag.trim_ascii() == b"b" => {
                out.extend_from_slice(tag);
                out.push(b'=');
                // The end of the line belongs to the line.
                if item.ends_with(b"\n") {
                    out.push(b'\n');
                }
            }
            _ => out.extend_from_slice(item),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_signature() {
        let found = Signature::parse(
            b" v=1; a=rsa-sha256; c=relaxed/simple; d=S.ex; s=sel;\n\tt=12; x=13; l=5; i=@sub.s.ex;\n h=From : To;\
              bh=YWI=; b=Y\n WI=",
        );
        assert_eq!(found.fault, None);
        assert_eq!(found.method, Some((KeyType::Rsa, Hash::Sha256)));
        assert_eq!((found.header_canon, found.body_canon), (Canon::Relaxed, Canon::Simple));
        assert_eq!(
            (found.domain.as_slice(), found.selector.as_slice()),
            (b"S.ex".as_slice(), b"sel".as_slice())
        );
        assert_eq!((found.created, found.expires, found.body_length), (Some(12), Some(13), Some(5)));
        assert_eq!(found.header_names, b"From:To");
        assert_eq!(found.signature, b"ab");
        assert_eq!(found.key_name().as_deref(), Some("sel._domainkey.S.ex"));
        assert!(found.has_own_identity());
    }

    #[test]
    fn a_faulty_signature_says_so() {
        let fault = |value: &str| Signature::parse(value.as_bytes()).fault;
        let good = "v=1; a=rsa-sha256; d=s.ex; s=sel; h=from; bh=YWI=; b=YWI=";
        assert_eq!(fault(good), None);
        assert_eq!(fault(&good.replace("v=1", "v=2")), Some(SignatureFault::Version));
        for (from, to) in [
            ("v=1;", ""),
            ("d=s.ex;", ""),
            ("s=sel;", ""),
            ("sha256", "md5"),
            ("h=from;", ""),
            ("b=YWI=", "b=!"),
            ("s=sel", "s=sel; l=-1"),
            ("s=sel", "s=sel; q=http"),
            ("s=sel", "s=sel; odd"),
        ] {
            assert_eq!(fault(&good.replacen(from, to, 1)), Some(SignatureFault::Tag), "{from} {to}");
        }
        let outside = Signature::parse(good.replace("s=sel", "s=sel; i=a@xs.ex").as_bytes());
        assert!(!outside.has_own_identity());
        assert_eq!(Signature::parse(good.replace("sel", "a b\"").as_bytes()).key_name(), None);
    }

    #[test]
    fn the_signature_is_cut_out_of_its_line() {
        assert_eq!(
            without_signature(b"DKIM-Signature: v=1; b=ab\n c; bh=x=\n"),
            b"DKIM-Signature: v=1; b=; bh=x=\n"
        );
        assert_eq!(without_signature(b"X: bh=q;\n b =abc\n"), b"X: bh=q;\n b =\n");
    }
}

//! What is asked of a responder, and where it is (RFC 6960 sections 4.1 and 4.2.2.1 of RFC 5280).
//!
//! The request names the certificate by SHA-1 digests, which every responder knows (RFC 5019), and has no nonce: answers made in
//! advance are as good as others here.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::signer::{Facts, Issuer};

/// id-ad-ocsp.
const OCSP_ACCESS: &str = "1.3.6.1.5.5.7.48.1";
/// The algorithm SHA-1 with its NULL.
const SHA1: &[u8] = &[0x30, 9, 6, 5, 0x2b, 14, 3, 2, 26, 5, 0];

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => bytes.push(short),
        Ok(long) => bytes.extend([0x81, long]),
        Err(_) => {
            let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
            bytes.push(0x84);
            bytes.extend(length);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The request about a certificate; both in DER. `None` if one of them cannot be read, or the second has not signed the first.
#[must_use]
pub fn request(leaf: &[u8], issuer: &[u8]) -> Option<Vec<u8>> {
    let subject = Facts::read(leaf)?;
    let issuer = Issuer::of(&subject, issuer)?;
    if !issuer.has_signed(&subject.signed) {
        return None;
    }
    let (name, key) = issuer.digests();
    let parts = [SHA1, &element(4, &name), &element(4, &key), &element(2, &subject.serial)].concat();
    // OCSPRequest { TBSRequest { requestList { Request { CertID } } } }
    Some((0..5).fold(parts, |inner, _| element(0x30, &inner)))
}

/// The URLs of responders that a certificate names.
#[must_use]
pub fn responders(leaf: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(leaf) else { return Vec::new() };
    let mut urls = Vec::new();
    for extension in parsed.extensions() {
        if let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() {
            for place in &access.accessdescs {
                if place.access_method.to_id_string() == OCSP_ACCESS
                    && let GeneralName::URI(url) = &place.access_location
                {
                    urls.push((*url).to_owned());
                }
            }
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(element(4, &[1]), [4, 1, 1]);
        assert_eq!(element(4, &[0; 200])[..4], [4, 0x81, 200, 0]);
        assert_eq!(element(4, &[0; 300])[..7], [4, 0x84, 0, 0, 1, 44, 0]);
    }

    #[test]
    fn junk_is_not_asked_about() {
        assert_eq!(request(b"", b""), None);
        assert!(responders(b"x").is_empty());
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        assert_eq!(request(made.cert.der(), b"x"), None);
        assert!(responders(made.cert.der()).is_empty());
    }
}

//! Domains in their two forms (RFC 5890): A-labels for the DNS and for servers without SMTPUTF8, U-labels for people.
//!
//! Failure: a domain that IDNA2008 with the mapping of UTS 46 does not allow; the caller says what then.

use std::fmt;

/// The domain has no such form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdnaError {
    /// The domain.
    pub domain: Vec<u8>,
}

impl fmt::Display for IdnaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "domain name {} cannot be converted", String::from_utf8_lossy(&self.domain))
    }
}

impl std::error::Error for IdnaError {}

/// The A-label form, in lower case where anything was converted. ASCII domains come back as they are, underscores
/// and all.
///
/// # Errors
/// A domain that is not UTF-8, or has a label that is not allowed or too long.
pub fn to_ascii(domain: &[u8]) -> Result<Vec<u8>, IdnaError> {
    if domain.is_ascii() {
        return Ok(domain.to_vec());
    }
    let text = std::str::from_utf8(domain).map_err(|_| IdnaError { domain: domain.to_vec() })?;
    idna::domain_to_ascii(text).map(String::into_bytes).map_err(|_| IdnaError { domain: domain.to_vec() })
}

/// The U-label form. Labels that are not A-labels come back as they are.
///
/// # Errors
/// A domain that is not UTF-8, or has a label beginning with `xn--` that decodes to nothing allowed.
pub fn to_unicode(domain: &[u8]) -> Result<Vec<u8>, IdnaError> {
    let error = || IdnaError { domain: domain.to_vec() };
    let text = std::str::from_utf8(domain).map_err(|_| error())?;
    let has_a_label = text.split('.').any(|l| l.get(..4).is_some_and(|p| p.eq_ignore_ascii_case("xn--")));
    if !has_a_label {
        return Ok(domain.to_vec());
    }
    let (unicode, result) = idna::domain_to_unicode(text);
    result.map(|()| unicode.into_bytes()).map_err(|_| error())
}

/// The address with its domain in A-label form; the local part is left alone.
///
/// # Errors
/// As `to_ascii`.
pub fn address_to_ascii(address: &[u8]) -> Result<Vec<u8>, IdnaError> {
    let (local, domain) = crate::address::split_at_domain(address);
    let Some(domain) = domain else { return Ok(address.to_vec()) };
    Ok([local, b"@", &to_ascii(domain)?].concat())
}

/// A local part in the A-label form that `utf8_localpart_to_alabel` gives: ASCII ones as they are.
///
/// # Errors
/// A local part that is not UTF-8, or too long.
pub fn local_part_to_ascii(local_part: &[u8]) -> Result<Vec<u8>, IdnaError> {
    if local_part.is_ascii() {
        return Ok(local_part.to_vec());
    }
    let error = || IdnaError { domain: local_part.to_vec() };
    let text = std::str::from_utf8(local_part).map_err(|_| error())?;
    let encoded = idna::punycode::encode_str(text).ok_or_else(error)?;
    Ok(format!("xn--{encoded}").into_bytes())
}

/// The local part that such a form stands for. None if it does not begin with `xn--`.
///
/// # Errors
/// A form that stands for nothing.
pub fn local_part_to_unicode(local_part: &[u8]) -> Result<Option<Vec<u8>>, IdnaError> {
    let Some(encoded) = local_part.strip_prefix(b"xn--") else { return Ok(None) };
    let text = std::str::from_utf8(encoded).ok();
    let decoded = text.and_then(idna::punycode::decode_to_string);
    decoded.map(|d| Some(d.into_bytes())).ok_or_else(|| IdnaError { domain: local_part.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        assert_eq!(to_ascii("ünï.De".as_bytes()), Ok(b"xn--n-nga1b.de".to_vec()));
        assert_eq!(to_unicode(b"xn--n-nga1b.de"), Ok("ünï.de".as_bytes().to_vec()));
        assert_eq!(to_ascii(b"A_b.Ex"), Ok(b"A_b.Ex".to_vec()));
        assert_eq!(to_unicode(b"Plain.ex"), Ok(b"Plain.ex".to_vec()));
        assert!(to_ascii(b"\xff.ex").is_err());
        assert!(to_unicode(b"xn--a.ex").is_err());
        assert_eq!(address_to_ascii("ü@ü.ex".as_bytes()), Ok("ü@xn--tda.ex".as_bytes().to_vec()));
    }
}

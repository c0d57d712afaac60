//! Domains in their two forms (RFC 5890): A-labels for the DNS and for servers without SMTPUTF8, U-labels for people.
//!
//! Domains are mapped by UTS 46 (not transitional), and what is left must be allowed by IDNA2008 (RFC 5892), as libidn2 has it:
//! no emoji, no symbols. Local parts know no such rules: they become punycode as they stand.
//!
//! Failure: a name that has no such form; the error says why in libidn2's words, where ours is the same reason.

use std::borrow::Cow;
use std::fmt;

use icu_properties::props::{EnumeratedProperty, GeneralCategory};
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// Longest label, in bytes (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// What an A-label begins with.
const ACE_PREFIX: &[u8] = b"xn--";

/// ASCII that no domain may get by mapping or decoding: all but letters, digits, hyphen and the underscore of service names.
const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// The domain or local part has no such form. Shown as the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdnaError {
    /// The domain or local part.
    pub domain: Vec<u8>,
    /// Why.
    pub why: &'static str,
}

impl fmt::Display for IdnaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

impl std::error::Error for IdnaError {}

impl IdnaError {
    fn new(domain: &[u8], why: &'static str) -> IdnaError {
        IdnaError { domain: domain.to_vec(), why }
    }
}

/// The A-label form, in lower case where anything was converted. ASCII domains come back as they are, underscores
/// and all. Empty labels are left to those who know where they may stand.
///
/// # Errors
/// A domain that is not UTF-8, or has a label that is not allowed or too long.
pub fn to_ascii(domain: &[u8]) -> Result<Vec<u8>, IdnaError> {
    if domain.is_ascii() {
        return Ok(domain.to_vec());
    }
    let text = std::str::from_utf8(domain).map_err(|_| IdnaError::new(domain, "string encoding error"))?;
    let ascii = mapped(text)?;
    let (unicode, valid) = Uts46::new().to_unicode(ascii.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
    if valid.is_err() || !unicode.chars().all(is_allowed) {
        return Err(IdnaError::new(domain, "string contains a disallowed character"));
    }
    Ok(ascii.into_bytes())
}

/// What UTS 46 makes of it.
fn mapped(text: &str) -> Result<String, IdnaError> {
    let error = |why| IdnaError::new(text.as_bytes(), why);
    let ascii = Uts46::new()
        .to_ascii(text.as_bytes(), DENIED, Hyphens::Check, DnsLength::Ignore)
        .map_err(|_| error(fault(text)))?;
    if ascii.split('.').any(|label| label.len() > LABEL_BYTES_MAX) {
        return Err(error("domain label longer than 63 characters"));
    }
    Ok(ascii.into_owned())
}

/// Why UTS 46 refuses it, as far as that can be seen.
fn fault(text: &str) -> &'static str {
    let ends_in_hyphen = |label: &str| label.starts_with('-') || label.ends_with('-');
    let has_pattern = |label: &str| {
        let mut letters = label.chars().skip(2);
        !label.starts_with("xn--") && letters.next() == Some('-') && letters.next() == Some('-')
    };
    if text.split('.').any(ends_in_hyphen) {
        "string start/ends with forbidden hyphen"
    } else if text.split('.').any(has_pattern) {
        "string contains forbidden two hyphens pattern"
    } else {
        "string contains a disallowed character"
    }
}

/// Whether a label may hold the character, after mapping (RFC 5892 section 3; its contextual rules of appendix A are those of
/// UTS 46 for the joiners, and left out for punctuation, as libidn2 leaves them out when it looks up).
fn is_allowed(character: char) -> bool {
    if character.is_ascii() {
        return true;
    }
    match u32::from(character) {
        // Section 2.6, and the joiners and punctuation of appendix A.
        0x00B7 | 0x0375 | 0x05F3 | 0x05F4 | 0x0F0B | 0x200C | 0x200D | 0x3007 | 0x30FB | 0x06FD | 0x06FE => {
            true
        }
        0x0640 | 0x07FA | 0x302E | 0x302F | 0x3031..=0x3035 | 0x303B => false,
        // Section 2.9: old Hangul letters.
        0x1100..=0x11FF | 0xA960..=0xA97C | 0xD7B0..=0xD7FB => false,
        _ => matches!(
            GeneralCategory::for_char(character),
            GeneralCategory::LowercaseLetter
                | GeneralCategory::UppercaseLetter
                | GeneralCategory::OtherLetter
                | GeneralCategory::ModifierLetter
                | GeneralCategory::DecimalNumber
                | GeneralCategory::NonspacingMark
                | GeneralCategory::SpacingMark
        ),
    }
}

/// The U-label form. Labels that are not A-labels, or not in lower case, come back as they are.
///
/// # Errors
/// A domain that is not UTF-8, or has a label beginning with `xn--` that decodes to nothing allowed.
pub fn to_unicode(domain: &[u8]) -> Result<Vec<u8>, IdnaError> {
    let error = |why| IdnaError::new(domain, why);
    let mut out = Vec::with_capacity(domain.len());
    for (index, label) in domain.split(|byte| *byte == b'.').enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        let Some(encoded) = label.strip_prefix(ACE_PREFIX) else {
            out.extend_from_slice(label);
            continue;
        };
        let encoded = std::str::from_utf8(encoded).map_err(|_| error("Invalid input"))?;
        if idna::punycode::decode_to_string(encoded).is_none() {
            return Err(error("String size limit exceeded"));
        }
        // Only what is allowed in a label comes out: no dots, no controls, nothing that has another form.
        let (unicode, valid) = Uts46::new().to_unicode(label, DENIED, Hyphens::Allow);
        valid.map_err(|_| error("Invalid input"))?;
        if unicode.as_bytes().starts_with(ACE_PREFIX) {
            // It would be taken for an A-label, another one.
            return Err(error("Invalid input"));
        }
        out.extend_from_slice(unicode.as_bytes());
    }
    std::str::from_utf8(&out).map_err(|_| error("Invalid input"))?;
    Ok(out)
}

/// The address for a server without SMTPUTF8: both its parts converted. ASCII addresses come back as they are.
///
/// # Errors
/// As `to_ascii` and `local_part_to_ascii`.
pub fn address_to_ascii(address: &[u8]) -> Result<Cow<'_, [u8]>, IdnaError> {
    if address.is_ascii() {
        return Ok(Cow::Borrowed(address));
    }
    let (local, domain) = crate::address::split_at_domain(address);
    let mut out = match local {
        // Punycode would tear the quotes apart.
        [b'"', ..] if !local.is_ascii() => {
            let plain = local_part_to_ascii(&crate::address::unquote_local_part(local))?;
            crate::address::quote_local_part(&plain)
        }
        _ => local_part_to_ascii(local)?,
    };
    if let Some(domain) = domain {
        out.push(b'@');
        out.extend_from_slice(&to_ascii(domain)?);
    }
    Ok(Cow::Owned(out))
}

/// A local part in the A-label form that `utf8_localpart_to_alabel` gives: ASCII ones as they are.
///
/// # Errors
/// A local part that is not UTF-8, or too long.
pub fn local_part_to_ascii(local_part: &[u8]) -> Result<Vec<u8>, IdnaError> {
    if local_part.is_ascii() {
        return Ok(local_part.to_vec());
    }
    let error = |why| IdnaError::new(local_part, why);
    let text = std::str::from_utf8(local_part).map_err(|_| error("l_u2a: bad UTF-8 input"))?;
    let encoded = idna::punycode::encode_str(text).ok_or_else(|| error("String size limit exceeded"))?;
    Ok(format!("xn--{encoded}").into_bytes())
}

/// The local part that such a form stands for.
///
/// # Errors
/// One that does not begin with `xn--`, or stands for nothing.
pub fn local_part_to_unicode(local_part: &[u8]) -> Result<Vec<u8>, IdnaError> {
    let error = |why| IdnaError::new(local_part, why);
    let encoded = local_part.strip_prefix(ACE_PREFIX).ok_or_else(|| error("bad alabel prefix"))?;
    let text = std::str::from_utf8(encoded).ok().filter(|text| text.is_ascii());
    let text = text.ok_or_else(|| error("Invalid input"))?;
    let decoded = idna::punycode::decode_to_string(text);
    decoded.map(String::into_bytes).ok_or_else(|| error("String size limit exceeded"))
}

#[cfg(test)]
mod suite;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        assert_eq!(to_ascii("ünï.De".as_bytes()), Ok(b"xn--n-nga1b.de".to_vec()));
        assert_eq!(to_unicode(b"xn--n-nga1b.de"), Ok("ünï.de".as_bytes().to_vec()));
        assert_eq!(to_ascii(b"A_b.Ex"), Ok(b"A_b.Ex".to_vec()));
        assert_eq!(to_unicode(b"Plain.ex"), Ok(b"Plain.ex".to_vec()));
        assert_eq!(to_unicode(b"Foo.xn--bcher-kva.EX"), Ok("Foo.bücher.EX".as_bytes().to_vec()));
        assert_eq!(to_unicode(b"XN--bcher-kva.ex"), Ok(b"XN--bcher-kva.ex".to_vec()));
        assert!(to_unicode(b"xn--a.ex").is_err());
    }

    #[test]
    fn domains_as_observed() {
        for (domain, expected) in [
            ("räksmörgås.se", "xn--rksmrgs-5wao1o.se"),
            ("RÄKSMÖRGÅS.SE", "xn--rksmrgs-5wao1o.se"),
            ("日本語。jp", "xn--wgv71a119e.jp"),
            ("straße.de", "xn--strae-oqa.de"),
            ("a..ä", "a..xn--4ca"),
            ("ü_x.de", "xn--_x-wka.de"),
            ("ä--b.ex", "xn----b-pla.ex"),
            ("l·lä.ex", "xn--ll-0ea5p.ex"),
        ] {
            assert_eq!(to_ascii(domain.as_bytes()), Ok(expected.as_bytes().to_vec()), "{domain}");
        }
        for (domain, why) in [
            ("☃.net", "string contains a disallowed character"),
            ("-ü.de", "string start/ends with forbidden hyphen"),
            ("ab--ü.ex", "string contains forbidden two hyphens pattern"),
            ("xn--ls8h.ü", "string contains a disallowed character"),
            ("ä b.ex", "string contains a disallowed character"),
        ] {
            assert_eq!(to_ascii(domain.as_bytes()).unwrap_err().why, why, "{domain}");
        }
        assert_eq!(to_ascii(b"a\xffb").unwrap_err().why, "string encoding error");
        assert!(to_ascii("ü".repeat(70).as_bytes()).is_err());
    }

    #[test]
    fn addresses_are_converted_in_both_parts() {
        for (address, expected) in [
            ("jörg@müller.ex", "xn--jrg-sna@xn--mller-kva.ex"),
            ("Jörg.Müller@a.ex", "xn--Jrg.Mller-07a4e@a.ex"),
            ("πέτρος@ελ.ex", "xn--ixa0bbfgj@xn--qxam.ex"),
            ("Plain@A.ex", "Plain@A.ex"),
            ("\"jörg x\"@a.ex", "\"xn--jrg x-jua\"@a.ex"),
        ] {
            assert_eq!(&*address_to_ascii(address.as_bytes()).unwrap(), expected.as_bytes(), "{address}");
        }
        assert!(address_to_ascii(b"\xff@a.ex").is_err());
    }

    #[test]
    fn local_parts_both_ways() {
        for (unicode, ascii) in
            [("naïve", "xn--nave-6pa"), ("ПОЧТА", "xn--c0a1acny"), ("日本語", "xn--wgv71a119e")]
        {
            assert_eq!(local_part_to_ascii(unicode.as_bytes()), Ok(ascii.as_bytes().to_vec()));
            assert_eq!(local_part_to_unicode(ascii.as_bytes()), Ok(unicode.as_bytes().to_vec()));
        }
        assert_eq!(local_part_to_unicode(b"xn--"), Ok(Vec::new()));
        assert_eq!(local_part_to_unicode(b"plain").unwrap_err().why, "bad alabel prefix");
        assert_eq!(local_part_to_unicode(b"xn--999999999").unwrap_err().why, "String size limit exceeded");
        assert_eq!(local_part_to_unicode("xn--ü".as_bytes()).unwrap_err().why, "Invalid input");
    }
}

//! What a certificate says: names, dates, serial number; and whether it is for a host.
//!
//! Distinguished names come in two forms: OpenSSL's one line with slashes (`DN=` in logs, `$tls_in_peerdn`) and RFC 4514
//! with commas in reverse order (`${certextract{subject}…}`). Host names are matched by RFC 6125 section 6.4: a wildcard
//! stands for the whole leftmost label, and the common name counts only when there is no DNS name.

use std::net::IpAddr;

use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::objects::{oid_registry, oid2sn};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// A subject alternative name of a kind that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// A DNS name, perhaps with a wildcard.
    Dns(String),
    /// A mail address.
    Mail(String),
    /// A URI.
    Uri(String),
    /// An address.
    Ip(IpAddr),
}

/// The contents of a certificate. Fields are as `${certextract` needs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The whole of it.
    pub der: Vec<u8>,
    /// 1 or 3.
    pub version: u32,
    /// The serial number in lower-case hexadecimal, without separators.
    pub serial_number: String,
    /// The subject by RFC 4514.
    pub subject: String,
    /// The subject on one line by OpenSSL.
    pub subject_one_line: String,
    /// The issuer by RFC 4514.
    pub issuer: String,
    /// The issuer on one line by OpenSSL.
    pub issuer_one_line: String,
    /// Seconds since the epoch.
    pub not_before: i64,
    /// Seconds since the epoch.
    pub not_after: i64,
    /// The name of the signature algorithm, or its object identifier.
    pub signature_algorithm: String,
    /// The signature in lower-case hexadecimal.
    pub signature: String,
    /// Subject alternative names, in order.
    pub alternative_names: Vec<AlternativeName>,
    /// Where to ask for OCSP proofs.
    pub ocsp_uris: Vec<String>,
    /// Where revocation lists are.
    pub crl_uris: Vec<String>,
    common_names: Vec<String>,
    has_dns_names: bool,
}

impl Certificate {
    /// Reads a certificate. The error says what is wrong with it.
    ///
    /// # Errors
    /// If it is not X.509 in DER.
    pub fn parse(der: &[u8]) -> Result<Certificate, String> {
        let (_, parsed) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let mut certificate = Certificate {
            der: der.to_vec(),
            version: parsed.version().0.saturating_add(1),
            serial_number: hex(parsed.raw_serial()),
            subject: rfc4514(parsed.subject()),
            subject_one_line: one_line(parsed.subject()),
            issuer: rfc4514(parsed.issuer()),
            issuer_one_line: one_line(parsed.issuer()),
            not_before: parsed.validity().not_before.timestamp(),
            not_after: parsed.validity().not_after.timestamp(),
            signature_algorithm: algorithm_name(&parsed),
            signature: hex(parsed.signature_value.as_ref()),
            alternative_names: Vec::new(),
            ocsp_uris: Vec::new(),
            crl_uris: Vec::new(),
            common_names: common_names(parsed.subject()),
            has_dns_names: false,
        };
        for extension in parsed.extensions() {
            certificate.read_extension(extension.parsed_extension());
        }
        Ok(certificate)
    }

    /// Whether subject and issuer are the same.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer
    }

    /// Whether the certificate is for a host, given by name (A-labels) or address. A final dot does not matter.
    #[must_use]
    pub fn is_for_host(&self, host: &str) -> bool {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.alternative_names.contains(&AlternativeName::Ip(address));
        }
        let host = host.trim_end_matches('.');
        if self.has_dns_names {
            return self.alternative_names.iter().any(|name| match name {
                AlternativeName::Dns(pattern) => matches_host(pattern, host),
                AlternativeName::Mail(_) | AlternativeName::Uri(_) | AlternativeName::Ip(_) => false,
            });
        }
        self.common_names.iter().any(|pattern| matches_host(pattern, host))
    }

    fn read_extension(&mut self, extension: &ParsedExtension<'_>) {
        #[allow(clippy::wildcard_enum_match_arm, reason = "only three of many extensions matter")]
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                self.alternative_names = names.general_names.iter().filter_map(alternative_name).collect();
                self.has_dns_names =
                    self.alternative_names.iter().any(|name| matches!(name, AlternativeName::Dns(_)));
            }
            ParsedExtension::AuthorityInfoAccess(access) => {
                let ours =
                    access.accessdescs.iter().filter(|point| point.access_method.to_id_string() == OCSP_OID);
                self.ocsp_uris = ours.filter_map(|point| uri(&point.access_location)).collect();
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                for point in points.iter() {
                    if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                        self.crl_uris.extend(names.iter().filter_map(uri));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Attribute types by the short names of OpenSSL; others are shown by number.
static SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
];

/// id-ad-ocsp (RFC 5280 section 4.2.2.1).
const OCSP_OID: &str = "1.3.6.1.5.5.7.48.1";

fn alternative_name(name: &GeneralName<'_>) -> Option<AlternativeName> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "other kinds of names are of no use here")]
    match name {
        GeneralName::DNSName(name) => Some(AlternativeName::Dns((*name).to_owned())),
        GeneralName::RFC822Name(name) => Some(AlternativeName::Mail((*name).to_owned())),
        GeneralName::URI(name) => Some(AlternativeName::Uri((*name).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(AlternativeName::Ip)
        }
        _ => None,
    }
}

fn uri(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None }
}

/// RFC 6125: the same name, or one whose first label is `*` in place of any one label. Names with a NUL match nothing.
fn matches_host(pattern: &str, host: &str) -> bool {
    let pattern = pattern.trim_end_matches('.');
    if pattern.is_empty() || host.is_empty() || pattern.contains('\0') {
        return false;
    }
    if pattern.eq_ignore_ascii_case(host) {
        return !pattern.contains('*');
    }
    let (Some(below), Some((label, parent))) = (pattern.strip_prefix("*."), host.split_once('.')) else {
        return false;
    };
    // A wildcard right below a top-level domain would be for half the world.
    !label.is_empty() && below.contains('.') && !below.contains('*') && below.eq_ignore_ascii_case(parent)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn algorithm_name(parsed: &X509Certificate<'_>) -> String {
    let oid = &parsed.signature_algorithm.algorithm;
    oid2sn(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned)
}

fn common_names(name: &X509Name<'_>) -> Vec<String> {
    name.iter_common_name().filter_map(|attribute| attribute.as_str().ok()).map(str::to_owned).collect()
}

/// Type and value of each attribute, in the order of the certificate; the flag says "joined to the one before by +".
fn attributes(name: &X509Name<'_>) -> Vec<(String, Vec<u8>, bool)> {
    let mut list = Vec::new();
    for rdn in name.iter() {
        for (index, attribute) in rdn.iter().enumerate() {
            let oid = attribute.attr_type();
            let id = oid.to_id_string();
            let kind =
                SHORT_NAMES.iter().find(|(known, _)| *known == id).map_or(id, |(_, name)| (*name).to_owned());
            let value = attribute
                .as_str()
                .map_or_else(|_| attribute.as_slice().to_vec(), |text| text.as_bytes().to_vec());
            list.push((kind, value, index > 0));
        }
    }
    list
}

/// `/C=UK/O=Example/CN=a.example`, with bytes outside printable ASCII as `\xNN`.
fn one_line(name: &X509Name<'_>) -> String {
    let mut line = String::new();
    for (kind, value, _) in attributes(name) {
        line.push('/');
        line.push_str(&kind);
        line.push('=');
        for byte in value {
            match byte {
                b' '..=b'~' => line.push(char::from(byte)),
                _ => line.push_str(&format!("\\x{byte:02X}")),
            }
        }
    }
    line
}

/// `CN=a.example,O=Example,C=UK`, escaped as RFC 4514 section 2.4 says.
fn rfc4514(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (kind, value, joined) in attributes(name) {
        let text = format!("{kind}={}", escape_rfc4514(&value));
        match parts.last_mut() {
            Some(last) if joined => {
                last.push('+');
                last.push_str(&text);
            }
            Some(_) | None => parts.push(text),
        }
    }
    parts.reverse();
    parts.join(",")
}

fn escape_rfc4514(value: &[u8]) -> String {
    let mut out = String::new();
    let text = String::from_utf8_lossy(value);
    let last = text.chars().count().saturating_sub(1);
    for (index, character) in text.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let at_edge = character == ' ' && (index == 0 || index == last) || character == '#' && index == 0;
        match character {
            '\0' => out.push_str("\\00"),
            _ if special || at_edge => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn made(names: &[&str], attributes: &[(DnType, &str)]) -> Certificate {
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in attributes {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        Certificate::parse(params.self_signed(&key).unwrap().der()).unwrap()
    }

    #[test]
    fn names_have_two_forms() {
        let attributes = [
            (DnType::CountryName, "UK"),
            (DnType::OrganizationName, "Exa, mple \"é\""),
            (DnType::CommonName, "a.example"),
        ];
        let certificate = made(&["b.example"], &attributes);
        assert_eq!(certificate.subject_one_line, "/C=UK/O=Exa, mple \"\\xC3\\xA9\"/CN=a.example");
        assert_eq!(certificate.subject, "CN=a.example,O=Exa\\, mple \\\"é\\\",C=UK");
        assert!(certificate.is_self_issued());
        assert_eq!(certificate.version, 3);
    }

    #[test]
    fn hosts_are_matched_by_alternative_names_first() {
        let certificate =
            made(&["b.example", "*.w.example", "192.0.2.1"], &[(DnType::CommonName, "a.example")]);
        assert!(certificate.is_for_host("B.example."));
        assert!(certificate.is_for_host("x.w.example"));
        assert!(certificate.is_for_host("192.0.2.1"));
        for other in ["a.example", "w.example", "x.y.w.example", "192.0.2.2", "", "*.w.example"] {
            assert!(!certificate.is_for_host(other) || other == "*.w.example", "{other}");
        }
        let by_common_name = made(&[], &[(DnType::CommonName, "a.example")]);
        assert!(by_common_name.is_for_host("a.example"));
    }

    #[test]
    fn wildcards_are_kept_short() {
        assert!(!matches_host("*", "a"));
        assert!(!matches_host("*.com", "a.com"));
        assert!(!matches_host("a*.w.example", "ab.w.example"));
        assert!(!matches_host("*.w.example", ".w.example"));
        assert!(!matches_host("a.example\0.b", "a.example"));
    }
}

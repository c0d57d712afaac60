//! Record data as plain values. Names are without their final dot; the root is the empty string.

use hickory_proto::rr::{Name, RData};

/// An MX record (RFC 5321 section 5.1). An empty `exchange` is the null MX of RFC 7505.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The host.
    pub exchange: String,
}

/// An SRV record (RFC 2782). An empty `target` means that the service is not offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among those of one priority.
    pub weight: u16,
    /// The port of the service.
    pub port: u16,
    /// The host.
    pub target: String,
}

/// An SOA record (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Soa {
    /// The primary name server.
    pub primary: String,
    /// The mailbox of the person in charge, as a domain name.
    pub mailbox: String,
    /// The version of the zone.
    pub serial: u32,
    /// Seconds between checks by secondaries.
    pub refresh_seconds: u32,
    /// Seconds before a failed check is repeated.
    pub retry_seconds: u32,
    /// Seconds after which a secondary gives up.
    pub expire_seconds: u32,
    /// Seconds that an absence may be remembered.
    pub minimum_seconds: u32,
}

/// A TLSA record (RFC 6698).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// 0 to 3; only 2 (DANE-TA) and 3 (DANE-EE) are of use to mail (RFC 7672).
    pub usage: u8,
    /// 0: the certificate, 1: its public key.
    pub selector: u8,
    /// 0: the data itself, 1: its SHA-256, 2: its SHA-512.
    pub matching: u8,
    /// What must match.
    pub data: Vec<u8>,
}

/// A name for people and comparisons, as the C library writes it: no final dot, a backslash before what has a meaning in
/// zone files, `\DDD` (decimal) for what cannot be printed.
pub(super) fn name_text(name: &Name) -> String {
    let mut text = String::new();
    for (number, label) in name.iter().enumerate() {
        if number > 0 {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'"' | b'.' | b';' | b'\\' | b'(' | b')' | b'@' | b'$' => {
                    text.extend(['\\', char::from(*byte)])
                }
                _ if byte.is_ascii_graphic() => text.push(char::from(*byte)),
                _ => text.push_str(&format!("\\{byte:03}")),
            }
        }
    }
    text
}

/// The name in a CNAME, NS or PTR record.
pub(super) fn as_name(data: &RData) -> Option<String> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows with every record type")]
    match data {
        RData::CNAME(name) => Some(name_text(name)),
        RData::NS(name) => Some(name_text(name)),
        RData::PTR(name) => Some(name_text(name)),
        _ => None,
    }
}

/// An MX record.
pub(super) fn as_mx(data: &RData) -> Option<Mx> {
    if let RData::MX(mx) = data {
        Some(Mx { preference: mx.preference, exchange: name_text(&mx.exchange) })
    } else {
        None
    }
}

/// An SRV record.
pub(super) fn as_srv(data: &RData) -> Option<Srv> {
    if let RData::SRV(srv) = data {
        Some(Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: name_text(&srv.target),
        })
    } else {
        None
    }
}

/// An SOA record. The timers are unsigned on the wire, whatever the library calls them.
pub(super) fn as_soa(data: &RData) -> Option<Soa> {
    if let RData::SOA(soa) = data {
        Some(Soa {
            primary: name_text(&soa.mname),
            mailbox: name_text(&soa.rname),
            serial: soa.serial,
            refresh_seconds: soa.refresh.cast_unsigned(),
            retry_seconds: soa.retry.cast_unsigned(),
            expire_seconds: soa.expire.cast_unsigned(),
            minimum_seconds: soa.minimum,
        })
    } else {
        None
    }
}

/// A TLSA record.
pub(super) fn as_tlsa(data: &RData) -> Option<Tlsa> {
    if let RData::TLSA(tlsa) = data {
        Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        })
    } else {
        None
    }
}

/// The character strings of a TXT or SPF record.
pub(super) fn as_strings(data: &RData) -> Option<Vec<Vec<u8>>> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows with every record type")]
    match data {
        RData::TXT(txt) => Some(txt.txt_data.iter().map(|part| part.to_vec()).collect()),
        RData::Unknown { rdata, .. } => character_strings(&rdata.anything),
        _ => None,
    }
}

/// Cuts length-prefixed strings apart; `None` if a length points past the end.
fn character_strings(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let (string, rest) = rest.split_at_checked(usize::from(*length))?;
        strings.push(string.to_vec());
        bytes = rest;
    }
    Some(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_strings_are_cut_by_their_lengths() {
        assert_eq!(
            character_strings(b"\x03one\x00\x02ab"),
            Some(vec![b"one".to_vec(), vec![], b"ab".to_vec()])
        );
        assert_eq!(character_strings(b"\x05one"), None);
    }
}

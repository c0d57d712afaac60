//! Records as text, for the dnsdb lookup (manual sections 9.10 and 9.12).
//!
//! The query language (lists, separators, `defer_lax`) is the caller's; here are the types, what each gives as fields,
//! and how fields are joined.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;

use super::{CsaSettings, Lookup, Mx, NotThere, Resolver, Soa, Srv, Tlsa, reverse_name};

/// The types that dnsdb knows, pseudo-types included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names of the record types")]
pub enum TextType {
    A,
    Aaaa,
    /// `A+`: AAAA, then A.
    APlus,
    Cname,
    /// Client SMTP Authorization.
    Csa,
    Mx,
    /// `MXH`: the host names of MX records alone.
    MxHost,
    Ns,
    Ptr,
    /// The old record type 99.
    Spf,
    Srv,
    Soa,
    Tlsa,
    Txt,
    /// `ZNS`: the name servers of the zone that the name is in.
    ZoneNs,
}

static TYPES: &[(&str, TextType)] = &[
    ("a", TextType::A),
    ("aaaa", TextType::Aaaa),
    ("a+", TextType::APlus),
    ("cname", TextType::Cname),
    ("csa", TextType::Csa),
    ("mx", TextType::Mx),
    ("mxh", TextType::MxHost),
    ("ns", TextType::Ns),
    ("ptr", TextType::Ptr),
    ("spf", TextType::Spf),
    ("srv", TextType::Srv),
    ("soa", TextType::Soa),
    ("tlsa", TextType::Tlsa),
    ("txt", TextType::Txt),
    ("zns", TextType::ZoneNs),
];

impl TextType {
    /// The type of a word, without regard to case.
    #[must_use]
    pub fn from_word(word: &str) -> Option<TextType> {
        TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, kind)| *kind)
    }

    /// The types that are asked one after the other: `A+` is two questions, each of which may fail on its own.
    #[must_use]
    pub fn parts(self) -> &'static [TextType] {
        #[allow(clippy::wildcard_enum_match_arm, reason = "all others are one question")]
        match self {
            TextType::APlus => &[TextType::Aaaa, TextType::A],
            _ => TYPES
                .iter()
                .find(|(_, kind)| *kind == self)
                .map_or(&[], |(_, kind)| std::slice::from_ref(kind)),
        }
    }
}

/// How the fields of a record are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldStyle {
    /// Nothing was said: a space; but TXT gives its first string, SOA its first field, SPF all strings joined.
    #[default]
    Unset,
    /// A semicolon without a character: no separator.
    Joined,
    /// This separator.
    Separated(u8),
}

/// One record as fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRecord {
    /// Which type it came from.
    pub kind: TextType,
    /// The fields, in the order of the wire.
    pub fields: Vec<Vec<u8>>,
}

impl TextRecord {
    fn new(kind: TextType, fields: Vec<String>) -> Self {
        TextRecord { kind, fields: fields.into_iter().map(String::into_bytes).collect() }
    }

    /// The record as one string.
    #[must_use]
    pub fn join(&self, style: FieldStyle) -> Vec<u8> {
        match (style, self.kind) {
            (FieldStyle::Unset, TextType::Txt | TextType::Soa) => {
                self.fields.first().cloned().unwrap_or_default()
            }
            (FieldStyle::Unset, TextType::Spf) | (FieldStyle::Joined, _) => self.fields.concat(),
            (FieldStyle::Unset, _) => self.fields.join(&b' '),
            (FieldStyle::Separated(separator), _) => self.fields.join(&separator),
        }
    }
}

impl Resolver {
    /// Looks a name up and gives the records as fields. PTR and CSA take an address too.
    ///
    /// For `A+` one part found is enough; callers for whom one failed part fails the whole ask the
    /// [`TextType::parts`] themselves.
    pub async fn text(&self, kind: TextType, key: &str) -> Lookup<Vec<TextRecord>> {
        match kind {
            TextType::A => lines(kind, self.a(key).await, |a| vec![a.to_string()]),
            TextType::Aaaa => lines(kind, self.aaaa(key).await, |a| vec![a.to_string()]),
            TextType::APlus => self.a_plus(key).await,
            TextType::Cname => lines(kind, self.cname(key).await, |name| vec![name]),
            TextType::Csa => lines(kind, self.csa(key, CsaSettings::default()).await, |csa| {
                vec![csa.code.letter().to_string(), csa.target]
            }),
            TextType::Mx => lines(kind, self.mx(key).await, |Mx { preference, exchange }| {
                vec![preference.to_string(), exchange]
            }),
            TextType::MxHost => lines(kind, self.mx(key).await, |mx| vec![mx.exchange]),
            TextType::Ns => lines(kind, self.ns(key).await, |name| vec![name]),
            TextType::Ptr => {
                let reversed = key.parse::<IpAddr>().map_or_else(|_| key.to_owned(), reverse_name);
                lines(kind, self.ptr(&reversed).await, |name| vec![name])
            }
            TextType::Srv => lines(kind, self.srv(key).await, srv_fields),
            TextType::Soa => self.climbing_soa(key).await,
            TextType::Tlsa => lines(kind, self.tlsa(key).await, tlsa_fields),
            TextType::Txt | TextType::Spf => {
                let record_type = if kind == TextType::Txt { RecordType::TXT } else { RecordType::from(99) };
                self.strings(key, record_type)
                    .await
                    .map(|records| records.into_iter().map(|fields| TextRecord { kind, fields }).collect())
            }
            TextType::ZoneNs => self.climbing_ns(key).await,
        }
    }

    async fn a_plus(&self, key: &str) -> Lookup<Vec<TextRecord>> {
        let v6 = lines(TextType::Aaaa, self.aaaa(key).await, |a| vec![a.to_string()]);
        let v4 = lines(TextType::A, self.a(key).await, |a| vec![a.to_string()]);
        match (v6, v4) {
            (Lookup::Found(mut first), Lookup::Found(second)) => {
                first.secure &= second.secure;
                first.records.extend(second.records);
                Lookup::Found(first)
            }
            (Lookup::Found(answer), _) | (_, Lookup::Found(answer)) => Lookup::Found(answer),
            (Lookup::AskAgain(reason), _) | (_, Lookup::AskAgain(reason)) => Lookup::AskAgain(reason),
            (Lookup::NotThere(_), Lookup::NotThere(kind)) => Lookup::NotThere(kind),
        }
    }

    async fn climbing_soa(&self, key: &str) -> Lookup<Vec<TextRecord>> {
        for name in parents(key) {
            let found = self.soa(name).await;
            if !matches!(found, Lookup::NotThere(_)) {
                return lines(TextType::Soa, found, soa_fields);
            }
        }
        Lookup::NotThere(NotThere::NoData)
    }

    async fn climbing_ns(&self, key: &str) -> Lookup<Vec<TextRecord>> {
        for name in parents(key) {
            let found = self.ns(name).await;
            if !matches!(found, Lookup::NotThere(_)) {
                return lines(TextType::ZoneNs, found, |name| vec![name]);
            }
        }
        Lookup::NotThere(NotThere::NoData)
    }
}

/// The name, then the name without its first component, and so on; never the root.
fn parents(name: &str) -> impl Iterator<Item = &str> {
    let name = name.trim_end_matches('.');
    std::iter::successors((!name.is_empty()).then_some(name), |name| {
        name.split_once('.').map(|(_, rest)| rest)
    })
}

fn lines<T>(
    kind: TextType,
    lookup: Lookup<Vec<T>>,
    fields: impl Fn(T) -> Vec<String>,
) -> Lookup<Vec<TextRecord>> {
    lookup.map(|records| records.into_iter().map(|record| TextRecord::new(kind, fields(record))).collect())
}

fn srv_fields(srv: Srv) -> Vec<String> {
    vec![srv.priority.to_string(), srv.weight.to_string(), srv.port.to_string(), srv.target]
}

fn soa_fields(soa: Soa) -> Vec<String> {
    let numbers =
        [soa.serial, soa.refresh_seconds, soa.retry_seconds, soa.expire_seconds, soa.minimum_seconds];
    [soa.primary, soa.mailbox].into_iter().chain(numbers.iter().map(u32::to_string)).collect()
}

fn tlsa_fields(tlsa: Tlsa) -> Vec<String> {
    let data: String = tlsa.data.iter().map(|byte| format!("{byte:02x}")).collect();
    vec![tlsa.usage.to_string(), tlsa.selector.to_string(), tlsa.matching.to_string(), data]
}

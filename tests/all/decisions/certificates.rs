//! Certificates of every kind: good, of somebody else, too old, for another name, signed by nobody.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData,
};

/// What a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// For the host, by the authority.
    Good,
    /// For the host, but with a key of its own, by an authority of its own.
    Stranger,
    /// Good some years ago.
    Expired,
    /// The right key, by the authority, for another host.
    OtherName,
    /// The right key, for the host, signed with it.
    SelfSigned,
    /// There is no TLS.
    NoTls,
}

impl Shown {
    pub(super) const ALL: [Shown; 6] =
        [Shown::Good, Shown::Stranger, Shown::Expired, Shown::OtherName, Shown::SelfSigned, Shown::NoTls];

    pub(super) fn word(self) -> &'static str {
        match self {
            Shown::Good => "good",
            Shown::Stranger => "stranger",
            Shown::Expired => "expired",
            Shown::OtherName => "othername",
            Shown::SelfSigned => "selfsigned",
            Shown::NoTls => "notls",
        }
    }

    /// What the public authorities say of it, in the words of the log.
    pub(super) fn by_authorities(self) -> &'static str {
        match self {
            Shown::Good => "=> CV=yes",
            Shown::NoTls => "=> in the clear",
            Shown::Stranger | Shown::Expired | Shown::OtherName | Shown::SelfSigned => "=> CV=no",
        }
    }
}

/// One authority and what it has signed, in PEM.
pub(super) struct Certificates {
    issuer: Issuer<'static, KeyPair>,
    authority: String,
    key: KeyPair,
    /// Files: certificates that lead to the authority, and the key.
    files: Vec<(String, String)>,
}

fn named(name: &str, hosts: &[String]) -> CertificateParams {
    let mut params = CertificateParams::new(hosts.to_vec()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

impl Default for Certificates {
    fn default() -> Certificates {
        let (issuer, authority) = authority("Authority");
        Certificates { issuer, authority, key: KeyPair::generate().unwrap(), files: Vec::new() }
    }
}

impl Certificates {
    /// Adds the file `NAME.pem` with a certificate for hosts, which are also its subject.
    pub(super) fn show(&mut self, name: &str, shown: Shown, hosts: &[String]) {
        let other = [String::from("other.example")];
        let mut params = named(name, if shown == Shown::OtherName { &other } else { hosts });
        if shown == Shown::Expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let pem = match shown {
            Shown::NoTls => return,
            Shown::SelfSigned => params.self_signed(&self.key).unwrap().pem() + &self.key.serialize_pem(),
            Shown::Stranger => {
                let (issuer, authority) = authority("Stranger");
                let key = KeyPair::generate().unwrap();
                params.signed_by(&key, &issuer).unwrap().pem() + &authority + &key.serialize_pem()
            }
            Shown::Good | Shown::Expired | Shown::OtherName => {
                let leaf = params.signed_by(&self.key, &self.issuer).unwrap().pem();
                leaf + &self.authority + &self.key.serialize_pem()
            }
        };
        self.files.push((format!("{name}.pem"), pem));
    }

    /// Adds `NAME.pem`: a certificate of the authority for a signer of OCSP responses, or for one who is none.
    pub(super) fn signer(&mut self, name: &str, may_sign: bool) {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name, &[]);
        if may_sign {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        }
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem() + &key.serialize_pem();
        self.files.push((format!("{name}.pem"), pem));
    }

    /// Adds `NAME.pem`: another authority of the same name, with its key.
    pub(super) fn other_authority(&mut self, name: &str) {
        let (issuer, pem) = authority("Authority");
        self.files.push((format!("{name}.pem"), pem + &issuer.key().serialize_pem()));
    }

    /// The data of a TLSA record with selector 1 and matching type 1: of the servers' key, or of the authority's.
    pub(super) fn key_digest(&self, is_authority: bool) -> String {
        let key = if is_authority { self.issuer.key() } else { &self.key };
        let digest = digest::digest(&digest::SHA256, &key.subject_public_key_info());
        digest.as_ref().iter().fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
    }

    /// Sections of a scenario: the authority is `ca.pem` and `ca.key`.
    pub(super) fn files(&self) -> String {
        let key = self.issuer.key().serialize_pem();
        let own = [("ca.pem", self.authority.as_str()), ("ca.key", key.as_str())];
        let others = self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        own.into_iter().chain(others).map(|(name, text)| format!("== file {name}\n{text}")).collect()
    }
}

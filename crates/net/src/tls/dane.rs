//! Whether a server's certificates fit the TLSA records of its host (RFC 6698, 7671, 7672). No network, no state.
//!
//! Mail uses DANE-TA(2) and DANE-EE(3) alone; [`usable`] leaves out all other records, and those that nothing could match.
//! The two usages that also ask for a public authority are evaluated only if [`Rules::authorities`] names some.
//!
//! - DANE-EE: the leaf is the one that the record names. Its names and dates do not matter (RFC 7672 section 3.1.1).
//! - DANE-TA: the chain leads to the certificate or key that the record names, all dates are good, and the leaf is for one
//!   of the names. The anchor is among the certificates that the server sent, or whole in the record.
//!
//! The signatures of a chain are the library's work; here is only the choice of trust anchors.

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs as provider;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::Certificate;
use super::signature::{element, public_key};
use super::trust::reason;
use crate::dns::Tlsa;

const PKIX_TA: u8 = 0;
const PKIX_EE: u8 = 1;
pub(super) const DANE_TA: u8 = 2;
pub(super) const DANE_EE: u8 = 3;

/// How to compare.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules<'a> {
    /// The leaf must be for one of these hosts.
    pub names: &'a [String],
    /// Whether that is so for DANE-EE too. Mail says no.
    pub checks_names_of_ee: bool,
    /// Trusted certificates for the usages 0 and 1, which do not count without any.
    pub authorities: &'a [CertificateDer<'a>],
}

/// Which record's certificate was met, and where: 0 is the leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// The usage of the record.
    pub usage: u8,
    /// How far the certificate is from the leaf. For a key that stands alone in a record: the last certificate below it.
    pub depth: usize,
}

/// Why the certificates do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// No record names any of them.
    NoMatch,
    /// A record does, but the leaf is for another host.
    Name(Fit),
    /// A record does, but the chain does not lead there. The text is OpenSSL's.
    Chain(String),
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Misfit::NoMatch => f.write_str("no certificate matches a TLSA record"),
            Misfit::Name(_) => f.write_str("certificate name mismatch"),
            Misfit::Chain(text) => f.write_str(text),
        }
    }
}

/// The records that mail can use. If records exist and none is left, TLS is due but cannot be verified (RFC 7672 section 2.2).
#[must_use]
pub fn usable(records: &[Tlsa]) -> Vec<Tlsa> {
    records.iter().filter(|r| matches!(r.usage, DANE_TA | DANE_EE) && is_sane(r)).cloned().collect()
}

/// `$tls_out_tlsa_usage`: bit n stands for usage n.
#[must_use]
pub fn usage_bits(records: &[Tlsa]) -> u8 {
    records.iter().filter(|record| record.usage < 8).fold(0, |bits, record| bits | 1 << record.usage)
}

/// Known numbers, and data of the right length.
fn is_sane(record: &Tlsa) -> bool {
    let length = record.data.len();
    record.selector <= 1
        && match record.matching {
            0 => length > 0,
            1 => length == 32,
            2 => length == 64,
            _ => false,
        }
}

/// The data that a record for this certificate holds (RFC 6698 section 2.1). `None` for unknown numbers and for what is no
/// certificate.
#[must_use]
pub fn association(certificate: &[u8], selector: u8, matching: u8) -> Option<Vec<u8>> {
    let selected = match selector {
        0 => certificate,
        1 => public_key(certificate)?,
        _ => return None,
    };
    match matching {
        0 => Some(selected.to_vec()),
        1 => Some(digest::digest(&digest::SHA256, selected).as_ref().to_vec()),
        2 => Some(digest::digest(&digest::SHA512, selected).as_ref().to_vec()),
        _ => None,
    }
}

fn names(record: &Tlsa, certificate: &[u8]) -> bool {
    association(certificate, record.selector, record.matching).is_some_and(|data| data == record.data)
}

/// Compares a chain, leaf first, with the records.
///
/// # Errors
/// The chain does not fit: there may be no delivery.
pub fn judge(
    chain: &[CertificateDer<'_>],
    records: &[Tlsa],
    rules: &Rules<'_>,
    now: UnixTime,
) -> Result<Fit, Misfit> {
    let Some((leaf, others)) = chain.split_first() else { return Err(Misfit::NoMatch) };
    let records: Vec<&Tlsa> = records.iter().filter(|record| is_sane(record)).collect();
    let of_usage =
        |usage: u8| records.iter().copied().filter(move |record| record.usage == usage).collect::<Vec<_>>();
    if of_usage(DANE_EE).iter().any(|record| names(record, leaf)) {
        let fit = Fit { usage: DANE_EE, depth: 0 };
        return if rules.checks_names_of_ee { named(leaf, rules, fit) } else { Ok(fit) };
    }
    let walk = Walk { leaf, others, records: &records, now };
    let mut answer = walk.to_record(&of_usage(DANE_TA)).and_then(|fit| named(leaf, rules, fit));
    if answer.is_err() && !rules.authorities.is_empty() {
        let public = walk
            .to_authority(rules.authorities, &of_usage(PKIX_EE), &of_usage(PKIX_TA))
            .and_then(|fit| named(leaf, rules, fit));
        if answer == Err(Misfit::NoMatch) || public.is_ok() {
            answer = public;
        }
    }
    answer
}

fn named(leaf: &CertificateDer<'_>, rules: &Rules<'_>, fit: Fit) -> Result<Fit, Misfit> {
    let is_for = |certificate: Certificate| rules.names.iter().any(|name| certificate.is_for_host(name));
    if Certificate::parse(leaf).is_ok_and(is_for) { Ok(fit) } else { Err(Misfit::Name(fit)) }
}

/// One chain on its way to an anchor.
struct Walk<'a> {
    leaf: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
    records: &'a [&'a Tlsa],
    now: UnixTime,
}

impl Walk<'_> {
    /// Certificates that stand whole in records: they need not have been sent.
    fn enclosed(&self) -> Vec<CertificateDer<'static>> {
        let whole =
            |record: &&&Tlsa| matches!((record.usage, record.selector, record.matching), (0 | 2, 0, 0));
        self.records.iter().filter(whole).map(|record| CertificateDer::from(record.data.clone())).collect()
    }

    fn is_in_time(&self, certificate: &[u8]) -> bool {
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        Certificate::parse(certificate).is_ok_and(|c| c.not_before <= now && now <= c.not_after)
    }

    /// DANE-TA: the anchors are what the records name.
    fn to_record(&self, records: &[&Tlsa]) -> Result<Fit, Misfit> {
        let enclosed = self.enclosed();
        let sources: Vec<&CertificateDer<'_>> = self
            .others
            .iter()
            .chain(&enclosed)
            .filter(|certificate| records.iter().any(|record| names(record, certificate)))
            .collect();
        let mut anchors: Vec<TrustAnchor<'_>> = sources
            .iter()
            .filter(|certificate| self.is_in_time(certificate))
            .filter_map(|certificate| webpki::anchor_from_trusted_cert(certificate).ok())
            .collect();
        let found = (!anchors.is_empty()).then(|| self.path(&anchors));
        if let Some(Ok((certificates, _))) = found {
            return Ok(Fit { usage: DANE_TA, depth: certificates.len().saturating_add(1) });
        }
        anchors = self.bare_anchors(records);
        if !anchors.is_empty()
            && let Ok((certificates, _)) = self.path(&anchors)
        {
            return Ok(Fit { usage: DANE_TA, depth: certificates.len() });
        }
        match found {
            Some(Err(text)) => Err(Misfit::Chain(text)),
            Some(Ok(_)) | None if sources.is_empty() => Err(Misfit::NoMatch),
            Some(Ok(_)) | None => Err(Misfit::Chain("certificate has expired".to_owned())),
        }
    }

    /// Keys that stand alone in a record bear the name of whoever signed something in the chain.
    fn bare_anchors(&self, records: &[&Tlsa]) -> Vec<TrustAnchor<'static>> {
        let mut anchors = Vec::new();
        for record in records.iter().filter(|record| (record.selector, record.matching) == (1, 0)) {
            let Some((0x30, key, [])) = element(&record.data) else { continue };
            for certificate in std::iter::once(self.leaf).chain(self.others) {
                let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { continue };
                let Some((_, issuer, _)) = element(parsed.issuer().as_raw()) else { continue };
                anchors.push(TrustAnchor {
                    subject: Der::from(issuer.to_vec()),
                    subject_public_key_info: Der::from(key.to_vec()),
                    name_constraints: None,
                });
            }
        }
        anchors
    }

    /// PKIX-EE and PKIX-TA: the anchors are the public authorities, and a certificate on the way is in a record.
    fn to_authority(
        &self,
        authorities: &[CertificateDer<'_>],
        of_ee: &[&Tlsa],
        of_ta: &[&Tlsa],
    ) -> Result<Fit, Misfit> {
        if of_ee.is_empty() && of_ta.is_empty() {
            return Err(Misfit::NoMatch);
        }
        let anchors: Vec<TrustAnchor<'_>> =
            authorities.iter().filter_map(|der| webpki::anchor_from_trusted_cert(der).ok()).collect();
        let (mut way, key) = self.path(&anchors).map_err(Misfit::Chain)?;
        let ends_at = |der: &&CertificateDer<'_>| {
            public_key(der).and_then(element).is_some_and(|(_, inner, _)| inner == key)
        };
        way.extend(authorities.iter().find(ends_at).map(|der| der.to_vec()));
        if of_ee.iter().any(|record| names(record, self.leaf)) {
            return Ok(Fit { usage: PKIX_EE, depth: 0 });
        }
        let met = way.iter().position(|der| of_ta.iter().any(|record| names(record, der)));
        met.map(|at| Fit { usage: PKIX_TA, depth: at.saturating_add(1) }).ok_or(Misfit::NoMatch)
    }

    /// The certificates between the leaf and the anchor, and the anchor's key.
    fn path(&self, anchors: &[TrustAnchor<'_>]) -> Result<(Vec<Vec<u8>>, Vec<u8>), String> {
        let entity = EndEntityCert::try_from(self.leaf).map_err(|error| reason(&error, self.leaf))?;
        let intermediates: Vec<CertificateDer<'_>> =
            self.others.iter().cloned().chain(self.enclosed()).collect();
        let algorithms = provider::default_provider().signature_verification_algorithms.all;
        let path = entity
            .verify_for_usage(
                algorithms,
                anchors,
                &intermediates,
                self.now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map_err(|error| reason(&error, self.leaf))?;
        let between =
            path.intermediate_certificates().map(|certificate| certificate.der().to_vec()).collect();
        Ok((between, path.anchor().subject_public_key_info.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::pem::PemObject;

    use super::*;

    fn leaf() -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed(vec!["mx.example".to_owned()]).unwrap().cert.der().clone()
    }

    fn record(usage: u8, selector: u8, matching: u8, of: &[u8]) -> Tlsa {
        let data = association(of, selector, matching).unwrap();
        Tlsa { usage, selector, matching, data }
    }

    #[test]
    fn only_what_mail_can_use_counts() {
        let good = record(3, 1, 1, &leaf());
        let short = Tlsa { data: vec![1; 31], ..good.clone() };
        let all: Vec<Tlsa> =
            (0..6).map(|usage| Tlsa { usage, ..good.clone() }).chain([short.clone()]).collect();
        assert_eq!(usable(&all).iter().map(|r| r.usage).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(usage_bits(&usable(&all)), 12);
        for odd in [
            Tlsa { selector: 2, ..good.clone() },
            Tlsa { matching: 3, ..good.clone() },
            Tlsa { matching: 0, data: vec![], ..good },
            short,
        ] {
            assert_eq!(usable(&[odd]), []);
        }
    }

    #[test]
    fn the_leaf_by_any_selector_and_matching_type() {
        let leaf = leaf();
        let chain = [leaf.clone()];
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let mut ours = record(3, selector, matching, &leaf);
            let rules = Rules::default();
            assert_eq!(
                judge(&chain, &[ours.clone()], &rules, UnixTime::now()),
                Ok(Fit { usage: 3, depth: 0 })
            );
            ours.data[0] ^= 1;
            assert_eq!(judge(&chain, &[ours], &rules, UnixTime::now()), Err(Misfit::NoMatch));
        }
    }

    #[test]
    fn the_leaf_is_no_anchor_and_no_chain_fits_nothing() {
        let leaf = leaf();
        let names = ["mx.example".to_owned()];
        let rules = Rules { names: &names, ..Rules::default() };
        let records = [record(2, 0, 1, &leaf)];
        assert_eq!(
            judge(std::slice::from_ref(&leaf), &records, &rules, UnixTime::now()),
            Err(Misfit::NoMatch)
        );
        assert_eq!(judge(&[], &[record(3, 0, 1, &leaf)], &rules, UnixTime::now()), Err(Misfit::NoMatch));
    }

    struct Case {
        records: Vec<Tlsa>,
        chain: Vec<CertificateDer<'static>>,
        checks_names_of_ee: bool,
        result: i64,
        depth: i64,
    }

    fn cases(text: &str) -> Vec<Case> {
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
        let mut cases = Vec::new();
        while let Some(head) = lines.next() {
            let numbers: Vec<i64> = head.split(' ').map(|word| word.parse().unwrap()).collect();
            let records = (0..numbers[0]).map(|_| read_record(lines.next().unwrap())).collect();
            let chain = (0..numbers[1]).map(|_| read_certificate(&mut lines)).collect();
            cases.push(Case {
                records,
                chain,
                checks_names_of_ee: numbers[2] == 0,
                result: numbers[3],
                depth: numbers[4],
            });
        }
        cases
    }

    fn read_record(line: &str) -> Tlsa {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse().unwrap();
        let pairs = words[3].as_bytes().chunks(2);
        let data =
            pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        Tlsa { usage: number(0), selector: number(1), matching: number(2), data }
    }

    fn read_certificate<'a>(lines: &mut impl Iterator<Item = &'a str>) -> CertificateDer<'static> {
        let mut text = String::new();
        for line in lines {
            text.push_str(line);
            text.push('\n');
            if line.starts_with("-----END") {
                break;
            }
        }
        CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
    }

    /// OpenSSL's numbers.
    fn as_numbers(answer: &Result<Fit, Misfit>) -> (i64, Option<usize>) {
        match answer {
            Ok(fit) => (0, Some(fit.depth)),
            Err(Misfit::Name(fit)) => (62, Some(fit.depth)),
            Err(Misfit::NoMatch) => (65, None),
            Err(Misfit::Chain(_)) => (20, Some(0)),
        }
    }

    #[test]
    fn the_vectors_of_others() {
        let root = std::env::var("OXIM_CONFORMANCE").unwrap_or_else(|_| {
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/conformance").to_owned()
        });
        let read = |name: &str| std::fs::read_to_string(format!("{root}/dane/{name}"));
        let (Ok(authority), Ok(main), Ok(cross)) =
            (read("danetest.pem"), read("danetest.in"), read("dane-cross.in"))
        else {
            eprintln!("skipped, the vectors are not there (OXIM_CONFORMANCE)");
            return;
        };
        let authorities = [CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()];
        let names = ["example.com".to_owned()];
        let mut wrong = Vec::new();
        let (main, cross) = (cases(&main), cases(&cross));
        assert_eq!((main.len(), cross.len()), (54, 1));
        // The second file is for another host: the one that its leaf is for.
        let cross_names = ["server.example".to_owned()];
        let main = main.iter().map(|case| (case, &names));
        for (number, (case, names)) in main.chain(cross.iter().map(|case| (case, &cross_names))).enumerate() {
            let rules =
                Rules { names, checks_names_of_ee: case.checks_names_of_ee, authorities: &authorities };
            let answer = judge(&case.chain, &case.records, &rules, UnixTime::now());
            let wanted = (case.result, usize::try_from(case.depth).ok());
            if as_numbers(&answer) != wanted {
                wrong.push(format!("{}: {answer:?}, wanted {wanted:?}", number + 1));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    proptest::proptest! {
        #[test]
        fn odd_records_do_not_panic(usage: u8, selector in 0_u8..3, matching in 0_u8..4, data: Vec<u8>) {
            let records = [Tlsa { usage, selector, matching, data }];
            let leaf = leaf();
            let _ = judge(&[leaf.clone(), leaf], &records, &Rules::default(), UnixTime::now());
            proptest::prop_assert!(usage_bits(&usable(&records)) & !12 == 0);
        }
    }
}

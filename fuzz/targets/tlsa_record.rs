//! TLSA records against certificates: no panic; what fits is usable; a changed byte of the record fits no more.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::dns::Tlsa;
use oxim_net::tls::dane;
use rustls_pki_types::{CertificateDer, UnixTime};

fuzz_target!(|data: &[u8]| {
    let [usage, selector, matching, length, rest @ ..] = data else { return };
    let Some((certificate, associated)) = rest.split_at_checked(usize::from(*length).saturating_mul(4)) else { return };
    let chain = [CertificateDer::from(certificate), CertificateDer::from(associated)];
    let names = ["a.example".to_owned()];
    let rules = dane::Rules { names: &names, ..dane::Rules::default() };
    let record = |usage: u8, data: &[u8]| Tlsa { usage, selector: *selector, matching: *matching, data: data.to_vec() };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    let foreign = [record(*usage, associated)];
    if dane::judge(&chain, &foreign, &rules, now).is_ok() {
        assert!(!dane::usable(&foreign).is_empty());
    }
    if let Some(mut own) = dane::association(certificate, *selector, *matching).filter(|own| !own.is_empty()) {
        assert!(dane::judge(&chain, &[record(3, &own)], &rules, now).is_ok());
        own[0] ^= 1;
        assert!(dane::judge(&chain, &[record(3, &own)], &rules, now).is_err());
    }
});

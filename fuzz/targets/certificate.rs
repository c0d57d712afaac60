//! Certificates: no panic; names shown on one line are on one line; a name match is for a name that is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::tls::certificate::{AlternativeName, Certificate};

fuzz_target!(|data: &[u8]| {
    let Ok(certificate) = Certificate::parse(data) else { return };
    for line in [&certificate.subject_one_line, &certificate.issuer_one_line] {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }
    assert!(!certificate.is_for_host("") && !certificate.is_for_host("."));
    let has_address = certificate.alternative_names.iter().any(|name| matches!(name, AlternativeName::Ip(_)));
    assert!(has_address || !certificate.is_for_host("192.0.2.1"));
});

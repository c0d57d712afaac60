//! OCSP responses: no panic; what is read is about something; nothing that the fuzzer writes proves anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::tls::ocsp::{Proof, from_pem};
use rustls_pki_types::UnixTime;

fuzz_target!(|data: &[u8]| {
    if let Some(der) = from_pem(data) {
        let _ = Proof::parse(&der);
    }
    let Ok(proof) = Proof::parse(data) else { return };
    assert!(!proof.singles.is_empty());
    assert!(proof.judge(data, &[data], UnixTime::now()).is_err());
});

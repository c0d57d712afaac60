//! Cipher strings of both dialects: no panic, and what is accepted leaves something.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::tls::ciphers::choose;

fuzz_target!(|text: &str| {
    if let Ok(choice) = choose(text) {
        assert!(!choice.suites.is_empty() && (choice.versions.tls12 || choice.versions.tls13));
    }
});

//! The look at a client's first TLS message: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::tls::client_hello::asks_for_proof;

fuzz_target!(|data: &[u8]| {
    let _ = asks_for_proof(data);
});

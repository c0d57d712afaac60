//! DIGEST-MD5 messages of either side: no panic, and what is read survives its writing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_deliver::authenticator::gsasl::digest_md5::{ClientResponse, ServerChallenge};

fuzz_target!(|data: &[u8]| {
    if let Some(mut challenge) = ServerChallenge::read(data) {
        challenge.realms.retain(|realm| !realm.is_empty());
        assert_eq!(ServerChallenge::read(&challenge.write()), Some(challenge));
    }
    if let Some(response) = ClientResponse::read(data) {
        assert_ne!(response.proofs(b"a password that the fuzzer does not know").0, response.response);
        assert_eq!(ClientResponse::read(&response.write()), Some(response));
    }
});

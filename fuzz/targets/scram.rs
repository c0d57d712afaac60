//! SCRAM messages of either side: no panic; what is read is bounded, and no proof is right by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_deliver::authenticator::gsasl::scram::{ClientFirst, Digests, Keys, ServerFirst, judge};

fuzz_target!(|data: &[u8]| {
    let (first, last) = data.split_at(data.len() / 2);
    if let Ok(server) = ServerFirst::read(data, b"r") {
        assert_eq!(ServerFirst::read(&server.write(), b"r"), Ok(server));
    }
    let Ok(first) = ClientFirst::read(first) else { return };
    assert!(!first.user.is_empty() && first.header.len() + first.bare.len() <= data.len());
    let server = ServerFirst { nonce: first.nonce.clone(), salt: Vec::new(), iterations: 4096 };
    let keys = Keys { stored: vec![7; 20], server: vec![7; 20] };
    assert!(!matches!(judge(Digests::Sha1, &keys, &first, &server, b"", last), Ok(Some(_))));
});

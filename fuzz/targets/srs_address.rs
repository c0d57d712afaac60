//! SRS addresses of both generations: no panic; what is written is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mailauth::srs::classic::{Scheme, Way};
use oxim_mailauth::srs::native;

fuzz_target!(|data: &[u8]| {
    let _ = native::decode(data, b"secret", 20_000);
    let _ = native::encode(b"secret", data, b"fwd.example", 20_000);
    let scheme = Scheme {
        secrets: vec![b"secret".to_vec()],
        days: 31,
        hash_length: 6,
        hash_min: 6,
        has_stamp: true,
        has_hash: true,
    };
    let _ = scheme.reverse(data, 20_000);
    if let Some(address) = scheme.forward(data, b"fwd.example", 20_000) {
        match scheme.reverse(&address, 20_000) {
            Ok(Way::Address(back)) if address.starts_with(b"SRS0") => assert_eq!(back, data),
            Ok(_) => {}
            // A sender with a separator where a domain should be.
            Err(_) => assert!(data.contains(&b'=')),
        }
    }
});

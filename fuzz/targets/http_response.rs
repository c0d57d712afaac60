//! Answers to HTTP requests: no panic, no endless reading, never more content than was allowed; URLs that are read can be written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::http::{Url, read_response};

fuzz_target!(|data: &[u8]| {
    if let Ok(response) = read_response(&mut &data[..], 1_000) {
        assert!(response.body.len() <= 1_000 && (200..1_000).contains(&response.status));
    }
    if let Some(url) = std::str::from_utf8(data).ok().and_then(Url::parse) {
        let scheme = if url.is_secure { "https" } else { "http" };
        assert_eq!(Url::parse(&format!("{scheme}://{}{}", url.host_field(), url.path)), Some(url));
    }
});

//! PROXY headers: no panic; never more is taken than the longest header; what follows a header stays.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_net::proxy_protocol::{parse_binary, parse_line, read_header};

fuzz_target!(|data: &[u8]| {
    let _ = parse_line(data);
    if let [command, family, body @ ..] = data {
        let _ = parse_binary(*command, *family, body);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rest = data;
    let _ = runtime.block_on(read_header(&mut rest));
    assert!(data.len() - rest.len() <= 16 + 4_096);
});

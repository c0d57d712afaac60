//! Headers of arriving messages: no panic; the lines and the rest are what came in, and lines are well formed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::header::split::{HeaderLimits, split_header_block, starts_header};
use oxim_mail::header::value::{Decoding, joined_value, list_value, raw_value};

fuzz_target!(|data: &[u8]| {
    let limits = HeaderLimits { header_bytes_max: 4096, header_line_bytes_max: 1024, from_line: None };
    let Ok((list, body)) = split_header_block(data, limits) else { return };
    assert!(body <= data.len());
    assert!(list.size_bytes() <= body + 1);
    for header in list.all() {
        assert!(header.text.ends_with(b"\n") && starts_header(&header.text));
        assert!(!header.text.contains(&0));
        let name = header.name();
        if !name.is_empty() {
            assert!(raw_value(&list, name).is_some());
            let _ = list_value(&list, name);
            let _ = joined_value(&list, name, Decoding::Charset { target: b"UTF-8" }, true);
        }
    }
});

//! Encoded words: no panic; what we encode decodes to itself, in words of legal length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::mime::ParameterizedValue;
use oxim_mail::rfc2047::{ENCODED_WORD_BYTES_MAX, Undecodable, decode, encode};

fuzz_target!(|data: &[u8]| {
    let _ = decode(data, Some(b"UTF-8"), true, Undecodable::KeepBytes);
    let _ = decode(data, Some(b"ISO-8859-1"), false, Undecodable::Fail);
    let _ = decode(data, None, false, Undecodable::Fail);
    let _ = ParameterizedValue::parse(data);
    let _ = oxim_mail::date::parse(data);
    let encoded = encode(data, b"UTF-8");
    if encoded != data {
        assert!(encoded.split(|b| *b == b' ').all(|word| word.len() <= ENCODED_WORD_BYTES_MAX));
        let expected: Vec<u8> = data.iter().map(|&b| if b == 0 { b'?' } else { b }).collect();
        assert_eq!(decode(&encoded, Some(b"UTF-8"), true, Undecodable::Fail), Ok(expected));
    }
});

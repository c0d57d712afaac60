//! Any bytes as a JSON text, in which any key is looked up: an answer or a complaint, in bounded time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_lang::lookup::json::element_of;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (key, text) = input;
    let Ok(whole) = element_of(text, b"") else { return };
    // What the lookup gives for objects and arrays is JSON again, with the same elements.
    let again = whole.as_deref().filter(|whole| matches!(whole.first(), Some(b'{' | b'[')));
    if let (Some(again), true) = (again, matches!(text.trim_ascii_start().first(), Some(b'{' | b'['))) {
        assert_eq!(element_of(text, key), element_of(again, key));
    }
    let _ = element_of(text, key);
});

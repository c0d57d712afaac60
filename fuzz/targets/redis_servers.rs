//! Any text as the list of servers of a Redis lookup, and as a command: a complaint, or hosts and words that make sense.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_lang::lookup::{redis_command, redis_servers};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(servers) = redis_servers(&text) {
        assert!(servers.iter().all(|(host, _)| !host.contains('/')));
    }
    let words = redis_command(data);
    assert!(words.iter().all(|word| !word.is_empty()));
    assert!(words.iter().map(Vec::len).sum::<usize>() <= data.len());
});

//! Replies of servers: no panic; what is read writes out and reads back the same; EHLO answers are taken apart.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::smtp::extension::Extensions;
use oxim_mail::smtp::reply::{Reply, ReplyReader, parse};

fuzz_target!(|data: &[u8]| {
    let mut reader = ReplyReader::new();
    let mut at = 0;
    while let Ok((used, reply)) = reader.feed(&data[at..]) {
        at += used;
        let Some(reply) = reply else { break };
        let _ = Extensions::parse(&reply);
        let _ = reply.enhanced();
        if !reply.lines.iter().flatten().any(|b| matches!(b, 0 | b'\r')) {
            assert_eq!(parse(&reply.to_bytes()), Ok(reply));
        }
    }
    let (own, _) = Reply::from_message(550, data);
    assert_eq!(own.code / 100, 5);
});

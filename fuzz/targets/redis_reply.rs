//! Any bytes as what a Redis server sends, over a socket: replies or a complaint, and never more than was sent.
#![no_main]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use oxim_lang::lookup::service::redis::{Reply, read};
use oxim_lang::lookup::service::wire::Wire;
use oxim_net::socket::Socket;

fn bytes_of(reply: &Reply) -> usize {
    match reply {
        Reply::Text(text) => text.len(),
        Reply::Error(text) => text.len() / 3,
        Reply::Integer(_) | Reply::Nil => 0,
        Reply::Array(replies) => replies.iter().map(bytes_of).sum(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return };
    // What the socket does not hold would wait for a reader.
    let data = data.get(..data.len().min(60_000)).unwrap_or_default();
    theirs.write_all(data).expect("the socket holds it");
    drop(theirs);
    let mut wire = Wire::over(Socket::from_unix(ours), Duration::from_secs(5));
    let mut total = 0;
    while let Ok(reply) = read(&mut wire, 0) {
        total += bytes_of(&reply);
    }
    assert!(total <= data.len());
});

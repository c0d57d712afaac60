//! A message with ARC sets and the key records: no panic, and a set that we add belongs to no chain that is broken.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use oxim_mailauth::arc::seal::Sealer;
use oxim_mailauth::arc::verify::{ArcVerifier, State};
use oxim_mailauth::dkim::signing_key::SigningKey;
use oxim_mailauth::dns::{Answer, Dns};

struct Echo<'a>(&'a [u8]);

impl Dns for Echo<'_> {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        if name.len() % 7 == 0 { Answer::AskAgain } else { Answer::Found(vec![self.0.to_vec()]) }
    }
    fn addresses(&self, _: &str, _: bool) -> Answer<IpAddr> {
        Answer::NotThere
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::NotThere
    }
    fn names_of(&self, _: IpAddr) -> Answer<String> {
        Answer::NotThere
    }
}

/// Made for this target.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPb54Rjq5NyfVeiPXzKgvuRkXSsfkK1gwexQxuNQSNvY\n";

fuzz_target!(|data: &[u8]| {
    let Some(at) = data.iter().position(|b| *b == 0) else { return };
    let (message, record) = data.split_at(at);
    let lines: Vec<Vec<u8>> = message.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let mut verifier = ArcVerifier::new(&lines);
    verifier.update(message);
    if let Ok(checked) = verifier.finish(&Echo(record.get(1..).unwrap_or_default())) {
        assert_eq!(checked.state == State::Fail, !checked.reason.is_empty());
        assert!(checked.stations.len() <= 50 && checked.oldest_pass <= checked.stations.len());
    }
    let key = SigningKey::from_pem(KEY.as_bytes()).expect("a key");
    let sealer = Sealer { name: b"a.ex", selector: b"s", key: &key, client: None, created: None, expires: None };
    let slices: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let _ = sealer.set(&slices, b"hash");
});

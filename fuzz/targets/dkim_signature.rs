//! A message with DKIM signatures, the key records, a header choice and PEM: no panic; what we sign we verify.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use oxim_mailauth::dkim::sign::{HeaderChoice, Recipe};
use oxim_mailauth::dkim::signing_key::SigningKey;
use oxim_mailauth::dkim::verify::{Policy, Verifier};
use oxim_mailauth::dkim::{Canon, Hash, KeyType, key::KeyRecord};
use oxim_mailauth::dns::{Answer, Dns};

struct Echo<'a>(&'a [u8]);

impl Dns for Echo<'_> {
    fn txt(&self, _: &str) -> Answer<Vec<u8>> {
        Answer::Found(vec![self.0.to_vec()])
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
    let record = record.get(1..).unwrap_or_default();
    if let Some(record) = KeyRecord::parse(record) {
        let _ = (record.bits(), record.is_for_mail());
    }
    let _ = SigningKey::from_pem(record);
    let lines: Vec<&[u8]> = message.split_inclusive(|b| *b == b'\n').collect();
    let policy = Policy {
        hashes: vec![Hash::Sha256, Hash::Sha512, Hash::Sha1],
        key_types: vec![KeyType::Ed25519, KeyType::Rsa],
        rsa_bits_min: 0,
        ed25519_bits_min: 0,
        is_minimal: false,
        signatures_max: 20,
    };
    if let Some(mut verifier) = Verifier::new(lines.iter().copied(), &policy) {
        verifier.update(message);
        assert!(verifier.finish(&Echo(record)).len() <= 20);
    }
    let recipe = Recipe {
        domain: b"s.ex".to_vec(),
        selector: b"sel".to_vec(),
        identity: Some(record.to_vec()),
        canon: Canon::Relaxed,
        hash: Hash::Sha256,
        headers: HeaderChoice::parse(record),
        times: None,
    };
    let key = SigningKey::from_pem(KEY.as_bytes()).expect("a key");
    if let Ok(line) = recipe.line(&key, &lines, b"hash") {
        // One header line, whatever was asked for.
        let ends: Vec<usize> = line.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
        assert!(ends.iter().all(|at| at + 1 == line.len() || line[at + 1] == b'\t'));
    }
});

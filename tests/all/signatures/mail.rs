//! Messages made by chance, signed and verified: DKIM and ARC.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxim_mailauth::arc::seal::Sealer;
use oxim_mailauth::arc::verify::{ArcVerifier, State};
use oxim_mailauth::dkim::body::BodyHasher;
use oxim_mailauth::dkim::sign::{HeaderChoice, OVERSIGN_HEADERS, Recipe, SIGN_HEADERS};
use oxim_mailauth::dkim::signing_key::SigningKey;
use oxim_mailauth::dkim::verify::{Policy, Status, Verifier};
use oxim_mailauth::dkim::{Canon, Hash, KeyType};
use serde_json::json;

use super::{Judge, Keys, is_full};
use crate::generator::random::Random;

/// A message with LF line ends.
struct Mail {
    lines: Vec<Vec<u8>>,
    body: Vec<u8>,
}

const WORDS: &[&str] = &[
    "one",
    "Two",
    "  ",
    "\t",
    "=20",
    "gr\u{fc}\u{df}e",
    ".",
    "..",
    "From ",
    "-- ",
    "x@y.ex",
    ";b=",
    "a-rather-long-word-of-a-header-line",
];

impl Mail {
    fn made(random: &mut Random) -> Mail {
        let mut lines = vec![b"From: A <a@s.ex>\n".to_vec()];
        for name in
            ["To", "Subject", "subject", "Date", "X-Other", "SUBJECT", "Cc", "List-Id", "MIME-Version"]
        {
            if random.percent(60) {
                let mut line = format!("{name}:").into_bytes();
                for _ in 0..random.below(8) {
                    line.extend_from_slice(random.pick(&[" ", "  ", "\t", "\n ", "\n\t ", ""]).as_bytes());
                    line.extend_from_slice(random.pick(WORDS).trim_ascii().as_bytes());
                }
                // A line of white space alone is no continuation that everybody keeps.
                line.extend_from_slice(b"x\n");
                lines.push(line);
            }
        }
        let mut body = Vec::new();
        for _ in 0..random.below(30) {
            for _ in 0..random.below(12) {
                body.extend_from_slice(random.pick(WORDS).as_bytes());
                body.extend_from_slice(random.pick(&[" ", "", "  ", "\t"]).as_bytes());
            }
            body.push(b'\n');
        }
        body.extend(std::iter::repeat_n(b'\n', random.below(3)));
        Mail { lines, body }
    }

    fn wire(&self) -> Vec<u8> {
        let whole = [self.lines.concat().as_slice(), b"\n", &self.body].concat();
        let mut out = Vec::with_capacity(whole.len() * 2);
        for byte in whole {
            if byte == b'\n' {
                out.push(b'\r');
            }
            out.push(byte);
        }
        out
    }

    fn hash(&self, canon: Canon, hash: Hash) -> Vec<u8> {
        let mut hasher = BodyHasher::new(canon, hash, None);
        hasher.update(&self.body);
        hasher.finish().0
    }

    fn slices(&self) -> Vec<&[u8]> {
        self.lines.iter().map(Vec::as_slice).collect()
    }

    /// Puts lines (CR LF or LF) on top.
    fn with(&self, top: &[u8]) -> Mail {
        let top: Vec<u8> = top.iter().copied().filter(|b| *b != b'\r').collect();
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for line in top.split_inclusive(|b| *b == b'\n') {
            match (line.first(), lines.last_mut()) {
                (Some(b' ' | b'\t'), Some(last)) => last.extend_from_slice(line),
                _ => lines.push(line.to_vec()),
            }
        }
        lines.extend(self.lines.iter().cloned());
        Mail { lines, body: self.body.clone() }
    }
}

struct Signer {
    rsa: SigningKey,
    rsa_pem: String,
    ed25519: SigningKey,
    /// As dkimpy wants it: the bare key.
    ed25519_seed: String,
}

impl Signer {
    /// Makes keys, and tells the judge and us the public ones.
    fn begin(judge: &mut Judge) -> (Signer, Keys) {
        let made = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "openssl {arguments:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let rsa_pem = made(&["genrsa", "-traditional", "2048"]);
        let ed_pem = made(&["genpkey", "-algorithm", "ed25519"]);
        let rsa = SigningKey::from_pem(rsa_pem.as_bytes()).unwrap();
        let ed25519 = SigningKey::from_pem(ed_pem.as_bytes()).unwrap();
        let der = STANDARD.decode(ed_pem.lines().nth(1).unwrap()).unwrap();
        let ed25519_seed = STANDARD.encode(&der[der.len() - 32..]);
        // Key records have RSA keys in the form of X.509; wrap the bare one.
        let bare = rsa.public();
        let bits =
            [&[0x03, 0x82], u16::try_from(bare.len() + 1).unwrap().to_be_bytes().as_slice(), &[0], &bare]
                .concat();
        let kind = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        let length = u16::try_from(bits.len() + kind.len()).unwrap().to_be_bytes();
        let public = [[0x30, 0x82].as_slice(), &length, &kind, &bits].concat();
        let record = |kind: &str, key: &[u8]| format!("v=DKIM1; k={kind}; p={}", STANDARD.encode(key));
        let keys = vec![
            ("rsa._domainkey.s.ex".to_owned(), record("rsa", &public)),
            ("ed._domainkey.s.ex".to_owned(), record("ed25519", &ed25519.public())),
        ];
        let known: serde_json::Map<String, serde_json::Value> =
            keys.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        judge.ask(&json!({"op": "keys", "keys": known}));
        (Signer { rsa, rsa_pem, ed25519, ed25519_seed }, Keys(keys))
    }
}

fn canon_of(random: &mut Random) -> Canon {
    if random.percent(50) { Canon::Simple } else { Canon::Relaxed }
}

pub(super) fn ours_by_others(judge: &mut Judge) {
    let (signer, _) = Signer::begin(judge);
    for number in 0..if is_full() { 10_000 } else { 60 } {
        let mut random = Random::new(number);
        let mail = Mail::made(&mut random);
        let canon = canon_of(&mut random);
        let is_rsa = random.percent(60);
        let (key, selector) = if is_rsa { (&signer.rsa, "rsa") } else { (&signer.ed25519, "ed") };
        let headers =
            *[SIGN_HEADERS, OVERSIGN_HEADERS, "=subject:+from:x-other:none"].get(random.below(3)).unwrap();
        let recipe = Recipe {
            domain: b"s.ex".to_vec(),
            selector: selector.as_bytes().to_vec(),
            identity: random.percent(30).then(|| b"@sub.s.ex".to_vec()),
            canon,
            hash: Hash::Sha256,
            headers: HeaderChoice::parse(headers.as_bytes()),
            times: random.percent(30).then_some((1_700_000_000, 4_000_000_000)),
        };
        let line = recipe.line(key, &mail.slices(), &mail.hash(canon, Hash::Sha256)).unwrap();
        let message = STANDARD.encode(mail.with(&line).wire());
        let shown = || format!("message {number}:\n{}", String::from_utf8_lossy(&mail.with(&line).wire()));
        let answer = judge.ask(&json!({"op": "dkimpy_verify", "message": message}));
        assert_eq!(answer["good"], true, "dkimpy, {}", shown());
        let answer = judge.ask(&json!({"op": "opendkim_verify", "message": message}));
        assert_eq!(answer["status"], 0, "opendkim, {}", shown());
        let mut other = mail.with(&line);
        other.body.extend_from_slice(b"more\n");
        let message = STANDARD.encode(other.wire());
        assert_eq!(judge.ask(&json!({"op": "dkimpy_verify", "message": message}))["good"], false);
    }
}

pub(super) fn theirs_by_us(judge: &mut Judge) {
    let (signer, keys) = Signer::begin(judge);
    let policy = Policy {
        hashes: vec![Hash::Sha256],
        key_types: vec![KeyType::Ed25519, KeyType::Rsa],
        rsa_bits_min: 1024,
        ed25519_bits_min: 250,
        is_minimal: false,
        signatures_max: 20,
    };
    for number in 0..if is_full() { 10_000 } else { 60 } {
        let mut random = Random::new(number);
        let mail = Mail::made(&mut random);
        let message = STANDARD.encode(mail.wire());
        let canon = [canon_of(&mut random).word(), canon_of(&mut random).word()];
        let question = match random.below(3) {
            0 => json!({"op": "opendkim_sign", "message": message, "selector": "rsa", "domain": "s.ex",
                "key": signer.rsa_pem, "canon": canon}),
            1 => json!({"op": "dkimpy_sign", "message": message, "selector": "rsa", "domain": "s.ex",
                "key": signer.rsa_pem, "canon": canon, "method": "rsa-sha256"}),
            _ => json!({"op": "dkimpy_sign", "message": message, "selector": "ed", "domain": "s.ex",
                "key": signer.ed25519_seed, "canon": canon, "method": "ed25519-sha256"}),
        };
        let line = STANDARD.decode(judge.ask(&question)["line"].as_str().unwrap()).unwrap();
        let signed = mail.with(&line);
        let result = |body: &[u8]| {
            let mut verifier = Verifier::new(signed.slices().into_iter(), &policy).unwrap();
            verifier.update(body);
            verifier.finish(&keys)[0].status
        };
        assert_eq!(
            result(&signed.body),
            Status::Pass,
            "{} {canon:?}, message {number}:\n{}",
            question["op"],
            String::from_utf8_lossy(&signed.wire())
        );
        assert_eq!(result(b"another\n"), Status::BodyHash);
    }
}

pub(super) fn chains(judge: &mut Judge) {
    let (signer, keys) = Signer::begin(judge);
    for number in 0..if is_full() { 1_000 } else { 25 } {
        let mut random = Random::new(number);
        let mut mail = Mail::made(&mut random);
        for station in 0..1 + random.below(4) {
            // dkimpy looks at all such lines, so each station takes out those that are there.
            mail.lines.retain(|line| !line.starts_with(b"Authentication-Results:"));
            let state = if station == 0 { "" } else { "; arc=pass" };
            mail = mail.with(format!("Authentication-Results: s.ex; spf=pass{state}\n").as_bytes());
            let set = if random.percent(50) {
                let message = STANDARD.encode(mail.wire());
                let answer = judge.ask(&json!({"op": "arc_sign", "message": message, "selector": "rsa",
                    "domain": "s.ex", "key": signer.rsa_pem}));
                STANDARD.decode(answer["line"].as_str().unwrap()).unwrap()
            } else {
                let sealer = Sealer {
                    name: b"s.ex",
                    selector: b"rsa",
                    key: &signer.rsa,
                    client: Some("10.1.1.1".to_owned()),
                    created: random.percent(50).then_some(1_700_000_000),
                    expires: None,
                };
                sealer.set(&mail.slices(), &mail.hash(Canon::Relaxed, Hash::Sha256)).unwrap()
            };
            mail = mail.with(&set);
            let mut verifier = ArcVerifier::new(&mail.lines);
            verifier.update(&mail.body);
            let ours = verifier.finish(&keys).unwrap();
            let shown = || format!("message {number}:\n{}", String::from_utf8_lossy(&mail.wire()));
            assert_eq!((ours.state, ours.reason.as_str()), (State::Pass, ""), "we, {}", shown());
            let theirs = judge.ask(&json!({"op": "arc_verify", "message": STANDARD.encode(mail.wire())}));
            assert_eq!(theirs["state"], "pass", "dkimpy: {}, {}", theirs["reason"], shown());
        }
    }
}

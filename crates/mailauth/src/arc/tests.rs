//! Chains made and verified in memory, and broken ones.

use super::seal::{SealFault, Sealer};
use super::verify::{ArcVerifier, Checked, Later, State};
use crate::dkim::body::BodyHasher;
use crate::dkim::sign::encoded;
use crate::dkim::signing_key::SigningKey;
use crate::dkim::signing_key::tests::{ED25519, RSA};
use crate::dkim::{Canon, Hash};
use crate::dns::{Answer, Dns};

struct Keys;

impl Dns for Keys {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        let pem = match name {
            "rsa._domainkey.a.ex" => RSA,
            "ed._domainkey.b.ex" => ED25519,
            "later._domainkey.a.ex" => return Answer::AskAgain,
            _ => return Answer::NotThere,
        };
        let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
        let public = String::from_utf8(encoded(&key.public())).unwrap();
        Answer::Found(vec![format!("v=DKIM1; k={}; p={public}", key.key_type().word()).into_bytes()])
    }
    fn addresses(&self, _: &str, _: bool) -> Answer<std::net::IpAddr> {
        Answer::NotThere
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::NotThere
    }
    fn names_of(&self, _: std::net::IpAddr) -> Answer<String> {
        Answer::NotThere
    }
}

const BODY: &[u8] = b"Hi  there \n\n";

fn lines_of(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in text.split_inclusive(|b| *b == b'\n') {
        match (line.first(), lines.last_mut()) {
            (Some(b' ' | b'\t'), Some(last)) => last.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
    lines
}

fn sealed(header: &[u8], results: &str, name: &str, selector: &str, pem: &str) -> Result<Vec<u8>, SealFault> {
    let header = [format!("Authentication-Results: {name}; {results}\n").as_bytes(), header].concat();
    let mut hasher = BodyHasher::new(Canon::Relaxed, Hash::Sha256, None);
    hasher.update(BODY);
    let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
    let sealer = Sealer {
        name: name.as_bytes(),
        selector: selector.as_bytes(),
        key: &key,
        client: Some("10.1.1.1".to_owned()),
        created: Some(1),
        expires: Some(2),
    };
    let lines = lines_of(&header);
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let set = sealer.set(&lines, &hasher.finish().0)?;
    Ok([set, header].concat())
}

fn verified(header: &[u8], body: &[u8]) -> Result<Checked, Later> {
    let lines = lines_of(header);
    let mut verifier = ArcVerifier::new(&lines);
    verifier.update(body);
    verifier.finish(&Keys)
}

fn reason(header: &[u8]) -> String {
    let checked = verified(header, BODY).unwrap();
    assert_eq!(checked.state, State::Fail);
    checked.reason
}

const HEADER: &[u8] = b"From: a@x.ex\nSubject: one\nDKIM-Signature: v=1\n";

fn chain() -> Vec<u8> {
    let one = sealed(HEADER, "spf=pass smtp.mailfrom=x.ex", "a.ex", "rsa", RSA).unwrap();
    sealed(&one, "arc=pass (i=1); dkim=none", "b.ex", "ed", ED25519).unwrap()
}

#[test]
fn a_chain_of_two_holds() {
    let none = verified(HEADER, BODY).unwrap();
    assert_eq!((none.state, none.oldest_pass), (State::None, 0));
    let two = chain();
    let checked = verified(&two, BODY).unwrap();
    assert_eq!((checked.state, checked.oldest_pass, checked.reason.as_str()), (State::Pass, 1, ""));
    assert_eq!(checked.stations[1].domain, b"b.ex");
    let three = sealed(&two, "arc=pass", "a.ex", "rsa", RSA).unwrap();
    assert_eq!(verified(&three, BODY).unwrap().state, State::Pass);
}

#[test]
fn what_was_changed_between_stations_is_seen() {
    let one = sealed(HEADER, "spf=pass", "a.ex", "rsa", RSA).unwrap();
    let changed = String::from_utf8(one).unwrap().replace("Subject: one", "Subject: two").into_bytes();
    let two = sealed(&changed, "arc=pass", "b.ex", "ed", ED25519).unwrap();
    let checked = verified(&two, BODY).unwrap();
    assert_eq!((checked.state, checked.oldest_pass), (State::Pass, 2));
}

#[test]
fn broken_chains_say_why() {
    let two = String::from_utf8(chain()).unwrap();
    let with = |from: &str, to: &str| {
        assert!(two.contains(from), "{from} in {two}");
        two.replacen(from, to, 1).into_bytes()
    };
    assert_eq!(verified(two.as_bytes(), b"other\n").unwrap().reason, "AMS body hash miscompare");
    assert_eq!(reason(&with("Subject: one", "Subject: x")), "AMS sig nonverify");
    assert_eq!(reason(&with("spf=pass smtp.mailfrom=x.ex\nARC", "spf=fail\nARC")), "seal sigverify error");
    assert_eq!(reason(&with("cv=pass", "cv=none")), "i=2 (cv)");
    assert_eq!(reason(&with("cv=pass", "cv=fail")), "seal cv state");
    assert_eq!(reason(&with("s=ed;", "s=no;")), "pubkey dns lookup fail (no._domainkey.b.ex)");
    assert_eq!(reason(&with("ARC-Seal: i=2", "X-Seal: i=2")), "i=2 (missing header)");
    assert_eq!(reason(&with("ARC-Seal: i=2", "ARC-Seal: i=1")), "collecting headers: inserting AS: dup hdr");
    assert_eq!(
        reason(&with("ARC-Seal: i=2", "ARC-Seal: i=51")),
        "collecting headers: inserting AS: overlarge instance number"
    );
    assert_eq!(
        reason(&with("ARC-Seal: i=2", "ARC-Seal: i=x")),
        "collecting headers: inserting AS: instance find"
    );
    let third_only: Vec<u8> = two.replace("i=2", "i=3").into_bytes();
    assert_eq!(reason(&third_only), "(sequence; expected i=2)");
}

#[test]
fn a_key_that_nobody_could_give_gives_no_result() {
    let one = sealed(HEADER, "spf=pass", "a.ex", "later", RSA).unwrap();
    assert_eq!(verified(&one, BODY), Err(Later("later._domainkey.a.ex".to_owned())));
}

#[test]
fn no_set_without_results_of_this_name() {
    let key = SigningKey::from_pem(ED25519.as_bytes()).unwrap();
    let sealer =
        Sealer { name: b"a.ex", selector: b"s", key: &key, client: None, created: None, expires: None };
    let fault = |lines: &[&[u8]]| sealer.set(lines, b"x").unwrap_err();
    assert_eq!(fault(&[b"From: a\n"]), SealFault::NoResults);
    assert_eq!(fault(&[b"Authentication-Results: other.ex; spf=pass\n"]), SealFault::NoResults);
    let one = sealed(HEADER, "spf=pass", "a.ex", "rsa", RSA).unwrap();
    assert_eq!(sealed(&one, "spf=pass", "b.ex", "ed", ED25519), Err(SealFault::NotVerified));
    // A chain that has failed is sealed as failed.
    let failed = sealed(&one, "arc=fail", "b.ex", "ed", ED25519).unwrap();
    assert_eq!(reason(&failed), "seal cv state");
}

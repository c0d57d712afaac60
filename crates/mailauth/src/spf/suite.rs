//! The suites of RFC 7208 and RFC 4408 that others wrote, read from the folder that `OXIM_CONFORMANCE` names.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use yaml_rust2::{Yaml, YamlLoader};

use super::{Identity, Verdict};
use crate::dns::{Answer, Dns};

/// One name's records, in the words of the suite; the values of MX are `[preference, name]`.
#[derive(Default, Debug)]
struct Records {
    has_timeout: bool,
    all: Vec<(String, Yaml)>,
}

/// The zone data of one part of a suite. Also counts nothing and remembers nothing: each question is answered anew.
struct Zone(BTreeMap<String, Records>);

fn text_of(value: &Yaml) -> Vec<u8> {
    if let Some(parts) = value.as_vec() {
        return parts.iter().flat_map(text_of).collect();
    }
    // The suite writes bytes as code points.
    value.as_str().unwrap().chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

impl Zone {
    fn read(data: &Yaml) -> Zone {
        let mut names = BTreeMap::new();
        for (name, records) in data.as_hash().unwrap() {
            let mut read = Records::default();
            for record in records.as_vec().unwrap() {
                if record.as_str() == Some("TIMEOUT") {
                    read.has_timeout = true;
                } else {
                    let (kind, value) = record.as_hash().unwrap().iter().next().unwrap();
                    read.all.push((kind.as_str().unwrap().to_owned(), value.clone()));
                }
            }
            // Records of type SPF stand for TXT records, unless there are TXT records too (one of them may be `NONE`).
            if !read.all.iter().any(|(kind, _)| kind == "TXT") {
                let copies: Vec<_> = read.all.iter().filter(|(kind, _)| kind == "SPF").cloned().collect();
                read.all.extend(copies.into_iter().map(|(_, value)| ("TXT".to_owned(), value)));
            }
            read.all.retain(|(_, value)| value.as_str() != Some("NONE"));
            names.insert(name.as_str().unwrap().to_ascii_lowercase(), read);
        }
        Zone(names)
    }

    fn ask<T>(&self, name: &str, kind: &str, read: impl Fn(&Yaml) -> T) -> Answer<T> {
        let mut name = name.to_ascii_lowercase();
        for _ in 0..10 {
            let Some(records) = self.0.get(&name) else { return Answer::NotThere };
            let found: Vec<T> = records.all.iter().filter(|(k, _)| k == kind).map(|(_, v)| read(v)).collect();
            if !found.is_empty() {
                return Answer::Found(found);
            }
            match records.all.iter().find(|(kind, _)| kind == "CNAME") {
                Some((_, Yaml::String(target))) => name = target.to_ascii_lowercase(),
                _ if records.has_timeout => return Answer::AskAgain,
                _ => return Answer::NotThere,
            }
        }
        Answer::AskAgain
    }
}

impl Dns for Zone {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        self.ask(name, "TXT", text_of)
    }

    fn addresses(&self, name: &str, is_v6: bool) -> Answer<IpAddr> {
        self.ask(name, if is_v6 { "AAAA" } else { "A" }, |value| value.as_str().unwrap().parse().unwrap())
    }

    fn exchangers(&self, name: &str) -> Answer<String> {
        self.ask(name, "MX", |value| value.as_vec().unwrap()[1].as_str().unwrap().to_owned())
    }

    fn names_of(&self, address: IpAddr) -> Answer<String> {
        let name = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                let nibbles: Vec<String> = v6
                    .octets()
                    .iter()
                    .rev()
                    .flat_map(|b| [b & 15, b >> 4])
                    .map(|n| format!("{n:x}"))
                    .collect();
                format!("{}.ip6.arpa", nibbles.join("."))
            }
        };
        self.ask(&name, "PTR", |value| value.as_str().unwrap().to_owned())
    }
}

fn words(value: &Yaml) -> Vec<String> {
    let all = value.as_vec().map_or(std::slice::from_ref(value), Vec::as_slice);
    all.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Runs a suite; returns how many cases there are and what failed, leaving out the named ones.
fn run(file: &str, exceptions: &[&str]) -> Option<(usize, Vec<String>)> {
    let root = std::env::var_os("OXIM_CONFORMANCE").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(root.join("spf").join(file)) else {
        eprintln!("skipped: {} has no spf/{file}", root.display());
        return None;
    };
    let (mut count, mut failures) = (0, Vec::new());
    for part in YamlLoader::load_from_str(&text).unwrap() {
        let zone = Zone::read(&part["zonedata"]);
        for (name, case) in part["tests"].as_hash().unwrap() {
            let name = name.as_str().unwrap();
            count += 1;
            if exceptions.contains(&name) {
                continue;
            }
            let helo = case["helo"].as_str().unwrap().as_bytes();
            let from = case["mailfrom"].as_str().unwrap_or("").as_bytes();
            let at = from.iter().rposition(|b| *b == b'@');
            let (local_part, domain): (&[u8], &[u8]) = match at {
                Some(at) => (&from[..at], &from[at + 1..]),
                None if from.is_empty() => (b"", helo),
                None => (b"", from),
            };
            let identity = Identity {
                client: case["host"].as_str().unwrap().parse().unwrap(),
                helo,
                local_part,
                domain,
                receiver: b"receiver.example",
                now: 1_700_000_000,
                wants_explanation: true,
            };
            let outcome = identity.check(&zone);
            let wanted = words(&case["result"]);
            if !wanted.iter().any(|word| word == outcome.verdict.word()) {
                failures.push(format!("{name}: {wanted:?} wanted, {outcome:?}"));
                continue;
            }
            if let Some(explanation) =
                case["explanation"].as_str().filter(|_| outcome.verdict == Verdict::Fail)
            {
                let own = outcome.explanation.clone().unwrap_or_else(|| "DEFAULT".to_owned());
                if own != explanation {
                    failures.push(format!("{name}: explanation {explanation:?} wanted, {own:?}"));
                }
            }
        }
    }
    Some((count, failures))
}

#[test]
fn rfc_7208() {
    if let Some((count, failures)) = run("rfc7208-tests.yml", &[]) {
        assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(count, 203);
    }
}

/// What RFC 7208 decided otherwise than RFC 4408.
const SUPERSEDED: &[&str] = &[];

#[test]
fn rfc_4408_where_it_still_applies() {
    if let Some((count, failures)) = run("rfc4408-tests.yml", SUPERSEDED) {
        assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
        assert_eq!(count, 191);
    }
}

//! A DMARC record for every name, and a public suffix file: no panic; a bounded number of questions.
#![no_main]

use std::cell::Cell;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use oxim_mailauth::dmarc::record::{Reading, mailbox};
use oxim_mailauth::dmarc::suffix::{Rules, Suffixes};
use oxim_mailauth::dmarc::{Authentication, Claims, Method, check};
use oxim_mailauth::dns::{Answer, Dns};

struct Echo<'a>(&'a [u8], Cell<usize>);

impl Dns for Echo<'_> {
    fn txt(&self, name: &str) -> Answer<Vec<u8>> {
        self.1.set(self.1.get() + 1);
        if name.len() % 3 == 0 { Answer::NotThere } else { Answer::Found(vec![self.0.to_vec()]) }
    }
    fn addresses(&self, _: &str, _: bool) -> Answer<IpAddr> {
        Answer::NotThere
    }
    fn exchangers(&self, _: &str) -> Answer<String> {
        Answer::AskAgain
    }
    fn names_of(&self, _: IpAddr) -> Answer<String> {
        Answer::NotThere
    }
}

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |b| *b == 0);
    let (record, domain, file) = (parts.next(), parts.next(), parts.next());
    let (record, domain, file) = (record.unwrap_or_default(), domain.unwrap_or_default(), file.unwrap_or_default());
    if let Reading::Record(record) = Reading::of(record) {
        assert!(record.percent <= 100);
        for uri in &record.ruf {
            if let Some((address, _)) = mailbox(uri) {
                assert!(!address.iter().any(|b| b.is_ascii_whitespace()));
            }
        }
    }
    let domain = String::from_utf8_lossy(domain).to_ascii_lowercase();
    let suffixes = Suffixes::File(Rules::parse(file).into());
    // Of what is no name, with empty labels, the built-in list may give any part.
    let is_name = !domain.split('.').any(str::is_empty);
    for suffixes in [&suffixes, &Suffixes::BuiltIn] {
        let found = suffixes.organizational_domain(&domain);
        assert!(!is_name || domain.ends_with(found));
    }
    let claims = Claims {
        from: &domain,
        spf: Some((Authentication::Passed, format!("a.{domain}"))),
        dkim: vec![(Authentication::Later, "x.example".to_owned()); 3],
    };
    for method in [Method::Suffixes(suffixes), Method::TreeWalk] {
        let dns = Echo(record, Cell::new(0));
        let _ = check(&claims, &dns, &method, Some(50));
        assert!(dns.1.get() <= 50, "{} questions", dns.1.get());
    }
});

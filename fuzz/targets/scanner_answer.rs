//! Answers of clamd, spamd and Rspamd: no panic; nothing is clean that does not say so, and a report stays folded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_receive::scan::malware::{Verdict, clamd};
use oxim_receive::scan::spam::{parse_rspamd, parse_spamd};

fuzz_target!(|data: &[u8]| {
    match clamd::parse(data) {
        Ok(Verdict::Clean) => assert!(data.windows(2).any(|pair| pair == b"OK")),
        Ok(Verdict::Found(name)) => assert!(!name.is_empty()),
        Err(_) => {}
    }
    for answer in [parse_spamd(data), parse_rspamd(data)].into_iter().flatten() {
        let report = &answer.facts.report;
        assert!(report.windows(2).all(|pair| pair[0] != b'\n' || pair[1] == b' '));
        assert!(!answer.facts.bar.is_empty() && answer.facts.bar.len() <= 50);
    }
});

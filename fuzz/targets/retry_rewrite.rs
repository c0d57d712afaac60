//! Any text as retry and rewriting rules, and any header line under them: errors or results, and lines stay lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_deliver::retry::{RetryRecord, Rule};
use oxim_deliver::rewrite::{Rules, Scope, Settings, replace_domain};
use oxim_lang::context::Context;
use oxim_mail::address::AddressSyntax;
use oxim_mail::header::Header;

fuzz_target!(|input: (&str, &[u8], &[u8])| {
    let (rule, body, record) = input;
    if let Ok(rule) = Rule::parse(rule) {
        let _ = rule.show();
        let _ = rule.parameter_at(u64::MAX);
    }
    if let Some(record) = RetryRecord::decode(record) {
        assert_eq!(RetryRecord::decode(&record.encode()), Some(record));
    }
    let _ = Rules::parse(rule.lines(), Scope::Main);
    let header = Header::new([b"To: ".as_slice(), body].concat());
    let settings = Settings { qualify_recipients: Some(b"q.ex".to_vec()), ..Settings::default() };
    let rules = Rules::parse(["*@a.ex much-longer-$local_part@replacement.example"], Scope::Main).unwrap_or_default();
    for new in [
        rules.header(&mut Context::default(), &header, &settings),
        replace_domain(&header, b"a", b"a.example", &AddressSyntax::default()),
    ] {
        assert!(new.is_none_or(|new| new.text.starts_with(b"To: ") && new.text.last() == Some(&b'\n')));
    }
});

//! Any bytes as an Exim filter and as a Sieve script, parsed and run on a message: a result or an error, in bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_deliver::filter::{exim, sieve};
use oxim_lang::context::Context;
use oxim_mail::header::Header;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (filter, header) = input;
    let mut context = Context::default();
    context.message.sender = b"a@s.ex".to_vec();
    context.message.headers.push_back(Header::new([b"Subject: ".as_slice(), header, b"\n"].concat()));
    // Expansions have a target of their own; here none may reach files or commands.
    if !filter.contains(&b'$') {
        let rules = exim::Rules { is_test: true, is_system: true, ..exim::Rules::default() };
        let outcome = exim::Program::parse(&[b"# Exim filter\n", filter].concat()).evaluate(&mut context, &rules);
        assert!(outcome.made.is_empty());
    }
    let rules = sieve::Rules {
        inbox: b"inbox".to_vec(),
        vacation_directory: Some(b"/v".to_vec()),
        enotify_owner: Some(b"o@s.ex".to_vec()),
        own: vec![b"b@s.ex".to_vec()],
        ..sieve::Rules::default()
    };
    let script = sieve::Script::parse(&[b"# Sieve filter\n", filter].concat());
    let _ = script.evaluate(&context, &rules);
});

//! Any text as a list of any kind, matched against any subject: an answer or a deferral, within bounded time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_base::Text;
use oxim_lang::context::Context;
use oxim_lang::list::{HostName, List, ListKind, Subject, split};

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (kind, subject, list) = input;
    for item in split(list) {
        assert!(item.len() <= list.len());
    }
    // Files, directories and services are not for the fuzzer.
    if list.contains(&b'/') || list.contains(&b';') {
        return;
    }
    let text = Text::tainted(subject);
    let mut context = Context::default();
    let (kind, subject) = match kind % 5 {
        0 => (ListKind::Domain, Subject::Domain(&text)),
        1 => (ListKind::LocalPart, Subject::LocalPart { text: &text, caseful: false }),
        2 => (ListKind::String, Subject::String { text: &text, caseful: true }),
        3 => (ListKind::Address, Subject::Address { address: &text, caseful: false, captures: true }),
        _ => {
            let address = text.as_str().and_then(|s| s.parse().ok());
            (ListKind::Host, Subject::Host { address, name: HostName::None })
        }
    };
    let _ = List::from_text(kind, &Text::clean(list)).matches(&mut context, &subject);
});

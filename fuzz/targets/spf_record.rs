//! SPF records and macro strings: no panic; an evaluation over an answering DNS ends within its limits.
#![no_main]

use std::cell::Cell;
use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use oxim_mailauth::dns::{Answer, Dns};
use oxim_mailauth::spf::Identity;

/// Answers every TXT question with the input, and counts.
struct Echo<'a> {
    record: &'a [u8],
    questions: Cell<usize>,
}

impl Echo<'_> {
    fn count(&self) {
        self.questions.set(self.questions.get() + 1);
    }
}

impl Dns for Echo<'_> {
    fn txt(&self, _: &str) -> Answer<Vec<u8>> {
        self.count();
        Answer::Found(vec![self.record.to_vec()])
    }

    fn addresses(&self, name: &str, is_v6: bool) -> Answer<IpAddr> {
        self.count();
        match name.len() % 3 {
            0 => Answer::NotThere,
            1 if is_v6 => Answer::Found(vec!["2001:db8::2".parse().expect("an address")]),
            1 => Answer::Found(vec!["192.0.2.2".parse().expect("an address")]),
            _ => Answer::AskAgain,
        }
    }

    fn exchangers(&self, name: &str) -> Answer<String> {
        self.count();
        Answer::Found((0..name.len() % 12).map(|n| format!("mx{n}.example")).collect())
    }

    fn names_of(&self, _: IpAddr) -> Answer<String> {
        self.count();
        Answer::Found((0..50).map(|n| format!("h{n}.example")).collect())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&flags, text)) = data.split_first() else { return };
    let record = [b"v=spf1 ", text].concat();
    let dns = Echo { record: &record, questions: Cell::new(0) };
    let identity = Identity {
        client: if flags & 1 == 0 { "192.0.2.1" } else { "2001:db8::1" }.parse().expect("an address"),
        helo: b"helo.example",
        local_part: b"local",
        domain: b"sender.example",
        receiver: b"here.example",
        now: 0,
        wants_explanation: flags & 2 != 0,
    };
    let _ = identity.check(&dns);
    // Ten terms with eleven questions each, the names of the client once, an explanation.
    assert!(dns.questions.get() <= 140, "{} questions", dns.questions.get());
    let _ = identity.explain(&dns, text);
});

//! NTLM messages of either side: no panic; what is read is bounded, a challenge survives its writing, and no answer is right by chance.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_deliver::authenticator::spa::ntlm::{Answer, Challenge, Login};

fuzz_target!(|data: &[u8]| {
    if let Some(challenge) = Challenge::read(data) {
        let login = Login { user: "tim".into(), password: "secret".into(), domain: "d".into() };
        let message = challenge.answer(&login, "host", [7; 8], 1_700_000_000);
        assert!(Answer::read(&message, &challenge).is_some_and(|answer| answer.is_right(&challenge, "secret")));
    }
    let offered = Challenge::for_client(data, [1; 8], "mx.example");
    assert_eq!(Challenge::read(&offered.write()).as_ref(), Some(&offered));
    if let Some(answer) = Answer::read(data, &offered) {
        assert!(!answer.user.is_empty() && answer.user.len() <= 2 * data.len());
        assert!(!answer.is_right(&offered, "a password that the fuzzer does not know"));
    }
});

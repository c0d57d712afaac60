//! Verdicts: the file that names their engine, answers of Rspamd, texts from the spool, frames of the library's process. No
//! panic; what is read as a verdict is one again when it has been written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_brightmail::wire::Ask;
use oxim_deliver::bmi::configuration::{self, Engine};
use oxim_deliver::bmi::rspamd::{Rspamd, read_text};
use oxim_deliver::bmi::library;

const ENGINE: &str = "engine = \"rspamd\"\nservers = [\"127.0.0.1:1\"]\n[symbols]\nA = \"discard\"\n[rules]\n5 = \"A\"\n";

fn answer(data: &[u8]) {
    let Ok(Engine::Rspamd(settings)) = configuration::parse(ENGINE) else { panic!("the engine is faulty") };
    let recipients: Vec<&[u8]> = data.splitn(3, |byte| *byte == b'\n').collect();
    let Some(text) = Rspamd::new(settings).verdict(data, &recipients) else { return };
    let verdict = read_text(&text).expect("our own verdict is read");
    assert_eq!(verdict.recipients, recipients);
    assert!(text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':'));
}

fn frames(mut data: &[u8]) {
    let _is_answer = library::is_answer(data);
    while let Ok(Some(ask)) = Ask::read(&mut data) {
        let mut written = Vec::new();
        ask.write(&mut written).expect("memory takes it");
        assert_eq!(Ask::read(&mut written.as_slice()).ok().flatten(), Some(ask));
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => answer(data),
        1 => frames(data),
        2 => drop(read_text(data)),
        _ => drop(configuration::parse(&String::from_utf8_lossy(data))),
    }
});

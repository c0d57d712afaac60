//! Only CR LF dot CR LF ends a message. Whatever else stands there, cut into packets wherever, one message stays one.

use std::fs;
use std::time::Duration;

use super::stand::{Client, Plan, Stand};
use super::{Chance, amount, is_full};

const ALPHABET: [u8; 4] = [b'\r', b'\n', b'.', 0];
/// Sizes of lines and buffers at whose borders a sequence may be cut.
pub(super) const BORDERS: [usize; 6] = [998, 1000, 4096, 8192, 16384, 65536];

/// All strings of up to five characters.
pub(super) fn strings() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..5 {
        longest =
            longest.iter().flat_map(|s| ALPHABET.map(|c| s.iter().copied().chain([c]).collect())).collect();
        all.extend(longest.clone());
    }
    all
}

/// The body up to the point where a smuggler hopes that it ends, his commands, and the real end.
fn body(before: &[u8], string: &[u8]) -> Vec<u8> {
    let smuggled = b"MAIL FROM:<smuggler@client.test>\r\nRCPT TO:<victim@mta.test>\r\nDATA\r\nSubject: second\r\n\r\nsecond\r\n.\r\n";
    [b"Subject: first\r\n\r\n", before, string, smuggled].concat()
}

fn ends_inside(before: &[u8], string: &[u8]) -> bool {
    let whole = [b"\n\r\n".as_slice(), before, string, b"M"].concat();
    whole.windows(5).any(|w| w == b"\r\n.\r\n")
}

/// Sends a body cut at `cut`; the replies to it and to QUIT. Refusing all of it is as good as taking one message.
fn play(stand: &Stand, body: &[u8], cut: usize) -> String {
    let mut client = Client::connect(stand.address).unwrap();
    client.hello().unwrap();
    for line in ["MAIL FROM:<sender@client.test>", "RCPT TO:<someone@mta.test>", "DATA"] {
        assert!(client.command(line).unwrap().code < 400);
    }
    // The server may have hung up by the second part.
    let _ = client.write(&body[..cut]);
    std::thread::sleep(Duration::from_micros(300));
    let _ = client.write(&body[cut..]);
    client.finish()
}

fn check(stand: &Stand, before: &[u8], string: &[u8], cut_in_string: usize) {
    if ends_inside(before, string) {
        return;
    }
    let body = body(before, string);
    let cut = b"Subject: first\r\n\r\n".len() + before.len() + cut_in_string.min(string.len());
    let replies = play(stand, &body, cut);
    let taken = replies.matches("250 OK id=").count();
    assert!(taken <= 1, "{} bytes, then {string:?} cut at {cut_in_string}: {replies}", before.len());
}

pub(super) fn one_message_stays_one() {
    let mut stand = Stand::start(&Plan::default());
    let mut chance = Chance::new(5);
    let all = strings();
    // In a sample, a walk through all of them with long steps.
    let step = if is_full() { 1 } else { all.len() / 200 };
    let start = if is_full() { 0 } else { chance.below(step as u64) as usize };
    for string in all.iter().skip(start).step_by(step) {
        for before in [b"first".as_slice(), b"first\r\n"] {
            let cuts = if is_full() { string.len() + 1 } else { 1 };
            for cut in 0..cuts {
                let cut = if is_full() { cut } else { chance.below(string.len() as u64 + 1) as usize };
                check(&stand, before, string, cut);
            }
        }
    }
    let attacks: [&[u8]; 7] =
        [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n"];
    for border in BORDERS.iter().take(amount(3, BORDERS.len())) {
        for attack in attacks {
            for offset in 0..amount(2, attack.len() + 1) {
                let before = vec![b'x'; border - offset];
                check(&stand, &before, attack, chance.below(attack.len() as u64 + 1) as usize);
            }
        }
    }
    assert!(stand.accepts_again());
    stand.stop();
    let log = fs::read_to_string(stand.log("mainlog")).unwrap();
    assert!(!log.contains("<= smuggler@"), "a smuggled message was accepted");
    assert!(log.contains("<= sender@"), "nothing was accepted at all");
}

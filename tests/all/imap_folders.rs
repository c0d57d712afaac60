//! Folder names in modified UTF-7 that Python's imapclient reads back: what Oxim encodes means the same to it, and is what it
//! would have written, where the two have the same rules.
//!
//! `cargo test` takes a sample; `OXIM_PROOF=full` takes 100,000 names; `OXIM_SEED` chooses others. Where imapclient is not
//! installed (`scripts/test-packages`), the trial says so and passes.

use std::io::Write;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use oxim_mail::imap_utf7::encode_folder;

use crate::place;

/// For each line (the name in UTF-8 and its encoded form, both in hex): what it means, and how imapclient writes it.
const READER: &str = r#"
import sys
try: from imapclient import imap_utf7
except ImportError: sys.exit(77)
for line in sys.stdin:
    name, encoded = (bytes.fromhex(word) for word in line.rstrip("\n").split(","))
    text = name.decode("utf-8")
    assert imap_utf7.decode(encoded) == text, (text, encoded, imap_utf7.decode(encoded))
    if "." not in text and "/" not in text:
        assert imap_utf7.encode(text) == encoded, (text, encoded, imap_utf7.encode(text))
print("done")
"#;

/// All trials.
pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test("imap_folders::imapclient", || {
        imapclient();
        Ok(())
    })]
}

/// xorshift64*, as good as a test needs.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        (high % u64::from(limit)) as u32
    }

    /// From ASCII, Latin, the rest of the first plane and those beyond it; now and then what the encoding is about.
    fn character(&mut self) -> char {
        let (first, count) = match self.below(8) {
            0 | 1 => (0x20, 0x5f),
            2 => return ['&', '-', '.', '/', ',', '+', '~', '\t'][self.below(8) as usize],
            3 => (0x80, 0x280),
            4 => (0x370, 0x7000),
            5 => (0x7f, 0xd780),
            6 => (0xe000, 0x2000),
            _ => (0x1_0000, 0x10_0000),
        };
        char::from_u32(first + self.below(count)).unwrap_or('\u{fffd}')
    }

    fn name(&mut self) -> String {
        let length = 1 + self.below(12);
        (0..length).map(|_| self.character()).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn imapclient() {
    let is_full = std::env::var_os("OXIM_PROOF").is_some_and(|v| v == "full");
    let count = if is_full { 100_000 } else { 3000 };
    let seed = std::env::var("OXIM_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_121_u64);
    let mut random = Random(seed | 1);
    let mut lines = String::new();
    for _ in 0..count {
        let name = random.name();
        // A separator that no name has: nothing is a boundary, so everything comes back.
        let encoded = encode_folder(name.as_bytes(), b"UTF-8", b"\x01", b"").unwrap();
        assert!(encoded.iter().all(|byte| matches!(byte, b' '..=b'~')), "{name:?}");
        lines.push_str(&format!("{},{}\n", hex(name.as_bytes()), hex(&encoded)));
    }
    let mut child = Command::new("python3")
        .args(["-c", READER])
        .env("PYTHONPATH", place::peers().join("python"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let _gone = input.write_all(lines.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("skipped: imapclient is not installed: run scripts/test-packages");
        return;
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"done\n", "seed {seed}: {errors}");
}

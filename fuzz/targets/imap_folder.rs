//! Any bytes as a folder's name in some character set, separator and specials: printable ASCII or a complaint; without a
//! separator or special in it, UTF-8 has as many ampersands that begin something as it has that end it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::imap_utf7::encode_folder;

const CHARSETS: [&[u8]; 6] =
    [b"UTF-8", b"ISO-8859-1", b"ISO-2022-JP", b"UTF-16BE", b"windows-1256", b"nonsense"];

fuzz_target!(|data: &[u8]| {
    let [which, separator, count, rest @ ..] = data else { return };
    let charset = CHARSETS[usize::from(*which) % CHARSETS.len()];
    let (specials, name) = rest.split_at(rest.len().min(usize::from(*count % 8)));
    if let Ok(folder) = encode_folder(name, charset, &[*separator], specials) {
        assert!(folder.iter().all(|byte| matches!(byte, b' '..=b'~')));
        let mut rest = folder.as_slice();
        while let Some(begin) = rest.iter().position(|byte| *byte == b'&') {
            let run = &rest[begin + 1..];
            let end = run.iter().position(|byte| *byte == b'-').expect("what begins ends");
            assert!(run[..end].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b',')));
            rest = &run[end + 1..];
        }
    }
});

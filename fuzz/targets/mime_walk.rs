//! MIME parts, transfer encodings and file names of RFC 2231: no panic, bounded, and every part lies within the message.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use oxim_mail::mime::part::PartHeader;
use oxim_mail::mime::transfer::{Decoder, Encoding};
use oxim_receive::scan::walk::{Content, Walk};

fuzz_target!(|data: &[u8]| {
    let header = PartHeader::read(data, b"UTF-8");
    assert!(header.filename.len() <= data.len().saturating_mul(3));
    let mut walk = Walk::new(Cursor::new(data), b"UTF-8");
    let mut parts = 0_usize;
    while let Ok(Some(found)) = walk.next_part() {
        parts += 1;
        assert!(parts <= data.len() + 1);
        assert!(found.start <= u64::try_from(data.len()).unwrap());
        if parts > 50 {
            continue;
        }
        let mut content = Content::new(Cursor::new(data), found.start, &found.boundaries).unwrap();
        let mut decoder = Decoder::new(Encoding::of(&found.header.transfer_encoding));
        let (mut out, mut taken) = (Vec::new(), 0);
        while let Ok(Some(line)) = content.next_line() {
            taken += line.len();
            decoder.feed(line, &mut out);
        }
        let _ = decoder.finish(&mut out);
        assert!(out.len() <= taken);
    }
});

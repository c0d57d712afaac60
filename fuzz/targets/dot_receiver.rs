//! Message data: cutting the input anywhere changes nothing, the data ends only where it may, and what is stored
//! goes out again regular and comes back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::header::split::HeaderLimits;
use oxim_mail::smtp::data::MessageReader;
use oxim_mail::smtp::dot::{Framing, Receiver, Sender};

fn read(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool, oxim_mail::HeaderList) {
    let mut reader = MessageReader::new(framing, HeaderLimits::default());
    let (mut body, mut consumed, mut ended) = (Vec::new(), 0, false);
    for piece in pieces {
        let (used, end) = reader.feed(piece, &mut body);
        consumed += used;
        ended = end;
        if end {
            break;
        }
    }
    if !ended {
        reader.end_of_input(&mut body);
    }
    (body, consumed, ended, reader.into_header().0)
}

fuzz_target!(|data: &[u8]| {
    let Some(([kind, cut], input)) = data.split_first_chunk::<2>().map(|(head, tail)| (*head, tail)) else {
        return;
    };
    let framings = [Framing::Network, Framing::Local, Framing::DotLine, Framing::Counted, Framing::Chunks];
    let framing = framings[usize::from(kind) % framings.len()];
    let whole = read(framing, &[input]);
    let (first, second) = input.split_at(usize::from(cut).min(input.len()));
    assert_eq!(read(framing, &[first, second]), whole);
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    assert_eq!(read(framing, &bytes), whole);
    if framing == Framing::Network && whole.2 {
        let taken = &input[..whole.1];
        assert!(taken == b".\r\n" || taken.ends_with(b"\r\n.\r\n"));
    }
    let mut wire = Vec::new();
    let mut sender = Sender::for_data();
    sender.feed(&whole.0, &mut wire);
    sender.finish(&mut wire);
    let mut receiver = Receiver::new(Framing::Network);
    receiver.enter_body();
    let mut back = Vec::new();
    let (used, _) = receiver.feed(&wire, &mut back);
    assert_eq!(used, wire.len());
    assert!(back == whole.0 || back.strip_suffix(b"\n") == Some(&whole.0));
});

//! Tests of the wire codecs: behaviour as observed, every string up to length five at every split, and properties.

use super::*;

/// Feeds pieces, entering the body at once or after the first empty line; returns stored form, rest and end.
fn receive(framing: Framing, section: Section, pieces: &[&[u8]]) -> (Vec<u8>, usize, bool, Counts) {
    let mut receiver = Receiver::new(framing);
    if section == Section::Body {
        receiver.enter_body();
        // As after a header of regular lines.
        receiver.ending = LineEnding::CrLf;
    }
    let (mut out, mut used_all, mut line_start) = (Vec::new(), 0, 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            let (used, event) = receiver.feed(&piece[at..], &mut out);
            at += used;
            used_all += used;
            match event {
                Event::NeedMore => break,
                Event::End => return (out, used_all, true, receiver.counts()),
                Event::Line => {
                    if out[line_start..] == *b"\n" {
                        receiver.enter_body();
                    }
                    line_start = out.len();
                }
            }
        }
    }
    (out, used_all, false, receiver.counts())
}

fn stored(framing: Framing, message: &str) -> String {
    let (out, used, ended, _) = receive(framing, Section::Header, &[message.as_bytes()]);
    let rest = String::from_utf8_lossy(&message.as_bytes()[used..]).into_owned();
    format!("{}|{}", String::from_utf8_lossy(&out), if ended { rest } else { "(open)".to_owned() })
}

#[test]
fn messages_as_observed() {
    // Checked against the -H and -D files of exim4 4.96 as Debian ships it.
    for (message, expected) in [
        ("A: b\r\n\r\nbody\r\n.\r\nQUIT", "A: b\n\nbody\n|QUIT"),
        ("X: y\r\n\r\nbo\ndy\r\n.\r\n", "X: y\n\nbo dy\n|"),
        ("X: y\n\r\nbo\ndy\r\n.\r\n", "X: y\n\nbo\ndy\n|"),
        ("X: y\r\n\r\nbo\rdy\r\n.\r\n", "X: y\n\nbo\ndy\n|"),
        ("X: y\r\n\r\nbody\r\r\n.\r\n", "X: y\n\nbody\n\n|"),
        ("A: b\rc\r\nC: d\r\n\r\n.\r\n", "A: b\n c\nC: d\n\n|"),
        ("X: y\r\nA: b\nC: d\r\n\r\n.\r\n", "X: y\nA: b\n C: d\n\n|"),
        ("A: b\nC: d\r\n\r\n.\r\n", "A: b\nC: d\n\n|"),
        ("X: y\r\n\r\n..a\r\n.b\r\n...\r\na.\r\n.\r\n", "X: y\n\n.a\nb\n..\na.\n|"),
        ("..X: y\r\n.A: z\r\n\r\nq\r\n.\r\n", ".X: y\nA: z\n\nq\n|"),
        (".\r\n", "|"),
        ("X: y\r\n.\r\n", "X: y\n|"),
    ] {
        assert_eq!(stored(Framing::Network, message), expected, "{message:?}");
        assert_eq!(stored(Framing::Local, message), expected, "{message:?}");
    }
}

#[test]
fn nothing_else_ends_the_data() {
    for (message, expected) in [
        ("X: y\r\n\r\nbody\n.\r\nMAIL\r\n.\r\n", "X: y\n\nbody .\nMAIL\n|"),
        ("X: y\r\n\r\nbody\n.\nMAIL\r\n.\r\n", "X: y\n\nbody . MAIL\n|"),
        ("X: y\r\n\r\nbody\r\n.\nMAIL\r\n.\r\n", "X: y\n\nbody\n MAIL\n|"),
        ("X: y\r\n\r\nbody\r\n.\rMAIL\r\n.\r\n", "X: y\n\nbody\n\nMAIL\n|"),
        ("X: y\r\n\r\nbody\r.\rMAIL\r\n.\r\n", "X: y\n\nbody\n.\nMAIL\n|"),
        ("X: y\r\n\r\nbody\r.\r\nMAIL\r\n.\r\n", "X: y\n\nbody\n.\nMAIL\n|"),
    ] {
        assert_eq!(stored(Framing::Network, message), expected, "{message:?}");
        assert_eq!(stored(Framing::Local, message), expected, "{message:?}");
    }
    // A source of Unix lines ends with LF . LF on standard input, never over the network.
    for message in ["X: y\n\nbody\n.\nMAIL\r\n.\r\n", "X: y\n\nbody\n.\r\nMAIL\r\n.\r\n"] {
        assert_eq!(stored(Framing::Local, message), "X: y\n\nbody\n|MAIL\r\n.\r\n");
        assert_eq!(stored(Framing::Network, message), "X: y\n\nbody\n\nMAIL\n|");
    }
}

#[test]
fn standard_input_and_chunks() {
    assert_eq!(stored(Framing::DotLine, "X: y\n\n..a\n.b\n.\nz"), "X: y\n\n..a\n.b\n|z");
    assert_eq!(stored(Framing::DotLine, "X: y\r\n\r\n..a\r\n.b\nx\r\n.\r\nz\n"), "X: y\n\n..a\n.b\nx\n|z\n");
    assert_eq!(stored(Framing::DotLine, "X: y\r\n\r\na\nb\n.\nz"), "X: y\n\na\nb\n|z");
    assert_eq!(stored(Framing::Counted, "X: y\n\n..a\n.\nz\n"), "X: y\n\n..a\n.\nz\n|(open)");
    assert_eq!(
        stored(Framing::Counted, "A: b\r\n\r\n.x\ny\rz\r\n.\r\nq\r\n"),
        "A: b\n\n.x\ny\nz\n.\nq\n|(open)"
    );
    let mut receiver = Receiver::new(Framing::Chunks);
    let mut out = Vec::new();
    receiver.feed(b"A: b\n", &mut out);
    assert!(receiver.header_had_bare_lf());
    for (message, expected) in
        [("a\r\nb", "a\nb\n"), ("a\r", "a\n"), ("a\r\n", "a\n"), ("", ""), ("a\r\n\r", "a\n\n")]
    {
        let mut receiver = Receiver::new(Framing::Counted);
        receiver.enter_body();
        let mut out = Vec::new();
        receiver.feed(message.as_bytes(), &mut out);
        receiver.finish(&mut out);
        assert_eq!(out, expected.as_bytes(), "{message:?}");
    }
}

#[test]
fn counts_are_kept() {
    let (_, _, _, counts) =
        receive(Framing::Network, Section::Header, &[b"A: bc\r\n\r\na\0b\0\rx\nyz12345\r\nq\r\n.\r\n"]);
    assert_eq!(counts.body_lines, 3);
    assert_eq!(counts.body_zeros, 2);
    assert_eq!((counts.bare_cr, counts.bare_lf), (1, 1));
    assert_eq!(counts.line_bytes_max, 9);
    assert_eq!(counts.received_bytes, 31);
}

/// All strings up to a length over an alphabet.
fn all_strings(alphabet: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..length {
        last =
            last.iter().flat_map(|s| alphabet.iter().map(move |&b| [s.as_slice(), &[b]].concat())).collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// The rule for DATA bodies after a header of regular lines, written a second time in the plainest way.
fn model(input: &[u8]) -> (Vec<u8>, Option<usize>) {
    let mut out = Vec::new();
    let mut at = 0;
    let mut line_start = true;
    while at < input.len() {
        let rest = &input[at..];
        if line_start && rest.starts_with(b".\r\n") {
            return (out, Some(at + 3));
        }
        let was_start = std::mem::replace(&mut line_start, false);
        if rest.starts_with(b"\r\n") {
            out.push(b'\n');
            line_start = true;
            at += 2;
        } else {
            match rest[0] {
                b'\r' => out.push(b'\n'),
                b'\n' => out.push(b' '),
                b'.' if was_start => {}
                byte => out.push(byte),
            }
            at += 1;
        }
    }
    (out, None)
}

const TAIL: &[u8] = b"\r\n.\r\nNEXT";

#[test]
fn every_short_body_at_every_split_agrees_with_the_rule() {
    for string in all_strings(b"\r\n.\0a", 5) {
        let whole = [string.as_slice(), TAIL].concat();
        let (expected, end) = model(&whole);
        for split in 0..=whole.len() {
            let (first, second) = whole.split_at(split);
            let (out, used, ended, _) = receive(Framing::Network, Section::Body, &[first, second]);
            assert!(ended, "{whole:?}");
            assert_eq!((out.as_slice(), Some(used)), (expected.as_slice(), end), "{whole:?} at {split}");
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        let (out, used, ..) = receive(Framing::Network, Section::Body, &single);
        assert_eq!((out, Some(used)), (expected, end), "{whole:?} byte by byte");
    }
}

fn send(mut sender: Sender, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        sender.feed(piece, &mut out);
    }
    sender.finish(&mut out);
    out
}

fn assert_regular(wire: &[u8]) {
    for (at, &byte) in wire.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(wire.get(at + 1), Some(&b'\n'), "{wire:?}"),
            b'\n' => assert_eq!(at.checked_sub(1).map(|n| wire[n]), Some(b'\r'), "{wire:?}"),
            _ => {}
        }
    }
}

#[test]
fn every_short_body_is_sent_regular_and_whole() {
    for string in all_strings(b"\r\n.\0a", 5) {
        let whole = send(Sender::for_data(), &[&string]);
        assert_regular(&whole);
        for split in 0..=string.len() {
            let (first, second) = string.split_at(split);
            assert_eq!(send(Sender::for_data(), &[first, second]), whole, "{string:?} at {split}");
        }
        let (back, used, ended, _) = receive(Framing::Network, Section::Body, &[&whole]);
        assert!(ended && used == whole.len(), "{string:?}");
        // Stored form without CR comes back as it was, but for a last line ending.
        let mut expected =
            String::from_utf8(string.clone()).unwrap().replace("\r\n", "\n").replace('\r', "\n").into_bytes();
        if expected.last().is_some_and(|b| *b != b'\n') {
            expected.push(b'\n');
        }
        assert_eq!(back, expected, "{string:?}");
        let chunk = send(Sender::for_chunks(), &[&string]);
        assert_regular(&chunk);
        let mut receiver = Receiver::new(Framing::Counted);
        receiver.enter_body();
        let mut back = Vec::new();
        receiver.feed(&chunk, &mut back);
        receiver.finish(&mut back);
        assert_eq!(back, expected, "{string:?} in chunks");
    }
}

#[test]
fn sender_measures_lines() {
    let mut sender = Sender::for_data();
    let mut out = Vec::new();
    sender.feed(b"ab\n..cdef\nx", &mut out);
    assert_eq!(out, b"ab\r\n...cdef\r\nx");
    assert_eq!(sender.line_bytes_max(), 6);
}

proptest::proptest! {
    #[test]
    fn splits_make_no_difference(
        message in proptest::collection::vec(proptest::sample::select(b"\r\r\n\n\n..\0aX: ".to_vec()), 0..60),
        cuts in proptest::collection::vec(0_usize..60, 0..6),
        framing in proptest::sample::select(vec![Framing::Network, Framing::Local, Framing::DotLine, Framing::Counted, Framing::Chunks]),
    ) {
        let whole = receive(framing, Section::Header, &[&message]);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(message.len())).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &message[w[0]..w[1]]).collect();
        proptest::prop_assert_eq!(receive(framing, Section::Header, &pieces), whole);
    }

    #[test]
    fn ordinary_text_survives_the_journey(lines in proptest::collection::vec("[ -~é]{0,90}", 0..30)) {
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        let wire = send(Sender::for_data(), &[text.as_bytes()]);
        let (back, ..) = receive(Framing::Network, Section::Body, &[&wire]);
        proptest::prop_assert_eq!(String::from_utf8(back).unwrap(), text);
    }
}

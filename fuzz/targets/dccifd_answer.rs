//! Answers of dccifd: no panic; a header line is one of DCC's, short, and one line with its folded lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_receive::dcc::parse;

fuzz_target!(|data: &[u8]| {
    let Some(answer) = parse(data) else { return assert!(data.is_empty()) };
    let header = &answer.header;
    assert!(header.len() <= 121);
    if let Some(line) = header.strip_suffix(b"\n") {
        assert!(line.starts_with(b"X-DCC"));
        for (index, part) in line.split(|byte| *byte == b'\n').enumerate() {
            assert!(index == 0 || matches!(part.first(), Some(b' ' | b'\t')));
        }
    }
});

//! Names in their A-label forms: no panic; what converts is ASCII, has labels of a length that the DNS can hold, and converts
//! back to something that has the same A-label form. Local parts come back as they were.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::idna::{address_to_ascii, local_part_to_ascii, local_part_to_unicode, to_ascii, to_unicode};

fuzz_target!(|data: &[u8]| {
    let _ = to_unicode(data);
    let _ = local_part_to_unicode(data);
    if let Ok(ascii) = to_ascii(data) {
        assert!(ascii.is_ascii());
        if !data.is_ascii() {
            assert!(ascii.split(|b| *b == b'.').all(|label| label.len() <= 63));
            let unicode = to_unicode(&ascii).expect("what was converted converts back");
            assert_eq!(to_ascii(&unicode).as_deref(), Ok(ascii.as_slice()));
        }
    }
    if let Ok(ascii) = local_part_to_ascii(data) {
        assert!(ascii.is_ascii());
        if !data.is_ascii() {
            assert_eq!(local_part_to_unicode(&ascii).as_deref(), Ok(data));
        }
    }
    if let Ok(ascii) = address_to_ascii(data) {
        assert!(ascii.is_ascii());
    }
});

//! Addresses and address lists: no panic; what parses is canonical, bounded, and parses to itself again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oxim_mail::address::{
    ADDRESS_BYTES_MAX, AddressSyntax, address_list, parse, split_at_domain, unquote_local_part,
};

fuzz_target!(|data: &[u8]| {
    let Some((&flags, input)) = data.split_first() else { return };
    let syntax = AddressSyntax {
        allow_domain_literals: flags & 1 != 0,
        allow_utf8_domains: flags & 2 != 0,
        strip_excess_angle_brackets: flags & 4 != 0,
        strip_trailing_dot: flags & 8 != 0,
        allow_empty: flags & 16 != 0,
        smtp_utf8: flags & 32 != 0,
    };
    if let Ok(parsed) = parse(input, &syntax) {
        assert!(parsed.address.len() <= ADDRESS_BYTES_MAX);
        assert!(!parsed.address.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')));
        assert!(input.get(parsed.range()).is_some());
        if !parsed.address.is_empty() {
            let again = parse(&parsed.address, &syntax).expect("a canonical address parses");
            assert_eq!(again.address, parsed.address);
            assert_eq!(split_at_domain(&parsed.address), (parsed.local_part(), parsed.domain()));
        }
        let _ = unquote_local_part(parsed.local_part());
    }
    let mut end = 0;
    for item in address_list(input) {
        assert!(item.start >= end, "items do not overlap");
        end = item.start + item.raw.len();
        assert_eq!(input.get(item.start..end), Some(item.raw));
        if let Ok(parsed) = item.parse(&syntax) {
            assert!(item.start <= parsed.start && parsed.end <= end);
        }
    }
});

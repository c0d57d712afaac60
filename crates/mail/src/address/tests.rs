//! Tests of the address parser: texts and errors as observed with exim4 4.96, and properties.

use super::*;

fn bracket_syntax() -> AddressSyntax {
    AddressSyntax {
        allow_domain_literals: true,
        allow_utf8_domains: true,
        strip_excess_angle_brackets: true,
        strip_trailing_dot: true,
        ..AddressSyntax::default()
    }
}

fn read(input: &str, syntax: &AddressSyntax) -> String {
    match parse(input.as_bytes(), syntax) {
        Ok(parsed) => String::from_utf8_lossy(&parsed.address).into_owned(),
        Err(error) => format!("! {error}"),
    }
}

#[test]
fn plain_forms_and_their_errors() {
    // Each checked against exim4 -bv and RCPT TO.
    for (input, expected) in [
        ("a@b.c", "a@b.c"),
        ("bad@@addr", "! domain missing or malformed"),
        ("@b", "! no local part"),
        ("a@", "! domain missing or malformed"),
        ("a b@c", "! missing or malformed local part (expected word or \"<\")"),
        ("a@b c", "! malformed address: c may not follow a@b "),
        ("a..b@c", "a..b@c"),
        (".a@b", ".a@b"),
        ("a.@b", "a.@b"),
        ("\"q x\"@d.e", "\"q x\"@d.e"),
        ("\"q\\\"x\"@d.e", "\"q\\\"x\"@d.e"),
        ("\"\"@d.e", "\"\"@d.e"),
        ("a@b>", "! malformed address: > may not follow a@b"),
        ("@r1,@r2:a@b", "a@b"),
        ("", "! empty address"),
        ("(c)", "! empty address"),
        ("Fred <a@b>", "a@b"),
        ("Fred. B <a@b>", "a@b"),
        ("Fred (x) . (y) B \"q\" <a@b>", "a@b"),
        ("\"Fred\" <a@b> x", "! malformed address: x may not follow \"Fred\" <a@b> "),
        ("(c) a(c)@(d)b(e)", "a@b"),
        ("a@b(unclosed", "a@b"),
        ("a@[1.2.3.4]", "a@[1.2.3.4]"),
        ("a@[xyz]", "a@[xyz]"),
        ("a@b.", "! domain missing or malformed"),
        ("a@b..c", "! domain missing or malformed"),
        ("a@.b", "! domain missing or malformed"),
        ("a@b_c", "! malformed address: _c may not follow a@b"),
        ("a@b-", "a@b-"),
        ("a@-b", "! domain missing or malformed"),
        ("a@b.-c", "! domain missing or malformed"),
        ("a@ünï.de", "! domain missing or malformed"),
        ("ü@b.de", "ü@b.de"),
        ("a@b,c@d", "! malformed address: ,c@d may not follow a@b"),
        ("a:b", "! missing or malformed local part (expected word or \"<\")"),
        ("a;b", "! malformed address: ;b may not follow a"),
        ("a\\@b@c", "a\\@b@c"),
        ("\"a\\", "! unmatched doublequote in local part"),
        ("\"aa@b \"x\"", "! unmatched doublequote in local part (expected word or \"<\")"),
        ("a . b @ c . d", "a.b@c.d"),
        ("user", "user"),
        ("us er", "! missing or malformed local part (expected word or \"<\")"),
        ("a@b@c", "! malformed address: @c may not follow a@b"),
        ("Mr X <a@b> (c) y", "! malformed address: y may not follow Mr X <a@b> (c) "),
        ("a%b@c", "a%b@c"),
        ("|x", "|x"),
        ("Fred <a@b", "! '>' missing at end of address"),
        ("a.\"b c\"@c", "a.\"b c\"@c"),
        ("a\"b\"@c", "! missing or malformed local part (expected word or \"<\")"),
        ("a\u{1}@b", "! missing or malformed local part (expected word or \"<\")"),
    ] {
        assert_eq!(read(input, &AddressSyntax::default()), expected, "{input}");
    }
}

#[test]
fn bracketed_forms_and_their_errors() {
    for (input, expected, relaxed) in [
        ("<>", "! missing or malformed local part", "! missing or malformed local part"),
        ("<<a@b>>", "! missing or malformed local part", "a@b"),
        ("<<<a@b>>>", "! missing or malformed local part", "a@b"),
        ("<<a@b>", "! missing or malformed local part", "! '>' missing at end of address"),
        ("<a@b", "! '>' missing at end of address", "! '>' missing at end of address"),
        ("<a@b.>", "! domain missing or malformed", "a@b"),
        ("<a@b..>", "! domain missing or malformed", "! domain missing or malformed"),
        ("<a@[1.2.3.4]>", "! domain literals not allowed", "a@[1.2.3.4]"),
        ("<a@[ipv6:::1]>", "! domain literals not allowed", "a@[ipv6:::1]"),
        ("<a@[xyz]>", "! domain literals not allowed", "! malformed domain literal"),
        ("<a@[1.2.3.4>", "! domain literals not allowed", "! malformed domain literal"),
        ("<a@ünï.de>", "! domain missing or malformed", "a@ünï.de"),
        ("<a@-ü>", "! domain missing or malformed", "! domain missing or malformed"),
        ("<@r1,@r2:a@b>", "a@b", "a@b"),
        ("<@[1.2.3.4],@x.y:a@b>", "! domain literals not allowed", "a@b"),
        ("<@x,a@b>", "! colon expected after route list", "! colon expected after route list"),
        ("<@x a@b>", "! no local part", "! no local part"),
        ("<@x:>", "! missing or malformed local part", "! missing or malformed local part"),
        (
            "<@x:user>",
            "! domain missing in source-routed address",
            "! domain missing in source-routed address",
        ),
        ("<@x,:a@b>", "a@b", "a@b"),
        ("<@>", "! domain missing or malformed", "! domain missing or malformed"),
        ("<a:b>", "! \"@\" or \".\" expected after \"a\"", "! \"@\" or \".\" expected after \"a\""),
        (
            "<\"a\"b@c>",
            "! \"@\" or \".\" expected after \"\"a\"\"",
            "! \"@\" or \".\" expected after \"\"a\"\"",
        ),
        ("<a\\>", "! \"@\" or \".\" expected after \"a\\>\"", "! \"@\" or \".\" expected after \"a\\>\""),
        (
            "<a@b_c>",
            "! malformed address: _c> may not follow <a@b",
            "! malformed address: _c> may not follow <a@b",
        ),
        (
            "<a@b c>",
            "! malformed address: c> may not follow <a@b ",
            "! malformed address: c> may not follow <a@b ",
        ),
        ("<a@b(unclosed>", "! '>' missing at end of address", "! '>' missing at end of address"),
        ("<a(c@b>", "! \"@\" or \".\" expected after \"a\"", "! \"@\" or \".\" expected after \"a\""),
        (
            "<\"unterminated>",
            "! unmatched doublequote in local part",
            "! unmatched doublequote in local part",
        ),
        ("<.>", ".", "."),
        ("<user>", "user", "user"),
    ] {
        assert_eq!(read(input, &AddressSyntax::default()), expected, "{input}");
        assert_eq!(read(input, &bracket_syntax()), relaxed, "{input} with all options");
    }
}

#[test]
fn the_empty_address_on_demand() {
    let syntax = AddressSyntax { allow_empty: true, ..AddressSyntax::default() };
    assert_eq!(parse(b"<>", &syntax).map(|p| p.address), Ok(Vec::new()));
    assert!(parse(b"", &syntax).is_err());
}

#[test]
fn offsets_cover_the_address_and_nothing_else() {
    for (input, inner) in [
        ("Fred <a@b> (c)", "a@b"),
        (" (x) a . b @ c . d (y) ", "a . b @ c . d"),
        ("<@r:a@b>", "@r:a@b"),
        ("user (c)", "user"),
        ("<a@b. >", "a@b."),
    ] {
        let parsed = parse(input.as_bytes(), &bracket_syntax()).unwrap();
        assert_eq!(std::str::from_utf8(&input.as_bytes()[parsed.range()]).unwrap(), inner);
    }
    let parsed = parse(b"Fred <\"a b\"@c.d>", &AddressSyntax::default()).unwrap();
    assert_eq!((parsed.local_part(), parsed.domain()), (b"\"a b\"".as_slice(), Some(b"c.d".as_slice())));
}

#[test]
fn length_is_limited() {
    let mut input = vec![b'a'; ADDRESS_BYTES_MAX - 2];
    input.extend(b"@b");
    assert!(parse(&input, &AddressSyntax::default()).is_ok());
    input.insert(0, b'a');
    let error = parse(&input, &AddressSyntax::default()).unwrap_err();
    assert!(error.to_string().starts_with("address is ridiculously long: aaaa"));
    assert_eq!(error.to_string().len(), 30 + 64 + 3);
}

#[test]
fn no_line_break_survives() {
    let parsed = parse(b"\"a\r\n b\"@c", &AddressSyntax::default()).unwrap();
    assert_eq!(parsed.address, b"\"a b\"@c");
    assert!(parse(b"a\\\nb@c", &AddressSyntax::default()).is_err());
}

proptest::proptest! {
    #[test]
    fn what_parses_is_canonical(
        input in proptest::collection::vec(proptest::sample::select(b"ab@@..<>(),:;\"\\[] 1\n\xc3\xa9-".to_vec()), 0..24),
        all in proptest::bool::ANY,
    ) {
        let syntax = if all { AddressSyntax { allow_empty: true, ..bracket_syntax() } } else { AddressSyntax::default() };
        if let Ok(parsed) = parse(&input, &syntax) {
            proptest::prop_assert!(input.get(parsed.range()).is_some());
            proptest::prop_assert_eq!(split_at_domain(&parsed.address), (parsed.local_part(), parsed.domain()));
            if !parsed.address.is_empty() {
                let again = parse(&parsed.address, &syntax).map(|p| p.address);
                proptest::prop_assert_eq!(again, Ok(parsed.address));
            }
        }
    }

    #[test]
    fn a_quoted_local_part_parses_and_comes_back(text in "[ -~]{0,40}") {
        let quoted = quote_local_part(text.as_bytes());
        let address = [quoted.as_slice(), b"@b.c"].concat();
        let parsed = parse(&address, &AddressSyntax::default()).map_err(|e| proptest::test_runner::TestCaseError::fail(e.to_string()))?;
        proptest::prop_assert_eq!(unquote_local_part(parsed.local_part()), text.into_bytes());
    }
}

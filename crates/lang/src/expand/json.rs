//! Just enough JSON for `${extract json` and `forany_json`: members and elements as they are written.
//!
//! Values are given back as their source text, so that numbers keep their digits. Strings and nested values are
//! seen through when a comma or brace is looked for (the observed program is not always that careful).

/// The elements of an array. The error is the part that is missing.
pub(crate) fn elements(text: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return Err("missing '[' wrapping array");
    }
    let inside = inside(text, b'[', b']').ok_or("missing ']' wrapping array")?;
    if inside.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    Ok(split(inside, b',').into_iter().map(<[u8]>::trim_ascii_start).collect())
}

/// The value of a member of an object, if it is there. The error is the part that is missing.
pub(crate) fn member<'a>(text: &'a [u8], key: &[u8]) -> Result<Option<&'a [u8]>, &'static str> {
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err("missing '{' wrapping object");
    }
    let inside = inside(text, b'{', b'}').ok_or("missing '}' wrapping object")?;
    for member in split(inside, b',') {
        let name = split(member, b':').first().copied().unwrap_or_default();
        if name.trim_ascii().is_empty() {
            continue;
        }
        if unquoted(name).ok_or("missing '\"' wrapping string key")? == key {
            let value = member.get(name.len().saturating_add(1)..).unwrap_or_default();
            return Ok(Some(value.trim_ascii_start()));
        }
    }
    Ok(None)
}

/// What stands between the quotes of a string.
pub(crate) fn unquoted(text: &[u8]) -> Option<&[u8]> {
    text.trim_ascii().strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn inside(text: &[u8], open: u8, close: u8) -> Option<&[u8]> {
    match text.trim_ascii() {
        [first, inside @ .., last] if *first == open && *last == close => Some(inside),
        _ => None,
    }
}

/// Cuts at separators that stand outside strings and nested values.
fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    let mut start = 0_usize;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth = depth.saturating_add(1),
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            b if *b == separator && !quoted && depth == 0 => {
                parts.push(text.get(start..index).unwrap_or_default());
                start = index.saturating_add(1);
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_source_text() {
        let object = br#" { "a" : { "c" : 2 } , "b":"x,y" , "d": 4.50, "e\"f":1}"#;
        assert_eq!(member(object, b"a"), Ok(Some(&b"{ \"c\" : 2 } "[..])));
        assert_eq!(member(object, b"b"), Ok(Some(&b"\"x,y\" "[..])));
        assert_eq!(member(object, b"d"), Ok(Some(&b"4.50"[..])));
        assert_eq!(member(object, b"c"), Ok(None));
        assert_eq!(member(b"nonsense", b"c"), Err("missing '{' wrapping object"));
        assert_eq!(member(b"{\"a\":1", b"c"), Err("missing '}' wrapping object"));
        assert_eq!(member(b"{a:1}", b"c"), Err("missing '\"' wrapping string key"));
        assert_eq!(member(b"{}", b"c"), Ok(None));
        assert_eq!(member(b"{\"a\"}", b"a"), Ok(Some(&b""[..])));
    }

    #[test]
    fn elements_may_be_nested() {
        assert_eq!(elements(b"[1, \"a,b\" ,[3,4]]"), Ok(vec![&b"1"[..], b"\"a,b\" ", b"[3,4]"]));
        assert_eq!(elements(b"[]"), Ok(vec![]));
        assert!(elements(b"a:b").is_err());
    }
}

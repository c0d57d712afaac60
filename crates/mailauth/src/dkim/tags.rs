//! Lists of tags, `name=value; …`, as signatures and key records have them (RFC 6376 section 3.2).

/// One tag; the value has no white space at its ends, but may have it inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    /// The name; case counts.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// The tags of a list, in their order. An item without an equals sign is an error, an empty one is not.
///
/// # Errors
/// There is none: an item that is no tag is given as None.
pub fn tags(list: &[u8]) -> impl Iterator<Item = Option<Tag<'_>>> {
    list.split(|b| *b == b';').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty()).map(|item| {
        let at = memchr::memchr(b'=', item)?;
        let (name, value) = item.split_at_checked(at)?;
        let value = value.strip_prefix(b"=").unwrap_or_default();
        Some(Tag { name: name.trim_ascii(), value: value.trim_ascii() })
    })
}

/// A value without any white space.
#[must_use]
pub fn without_space(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect()
}

/// A number of digits alone. One that is too big is the biggest.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(std::str::from_utf8(value).ok()?.parse().unwrap_or(u64::MAX))
}

/// Base64, in which white space may stand anywhere.
#[must_use]
pub fn base64(value: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine as _;
    use base64::alphabet::STANDARD;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    LENIENT.decode(without_space(value)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_apart() {
        let found: Vec<_> = tags(b" a = b c ;; d=\n\te=; f").collect();
        assert_eq!(found[0], Some(Tag { name: b"a", value: b"b c" }));
        assert_eq!(found[1], Some(Tag { name: b"d", value: b"e=" }));
        assert_eq!(found[2], None);
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn numbers_and_base64() {
        assert_eq!(number(b"12"), Some(12));
        assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
        assert_eq!(number(b"-1"), None);
        assert_eq!(base64(b"YQ =\n =").as_deref(), Some(b"a".as_slice()));
        assert_eq!(base64(b"!!"), None);
    }
}

//! Writes hash files of Berkeley DB, version 9, as exim_dbmbuild makes them: all at once, never changed afterwards.
//!
//! Each bucket is a page, with further pages behind the buckets where that is too small. Pages are large enough for the largest pair.

use super::berkeley::{HASH_CHECK, HASH_MAGIC, HEADER_BYTES, hash};

/// Type of the first page, and of the others.
const HASH_META: u8 = 8;
const HASH_PAGE: u8 = 13;
/// In front of each item: it stands here.
const HERE: u8 = 1;
/// Largest page that is written; so long may a pair be, nearly.
const PAGE_BYTES_MAX: usize = 32_768;

/// Why no file can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// A key and its value are longer than a page.
    TooLong,
    /// There are more pairs than the format has room for.
    TooMany,
}

/// The file with these pairs. Keys must differ; `id` is random.
///
/// # Errors
/// What cannot be written.
pub fn hash_file(pairs: &[(Vec<u8>, Vec<u8>)], id: [u8; 20]) -> Result<Vec<u8>, Unwritable> {
    let page_bytes = page_bytes(pairs)?;
    let buckets = buckets(pairs, page_bytes)?;
    let mut filled: Vec<Vec<&(Vec<u8>, Vec<u8>)>> = vec![Vec::new(); buckets];
    let mask = u32::try_from(buckets.saturating_sub(1)).map_err(|_| Unwritable::TooMany)?;
    for pair in pairs {
        let bucket = usize::try_from(hash(&pair.0) & mask).map_err(|_| Unwritable::TooMany)?;
        if let Some(bucket) = filled.get_mut(bucket) {
            bucket.push(pair);
        }
    }
    // The first page of each bucket in the order of the buckets, then the further ones.
    let mut first = Vec::new();
    let mut further = Vec::new();
    let mut next_further = mask.checked_add(2).ok_or(Unwritable::TooMany)?;
    for (index, bucket) in filled.iter().enumerate() {
        let mut number = u32::try_from(index.saturating_add(1)).map_err(|_| Unwritable::TooMany)?;
        let mut before = 0;
        let mut parts = in_pages(bucket, page_bytes).into_iter().peekable();
        while let Some(part) = parts.next() {
            let after = if parts.peek().is_some() { next_further } else { 0 };
            let page = page(&part, page_bytes, [number, before, after]);
            if before == 0 {
                first.push(page)
            } else {
                further.push(page)
            }
            if after != 0 {
                next_further = next_further.checked_add(1).ok_or(Unwritable::TooMany)?;
            }
            (before, number) = (number, after);
        }
    }
    let last_page = next_further.saturating_sub(1);
    let count = u32::try_from(pairs.len()).map_err(|_| Unwritable::TooMany)?;
    let mut file = meta(page_bytes, last_page, mask, count, id);
    for page in first.iter().chain(&further) {
        file.extend_from_slice(page);
    }
    Ok(file)
}

/// What a pair takes in a page: two bytes of index, the kind, and the bytes, twice.
fn pair_bytes(pair: &(Vec<u8>, Vec<u8>)) -> usize {
    pair.0.len().saturating_add(pair.1.len()).saturating_add(6)
}

fn page_bytes(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<usize, Unwritable> {
    let largest = pairs.iter().map(pair_bytes).max().unwrap_or(0).saturating_add(HEADER_BYTES);
    let bytes = largest.next_power_of_two().max(4_096);
    if bytes > PAGE_BYTES_MAX { Err(Unwritable::TooLong) } else { Ok(bytes) }
}

/// So many that pages are about half full; two at least, as the library has it.
fn buckets(pairs: &[(Vec<u8>, Vec<u8>)], page_bytes: usize) -> Result<usize, Unwritable> {
    let all: usize = pairs.iter().map(pair_bytes).fold(0, usize::saturating_add);
    let wanted = all.saturating_mul(2).div_ceil(page_bytes).max(2);
    wanted.checked_next_power_of_two().filter(|n| *n <= 1 << 30).ok_or(Unwritable::TooMany)
}

/// The pairs of one bucket, each page's in the order of their keys. There is always a first page.
fn in_pages<'a>(bucket: &[&'a (Vec<u8>, Vec<u8>)], page_bytes: usize) -> Vec<Vec<&'a (Vec<u8>, Vec<u8>)>> {
    let mut pages = vec![Vec::new()];
    let mut room = page_bytes.saturating_sub(HEADER_BYTES);
    for pair in bucket {
        let size = pair_bytes(pair);
        if size > room {
            pages.push(Vec::new());
            room = page_bytes.saturating_sub(HEADER_BYTES);
        }
        room = room.saturating_sub(size);
        if let Some(page) = pages.last_mut() {
            page.push(*pair);
        }
    }
    for page in &mut pages {
        page.sort_by(|a, b| a.0.cmp(&b.0));
    }
    pages
}

/// One page; `numbers` are its own, that of the one before and the one after.
fn page(pairs: &[&(Vec<u8>, Vec<u8>)], page_bytes: usize, numbers: [u32; 3]) -> Vec<u8> {
    let mut index: Vec<u8> = Vec::new();
    let mut items: Vec<u8> = Vec::new();
    let mut free = page_bytes;
    for item in pairs.iter().flat_map(|pair| [&pair.0, &pair.1]) {
        free = free.saturating_sub(item.len().saturating_add(1));
        index.extend_from_slice(&u16::try_from(free).unwrap_or(0).to_le_bytes());
        // Items grow from the end of the page to its front.
        items.splice(0..0, std::iter::once(HERE).chain(item.iter().copied()));
    }
    let entries = u16::try_from(pairs.len().saturating_mul(2)).unwrap_or(0);
    let mut page = Vec::with_capacity(page_bytes);
    page.extend_from_slice(&NOT_LOGGED);
    for number in numbers {
        page.extend_from_slice(&number.to_le_bytes());
    }
    page.extend_from_slice(&entries.to_le_bytes());
    page.extend_from_slice(&u16::try_from(free).unwrap_or(0).to_le_bytes());
    page.extend_from_slice(&[0, HASH_PAGE]);
    page.extend_from_slice(&index);
    page.resize(page_bytes.saturating_sub(items.len()), 0);
    page.extend_from_slice(&items);
    page
}

/// The place in a log that there is not.
const NOT_LOGGED: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];

fn meta(page_bytes: usize, last_page: u32, mask: u32, count: u32, id: [u8; 20]) -> Vec<u8> {
    let mut page = NOT_LOGGED.to_vec();
    let mut number = |value: u32| page.extend_from_slice(&value.to_le_bytes());
    number(0);
    number(HASH_MAGIC);
    number(9);
    number(u32::try_from(page_bytes).unwrap_or(0));
    // No encryption, the type, no flags.
    number(u32::from_le_bytes([0, HASH_META, 0, 0]));
    number(0);
    number(last_page);
    for _ in 0..4 {
        number(0);
    }
    page.extend_from_slice(&id);
    let mut number = |value: u32| page.extend_from_slice(&value.to_le_bytes());
    number(mask);
    number(mask);
    number(mask >> 1);
    number(0);
    number(count);
    number(hash(HASH_CHECK));
    // All generations of buckets stand one behind the other, so each begins in the same distance from its numbers.
    let generations = u32::BITS.saturating_sub(mask.leading_zeros()).saturating_add(1);
    for generation in 0..32 {
        number(u32::from(generation < generations));
    }
    page.resize(page_bytes, 0);
    page
}

#[cfg(test)]
mod tests {
    use super::super::berkeley::Database;
    use super::super::{Damage, Source};
    use super::*;

    struct Bytes(Vec<u8>);

    impl Source for Bytes {
        fn size(&self) -> u64 {
            self.0.len() as u64
        }

        fn read(&self, at: u64, length: usize) -> Result<Vec<u8>, Damage> {
            let at = usize::try_from(at).unwrap();
            self.0.get(at..at + length).map(<[u8]>::to_vec).ok_or_else(|| Damage("too short".to_owned()))
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (count, length) in [(0, 0), (1, 5), (7, 20_000), (3_000, 30), (50, 3_000)] {
            let pairs: Vec<(Vec<u8>, Vec<u8>)> = (0..count)
                .map(|n| (format!("key{n}\0").into_bytes(), vec![b'a' + (n % 26) as u8; length]))
                .collect();
            let file = hash_file(&pairs, [7; 20]).unwrap();
            let database = Database::open(Bytes(file)).unwrap().unwrap();
            for (key, value) in &pairs {
                assert_eq!(database.find(key).unwrap().as_ref(), Some(value), "{count} {length}");
            }
            assert_eq!(database.find(b"none\0").unwrap(), None);
        }
    }

    #[test]
    fn too_long_pairs_are_refused() {
        assert_eq!(hash_file(&[(vec![1], vec![0; 40_000])], [0; 20]), Err(Unwritable::TooLong));
    }
}

//! Files of Berkeley DB 4.1 to 5.3: hash and B-tree, in either byte order, without encryption and checksums.
//!
//! The layout is that of the library's published page formats. Only looking a key up is done; of duplicates the first counts.

use super::{Damage, Order, Source, Steps, slice};

pub(super) const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;

/// Bytes in front of a page's index.
pub(super) const HEADER_BYTES: usize = 26;

// Types of pages.
const HASH_UNSORTED: u8 = 2;
const BTREE_INTERNAL: u8 = 3;
const RECORD_INTERNAL: u8 = 4;
const BTREE_LEAF: u8 = 5;
const RECORD_LEAF: u8 = 6;
const OVERFLOW: u8 = 7;
const DUPLICATE_LEAF: u8 = 12;
const HASH: u8 = 13;

/// In a hash page: an item that stands elsewhere, and duplicates here and elsewhere.
const HASH_KEY_OR_DATA: u8 = 1;
const HASH_DUPLICATES: u8 = 2;
const HASH_ELSEWHERE: u8 = 3;
const HASH_DUPLICATES_ELSEWHERE: u8 = 4;

/// In a B-tree page: the kinds of items; the highest bit marks one that has been removed.
const ITEM_HERE: u8 = 1;
const ITEM_DUPLICATES: u8 = 2;
const ITEM_ELSEWHERE: u8 = 3;
const ITEM_REMOVED: u8 = 0x80;

/// The key whose hash the file's header holds, so that another hash function is noticed.
pub(super) const HASH_CHECK: &[u8] = b"%$sniglet^&\0";

enum Form {
    Hash { max_bucket: u32, high_mask: u32, low_mask: u32, spares: Vec<u32> },
    Tree { root: u32 },
}

/// An open file.
pub struct Database<S> {
    source: S,
    order: Order,
    page_bytes: usize,
    last_page: u32,
    form: Form,
}

/// The library's default hash function (Fowler, Noll, Vo).
pub(super) fn hash(key: &[u8]) -> u32 {
    key.iter().fold(0_u32, |hash, byte| hash.wrapping_mul(16_777_619) ^ u32::from(*byte))
}

impl<S: Source> Database<S> {
    /// Reads the header. None: it is not such a file.
    ///
    /// # Errors
    /// It is one that cannot be read.
    pub fn open(source: S) -> Result<Option<Database<S>>, Damage> {
        let Ok(header) = source.read(0, 512) else { return Ok(None) };
        let magic = |order: Order| order.u32(&header, 12);
        let known = |magic: u32| magic == HASH_MAGIC || magic == BTREE_MAGIC;
        let order = if known(magic(Order::Little)?) {
            Order::Little
        } else if known(magic(Order::Big)?) {
            Order::Big
        } else {
            return Ok(None);
        };
        let (encryption, flags) = (header.get(24).copied(), header.get(26).copied());
        if encryption != Some(0) || flags.is_none_or(|flags| flags & 1 != 0) {
            return Err(Damage::new("encryption and checksums are not supported"));
        }
        let page_bytes = usize::try_from(order.u32(&header, 20)?).unwrap_or(0);
        if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return Err(Damage::new("bad page size"));
        }
        let number = |at: usize| order.u32(&header, at);
        let form = if order.u32(&header, 12)? == HASH_MAGIC {
            if number(92)? != hash(HASH_CHECK) {
                return Err(Damage::new("made with another hash function"));
            }
            let spares = (0..32).map(|i| number(96 + i * 4)).collect::<Result<Vec<u32>, Damage>>()?;
            Form::Hash { max_bucket: number(72)?, high_mask: number(76)?, low_mask: number(80)?, spares }
        } else {
            Form::Tree { root: number(88)? }
        };
        let last_page = number(32)?;
        Ok(Some(Database { source, order, page_bytes, last_page, form }))
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn find(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        let mut steps = Steps::new();
        match &self.form {
            Form::Hash { .. } => self.find_by_hash(key, &mut steps),
            Form::Tree { root } => self.find_in_tree(*root, key, &mut steps),
        }
    }

    fn page(&self, number: u32, steps: &mut Steps) -> Result<Page<'_, S>, Damage> {
        steps.take()?;
        let at = u64::from(number).saturating_mul(self.page_bytes as u64);
        let bytes = self.source.read(at, self.page_bytes)?;
        Ok(Page { database: self, bytes })
    }

    /// The value on a chain of overflow pages.
    fn chain(&self, first: u32, length: u32, steps: &mut Steps) -> Result<Vec<u8>, Damage> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length as u64 > self.source.size() {
            return Err(Damage::new("data too long"));
        }
        let mut out = Vec::new();
        let mut next = first;
        while out.len() < length {
            let page = self.page(next, steps)?;
            if page.kind() != OVERFLOW {
                return Err(Damage::new("not an overflow page"));
            }
            let here = self.order.u16(&page.bytes, 22)?;
            if here == 0 {
                return Err(Damage::new("empty overflow page"));
            }
            out.extend_from_slice(slice(&page.bytes, HEADER_BYTES, HEADER_BYTES.saturating_add(here))?);
            next = page.next()?;
        }
        out.truncate(length);
        Ok(out)
    }

    fn find_by_hash(&self, key: &[u8], steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        let Form::Hash { max_bucket, high_mask, low_mask, spares } = &self.form else {
            return Ok(None);
        };
        let mut bucket = hash(key) & high_mask;
        if bucket > *max_bucket {
            bucket &= low_mask;
        }
        // Buckets come in generations that double; each has its own place in the file.
        let generation = u32::BITS.saturating_sub(bucket.leading_zeros());
        let spare =
            spares.get(usize::try_from(generation).unwrap_or(0)).ok_or_else(|| Damage::new("bad bucket"))?;
        let mut number = bucket.checked_add(*spare).ok_or_else(|| Damage::new("bad bucket"))?;
        // A bucket that has never been used may lie behind the end.
        if number > self.last_page {
            return Ok(None);
        }
        loop {
            let page = self.page(number, steps)?;
            if !matches!(page.kind(), HASH | HASH_UNSORTED) {
                return if page.kind() == 0 { Ok(None) } else { Err(Damage::new("not a hash page")) };
            }
            let entries = page.entries()?;
            for index in (0..entries).step_by(2) {
                if page.hash_item(index, steps)?.is(key) {
                    return page.hash_item(index.saturating_add(1), steps).map(HashItem::into_data);
                }
            }
            number = page.next()?;
            if number == 0 {
                return Ok(None);
            }
        }
    }

    fn find_in_tree(&self, root: u32, key: &[u8], steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        let mut number = root;
        loop {
            let page = self.page(number, steps)?;
            match page.kind() {
                BTREE_INTERNAL => number = page.child_for(key, steps)?,
                BTREE_LEAF => return page.leaf_value(key, steps),
                _ => return Err(Damage::new("not a B-tree page")),
            }
        }
    }

    /// The first value of a tree of duplicates.
    fn first_duplicate(&self, root: u32, steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        let mut number = root;
        loop {
            let page = self.page(number, steps)?;
            match page.kind() {
                DUPLICATE_LEAF | RECORD_LEAF => return page.tree_item(page.offset(0)?, 3, steps),
                // Internal pages of either kind hold the child's number in the same place, or at its own front.
                BTREE_INTERNAL => number = self.order.u32(&page.bytes, page.offset(0)?.saturating_add(4))?,
                RECORD_INTERNAL => number = self.order.u32(&page.bytes, page.offset(0)?)?,
                _ => return Err(Damage::new("not a page of duplicates")),
            }
        }
    }
}

struct Page<'a, S> {
    database: &'a Database<S>,
    bytes: Vec<u8>,
}

/// An item of a hash page.
enum HashItem {
    Value(Vec<u8>),
    Nothing,
}

impl HashItem {
    fn is(&self, key: &[u8]) -> bool {
        matches!(self, HashItem::Value(value) if value == key)
    }

    fn into_data(self) -> Option<Vec<u8>> {
        match self {
            HashItem::Value(value) => Some(value),
            HashItem::Nothing => None,
        }
    }
}

impl<S: Source> Page<'_, S> {
    fn kind(&self) -> u8 {
        self.bytes.get(25).copied().unwrap_or(0)
    }

    fn next(&self) -> Result<u32, Damage> {
        self.database.order.u32(&self.bytes, 16)
    }

    fn entries(&self) -> Result<usize, Damage> {
        self.database.order.u16(&self.bytes, 20)
    }

    fn offset(&self, index: usize) -> Result<usize, Damage> {
        self.database.order.u16(&self.bytes, HEADER_BYTES.saturating_add(index.saturating_mul(2)))
    }

    /// An item of a hash page. Items grow from the end of the page to its front, so each ends where the one before begins.
    fn hash_item(&self, index: usize, steps: &mut Steps) -> Result<HashItem, Damage> {
        let order = self.database.order;
        let start = self.offset(index)?;
        let end = match index.checked_sub(1) {
            Some(before) => self.offset(before)?,
            None => self.bytes.len(),
        };
        let item = slice(&self.bytes, start, end)?;
        let content = item.get(1..).unwrap_or_default();
        Ok(match item.first() {
            Some(&HASH_KEY_OR_DATA) => HashItem::Value(content.to_vec()),
            Some(&HASH_DUPLICATES) => {
                let length = order.u16(content, 0)?;
                HashItem::Value(slice(content, 2, length.saturating_add(2))?.to_vec())
            }
            Some(&HASH_ELSEWHERE) => {
                HashItem::Value(self.database.chain(order.u32(item, 4)?, order.u32(item, 8)?, steps)?)
            }
            Some(&HASH_DUPLICATES_ELSEWHERE) => {
                match self.database.first_duplicate(order.u32(item, 4)?, steps)? {
                    Some(value) => HashItem::Value(value),
                    None => HashItem::Nothing,
                }
            }
            _ => return Err(Damage::new("bad item")),
        })
    }

    /// An item of a B-tree page whose type stands two bytes behind its offset. None: it has been removed.
    fn tree_item(&self, at: usize, header: usize, steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        let order = self.database.order;
        let kind = *self.bytes.get(at.saturating_add(2)).ok_or_else(|| Damage::new("bad offset"))?;
        if kind & ITEM_REMOVED != 0 {
            return Ok(None);
        }
        let body = at.saturating_add(header);
        match kind {
            ITEM_HERE => {
                let length = order.u16(&self.bytes, at)?;
                Ok(Some(slice(&self.bytes, body, body.saturating_add(length))?.to_vec()))
            }
            ITEM_ELSEWHERE => {
                // In a leaf the reference is the item; in an internal page it is the item's data.
                let reference = if header == 3 { at } else { body };
                let page = order.u32(&self.bytes, reference.saturating_add(4))?;
                let length = order.u32(&self.bytes, reference.saturating_add(8))?;
                self.database.chain(page, length, steps).map(Some)
            }
            ITEM_DUPLICATES => {
                self.database.first_duplicate(order.u32(&self.bytes, at.saturating_add(4))?, steps)
            }
            _ => Err(Damage::new("bad item")),
        }
    }

    /// The child in which a key must be: the last one whose first key is not greater. The first child takes what is left.
    fn child_for(&self, key: &[u8], steps: &mut Steps) -> Result<u32, Damage> {
        let (mut low, mut high) = (0, self.entries()?);
        if high == 0 {
            return Err(Damage::new("empty page"));
        }
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            let first = self.tree_item(self.offset(middle)?, 12, steps)?;
            if first.as_deref().unwrap_or_default() <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.database.order.u32(&self.bytes, self.offset(low)?.saturating_add(4))
    }

    fn leaf_value(&self, key: &[u8], steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        // Keys and data take turns.
        let (mut low, mut high) = (0, self.entries()?.div_ceil(2));
        while low < high {
            let middle = low.midpoint(high);
            let at = self.offset(middle.saturating_mul(2))?;
            let kind = self.bytes.get(at.saturating_add(2)).copied().unwrap_or(0);
            let found = match kind & !ITEM_REMOVED {
                ITEM_HERE => {
                    let length = self.database.order.u16(&self.bytes, at)?;
                    let start = at.saturating_add(3);
                    slice(&self.bytes, start, start.saturating_add(length))?.to_vec()
                }
                _ => self.tree_item(at, 3, steps)?.unwrap_or_default(),
            };
            match found.as_slice().cmp(key) {
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.first_data(middle, steps),
            }
        }
        Ok(None)
    }

    /// The data of the first pair with the key of the pair at `index`: duplicates on one page share their key's offset.
    fn first_data(&self, index: usize, steps: &mut Steps) -> Result<Option<Vec<u8>>, Damage> {
        let offset = self.offset(index.saturating_mul(2))?;
        let mut first = index;
        while let Some(before) = first.checked_sub(1) {
            if self.offset(before.saturating_mul(2))? != offset {
                break;
            }
            first = before;
        }
        let pairs = self.entries()?.div_ceil(2);
        for pair in first..pairs {
            if self.offset(pair.saturating_mul(2))? != offset {
                break;
            }
            let at = self.offset(pair.saturating_mul(2).saturating_add(1))?;
            if let Some(data) = self.tree_item(at, 3, steps)? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

//! Files of LMDB (data version 1), without its lock file: the unnamed database in them.
//!
//! LMDB never writes over a page that the last committed state uses, so a lookup that reads the header before and after, and
//! finds the same state both times, has seen one state. Otherwise it begins anew.

use super::{Damage, Order, Source, Steps, slice};

const MAGIC: u32 = 0xbeef_c0de;
const HEADER_BYTES: usize = 16;

// Flags of pages and nodes.
const BRANCH: usize = 0x01;
const LEAF: usize = 0x02;
const OVERFLOW: usize = 0x04;
const LEAF_FIXED: usize = 0x20;
const NODE_ELSEWHERE: usize = 0x01;
const NODE_DATABASE: usize = 0x02;
const NODE_DUPLICATES: usize = 0x04;

/// Flags of the database under which keys are not compared byte by byte from the front.
const REVERSE_OR_INTEGER: usize = 0x02 | 0x08;

/// "There is no root": the database is empty.
const NO_PAGE: u64 = u64::MAX;

/// How often a lookup begins anew because of a writer.
const ATTEMPTS_MAX: usize = 20;

/// An open file.
pub struct Database<S> {
    source: S,
    page_bytes: usize,
}

/// One committed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    transaction: u64,
    root: u64,
    flags: usize,
}

impl<S: Source> Database<S> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is not such a file, or not one of this version.
    pub fn open(source: S) -> Result<Database<S>, Damage> {
        let header = source.read(0, 512)?;
        let order = Order::Little;
        if order.u32(&header, 16)? != MAGIC {
            return Err(Damage::new("MDB_INVALID: File is not an LMDB file"));
        }
        if order.u32(&header, 20)? & 0xffff != 1 {
            return Err(Damage::new("MDB_VERSION_MISMATCH: Database environment version mismatch"));
        }
        let page_bytes = usize::try_from(order.u32(&header, 40)?).unwrap_or(0);
        if !page_bytes.is_power_of_two() || !(256..=65_536).contains(&page_bytes) {
            return Err(Damage::new("bad page size"));
        }
        Ok(Database { source, page_bytes })
    }

    fn state(&self) -> Result<State, Damage> {
        let order = Order::Little;
        let mut best: Option<State> = None;
        for at in [0, self.page_bytes as u64] {
            let meta = self.source.read(at, 160)?;
            if order.u32(&meta, 16)? != MAGIC {
                continue;
            }
            let state = State {
                transaction: order.u64(&meta, 144)?,
                root: order.u64(&meta, 128)?,
                flags: order.u16(&meta, 92)?,
            };
            if best.is_none_or(|best| state.transaction > best.transaction) {
                best = Some(state);
            }
        }
        best.ok_or_else(|| Damage::new("no header"))
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// The file is damaged, or was changed all the time.
    pub fn find(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        for _ in 0..ATTEMPTS_MAX {
            let state = self.state()?;
            let found = self.find_in(state, key);
            if self.state()? == state {
                return found;
            }
        }
        Err(Damage::new("the file is being written all the time"))
    }

    fn find_in(&self, state: State, key: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        if state.root == NO_PAGE {
            return Ok(None);
        }
        if state.flags & REVERSE_OR_INTEGER != 0 {
            return Err(Damage::new("reversed and integer keys are not supported"));
        }
        let mut steps = Steps::new();
        let mut number = state.root;
        loop {
            let page = self.page(number, &mut steps)?;
            if page.flags()? & LEAF != 0 {
                let Ok(index) = page.search(key)? else { return Ok(None) };
                return self.value(&page.node(index)?, &mut steps).map(Some);
            }
            if page.flags()? & BRANCH == 0 {
                return Err(Damage::new("MDB_CORRUPTED: Located page was wrong type"));
            }
            // The first node of a branch stands for all that is less than the second.
            let index = match page.search(key)? {
                Ok(index) => index,
                Err(next) => next.saturating_sub(1),
            };
            number = page.node(index)?.child;
        }
    }

    fn page(&self, number: u64, steps: &mut Steps) -> Result<Page, Damage> {
        steps.take()?;
        let at = number.checked_mul(self.page_bytes as u64).ok_or_else(|| Damage::new("bad page"))?;
        Ok(Page { bytes: self.source.read(at, self.page_bytes)? })
    }

    fn value(&self, node: &Node, steps: &mut Steps) -> Result<Vec<u8>, Damage> {
        if node.flags & NODE_ELSEWHERE != 0 {
            let number = Order::Little.u64(&node.data, 0)?;
            if self.page(number, steps)?.flags()? & OVERFLOW == 0 {
                return Err(Damage::new("MDB_CORRUPTED: Located page was wrong type"));
            }
            let at = number.saturating_mul(self.page_bytes as u64).saturating_add(HEADER_BYTES as u64);
            return self.source.read(at, node.length);
        }
        if node.flags & NODE_DATABASE != 0 {
            return Err(Damage::new(
                "MDB_INCOMPATIBLE: the key is that of a named database, or has many values",
            ));
        }
        if node.flags & NODE_DUPLICATES == 0 {
            return Ok(node.data.clone());
        }
        // Several values, on a small page of their own; the first counts.
        let page = Page { bytes: node.data.clone() };
        if page.flags()? & LEAF_FIXED != 0 {
            let length = Order::Little.u16(&page.bytes, 8)?;
            return slice(&page.bytes, HEADER_BYTES, HEADER_BYTES.saturating_add(length)).map(<[u8]>::to_vec);
        }
        Ok(page.node(0)?.key)
    }
}

struct Page {
    bytes: Vec<u8>,
}

struct Node {
    flags: usize,
    key: Vec<u8>,
    /// Of a branch.
    child: u64,
    /// Of a leaf: how long its data is, wherever it stands.
    length: usize,
    data: Vec<u8>,
}

impl Page {
    fn flags(&self) -> Result<usize, Damage> {
        Order::Little.u16(&self.bytes, 10)
    }

    fn count(&self) -> Result<usize, Damage> {
        Ok(Order::Little.u16(&self.bytes, 12)?.saturating_sub(HEADER_BYTES) / 2)
    }

    fn node(&self, index: usize) -> Result<Node, Damage> {
        let order = Order::Little;
        if index >= self.count()? {
            return Err(Damage::new("bad node"));
        }
        let at = order.u16(&self.bytes, HEADER_BYTES.saturating_add(index.saturating_mul(2)))?;
        let number = |offset: usize| order.u16(&self.bytes, at.saturating_add(offset));
        let (low, high, flags, key_bytes) = (number(0)?, number(2)?, number(4)?, number(6)?);
        let key_at = at.saturating_add(8);
        let data_at = key_at.saturating_add(key_bytes);
        let key = slice(&self.bytes, key_at, data_at)?.to_vec();
        let length = low | high << 16;
        let child = length as u64 | (flags as u64) << 32;
        let is_leaf = self.flags()? & LEAF != 0;
        let here = match () {
            () if !is_leaf => 0,
            () if flags & NODE_ELSEWHERE != 0 => 8,
            () => length,
        };
        let data = slice(&self.bytes, data_at, data_at.saturating_add(here))?.to_vec();
        Ok(Node { flags, key, child, length, data })
    }

    /// Where a key is, or where it would be. The first key of a branch is not looked at.
    fn search(&self, key: &[u8]) -> Result<Result<usize, usize>, Damage> {
        let is_branch = self.flags()? & BRANCH != 0;
        let (mut low, mut high) = (usize::from(is_branch), self.count()?);
        while low < high {
            let middle = low.midpoint(high);
            match self.node(middle)?.key.as_slice().cmp(key) {
                std::cmp::Ordering::Less => low = middle.saturating_add(1),
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Ok(middle)),
            }
        }
        Ok(Err(low))
    }
}

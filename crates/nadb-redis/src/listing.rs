//! Listings: records of a key range from either end. Keys come from a walk on each side, records are fetched ahead of it in slices.

use std::collections::VecDeque;
use std::sync::Arc;

use nadb_core::{Entry, Listing, Result, ScanRequest};

use crate::core::Core;
use crate::walk::{Plan, Walk};

/// Records that are fetched at once: at first, at most, and about so many bytes of them.
const FETCH_MIN: usize = 16;
const FETCH_MAX: usize = 256;
const FETCH_BYTES: usize = 4 << 20;

/// How many records to fetch next: more each time, as long as they are small.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice(usize);

impl Slice {
    pub(crate) fn new(expected: Option<usize>) -> Slice {
        Slice(expected.unwrap_or(FETCH_MIN).clamp(1, FETCH_MAX))
    }

    pub(crate) fn len(self) -> usize {
        self.0
    }

    /// So many bytes came of the last slice.
    pub(crate) fn learn(&mut self, bytes: usize) {
        self.0 = if bytes > FETCH_BYTES { (self.0 / 2).max(1) } else { (self.0 * 2).min(FETCH_MAX) };
    }
}

impl Core {
    /// The records of keys as they are now; those that are gone are left out.
    pub(crate) fn fetch(&self, name: &str, keys: &[Vec<u8>]) -> Result<Vec<Entry>> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let entries = self.in_space(name, |space| self.entries(space, &keys))?;
        Ok(entries.unwrap_or_default().into_iter().flatten().collect())
    }
}

/// One end of a listing.
struct Side {
    walk: Walk,
    entries: VecDeque<Entry>,
    slice: Slice,
    is_reverse: bool,
}

impl Side {
    fn new(core: &Arc<Core>, name: &str, request: &ScanRequest, is_reverse: bool) -> Side {
        let walk = Walk::new(core, name, request, Plan::all(), is_reverse);
        Side { walk, entries: VecDeque::new(), slice: Slice::new(request.expected()), is_reverse }
    }

    /// Whether `key` comes before what the other end has given last.
    fn is_free(&self, key: &[u8], other: Option<&[u8]>) -> bool {
        other.is_none_or(|other| if self.is_reverse { key > other } else { key < other })
    }

    fn key(&mut self) -> Result<Option<Vec<u8>>> {
        match self.entries.pop_front() {
            Some(entry) => Ok(Some(entry.key)),
            None => self.walk.next(),
        }
    }

    fn entry(&mut self, core: &Core, name: &str, other: Option<&[u8]>) -> Result<Option<Entry>> {
        while self.entries.is_empty() {
            let mut keys = Vec::new();
            while keys.len() < self.slice.len()
                && let Some(key) = self.walk.next()?
            {
                let is_free = self.is_free(&key, other);
                keys.push(key);
                if !is_free {
                    break;
                }
            }
            if keys.is_empty() {
                return Ok(None);
            }
            self.entries = core.fetch(name, &keys)?.into();
            self.slice.learn(self.entries.iter().map(|entry| entry.value.len() + entry.key.len()).sum());
        }
        Ok(self.entries.pop_front())
    }
}

/// The records of a range.
pub(crate) struct Records {
    core: Arc<Core>,
    name: String,
    front: Side,
    back: Side,
    last_front: Option<Vec<u8>>,
    last_back: Option<Vec<u8>>,
    is_over: bool,
}

impl Records {
    pub(crate) fn new(core: &Arc<Core>, name: &str, request: &ScanRequest) -> Records {
        Records {
            core: Arc::clone(core),
            name: name.to_owned(),
            front: Side::new(core, name, request, false),
            back: Side::new(core, name, request, true),
            last_front: None,
            last_back: None,
            is_over: false,
        }
    }

    /// What the other end must not have given yet.
    fn ends(&mut self, from_back: bool) -> (&mut Side, Option<&[u8]>, &Core, &str) {
        match from_back {
            true => (&mut self.back, self.last_front.as_deref(), &self.core, &self.name),
            false => (&mut self.front, self.last_back.as_deref(), &self.core, &self.name),
        }
    }

    /// Notes what one end gives, unless the other has been there: then the listing is over.
    fn given(&mut self, from_back: bool, key: &[u8]) -> bool {
        let (side, other, _, _) = self.ends(from_back);
        if !side.is_free(key, other) {
            self.is_over = true;
            return false;
        }
        let last = if from_back { &mut self.last_back } else { &mut self.last_front };
        *last = Some(key.to_vec());
        true
    }

    fn entry(&mut self, from_back: bool) -> Option<Result<Entry>> {
        if self.is_over {
            return None;
        }
        let (side, other, core, name) = self.ends(from_back);
        let entry = match core.link.check_open().and_then(|()| side.entry(core, name, other)).transpose()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        self.given(from_back, &entry.key).then_some(Ok(entry))
    }

    fn key(&mut self, from_back: bool) -> Option<Result<Vec<u8>>> {
        if self.is_over {
            return None;
        }
        let (side, _, core, _) = self.ends(from_back);
        let key = match core.link.check_open().and_then(|()| side.key()).transpose()? {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        self.given(from_back, &key).then_some(Ok(key))
    }
}

impl Iterator for Records {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.entry(false)
    }
}

impl DoubleEndedIterator for Records {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.entry(true)
    }
}

impl Listing for Records {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.key(false)
    }

    fn next_key_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.key(true)
    }
}

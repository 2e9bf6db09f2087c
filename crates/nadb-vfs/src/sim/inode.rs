//! What one simulated file holds: what is durable, what is only cached, and in which order it came.
//!
//! Content is kept per block of 512 bytes. A block that is synced costs one map entry; an unsynced one has the list of
//! all its images since the last sync, from which a crash may choose.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use super::ranges::Ranges;

/// The unit that a disk writes at once.
pub(super) const BLOCK_BYTES: usize = 512;
const BLOCK: u64 = BLOCK_BYTES as u64;

/// A block's bytes. Cloning is cheap.
pub(super) type Image = Arc<[u8; BLOCK_BYTES]>;

/// An image that is not durable; `None` is a hole, left by cutting the file.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    /// Place in the order of all writes to the disk.
    pub(super) stamp: u64,
    pub(super) image: Option<Image>,
}

/// A block whose visible bytes are not the durable ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Cached {
    /// What a read sees.
    visible: Option<Image>,
    /// Images since the last sync, the newest last. Empty when a failed sync forgot them: then only a new write can make
    /// the block durable.
    pub(super) pending: Vec<Pending>,
}

/// A file's content.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// What a program sees.
    pub(super) len: u64,
    pub(super) durable_len: u64,
    /// Lengths since the last sync, the newest last.
    pub(super) pending_lens: Vec<u64>,
    /// Blocks without an entry are zeros.
    pub(super) durable: BTreeMap<u64, Image>,
    pub(super) cached: BTreeMap<u64, Cached>,
    /// Blocks that take up room: written or reserved.
    pub(super) blocks: Ranges,
}

impl Content {
    /// Content that is wholly durable.
    pub(super) fn synced(bytes: &[u8]) -> Self {
        let mut content = Content::default();
        content.write(bytes, 0, 0);
        content.sync_all();
        content
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        for (block, at, part) in parts(offset, count) {
            let target = &mut buf[part];
            match self.visible(block) {
                Some(image) => target.copy_from_slice(&image[at..at + target.len()]),
                None => target.fill(0),
            }
        }
        count
    }

    /// Writes all of `bytes`; the room for them was found before.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64, stamp: u64) {
        if bytes.is_empty() {
            return;
        }
        self.blocks.insert(block_range(offset, bytes.len() as u64));
        for (block, at, part) in parts(offset, bytes.len()) {
            let mut image = self.visible(block).map_or([0; BLOCK_BYTES], |image| **image);
            image[at..at + part.len()].copy_from_slice(&bytes[part]);
            self.push(block, Some(Arc::new(image)), stamp);
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        self.note_len();
    }

    pub(super) fn set_len(&mut self, len: u64, stamp: u64) {
        if len < self.len {
            let whole = len.div_ceil(BLOCK);
            let tail = place(len);
            if tail != 0
                && let Some(image) = self.visible(len / BLOCK)
            {
                let mut cut = **image;
                cut[tail..].fill(0);
                self.push(len / BLOCK, Some(Arc::new(cut)), stamp);
            }
            let behind = self.durable.range(whole..).map(|(&b, _)| b);
            let behind: Vec<u64> = behind.chain(self.cached.range(whole..).map(|(&b, _)| b)).collect();
            for block in behind {
                if self.visible(block).is_some() {
                    self.push(block, None, stamp);
                }
            }
            self.blocks.truncate(whole);
        }
        self.len = len;
        self.note_len();
    }

    pub(super) fn allocate(&mut self, offset: u64, len: u64) {
        self.blocks.insert(block_range(offset, len));
        self.len = self.len.max(offset + len);
        self.note_len();
    }

    /// How many of `len` bytes at `offset` can be written while `free` more blocks may be taken.
    pub(super) fn room(&self, offset: u64, len: usize, free: u64) -> usize {
        let range = block_range(offset, len as u64);
        if self.blocks.missing(&range) <= free {
            return len;
        }
        let mut lacking = range.filter(|&block| !self.blocks.contains(block));
        let Some(first_refused) = usize::try_from(free).ok().and_then(|free| lacking.nth(free)) else {
            return len;
        };
        usize::try_from((first_refused * BLOCK).saturating_sub(offset)).unwrap_or(len).min(len)
    }

    /// Makes everything durable but what a failed sync forgot.
    pub(super) fn sync_all(&mut self) {
        let durable = &mut self.durable;
        self.cached.retain(|&block, cached| match cached.pending.pop() {
            Some(newest) => {
                put(durable, block, newest.image);
                false
            }
            None => true,
        });
        if let Some(len) = self.pending_lens.pop() {
            self.durable_len = len;
            self.pending_lens.clear();
        }
    }

    /// As [`Content::sync_all`], but a length that shrank stays unsynced, together with what was cut off: nobody needs it
    /// to read the data. A length that grew is durable, whatever made it grow, as on Linux.
    pub(super) fn sync_data(&mut self) {
        if self.len >= self.durable_len || self.pending_lens.is_empty() {
            return self.sync_all();
        }
        let (boundary, tail) = (self.len / BLOCK, place(self.len));
        let behind = self.cached.split_off(&boundary);
        self.pending_lens.clear();
        self.sync_all();
        self.cached.extend(behind);
        self.pending_lens.push(self.len);
        if tail == 0 {
            return;
        }
        if let Some(cached) = self.cached.get_mut(&boundary)
            && let Some(newest) = cached.pending.pop()
        {
            // The kept bytes of the block are durable; the cut ones behind them are still there after a crash.
            let mut image = self.durable.get(&boundary).map_or([0; BLOCK_BYTES], |image| **image);
            let kept = newest.image.as_ref().map_or([0; BLOCK_BYTES], |image| **image);
            image[..tail].copy_from_slice(&kept[..tail]);
            self.durable.insert(boundary, Arc::new(image));
            cached.pending = vec![newest];
        }
    }

    /// A sync that failed: what was unsynced is forgotten, though still visible.
    pub(super) fn sync_lost(&mut self) {
        self.cached.values_mut().for_each(|cached| cached.pending.clear());
        self.pending_lens.clear();
    }

    /// Cuts durable content to `len` and forgets everything that is not durable.
    pub(super) fn settle(&mut self, len: u64) {
        self.cached.clear();
        self.pending_lens.clear();
        self.durable.split_off(&len.div_ceil(BLOCK));
        let tail = place(len);
        if tail != 0
            && let Some(image) = self.durable.get_mut(&(len / BLOCK))
        {
            Arc::make_mut(image)[tail..].fill(0);
        }
        self.blocks.truncate(len.div_ceil(BLOCK));
        (self.len, self.durable_len) = (len, len);
    }

    /// Turns bits of one byte in every image of its block: damage of the medium, no write.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        let (block, at) = (offset / BLOCK, place(offset));
        let flipped = |image: Option<&Image>| {
            let mut bytes = image.map_or([0; BLOCK_BYTES], |image| **image);
            bytes[at] ^= mask;
            Arc::new(bytes)
        };
        if offset < self.durable_len {
            let image = flipped(self.durable.get(&block));
            self.durable.insert(block, image);
        }
        if let Entry::Occupied(mut entry) = self.cached.entry(block) {
            let cached = entry.get_mut();
            cached.visible = Some(flipped(cached.visible.as_ref()));
            for pending in &mut cached.pending {
                pending.image = Some(flipped(pending.image.as_ref()));
            }
        }
    }

    fn visible(&self, block: u64) -> Option<&Image> {
        match self.cached.get(&block) {
            Some(cached) => cached.visible.as_ref(),
            None => self.durable.get(&block),
        }
    }

    fn push(&mut self, block: u64, image: Option<Image>, stamp: u64) {
        let cached = self.cached.entry(block).or_default();
        cached.visible = image.clone();
        cached.pending.push(Pending { stamp, image });
    }

    /// After a failed sync the length may be one that was forgotten, so it is compared with the durable one, not with
    /// what it was before the call.
    fn note_len(&mut self) {
        if *self.pending_lens.last().unwrap_or(&self.durable_len) != self.len {
            self.pending_lens.push(self.len);
        }
    }
}

/// Stores an image, or makes a hole.
pub(super) fn put(durable: &mut BTreeMap<u64, Image>, block: u64, image: Option<Image>) {
    match image {
        Some(image) => durable.insert(block, image),
        None => durable.remove(&block),
    };
}

/// The blocks that `len` bytes from `offset` touch.
pub(super) fn block_range(offset: u64, len: u64) -> Range<u64> {
    offset / BLOCK..(offset + len).div_ceil(BLOCK)
}

/// Place in its block.
fn place(offset: u64) -> usize {
    usize::try_from(offset % BLOCK).unwrap_or(0)
}

/// The pieces of `count` bytes at `offset`: block, place in the block, and range in the buffer.
fn parts(offset: u64, count: usize) -> impl Iterator<Item = (u64, usize, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == count {
            return None;
        }
        let position = offset + done as u64;
        let at = place(position);
        let start = done;
        done += (BLOCK_BYTES - at).min(count - done);
        Some((position / BLOCK, at, start..done))
    })
}

//! A file's bytes in memory, and slices of them that keep them there.
//!
//! What it promises: bytes that stay where they are until the last handle and the last slice are gone, slices that cost
//! no copy, and a count of the slices that readers on many threads do not contend for. What it leaves to others: which
//! bytes may be mapped (see [`File::map`](crate::File::map)), and when a file may go.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use bytes::Bytes;
use memmap2::{Mmap, MmapRaw};

/// How many counts share the pins of one mapping. More threads than this share counts, which is slow, never wrong.
const STRIPES: usize = 16;

/// Bytes that the system is advised about at a time.
#[cfg(any(target_os = "linux", target_os = "android"))]
const ADVICE_STEP: usize = 256 << 10;

/// Bytes that a processor fetches at once, on all that matter here.
const CACHE_LINE: usize = 64;
/// A longer run of bytes the processor follows by itself.
const PREFETCHED_LINES: usize = 4;

/// The first bytes of a file, readable without a call to the system.
///
/// A clone is another handle to the same bytes. A mapping needs no open file and no name: it outlives both. The memory
/// goes with the last handle or slice, on the thread that drops it.
#[derive(Clone)]
pub struct Mapping {
    shared: Arc<Shared>,
}

struct Shared {
    memory: Arc<Memory>,
    /// INVARIANT: held here, each for as long as there is a handle, and by slices, once each; by nobody else.
    stripes: [Arc<Stripe>; STRIPES],
}

/// One of the counts: that of the `Arc` around it.
///
/// The alignment reaches from the value to its counts, which stand before it in the same allocation: no two stripes'
/// counts share a cache line, nor a pair of lines that the processor fetches together.
#[repr(align(128))]
struct Stripe {
    memory: Arc<Memory>,
}

enum Memory {
    Mapped(Mmap),
    /// Of a file that is being appended to.
    Growing(Growing),
    /// A copy, where there is no file of the operating system or nothing to map.
    Copied(Vec<u8>),
}

/// Memory of which only the bytes in front of the end are there for readers.
struct Growing {
    memory: MmapRaw,
    /// INVARIANT: only rises, at most to the length of the memory; bytes in front of it are not written any more.
    end: AtomicUsize,
}

/// The one who writes behind the end of a growing mapping, through memory of its own: what readers have stays clean for the
/// system, which otherwise has to interrupt them for every page that it syncs.
#[derive(Debug)]
pub(crate) struct GrowingEnd {
    mapping: Mapping,
    /// The same pages, for writing; none once nothing is appended any more.
    writable: Option<Arc<WritableMemory>>,
}

/// Memory of a file that is written to.
#[derive(Debug)]
pub(crate) struct WritableMemory(MmapRaw);

impl WritableMemory {
    /// Makes pages ready to be written to. Where the system cannot do that, the first write to each does it.
    pub(crate) fn fault_in(&self, range: Range<usize>) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        for step in self.steps(range) {
            // Older systems do not know the advice.
            let _ = self.0.advise_range(memmap2::Advice::PopulateWrite, step.start, step.len());
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = range;
    }

    /// The reverse, for pages that are not written to any more.
    pub(crate) fn settle(&self, range: Range<usize>) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        for step in self.steps(range) {
            self.settle_step(&step);
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = range;
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[expect(
        unsafe_code,
        reason = "of memory that is private to a process, this advice would lose what was written"
    )]
    fn settle_step(&self, step: &Range<usize>) {
        // SAFETY: the map is shared, so the pages are the file's own and keep what was written to them: only this process's
        // way to them goes, and comes back with the next access. Nobody has a reference into this map.
        let _ = unsafe {
            self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, step.start, step.len())
        };
    }

    /// While the system works on a range, threads that need more memory wait for it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn steps(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let end = range.end.min(self.0.len());
        (range.start..end).step_by(ADVICE_STEP).map(move |start| start..end.min(start + ADVICE_STEP))
    }
}

/// A part of the mapping's bytes, and the pin that keeps them.
struct Pinned {
    stripe: Arc<Stripe>,
    range: Range<usize>,
}

/// How the bytes of a mapping are going to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// From the front to the back: read far ahead.
    Sequential,
    /// Here and there: do not read ahead.
    Random,
    /// Soon: begin to read all of it now.
    WillNeed,
}

impl Mapping {
    pub(crate) fn mapped(mmap: Mmap) -> Self {
        Mapping::over(Memory::Mapped(mmap))
    }

    /// A mapping whose bytes are those of `memory` up to an end that rises; and who makes it rise, through `writable`.
    /// INVARIANT: both are shared maps of the same bytes of one file, and whoever writes into it otherwise stays behind the
    /// end and before nobody's `append`.
    pub(crate) fn growing(memory: MmapRaw, writable: MmapRaw, end: usize) -> (Mapping, GrowingEnd) {
        let end = AtomicUsize::new(end.min(memory.len()).min(writable.len()));
        let mapping = Mapping::over(Memory::Growing(Growing { memory, end }));
        let writable = Some(Arc::new(WritableMemory(writable)));
        (mapping.clone(), GrowingEnd { mapping, writable })
    }

    fn over(memory: Memory) -> Self {
        let memory = Arc::new(memory);
        let stripes = std::array::from_fn(|_| Arc::new(Stripe { memory: Arc::clone(&memory) }));
        Mapping { shared: Arc::new(Shared { memory, stripes }) }
    }

    /// All the bytes, exactly as many as were asked for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.shared.memory.bytes()
    }

    /// The bytes of `range` without copying them; `None` when it is not wholly inside, or ends before it begins.
    ///
    /// The slice pins the mapping, also when it is empty. Its clones and their parts belong to the same pin, which ends
    /// when the last of them is dropped.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        self.bytes().get(range.clone())?;
        let stripe = Arc::clone(&self.shared.stripes[own_stripe() % STRIPES]);
        Some(Bytes::from_owner(Pinned { stripe, range }))
    }

    /// As [`Mapping::slice`], for a part of [`Mapping::bytes`]; `None` when it is not one.
    #[must_use]
    pub fn slice_of(&self, part: &[u8]) -> Option<Bytes> {
        let start = part.as_ptr().addr().checked_sub(self.bytes().as_ptr().addr())?;
        self.slice(start..start.checked_add(part.len())?)
    }

    /// Begins to fetch the bytes of `range` into the processor's caches, the first few lines of them, and does not wait. A
    /// hint: nothing happens where they are not inside, or the processor has no such instruction.
    #[inline]
    pub fn prefetch(&self, range: Range<usize>) {
        if let Some(bytes) = self.bytes().get(range) {
            bytes.chunks(CACHE_LINE).take(PREFETCHED_LINES).for_each(prefetch);
        }
    }

    /// How many slices are alive.
    ///
    /// The counts are read one after the other. While others may call [`Mapping::slice`], the sum is an estimate: it
    /// may miss a slice that is being made, and may even be 0 though at every moment some slice was alive. Once nobody
    /// can call it any more (no other thread can reach a handle, and every call that had begun was seen to end), pins
    /// only end: then the sum is never below the number of slices that are alive when it returns, and 0 is final.
    /// All reads through the pins that had ended happen before the return.
    #[must_use]
    pub fn pins(&self) -> usize {
        // Each count has the mapping's own share in it.
        let pins = self.shared.stripes.iter().map(|stripe| Arc::strong_count(stripe) - 1).sum();
        // An `Arc` gives its share back with release order, but asking for the count orders nothing.
        fence(Ordering::Acquire);
        pins
    }

    /// Tells the system how the bytes are going to be read. It changes no byte, and nothing at all where the system has
    /// no such call or the bytes are a copy.
    ///
    /// # Errors
    /// Whatever the system answers; the mapping stays usable.
    pub fn advise(&self, advice: Advice) -> io::Result<()> {
        match &*self.shared.memory {
            Memory::Mapped(mmap) => advise(mmap, advice),
            Memory::Growing(_) | Memory::Copied(_) => Ok(()),
        }
    }
}

/// A mapping of bytes that were read, for file systems that have nothing to map.
impl From<Vec<u8>> for Mapping {
    fn from(bytes: Vec<u8>) -> Self {
        Mapping::over(Memory::Copied(bytes))
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").field("len", &self.bytes().len()).field("pins", &self.pins()).finish()
    }
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Memory::Mapped(mmap) => mmap,
            Memory::Growing(growing) => growing.bytes(),
            Memory::Copied(bytes) => bytes,
        }
    }
}

impl Growing {
    #[expect(unsafe_code, reason = "the memory is written behind the end while it is read in front of it")]
    fn bytes(&self) -> &[u8] {
        let end = self.end.load(Ordering::Acquire);
        // SAFETY: the pointer is that of a live map of at least `end` bytes, from which the file does not shrink while it is
        // mapped. No byte in front of the end is written: `GrowingEnd` writes at and behind it, raises it afterwards with
        // release order, and never lowers it; for positioned writes and other processes what stands at `map` in real.rs holds.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), end) }
    }
}

impl GrowingEnd {
    fn growing(&self) -> Option<&Growing> {
        match &*self.mapping.shared.memory {
            Memory::Growing(growing) => Some(growing),
            _ => None,
        }
    }

    pub(crate) fn end(&self) -> usize {
        self.growing().map_or(0, |growing| growing.end.load(Ordering::Relaxed))
    }

    /// Copies `bytes` to the end; says whether there is memory for them. The file must have the blocks.
    #[expect(unsafe_code, reason = "the memory is read in front of the end while it is written behind it")]
    pub(crate) fn append(&mut self, bytes: &[u8]) -> bool {
        let (Some(growing), Some(writable)) = (self.growing(), &self.writable) else { return false };
        let (end, len) = (growing.end.load(Ordering::Relaxed), growing.memory.len().min(writable.0.len()));
        let Some(new) = end.checked_add(bytes.len()).filter(|new| *new <= len) else { return false };
        // SAFETY: the map is writable and has `new` bytes. Nobody else has a reference to those behind the end, at this
        // address or at that of the readers' map: readers see what is in front of it, and there is one `GrowingEnd` for
        // both maps, borrowed mutably here. `bytes` may not lie there for the same reason.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), writable.0.as_mut_ptr().add(end), bytes.len());
        }
        growing.end.store(new, Ordering::Release);
        true
    }

    /// The memory that is written to, for as long as there is some.
    pub(crate) fn writable(&self) -> Option<Arc<WritableMemory>> {
        self.writable.clone()
    }

    /// Gives up the memory that is written to.
    pub(crate) fn stop(&mut self) {
        self.writable = None;
    }

    pub(crate) fn skip_to(&mut self, end: usize) {
        if let Some(growing) = self.growing() {
            growing.end.fetch_max(end.min(growing.memory.len()), Ordering::Release);
        }
    }
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        // `slice` has looked, and the memory never changes its length.
        self.stripe.memory.bytes().get(self.range.clone()).unwrap_or_default()
    }
}

/// The stripe of the calling thread. They are given out in turn, so that up to [`STRIPES`] threads that start together
/// share none.
fn own_stripe() -> usize {
    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(NONE) };
    }
    OWN.with(|own| {
        if own.get() == NONE {
            own.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        own.get()
    })
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the instruction takes an address")]
fn prefetch(bytes: &[u8]) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: the instruction is part of SSE, which every x86-64 has; it changes nothing and raises no fault, whatever the
    // address, and this one is of a live slice.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast());
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn prefetch(_bytes: &[u8]) {}

#[cfg(unix)]
fn advise(mmap: &Mmap, advice: Advice) -> io::Result<()> {
    mmap.advise(match advice {
        Advice::Sequential => memmap2::Advice::Sequential,
        Advice::Random => memmap2::Advice::Random,
        Advice::WillNeed => memmap2::Advice::WillNeed,
    })
}

#[cfg(not(unix))]
fn advise(_mmap: &Mmap, _advice: Advice) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_as_far_apart_as_their_stripes_are_aligned() {
        let mapping = Mapping::from(vec![]);
        let mut places: Vec<usize> =
            mapping.shared.stripes.iter().map(|stripe| Arc::as_ptr(stripe).addr()).collect();
        places.sort_unstable();
        assert!(places.iter().all(|place| place % 128 == 0));
        // Between two values there is at least one whole count's line.
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 256));
    }

    #[test]
    fn a_prefetch_changes_nothing_wherever_it_points() {
        let mapping = Mapping::from((0..=255).collect::<Vec<u8>>());
        for range in [0..0, 3..256, 0..1, 300..400, usize::MAX - 1..usize::MAX] {
            mapping.prefetch(range);
        }
        assert_eq!((mapping.bytes().len(), mapping.pins()), (256, 0));
    }

    #[test]
    fn a_part_is_sliced_where_it_stands_and_nothing_else() {
        let mapping = Mapping::from((0..=255).collect::<Vec<u8>>());
        let part = &mapping.bytes()[17..40];
        let slice = mapping.slice_of(part).unwrap();
        assert!(slice == part && slice.as_ptr() == part.as_ptr());
        assert_eq!(mapping.pins(), 1);
        assert_eq!(mapping.slice_of(&mapping.bytes()[256..]).unwrap(), b"".as_slice());
        let foreign = part.to_vec();
        assert!(mapping.slice_of(&foreign).is_none());
    }

    #[test]
    fn a_thread_keeps_to_one_stripe() {
        let mapping = Mapping::from(vec![1, 2, 3]);
        let slices: Vec<Bytes> = (0..10).filter_map(|_| mapping.slice(1..2)).collect();
        let counts = || mapping.shared.stripes.iter().map(|stripe| Arc::strong_count(stripe) - 1);
        assert_eq!((counts().max(), counts().sum::<usize>()), (Some(10), 10));
        drop(slices);
        assert_eq!(counts().sum::<usize>(), 0);
    }

    #[test]
    fn threads_in_turn_take_all_stripes() {
        let mapping = Mapping::from(vec![1]);
        // Other tests may take numbers in between, but none can take this many.
        let slice = |_| {
            std::thread::spawn({
                let mapping = mapping.clone();
                move || mapping.slice(0..1)
            })
        };
        let slices: Vec<_> = (0..100 * STRIPES).map(|n| slice(n).join().unwrap()).collect();
        assert!(mapping.shared.stripes.iter().all(|stripe| Arc::strong_count(stripe) > 1));
        assert_eq!(mapping.pins(), slices.len());
    }
}

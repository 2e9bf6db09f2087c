//! The index crate through its public face. Here: RAM of the key index by a counting allocator, all the way up: there is no step
//! at which it doubles.
#![allow(clippy::unwrap_used)]

mod views;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use nadb_core::{KeyHash, Location, NamespaceId, SegmentId};
use nadb_index::KeyIndex;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; only a counter is kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_key_takes_at_most_24_bytes_at_every_size_above_100_000() {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let index = KeyIndex::new();
    let mut worst = (0.0, 0);
    for n in 0..10_000_000u32 {
        let at = Location { segment: SegmentId(n >> 20), offset: n, len: 190 };
        index.insert(KeyHash::new(7, NamespaceId(1), &n.to_le_bytes()), at);
        if n >= 100_000 && n % 10_000 == 0 {
            let bytes = ALLOCATED.load(Ordering::Relaxed) - before;
            let per_key = bytes as f64 / f64::from(n + 1);
            if per_key > worst.0 {
                worst = (per_key, n);
            }
        }
    }
    println!("at most {:.2} bytes a key, at {} keys", worst.0, worst.1);
    assert!(worst.0 <= 24.0, "{:.2} bytes a key at {} keys", worst.0, worst.1);
    let counted = usize::try_from(index.memory_bytes()).unwrap_or_default();
    let real = ALLOCATED.load(Ordering::Relaxed) - before;
    assert!(counted.abs_diff(real) < real / 100, "the index says {counted} bytes, the allocator {real}");
}

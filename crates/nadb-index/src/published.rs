//! A value that is read all the time and replaced as a whole, rarely.
//!
//! It promises that reading takes no lock and never waits, that a reader sees one value or the next and never a mixture, and that a
//! replaced value is dropped only after its last reader has left. It rests on epochs (Fraser, "Practical lock-freedom",
//! University of Cambridge 2004), as crossbeam has them. It leaves to others what the value is, and not to hold
//! a guard for long: while one is held, nothing that was replaced since then is dropped, in any `Published` of the process.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use crossbeam_epoch::{self as epoch, Atomic, Guard, Owned};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;

/// An immutable value that can be replaced as a whole while others read it.
///
/// ```
/// use nadb_index::Published;
/// let names = Published::new(vec!["a"]);
/// names.update(|old| old.iter().copied().chain(["b"]).collect());
/// assert_eq!(names.with(Vec::len), 2);
/// assert_eq!(*names.load(), ["a", "b"]);
/// ```
pub struct Published<T: Send + Sync + 'static> {
    /// INVARIANT: never null. It owns the value.
    current: Atomic<T>,
    /// Held by who replaces the value.
    writing: Mutex<()>,
}

/// A value as it was when it was loaded, for as long as this is held: as short as can be.
pub struct PublishedGuard<'a, T> {
    value: NonNull<T>,
    _pin: Guard,
    _published: PhantomData<&'a T>,
}

impl<T: Send + Sync + 'static> Published<T> {
    /// Publishes a first value.
    #[must_use]
    pub fn new(value: T) -> Published<T> {
        Published { current: Atomic::new(value), writing: Mutex::new(()) }
    }

    /// The current value. It stays as it is while the guard is held, also when it is replaced meanwhile.
    #[must_use]
    pub fn load(&self) -> PublishedGuard<'_, T> {
        let pin = epoch::pin();
        let raw = self.current.load(Ordering::Acquire, &pin).as_raw().cast_mut();
        #[expect(unsafe_code, reason = "an epoch says until when the value is there, not a borrow")]
        // SAFETY: `current` is never null: `new` and `replace` put an allocated value into it, and nothing else changes it.
        let value = unsafe { NonNull::new_unchecked(raw) };
        PublishedGuard { value, _pin: pin, _published: PhantomData }
    }

    /// Drops what was replaced, as far as nobody reads it any more: where nothing is loaded or stored for a while, nobody else does.
    pub fn let_go() {
        collect();
    }

    /// Reads the current value.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.load())
    }

    /// Replaces the value. The old one is dropped when its last reader has left: at once where there is none, else by some later
    /// `load` or `store` on any thread.
    pub fn store(&self, value: T) {
        let writing = self.writing.lock();
        self.replace(value);
        drop(writing);
        collect();
    }

    /// Replaces the value by one made of it; who else replaces it waits. `make` may read this value, and must not replace it.
    /// When `make` panics nothing has changed.
    pub fn update(&self, make: impl FnOnce(&T) -> T) {
        let writing = self.writing.lock();
        let value = self.with(make);
        self.replace(value);
        drop(writing);
        collect();
    }

    fn replace(&self, value: T) {
        let pin = epoch::pin();
        let old = self.current.swap(Owned::new(value), Ordering::AcqRel, &pin);
        #[expect(unsafe_code, reason = "an epoch says until when the value is there, not a borrow")]
        // SAFETY: the swap took `old` out of the only place where it can be found, so no `load` that pins from now on reaches
        // it, and those that reached it are pinned. It is taken out once, so it is destroyed once. It came from an `Owned`
        // of this type. `T: Send + 'static`: any thread may drop it, at any later time.
        unsafe {
            pin.defer_destroy(old);
        }
    }
}

/// Drops what no one reads any more. It takes three steps: handing over this thread's list, and two epochs. Replacing is
/// rare, and what was replaced may hold files, so it should not wait for the next time.
fn collect() {
    (0..3).for_each(|_| epoch::pin().flush());
}

impl<T> Deref for PublishedGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        #[expect(unsafe_code, reason = "an epoch says until when the value is there, not a borrow")]
        // SAFETY: `value` is aligned and initialized, for it came from an `Owned<T>` whose making happened before the acquiring
        // load. It is not freed: `replace` defers that until the pin that was taken before the load, and is held by
        // this guard, is gone; and `Drop` of the `Published` needs it exclusively, while this guard borrows it for 'a. It is not
        // changed: nobody makes a `&mut T` of a published value.
        unsafe {
            self.value.as_ref()
        }
    }
}

impl<T: Send + Sync + 'static> Drop for Published<T> {
    fn drop(&mut self) {
        let current = std::mem::replace(&mut self.current, Atomic::null());
        #[expect(unsafe_code, reason = "the value is owned through an atomic pointer")]
        // SAFETY: it is not null and came from an `Owned<T>`. `&mut self`: no guard borrows this, so nobody reads the value, and
        // nobody replaces it. It is in no epoch's list, for only replaced values are. It is taken out, so it is dropped once.
        let current = unsafe { current.into_owned() };
        drop(current);
    }
}

impl<T: Send + Sync + Default + 'static> Default for Published<T> {
    fn default() -> Self {
        Published::new(T::default())
    }
}

impl<T: fmt::Debug + Send + Sync + 'static> fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Published").field(&*self.load()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for PublishedGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    /// Until `counted` has no other owner left. Other tests of the process may hold pins for a moment.
    fn wait_until_alone(counted: &Arc<()>) {
        while Arc::strong_count(counted) > 1 {
            collect();
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_reader_keeps_the_value_that_it_loaded() {
        let counted = Arc::new(());
        let published = Published::new((1, Arc::clone(&counted)));
        let first = published.load();
        published.store((2, Arc::new(())));
        published.store((3, Arc::new(())));
        assert_eq!((first.0, published.load().0), (1, 3));
        assert_eq!(Arc::strong_count(&counted), 2, "what is read is not dropped");
        drop(first);
        wait_until_alone(&counted);
    }

    #[test]
    fn dropping_it_drops_the_current_value_at_once() {
        let counted = Arc::new(());
        drop(Published::new(Arc::clone(&counted)));
        assert_eq!(Arc::strong_count(&counted), 1);
    }

    #[test]
    fn an_update_that_panics_changes_nothing_and_the_next_one_works() {
        let published = Published::new(1);
        assert!(catch_unwind(AssertUnwindSafe(|| published.update(|_| panic!("no")))).is_err());
        assert_eq!(published.with(|value| *value), 1);
        published.update(|value| value + 1);
        assert_eq!(format!("{published:?}"), "Published(2)");
    }

    #[test]
    fn it_goes_to_other_threads_and_a_guard_does_not() {
        fn goes<T: Send + Sync>() {}
        goes::<Published<Vec<u8>>>();
    }
}

//! The atomics and the lock of what is model-checked: the usual ones, or loom's in the models.
//!
//! Only what a protocol between threads is made of goes through here. `OnceLock` has no twin in loom, so what grows is made
//! before a model's threads begin.

#[cfg(not(all(loom, test)))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
#[cfg(all(loom, test))]
pub(crate) use twin::Mutex;

/// Whether this is a build of the models: then structures begin small, for loom follows every atomic.
pub(crate) const IS_MODEL: bool = cfg!(all(loom, test));

#[cfg(all(loom, test))]
mod twin {
    use std::fmt;

    /// loom's lock with the face of parking_lot's.
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Mutex::new(T::default())
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Mutex")
        }
    }
}

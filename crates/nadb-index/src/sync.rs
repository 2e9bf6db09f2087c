//! The atomics and the lock of what is model-checked: the usual ones, or loom's in the models.
//!
//! Only what a protocol between threads is made of goes through here. `OnceLock` has no twin in loom, so what grows is made
//! before a model's threads begin.

#[cfg(not(all(loom, test)))]
pub(crate) use parking_lot::Mutex;
#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::atomic::Ordering;
#[cfg(all(loom, test))]
pub(crate) use twin::{AtomicU64, AtomicUsize, Mutex};

/// Whether this is a build of the models: then structures begin small, for loom follows every atomic.
pub(crate) const IS_MODEL: bool = cfg!(all(loom, test));

#[cfg(all(loom, test))]
mod twin {
    use loom::sync::atomic::{self, Ordering};

    /// loom's atomic, with a second one that every access touches before.
    ///
    /// loom (0.7) knows only the last access to an atomic when it looks for orders to try. A thread that loads and then changes
    /// an atomic hides by its own load the load of another thread, and the order in which the change comes first is never tried.
    /// The touch makes every two accesses depend on each other, so all orders are tried. It is relaxed: it synchronizes
    /// nothing, and which values a load may see stays as it is.
    macro_rules! atomic {
        ($name:ident, $of:ty) => {
            pub(crate) struct $name {
                touched: atomic::AtomicUsize,
                value: atomic::$name,
            }

            #[allow(dead_code, reason = "the same for each type")]
            impl $name {
                pub(crate) fn new(value: $of) -> $name {
                    $name { touched: atomic::AtomicUsize::new(0), value: atomic::$name::new(value) }
                }

                fn touched(&self) -> &atomic::$name {
                    self.touched.fetch_add(1, Ordering::Relaxed);
                    &self.value
                }

                pub(crate) fn load(&self, order: Ordering) -> $of {
                    self.touched().load(order)
                }

                pub(crate) fn store(&self, value: $of, order: Ordering) {
                    self.touched().store(value, order);
                }

                pub(crate) fn fetch_add(&self, value: $of, order: Ordering) -> $of {
                    self.touched().fetch_add(value, order)
                }

                pub(crate) fn fetch_sub(&self, value: $of, order: Ordering) -> $of {
                    self.touched().fetch_sub(value, order)
                }

                pub(crate) fn fetch_or(&self, value: $of, order: Ordering) -> $of {
                    self.touched().fetch_or(value, order)
                }

                pub(crate) fn fetch_and(&self, value: $of, order: Ordering) -> $of {
                    self.touched().fetch_and(value, order)
                }
            }

            impl Default for $name {
                fn default() -> $name {
                    $name::new(0)
                }
            }
        };
    }

    atomic!(AtomicU64, u64);
    atomic!(AtomicUsize, usize);

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
}

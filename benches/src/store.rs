//! What users do, through the public face: sets and gets of single keys, by one or several threads.

use std::thread;

use nadb::{Namespace, Result};

use crate::data::{KEY_BYTES, Key, Random, VALUE_BYTES, Values, key, keys};

/// Sets of single keys, prepared so that only the sets are timed.
#[derive(Debug)]
pub struct Sets {
    keys: Vec<Key>,
    values: Values,
}

impl Sets {
    /// `size` sets of as many different keys.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> Sets {
        Sets { keys: keys(0..size, seed), values: Values::new(seed) }
    }

    /// `size` sets of keys drawn from the `of` keys that [`Sets::new`] would set.
    #[must_use]
    pub fn drawn(size: u64, of: u64, seed: u64) -> Sets {
        Sets { keys: drawn(size, 0, of, seed), values: Values::new(seed ^ 1) }
    }

    /// Runs all sets, shared out over `threads`.
    ///
    /// # Errors
    /// The first error of the store.
    pub fn run(&self, namespace: &Namespace, threads: usize) -> Result<()> {
        let work = |keys: &[Key]| {
            for (number, key) in keys.iter().enumerate() {
                namespace.set(key, self.values.of(number))?;
            }
            Ok(())
        };
        shared_out(&self.keys, threads, work).map(drop)
    }

    /// Bytes that the user hands over: keys and values.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        (self.keys.len() * (KEY_BYTES + VALUE_BYTES)) as u64
    }
}

/// Gets of single keys, prepared so that only the gets are timed.
#[derive(Debug)]
pub struct Gets {
    keys: Vec<Key>,
}

/// What gets found. Summing it up keeps the compiler from leaving the gets out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys that were there.
    pub hits: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Gets {
    /// `size` gets, uniformly drawn from the `of` keys that [`Sets::new`] sets with this seed.
    #[must_use]
    pub fn hits(size: u64, of: u64, seed: u64) -> Gets {
        Gets { keys: drawn(size, 0, of, seed) }
    }

    /// `size` gets of keys that [`Sets::new`] with up to `of` keys does not set.
    #[must_use]
    pub fn misses(size: u64, of: u64, seed: u64) -> Gets {
        Gets { keys: drawn(size, of, of, seed) }
    }

    /// How many gets these are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Whether there is nothing to get.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Runs all gets, shared out over `threads`.
    ///
    /// # Errors
    /// The first error of the store.
    pub fn run(&self, namespace: &Namespace, threads: usize) -> Result<Found> {
        let work = |keys: &[Key]| {
            let mut found = Found::default();
            for key in keys {
                if let Some(value) = namespace.get(key)? {
                    found.hits += 1;
                    found.bytes += value.len() as u64;
                }
            }
            Ok(found)
        };
        let parts = shared_out(&self.keys, threads, work)?;
        let sum =
            |all: Found, part: &Found| Found { hits: all.hits + part.hits, bytes: all.bytes + part.bytes };
        Ok(parts.iter().fold(Found::default(), sum))
    }
}

/// `size` keys out of the numbers `first..first + of`.
fn drawn(size: u64, first: u64, of: u64, seed: u64) -> Vec<Key> {
    let mut random = Random::new(seed ^ 0x6472_6177);
    (0..size).map(|_| key(first + random.below(of), seed)).collect()
}

/// Gives each of `threads` its part of the keys; one thread is the caller's own.
fn shared_out<T: Send>(
    keys: &[Key],
    threads: usize,
    work: impl Fn(&[Key]) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    if threads <= 1 {
        return Ok(vec![work(keys)?]);
    }
    let work = &work;
    let parts = keys.chunks(keys.len().div_ceil(threads).max(1));
    thread::scope(|scope| {
        let running: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
        let joined = running.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    })
}

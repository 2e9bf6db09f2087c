//! What is asked of a copy, how far one has come, and what it did.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use nadb_core::ScanRequest;

use super::pairs::{Pair, difference};

/// A place in the order of a copy: namespaces by name, in each the keys. Everything up to it is copied, it too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPosition {
    /// The namespace's name.
    pub namespace: String,
    /// The last key that is copied.
    pub key: Vec<u8>,
}

/// What a copy is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CopyPhase {
    /// Records go from one store to the other.
    #[default]
    Copying,
    /// Both stores are compared.
    Comparing,
}

/// How far a copy has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopyProgress {
    /// What it is doing.
    pub phase: CopyPhase,
    /// Records that this phase has looked at.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Records that there were in the source when it began, those that have expired perhaps among them.
    pub total: u64,
    /// Where a later copy can go on: what is before it is in the target, as durable as the target's backend can make it.
    pub position: Option<CopyPosition>,
}

type Observer = Arc<dyn Fn(&CopyProgress) -> ControlFlow<()> + Send + Sync>;

/// What a copy is to do.
///
/// ```
/// use nadb::{CopyRequest, Store};
/// use std::ops::ControlFlow;
/// let (old, new) = (Store::memory()?, Store::memory()?);
/// old.namespace("a")?.set("k", "v")?;
/// old.namespace("b")?.set("k", "v")?;
/// let request = CopyRequest::new().namespace("a").on_progress(|progress| {
///     println!("{} of {}", progress.records, progress.total);
///     ControlFlow::Continue(())
/// });
/// assert_eq!(old.copy_to(&new, &request)?.written, 1);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct CopyRequest {
    /// Only these namespaces; empty: all.
    pub namespaces: Vec<String>,
    /// Where an earlier copy came to; only what is behind it is copied, and everything is compared.
    pub after: Option<CopyPosition>,
    on_progress: Option<Observer>,
}

impl CopyRequest {
    /// Everything, from the beginning, with nobody told.
    #[must_use]
    pub fn new() -> CopyRequest {
        CopyRequest::default()
    }

    /// Only this namespace, and others that are named so.
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> CopyRequest {
        self.namespaces.push(name.into());
        self
    }

    /// Goes on where an earlier copy of the same stores came to, which may have been broken off in any way. It saves reading again what
    /// was copied; without it, too, nothing is written twice.
    #[must_use]
    pub fn after(mut self, position: CopyPosition) -> CopyRequest {
        self.after = Some(position);
        self
    }

    /// Tells `observer` how far it has come, a thousand records apart; [`ControlFlow::Break`] ends it.
    #[must_use]
    pub fn on_progress(
        mut self,
        observer: impl Fn(&CopyProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> CopyRequest {
        self.on_progress = Some(Arc::new(observer));
        self
    }

    pub(super) fn tell(&self, progress: &CopyProgress) -> ControlFlow<()> {
        self.on_progress.as_ref().map_or(ControlFlow::Continue(()), |observer| observer(progress))
    }

    pub(super) fn is_meant(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| name == namespace)
    }

    /// What is to be copied of a namespace; `None` where an earlier copy has done all.
    pub(super) fn scan_of(&self, namespace: &str) -> Option<ScanRequest> {
        match &self.after {
            Some(after) if *namespace < *after.namespace => None,
            Some(after) if *namespace == *after.namespace => Some(ScanRequest::all().after(&after.key)),
            _ => Some(ScanRequest::all()),
        }
    }
}

impl fmt::Debug for CopyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CopyRequest");
        shown.field("namespaces", &self.namespaces).field("after", &self.after).finish_non_exhaustive()
    }
}

/// The records of one store, counted and summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopySum {
    /// Records.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// XXH3-64 of namespaces, keys, values, times, tags, media types and attributes, in order.
    pub checksum: u64,
}

/// Where two stores differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyDifference {
    /// The namespace's name.
    pub namespace: String,
    /// The key.
    pub key: Vec<u8>,
    /// What is different of the key in the target, in words that go on behind it.
    pub what: &'static str,
}

/// What a copy did, and what comparing both stores gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CopyReport {
    /// Namespaces that were copied.
    pub namespaces: u64,
    /// Records that were written.
    pub written: u64,
    /// Bytes of their values.
    pub written_bytes: u64,
    /// Records that were in the target already, just as they are.
    pub unchanged: u64,
    /// All records of these namespaces in the source.
    pub from: CopySum,
    /// All of them in the target.
    pub to: CopySum,
    /// Keys that differ, or are in one store alone.
    pub differing: u64,
    /// The first of them.
    pub first_difference: Option<CopyDifference>,
    /// Whether it was ended by who was told of its progress. The sums, and perhaps the differences, were not found out then.
    pub ended_early: bool,
}

impl CopyReport {
    /// Whether both stores have been compared and have the same records.
    #[must_use]
    pub fn is_same(&self) -> bool {
        !self.ended_early && self.differing == 0 && self.from == self.to
    }

    pub(super) fn note(&mut self, namespace: &str, pair: &Pair) {
        let what = match pair {
            Pair::Both(from, to) => difference(from, to),
            Pair::From(_) => Some("is missing"),
            Pair::To(_) => Some("is there, and not in the source"),
        };
        let Some(what) = what else { return };
        self.differing += 1;
        if self.first_difference.is_none() {
            let key = pair.entry().key.clone();
            self.first_difference = Some(CopyDifference { namespace: namespace.to_owned(), key, what });
        }
    }
}

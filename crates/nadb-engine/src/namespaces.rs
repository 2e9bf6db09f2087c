//! The namespaces: by name for whoever reads and writes now, and those that were dropped for as long as an open view may ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nadb_core::limits::NAMESPACE_ID_MAX;
use nadb_core::{Error, NamespaceId, Result, Seq, guard};
use nadb_index::Published;
use parking_lot::{Mutex, RwLock};

use crate::tag_counts::TagCounts;
use crate::view::ViewsState;

/// One namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    pub(crate) keys: AtomicU64,
    pub(crate) tag_counts: TagCounts,
    /// Writers hold it shared from looking the namespace up until their write is visible; a drop holds it alone.
    pub(crate) gate: RwLock<()>,
    /// The last number of the frame that made it; 0 until then.
    created: AtomicU64,
    /// The last number of the frame that dropped it; 0 until then.
    dropped: AtomicU64,
}

impl Namespace {
    pub(crate) fn new(id: NamespaceId, name: &str) -> Namespace {
        Namespace {
            id,
            name: name.to_owned(),
            keys: AtomicU64::new(0),
            tag_counts: TagCounts::default(),
            gate: RwLock::new(()),
            created: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_created(&self, seq: Seq) {
        self.created.store(seq.0, Ordering::Release);
    }

    pub(crate) fn created(&self) -> Seq {
        Seq(self.created.load(Ordering::Acquire))
    }

    pub(crate) fn is_dropped(&self) -> bool {
        self.dropped.load(Ordering::Acquire) != 0
    }

    /// Whether a view at this watermark has it.
    fn exists_at(&self, watermark: Seq) -> bool {
        let dropped = self.dropped.load(Ordering::Acquire);
        self.created.load(Ordering::Acquire) <= watermark.0 && (dropped == 0 || dropped > watermark.0)
    }
}

type ByName = BTreeMap<String, Arc<Namespace>>;

/// All namespaces.
#[derive(Debug)]
pub(crate) struct Namespaces {
    /// Those that have been there for some time: read without a lock. Some of them may have been dropped since, and their
    /// names been given again.
    settled: Published<ByName>,
    /// All the others. Who changes either of the two holds this lock.
    recent: RwLock<ByName>,
    /// Dropped, with keys that may still be in the index.
    dropped: Mutex<Vec<Arc<Namespace>>>,
    next: AtomicU32,
}

impl Namespaces {
    pub(crate) fn new() -> Namespaces {
        Namespaces {
            settled: Published::new(ByName::new()),
            recent: RwLock::default(),
            dropped: Mutex::default(),
            next: AtomicU32::new(1),
        }
    }

    /// What `read` makes of the namespace that has this name.
    fn with<T>(&self, name: &str, read: impl Fn(&Arc<Namespace>) -> T) -> Option<T> {
        let is_there = |namespace: &&Arc<Namespace>| !namespace.is_dropped();
        let settled = || self.settled.with(|by_name| by_name.get(name).filter(is_there).map(&read));
        settled().or_else(|| {
            // Under the lock once more: it may have gone from the one to the other between the two looks.
            let recent = self.recent.read();
            recent.get(name).map(&read).or_else(settled)
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.with(name, Arc::clone)
    }

    /// As [`Namespaces::get`], for readers, who need no more than the id: many of them at once do not contend for anything.
    pub(crate) fn id_of(&self, name: &str) -> Option<NamespaceId> {
        self.with(name, |namespace| namespace.id)
    }

    /// In the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Namespace>> {
        self.all_with(&self.recent.read())
    }

    fn all_with(&self, recent: &ByName) -> Vec<Arc<Namespace>> {
        let is_there = |namespace: &&Arc<Namespace>| !namespace.is_dropped();
        let mut all: Vec<_> =
            self.settled.with(|by_name| by_name.values().filter(is_there).cloned().collect());
        all.extend(recent.values().cloned());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The namespace that had this name at a view's moment.
    pub(crate) fn get_at(&self, name: &str, watermark: Seq) -> Option<Arc<Namespace>> {
        // The list of the dropped first: what is dropped between the two looks is found at one of them.
        let now = self.get(name).filter(|namespace| namespace.exists_at(watermark));
        let is_it = |namespace: &&Arc<Namespace>| namespace.name == name && namespace.exists_at(watermark);
        now.or_else(|| self.dropped.lock().iter().find(is_it).cloned())
    }

    /// Those that existed at a view's moment, in the order of their names.
    pub(crate) fn all_at(&self, watermark: Seq) -> Vec<Arc<Namespace>> {
        // While nothing is dropped: each is in one of the two lists.
        let recent = self.recent.read();
        let mut found = self.all_with(&recent);
        found.extend(self.dropped.lock().iter().cloned());
        drop(recent);
        found.retain(|namespace| namespace.exists_at(watermark));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// A namespace that nobody sees before its create record is published.
    pub(crate) fn prepare(&self, name: &str) -> Result<Arc<Namespace>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if id > NAMESPACE_ID_MAX {
            return Err(Error::limit(
                "the store has used up its namespace ids; copy its records into a new store",
            ));
        }
        Ok(Arc::new(Namespace::new(NamespaceId(id), name)))
    }

    /// Ids up to this one are not given again.
    pub(crate) fn reserve_id(&self, id: NamespaceId) {
        self.next.fetch_max(id.0.saturating_add(1), Ordering::Relaxed);
    }

    /// The id that the next namespace gets.
    pub(crate) fn next_id(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Forgets all of them, and which ids were given.
    pub(crate) fn clear(&self) {
        let mut recent = self.recent.write();
        recent.clear();
        self.settled.store(ByName::new());
        drop(recent);
        self.dropped.lock().clear();
        self.next.store(1, Ordering::Relaxed);
    }

    /// From now on it is there.
    pub(crate) fn add(&self, namespace: &Arc<Namespace>) {
        let mut recent = self.recent.write();
        recent.insert(namespace.name.clone(), Arc::clone(namespace));
        // The published map is copied whole, so that is done for many at once where it is large.
        if recent.len() > self.settled.with(ByName::len) / 8 {
            self.settled.update(|settled| {
                let is_there = |(_, namespace): &(&String, &Arc<Namespace>)| !namespace.is_dropped();
                let owned =
                    |(name, namespace): (&String, &Arc<Namespace>)| (name.clone(), Arc::clone(namespace));
                settled.iter().filter(is_there).chain(recent.iter()).map(owned).collect()
            });
            recent.clear();
        }
    }

    /// The namespace's name is free again; its keys are to be purged.
    pub(crate) fn drop_at(&self, namespace: &Arc<Namespace>, seq: Seq) {
        // Both under the lock: at any moment a view finds it in one of the two lists.
        let mut recent = self.recent.write();
        self.dropped.lock().push(Arc::clone(namespace));
        namespace.dropped.store(seq.0, Ordering::Release);
        if recent.get(&namespace.name).is_some_and(|have| have.id == namespace.id) {
            recent.remove(&namespace.name);
        }
    }

    /// Dropped namespaces that no view has, of those that are open and those to come.
    pub(crate) fn purgeable(&self, views: &ViewsState) -> Vec<Arc<Namespace>> {
        let is_gone = |namespace: &&Arc<Namespace>| {
            let created = Seq(namespace.created.load(Ordering::Acquire));
            let dropped = Seq(namespace.dropped.load(Ordering::Acquire));
            !views.any_within(created, dropped) || !guard::on("view.purge_waits_for_views")
        };
        self.dropped.lock().iter().filter(is_gone).cloned().collect()
    }

    /// Those that were dropped and have keys in the index.
    pub(crate) fn dropped(&self) -> Vec<Arc<Namespace>> {
        self.dropped.lock().clone()
    }

    /// No key of it is in the index any more.
    pub(crate) fn forget(&self, namespace: &Namespace) {
        self.dropped.lock().retain(|dropped| dropped.id != namespace.id);
    }
}

//! Copying: the records of a store into another, whatever the two are on.
//!
//! It promises that every record arrives with value, tags, attributes, media type, expiry, and the times when it came into being and
//! was written; that a copy which was broken off goes on where it stood; and that both stores are compared at the end, every byte.
//! Versions and last accesses are each store's own. It leaves to the caller that nobody writes to either store meanwhile.

mod pairs;
mod request;
mod sum;

pub use request::{CopyDifference, CopyPhase, CopyPosition, CopyProgress, CopyReport, CopyRequest, CopySum};

use std::ops::ControlFlow;

use nadb_core::{Entry, Feature, Result, ScanRequest, guard, limits::check_value_len_max};

use crate::{Namespace, Store};
use pairs::{Pair, Pairs};
use sum::Sum;

/// Records that are written together, at most.
const SLICE_RECORDS: usize = 256;
/// Bytes of values that are written together, or one larger value.
const SLICE_BYTES: u64 = 4 << 20;
/// After so many records, or bytes, the target is made durable, and the position is one to go on from.
const STAGE_RECORDS: u64 = 8_192;
const STAGE_BYTES: u64 = 64 << 20;
/// Who looks on is told after so many records, and at every stage.
const TOLD_RECORDS: u64 = 1_024;

impl Namespace {
    /// Writes records as they are in another store: with tags, attributes, media type, expiry, and the times when they came into being
    /// and were written. Versions are new. What is there under their keys is replaced; a record whose expiry is past is deleted.
    ///
    /// It is one atomic step where the backend's batches are ([`BatchAtomicity::All`](crate::backend::BatchAtomicity::All)), else several.
    /// Doing it again does the same again.
    ///
    /// # Errors
    /// `Limit` for anything that is too long, also for all of them together; `Unsupported` on a backend without
    /// [`Feature::Import`]; those of any write.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let (here, there) = (store.namespace("here")?, store.namespace("there")?);
    /// here.put("k", "v").tags(["t"]).commit()?;
    /// let entry = here.get_entry("k")?.unwrap();
    /// there.import(std::slice::from_ref(&entry))?;
    /// let copied = there.metadata("k")?.unwrap();
    /// assert_eq!((copied.created_ms, copied.tags), (entry.metadata.created_ms, entry.metadata.tags));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn import(&self, entries: &[Entry]) -> Result<()> {
        self.backend().import(&self.name, entries)
    }
}

impl Store {
    /// Copies all records, or those of some namespaces, into another store, and compares both afterwards. What is there already, as it
    /// is here, is not written again; other records under the same keys are replaced; records that are there alone stay, and count as
    /// differences. Nobody should write to either store meanwhile.
    ///
    /// It needs little memory: some thousand keys, and at most 4 MiB of values or one longer value of each store.
    ///
    /// # Errors
    /// `Unsupported` where the other backend has no [`Feature::Import`]; `Limit` for a value that is too long for it, naming the key;
    /// those of reads here and writes there. What was copied before an error is there: copying again goes on.
    ///
    /// ```
    /// use nadb::{CopyRequest, Store};
    /// use std::time::Duration;
    /// let (old, new) = (Store::memory()?, Store::memory()?);
    /// old.namespace("n")?.put("k", "v").tags(["t"]).ttl(Duration::from_secs(60)).commit()?;
    /// let report = old.copy_to(&new, &CopyRequest::new())?;
    /// assert!(report.is_same() && report.written == 1);
    /// assert_eq!(old.copy_to(&new, &CopyRequest::new())?.unchanged, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn copy_to(&self, to: &Store, request: &CopyRequest) -> Result<CopyReport> {
        if !to.capabilities().has(Feature::Import) {
            return Err(to.capabilities().unsupported(Feature::Import.name()));
        }
        let mut copier = Copier::new(self, to, request)?;
        if copier.copy()?.is_break() || copier.compare()?.is_break() {
            copier.report.ended_early = true;
        }
        Ok(copier.report)
    }
}

/// A namespace in both stores.
struct Place {
    from: Namespace,
    to: Namespace,
}

/// Records on their way.
#[derive(Default)]
struct Slice {
    entries: Vec<Entry>,
    bytes: u64,
}

struct Copier<'a> {
    request: &'a CopyRequest,
    places: Vec<Place>,
    slice: Slice,
    /// Records and bytes since the last stage.
    since: (u64, u64),
    progress: CopyProgress,
    report: CopyReport,
}

impl Copier<'_> {
    fn new<'a>(from: &Store, to: &Store, request: &'a CopyRequest) -> Result<Copier<'a>> {
        let mut progress = CopyProgress { position: request.after.clone(), ..CopyProgress::default() };
        let mut places = Vec::new();
        // In the order of names, which is that of positions.
        for info in from.namespaces()?.into_iter().filter(|info| request.is_meant(&info.name)) {
            progress.total += info.keys;
            places.push(Place { from: from.namespace(&info.name)?, to: to.namespace(&info.name)? });
        }
        let report = CopyReport { namespaces: places.len() as u64, ..CopyReport::default() };
        Ok(Copier { request, places, slice: Slice::default(), since: (0, 0), progress, report })
    }

    fn copy(&mut self) -> Result<ControlFlow<()>> {
        for place in std::mem::take(&mut self.places) {
            let ended = match self.request.scan_of(place.from.name()) {
                Some(scan) => self.copy_place(&place, scan)?,
                None => ControlFlow::Continue(()),
            };
            self.places.push(place);
            if ended.is_break() {
                return Ok(ended);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn copy_place(&mut self, place: &Place, scan: ScanRequest) -> Result<ControlFlow<()>> {
        let mut last = None;
        for pair in Pairs::new(place.from.backend(), place.to.backend(), place.from.name(), scan)? {
            let (entry, is_there) = match pair? {
                Pair::Both(from, to) => {
                    let is_there = pairs::difference(&from, &to).is_none();
                    (from, is_there)
                }
                Pair::From(from) => (from, false),
                Pair::To(_) => continue,
            };
            last = Some(entry.key.clone());
            let len = entry.value.len() as u64;
            self.progress.records += 1;
            self.progress.bytes += len;
            self.since = (self.since.0 + 1, self.since.1 + len);
            if is_there {
                self.report.unchanged += 1;
            } else {
                self.push(place, entry)?;
            }
            let is_stage = self.since.0 >= STAGE_RECORDS || self.since.1 >= STAGE_BYTES;
            let told = if is_stage { self.stage(place, last.take())? } else { self.tell() };
            if told.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.stage(place, last)
    }

    /// Tells whoever is told, now and then; whether to go on.
    fn tell(&self) -> ControlFlow<()> {
        match self.progress.records.is_multiple_of(TOLD_RECORDS) {
            true => self.request.tell(&self.progress),
            false => ControlFlow::Continue(()),
        }
    }

    fn push(&mut self, place: &Place, entry: Entry) -> Result<()> {
        let len = entry.value.len() as u64;
        check_value_len_max(len, place.to.backend().capabilities().value_bytes_max)
            .map_err(|error| named(error, place, &entry.key))?;
        if self.slice.bytes + len > SLICE_BYTES {
            self.write(place)?;
        }
        self.slice.entries.push(entry);
        self.slice.bytes += len;
        if self.slice.entries.len() >= SLICE_RECORDS { self.write(place) } else { Ok(()) }
    }

    /// Writes what was collected.
    fn write(&mut self, place: &Place) -> Result<()> {
        let Slice { entries, bytes } = std::mem::take(&mut self.slice);
        if let Some(first) = entries.first() {
            place.to.import(&entries).map_err(|error| named(error, place, &first.key))?;
        }
        self.report.written += entries.len() as u64;
        self.report.written_bytes += bytes;
        Ok(())
    }

    /// Everything up to and with `last` is there for good from now on, as far as the target can promise that.
    fn stage(&mut self, place: &Place, last: Option<Vec<u8>>) -> Result<ControlFlow<()>> {
        self.write(place)?;
        let Some(key) = last else { return Ok(ControlFlow::Continue(())) };
        // DURABILITY: a position that outlives a crash must not be ahead of the records.
        if place.to.backend().capabilities().has(Feature::Flush) && guard::on("copy.position_is_durable") {
            place.to.backend().flush()?;
        }
        self.since = (0, 0);
        self.progress.position = Some(CopyPosition { namespace: place.from.name().to_owned(), key });
        Ok(self.request.tell(&self.progress))
    }

    /// Compares all records of both stores, whether they were copied just now or earlier.
    fn compare(&mut self) -> Result<ControlFlow<()>> {
        (self.progress.phase, self.progress.records, self.progress.bytes) = (CopyPhase::Comparing, 0, 0);
        let (mut from, mut to) = (Sum::default(), Sum::default());
        for place in &self.places {
            from.begin(place.from.name());
            to.begin(place.from.name());
            for pair in
                Pairs::new(place.from.backend(), place.to.backend(), place.from.name(), ScanRequest::all())?
            {
                let pair = pair?;
                if has_ended(&pair, place)? {
                    continue;
                }
                pair.from().into_iter().for_each(|entry| from.add(entry));
                pair.to().into_iter().for_each(|entry| to.add(entry));
                self.report.note(place.from.name(), &pair);
                self.progress.records += 1;
                self.progress.bytes += pair.entry().value.len() as u64;
                if self.tell().is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        (self.report.from, self.report.to) = (from.end(), to.end());
        Ok(ControlFlow::Continue(()))
    }
}

/// Whether a record is there once because it has expired in the other store meanwhile.
fn has_ended(pair: &Pair, place: &Place) -> Result<bool> {
    if matches!(pair, Pair::Both(..)) {
        return Ok(false);
    }
    let Some(expires_ms) = pair.entry().metadata.expires_ms else { return Ok(false) };
    let now_ms = |namespace: &Namespace| namespace.backend().now_ms();
    Ok(expires_ms <= now_ms(&place.from)?.max(now_ms(&place.to)?))
}

/// The error with the key from which on the records were not copied.
fn named(error: crate::Error, place: &Place, key: &[u8]) -> crate::Error {
    let shown = key.get(..64).unwrap_or(key).escape_ascii();
    error.with_context(&format!("copying from key \"{shown}\" of namespace {:?} on", place.from.name()))
}

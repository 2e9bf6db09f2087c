//! The compaction filter: once copies are in their place, the application's function is asked about each of them, and what it
//! wants is written.
//!
//! It is asked when the compaction is installed and nobody's lock is held, so it may take its time, read and write the store. Its
//! answers become ordinary writes under the condition that the record is still the one that it saw: whatever has changed meanwhile
//! stays. So a crash loses no more than the answers that were not written, and a later compaction asks again. It leaves to the
//! write path everything that a write is.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nadb_core::{
    Action, CompactionFilter, CompactionReport, Condition, Error, ErrorKind, Fate, FilterRecord,
    FilterSource, Metadata, NamespaceId, Operation, Ordinal, Result, Value, guard,
};
use nadb_log::{Direction, RowCursor};

use super::Control;
use crate::engine::Shared;
use crate::keyspace::HasRecord;
use crate::namespaces::Namespace;
use crate::read::Visible;
use crate::slot::Slot;

/// Writes that are made at once, at most, and bytes of their keys and values: other writers of the same keys wait for so long.
const WISHES_MAX: usize = 128;
const WISH_BYTES_MAX: usize = 256 << 10;
/// Bytes of records behind which it is looked how fast to go on.
const PACE_BYTES: u64 = 64 << 10;
/// Failures behind which the filter is not asked any more for the copies of one compaction: it would most likely go on failing, and
/// each panic prints a message.
const FAILURES_MAX: u64 = 8;

thread_local! {
    /// Whether this thread runs a filter.
    static IS_FILTERING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a filter: then it cannot wait for a compaction, which would run the filter.
pub(crate) fn is_filtering() -> bool {
    IS_FILTERING.get()
}

/// Says that this thread runs a filter, while it lives.
struct Marked;

impl Marked {
    fn new() -> Marked {
        IS_FILTERING.set(true);
        Marked
    }
}

impl Drop for Marked {
    fn drop(&mut self) {
        IS_FILTERING.set(false);
    }
}

/// A record that the filter is asked about.
struct Source<'a> {
    shared: &'a Shared,
    found: &'a Visible<'a>,
}

impl FilterSource for Source<'_> {
    fn metadata(&self) -> Result<Metadata> {
        self.shared.metadata(self.found)
    }

    fn value(&self) -> Result<Value> {
        self.shared.value(self.found)
    }
}

/// A filter at work.
struct Filtering<'a> {
    shared: &'a Arc<Shared>,
    filter: &'a CompactionFilter,
    control: &'a mut dyn Control,
    names: BTreeMap<NamespaceId, Arc<Namespace>>,
    /// What it wants and is not written yet.
    wishes: Vec<Operation<'static>>,
    wish_bytes: usize,
    /// Bytes that the pace does not know of yet.
    unpaced: u64,
    filtered: u64,
    failures: u64,
    failure: Option<Error>,
}

impl Shared {
    /// Asks the filter, if there is one, about every live record of some segments, and does what it wants. The caller holds nothing.
    ///
    /// A filter that fails is no error here: that is in the report, and in the statistics.
    ///
    /// # Errors
    /// As a write, and what `control` answers. What was written before is, and counted in the report.
    pub(super) fn filter_copies(
        self: &Arc<Self>,
        slots: &[Arc<Slot>],
        control: &mut dyn Control,
        report: &mut CompactionReport,
    ) -> Result<()> {
        let Some(filter) = &self.options.compaction_filter else { return Ok(()) };
        let all = self.keyspace.namespaces.all();
        let mut filtering = Filtering {
            shared: self,
            filter,
            control,
            names: all.into_iter().map(|namespace| (namespace.id, namespace)).collect(),
            wishes: Vec::new(),
            wish_bytes: 0,
            unpaced: 0,
            filtered: 0,
            failures: 0,
            failure: None,
        };
        let _marked = Marked::new();
        let ran = slots.iter().try_for_each(|slot| filtering.ask_about(slot));
        let ran = ran.and_then(|()| filtering.write());
        let mut done = CompactionReport::default();
        (done.filtered, done.filter_failures) = (filtering.filtered, filtering.failures);
        self.compactor.totals.lock().add(&done);
        if filtering.failure.is_some() {
            *self.compactor.filter_failure.lock() = filtering.failure;
        }
        report.add(&done);
        ran
    }
}

impl Filtering<'_> {
    /// Asks about the live rows of a segment, in key order.
    fn ask_about(&mut self, slot: &Slot) -> Result<()> {
        let rows = slot.rows();
        for mut cursor in rows.cursors(NamespaceId(0), b"", Direction::Forward)? {
            while let Some((namespace, _)) = cursor.key() {
                let ordinal = cursor.ordinal();
                // What is dropped, deleted or overwritten by now is nobody's business any more.
                if slot.live.is_live(ordinal) && self.failures < FAILURES_MAX {
                    let name = self.names.get(&namespace).filter(|name| !name.is_dropped()).cloned();
                    name.map_or(Ok(()), |name| self.ask(slot, ordinal, &name))?;
                }
                cursor.next()?;
            }
        }
        Ok(())
    }

    /// Asks about one row.
    fn ask(&mut self, slot: &Slot, ordinal: Ordinal, namespace: &Namespace) -> Result<()> {
        let at = slot.location(&slot.rows(), ordinal)?;
        let found: Visible<'_> = (at, self.shared.read_of(Some(slot), at)?);
        let record = found.1.record()?;
        if record.is_expired(self.shared.now_ms()) {
            return Ok(());
        }
        let source = Source { shared: self.shared, found: &found };
        let asked = FilterRecord::new(&namespace.name, record.key, &source);
        let wish = decide(self.filter, &asked).and_then(|fate| {
            let action = match fate {
                Fate::Drop => Action::Delete,
                Fate::Rewrite(rewrite) => Action::Put(rewrite.into_put(source.metadata()?)),
                _ => return Ok(None),
            };
            let is_it = match guard::on("filter.only_what_it_saw") {
                true => Condition::IfVersion(record.seq.0),
                false => Condition::Always,
            };
            Ok(Some(Operation::new(namespace.name.clone(), record.key.to_vec(), action).when(is_it)))
        });
        match wish {
            Ok(Some(wish)) => self.wish(wish)?,
            Ok(None) => {}
            Err(error) => self.note_failure(error, &namespace.name, record.key),
        }
        self.unpaced += u64::from(at.len);
        if self.unpaced >= PACE_BYTES {
            self.control.spent(std::mem::take(&mut self.unpaced))?;
        }
        Ok(())
    }

    fn wish(&mut self, wish: Operation<'static>) -> Result<()> {
        let value = if let Action::Put(put) = &wish.action { put.value.len() } else { 0 };
        self.wish_bytes += wish.key.len() + value;
        self.wishes.push(wish);
        if self.wishes.len() >= WISHES_MAX || self.wish_bytes >= WISH_BYTES_MAX {
            self.write()
        } else {
            Ok(())
        }
    }

    /// Writes what the filter wants so far: all at once, or one by one where some of it cannot be any more.
    fn write(&mut self) -> Result<()> {
        let wishes = std::mem::take(&mut self.wishes);
        let bytes = std::mem::take(&mut self.wish_bytes) as u64;
        if wishes.is_empty() {
            return Ok(());
        }
        match self.shared.write(&wishes, None) {
            Ok(_) => self.filtered += wishes.len() as u64,
            Err(error) if is_about_one(&error) => wishes.iter().try_for_each(|wish| self.write_one(wish))?,
            Err(error) => return Err(error),
        }
        self.control.spent(bytes)
    }

    fn write_one(&mut self, wish: &Operation<'_>) -> Result<()> {
        match self.shared.write(std::slice::from_ref(wish), None) {
            Ok(_) => self.filtered += 1,
            // The record has changed, and whoever changed it has the last word.
            Err(error) if matches!(error.kind(), ErrorKind::PreconditionFailed { .. }) => {}
            Err(error) if is_about_one(&error) => {
                self.note_failure(error, &wish.namespace, &wish.key);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn note_failure(&mut self, error: Error, namespace: &str, key: &[u8]) {
        self.failures += 1;
        let text = format!(
            "the compaction filter failed of key \"{}\" in namespace \"{namespace}\", which stays as it is: {error}",
            key.get(..64).unwrap_or(key).escape_ascii(),
        );
        self.failure.get_or_insert_with(|| Error::new(error.kind(), text).with_source(error));
    }
}

/// Asks the filter; a panic is an error.
fn decide(filter: &CompactionFilter, record: &FilterRecord<'_>) -> Result<Fate> {
    if !guard::on("filter.panic_is_caught") {
        return filter.decide(record);
    }
    // Nothing of the engine's is halfway while it runs.
    catch_unwind(AssertUnwindSafe(|| filter.decide(record))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says no more");
        Err(Error::invalid(format!("it panicked: {text}")))
    })
}

/// Whether a batch failed because of one of its operations, and the others can be done.
fn is_about_one(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::PreconditionFailed { .. } | ErrorKind::Limit | ErrorKind::InvalidInput)
}

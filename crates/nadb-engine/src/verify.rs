//! Verification: every byte is read, and the index rebuilt from the files is compared with the live one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Location, NamespaceId, Result, Seq, guard};
use nadb_log::{Direction, RowCursor, Visit};

use crate::engine::Shared;
use crate::keyspace::Keyspace;
use crate::namespaces::Namespace;
use crate::replay::Replay;
use crate::report::VerifyReport;
use crate::slot::Slot;

/// Keys whose records expired at or before the mark, and that are in an index all the same.
#[derive(Debug, Default)]
struct HiddenKeys {
    keys: BTreeMap<NamespaceId, u64>,
}

/// Those of the index that the files give, and of the one in memory: whether the reaper has come to them is not the same in both.
#[derive(Debug, Default)]
struct Hidden {
    files: HiddenKeys,
    memory: HiddenKeys,
}

impl HiddenKeys {
    fn add(&mut self, namespace: NamespaceId, is_live: bool) {
        if is_live {
            *self.keys.entry(namespace).or_default() += 1;
        }
    }

    fn of(&self, namespace: NamespaceId) -> u64 {
        self.keys.get(&namespace).copied().unwrap_or_default()
    }

    /// The others.
    fn visible(&self, keyspace: &Keyspace) -> u64 {
        keyspace.index.len().saturating_sub(self.keys.values().sum())
    }
}

impl Shared {
    /// Writes wait while it runs.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        let _alone = self.writers.write();
        self.check_open_to_read()?;
        if let Err(error) = self.log.write_out_all() {
            // A store that takes no more writes can still be read. But with frames that only memory has, its files are not
            // all that there is, and to call that corrupt would be wrong.
            if error.kind() != ErrorKind::Poisoned || self.log.buffered_bytes() > 0 {
                return Err(error);
            }
        }
        self.keyspace.load_all()?;
        self.keyspace.purge_dropped()?;
        let rebuilt = Keyspace::new();
        let counts = self.keyspace.while_nothing_moves(|| {
            let mut replay = Replay::check(&rebuilt, &self.keyspace)?;
            replay.begin(self.log.hash_seed());
            let counts = self.log.scan(&mut |record, at, segment| replay.record(record, at, segment))?;
            replay.finish(self.log.published_seq())?;
            if guard::on("verify.compares_the_index") {
                self.compare(&rebuilt)?;
            }
            Ok::<_, Error>(counts)
        })?;
        let mut report = VerifyReport::default();
        report.segments = self.log.segments().0.len() as u64;
        report.frames = counts.frames;
        report.records = counts.records;
        report.bytes = counts.bytes;
        report.keys = self.keyspace.index.len();
        Ok(report)
    }

    fn compare(&self, rebuilt: &Keyspace) -> Result<()> {
        let differs =
            |what: String| Error::new(ErrorKind::Corruption, what).with_path(&self.dir).with_offset(0);
        let live = &self.keyspace;
        let (files, memory) = (rebuilt.time_mark_ms(), live.time_mark_ms());
        if files != memory {
            return Err(differs(format!("the files hide what expired up to {files}, memory up to {memory}")));
        }
        let mut hidden = Hidden::default();
        for slot in rebuilt.slots().iter() {
            self.compare_segment(rebuilt, slot, &mut hidden)?;
        }
        let (files, index) = (hidden.files.visible(rebuilt), hidden.memory.visible(live));
        if files != index {
            return Err(differs(format!("the files have {files} keys, the index has {index}")));
        }
        let names = |keyspace: &Keyspace, hidden: &HiddenKeys| -> Vec<_> {
            let count = |n: &Namespace| n.keys.load(Ordering::Relaxed).checked_sub(hidden.of(n.id));
            keyspace.namespaces.all().iter().map(|n| (n.id, n.name.clone(), count(n))).collect()
        };
        let (files, index) = (names(rebuilt, &hidden.files), names(live, &hidden.memory));
        if files != index {
            return Err(differs(format!(
                "the files have {} namespaces, memory has {}, or their names or key counts differ",
                files.len(),
                index.len()
            )));
        }
        Ok(())
    }

    /// The same rows live, each in the index at its place, and the keys in order.
    /// What the mark hides may still be live in either.
    fn compare_segment(&self, rebuilt: &Keyspace, slot: &Slot, hidden: &mut Hidden) -> Result<()> {
        let differs =
            |offset: u32, what: String| Error::corruption(slot.segment.path(), u64::from(offset), what);
        let Some(live) = self.keyspace.slot(slot.segment.id()) else {
            return Err(differs(0, "memory does not have this segment".to_owned()));
        };
        let rows = slot.rows();
        for cursor in &mut rows.cursors(NamespaceId(0), b"", Direction::Forward)? {
            let mut last: Option<(NamespaceId, Vec<u8>, Seq)> = None;
            while let Some((namespace, key)) = cursor.key() {
                let ordinal = cursor.ordinal();
                let meta = rows.meta(ordinal)?;
                let now = (namespace, key.to_vec(), meta.seq);
                if last.as_ref().is_some_and(|last| *last >= now) {
                    return Err(differs(meta.offset, format!("key of record {} is out of order", meta.seq)));
                }
                if let Some(blob) = meta.blob {
                    self.blobs.open_id(blob, meta.size)?.verify()?;
                }
                let (is_live, is_live_now) = (slot.live.is_live(ordinal), live.live.is_live(ordinal));
                if meta.expires_ms.is_some_and(|at| at <= rebuilt.time_mark_ms()) {
                    hidden.files.add(namespace, is_live);
                    hidden.memory.add(namespace, is_live_now);
                } else if is_live != is_live_now {
                    let what =
                        format!("record {} is live by the files: {is_live}, and not so in memory", meta.seq);
                    return Err(differs(meta.offset, what));
                }
                let at = Location { segment: slot.segment.id(), offset: meta.offset, len: meta.len };
                let hash = self.keyspace.hash(namespace, key);
                // The rebuilt index has the hash of the record's own key.
                let is_missing = (is_live && !rebuilt.index.contains(hash, at))
                    || (is_live_now && !self.keyspace.index.contains(hash, at));
                if is_missing {
                    return Err(differs(
                        meta.offset,
                        format!("the key of record {} is not in the index", meta.seq),
                    ));
                }
                last = Some(now);
                cursor.next()?;
            }
        }
        Ok(())
    }
}

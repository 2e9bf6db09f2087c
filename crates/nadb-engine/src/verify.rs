//! Verification: every byte is read, and the index rebuilt from the files is compared with the live one.

use nadb_core::{Error, ErrorKind, Location, NamespaceId, Result, Seq, guard};
use nadb_log::{Direction, RowCursor, Visit};

use crate::engine::Shared;
use crate::keyspace::Keyspace;
use crate::replay::Replay;
use crate::report::VerifyReport;
use crate::slot::Slot;

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
        let counts = self.keyspace.without_purging(|| {
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
        report.keys = rebuilt.index.len();
        Ok(report)
    }

    fn compare(&self, rebuilt: &Keyspace) -> Result<()> {
        let differs =
            |what: String| Error::new(ErrorKind::Corruption, what).with_path(&self.dir).with_offset(0);
        let live = &self.keyspace;
        if rebuilt.index.len() != live.index.len() {
            let (files, index) = (rebuilt.index.len(), live.index.len());
            return Err(differs(format!("the files have {files} keys, the index has {index}")));
        }
        for slot in rebuilt.slots().iter() {
            self.compare_segment(rebuilt, slot)?;
        }
        let names = |keyspace: &Keyspace| -> Vec<_> {
            let count = |n: &crate::namespaces::Namespace| n.keys.load(std::sync::atomic::Ordering::Relaxed);
            keyspace.namespaces.all().iter().map(|n| (n.id, n.name.clone(), count(n))).collect()
        };
        let (files, index) = (names(rebuilt), names(live));
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
    fn compare_segment(&self, rebuilt: &Keyspace, slot: &Slot) -> Result<()> {
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
                let is_live = slot.live.is_live(ordinal);
                if is_live != live.live.is_live(ordinal) {
                    let what =
                        format!("record {} is live by the files: {is_live}, and not so in memory", meta.seq);
                    return Err(differs(meta.offset, what));
                }
                let at = Location { segment: slot.segment.id(), offset: meta.offset, len: meta.len };
                let hash = self.keyspace.hash(namespace, key);
                // The rebuilt index has the hash of the record's own key.
                if is_live && !(rebuilt.index.contains(hash, at) && self.keyspace.index.contains(hash, at)) {
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

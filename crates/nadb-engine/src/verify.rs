//! Verification: every byte is read, and the index rebuilt from the files is compared with the live one.

use nadb_core::{Error, ErrorKind, Location, Result};
use nadb_log::Visit;

use crate::engine::Shared;
use crate::keyspace::Keyspace;
use crate::replay::Replay;
use crate::report::VerifyReport;

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
        let rebuilt = Keyspace::new();
        let mut replay = Replay::new(&rebuilt);
        replay.begin(self.log.hash_seed());
        let counts = self.log.scan(&mut |record, at, segment| replay.record(record, at, segment))?;
        replay.finish()?;
        self.compare(&rebuilt)?;
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
        for at in rebuilt.index.locations() {
            let hash = self.read_record(at, |key| live.hash(key.namespace, key.key))?;
            if !live.index.contains(hash, at) {
                let Location { segment, offset, .. } = at;
                return Err(differs(format!(
                    "the key at offset {offset} of segment {segment} is not in the index"
                )));
            }
        }
        let names = |keyspace: &Keyspace| -> Vec<_> {
            let count = |n: &crate::keyspace::Namespace| n.keys.load(std::sync::atomic::Ordering::Relaxed);
            keyspace.namespaces().iter().map(|n| (n.id, n.name.clone(), count(n))).collect()
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
}

//! The write path: check, look up, plan, append, publish, sync.

use std::collections::BTreeMap;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{
    Action, Durability, ErrorKind, Operation, Outcome, Phase, Result, Seq, Stopwatch, WriteBatch,
    WriteOptions, guard,
};
use nadb_log::Placed;
use smallvec::SmallVec;

use crate::backend::capabilities;
use crate::blobs::NewBlobs;
use crate::engine::Shared;
use crate::inflight::Hashes;
use crate::memory::frame_bytes;
use crate::namespaces::Namespace;
use crate::plan::{Found, Plan, ValueBytes};
use crate::tallies::{Op, Tally};

/// The namespaces of a batch: those that exist, and those that it creates.
struct Targets<'a> {
    by_name: SmallVec<[(&'a str, Arc<Namespace>); 1]>,
    created: SmallVec<[Arc<Namespace>; 1]>,
}

impl Targets<'_> {
    fn get(&self, name: &str) -> Option<&Arc<Namespace>> {
        self.by_name.iter().find(|(have, _)| *have == name).map(|(_, namespace)| namespace)
    }
}

/// The names in a batch, in order, and whether each must exist afterwards.
fn names<'b>(batch: &'b WriteBatch<'_>) -> SmallVec<[(&'b str, bool); 1]> {
    let makes = |operation: &Operation<'_>| !matches!(operation.action, Action::Delete | Action::Expire(_));
    if let [only] = batch {
        return SmallVec::from_iter([(&*only.namespace, makes(only))]);
    }
    let mut names: BTreeMap<&str, bool> = BTreeMap::new();
    for operation in batch {
        *names.entry(&operation.namespace).or_default() |= makes(operation);
    }
    names.into_iter().collect()
}

/// What a batch counts as.
#[inline]
fn op_of(batch: &WriteBatch<'_>) -> Op {
    match batch {
        [only] => Op::of(&only.action),
        _ => Op::Batch,
    }
}

/// Bytes of the keys and values of a batch, as they were given.
fn user_bytes(batch: &WriteBatch<'_>, blobs: &NewBlobs<'_>) -> u64 {
    let bytes = |(operation, index): (&Operation<'_>, usize)| {
        let value = match &operation.action {
            Action::Put(put) => blobs.get(index).map_or(put.value.len() as u64, |blob| blob.len),
            Action::Merge(merge) => merge.operand.len() as u64,
            _ => 0,
        };
        operation.key.len() as u64 + value
    };
    batch.iter().zip(0..).map(bytes).sum()
}

impl Shared {
    pub(crate) fn write(
        self: &Arc<Self>,
        batch: &WriteBatch<'_>,
        durability: Option<Durability>,
    ) -> Result<Vec<Outcome>> {
        capabilities().check_write(batch, &WriteOptions::default().with_durability(durability))?;
        self.check_open_to_read()?;
        let mut watch = self.times.watch_write(&*self.options.clock);
        let blobs = self.blobs.write_large(batch)?;
        if !blobs.is_empty() {
            watch.lap(Phase::Append);
        }
        self.write_with(batch, blobs, durability, &mut watch)
    }

    /// Writes a batch that was checked, and some of whose values are in blobs already. `watch` has run since the write began.
    pub(crate) fn write_with(
        self: &Arc<Self>,
        batch: &WriteBatch<'_>,
        mut blobs: NewBlobs<'_>,
        durability: Option<Durability>,
        watch: &mut Stopwatch<'_>,
    ) -> Result<Vec<Outcome>> {
        let durability = durability.unwrap_or(self.options.durability);
        let _open = self.check_open()?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let _room = self.make_room(batch)?;
        watch.lap(Phase::Wait);
        let bytes = user_bytes(batch, &blobs);
        loop {
            let tried = self.try_write(batch, &mut blobs, durability, watch);
            let is_in_doubt = tried.as_ref().is_err_and(|error| error.kind() == ErrorKind::Poisoned);
            if is_in_doubt && guard::on("blob.kept_in_doubt") {
                blobs.keep_all();
            }
            if let Some((outcomes, last_seq, values)) = tried? {
                // Nothing is held any more that another writer of the same keys waits for.
                if durability == Durability::Synced {
                    self.log.sync_upto(last_seq)?;
                    watch.lap(Phase::Sync);
                }
                self.count_write(batch, bytes, values);
                self.times.add_write(watch, op_of(batch));
                self.note_memory();
                self.note_activity();
                return Ok(outcomes);
            }
        }
    }

    /// One attempt; `None` when a namespace was created or dropped meanwhile.
    fn try_write(
        &self,
        batch: &WriteBatch<'_>,
        blobs: &mut NewBlobs<'_>,
        durability: Durability,
        watch: &mut Stopwatch<'_>,
    ) -> Result<Option<(Vec<Outcome>, Seq, ValueBytes)>> {
        let targets = self.targets(batch)?;
        let mut existing: SmallVec<[&Arc<Namespace>; 1]> = targets
            .by_name
            .iter()
            .map(|(_, n)| n)
            .filter(|n| !targets.created.iter().any(|c| c.id == n.id))
            .collect();
        existing.sort_unstable_by_key(|namespace| namespace.id);
        let gates: SmallVec<[_; 1]> = existing.iter().map(|namespace| namespace.gate.read()).collect();
        let mut hashes = Hashes::new();
        for operation in batch {
            if let Some(namespace) = targets.get(&operation.namespace) {
                hashes.push(self.keyspace.hash(namespace.id, &operation.key).0);
            }
        }
        hashes.extend(targets.created.iter().map(|created| self.name_hash(&created.name)));
        watch.lap(Phase::Encode);
        let in_flight = self.in_flight.acquire(hashes);
        watch.lap(Phase::Wait);
        let is_stale = existing.iter().any(|namespace| namespace.is_dropped())
            || targets.created.iter().any(|created| self.keyspace.namespaces.get(&created.name).is_some());
        if is_stale {
            return Ok(None);
        }
        let plan = self.plan(batch, &targets, blobs)?;
        if plan.body.is_empty() {
            return Ok(Some((plan.outcomes(0), self.settle(durability)?, ValueBytes::default())));
        }
        watch.lap(Phase::Encode);
        let (plan, placed) = self.append(plan, durability, watch)?;
        blobs.keep(&plan.used_blobs);
        drop(in_flight);
        drop(gates);
        let values = plan.values;
        Ok(Some((plan.outcomes(placed.first_seq.0), placed.last_seq(), values)))
    }

    /// Counts a write that is done.
    #[inline]
    fn count_write(&self, batch: &WriteBatch<'_>, bytes: u64, values: ValueBytes) {
        let (op, tallies) = (op_of(batch), &self.times.tallies);
        tallies.add([
            (Tally::Done(op), 1),
            (Tally::Bytes(op), bytes),
            (Tally::LogicalBytes, values.logical),
            (Tally::StoredBytes, values.stored),
        ]);
        if op == Op::Batch {
            tallies.add([(Tally::InBatches, batch.len() as u64)]);
        }
    }

    /// A write that found nothing to do promises that what it found stays so: that a key is absent may be due to a write
    /// that is not as durable yet. Gives the number up to which a sync must go.
    pub(crate) fn settle(&self, durability: Durability) -> Result<Seq> {
        if durability == Durability::Flushed && self.log.buffered_bytes() > 0 {
            self.log.write_out_all()?;
        }
        Ok(self.log.published_seq())
    }

    /// A frame without any operation yet.
    pub(crate) fn empty_plan(&self) -> Plan<'_> {
        Plan::new(&self.blobs, self.options.compression, self.now_ms(), false)
    }

    /// Appends a plan's frame; returns when it is visible.
    pub(crate) fn append<'a>(
        &self,
        mut plan: Plan<'a>,
        durability: Durability,
        watch: &mut Stopwatch<'_>,
    ) -> Result<(Plan<'a>, Placed)> {
        let write = plan.take_write();
        let payload = || Arc::clone(&write);
        let placed = self.log.append_visible(&write.body, durability, plan.only_deletes, payload, watch)?;
        Ok((plan, placed))
    }

    /// Names are keys of a namespace of their own, as far as two creators are concerned.
    fn name_hash(&self, name: &str) -> u64 {
        self.keyspace.hash(nadb_core::NamespaceId(0), name.as_bytes()).0
    }

    fn targets<'b>(&self, batch: &'b WriteBatch<'_>) -> Result<Targets<'b>> {
        let mut targets = Targets { by_name: SmallVec::new(), created: SmallVec::new() };
        for (name, must_exist) in names(batch) {
            match self.keyspace.namespaces.get(name) {
                Some(namespace) => targets.by_name.push((name, namespace)),
                None if must_exist => {
                    let namespace = self.keyspace.namespaces.prepare(name)?;
                    targets.created.push(Arc::clone(&namespace));
                    targets.by_name.push((name, namespace));
                }
                None => {}
            }
        }
        Ok(targets)
    }

    fn plan<'b>(
        &'b self,
        batch: &'b WriteBatch<'b>,
        targets: &Targets<'_>,
        blobs: &NewBlobs<'_>,
    ) -> Result<Plan<'b>> {
        let mut plan = Plan::new(&self.blobs, self.options.compression, self.now_ms(), batch.len() > 1);
        if batch.len() > 1 {
            let room = frame_bytes(batch, self.blobs.above);
            plan.body.reserve(usize::try_from(room).unwrap_or_default());
        }
        for created in &targets.created {
            plan.create_namespace(created);
        }
        for (operation, number) in batch.iter().zip(1..) {
            let planned = match targets.get(&operation.namespace) {
                Some(namespace) => {
                    let hash = self.keyspace.hash(namespace.id, &operation.key);
                    let find = || self.find_to_change(namespace, hash, &operation.key);
                    plan.push(operation, namespace, hash, blobs.get(number - 1), find)
                }
                None => plan.push_absent(operation),
            };
            planned.map_err(|error| error.in_batch(number, batch.len()))?;
        }
        Ok(plan)
    }

    fn find_to_change(
        &self,
        namespace: &Namespace,
        hash: nadb_core::KeyHash,
        key: &[u8],
    ) -> Result<Option<Found>> {
        loop {
            // Held until the slot is: a compaction may move the key meanwhile.
            let slots = self.keyspace.slot_table();
            let found = self.keyspace.find(namespace.id, hash, key, |at| self.read(&slots, at))?;
            let Some((at, buf)) = found else { return Ok(None) };
            match self.keyspace.displaced(&slots, at) {
                Ok(displaced) => {
                    // Publication takes it over, and looks into no file.
                    if guard::on("access.loaded_before_it_is_taken_over") {
                        self.load_access(&displaced.slot);
                    }
                    return Ok(Some(Found { displaced, buf }));
                }
                Err(error) if self.keyspace.is_named(hash, at) => return Err(error),
                // It has moved, out of a segment that is newer than the table.
                Err(_) => {}
            }
        }
    }

    fn drop_nothing(&self) -> Result<bool> {
        let last_seq = self.settle(self.options.durability)?;
        if self.options.durability == Durability::Synced {
            self.log.sync_upto(last_seq)?;
        }
        Ok(false)
    }

    pub(crate) fn drop_namespace(&self, name: &str) -> Result<bool> {
        check_namespace(name)?;
        let _open = self.check_open()?;
        let Some(namespace) = self.keyspace.namespaces.get(name) else { return self.drop_nothing() };
        // Writers that have looked the namespace up are done before, and those that come after look again.
        let gate = namespace.gate.write();
        if namespace.is_dropped() {
            return self.drop_nothing();
        }
        let mut plan = self.empty_plan();
        plan.drop_namespace(&namespace);
        let (_, placed) = self.append(plan, self.options.durability, &mut Stopwatch::off())?;
        drop(gate);
        // Its keys cannot be found any more; where a footer cannot be read, they go later.
        let _ = self.keyspace.purge_dropped();
        if self.options.durability == Durability::Synced {
            self.log.sync_upto(placed.last_seq())?;
        }
        self.note_activity();
        Ok(true)
    }
}

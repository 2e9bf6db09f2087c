//! The second step of a rebuild: a shard of the index from the rows that were noted for it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use nadb_core::{Location, NamespaceId, Result, Seq, guard};
use nadb_index::HashBits;
use nadb_log::RowTable;

use super::Rebuild;
use super::live::Dead;
use super::scan::{Noted, Part};

/// A row that is noted for the shard.
#[derive(Debug, Clone, Copy)]
struct Item {
    row: Noted,
    source: usize,
}

/// The newest record of a key among those seen.
#[derive(Debug, Clone, Copy)]
struct Newest {
    seq: Seq,
    item: Item,
    /// How many records the key has.
    records: u64,
}

/// Builds shards, one after the other.
pub(super) struct Builder<'a> {
    rebuild: &'a Rebuild<'a>,
    tables: &'a [RowTable],
    pub(super) dead: Dead,
    /// Values that are not live, of each namespace.
    pub(super) dead_keys: BTreeMap<NamespaceId, u64>,
    // Of the shard that is being built.
    items: Vec<Item>,
    keys: Vec<(HashBits, Location)>,
    newest: BTreeMap<(NamespaceId, Vec<u8>), Newest>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(rebuild: &'a Rebuild<'a>, tables: &'a [RowTable]) -> Builder<'a> {
        Builder {
            rebuild,
            tables,
            dead: Dead::new(tables),
            dead_keys: BTreeMap::new(),
            items: Vec::new(),
            keys: Vec::new(),
            newest: BTreeMap::new(),
        }
    }

    /// Builds a shard, and says of how many rows.
    pub(super) fn build(&mut self, shard: usize, parts: &[&Part]) -> Result<u64> {
        self.keys.clear();
        let mut items = std::mem::take(&mut self.items);
        items.clear();
        for part in parts {
            let rows = part.shard(shard).iter();
            items.extend(rows.map(|row| Item { row: *row, source: part.source }));
        }
        items.sort_unstable_by_key(|item| item.row.bits());
        for equal in items.chunk_by(|a, b| a.row.bits() == b.row.bits()) {
            match equal {
                [only] => self.settle(*only),
                _ => self.settle_newest(equal)?,
            }
        }
        self.rebuild.keyspace.index.fill_shard(shard, &self.keys);
        let rows = items.len() as u64;
        self.items = items;
        Ok(rows)
    }

    /// Rows with equal hash bits: nearly always of one key. Of each key the one with the highest number counts.
    fn settle_newest(&mut self, equal: &[Item]) -> Result<()> {
        let mut newest = std::mem::take(&mut self.newest);
        newest.clear();
        for item in equal {
            let Some(table) = self.tables.get(item.source) else { continue };
            if item.row.is_tombstone() && !guard::on("replay.tombstones_remove") {
                continue;
            }
            let mut key = Vec::new();
            let namespace = table.key(item.row.position(), &mut key)?;
            let seq = table.seq(item.row.position())?;
            let next = Newest { seq, item: *item, records: 1 };
            if !guard::on("index.key_decides") {
                key.clear();
            }
            match newest.entry((namespace, key)) {
                Entry::Vacant(entry) => _ = entry.insert(next),
                Entry::Occupied(mut entry) => {
                    let found = entry.get_mut();
                    found.records += 1;
                    // On equal numbers the later segment is the copy that counts.
                    let is_newer = (seq, item.source) > (found.seq, found.item.source);
                    let mut dead = *item;
                    if is_newer == guard::on("rebuild.newest_wins") {
                        found.seq = seq;
                        dead = std::mem::replace(&mut found.item, *item);
                    }
                    self.bury(dead, namespace)?;
                }
            }
        }
        for newest in newest.values() {
            self.settle(newest.item);
            self.mark(newest)?;
        }
        self.newest = newest;
        Ok(())
    }

    /// A row that a newer one of its key has displaced.
    fn bury(&mut self, item: Item, namespace: NamespaceId) -> Result<()> {
        let Some(table) = self.tables.get(item.source).filter(|_| !item.row.is_tombstone()) else {
            return Ok(());
        };
        let ordinal = table.ordinal(item.row.position())?;
        self.dead.add_value(item.source, ordinal, item.row.len());
        *self.dead_keys.entry(namespace).or_default() += 1;
        Ok(())
    }

    /// A tombstone that is the newest of several records of its key is a marker.
    fn mark(&self, newest: &Newest) -> Result<()> {
        let Newest { item, records, .. } = newest;
        if item.row.is_tombstone()
            && *records > 1
            && let (Some(table), Some(slot)) =
                (self.tables.get(item.source), self.rebuild.slots.get(item.source))
        {
            slot.live.set_marker(table.ordinal(item.row.position())?);
        }
        Ok(())
    }

    /// The newest record of a key.
    fn settle(&mut self, item: Item) {
        if let Some(slot) = self.rebuild.slots.get(item.source).filter(|_| !item.row.is_tombstone()) {
            self.keys.push((item.row.bits(), item.row.location(slot.segment.id())));
        }
    }
}

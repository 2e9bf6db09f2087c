//! The second and third step: the log has the new segments in the place of the old ones, and memory follows.
//!
//! # Why nobody misses a record, and nothing that died lives on
//!
//! A copy is live if its row was when it was copied, and not if the row has died since. All copies begin as live. Then, while nothing
//! is published, the old segments are told where the copies are: every later death goes to both. Every earlier one is found by
//! looking at all old rows once more. Next, again while nothing is published, the list of segments changes: a view has the old
//! segments or the new ones. What dies afterwards does so above the watermark of every view that has the old ones, in which it stays
//! alive; and everything that had died before is below the watermark of every view that has the new ones, so that no death need be
//! remembered there. Last, the index is changed key by key, each from the old place to the new one and from no other: a key that
//! was written meanwhile stays where it is. Readers find the old segments until the last key has moved.

use std::sync::Arc;

use nadb_core::{Location, Ordinal, Result, Seq, guard};
use nadb_index::LiveSet;
use nadb_log::{Compaction, RowSpot, RowTable};

use super::copy::{Copies, Move};
use crate::engine::Shared;
use crate::slot::{Forward, Slot, Target};

/// Rows of which the places are asked for at a time.
const ROWS_AT_ONCE: usize = 4096;

/// The slots of the outputs, with the numbers of their first rows, counted over all of them.
type Outputs = Arc<[(u32, Arc<Slot>)]>;

/// How far an installation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Installed {
    /// The manifest names the outputs.
    Stored,
    /// Deaths in the inputs are told the outputs.
    Forwarded,
    /// So are those that had come before.
    Buried,
    /// Views that are taken now have the outputs.
    Replaced,
}

impl Shared {
    /// Puts copies in the place of `inputs`, and gives their slots. Nobody else moves keys meanwhile.
    pub(super) fn install(
        &self,
        inputs: &[Arc<Slot>],
        copies: Copies,
    ) -> Result<(Compaction, Vec<Arc<Slot>>)> {
        self.install_in_steps(inputs, copies, |_| ())
    }

    /// As [`Shared::install`], and what is done between its steps.
    pub(super) fn install_in_steps(
        &self,
        inputs: &[Arc<Slot>],
        mut copies: Copies,
        mut between: impl FnMut(Installed),
    ) -> Result<(Compaction, Vec<Arc<Slot>>)> {
        // Everything that can fail comes before the manifest: memory must be able to follow it.
        let (outputs, offsets) = outputs(&copies)?;
        let forwards: Vec<Forward> = inputs
            .iter()
            .zip(&copies.moves)
            .map(|(input, moves)| forward(input, moves, &outputs, &offsets))
            .collect();
        inputs.iter().for_each(|input| self.load_access(input));
        self.log.reserve_namespaces(self.keyspace.namespaces.next_id());
        self.log.install(&copies.compaction, &mut copies.outputs, copies.dead_upto)?;
        between(Installed::Stored);
        self.log.while_unpublished(|| {
            // The reaper kills under this lock.
            let _views = self.keyspace.views.lock();
            for (input, forward) in inputs.iter().zip(forwards) {
                input.set_forward(forward);
            }
        });
        between(Installed::Forwarded);
        if guard::on("compact.deaths_while_copying") {
            inputs.iter().zip(&copies.moves).for_each(|(input, moves)| bury(input, moves));
        }
        between(Installed::Buried);
        let slots: Vec<Arc<Slot>> = outputs.iter().map(|(_, slot)| Arc::clone(slot)).collect();
        self.log.while_unpublished(|| self.keyspace.replace_slots(inputs, &slots));
        between(Installed::Replaced);
        inputs.iter().zip(&copies.moves).for_each(|(input, moves)| self.move_keys(input, moves));
        if guard::on("compact.expiries_are_looked_at_again") {
            // Whoever reaps has passed over rows of which the key had not moved yet.
            slots.iter().for_each(|slot| slot.note_expiry(0));
        }
        self.keyspace.forget_replaced();
        Ok((copies.compaction, slots))
    }

    /// Points the index to the copies of a segment's rows.
    fn move_keys(&self, input: &Slot, moves: &[Move]) {
        let segment = input.segment.id();
        for Move { hash, from, from_offset, len, .. } in moves {
            let Some((slot, _, offset)) = input.moved(*from) else { continue };
            if self.options.track_access {
                // It stays with the old record, too, for the views that have that.
                slot.take_access((input, *from_offset), Some(offset), true);
            }
            let from = Location { segment, offset: *from_offset, len: *len };
            let to = Location { segment: slot.segment.id(), offset, len: *len };
            if !self.keyspace.index.replace(*hash, from, to) && !guard::on("compact.moves_by_comparing") {
                self.keyspace.index.insert(*hash, to);
            }
        }
    }
}

/// The slots of the outputs, in which all copies of live rows are live; and where the record of each row begins.
fn outputs(copies: &Copies) -> Result<(Outputs, Vec<u32>)> {
    let (mut outputs, mut offsets) = (Vec::new(), Vec::new());
    let mut markers = copies.markers.iter().copied().peekable();
    let mut first = 0;
    for output in &copies.outputs {
        let spots = spots(&RowTable::new(output.rows())?)?;
        let (mut words, mut bytes) = (vec![0_u64; spots.len().div_ceil(64)], 0);
        let live = LiveSet::new();
        for (row, spot) in (0..).zip(&spots) {
            if markers.next_if_eq(&(first + row)).is_some() {
                live.set_marker(Ordinal(row));
            } else if let Some(word) = words.get_mut(row as usize / 64) {
                *word |= 1 << (row % 64);
                bytes += u64::from(spot.len);
            }
        }
        live.set_live_words(&words, bytes);
        offsets.extend(spots.iter().map(|spot| spot.offset));
        outputs.push((first, Slot::with_live(output.segment(), output.rows().clone(), live)));
        first += output.rows().len();
    }
    Ok((outputs.into(), offsets))
}

fn spots(table: &RowTable) -> Result<Vec<RowSpot>> {
    let mut spots = vec![RowSpot::NOWHERE; table.len() as usize];
    let firsts = (0..).step_by(ROWS_AT_ONCE).map(Ordinal);
    for (first, spots) in firsts.zip(spots.chunks_mut(ROWS_AT_ONCE)) {
        table.spots(first, spots)?;
    }
    Ok(spots)
}

/// Where the rows of an input have gone.
fn forward(input: &Slot, moves: &[Move], outputs: &Outputs, offsets: &[u32]) -> Forward {
    let mut targets = vec![Target::NONE; input.rows().len() as usize];
    for Move { from, row, .. } in moves {
        let offset = offsets.get(*row as usize).copied();
        if let (Some(target), Some(offset)) = (targets.get_mut(from.0 as usize), offset) {
            *target = Target { row: *row, offset };
        }
    }
    Forward { outputs: Arc::clone(outputs), targets }
}

/// Rows that have died since they were copied are dead where they are now, too.
fn bury(input: &Slot, moves: &[Move]) {
    for Move { from, len, .. } in moves.iter().filter(|row| !input.live.is_live(row.from)) {
        let Some((slot, copy, _)) = input.moved(*from) else { continue };
        if input.live.is_marker(*from) {
            slot.live.set_marker(copy);
        }
        slot.live.kill(copy, *len, Seq(0), false);
    }
}

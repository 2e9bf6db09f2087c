//! What a crash campaign has run and met: so that a test can say that its workload reached what it is about.

use std::fmt;

/// What was run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Crash points of the workload.
    pub points: u64,
    /// Images that they left and that were opened.
    pub images: u64,
    /// Second crashes, after going on.
    pub second: u64,
    /// Crashes during a recovery.
    pub recoveries: u64,
    /// Crashes during a recovery that there are.
    pub recoveries_all: u64,
    /// Images that came back with sealed segments and with full ones that are to be sealed.
    pub mixes: u64,
    /// Images that came back by a checkpoint.
    pub from_checkpoint: u64,
    /// Images that came back with blobs.
    pub blobs: u64,
    /// Images from which opening removed blobs that no record names.
    pub orphans: u64,
}

impl Counts {
    /// Adds up.
    pub fn add(&mut self, other: Counts) {
        self.points += other.points;
        self.images += other.images;
        self.second += other.second;
        self.recoveries += other.recoveries;
        self.recoveries_all += other.recoveries_all;
        self.mixes += other.mixes;
        self.from_checkpoint += other.from_checkpoint;
        self.blobs += other.blobs;
        self.orphans += other.orphans;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { points, images, second, recoveries, recoveries_all, mixes, .. } = self;
        let Counts { from_checkpoint, blobs, orphans, .. } = self;
        write!(
            f,
            "{points} crash points, {images} images ({mixes} with sealed and unsealed segments, {from_checkpoint} by a \
             checkpoint, {blobs} with blobs, {orphans} with orphans), {second} second crashes, {recoveries} of \
             {recoveries_all} crashes during recovery"
        )
    }
}

//! What is left of a disk after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::dir::{Dir, DirOp, NodeId};
use super::disk::{Disk, Inode, Node, ROOT};
use super::fault::CrashMode;
use super::inode::{BLOCK_BYTES, Content, Image, Pending, put};
use super::rng::Rng;

/// Which disorder one reordering crash shows. All three at once would make each of them rare.
#[derive(Debug, Clone, Copy)]
enum Disorder {
    /// Each block on its own.
    Blocks,
    /// Only what was written after this stamp.
    LateOnly(u64),
    /// Each file wholly or not at all.
    Files,
}

/// Chooses what survives.
struct Cut {
    mode: CrashMode,
    disorder: Disorder,
    rng: Rng,
    /// For [`Disorder::Files`]: whether the file at hand is kept.
    keep_file: bool,
}

impl Disk {
    /// The disk after the power came back, all of it synced.
    pub(super) fn after_power_cut(&self, mode: CrashMode, seed: u64) -> Disk {
        let mut cut = Cut::new(mode, seed, self.unsynced_stamps());
        let mut nodes: BTreeMap<NodeId, Node> = BTreeMap::new();
        // Directories decide first, so that only files that kept a name are copied.
        let mut open = vec![ROOT];
        while let Some(id) = open.pop() {
            match (nodes.get_mut(&id), self.nodes.get(&id)) {
                (Some(Node::File(file)), _) => file.links += 1,
                (None, Some(Node::Dir(dir))) => {
                    let names = cut.names(dir);
                    open.extend(names.values());
                    let dir = Dir { durable: names.clone(), visible: names, pending: Vec::new() };
                    nodes.insert(id, Node::Dir(dir));
                }
                (None, Some(Node::File(file))) => {
                    let content = cut.content(&file.content);
                    nodes.insert(id, Node::File(Inode { content, links: 1, handles: 0, locked: false }));
                }
                (Some(Node::Dir(_)), _) | (None, None) => {}
            }
        }
        self.successor(nodes, seed)
    }

    /// The disk after the process died: nothing is lost, nothing becomes durable by it, nobody holds anything.
    pub(super) fn after_process_kill(&self, seed: u64) -> Disk {
        let mut nodes = self.nodes.clone();
        let mentioned: BTreeSet<NodeId> = nodes
            .iter()
            .filter(|(id, node)| match node {
                Node::Dir(_) => true,
                Node::File(file) => {
                    let by = |other: &Node| matches!(other, Node::Dir(dir) if dir.mentions(**id));
                    file.links > 0 || nodes.values().any(by)
                }
            })
            .map(|(&id, _)| id)
            .collect();
        nodes.retain(|id, _| mentioned.contains(id));
        for node in nodes.values_mut() {
            if let Node::File(file) = node {
                (file.handles, file.locked) = (0, false);
            }
        }
        self.successor(nodes, seed)
    }

    /// From the oldest change of content that is not durable to the newest.
    fn unsynced_stamps(&self) -> RangeInclusive<u64> {
        let files = self.nodes.values().filter_map(|node| match node {
            Node::File(file) => Some(file.content.cached.values()),
            Node::Dir(_) => None,
        });
        let oldest = files.flatten().filter_map(|cached| cached.pending.first()).map(|p| p.stamp).min();
        oldest.unwrap_or(self.stamp)..=self.stamp
    }

    fn successor(&self, nodes: BTreeMap<NodeId, Node>, seed: u64) -> Disk {
        let mut disk = Disk::new(seed);
        (disk.nodes, disk.next_node, disk.stamp) = (nodes, self.next_node, self.stamp);
        disk.capacity = self.capacity;
        disk.has_appenders = self.has_appenders;
        disk.recount();
        disk
    }
}

impl Cut {
    fn new(mode: CrashMode, seed: u64, stamps: RangeInclusive<u64>) -> Self {
        let mut rng = Rng::new(seed);
        let disorder = match rng.below(3) {
            0 => Disorder::Blocks,
            1 => Disorder::LateOnly(stamps.start() + rng.next() % (stamps.end() - stamps.start() + 1)),
            _ => Disorder::Files,
        };
        Cut { mode, disorder, rng, keep_file: false }
    }

    fn content(&mut self, content: &Content) -> Content {
        self.keep_file = self.rng.coin();
        let mut out = Content { durable: content.durable.clone(), ..Content::default() };
        for (&block, cached) in content.cached.iter().filter(|(_, cached)| !cached.pending.is_empty()) {
            let image = self.block(content.durable.get(&block), &cached.pending);
            put(&mut out.durable, block, image);
        }
        let len = self.len(content.durable_len, &content.pending_lens);
        // A reservation is as durable as the length that it set.
        if self.mode == CrashMode::KeepAll || content.pending_lens.is_empty() {
            out.blocks = content.blocks.clone();
        }
        out.settle(len);
        for &block in out.durable.keys() {
            out.blocks.insert(block..block + 1);
        }
        out
    }

    fn len(&mut self, durable: u64, pending: &[u64]) -> u64 {
        let Some(&newest) = pending.last() else { return durable };
        let nth = |n: usize| n.checked_sub(1).and_then(|n| pending.get(n)).copied().unwrap_or(durable);
        match self.mode {
            CrashMode::KeepAll => newest,
            CrashMode::DropAll => durable,
            CrashMode::Torn => nth(self.rng.below(pending.len() + 1)),
            CrashMode::Reordered => match self.disorder {
                Disorder::Files if self.keep_file => newest,
                Disorder::Files => durable,
                // The longest shows most holes.
                _ if self.rng.coin() => pending.iter().copied().fold(durable, u64::max),
                _ => nth(self.rng.below(pending.len() + 1)),
            },
        }
    }

    /// `pending` is not empty.
    fn block(&mut self, durable: Option<&Image>, pending: &[Pending]) -> Option<Image> {
        let newest = pending.last();
        let image = |pending: Option<&Pending>| pending.and_then(|p| p.image.clone());
        match (self.mode, self.disorder) {
            (CrashMode::KeepAll, _) => image(newest),
            (CrashMode::DropAll, _) => durable.cloned(),
            (CrashMode::Torn, _) => self.torn(durable, pending),
            (CrashMode::Reordered, Disorder::Blocks) => match self.rng.below(4) {
                0 => durable.cloned(),
                1 => image(newest),
                _ => self.torn(durable, pending),
            },
            (CrashMode::Reordered, Disorder::LateOnly(from)) => {
                let late = newest.filter(|newest| newest.stamp > from);
                if late.is_some() { image(late) } else { durable.cloned() }
            }
            (CrashMode::Reordered, Disorder::Files) => {
                if self.keep_file {
                    image(newest)
                } else {
                    durable.cloned()
                }
            }
        }
    }

    /// One of the images, the durable one being the oldest, or the front of a newer one and the back of an older one.
    fn torn(&mut self, durable: Option<&Image>, pending: &[Pending]) -> Option<Image> {
        let nth = |n: usize| match n.checked_sub(1) {
            None => durable,
            Some(n) => pending.get(n).and_then(|p| p.image.as_ref()),
        };
        let newer = self.rng.below(pending.len() + 1);
        if newer == 0 || self.rng.coin() {
            return nth(newer).cloned();
        }
        let (older, newer) = (nth(self.rng.below(newer)), nth(newer));
        let (Some(differ_from), Some(differ_to)) = differing(older, newer) else { return newer.cloned() };
        // Cut where they differ: elsewhere a cut would not show.
        let at = differ_from + self.rng.below(differ_to - differ_from + 2);
        let mut bytes = newer.map_or([0; BLOCK_BYTES], |image| **image);
        bytes[at..].copy_from_slice(&older.map_or([0; BLOCK_BYTES], |image| **image)[at..]);
        Some(Arc::new(bytes))
    }

    fn names(&mut self, dir: &Dir) -> BTreeMap<String, NodeId> {
        let kept = match self.mode {
            CrashMode::KeepAll => dir.pending.len(),
            CrashMode::DropAll => 0,
            CrashMode::Torn => self.rng.below(dir.pending.len() + 1),
            CrashMode::Reordered => return self.shuffled_names(dir),
        };
        let mut names = dir.durable.clone();
        dir.pending.iter().take(kept).for_each(|op| op.apply_to(&mut names));
        names
    }

    /// Each name independently in one of the states it went through, but the old name of a rename only gone when the
    /// new one arrived.
    fn shuffled_names(&mut self, dir: &Dir) -> BTreeMap<String, NodeId> {
        let mut states: BTreeMap<&str, Vec<Option<NodeId>>> = BTreeMap::new();
        // Per rename: the old name and its state without the file, the new name and its state with it.
        let mut renames = Vec::new();
        let mut step = |name, node| {
            let list = states.entry(name).or_insert_with(|| vec![dir.durable.get(name).copied()]);
            list.push(node);
            list.len() - 1
        };
        for op in &dir.pending {
            match op {
                DirOp::Link { name, node } => {
                    step(name.as_str(), Some(*node));
                }
                DirOp::Unlink { name } => {
                    step(name, None);
                }
                DirOp::Rename { from, to, node } => {
                    let (gone, there) = (step(from, None), step(to, Some(*node)));
                    renames.push((from.as_str(), gone, to.as_str(), there));
                }
            }
        }
        let mut chosen: BTreeMap<&str, usize> =
            states.iter().map(|(&name, list)| (name, self.state(list.len()))).collect();
        // Raising one name may make an older rename of it count, hence until nothing moves; it only ever rises.
        while let Some((to, there)) = renames.iter().find_map(|&(from, gone, to, there)| {
            (chosen[from] >= gone && chosen[to] < there).then_some((to, there))
        }) {
            chosen.insert(to, there);
        }
        let mut names = dir.durable.clone();
        for (name, list) in states {
            match list[chosen[name]] {
                Some(node) => names.insert(name.to_owned(), node),
                None => names.remove(name),
            };
        }
        names
    }

    /// Mostly the old or the new state: those in between are many and rarely matter.
    fn state(&mut self, count: usize) -> usize {
        match self.rng.below(3) {
            0 => 0,
            1 => count - 1,
            _ => self.rng.below(count),
        }
    }
}

/// First and last place where two images differ.
fn differing(a: Option<&Image>, b: Option<&Image>) -> (Option<usize>, Option<usize>) {
    const ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];
    let bytes = |image: Option<&Image>| image.map_or(ZEROS, |image| **image);
    let (a, b) = (bytes(a), bytes(b));
    let differs = |&i: &usize| a[i] != b[i];
    ((0..BLOCK_BYTES).find(differs), (0..BLOCK_BYTES).rev().find(differs))
}

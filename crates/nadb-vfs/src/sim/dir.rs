//! What one simulated directory holds: the names that are durable, and what was done to them since.

use std::collections::BTreeMap;

/// Number of a file or directory on the disk.
pub(super) type NodeId = u64;

/// A change of names that is not durable yet.
#[derive(Debug, Clone)]
pub(super) enum DirOp {
    Link { name: String, node: NodeId },
    Unlink { name: String },
    Rename { from: String, to: String, node: NodeId },
}

/// A directory's names.
#[derive(Debug, Clone, Default)]
pub(super) struct Dir {
    pub(super) durable: BTreeMap<String, NodeId>,
    /// What a program sees.
    pub(super) visible: BTreeMap<String, NodeId>,
    /// Changes since the last sync, in order. A failed sync forgets them though they stay visible, so that what is
    /// durable follows from the changes and not from what is visible.
    pub(super) pending: Vec<DirOp>,
}

impl Dir {
    /// Makes a change, visible but not durable.
    pub(super) fn apply(&mut self, op: DirOp) {
        op.apply_to(&mut self.visible);
        self.pending.push(op);
    }

    /// Makes the pending changes durable and returns the nodes that lost a durable name by it.
    pub(super) fn sync(&mut self) -> Vec<NodeId> {
        let before = if self.pending.is_empty() { return Vec::new() } else { self.durable.clone() };
        for op in self.pending.drain(..) {
            op.apply_to(&mut self.durable);
        }
        before
            .into_iter()
            .filter(|(name, node)| self.durable.get(name) != Some(node))
            .map(|(_, n)| n)
            .collect()
    }

    /// Whether a crash or a sync may still bring up `node` here.
    pub(super) fn mentions(&self, node: NodeId) -> bool {
        let holds = |names: &BTreeMap<String, NodeId>| names.values().any(|&n| n == node);
        holds(&self.durable) || holds(&self.visible) || self.pending.iter().any(|op| op.node() == Some(node))
    }
}

impl DirOp {
    pub(super) fn apply_to(&self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            DirOp::Link { name, node } => {
                names.insert(name.clone(), *node);
            }
            DirOp::Unlink { name } => {
                names.remove(name);
            }
            DirOp::Rename { from, to, node } => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }

    /// What is left of the change once it no longer concerns `name`.
    pub(super) fn without(self, name: &str) -> Option<DirOp> {
        match self {
            DirOp::Link { name: n, .. } | DirOp::Unlink { name: n } if n == name => None,
            DirOp::Rename { from, to, .. } if to == name => Some(DirOp::Unlink { name: from }),
            DirOp::Rename { from, to, node } if from == name => Some(DirOp::Link { name: to, node }),
            other => Some(other),
        }
    }

    fn node(&self) -> Option<NodeId> {
        match self {
            DirOp::Link { node, .. } | DirOp::Rename { node, .. } => Some(*node),
            DirOp::Unlink { .. } => None,
        }
    }
}

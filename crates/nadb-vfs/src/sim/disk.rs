//! The simulated disk: the tree of names, the room that is left, and what each call does to them.
//!
//! Nothing here decides whether a call fails; that is done before, by [`Accounts`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::dir::{Dir, DirOp, NodeId};
use super::fault::{Accounts, no_space};
use super::inode::{BLOCK_BYTES, Content, block_range};

/// The directory from which every path starts, whether written with a leading slash or not.
pub(super) const ROOT: NodeId = 0;

/// No file can be longer, as on real systems.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// A file: its content, and what keeps it alive.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) content: Content,
    /// Visible names.
    pub(super) links: u32,
    pub(super) handles: u32,
    pub(super) locked: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Inode),
    Dir(Dir),
}

/// Everything behind the one mutex of a simulated disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) accounts: Accounts,
    /// Files stay here as long as a name, a handle, or a crash may bring them up.
    pub(super) nodes: BTreeMap<NodeId, Node>,
    pub(super) next_node: NodeId,
    /// Number of the last change of content.
    pub(super) stamp: u64,
    /// In blocks.
    pub(super) capacity: Option<u64>,
    /// Blocks of the files that have a visible name or a handle.
    pub(super) used: u64,
    /// Whether files can be appended to through memory.
    pub(super) has_appenders: bool,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]);
        Disk {
            accounts: Accounts::new(seed),
            nodes,
            next_node: ROOT + 1,
            stamp: 0,
            capacity: None,
            used: 0,
            has_appenders: false,
        }
    }

    // Names

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names(path) {
            at = match self.dir(at)?.visible.get(&name) {
                Some(&node) => node,
                None => {
                    let node = self.add(Node::Dir(Dir::default()));
                    self.dir_mut(at)?.apply(DirOp::Link { name, node });
                    node
                }
            };
        }
        match self.dir(at) {
            Ok(_) => Ok(()),
            Err(_) => Err(io::ErrorKind::AlreadyExists.into()),
        }
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<NodeId> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.visible.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = self.add(Node::File(Inode { links: 1, ..Inode::default() }));
        self.dir_mut(dir)?.apply(DirOp::Link { name, node });
        Ok(node)
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find_file(path)?;
        let (dir, name) = self.parent(path)?;
        self.dir_mut(dir)?.apply(DirOp::Unlink { name });
        self.unlink(node)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find_file(from)?;
        let ((dir, from), (to_dir, to)) = (self.parent(from)?, self.parent(to)?);
        if dir != to_dir {
            let text = "the simulated disk renames only within one directory";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let replaced = self.dir(dir)?.visible.get(&to).copied();
        if let Some(replaced) = replaced {
            self.file(replaced)?;
            // As rename(2) has it: two names of one file, which a crash may leave, are both kept.
            if replaced == node {
                return Ok(());
            }
        }
        self.dir_mut(dir)?.apply(DirOp::Rename { from, to, node });
        replaced.map_or(Ok(()), |replaced| self.unlink(replaced))
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        for gone in self.dir_mut(node)?.sync() {
            self.collect(gone);
        }
        Ok(())
    }

    pub(super) fn sync_dir_lost(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.dir_mut(node)?.pending.clear();
        Ok(())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        names(path).iter().try_fold(ROOT, |at, name| {
            self.dir(at)?.visible.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<NodeId> {
        let node = self.find(path)?;
        self.file(node)?;
        Ok(node)
    }

    fn parent(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = names(path);
        let name = names.pop().ok_or(io::ErrorKind::AlreadyExists)?;
        let dir = self.find(&names.iter().collect::<PathBuf>())?;
        self.dir(dir)?;
        Ok((dir, name))
    }

    /// Every file under a visible name, in order.
    pub(super) fn files(&self) -> Vec<(PathBuf, NodeId)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, node)) = open.pop() {
            match self.nodes.get(&node) {
                Some(Node::File(_)) => found.push((path, node)),
                Some(Node::Dir(dir)) => {
                    open.extend(dir.visible.iter().map(|(name, &n)| (path.join(name), n)))
                }
                None => {}
            }
        }
        found.sort();
        found
    }

    // Content

    pub(super) fn write(&mut self, node: NodeId, buf: &[u8], offset: u64) -> io::Result<usize> {
        let end = offset.checked_add(buf.len() as u64);
        end.filter(|&end| end <= FILE_BYTES_MAX).ok_or(io::ErrorKind::FileTooLarge)?;
        let free = self.free();
        let stamp = self.next_stamp();
        let content = &mut self.file_mut(node)?.content;
        let taken = content.room(offset, buf.len(), free);
        if taken == 0 && !buf.is_empty() {
            return Err(no_space());
        }
        let before = content.blocks.count();
        content.write(&buf[..taken], offset, stamp);
        self.used += content.blocks.count() - before;
        self.accounts.bytes_written += taken as u64;
        Ok(taken)
    }

    pub(super) fn set_len(&mut self, node: NodeId, len: u64) -> io::Result<()> {
        if len > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let stamp = self.next_stamp();
        let content = &mut self.file_mut(node)?.content;
        let before = content.blocks.count();
        content.set_len(len, stamp);
        self.used -= before - content.blocks.count();
        Ok(())
    }

    pub(super) fn allocate(&mut self, node: NodeId, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.checked_add(len);
        end.filter(|&end| end <= FILE_BYTES_MAX).ok_or(io::ErrorKind::FileTooLarge)?;
        if len == 0 {
            return Ok(());
        }
        let free = self.free();
        let content = &mut self.file_mut(node)?.content;
        let wanted = content.blocks.missing(&block_range(offset, len));
        if wanted > free {
            return Err(no_space());
        }
        content.allocate(offset, len);
        self.used += wanted;
        Ok(())
    }

    // Nodes

    pub(super) fn opened(&mut self, node: NodeId) {
        if let Ok(file) = self.file_mut(node) {
            file.handles += 1;
        }
    }

    pub(super) fn closed(&mut self, node: NodeId) {
        if let Ok(file) = self.file_mut(node) {
            file.handles -= 1;
            self.release(node);
        }
    }

    pub(super) fn file(&self, node: NodeId) -> io::Result<&Inode> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut Inode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir(&self, node: NodeId) -> io::Result<&Dir> {
        match self.nodes.get(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, node: NodeId) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        id
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    /// Blocks that may still be taken.
    fn free(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used))
    }

    /// Sets `used` from the files; for changes that bypass the calls.
    pub(super) fn recount(&mut self) {
        let blocks = |node: &Node| match node {
            Node::File(file) if file.links + file.handles > 0 => file.content.blocks.count(),
            _ => 0,
        };
        self.used = self.nodes.values().map(blocks).sum();
    }

    fn unlink(&mut self, node: NodeId) -> io::Result<()> {
        self.file_mut(node)?.links -= 1;
        self.release(node);
        Ok(())
    }

    /// Gives the room of a file back once nobody sees it; its content stays while a crash may bring it back.
    fn release(&mut self, node: NodeId) {
        if let Ok(file) = self.file(node)
            && file.links == 0
            && file.handles == 0
        {
            self.used -= file.content.blocks.count();
            self.collect(node);
        }
    }

    fn collect(&mut self, node: NodeId) {
        let unseen = self.file(node).is_ok_and(|file| file.links == 0 && file.handles == 0);
        let mentioned = |other: &Node| matches!(other, Node::Dir(dir) if dir.mentions(node));
        if unseen && !self.nodes.values().any(mentioned) {
            self.nodes.remove(&node);
        }
    }
}

/// The names on the way to `path`, with `.` left out and `..` taken back.
fn names(path: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name.to_string_lossy().into_owned()),
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

/// Bytes of `blocks` blocks.
pub(super) fn bytes_of(blocks: u64) -> u64 {
    blocks * BLOCK_BYTES as u64
}

//! A single removal with a condition.

use nadb_core::{Action, Condition, Durability, Operation, Result};

use crate::Namespace;

/// A delete of one key under conditions; made by [`Namespace::remove`]. Nothing happens before
/// [`commit`](RemoveBuilder::commit). Of conditions the last one counts.
///
/// ```
/// let users = nadb::Store::memory()?.namespace("users")?;
/// let first = users.set("k", "1")?;
/// users.set("k", "2")?;
/// assert!(users.remove("k").if_version(first.version).commit().is_err());
/// assert!(users.remove("k").if_present().commit()?);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is deleted until `commit` is called"]
pub struct RemoveBuilder<'n, K> {
    namespace: &'n Namespace,
    key: K,
    condition: Condition,
    durability: Option<Durability>,
}

impl<'n, K: AsRef<[u8]>> RemoveBuilder<'n, K> {
    pub(crate) fn new(namespace: &'n Namespace, key: K) -> RemoveBuilder<'n, K> {
        RemoveBuilder { namespace, key, condition: Condition::Always, durability: None }
    }

    /// Delete only if the key is there with exactly this version.
    pub fn if_version(mut self, version: u64) -> Self {
        self.condition = Condition::IfVersion(version);
        self
    }

    /// Delete only if the key is there: its absence is an error, not `false`.
    pub fn if_present(mut self) -> Self {
        self.condition = Condition::IfPresent;
        self
    }

    /// The durability class of this delete, in place of the store's.
    ///
    /// ```
    /// use nadb::{Durability, Store};
    /// let users = Store::memory()?.namespace("users")?;
    /// assert!(!users.remove("k").durability(Durability::Synced).commit()?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// Deletes, and says whether the key was there. When it returns, no read finds the key, and the delete is as durable
    /// as its class says.
    ///
    /// # Errors
    /// `PreconditionFailed` with the current version when a condition did not hold; otherwise as
    /// [`PutBuilder::commit`](crate::PutBuilder::commit).
    pub fn commit(self) -> Result<bool> {
        let operation =
            Operation::new(self.namespace.name(), self.key.as_ref(), Action::Delete).when(self.condition);
        Ok(self.namespace.write_one(operation, self.durability)?.existed)
    }
}

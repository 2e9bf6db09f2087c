//! Whether an older segment still has a key: then whatever holds that key's records down must stay.
//!
//! It reads footers alone, in key order, and takes a segment whose footer cannot be had for one that has every key. It leaves to the
//! caller which segments there are, and to ask in key order.

use nadb_core::{NamespaceId, Result, Seq, guard};
use nadb_log::{Direction, RowCursor, Rows, RowsCursor, Segment};

/// Rows that are passed one by one before a search is the quicker way.
const STEPS_MAX: u32 = 8;

/// The rows of a segment, followed forward.
#[derive(Debug)]
struct Follower {
    /// No row has a lower number.
    first: Seq,
    rows: Rows,
    /// `None` where the rows cannot be had: then it has every key.
    cursors: Option<Vec<RowsCursor>>,
}

/// Segments that may have older records of keys.
#[derive(Debug, Default)]
pub struct Older {
    followers: Vec<Follower>,
}

impl Older {
    /// Segments with their rows: all of the store but those that go.
    pub fn new<'s>(segments: impl IntoIterator<Item = (&'s Segment, Rows)>) -> Older {
        let follower = |(segment, rows): (&Segment, Rows)| {
            let (first, _) = segment.seq_range()?;
            let cursors = rows.cursors(NamespaceId(0), b"", Direction::Forward).ok();
            Some(Follower { first, rows, cursors })
        };
        Older { followers: segments.into_iter().filter_map(follower).collect() }
    }

    /// Whether any of the segments has, or may have, a record of the key from before `seq`. Keys are asked for in rising order.
    #[must_use]
    pub fn may_have(&mut self, namespace: NamespaceId, key: &[u8], seq: Seq) -> bool {
        if !guard::on("compact.markers_hold_older") {
            return false;
        }
        self.followers.iter_mut().any(|follower| follower.first < seq && follower.has(namespace, key))
    }
}

impl Follower {
    fn has(&mut self, namespace: NamespaceId, key: &[u8]) -> bool {
        let Some(cursors) = &mut self.cursors else { return true };
        let mut has = false;
        for cursor in cursors {
            match step(cursor, namespace, key) {
                Ok(true) => has |= cursor.key() == Some((namespace, key)),
                Ok(false) => {
                    return self.seek(namespace, key).unwrap_or_else(|_| {
                        self.cursors = None;
                        true
                    });
                }
                Err(_) => {
                    self.cursors = None;
                    return true;
                }
            }
        }
        has
    }

    /// Puts all cursors on the key, or behind it where it is not there, and says whether it is.
    fn seek(&mut self, namespace: NamespaceId, key: &[u8]) -> Result<bool> {
        let cursors = self.rows.cursors(namespace, key, Direction::Forward)?;
        let has = cursors.iter().any(|cursor| cursor.key() == Some((namespace, key)));
        self.cursors = Some(cursors);
        Ok(has)
    }
}

/// Moves forward to the key or behind it; false where it is still before it after some rows.
fn step(cursor: &mut RowsCursor, namespace: NamespaceId, key: &[u8]) -> Result<bool> {
    for _ in 0..STEPS_MAX {
        if cursor.key().is_none_or(|at| at >= (namespace, key)) {
            return Ok(true);
        }
        cursor.next()?;
    }
    Ok(cursor.key().is_none_or(|at| at >= (namespace, key)))
}

//! The full check of a footer: every checksum, and that what the sections say fits together.

use std::sync::Arc;

use nadb_core::{Error, NamespaceId, Ordinal, Rank, Result, Seq};

use super::Footer;
use crate::record::RecordKind;
use crate::row::RowCursor;

impl Footer {
    /// Checks every block, and that rows, keys, order and lists are whole and consistent. Reads all of the footer, and takes
    /// a byte of memory per row while it runs. That a row is what its record says takes the records, and is not checked.
    ///
    /// # Errors
    /// `Corruption` with file and offset: what was found first.
    pub fn check_all(self: &Arc<Self>) -> Result<()> {
        self.blocks.check_all()?;
        self.check_rows()?;
        self.check_order()?;
        self.check_tags()?;
        self.check_expiring()?;
        self.origin()?;
        self.system().map(|_| ())
    }

    fn inconsistent(&self, what: String) -> Error {
        self.blocks.corrupt(0, what)
    }

    fn check_rows(&self) -> Result<()> {
        let blobs = self.rows.blobs(&self.blocks, self.len)?;
        let (mut end, mut references) = (0, 0);
        for ordinal in 0..self.len {
            let row = self.meta(Ordinal(ordinal))?;
            if row.offset < end {
                return Err(
                    self.inconsistent(format!("row {ordinal} of the footer begins inside the one before"))
                );
            }
            // `meta` has seen that this is not beyond the records.
            end = row.offset + row.len;
            references += usize::from(row.kind == RecordKind::BlobReference);
        }
        if references != blobs.len() {
            return Err(self.inconsistent(format!(
                "the footer names {} blobs for {references} references",
                blobs.len()
            )));
        }
        Ok(())
    }

    fn check_tags(&self) -> Result<()> {
        let Some(tags) = self.tags() else { return Ok(()) };
        tags.dictionary.check(&self.blocks, self.namespaces())?;
        tags.for_each_rank(&mut |_, _, _| Ok(()))
    }

    /// Every row that has an expiry once, in order, at the time that the row has.
    fn check_expiring(&self) -> Result<()> {
        let Some(expiring) = self.expiring else { return Ok(()) };
        let mut expected = 0;
        for ordinal in (0..self.len).map(Ordinal) {
            expected += u32::from(self.meta(ordinal)?.expires_ms.is_some());
        }
        let (mut last, mut count, mut result) = (None, 0, Ok(()));
        let mut check = |ordinal: Ordinal, time: u64| {
            let is_it = self.meta(ordinal).map(|row| row.expires_ms == Some(time));
            let is_next = last.is_none_or(|last| last < (time, ordinal));
            (last, count) = (Some((time, ordinal)), count + 1);
            match is_it {
                Ok(true) if is_next => {}
                Ok(_) => result = Err(expiring.malformed(&self.blocks)),
                Err(error) => result = Err(error),
            }
            result.is_ok()
        };
        expiring.all(&self.blocks, &mut check)?;
        result?;
        if count == expected && count == expiring.len() {
            Ok(())
        } else {
            Err(expiring.malformed(&self.blocks))
        }
    }

    fn check_order(self: &Arc<Self>) -> Result<()> {
        let mut unused = vec![true; self.len as usize];
        let mut cursor = self.cursor(Rank(0))?;
        let mut last: Option<(NamespaceId, Vec<u8>, Seq)> = None;
        while let Some((namespace, key)) = cursor.key() {
            let ordinal = cursor.ordinal();
            let seq = self.seq(ordinal)?;
            let is_first = unused.get_mut(ordinal.0 as usize).is_some_and(std::mem::take);
            let rises = last.as_ref().is_none_or(|(n, k, s)| (*n, &k[..], *s) < (namespace, key, seq));
            if !is_first || !rises {
                let what = format!("row {} of the footer is out of key order, or comes twice", ordinal.0);
                return Err(self.inconsistent(what));
            }
            let mut buffer = last.take().map(|(_, buffer, _)| buffer).unwrap_or_default();
            buffer.clear();
            buffer.extend_from_slice(key);
            last = Some((namespace, buffer, seq));
            cursor.next()?;
        }
        // A cursor passes every rank; so many different ordinals are all.
        Ok(())
    }
}

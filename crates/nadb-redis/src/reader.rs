//! Bytes that are left to read: nothing is believed that is not there.

/// The rest of some bytes.
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    /// The next so many bytes; `None` where there are not so many.
    pub(crate) fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next number, little-endian, of at most eight bytes.
    pub(crate) fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_read() {
        let mut reader = Reader(&[1, 2, 3]);
        assert_eq!(reader.number(2), Some(0x0201));
        assert_eq!((reader.number(2), reader.take(1), reader.take(1)), (None, Some(&[3][..]), None));
    }
}

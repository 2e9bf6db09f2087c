//! Reading what was saved: every bound is checked, for nobody vouches for the bytes.

/// A reader whose methods answer `None` where the bytes do not suffice.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (byte, left) = self.left.split_first()?;
        self.left = left;
        Some(*byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        let (bytes, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.left.is_empty()
    }
}

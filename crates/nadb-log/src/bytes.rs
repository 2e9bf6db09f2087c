//! Little-endian integers and varints, read with every bound checked.

/// A reader over bytes that nobody vouches for: every method answers `None` where the bytes do not suffice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u48(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f] = self.array()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    pub(crate) fn u56(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f, g] = self.array()?;
        Some(u64::from_le_bytes([a, b, c, d, e, f, g, 0]))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// LEB128, shortest form only.
    #[inline]
    pub(crate) fn varint(&mut self) -> Option<u64> {
        match self.bytes.get(self.at) {
            Some(byte) if byte & 0x80 == 0 => {
                self.at += 1;
                Some(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(value);
            }
        }
        None
    }

    #[inline]
    pub(crate) fn varint_u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    /// A varint that is a length of at most `max`.
    #[inline]
    pub(crate) fn varint_len(&mut self, max: usize) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|&len| len <= max)
    }
}

pub(crate) fn put_u48(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, d, e, f, ..] = value.to_le_bytes();
    out.extend_from_slice(&[a, b, c, d, e, f]);
}

pub(crate) fn put_u56(out: &mut Vec<u8>, value: u64) {
    let [a, b, c, d, e, f, g, _] = value.to_le_bytes();
    out.extend_from_slice(&[a, b, c, d, e, f, g]);
}

#[expect(clippy::cast_possible_truncation, reason = "each byte carries seven bits")]
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_in_shortest_form_only() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), 1 << 56, u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.varint(), Some(value));
            assert!(reader.is_at_end());
            for cut in 0..out.len() {
                assert_eq!(Reader::new(&out[..cut]).varint(), None);
            }
        }
        assert_eq!(Reader::new(&[0x80, 0x00]).varint(), None, "overlong zero");
        assert_eq!(Reader::new(&[0xFF; 11]).varint(), None, "too long");
        let mut over = vec![0xFF; 9];
        over.push(2);
        assert_eq!(Reader::new(&over).varint(), None, "beyond 64 bits");
    }
}

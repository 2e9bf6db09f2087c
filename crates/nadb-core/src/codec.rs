//! The value codec: how a value's bytes become the bytes that are stored.

use crate::limits::VALUE_BYTES_MAX;

/// Whether a store compresses values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Values are stored as they are.
    None,
    /// Values of at least 512 bytes are compressed with Snappy, and stored so when that saves at least one eighth.
    #[default]
    Snappy,
}

/// How stored bytes are to be read; the number is on disk. 2 to 127 are free, 128 to 255 are reserved for encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Codec {
    /// The stored bytes are the value.
    Plain = 0,
    /// Raw Snappy (no framing), <https://github.com/google/snappy/blob/main/format_description.txt>.
    Snappy = 1,
}

impl Codec {
    /// The codec with this number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<Codec> {
        match number {
            0 => Some(Codec::Plain),
            1 => Some(Codec::Snappy),
            _ => None,
        }
    }
}

/// Why stored bytes do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodecError {
    /// The length that the stored bytes claim is not the one in the record's header, or above the limit.
    Length {
        /// What the record's header says.
        expected: usize,
        /// What the stored bytes claim.
        found: usize,
    },
    /// The stored bytes are no Snappy stream.
    Malformed,
}

const COMPRESS_BYTES_MIN: usize = 512;

/// Compresses `value` where that pays; `None` means: store it as it is.
#[must_use]
pub fn compress(compression: Compression, value: &[u8]) -> Option<Vec<u8>> {
    if compression == Compression::None || value.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let compressed = snap::raw::Encoder::new().compress_vec(value).ok()?;
    (compressed.len() <= value.len() - value.len() / 8).then_some(compressed)
}

/// Decompresses Snappy bytes whose logical length must be `len`.
///
/// # Errors
/// [`CodecError`]; nothing is allocated for a length that is not the expected one or is above the limit of a value.
pub fn decompress(stored: &[u8], len: usize) -> Result<Vec<u8>, CodecError> {
    let found = snap::raw::decompress_len(stored).map_err(|_| CodecError::Malformed)?;
    if crate::guard::on("codec.length_checked") && (found != len || found > VALUE_BYTES_MAX) {
        return Err(CodecError::Length { expected: len, found });
    }
    snap::raw::Decoder::new().decompress_vec(stored).map_err(|_| CodecError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compresses_only_what_pays() {
        let text = b"abcdefgh".repeat(100);
        let stored = compress(Compression::Snappy, &text).unwrap();
        assert!(stored.len() < text.len() / 2);
        assert_eq!(decompress(&stored, text.len()).unwrap(), text);
        assert_eq!(compress(Compression::None, &text), None);
        assert_eq!(compress(Compression::Snappy, &text[..COMPRESS_BYTES_MIN - 1]), None);
        let mut noise = vec![0; 4096];
        crate::Entropy::fill(&crate::SeededEntropy::new(1), &mut noise).unwrap();
        assert_eq!(compress(Compression::Snappy, &noise), None);
    }

    #[test]
    fn a_decompression_bomb_is_refused_before_it_allocates() {
        // 4 GiB - 1 claimed by five bytes.
        let bomb = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x00];
        let expected = CodecError::Length { expected: 10, found: u32::MAX as usize };
        assert_eq!(decompress(&bomb, 10), Err(expected));
        assert!(matches!(decompress(&bomb, u32::MAX as usize), Err(CodecError::Length { .. })));
        let short = compress(Compression::Snappy, &[7; 1000]).unwrap();
        assert!(matches!(decompress(&short, 999), Err(CodecError::Length { expected: 999, found: 1000 })));
    }
}

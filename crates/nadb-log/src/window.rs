//! Reads a file front to back through a buffer, so that scanning a large segment takes little memory.

use std::io;

use nadb_vfs::File;

const CHUNK: usize = 256 << 10;

/// A window that moves over a file.
#[derive(Debug)]
pub(crate) struct Window<'f> {
    file: &'f dyn File,
    len: u64,
    at: u64,
    buf: Vec<u8>,
}

impl<'f> Window<'f> {
    /// A window over the first `len` bytes of `file`.
    pub(crate) fn new(file: &'f dyn File, len: u64) -> Window<'f> {
        Window { file, len, at: 0, buf: Vec::new() }
    }

    /// The bytes from `offset` on: `want`, or as many as there are before the end.
    ///
    /// A claim of more than the file has costs nothing: the end bounds what is read.
    pub(crate) fn bytes(&mut self, offset: u64, want: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let want = want.min(left);
        if want == 0 {
            return Ok(&[]);
        }
        let begin = offset.checked_sub(self.at).and_then(|begin| usize::try_from(begin).ok());
        match begin.filter(|begin| begin + want <= self.buf.len()) {
            Some(begin) => Ok(self.buf.get(begin..begin + want).unwrap_or_default()),
            None => {
                let size = want.max(CHUNK).min(left);
                self.buf.clear();
                self.buf.resize(size, 0);
                self.at = offset;
                if let Err(e) = self.file.read_exact_at(&mut self.buf, offset) {
                    self.buf.clear();
                    return Err(e);
                }
                Ok(self.buf.get(..want).unwrap_or_default())
            }
        }
    }
}

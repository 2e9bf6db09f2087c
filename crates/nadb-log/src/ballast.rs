//! The ballast: room that a grown store keeps, so that deletes and the manifest can still be written on a full disk.

use std::io;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Result};

use crate::log::{Log, ManifestState};
use crate::names::BALLAST;

/// Segments from which on a store keeps a ballast.
const BALLAST_FROM_SEGMENTS: usize = 16;
const BALLAST_BYTES_MIN: u64 = 64 << 10;
const BALLAST_BYTES_MAX: u64 = 8 << 20;

impl<P: Send> Log<P> {
    /// Notes at opening whether there is a ballast.
    pub(crate) fn find_ballast(&self) -> Result<()> {
        let path = self.dir.join(BALLAST);
        match self.fs.open_read(&path) {
            Ok(_) => self.manifest.lock().has_ballast = true,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("opening the ballast", &path, e)),
        }
        Ok(())
    }

    /// Makes a ballast where the store has grown enough for one; when one can be made again, writing resumes.
    ///
    /// # Errors
    /// `Io` and `ReadOnly`; a full device is no error.
    pub fn keep_ballast(&self) -> Result<()> {
        let mut state = self.manifest.lock();
        let is_small = self.segments.read().len() <= BALLAST_FROM_SEGMENTS;
        // One that was given up is made again whatever the size of the store: writing waits for it.
        if state.has_ballast || is_small && !self.is_full.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.dir.join(BALLAST);
        let len = (self.options.segment_size / 8).clamp(BALLAST_BYTES_MIN, BALLAST_BYTES_MAX);
        let made = self.fs.create_new(&path).and_then(|file| match file.allocate(0, len) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => {
                let zeros = vec![0; usize::try_from(BALLAST_BYTES_MIN).unwrap_or(1 << 16)];
                let mut at = 0;
                while at < len {
                    file.write_all_at(&zeros, at).map_err(|e| e.source)?;
                    at += zeros.len() as u64;
                }
                Ok(())
            }
            result => result,
        });
        match made {
            Ok(()) => {
                state.has_ballast = true;
                self.is_full.store(false, Ordering::Release);
                Ok(())
            }
            Err(e) => {
                let _ = self.fs.remove(&path);
                match Error::io("making the ballast", &path, e) {
                    error if error.kind() == ErrorKind::NoSpace => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    /// Gives the ballast's room to a delete; says whether there was one.
    pub(crate) fn release_ballast(&self) -> bool {
        self.release_ballast_locked(&mut self.manifest.lock())
    }

    pub(crate) fn release_ballast_locked(&self, state: &mut ManifestState) -> bool {
        if !state.has_ballast || self.fs.remove(&self.dir.join(BALLAST)).is_err() {
            return false;
        }
        state.has_ballast = false;
        self.is_full.store(true, Ordering::Release);
        true
    }

    /// While the device is full and the ballast given up, other writes than deletes are refused, unless a ballast can be
    /// made again.
    pub(crate) fn check_room(&self, only_deletes: bool) -> Result<()> {
        if only_deletes || !self.is_full.load(Ordering::Acquire) {
            return Ok(());
        }
        self.keep_ballast()?;
        if self.is_full.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::NoSpace,
                "the device is full; deletes are still possible, other writes resume when there is room",
            )
            .with_path(&self.dir));
        }
        Ok(())
    }
}

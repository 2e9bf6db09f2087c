//! Appending to a file through memory: a copy in place of a system call.
//!
//! What it promises: bytes that were appended belong to the operating system at once, as after a positioned write, and outlive the
//! process; blocks are reserved before they can be touched, so that a full disk is an error of [`Room::reserve`] and never a
//! signal. What it leaves to others: durability (syncing the file covers what was appended), and who appends where.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::mapping::Mapping;

/// The one writer of a file's end.
pub trait Appender: Debug + Send {
    /// Where the next byte goes.
    fn end(&self) -> u64;

    /// Copies `bytes` to the end, whole, and says so; `false` and no change where the reserved room does not suffice, and
    /// after [`Appender::stop`].
    fn append(&mut self, bytes: &[u8]) -> bool;

    /// Moves the end forward over bytes that were put there by positioned writes. Backwards it does not go.
    fn skip_to(&mut self, end: u64);

    /// Gives up the memory that is written to: nothing is appended any more. The mapping stays, and its end can be moved.
    fn stop(&mut self);

    /// Through which the bytes in front of the end can be read, where that is memory of this file; it follows the end.
    fn mapping(&self) -> Option<Mapping>;

    /// The room in front of the end; others may reserve more while bytes are being appended.
    fn room(&self) -> Arc<dyn Room>;
}

/// How far a file's blocks are reserved for its [`Appender`], and its pages ready.
pub trait Room: Debug + Send + Sync {
    /// Bytes of the file up to which may be appended: their blocks are reserved, and their pages were made ready.
    fn reserved(&self) -> u64;

    /// The most that can be reserved: the length that the appender was made for.
    fn limit(&self) -> u64;

    /// Reserves blocks up to `upto`, at most to what the appender was made for. Extends the file with zeros. Nothing is appended there
    /// before it was given to [`Room::reserve`] as well, which then asks for no blocks any more.
    ///
    /// # Errors
    /// As [`File::allocate`](crate::File::allocate); what was reserved before stays so.
    fn allocate(&self, upto: u64) -> io::Result<()>;

    /// Reserves blocks as [`Room::allocate`] does, and makes their pages ready to be written. Says how far they are now. A page that is
    /// ready is dirty: a sync writes its zeros, so it should not be long before something is appended there.
    ///
    /// # Errors
    /// As [`Room::allocate`].
    fn reserve(&self, upto: u64) -> io::Result<u64>;

    /// Says that nothing is written in front of `upto` any more, before a sync: the system then need not take one page after the
    /// other from the memory that is written to, and interrupt whoever writes for each. It changes no byte. What is ready behind it is
    /// given up as well, since a sync writes it, too; who appends there takes its pages one by one.
    fn settle(&self, upto: u64) {
        let _ = upto;
    }
}

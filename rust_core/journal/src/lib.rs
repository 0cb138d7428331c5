//! Records that outlive a killed process.
//!
//! A thread that is about to do something which must not be forgotten *opens* it here, says now and then how far it
//! got, and *closes* it with a numbered record. Each of these is a copy into a file that is mapped into memory: no
//! system call, no sync. The pages belong to the kernel, so what was written is there after `kill -9`. It is not after
//! a loss of power, which is not what this is for.
//!
//! Apart from whoever uses it because the promise has nothing to do with what is promised: this crate knows of entries,
//! ordinals and files, and nothing of calls.
//!
//! ```text
//! root/lock                    held while a journal is made or looked for
//! root/<name>/lock             held by the process that writes it; free: that process has ended
//! root/<name>/acknowledged     the ordinal up to which records are safe elsewhere
//! root/<name>/<writer>-<n>     a segment: entries of one writer, one after the other
//! root/<name>.gone             a journal that is being removed
//! ```
//!
//! A process that forks without executing another program hands its locks on: while such a child lives, the journal of
//! its parent counts as one that is written.
//!
//! Segments of a writer are a ring. The oldest becomes the newest again once everything that was opened in it is closed
//! and all its records are acknowledged; the few things that stay open for long are copied forward instead of being
//! waited for. Blocks are reserved by writing zeros when a segment is made, so that a full disk is an error at that
//! moment and never a fault at a write to memory. This holds where a block that was written can be written again (ext4,
//! xfs, tmpfs); a file system that takes a new one each time (btrfs, ZFS, thin volumes) must not run full. There is
//! always one segment in reserve for what is already open; when none can be had, nothing new is opened.

mod directory;
mod entry;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

pub use directory::{Ended, Journal, Opened, open};
pub use recover::{Left, Remains, Report};
pub use writer::{Full, Ticket, Writer};

/// Bytes of a segment: some thousand entries of the usual size.
pub const SEGMENT: usize = 1 << 20;

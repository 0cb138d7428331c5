//! One file of entries, mapped into memory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, compiler_fence};

use memmap2::MmapMut;

use crate::entry::{self, Kind};

/// Where entries begin: after magic number, generation, writer and the checksum of these.
pub(crate) const FIRST: usize = 32;
const MAGIC: [u8; 8] = *b"PNSTKJ01";

/// A new file of `size` bytes whose blocks exist, mapped.
///
/// # Errors
/// Whatever the file system says; there is no file then.
pub(crate) fn map_new(path: &Path, size: usize) -> io::Result<MmapMut> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let mapped = fill(&file, size).and_then(|()| map(&file));
    if mapped.is_err() {
        // It would hold blocks that others need, when there are none left.
        let _ = fs::remove_file(path);
    }
    mapped
}

fn fill(mut file: &File, size: usize) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let piece = ZEROS.get(..left.min(ZEROS.len())).unwrap_or(&ZEROS);
        file.write_all(piece)?;
        left -= piece.len();
    }
    Ok(())
}

#[allow(unsafe_code)]
fn map(file: &File) -> io::Result<MmapMut> {
    // SAFETY: a mapping is unsound when somebody else changes or shortens the file. The file was just made, under a
    // name that did not exist, in a directory that this process holds the lock of, and only this process is let read or
    // write it; nothing here shortens a file. Who reads the journal of an ended process reads files and maps none.
    unsafe { MmapMut::map_mut(file) }
}

/// A mapped segment.
#[derive(Debug)]
pub(crate) struct Segment {
    map: MmapMut,
    path: PathBuf,
    /// Which use of which file this is: rises by one from segment to segment of a writer.
    pub(crate) generation: u64,
    at: usize,
    /// Things that were opened here, or carried here, and are not closed.
    pub(crate) open: usize,
    /// The highest ordinal of a record in here, or of one that should be.
    pub(crate) last: u64,
}

impl Segment {
    /// # Errors
    /// There is no room for it, or no directory.
    pub(crate) fn create(path: PathBuf, size: usize) -> io::Result<Self> {
        Ok(Self { map: map_new(&path, size)?, path, generation: 0, at: FIRST, open: 0, last: 0 })
    }

    /// Makes it empty, under a new generation.
    pub(crate) fn begin(&mut self, generation: u64, writer: u32) {
        (self.generation, self.at, self.open, self.last) = (generation, FIRST, 0, 0);
        // First the end, then the beginning: in between it is an empty segment of its old generation.
        if let Some(end) = self.map.get_mut(FIRST..FIRST + 4) {
            end.fill(0);
        }
        compiler_fence(Ordering::SeqCst);
        if let Some(head) = self.map.first_chunk_mut::<FIRST>() {
            *head = header(generation, writer);
        }
        compiler_fence(Ordering::SeqCst);
    }

    /// Writes an entry; where its payload is, or `None` when it does not fit.
    pub(crate) fn append(&mut self, kind: Kind, id: u64, parts: &[&[u8]]) -> Option<usize> {
        let at = self.at;
        self.at = entry::write(&mut self.map, at, self.generation, kind, id, parts)?;
        Some(at + entry::HEADER)
    }

    /// Bytes from the beginning that are in use.
    pub(crate) fn used(&self) -> usize {
        self.at
    }

    pub(crate) fn read(&self, at: usize, length: usize) -> &[u8] {
        self.map.get(at..at + length).unwrap_or_default()
    }

    /// Gives the file back.
    pub(crate) fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn header(generation: u64, writer: u32) -> [u8; FIRST] {
    let fields = MAGIC.into_iter().chain(generation.to_le_bytes()).chain(writer.to_le_bytes());
    let mut head = [0u8; FIRST];
    head.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    let crc = crc32fast::hash(head.get(..20).unwrap_or_default()).to_le_bytes();
    head.iter_mut().skip(20).zip(crc).for_each(|(to, from)| *to = from);
    head
}

/// Generation and writer of a segment that was read; `None` when its header is damaged or was never written.
pub(crate) fn identify(segment: &[u8]) -> Option<(u64, u32)> {
    let head = segment.first_chunk::<FIRST>()?;
    let generation = u64::from_le_bytes(*head.get(8..)?.first_chunk()?);
    let writer = u32::from_le_bytes(*head.get(16..)?.first_chunk()?);
    (*head == header(generation, writer)).then_some((generation, writer))
}
